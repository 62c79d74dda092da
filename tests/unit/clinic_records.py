"""shared/data/clinic-export as a RECORDS table, read without the ingest stage, for the teeth and annotate tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from codelib.contracts import RECORDS, TEXT_FIELDS

REAL_DATA = Path(os.environ.get("CODELIB_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))

COLUMNS = {
    "初诊/复诊病历": "patient_record",
    "主诉": "chief_complaint",
    "现病史": "present_illness",
    "既往史": "past_medical_record",
    "检查": "examination",
    "X线检查示": "radiographs_examination",
    "诊断": "diagnosis",
    "治疗方案": "treatment_plan",
    "治疗建议": "treatment_recommendations",
    "处理": "management",
    "医嘱": "medical_instructions",
    "备注": "remarks",
}


def real_file(name: str) -> Path:
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"no {name} here: set CODELIB_REAL_DATA")
    return path


def truth() -> dict[str, Any]:
    return json.loads(real_file("clinic-export.truth.json").read_text(encoding="utf-8"))


def record(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(RECORDS.schema.names)
    return row | dict.fromkeys(TEXT_FIELDS, "") | {"visit_key": "v", "status": "ok"} | fields


def clinic_records() -> pa.Table:
    """Every row of both sheets; visit_key is "<patient> <time as written>"."""
    rows = []
    for path in sorted(real_file("clinic-export").rglob("*.xlsx")):
        header, *cells = openpyxl.load_workbook(path, read_only=True).worksheets[0].iter_rows(values_only=True)
        for values in cells:
            named = dict(zip(header, values, strict=True))
            fields = {COLUMNS[column]: text or "" for column, text in named.items() if column in COLUMNS}
            rows.append(record(visit_key=f"{named['患者']} {named['时间']}", **fields))
    return pa.Table.from_pylist(rows, schema=RECORDS.schema)


def row_of(table: pa.Table, visit: str) -> dict[str, Any]:
    """The row that a key of the truth file names: "患者0001 2022-09-18" or "患者0004"; of two rows of a visit the fuller."""
    rows = [row for row in table.to_pylist() if row["visit_key"].startswith(visit)]
    assert rows, f"no record {visit}"
    return max(rows, key=lambda row: sum(bool(value) for value in row.values()))
