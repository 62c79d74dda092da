"""Accuracy by group: the right rows in the right group, and no group that tells of a few patients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.subgroups import MIN_PATIENTS, SMALL, subgroups, withheld


def test_set(count: int, **told) -> dict[str, Sample]:
    """One visit a patient; told: field -> function of the number."""
    samples = {}
    for n in range(count):
        given = {name: of(n) for name, of in told.items()}
        images = given.pop("images", ("a.jpg",))
        samples[f"s{n:03d}"] = Sample(f"s{n:03d}", "classification", f"{n:04d}", (), images, "Caries", **given)
    return samples


test_set.__test__ = False  # type: ignore[attr-defined]


def answered(samples: dict[str, Sample], right=lambda n: True) -> list[dict]:
    return [
        {"sample_id": name, "reference": sample.reference, "parsed": "Caries" if right(int(name[1:])) else None}
        for name, sample in samples.items()
    ]


def names(found: list[dict], by: str) -> list[tuple[str, int]]:
    return [(group["name"], group["n"]) for group in found if group["by"] == by]


def test_each_division_has_its_groups() -> None:
    samples = test_set(
        60,
        age=lambda n: n + 10,
        gender=lambda n: ("male", "female")[n % 2],
        num_radiographs=lambda n: n % 3,
        language=lambda n: "en",
        names_label=lambda n: n < 20,
        images=lambda n: ("i.jpg",) * (n % 4 + 1),
    )
    found = subgroups(answered(samples, lambda n: n < 40), samples, 0)
    assert names(found, "complaint") == [("complaint names the label", 20), ("complaint does not name it", 40)]
    assert names(found, "language") == []  # one language is no group
    # 8 patients under 18 are enough patients and too few visits: joined with the next band
    assert names(found, "age band") == [("under 35", 25), ("35 to 49", 15), ("50 and older", 20)]
    assert names(found, "gender") == [("female", 30), ("male", 30)]
    assert names(found, "radiograph") == [("with a radiograph", 40), ("without a radiograph", 20)]
    assert names(found, "number of images") == [("1 image", 15), ("2 images", 15), ("3 images", 15), ("4 or more images", 15)]
    named, other = found[:2]
    assert (named["accuracy"], other["accuracy"]) == (1.0, 0.5)
    assert other["accuracy_ci"][0] < 0.5 < other["accuracy_ci"][1]
    assert not any(group["small"] for group in found)


def test_a_few_patients_are_never_a_group_and_do_not_follow_from_the_sum() -> None:
    samples = test_set(40, gender=lambda n: "male" if n < 3 else "female", names_label=lambda n: n < 10 if n < 38 else None)
    found = subgroups(answered(samples), samples, 0)
    assert names(found, "gender") == []  # three men: the women alone would tell them
    # two are not stated, too few to show: the smaller of the others goes as well
    assert names(found, "complaint") == [("complaint does not name it", 28)]
    assert [line.split(":")[0] for line in withheld(samples)] == ["By complaint", "By gender"]
    assert withheld(test_set(40, gender=lambda n: ("male", "female")[n % 2])) == []


def test_a_group_of_enough_patients_and_few_visits_is_marked() -> None:
    samples = test_set(40, gender=lambda n: "male" if n < 7 else "female")
    small = {group["name"]: group["small"] for group in subgroups(answered(samples), samples, 0)}
    assert small == {"female": False, "male": True}


def test_groups_are_those_of_the_test_set_and_a_partial_variant_shows_fewer() -> None:
    samples = test_set(40, gender=lambda n: "male" if n < 10 else "female")
    rows = answered(samples)
    assert names(subgroups(rows[5:], samples, 0), "gender") == [("female", 30), ("male", 5)]
    assert names(subgroups(rows[7:], samples, 0), "gender") == []


def test_what_a_partial_variant_leaves_out_does_not_follow_from_its_sum() -> None:
    """Two groups that are too few each are hidden together; of a variant that answered some of them alone they would be too few again."""
    samples = test_set(40, gender=lambda n: "male" if n < 3 else "other" if n < 6 else "female")
    rows = answered(samples)
    assert names(subgroups(rows, samples, 0), "gender") == [("female", 34)]
    assert names(subgroups(rows[3:], samples, 0), "gender") == []  # 37 answered, 34 of women: the other three would follow
    assert names(subgroups(rows[6:], samples, 0), "gender") == [("female", 34)]


def test_a_dataset_that_says_nothing_has_no_groups() -> None:
    samples = test_set(40)
    assert subgroups(answered(samples), samples, 0) == withheld(samples) == []


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12), st.none() | st.integers(0, 110), st.sampled_from(("", "male", "female")), st.integers(0, 5)
        ),
        min_size=1,
        max_size=80,
    )
)
def test_whatever_the_test_set_nobody_is_told_apart(visits: list[tuple]) -> None:
    samples = {
        f"s{n}": Sample(f"s{n}", "classification", str(patient), (), ("i.jpg",) * images, "Caries", age=age, gender=gender)
        for n, (patient, age, gender, images) in enumerate(visits)
    }
    rows = [{"sample_id": name, "reference": "Caries", "parsed": "Caries"} for name in samples]
    everybody = {sample.patient for sample in samples.values()}
    found = subgroups(rows, samples, 0)
    for by in {group["by"] for group in found}:
        mine = [group for group in found if group["by"] == by]
        assert all(group["num_patients"] >= MIN_PATIENTS for group in mine)
        assert all(group["small"] == (group["n"] < SMALL) for group in mine)
        assert sum(group["n"] for group in mine) <= len(samples)
        rest = len(samples) - sum(group["n"] for group in mine)
        if rest and len(everybody) >= MIN_PATIENTS:
            assert rest >= MIN_PATIENTS  # visits of at least as many patients


def test_a_second_benchmark_does_not_count() -> None:
    samples = test_set(20, gender=lambda n: ("male", "female")[n % 2])
    more = {f"t{n}": Sample(f"t{n}", "generation", f"9{n}", (), (), "x", gender="male") for n in range(3)}
    assert subgroups(answered(samples), samples | more, 0) == subgroups(answered(samples), samples, 0)
    assert withheld(samples | more) == []


@pytest.mark.parametrize(
    ("ages", "expected"), [([20] * 30, []), ([20] * 15 + [90] * 4 + [70] * 11, ["18 to 64", "65 and older"])]
)
def test_no_extreme_age_is_named(ages: list[int], expected: list[str]) -> None:
    samples = test_set(30, age=lambda n: ages[n])
    assert [name for name, _ in names(subgroups(answered(samples), samples, 0), "age band")] == expected
