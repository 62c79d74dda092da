"""What a partition costs where there is nothing to compute: python -m tests.benchmarks.scheduling [--partitions 300,3000]

One stage whose function returns a row, through `core.stage.run` and Ray Data on a Ray of its own: wall and driver's CPU a partition, memory, the
manifest; and the same command again, whole and after a kill that left everything but the manifest.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from typing import Any

import pyarrow as pa

from codelib.contracts import Contract
from codelib.core.cluster import connect
from codelib.core.stage import Stage, Work, run
from codelib.core.store import Store

_ROW = Contract("row", 1, ("key",), pa.schema([("key", pa.string())]))


def _one(extra: dict[str, Any]) -> pa.Table:
    return pa.table([[extra["key"]]], schema=_ROW.schema)


def _resident() -> float:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--partitions", default="300,3000")
    args = parser.parse_args()
    print(f"{'partitions':>11}  {'':<26}{'wall s':>9}{'ms each':>9}{'driver ms each':>16}{'driver MB':>11}")
    with connect(2), tempfile.TemporaryDirectory(dir=os.environ.get("CODELIB_BENCHMARK_DIR")) as folder:
        run(Stage("warm", 1, _ROW, _one), [Work((), {"key": "w"})], Store(f"{folder}/warm"))
        for count in map(int, args.partitions.split(",")):
            # codes, as `deidentified` is handed them: 32 visits in a partition
            work = [
                Work((), {"key": f"{n:032x}", "codes": [[f"{n:032x}", "0000000-001", "0000000", 0]] * 32}) for n in range(count)
            ]
            store, stage = Store(f"{folder}/{count}"), Stage("row", 1, _ROW, _one)
            for name in ("computed", "nothing new", "all but the manifest there"):
                if name.startswith("all"):
                    store.delete("stages/row/manifest.json")
                wall, cpu = time.perf_counter(), time.process_time()
                run(stage, work, store)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                print(
                    f"{count:>11,}  {name:<26}{wall:>9.1f}{1000 * wall / count:>9.1f}{1000 * cpu / count:>16.2f}{_resident():>11,.0f}",
                    flush=True,
                )
            print(f"{'':>13}manifest {store.size_bytes('stages/row/manifest.json') / count:,.0f} bytes a partition")
    return 0


if __name__ == "__main__":
    sys.exit(main())
