"""The search for like pictures as it was, row by row in Python: what `codelib.data.duplicate_search` must equal, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from codelib.contracts import DUPLICATES
from codelib.core.stage import Part, read_part
from codelib.data.duplicate_search import BYTE_PAIRS, DUPLICATE, EXACT, NEAR_BITS, _compared, pair_row
from codelib.data.image_review import ACROSS
from codelib.imaging.likeness import hash_of

_NEIGHBOURS = 20
_SEARCHED = ["image_key", "picture_key", "patient_key", "visit_key", "checkup_time", "likeness", "held"]


def search(threshold: float, *inputs: Any) -> pa.Table:
    """DUPLICATES found by some tables. inputs: the parts of `hashes`, then which tables and which prefix."""
    *parts, extra = inputs
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for table in extra["tables"]:
        rows = _rows(parts, table, extra["prefix"], extra["of"])
        bits = extra.get("bits", NEAR_BITS)
        for row in _exact(rows) if table == EXACT else _near(rows, table, threshold, bits, parts):
            found.setdefault((row["image_key"], row["other_key"]), row)
    return pa.Table.from_pylist([found[key] for key in sorted(found)], schema=DUPLICATES.schema)


def _rows(parts: Sequence[Part], table: int, prefix: int, of: int) -> list[dict[str, Any]]:
    """The pictures of one table (and prefix), thumbnails left behind."""
    rows = []
    for part in parts:
        for row in read_part(part, _SEARCHED).to_pylist():
            row["hash"] = hash_of(row.pop("likeness"))
            row["meets"] = row["picture_key"] if table == EXACT else _pair_of_bytes(row["hash"], BYTE_PAIRS[table])
            if (of == 1 or _prefix(row["meets"], of) == prefix) and (table == EXACT or not row["held"]):
                rows.append(row)
    rows.sort(key=lambda r: (r["meets"], r["checkup_time"] or "", r["visit_key"], r["image_key"]))
    return rows


def _pair_of_bytes(value: int, pair: tuple[int, int]) -> str:
    return f"{value >> 8 * pair[0] & 255:02x}{value >> 8 * pair[1] & 255:02x}"


def _prefix(meets: str, of: int) -> int:
    return int(meets[:4], 16) * of >> 16


def _groups(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs of rows that meet; only those with two visits or more."""
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index]["meets"] != rows[start]["meets"]:
            group = rows[start:index]
            if len({row["visit_key"] for row in group}) > 1:
                yield group
            start = index


def _exact(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every copy against the earliest: a logo in a thousand visits gives a thousand rows, not a million."""
    for group in _groups(rows):
        first = group[0]
        if len({row["patient_key"] for row in group}) > 1:
            for row in group:
                yield pair_row(row, first if row is not first else group[-1], 1.0, True, ACROSS)
            continue
        kept = {first["visit_key"]}
        for row in group[1:]:
            if row["visit_key"] not in kept:  # copies within a visit are its own stage's matter
                yield pair_row(row, first, 1.0, True, DUPLICATE)


def _near(rows: list[dict[str, Any]], table: int, threshold: float, bits: int, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    pairs = []
    for group in _groups(rows):
        pairs += [(a, b) for a, b in _candidates(group, bits) if _first_table(a["hash"], b["hash"]) == table]
    yield from _compared(pairs, threshold, parts)


def _first_table(a: int, b: int) -> int:
    """The first table in which two hashes meet: the pair is looked at there and nowhere else."""
    same = [not (a ^ b) >> 8 * i & 255 for i in range(8)]
    return next(i for i, (x, y) in enumerate(BYTE_PAIRS) if same[x] and same[y])


def _candidates(group: list[dict[str, Any]], most_bits: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of different visits and content whose hashes differ in so few bits; for each picture the nearest few."""
    unique = list({(row["picture_key"], row["visit_key"]): row for row in reversed(group)}.values())[::-1]
    values = np.array([row["hash"] for row in unique], dtype=np.uint64)
    for index, row in enumerate(unique[:-1]):
        bits = np.bitwise_count(values[index + 1 :] ^ values[index])
        near = np.flatnonzero(bits <= most_bits)
        taken = 0
        for offset in near[np.argsort(bits[near], kind="stable")]:
            other = unique[index + 1 + int(offset)]
            if other["visit_key"] != row["visit_key"] and other["picture_key"] != row["picture_key"]:
                yield row, other
                taken += 1
                if taken == _NEIGHBOURS:
                    break
