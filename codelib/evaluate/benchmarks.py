"""The two benchmarks as samples, and the ways of asking them: limited, few-shot, with the images of another visit.

    Dataset ── load_samples ──> tuple[Sample, ...] ──┬── exemplars (few-shot) ──> worked examples before the question
                                                     └── shuffled (control)   ──> another visit's images

Every choice is a function of a seed and stable keys: a grown test set leaves the old choices where they were as far as it can.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codelib.evaluate.variants import CLASSIFICATION, GENERATION
from codelib.models.conversation import Conversation, Dataset, Message

TEST_FILES = {CLASSIFICATION: "test-cls", GENERATION: "test-diagnostic"}
TRAIN_FILES = {CLASSIFICATION: "train-cls", GENERATION: "train-diagnostic"}


@dataclass(frozen=True)
class Sample:
    """One question with its reference. ``messages`` end with the user's question; ``images`` are paths inside the dataset."""

    sample_id: str
    benchmark: str
    patient: str
    messages: tuple[Message, ...]
    images: tuple[str, ...]
    reference: str
    checkup_id: str = ""  # this and what follows: "" and None where the dataset does not say
    split: str = ""
    language: str = ""
    names_label: bool | None = None  # the complaint already names the class
    others: tuple[str, ...] = ()  # checkups of worked examples, and of whoever lent the images
    age: int | None = None  # years
    gender: str = ""  # male | female
    num_photographs: int | None = None
    num_radiographs: int | None = None
    conditions: tuple[str, ...] = ()  # English names of all that the visit's table calls present

    @property
    def shows(self) -> tuple[str, ...]:
        """The checkups that the question shows something of, each once, sorted: what is to go where one of them is withdrawn."""
        return tuple(sorted({self.checkup_id, *self.others} - {""}))


