"""What one gets for nothing on the classification benchmark: beside it every figure of a model is read.

references of the test set  ->  class_baselines(...)  ->  chance, majority, always the class that the question names first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.answers import listed, parse_class
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.metrics import Baseline, always, chance, majority


def first_named(samples: Sequence[Sample]) -> str:
    """The class that the questions name first: what a model answers that always takes the first of a list. Where the questions do not
    list the six classes, the first of the contract's order."""
    for sample in samples:
        found = listed(sample.messages[-1].content) if sample.messages else ()
        if len(found) == len(SIX_CLASSES):
            return found[0]
    return SIX_CLASSES[0]


def always_first(references: Sequence[str], first: str) -> Baseline:
    """Always the same class, the one listed first."""
    return always(references, first, f"always the first listed ({first})")


def class_baselines(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Of all samples whose reference names one class; empty where none does."""
    references = [name for name in (parse_class(sample.reference) for sample in samples) if name]
    if not references:
        return []
    baselines = [chance(references), majority(references), always_first(references, first_named(samples))]
    return [{**asdict(baseline), "n": len(references)} for baseline in baselines]
