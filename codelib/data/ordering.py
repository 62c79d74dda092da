"""The rows of all partitions in the order of one key, in bounded memory: a merge sort over partitions.

    partitions ──runs (some hundred partitions each, sorted)──> pieces (a range of the key each, out of all runs) ──> one after another: in order

Released codes are random, so a run of ids that follow one another lies in as many partitions as it has ids. Reading it from there costs a
partition for each visit; out of R runs it costs a few row groups of each. With N rows there are N / RUN_ROWS runs and N / PIECE_ROWS
pieces: reads grow with the square of N, but 31,250 partitions (a million visits) are 123 runs of lines and 376 of conversations.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codelib.core.stage import Part, Stage, Work, run
from codelib.core.store import Store, Workspace

PLACE = "place"
"""The column that rows are ordered by: a string, no two of which are equal."""
RUN_ROWS = 8192  # of the first stage's partitions, sorted at a time: visits, which give 100 MB of lines, or conversations
PIECE_ROWS = 32_768  # of what is ordered, merged at a time


def place(*parts: str) -> str:
    """A key of several strings, in the order of the tuples: nothing that is released holds a NUL."""
    return "\0".join(parts)


def groups(parts: Sequence[Part]) -> Iterator[range]:
    """Indices of partitions that follow one another and hold RUN_ROWS rows together, at least one. Partitions are only added at the end,
    so the groups before stay what they are."""
    start = rows = 0
    for index, part in enumerate(parts):
        if index > start and rows + part.rows > RUN_ROWS:
            yield range(start, index)
            start, rows = index, 0
        rows += part.rows
    if start < len(parts):
        yield range(start, len(parts))


def runs_work(*stages: Sequence[Part]) -> list[Work]:
    """A run for each group of the first stage's partitions, from the same ones of all stages: first all of the first stage, then of the
    next. The extra says how many there are of each."""
    return [Work(tuple(stage[i] for stage in stages for i in group), {"parts": len(group)}) for group in groups(stages[0])]


def by_partition(inputs: Sequence[Any]) -> Iterator[tuple[Part, ...]]:
    """What a run's lazy function is handed, a partition at a time: its part of each stage."""
    *parts, extra = inputs
    count = extra["parts"]
    yield from zip(*(parts[i : i + count] for i in range(0, len(parts), count)), strict=True)


def in_order(stage: Stage, runs: Sequence[Part], workspace: Workspace) -> list[Part]:
    """The runs as pieces that follow one another. ``stage``: with `piece` as its function, lazily. One run is in order as it is."""
    if len(runs) > 1:
        return run(stage, pieces_work(runs), workspace.public, workspace.private)
    workspace.public.delete(f"stages/{stage.name}")  # of a workspace that was larger
    return list(runs)


def pieces_work(runs: Sequence[Part]) -> list[Work]:
    """Ranges of about PIECE_ROWS rows (at most a row group of each run more). Of the runs only the footers are read."""
    marks: list[tuple[str, str, int, int]] = []  # first and last place of each row group, its rows, its run
    for index, part in enumerate(runs):
        marks += [(first, last, rows, index) for first, last, rows in _row_groups(part)]
    marks.sort()
    firsts: list[str] = []
    held = 0
    for first, _, rows, _ in marks:
        if held == 0 or held >= PIECE_ROWS:
            firsts.append(first)
            held = 0
        held += rows
    overlapping: list[set[int]] = [set() for _ in firsts]
    for first, last, _, index in marks:
        for number in range(bisect_right(firsts, first) - 1, bisect_right(firsts, last)):
            overlapping[number].add(index)
    stops = [*firsts, None][1:]
    return [
        Work(tuple(runs[i] for i in sorted(held_by)), {"first": first, "stop": stop})
        for first, stop, held_by in zip(firsts, stops, overlapping, strict=True)
    ]


def _row_groups(part: Part) -> Iterator[tuple[str, str, int]]:
    with Store(part.root).open(part.name) as source:
        metadata = pq.ParquetFile(source).metadata
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.num_rows:
            known = _statistics(group)
            yield known.min, known.max, group.num_rows


def _statistics(group: Any) -> Any:
    column = next(c for c in (group.column(i) for i in range(group.num_columns)) if c.path_in_schema == PLACE)
    assert column.statistics is not None and column.statistics.has_min_max, "a run without the statistics of its key"
    return column.statistics


def piece(*inputs: Any) -> pa.Table:
    """The rows of one range, in order. inputs: the runs that hold some, then the range: from ``first``, before ``stop`` (None: to the end)."""
    *runs, extra = inputs
    return pa.concat_tables([_between(part, extra["first"], extra["stop"]) for part in runs]).sort_by(PLACE).combine_chunks()


def _between(part: Part, first: str, stop: str | None) -> pa.Table:
    with Store(part.root).open(part.name) as source:
        file = pq.ParquetFile(source)
        wanted = []
        for index in range(file.num_row_groups):
            known = _statistics(file.metadata.row_group(index))
            if known.max >= first and (stop is None or known.min < stop):
                wanted.append(index)
        table = file.read_row_groups(wanted, use_threads=False)
    inside = pc.greater_equal(table[PLACE], first)
    return table.filter(inside if stop is None else pc.and_(inside, pc.less(table[PLACE], stop))).replace_schema_metadata()
