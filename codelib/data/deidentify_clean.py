"""One field of a visit without its identifiers, and what is still suspicious in it.

    text ─ found (own identifiers, names, forms, dates, ages, what a person marked) ─ placeholders ─ residual scan ─ Cleaned

The residual scan sees replaced stretches as barriers: no finding reaches across one.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from codelib.data.clinic_names import NO_LISTS, ClinicLists
from codelib.data.dates_in_text import Mode, find_dates, find_unread_dates
from codelib.data.gazetteer import Gazetteer
from codelib.data.identifiers import (
    BARRIER,
    Finding,
    find_disguised,
    find_long_runs,
    find_old_ages,
    find_patterns,
    find_person_names,
    find_split_mobiles,
    find_tagged_persons,
    mask_placeholders,
    merge,
)
from codelib.data.person_names_lists import simplify
from codelib.data.person_names_rare import family_length

OLDEST_AGE = 90
_CALLED = {"NUMBER": "RECORD_NO"}  # a run of digits that a person calls an identifier has no form of its own


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

    def before(self, start: int, end: int) -> tuple[int, int]:
        """A span of the new text in the original; a replaced stretch that it touches counts whole."""
        first, last, shift = start, end, 0
        for edit_start, edit_end, length in self.edits:
            new_start, new_end = edit_start + shift, edit_start + shift + length
            grown = length - (edit_end - edit_start)
            if new_end <= start:
                first -= grown
                last -= grown
            elif new_start < end:
                first = min(first, edit_start) if start < new_start else edit_start
                last = max(edit_end, last - grown) if end > new_end else edit_end
            shift += grown
        return first, last


@dataclass(frozen=True)
class Calendar:
    """How the dates of a visit move: the policy, the visit's true day, the patient's offset."""

    mode: Mode
    visit: dt.date
    shift_days: int


def find_names(text: str, lists: ClinicLists = NO_LISTS, *, certain: bool = True) -> list[Finding]:
    """`identifiers.find_person_names` without what the clinic's own words explain."""
    found = find_person_names(text, certain=certain)
    return [f for f in found if not lists.explains(text, f.start, f.end, spare=0 if certain else 1)]


def _tagged(text: str, lists: ClinicLists) -> list[Finding]:
    """What the trained tagger suspects, without what the clinic's own words explain: 纽白特 explains 予纽白特, and not 王纽白特."""
    found = []
    for f in find_tagged_persons(text):
        drawn_in = f.end - f.start > 1 and not family_length(simplify(text[f.start : f.end]), 0)
        starts = (f.start, f.start + 1) if drawn_in else (f.start,)
        if not any(lists.explains(text, start, f.end, spare=1) for start in starts):
            found.append(f)
    return found


def clean(
    text: str,
    gazetteer: Gazetteer,
    calendar: Calendar,
    marked: Sequence[Finding] = (),
    lists: ClinicLists = NO_LISTS,
    tagger: bool = True,
) -> Cleaned:
    """One field: everything found is replaced, then the result is scanned again.

    ``marked``: places in ``text`` that a person called identifiers. ``lists``: for its words; its names are in ``gazetteer``.
    ``tagger``: whether a trained tagger is asked for names too. Raises InputError where its package is missing.
    """
    found = merge([*gazetteer.find(text), *find_names(text, lists), *find_patterns(text), *marked])
    edits = [(f.start, f.end, f"[{_CALLED.get(f.cls, f.cls)}]", _CALLED.get(f.cls, f.cls)) for f in found]
    dates = [(d.start, d.end, d.text, "DATE") for d in find_dates(text, calendar.mode, calendar.visit, calendar.shift_days)]
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
    scanned = "".join([*masked, text[at:]])
    residual = _residual(scanned, gazetteer, lists, tagger) + find_unread_dates(scanned, calendar.mode, calendar.visit)
    return Cleaned("".join([*pieces, text[at:]]), removed, tuple(places), tuple(merge(residual)))


def _residual(text: str, gazetteer: Gazetteer, lists: ClinicLists, tagger: bool) -> list[Finding]:
    """What still looks like an identifier in a text whose replaced stretches are barriers. Placeholders count as nothing too."""
    masked = mask_placeholders(text)
    found = [f for f in find_patterns(masked) if f.cls != "DATE"]
    found += find_names(masked, lists) + find_names(masked, lists, certain=False)
    found += _tagged(masked, lists) if tagger else []
    found += find_long_runs(masked) + find_split_mobiles(masked)
    found += [f for f in find_disguised(masked) if f.cls != "NAME" or not lists.explains(masked, f.start, f.end)]
    return found + gazetteer.find(masked) + gazetteer.hidden(masked)
