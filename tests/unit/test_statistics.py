"""Intervals: known values, and what clustering must do to them."""

from __future__ import annotations

import numpy as np
import pytest

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.metrics import classification, macro_f1_interval
from codelib.evaluate.statistics import (
    accuracy_interval,
    bootstrap,
    f1_interval,
    mean_interval,
    num_effective_patients,
    paired_difference,
    wilson,
)


def test_effective_patients() -> None:
    assert num_effective_patients([str(i) for i in range(10)]) == pytest.approx(10)
    assert num_effective_patients(["a"] * 10) == pytest.approx(1)
    assert num_effective_patients(["a", "a", "a", "b"]) == pytest.approx(16 / 10)


def test_same_seed_same_interval_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    scores = list(rng.random(200))
    patients = [f"{i // 2:04d}" for i in range(200)]
    first = mean_interval(scores, patients, seed=1)
    assert first == mean_interval(scores, patients, seed=1)
    assert first != mean_interval(scores, patients, seed=2)
    turned = mean_interval(scores[::-1], patients[::-1], seed=1)
    assert (turned.low, turned.high) == pytest.approx((first.low, first.high))


def test_independent_rows_give_the_textbook_interval() -> None:
    correct = [i % 10 < 7 for i in range(1000)]
    found = accuracy_interval(correct, [str(i) for i in range(1000)], seed=0)
    half = 1.96 * (0.7 * 0.3 / 1000) ** 0.5
    assert found.low == pytest.approx(0.7 - half, abs=0.004)
    assert found.high == pytest.approx(0.7 + half, abs=0.004)


def test_visits_of_one_patient_widen_it() -> None:
    correct = [patient % 2 == 0 for patient in range(40) for _ in range(10)]
    alone = accuracy_interval(correct, [str(i) for i in range(400)], seed=0)
    together = accuracy_interval(correct, [str(i // 10) for i in range(400)], seed=0)
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_all_right_does_not_claim_certainty() -> None:
    patients = [str(i // 4) for i in range(40)]
    found = accuracy_interval([True] * 40, patients, seed=0)
    assert (found.low, found.high) == pytest.approx((wilson(1.0, 10).low, 1.0))
    assert found.low < 0.75
    assert accuracy_interval([False] * 40, patients, seed=0).high > 0.25


def test_f1_does_not_claim_certainty_either() -> None:
    patients, classes = [str(i // 4) for i in range(40)], ["Caries", "Pulpitis"] * 20
    for interval in (f1_interval, macro_f1_interval):
        assert interval(classes, classes, patients, 0) == accuracy_interval([True] * 40, patients, 0)
        assert interval(classes, classes[::-1], patients, 0) == accuracy_interval([False] * 40, patients, 0)
        assert interval(classes, classes, ["a"] * 40, 0) is None


def test_wilson_is_the_known_one() -> None:
    found = wilson(0.5, 10)  # Wilson 1927 as tabulated: 0.2366 to 0.7634
    assert (found.low, found.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_one_patient_has_no_interval() -> None:
    assert mean_interval([0.1, 0.9], ["a", "a"], seed=0) is None
    assert accuracy_interval([True, False], ["a", "a"], seed=0) is None
    assert accuracy_interval([True, True], ["a", "a"], seed=0) is None  # all right says no more of other patients
    assert accuracy_interval([], [], seed=0) is None


def test_f1_of_the_whole_lies_in_its_interval_and_the_statistic_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    references = list(rng.choice(SIX_CLASSES, size=120))
    predictions = [
        r if rng.random() < 0.6 else (None if rng.random() < 0.2 else str(rng.choice(SIX_CLASSES))) for r in references
    ]
    patients = [str(i // 3) for i in range(120)]
    found = f1_interval(references, predictions, patients, seed=0)
    f1 = classification(references, predictions).f1
    assert found.low < f1 < found.high
    # with every patient drawn once the statistic is the score itself
    from codelib.evaluate.statistics import weighted_f1

    confusion = np.array(classification(references, predictions).confusion, dtype=float).reshape(1, -1)
    assert weighted_f1(confusion)[0] == pytest.approx(f1)


def test_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    a, b = list(hard), list(hard - 0.05)
    found = paired_difference(a, b, [str(i) for i in range(300)], seed=0)
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))


def test_many_replicates_in_chunks_are_all_there() -> None:
    rows = np.column_stack([np.arange(10.0), np.ones(10)])
    seen: list[int] = []

    def statistic(sums: np.ndarray) -> np.ndarray:
        seen.append(len(sums))
        return sums[:, 0] / sums[:, 1]

    bootstrap(rows, [str(i) for i in range(10)], statistic, seed=0, replicates=600)
    assert sum(seen) == 600
