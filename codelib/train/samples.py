"""From a released dataset to the list of samples that a run trains on: checked before a GPU is taken.

train*.json ──> conversations ── examples (images decode, tokens within the budget, text allowed) ─┬─ rejected, by id and reason
                                                                                                  └─ the release's validation side,
                                                                                                     else split by patient ──> Plan
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.models.conversation import Conversation, Dataset
from codelib.models.encoding import Encoder
from codelib.train.examples import Look, Rule, look_at_header, once, row_of
from codelib.train.settings import TrainSettings

_CHECK_THREADS = 8  # decoding releases the interpreter lock
_MEASURES = (
    "sample_id",
    "visual_tokens",
    "text_tokens",
    "answer_tokens",
    "images_dropped",
    "image_sha256",
    "reject_reason",
    "detail",
)


@dataclass(frozen=True)
class Measured:
    """A conversation with its length in tokens, or with the reason why it cannot be trained on."""

    conversation: Conversation
    visual_tokens: int = 0
    text_tokens: int = 0
    answer_tokens: int = 0  # of the text tokens
    images_dropped: int = 0  # by over_budget=drop_images
    images: tuple[str, ...] = ()  # SHA-256 of each file; empty where only headers were read
    reason: str | None = None  # train:<code>
    detail: str = ""

    @property
    def tokens(self) -> int:
        return self.visual_tokens + self.text_tokens


@dataclass(frozen=True)
class Plan:
    """What a run trains on, in a fixed order. ``spared``: of the release's validation side, over ``max_validation_samples``."""

    training: tuple[Measured, ...]
    validation: tuple[Measured, ...]
    rejected: tuple[Measured, ...]
    spared: tuple[Measured, ...] = ()

    def sides(self) -> dict[str, tuple[Measured, ...]]:
        """Every sample once."""
        return {"training": self.training, "validation": self.validation, "spared": self.spared, "rejected": self.rejected}

    def rejected_counts(self) -> dict[str, int]:
        return dict(sorted(Counter(str(one.reason) for one in self.rejected).items()))


def fingerprint(dataset: Dataset, tasks: Iterable[str]) -> str:
    """SHA-256 over the training files of these tasks, and over the images' sums where the release has them: what tells one release's data
    from another's."""
    digest = hashlib.sha256()
    sums = dataset.folder / "SHA256SUMS"
    if sums.is_file():
        with sums.open("rb") as lines:
            for line in lines:
                if b"  Images/" in line:
                    digest.update(line)
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


def _measured(conversation: Conversation, row: dict[str, Any]) -> Measured:
    return Measured(
        conversation,
        row.get("visual_tokens") or 0,
        row.get("text_tokens") or 0,
        row.get("answer_tokens") or 0,
        row["images_dropped"],
        tuple(row.get("image_sha256") or ()),
        row.get("reject_reason"),
        row["detail"],
    )


def measure_all(
    conversations: Sequence[Conversation],
    encoder: Encoder,
    rule: Rule,
    root: Path,
    look: Callable[[str], Look] = look_at_header,
    step: Callable[[], None] = lambda: None,
) -> list[Measured]:
    """What the shards will say of these conversations, without making them."""
    measured = []
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        looked = once(look)
        rows = pool.map(lambda one: row_of(one, encoder, rule, looked, root), conversations)
        for conversation, row in zip(conversations, rows, strict=True):
            measured.append(_measured(conversation, row))
            step()
    return measured


def measured_in(parts: Sequence[Part], conversations: Sequence[Conversation]) -> list[Measured]:
    """What the shards say of these conversations; no token and no pixel is read."""
    found = {row["sample_id"]: row for part in parts for row in Store(part.root).read_table(part.name, _MEASURES).to_pylist()}
    return [_measured(one, found[one.sample_id]) for one in conversations]


def validation_patients(samples: Mapping[str, int], fraction: float, seed: int, most: int) -> set[str]:
    """The patients held back to choose the best checkpoint: those with the lowest hash, at least one where two or more exist, and beyond the
    first no more than have ``most`` samples together. samples: patient -> samples.

    A patient's hash depends on nothing but the seed and the code, so a grown dataset moves few patients.
    """
    if len(samples) < 2 or fraction == 0:
        return set()
    ordered = _in_hash_order(samples, seed)[: min(len(samples) - 1, max(1, math.floor(fraction * len(samples) + 0.5)))]
    return set(_up_to(ordered, samples, most))


def _in_hash_order(patients: Iterable[str], seed: int) -> list[str]:
    return sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}/{patient}".encode()).hexdigest())


def _up_to(ordered: list[str], samples: Mapping[str, int], most: int) -> list[str]:
    """The first of them, and those that follow until the next would make more than ``most`` samples."""
    added = list(accumulate(samples[patient] for patient in ordered))
    return ordered[: max(1, bisect_right(added, most))]


def make_plan(
    measured: list[Measured], settings: TrainSettings, validation: frozenset[str] = frozenset(), root: Path | None = None
) -> Plan:
    """Hold back the release's own validation side (``validation``: its checkup ids), else patients of our own choice; nobody where
    ``validation_fraction`` is 0. Each checkpoint reads them all, so they are as many patients as have ``max_validation_samples`` samples: at a
    share alone, validation grows with the square of the visits. root: the dataset's folder, whose place must not decide who is held back
    where images stand for patients. Raises ValueError where nothing is left to train on."""
    fit = [one for one in measured if one.reason is None]
    rejected = tuple(one for one in measured if one.reason is not None)
    if not fit:
        first = rejected[0]
        raise ValueError(
            f"all {len(rejected)} samples are unfit, the first {first.conversation.sample_id}: {first.reason} {first.detail}; "
            "check the dataset's Images folder, raise cut_off, lower max_pixels, or set over_budget=drop_images"
        )
    whose = [one.conversation.patient.removeprefix(f"{root}/") for one in fit]
    held = [settings.validation_fraction > 0 and one.conversation.checkup in validation for one in fit]
    if any(held) and not all(held):
        candidates = Counter(patient for patient, is_held in zip(whose, held, strict=True) if is_held)
        patients = set(_up_to(_in_hash_order(candidates, settings.seed), candidates, settings.max_validation_samples))
    else:
        patients = validation_patients(
            Counter(whose), settings.validation_fraction, settings.seed, settings.max_validation_samples
        )
        held = [patient in patients for patient in whose]
    sides: dict[str, list[Measured]] = {"training": [], "validation": [], "spared": []}
    for one, patient, is_held in zip(fit, whose, held, strict=True):
        sides["training" if not is_held else "validation" if patient in patients else "spared"].append(one)
    return Plan(tuple(sides["training"]), tuple(sides["validation"]), rejected, tuple(sides["spared"]))
