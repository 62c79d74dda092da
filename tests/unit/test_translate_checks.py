"""The checks of a translation: right pairs pass, and every kind of damage is named."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.data.translate_checks import changed_numbers, check, numbers
from codelib.data.translate_glossary import read_glossary

RIGHT = [
    ("16深龋", "16 deep caries"),
    ("一周后复诊", "return in 1 week"),
    ("疼痛半年，加重三四天", "pain for half a year, worse for 3-4 days"),
    ("一个半月前外伤", "trauma 1.5 months ago"),
    ("Ⅱ度松动", "grade 2 mobility"),
    ("两侧髁突对称", "both condyles symmetrical"),
    ("阿莫西林1000mg", "amoxicillin 1,000 mg"),
    ("患者[NAME]，一周前疼痛", "Patient [NAME], pain 1 week ago"),
    ("否认药物过敏史", "Denies any history of drug allergy"),
    ("无叩痛，无松动", "No percussion pain or mobility"),
    ("未见明显异常", "No obvious abnormality"),
    ("叩痛(-)，冷诊(-)", "Percussion pain (-), cold test negative"),
    ("牙列不齐", "crowding of the dentition"),
    ("牙体不完整", "the tooth is not intact"),
    ("根充不全", "incomplete root filling"),
    ("口腔卫生不良", "poor oral hygiene"),
    ("无牙颌", "edentulous jaw"),
    ("无自发痛", "painless at rest"),
    ("不能排除牙髓炎", "pulpitis cannot be ruled out"),
    ("术后2小时勿进食", "do not eat for 2 hours after the operation"),
    ("避免咬硬物", "avoid biting on hard things"),
    ("是否拔除待定", "extraction to be decided"),
    ("左下后牙疼痛3天", "pain in the lower left posterior teeth for 3 days"),
    ("10天左右复诊", "return in about 10 days"),
    ("右上颌窦炎", "right maxillary sinusitis"),
    ("颌下淋巴结无肿大", "no enlargement of the submandibular lymph nodes"),
    ("颞下颌关节弹响", "clicking of the temporomandibular joint"),
    ("上次治疗后不适", "discomfort after the last treatment"),
    ("局麻下拔除36", "36 extracted under local anaesthesia"),
    ("双侧关节区压痛", "tenderness of the left and right joint regions"),
    ("上下牙列咬合关系正常", "normal occlusion of both arches"),
    ("龋坏未治疗", "the caries was left untreated"),
    ("以上情况已告知", "the above was explained"),
    ("右侧颊部肿胀，左侧正常", "swelling of the right cheek; the left is normal"),
    ("下午复诊", "return in the afternoon"),
]


@pytest.mark.parametrize(("chinese", "english"), RIGHT)
def test_a_right_translation_passes(chinese: str, english: str) -> None:
    assert check(chinese, english) == []


@pytest.mark.parametrize(
    ("chinese", "english", "failed"),
    [
        ("16深龋", "17 deep caries", ["fdi_changed"]),
        ("16深龋", "deep caries", ["fdi_changed"]),
        ("16深龋", "16 and 26 deep caries", ["fdi_changed"]),
        ("16、16深龋", "16 deep caries", ["fdi_changed"]),
        ("覆盖9.5mm", "overjet 9 mm", ["number_changed"]),
        ("一周后复诊", "return in 2 weeks", ["number_changed"]),
        ("16深龋", "16 deep 龋", ["chinese_left"]),
        ("患者[NAME]，牙痛", "Patient, toothache", ["placeholder_changed"]),
        ("患者[NAME]，牙痛", "Patient [PHONE], toothache", ["placeholder_changed"]),
        ("洁治", "Scaling " * 30, ["length"]),
        ("患者因左侧后牙区反复肿痛就诊，曾在外院行消炎治疗后好转", "Left", ["length"]),
        ("洁治与根管治疗", "I'm sorry, I can't assist with that.", ["refusal", "negation_changed"]),
        ("牙痛", " ", ["empty"]),
        ("电话[PHONE]", "Phone [PHONE] a.b@c.com", ["identifier"]),
        ("无叩痛", "percussion pain", ["negation_changed"]),
        ("叩痛", "no percussion pain", ["negation_changed"]),
        ("无叩痛，松动", "percussion pain, mobility", ["negation_changed"]),
        ("松动，无叩痛", "no mobility, percussion pain", ["negation_changed"]),
        ("否认高血压史", "history of hypertension", ["negation_changed"]),
        ("未见龋坏", "caries seen in the incisor", ["negation_changed"]),
        ("左下后牙疼痛", "pain in the lower right posterior teeth", ["side_changed"]),
        ("左下后牙疼痛", "pain in the upper left posterior teeth", ["side_changed"]),
        ("左侧肿胀，右侧正常", "swelling on the right, the left is normal", ["side_changed"]),
        ("后牙疼痛", "pain in the left posterior teeth", ["side_changed"]),
        ("上颌前突", "mandibular protrusion", ["side_changed"]),
    ],
)
def test_damage_is_named(chinese: str, english: str, failed: list[str]) -> None:
    assert check(chinese, english) == failed


def test_no_term_of_the_glossary_fails_as_its_own_translation() -> None:
    rows = read_glossary()
    assert len(rows) >= 350
    assert len({zh for zh, _ in rows}) == len(rows)
    assert [(zh, en, check(zh, en)) for zh, en in rows if check(zh, en)] == []


@given(st.lists(st.integers(0, 999), min_size=1, max_size=8), st.data())
def test_a_changed_number_never_passes(values: list[int], data: st.DataObject) -> None:
    chinese = "，".join(f"PD {value}mm" for value in values)
    english = ", ".join(f"PD {value} mm" for value in values)
    assert changed_numbers(chinese, english) is None
    place = data.draw(st.integers(0, len(values) - 1))
    other = data.draw(st.integers(0, 999).filter(lambda n: n != values[place]))
    damaged = [*values[:place], other, *values[place + 1 :]]
    assert changed_numbers(chinese, ", ".join(f"PD {value} mm" for value in damaged)) is not None


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_texts_can_be_checked(chinese: str, english: str) -> None:
    assert all(re.fullmatch("[a-z_]+", name) for name in check(chinese, english))
    numbers(chinese)
