"""The conversations of a million visits, keys and text only: time, memory, and whether both grow as they should.

Part of `python -m tests.benchmarks.release`; alone: python -m tests.benchmarks.release_conversations [--visits 1000000]

The records are the synthetic clinic's, each under many ids; images are names. Two processes take partitions of 1,000 visits: read as the stage
reads them, made, checked and committed as the stage does it; then the counts of the manifest are taken over all of them. Memory is the peak
resident size of the driver and of both workers together. Beside the size asked for a tenth of it is run, for the growth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import ANNOTATED, CONVERSATIONS, SPLIT
from codelib.core.stage import Part, Stage, check, packed, read_part
from codelib.core.store import Store
from codelib.data.annotate import annotate
from codelib.data.shards import SIZES, plan
from codelib.data.sharegpt import ANNOTATED_COLUMNS, SPLIT_COLUMNS, ShareGptSettings, count_samples, make_conversations
from codelib.data.teeth import normalise_teeth
from tests.benchmarks.synthetic_text import clinic, records_table
from tests.benchmarks.text_diagnoses import bilingual

PARTITION = 1000  # visits
WORKERS = 2
MOST_BYTES = 8 << 30
MOST_GROWTH = 1.2  # time of ten times as many visits, over ten times the time
SETTINGS = ShareGptSettings()
_STAGE = Stage("conversations", 1, CONVERSATIONS, make_conversations)


@dataclass(frozen=True)
class Measured:
    visits: int
    samples: int
    seconds: float
    peak_bytes: int


@cache
def _records() -> pa.Table:
    """One partition of annotated visits, English standing in the Chinese's place."""
    done = annotate(bilingual(normalise_teeth(records_table([row for row, _ in clinic("train", 400)]))))
    for name in done.column_names:
        if f"{name}_cn" in done.column_names:
            done = done.set_column(done.column_names.index(name), name, done[f"{name}_cn"])
    indices = pa.array([i % done.num_rows for i in range(PARTITION)])
    return done.take(indices).combine_chunks()


def _inputs(number: int, store: Store) -> tuple[Part, Part]:
    """The two tables of partition ``number``, committed as their stages commit them."""
    ids = pa.array([f"{number * PARTITION + i:07d}-001" for i in range(PARTITION)])
    annotated = _records().set_column(ANNOTATED.schema.names.index("checkup_id"), ANNOTATED.schema.field("checkup_id"), ids)
    rows = []
    for i, checkup_id in enumerate(ids.to_pylist()):
        names = [f"{checkup_id}-{n:02d}.jpg" for n in range(1, 3 + i % 9)]
        row = dict.fromkeys(SPLIT.schema.names) | {"checkup_id": checkup_id, "status": "ok", "radiographs": names[:1]}
        rows.append(
            row | {"photographs": names[1:], "split": ("test" if i % 14 == 0 else "validation" if i % 20 == 1 else "train")}
        )
    parts = (
        Part(f"{number:06d}", "annotated", store.root, PARTITION, {}),
        Part(f"{number:06d}", "split", store.root, PARTITION, {}),
    )
    store.commit_table(parts[0].name, annotated)
    store.commit_table(parts[1].name, pa.Table.from_pylist(rows, schema=SPLIT.schema))
    return parts


def _one(root: str, number: int) -> tuple[int, float]:
    """Samples of one partition, and the CPU seconds that they took; the inputs are made outside of the clock."""
    store = Store(root)
    parts = _inputs(number, store)
    start = time.process_time()
    tables = [
        read_part(part, columns, ok_only=True) for part, columns in zip(parts, (ANNOTATED_COLUMNS, SPLIT_COLUMNS), strict=True)
    ]
    made = make_conversations(*tables, SETTINGS, 0)
    check(_STAGE, tables, made)
    store.commit_table(f"stages/conversations/{number:06d}.parquet", made)
    seconds = time.process_time() - start
    for part in parts:
        store.delete(part.name)
    return made.num_rows, seconds


