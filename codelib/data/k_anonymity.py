"""How many patients of the release share what an outsider may know of one of them: age, sex, date, diagnosis.

    rows ─ (age band, gender, date, diagnosis) ─ number of patients of each combination, counted up to a bound ─ table of visits by k

k of a visit is the number of different patients with the same combination (Sweeney 2002, k-anonymity): visits of one patient do not hide each
other. A combination keeps at most as many patients as the highest level asks about, so what is held grows with the combinations, not with the
data. Counted in the workers (`tallies`), over released visits; the driver gets the table.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from codelib.core.config import Settings


class KAnonymitySettings(Settings):
    """What an outsider is taken to know, and how finely. No part of the settings' fingerprint: only the report depends on it."""

    age_band_years: int = Field(5, ge=1, le=100, exclude=True)
    date: Literal["day", "month", "year"] = Field("month", exclude=True)
    """Of the released checkup_time: shifted under deidentify.dates=shift."""
    diagnosis: Literal["class", "conditions"] = Field("class", exclude=True)
    """The six-class label, or all conditions that are present."""
    levels: tuple[int, ...] = Field((2, 3, 5, 10, 20), min_length=1, exclude=True)

    def identity(self) -> dict[str, Any]:
        """For the key of the stages that count."""
        return {
            "age_band_years": self.age_band_years,
            "date": self.date,
            "diagnosis": self.diagnosis,
            "levels": list(self.levels),
        }


QUASI_IDENTIFIERS: tuple[tuple[str, ...], ...] = (
    ("age", "gender"),
    ("age", "gender", "date"),
    ("age", "gender", "diagnosis"),
    ("age", "gender", "date", "diagnosis"),
)
_DATE_CHARS = {"day": 10, "month": 7, "year": 4}


@dataclass
class KAnonymity:
    """visits and (up to a bound) patients of each combination of each set of attributes."""

    settings: KAnonymitySettings
    visits: dict[tuple[str, ...], Counter[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    patients: dict[tuple[str, ...], dict[tuple[str, ...], set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )

    def add(self, row: Mapping[str, Any]) -> None:
        """One released visit."""
        values = _attributes(row, self.settings)
        bound = max(self.settings.levels)
        for names in QUASI_IDENTIFIERS:
            combination = tuple(values[name] for name in names)
            self.visits[names][combination] += 1
            known = self.patients[names][combination]
            if len(known) < bound:
                known.add(row["patient_id"])

    def rows(self) -> Iterator[tuple[str, int, set[str]]]:
        """(set of attributes and combination, visits, patients): what `add_group` takes."""
        for names in QUASI_IDENTIFIERS:
            for combination, visits in sorted(self.visits[names].items()):
                yield json.dumps([names, combination], ensure_ascii=False), visits, self.patients[names][combination]

    def add_group(self, name: str, visits: int, patients: Iterable[str]) -> None:
        """A group of visits that was counted elsewhere."""
        names, combination = (tuple(values) for values in json.loads(name))
        self.visits[names][combination] += visits
        known = self.patients[names][combination]
        for patient in patients:
            if len(known) < max(self.settings.levels):
                known.add(patient)

    def below(self, names: tuple[str, ...], k: int) -> int:
        """Visits whose combination fewer than ``k`` patients share."""
        return sum(n for combination, n in self.visits[names].items() if len(self.patients[names][combination]) < k)

    def table(self) -> list[dict[str, Any]]:
        """A row for each set of attributes: number of combinations, the smallest k, visits below each level."""
        rows = []
        for names in QUASI_IDENTIFIERS:
            sizes = [len(found) for found in self.patients[names].values()]
            rows.append(
                {
                    "known": list(names),
                    "combinations": len(sizes),
                    "smallest_k": min(sizes, default=0),
                    "visits": self.visits[names].total(),
                    "visits_below": {str(k): self.below(names, k) for k in self.settings.levels},
                }
            )
        return rows

    def numbers(self) -> Iterator[tuple[str, int]]:
        """The table as (name, number), for a table of counts; `table_of` reads it."""
        for row in self.table():
            for name in ("combinations", "smallest_k", "visits"):
                yield json.dumps([row["known"], name]), row[name]
            for k, visits in row["visits_below"].items():
                yield json.dumps([row["known"], "visits_below", k]), visits

    @staticmethod
    def table_of(numbers: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
        rows: dict[tuple[str, ...], dict[str, Any]] = {}
        for place, number in numbers:
            known, name, *k = json.loads(place)
            row = rows.setdefault(tuple(known), {"known": known, "visits_below": {}})
            (row[name] if k else row)[k[0] if k else name] = number
        return list(rows.values())


def _attributes(row: Mapping[str, Any], settings: KAnonymitySettings) -> dict[str, str]:
    age, band = row["age"], settings.age_band_years
    present = sorted({d["en"] for d in row["diseases"] or () if d["status"] == "present"})
    return {
        "age": "" if age is None else str(age // band * band),
        "gender": row["gender"] or "",
        "date": (row["checkup_time"] or "")[: _DATE_CHARS[settings.date]],
        "diagnosis": (row["six_class"] or "") if settings.diagnosis == "class" else ", ".join(present),
    }


def as_text(table: Sequence[Mapping[str, Any]]) -> str:
    """The table for a person."""
    levels = list(table[0]["visits_below"]) if table else []
    lines = [f"{'known of a patient':<34}{'combinations':>13}{'smallest k':>11}" + "".join(f"{'k<' + k:>8}" for k in levels)]
    for row in table:
        counts = "".join(f"{row['visits_below'][k]:>8}" for k in levels)
        lines.append(f"{', '.join(row['known']):<34}{row['combinations']:>13}{row['smallest_k']:>11}{counts}")
    return "\n".join(lines)
