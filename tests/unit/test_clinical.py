"""What the clinical checks see in realistic reports, and that they never raise."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.dental.condition_lists import conditions
from codelib.dental.teeth_fdi import FDI
from codelib.evaluate.clinical import COLUMNS, clinical, compare, mirrored
from codelib.evaluate.conditions import ASSERTED, DENIED, OTHER, kinds_above, mentions
from codelib.evaluate.findings import findings, teeth_in

LOST = "Partial edentulism (dentition defect)"
WEDGE = "Wedge-shaped (non-carious cervical) defect"
REFERENCE = """Patient Record: First visit.
Examination: 16 distal deep cavity, probing pain (+), percussion (-). Gingiva normal, no gingivitis. 38 impacted.
Radiographs Examination: radiolucency of 16 close to the pulp, no periapical lesion.
Diagnosis: 16 deep caries; 38 impacted tooth
Treatment Plan: fill 16, extract 38
Management: 16 filled.
Medical Instructions: return if pain occurs, to avoid pulpitis.
Remarks: Not recorded."""

GPT = """**Examination:** A large cavity on tooth #26 with food impaction. The gums show signs of gingivitis.
**Radiographs Examination:** Periapical radiolucency at 26.

**Diagnosis:**
1. Deep caries of tooth 26
2. Possible pulpitis of 26

