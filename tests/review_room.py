"""A workspace after jobs.evaluate, as far as a blinded review reads it: a dataset with pictures, and a report on it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.pictures import jpeg, photograph

HOSTILE = "=cmd()<script>document.title='run'</script> tooth 36, \"quoted\""
COLUMNS = ("variant", "sample_id", "benchmark", "images", "reference", "answer", "status")


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
            answer = (
                HOSTILE
                if index == 0
                else f"Diagnosis:  caries of tooth {11 + index} says {variant[::-1]}.\r\n\r\n\r\n\r\nPlan: filling."
            )
            told = (variant, f"test-diagnostic/{checkup}", "generation", image, reference, answer, "ok")
            rows.append(dict(zip(COLUMNS, told, strict=True)))
    (dataset / "test-diagnostic.json").write_text(json.dumps(conversations, ensure_ascii=False), encoding="utf-8")
    report = workspace / "evaluate" / "report"
    report.mkdir(parents=True)
    with (report / "predictions.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (report / "report.json").write_text(
        json.dumps({"dataset": "release", "variants": [{"name": name, "status": "complete"} for name in variants]})
    )
    return dataset, workspace


def key_of(workspace: Path, name: str = "first") -> dict:
    return json.loads((workspace / "evaluate" / "review" / name / "key.json").read_text(encoding="utf-8"))
