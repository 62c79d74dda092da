"""Counting for the reports, in the workers: a table of counts for each partition, joined into one; the driver reads that one.

    deidentified, annotated, split ─ counted (a partition each) ─ joined (256 each, where there are more) ─ totals (one task) ─ driver

A row is a number of visits (or of removed stretches) under a kind and a name, and the patients behind it where different patients are what
counts: all of them for the strings that no list knows, as many as k-anonymity asks about for combinations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import OK, TEXT_FIELDS, Contract
from codelib.core.stage import Part, Stage, Work, read_part
from codelib.data.annotate import AnnotateSettings
from codelib.data.annotate_report import Comparison, Unknown, UnknownString
from codelib.data.annotate_second import identity
from codelib.data.k_anonymity import KAnonymity, KAnonymitySettings
from codelib.data.privacy_report import Removed

PARTS_A_FILE = 256

_COUNT = [pa.field("kind", pa.string(), nullable=False), pa.field("name", pa.string(), nullable=False), ("count", pa.int64())]
COUNTS = Contract("counts", 1, ("kind", "name"), pa.schema([*_COUNT, ("patients", pa.list_(pa.string()))]))
TOTALS = Contract("totals", 1, ("kind", "name"), pa.schema([*_COUNT, ("patients", pa.int64())]))

_ANNOTATED = (
    *("checkup_id", "patient_id", "visit_key", "checkup_time", "age", "gender", "teeth", "diseases", "six_class", "status"),
    *(f"{name}_cn" for name in TEXT_FIELDS),
)


@dataclass(frozen=True)
class Counting:
    """The functions of the three stages."""

    annotate: AnnotateSettings
    k_anonymity: KAnonymitySettings

    def counted(self, deidentified: pa.Table, annotated: pa.Table, split: pa.Table) -> pa.Table:
        """COUNTS of one partition. Unknown strings and labels of all annotated visits, the rest of what is released."""
        released = set(split.filter(pc.equal(split["status"], OK))["visit_key"].to_pylist())
        annotated = annotated.filter(pc.equal(annotated["status"], OK))
        unknown, compared = Unknown.of(annotated, self.annotate), Comparison.of(annotated, self.annotate)
        groups = KAnonymity(self.k_anonymity)
        for row in annotated.to_pylist():
            if row["visit_key"] in released:
                groups.add(row)
        found = Tally(unknown, compared, groups, Removed.of(deidentified, split))
        return pa.Table.from_pylist(found.rows(), schema=COUNTS.schema)

    def joined(self, *tables: pa.Table) -> pa.Table:
        """COUNTS of some hundred tables of COUNTS."""
        return pa.Table.from_pylist(self._sum(tables).rows(), schema=COUNTS.schema)

    def totals(self, *parts: Part) -> pa.Table:
        """TOTALS of all tables of COUNTS, read one at a time: patients as numbers, and of combinations only their table."""
        return pa.Table.from_pylist(self._sum(read_part(part) for part in parts).totals(), schema=TOTALS.schema)

    def _sum(self, tables: Iterable[pa.Table]) -> Tally:
        total = Tally(Unknown(), Comparison(), KAnonymity(self.k_anonymity), Removed())
        for table in tables:
            total.add(table)
        return total


@dataclass
class Tally:
    """What is counted, of as many visits as one likes."""

    unknown: Unknown
    compared: Comparison
    groups: KAnonymity
    removed: Removed

    def rows(self) -> list[dict[str, Any]]:
        parts = (
            ("unknown", self.unknown.rows()),
            ("labels", self.compared.rows()),
            ("group", self.groups.rows()),
            ("removed", self.removed.rows()),
        )
        return [
            {"kind": kind, "name": name, "count": count, "patients": sorted(patients)}
            for kind, rows in parts
            for name, count, patients in rows
        ]

    def add(self, table: pa.Table) -> None:
        """A table of COUNTS."""
        for row in table.to_pylist():
            name, count = row["name"], row["count"]
            if row["kind"] == "unknown":
                self.unknown.add(name, count, row["patients"])
            elif row["kind"] == "labels":
                self.compared += Comparison.of_row(name, count)
            elif row["kind"] == "group":
                self.groups.add_group(name, count, row["patients"])
            else:
                self.removed.add(name, count)

    def totals(self) -> list[dict[str, Any]]:
        strings = [
            {"kind": "unknown", "name": s.words, "count": s.visits, "patients": s.patients} for s in self.unknown.private()
        ]
        rows = [row | {"patients": None} for row in self.rows() if row["kind"] in ("labels", "removed")]
        table = [{"kind": "k_anonymity", "name": name, "count": count, "patients": None} for name, count in self.groups.numbers()]
        return [*strings, *rows, *table]


@dataclass(frozen=True)
class Totals:
    """What the reports are made of, as the driver holds it: counts, and the strings that no list knows."""

    unknown: list[UnknownString]
    compared: Comparison
    k_table: list[dict[str, Any]]
    removed: Removed

    @classmethod
    def of(cls, table: pa.Table) -> Totals:
        rows = table.to_pylist()
        compared, removed = Comparison(), Removed()
        for row in rows:
            if row["kind"] == "labels":
                compared += Comparison.of_row(row["name"], row["count"])
            elif row["kind"] == "removed":
                removed.add(row["name"], row["count"])
        strings = [UnknownString(r["name"], r["count"], r["patients"]) for r in rows if r["kind"] == "unknown"]
        numbers = [(r["name"], r["count"]) for r in rows if r["kind"] == "k_anonymity"]
        return cls(strings, compared, KAnonymity.table_of(numbers), removed)


def counting_stages(annotate: AnnotateSettings, k_anonymity: KAnonymitySettings) -> tuple[Stage, Stage, Stage]:
    """`counted`, `joined` and `totals`, for `counted_work`, `joined_work` and one piece of work with all tables."""
    counting = Counting(annotate, k_anonymity)
    settings = {"annotate": identity(annotate), "k_anonymity": k_anonymity.identity()}
    columns = (("visit_key", "removed", "status", "reject_reason"), _ANNOTATED, ("visit_key", "status", "reject_reason"))
    return (
        Stage("counted", 1, COUNTS, counting.counted, settings=settings, columns=columns, ok_only=False, unit="counts"),
        Stage("joined", 1, COUNTS, counting.joined, settings=settings, unit="counts"),
        Stage("totals", 1, TOTALS, counting.totals, settings=settings, lazy=True, unit="counts"),
    )


def counted_work(deidentified: Sequence[Part], annotated: Sequence[Part], split: Sequence[Part]) -> list[Work]:
    return [Work(parts) for parts in zip(deidentified, annotated, split, strict=True)]


def joined_work(counted: Sequence[Part]) -> list[Work]:
    return [Work(tuple(counted[i : i + PARTS_A_FILE])) for i in range(0, len(counted), PARTS_A_FILE)]
