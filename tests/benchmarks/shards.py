"""How fast Ray Data reads the shards, against plain pyarrow: `python -m tests.benchmarks.shards [--gigabytes 1] [--rounds 5]`.

The shards are written by the release's own writer, from pictures of a release's size. Both sides use the same CPUs, the same files from the page
cache, every column, in interleaved rounds; the ratio is the median of the rounds' ratios of throughput. Two readings:

- bytes: the tables as they are. pyarrow: a pool of threads, one file each; Ray Data: read_parquet, its rows counted by map_batches.
- images: the pictures decoded to RGB, as a reader wants them. pyarrow: the same pool, decoding; Ray Data: map_batches, decoding.

Ends with 1 where either ratio is below 0.9. What Ray Data needs to start is told apart, and is in both ratios: with bytes alone, of which
pyarrow reads a gigabyte in under a second, it is nearly all of its time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image

from codelib.core.cluster import connect
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


def decode(table: pa.Table) -> int:
    """Pixels of all images of a table."""
    contents = table["images"].combine_chunks().flatten().field("bytes")
    return sum(simplejpeg.decode_jpeg(np.frombuffer(content.as_buffer(), np.uint8), "RGB").size // 3 for content in contents)


def arrow_bytes(paths: list[str], cpus: int) -> int:
    def read(path: str) -> int:
        return sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(batch_size=1024, use_threads=False))

    with ThreadPoolExecutor(cpus) as pool:
        return sum(pool.map(read, paths))


def arrow_images(paths: list[str], cpus: int) -> int:
    def read(path: str) -> int:
        file = pq.ParquetFile(path)
        return sum(decode(file.read_row_group(i, use_threads=False)) for i in range(file.num_row_groups))

    with ThreadPoolExecutor(cpus) as pool:
        return sum(pool.map(read, paths))


def ray_bytes(paths: list[str], cpus: int) -> int:
    import ray

    counted = ray.data.read_parquet(paths).map_batches(
        lambda table: pa.table({"rows": [table.num_rows]}), batch_format="pyarrow", batch_size=None
    )
    return sum(row["rows"] for row in counted.iter_rows())


def ray_images(paths: list[str], cpus: int) -> int:
    import ray

    counted = ray.data.read_parquet(paths).map_batches(
        lambda table: pa.table({"pixels": [decode(table)]}), batch_format="pyarrow", batch_size=None
    )
    return sum(row["pixels"] for row in counted.iter_rows())


def seconds(read: Callable[[list[str], int], int], paths: list[str], cpus: int) -> tuple[float, int]:
    start = time.perf_counter()
    found = read(paths, cpus)
    return time.perf_counter() - start, found


def measure(name: str, sides: tuple[Callable[..., int], Callable[..., int]], paths: list[str], cpus: int, rounds: int) -> float:
    size = sum(os.path.getsize(path) for path in paths)
    plain, ours = [], []
    for number in range(rounds + 1):
        order = sides if number % 2 else sides[::-1]
        took = {side: seconds(side, paths, cpus) for side in order}
        assert took[sides[0]][1] == took[sides[1]][1], "the two read different rows"
        if number:  # the first brings the files into the page cache and starts Ray's workers
            plain.append(took[sides[0]][0])
            ours.append(took[sides[1]][0])
    ratio = statistics.median(a / b for a, b in zip(plain, ours, strict=True))
    rates = (size / 1e6 / statistics.median(side) for side in (plain, ours))
    print("{:<8} pyarrow {:7.0f} MB/s   Ray Data {:7.0f} MB/s   ratio {:.2f}".format(name, *rates, ratio), flush=True)
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-cpus", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), args.gigabytes)
        size = sum(os.path.getsize(path) for path in paths) / 1e9
        print(f"{len(paths)} shards, {size:.2f} GB, {args.num_cpus} CPUs, median of {args.rounds} interleaved rounds")
        few = write(Path(folder) / "few", 0.001)
        with connect(args.num_cpus):
            ray_bytes(few, args.num_cpus)
            start = statistics.median(seconds(ray_bytes, few, args.num_cpus)[0] for _ in range(args.rounds))
            print(
                f"start    Ray Data takes {start:.1f} s for a megabyte in as many files: the part of its time that does not grow with the bytes"
            )
            ratios = [
                measure("bytes", (arrow_bytes, ray_bytes), paths, args.num_cpus, args.rounds),
                measure("images", (arrow_images, ray_images), paths, args.num_cpus, args.rounds),
            ]
    return int(min(ratios) < LEAST)


if __name__ == "__main__":
    sys.exit(main())
