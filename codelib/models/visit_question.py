"""A visit put as a question: the lines that show its images, the fields a benchmark may show of its record, what is asked of it.

    image-1: <image>
    Age: 35
    Gender: male
    Chief Complaint: pain on the lower left
    Given the images and the patient's details, identify the oral condition. …

Written here for training (codelib.data.sharegpt) and for evaluation in another language or with less to see (codelib.evaluate.questions). The
input fields are the benchmark's own (arXiv 2511.04948, table of benchmarks) and no others: a diagnosis in the question would be the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from codelib.models.conversation import IMAGE
from codelib.models.words import Modalities, Words

_INPUT = ("age", "gender", "chief_complaint")
INPUT_FIELDS: dict[str, tuple[str, ...]] = {
    "classification": _INPUT,
    "generation": (*_INPUT, "past_medical_record"),
    "quadrant": _INPUT,
    "teeth": _INPUT,
    "spectrum": _INPUT,
}
"""What a user message may hold of a visit, by task."""
_TAG = re.compile(r"<(?:image|video|audio)>")


def untagged(text: str) -> str:
    """The text without placeholders, however they are nested: one typed in a record would unbalance the images."""
    while _TAG.search(text):  # <ima<image>ge> leaves another behind
        text = _TAG.sub("", text)
    return text


def plain(text: str | None, words: Words) -> str:
    """A field as it stands in a conversation."""
    return untagged(text or "").strip() or words.not_recorded


def column(name: str, words: Words) -> str:
    """The table's column of a field in this language."""
    return name if words.language == "en" else f"{name}_cn"


def user_message(
    visit: Mapping[str, Any], task: str, num_images: int, question: str, modalities: Modalities, words: Words
) -> str:
    """The whole question. visit: ``age`` (years or None), ``gender`` and the columns of the text fields."""
    return "\n".join([*_image_lines(num_images, words), *_field_lines(visit, task, modalities, words), question])


def report(visit: Mapping[str, Any], words: Words) -> str:
    """The reference of report generation: eight sections, always all of them."""
    return "\n".join(f"{title}{words.colon}{plain(visit[column(name, words)], words)}" for name, title in words.sections.items())


def _image_lines(num_images: int, words: Words) -> list[str]:
    return [words.image.format(number=number) + IMAGE for number in range(1, num_images + 1)]


def _field_lines(visit: Mapping[str, Any], task: str, modalities: Modalities, words: Words) -> list[str]:
    """The lines of the record that this task's question may show."""
    if modalities == "images":
        return []
    values = {
        "age": words.unknown if visit["age"] is None else str(visit["age"]),
        "gender": words.genders.get(visit["gender"] or "", words.unknown),
    }
    lines = []
    for name in INPUT_FIELDS[task]:
        value = values[name] if name in values else plain(visit[column(name, words)], words)
        lines.append(f"{words.fields[name]}{words.colon}{value}")
    return lines
