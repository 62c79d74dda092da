"""Is one variant better than another? Every two variants over the rows that both answered, all pairs of a metric corrected together.

    rows by variant ──> McNemar's test (accuracy, one visit a patient) ──┐
                   └──> paired bootstrap over patients (everything else) ┴──> p ──> Holm over all pairs of the metric

McNemar's exact test takes rows for independent. Where a patient has several visits they are not, and the bootstrap's p is the one that is
printed and corrected; McNemar's stands beside it (`mcnemar_p`) for comparison with other papers. docs/statistics.md says which and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from codelib.contracts import OK
from codelib.evaluate.answers import parse_class
from codelib.evaluate.statistics import Array, Interval, confusion_rows, resampled, weighted_f1
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, SPECTRUM

NUM_PAIRED = 5000  # replicates: the smallest p is 0.0004, which 45 pairs (ten variants) leave below 0.02
SIGNIFICANT = 0.05
TEXT_METRICS = ("bleu", "meteor", "cosine")
MCNEMAR, BOOTSTRAP = "McNemar (exact)", "paired bootstrap over patients"

Rows = Mapping[str, dict[str, Any]]
"""Of one variant and one benchmark: sample_id -> answered row; a row of a report carries its text scores beside."""

Pair = Sequence[Sequence[dict[str, Any]]]
"""Two variants' rows of the same samples, in the same order."""


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of McNemar's test. only_a: rows that a alone got right (McNemar 1947; exact as in Agresti 2002, ch. 10.1)."""
    from scipy.stats import binomtest  # a second

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's step-down procedure (Holm 1979), valid under any dependence of the tests."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, so_far = [1.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        so_far = max(so_far, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = so_far
    return adjusted


def between(differences: Array) -> Interval:
    """The 95 % interval of resampled differences, from one of them to one of them: so it leaves zero out exactly where their share in
    `bootstrap_p` is below 0.05, which counts values and knows none between two of them."""
    low, high = np.percentile(differences, 2.5, method="lower"), np.percentile(differences, 97.5, method="higher")
    return Interval(float(low), float(high))


def bootstrap_p(differences: Array, num_deciding: int) -> float:
    """Two-sided p out of resampled differences: how often they lie on the other side of zero (Efron & Tibshirani 1993, ch. 15).

    It is below 0.05 where the 95 % interval leaves zero out. num_deciding: patients in whom the two differ at all. Of few patients a
    bootstrap is too sure (three who all got better would give p = 0), so no p is smaller than a sign test over them could give.
    """
    if num_deciding == 0:
        return 1.0
    at_most, at_least = (int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = 2 * (min(at_most, at_least) + 1) / (len(differences) + 1)
    return float(min(1.0, max(p, 2.0 ** (1 - num_deciding))))


def _difference(pair: Sequence[Array], patients: Sequence[str], score: Callable[[Array], Array], seed: int) -> dict[str, Any]:
    """score(sums of a) - score(sums of b), its interval and its p. pair: a and b,
    each (num_rows, num_columns) over the same rows."""
    a, b = pair
    width = a.shape[1]

    def statistic(sums: Array) -> Array:
        return score(sums[:, :width]) - score(sums[:, width:])

    both = np.hstack([a, b])
    found: dict[str, Any] = {"difference": float(statistic(both.sum(axis=0, keepdims=True))[0]), "difference_ci": None, "p": None}
    values = resampled(both, patients, statistic, seed, NUM_PAIRED)
    if values is not None:
        interval = between(values)
        deciding = {patient for patient, changed in zip(patients, (a != b).any(axis=1), strict=True) if changed}
        found |= {"difference_ci": [interval.low, interval.high], "p": bootstrap_p(values, len(deciding))}
    return {**found, "test": BOOTSTRAP}


def _mean(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _micro_f1(sums: Array) -> Array:
    """sums: conditions hit, named, true."""
    both = sums[:, 1] + sums[:, 2]
    return np.divide(2 * sums[:, 0], both, out=np.zeros(len(sums)), where=both > 0)


def _values(scores: Sequence[float]) -> Array:
    return np.column_stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))])


