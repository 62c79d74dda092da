"""The privacy report, the audit and the k-anonymity table: counts that are right, and no value in what is public."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import ANNOTATED, DEIDENTIFIED, RECORDS, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import privacy_report
from codelib.data.k_anonymity import KAnonymity, KAnonymitySettings, as_text, measure
from codelib.data.privacy_report import Audited, count_removed, draw_audit, private_report, public_report, read_audit
from codelib.data.vault import Keyed

KEYED = Keyed(b"k" * 32)
ALL = ("age", "gender", "date", "diagnosis")


def part(store: Store, stage: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> Part:
    store.commit_table(f"stages/{stage}/k.parquet", pa.Table.from_pylist(rows, schema=schema))
    return Part("k", stage, store.root, len(rows), {})


def released(number: int, **values: Any) -> dict[str, Any]:
    row = {"checkup_id": f"{number:04d}-001", "patient_id": f"{number:04d}", "visit_key": f"v{number}", "status": "ok"}
    return row | {"checkup_time": "2022-03-05 09:30", "age": 31, "gender": "male"} | dict.fromkeys(TEXT_FIELDS, "") | values


def test_what_was_removed_is_counted_by_class_and_field(tmp_path):
    one = {"field": "remarks", "class": "NAME", "count": 2}
    rows = [
        released(1, removed=[one]),
        released(2, removed=[]),
        released(3, status="rejected", reject_reason="deidentify:residual", removed=[]),
    ]
    found = count_removed([part(Store(str(tmp_path)), "deidentified", DEIDENTIFIED.schema, rows)] * 2)
    assert (found.visits, found.touched, found.by_class["NAME"], found.held["deidentify:residual"]) == (6, 2, 4, 2)
    report = public_report(found, {"NAME": 3}, {"keep": 1}, [], Audited(Counter()))
    assert (report["questions_waiting"], report["audit"]["leaking_visits_at_most"]) == (3, 1.0)
    text = private_report(report, found, Store(str(tmp_path / "private")))
    assert "remarks" in text and "questions waiting: 3" in text and "nobody has looked" in text


@pytest.mark.parametrize(("clean", "leak", "bound"), [(59, 0, 0.05), (299, 0, 0.01), (58, 1, 0.0780), (0, 1, 1.0)])
def test_the_bound_of_the_audit_is_that_of_clopper_and_pearson(clean, leak, bound):
    assert Audited(Counter(clean=clean, leak=leak)).leak_bound == pytest.approx(bound, abs=5e-4)


def audit_room(tmp_path, visits: int = 20):
    private = Store(str(tmp_path / "private"))
    before = [
        dict.fromkeys(RECORDS.schema.names) | {"visit_key": f"v{n}", "remarks": f"患者周岩<{n}>", "status": "ok"}
        for n in range(visits)
    ]
    after = [released(n, remarks=f"患者[NAME]<{n}>") for n in range(visits - 1)]
    held = released(visits - 1, status="rejected", reject_reason="deidentify:residual")
    records = part(private, "records", RECORDS.schema, before)
    return private, [records], [part(Store(str(tmp_path / "public")), "deidentified", DEIDENTIFIED.schema, [*after, held])]


def test_an_audit_shows_released_visits_side_by_side_and_takes_the_verdicts(tmp_path):
    private, records, deidentified = audit_room(tmp_path)
    page, drawn = draw_audit(records, deidentified, 5, "first", KEYED, private)
    text = private.read(page).decode()
    assert drawn == 5 and text.count("<h2>") == 5
    assert text.count("<mark>[NAME]</mark>") == 5 and "患者周岩&lt;" in text
    assert read_audit(private).looked_at == 0
    lines = private.read("audit/first.csv").decode().splitlines()
    private.commit("audit/first.csv", "\n".join([lines[0], *(line.replace(",,", ",clean,", 1) for line in lines[1:])]).encode())
    assert read_audit(private).verdicts == Counter(clean=5)


def test_a_sample_is_drawn_once_and_alike(tmp_path):
    private, records, deidentified = audit_room(tmp_path)
    draw_audit(records, deidentified, 5, "a", KEYED, private)
    drawn = private.read("audit/a.csv")
    with pytest.raises(InputError, match="drawn before"):
        draw_audit(records, deidentified, 5, "a", KEYED, private)
    private.delete("audit/a.csv")
    draw_audit(records, deidentified, 5, "a", KEYED, private)
    assert private.read("audit/a.csv") == drawn
    draw_audit(records, deidentified, 5, "b", KEYED, private)
    assert private.read("audit/b.csv") != drawn


def test_a_verdict_that_is_none_is_named_by_its_line(tmp_path):
    private = Store(str(tmp_path))
    private.commit("audit/a.csv", b"checkup_id,verdict,note\n0001-001,cleen,\n")
    with pytest.raises(InputError, match=r"line 2: no such verdict; did you mean clean\?"):
        read_audit(private)


def annotated(patient: int, **values: Any) -> dict[str, Any]:
    return released(patient, **{"six_class": "Caries", "diseases": []} | values)


def test_visits_of_one_patient_do_not_hide_each_other():
    found = KAnonymity(KAnonymitySettings())
    for _ in range(9):
        found.add(annotated(1))
    assert found.below(ALL, 2) == 9
    found.add(annotated(2))
    assert (found.below(ALL, 2), found.below(ALL, 3)) == (0, 10)


def test_bands_dates_and_diagnoses_are_settings(tmp_path):
    disease = {"en": "Deep caries", "status": "present"}
    rows = [
        annotated(n, checkup_id=f"{n}", age=30 + n, checkup_time=f"2022-0{1 + n}-05", diseases=[disease] if n % 2 else [])
        for n in range(4)
    ]
    parts = [part(Store(str(tmp_path)), "annotated", ANNOTATED.schema, rows)]
    coarse = measure(parts, KAnonymitySettings(date="year"))
    below = {"2": 0, "3": 0, "5": 4, "10": 4, "20": 4}
    assert coarse.table()[-1] == {"known": list(ALL), "combinations": 1, "smallest_k": 4, "visits": 4, "visits_below": below}
    assert measure(parts, KAnonymitySettings(date="year", age_band_years=2)).table()[-1]["combinations"] == 2
    assert measure(parts, KAnonymitySettings()).table()[-1]["smallest_k"] == 1
    assert measure(parts, KAnonymitySettings(date="year", diagnosis="conditions")).table()[-1]["combinations"] == 2
    assert "age, gender, date, diagnosis" in as_text(coarse.table())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_counts_are_those_of_counting_by_hand(visits):
    found = KAnonymity(KAnonymitySettings(levels=(2, 4)))
    for patient, band in visits:
        found.add(annotated(patient, age=band * 5))
    for k in (2, 4):
        by_hand = sum(len({p for p, b in visits if b == band}) < k for _, band in visits)
        assert found.below(("age", "gender"), k) == by_hand


def test_nothing_public_holds_a_value(tmp_path):
    rows = [released(1, remarks="患者[NAME]", removed=[{"field": "remarks", "class": "NAME", "count": 1}])]
    found = count_removed([part(Store(str(tmp_path)), "deidentified", DEIDENTIFIED.schema, rows)])
    table = measure([part(Store(str(tmp_path)), "annotated", ANNOTATED.schema, [annotated(1)])], KAnonymitySettings()).table()
    public = json.dumps(public_report(found, {}, {}, table, Audited(Counter())), ensure_ascii=False)
    assert not any(word in public for word in ("患者", "v1", "0001", "2022-03"))
    assert privacy_report.PUBLIC_FILE == "privacy.json"
