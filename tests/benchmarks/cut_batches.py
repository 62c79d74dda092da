"""One partition of 32 visits out of a batch, by the size of the batch: python -m tests.benchmarks.cut_batches

As it is (`partition.cut`), and as it was: every row of the batch, and of the other batches of its patients, as Python objects. Tables in memory:
reading the batch's file comes on top, alike for both. CPU milliseconds, and what they make of a clinic that is one batch.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

import pyarrow as pa

from codelib.contracts import RECORDS
from codelib.data import partition
from codelib.data.export import patient_number

_PARTITION, _REPEATED = 32, 3


def before(table: pa.Table, *rest: Any) -> list[dict[str, Any]]:
    *others, extra = rest
    wanted = dict(extra["visits"])
    rows = [row for row in table.to_pylist() if row["visit_key"] in wanted]
    known: dict[str, list[dict[str, str]]] = defaultdict(list)
    for other in others:
        for patient, identifiers in zip(other["patient"].to_pylist(), other["identifiers"].to_pylist(), strict=True):
            known[patient_number(patient or "")] += partition._personal(identifiers)
    for row in rows:
        more = known[patient_number(row["patient"])]
        row["identifiers"] += [i for n, i in enumerate(more) if i not in row["identifiers"] and i not in more[:n]]
    return rows


def batch(visits: int, number: int) -> pa.Table:
    """RECORDS of 340 characters, a name, nine colleagues and six files each."""
    staff = [{"kind": "staff", "value": f"乙{n}"} for n in range(9)]
    row = dict.fromkeys(RECORDS.schema.names) | {"status": "ok", "examination": "牙" * 300, "diagnosis": "龋" * 40}
    row |= {"identifiers": [{"kind": "name", "value": "甲"}, *staff]}
    row |= {"files": [{"path": f"p{n}", "kind": "photograph", "size_bytes": 1} for n in range(6)]}
    rows = [row | {"visit_key": f"v{number}-{n:06d}", "patient": f"患者{n:06d}"} for n in range(visits)]
    return pa.Table.from_pylist(rows, schema=RECORDS.schema)


def main() -> int:
    print(
        f"{'visits a batch':>15}{'other batches':>15}{'before ms':>11}{'now ms':>9}{'times':>8}{'one batch, before':>19}{'now':>10}"
    )
    for visits in (2000, 10_000, 30_000):
        table, other = batch(visits, 0), batch(visits, 1)
        extra = {"visits": [[f"v0-{n:06d}"] * 2 for n in range(_PARTITION)]}
        for others in ((), (other,)):
            spent = {}
            for name, way in (("before", before), ("now", partition.cut)):
                start = time.process_time()
                for _ in range(_REPEATED):
                    made = way(table, *others, extra)
                spent[name] = (time.process_time() - start) / _REPEATED
                assert len(made) == _PARTITION
            whole = {name: seconds * visits / _PARTITION for name, seconds in spent.items()}
            print(
                f"{visits:>15,}{len(others):>15}{1000 * spent['before']:>11.1f}{1000 * spent['now']:>9.1f}"
                f"{spent['before'] / spent['now']:>8.0f}{whole['before']:>17.0f} s{whole['now']:>8.1f} s"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
