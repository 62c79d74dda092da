"""The synthetic clinic's records with their truth, for the text benchmarks; its pictures are left out: they cost most and say nothing here.

`speed_records` gives records of 500 characters for timing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import RECORDS, TEXT_FIELDS
from tests import synthetic_clinic
from tests.synthetic_clinic import place_of

POOLS = ("train", "held_out")
FIELD_OF = dict(
    zip(
        ("病历", "主诉", "现病史", "既往史", "检查", "X线检查示", "诊断", "治疗方案", "治疗建议", "处理", "医嘱", "备注"),
        TEXT_FIELDS,
        strict=True,
    )
)
_RECORD_CHARS = 500


def clinic(pool: str, visits: int, seed: int = 23) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(RECORDS row, its truth) of the visits that ingest lets pass."""
    with tempfile.TemporaryDirectory() as folder:
        truth, tables = synthetic_clinic.clinic(Path(folder) / "clinic", pool, visits, seed)
    rows = [row for table in tables for row in table.to_pylist()]
    return [(row, truth[place_of(row)]) for row in rows if place_of(row) in truth]


def records_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=RECORDS.schema)


def speed_records(count: int) -> pa.Table:
    """Records of the synthetic clinic, their examination filled up until each holds 500 characters."""
    pairs = clinic("train", min(count, 150))
    rows = []
    for n in range(count):
        row = dict(pairs[n % len(pairs)][0])
        lacking = _RECORD_CHARS - sum(len(row[name] or "") for name in TEXT_FIELDS)
        more = "".join(pairs[(n + k) % len(pairs)][0]["examination"] or "" for k in range(1, 12))
        row["examination"] = (row["examination"] or "") + more[: max(0, lacking)]
        rows.append(row | {"visit_key": f"{row['visit_key']}-{n}"})
    return records_table(rows)
