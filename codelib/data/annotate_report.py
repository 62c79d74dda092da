"""What a run's diagnoses tell a person: the strings that no list knows, and where the published labels differ from ours.

Both are counts that add up over partitions (`tallies` does that in the workers), so that no table of all visits is ever held.

    unknown = sum((Unknown.of(table) for table in annotated), Unknown())
    unknown.private()                                every string: for private/ alone
    shared_strings(unknown.private(), min_patients=5)    strings that several patients share; the rest as a number
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from codelib.contracts import OK
from codelib.data.annotate import DEFAULT, AnnotateSettings, labels_by_status, published_labels, six_class, teeth_of
from codelib.data.identifiers import contains_identifier
from codelib.dental.condition_context import SEGMENT_END, Segment, segments
from codelib.dental.condition_terms import Dictionary

_DIAGNOSIS = "diagnosis"
_ITEM_ENDS = "、"
_LIST_NUMBER = "0123456789.．)）(（、:：#-—+ \t①②③④⑤⑥⑦⑧⑨⑩？?"
_MAX_SHOWN = 40
_NUMBERS = ("visits", "conditions_differ", "only_published", "only_status", "class_differs")  # of a Comparison
_TO = " -> "


def unknown_parts(row: dict[str, Any], terms: Dictionary) -> Iterator[tuple[int, int, str]]:
    """The parts of a visit's diagnosis in which no condition was found: (start, end, words without teeth and list numbers)."""
    text = row[f"{_DIAGNOSIS}_cn"] or ""
    if row["status"] != OK or not text:
        return
    teeth = teeth_of(row, _DIAGNOSIS)
    found = terms.find(text, [(t["start"], t["end"]) for t in teeth])
    for part in _parts(text, teeth):
        if any(match.start < part.end and part.start < match.end for match in found):
            continue
        if words := _without_teeth(text, part, teeth):
            yield part.start, part.end, words


def _parts(text: str, teeth: list[dict[str, Any]]) -> list[Segment]:
    """Segments, and inside them what stands between 、 that belong to no list of teeth."""
    inside = {at for tooth in teeth for at in range(tooth["start"], tooth["end"])}
    parts = []
    for segment in segments(text):
        start = segment.start
        for at in range(segment.start, segment.end):
            if text[at] in _ITEM_ENDS and at not in inside:
                parts.append(Segment(start, at))
                start = at + 1
        parts.append(Segment(start, segment.end))
    return parts


def _without_teeth(text: str, part: Segment, teeth: list[dict[str, Any]]) -> str:
    inside = {at for tooth in teeth for at in range(tooth["start"], tooth["end"])}
    words = "".join(char for at, char in enumerate(text[part.start : part.end], part.start) if at not in inside)
    words = words.strip(_LIST_NUMBER)
    return "" if SEGMENT_END.fullmatch(words) else words


@dataclass(frozen=True)
class UnknownString:
    words: str
    visits: int
    patients: int


@dataclass
class Unknown:
    """The diagnosis strings that no list knows, with how many visits and which patients wrote them."""

    visits: Counter[str] = field(default_factory=Counter)
    patients: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.Table, settings: AnnotateSettings = DEFAULT) -> Unknown:
        """Those of one BILINGUAL or ANNOTATED table."""
        terms = settings.dictionary()
        found = cls()
        for row in table.select(["checkup_id", "patient_id", f"{_DIAGNOSIS}_cn", "teeth", "status"]).to_pylist():
            for words in dict.fromkeys(words for _, _, words in unknown_parts(row, terms)):
                found.visits[words] += 1
                found.patients.setdefault(words, set()).add(row["patient_id"] or row["checkup_id"])
        return found

    def add(self, words: str, visits: int, patients: Iterable[str]) -> None:
        self.visits[words] += visits
        self.patients.setdefault(words, set()).update(patients)

    def rows(self) -> Iterator[tuple[str, int, set[str]]]:
        """(words, visits, patients): what `add` takes."""
        for words, visits in sorted(self.visits.items()):
            yield words, visits, self.patients[words]

    def __iadd__(self, other: Unknown) -> Unknown:
        """In place: what many partitions add up to is never copied."""
        for row in other.rows():
            self.add(*row)
        return self

    def __add__(self, other: Unknown) -> Unknown:
        total = Unknown()
        total += self
        total += other
        return total

    def private(self) -> list[UnknownString]:
        """Every string, the most frequent first. For private/: a rare string may tell of its patient."""
        rows = [UnknownString(words, visits, len(self.patients[words])) for words, visits in self.visits.items()]
        return sorted(rows, key=lambda row: (-row.visits, row.words))


