"""One task's share of the search for the same picture in two visits: some of the 29 tables, or a prefix of one.

    parts of `hashes` ──> keys as columns, hashes as numbers, thumbnails left behind ──> sorted by what meets
      table by content ──> runs of one picture ──────────────────────────────────────────────────┐
      table by two bytes of the hash ──> groups ──> pairs of near hashes ──> their thumbnails ───┴──> DUPLICATES

A task may hold four million pictures: what is no pair stays in columns and arrays, some 250 bytes a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import DUPLICATES, HASHES
from codelib.core.stage import Part, read_part
from codelib.data.image_review import ACROSS
from codelib.imaging.likeness import HASH_BYTES, similarity

DUPLICATE = "images:duplicate"
EXACT = 28  # number of the table by content; before it the 28 pairs of hash bytes
BYTE_PAIRS = tuple(combinations(range(HASH_BYTES), 2))
NEAR_BITS = 20  # tighter than within a visit: the more pictures, the more meet by chance
_NEIGHBOURS = 20  # of a picture that looks like many, so many pairs are reported
_SMALL = 128  # of groups up to this size the pairs of all groups are found together
_COMPARED = 1_000_000  # hashes at once: some 80 MB where all are near
_KEYS = ["image_key", "picture_key", "patient_key", "visit_key", "checkup_time"]

Numbers = npt.NDArray[Any]
Triple = tuple[Numbers, Numbers, Numbers]


def search(threshold: float, *inputs: Any) -> pa.Table:
    """DUPLICATES found by some tables. inputs: the parts of `hashes`, then which tables and which prefix."""
    *parts, extra = inputs
    numbers, of, bits = extra["tables"], extra["of"], extra.get("bits", NEAR_BITS)
    found: list[dict[str, Any]] = []
    near: list[tuple[dict[str, Any], dict[str, Any]]] = []
    # a small clinic's tables are searched by few tasks: each reads once
    everything = _read(parts) if of == 1 and len(numbers) > 1 else None
    for number in numbers:
        wanted = partial(_is_of, number=number, prefix=extra["prefix"], of=of)
        pictures = _Pictures.of(_read(parts, wanted) if everything is None else everything.filter(wanted(everything)), number)
        if number == EXACT:
            found += _exact(pictures)
        else:
            near += _near(pictures, number, bits)
    found += _compared(near, threshold, parts)
    return pa.Table.from_pylist(sorted(found, key=lambda row: (row["image_key"], row["other_key"])), schema=DUPLICATES.schema)


def _read(parts: Sequence[Part], wanted: Callable[[pa.Table], pa.Array] | None = None) -> pa.Table:
    """The pictures of all parts, or those that are wanted, without their thumbnails."""
    names = [*_KEYS, "hash", "held"]
    tables = [pa.schema([HASHES.schema.field(name) for name in names]).empty_table()]
    for part in parts:
        table = read_part(part, names)
        tables.append(table.filter(wanted(table)) if wanted else table)
    return pa.concat_tables(tables)


def _is_of(table: pa.Table, number: int, prefix: int, of: int) -> pa.Array:
    """Whether the picture is one that this table, or its prefix, holds."""
    if number == EXACT:
        if of == 1:
            return pa.array(np.ones(table.num_rows, bool))
        first = np.array([int(key[:4], 16) for key in table["picture_key"].to_pylist()], np.uint32)
        return pa.array(first * np.uint32(of) >> np.uint32(16) == prefix)
    ours = _two_bytes(table["hash"].to_numpy(), number).astype(np.uint32) * np.uint32(of) >> np.uint32(16) == prefix
    return pa.array(ours & ~pc.fill_null(table["held"], False).to_numpy())


@dataclass(frozen=True)
class _Pictures:
    """Those of one table, and the places of its rows in the order in which they meet: the keys of millions are not copied to be sorted."""

    table: pa.Table
    order: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, number: int) -> _Pictures:
        meets = table["picture_key"] if number == EXACT else pa.array(_two_bytes(table["hash"].to_numpy(), number))
        keys = {
            "meets": meets,
            "time": pc.fill_null(table["checkup_time"], ""),
            "visit": table["visit_key"],
            "image": table["image_key"],
        }
        order = pc.sort_indices(pa.table(keys), [(name, "ascending") for name in keys])
        return cls(table, order.to_numpy().astype(np.int64))

    def hashes(self) -> npt.NDArray[np.uint64]:
        found: npt.NDArray[np.uint64] = self.table["hash"].to_numpy()[self.order]
        return found

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """A number for each different value of a column."""
        values = self.table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        return values.astype(np.int64)[self.order]

    def rows(self, places: Numbers) -> list[dict[str, Any]]:
        return self.table.take(pa.array(self.order[places])).to_pylist()


def _two_bytes(hashes: npt.NDArray[np.uint64], number: int) -> npt.NDArray[np.uint16]:
    """The two bytes of the hash by which a table holds its pictures, the higher byte first as the hash is written."""
    one, other = BYTE_PAIRS[number]
    return (
        (hashes >> np.uint64(8 * one) & np.uint64(255)) << np.uint64(8) | hashes >> np.uint64(8 * other) & np.uint64(255)
    ).astype(np.uint16)


# by content


def _exact(pictures: _Pictures) -> Iterator[dict[str, Any]]:
    """Every copy against the earliest: a logo in a thousand visits gives a thousand rows, not a million."""
    numbers = pictures.numbers("picture_key")
    same = numbers[1:] == numbers[:-1]
    copied = (np.append(same, False) | np.insert(same, 0, False))[: len(numbers)]
    for _, group in groupby(pictures.rows(np.flatnonzero(copied)), lambda row: row["picture_key"]):
        yield from _copies(list(group))


def _copies(group: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    first = group[0]
    if len({row["visit_key"] for row in group}) == 1:
        return  # copies within a visit are its own stage's matter
    if len({row["patient_key"] for row in group}) > 1:
        for row in group:
            yield pair_row(row, first if row is not first else group[-1], 1.0, True, ACROSS)
        return
    for row in group[1:]:
        if row["visit_key"] != first["visit_key"]:
            yield pair_row(row, first, 1.0, True, DUPLICATE)


# by the hash


def _near(pictures: _Pictures, number: int, bits: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs that are to be compared."""
    ones, others = _pairs(pictures, number, bits)
    asked, places = np.unique(np.concatenate([ones, others]), return_inverse=True)
    rows = pictures.rows(asked)
    return ((rows[one], rows[other]) for one, other in places.reshape(2, -1).T)


