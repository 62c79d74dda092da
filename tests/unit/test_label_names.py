"""Complaints that give the label away, in English and Chinese, by synonyms too; and complaints that only tell of it."""

from __future__ import annotations

import pytest

from codelib.contracts import SIX_CLASSES
from codelib.data.annotate import AnnotateSettings
from codelib.data.label_names import names_label
from codelib.data.teeth import normalise
from codelib.dental.condition_lists import ClassRow, TermRow
from codelib.dental.condition_terms import dictionary

NAMING = {
    "Caries": """Tooth decay in the lower jaw | cavities | decayed tooth 36 | a hole in my back tooth | Deep caries of 36 | rotten teeth
        | The tooth is badly decayed. | CARIES | 要求补蛀牙 | 牙上有个洞 | 虫牙痛 | 发现龋坏1周 | 左下齲齒 | 大牙被虫蛀了 | 烂牙""",
    "Gingivitis": """gingivitis | inflamed gums for a week | inflammation of the gums | gum inflammation | chronic gingivitis, follow-up
        | 牙龈炎复查 | 牙龈有些发炎 | 牙龈发炎 | 慢性齦炎 | 牙床发炎""",
    "Malocclusion": """malocclusion | crooked front teeth | dental crowding | Her teeth are crooked. | overbite | crossbite | buck teeth
        | 牙齿不齐，要求矫正 | 牙列拥挤 | 地包天 | 龅牙 | 牙缝大 | 错𬌗畸形 | 错颌 | 前牙反𬌗 | 牙齿排列不整齐 | 咬合不正""",
    "Pulpitis": """pulpitis | inflamed pulp | the nerve is inflamed | irreversible pulpitis | 急性牙髓炎 | 牙神经发炎 | 牙神经有点发炎
        | 可复性牙髓炎复诊 | 外院诊断牙髓發炎""",
    "Tooth Loss": """tooth loss | missing tooth 36 | 36 missing | lost a tooth last year | teeth missing | edentulous | no teeth | toothless
        | missing lower teeth | tooth 46 has been lost | 缺牙1年 | 牙齿缺失
        | 36缺失 | 牙齿脱落3个月 | 掉了两颗牙 | 缺了一颗牙 | 全口无牙 | 大牙没了""",
    "Tooth Structure Loss": """broken tooth | chipped front tooth | tooth 11 broke off | worn teeth | tooth wear | crown fracture
        | wedge-shaped defect | cervical defect | loss of tooth structure | dental erosion | 牙体缺损 | 牙齿断了 | 牙崩了一块 | 门牙缺了一角
        | 楔状缺损 | 残根 | 牙齿磨损 | 牙冠折断 | 楔缺""",
}
SILENT = {
    "Caries": [
        "pain on the left",
        "sensitive to cold",
        "food impaction",
        "check-up",
        "左下后牙冷热痛",
        "塞牙",
        "要求检查",
        "洗牙",
    ],
    "Gingivitis": ["bleeding gums when brushing", "swollen gums", "bad breath", "刷牙出血", "牙龈红肿", "牙龈肿痛"],
    "Malocclusion": ["wants a nicer smile", "bite pain", "biting hurts", "咬物痛", "要求矫治", "要求正畸"],
    "Pulpitis": ["pain at night", "throbbing toothache", "自发痛3天", "夜间痛", "三叉神经痛史"],
    "Tooth Loss": ["wants an implant", "loose tooth", "lost filling", "要求镶牙", "牙齿松动", "loss of tooth structure"],
    "Tooth Structure Loss": [
        "sensitive teeth",
        "wants a crown",
        "冷热酸痛",
        "要求做牙冠",
        "牙齿诊断",
        "牙槽骨骨折史",
        "broken appointment",
    ],
}


def named(label: str | None, text: str, language: str | None = None) -> bool:
    is_chinese = any(ord(char) > 0x3400 for char in text) if language is None else language == "zh"
    complaints = {"en": "" if is_chinese else text, "zh": text if is_chinese else ""}
    spans = [(mention.start, mention.end) for mention in normalise(text)[1]] if is_chinese else []
    return names_label(label, complaints, spans, dictionary())


def cases(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, text.strip()) for label, texts in table.items() for text in texts.split("|")]


@pytest.mark.parametrize(("label", "text"), cases(NAMING))
def test_a_complaint_that_names_the_label(label: str, text: str) -> None:
    assert named(label, text)


@pytest.mark.parametrize(("label", "text"), [(label, text) for label, texts in SILENT.items() for text in texts])
def test_a_complaint_that_only_tells_of_it(label: str, text: str) -> None:
    assert not named(label, text)


def test_every_term_of_the_list_names_its_class() -> None:
    """Each Chinese name and synonym, and each English name, of every condition of the six classes."""
    missed = []
    for condition in dictionary().conditions:
        for term in (condition.zh, *condition.synonyms):
            text = f"36{term[1:]}" if term.startswith("#") else term
            spans = [(0, 2)] if term.startswith("#") else []
            if condition.six_class and not names_label(
                condition.six_class, {"en": "", "zh": f"因{text}就诊" if not spans else text}, spans, dictionary()
            ):
                missed.append(term)
        if condition.six_class and not named(condition.six_class, f"Comes for {condition.en.lower()}.", "en"):
            missed.append(condition.en)
    assert missed == []


def test_another_class_does_not_count_and_a_visit_without_a_class_has_nothing_to_name() -> None:
    assert not named("Gingivitis", "decayed tooth")
    assert not named("Pulpitis", "缺牙")
    assert not named(None, "caries, gingivitis, 牙髓炎")
    assert not any(named(label, "") for label in SIX_CLASSES)


def test_either_language_counts_and_english_that_waits_for_review_is_read_as_chinese() -> None:
    terms = dictionary()
    assert names_label("Caries", {"en": "tooth decay", "zh": "牙痛"}, [], terms)
    assert names_label("Caries", {"en": "toothache", "zh": "蛀牙痛"}, [], terms)
    assert names_label("Caries", {"en": "蛀牙痛", "zh": ""}, [], terms)
    assert names_label("Caries", {"en": "", "zh": "cavity"}, [], terms)


def test_a_clinics_own_list_counts() -> None:
    own = AnnotateSettings(
        diagnoses=(TermRow(zh="牙体崩瓷", en="Chipped veneer", synonyms=("掉瓷",)),),
        six_class=(ClassRow(zh="牙体崩瓷", six_class="Tooth Structure Loss"),),
    ).dictionary()
    for english, chinese in (("chipped veneer", ""), ("", "掉瓷一周")):
        complaints = {"en": english, "zh": chinese}
        assert names_label("Tooth Structure Loss", complaints, [], own)
        assert not names_label("Tooth Structure Loss", complaints, [], dictionary())
