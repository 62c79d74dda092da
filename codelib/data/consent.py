"""Who may not be in the dataset: the exclusion list, and the tombstones of those who were withdrawn.

    exclude=FILE            12 · 12 2022-03-05 · 12 2022-03-05 09:30     a patient, the visits of a day, a visit; one a line
                            +12                                          taken back: this line counts no more, 12 may come in again
    private/withdrawn.json  keyed hash of such a line -> date, keyed hashes of the released ids that nobody may ever get again

A tombstone counts as the line it was made of, so that a list that is forgotten, or an export that brings the patient again, lets nobody in. It
is made where a line names somebody: in the workspace or in the export. A misspelt line makes none; it is counted, and told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from codelib.core.store import Store
from codelib.data.export import patient_number
from codelib.data.settings import DatasetSettings
from codelib.data.sheets import decode_text
from codelib.data.times import parse_time
from codelib.data.vault import Keyed, Secret

TOMBSTONES = "withdrawn.json"
_BACK = "+"
_MARKS = ",，、;；\t"


@dataclass(frozen=True)
class Lines:
    """The list as its file says it: "12", "12 2022-03-05", "12 2022-03-05 09:30"."""

    out: frozenset[str] = frozenset()
    back: frozenset[str] = frozenset()


def read_list(settings: DatasetSettings) -> Lines:
    """Raises ValueError where the file is not there, a line could be read in two ways (a misread one would let its patient in), or the same
    line is withdrawn and taken back."""
    if settings.exclude is None:
        return Lines()
    place = f"exclude={settings.exclude}"
    store = Store(settings.exclude)
    fs, path = store._open()
    if not fs.isfile(path):
        raise ValueError(f"{place}: no such file; it lists source patient ids, one a line")
    out: set[str] = set()
    back: set[str] = set()
    for number, line in enumerate(decode_text(bytes(fs.cat_file(path)), place).splitlines(), 1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        taken_back = written.startswith(_BACK)
        patient, _, rest = written.removeprefix(_BACK).strip().partition(" ")
        time = parse_time(rest) if rest.strip() else ""
        if not patient or time is None or any(mark in patient for mark in _MARKS):
            raise ValueError(f"{place}: line {number} is neither a patient id nor an id and a visit's time; write one a line")
        (back if taken_back else out).add(f"{patient_number(patient.removesuffix('号'))} {time}".strip())
    if both := out & back:
        raise ValueError(f"{place}: {len(both)} of its lines stand there with {_BACK} and without; leave one of the two")
    return Lines(frozenset(out), frozenset(back))


@dataclass(frozen=True)
class Consent:
    """Who is out. ``hashes``: keyed, of lines and tombstones; a worker gets these, and takes the key from the private room itself."""

    hashes: frozenset[str]
    keyed: Keyed
    _seen: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def match(self, patient: str, time: str) -> str | None:
        """The hash that keeps a visit out: of its patient, of it alone, or of its day. A date alone stands for every visit of that day, on the
        list as in the export."""
        if not self.hashes:
            return None
        number = patient_number(patient)
        told = f"{number} {time}"
        if told not in self._seen:
            asked = [line_hash(self.keyed, line) for line in (number, told.strip(), f"{number} {time[:10]}".strip())]
            if len(time) == 10:
                asked.append(_day_hash(self.keyed, told))
            self._seen[told] = next((one for one in asked if one in self.hashes), None)
        return self._seen[told]

    def excludes(self, patient: str, time: str) -> bool:
        return self.match(patient, time) is not None


def line_hash(keyed: Keyed, line: str) -> str:
    return keyed.text("withdrawn", line)


def _day_hash(keyed: Keyed, line: str) -> str:
    """Under it a visit of which only the day is known finds the line of a visit of that day."""
    number, _, time = line.partition(" ")
    return keyed.text("withdrawn-day", f"{number} {time[:10]}")


def hashes_of(keyed: Keyed, line: str) -> frozenset[str]:
    """A line and, where it names a minute, its day."""
    names_minute = len(line.partition(" ")[2]) > 10
    return frozenset({line_hash(keyed, line), *([_day_hash(keyed, line)] if names_minute else ())})


def consent(lines: Lines, private: Store) -> Consent:
    """In a workspace that has no key yet there are no tombstones either, and any key tells its lines apart."""
    if not private.exists("key"):
        keyed, known = Keyed(b""), {}
    else:
        keyed, known = Secret(private).load(), read_tombstones(private)
    hashes = {one for line in lines.out for one in hashes_of(keyed, line)}
    back = {line_hash(keyed, line) for line in lines.back}
    for name, stone in known.items():
        if name not in back:
            hashes |= {name, *stone["days"]}
    return Consent(frozenset(hashes), keyed)


# tombstones

Tombstones = Mapping[str, Mapping[str, Any]]
"""Hash of a line -> {"date": "2026-11-25", "days": [hash of its day], "ids": [hashes of released ids]}."""


def read_tombstones(private: Store) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = private.read_json(TOMBSTONES) if private.exists(TOMBSTONES) else {}
    return found


def stone_of(keyed: Keyed, line: str) -> dict[str, list[str]]:
    """What a line's tombstone says beside the date; no released ids yet."""
    return {"days": sorted(hashes_of(keyed, line) - {line_hash(keyed, line)}), "ids": []}


def bury(private: Store, stones: Mapping[str, Mapping[str, list[str]]], lines: Lines, today: date | None = None) -> None:
    """Add tombstones, and take those away whose lines were taken back. stones: hash of a line -> `stone_of` it, with its released ids."""
    keyed = Secret(private).load()
    before = read_tombstones(private)
    known = dict(before)
    for line in lines.back:
        known.pop(line_hash(keyed, line), None)
    for name, new in stones.items():
        stone = known.get(name, {"date": str(today or date.today()), "days": [], "ids": []})
        known[name] = stone | {part: sorted({*stone[part], *new[part]}) for part in ("days", "ids")}
    if known != before:
        private.commit_json(TOMBSTONES, known)


def id_hash(keyed: Keyed, released: str) -> str:
    """Of a patient's code or a checkup id: who gets a new one is not given this."""
    return keyed.text("withdrawn-id", released)


def buried_ids(private: Store) -> frozenset[str]:
    return frozenset(one for stone in read_tombstones(private).values() for one in stone["ids"])
