"""The ledger: what became of every visit and of every image file of the export.

    private/ledger.csv   kind, source, status, reason, released_as     one line each, with source names: never leaves
    release/ledger.csv   kind, stage, reason, count                    counts only

A run whose ledger does not add up fails: better no release than one that lost a patient's visit without saying so.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from codelib.contracts import OK, REJECTED
from codelib.core.cli import JobFailed
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data.images import image_key
from codelib.data.split import file_name
from codelib.data.vault import Keyed

HEADER = ("kind", "source", "status", "reason", "released_as")


@dataclass
class Totals:
    """(kind, reason or 'ok') -> how many."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

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
    """The partitions of the stages that decide about a visit, index by index, and of the images."""

    records: Sequence[Part]
    images: Sequence[Part]
    deciding: Sequence[Sequence[Part]]  # text, deidentified, bilingual, annotated, split: the first that rejects is the reason


def write(tables: Tables, keyed: Keyed, private: Store, num_visits: int, num_files: int) -> Totals:
    """Write private/ledger.csv; raise JobFailed where it does not add up. num_visits: rows that ingest made; num_files: image
    files that the listing found."""
    totals = Totals()

    def lines() -> Iterator[bytes]:
        yield _line(HEADER)
        for index in range(len(tables.records)):
            for row in _partition(tables, index, keyed):
                totals.counts[row[0], row[3] or OK] += 1
                yield _line(row)

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


def _partition(tables: Tables, index: int, keyed: Keyed) -> Iterator[tuple[str, str, str, str, str]]:
    records = read_part(tables.records[index], ["visit_key", "source", "files", "status", "reject_reason"]).to_pylist()
    images = {
        row["image_key"]: row
        for row in read_part(tables.images[index], ["image_key", "ordinal", "status", "reject_reason", "visit_key"]).to_pylist()
    }
    reasons: dict[str, str] = {}
    released: dict[str, str] = {}
    for stage in tables.deciding:
        names = ["visit_key", "status", "reject_reason"]
        last = stage is tables.deciding[-1]
        for row in read_part(stage[index], [*names, "checkup_id"] if last else names).to_pylist():
            if row["status"] == REJECTED:
                reasons.setdefault(row["visit_key"], row["reject_reason"])
            elif last:
                released[row["visit_key"]] = row["checkup_id"]
    for record in records:
        key = record["visit_key"]
        reason = record["reject_reason"] or reasons.get(key)
        if (reason is None) != (key in released):
            raise JobFailed(f"the ledger does not add up: visit {key} is neither released nor rejected, or both")
        yield ("visit", record["source"], REJECTED if reason else OK, reason or "", released.get(key, ""))
        for file in record["files"]:
            image = images[image_key(keyed, file["path"])]
            why = image["reject_reason"] or ("images:visit_rejected" if reason else None)
            name = "" if why else file_name(released[key], image["ordinal"])
            yield ("image", file["path"], REJECTED if why else OK, why or "", name)
