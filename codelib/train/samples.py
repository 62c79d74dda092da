"""From a released dataset to the list of samples that a run trains on: checked before a GPU is taken.

train*.json ──> conversations ── check (images decode, length within the cut-off, text allowed) ─┬─ rejected, by id and reason
                                                                                                  └─ the release's validation side,
                                                                                                     else split by patient ──> Plan
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from codelib.models.conversation import Conversation, Dataset
from codelib.models.encoding import Encoder
from codelib.models.prompt import ImageError, image_size, open_pixels, visual_tokens
from codelib.train.settings import TrainSettings

_CHECK_THREADS = 8  # decoding releases the interpreter lock


@dataclass(frozen=True)
class Measured:
    """A conversation with its length in tokens, or with the reason why it cannot be trained on."""

    conversation: Conversation
    visual_tokens: int = 0
    text_tokens: int = 0
    reason: str | None = None  # train:<code>
    detail: str = ""

    @property
    def tokens(self) -> int:
        return self.visual_tokens + self.text_tokens


@dataclass(frozen=True)
class Plan:
    """What a run trains on, in a fixed order."""

    training: tuple[Measured, ...]
    validation: tuple[Measured, ...]
    rejected: tuple[Measured, ...]

    def rejected_counts(self) -> dict[str, int]:
        return dict(sorted(Counter(str(one.reason) for one in self.rejected).items()))


def fingerprint(dataset: Dataset, tasks: Iterable[str]) -> str:
    """SHA-256 over the training files of these tasks: what tells one release's data from another's."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(f"{task}:".encode())
        digest.update(_file(dataset, task).read_bytes())
    return digest.hexdigest()


def _file(dataset: Dataset, task: str) -> Path:
    if task not in dataset.files:
        raise ValueError(f"--dataset {dataset.folder} has no {task}.json; it has: {', '.join(sorted(dataset.files))}")
    return dataset.files[task]


def read(dataset: Dataset, tasks: Iterable[str]) -> list[Conversation]:
    """All training conversations, those of one task after those of the other. Raises ValueError where there is none."""
    conversations = [one for task in tasks for one in dataset.read(task)]
    if not conversations:
        raise ValueError(f"--dataset {dataset.folder}: no training conversation in {', '.join(tasks)}")
    return conversations


def measure(conversation: Conversation, encoder: Encoder, cut_off: int, *, decode: bool) -> Measured:
    """Length and fitness of one conversation. ``decode`` reads all pixels; without it the headers alone are looked at."""
    if conversation.messages[-1].role != "assistant" or not conversation.answer.strip():
        return Measured(conversation, reason="train:no_answer")
    try:
        if decode:
            sizes = [open_pixels(path, encoder.policy).size for path in conversation.images]
        else:
            sizes = [image_size(path) for path in conversation.images]
        visual = sum(visual_tokens(*size, encoder.policy) for size in sizes)
    except ImageError as error:
        return Measured(conversation, reason="train:image", detail=str(error))
    try:
        text = encoder.num_text_tokens(conversation) - len(conversation.images)
    except ValueError:
        return Measured(conversation, reason="train:control_token")
    if visual + text > cut_off:
        detail = f"{visual} visual and {text} text tokens, cut-off {cut_off}"
        return Measured(conversation, visual, text, "train:too_long", detail)
    return Measured(conversation, visual, text)


def measure_all(
    conversations: list[Conversation], encoder: Encoder, cut_off: int, *, decode: bool, step: Callable[[], None] = lambda: None
) -> list[Measured]:
    measured = []
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        for one in pool.map(lambda conversation: measure(conversation, encoder, cut_off, decode=decode), conversations):
            measured.append(one)
            step()
    return measured


def validation_patients(patients: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The patients held back to choose the best checkpoint: those with the lowest hash, at least one where two or more exist.

    A patient's hash depends on nothing but the seed and the code, so a grown dataset moves few patients.
    """
    ordered = sorted(set(patients), key=lambda patient: hashlib.sha256(f"{seed}/{patient}".encode()).hexdigest())
    if len(ordered) < 2 or fraction == 0:
        return set()
    return set(ordered[: min(len(ordered) - 1, max(1, math.floor(fraction * len(ordered) + 0.5)))])


def make_plan(measured: list[Measured], settings: TrainSettings, validation: frozenset[str] = frozenset()) -> Plan:
    """Hold back the release's own validation side (``validation``: its checkup ids), else patients of our own choice; nobody where
    ``validation_fraction`` is 0. Raises ValueError where nothing is left to train on."""
    fit = [one for one in measured if one.reason is None]
    rejected = tuple(one for one in measured if one.reason is not None)
    if not fit:
        first = rejected[0]
        raise ValueError(
            f"all {len(rejected)} samples are unfit, the first {first.conversation.sample_id}: {first.reason} {first.detail}; "
            "check the dataset's Images folder, or raise cut_off or lower max_pixels"
        )
    held = [one.conversation.checkup in validation for one in fit]
    if settings.validation_fraction == 0:
        held = [False] * len(fit)
    elif not any(held) or all(held):
        patients = validation_patients((one.conversation.patient for one in fit), settings.validation_fraction, settings.seed)
        held = [one.conversation.patient in patients for one in fit]
    return Plan(
        tuple(one for one, is_held in zip(fit, held, strict=True) if not is_held),
        tuple(one for one, is_held in zip(fit, held, strict=True) if is_held),
        rejected,
    )
