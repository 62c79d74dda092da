"""What the driver of `jobs.dataset` holds and computes itself at a million visits, step by step: python -m tests.benchmarks.simulate_driver

The steps between the stages that need all keys at once, with the job's own code on synthetic keys, without Ray and without the stages. Each
size runs in a process of its own. CPU seconds, and the resident memory after each step: what a step built is kept, as the job keeps it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import pyarrow as pa

from codelib.contracts import RECORDS, TEXT_FIELDS
from codelib.core.stage import Part, Work, digest, packed
from codelib.core.store import Store, Workspace
from codelib.data import partition
from codelib.data.build import assign_codes
from codelib.data.release import checksums
from codelib.data.vault import Secret

_A_BATCH, _IMAGES, _A_PARTITION = 2000, 6, 32


def ingested(visits: int, store: Store) -> list[Part]:
    """RECORDS of batches, with the columns that the driver reads."""
    parts = []
    for number, start in enumerate(range(0, visits, _A_BATCH)):
        numbers = range(start, min(start + _A_BATCH, visits))
        columns: dict[str, list[Any]] = {
            "visit_key": [hashlib.md5(str(n).encode()).hexdigest() for n in numbers],
            "fingerprint": [f"{n:032x}" for n in numbers],
            "status": ["ok"] * len(numbers),
            "patient": [f"患者{n // 2:08d}" for n in numbers],
            "checkup_time": [f"2022-{1 + n % 12:02d}-{1 + n % 28:02d} 0{n % 2}:30" for n in numbers],
            "identifiers": [
                [{"kind": "patient_id", "value": f"{n // 2:08d}"}, {"kind": "name", "value": f"甲{n // 2}"}]
                + [{"kind": "staff", "value": f"乙{s}"} for s in range(9)]
                for n in numbers
            ],
            **{name: ["牙痛"] * len(numbers) for name in TEXT_FIELDS},
        }
        arrays = [pa.array(columns.get(f.name, [None] * len(numbers)), f.type) for f in RECORDS.schema]
        parts.append(Part(f"{number:06d}", "ingest", store.root, len(numbers), {}))
        store.commit_table(parts[-1].name, pa.table(arrays, schema=RECORDS.schema))
    return parts


def measure(visits: int, folder: str) -> dict[str, tuple[float, float]]:
    """Step -> (CPU seconds, resident bytes after it)."""
    found: dict[str, tuple[float, float]] = {}
    began = time.process_time()

    def lap(step: str) -> None:
        nonlocal began
        found[step] = (time.process_time() - began, _bytes("RssAnon:"))
        began = time.process_time()

    workspace = Workspace.at(f"{folder}/workspace")
    workspace.create()
    Secret(workspace.private).create()
    parts = ingested(visits, workspace.private)
    began = time.process_time()
    lap("(start)")
    seen = partition.visits_of(parts)
    lap("visits_of")
    kept, losers = partition.across_batches(seen)
    lap("across_batches")
    partitions = partition.plan(kept, workspace.private, _A_PARTITION)
    lap("plan, and its file")
    records = partition.records_work(kept, partitions, parts, losers)
    lap("work of records")
    items = [json.dumps({"inputs": packed(work.inputs), "extra": work.extra}) for work in records]
    lap("the same as JSON, for Ray")
    codes = assign_codes(kept, workspace)
    lap("codes, and the vault")
    text = [Part(f"{n:032x}", "text", "/", _A_PARTITION, {"ok": _A_PARTITION}) for n in range(len(partitions))]
    coded = [
        Work((part,), [[v.visit_key, codes[v.visit_key][0].checkup_id, codes[v.visit_key][0].patient_id, 0] for v in units])
        for part, units in zip(text, partitions, strict=True)
    ]
    lap("codes as work of a stage")
    sums = {
        f"Images/Photographs/{code.checkup_id}-{n:02d}.jpg": hashlib.sha256(b"%d" % n).hexdigest()[:64]
        for code, _ in codes.values()
        for n in range(1, 1 + _IMAGES)
    }
    lap("a path and a sum for each image")
    digest(sums)
    lap("digest of the sums")
    workspace.public.commit("SHA256SUMS", checksums(sums).encode())
    lap("SHA256SUMS")
    assert len(items) == len(coded)
    found["(highest)"] = (0.0, _bytes("VmHWM:"))
    return found


def _bytes(kind: str) -> float:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visits", default="100000,1000000")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(int(args.one[0]), args.one[1])))
        return 0
    results: dict[int, dict[str, tuple[float, float]]] = {}
    for size in map(int, args.visits.split(",")):
        with tempfile.TemporaryDirectory(dir=os.environ.get("CODELIB_BENCHMARK_DIR")) as folder:
            command = [sys.executable, "-m", "tests.benchmarks.simulate_driver", "--one", str(size), folder]
            results[size] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
    sizes = list(results)
    print(f"{'step':<34}" + "".join(f"{size:>12,} visits" + " " * 8 for size in sizes) + "growth")
    print(" " * 34 + "".join(f"{'CPU s':>13}{'MB after':>14}" for _ in sizes))
    for step in results[sizes[0]]:
        line = "".join(f"{results[size][step][0]:>13.2f}{results[size][step][1] / 2**20:>14,.0f}" for size in sizes)
        first, last = results[sizes[0]][step][0], results[sizes[-1]][step][0]
        growth = math.log(last / first) / math.log(sizes[-1] / sizes[0]) if first > 0.05 and len(sizes) > 1 else math.nan
        print(f"{step:<34}{line}{growth:>8.2f}")
    base, peak = results[sizes[-1]]["(start)"][1], max(memory for _, memory in results[sizes[-1]].values())
    a_visit = (peak - base) / sizes[-1]
    print(f"a visit costs the driver {a_visit / 1000:.1f} kB: a head of 64 GB holds {64e9 / a_visit / 1e6:.0f} million visits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
