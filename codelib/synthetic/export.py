"""Write a synthetic clinic export (formats A) and its truth.

    plan ─ for each batch: for each visit: record ─ row of the sheet
                                           folder ─ images, one at a time     ─ truth: <folder>.truth.json
                           then the sheet

Memory holds one picture, and the words of the visits; the same seed writes the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codelib.synthetic.people import POOLS, Pool
from codelib.synthetic.plan import MISMATCHES, Batch, Images, PlannedPatient, PlannedVisit, keyed_rng, plan_export
from codelib.synthetic.records import FREE_TEXT, Record, Visitor, six_class, write_record
from codelib.synthetic.sheets import ENDINGS, Row, write_sheet
from codelib.synthetic.visit_folder import write_visit_folder

HEADINGS = {
    "bare": {"病历": "初诊/复诊病历"},
    "named": {"病历": "初诊/复诊病历"},
    "full": {"处理": "处置"},
}
"""How a batch heads its text columns where it does not use their shortest names."""

DENIED = {
    "bare": (),
    "named": ("姓名", "联系电话", "身份证号", "主治医生"),
    "full": ("姓名", "联系电话", "身份证号", "主治医生", "家庭住址", "病历号"),
}
"""Identifier columns, in no reader's mapping; the bare batch has none: its names stand in free text only."""

MESS_PERIODS = {
    "duplicate": (13, 3),
    "truncated": (17, 5),
    "thumbs": (19, 7),
    "backup": (23, 9),
    "note": (29, 11),
    "screenshot": (11, 2),
}
"""Every 13th good visit from the 4th on has a copied photograph, and so on."""


@dataclass
class _Truth:
    released_visits: list[list[str]] = field(default_factory=list)
    rejected_visits: list[dict[str, Any]] = field(default_factory=list)
    rejected_images: dict[str, str] = field(default_factory=dict)
    identifiers: set[str] = field(default_factory=set)
    visits: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, patient: str, time: str | None, reason: str, planted: list[dict[str, str]] | None = None) -> None:
        self.rejected_visits.append({"patient": patient, "time": time, "reason": reason, "planted_strings": planted or []})

    def as_json(self) -> str:
        content = {
            "released_visits": self.released_visits,
            "released_visits_note": "times as in the export; visits that the privacy stage may hold back stay listed",
            "rejected_visits": self.rejected_visits,
            "rejected_images": dict(sorted(self.rejected_images.items())),
            "identifiers": sorted(self.identifiers),
            "visits": self.visits,
            "visits_note": "the released visits; teeth and diagnoses by column of the sheet (病历 and 处理 under these"
            " names in every batch); teeth as a set, regions left out; diagnoses are complete for 诊断, elsewhere only"
            " negated and past ones are listed; planted: the free text holds an identifier; where:"
            " text, column, file_name, exif, jpeg_comment, dicom",
        }
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def generate(folder: Path, *, visits: int, seed: int, pool: Pool = "train", images: Images = "few") -> Path:
    """Write an export of ``visits`` visits into ``folder`` and its truth beside it; returns the truth's path.

    The share of visits that do not fit is about a tenth; from 40 visits on every kind of mismatch occurs, from 60 on
    there are three batches and so all three sheet formats. ``pool`` picks the names and phrases: ``held_out`` shares
    none with ``train``. ``images``: a few a visit, or as many as in the published dataset (1 to 26, 5.7 on average).

    Raises ValueError where the folder is not empty or an argument is out of range.
    """
    if visits < 1:
        raise ValueError(f"visits={visits}: an export has at least one visit")
    if pool not in POOLS:
        raise ValueError(f"pool={pool!r}: choose one of {', '.join(POOLS)}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: not an empty folder; name a new one or empty it, nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    truth = _Truth()
    number_of_good = 0
    for batch in plan_export(visits, seed, pool):
        number_of_good = _write_batch(folder, batch, seed, pool, images, truth, number_of_good)
    path = folder.parent / f"{folder.name}.truth.json"
    path.write_text(truth.as_json(), encoding="utf-8")
    return path


def _write_batch(root: Path, batch: Batch, seed: int, pool: Pool, images: Images, truth: _Truth, good: int) -> int:
    sheet_folder = root / batch.name / f"牙科数据_电子病历_{batch.name}"
    sheet_folder.mkdir(parents=True)
    rows: list[Row] = []
    for patient in batch.patients:
        if patient.has_folder:
            (root / batch.name / patient.folder_name).mkdir()
        for order, visit in enumerate(patient.visits):
            rows += _write_visit(root, batch, patient, order, seed, pool, images, truth, good)
            good += visit.mismatch is None
    write_sheet(sheet_folder / f"{batch.name}牙科病历{ENDINGS[batch.sheet_format]}", _columns(batch), rows)
    return good


def _write_visit(
    root: Path, batch: Batch, patient: PlannedPatient, order: int, seed: int, pool: Pool, images: Images, truth: _Truth, good: int
) -> list[Row]:
    """One visit on disk and in the truth; returns its rows of the sheet (none, one, or two where it has a twin)."""
    visit = patient.visits[order]
    rng = keyed_rng(seed, pool, "visit", patient.patient, order)
    folder = root / batch.name / patient.folder_name
    if visit.mismatch == "patient_without_visit":
        (folder / "说明.txt").write_text("未到诊", encoding="utf-8")
        truth.reject(patient.patient, None, MISMATCHES[visit.mismatch])
        return []
    with_radiographs = int(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15]))
    record = _record(rng, batch, patient, visit, pool, bool(with_radiographs))
    named: list[dict[str, str]] = []
    if visit.mismatch not in ("invalid_time", "record_without_folder"):
        mess = frozenset(kind for kind, (period, start) in MESS_PERIODS.items() if good % period == start)
        files = write_visit_folder(
            root, folder / visit.folder_name, rng, visit.labels, patient.person, visit.time,
            mismatch=visit.mismatch, mess=mess, with_radiographs=with_radiographs, images=images,
        )  # fmt: skip
        truth.rejected_images |= files.rejected
        named = files.named
    if visit.mismatch == "folder_without_record":
        truth.identifiers |= {row["text"] for row in named}
        truth.reject(patient.patient, visit.time, MISMATCHES[visit.mismatch], named)
        return []

    row, in_columns = _row(rng, batch, patient, visit, record)
    planted = record.planted + in_columns + named
    truth.identifiers |= {one["text"] for one in planted}
    if visit.mismatch:
        truth.reject(patient.patient, visit.time, MISMATCHES[visit.mismatch], planted)
        return [row]
    truth.released_visits.append([patient.patient, visit.time])
    truth.visits.append(_visit_truth(batch, patient, visit, record, planted))
    if not visit.twin:
        return [row]
    truth.reject(patient.patient, visit.time, MISMATCHES["duplicate_visit"])
    emptied = [_heading(batch, column) for column in FREE_TEXT if column not in ("病历", "主诉", "诊断")]
    twin = {name: value for name, value in row.items() if name not in emptied}
    return [row, twin] if rng.random() < 0.5 else [twin, row]


