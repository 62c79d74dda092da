"""Removing the answers of servers that no visit asks for any more: what a patient withdrew, or de-identification has removed since, must not
stand in a cache.

    asked tables (hashes of all current texts) + caches ─ one lazy task ─> answers of other texts are deleted, a count remains

An answer stays where a current visit's text has its key, or where it is an answer to a current visit's text under another model or prompt: it
was paid for. A batch that nobody fetched loses the requests that hold such a text. The task is done again whenever a text came or went.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from codelib.contracts import Contract
from codelib.core.stage import Part, Stage, Work, read_part
from codelib.core.store import Store
from codelib.data.translate_batch import drop_from_plans
from codelib.data.translate_cache import FOLDER, SECOND_PASS, AnswerCache

PRUNED = Contract(
    "pruned",
    1,
    ("cache",),
    pa.schema([pa.field("cache", pa.string(), nullable=False), ("kept", pa.int64()), ("removed", pa.int64())]),
)
_READERS = 16
_Hashes = npt.NDArray[np.uint64]


def prune_stage(public: Store) -> Stage:
    return Stage("pruned", 1, PRUNED, fn=_Pruner(public), lazy=True, unit="caches")


def prune_work(asked: Sequence[Part], asked_second: Sequence[Part]) -> list[Work]:
    return [Work((*asked, *asked_second), extra={"translations": len(asked)})]


@dataclass(frozen=True)
class _Pruner:
    public: Store

    def __call__(self, *inputs: Any) -> pa.Table:
        *parts, extra = inputs
        split = extra["translations"]
        rows = [prune(self.public, folder, tables) for folder, tables in ((FOLDER, parts[:split]), (SECOND_PASS, parts[split:]))]
        return pa.Table.from_pylist(rows, schema=PRUNED.schema)


def prune(public: Store, folder: str, asked: Sequence[Part]) -> dict[str, Any]:
    """One cache; the row of PRUNED. ``asked``: the tables of ASKED of all current visits. Eight bytes of a hash are held of each text."""
    cache = AnswerCache(Store(f"{public.root}/{folder}"))
    keys, texts = _column(asked, "key"), _column(asked, "text")
    kept = removed = 0
    for name in cache.names():
        key = name.rsplit("/", 1)[-1].removesuffix(".json")
        if _holds(keys, key) or _holds(texts, cache.of(key)):
            kept += 1
        else:
            cache.store.delete(name)
            removed += 1
    drop_from_plans(cache.store, lambda text: _holds(texts, text))
    return {"cache": folder, "kept": kept, "removed": removed}


def _column(asked: Sequence[Part], name: str) -> _Hashes:
    """The first eight bytes of each hash in the column, sorted, each once."""

    def read(part: Part) -> _Hashes:
        return np.array([_short(value) for value in read_part(part, ["visit_key", name])[name].to_pylist()], dtype=np.uint64)

    with ThreadPoolExecutor(_READERS) as pool:
        found = [np.zeros(0, np.uint64), *pool.map(read, asked)]
    return np.unique(np.concatenate(found))


def _short(value: str) -> int:
    return int(value[:16], 16)


def _holds(hashes: _Hashes, value: str) -> bool:
    """A hash that is none (of a damaged file, or of one older than this) is not there."""
    try:
        wanted = np.uint64(_short(value))
    except ValueError:
        return False
    at = int(np.searchsorted(hashes, wanted))
    return at < len(hashes) and bool(hashes[at] == wanted)