def _compared(
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], threshold: float, parts: Sequence[Part]
) -> Iterator[dict[str, Any]]:
    if not pairs:
        return
    thumbs = thumbs_of(parts, {row["image_key"] for pair in pairs for row in pair})
    for a, b in pairs:
        value = similarity(thumbs[a["image_key"]], thumbs[b["image_key"]])
        if value >= threshold:
            yield pair_row(a, b, value, False, None)


def _pairs(pictures: _Pictures, number: int, most_bits: int) -> tuple[Numbers, Numbers]:
    """Places of pairs of different visits and content whose hashes differ in so few bits, and which meet in no table before this one; for each
    picture the nearest few."""
    visits, contents, hashes = pictures.numbers("visit_key"), pictures.numbers("picture_key"), pictures.hashes()
    meets = _two_bytes(hashes, number)
    firsts = _once(meets, visits, contents)
    visits, contents, hashes, meets = visits[firsts], contents[firsts], hashes[firsts], meets[firsts]

    def chosen(one: Numbers, other: Numbers, bits: Numbers) -> tuple[Numbers, Numbers]:
        """Of all near ones of some pictures those that count. A picture that looks like thousands has no more than a few."""
        differ = (visits[one] != visits[other]) & (contents[one] != contents[other])
        one, other, bits = one[differ], other[differ], bits[differ]
        nearest = np.lexsort((other, bits, one))  # of equally near ones the first
        one, other = one[nearest], other[nearest]
        new = np.arange(len(one)) - np.searchsorted(one, one) < _NEIGHBOURS
        new &= ~_met_before(hashes[one] ^ hashes[other], number)
        return firsts[one[new]], firsts[other[new]]

    edges = np.concatenate([[0], np.flatnonzero(np.diff(meets)) + 1, [len(meets)]])
    sizes = np.diff(edges)
    found = [chosen(*_along_diagonals(np.repeat(sizes, sizes) <= _SMALL, meets, hashes, most_bits))]
    found += (
        chosen(one + start, other + start, bits)
        for start, size in zip(edges[:-1][sizes > _SMALL].tolist(), sizes[sizes > _SMALL].tolist(), strict=True)
        for one, other, bits in _in_blocks(hashes[start : start + size], most_bits)
    )
    ones, others = (np.concatenate([pair[side] for pair in found]) for side in range(2))
    return ones, others


