"""The privacy report and the k-anonymity table: counts that are right however they were added up, and no value in what is public."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import ANNOTATED, DEIDENTIFIED, SPLIT, TEXT_FIELDS
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import privacy_report
from codelib.data.annotate import AnnotateSettings
from codelib.data.annotate_report import shared_strings
from codelib.data.audit import LEAK, Audited
from codelib.data.k_anonymity import KAnonymity, KAnonymitySettings, as_text
from codelib.data.privacy_report import Removed, private_report, public_report
from codelib.data.tallies import Counting, Totals

ALL = ("age", "gender", "date", "diagnosis")
NAME = {"field": "remarks", "class": "NAME", "count": 2}


def visit(number: int, **values: Any) -> dict[str, Any]:
    """A released visit, as a row of every table."""
    row = {"checkup_id": f"{number:04d}-001", "patient_id": f"{number:04d}", "visit_key": f"v{number}", "status": "ok"}
    row |= {"checkup_time": "2022-03-05 09:30", "age": 31, "gender": "male", "removed": [], "teeth": [], "diseases": []}
    return row | dict.fromkeys((*TEXT_FIELDS, *(f"{name}_cn" for name in TEXT_FIELDS)), "") | {"six_class": "Caries"} | values


def held(number: int, reason: str, **values: Any) -> dict[str, Any]:
    return visit(number, status="rejected", reject_reason=reason, **values)


def counted(
    counting: Counting, rows: list[dict[str, Any]], no_image: frozenset[int] = frozenset(), leaking: frozenset[int] = frozenset()
) -> pa.Table:
    """COUNTS of one partition; the visits of these places have no image, or were found to leak."""
    split = [
        held(n, "ingest:incomplete_record" if place in no_image else LEAK) if place in no_image | leaking else visit(n)
        for place, row in enumerate(rows)
        if row["status"] == "ok"
        for n in [int(row["visit_key"][1:])]
    ]
    passed = [row for row in rows if row["status"] == "ok"]
    tables = [(rows, DEIDENTIFIED), (passed, ANNOTATED), (split, SPLIT)]
    return counting.counted(*(pa.Table.from_pylist(made, schema=contract.schema) for made, contract in tables))


def totals(counting: Counting, tables: list[pa.Table], tmp_path) -> Totals:
    parts = []
    for n, table in enumerate(tables):
        Store(str(tmp_path)).commit_table(f"stages/counted/{n}.parquet", table)
        parts.append(Part(str(n), "counted", str(tmp_path), table.num_rows, {}))
    return Totals.of(counting.totals(*parts))


COUNTING = Counting(AnnotateSettings(), KAnonymitySettings())


def test_what_was_removed_is_counted_by_class_and_field_and_of_what_is_released(tmp_path):
    rows = [
        visit(1, removed=[NAME]),
        visit(2),
        held(3, "deidentify:residual"),
        visit(4, removed=[NAME]),
        visit(5, removed=[NAME]),
    ]
    table = counted(COUNTING, rows, no_image=frozenset([3]), leaking=frozenset([4]))
    found = totals(COUNTING, [table, table], tmp_path).removed
    assert (found.visits, found.released, found.touched, found.by_class["NAME"]) == (10, 4, 2, 12)
    assert found.held == {"deidentify:residual": 2, LEAK: 2}
    report = public_report(found, {"NAME": 3}, {"keep": 1}, [], Audited(Counter()))
    assert (report["questions_waiting"], report["audit"]["leaking_visits_at_most"]) == (3, 1.0)
    text = private_report(report, found, Store(str(tmp_path / "private")))
    assert "remarks" in text and "questions waiting: 3" in text and "nobody has looked" in text


def test_k_anonymity_counts_what_is_released_and_nothing_else(tmp_path):
    rows = [visit(n) for n in range(4)] + [held(9, "deidentify:residual")]
    table = counted(COUNTING, rows, no_image=frozenset([0]), leaking=frozenset([1]))
    assert totals(COUNTING, [table], tmp_path).k_table[-1]["visits"] == 2


def test_visits_of_one_patient_do_not_hide_each_other():
    found = KAnonymity(KAnonymitySettings())
    for _ in range(9):
        found.add(visit(1))
    assert found.below(ALL, 2) == 9
    found.add(visit(2))
    assert (found.below(ALL, 2), found.below(ALL, 3)) == (0, 10)


def test_bands_dates_and_diagnoses_are_settings(tmp_path):
    disease = {"en": "Deep caries", "status": "present"}
    rows = [visit(n, age=30 + n, checkup_time=f"2022-0{1 + n}-05", diseases=[disease] if n % 2 else []) for n in range(4)]

    def table(**given: Any) -> list[dict[str, Any]]:
        counting = Counting(AnnotateSettings(), KAnonymitySettings(**given))
        return totals(counting, [counted(counting, rows[:2]), counted(counting, rows[2:])], tmp_path).k_table

    coarse = table(date="year")
    below = {"2": 0, "3": 0, "5": 4, "10": 4, "20": 4}
    assert coarse[-1] == {"known": list(ALL), "combinations": 1, "smallest_k": 4, "visits": 4, "visits_below": below}
    assert table(date="year", age_band_years=2)[-1]["combinations"] == 2
    assert table()[-1]["smallest_k"] == 1
    assert table(date="year", diagnosis="conditions")[-1]["combinations"] == 2
    assert "age, gender, date, diagnosis" in as_text(coarse)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2), st.booleans()), max_size=30), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_however_the_tables_are_joined_the_sums_are_those_of_one_table(tmp_path_factory, visits, size):
    """Also a patient's visits in several partitions: different patients are what counts."""
    rows = [
        visit(n, patient_id=f"{who:04d}", age=10 * band, diagnosis_cn="怪异牙" if odd else "", removed=[NAME] if odd else [])
        for n, (who, band, odd) in enumerate(visits)
    ]
    whole = totals(COUNTING, [counted(COUNTING, rows)], tmp_path_factory.mktemp("a"))
    tables = [counted(COUNTING, rows[at : at + size]) for at in range(0, len(rows), size)] or [counted(COUNTING, [])]
    joined = [COUNTING.joined(*tables[at : at + 2]) for at in range(0, len(tables), 2)]
    assert totals(COUNTING, tables, tmp_path_factory.mktemp("b")) == whole
    assert totals(COUNTING, joined, tmp_path_factory.mktemp("c")) == whole
    assert [(s.visits, s.patients) for s in whole.unknown] == [
        (sum(odd for *_, odd in visits), len({who for who, _, odd in visits if odd}))
        for _ in [0]
        if any(odd for *_, odd in visits)
    ]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_counts_are_those_of_counting_by_hand(visits):
    found = KAnonymity(KAnonymitySettings(levels=(2, 4)))
    for patient, band in visits:
        found.add(visit(patient, age=band * 5))
    for k in (2, 4):
        by_hand = sum(len({p for p, b in visits if b == band}) < k for _, band in visits)
        assert found.below(("age", "gender"), k) == by_hand


def test_nothing_public_holds_a_value(tmp_path):
    found = totals(
        COUNTING, [counted(COUNTING, [visit(1, remarks="患者[NAME]", diagnosis_cn="某某之怪病", removed=[NAME])])], tmp_path
    )
    public = json.dumps(public_report(found.removed, {}, {}, found.k_table, Audited(Counter())), ensure_ascii=False)
    assert not any(word in public for word in ("患者", "v1", "0001", "2022-03"))
    assert shared_strings(found.unknown) == ([], 1, 1)
    assert privacy_report.PUBLIC_FILE == "privacy.json"


def test_the_settings_of_the_table_are_no_part_of_the_fingerprint():
    """Only the report depends on them: they need no --reconfigure, and the counting is done again by its own key."""
    plain, other = KAnonymitySettings(), KAnonymitySettings(date="year", levels=(2,))
    assert plain.fingerprint() == other.fingerprint() == {}
    assert plain.identity() != other.identity()


def test_sums_of_nothing_are_nothing(tmp_path):
    found = totals(COUNTING, [counted(COUNTING, [])], tmp_path)
    assert (found.unknown, found.removed) == ([], Removed())
    assert [row["visits"] for row in found.k_table] == [0, 0, 0, 0]
