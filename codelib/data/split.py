"""Split: by patient, stratified, stable when the export grows; drawn and audited from keys, counts and hashes.

    annotated, images, chosen ──traits (a partition at a time)──┬──────────────────────────┐
                                    └─copies (like reports)─────┤                          │
    duplicates (like pictures) ─────────────────────────────────┴─ links ─ draw, spectrum ─┴─ audit ── one split table a partition

`split` is that of the six-class benchmark, `spectrum` the multi-label one of all conditions. Both keep a patient, and patients who are
linked by like pictures or a copied report, on one side. A test patient's other visits are excluded: they stand in the CSV and on no side.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from codelib.contracts import OK, SPLIT, rejected
from codelib.core.config import Settings

SIDES = ("", "train", "validation", "test", "excluded")
"""The sides by their code; 0 for a visit that is not decided."""
NONE, TRAIN, VALIDATION, TEST, EXCLUDED = range(5)

WHYS = (
    "",
    "six-class",
    "no single class of the six",
    "not eligible for the benchmark",
    "benchmark",
    "test patient: enough of its class in the test set",
    "test patient: not eligible for the benchmark",
    "test patient: not eligible for the benchmark any more",
    "linked to several sides by a like picture or report",
)
"""The reasons by their code. Written into SPLIT: a change wants a new version of its stage."""

_Size = int | float


class SplitAuditSettings(Settings):
    """What counts as a copied report. A short one (洁治) and one that many patients share are the clinic's stereotypes and no leak.

    Not part of what a draw depends on: a changed threshold moves no visit that is placed.
    """

    report_min_chars: int = Field(40, ge=1)
    """Letters and digits of the Chinese report; shorter ones are not compared."""
    report_similarity: float = Field(0.8, ge=0.7, le=1)
    """Jaccard index of the 4-grams from which two reports are nearly equal; 1: only equal ones count."""
    report_max_patients: int = Field(10, ge=1)
    """A report that stands, or nearly stands, in the records of more patients is a stereotype."""


class SplitSettings(Settings):
    unit: Literal["patient", "checkup"] = "patient"  # checkup repeats the paper, whose patients stand on both sides
    test_size: _Size = 0.2  # visits (600), or below 1 the share of the eligible visits
    validation_size: _Size = 0.05  # the same, of all visits on the training side
    spectrum_test_size: _Size = 0.2  # of the visits that have a condition and are eligible otherwise
    min_train_visits: int = Field(1, ge=0)
    """Visits of each class that the draw leaves in training: a class that cannot spare them is not tested."""
    min_photographs: int = Field(1, ge=0)  # of an eligible visit
    max_empty_fields: int = Field(4, ge=0, le=8)  # of the eight sections of an eligible visit's report
    image_strata: tuple[int, ...] = (3, 6, 9)  # numbers of images at which a new stratum begins: 1-2, 3-5, 6-8, 9 and more
    audit: SplitAuditSettings = SplitAuditSettings()

    @field_validator("test_size", "validation_size", "spectrum_test_size")
    @classmethod
    def _size(cls, value: _Size) -> _Size:
        if value < 0 or (value >= 1 and value != int(value)):
            raise ValueError("a number of visits (600), or a share of them below 1 (0.2)")
        return value

    @field_validator("image_strata")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(a >= b for a, b in zip((1, *value), value, strict=False)):
            raise ValueError("rising numbers of images above 1, for example [3, 6, 9]")
        return value

    def drawn_by(self) -> dict[str, Any]:
        """The settings that a draw depends on: visits that were placed under others are placed anew."""
        return {name: value for name, value in self.fingerprint().items() if name != "audit"}


def wanted(size: _Size, of: int) -> int:
    """A size as a number of visits; of a share at least one, where there are two."""
    return int(size) if size >= 1 else max(round(size * of), 1 if size and of > 1 else 0)


def make_split(annotated: pa.Table, images: pa.Table, extra: dict[str, Any]) -> pa.Table:
    """SPLIT of one partition. extra: `split`, `why` and `spectrum`, each a character a visit in the order of ``annotated``;
    `held`, where there is one: checkup_id -> why a visit is held back from the release. Its place is kept for it."""
    by_visit: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in images.to_pylist():
        by_visit[image["visit_key"]].append(image)
    visits = annotated.select(["checkup_id", "patient_id", "visit_key"]).to_pylist()
    rows = []
    for visit, side, why, spectrum in zip(visits, extra["split"], extra["why"], extra["spectrum"], strict=True):
        row = dict.fromkeys(SPLIT.schema.names) | visit | {"status": OK}
        found = sorted(by_visit[visit["visit_key"]], key=lambda i: i["ordinal"])
        if not found:
            rows.append(row | rejected("ingest:incomplete_record"))  # none of its files gave a releasable image
            continue
        for kind in ("photograph", "radiograph"):
            row[f"{kind}s"] = [file_name(visit["checkup_id"], i["ordinal"]) for i in found if i["kind"] == kind]
        row |= {"split": SIDES[int(side)], "why": WHYS[int(why)], "spectrum": SIDES[int(spectrum)]}
        assert row["split"] and row["spectrum"], f"{visit['checkup_id']} has an image and no side"
        held = extra.get("held", {}).get(visit["checkup_id"])
        rows.append(row | rejected(held) if held else row)
    return pa.Table.from_pylist(rows, schema=SPLIT.schema)


def file_name(checkup_id: str, ordinal: int) -> str:
    """0013-002-04.jpg: <patient>-<checkup>-<number>."""
    return f"{checkup_id}-{ordinal:02d}.jpg"
