"""What changed between two releases: checkups that came, went or changed, by column; sides that moved; images; settings.

OLDER/complete-dataset.csv ──a digest a checkup──┐
NEWER/complete-dataset.csv ──────────────────────┴─> came, went, changed ─(both read again, changed ones only)─> by column
SHA256SUMS of both ──────> images that came, went or have other bytes          manifest.json of both ──> settings that differ
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codelib.data.verify_files import read_sums

TABLE = "complete-dataset.csv"
CAME, WENT, CHANGED, MOVED = "came", "went", "changed", "moved"
_COUNTER = "id"  # the row's number in its file, which every added checkup shifts


@dataclass
class Difference:
    """checkups: (checkup_id, came | went | changed | moved, columns), by id. moved: from train, validation or test to another of them."""

    before: int = 0
    after: int = 0
    checkups: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    columns: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    settings: list[tuple[str, Any, Any]] = field(default_factory=list)

    def of(self, kind: str) -> int:
        return sum(found == kind for _, found, _ in self.checkups)

    def text(self) -> str:
        """For a terminal: counts, then what a reader of an older copy must know."""
        lines = [
            f"checkups   {self.before:,} before, {self.after:,} now: "
            + ", ".join(f"{self.of(k):,} {k}" for k in (CAME, WENT, CHANGED, MOVED))
        ]
        lines.append("images     " + ", ".join(f"{self.images[k]:,} {k}" for k in (CAME, WENT, CHANGED)))
        if self.columns:
            lines.append("columns    " + ", ".join(f"{name} in {n:,}" for name, n in sorted(self.columns.items())))
        lines += [f"setting    {name}: {before} -> {after}" for name, before, after in self.settings]
        if self.of(MOVED):
            lines.append(
                "note       checkups that moved were trained on or tested with before: scores of the two releases do not compare"
            )
        if self.of(WENT):
            lines.append(
                "note       checkups that went may have been withdrawn: remove them from every copy, and models trained on them remember"
            )
        return "\n".join(lines)

    def write_csv(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("checkup_id", "change", "columns"))
            writer.writerows((checkup_id, kind, " ".join(columns)) for checkup_id, kind, columns in self.checkups)


def compare(older: Path, newer: Path) -> Difference:
    """Raises ValueError where one of them is no release, or was not finished."""
    for folder in (older, newer):
        if (folder / "INCOMPLETE").exists():
            raise ValueError(f"{folder} holds INCOMPLETE: its build did not finish; compare finished releases")
    sums = read_sums(older), read_sums(newer)
    found = Difference()
    before = {row["checkup_id"]: (_digest(row), row.get("split", "")) for row in _rows(older)}
    changed, moved, there = set(), set(), set()
    came = []
    for row in _rows(newer):
        checkup_id = row["checkup_id"]
        there.add(checkup_id)
        if checkup_id not in before:
            came.append(checkup_id)
        elif before[checkup_id][0] != _digest(row):
            changed.add(checkup_id)
            if {before[checkup_id][1], row.get("split", "")} <= {"train", "validation", "test"} and before[checkup_id][1] != row[
                "split"
            ]:
                moved.add(checkup_id)
    columns = _columns(older, newer, changed)
    found.before, found.after = len(before), len(there)
    found.checkups = sorted(
        [(one, CAME, ()) for one in came]
        + [(one, WENT, ()) for one in before.keys() - there]
        + [(one, MOVED if one in moved else CHANGED, columns[one]) for one in changed]
    )
    for names in columns.values():
        found.columns.update(names)
    found.images = _images(*sums)
    found.settings = _settings(older, newer)
    return found


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)  # a report may be longer than 128 KiB
    path = folder / TABLE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {TABLE}: is it the folder of a release?")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        if "checkup_id" not in (reader.fieldnames or ()):
            raise ValueError(f"{path} has no column checkup_id; it is no table of a release")
        yield from reader


def _digest(row: Mapping[str, str]) -> bytes:
    values = [(name, value) for name, value in row.items() if name != _COUNTER]
    return hashlib.blake2b(repr(values).encode(), digest_size=12).digest()


def _columns(older: Path, newer: Path, changed: set[str]) -> dict[str, tuple[str, ...]]:
    before = {row["checkup_id"]: row for row in _rows(older) if row["checkup_id"] in changed}
    found = {}
    for row in _rows(newer):
        if row["checkup_id"] in changed:
            old = before[row["checkup_id"]]
            names = (name for name in {**old, **row} if name != _COUNTER and old.get(name) != row.get(name))
            found[row["checkup_id"]] = tuple(sorted(names))
    return found


def _images(before: Mapping[str, str], after: Mapping[str, str]) -> Counter[str]:
    old, new = ({name: value for name, value in sums.items() if name.startswith("Images/")} for sums in (before, after))
    same = sum(old[name] == new[name] for name in old.keys() & new.keys())
    return Counter(
        {CAME: len(new.keys() - old.keys()), WENT: len(old.keys() - new.keys()), CHANGED: len(old.keys() & new.keys()) - same}
    )


def _settings(older: Path, newer: Path) -> list[tuple[str, Any, Any]]:
    flat = [dict(_flat(_manifest(folder))) for folder in (older, newer)]
    names = sorted({**flat[0], **flat[1]})
    return [(name, flat[0].get(name), flat[1].get(name)) for name in names if flat[0].get(name) != flat[1].get(name)]


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():  # the published dataset has none
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not JSON; get the copy again") from None
    return {name: known.get(name) for name in ("code_version", "contracts", "settings")}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
