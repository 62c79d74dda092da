"""Teeth: written forms, seen and held out; the synthetic clinic's fields; hostile input; speed.

python -m tests.benchmarks.text_teeth
"""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from codelib.contracts import OK
from codelib.data.teeth import find_teeth, normalise, normalise_teeth
from tests.benchmarks.synthetic_text import FIELD_OF, POOLS, clinic, records_table, speed_records

CASES = Path(__file__).parents[1] / "unit" / "cases"
REAL_DATA = Path(os.environ.get("CODELIB_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
_HOSTILE = ("0123456789", "[6][0][0][0]", "[", "6|", "16 ", "6、", "1[6][0]", "-", "upper ")


def found_in(text: str) -> list[str]:
    """The FDI numbers of the certain mentions and the status of the others."""
    return [part for m in find_teeth(text) for part in (m.fdi if m.status == OK else (m.status,))]


def cases(path: Path) -> Iterator[tuple[str, str, str]]:
    """(class, text, expected) of a case file. The class is that of its first word: ok, region, …, not_tooth."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            expected = row["expected"].strip()
            first = expected.split(" ")[0]
            kind = "not_tooth" if not first else first if first.isalpha() else "ok"
            yield kind, row["input"].replace("\\r", "\r").replace("\\n", "\n"), expected


def _table(name: str, rows: list[tuple[str, str, str]], misses: bool = False) -> None:
    total, right = Counter(kind for kind, _, _ in rows), Counter[str]()
    for kind, text, expected in rows:
        found = found_in(text)
        right[kind] += (is_right := sorted(found) == sorted(expected.split()))
        if misses and not is_right:
            print(f"    {text!r}: {' '.join(found) or '-'}, expected {expected or '-'}")
    parts = ", ".join(f"{kind} {right[kind]}/{n}" for kind, n in sorted(total.items()))
    share = sum(right.values()) / max(1, len(rows))
    print(f"  {name:<22} {sum(right.values())}/{len(rows)} ({share:.1%})   {parts}")


def of_file(path: Path, misses: bool) -> None:
    """Print how many cases of a file are read as expected, and with ``misses`` each that is not."""
    _table(path.name, list(cases(path)), misses)


def _notation_table() -> list[tuple[str, str, str]]:
    with (REAL_DATA / "tooth-notation.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = {"ok": "fdi", "not_tooth": ""}
    return [
        (
            r["status"],
            r["input"].replace("\\n", "\n"),
            r["fdi"] if shown.get(r["status"]) else shown.get(r["status"], r["status"]),
        )
        for r in rows
    ]


def _synthetic(pool: str, visits: int) -> None:
    pairs = clinic(pool, visits)
    text = {row["visit_key"]: row for row in normalise_teeth(records_table([row for row, _ in pairs])).to_pylist()}
    fields = right = wanted = found = both = 0
    for row, truth in pairs:
        for column, field in FIELD_OF.items():
            want = set(truth["teeth"].get(column, ()))
            got = {n for tooth in text[row["visit_key"]]["teeth"] if tooth["field"] == field for n in tooth["fdi"]}
            fields, right = fields + 1, right + (want == got)
            wanted, found, both = wanted + len(want), found + len(got), both + len(want & got)
    print(
        f"  synthetic, {pool:<11} {right}/{fields} fields of {len(pairs)} visits; precision {both / found:.4f}, recall {both / wanted:.4f}"
    )


def _speed(records: int) -> None:
    table = speed_records(records)
    start = time.process_time()
    normalise_teeth(table)
    took = time.process_time() - start
    print(f"  speed                  {records / took:,.0f} records of 500 characters a second on one core")
    slowest = 0.0
    for piece in _HOSTILE:
        text = piece * (100_000 // len(piece.encode()))
        start = time.process_time()
        normalise(text)
        slowest = max(slowest, time.process_time() - start)
    print(f"  hostile                a field of 100 kB of one piece, {len(_HOSTILE)} pieces: at most {slowest:.2f} s")


def section() -> None:
    """Print the figures of the teeth."""
    print("teeth")
    if (REAL_DATA / "tooth-notation.csv").exists():
        _table("tooth-notation.csv", _notation_table())
    for name in ("teeth_seen", "teeth_held_out", "teeth_odd", "teeth_other_hand", "teeth_2_other_hand", "teeth_3_other_hand"):
        _table(name, list(cases(CASES / f"{name}.csv")))
    for pool in POOLS:
        _synthetic(pool, 300)
    _speed(400)


if __name__ == "__main__":
    section()