def _record(rng: Any, batch: Batch, patient: PlannedPatient, visit: PlannedVisit, pool: Pool, with_radiograph: bool) -> Record:
    visitor = Visitor(patient.person, pool, patient.age, patient.gender, batch.doctors, visit.revisit, batch.column_set != "bare")
    record = write_record(rng, visitor, visit.labels, with_radiograph=with_radiograph, planted=visit.planted)
    if visit.mismatch in ("invalid_time", "no_findings"):  # hardly begun: a complaint and nothing else
        record.fields = {column: record.fields[column] for column in ("病历", "主诉")}
    return record


def _row(
    rng: Any, batch: Batch, patient: PlannedPatient, visit: PlannedVisit, record: Record
) -> tuple[Row, list[dict[str, str]]]:
    """The sheet's row and what its identifier columns hold."""
    person = patient.person
    values = {
        "姓名": ("name", person.name),
        "联系电话": ("phone", person.phone if rng.random() < 0.85 else person.landline),
        "身份证号": ("id_number", person.id_number if rng.random() < 0.8 else ""),
        "主治医生": ("staff", batch.doctors[int(rng.integers(len(batch.doctors)))]),
        "家庭住址": ("address", person.address),
        "病历号": ("record_number", person.record_number),
    }
    row: Row = {"患者": patient.patient, "时间": visit.sheet_time}
    planted = []
    for column in DENIED[batch.column_set]:
        kind, text = values[column]
        row[column] = text
        if text:
            planted.append({"class": kind, "text": text, "field": column, "where": "column"})
    if batch.column_set == "full":
        row |= {"年龄": str(patient.age), "性别": patient.gender}
    return row | {_heading(batch, column): text for column, text in record.fields.items()}, planted


def _visit_truth(
    batch: Batch, patient: PlannedPatient, visit: PlannedVisit, record: Record, planted: list[dict[str, str]]
) -> dict[str, Any]:
    age_known = patient.folder_has_age or batch.column_set == "full"
    return {
        "patient": patient.patient,
        "time": visit.time,
        "batch": batch.name,
        "age": patient.age if age_known else None,
        "gender": "male" if patient.gender == "男" else "female",
        "six_class": six_class(visit.labels),
        "diagnoses": record.diagnoses,
        "teeth": record.teeth,
        "planted": bool(record.planted),
        "planted_strings": planted,
    }


def _columns(batch: Batch) -> list[str]:
    known = ["年龄", "性别"] if batch.column_set == "full" else []
    return ["患者", "时间", *known, *DENIED[batch.column_set], *(_heading(batch, column) for column in FREE_TEXT)]


def _heading(batch: Batch, column: str) -> str:
    return HEADINGS[batch.column_set].get(column, column)
