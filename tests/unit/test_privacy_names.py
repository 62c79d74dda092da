"""Names that no role gives away, disguised identifiers, and the red-team file that the rules were mended with."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.data.identifiers import contains_identifier, find_disguised, find_patterns, find_person_names
from codelib.data.person_names_bare import bare_names
from codelib.data.person_names_lists import simplify
from tests.benchmarks.text_privacy import DATA, leaks, red_team, released
from tests.benchmarks.text_probe import kind_of, outcomes, read, recall

# what is known to be left, and why: docs/privacy.md
LEFT = {"第五浩然", "华为"}


def names(text: str) -> list[str]:
    return [text[name.start : name.end] for name in bare_names(simplify(text))]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("邻居许秀兰推荐来诊", "许秀兰"),
        ("回访赵志远，无不适", "赵志远"),
        ("费用由韩雪梅支付", "韩雪梅"),
        ("与徐丽华沟通后同意种植", "徐丽华"),
        ("發票抬頭陳建國", "陳建國"),
        ("已电话告知欧阳静怡改期", "欧阳静怡"),
    ],
)
def test_a_name_is_found_by_its_likelihood_alone(text, name):
    assert name in names(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("登记人云景明", "云景明"),  # a rare surname, behind a noun for a person
        ("接送人：水晟", "水晟"),
        ("嘱水灵犀监督刷牙", "水灵犀"),  # its given name is a word
        ("请高桥由美下月来取保持器", "高桥由美"),
        ("李氏红绒拒绝拍片", "李氏红绒"),
        ("诊室内谷雨桐突然晕厥", "谷雨桐"),
    ],
)
def test_where_a_person_stands_a_rarer_name_is_a_suspicion(text, name):
    assert name in names(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("由于个人原因邱依依中止治疗", "邱依依"),  # no word before it that takes a person
        ("同期沃安然做了上颌窦提升", "沃安然"),
        ("查房见干建国面部肿胀", "干建国"),  # surname and given name are words of every day
        ("误将支跃进的模型寄出", "支跃进"),
        ("缝线由时健康自行脱落后带来", "时健康"),
        ("劝说相望舒戒烟", "相望舒"),
    ],
)
def test_what_no_word_explains_is_a_suspicion_in_a_phrase_that_nobody_foresaw(text, name):
    assert name in names(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("翻译小魏陪同", "魏"),
        ("她说就认老孟，手轻", "孟"),
        ("请明天替我看一下，谢谢。鞠", "鞠"),
        ("患者水建设，57岁，瓦工", "水建设"),
    ],
)
def test_a_form_of_its_own_makes_a_doubt(text, name):
    assert name in [text[found.start : found.end] for found in find_person_names(text, certain=False)]


@pytest.mark.parametrize(
    "text", ["小时候外伤，小石块硌伤，小黄点，老年患者，阿莫西林", "无不适。无", "全口义齿，57岁时制作", "向患者展示口内照片"]
)
def test_what_has_the_form_of_a_short_name_is_left(text):
    assert find_person_names(text) + find_person_names(text, certain=False) == []


def test_the_probe_of_another_hand_is_caught_and_its_clean_texts_pass():
    """A regression set: it was mended with. The first sight was 0.866."""
    found = outcomes(read(DATA / "other_hand.json"))
    clean = [one for one in found if not one.line.values]
    assert recall([one for one in found if one.line.values]) >= 0.97
    assert sum(one.held for one in clean) <= 0.03 * len(clean)


@pytest.mark.parametrize(("name", "least"), [("other_hand_2", 0.98), ("other_hand_3", 0.96), ("other_hand_4", 0.99)])
def test_what_was_judged_at_first_sight_stays_caught(name, least):
    """Written by another hand and run once before a word was listed: 0.988 and 0.971 with the tagger, 0.956 and 0.930 without."""
    assert recall([one for one in outcomes(read(DATA / f"{name}.json")) if one.line.values]) >= least


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Ivan Petrov", "letters or a dot"),
        ("那日苏巴图", "no Chinese surname"),
        ("欧阳静怡", "compound surname"),
        ("水晟", "surname a word or rare"),
        ("许建国", "given name a word"),
        ("许晟", "one character given"),
        ("许秀兰", "plain"),
        ("许", "one character"),
    ],
)
def test_the_kind_of_a_name_is_told_by_its_form(name, kind):
    assert kind_of(name) == kind


def test_a_rare_surname_is_never_replaced_by_likelihood_alone():
    (found,) = bare_names("通知傅砺锋明早空腹抽血")
    assert not found.certain


@pytest.mark.parametrize(
    "text",
    [
        "牙面见墨浸样改变，植体周组织健康，自冠方至根方逐步清理",
        "肌肉张力高，窦道口位于颊侧，封孔，白纹",
        "米诺环素、康杜尼软膏、必兰、维拉帕米、孟鲁司特",
        "向根方移位，和根充材料，成角种植，双丝技术",
        "10余天来反复，3年余前，夏天加重，方才缓解，高峰时段，何时开始不详",
        "全口洁治，金黄色葡萄球菌，韦荣球菌，马里兰桥",
    ],
)
def test_words_of_records_are_no_names(text):
    assert names(text) == []


@pytest.mark.parametrize("text", ["手机138oo123456", "微 信 号 ： lovetooth2020", "患.者.刘.洋.牙痛", "联系 toothfan99"])
def test_slips_of_a_writer_hide_nothing(text):
    assert find_disguised(text)


@pytest.mark.parametrize("text", ["18 号锉，25 号牙胶尖", "右上 6 远中 邻面", "protaper25", "PD 3 3 4mm", "vita 3d master"])
def test_what_only_looks_disguised_is_left(text):
    assert find_disguised(text) == []


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("香港身份证 Z683365(5)", "ID"),
        ("台灣身分證 A123456789", "ID"),
        ("回鄉證 H0312345601", "ID"),
        ("台胞证T12345678", "ID"),
        ("手機 0912-345-678", "PHONE"),
        ("電話 (02) 2712-3456", "PHONE"),
        ("+852 9123 4567", "PHONE"),
        ("021-62345678 转 802", "PHONE"),
        ("分机号 8012", "PHONE"),
        ("@樊小雨 明天来", "ACCOUNT"),
        ("昵称“小鱼儿”", "ACCOUNT"),
        ("就读于金鸡湖小学", "ORG"),
        ("去北大口腔看过", "ORG"),
        ("仁和口腔门诊部", "ORG"),
        ("台北市大安區忠孝東路四段100號5樓", "ADDRESS"),
    ],
)
def test_forms(text, cls):
    assert cls in {finding.cls for finding in find_patterns(text)}


@pytest.mark.parametrize(
    "text", ["就读小学，某大学学生，保险公司审核", "当地医院，上级口腔医院，住院治疗", "3/4冠，1/3根折，2/3覆盖"]
)
def test_nobodys_place_is_no_identifier(text):
    assert find_patterns(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dr. Wang reviewed the film", "NAME"),
        ("seen by A. Kowalski DDS", "NAME"),
        ("Mr. O'Brien attended", "NAME"),
        ("Zhou Yan complained of pain", "NAME"),
        ("Long bone and wide zone; the patient denies pain in the upper left molar", None),
        ("Class II Division 1, shade A2, Filtek Z350, Wave One Gold", None),
    ],
)
def test_english_is_scanned_too(text, found):
    assert contains_identifier(text) == found


def test_the_seen_red_team_leaks_what_is_known_to_be_left_and_nothing_else():
    lines = red_team("seen")
    rows, _ = released(lines)
    leaked = {value for line, row in zip(lines, rows, strict=True) for value in leaks(line, row)}
    assert leaked <= LEFT
    clean = [(line, row) for line, row in zip(lines, rows, strict=True) if not line.values]
    assert len(clean) >= 40
    assert [line.text for line, row in clean if row["present_illness"] != line.text] == []


def test_the_unseen_red_team_is_caught_in_nine_of_ten():
    """A floor, not a target: the file is not tuned on."""
    lines = red_team("unseen")
    rows, _ = released(lines)
    values = sum(len(line.values) for line in lines)
    leaked = sum(len(leaks(line, row)) for line, row in zip(lines, rows, strict=True))
    assert 1 - leaked / values >= 0.9


@given(st.text(alphabet=st.sampled_from("王李张欧阳静怡伟芳与由嘱的牙痛医生，。 ·1a"), max_size=40))
@settings(max_examples=200, deadline=None)
def test_spans_are_sorted_disjoint_and_inside(text):
    found = bare_names(text)
    assert all(0 <= n.start < n.end <= len(text) for n in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    for finding in [*find_person_names(text), *find_disguised(text)]:
        assert 0 <= finding.start < finding.end <= len(text)
