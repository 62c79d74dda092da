"""Rows for tests of de-identification, and what becomes of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from codelib.contracts import DEIDENTIFIED, TEXT, TEXT_FIELDS
from codelib.data.deidentify import DeidentifySettings, deidentify, review_queue
from codelib.data.deidentify_clean import Calendar, Cleaned, clean
from codelib.data.gazetteer import Gazetteer

VISIT = dt.date(2022, 3, 5)

PHRASES = [
    "36远中邻合面龋坏",
    "探痛（+）",
    "叩（-）",
    "PD 3-4mm",
    "BOP(+)",
    "全口龈缘红肿",
    "患者自觉上前牙前突",
    "患者要求拔除智齿",
    "母亲诉夜间磨牙",
    "医生建议定期复查",
    "高血压，控制可",
    "5年前因左下智齿冠周炎拔除38",
    "18、28、38、48牙胚存在",
    "比色A2",
    "3%双氧水冲洗",
    "24小时内勿用患侧咀嚼",
    "安氏II类1分类错牙合",
    "16 26 36 46窝沟封闭",
    "甲硝唑0.2g tid×3天",
    "阿替卡因局麻下开髓",
    "右上3-左上3拥挤Ⅱ度",
    "CBCT示38距下颌神经管2mm",
    "家长代诉",
    "外院行根管治疗",
    "一周后复诊",
    "患者12岁",
    "主任医师会诊",
]


def cleaned(text: str, *identifiers: tuple[str, str], mode: str = "keep", shift_days: int = 0) -> Cleaned:
    gazetteer = Gazetteer({"kind": kind, "value": value} for kind, value in identifiers)
    return clean(text, gazetteer, Calendar(mode, VISIT, shift_days))  # type: ignore[arg-type]


def row(key: str = "v1", **values: Any) -> dict[str, Any]:
    base = {"visit_key": key, "patient": "p", "checkup_time": "2022-03-05 09:30", "age": 35, "gender": "male"}
    return (
        base | dict.fromkeys(TEXT_FIELDS, "") | {"identifiers": [], "teeth": [], "status": "ok", "reject_reason": None} | values
    )


def run(*rows: dict[str, Any], shift_days: int = -40, dates: str = "shift") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    table = pa.Table.from_pylist(list(rows), schema=TEXT.schema)
    codes = pa.Table.from_pylist(
        [
            {"visit_key": r["visit_key"], "checkup_id": f"{i:04d}-001", "patient_id": f"{i:04d}", "date_shift_days": shift_days}
            for i, r in enumerate(rows)
            if r["status"] == "ok"
        ],
        schema=pa.schema(
            [
                ("visit_key", pa.string()),
                ("checkup_id", pa.string()),
                ("patient_id", pa.string()),
                ("date_shift_days", pa.int32()),
            ]
        ),
    )
    options = DeidentifySettings(dates=dates)  # type: ignore[arg-type]
    out = deidentify(table, codes, options)
    assert out.schema == DEIDENTIFIED.schema
    return out.to_pylist(), list(review_queue(table, codes, options))


def identifiers_of(cells: str) -> list[dict[str, str]]:
    return [dict(zip(("kind", "value"), cell.split("=", 1), strict=True)) for cell in cells.split(";") if cell]