def _peak(_: int) -> tuple[int, int]:
    time.sleep(0.2)  # so that each worker answers once
    return multiprocessing.current_process().pid or 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(visits: int) -> Measured:
    """Seconds are CPU time, which other work on the machine stretches less: that of the workers over their number, and the counting."""
    numbers = range(visits // PARTITION)
    with tempfile.TemporaryDirectory() as place:
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(_one, [place] * len(numbers), numbers, chunksize=8))
            peaks = dict(pool.map(_peak, range(4 * WORKERS)))
        start = time.process_time()
        counts = count_samples([Part(f"{n:06d}", "conversations", place, 0, {}) for n in numbers])
        counting = time.process_time() - start
        shutil.rmtree(Path(place) / "stages")
    samples = sum(rows for rows, _ in results)
    assert samples == sum(count["samples"] for count in counts.values())
    peak = sum(peaks.values()) + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(visits, samples, sum(seconds for _, seconds in results) / WORKERS + counting, peak)


PLANNED_PARTITION = 32  # visits, as the setting partition_visits has it


def _planned(visits: int) -> tuple[int, int, int, float]:
    """Shards, megabytes of their work as JSON, peak bytes and CPU seconds of the driver that plans them: four samples a visit of six images."""
    start = time.process_time()
    count, rng = 4 * visits, np.random.default_rng(0)
    codes = rng.permutation(visits).astype(np.int64)  # a patient's code says nothing of the partition: each shard meets thousands
    text = pc.utf8_lpad(pa.array(np.repeat(codes, 4)).cast(pa.string()), 7, "0")
    part = pa.array((np.arange(count) // (4 * PLANNED_PARTITION)).astype(np.int32))
    config = pa.array(["classification", "generation", "quadrant", "teeth"]).take(pa.array(np.tile(np.arange(4), visits)))
    side = pa.array(["train", "test"]).take(pa.array((np.repeat(codes, 4) % 14 == 0).astype(np.int8)))
    tokens = pa.array(np.full(count, 6 * 192, np.int64))
    table = pa.table([config, side, text, tokens, pa.array(np.zeros(count, np.int64)), part], schema=SIZES)
    parts = [
        Part(f"{n:032x}", "conversations", "/somewhere/of/a/clinic", 128, {"ok": 128})
        for n in range(-(-visits // PLANNED_PARTITION))
    ]
    work = plan(table, parts)
    size = sum(len(json.dumps(packed(one.inputs))) for one in work)
    return len(work), size >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.process_time() - start


def shards(visits: int) -> bool:
    """Print what the plan of the shards holds on the driver; whether that fits."""
    print(f"shards planned (partitions of {PLANNED_PARTITION} visits, one process)")
    for size in (visits // 10, visits):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            count, megabytes, peak, seconds = pool.submit(_planned, size).result()
        print(
            f"  {size:>9,} visits  {count:>6,} shards  {seconds:>6.1f} s  work as JSON {megabytes:,} MiB  peak {peak / 2**20:,.0f} MiB"
        )
    return peak <= MOST_BYTES


def conversations(visits: int) -> bool:
    """Print the section; whether its targets are met."""
    small, large = measure(visits // 10), measure(visits)
    print(f"conversations ({WORKERS} processes, partitions of {PARTITION} visits, tasks {', '.join(SETTINGS.tasks)})")
    for one in (small, large):
        memory = f"{one.peak_bytes / 2**20:,.0f} MiB"
        rate = f"{one.samples / one.seconds:,.0f} a second"
        print(f"  {one.visits:>9,} visits  {one.samples:>9,} samples  {one.seconds:>7.1f} s  {rate:>15}  {memory:>10}")
    growth = large.seconds / small.seconds / 10
    met = growth <= MOST_GROWTH and large.peak_bytes <= MOST_BYTES
    verdict = "pass" if met else "MISSED"
    print(
        f"  ten times as many take {10 * growth:.2f} times as long (at most {10 * MOST_GROWTH:.0f}), under {MOST_BYTES >> 30} GiB: {verdict}"
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visits", type=int, default=1_000_000, help=f"a multiple of {10 * PARTITION}")
    visits = parser.parse_args().visits
    return 0 if all([conversations(visits), shards(visits)]) else 1


if __name__ == "__main__":
    sys.exit(main())
