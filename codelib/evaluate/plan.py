"""What a run asks: every variant's questions, cut into partitions with content keys.

    variants, dataset ──> groups: variants of one base, which share an engine
                     └──> Plan: partitions (a group, some visits × all its variants × both benchmarks)

A partition holds everything that is asked about its visits, so that an engine prepares each image once and fills batches from all variants.

An answer's key is a hash of everything it depends on: messages, image bytes, model and adapter by content, answer length, pixel policy,
decoding. A renamed variant, a larger --limit or a grown test set therefore asks only what is new, and one question that two variants or
two samples put to the same weights is asked once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from codelib.contracts import SIX_CLASSES
from codelib.core.stage import Work, digest
from codelib.evaluate.benchmarks import NobodyElse, Sample, SpectrumVisits, TestSet, limited, load_samples
from codelib.evaluate.embeddings import Embeddings
from codelib.evaluate.questions import Asked, ask
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, MISSING, SPECTRUM, Variant, files_digest, fingerprint
from codelib.models.conversation import Dataset
from codelib.models.engine import Decoding
from codelib.models.remote_settings import RemoteSettings, ServerFields

VERSION = 3  # of the partitions: raised when a row of the table would be made in another way
# questions to the bare model of a served LoRA module; codelib.evaluate.canary.CONTROL_EQUAL says how many answers decide
CONTROL_ITEMS = {GENERATION: 16, SPECTRUM: 24, CLASSIFICATION: 32}
_QUESTION = 1  # of the questions: raised when one would be put in another way, so that no old answer fits any more


class EvaluateSettings(RemoteSettings):
    """What `jobs.evaluate --set` knows."""

    seed: int = 0  # draws of --limit, few-shot examples, shuffling, bootstrap, examples shown
    partition_samples: int = Field(default=16, ge=1)  # visits in a partition, each with all that its group is asked about it
    num_actors: int | None = Field(default=None, ge=1)  # None: one for each GPU, else CPU; 4 where every variant is remote
    num_cpus_per_actor: float | None = Field(
        default=None, gt=0
    )  # None: local models share the CPUs of one node, 1 each on several; remote 0.25
    num_gpus_per_actor: float | None = Field(default=None, ge=0)  # None: 1 where there are GPUs and a variant is local, else 0
    spectrum_visits: SpectrumVisits = "unseen"  # all: also of patients in training, asked of variants without an adapter only
    variants: str | None = Field(default=None, exclude=True)  # a list of jobs/variants or a file, where --variants is not given
    embeddings: Embeddings = ("auto",)  # models of the cosine similarity, which is their mean
    num_examples: int = Field(default=12, ge=0)  # shown in the report where scripts are not allowed
    page_mb: int = Field(default=25, ge=1, le=500)  # the report's page, thumbnails and answers of its error browser included

    @model_validator(mode="after")
    def _one_gpu(self) -> EvaluateSettings:
        if self.num_gpus_per_actor is not None and self.num_gpus_per_actor > 1:
            raise ValueError(
                f"num_gpus_per_actor={self.num_gpus_per_actor:g}: a model lies on one GPU here (0.5: two actors on each); one that needs "
                "several is served, `vllm serve MODEL --tensor-parallel-size N`, and asked by a variant with `engine: openai` and its base_url"
            )
        return self


@dataclass(frozen=True)
class Group:
    """Variants that one engine answers: same kind of engine, same weights (or same server and model name)."""

    key: str
    variants: tuple[str, ...]
    local: bool


@dataclass(frozen=True)
class Plan:
    """What a run does. ``questions``: (variant name, benchmark) -> samples as that variant is asked them; ``tests``: benchmark ->
    the samples of the test set, as published; ``left_out``: what cannot be asked of this test set, and why."""

    work: list[Work]
    variants: tuple[Variant, ...]
    tests: dict[str, tuple[Sample, ...]]
    questions: dict[tuple[str, str], tuple[Sample, ...]]
    fingerprints: dict[str, dict[str, str]]
    keys: frozenset[str]
    left_out: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    image_names: dict[str, str] = field(default_factory=dict)  # of a file of one's own: path of an image -> what tables call it
    controls: frozenset[str] = frozenset()  # variants that nobody named: see `_control`. No table and no figure has them


@dataclass
class _Prints:
    """SHA-256 of each image, read once."""

    folder: Path
    known: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        if name not in self.known:
            path = self.folder / name
            self.known[name] = files_digest(path) if os.path.isfile(path) else MISSING  # Path.is_file raises for a name too long
        return self.known[name]


def _questions(variant: Variant, dataset: Dataset, test: tuple[Sample, ...], drawn: frozenset[str], seed: int) -> Asked:
    """The samples as this variant is asked them. Shuffling and examples are drawn over the whole test set, so that --limit
    changes nobody's question; drawn: ids of what it leaves."""
    try:
        asked = ask(variant, dataset, test, seed)
    except NobodyElse:
        raise
    except ValueError as error:
        raise ValueError(f"variant {variant.name}: {error}") from None
    return replace(asked, samples=tuple(sample for sample in asked.samples if sample.sample_id in drawn))


