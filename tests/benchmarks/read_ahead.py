"""What a driver's reads of an object store cost, one after another and ahead: python -m tests.benchmarks.read_ahead

Partitions of the form that the ledger reads, on a real S3 server in a process of its own that answers each request after a pause. Side by
side, in turns; the first three columns of a row are seconds of the clock: here nothing is computed, what is measured is waiting.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

from codelib.contracts import OK
from codelib.core.ahead import read_parts
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from tests.s3_server import BUCKET, environment, s3_server

_COLUMNS = ["visit_key", "status"]


def _serve(pause_s: float, told: Connection) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication

    answer = DomainDispatcherApplication.__call__

    def late(self: Any, *args: Any) -> Any:
        time.sleep(pause_s)
        return answer(self, *args)

    DomainDispatcherApplication.__call__ = late  # type: ignore[method-assign]
    with s3_server() as (values, _):
        told.send(values)
        told.recv()


def _parts(number: int, visits: int) -> list[Part]:
    store = Store(f"s3://{BUCKET}/workspace")
    table = pa.table({"visit_key": [f"{visit:032x}" for visit in range(visits)], "status": [OK] * visits})
    for index in range(number):
        store.commit_table(f"stages/s/{index}.parquet", table)
    return [Part(str(index), "s", store.root, visits, {OK: visits}) for index in range(number)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--visits", type=int, default=32, help="rows of a part")
    parser.add_argument("--pause-ms", type=float, nargs="+", default=[0, 10, 30], help="before the server answers")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{'pause ms':>9}{'one by one s':>14}{'ahead s':>9}{'ms a part':>11}{'now':>7}{'times':>7}")
    for pause in args.pause_ms:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        server = context.Process(target=_serve, args=(pause / 1000, theirs), daemon=True)
        server.start()
        with environment(ours.recv()):
            parts = _parts(args.parts, args.visits)
            rounds = []
            for _ in range(args.rounds):
                started = time.perf_counter()
                one_by_one = [read_part(part, _COLUMNS) for part in parts]
                between = time.perf_counter()
                assert list(read_parts(parts, _COLUMNS)) == one_by_one
                rounds.append((between - started, time.perf_counter() - between))
        ours.send(None)
        server.join()
        before, now = (statistics.median(column) for column in zip(*rounds, strict=True))
        each = [1000 * seconds / args.parts for seconds in (before, now)]
        print(f"{pause:>9g}{before:>14.2f}{now:>9.2f}{each[0]:>11.1f}{each[1]:>7.1f}{before / now:>7.1f}", flush=True)


if __name__ == "__main__":
    main()
