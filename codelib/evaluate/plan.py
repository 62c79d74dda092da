"""What a run asks: every variant's questions, cut into partitions with content keys.

    variants, dataset  ->  make_plan(...)  ->  Plan: partitions (variant, benchmark, at most N samples, fingerprints)

An answer's key is a hash of everything it depends on: messages, image bytes, model and adapter by content, answer length, pixel
policy. A renamed variant, a larger --limit or a grown test set therefore asks only what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from codelib.core.config import Settings
from codelib.core.stage import Work, digest
from codelib.evaluate.benchmarks import NobodyElse, Sample, exemplars, few_shot, limited, load_samples, shuffled
from codelib.evaluate.variants import MISSING, Variant, files_digest, fingerprint
from codelib.models.conversation import Dataset

VERSION = 1  # raised when the same question would be put, or its answer read, in another way


class EvaluateSettings(Settings):
    """What `jobs.evaluate --set` knows."""

    seed: int = 0  # draws of --limit, few-shot examples, shuffling, bootstrap, examples shown
    partition_samples: int = Field(default=16, ge=1)  # in a partition; an actor takes one at a time
    num_actors: int | None = Field(default=None, ge=1)  # None: one for each GPU, else CPU; 4 where every variant is remote
    num_cpus_per_actor: float | None = None  # None: 1 for local models, 0.25 where every variant is remote
    num_gpus_per_actor: float | None = None  # None: 1 where the cluster has GPUs and a variant is local, else 0
    embedding: Literal["auto", "minilm", "ngrams"] = "auto"
    num_examples: int = Field(default=12, ge=0)  # shown in the report where scripts are not allowed
    page_mb: int = Field(default=25, ge=1, le=500)  # the report's page, thumbnails and answers of its error browser included


@dataclass(frozen=True)
class Plan:
    """What a run does. ``questions``: (variant name, benchmark) -> samples as that variant is asked them; ``tests``: benchmark ->
    the samples of the test set, as published; ``left_out``: controls that this test set is too small for, and why."""

    work: list[Work]
    variants: tuple[Variant, ...]
    tests: dict[str, tuple[Sample, ...]]
    questions: dict[tuple[str, str], tuple[Sample, ...]]
    fingerprints: dict[str, dict[str, str]]
    keys: frozenset[str]
    left_out: tuple[str, ...] = ()


@dataclass
class _Prints:
    """SHA-256 of each image, read once."""

    folder: Path
    known: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        if name not in self.known:
            path = self.folder / name
            self.known[name] = files_digest(path) if path.is_file() else MISSING
        return self.known[name]


def _questions(variant: Variant, dataset: Dataset, test: tuple[Sample, ...], limit: int | None, seed: int) -> tuple[Sample, ...]:
    """The samples as this variant is asked them. Shuffling and examples are drawn over the whole test set, so that --limit
    changes nobody's question."""
    try:
        asked = shuffled(test, seed) if variant.images == "shuffled" else test
        if variant.num_exemplars:
            benchmark, languages = test[0].benchmark, {sample.language for sample in test}
            shown = {spoken: exemplars(dataset, benchmark, variant.num_exemplars, seed, spoken) for spoken in sorted(languages)}
            asked = tuple(few_shot(sample, shown[sample.language]) for sample in asked)
    except NobodyElse:
        raise
    except ValueError as error:
        raise ValueError(f"variant {variant.name}: {error}") from None
    return limited(asked, limit, seed)


def make_plan(
    dataset: Dataset, variants: Sequence[Variant], benchmarks: Sequence[str], limit: int | None, settings: EvaluateSettings
) -> Plan:
    """Variants come resolved. Raises ValueError where a benchmark has no samples or a variant cannot be asked them."""
    whole = {benchmark: load_samples(dataset, benchmark) for benchmark in benchmarks}
    prints = _Prints(dataset.folder)
    fingerprints = {variant.name: fingerprint(variant) for variant in variants}
    work: list[Work] = []
    questions: dict[tuple[str, str], tuple[Sample, ...]] = {}
    keys: set[str] = set()
    left_out: list[str] = []
    for variant in variants:
        for benchmark in benchmarks:
            if benchmark not in variant.benchmarks:
                continue
            try:
                asked = _questions(variant, dataset, whole[benchmark], limit, settings.seed)
            except NobodyElse as reason:
                left_out.append(f"{variant.name} was not asked on {benchmark}: {reason}.")
                continue
            questions[variant.name, benchmark] = asked
            rows = [_item(variant, fingerprints[variant.name], sample, prints) for sample in asked]
            keys.update(row["key"] for row in rows)
            for start in range(0, len(rows), settings.partition_samples):
                part = rows[start : start + settings.partition_samples]
                work.append(Work(extra={"variant": variant.name, "benchmark": benchmark, "samples": part}))
    if not work:
        raise ValueError(f"no variant takes part in {', '.join(benchmarks)}; see `benchmarks` in the variants file")
    tests = {benchmark: limited(samples, limit, settings.seed) for benchmark, samples in whole.items()}
    return Plan(work, tuple(variants), tests, questions, fingerprints, frozenset(keys), tuple(left_out))


def _item(variant: Variant, prints: dict[str, str], sample: Sample, images: _Prints) -> dict[str, Any]:
    """A sample as it travels to an actor; its key is everything its answer depends on."""
    messages = [[message.role, message.content] for message in sample.messages]
    pixels = variant.pixels()
    key = digest(
        {
            "version": VERSION,
            "model": prints,
            "messages": messages,
            "images": [images.of(name) for name in sample.images],
            "pixels": [pixels.min_pixels, pixels.max_pixels],
            "max_new_tokens": variant.answer_length(sample.benchmark),
        }
    )
    return {
        "key": key,
        "sample_id": sample.sample_id,
        "messages": messages,
        "images": list(sample.images),
        "reference": sample.reference,
        "checkups": list(sample.shows),
    }
