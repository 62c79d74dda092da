"""De-identification: text -> deidentified. Where a patient's identity stops.

    field ─ own identifiers (columns of the visit, staff of the batch) ─┐
          ─ names by role, title or form                                ├─ spans ─ placeholders ─ residual scan ─┬─ ok
          ─ forms: phone, ID card, account, address, …                  │          [NAME] …       (again, harder)  └─ rejected
          ─ dates moved by the patient's offset, ages over 89 as 90   ──┘

It fails closed: where the residual scan still sees something, the whole visit is held back as ``deidentify:residual`` with every
text field emptied, and `review_queue` tells a person (in private/) where it stands. What was removed is counted by field and
class; the value appears in no table, message or log.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from codelib.contracts import DEIDENTIFIED, OK, TEXT_FIELDS, rejected
from codelib.core.config import Settings
from codelib.data.dates_in_text import Mode, find_dates, find_unread_dates, shift_time
from codelib.data.gazetteer import Gazetteer
from codelib.data.identifiers import (
    BARRIER,
    Finding,
    find_long_runs,
    find_old_ages,
    find_patterns,
    find_person_names,
    find_split_mobiles,
    mask_placeholders,
    merge,
)

OLDEST_AGE = 90
_EXCERPT_CHARS = 20


class DeidentifySettings(Settings):
    dates: Mode = "shift"
    """shift: checkup_time and the dates in the text move by the patient's own offset; year: only the year stays."""


@dataclass(frozen=True)
class Cleaned:
    """A field after replacement: its text, what was removed by class, and the map of places into it."""

    text: str
    removed: Counter[str]
    edits: tuple[tuple[int, int, int], ...]  # start, end in the original, length of what stands there now
    residual: tuple[Finding, ...] = field(default=())  # places in ``text``

    def moved(self, start: int, end: int) -> tuple[int, int] | None:
        """A span of the original in the new text; None where it touches a removed stretch."""
        shift = 0
        for edit_start, edit_end, length in self.edits:
            if start < edit_end and end > edit_start:
                return None
            if edit_end <= start:
                shift += length - (edit_end - edit_start)
        return start + shift, end + shift


def clean(text: str, gazetteer: Gazetteer, mode: Mode, visit: dt.date, shift_days: int) -> Cleaned:
    """One field: everything found is replaced, then the result is scanned again."""
    found = merge([*gazetteer.find(text), *find_person_names(text), *find_patterns(text)])
    edits = [(f.start, f.end, f"[{f.cls}]", f.cls) for f in found]
    dates = [(d.start, d.end, d.text, "DATE") for d in find_dates(text, mode, visit, shift_days)]
    ages = [(f.start, f.end, f"{OLDEST_AGE}岁以上", "AGE") for f in find_old_ages(text)]
    for extra in (*dates, *ages):
        if not any(extra[0] < end and extra[1] > start for start, end, _, _ in edits):
            edits.append(extra)
    removed: Counter[str] = Counter()
    pieces, masked, places, at = [], [], [], 0
    for start, end, replacement, cls in sorted(edits):
        pieces += [text[at:start], replacement]
        masked += [text[at:start], BARRIER * len(replacement)]
        places.append((start, end, len(replacement)))
        removed[cls] += 1
        at = end
    cleaned = "".join([*pieces, text[at:]])
    found_again = _residual("".join([*masked, text[at:]]), gazetteer) + find_unread_dates(
        "".join([*masked, text[at:]]), mode, visit
    )
    return Cleaned(cleaned, removed, tuple(places), tuple(merge(found_again)))


def _residual(text: str, gazetteer: Gazetteer) -> list[Finding]:
    """What still looks like an identifier in a text whose replaced stretches are barriers. Placeholders count as nothing too."""
    masked = mask_placeholders(text)
    found = [f for f in find_patterns(masked) if f.cls != "DATE"]
    found += find_person_names(masked) + find_person_names(masked, certain=False)
    found += find_long_runs(masked) + find_split_mobiles(masked)
    return found + gazetteer.find(masked) + gazetteer.hidden(masked)


@dataclass(frozen=True)
class _Visit:
    """One ok row with its code, cleaned."""

    row: dict[str, Any]
    code: dict[str, Any]
    checkup_time: str
    fields: dict[str, Cleaned]
    name_unclear: bool

    @property
    def residual(self) -> bool:
        return self.name_unclear or any(cleaned.residual for cleaned in self.fields.values())


