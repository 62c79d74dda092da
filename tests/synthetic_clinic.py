"""The synthetic clinic without its pictures: they cost most and say nothing of the text stages."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pyarrow as pa

from codelib.contracts import OK
from codelib.core.store import Store
from codelib.data.consent import Consent
from codelib.data.export import batch_names, list_batch, patient_number
from codelib.data.ingest import ingest
from codelib.data.sheets import Mapping
from codelib.data.stages import codes_table
from codelib.data.vault import Keyed, assign
from codelib.synthetic import export as synthetic

KEYED = Keyed(b"k" * 32)

Place = tuple[str, str]
"""What a visit is known by in the truth: its patient's number and its time."""


def _no_pictures(root: Path, folder: Path, *args: Any, **options: Any) -> SimpleNamespace:
    """A visit's folder with one file that ingest counts and does not open."""
    (folder / "照片").mkdir(parents=True, exist_ok=True)
    (folder / "照片" / "1.jpg").write_bytes(b"x")
    return SimpleNamespace(rejected={}, named=[])


def clinic(folder: Path, pool: str, visits: int, seed: int) -> tuple[dict[Place, dict[str, Any]], list[pa.Table]]:
    """(truth by place, RECORDS of each batch) of an export that is made in ``folder``; of the visits that ingest lets pass."""
    with mock.patch.object(synthetic, "write_visit_folder", _no_pictures):
        path = synthetic.generate(folder, visits=visits, seed=seed, pool=pool)  # type: ignore[arg-type]
    truth = {(patient_number(v["patient"]), v["time"]): v for v in json.loads(path.read_text(encoding="utf-8"))["visits"]}
    store, tables = Store(str(folder)), []
    for name in batch_names(store):
        extra = {"batch": name, "listing": list_batch(store, name).fingerprint()}
        records = ingest(store, Mapping(), Consent(frozenset(), KEYED), extra)
        tables.append(records.filter([status == OK for status in records["status"].to_pylist()]))
    return truth, tables


def place_of(row: dict[str, Any]) -> Place:
    """Of a RECORDS row."""
    return patient_number(row["patient"] or "0"), row["checkup_time"]


def codes_of(records: pa.Table) -> pa.Table:
    """The codes that `deidentify` is handed, as a first run would give them."""
    visits = [(r["visit_key"], r["patient"], r["checkup_time"]) for r in records.to_pylist()]
    codes = assign(visits, [], KEYED)
    return codes_table([[c.visit_key, c.checkup_id, c.patient_id, KEYED.shift_days(c.patient_key)] for c in codes])
