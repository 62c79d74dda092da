"""The real `jobs.dataset` with each partition made in one other process, its CPU clock, its files and its memory read around it.

    driver (this process: plans, codes, split, ledger)
       │ item                                     ▲ result, CPU seconds, bytes and requests of its stores
    worker (one, warm: read, stage function, check, commit) ── sandbox child (images)

What runs is the product's: `jobs.dataset.dataset`, `codelib.core.stage`, its keys, commits and checks. Ray alone is left out, so that
CPU seconds are the work's and memory is the driver's own. Bytes are those asked of `Store`, as an object store would count them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from codelib.core import stage as stages
from codelib.core.config import load
from codelib.core.store import Store, Workspace
from codelib.data import consent, duplicates, start
from codelib.data.release import release_store
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages


@dataclass
class Spent:
    """Of some partitions. Bytes and requests are those of `Store`; ``files_bytes``: of the export, read in the sandbox's child."""

    partitions: int = 0
    rows: int = 0
    cpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0  # requests: an object, or a range of one
    writes: int = 0
    peak_mb: float = 0.0  # of the worker and its sandbox child together, at the end of a partition

    def add(self, other: dict[str, Any]) -> None:
        for name in ("partitions", "rows", "cpu_s", "read_bytes", "written_bytes", "reads", "writes"):
            setattr(self, name, getattr(self, name) + other[name])
        self.peak_mb = max(self.peak_mb, other["peak_mb"])


@dataclass
class Flow:
    """One run: what each stage took in workers, and what the driver took besides."""

    visits: int = 0
    images: int = 0
    by_stage: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    driver_cpu_s: float = 0.0
    driver_start_mb: float = 0.0
    driver_peak_mb: float = 0.0
    items_bytes: int = 0  # what the driver hands to workers, as JSON
    kept_bytes: dict[str, int] = field(default_factory=dict)  # what lies in the workspace at the end, by place

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "by_stage": {name: asdict(spent) for name, spent in self.by_stage.items()}}


# in the worker


class _Counted:
    """Bytes and requests of every Store of this process."""

    def __init__(self) -> None:
        self.read_bytes = self.written_bytes = self.reads = self.writes = 0

    def watch(self) -> None:
        read, open_, commit = Store.read, Store.open, Store.commit_stream

        def counted_read(store: Store, name: str) -> bytes:
            content = read(store, name)
            self._read(len(content))
            return content

        def counted_commit(store: Store, name: str, chunks: Any) -> str:
            self.writes += 1
            return commit(store, name, self._written(chunks))

        Store.read = counted_read  # type: ignore[method-assign]
        Store.commit_stream = counted_commit  # type: ignore[method-assign]
        Store.open = lambda store, name: _File(open_(store, name), self._read)  # type: ignore[method-assign]
        Store.read_table = _read_table  # type: ignore[method-assign]

    def _read(self, size: int) -> None:
        self.read_bytes += size
        self.reads += 1

    def _written(self, chunks: Any) -> Iterator[bytes]:
        for chunk in chunks:
            self.written_bytes += len(chunk)
            yield chunk


class _File:
    """A file whose reads are told."""

    def __init__(self, file: Any, told: Callable[[int], None]):
        self._file, self._told = file, told

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self._told(len(content))
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _read_table(store: Store, name: str, columns: Any = None) -> Any:
    """As Store.read_table, by ways that are counted."""
    import io

    import pyarrow.parquet as pq

    if columns is None:
        return pq.ParquetFile(io.BytesIO(store.read(name))).read(use_threads=False)
    with store.open(name) as source:
        return pq.ParquetFile(source).read(columns=list(columns), use_threads=False)


_COUNTED = _Counted()
_FUNCTIONS: dict[bytes, Any] = {}


def _begin() -> None:
    _COUNTED.watch()


def _cpu_s() -> float:
    """Of this process and its children, living or gone."""
    here = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        here += times.user + times.system
    return here


