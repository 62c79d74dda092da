"""How many patients of the release share what an outsider may know of one of them: age, sex, date, diagnosis.

    rows ─ (age band, gender, date, diagnosis) ─ number of patients of each combination, counted up to a bound ─ table of visits by k

k of a visit is the number of different patients with the same combination (Sweeney 2002, k-anonymity): visits of one patient do not hide each
other. A combination keeps at most ``count_to`` patients, so what the driver holds grows with the combinations, not with the data.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from codelib.contracts import OK
from codelib.core.config import Settings
from codelib.core.stage import Part, read_part

COLUMNS = ("patient_id", "checkup_time", "age", "gender", "diseases", "six_class", "status")


class KAnonymitySettings(Settings):
    """What an outsider is taken to know, and how finely."""

    age_band_years: int = Field(5, ge=1, le=100)
    date: Literal["day", "month", "year"] = "month"  # of the released checkup_time: shifted under deidentify.dates=shift
    diagnosis: Literal["class", "conditions"] = "class"  # the six-class label, or all conditions that are present
    levels: tuple[int, ...] = Field((2, 3, 5, 10, 20), min_length=1)


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


def _attributes(row: Mapping[str, Any], settings: KAnonymitySettings) -> dict[str, str]:
    age, band = row["age"], settings.age_band_years
    present = sorted({d["en"] for d in row["diseases"] or () if d["status"] == "present"})
    return {
        "age": "" if age is None else str(age // band * band),
        "gender": row["gender"] or "",
        "date": (row["checkup_time"] or "")[: _DATE_CHARS[settings.date]],
        "diagnosis": (row["six_class"] or "") if settings.diagnosis == "class" else ", ".join(present),
    }


def measure(annotated: Iterable[Part], settings: KAnonymitySettings) -> KAnonymity:
    """Over the partitions of `annotated`, one at a time."""
    found = KAnonymity(settings)
    for part in annotated:
        for row in read_part(part, COLUMNS, ok_only=True).to_pylist():
            assert row["status"] == OK
            found.add(row)
    return found


def as_text(table: Sequence[Mapping[str, Any]]) -> str:
    """The table for a person."""
    levels = list(table[0]["visits_below"]) if table else []
    lines = [f"{'known of a patient':<34}{'combinations':>13}{'smallest k':>11}" + "".join(f"{'k<' + k:>8}" for k in levels)]
    for row in table:
        counts = "".join(f"{row['visits_below'][k]:>8}" for k in levels)
        lines.append(f"{', '.join(row['known']):<34}{row['combinations']:>13}{row['smallest_k']:>11}{counts}")
    return "\n".join(lines)
