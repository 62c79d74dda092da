"""The shards of a release as a stream of Ray Data, at the speed of plain pyarrow where a reader does anything with what is read.

    from codelib.core.reading import read_shards
    shards = read_shards("work/release/parquet/classification/train-*.parquet", each=decode)
    for batch in shards.iter_batches(batch_format="pyarrow", batch_size=None): ...

`ray.data.read_parquet` reads the same rows. Ray Data 2.60 starts 32 processes for each read, to fetch footers from an object store with much
latency; on one machine they cost more than the reading (docs/performance.md). Here the driver reads the footers, and a task a run of row groups.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from codelib.core.objects import open_uri

if TYPE_CHECKING:
    import ray

BLOCK_BYTES = 32 << 20  # of a task: some 150 samples. A task costs Ray about 10 ms; larger ones leave CPUs idle behind the last
_LISTERS = 16  # footers read at once: hides the latency of a network disk


Each = Callable[[pa.Table], pa.Table]


def read_shards(paths: str | Sequence[str], columns: Sequence[str] | None = None, each: Each | None = None) -> ray.data.Dataset:
    """Rows of these shards, in no fixed order. paths: files, patterns or URIs (s3://…); columns: those to read (default: all); each: what is
    done with a row group where it is read, decoding for example. A map_batches behind it does the same and copies the images' bytes once more.

    Raises ValueError where a path or pattern names no file.
    """
    import ray

    files = [file for path in ([paths] if isinstance(paths, str) else paths) for file in _files(path)]
    with ThreadPoolExecutor(_LISTERS) as pool:
        items = [item for found in pool.map(runs, files) for item in found]
    wanted = list(columns) if columns is not None else None
    found = ray.data.from_items(items, override_num_blocks=max(1, len(items))).map_batches(
        partial(read_runs, columns=wanted, each=each), batch_format="pyarrow", batch_size=None
    )
    # one operator: nothing to reserve for others, and Ray Data's reservations leave CPUs idle (core.stage)
    found.context.op_resource_reservation_enabled = False
    return found


def _files(path: str) -> list[str]:
    fs, local = open_uri(os.path.expanduser(path))
    found = sorted(fs.glob(local)) if any(mark in local for mark in "*?[") else [local] if fs.isfile(local) else []
    if not found:
        raise ValueError(
            f"{path}: no such file; give the shards, for example work/release/parquet/classification/train-*.parquet"
        )
    return [fs.unstrip_protocol(file) for file in found]


def runs(file: str) -> list[dict[str, Any]]:
    """Runs of row groups of about BLOCK_BYTES."""
    fs, path = open_uri(file)
    with fs.open(path, "rb") as source:
        metadata = pq.ParquetFile(source).metadata
    found, first, size = [], 0, 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= BLOCK_BYTES or group == metadata.num_row_groups - 1:
            found.append({"file": file, "first": first, "stop": group + 1})
            first, size = group + 1, 0
    return found


def read_runs(table: pa.Table, columns: list[str] | None = None, each: Each | None = None) -> Iterator[pa.Table]:
    """A table a row group of these runs."""
    for run in table.to_pylist():
        fs, path = open_uri(run["file"])
        # mapped where it is a local file: the pages go from the page cache into Arrow's memory, and nowhere between
        is_local = "file" in ([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol)
        with pq.ParquetFile(path, memory_map=True) if is_local else pq.ParquetFile(fs.open(path, "rb"), pre_buffer=True) as file:
            for group in range(run["first"], run["stop"]):
                rows = file.read_row_group(group, columns, use_threads=False)
                yield each(rows) if each else rows