def shared_strings(rows: Sequence[UnknownString], min_patients: int = 5) -> tuple[list[UnknownString], int, int]:
    """What anybody may see: the strings that so many patients share, and of the rest how many strings and visits there are.

    The text is de-identified, but a string of one patient alone may still be what the rules missed; one that several patients
    share, of the length of a diagnosis, names none of them.
    """
    shared: list[UnknownString] = []
    others = visits = 0
    for row in rows:
        # a missed name of the staff or the clinic is shared by many patients too
        if row.patients >= min_patients and len(row.words) <= _MAX_SHOWN and not contains_identifier(row.words):
            shared.append(row)
        else:
            others, visits = others + 1, visits + row.visits
    return shared, others, visits


def unknown_diagnoses(table: pa.Table, settings: AnnotateSettings = DEFAULT) -> list[tuple[str, int]]:
    """Each string of a table that no list knows, and in how many visits it stands; the most frequent first."""
    return [(row.words, row.visits) for row in Unknown.of(table, settings).private()]


@dataclass(frozen=True)
class Comparison:
    """How often the labels of the paper's substring rule and those by status differ, in visits."""

    visits: int = 0
    conditions_differ: int = 0
    only_published: int = 0  # conditions that the substring rule alone calls present
    only_status: int = 0
    class_differs: int = 0
    classes: Counter[tuple[str, str]] = field(
        default_factory=Counter
    )  # (class by status, class as published) of those that differ

    @classmethod
    def of(cls, table: pa.Table, settings: AnnotateSettings = DEFAULT) -> Comparison:
        """Of one BILINGUAL or ANNOTATED table, whatever ``settings.labels`` says."""
        terms = settings.dictionary()
        total = cls()
        for row in table.to_pylist():
            if row["status"] == OK:
                total += _compared(labels_by_status(row, terms), published_labels(row, terms))
        return total

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.visits + other.visits,
            self.conditions_differ + other.conditions_differ,
            self.only_published + other.only_published,
            self.only_status + other.only_status,
            self.class_differs + other.class_differs,
            self.classes + other.classes,
        )

    def rows(self) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """(name, visits, no patients): what `of_row` reads; the rows of a sum add up to it."""
        for name in _NUMBERS:
            yield name, getattr(self, name), ()
        for (ours, theirs), n in sorted(self.classes.items()):
            yield f"{ours}{_TO}{theirs}", n, ()

    @classmethod
    def of_row(cls, name: str, visits: int) -> Comparison:
        if name in _NUMBERS:
            number: dict[str, Any] = {name: visits}
            return cls(**number)
        ours, theirs = name.split(_TO)
        return cls(classes=Counter({(ours, theirs): visits}))

    def lines(self) -> list[str]:
        """For the run's report: counts alone."""
        if not self.visits:
            return ["labels: no visit to compare"]
        share = 100 / self.visits
        return [
            f"labels: by status and as published differ in {self.conditions_differ} of {self.visits} visits "
            f"({self.conditions_differ * share:.1f} %)",
            f"  conditions only as published {self.only_published}, only by status {self.only_status}",
            f"  six-class label differs in {self.class_differs} visits ({self.class_differs * share:.1f} %)",
            *(f"    {ours} -> {theirs}: {n}" for (ours, theirs), n in sorted(self.classes.items(), key=lambda e: (-e[1], e[0]))),
        ]


def _compared(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Comparison:
    present = {disease["zh"] for disease in ours if disease["status"] == "present"}
    published = {disease["zh"] for disease in theirs}
    classes = (six_class(ours) or "none", six_class(theirs) or "none")
    differs = classes[0] != classes[1]
    return Comparison(
        1,
        int(present != published),
        len(published - present),
        len(present - published),
        int(differs),
        Counter([classes]) if differs else Counter(),
    )
