"""All conditions of a visit: how lists are read, and that the averages are sklearn's."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.preprocessing import MultiLabelBinarizer

from codelib.dental.condition_lists import conditions
from codelib.evaluate.spectrum_scores import parse_conditions, scores_of_sets, spectrum, spectrum_of_reports

DEEP, CALCULUS, GINGIVITIS = "Deep caries", "Dental calculus", "Gingivitis"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Deep caries, Dental Calculus, gingivitis", {DEEP, CALCULUS, GINGIVITIS}),
        ("deep caries; tartar", {DEEP, CALCULUS}),
        ("1. Deep caries (16)\n2. Gingivitis\nNo calculus", {DEEP, GINGIVITIS}),
        ("- **Deep caries**\n- **Gingivitis** (mild)", {DEEP, GINGIVITIS}),
        ('["Deep caries", "Dental calculus"]', {DEEP, CALCULUS}),
        ('```json\n{"conditions": ["deep caries"], "reasoning": "no gingivitis, periodontitis in the past"}\n```', {DEEP}),
        ('[{"condition": "Deep caries", "tooth": "16"}, {"condition": "Gingivitis"}]', {DEEP, GINGIVITIS}),
        ('{"conditions": []}', set()),
        ("深龋、牙结石、牙龈炎", {DEEP, CALCULUS, GINGIVITIS}),
        ("诊断：16深龋；牙石", {DEEP, CALCULUS}),
        ("The patient has deep caries of 16 and gingivitis. Calculus is absent; possible pulpitis.", {DEEP, GINGIVITIS}),
        ("Thinking: could be pulpitis.\nFinal answer:\n- Deep caries\n- Gingivitis", {DEEP, GINGIVITIS}),
        ("<think>pulpitis?</think>Deep caries", {DEEP}),
        ("No abnormalities are visible.", set()),
        ("None", set()),
        ("未见明显异常", set()),
        ("no caries, no gingivitis", set()),
        ("I cannot tell.", None),
        ("The images are of poor quality", None),
        # each condition answered by itself
        ('{"Deep caries": true, "Gingivitis": false}', {DEEP}),
        ('{"Deep caries": {"present": true}, "Gingivitis": {"present": false}}', {DEEP}),
        ('[{"condition": "Deep caries", "present": true}, {"condition": "Gingivitis", "present": false}]', {DEEP}),
        ('[{"condition": "Gingivitis", "present": "no"}]', set()),
        ("| Condition | Seen |\n|---|---|\n| Deep caries | Yes |\n| Gingivitis | No |", {DEEP}),
        ("Deep caries - present\nGingivitis - absent\nDental calculus – No", {DEEP}),
        ("Deep caries: present; gingivitis: not present", {DEEP}),
        ("Deep caries = 1, gingivitis = 0", {DEEP}),
        ("[x] Deep caries\n[ ] Gingivitis\n☐ Dental calculus", {DEEP}),
        ("Deep caries ✓\nGingivitis ✗", {DEEP}),
        ("深龋 有，牙龈炎 无", {DEEP}),
        ('{"深龋": true, "牙龈炎": false}', {DEEP}),
        ("Deep caries: no pain on percussion. Gingivitis - no calculus", {DEEP, GINGIVITIS}),
        ("Deep caries no pain noted Diagnosis: deep caries", {DEEP}),
        (
            "Deep caries: yes\nGingivitis: none visible\nDental calculus: no evidence\nPulpitis: unlikely\nMalocclusion: unclear",
            {DEEP},
        ),
        ("Deep caries: no evidence of pulpal involvement", {DEEP}),
        ("16 deep caries No. 26 gingivitis", {DEEP, GINGIVITIS}),
        ("It is unclear whether gingivitis is present. Deep caries.", {DEEP}),
        ("", None),
        (None, None),
    ],
)
def test_lists_and_prose(text: str | None, names: set[str] | None) -> None:
    found = parse_conditions(text)
    assert (None if found is None else set(found.names)) == names


def test_items_that_are_no_condition_are_counted() -> None:
    found = parse_conditions("Deep caries, dragon bite, healthy gums, moon sickness, 16")
    assert found is not None
    assert found.num_unknown == 2
    prose = parse_conditions("The patient has come for a long examination of everything there is, and has deep caries.")
    assert prose is not None
    assert prose.num_unknown == 0


def test_scores_of_a_small_test_set() -> None:
    references = [json.dumps([DEEP, CALCULUS]), json.dumps([GINGIVITIS]), json.dumps(["Blue teeth syndrome"]), "[]"]
    answers = ["1. Deep caries\n2. Gingivitis", "I cannot tell", "blue teeth syndrome", "No abnormality"]
    found = spectrum(references, answers, ["a", "b", "c", "d"], 0)
    assert (found["micro_precision"], found["micro_recall"]) == (pytest.approx(2 / 3), 0.5)
    assert (found["n"], found["num_unparsed"], found["num_unknown_items"]) == (4, 1, 0)
    assert found["conditions"] == []  # each is rarer than five
    assert found["rare"] == {
        "below": 5,
        "num_conditions": 4,
        "support": 4,
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "f1": pytest.approx(4 / 7),
    }
    assert found["macro_f1"] == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert found["micro_f1_ci"][0] <= found["micro_f1"] <= found["micro_f1_ci"][1]


def test_a_reference_that_is_no_list_is_named_without_its_text() -> None:
    with pytest.raises(ValueError, match="not a JSON list") as told:
        spectrum(["Deep caries"], ["x"], ["a"], 0)
    assert "Deep caries, " not in str(told.value)
    with pytest.raises(ValueError, match="no answered sample"):
        spectrum([], [], [], 0)


def test_the_diagnosis_of_reports() -> None:
    report = "Examination: calculus, no gingivitis\nDiagnosis: 16 deep caries\nRemarks: brush to prevent gingivitis"
    found = spectrum_of_reports([report] * 6, [report] * 3 + ["Diagnosis: gingivitis"] * 3, list("abcdef"), 0)
    assert found["conditions"] == [{"name": DEEP, "support": 6, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}]
    assert found["rare"]["num_conditions"] == 1
    assert found["rare"]["precision"] == 0.0


def test_a_condition_of_few_patients_has_no_figure_however_often_they_came() -> None:
    found = scores_of_sets([frozenset([DEEP])] * 12, [frozenset([DEEP])] * 12, ["a"] * 6 + list("bcdbcd"), 0)
    assert found["conditions"] == []
    assert (found["rare"]["num_conditions"], found["rare"]["support"]) == (1, 12)


NAMES = st.frozensets(st.sampled_from([c.en for c in conditions()[:12]]), max_size=5)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=40))
def test_averages_are_sklearns(rows: list[tuple[frozenset[str], frozenset[str]]]) -> None:
    true, said = [a for a, _ in rows], [b for _, b in rows]
    found = scores_of_sets(true, said, [str(n) for n in range(len(rows))], 0)
    binarise = MultiLabelBinarizer(classes=[c.en for c in conditions()[:12]]).fit([])
    a, b = binarise.transform(true), binarise.transform(said)
    for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[f"micro_{name}"] == pytest.approx(function(a, b, average="micro", zero_division=0))
    if seen := [n for n in range(12) if a[:, n].any()]:
        assert found["macro_f1"] == pytest.approx(f1_score(a, b, labels=seen, average="macro", zero_division=0))
    pooled = sum(entry["support"] for entry in found["conditions"]) + (found["rare"]["support"] if found["rare"] else 0)
    assert pooled == sum(map(len, true))


@given(NAMES, st.sampled_from([", ", "; ", "\n", "\n- ", "、"]))
def test_a_list_of_the_release_s_own_names_is_read_back(names: frozenset[str], joint: str) -> None:
    found = parse_conditions(joint.join(sorted(names)))
    assert (found.names if found else frozenset()) == names


@given(
    st.lists(
        st.sampled_from(["Deep caries", "[", "]", '"', "{", ",", "\n", "no ", "无", "Final answer:", "1. "])
        | st.text(max_size=6),
        max_size=15,
    ).map("".join)
)
def test_never_raises(text: str) -> None:
    assert parse_conditions(text) == parse_conditions(text)
