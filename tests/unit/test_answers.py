"""The class parser: strict, deterministic, and never surprised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.answers import parse_class


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


def test_deeply_nested_json_is_only_text() -> None:
    assert parse_class("[" * 100_000) is None
