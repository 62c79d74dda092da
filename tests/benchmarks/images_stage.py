"""The images stage through Ray Data: against a bare process pool, against one CPU, and how its memory grows.

Part of `python -m tests.benchmarks.images`; alone: python -m tests.benchmarks.images_stage [--images 400] [--rounds 3]

Every measurement is a process of its own with a Ray of its own, warmed by a few images before the clock starts, and takes its turn in each
round. Made of real photographs; copies differ by a JPEG comment, so each is another file.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pyarrow as pa
from PIL import Image

from codelib.contracts import RECORDS
from codelib.core.cluster import connect
from codelib.core.stage import Part, Work, run
from codelib.core.store import Store, Workspace
from codelib.data.image_settings import ImageSettings
from codelib.data.images import make_images
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages
from codelib.data.vault import Keyed, Secret
from tests.benchmarks.dslr import photographs
from tests.conftest import REAL_DATA

VISIT_IMAGES, PARTITION_VISITS = (
    5,
    10,
)  # 50 images a partition: eight of 400; the product makes partitions of 32 visits, about 180 images
OFF = {"text": "off", "faces": "off", "documents": "off"}


def write_export(folder: Path, originals: list[bytes], count: int) -> None:
    """``count`` files; the pictures of one visit are different ones."""
    for number in range(count):
        content = originals[number % len(originals)]
        note = f"copy {number}".encode()
        unique = content[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + content[2:]
        path = folder / f"v{number // VISIT_IMAGES:05d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(unique)


def records(folder: Path) -> list[pa.Table]:
    """The partitions of an export."""
    rows = []
    for visit in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = [
            {"path": f"{visit.name}/{f.name}", "kind": "photograph", "size_bytes": f.stat().st_size}
            for f in sorted(visit.iterdir())
        ]
        row = dict.fromkeys(RECORDS.schema.names) | {"visit_key": visit.name, "patient": visit.name, "checkup_time": "2022-01-01"}
        rows.append(row | {"files": files, "status": "ok"})
    starts = range(0, len(rows), PARTITION_VISITS)
    return [pa.Table.from_pylist(rows[i : i + PARTITION_VISITS], schema=RECORDS.schema) for i in starts]


def settings_of(screens: bool) -> DatasetSettings:
    return DatasetSettings.model_validate({"images": {} if screens else {"screens": OFF}})


def camera_files(scenes: int = 10) -> tuple[list[bytes], list[bytes]]:
    """JPEGs of 18 and of 2 megapixels, quality 90, of that many real scenes."""
    large = [p.content for p in photographs(REAL_DATA / "clinic-export", scenes, [90])]
    small = []
    for content in large:
        out = io.BytesIO()
        Image.open(io.BytesIO(content)).resize((1733, 1155), Image.Resampling.LANCZOS).save(out, "JPEG", quality=90)
        small.append(out.getvalue())
    return large, small


# one measurement: a process that prints its seconds and its peak memory


def through_ray(folder: Path, cpus: int, screens: bool, watch: bool = False) -> dict[str, float]:
    """Seconds of the stage, Ray and its workers warm; or (watch: it costs CPU time) the peak memory of everything that runs for it."""
    with tempfile.TemporaryDirectory() as scratch, connect(cpus), Peak(watch) as peak:
        workspace = Workspace.at(scratch)
        workspace.create()
        Secret(workspace.private).create()
        stage = Stages(workspace, Store(str(folder)), settings_of(screens), frozenset()).images
        warm = [t.slice(0, 1) for t in records(folder)][: 2 * cpus]
        run(stage, [Work((committed(workspace.private, t, f"warm{i}"),)) for i, t in enumerate(warm)], workspace.private)
        work = [Work((committed(workspace.private, t, f"p{i}"),)) for i, t in enumerate(records(folder))]
        started_s = time.perf_counter()
        parts = run(stage, work, workspace.private, keep=True)
        seconds = time.perf_counter() - started_s
        assert {reason for part in parts for reason in part.counts} == {"ok"}, [part.counts for part in parts]
    return {"seconds": seconds, "peak_mb": peak.mb}


def committed(store: Store, table: pa.Table, key: str) -> Part:
    part = Part(key, "records", store.root, table.num_rows, {})
    store.commit_table(part.name, table)
    return part


def through_pool(folder: Path, cpus: int, screens: bool, watch: bool = False) -> dict[str, float]:
    """Seconds of a bare pool of processes that runs the same function on the same partitions and writes nothing."""
    settings = settings_of(screens).images
    tables = records(folder)
    with ProcessPoolExecutor(cpus, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_bare, [(str(folder), t.slice(0, 1), settings) for t in tables[: 2 * cpus]]))
        started_s = time.perf_counter()
        list(pool.map(_bare, [(str(folder), t, settings) for t in tables]))
        return {"seconds": time.perf_counter() - started_s, "peak_mb": 0.0}


def _bare(given: tuple[str, pa.Table, ImageSettings]) -> int:
    folder, table, settings = given
    rows: int = make_images(table, Store(folder), Keyed(b"k" * 32), settings).num_rows
    return rows


class Peak:
    """Peak of the summed proportional memory of this process and all below it, sampled."""

    def __init__(self, on: bool):
        self.mb, self._on = 0.0, on

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        here = psutil.Process()
        while self._on:
            total = 0
            for process in [here, *here.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.mb = max(self.mb, total / 2**20)
            time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()


def measured(name: str, folder: Path, cpus: int, screens: bool, watch: bool = False) -> dict[str, float]:
    given = json.dumps([name, str(folder), cpus, screens, watch])
    program = "import json, sys; from tests.benchmarks import images_stage as b; b.one(*json.loads(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", program, given], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def one(name: str, folder: str, cpus: int, screens: bool, watch: bool) -> None:
    print(json.dumps({"ray": through_ray, "pool": through_pool}[name](Path(folder), cpus, screens, watch)))


# the report


def report(large: list[bytes], small: list[bytes], images: int, memory_images: list[int], rounds: int) -> bool:
    """Print everything; False where a target was missed. large, small: JPEGs of about 18 and 2 megapixels."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory(dir=os.environ.get("CODELIB_BENCHMARK_DIR")) as scratch:
        folder = Path(scratch) / "large"
        write_export(folder, large, images)
        print(f"\n{images} images of 18 megapixels through the stage, screens off; seconds, median of {rounds}")
        cases = {"Ray, 2 CPUs": ("ray", 2), "bare pool, 2 processes": ("pool", 2), "Ray, 1 CPU": ("ray", 1)}
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (kind, cpus) in cases.items():
                seconds[name].append(measured(kind, folder, cpus, False)["seconds"])
        middle = {name: median(values) for name, values in seconds.items()}
        for name, value in middle.items():
            print(f"  {name:<24}{value:>8.1f} s{images / value:>10.1f} images/s")
        good = target("of the bare pool's speed", middle["bare pool, 2 processes"] / middle["Ray, 2 CPUs"], 0.9)
        good &= target("of the speed on 1 CPU", middle["Ray, 1 CPU"] / middle["Ray, 2 CPUs"], 1.6)
        some = Path(scratch) / "some"
        write_export(some, large, min(images, 100))
        on = measured("ray", some, 2, True)["seconds"] / min(images, 100)
        print(
            f"  with the screens on{1 / on:>23.1f} images/s: they cost {on * 2 - middle['Ray, 2 CPUs'] * 2 / images:.2f} CPU s an image"
        )
        shutil.rmtree(folder)
        peaks = []
        for count in memory_images:
            write_export(Path(scratch) / f"m{count}", small, count)
            peaks.append(measured("ray", Path(scratch) / f"m{count}", 2, False, watch=True)["peak_mb"])
            print(f"  peak memory of the job, {count} images of 2 megapixels: {peaks[-1]:,.0f} MB")
        if len(peaks) > 1:
            ratio, times = peaks[-1] / peaks[0], memory_images[-1] / memory_images[0]
            verdict = "pass" if ratio <= 1.1 else "MISS"
            print(f"  {ratio:.2f} of the memory for {times:.0f} times the images: {verdict} (at most 1.1)")
            good &= ratio <= 1.1
        return good


def target(what: str, ratio: float, least: float) -> bool:
    print(f"  {ratio:.2f} {what}: {'pass' if ratio >= least else 'MISS'} (at least {least})")
    return ratio >= least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--memory-images", type=int, nargs="+", default=[400, 4000])
    parser.add_argument("--rounds", type=int, default=5)
    args: Any = parser.parse_args()
    sys.exit(not report(*camera_files(), args.images, args.memory_images, args.rounds))


if __name__ == "__main__":
    main()