def make_plan(
    dataset: Dataset, variants: Sequence[Variant], benchmarks: Sequence[str], limit: int | None, settings: EvaluateSettings
) -> Plan:
    """Variants come resolved. Raises ValueError where a benchmark has no samples, a variant cannot be asked them, or two share a name."""
    twice = [name for name, count in Counter(variant.name for variant in variants).items() if count > 1]
    if twice:
        raise ValueError(f"variants: {twice[0]} stands twice; every variant needs a name of its own")
    whole = {benchmark: load_samples(dataset, benchmark, settings.spectrum_visits) for benchmark in benchmarks}
    tests = {benchmark: limited(samples, limit, settings.seed) for benchmark, samples in whole.items()}
    drawn = {benchmark: frozenset(sample.sample_id for sample in samples) for benchmark, samples in tests.items()}
    prints = _Prints(dataset.folder)
    fingerprints = {variant.name: fingerprint(variant) for variant in variants}
    questions: dict[tuple[str, str], tuple[Sample, ...]] = {}
    left_out: list[str] = []
    for variant in variants:
        for benchmark in benchmarks:
            if benchmark not in variant.benchmarks:
                continue
            try:
                found = _questions(variant, dataset, whole[benchmark], drawn[benchmark], settings.seed)
            except NobodyElse as reason:
                left_out.append(f"{variant.name} was not asked on {benchmark}: {reason}.")
                continue
            left_out += [f"{variant.name}, {benchmark}: {note}." for note in found.notes]
            questions[variant.name, benchmark] = found.samples
    if not questions:
        raise ValueError(f"no variant takes part in {', '.join(benchmarks)}; see `benchmarks` in the variants file")
    named = {variant.name: variant for variant in variants}
    for variant in variants:
        control = _control(
            variant, tuple(named.values()), {one: asked for (name, one), asked in questions.items() if name == variant.name}
        )
        if control is not None:
            named[control.name], fingerprints[control.name] = control, fingerprint(control)
            (benchmark,) = control.benchmarks
            whole_ones = [one for one in questions[variant.name, benchmark] if MISSING not in map(prints.of, one.images)]
            questions[control.name, benchmark] = tuple(whole_ones[: CONTROL_ITEMS[benchmark]])
    controls = frozenset(named) - {variant.name for variant in variants}
    variants = tuple(named.values())
    groups = _groups(variants, fingerprints, controls)
    image_names = _image_names(whole) if isinstance(dataset, TestSet) else {}
    work: list[Work] = []
    keys: set[str] = set()
    for group in groups:
        asked = [(name, sample) for name in group.variants for one in benchmarks for sample in questions.get((name, one), ())]
        visits = _even(len({_visit(sample) for _, sample in asked}), settings.partition_samples)
        cutter = _Cutter(group.key, visits, image_names)
        for name, sample in asked:
            cutter.add(named[name], sample, question_key(named[name], fingerprints[name], sample, prints))
        work += [Work(extra=partition) for partition in cutter.partitions if partition["rows"]]
        keys |= cutter.place.keys()
    left_out += _without_images(tests, prints)
    return Plan(
        work, tuple(variants), tests, questions, fingerprints, frozenset(keys), tuple(left_out), groups, image_names, controls
    )


def _control(variant: Variant, others: Sequence[Variant], asked: Mapping[str, tuple[Sample, ...]]) -> Variant | None:
    """The bare model of a served LoRA module, for a few of its questions: a server that knows the module's name and has nothing of its weights
    answers all the same. None where there is nothing to compare, or the list has it."""
    if variant.engine != "openai" or variant.adapter is None or not asked:
        return None
    twin = variant.twin("adapter")
    if any(one.adapter is None and one.twin("adapter") == twin and set(one.benchmarks) & set(asked) for one in others):
        return None
    benchmark = min(asked, key=lambda one: CONTROL_ITEMS[one])  # written text first: two models may agree on a few classes
    name = f"{variant.name}, bare model"
    while any(one.name == name for one in others):
        name += "'"
    return variant.model_copy(update={"name": name, "adapter": None, "benchmarks": (benchmark,)})


def _image_names(tests: dict[str, tuple[Sample, ...]]) -> dict[str, str]:
    """Path -> sample and place: a hospital's file names may hold a patient's number, and tables are outside the private room."""
    names: dict[str, str] = {}
    for sample in (sample for samples in tests.values() for sample in samples):
        for place, image in enumerate(sample.images, start=1):
            names.setdefault(image, f"{sample.sample_id}/image-{place}")
    return names