def _classified(pair: Pair, patients: Sequence[str], seed: int) -> list[dict[str, Any]]:
    references = [parse_class(row["reference"]) or "" for row in pair[0]]
    answers = [[row["parsed"] for row in rows] for rows in pair]
    right = [[x == y for x, y in zip(references, given, strict=True)] for given in answers]
    only_a = sum(x and not y for x, y in zip(*right, strict=True))
    only_b = sum(y and not x for x, y in zip(*right, strict=True))
    accuracy = _difference([_values(given) for given in right], patients, _mean, seed)
    accuracy |= {"only_a": only_a, "only_b": only_b, "mcnemar_p": mcnemar(only_a, only_b)}
    f1 = _difference([confusion_rows(references, given) for given in answers], patients, weighted_f1, seed)
    return [{"metric": "accuracy", **accuracy}, {"metric": "f1", **f1}]


def _written(pair: Pair, patients: Sequence[str], seed: int) -> list[dict[str, Any]]:
    return [
        {"metric": name, **_difference([_values([row[name] for row in rows]) for rows in pair], patients, _mean, seed)}
        for name in TEXT_METRICS
        if all(name in row for rows in pair for row in rows)
    ]


def _listed(pair: Pair, patients: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """By what the scores counted in each answer: conditions hit, named, true."""
    counts = [np.array([row["counts"] for row in rows], dtype=np.float64) for rows in pair]
    return [{"metric": "micro_f1", **_difference(counts, patients, _micro_f1, seed)}]


_COMPARE = {CLASSIFICATION: _classified, GENERATION: _written, SPECTRUM: _listed}


def compare(benchmark: str, variants: Mapping[str, Rows], patient_of: Mapping[str, str], seed: int) -> list[dict[str, Any]]:
    """All pairs of variants on one benchmark; difference > 0: a is better than b. Corrected by Holm within each metric.

    variants: name -> its answered rows, in the order of the report. Pairs without a common row are left out; of a single patient there is a
    difference, and no test (p is None).
    """
    found: list[dict[str, Any]] = []
    clustered = _clustered(variants, patient_of)
    for a, b in combinations(variants, 2):
        both = sorted(s for s in variants[a].keys() & variants[b].keys() if _same_task(benchmark, variants[a][s], variants[b][s]))
        if not both:
            continue
        patients = [patient_of[sample] for sample in both]
        pair = [[variants[name][sample] for sample in both] for name in (a, b)]
        for line in _COMPARE[benchmark](pair, patients, seed):
            if "mcnemar_p" in line and not clustered:
                line |= {"test": MCNEMAR, "p": line["mcnemar_p"]}
            found.append({"benchmark": benchmark, "a": a, "b": b, "n": len(both), "num_patients": len(set(patients)), **line})
    for metric in {line["metric"] for line in found}:
        mine = [line for line in found if line["metric"] == metric]
        tested = [line for line in mine if line["p"] is not None]
        for line, p in zip(tested, holm([line["p"] for line in tested]), strict=True):
            line |= {"p_holm": p, "significant": p < SIGNIFICANT}
        for line in mine:
            line.setdefault("p_holm", None)
            line.setdefault("significant", False)
    return found


def _same_task(benchmark: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two answers are held against the same reference: a report in English and one in Chinese are not, their classes are."""
    if a["reference"] == b["reference"]:
        return True
    return benchmark == CLASSIFICATION and parse_class(a["reference"]) == parse_class(b["reference"])


def _clustered(variants: Mapping[str, Rows], patient_of: Mapping[str, str]) -> bool:
    """Whether any patient has two rows: decided for all pairs together, so that one correction is over one kind of test."""
    samples = {sample for rows in variants.values() for sample in rows}
    return len({patient_of[sample] for sample in samples}) < len(samples)


def paired(
    by_variant: Mapping[str, Sequence[dict[str, Any]]], patient_of: Mapping[str, str], benchmarks: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """`compare` for each benchmark of a run. by_variant: all rows of the variants to be compared."""
    found = []
    for benchmark in benchmarks:
        variants = {
            name: {row["sample_id"]: row for row in rows if row["benchmark"] == benchmark and row["status"] == OK}
            for name, rows in by_variant.items()
        }
        found += compare(benchmark, {name: rows for name, rows in variants.items() if rows}, patient_of, seed)
    return found
