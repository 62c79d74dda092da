"""Scores of the classification benchmark, and what one gets for nothing.

    references (six classes) + parsed answers (class or None)  ->  Classification

Averages are support-weighted, as in the paper's Table 3 (its recall equals its accuracy in every row). Beside them stand macro averages,
over the classes that the test set has: a class that nobody can get right says nothing of a model. An unparsed answer is wrong, and stands in a
column of its own in the confusion matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.statistics import Array, Interval, bootstrap, confusion_rows, no_spread

UNPARSED = "unparsed"


@dataclass(frozen=True)
class ClassScore:
    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Classification:
    """Scores are shares in 0..1. ``confusion``: rows truth in the order of SIX_CLASSES, columns the same and `unparsed`."""

    n: int
    num_unparsed: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


def classification(references: Sequence[str], predictions: Sequence[str | None]) -> Classification:
    """Score parsed answers. Raises ValueError where there is nothing to score."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support  # a second: not for a dry run

    if not references:
        raise ValueError("classification: no answered sample to score")
    assert set(references) <= set(SIX_CLASSES), "a reference outside the six classes is rejected before scoring"
    answers = [UNPARSED if prediction is None else prediction for prediction in predictions]
    labels = list(SIX_CLASSES)
    weighted = precision_recall_fscore_support(references, answers, labels=labels, average="weighted", zero_division=0)
    each = precision_recall_fscore_support(references, answers, labels=labels, average=None, zero_division=0)
    seen = [name for name in labels if name in references]
    macro = precision_recall_fscore_support(references, answers, labels=seen, average="macro", zero_division=0)
    matrix = confusion_matrix(references, answers, labels=[*labels, UNPARSED])[: len(labels)]
    return Classification(
        n=len(references),
        num_unparsed=answers.count(UNPARSED),
        accuracy=float(accuracy_score(references, answers)),
        precision=float(weighted[0]),
        recall=float(weighted[1]),
        f1=float(weighted[2]),
        macro_precision=float(macro[0]),
        macro_recall=float(macro[1]),
        macro_f1=float(macro[2]),
        per_class=tuple(
            ClassScore(name, float(p), float(r), float(f), int(s)) for name, p, r, f, s in zip(labels, *each, strict=True)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def _macro_f1(sums: Array) -> Array:
    """Macro F1 from flattened confusion matrices (truth × predicted, last column unparsed), over the classes that a replicate has."""
    k = len(SIX_CLASSES)
    confusion = sums.reshape(-1, k, k + 1)
    hits = np.einsum("rii->ri", confusion[:, :, :k])
    support, predicted = confusion.sum(axis=2), confusion[:, :, :k].sum(axis=1)
    f1 = np.divide(2 * hits, support + predicted, out=np.zeros_like(hits), where=support + predicted > 0)
    return np.asarray((f1 * (support > 0)).sum(axis=1) / (support > 0).sum(axis=1))


def macro_f1_interval(
    references: Sequence[str], predictions: Sequence[str | None], patients: Sequence[str], seed: int
) -> Interval | None:
    """95 % interval of the macro F1, patients resampled; None below two patients. All right (or wrong) it has the accuracy's."""
    if found := no_spread([a == b for a, b in zip(references, predictions, strict=True)], patients):
        return found
    return bootstrap(confusion_rows(references, predictions), patients, _macro_f1, seed) if len(references) else None


@dataclass(frozen=True)
class Baseline:
    name: str
    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_f1: float  # over the classes that the test set has


def always(references: Sequence[str], answer: str, name: str) -> Baseline:
    """The same class for all, called ``name``."""
    scored = classification(references, [answer] * len(references))
    return Baseline(name, scored.accuracy, scored.precision, scored.recall, scored.f1, scored.macro_f1)


def majority(references: Sequence[str]) -> Baseline:
    """Always the most frequent class of the test set; of equals, the first in the order of the classes."""
    counts = Counter(references)
    best = max(SIX_CLASSES, key=lambda name: counts[name])
    return always(references, best, f"majority (always {best})")


def chance(references: Sequence[str]) -> Baseline:
    """A class drawn uniformly: in expectation, precision of a class is its share, recall is 1/6."""
    shares = np.array([references.count(name) for name in SIX_CLASSES]) / len(references)
    recall = 1 / len(SIX_CLASSES)
    each = 2 * shares * recall / (shares + recall)
    return Baseline(
        "chance (uniform)", recall, float((shares**2).sum()), recall, float((shares * each).sum()), float(each[shares > 0].mean())
    )