**Treatment Plan:** root canal of 26 to prevent apical periodontitis in a 45-year-old patient with 28 teeth (image 12)."""


def _counts(reference: str, answer: str) -> dict[str, int]:
    return dict(zip(COLUMNS, compare(reference, answer), strict=True))


def test_a_report_with_the_wrong_side_and_two_contradictions() -> None:
    assert _counts(REFERENCE, GPT) == {
        "tooth_hits": 0, "tooth_named": 1, "tooth_true": 2,
        "diagnosis_hits": 1, "diagnosis_named": 1, "diagnosis_true": 2,
        "side_errors": 1, "negation_errors": 2,
    }  # fmt: skip


def test_a_report_against_itself_has_no_error() -> None:
    figures = clinical([REFERENCE, GPT], [REFERENCE, GPT]).report()
    for name in ("tooth", "diagnosis"):
        assert figures[f"{name}_precision"] == figures[f"{name}_recall"] == figures[f"{name}_f1"] == 1.0
    assert (figures["num_side_errors"], figures["num_negation_errors"], figures["side_error_share"], figures["n"]) == (
        0,
        0,
        0.0,
        2,
    )


def test_an_empty_answer_finds_nothing_and_contradicts_nothing() -> None:
    figures = clinical([REFERENCE], [""]).report()
    assert (figures["tooth_recall"], figures["tooth_precision"], figures["diagnosis_f1"]) == (0.0, 0.0, 0.0)
    assert (figures["num_side_errors"], figures["num_negation_errors"]) == (0, 0)
    with pytest.raises(ValueError, match="no answered sample"):
        clinical([], [])


@pytest.mark.parametrize(
    ("text", "teeth"),
    [
        ("Tooth 16 and teeth 24, 25; #36", "16 24 25 36"),
        ("teeth 13 to 11, 33-35", "13 12 11 33 34 35"),
        ("a fill of 1.6 and 4.6 ml", ""),
        ("teeth 1.6 and 4.6", "16 46"),
        ("tooth No. 36, tooth number 47", "36 47"),
        ("the upper right first molar (16), UR7", "16 17"),
        ("右上6、左下67，36#", "16 36 37"),
        ("16, 28 teeth missing", "16 28"),
        ("a 45-year-old man, aged 45, pulse 72, score 23 out of 30, BP 120/80", ""),
        ("28 teeth in total; image 12 and photograph 21; a 15 mm probe; 35 K-file; within 24 hours; 11 of 28", ""),
        ("2022-03-05, K02.1, 0.12% chlorhexidine, 25%", ""),
        ("tooth #3, 第一磨牙", ""),
        ("aged 11 to 13; age of 36; patient (36, F); images 11-13; photos 21 and 22; figures 12, 13 and 14", ""),
        ("12 or 13 mm; 12 to 14 mm; between 11 and 14 mm; between 11 and 14 days; 16 photos; #15 blade; 18-gauge needle", ""),
        (
            "image 1, 16 has caries; figure 2 - 26 caries; images 1 and 2, 36; between 11 and 21; 46 (M), 47 or 48; (37, M)",
            "16 26 36 11 21 46 47 48 37",
        ),
    ],
)
def test_teeth_of_english_and_chinese_reports(text: str, teeth: str) -> None:
    assert teeth_in(text) == frozenset(teeth.split())


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("16 deep caries", {"Deep caries": ASSERTED}),
        ("no caries, gingivitis, or pulpitis", {"Dental caries": DENIED, "Gingivitis": DENIED, "Pulpitis": DENIED}),
        ("The gums show no signs of gingivitis", {"Gingivitis": DENIED}),
        ("without evidence of a periapical lesion", {"Apical periodontitis": DENIED}),
        ("No swelling. Deep caries of 16", {"Deep caries": ASSERTED}),
        ("no visible caries but gingivitis", {"Dental caries": DENIED, "Gingivitis": ASSERTED}),
        ("Gingivitis is absent; pulpitis (-); caries: none", {"Gingivitis": DENIED, "Pulpitis": DENIED, "Dental caries": DENIED}),
        ("Pulpitis was ruled out", {"Pulpitis": DENIED}),
        ("cannot rule out pulpitis", {"Pulpitis": OTHER}),
        ("Rule out cracked tooth 25; X-ray to rule out caries", {"Cracked tooth": OTHER, "Dental caries": OTHER}),
        ("We can safely rule out pulpitis. This rules out caries", {"Pulpitis": DENIED, "Dental caries": DENIED}),
        ("It cannot be excluded that a cracked tooth is present", {"Cracked tooth": OTHER}),
        ("Gingivitis has been resolved. Less likely: pulpitis", {"Gingivitis": OTHER, "Pulpitis": OTHER}),
        ("Calculus: (-). Malocclusion: No. Crowding: yes", {"Dental calculus": DENIED, "Malocclusion": DENIED, "Dental crowding": ASSERTED}),
        ("Neither calculus nor gingival recession was found, although tooth mobility was noted.",
         {"Dental calculus": DENIED, "Gingival recession": DENIED, "Tooth mobility": ASSERTED}),
        ("does not appear to have caries, gingivitis, or pulpitis", {"Dental caries": DENIED, "Gingivitis": DENIED, "Pulpitis": DENIED}),
        ("suspected pulpitis, possible cracked tooth", {"Pulpitis": OTHER, "Cracked tooth": OTHER}),
        ("history of periodontitis; brush to prevent caries", {"Periodontitis": OTHER, "Dental caries": OTHER}),
        ("caries removal, low caries risk", {"Dental caries": OTHER}),
        ("residual roots, wedge-shaped defects", dict.fromkeys(("Residual (retained) root", WEDGE), ASSERTED)),
        ("Angle Class II Division 1 malocclusion", {"Angle Class II malocclusion": ASSERTED}),
        ("36、46缺失", {"Partial edentulism (dentition defect)": ASSERTED}),
        ("16深龋，未见牙龈炎", {"Deep caries": ASSERTED, "Gingivitis": DENIED}),
        ("26牙髓炎待排，曾患冠周炎", {"Pulpitis": OTHER, "Pericoronitis": OTHER}),
        ("①16继发龋②慢性牙周炎③46缺失", dict.fromkeys(("Secondary (recurrent) caries", "Chronic periodontitis", LOST), ASSERTED)),
        ("右下颌间隙感染，切开引流后好转出院", {"Fascial space infection": OTHER}),
        ("颌骨骨髓炎 待CT除外", {"Osteomyelitis of jaw": OTHER}),
        ("TMD (r/o)", {"Temporomandibular disorder": OTHER}),
        ("Diagnosis is 牙髓炎待排 of 26", {"Pulpitis": OTHER}),
        ("The oral hygiene is poor", {}),
    ],
)  # fmt: skip
def test_what_a_text_asserts_and_denies(text: str, status: dict[str, str]) -> None:
    assert {mention.name: mention.status for mention in mentions(text)} == status


@pytest.mark.parametrize(
    ("reference", "answer", "errors"),
    [
        ("Diagnosis: 16 deep caries", "Diagnosis: 26 deep caries", 1),
        ("Diagnosis: 16 deep caries", "Diagnosis: 46 deep caries", 1),
        ("Diagnosis: 16 deep caries", "Diagnosis: 36 deep caries", 0),  # another tooth altogether
        ("Diagnosis: 16, 26 deep caries", "Diagnosis: 26 deep caries", 0),  # left out, not turned round
        ("Diagnosis: deep caries, upper right molar", "Diagnosis: deep caries, upper left molar", 1),
        ("Diagnosis: caries, upper right; gingivitis", "Diagnosis: caries; gingivitis, upper left", 0),
        ("Diagnosis: deep caries of an upper right molar", "Diagnosis: deep caries of an upper left molar", 1),
        ("Diagnosis: 16 deep caries", "Diagnosis: deep caries in the left upper jaw", 1),
        ("Diagnosis: bilateral impacted teeth", "Diagnosis: left impacted tooth", 0),
        ("Diagnosis: left pericoronitis", "Diagnosis: pericoronitis, left untreated", 0),
        ("诊断：右上后牙深龋", "诊断：左上后牙深龋", 1),
        ("诊断：54深龋", "诊断：64深龋", 1),
    ],
)
def test_side_errors(reference: str, answer: str, errors: int) -> None:
    assert _counts(reference, answer)["side_errors"] == errors


@pytest.mark.parametrize(
    ("reference", "answer", "errors"),
    [
        ("Examination: no caries", "Examination: deep caries of 16", 1),  # a kind of what was denied
        ("Examination: deep caries of 16", "Examination: no caries", 1),
        ("Examination: no deep caries", "Examination: caries", 0),  # caries need not be deep
        ("Examination: 16 caries, no caries of 26", "Examination: caries", 0),  # the reference does both
        ("Examination: no caries", "Examination: suspected caries", 0),
        ("Examination: no caries", "Treatment Plan: remove the caries", 0),  # plans assert nothing
        ("检查：未见龋坏", "检查：16见深龋", 1),
        ("检查：未见龋坏", "Examination: deep caries of 16", 1),  # the other language
    ],
)
def test_negation_errors(reference: str, answer: str, errors: int) -> None:
    assert _counts(reference, answer)["negation_errors"] == errors


CASES = sorted((Path(__file__).parent / "cases").glob("diagnoses*.csv"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_report_is_read_as_the_dataset_s_records_are(path: Path) -> None:
    """The sentences that the stage annotate is measured by: what is present there is asserted here, what is negated is denied."""
    english = {condition.zh: condition.en for condition in conditions()}
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    told = {"present": ASSERTED, "negated": DENIED}
    wrong = 0
    for row in rows:
        parts = (part.rpartition(" ") for part in row["expected"].split("; ") if part)
        expected = {(english[name], told.get(status, OTHER)) for name, _, status in parts}
        wrong += {(mention.name, mention.status) for mention in mentions(row["input"].replace("\\n", "\n"))} != expected
    assert wrong / len(rows) <= 0.02


def test_the_mirror_of_a_mirror_is_the_tooth() -> None:
    assert mirrored("16") == ("26", "46")
    assert mirrored("54") == ("64", "84")
    for tooth in FDI:
        assert set(mirrored(tooth)) < FDI
        assert [mirrored(mirrored(tooth)[n])[n] for n in (0, 1)] == [tooth, tooth]


def test_families_are_of_the_list() -> None:
    names = {condition.en for condition in conditions()}
    assert set(kinds_above()) | set(kinds_above().values()) <= names
    assert not set(kinds_above()) & set(kinds_above().values()), "a family of families would need more than one step up"


@pytest.mark.parametrize("condition", conditions(), ids=lambda condition: condition.en)
def test_every_condition_is_read_by_its_own_names(condition) -> None:
    for name in (condition.en, condition.en.title(), condition.zh):
        assert {mention.name for mention in mentions(name)} == {condition.en}, name


PIECES = [
    "16 ",
    "deep caries",
    "no ",
    "牙髓炎",
    "未见",
    ", ",
    ". ",
    "\n",
    "Diagnosis: ",
    "诊断：",
    "left ",
    "(",
    ")",
    "?",
    "ﷺ",
    "𬌗",
    "\x00",
    "tooth ",
]


@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=20).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
)
def test_never_raises_and_counts_add_up(reference: str, answer: str) -> None:
    counts = _counts(reference, answer)
    assert counts == _counts(reference, answer)
    for name in ("tooth", "diagnosis"):
        assert 0 <= counts[f"{name}_hits"] <= min(counts[f"{name}_named"], counts[f"{name}_true"])
    assert _counts(answer, answer)["side_errors"] == _counts(answer, answer)["negation_errors"] == 0
    found = findings(answer)
    assert found.teeth <= FDI