def _codes_by_visit(table: pa.Table, codes: pa.Table) -> dict[str, dict[str, Any]]:
    known = {code["visit_key"]: code for code in codes.to_pylist()}
    ok = zip(table["visit_key"].to_pylist(), table["status"].to_pylist(), strict=True)
    missing = [key for key, status in ok if status == OK and key not in known]
    assert not missing, f"{len(missing)} visits have no code, first {missing[0]}"
    return known


def _gazetteer(row: dict[str, Any]) -> Gazetteer:
    """The identifiers of the row, and the names that a role gives away in any of its fields."""
    texts = [row[name] or "" for name in TEXT_FIELDS]
    return Gazetteer(row["identifiers"]).and_names(text[f.start : f.end] for text in texts for f in find_person_names(text))


def _visits(table: pa.Table, codes: pa.Table, settings: DeidentifySettings) -> Iterator[_Visit]:
    known = _codes_by_visit(table, codes)
    for row in table.to_pylist():
        if row["status"] != OK:
            continue
        code = known[row["visit_key"]]
        gazetteer = _gazetteer(row)
        checkup_time, day = shift_time(row["checkup_time"], settings.dates, code["date_shift_days"])
        fields = {name: clean(row[name] or "", gazetteer, settings.dates, day, code["date_shift_days"]) for name in TEXT_FIELDS}
        yield _Visit(row, code, checkup_time, fields, gazetteer.unclear)


def _teeth(visit: _Visit) -> list[dict[str, Any]]:
    teeth = []
    for tooth in visit.row["teeth"] or []:
        span = visit.fields[tooth["field"]].moved(tooth["start"], tooth["end"])
        if span:
            teeth.append(tooth | {"start": span[0], "end": span[1]})
    return teeth


def _released(visit: _Visit) -> dict[str, Any]:
    age = visit.row["age"]
    row: dict[str, Any] = {
        "checkup_id": visit.code["checkup_id"],
        "patient_id": visit.code["patient_id"],
        "visit_key": visit.row["visit_key"],
        "checkup_time": visit.checkup_time,
        "age": None if age is None else min(age, OLDEST_AGE),
        "gender": visit.row["gender"],
        "removed": [
            {"field": name, "class": cls, "count": count}
            for name, cleaned in visit.fields.items()
            for cls, count in sorted(cleaned.removed.items())
        ],
    }
    if visit.residual:
        return row | dict.fromkeys(TEXT_FIELDS, "") | {"teeth": [], "removed": []} | rejected("deidentify:residual")
    texts = {name: cleaned.text for name, cleaned in visit.fields.items()}
    return row | texts | {"teeth": _teeth(visit), "status": OK, "reject_reason": None}


def deidentify(table: pa.Table, codes: pa.Table, settings: DeidentifySettings) -> pa.Table:
    """TEXT -> DEIDENTIFIED. ``codes``: visit_key, checkup_id, patient_id, date_shift_days, one row for each ok visit at least.

    Rows that were rejected before have no code and no checkup_id: they are counted in the ledger already and do not go on.
    """
    return pa.Table.from_pylist([_released(visit) for visit in _visits(table, codes, settings)], schema=DEIDENTIFIED.schema)


def review_queue(table: pa.Table, codes: pa.Table, settings: DeidentifySettings) -> list[dict[str, Any]]:
    """Why each visit was held back, for a person. PRIVATE: places and excerpt are of the text after replacement."""
    queue = []
    for visit in _visits(table, codes, settings):
        keys = {"visit_key": visit.row["visit_key"], "checkup_id": visit.code["checkup_id"]}
        if visit.name_unclear:
            queue.append(keys | {"field": "", "class": "NAME_COLUMN", "start": 0, "end": 0, "excerpt": ""})
        for name, cleaned in visit.fields.items():
            for finding in cleaned.residual:
                left, right = max(0, finding.start - _EXCERPT_CHARS), finding.end + _EXCERPT_CHARS
                queue.append(
                    keys
                    | {
                        "field": name,
                        "class": finding.cls,
                        "start": finding.start,
                        "end": finding.end,
                        "excerpt": cleaned.text[left:right],
                    }
                )
    return queue
