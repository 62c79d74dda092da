"""What the figures count: a small table for each partition, and the sums of all of them.

    annotated + split ──count──> figure, category, split, n, a few patients     one table a partition
    those tables ──Sums.add──> totals on the driver                             what grows with the data there: a number for each patient

A bar must not stand for too few patients, and a patient's visits may lie in several partitions. So each count carries the codes of at most
``min_patients`` different patients: enough to tell, after any number of unions, whether there are that many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from codelib.contracts import Contract
from codelib.models.words import SECTIONS

PATIENT = "patient"  # the figure whose categories are patients: n is the checkups of one
CONDITION = "condition"
UNKNOWN = ""  # the category of what the record does not say
SEVERAL, NO_CLASS = "several", "none"  # of the six classes
LENGTH_BIN = 10  # words, or characters: lengths are counted in bins of this width
SPLITS = ("train", "validation", "test", "excluded")

STATISTICS = Contract(
    "statistics",
    1,
    ("figure", "category", "category_cn", "split"),
    pa.schema(
        [
            ("figure", pa.string()),
            ("category", pa.string()),  # of a number: its digits, of a length: the lower bound of its bin
            ("category_cn", pa.string()),  # the Chinese name of a condition, else ""
            ("split", pa.string()),
            ("n", pa.int64()),
            ("patients", pa.list_(pa.string())),  # released codes, at most min_patients; none where the category is a patient
            ("gender", pa.string()),  # of a patient: male | female | both (its visits disagree) | "" where not recorded
        ]
    ),
)
_TEXT = tuple(SECTIONS)
COLUMNS = (
    *("checkup_id", "patient_id", "checkup_time", "age", "gender", "diseases", "visit_key", "status"),
    *_TEXT,
    *(f"{name}_cn" for name in _TEXT),
)
SPLIT_COLUMNS = ("checkup_id", "split", "photographs", "radiographs", "visit_key", "status")


def count(annotated: pa.Table, split: pa.Table, min_patients: int) -> pa.Table:
    """STATISTICS of one partition: of its visits that are in the release."""
    sums = Sums(min_patients)
    places = {row["checkup_id"]: row for row in split.to_pylist()}
    for visit in annotated.to_pylist():
        if place := places.get(visit["checkup_id"]):
            patient, side = visit["patient_id"], place["split"]
            sums.add_patient(patient, side, 1, visit["gender"] or UNKNOWN)
            for figure, category, chinese in _categories(visit, place):
                sums.bars[figure][side][category, chinese].add(1, (patient,), min_patients)
    return pa.Table.from_pylist(list(sums.rows()), schema=STATISTICS.schema)


def _categories(visit: dict[str, Any], place: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(figure, category, Chinese name) of one visit: one of each figure, but of the conditions as many as are present."""
    present = [d for d in visit["diseases"] or () if d["status"] == "present"]
    classes = {d["six_class"] for d in present if d["six_class"]}
    names = {d["en"]: d["zh"] for d in sorted(present, key=lambda d: d["zh"], reverse=True)}
    yield "age", UNKNOWN if visit["age"] is None else str(visit["age"]), ""
    yield "year", (visit["checkup_time"] or "")[:4], ""
    yield "photographs", str(len(place["photographs"])), ""
    yield "radiographs", str(len(place["radiographs"])), ""
    yield "conditions_per_checkup", str(len(names)), ""
    yield "six_classes", SEVERAL if len(classes) > 1 else next(iter(classes), NO_CLASS), ""
    words = sum(len(visit[name].split()) for name in _TEXT)
    characters = sum(len("".join(visit[f"{name}_cn"].split())) for name in _TEXT)
    yield "report_words", str(words // LENGTH_BIN * LENGTH_BIN), ""
    yield "report_characters", str(characters // LENGTH_BIN * LENGTH_BIN), ""
    for english, chinese in names.items():
        yield CONDITION, english, chinese


@dataclass
class Count:
    """How many, and of how many different patients: exact below the bound."""

    n: int = 0
    patients: set[str] = field(default_factory=set)

    def add(self, n: int, patients: Iterable[str], bound: int) -> None:
        self.n += n
        for patient in sorted(patients):  # sorted: the same codes in the table, run after run
            if len(self.patients) >= bound:
                break
            self.patients.add(patient)


_Bars = dict[tuple[str, str], Count]


@dataclass
class Sums:
    """Counts by figure, split and category; and of each patient the checkups by split, and the gender."""

    min_patients: int
    bars: dict[str, dict[str, _Bars]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(Count)))
    )
    checkups: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # split -> patient -> checkups
    gender: dict[str, str] = field(default_factory=dict)

    def add_patient(self, patient: str, split: str, n: int, gender: str) -> None:
        self.checkups[split][patient] += n
        known = self.gender.setdefault(patient, gender)
        if known != gender and gender != UNKNOWN:
            self.gender[patient] = gender if known == UNKNOWN else _BOTH

    def add(self, table: pa.Table) -> None:
        """One partition's STATISTICS."""
        columns = (table[name].to_pylist() for name in STATISTICS.schema.names)
        for figure, category, chinese, split, n, patients, gender in zip(*columns, strict=True):
            if figure == PATIENT:
                self.add_patient(category, split, n, gender)
            else:
                self.bars[figure][split][category, chinese].add(n, patients, self.min_patients)

    def rows(self) -> Iterator[dict[str, Any]]:
        """STATISTICS rows, in a fixed order."""
        for figure, sides in sorted(self.bars.items()):
            for split, bars in sorted(sides.items()):
                for (category, chinese), count in sorted(bars.items()):
                    yield _row(figure, category, split, count.n, category_cn=chinese, patients=sorted(count.patients))
        for split, patients in sorted(self.checkups.items()):
            for patient, n in sorted(patients.items()):
                yield _row(PATIENT, patient, split, n, gender=self.gender[patient])

    # what the figures ask for

    def of(self, figure: str, splits: Iterable[str] = SPLITS) -> dict[tuple[str, str], Count]:
        """The counts of some splits together, by category and Chinese name."""
        total: dict[tuple[str, str], Count] = {}
        for split in splits:
            for key, count in self.bars[figure][split].items():
                total.setdefault(key, Count()).add(count.n, count.patients, self.min_patients)
        return total

    def patients(self, splits: Iterable[str] = SPLITS) -> Counter[str]:
        """patient -> checkups in these splits."""
        total: Counter[str] = Counter()
        for split in splits:
            total.update(self.checkups[split])
        return total


_BOTH = "both"


def _row(figure: str, category: str, split: str, n: int, **more: Any) -> dict[str, Any]:
    row = {"category_cn": "", "patients": [], "gender": None, **more}
    return {"figure": figure, "category": category, "split": split, "n": n} | row
