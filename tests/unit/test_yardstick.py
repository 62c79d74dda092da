"""The text stages on the synthetic clinic's truth, in phrases and names that the rules' author wrote and in ones kept from him: nobody
leaks, hardly anybody is held back without cause, teeth and diagnoses are read. Pictures are left out: they cost most and say nothing here."""

import json
from types import SimpleNamespace

import pytest

from codelib.contracts import OK, TEXT_FIELDS
from codelib.core.store import Store
from codelib.data.annotate import annotate
from codelib.data.deidentify import DeidentifySettings, deidentify
from codelib.data.export import batch_names, list_batch, patient_number
from codelib.data.ingest import ingest
from codelib.data.sheets import Mapping
from codelib.data.stages import codes_table
from codelib.data.teeth import normalise_teeth
from codelib.data.translate import TranslateSettings, make_translator
from codelib.data.vault import Keyed, assign
from codelib.synthetic import export as synthetic

KEYED = Keyed(b"k" * 32)
VISITS = 220


def _no_pictures(root, folder, *args, **options):
    """A visit's folder with one file that ingest counts and does not open."""
    (folder / "照片").mkdir(parents=True, exist_ok=True)
    (folder / "照片" / "1.jpg").write_bytes(b"x")
    return SimpleNamespace(rejected={}, named=[])


@pytest.fixture(scope="module", params=["train", "held_out"])
def clinic(request, tmp_path_factory):
    """(truth by patient and time, annotated rows by patient and time) of one pool of phrases."""
    folder = tmp_path_factory.mktemp(request.param) / "clinic"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "write_visit_folder", _no_pictures)
        truth = json.loads(synthetic.generate(folder, visits=VISITS, seed=11, pool=request.param).read_text(encoding="utf-8"))
    store, rows = Store(str(folder)), {}
    translate = make_translator(TranslateSettings())
    for name in batch_names(store):
        extra = {"batch": name, "listing": list_batch(store, name).fingerprint()}
        records = ingest(store, KEYED, Mapping(), frozenset(), extra)
        records = records.filter([s == OK for s in records["status"].to_pylist()])
        visits = [(r["visit_key"], r["patient"], r["checkup_time"]) for r in records.to_pylist()]
        codes = [[c.visit_key, c.checkup_id, c.patient_id, KEYED.shift_days(c.patient_key)] for c in assign(visits, [], KEYED)]
        done = annotate(translate(deidentify(normalise_teeth(records), codes_table(codes), DeidentifySettings())))
        place = {key: (patient_number(patient), time) for key, patient, time in visits}
        rows |= {place[row["visit_key"]]: row for row in done.to_pylist()}
    return {(patient_number(v["patient"]), v["time"]): v for v in truth["visits"]}, rows


def test_at_most_three_in_a_hundred_are_held_back_without_cause(clinic):
    truth, rows = clinic
    clean = [place for place, visit in truth.items() if not visit["planted"]]
    held = [place for place in clean if rows[place]["status"] != OK]
    assert len(clean) > 80
    assert len(held) <= 0.03 * len(clean)


def test_no_planted_identifier_is_left(clinic):
    truth, rows = clinic
    leaks = []
    for place, visit in truth.items():
        text = "\n".join(rows[place][name] + rows[place][f"{name}_cn"] for name in TEXT_FIELDS)
        leaks += [one["class"] for one in visit["planted_strings"] if len(one["text"]) > 1 and one["text"] in text]
    assert leaks == []


def test_diagnoses_and_classes_are_those_of_the_truth(clinic):
    truth, rows = clinic
    found = {place: row for place, row in rows.items() if row["status"] == OK and place in truth}
    assert len(found) > 150
    for place, row in found.items():
        present = {d["zh"] for d in row["diseases"] if d["status"] == "present"}
        assert present == {d["zh"] for d in truth[place]["diagnoses"] if d["status"] == "present"}
        assert row["six_class"] == truth[place]["six_class"]