def _groups(variants: Sequence[Variant], fingerprints: dict[str, dict[str, str]], controls: frozenset[str]) -> tuple[Group, ...]:
    """In the order of the variants. Two paths to the same weights are one base; a model that is not there is known by its path alone. Controls
    stand apart: whatever a server makes of its bare model concerns nobody else's engine and partitions."""
    found: dict[str, list[Variant]] = {}
    for variant in variants:
        model = fingerprints[variant.name]["model"]
        base = variant.model if MISSING in model else model
        server = [getattr(variant, name) for name in ServerFields.model_fields]
        apart = ["control"] if variant.name in controls else []
        found.setdefault(digest([variant.engine, base, *server, *apart]), []).append(variant)
    return tuple(
        Group(key, tuple(variant.name for variant in members), members[0].engine == "transformers")
        for key, members in found.items()
    )


def _without_images(tests: dict[str, tuple[Sample, ...]], prints: _Prints) -> list[str]:
    """A sentence for each benchmark some of whose images are not there, before anybody waits for a model."""
    notes = []
    for benchmark, samples in tests.items():
        missing = {name for sample in samples for name in sample.images if prints.of(name) == MISSING}
        concerned = sum(not missing.isdisjoint(sample.images) for sample in samples)
        if missing:
            notes.append(
                f"{benchmark}: {len(missing)} images are not in the dataset's folder; the {concerned} of {len(samples)} samples that "
                "show them are not asked. Put the images there and run the same command again."
            )
    return notes


def _visit(sample: Sample) -> str:
    return sample.checkup_id or sample.patient or sample.sample_id


def _even(visits: int, most: int) -> int:
    """Visits in a partition, so that the last one is about as large as the others: with 16 and 8 an actor would be idle while another works."""
    return -(-visits // max(1, -(-visits // most))) or 1


class _Cutter:
    """Cuts a group's questions into partitions, in which

    - all questions about a visit stand together, whichever variant and benchmark they are of;
    - a question that was put before stands where it stood first, so that two actors never ask it at the same time.

    ``{"group", "questions": [{messages, images[, named]}], "asks": [{key, question, variant, benchmark, checkups}], "rows": [{variant,
    benchmark, sample_id, reference, ask}]}``; the numbers are places in the lists beside them; ``named``: the images as tables call them.
    """

    def __init__(self, group: str, visits: int, image_names: Mapping[str, str]) -> None:
        self.group, self.visits, self.image_names = group, visits, image_names
        self.partitions: list[dict[str, Any]] = []
        self.of_visit: dict[str, int] = {}  # visit -> partition
        self.place: dict[str, tuple[int, int]] = {}  # key of an answer -> partition, ask
        self.texts: dict[tuple[int, str], int] = {}  # partition, text and images -> question

    def add(self, variant: Variant, sample: Sample, key: str) -> None:
        number = self.of_visit.setdefault(_visit(sample), len(self.of_visit) // self.visits)
        if key not in self.place:
            self.place[key] = (number, self._ask(number, variant, sample, key))
        number, ask = self.place[key]
        partition = self.partitions[number]
        partition["asks"][ask]["checkups"] = sorted({*partition["asks"][ask]["checkups"], *sample.shows})
        partition["rows"].append(
            {
                "variant": variant.name,
                "benchmark": sample.benchmark,
                "sample_id": sample.sample_id,
                "reference": sample.reference,
                "ask": ask,
            }
        )

    def _ask(self, number: int, variant: Variant, sample: Sample, key: str) -> int:
        while len(self.partitions) <= number:
            self.partitions.append({"group": self.group, "questions": [], "asks": [], "rows": []})
        partition = self.partitions[number]
        question: dict[str, Any] = {"messages": [[message.role, message.content] for message in sample.messages]}
        question["images"] = list(sample.images)
        if self.image_names:
            question["named"] = [self.image_names.get(name, name) for name in sample.images]
        place = self.texts.setdefault((number, digest(question)), len(partition["questions"]))
        if place == len(partition["questions"]):
            partition["questions"].append(question)
        partition["asks"].append(
            {"key": key, "question": place, "variant": variant.name, "benchmark": sample.benchmark, "checkups": []}
        )
        return len(partition["asks"]) - 1


def choices(variant: Variant, benchmark: str) -> tuple[str, ...]:
    """The answers whose likelihood is asked for as well."""
    return SIX_CLASSES if benchmark == CLASSIFICATION and variant.constrained else ()


def question_key(variant: Variant, prints: dict[str, str], sample: Sample, images: _Prints) -> str:
    """Everything that an answer depends on. What is as it always was leaves no trace, so that answers of earlier versions stay good."""
    pixels = variant.pixels()
    asked: dict[str, Any] = {
        "version": _QUESTION,
        "model": prints,
        "messages": [[message.role, message.content] for message in sample.messages],
        "images": [images.of(name) for name in sample.images],
        "pixels": [pixels.min_pixels, pixels.max_pixels],
        "max_new_tokens": variant.answer_length(sample.benchmark),
    }
    if variant.decoding != Decoding():
        asked["decoding"] = vars(variant.decoding)
    if weighed := choices(variant, sample.benchmark):
        asked["choices"] = list(weighed)
    return digest(asked)
