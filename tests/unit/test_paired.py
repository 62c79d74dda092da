"""Tests between variants: the books' figures, what clustering must do to p, and what may not be compared."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.metrics import classification
from codelib.evaluate.paired import BOOTSTRAP, MCNEMAR, NUM_PAIRED, between, bootstrap_p, compare, holm, mcnemar, paired

P = st.floats(0, 1)


def rows(answers: dict[str, str | None], references: dict[str, str], **more: dict[str, float]) -> dict[str, dict]:
    """sample -> an answered row; more: name of a text score -> sample -> value."""
    return {
        sample: {"parsed": answer, "reference": references[sample], **{name: values[sample] for name, values in more.items()}}
        for sample, answer in answers.items()
    }


def case(right_a: list[bool], right_b: list[bool], patients: list[str]):
    """Two variants on samples s0, s1, … whose class is Caries; wrong is Pulpitis."""
    samples = [f"s{n:04d}" for n in range(len(patients))]
    references = dict.fromkeys(samples, "Caries")
    told = [dict(zip(samples, ["Caries" if r else "Pulpitis" for r in right], strict=True)) for right in (right_a, right_b)]
    return {"a": rows(told[0], references), "b": rows(told[1], references)}, dict(zip(samples, patients, strict=True))


# McNemar, Holm


def test_mcnemar_is_exact() -> None:
    # Raschka 2018 (arXiv 1811.12808), table of the exact test: b = 25, c = 15, of the binomial with p = 1/2
    assert mcnemar(25, 15) == pytest.approx(2 * sum(comb(40, i) for i in range(16)) / 2**40)
    assert mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0
    assert mcnemar(2, 9) == mcnemar(9, 2)


def test_holm_as_published() -> None:
    # Wikipedia, "Holm-Bonferroni method": of 0.01, 0.04, 0.03, 0.005 at 0.05 the first and the fourth are rejected
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # CRAN, HDLSSkST::Holm: c(0.50,0.01,0.001,0.69,0.02,0.05,0.0025) -> 0 0 1 0 0 0 1
    found = holm([0.50, 0.01, 0.001, 0.69, 0.02, 0.05, 0.0025])
    assert [p < 0.05 for p in found] == [False, False, True, False, False, False, True]
    assert holm([]) == []


@given(st.lists(P, max_size=12))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p <= q <= min(1.0, p * len(ps)) + 1e-12 for p, q in zip(ps, found, strict=True))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert all(found[i] <= found[j] for i, j in pairwise(order))


# the bootstrap's p


def test_one_visit_a_patient_is_mcnemar_and_the_bootstrap_agrees() -> None:
    rng = np.random.default_rng(1)
    right_a, right_b = (list(rng.random(300) < share) for share in (0.7, 0.62))
    variants, patient_of = case(right_a, right_b, [str(n) for n in range(300)])
    accuracy = next(line for line in compare("classification", variants, patient_of, 0) if line["metric"] == "accuracy")
    assert accuracy["test"] == MCNEMAR
    assert accuracy["p"] == accuracy["mcnemar_p"] == mcnemar(accuracy["only_a"], accuracy["only_b"])
    assert accuracy["difference"] == pytest.approx(np.mean(right_a) - np.mean(right_b))
    from codelib.evaluate.statistics import resampled

    rows_of = np.column_stack([np.array(right_a, float) - np.array(right_b, float), np.ones(300)])
    values = resampled(rows_of, list(patient_of.values()), lambda sums: sums[:, 0] / sums[:, 1], 0, NUM_PAIRED)
    assert bootstrap_p(values, 300) == pytest.approx(accuracy["p"], abs=0.03)


def test_visits_of_one_patient_are_not_independent_evidence() -> None:
    # 30 patients of ten visits; a wins ten of them altogether and loses three: 100 to 30 by rows, ten to three by patients
    patients = [str(n // 10) for n in range(300)]
    right_a = [n // 10 < 20 for n in range(300)]
    right_b = [10 <= n // 10 < 23 for n in range(300)]
    variants, patient_of = case(right_a, right_b, patients)
    accuracy = next(line for line in compare("classification", variants, patient_of, 0) if line["metric"] == "accuracy")
    assert accuracy["test"] == BOOTSTRAP
    assert accuracy["mcnemar_p"] < 1e-8
    assert 0.01 < accuracy["p"] < 0.1
    assert mcnemar(10, 3) == pytest.approx(accuracy["p"], abs=0.07)


def test_few_patients_prove_nothing_however_clear_they_are() -> None:
    variants, patient_of = case([True] * 6, [False] * 6, ["0", "0", "1", "1", "2", "2"])
    for line in compare("classification", variants, patient_of, 0):
        assert line["p"] == 0.25  # a sign test of three
        assert not line["significant"]


def test_one_patient_has_a_difference_and_no_test() -> None:
    variants, patient_of = case([True] * 6, [False] * 6, ["0"] * 6)
    for line in compare("classification", variants, patient_of, 0):
        assert (line["difference"], line["p"], line["p_holm"], line["difference_ci"], line["significant"]) == (
            1.0,
            None,
            None,
            None,
            False,
        )


def test_p_is_below_5_per_cent_where_the_interval_leaves_zero_out() -> None:
    for shift in (0.0, 0.5, 1.0, 1.5, 1.9, 2.1, 3.0):
        values = np.random.default_rng(0).normal(shift, 1, NUM_PAIRED)
        low, high = np.percentile(values, [2.5, 97.5])
        assert (bootstrap_p(values, 100) < 0.05) == (not low <= 0 <= high)


@pytest.mark.parametrize("beyond", [123, 124, 125, 126])
@pytest.mark.parametrize("sign", [1, -1])
def test_p_and_interval_agree_where_it_is_close(beyond: int, sign: int) -> None:
    """At the 2.5 percentile itself, where a value between two drawn ones would say something else than the count."""
    values = sign * np.sort(np.concatenate([-np.full(beyond, 1e-9), np.linspace(0.5, 1, NUM_PAIRED - beyond)]))
    interval = between(values)
    assert (bootstrap_p(values, 100) < 0.05) == (not interval.low <= 0 <= interval.high)


def test_no_difference_is_no_finding_under_the_null() -> None:
    """Two equal variants on clustered patients: p below 0.05 about one time in twenty."""
    rng = np.random.default_rng(5)
    samples = [f"s{n:03d}" for n in range(120)]
    patient_of = {sample: str(n // 3) for n, sample in enumerate(samples)}
    references, hits = dict.fromkeys(samples, "x"), 0
    for seed in range(120):
        easy = np.repeat(rng.random(40), 3)
        variants = {
            name: rows(references, references, bleu=dict(zip(samples, (rng.random(120) < easy).astype(float), strict=True)))
            for name in "ab"
        }
        (line,) = compare("generation", variants, patient_of, seed)
        hits += line["p"] < 0.05
    assert hits <= 13


def test_the_same_seed_gives_the_same_figures_whatever_the_order() -> None:
    rng = np.random.default_rng(2)
    variants, patient_of = case(list(rng.random(60) < 0.5), list(rng.random(60) < 0.5), [str(n // 2) for n in range(60)])
    turned = {name: dict(reversed(mine.items())) for name, mine in variants.items()}
    assert compare("classification", variants, patient_of, 3) == compare("classification", turned, patient_of, 3)
    swapped = compare("classification", {"b": variants["b"], "a": variants["a"]}, patient_of, 3)
    for one, other in zip(compare("classification", variants, patient_of, 3), swapped, strict=True):
        assert one["difference"] == -other["difference"]
        assert one["p"] == pytest.approx(other["p"])


# what is compared


def test_f1_is_the_support_weighted_one_of_the_report() -> None:
    rng = np.random.default_rng(4)
    samples = [f"s{n:03d}" for n in range(90)]
    references = {s: str(rng.choice(SIX_CLASSES)) for s in samples}
    told = [
        {s: references[s] if rng.random() < share else (None if rng.random() < 0.2 else "Caries") for s in samples}
        for share in (0.8, 0.4)
    ]
    variants = {"a": rows(told[0], references), "b": rows(told[1], references)}
    found = compare("classification", variants, {s: s for s in samples}, 0)
    scores = [classification(list(references.values()), list(given.values())) for given in told]
    by_metric = {line["metric"]: line for line in found}
    assert by_metric["f1"]["difference"] == pytest.approx(scores[0].f1 - scores[1].f1)
    assert by_metric["accuracy"]["difference"] == pytest.approx(scores[0].accuracy - scores[1].accuracy)
    assert by_metric["f1"]["significant"]


def test_only_rows_that_both_answered_and_only_the_same_reference() -> None:
    english = {"s1": "Caries.", "s2": "Pulpitis.", "s3": "Gingivitis."}
    chinese = {"s1": "Caries.", "s2": "牙髓炎。"}
    values = {"s1": 0.5, "s2": 0.25, "s3": 1.0}
    variants = {"a": rows(english, english, bleu=values), "b": rows(chinese, chinese, bleu=dict.fromkeys(chinese, 0.0))}
    (line,) = compare("generation", variants, {s: s for s in english}, 0)
    assert (line["metric"], line["n"], line["difference"]) == ("bleu", 1, 0.5)
    # a class is the same in any language
    labels = {"a": {"s1": "Caries"}, "b": {"s1": "龋病"}}
    both = {name: rows({"s1": "Caries"}, mine) for name, mine in labels.items()}
    assert [line["n"] for line in compare("classification", both, {"s1": "p"}, 0)] == [1, 1]


def test_lists_of_conditions_are_compared_by_micro_f1() -> None:
    references = {"s1": '["Caries", "Gingivitis"]', "s2": '["Pulpitis"]'}
    a = rows(references, references, counts={"s1": (2, 2, 2), "s2": (1, 1, 1)})
    b = rows(references, references, counts={"s1": (1, 1, 2), "s2": (0, 0, 1)})
    (line,) = compare("spectrum", {"a": a, "b": b}, {"s1": "1", "s2": "2"}, 0)
    assert (line["metric"], line["difference"]) == ("micro_f1", pytest.approx(1 - 2 / 4))


def test_all_pairs_of_a_metric_are_corrected_together() -> None:
    samples = [f"s{n:03d}" for n in range(80)]
    references = dict.fromkeys(samples, "x")
    patient_of = {s: s for s in samples}
    rng = np.random.default_rng(0)
    variants = {
        name: rows(references, references, bleu={s: float(rng.normal(mean, 0.2)) for s in samples})
        for name, mean in (("a", 0.6), ("b", 0.53), ("c", 0.1), ("d", 0.5))
    }
    found = compare("generation", variants, patient_of, 0)
    assert [(line["a"], line["b"]) for line in found] == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert [line["p_holm"] for line in found] == pytest.approx(holm([line["p"] for line in found]))
    assert all(line["significant"] == (line["p_holm"] < 0.05) for line in found)
    assert all(line["difference"] > 0 for line in found[:4])


def test_rejected_rows_are_no_answers() -> None:
    row = {"sample_id": "s1", "benchmark": "classification", "reference": "Caries", "parsed": "Caries"}
    given = {"a": [{**row, "status": "ok"}], "b": [{**row, "status": "rejected"}]}
    assert paired(given, {"s1": "p"}, ("classification", "generation"), 0) == []
