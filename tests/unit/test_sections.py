"""The eight sections, however a model writes their headings."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.evaluate.sections import coverage, section_names, sections_of
from codelib.models.words import LANGUAGES, words

TEXTS = ["First visit.", "16 deep cavity.", "Not recorded.", "16 deep caries", "Filling", "Filled", "No chewing", "None"]


def _report(frame: str, joint: str = "\n", names: tuple[str, ...] | None = None) -> str:
    return joint.join(frame.format(name, text) for name, text in zip(names or section_names(), TEXTS, strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_release_s_own_headings(language: str) -> None:
    told = words(language)  # type: ignore[arg-type]
    report = "\n".join(f"{title}{told.colon}{text}" for title, text in zip(told.sections.values(), TEXTS, strict=True))
    assert sections_of(report) == dict(zip(section_names(), TEXTS, strict=True))
    assert tuple(words("en").sections.values()) == section_names()


FRAMES = [
    "**{}:** {}", "**{}**: {}", "**{}**\n{}", "## {}\n{}", "### **{}**\n\n{}", "{}：{}", "- {}: {}", "- **{}**: {}", "*{}*: {}", "1. {}: {}",
    "1. **{}**\n   - {}", "【{}】{}", "【{}】\n{}", "| {} | {} |", "| **{}** | {} |", "{} - {}", "{} (检查): {}", "  {} : {}", "__{}__: {}",
    "#### 3) {}:\n{}", "<b>{}</b>: {}", "<h3>{}</h3>\n<p>{}</p>", "<li><b>{}:</b> {}</li>",
]  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES)
def test_headings_as_models_write_them(frame: str) -> None:
    assert tuple(sections_of(_report(frame))) == section_names()
    assert tuple(sections_of(_report(frame, "\n\n").upper())) == section_names()


def test_json_and_one_line() -> None:
    report = dict(zip(section_names(), TEXTS, strict=True))
    for indent in (None, 2):
        assert tuple(sections_of(json.dumps(report, indent=indent))) == section_names()
    assert tuple(sections_of(_report("{}: {}.", " "))) == section_names()


def test_other_names_of_the_same_sections() -> None:
    report = "Clinical Examination:\n16\nRadiographic Findings: 16\nDiagnoses: caries\nPlan: fill\nInstructions: rest"
    assert list(sections_of(report)) == [
        "Examination",
        "Radiographs Examination",
        "Diagnosis",
        "Treatment Plan",
        "Medical Instructions",
    ]


def test_a_heading_without_text_and_a_word_in_a_sentence_are_no_sections() -> None:
    assert sections_of("Diagnosis:\n\nRemarks: none") == {"Remarks": "none"}
    assert sections_of("The examination shows caries. Our diagnosis: caries") == {}
    assert sections_of("") == {}


def test_coverage_is_of_the_sections_that_the_reference_has() -> None:
    whole = _report("{}: {}")
    half = "Diagnosis: caries\nRemarks: none"
    found = coverage([whole, half, "no section"], [half, whole, ""])
    assert found.rows == (0.25, 1.0, 0.0)
    assert found.each["Diagnosis"] == pytest.approx(2 / 3)
    assert found.each["Management"] == 0.0


@given(
    st.lists(
        st.sampled_from([*section_names(), "诊断", ":", "：", "\n", "**", "#", "| ", "text", ". ", '"', "{", "(", ")"]),
        max_size=30,
    ).map("".join)
)
def test_never_raises_and_invents_nothing(text: str) -> None:
    found = sections_of(text)
    assert set(found) <= set(section_names())
    assert all(part in text for body in found.values() for part in body.split("\n"))
