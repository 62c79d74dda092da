"""ShareGPT: one checkup -> the conversations of the two benchmarks.

    classification  Age, Gender, Chief Complaint, images -> one of six classes
    generation      Age, Gender, Chief Complaint, Past Medical History, images -> a report of eight sections

The input fields are the benchmark's own (paper, table of benchmarks) and no others: a diagnosis in the question would be the answer.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from codelib.contracts import CONVERSATIONS, OK, SIX_CLASSES
from codelib.core.config import Settings
from codelib.models.conversation import IMAGE

SECTIONS = (
    ("Patient Record", "patient_record"),
    ("Examination", "examination"),
    ("Radiographs Examination", "radiographs_examination"),
    ("Diagnosis", "diagnosis"),
    ("Treatment Plan", "treatment_plan"),
    ("Management", "management"),
    ("Medical Instructions", "medical_instructions"),
    ("Remarks", "remarks"),
)
_NOT_RECORDED = "Not recorded."


class ShareGptSettings(Settings):
    shuffle_images: bool = True  # the paper's first augmentation, on the training side
    vary_questions: bool = True  # the paper's second


def make_conversations(annotated: pa.Table, split: pa.Table, settings: ShareGptSettings, seed: int) -> pa.Table:
    """ANNOTATED and SPLIT of one partition -> CONVERSATIONS; none for a visit that is in neither split."""
    templates = yaml.safe_load((files("codelib.data") / "questions.yaml").read_text(encoding="utf-8"))
    places = {row["checkup_id"]: row for row in split.to_pylist()}
    rows = []
    for visit in annotated.to_pylist():
        place = places.get(visit["checkup_id"])
        if place is None or place["split"] == "excluded":
            continue
        for task in ("classification", "generation"):
            answer = visit["six_class"] if task == "classification" else _report(visit)
            if answer:
                rows.append(_conversation(visit, place, task, answer, templates[task], settings, seed))
    return pa.Table.from_pylist(rows, schema=CONVERSATIONS.schema)


def _conversation(
    visit: dict[str, Any],
    place: dict[str, Any],
    task: str,
    answer: str,
    templates: dict[str, list[str]],
    settings: ShareGptSettings,
    seed: int,
) -> dict[str, Any]:
    sample_id = f"{visit['checkup_id']}/{task}"
    rng = np.random.default_rng(list(hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()[:8]))
    images = [f"Images/Radiographs/{n}" for n in place["radiographs"]] + [f"Images/Photographs/{n}" for n in place["photographs"]]
    is_train = place["split"] != "test"
    if is_train and settings.shuffle_images:
        images = [images[i] for i in rng.permutation(len(images))]
    choices = templates["train" if is_train else "test"]
    question = choices[int(rng.integers(len(choices)))] if settings.vary_questions else choices[0]
    question = question.format(classes=", ".join(SIX_CLASSES), sections=", ".join(title for title, _ in SECTIONS))
    pictures = "\n".join(f"image-{n}: {IMAGE}" for n in range(1, len(images) + 1))
    return {
        "sample_id": sample_id,
        "checkup_id": visit["checkup_id"],
        "task": task,
        "split": place["split"],
        "messages": [
            {"role": "user", "content": f"{pictures}\n{_fields(visit, task)}\n{question}"},
            {"role": "assistant", "content": answer},
        ],
        "images": images,
        "status": OK,
        "reject_reason": None,
    }


def _fields(visit: dict[str, Any], task: str) -> str:
    lines = [f"Age: {visit['age'] if visit['age'] is not None else 'unknown'}", f"Gender: {visit['gender'] or 'unknown'}"]
    lines.append(f"Chief Complaint: {_plain(visit['chief_complaint'])}")
    if task == "generation":
        lines.append(f"Past Medical History: {_plain(visit['past_medical_record'])}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    # a placeholder typed in a record would unbalance the images
    while IMAGE in text:  # <ima<image>ge> leaves another behind
        text = text.replace(IMAGE, "")
    return text.strip() or _NOT_RECORDED


def _report(visit: dict[str, Any]) -> str:
    """The reference report, its eight sections always there."""
    return "\n".join(f"{title}: {_plain(visit[name])}" for title, name in SECTIONS)
