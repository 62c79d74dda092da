"""Ingest: one batch's sheets and folders -> one row a visit, with its text as written, its identifiers and its files.

    sheet rows ──patient + minute──┐
                                   ├─ records: ok, or rejected with the reason of the mismatch
    visit folders ─────────────────┘

What does not fit is a row too: every sheet row and every visit folder ends in exactly one record. All of this is private.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, RECORDS, TEXT_FIELDS, rejected
from codelib.core.cli import InputError
from codelib.core.stage import digest
from codelib.core.store import Store
from codelib.data.consent import Consent
from codelib.data.export import Batch, File, PatientFolder, VisitFolder, list_batch, patient_number
from codelib.data.sheets import Mapping, SheetRow, identifier_kind, read_sheet
from codelib.data.times import parse_time
from codelib.data.vault import Keyed

MAX_AGE_YEARS = 120
_STAFF_LIMIT = 500  # distinct staff cells of a batch, each looked for in every visit of it; a column of more holds no names


def ingest(export: Store, mapping: Mapping, consent: Consent, extra: dict[str, Any]) -> pa.Table:
    """RECORDS of one batch. extra: its name, and the fingerprint of its listing. consent: who never enters; it holds the workspace's key."""
    batch = list_batch(export, extra["batch"])
    if batch.fingerprint() != extra["listing"]:
        raise InputError(f"--input: batch {batch.name} changed while it was read; run the same command again when it is at rest")
    rows: list[SheetRow] = []
    for sheet in batch.sheets:
        suffix = os.path.splitext(sheet.path)[1].lower()
        found = read_sheet(export.read(sheet.path), suffix, mapping, sheet.path)
        if len(batch.sheets) > 1:
            for row in found:
                row.place = f"{os.path.basename(sheet.path)}, {row.place}"
        rows += found
    records = _Matcher(batch, rows, consent.keyed).records()
    kept = [r for r in records if not consent.excludes(r["patient"] or "", r["checkup_time"] or "")]
    return pa.Table.from_pylist(kept, schema=RECORDS.schema)


