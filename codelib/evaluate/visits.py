"""What a release's table says of its visits: complete-dataset.csv, ours or the published COde's.

    folder ── read_visits(folder, wanted) ──> {checkup id: Visit}    age, gender, images, text in both languages, conditions, sides

The table is somebody else's where the folder was downloaded: columns may be missing, written in other letters, or hold values of another
form. What cannot be read is empty, and counts as not told.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codelib.contracts import TEXT_FIELDS
from codelib.models.conversation import TABLES

KINDS = ("photographs", "radiographs")
_TEXT = tuple(f"{name}{twin}" for name in TEXT_FIELDS for twin in ("", "_cn"))
_GENDERS = {
    "male": "male",
    "m": "male",
    "man": "male",
    "男": "male",
    "female": "female",
    "f": "female",
    "woman": "female",
    "女": "female",
}
_AGE = re.compile(r"(\d{1,3})(?:\.\d+)?(?:\s*(?:岁|years?|y))?", re.IGNORECASE)
_LISTED = re.compile(r"[^,;'\"\[\]]+")  # 'a.jpg,b.jpg' and "['a.jpg', 'b.jpg']" alike
_CHECKUP = re.compile(r"\d{4,}-\d{3,}")
_CODE = re.compile(r"(\d{4,}-\d{3,})-\d{2,}\.\w+$")


@dataclass(frozen=True)
class Visit:
    """One row. ``text``: the text columns by name, those in Chinese with ``_cn``; ``split`` and ``spectrum`` as the table writes them, ""
    where it has no such column."""

    checkup_id: str
    patient: str
    age: int | None  # years
    gender: str  # male | female | ""
    photographs: tuple[str, ...]  # paths inside the release
    radiographs: tuple[str, ...]
    conditions: tuple[str, ...]  # English names of all that is present
    split: str
    spectrum: str
    text: dict[str, str] = field(repr=False)

    @property
    def images(self) -> tuple[str, ...]:
        """In the order in which a question shows them."""
        return (*self.radiographs, *self.photographs)

    def row(self) -> dict[str, Any]:
        """As `codelib.models.visit_question` takes it."""
        return {"age": self.age, "gender": self.gender, **dict.fromkeys(_TEXT, ""), **self.text}


def age(value: str) -> int | None:
    """'35', '35.0', '35岁' -> 35; None where that is no age."""
    found = _AGE.fullmatch(value.strip())
    return int(found.group(1)) if found and int(found.group(1)) <= 130 else None


def gender(value: str) -> str:
    return _GENDERS.get(value.strip().casefold(), "")


def table_file(folder: Path) -> Path | None:
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def columns(folder: Path) -> frozenset[str]:
    """Names of the table's columns, in small letters; empty where there is no table."""
    path = table_file(folder)
    if path is None:
        return frozenset()
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            return frozenset(_name(name) for name in next(csv.reader(lines), []))
        except UnicodeDecodeError:
            raise ValueError(_not_utf8(path)) from None


def read_visits(folder: Path, wanted: Callable[[Visit], bool] = lambda visit: True) -> dict[str, Visit]:
    """The wanted visits of a release, row by row, so that what nobody wants takes no memory. Empty where there is no table. Raises ValueError
    where it is not UTF-8."""
    return {visit.checkup_id: visit for visit in iter_visits(folder) if wanted(visit)}


def iter_visits(folder: Path) -> Iterator[Visit]:
    path = table_file(folder)
    if path is None:
        return
    csv.field_size_limit(2**31 - 1)  # a report may be longer than 128 KiB
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            reader = csv.reader(lines)
            names = [_name(name) for name in next(reader, [])]
            for values in reader:
                visit = _visit(dict(zip(names, values, strict=False)))
                if visit is not None:
                    yield visit
        except UnicodeDecodeError:
            raise ValueError(_not_utf8(path)) from None


def _not_utf8(path: Path) -> str:
    return f"{path}: not UTF-8; save it again as UTF-8"


def _name(column: str) -> str:
    return column.strip().casefold().replace(" ", "_")


def _visit(row: dict[str, str]) -> Visit | None:
    """None for a row that names no checkup."""
    photographs, radiographs = (_listed(row.get(kind, ""), f"Images/{kind.capitalize()}/") for kind in KINDS)
    # the file names first: they are what a question is matched by
    checkup = _checkup_of((*photographs, *radiographs)) or row.get("checkup_id", "").strip()
    if not checkup:
        return None
    return Visit(
        checkup,
        checkup.partition("-")[0] if _CHECKUP.fullmatch(checkup) else row.get("patient_id", "").strip() or checkup,
        age(row.get("age", "")),
        gender(row.get("gender", "")),
        photographs,
        radiographs,
        tuple(dict.fromkeys(part.strip() for part in row.get("anomalies_en", "").split(",") if part.strip())),
        row.get("split", "").strip(),
        row.get("spectrum", "").strip(),
        {name: row[name] for name in _TEXT if row.get(name)},
    )


def _listed(value: str, folder: str) -> tuple[str, ...]:
    names = (part.strip().replace("\\", "/") for part in _LISTED.findall(value))
    return tuple(name if "/" in name else folder + name for name in names if name)


def _checkup_of(images: tuple[str, ...]) -> str:
    found = (_CODE.search(name) for name in images)
    return next((match.group(1) for match in found if match), "")
