"""The ledger: what became of every visit and of every image file of the export.

    private/ledger.csv   kind, source, status, reason, released_as     one line each, with source names: never leaves
    release/ledger.csv   kind, stage, reason, count                    counts only

A file may give several pictures (pages, frames, the members of a zip) and a picture may be made of several files (a volume): released_as
names all of them, and a part that was rejected for a reason of its own has a line of its own, of kind image_part.

A run whose ledger does not add up fails: better no release than one that lost a patient's visit without saying so.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, REJECTED
from codelib.core.ahead import ahead
from codelib.core.cli import JobFailed
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data.images import image_key
from codelib.data.split import file_name
from codelib.data.vault import Keyed

HEADER = ("kind", "source", "status", "reason", "released_as")
_RECORD = ("visit_key", "source", "files", "status", "reject_reason")
_IMAGE = ("image_key", "sources", "part", "ordinal", "status", "reject_reason", "visit_key")
_DECISION = ("visit_key", "status", "reject_reason")


@dataclass
class Totals:
    """(kind, reason or 'ok') -> how many."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    num_images: int = 0  # released pictures

    def of(self, kind: str, ok: bool) -> int:
        return sum(n for (k, reason), n in self.counts.items() if k == kind and (reason == OK) == ok)

    def public_csv(self) -> str:
        lines = ["kind,stage,reason,count"]
        for (kind, reason), n in sorted(self.counts.items()):
            stage, _, code = reason.partition(":")
            lines.append(f"{kind},released,,{n}" if reason == OK else f"{kind},{stage},{code},{n}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Tables:
    """The partitions of the stages that decide about a visit, index by index, and of the pictures (CHOSEN)."""

    records: Sequence[Part]
    images: Sequence[Part]
    deciding: Sequence[Sequence[Part]]  # text, deidentified, bilingual, annotated, split: the first that rejects is the reason

    def read(self, index: int) -> tuple[pa.Table, pa.Table, list[pa.Table]]:
        """Those of one index, with the columns that the ledger wants."""
        return (
            read_part(self.records[index], _RECORD),
            read_part(self.images[index], _IMAGE),
            [
                read_part(stage[index], [*_DECISION, "checkup_id"] if stage is self.deciding[-1] else _DECISION)
                for stage in self.deciding
            ],
        )


def write(tables: Tables, keyed: Keyed, private: Store, num_visits: int, num_files: int) -> Totals:
    """Write private/ledger.csv; raise JobFailed where it does not add up. num_visits: rows that ingest made; num_files: image
    files that the listing found."""
    totals = Totals()

    def lines() -> Iterator[bytes]:
        yield _line(HEADER)
        for index_tables in ahead(tables.read, range(len(tables.records))):
            released: set[str] = set()
            for row in _partition(index_tables, keyed):
                totals.counts[row[0], row[3] or OK] += 1
                if row[0] == "image" and row[4]:
                    released.update(row[4].split(" "))
                yield _line(row)
            totals.num_images += len(released)

    private.commit_stream("ledger.csv", lines())
    for kind, expected in (("visit", num_visits), ("image", num_files)):
        found = totals.of(kind, True) + totals.of(kind, False)
        if found != expected:
            raise JobFailed(f"the ledger does not add up: the export holds {expected} {kind}s, the ledger has {found}")
    return totals


def _line(values: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()


Line = tuple[str, str, str, str, str]


def _partition(tables: tuple[pa.Table, pa.Table, list[pa.Table]], keyed: Keyed) -> Iterator[Line]:
    records, images, deciding = tables[0].to_pylist(), tables[1].to_pylist(), tables[2]
    made_of: dict[str, list[dict[str, Any]]] = defaultdict(list)  # file -> what became of it
    for row in images:
        for source in row["sources"]:
            made_of[source].append(row)
    reasons: dict[str, str] = {}
    released: dict[str, str] = {}
    for number, stage in enumerate(deciding, 1):
        for row in stage.to_pylist():
            if row["status"] == REJECTED:
                reasons.setdefault(row["visit_key"], row["reject_reason"])
            elif number == len(deciding):
                released[row["visit_key"]] = row["checkup_id"]
    for record in records:
        key = record["visit_key"]
        reason = record["reject_reason"] or reasons.get(key)
        if (reason is None) != (key in released):
            raise JobFailed(f"the ledger does not add up: visit {key} is neither released nor rejected, or both")
        yield ("visit", record["source"], REJECTED if reason else OK, reason or "", released.get(key, ""))
        for file in record["files"]:
            file_key = image_key(keyed, file["path"])
            yield from _file(file["path"], file_key, made_of[file_key], reason, released.get(key, ""))


def _file(path: str, key: str, rows: list[dict[str, Any]], visit_reason: str | None, checkup_id: str) -> Iterator[Line]:
    """One line for a file; of a file of several parts also one for each part that was rejected for a reason of its own."""
    if not rows:
        raise JobFailed("the ledger does not add up: a file of the export is in no row of the images")
    passed = [row for row in rows if row["status"] == OK]
    told = None
    if passed and not visit_reason:
        names = " ".join(file_name(checkup_id, row["ordinal"]) for row in sorted(passed, key=lambda r: r["ordinal"]))
        yield ("image", path, OK, "", names)
    else:
        told = next((row for row in rows if not row["part"]), rows[0])
        yield ("image", path, REJECTED, told["reject_reason"] or "images:visit_rejected", "")
    for row in rows:
        if row["status"] != OK and row is not told and row["sources"][0] == key:  # of a volume once, not with every slice
            yield ("image_part", f"{path}!{row['part']}", REJECTED, row["reject_reason"], "")
