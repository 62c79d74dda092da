"""Split: by patient, stratified on the six classes, stable when the export grows.

    annotated + images (keys only, on the driver) ──decide──> train | test | excluded ──> one split table a partition

Benchmark-eligible is a visit with exactly one of the six classes and an image. A test patient's other visits are excluded: they stand in
the CSV and in neither split.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import field_validator

from codelib.contracts import OK, SPLIT, rejected
from codelib.core.config import Settings


class SplitSettings(Settings):
    unit: Literal["patient", "checkup"] = "patient"  # checkup repeats the paper, whose patients stand on both sides
    test_size: int | float = 0.2  # visits, or below 1 the share of the eligible visits

    @field_validator("test_size")
    @classmethod
    def _positive(cls, value: int | float) -> int | float:
        if value < 0 or (value >= 1 and value != int(value)):
            raise ValueError("a number of visits (600), or a share of them below 1 (0.2)")
        return value


@dataclass(frozen=True)
class Candidate:
    checkup_id: str
    patient_id: str
    six_class: str | None
    num_images: int


@dataclass(frozen=True)
class Decision:
    split: str  # train | test | excluded
    why: str


def decide(
    candidates: Iterable[Candidate], settings: SplitSettings, seed: int, previous: Mapping[str, Decision] | None = None
) -> dict[str, Decision]:
    """checkup_id -> decision. Visits decided before keep their place.

    Raises ValueError where more test visits are asked for than are eligible.
    """
    rows = sorted((c for c in candidates if c.num_images), key=lambda c: c.checkup_id)
    eligible = [c for c in rows if c.six_class]
    quota = _quota(eligible, settings)
    decisions = {c.checkup_id: _still(c, previous[c.checkup_id]) for c in rows if c.checkup_id in previous} if previous else {}
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for row in rows:
        groups[row.patient_id if settings.unit == "patient" else row.checkup_id].append(row)
    # an excluded visit is a test patient's
    sides = {_group(c, settings): "train" if d.split == "train" else "test" for c in rows if (d := decisions.get(c.checkup_id))}
    for row in eligible:
        if row.checkup_id in decisions and decisions[row.checkup_id].split == "test":
            quota[row.six_class or ""] -= 1
    for name in sorted(groups, key=lambda g: hashlib.sha256(f"{seed}/{g}".encode()).hexdigest()):
        new = [c for c in groups[name] if c.checkup_id not in decisions]
        side = sides.get(name)
        if side is None:
            side = "test" if any(c.six_class and quota[c.six_class] > 0 for c in new) else "train"
        for row in new:
            decisions[row.checkup_id] = _place(row, side, quota)
    return decisions


def _still(row: Candidate, before: Decision) -> Decision:
    """A decision stands, unless a changed record has made a test visit one that cannot be scored."""
    if before.split == "test" and not row.six_class:
        return Decision("excluded", "test patient: not eligible for the benchmark any more")
    return before


def _group(row: Candidate, settings: SplitSettings) -> str:
    return row.patient_id if settings.unit == "patient" else row.checkup_id


def _place(row: Candidate, side: str, quota: Counter[str]) -> Decision:
    if side == "train":
        return Decision("train", "six-class" if row.six_class else "no single class of the six")
    if row.six_class and quota[row.six_class] > 0:
        quota[row.six_class] -= 1
        return Decision("test", "benchmark")
    why = "enough of its class in the test set" if row.six_class else "not eligible for the benchmark"
    return Decision("excluded", f"test patient: {why}")


def _quota(eligible: Sequence[Candidate], settings: SplitSettings) -> Counter[str]:
    """Test visits for each class: shares of the eligible ones, largest remainder."""
    size = settings.test_size
    total = int(size) if size >= 1 else max(round(size * len(eligible)), 1 if size and len(eligible) > 1 else 0)
    if total > len(eligible):
        raise ValueError(f"split.test_size={size}: the eligible visits are {len(eligible)}")
    counts = Counter(c.six_class or "" for c in eligible)
    exact = {name: total * n / max(len(eligible), 1) for name, n in counts.items()}
    quota = Counter({name: int(value) for name, value in exact.items()})
    for name in sorted(exact, key=lambda n: (quota[n] - exact[n], n))[: total - sum(quota.values())]:
        quota[name] += 1
    return quota


def make_split(annotated: pa.Table, images: pa.Table, extra: dict[str, list[str]]) -> pa.Table:
    """SPLIT of one partition. extra: checkup_id -> [split, why], for the visits that have an image; a third value is the reason why the
    visit is held back from the release. Its place is kept for it."""
    by_visit: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in images.to_pylist():
        by_visit[image["visit_key"]].append(image)
    rows = []
    for visit in annotated.select(["checkup_id", "patient_id", "visit_key"]).to_pylist():
        row = dict.fromkeys(SPLIT.schema.names) | visit | {"status": OK}
        found = sorted(by_visit[visit["visit_key"]], key=lambda i: i["ordinal"])
        if not found:
            rows.append(row | rejected("ingest:incomplete_record"))  # none of its files gave a releasable image
            continue
        for kind in ("photograph", "radiograph"):
            row[f"{kind}s"] = [file_name(visit["checkup_id"], i["ordinal"]) for i in found if i["kind"] == kind]
        row["split"], row["why"], *held = extra[visit["checkup_id"]]
        rows.append(row | rejected(held[0]) if held else row)
    return pa.Table.from_pylist(rows, schema=SPLIT.schema)


def file_name(checkup_id: str, ordinal: int) -> str:
    """0013-002-04.jpg: <patient>-<checkup>-<number>."""
    return f"{checkup_id}-{ordinal:02d}.jpg"
