"""Diagnoses: status F1 on sentences, seen and held out, and on the synthetic clinic; what is unknown; the published labels; speed.

python -m tests.benchmarks.text_diagnoses
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import BILINGUAL, OK, TEXT_FIELDS
from codelib.data.annotate import annotate
from codelib.data.annotate_report import Comparison, Unknown
from codelib.data.teeth import AMBIGUOUS, normalise, normalise_teeth, tooth_row
from tests.benchmarks.synthetic_text import POOLS, clinic, records_table, speed_records
from tests.benchmarks.text_teeth import CASES

_STATUSES = ("present", "suspected", "negated", "past", "planned")


def bilingual(text: pa.Table) -> pa.Table:
    """BILINGUAL of a TEXT table as it would be without translation and with nothing to remove."""
    rows = []
    for row in text.to_pylist():
        fields = {f"{field}_cn": row[field] for field in TEXT_FIELDS}
        keys = {
            "checkup_id": row["visit_key"],
            "patient_id": row.get("patient_id") or row["patient"],
            "visit_key": row["visit_key"],
        }
        rows.append(keys | fields | {"teeth": row["teeth"], "status": row["status"]})
    return pa.Table.from_pylist(rows, schema=BILINGUAL.schema)


class Score:
    """Counts of (condition, status) pairs, by status."""

    def __init__(self) -> None:
        self.both: Counter[str] = Counter()
        self.wanted: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def add(self, wanted: set[tuple[str, str]], found: set[tuple[str, str]]) -> None:
        self.wanted.update(status for _, status in wanted)
        self.found.update(status for _, status in found)
        self.both.update(status for _, status in wanted & found)

    def show(self, name: str) -> None:
        total = 2 * sum(self.both.values()) / max(1, sum(self.wanted.values()) + sum(self.found.values()))
        each = ", ".join(
            f"{status} {2 * self.both[status] / (self.wanted[status] + self.found[status]):.3f} (n={self.wanted[status]})"
            for status in _STATUSES
            if self.wanted[status] + self.found[status]
        )
        print(f"  {name:<22} status F1 {total:.4f}   {each}")


def _found(sentence: str) -> set[tuple[str, str]]:
    text, mentions = normalise(sentence)
    record: dict[str, Any] = {f"{field}_cn": "" for field in TEXT_FIELDS} | {"diagnosis_cn": text, "status": OK}
    record |= {"checkup_id": "0001-001", "teeth": [tooth_row("diagnosis", m) for m in mentions]}
    (done,) = annotate(pa.Table.from_pylist([record], schema=BILINGUAL.schema)).to_pylist()
    return {(d["zh"], d["status"]) for d in done["diseases"]}


def _pair(part: str) -> tuple[str, str]:
    zh, _, status = part.strip().rpartition(" ")
    return zh, status


def _pairs(pairs: set[tuple[str, str]]) -> str:
    return "; ".join(sorted(" ".join(pair) for pair in pairs)) or "-"


def of_file(path: Path, misses: bool) -> None:
    """Print the status F1 and how many sentences of a file are read as expected, and with ``misses`` each that is not.

    A sentence whose author expects "ambiguous" has no right answer and is left out.
    """
    score, right, count = Score(), 0, 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if row["expected"].strip() == AMBIGUOUS:
                continue
            wanted = {_pair(part) for part in row["expected"].split(";") if part.strip()}
            sentence = row["input"].replace("\\n", "\n")
            found = _found(sentence)
            score.add(wanted, found)
            right, count = right + (found == wanted), count + 1
            if misses and found != wanted:
                print(f"    {sentence!r}: {_pairs(found)}, expected {_pairs(wanted)}")
    score.show(path.stem)
    print(f"  {'':<22} {right}/{count} sentences right ({right / max(1, count):.1%})")


def _synthetic(pool: str, visits: int) -> None:
    pairs = clinic(pool, visits)
    table = bilingual(normalise_teeth(records_table([row for row, _ in pairs])))
    done = {row["checkup_id"]: row for row in annotate(table).to_pylist()}
    score, classes = Score(), 0
    for row, truth in pairs:
        found = done[row["visit_key"]]
        score.add({(d["zh"], d["status"]) for d in truth["diagnoses"]}, {(d["zh"], d["status"]) for d in found["diseases"]})
        classes += found["six_class"] == truth["six_class"]
    score.show(f"synthetic, {pool}")
    unknown = Unknown.of(table)
    print(f"  {'':<22} six-class label {classes}/{len(pairs)}; unknown strings {len(unknown.visits)}")
    for line in Comparison.of(table).lines()[:3]:
        print(f"  {'':<22} {line}")


def _speed(records: int) -> None:
    table = bilingual(normalise_teeth(speed_records(records)))
    start = time.process_time()
    annotate(table)
    print(
        f"  speed                  {records / (time.process_time() - start):,.0f} records of 500 characters a second on one core"
    )


FILES = (
    "diagnoses_seen",
    "diagnoses_held_out",
    "diagnoses_odd",
    "diagnoses_other_hand",
    "diagnoses_2_other_hand",
    "diagnoses_3_other_hand",
)
"""The files of cases, of which the unit tests hold every sentence."""


def section() -> None:
    """Print the figures of the diagnoses."""
    print("diagnoses")
    for name in FILES:
        of_file(CASES / f"{name}.csv", misses=False)
    for pool in POOLS:
        _synthetic(pool, 300)
    _speed(400)


if __name__ == "__main__":
    section()
