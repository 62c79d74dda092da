"""The loupe: what it shows is what the stages do, and its places are right."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.data.loupe import LoupeSettings, look
from codelib.data.teeth import TeethSettings


def test_teeth_removed_and_diagnoses_of_a_sentence() -> None:
    sentence = "患者张伟，电话13812345678，左下6、7深龋，六龄齿牙髓炎待排"
    seen = look(sentence)
    assert seen["text"] == "患者[NAME]，电话[PHONE]，36、37深龋，六龄齿牙髓炎待排"
    assert (seen["status"], seen["reject_reason"], seen["suspected"]) == ("ok", None, [])
    assert [(t["fdi"], sentence[slice(*t["span"])], t["status"]) for t in seen["teeth"]] == [
        (["36", "37"], "左下6、7", "ok"),
        (["16", "26", "36", "46"], "六龄齿", "ambiguous"),
    ]
    assert [(r["class"], sentence[slice(*r["span"])]) for r in seen["removed"]] == [("NAME", "张伟"), ("PHONE", "13812345678")]
    assert [(d["zh"], d["icd10"], d["status"], d["evidence"], d["teeth"]) for d in seen["diagnoses"]] == [
        ("深龋", "K02.1", "present", "深龋", ["36", "37"]),
        ("牙髓炎", "K04.0", "suspected", "牙髓炎", []),
    ]
    for one in (*seen["teeth"], *seen["removed"], *seen["diagnoses"]):
        assert one["in_text"] is not None
    assert "张伟" not in json.dumps(seen, ensure_ascii=False)


def test_names_known_from_the_columns() -> None:
    sentence = "王小明左下阻生智齿冠周炎"
    seen = look(sentence, names=["王小明", " "])
    assert seen["text"] == "[NAME]阻生38冠周炎"
    assert [(sentence[slice(*t["span"])], seen["text"][slice(*t["in_text"])]) for t in seen["teeth"]] == [("左下阻生智齿", "38")]
    assert {d["zh"]: d["teeth"] for d in seen["diagnoses"]} == {"阻生牙": ["38"], "冠周炎": ["38"]}


def test_another_field_and_other_settings() -> None:
    assert [d["status"] for d in look("冠周炎", field="past_medical_record")["diagnoses"]] == ["past"]
    assert look("A6深龋", settings=LoupeSettings(teeth=TeethSettings(zone_letters=True)))["text"] == "16深龋"
    with pytest.raises(ValueError, match="did you mean examination"):
        look("深龋", field="examinaton")


def test_a_sentence_that_is_held_back_says_where_and_releases_nothing() -> None:
    sentence = "36深龋，样本编号 8812 3456 7890 1234 5678，右上6残根"
    seen = look(sentence)
    if seen["status"] == "ok":  # removed rather than suspected: then it must be gone
        assert "8812" not in seen["text"]
        return
    assert seen["text"] == ""
    assert seen["suspected"]
    assert [d["zh"] for d in seen["diagnoses"]] == ["深龋", "残根"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["患者李娜", "左下6、7", "[6][0][0][0]", "深龋", "13812345678", "，", "牙髓炎？", "2022-03-05", "四颗智齿", "\n"]
        ),
        max_size=9,
    ).map("".join)
)
def test_places_lie_in_the_sentence_and_in_the_text(sentence: str) -> None:
    seen = look(sentence)
    for one in (*seen["teeth"], *seen["removed"], *seen["suspected"], *seen["diagnoses"]):
        start, end = one["span"]
        assert 0 <= start < end <= len(sentence)
    for tooth in seen["teeth"]:
        if tooth["status"] == "ok" and tooth["in_text"]:
            assert seen["text"][slice(*tooth["in_text"])] == "、".join(tooth["fdi"])
    for disease in seen["diagnoses"]:
        if disease["in_text"]:
            assert seen["text"][slice(*disease["in_text"])] == disease["evidence"]
    json.dumps(seen)
