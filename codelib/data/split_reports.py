"""Nearly equal reports among millions, without comparing all with all.

    report ─ normalised ─┬─ hash: equal ones meet
                         └─ 4-grams ─ MinHash sketch (192 values of 16 bits) ─ 24 bands of 8 values: like ones meet in one, and are compared

Two sets with Jaccard index J agree in a MinHash value with probability J (Broder 1997), in a whole band with J^8: of pairs at 0.8
98.8 % meet, at 0.85 99.9 %, at 0.2 some 60 in a million. A band in which many meet is a stereotype; there only neighbours are compared.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import COPIES
from codelib.core.stage import Part, Work, read_part

_GRAM, _BANDS, _ROWS = 4, 24, 8
_VALUES = _BANDS * _ROWS
_ODD = np.uint64(0x9E3779B97F4A7C15)
_REPORTS_A_TASK = 1_000_000  # times bands over 24: what one task searches
_ALL_PAIRS, _WINDOW = 64, 20  # up to so many in a band all are compared, beyond that each with so many neighbours
_CHUNK = 16_384  # pairs or sketches looked at at a time


def normalised(text: str) -> str:
    """Letters and digits alone, one width, one case: what a copy keeps."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


_SEEDS = _mixed(np.arange(1, _VALUES + 1, dtype=np.uint64) * _ODD)


def sketch(text: str) -> bytes:
    """192 little-endian 16-bit MinHash values of a normalised text's 4-grams; b"" where it has none."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if len(codes) < _GRAM:
        return b""
    grams = np.zeros(len(codes) - _GRAM + 1, np.uint64)
    for at in range(_GRAM):
        grams = _mixed(grams + codes[at : at + len(grams)] + _ODD)
    least = np.empty(_VALUES, np.uint64)
    for start in range(0, _VALUES, 32):  # a long report times all values would be megabytes
        least[start : start + 32] = _mixed(grams[None, :] ^ _SEEDS[start : start + 32, None]).min(axis=1)
    return (least & np.uint64(0xFFFF)).astype("<u2").tobytes()


# the search


def search_work(traits: Sequence[Part], similarity: float) -> list[Work]:
    """Few reports: one task. Many: the bands are shared among tasks. None where only equal reports count."""
    total = sum(part.rows for part in traits)
    if not total or similarity >= 1:
        return []
    bands = max(1, min(_BANDS, _BANDS * _REPORTS_A_TASK // total))
    return [Work(tuple(traits), {"bands": list(range(i, min(i + bands, _BANDS)))}) for i in range(0, _BANDS, bands)]


def search(min_chars: int, similarity: float, *inputs: Any) -> pa.Table:
    """COPIES found by some bands. inputs: the parts of `traits`, then which bands."""
    *parts, extra = inputs
    tables = [_long(read_part(part, ["visit_key", "report", "report_chars", "sketch"]), min_chars) for part in parts]
    return near(pa.concat_tables(tables), similarity, extra["bands"])


def _long(table: pa.Table, min_chars: int) -> pa.Table:
    return table.filter(pc.greater_equal(table["report_chars"], min_chars)).select(["report", "sketch"])


def near(table: pa.Table, similarity: float, bands: Sequence[int]) -> pa.Table:
    """COPIES among reports (columns report, sketch): pairs of different texts that are as similar, each in the first band they share."""
    table = table.filter(pc.greater(pc.binary_length(table["sketch"]), 0))
    reports, first = np.unique(table["report"].to_numpy(), return_index=True)
    if len(reports) < 2:
        return COPIES.schema.empty_table()
    sketches = pc.take(table["sketch"], pa.array(first)).cast(pa.large_binary()).combine_chunks()
    if isinstance(sketches, pa.ChunkedArray):
        sketches = pa.concat_arrays(sketches.chunks)
    values = np.frombuffer(sketches.buffers()[2], "<u2", len(sketches) * _VALUES).reshape(-1, _VALUES)
    keys = _band_keys(values)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for band in bands:
        for a, b in _meeting(keys[band], keys[(band + 1) % _BANDS]):
            same = values[a] == values[b]
            likeness = same.mean(axis=1, dtype=np.float32)
            keep = (likeness >= similarity) & (_first_band(same) == band)
            found.append((a[keep], b[keep], likeness[keep]))
    a, b, likeness = (np.concatenate(column) for column in zip(*found, strict=True))
    rows = {"report": reports[np.minimum(a, b)], "other": reports[np.maximum(a, b)], "similarity": likeness}
    return pa.table(rows).cast(COPIES.schema).sort_by([("report", "ascending"), ("other", "ascending")])


def _meeting(keys: np.ndarray, further: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs of the sketches that agree in a whole band, some ten thousand at a time. further: their keys in another band, by which
    those of a long run that agree further stand together."""
    ordered = np.sort(keys)
    rows = np.flatnonzero(np.isin(keys, np.unique(ordered[1:][ordered[1:] == ordered[:-1]])))
    order = rows[np.lexsort((rows, further[rows], keys[rows]))]
    keys = keys[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    sizes = np.repeat(np.diff(np.r_[starts, len(keys)]), np.diff(np.r_[starts, len(keys)]))
    for step in range(1, _ALL_PAIRS):
        meet = np.flatnonzero((keys[step:] == keys[:-step]) & ((step <= _WINDOW) | (sizes[:-step] <= _ALL_PAIRS)))
        if not len(meet):
            return
        for start in range(0, len(meet), _CHUNK):
            at = meet[start : start + _CHUNK]
            yield order[at], order[at + step]


def _band_keys(values: np.ndarray) -> np.ndarray:
    """bands x sketches: a hash of each band."""
    keys = np.empty((_BANDS, len(values)), np.uint64)
    for start in range(0, len(values), _CHUNK):
        eight = np.ascontiguousarray(values[start : start + _CHUNK]).view(np.uint64).reshape(-1, _BANDS, 2)
        keys[:, start : start + _CHUNK] = _mixed(eight[:, :, 0] + _mixed(eight[:, :, 1] + _ODD)).T
    return keys


def _first_band(same: np.ndarray) -> np.ndarray:
    """For each pair the first band in which it agrees wholly: it is looked at there and nowhere else."""
    return np.asarray(same.reshape(len(same), _BANDS, _ROWS).all(axis=2).argmax(axis=1))
