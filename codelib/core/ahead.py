"""Reading that waits for storage, ahead of whoever takes what was read.

    parts ── threads: read_part, at most so many ahead ──> tables, in the order of the parts

An object store answers a small question after some 30 ms, and a driver that asks partition by partition waits for hours at a million visits
(docs/scaling-simulation.md). What is done with a table stays with the one who takes it: threads share Python.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import repeat
from typing import TypeVar

import pyarrow as pa

from codelib.core.stage import Part, read_part

A = TypeVar("A")
B = TypeVar("B")

THREADS = 16


def ahead(work: Callable[[A], B], items: Iterable[A], threads: int = THREADS) -> Iterator[B]:
    """``work`` of each item, in their order, of at most ``threads`` items before they are asked for. What an item raises is raised in its
    place; what was begun behind it is awaited, nothing more is begun."""
    under_way: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) > threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for left in under_way:
                left.cancel()


def read_parts(
    parts: Sequence[Part], columns: Sequence[str] | None = None, *, ok_only: bool = False, threads: int = THREADS
) -> Iterator[pa.Table]:
    """`read_part` of each, in order."""
    return ahead(partial(read_part, columns=columns, ok_only=ok_only), parts, threads)


def visits_among(parts: Sequence[Part], wanted: Collection[str]) -> Iterator[set[str]]:
    """Of each part those of the wanted visits that it holds, in order. Nothing is read where none is wanted."""
    if not wanted:
        return repeat(set(), len(parts))
    sought = set(wanted)
    return (sought.intersection(table["visit_key"].to_pylist()) for table in read_parts(parts, ["visit_key"]))
