from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import ANNOTATED, CHOSEN, SIX_CLASSES
from codelib.data.split import SplitSettings, file_name, make_split
from codelib.data.split_draw import apportion
from codelib.data.split_visits import components
from tests.unit.split_cases import Drawn, clinics, visit

SHARES = st.floats(0.01, 0.5)
loose = settings(deadline=None, max_examples=60)


def sides_by_patient(rows, places):
    sides = defaultdict(set)
    for row in rows:
        if places.get(row["checkup_id"], "excluded") != "excluded":
            sides[row["patient_id"]].add(places[row["checkup_id"]])
    return sides


# ── properties


@loose
@given(clinics(), SHARES, SHARES, st.integers(0, 5))
def test_no_patient_stands_on_two_sides(rows, test, validation, seed):
    got = Drawn(rows, SplitSettings(test_size=test, validation_size=validation, spectrum_test_size=test), seed)
    for places in (got.split, got.spectrum):
        assert set(places) == {r["checkup_id"] for r in rows if r["photographs"]}
        assert all(len(s) == 1 for s in sides_by_patient(rows, places).values())
        tested = [r for r in rows if places.get(r["checkup_id"]) == "test"]
        assert all(r["six_class"] and r["photographs"] >= 1 and r["empty_fields"] <= 4 for r in tested)
    assert got.audit()["passed"]


@loose
@given(clinics(), st.integers(0, 120), st.sampled_from(["patient", "checkup"]), st.integers(0, 5))
def test_old_visits_never_move(rows, cut, unit, seed):
    chosen = SplitSettings(unit=unit)
    before = Drawn(rows[:cut], chosen, seed)
    after = Drawn(rows, chosen, seed, before.table)
    for name in ("split", "why", "spectrum"):
        old, new = getattr(before, name), getattr(after, name)
        assert {c: new[c] for c in old} == old
    again = Drawn(rows, chosen, seed, after.table)
    assert again.table.equals(after.table)


@loose
@given(clinics(), st.randoms(), st.integers(0, 5))
def test_order_does_not_matter(rows, random, seed):
    shuffled = random.sample(rows, len(rows))
    assert Drawn(rows, seed=seed).table.equals(Drawn(shuffled, seed=seed).table)


@loose
@given(clinics(), SHARES, st.integers(0, 3), st.integers(0, 5))
def test_every_class_keeps_its_training_visits(rows, share, least, seed):
    got = Drawn(rows, SplitSettings(test_size=share, min_train_visits=least), seed).split
    there = {r["checkup_id"]: r["six_class"] for r in rows if r["photographs"]}
    tested = {there[c] for c, side in got.items() if side == "test"}
    training = Counter(there[c] for c, side in got.items() if side == "train")
    assert all(training[c] >= least for c in tested)


@loose
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=8).flatmap(
        lambda most: st.tuples(
            st.just(most), st.lists(st.integers(0, 100), min_size=len(most), max_size=len(most)), st.integers(0, 150)
        )
    )
)
def test_shares_keep_their_bounds_and_their_sum(case):
    import numpy as np

    most, weights, total = case
    got = apportion(total, np.array(weights), np.array(most), np.minimum(most, 1))
    assert got.sum() == min(total, sum(most))
    assert (got >= 0).all() and (got <= most).all()
    if total >= sum(m > 0 for m in most):
        assert (got >= np.minimum(most, 1)).all()