def _order(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()


def _inside(path: str, folder: Path) -> str:
    """A path relative to the dataset. Raises ValueError where it points out of it."""
    if Path(path).is_relative_to(folder) and ".." not in (inside := Path(path).relative_to(folder)).parts:
        return inside.as_posix()
    raise ValueError(f"--dataset {folder}: an image path is absolute or leaves the folder; use paths inside it")


def _samples(conversations: Sequence[Conversation], benchmark: str, folder: Path) -> tuple[Sample, ...]:
    samples = []
    for conversation in conversations:
        if conversation.messages[-1].role != "assistant":
            raise ValueError(f"{conversation.sample_id}: no answer to compare with; the last message must be the assistant's")
        samples.append(
            Sample(
                conversation.sample_id,
                benchmark,
                conversation.patient,
                conversation.prompt.messages,
                tuple(_inside(image, folder) for image in conversation.images),
                conversation.answer,
                conversation.checkup or "",
                conversation.split,
                conversation.language,
                conversation.names_label,
            )
        )
    return tuple(samples)


def load_samples(dataset: Dataset, benchmark: str) -> tuple[Sample, ...]:
    """All test samples of a benchmark. Raises ValueError where there is none."""
    samples = _samples(dataset.read(TEST_FILES[benchmark]), benchmark, dataset.folder)
    if not samples:
        raise ValueError(
            f"--dataset {dataset.folder}: {TEST_FILES[benchmark]}.json is empty; leave this benchmark out with --benchmarks"
        )
    return samples


def limited(samples: Sequence[Sample], limit: int | None, seed: int) -> tuple[Sample, ...]:
    """A seeded draw in the order of the file; a larger limit keeps what a smaller one drew."""
    if limit is None or limit >= len(samples):
        return tuple(samples)
    drawn = sorted(samples, key=lambda sample: _order(seed, sample.sample_id))[:limit]
    chosen = {sample.sample_id for sample in drawn}
    return tuple(sample for sample in samples if sample.sample_id in chosen)


# few-shot


def exemplars(dataset: Dataset, benchmark: str, k: int, seed: int, language: str = "") -> tuple[Sample, ...]:
    """k worked examples out of train, of k patients: a function of the release, the seed and the language of the question.

    No example is of the validation split, and none of a patient who stands in validation or in either test file (published splits share
    patients). Visits are drawn by their id, so copies of a visit and a grown release leave the draw where it was as far as they can.
    """
    samples = _samples(dataset.read(TRAIN_FILES[benchmark]), benchmark, dataset.folder)
    held = {one.patient for name in TEST_FILES.values() if name in dataset.files for one in dataset.read(name)}
    validation = dataset.validation()
    held |= {s.patient for s in samples if s.split not in ("", "train") or s.checkup_id in validation}
    chosen: dict[str, Sample] = {}
    for sample in sorted(samples, key=lambda sample: _order(seed, sample.checkup_id or sample.sample_id)):
        if sample.language == language and sample.patient not in held and len(chosen) < k:
            chosen.setdefault(sample.patient, sample)
    if len(chosen) < k:
        raise ValueError(f"few-shot: {TRAIN_FILES[benchmark]} has {len(chosen)} patients outside the test set, k is {k}")
    return tuple(chosen.values())


def few_shot(sample: Sample, examples: Sequence[Sample]) -> Sample:
    """The sample with the examples before its question; a system message stays first and is said once."""
    system = tuple(message for message in sample.messages if message.role == "system")
    question = tuple(message for message in sample.messages if message.role != "system")
    shown: list[Message] = []
    for example in examples:
        shown += [message for message in example.messages if message.role != "system"]
        shown.append(Message("assistant", example.reference))
    images = tuple(image for example in examples for image in example.images)
    others = (*sample.others, *(example.checkup_id for example in examples))
    return replace(sample, messages=(*system, *shown, *question), images=images + sample.images, others=others)


# images shuffled


def other_patients(group: Sequence[Sample], seed: int) -> dict[str, Sample]:
    """For each sample another patient's: samples ordered by patient, turned by the largest patient's share. Where one patient
    holds more than half of the group this is impossible; samples left without a donor are not in the result."""
    by_patient: dict[str, list[Sample]] = defaultdict(list)
    for sample in group:
        by_patient[sample.patient].append(sample)
    patients = sorted(by_patient, key=lambda patient: _order(seed, patient))
    row = [s for patient in patients for s in sorted(by_patient[patient], key=lambda s: _order(seed, s.sample_id))]
    step = max((len(samples) for samples in by_patient.values()), default=0)
    pairs = zip(row, row[step:] + row[:step], strict=True)
    return {sample.sample_id: donor for sample, donor in pairs if sample.patient != donor.patient}


class NobodyElse(ValueError):
    """A test set without a second patient who has images: the control cannot be asked, which is no fault of a model."""


def shuffled(samples: Sequence[Sample], seed: int) -> tuple[Sample, ...]:
    """Each sample with the images of another patient's visit, its own question and reference: a model that looks must now fail.

    Visits with the same number of images exchange them whole. Those that find no partner so take a visit of another number, cut
    or repeated to fit their placeholders. Raises NobodyElse where no other patient has an image.
    """
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[len(sample.images)].append(sample)
    donors: dict[str, Sample] = {}
    for size in sorted(groups):
        donors |= other_patients(groups[size], seed)
    for sample in samples:
        if sample.sample_id not in donors:
            others = [s for s in samples if s.patient != sample.patient and s.images]
            if not others:
                raise NobodyElse("no second patient of the test set has images; there is nobody to exchange them with")
            nearest_size = min(abs(len(s.images) - len(sample.images)) for s in others)
            close = [s for s in others if abs(len(s.images) - len(sample.images)) == nearest_size]
            donors[sample.sample_id] = min(close, key=lambda s: _order(seed, f"{sample.sample_id}/{s.sample_id}"))
    result = []
    for sample in samples:
        donor = donors[sample.sample_id]
        fitted = tuple(donor.images[i % len(donor.images)] for i in range(len(sample.images)))
        result.append(replace(sample, images=fitted, others=(*sample.others, donor.checkup_id)))
    return tuple(result)
