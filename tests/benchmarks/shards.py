"""How fast Ray Data reads the shards, against plain pyarrow: `python -m tests.benchmarks.shards [--gigabytes 2] [--rounds 5]`.

The shards are written by the release's own writer, from pictures of a release's size. Every side uses the same CPUs and the same files from
the page cache, and hands the same batches to one consumer, which looks at every one. Rounds are interleaved; a ratio is the median of the
rounds' ratios of throughput.

- bytes: every column, the JPEG bytes among them. pyarrow: a pool of threads over mapped files, and its dataset scanner with its own threads. Ray
  Data brings them through shared memory from its workers to the consumer, which is a copy more than pyarrow makes: 0.9 is not asked here.
- decoded: the pictures decoded to RGB, all pixels brought to the consumer. pyarrow: a pool of threads, a run of row groups each; Ray Data: the
  same function in its tasks.
- kept: decoded and reduced to a number a picture where they were read, as a filter or a statistic does it: little comes to the consumer.

Ends with 1 where `read_shards` is below 0.9 of pyarrow in decoded or kept. `ray.data.read_parquet` is told beside it in bytes, as it comes and
with one footer actor. What each needs to start is told apart, and is in its ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as arrow
import pytest
import simplejpeg
from PIL import Image

from codelib.core.cluster import connect
from codelib.core.reading import read_runs, read_shards, runs
from codelib.core.store import Store
from codelib.data.shards import SCHEMA, write_shard

LEAST = 0.9
SHARDS = 8
IMAGES_EACH = 5  # of a sample: the mean of the published dataset is 5.7
_PICTURES = 64


def pictures() -> list[bytes]:
    """JPEGs of 448 x 336 px whose bytes are as many as a photograph's of that size, some 35 KB."""
    rng, found = np.random.default_rng(0), []
    for _ in range(_PICTURES):
        coarse = rng.integers(0, 255, (84, 112, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((448, 336), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        found.append(simplejpeg.encode_jpeg(noisy, quality=85, colorsubsampling="420"))
    return found


def write(folder: Path, gigabytes: float) -> list[str]:
    """Shards of that many bytes together."""
    known, store = pictures(), Store(str(folder))
    samples = max(1, int(gigabytes * 1e9 / SHARDS / IMAGES_EACH / statistics.mean(map(len, known))))
    turns = [
        {"role": "user", "content": "image: <image>\n" * IMAGES_EACH + "Age: 40"},
        {"role": "assistant", "content": "Caries"},
    ]
    schema = SCHEMA.set(SCHEMA.get_field_index("images"), pa.field("images", pa.list_(pa.string())))
    paths = []
    for shard in range(SHARDS):
        rows = [
            {"sample_id": f"{shard:02d}{n:07d}", "checkup_id": f"{n:07d}-001", "language": "en", "messages": turns}
            | {"images": [str((n * IMAGES_EACH + i) % _PICTURES) for i in range(IMAGES_EACH)]}
            for n in range(samples)
        ]
        extra = {"path": f"train-{shard:05d}-of-{SHARDS:05d}.parquet", "visual_tokens": 0}
        write_shard(pa.Table.from_pylist(rows, schema=schema), lambda path: known[int(path)], store, extra)
        paths.append(store.path(extra["path"]))
    return paths


Batches = Iterator[pa.Table]


def decode(table: pa.Table) -> pa.Table:
    """The ids, and all pixels of all pictures in one buffer, a picture a value."""
    contents = [np.frombuffer(c.as_buffer(), np.uint8) for c in table["images"].combine_chunks().flatten().field("bytes")]
    heads = [simplejpeg.decode_jpeg_header(content) for content in contents]
    sizes = [height * width * 3 for height, width, *_ in heads]
    ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    pixels = np.empty(ends[-1], np.uint8)
    for content, start, stop in zip(contents, ends, ends[1:], strict=False):
        simplejpeg.decode_jpeg(content, "RGB", buffer=pixels[start:stop])
    values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(contents), [None, pa.py_buffer(ends), pa.py_buffer(pixels)])
    return pa.table({"pixels": values})


def kept(table: pa.Table) -> pa.Table:
    """A number a picture."""
    return pa.table(
        {"mean": [float(np.frombuffer(value.as_buffer(), np.uint8)[::64].mean()) for value in decode(table)["pixels"]]}
    )


# sides: (paths, CPUs, what is done with a table) -> batches in the consumer's process

Work = Callable[[pa.Table], pa.Table]


def by_scanner(paths: list[str], cpus: int, work: Work | None) -> Batches:
    assert work is None, "the scanner's threads read alone"
    pa.set_cpu_count(cpus)
    for batch in arrow.dataset(paths).to_batches(use_threads=True):
        yield pa.Table.from_batches([batch])


def by_threads(paths: list[str], cpus: int, work: Work | None) -> Batches:
    def one(run: dict[str, Any]) -> list[pa.Table]:
        return list(read_runs(pa.Table.from_pylist([run]), each=work))

    with ThreadPoolExecutor(cpus) as pool:
        waiting: deque[Future[list[pa.Table]]] = deque()
        for run in (run for path in paths for run in runs(path)):
            waiting.append(pool.submit(one, run))
            if len(waiting) > cpus:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def by_read_shards(paths: list[str], cpus: int, work: Work | None) -> Batches:
    yield from read_shards(paths, each=work).iter_batches(batch_format="pyarrow", batch_size=None)


def by_read_parquet(paths: list[str], cpus: int, work: Work | None) -> Batches:
    import ray

    dataset = ray.data.read_parquet(paths)
    made = dataset.map_batches(work, batch_format="pyarrow", batch_size=None) if work else dataset
    yield from made.iter_batches(batch_format="pyarrow", batch_size=None)


def by_read_parquet_with_one_actor(paths: list[str], cpus: int, work: Work | None) -> Batches:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
        yield from by_read_parquet(paths, cpus, work)


SIDES: dict[str, Callable[[list[str], int, Work | None], Batches]] = {
    "pyarrow, threads": by_threads,
    "read_shards": by_read_shards,
    "read_parquet": by_read_parquet,
    "pyarrow, scanner": by_scanner,
    "read_parquet, 1 actor": by_read_parquet_with_one_actor,
}


def seconds(side: str, paths: list[str], cpus: int, work: Work | None) -> tuple[float, int]:
    """Time, and a sum over what came. A page in every value is touched: what is mapped and never looked at has not been read."""
    start, found = time.perf_counter(), 0
    for table in SIDES[side](paths, cpus, work):
        for column in table.itercolumns():
            for chunk in column.chunks:
                for buffer in chunk.buffers():
                    if buffer is not None and buffer.size:
                        np.frombuffer(buffer, np.uint8)[::4096].max()
        found += table.num_rows
    return time.perf_counter() - start, found


def measure(
    name: str, work: Work | None, paths: list[str], few: list[str], cpus: int, rounds: int, sides: Sequence[str]
) -> dict[str, float]:
    """Print a line a side; ratio of throughput to pyarrow's, the faster way of each round, by side."""
    size, took = sum(map(os.path.getsize, paths)), {side: [] for side in sides}
    for number in range(rounds + 1):
        order = sides if number % 2 else sides[::-1]
        timed = {}
        for side in order:
            seconds(side, few, cpus, work)  # Ray ends workers that were idle while another side had its turn
            timed[side] = seconds(side, paths, cpus, work)
        assert len({rows for _, rows in timed.values()}) == 1, "the sides read different rows"
        if number:  # the first brings the files into the page cache and starts Ray's workers
            for side, (second, _) in timed.items():
                took[side].append(second)
    plain = [min(ways) for ways in zip(*(took[side] for side in sides if side.startswith("pyarrow")), strict=True)]
    ratios = {side: statistics.median(a / b for a, b in zip(plain, took[side], strict=True)) for side in sides}
    for side in sides:
        second = statistics.median(took[side])
        print(f"{name:<8} {side:<22} {second:7.2f} s {size / 1e6 / second:7.0f} MB/s   ratio {ratios[side]:.2f}", flush=True)
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-cpus", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=("bytes", "decoded", "kept"), help="one reading")
    args = parser.parse_args()
    works: dict[str, Work | None] = {"bytes": None, "decoded": decode, "kept": kept}
    with tempfile.TemporaryDirectory() as folder, connect(args.num_cpus):
        paths, few = write(Path(folder), args.gigabytes), write(Path(folder) / "few", 0.001)
        size = sum(os.path.getsize(path) for path in paths) / 1e9
        print(f"{len(paths)} shards, {size:.2f} GB, {args.num_cpus} CPUs, median of {args.rounds} interleaved rounds")
        for side in SIDES:
            starts = [seconds(side, few, args.num_cpus, None)[0] for _ in range(args.rounds + 1)]
            print(f"start    {side:<22} {statistics.median(starts[1:]):7.2f} s for a megabyte in as many files", flush=True)
        ratios = {
            # decoding takes twenty times as long as reading: two sides say enough
            name: measure(
                name,
                work,
                paths,
                few,
                args.num_cpus,
                args.rounds,
                list(SIDES)[: 2 if work else None],
            )
            for name, work in works.items()
            if args.only in (None, name)
        }
    return int(any(found["read_shards"] < LEAST for name, found in ratios.items() if name != "bytes"))


if __name__ == "__main__":
    sys.exit(main())