@loose
@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60))
def test_components_are_those_of_a_walk(size, edges):
    import numpy as np

    edges = [(a % size, b % size) for a, b in edges]
    got = components(size, np.array(edges, np.int64).reshape(-1, 2))
    near = defaultdict(set)
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    for start in range(size):
        seen, todo = {start}, [start]
        while todo:
            for other in near[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        assert got[start] == min(seen)


# ── the test set


def even(patients: int, each: int = 1) -> list[dict]:
    return [visit(p, n, SIX_CLASSES[(p + n) % 6], 1 + (p * 7 + n * 3) % 10) for p in range(patients) for n in range(1, each + 1)]


def test_the_test_set_is_stratified_and_as_large_as_asked():
    rows = even(600)
    got = Drawn(rows, SplitSettings(test_size=60, validation_size=30)).split
    assert Counter(r["six_class"] for r in rows if got[r["checkup_id"]] == "test") == dict.fromkeys(SIX_CLASSES, 10)
    assert Counter(got.values()) == {"train": 510, "validation": 30, "test": 60}


def test_the_numbers_of_images_are_those_of_the_whole():
    rows = even(1000, each=2)
    got = Drawn(rows, SplitSettings(test_size=400, validation_size=200)).split
    for low, high in ((1, 2), (3, 5), (6, 8), (9, 99)):
        here = [r for r in rows if low <= r["photographs"] <= high]
        tested = sum(got[r["checkup_id"]] == "test" for r in here)
        held = sum(got[r["checkup_id"]] == "validation" for r in here)
        assert tested == pytest.approx(400 * len(here) / len(rows), abs=6)
        assert held == pytest.approx(200 * len(here) / len(rows), abs=25)


def test_sizes_are_met_with_patients_of_many_visits():
    rows = even(900, each=3)
    got = Counter(Drawn(rows, SplitSettings(test_size=600, validation_size=0.1)).split.values())
    assert got["test"] == 600
    assert got["validation"] == pytest.approx(0.1 * (got["train"] + got["validation"]), abs=3)
    assert got["excluded"] < 90  # what a test patient brings beyond the quotas


def test_every_class_that_can_spare_a_visit_is_tested():
    rows = [visit(i, 1, "Caries") for i in range(300)]
    rows += [visit(400 + i, 1, name) for i, name in enumerate(("Pulpitis", "Pulpitis", "Gingivitis"))]
    got = Drawn(rows, SplitSettings(test_size=10)).split
    tested = Counter(r["six_class"] for r in rows if got[r["checkup_id"]] == "test")
    assert tested == {"Caries": 9, "Pulpitis": 1}  # Gingivitis would be tested and never trained on


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"photographs": 1, "radiographs": 3}, "photographs"),
        ({"empty_fields": 5}, "empty fields"),
        ({"six_class": None}, "no class"),
    ],
)
def test_what_is_not_eligible_is_never_tested(changed, reason):
    unfit = [visit(i, 1, **({"six_class": "Caries"} | changed)) for i in range(40)]
    rows = [*unfit, *(visit(100 + i, 1, "Caries") for i in range(10))]
    got = Drawn(rows, SplitSettings(test_size=9, min_photographs=2)).split
    assert {r["checkup_id"] for r in rows if got[r["checkup_id"]] == "test"} <= {r["checkup_id"] for r in rows[40:]}
    assert Counter(got.values())["test"] == 9, reason


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"test_size": 20}, r"split.test_size=20: the eligible visits are 12"),
        ({"test_size": 12}, r"split.test_size=12: only 0 of 12 .* split.min_train_visits=1 in training; lower one"),
        ({"test_size": 0, "validation_size": 12}, r"split.validation_size=12: the training side has 12 visits"),
        ({"test_size": 0, "spectrum_test_size": 13}, r"split.spectrum_test_size=13: the visits with a condition are 12"),
    ],
)
def test_too_many_visits_are_refused(size, words):
    rows = [visit(i // 12, i, "Caries") for i in range(12)]
    with pytest.raises(ValueError, match=words):
        Drawn(rows, SplitSettings(**size))


def test_a_grown_test_set_that_lost_visits_is_filled_up_and_no_error():
    rows = even(60)
    before = Drawn(rows, SplitSettings(test_size=12))
    left = [r for r in rows if before.split[r["checkup_id"]] != "test"]
    after = Drawn(left, SplitSettings(test_size=12), previous=before.table)
    assert Counter(after.split.values())["test"] == 0  # nobody moves from training into the test
    grown = Drawn([*left, *even(200)[60:]], SplitSettings(test_size=12), previous=after.table)
    assert Counter(grown.split.values())["test"] == 12


@pytest.mark.parametrize("size", [-1, 1.5])
@pytest.mark.parametrize("name", ["test_size", "validation_size", "spectrum_test_size"])
def test_sizes_that_mean_nothing_are_refused(name, size):
    with pytest.raises(ValueError, match="share"):
        SplitSettings(**{name: size})


@pytest.mark.parametrize("starts", [(1, 3), (3, 3), (6, 3)])
def test_strata_that_do_not_rise_are_refused(starts):
    with pytest.raises(ValueError, match="rising numbers of images"):
        SplitSettings(image_strata=starts)


def test_by_checkup_repeats_the_paper():
    rows = [visit(1, i, "Caries") for i in range(1, 41)]
    got = Drawn(rows, SplitSettings(unit="checkup", test_size=10, validation_size=4))
    assert Counter(got.split.values()) == {"train": 26, "validation": 4, "test": 10}
    audit = got.audit()
    assert audit["passed"]
    assert audit["six_class"]["reported"]["patients"] == {"count": 1, "codes": [["0001"]]}


def test_a_test_visit_that_lost_its_label_leaves_the_benchmark():
    rows = [visit(i, 1, "Caries") for i in range(10)]
    before = Drawn(rows, SplitSettings(test_size=3))
    (chosen, *_) = [c for c, side in before.split.items() if side == "test"]
    changed = [r | {"six_class": None, "conditions": []} if r["checkup_id"] == chosen else r for r in rows]
    after = Drawn(changed, SplitSettings(test_size=3), previous=before.table)
    assert after.split[chosen] == "excluded"
    assert after.why[chosen] == "test patient: not eligible for the benchmark any more"
    assert {c: d for c, d in after.split.items() if c != chosen} == {c: d for c, d in before.split.items() if c != chosen}


# ── linked patients


def test_linked_patients_are_drawn_last_and_together():
    rows = even(200)
    near = [(f"v{p:04d}-001", f"v{p + 1:04d}-001") for p in range(0, 100, 2)]
    got = Drawn(rows, SplitSettings(test_size=90, validation_size=5), near=near)
    places = list(got.split.values())
    assert all(places[p] == places[p + 1] for p in range(0, 100, 2))
    assert "test" not in places[:100]
    assert Drawn(rows, SplitSettings(test_size=120), near=near).audit()["passed"]


def test_a_new_patient_who_is_linked_to_both_sides_stands_on_none():
    rows = even(60)
    before = Drawn(rows, SplitSettings(test_size=12))
    one = {side: next(c for c, s in before.split.items() if s == side) for side in ("train", "test", "validation")}
    new = [visit(900, 1, "Caries"), visit(901, 1, "Caries"), visit(902, 1, "Caries"), visit(903, 1, "Caries")]
    near = [("v0900-001", f"v{one['train']}"), ("v0900-001", f"v{one['test']}"), ("v0901-001", f"v{one['test']}")]
    near += [("v0902-001", f"v{one['train']}"), ("v0903-001", f"v{one['validation']}")]
    after = Drawn([*rows, *new], SplitSettings(test_size=12), previous=before.table, near=near)
    assert after.split["0900-001"] == "excluded"
    assert "linked" in after.why["0900-001"]
    assert after.split["0901-001"] in ("test", "excluded")
    assert after.split["0902-001"] == "train"
    assert after.split["0903-001"] == "validation"
    assert {c: after.split[c] for c in before.split} == before.split


# ── a partition's table


def test_each_visit_gets_its_line():
    visits = [{"checkup_id": f"0001-00{n}", "patient_id": "0001", "visit_key": f"v{n}"} for n in (2, 1, 3)]
    pictures = [
        {"image_key": f"i{n}", "visit_key": v, "ordinal": n, "kind": kind, "status": "ok"}
        for v, n, kind in (("v2", 2, "photograph"), ("v2", 1, "radiograph"), ("v3", 1, "photograph"))
    ]
    annotated = pa.Table.from_pylist([dict.fromkeys(ANNOTATED.schema.names) | v for v in visits], schema=ANNOTATED.schema)
    chosen = pa.Table.from_pylist([dict.fromkeys(CHOSEN.schema.names) | p for p in pictures], schema=CHOSEN.schema)
    rows = make_split(annotated, chosen, {"split": "304", "why": "405", "spectrum": "104"}).to_pylist()
    assert [(r["checkup_id"], r["split"], r["spectrum"], r["reject_reason"]) for r in rows] == [
        ("0001-002", "test", "train", None),
        ("0001-001", None, None, "ingest:incomplete_record"),
        ("0001-003", "excluded", "excluded", None),
    ]
    assert (rows[0]["photographs"], rows[0]["radiographs"]) == (["0001-002-02.jpg"], ["0001-002-01.jpg"])
    assert (rows[0]["why"], rows[2]["why"]) == ("benchmark", "test patient: enough of its class in the test set")


def test_file_names_are_those_of_the_published_layout():
    assert file_name("0013-002", 4) == "0013-002-04.jpg"
