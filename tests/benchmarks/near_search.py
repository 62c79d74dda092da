"""The search for like pictures across visits as the clinic grows: pairs compared, CPU, memory of a task: python -m tests.benchmarks.near_search

Random hashes (those of real pictures are less evenly spread) with thumbnails of the size of real ones, in tables of a few thousand pictures.
Four of the 28 tables are searched as tasks would, all in one process; pairs are those of all 28. Comparing two thumbnails
is counted and left out. Side by side: hashes within 20 bits, as it was at any size, and within what `near_bits` says; row by row in Python, as
it was (tests/former_search.py), and in columns. Where both ways are run their pairs are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from codelib.contracts import HASHES
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import duplicate_search, duplicates
from tests import former_search

_A_PART, _TABLES = 5000, (0, 9, 18, 27)
_PAIR_S = 0.001  # CPU seconds of comparing two thumbnails: a third of a millisecond to 1.4


def write(pictures: int, store: Store) -> None:
    rng = np.random.default_rng(0)
    for start in range(0, pictures, _A_PART):
        count = min(_A_PART, pictures - start)
        hashes = rng.integers(0, 256, (count, 8), np.uint8)
        thumbs = np.repeat(rng.integers(0, 256, (count, 192), np.uint8), 16, axis=1)
        likeness = [bytes(h) + bytes((64, 48)) + bytes(t) for h, t in zip(hashes, thumbs, strict=True)]
        keys = [f"{n:032x}" for n in range(start, start + count)]
        visits = [f"{n // 6:032x}" for n in range(start, start + count)]
        columns: dict[str, Any] = {"image_key": keys, "picture_key": keys, "patient_key": visits, "visit_key": visits}
        columns |= {
            "checkup_time": ["2022-01-01"] * count,
            "likeness": likeness,
            "hash": [int.from_bytes(one[:8], "big") for one in likeness],
            "held": [False] * count,
        }
        store.commit_table(f"stages/hashes/{start}.parquet", pa.table(columns, schema=HASHES.schema))


WAYS: dict[str, Any] = {"rows": former_search, "columns": duplicate_search}


def searched(pictures: int, bits: int, folder: str, way: str) -> dict[str, float]:
    """One process: what a task spends on each of some tables."""
    parts = [Part(str(start), "hashes", folder, 0, {}) for start in range(0, pictures, _A_PART)]
    compared = 0

    def similarity(a: bytes, b: bytes) -> float:
        nonlocal compared
        compared += 1
        return 0.0

    WAYS[way].similarity = similarity
    start = time.process_time()
    a_task = max(1, 200_000 // pictures)  # tables, as `duplicates.search_work` shares them out
    for first in range(0, len(_TABLES), a_task):
        WAYS[way].search(0.96, *parts, {"tables": list(_TABLES[first : first + a_task]), "prefix": 0, "of": 1, "bits": bits})
    seconds = time.process_time() - start
    share = 28 / len(_TABLES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"pairs": compared * share, "seconds": seconds * share, "peak_bytes": peak}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", default="20000,60000,200000")
    parser.add_argument("--ways", default="rows,columns")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        pictures, bits, folder, way = args.one
        print(json.dumps(searched(int(pictures), int(bits), folder, way)))
        return 0
    print(f"{'pictures':>10}{'bits':>6}{'by':>9}{'pairs':>14}{'comparing h':>13}{'searching s':>13}{'task MB':>9}")
    for pictures in map(int, args.pictures.split(",")):
        with tempfile.TemporaryDirectory(dir=os.environ.get("CODELIB_BENCHMARK_DIR")) as folder:
            write(pictures, Store(folder))
            for bits, way in product(dict.fromkeys((20, duplicates.near_bits(pictures))), args.ways.split(",")):
                command = [sys.executable, "-m", "tests.benchmarks.near_search", "--one", str(pictures), str(bits), folder, way]
                result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                print(
                    f"{pictures:>10,}{bits:>6}{way:>9}{result['pairs']:>14,.0f}{result['pairs'] * _PAIR_S / 3600:>13.2f}"
                    f"{result['seconds']:>13.1f}{result['peak_bytes'] / 2**20:>9,.0f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
