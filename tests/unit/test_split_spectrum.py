"""The multi-label split: shares of every condition, against drawing patients blindly."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.data.split import SplitSettings
from tests.unit.split_cases import Drawn, visit

NAMES = [f"condition {n:03d}" for n in range(120)]


def clinic(patients: int, seed: int = 0) -> list[dict]:
    """1 to 5 visits a patient, 0 to 4 conditions a visit, as rare as 1/rank; visits of one patient resemble each other."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(NAMES) + 1)
    weights /= weights.sum()
    rows = []
    for patient in range(patients):
        own = rng.choice(len(NAMES), 6, replace=False, p=weights)
        for number in range(1, int(rng.integers(1, 6)) + 1):
            conditions = [NAMES[i] for i in sorted(rng.choice(own, int(rng.integers(0, 5)), replace=False))]
            rows.append(visit(patient, number, conditions=conditions))
    return rows


def shares(rows: list[dict], places: dict[str, str]) -> dict[str, tuple[int, float]]:
    """condition -> (visits, share of them in test)."""
    whole, tested = Counter(), Counter()
    for row in rows:
        for name in row["conditions"]:
            whole[name] += 1
            tested[name] += places[row["checkup_id"]] == "test"
    return {name: (n, tested[name] / n) for name, n in whole.items()}


def test_every_condition_has_its_share():
    rows = clinic(2000)
    got = Drawn(rows, SplitSettings(spectrum_test_size=0.2, validation_size=0.1)).spectrum
    of = shares(rows, got)
    assert len(of) == 120
    off = {name: abs(share - 0.2) * n for name, (n, share) in of.items()}
    assert max(off.values()) <= 8  # visits; a patient brings up to 20 conditions at once
    assert np.mean([abs(share - 0.2) for _, share in of.values()]) < 0.01
    sizes = Counter(got[r["checkup_id"]] for r in rows if r["conditions"])
    assert sizes["test"] / sum(sizes.values()) == pytest.approx(0.2, abs=0.01)
    assert sizes["validation"] / sum(sizes.values()) == pytest.approx(0.08, abs=0.01)
    # blind: as many patients drawn at random
    rng = np.random.default_rng(0)
    patients = sorted({r["patient_id"] for r in rows})
    drawn = set(rng.choice(patients, len(patients) // 5, replace=False))
    blind = shares(rows, {r["checkup_id"]: "test" if r["patient_id"] in drawn else "train" for r in rows})
    assert np.mean([abs(share - 0.2) for _, share in blind.values()]) > 0.02


def test_a_grown_clinic_moves_nobody_and_keeps_the_shares():
    rows = clinic(1500)
    first = [r for r in rows if int(r["patient_id"]) < 700]
    before = Drawn(first)
    after = Drawn(rows, previous=before.table)
    assert {c: after.spectrum[c] for c in before.spectrum} == before.spectrum
    common = [(n, share) for n, share in shares(rows, after.spectrum).values() if n >= 20]
    assert all(share == pytest.approx(0.2, abs=0.06) for _, share in common)


def test_a_visit_without_a_condition_is_not_tested():
    rows = clinic(300)
    got = Drawn(rows).spectrum
    assert all(r["conditions"] for r in rows if got[r["checkup_id"]] == "test")
    assert {got[r["checkup_id"]] for r in rows if not r["conditions"]} <= {"train", "validation", "excluded"}


def test_a_visit_that_lost_its_conditions_leaves_the_test():
    rows = clinic(200)
    before = Drawn(rows)
    chosen = next(c for c, side in before.spectrum.items() if side == "test")
    changed = [r | {"conditions": []} if r["checkup_id"] == chosen else r for r in rows]
    after = Drawn(changed, previous=before.table).spectrum
    assert after.pop(chosen) == "excluded"
    assert after == {c: side for c, side in before.spectrum.items() if c != chosen}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 10**6), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_single_visit_of_a_condition_is_trained_on(patients, seed, test, validation):
    """What one patient alone has cannot be learned elsewhere; and no share leaves a condition in test alone."""
    rows = clinic(patients, seed)
    got = Drawn(rows, SplitSettings(spectrum_test_size=test, validation_size=validation)).spectrum
    assert set(got.values()) <= {"train", "validation", "test", "excluded"}
    if test == 0:
        assert "test" not in got.values() or len(rows) < 3
