"""The class parser: strict, deterministic, and never surprised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.answers import options_in, parse_class
from codelib.evaluate.findings import findings
from codelib.evaluate.spectrum_scores import parse_conditions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Caries", "Caries"),
        ("  caries.\n", "Caries"),
        ("**CARIES**", "Caries"),
        ("The diagnosis is Caries.", "Caries"),
        ("Tooth Structure Loss", "Tooth Structure Loss"),
        ("tooth-structure_loss", "Tooth Structure Loss"),
        ("Tooth Loss", "Tooth Loss"),
        ("Ｔｏｏｔｈ Ｌｏｓｓ", "Tooth Loss"),
        ("Answer: Gingivitis\n\nGingivitis is an inflammation.", "Gingivitis"),
        ('{"class": "malocclusion"}', "Malocclusion"),
        ('```json\n{"Diagnosis": "Tooth Loss", "reason": "not Caries"}\n```', "Tooth Loss"),
        ("诊断：慢性牙髓炎。", "Pulpitis"),
        ("牙体缺损", "Tooth Structure Loss"),
        ("牙列缺损", "Tooth Loss"),
        ("诊断为龋病（Caries）", "Caries"),
        ("Diagnosis: Dental caries, tooth 16", "Caries"),
    ],
)
def test_a_named_class_is_read(text: str, expected: str) -> None:
    assert parse_class(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "I cannot tell.",
        "Caries or Pulpitis",
        "龋病，牙龈炎",
        "There is no caries.",
        "无龋齿",
        "not malocclusion",
        "Precaries",
        "Loss of a tooth",
        "tooth",
        '{"class": "Caries and Gingivitis"}',
        '{"class": "healthy"}',
        "One of: Caries, Gingivitis, Malocclusion, Pulpitis, Tooth Loss, Tooth Structure Loss",
        "Cariess",
        "nan",
    ],
)
def test_none_several_or_denied_is_unparsed(text: str | None) -> None:
    assert parse_class(text) is None


@given(st.text() | st.sampled_from(SIX_CLASSES).flatmap(lambda name: st.text().map(lambda around: f"{around} {name} {around}")))
def test_never_raises_and_says_the_same_twice(text: str) -> None:
    first = parse_class(text)
    assert first is None or first in SIX_CLASSES
    assert parse_class(text) == first


@given(
    st.sampled_from(SIX_CLASSES), st.sampled_from(["{}", "{}!", "It is {}", '{{"label": "{}"}}', "# {}\n", "({})", "<b>{}</b>"])
)
def test_every_class_is_read_in_every_frame(name: str, frame: str) -> None:
    for spelling in (name, name.upper(), name.lower()):
        assert parse_class(frame.format(spelling)) == name


REALISTIC = [
    # reasoning first, then the answer
    ("Looking at the images, there is dark discoloration on tooth 16 which may suggest caries. However, the spontaneous night pain points to "
     "the pulp.\n\n**Final answer: Pulpitis**", "Pulpitis"),
    ("<think>Could be caries, or gingivitis. The gums bleed.</think>\nGingivitis", "Gingivitis"),
    ("<think>Could be caries, or gingivitis", None),
    ("Step 1: the arch shows gaps. Step 2: teeth 36 and 46 are missing.\nTherefore, the answer is: Tooth Loss.", "Tooth Loss"),
    ("### Analysis\n- Swollen gums\n- No caries\n\n### Conclusion\nThe most likely diagnosis is **Gingivitis** (K05.1).", "Gingivitis"),
    ("The condition is: \n\n**Malocclusion**", "Malocclusion"),
    ("Diagnosis: Caries (ICD-10: K02.1)", "Caries"),
    ("Caries (K02)", "Caries"),
    ("$\\boxed{\\text{Tooth Loss}}$", "Tooth Loss"),
    ("<answer>Pulpitis</answer>", "Pulpitis"),
    ("Based on the images and the patient's details, I would choose Tooth Structure Loss.", "Tooth Structure Loss"),
    ("I'd go with malocclusion, because the lower incisors are crowded and the overbite is deep.", "Malocclusion"),
    ("Final answer: it cannot be determined. Caries might be present.", None),
    ("Differential diagnosis: caries, pulpitis.\nFinal diagnosis: pulpitis", "Pulpitis"),
    ("The differential diagnosis includes caries and pulpitis.", None),
    ("Answer: Caries. There may be an early pulpitis as well.", "Caries"),
    ("Diagnosis: Caries. There may be an early pulpitis as well.", None),
    # JSON
    ('["Caries"]', "Caries"),
    ('["Caries", "Pulpitis"]', None),
    ('{"result": {"class": ["tooth loss"], "confidence": 0.83}}', "Tooth Loss"),
    ('Sure! Here is my answer:\n```json\n{\n  "diagnosis": "Pulpitis",\n  "reasoning": "not caries"\n}\n```\nLet me know!', "Pulpitis"),
    ('My answer is {"Final Answer": "Gingivitis"} based on the bleeding gums. Caries is possible too.', "Gingivitis"),
    ('{"diagnosis": "healthy", "note": "Caries"}', None),
    ('{"诊断": "牙髓炎"}', "Pulpitis"),
    ("The teeth [16, 26] show caries.", "Caries"),
    # denials
    ("No caries, gingivitis or pulpitis is visible; teeth 36 and 37 are missing, so this is Tooth Loss.", "Tooth Loss"),
    ("There is no evidence of active caries or gingivitis. The pulp is inflamed: pulpitis.", "Pulpitis"),
    ("Neither caries nor gingivitis.", None),
    # class by class
    ("| Caries | Yes |\n| Gingivitis | No |\n| Tooth Loss | No |", "Caries"),
    ('{"Caries": false, "Gingivitis": true, "Pulpitis": false}', "Gingivitis"),
    ("[ ] Caries\n[x] Gingivitis\n[ ] Pulpitis", "Gingivitis"),
    ("Caries: not present. Gingivitis: absent. Pulpitis: present.", "Pulpitis"),
    ("Caries: no sign of infection", "Caries"),
    ("Gingi\u00advitis\u200b", "Gingivitis"),
    ("龋病：有\n牙龈炎：未见\n牙髓炎（无）\n牙列缺损：阴性", "Caries"),
    ("The patient does not have caries.", None),
    ("This is not a case of gingivitis.", None),
    ("Caries can be ruled out. Pulpitis.", "Pulpitis"),
    ("Gingivitis is unlikely; malocclusion.", "Malocclusion"),
    ("Pulpitis rather than caries.", "Pulpitis"),
    ("I cannot rule out caries; gingivitis.", None),
    ("Rule out caries; gingivitis.", None),
    ("We can rule out caries; gingivitis.", "Gingivitis"),
    ("not only caries but also pulpitis", None),
    ("The gums show no signs of inflammation. Caries.", "Caries"),
    ("Caries is not visible, and neither is malocclusion; the gums bleed: gingivitis", "Gingivitis"),
    # comparisons and doubt about two are no answer
    ("It is more likely caries than pulpitis.", None),
    ("Pulpitis is less likely than caries.", None),
    ("Either tooth loss or tooth structure loss", None),
    ("caries vs. pulpitis", None),
    ("Most consistent with caries; gingivitis is also present.", None),
    # what is said instead of a name, where no name is said
    ("The patient has several cavities.", "Caries"),
    ("The mucosa of the oral cavity is normal.", None),
    ("Teeth 36 and 46 are missing; partial edentulism.", "Tooth Loss"),
    ("missing teeth and tooth decay", None),
    ("Malocclusion with tooth decay", "Malocclusion"),
    ("The dentition is caries-free.", None),
    ("loss of tooth structure", "Tooth Structure Loss"),
    ("wedge-shaped defect of tooth 14", "Tooth Structure Loss"),
    # Chinese
    ("根据图像和患者信息，牙龈红肿、刷牙出血，未见明显龋坏。\n最终答案：牙龈炎", "Gingivitis"),
    ("**诊断**：牙髓炎（K04.0）", "Pulpitis"),
    ("答案：错颌畸形。", "Malocclusion"),
    ("不是龋病，而是牙髓炎。", "Pulpitis"),
    ("排除龋病、牙龈炎，考虑牙髓炎。", "Pulpitis"),
    ("龋病可排除，诊断为牙髓炎", "Pulpitis"),
    ("更可能是龋病，而不是牙髓炎", "Caries"),
    ("龋病的可能性比牙髓炎大", None),
    ("不能排除龋病，牙龈炎", None),
    ("无龋病及牙龈炎", None),
    ("鉴别诊断：龋病、牙髓炎\n诊断：牙髓炎", "Pulpitis"),
    ("36、46牙缺失", "Tooth Loss"),
    ("患者牙列拥挤。", "Malocclusion"),
    ("我选择牙体缺损", "Tooth Structure Loss"),
    ("The diagnosis is 牙髓炎 (Pulpitis).", "Pulpitis"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REALISTIC)
def test_realistic_answers(text: str, expected: str | None) -> None:
    assert parse_class(text) == expected


LETTERED = "Which is it?\nA. Caries\nB. Gingivitis\nC. Malocclusion\nD. Pulpitis\nE. Tooth Loss\nF. Tooth Structure Loss"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "Gingivitis"),
        ("(d)", "Pulpitis"),
        ("F.", "Tooth Structure Loss"),
        ("Answer: E", "Tooth Loss"),
        ("**C. Malocclusion**", "Malocclusion"),
        ("The correct option is A.", "Caries"),
        ("选B", "Gingivitis"),
        ('{"answer": "D"}', "Pulpitis"),
        ("B. Caries", None),  # letter and name disagree
        ("A or B", None),
        ("A tooth is sick.", None),
        ("G", None),
        ("Bad teeth", None),
    ],
)
def test_letters_count_where_the_question_gave_them(text: str, expected: str | None) -> None:
    assert parse_class(text, options_in(LETTERED)) == expected
    if len(text) < 10 and "." not in text:
        assert parse_class(text) is None


def test_options_are_read_from_the_question() -> None:
    assert options_in(LETTERED)["F"] == "Tooth Structure Loss"
    assert options_in("image-1: <image>\nChoose: (A) 龋病 (B) 牙龈炎 (C) 牙髓炎") == {
        "A": "Caries",
        "B": "Gingivitis",
        "C": "Pulpitis",
    }
    assert options_in("Which one: Caries, Gingivitis, Malocclusion?") == {}
    assert options_in("A. Caries\nB. Healthy") == {}
    assert options_in("B. Caries\nC. Gingivitis") == {}
    assert options_in("Vitamin A. Caries") == {}


CLASS = st.sampled_from(SIX_CLASSES)
NOISE = st.text(max_size=40) | st.sampled_from(
    ["no ", "not ", "Final answer: ", "diagnosis: ", "{", "}", '{"class": "', '"}', "```json", "```", "<think>", "</think>", "无", "排除", 
     "答案：",
     " or ", ", ", "\n", "[",
     '["', "1" * 5000, "\\boxed{", "B", "(A)", "\u200b", "ﷺ"]
)  # fmt: skip


@given(st.lists(NOISE | st.sampled_from(SIX_CLASSES), max_size=12).map("".join), st.booleans())
def test_pieces_of_answers_never_raise(text: str, lettered: bool) -> None:
    options = options_in(LETTERED) if lettered else None
    first = parse_class(text, options)
    assert first is None or first in SIX_CLASSES
    assert parse_class(text, options) == first
    assert isinstance(options_in(text), dict)


@given(
    st.sampled_from(SIX_CLASSES),
    st.sampled_from(SIX_CLASSES),
    st.sampled_from([" or ", " and ", ", ", "; ", " rather likely than ", "、"]),
)
def test_two_classes_are_no_answer(a: str, b: str, joint: str) -> None:
    assert parse_class(f"{a}{joint}{b}") == (a if a == b else None)


@given(
    st.sampled_from(SIX_CLASSES),
    st.sampled_from(SIX_CLASSES),
    st.sampled_from(["no {}", "no evidence of {}", "{} is ruled out", "without {}"]),
)
def test_what_is_denied_is_not_named(a: str, b: str, denied: str) -> None:
    assert parse_class(denied.format(a)) is None
    if a != b:
        assert parse_class(f"{denied.format(a)}. It is {b}.") == b


def test_deeply_nested_json_is_only_text() -> None:
    assert parse_class("[" * 100_000) is None


REPEATED = [
    "caries, ",
    "caries and ",
    "no ",
    "{[",
    "\n",
    "**",
    "# ",
    "- ",
    "16, ",
    "a",
    " ",
    "龋病、",
    '"',
    "(",
    "Final answer: ",
    "if ",
]


@pytest.mark.parametrize("piece", REPEATED)
def test_a_model_that_repeats_itself_is_read_in_one_pass(piece: str) -> None:
    """Without bounds some of these took minutes; the suite would stand still."""
    text = f"no {piece * 1500}x Diagnosis"
    assert parse_class(text) in (None, "Caries")
    assert findings(text) is not None
    parse_conditions(text)