class _Matcher:
    """Brings rows and folders of one batch together."""

    def __init__(self, batch: Batch, rows: list[SheetRow], keyed: Keyed):
        self.batch, self.rows, self.keyed = batch, rows, keyed
        self.out: list[dict[str, Any]] = []
        self.staff = self._staff()
        self.own = self._own()
        self.folders: dict[tuple[str, str], list[tuple[PatientFolder, VisitFolder]]] = defaultdict(list)
        for patient in batch.patients.values():
            for visit in patient.visits.values():
                if visit.time:
                    self.folders[patient.number, visit.time].append((patient, visit))
        self.folder_times = _by_day(self.folders)
        times = ((patient_number(r.patient), parse_time(r.time)) for r in rows if r.patient)
        self.row_times = _by_day((number, time) for number, time in times if time)

    def _staff(self) -> list[dict[str, str]]:
        """Staff named anywhere in the batch: a colleague is mentioned in visits that are not theirs."""
        names = {v for row in self.rows for header, v in row.denied if identifier_kind(header) == "staff"}
        if len(names) > _STAFF_LIMIT:  # leaving some out would let those names through
            headers = sorted({header for row in self.rows for header, _ in row.denied if identifier_kind(header) == "staff"})
            raise InputError(
                f"--input: batch {self.batch.name} has {len(names)} different values in its staff columns ({', '.join(headers)}), and at most "
                f"{_STAFF_LIMIT} are looked for in every visit: map a column that holds no names to a text field, or cut the batch in two"
            )
        return [{"kind": "staff", "value": name} for name in sorted(names)]

    def _own(self) -> dict[str, list[dict[str, str]]]:
        """Patient -> the identifiers of all their rows, rejected ones too: a name missing in one row stands in another."""
        found: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        for row in self.rows:
            if row.patient:
                number = patient_number(row.patient)
                found[number]["patient_id", unicodedata.normalize("NFKC", row.patient).strip()] = None
                found[number].update({(identifier_kind(header), value): None for header, value in row.denied})
        return {number: [{"kind": kind, "value": value} for kind, value in values] for number, values in found.items()}

    def records(self) -> list[dict[str, Any]]:
        by_visit: dict[tuple[str, str], list[SheetRow]] = defaultdict(list)
        for row in self.rows:
            time = parse_time(row.time)
            if not row.patient or time is None:
                self._reject_row(row, "ingest:invalid_time" if row.patient else "ingest:missing_patient", time)
            else:
                by_visit[patient_number(row.patient), self._folder_time(row, time)].append(row)
        for (number, folder_time), twins in sorted(by_visit.items()):
            # the fuller row wins; of two equally full ones the first
            best, *others = sorted(twins, key=lambda r: -sum(map(len, r.text.values())))
            for row in others:
                self._reject_row(row, "ingest:duplicate_visit", parse_time(row.time))
            self._match(number, folder_time, best)
        self._leftover_folders()
        return self.out

    def _folder_time(self, row: SheetRow, time: str) -> str:
        """The time of the folder a row belongs to. A date alone meets the one visit of that day, in either direction."""
        number = patient_number(row.patient)
        if (number, time) in self.folders:
            return time
        folders, rows = self.folder_times[number, time[:10]], self.row_times[number, time[:10]]
        if len(folders) != 1 or len(rows) != 1:  # two that could be meant: neither is guessed
            return time
        return folders[0] if len(time) == 10 or len(folders[0]) == 10 else time

    def _match(self, number: str, folder_time: str, row: SheetRow) -> None:
        found = self.folders.pop((number, folder_time), [])
        time = max(parse_time(row.time) or "", folder_time, key=len)  # whichever knows the minute
        if not found:
            self._reject_row(row, "ingest:record_without_folder", time)
            return
        # one visit in two folders: the one with more files is the visit
        (patient, visit), *doubles = sorted(found, key=lambda pv: (-len(pv[1].files), pv[1].path))
        record = self._record(row, time, patient, visit)
        has_image = any(f.kind in ("photograph", "radiograph") for f in visit.files)
        if has_image and (record["examination"] or record["diagnosis"]):
            self.out.append(record)
        else:
            self._reject(record, "ingest:incomplete_record")
        for other_patient, other in doubles:
            self._reject_folder(other_patient, other, "ingest:duplicate_visit")

    def _leftover_folders(self) -> None:
        for found in self.folders.values():
            for patient, visit in found:
                self._reject_folder(patient, visit, "ingest:folder_without_record")
        for patient in self.batch.patients.values():
            for visit in patient.visits.values():
                if visit.time is None:
                    self._reject_folder(patient, visit, "ingest:invalid_time")
            if not patient.visits:
                loose = VisitFolder(patient.path, None, patient.loose)
                self._reject_folder(patient, loose, "ingest:patient_without_visit")
            elif patient.loose:
                self._reject_folder(patient, VisitFolder(patient.path, None, patient.loose), "ingest:files_outside_visit")
        if self.batch.loose:
            nobody = PatientFolder(self.batch.name, "", None, None)
            self._reject_folder(nobody, VisitFolder(self.batch.name, None, self.batch.loose), "ingest:files_outside_visit")

    # rows

    def _record(self, row: SheetRow, time: str, patient: PatientFolder | None, visit: VisitFolder | None) -> dict[str, Any]:
        number = patient_number(row.patient)
        own = self.own.get(number) or [{"kind": identifier_kind(header), "value": value} for header, value in row.denied]
        staff = [s for s in self.staff if s not in own]
        record: dict[str, Any] = {
            "visit_key": self.keyed.text("visit", f"{number}|{time}"),
            "batch": self.batch.name,
            "patient": _patient_name(row.patient),
            "checkup_time": time,
            "age": _age(row.age) if row.age else patient.age if patient else None,
            "gender": _gender(row.gender or (patient.gender if patient else None)),
            **row.text,
            "identifiers": own + staff,
            "files": _files(visit.files if visit else ()),
            "source": f"{self.batch.name}/{_patient_name(row.patient)} {time}",
            "status": OK,
            "reject_reason": None,
        }
        changed = [f.changed for f in visit.files] if visit else []
        record["fingerprint"] = digest([record, changed])
        return record

    def _reject_row(self, row: SheetRow, reason: str, time: str | None) -> None:
        record = self._record(row, time or "", None, None)
        record["visit_key"] = self.keyed.text("row", f"{self.batch.name}|{row.place}|{row.patient}|{row.time}")
        record["source"] = f"{self.batch.name}/{_patient_name(row.patient)} {time or row.time} ({row.place})"
        self._reject(record, reason)

    def _reject_folder(self, patient: PatientFolder, visit: VisitFolder, reason: str) -> None:
        path = visit.path
        row = SheetRow(path, f"患者{patient.number}" if patient.number else "", text=dict.fromkeys(TEXT_FIELDS, ""))
        record = self._record(row, visit.time or "", patient, visit)
        record["visit_key"] = self.keyed.text("folder", f"{path}|{reason}")
        name = unicodedata.normalize("NFKC", os.path.basename(patient.path))
        record["patient"] = name.split("-")[0] if patient.number else ""
        record["source"] = path
        self._reject(record, reason)

    def _reject(self, record: dict[str, Any], reason: str) -> None:
        # the reason is part of what the row is: with another one it is a changed row
        record["fingerprint"] = digest([record["fingerprint"], reason])
        self.out.append(record | rejected(reason))


def _by_day(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """(patient, day) -> the distinct times of that day."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for number, time in dict.fromkeys(keys):
        found[number, time[:10]].append(time)
    return found


def _patient_name(written: str) -> str:
    bare = unicodedata.normalize("NFKC", written).strip()
    return bare if bare.startswith("患者") or not bare else f"患者{bare}"


def _age(written: str) -> int | None:
    found = re.match(r"\s*(\d{1,3})", unicodedata.normalize("NFKC", written))
    years = int(found.group(1)) if found else None
    return years if years is not None and years <= MAX_AGE_YEARS else None


def _gender(written: str | None) -> str | None:
    return {"男": "male", "女": "female", "m": "male", "f": "female"}.get((written or "").strip()[:1].lower())


def _files(files: Sequence[File]) -> list[dict[str, Any]]:
    return [{"path": f.path, "kind": f.kind, "size_bytes": f.size_bytes} for f in files]
