from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import SIX_CLASSES
from codelib.data.split import Candidate, SplitSettings, decide, file_name

candidates = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from([*SIX_CLASSES, None]), st.integers(0, 5)), min_size=1, max_size=120
).map(lambda rows: [Candidate(f"{p:04d}-{i:03d}", f"{p:04d}", c, n) for i, (p, c, n) in enumerate(rows)])


@settings(deadline=None)
@given(candidates, st.floats(0.01, 0.5), st.integers(0, 5))
def test_no_patient_stands_on_both_sides(rows, share, seed):
    got = decide(rows, SplitSettings(test_size=share), seed)
    assert set(got) == {c.checkup_id for c in rows if c.num_images}
    sides = {}
    for row in rows:
        if row.num_images and got[row.checkup_id].split != "excluded":
            sides.setdefault(row.patient_id, set()).add(got[row.checkup_id].split)
    assert all(len(s) == 1 for s in sides.values())
    assert all(row.six_class for row in rows if row.num_images and got[row.checkup_id].split == "test")


@settings(deadline=None)
@given(candidates, st.integers(0, 120), st.integers(0, 5))
def test_old_visits_never_move(rows, cut, seed):
    before = decide(rows[:cut], SplitSettings(), seed)
    after = decide(rows, SplitSettings(), seed, before)
    assert {k: after[k] for k in before} == before


@given(candidates, st.integers(0, 5))
def test_order_does_not_matter(rows, seed):
    assert decide(rows, SplitSettings(), seed) == decide(rows[::-1], SplitSettings(), seed)


def test_the_test_set_is_stratified_and_as_large_as_asked():
    rows = [Candidate(f"{i:04d}-001", f"{i:04d}", SIX_CLASSES[i % 6], 2) for i in range(300)]
    got = decide(rows, SplitSettings(test_size=60), 0)
    chosen = Counter(row.six_class for row in rows if got[row.checkup_id].split == "test")
    assert chosen == dict.fromkeys(SIX_CLASSES, 10)


def test_too_many_test_visits_are_refused():
    rows = [Candidate(f"{i:04d}-001", f"{i:04d}", "Caries", 1) for i in range(12)]
    with pytest.raises(ValueError, match=r"split.test_size=20: the eligible visits are 12"):
        decide(rows, SplitSettings(test_size=20), 0)


@pytest.mark.parametrize("size", [-1, 1.5])
def test_sizes_that_mean_nothing_are_refused(size):
    with pytest.raises(ValueError, match="share"):
        SplitSettings(test_size=size)


def test_by_checkup_repeats_the_paper():
    rows = [Candidate(f"0001-{i:03d}", "0001", "Caries", 1) for i in range(1, 41)]
    got = Counter(d.split for d in decide(rows, SplitSettings(unit="checkup", test_size=10), 0).values())
    assert got == {"train": 30, "test": 10}


def test_file_names_are_those_of_the_published_layout():
    assert file_name("0013-002", 4) == "0013-002-04.jpg"


def test_a_test_visit_that_lost_its_label_leaves_the_benchmark():
    rows = [Candidate(f"{i:04d}-001", f"{i:04d}", "Caries", 2) for i in range(10)]
    before = decide(rows, SplitSettings(test_size=3), 0)
    (chosen, *_) = [c for c, d in before.items() if d.split == "test"]
    changed = [Candidate(c.checkup_id, c.patient_id, None if c.checkup_id == chosen else "Caries", 2) for c in rows]
    after = decide(changed, SplitSettings(test_size=3), 0, before)
    assert after[chosen].split == "excluded"
    assert {c: d for c, d in after.items() if c != chosen} == {c: d for c, d in before.items() if c != chosen}