def _once(meets: Numbers, visits: Numbers, contents: Numbers) -> npt.NDArray[np.int64]:
    """Places of the pictures, each once a visit: the first of it, in the order of the last."""
    # below 2^63: four million pictures of as many visits, 2^16 groups
    both = (meets.astype(np.int64) * (visits.max(initial=0) + 1) + visits) * (contents.max(initial=0) + 1) + contents
    _, firsts = np.unique(both, return_index=True)
    _, lasts = np.unique(both[::-1], return_index=True)
    return firsts[np.argsort(-lasts, kind="stable")]


def _along_diagonals(small: npt.NDArray[np.bool_], meets: Numbers, hashes: Numbers, most_bits: int) -> Triple:
    """(one, other, bits) of the near ones among small groups, those at one distance in the order at a time, over all groups."""
    none = np.empty(0, np.int64)
    found: list[Triple] = [(none, none, none)]
    rows = np.flatnonzero(small)
    for distance in range(1, _SMALL):
        rows = rows[rows < len(meets) - distance]
        rows = rows[meets[rows] == meets[rows + distance]]
        if not len(rows):
            break
        bits = np.bitwise_count(hashes[rows] ^ hashes[rows + distance])
        near = bits <= most_bits
        found.append((rows[near], rows[near] + distance, bits[near]))
    one, other, bits = (np.concatenate([triple[part] for triple in found]) for part in range(3))
    return one, other, bits


def _in_blocks(hashes: Numbers, most_bits: int) -> Iterator[Triple]:
    """The same of one group, some rows of the square of all with all at a time."""
    size = len(hashes)
    step = max(1, _COMPARED // size)
    for start in range(0, size - 1, step):
        rows = np.arange(start, min(start + step, size - 1))
        bits = np.bitwise_count(hashes[rows, None] ^ hashes[None, start + 1 :])
        one, other = np.nonzero(bits <= most_bits)
        one, other = one[other >= one], other[other >= one]
        yield one + start, other + start + 1, bits[one, other]


def _met_before(differing: npt.NDArray[np.uint64], number: int) -> npt.NDArray[np.bool_]:
    """Whether hashes that differ in these bits share both bytes of an earlier table: the pair is looked at there and nowhere else."""
    same = [differing >> np.uint64(8 * byte) & np.uint64(255) == 0 for byte in range(HASH_BYTES)]
    before = np.zeros(len(differing), bool)
    for one, other in BYTE_PAIRS[:number]:
        before |= same[one] & same[other]
    return before


def thumbs_of(parts: Sequence[Part], wanted: Collection[str]) -> dict[str, bytes]:
    """The likenesses of these pictures, by image_key."""
    found: dict[str, bytes] = {}
    keys = pa.array(sorted(wanted))
    for part in parts:
        table = read_part(part, ["image_key", "likeness", "visit_key"])
        table = table.filter(pc.is_in(table["image_key"], keys))
        found |= dict(zip(table["image_key"].to_pylist(), table["likeness"].to_pylist(), strict=True))
    return found


def pair_row(row: dict[str, Any], other: dict[str, Any], value: float, exact: bool, verdict: str | None) -> dict[str, Any]:
    """A row of DUPLICATES."""
    return {
        "image_key": row["image_key"],
        "other_key": other["image_key"],
        "visit_key": row["visit_key"],
        "other_visit_key": other["visit_key"],
        "picture_key": row["picture_key"],
        "exact": exact,
        "same_patient": row["patient_key"] == other["patient_key"],
        "similarity": value,
        "verdict": verdict,
    }
