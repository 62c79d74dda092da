"""A workspace after jobs.evaluate, as far as a blinded review reads it: a dataset with pictures, and a report on it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from codelib.contracts import OK, PREDICTIONS
from codelib.evaluate.run import Outcome
from codelib.evaluate.tables import predictions_csv
from tests.pictures import jpeg, photograph

HOSTILE = "=cmd()<script>document.title='run'</script> tooth 36, \"quoted\""


def make_room(folder: Path, num_patients: int = 6, variants: tuple[str, ...] = ("tuned",)) -> tuple[Path, Path]:
    """Two visits of each patient, a report of each variant on each. Returns dataset and workspace."""
    dataset, workspace = folder / "release", folder / "workspace"
    (dataset / "Images").mkdir(parents=True)
    conversations, rows = [], []
    for index in range(2 * num_patients):
        checkup = f"{index // 2:04d}-{index % 2 + 1:03d}"
        image = f"Images/{checkup}-01.jpg"
        (dataset / image).write_bytes(jpeg(photograph(index)))
        reference = f"Diagnosis: pulpitis of tooth {11 + index}.\n诊断：牙髓炎"
        messages = [
            {"role": "user", "content": f"image-1: <image>\nWrite a report on the complaint “pain {index}”."},
            {"role": "assistant", "content": reference},
        ]
        conversations.append({"id": checkup, "messages": messages, "images": [image]})
        for variant in variants:
            written = f"Diagnosis:  caries of tooth {11 + index} says {variant[::-1]}.\r\n\r\n\r\n\r\nPlan: filling."
            told = {"variant": variant, "sample_id": f"test-diagnostic/{checkup}", "benchmark": "generation", "images": [image]}
            rows.append({**told, "reference": reference, "answer": written if index else HOSTILE, "status": OK})
    (dataset / "test-diagnostic.json").write_text(json.dumps(conversations, ensure_ascii=False), encoding="utf-8")
    report = workspace / "evaluate" / "report"
    report.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)
    (report / "predictions.csv").write_bytes(predictions_csv(Outcome(table, 0, len(rows), {})))
    told = {"dataset": "release", "variants": [{"name": name, "status": "complete"} for name in variants]}
    (report / "report.json").write_text(json.dumps(told))
    return dataset, workspace


def key_of(workspace: Path, name: str = "first") -> dict:
    return json.loads((workspace / "evaluate" / "review" / name / "key.json").read_text(encoding="utf-8"))