def _memory_mb() -> float:
    """Resident, of this process and its children; what they share is counted once for each."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(p.memory_info().rss for p in processes) / 2**20


def _partition(pickled: bytes, row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    import cloudpickle

    if pickled not in _FUNCTIONS:
        _FUNCTIONS.clear()
        job = cloudpickle.loads(pickled)
        _FUNCTIONS[pickled] = stages._Actor(job) if job.stage.make else job.process
    before, cpu_s = dict(vars(_COUNTED)), _cpu_s()
    result = _FUNCTIONS[pickled](row)
    spent = {name: value - before[name] for name, value in vars(_COUNTED).items()}
    return result, {**spent, "cpu_s": _cpu_s() - cpu_s, "peak_mb": _memory_mb()}


# in the driver


class _Worker:
    """Stands in the place of Ray: `codelib.core.stage._compute`."""

    def __init__(self, flow: Flow):
        self.flow = flow
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)

    def compute(self, stage: Any, todo: list[Any], store: Store, private: Store | None) -> dict[str, dict[str, Any]]:
        import cloudpickle

        job = stages._Job(stage, store, private)
        pickled = cloudpickle.dumps(job)
        made = {}
        spent = self.flow.by_stage[stage.name]
        for key, work in todo:
            item = {"item": json.dumps(job.item(key, work), ensure_ascii=False)}
            self.flow.items_bytes += len(item["item"].encode())
            answer, cost = self.pool.submit(_partition, pickled, item).result()
            result = json.loads(answer["item"])
            assert "error" not in result, f"{stage.name}: {result}"
            made[result["key"]] = result
            spent.add({**cost, "partitions": 1, "rows": result["rows"]})
        return made


@contextmanager
def _in_one_worker(flow: Flow) -> Iterator[None]:
    worker = _Worker(flow)
    try:
        # the first call imports what all stages import, which a Ray worker does once in its life
        worker.pool.submit(_warm).result()
        # each table of the search for like pictures is a task, as it is in a large clinic
        with mock.patch.object(stages, "_compute", worker.compute), mock.patch.object(duplicates, "_PICTURES_A_TASK", 0):
            yield
    finally:
        worker.pool.shutdown()


def _warm() -> None:
    import codelib.data.stages  # noqa: F401


def measure(export: Path, workspace: Path, overrides: tuple[str, ...] = ()) -> Flow:
    """The whole flow on an export, into an empty folder."""
    from jobs.dataset import dataset

    settings = load(DatasetSettings, "dataset", None, overrides)
    room, store = Workspace.at(str(workspace)), Store(str(export))
    flow = Flow()
    lines = consent.read_list(settings)
    flow.driver_start_mb = psutil.Process().memory_info().rss / 2**20
    started_s = time.process_time()
    batches = start.list_batches(store, consent.consent(lines, room.private))
    room.create()
    with room.locked(), _in_one_worker(flow):
        start.take(room, release_store(room))
        stage = Stages(room, store, settings, consent.consent(lines, room.private).hashes)
        stage.hand_over_lists()
        totals, _ = dataset(stage, batches, room, settings)
    flow.driver_cpu_s = time.process_time() - started_s
    flow.driver_peak_mb = peak_mb()
    flow.visits = sum(batch.num_visits for batch in batches)
    flow.images = sum(batch.num_files for batch in batches)
    flow.kept_bytes = _kept(workspace)
    flow.kept_bytes["released_visits"] = totals.of("visit", True)
    flow.kept_bytes["released_images"] = totals.num_images
    return flow


def peak_mb() -> float:
    """Most resident memory of this process so far. Not getrusage's: that begins with what the parent held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def _kept(workspace: Path) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for folder, _, names in os.walk(workspace):
        where = Path(folder).relative_to(workspace).parts
        depth = 2 if where[:1] == ("release",) else 3
        for name in names:
            sizes["/".join(where[:depth]) or "."] += os.path.getsize(os.path.join(folder, name))
    return dict(sorted(sizes.items()))
