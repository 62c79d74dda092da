"""The synthetic clinic's records with their truth, for the text benchmarks; its pictures are left out: they cost most and say nothing here.

`speed_records` gives records of 500 characters for timing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, RECORDS, TEXT_FIELDS
from codelib.core.store import Store
from codelib.data.export import batch_names, list_batch, patient_number
from codelib.data.ingest import ingest
from codelib.data.sheets import Mapping
from codelib.data.vault import Keyed
from codelib.synthetic import export as synthetic

POOLS = ("train", "held_out")
FIELD_OF = dict(
    zip(
        ("病历", "主诉", "现病史", "既往史", "检查", "X线检查示", "诊断", "治疗方案", "治疗建议", "处理", "医嘱", "备注"),
        TEXT_FIELDS,
        strict=True,
    )
)
_RECORD_CHARS = 500


def _no_pictures(root: Any, folder: Path, *args: Any, **options: Any) -> Any:
    """A visit's folder with one file that ingest counts and does not open."""
    (folder / "照片").mkdir(parents=True, exist_ok=True)
    (folder / "照片" / "1.jpg").write_bytes(b"x")
    return SimpleNamespace(rejected={}, named=[])


def clinic(pool: str, visits: int, seed: int = 23) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(RECORDS row, its truth) of the visits that ingest lets pass."""
    with_pictures = synthetic.write_visit_folder
    with tempfile.TemporaryDirectory() as place:
        synthetic.write_visit_folder = _no_pictures  # type: ignore[assignment]
        try:
            path = synthetic.generate(Path(place) / "clinic", visits=visits, seed=seed, pool=pool)  # type: ignore[arg-type]
        finally:
            synthetic.write_visit_folder = with_pictures
        truth = {(patient_number(v["patient"]), v["time"]): v for v in json.loads(path.read_text(encoding="utf-8"))["visits"]}
        store = Store(str(Path(place) / "clinic"))
        pairs = []
        for name in batch_names(store):
            extra = {"batch": name, "listing": list_batch(store, name).fingerprint()}
            for row in ingest(store, Keyed(b"k" * 32), Mapping(), frozenset(), extra).to_pylist():
                known = truth.get((patient_number(row["patient"] or "0"), row["checkup_time"]))
                if row["status"] == OK and known:
                    pairs.append((row, known))
        return pairs


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
