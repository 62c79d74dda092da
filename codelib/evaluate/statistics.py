"""Intervals that know that one patient's visits resemble each other: a bootstrap over patients, not over rows.

    rows' scores + patients  ->  resample patients with replacement (seeded)  ->  2.5 and 97.5 percentiles

Field, A. & Welsh, A. (2007), "Bootstrapping clustered data", J. R. Stat. Soc. B 69: whole clusters are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codelib.contracts import SIX_CLASSES

Array = npt.NDArray[np.float64]
NUM_REPLICATES = 2000  # the percentiles of a 95 % interval are stable to about 0.3 points
_CHUNK = 250  # replicates held at once,
_CHUNK_CELLS = 2_500_000  # and replicates × patients: 20 MB
_Z = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def num_effective_patients(patients: Sequence[str]) -> float:
    """Kish's effective size (Σn)²/Σn²: 10 visits of 10 patients are 10, of one patient 1."""
    sizes = _sizes(patients)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0


def _sizes(patients: Sequence[str]) -> Array:
    return np.unique(np.asarray(patients, dtype=object).astype(str), return_counts=True)[1].astype(np.float64)


def resampled(
    rows: Array, patients: Sequence[str], statistic: Callable[[Array], Array], seed: int, replicates: int = NUM_REPLICATES
) -> Array | None:
    """A statistic of column sums over samples of patients drawn with replacement. None below two patients.

    rows: (num_rows, num_columns), what each row adds to the sums. statistic: sums (replicates, num_columns) -> (replicates, …).
    The same seed draws the same patients from the same number of them, so that two variants are resampled together.
    """
    names, group = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    count = len(names)
    if count < 2:
        return None
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, group, rows)
    rng = np.random.default_rng([seed, count])
    values = []
    chunk = max(1, min(_CHUNK, _CHUNK_CELLS // count))
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        values.append(statistic(weights.astype(np.float64) @ sums))
    return np.concatenate(values)


def bootstrap(
    rows: Array, patients: Sequence[str], statistic: Callable[[Array], Array], seed: int, replicates: int = NUM_REPLICATES
) -> Interval | None:
    """95 % interval of a statistic of column sums, patients resampled. None below two patients; see `resampled`."""
    values = resampled(rows, patients, statistic, seed, replicates)
    return None if values is None else percentiles(values)


def percentiles(values: Array) -> Interval:
    """What lies between the 2.5 and the 97.5 percentile."""
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def _ratio(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def mean_interval(scores: Sequence[float], patients: Sequence[str], seed: int) -> Interval | None:
    """Interval of the mean of per-row scores."""
    rows = np.column_stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))])
    return bootstrap(rows, patients, _ratio, seed)


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927)."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def no_spread(correct: Sequence[bool], patients: Sequence[str]) -> Interval | None:
    """Where all answers are right (or wrong) resampling sees no spread at all and would claim certainty: there Wilson's interval on the
    effective number of patients stands in. None elsewhere, and below two patients."""
    share = sum(correct) / len(correct) if correct else 0.5
    certain = share in (0.0, 1.0) and len(set(patients)) > 1
    return wilson(share, num_effective_patients(patients)) if certain else None


def accuracy_interval(correct: Sequence[bool], patients: Sequence[str], seed: int) -> Interval | None:
    """Interval of the share of right answers; see `no_spread`. None below two patients."""
    return no_spread(correct, patients) or mean_interval([float(c) for c in correct], patients, seed)


def weighted_f1(sums: Array) -> Array:
    """Support-weighted F1 from flattened confusion matrices (truth × predicted, last column unparsed)."""
    k = len(SIX_CLASSES)
    confusion = sums.reshape(-1, k, k + 1)
    hits = np.einsum("rii->ri", confusion[:, :, :k])
    support = confusion.sum(axis=2)
    predicted = confusion[:, :, :k].sum(axis=1)
    f1 = np.divide(2 * hits, support + predicted, out=np.zeros_like(hits), where=support + predicted > 0)
    return (f1 * support).sum(axis=1) / support.sum(axis=1)


def confusion_rows(references: Sequence[str], predictions: Sequence[str | None]) -> Array:
    """What each answer adds to a flattened confusion matrix: (num_rows, classes × (classes + unparsed))."""
    k = len(SIX_CLASSES)
    rows = np.zeros((len(references), k * (k + 1)))
    for row, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
        column = k if prediction is None else SIX_CLASSES.index(prediction)
        rows[row, SIX_CLASSES.index(reference) * (k + 1) + column] = 1
    return rows


def f1_interval(
    references: Sequence[str], predictions: Sequence[str | None], patients: Sequence[str], seed: int
) -> Interval | None:
    """Interval of the support-weighted F1. It is 1 (or 0) where the accuracy is, and has the accuracy's interval there."""
    if found := no_spread([a == b for a, b in zip(references, predictions, strict=True)], patients):
        return found
    return bootstrap(confusion_rows(references, predictions), patients, weighted_f1, seed) if len(references) else None


def paired_difference(a: Sequence[float], b: Sequence[float], patients: Sequence[str], seed: int) -> Interval | None:
    """Interval of mean(a) - mean(b) over the same rows."""
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], patients, seed) if len(a) else None
