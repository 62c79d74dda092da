"""What names are made of: the lists behind the name finders, and the questions that all of them ask.

terms/surnames.txt ─ surnames, tokens and syllables of minorities     terms/clinical_allow.txt ─ words of records that are no names
OpenCC             ─ traditional characters as simplified ones, one for one, so that places in a text stay
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from pathlib import Path

import opencc
from pypinyin import Style, pinyin

TERMS = Path(__file__).with_name("terms")
CJK = "\u4e00-\u9fff\u3400-\u4dbf"

# Characters that stand in no given name, or so seldom that a name ends before them.
NOT_GIVEN = frozenset(
    "牙齿齒痛疼龈齦髓炎肿腫胀血压壓糖病症药藥酸咬嚼舌唇颌颊腭腮胃肝肾肺疮溃疡脓癌瘤染龋洞咽喉嗓鼻耳眼头頭颈肩背腰腿脚膝膜骨腔口嘴脸面额颞颏肌肤"
    "的了着过吗呢吧啊与與及或但且把被让使到对給给在是不没未否也就又还最已须需要請请问說说诉訴述称告觉感认肯拒签"
    "岁歲两几半颗个枚次分秒右上下内外侧后後位处此该你我他她它您们谁哪怎什么每另等偶突间出现無无当仍均"
    "吃喝食饮刷漱吸烟酒戴拔补洗镶种诊診查院室疗術术戒做打用送带陪去走骑跌摔撞倒吐因由缺失损折断裂残动热冷黑色片像拥挤干"
    "性型类度级式量值数医醫护員员患者属屬母父爸妈爷奶姐妹弟哥叔姨舅姑妻女孩氏脑肠卒癫痫哮喘"
)
FUNCTION = frozenset(
    "因于在由来诉自要近今昨曾现有已为是称述的和与及行将拟需想复去前约又一二三全双单左反进求感即也尚可从男主既接拿突"
)
ADVERBS = frozenset("曾常易连成向")  # 患者常进甜食: an unknown end is no doubt here
PLAIN_CHARS = ADVERBS | frozenset("于和时全明应平冷从有能解查计都相须空红后来权单双")  # surnames that are also function words


@lru_cache(maxsize=1)
def surnames() -> dict[str, frozenset[str]]:
    """Sections of terms/surnames.txt: common, weak, compound, tokens, syllables."""
    sections: dict[str, set[str]] = {}
    current = ""
    for line in (TERMS / "surnames.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif line and not line.startswith("#"):
            sections.setdefault(current, set()).update(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


@lru_cache(maxsize=1)
def _simplified() -> dict[int, str]:
    """Traditional -> simplified for each character alone; Taiwan's and Hong Kong's forms too."""
    converters = [opencc.OpenCC(variant) for variant in ("t2s", "tw2s", "hk2s")]
    table: dict[int, str] = {}
    for code in (*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000)):
        for converter in converters:
            simple = converter.convert(chr(code))
            if len(simple) == 1 and simple != chr(code):
                table.setdefault(code, simple)
    return table


def simplify(text: str) -> str:
    """趙華 -> 赵华, 電話 -> 电话: character for character, so that places stay."""
    return text if text.isascii() else text.translate(_simplified())


@lru_cache(maxsize=8)
def listed(name: str) -> frozenset[str]:
    """The words of a file of terms/: any number a line, # for remarks."""
    lines = (TERMS / name).read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def allowed_words() -> frozenset[str]:
    """Words of records that must not be read as names."""
    return listed("clinical_allow.txt")


def own_words() -> frozenset[str]:
    """Makes, drugs and findings that look like names; they explain a text, and a name column may hold one of them all the same."""
    return listed("makes_and_drugs.txt")


@lru_cache(maxsize=1)
def surname_pinyin() -> frozenset[str]:
    """Every surname of the lists in pinyin without tones: zhou, ouyang."""
    words = surnames()["common"] | surnames()["compound"]
    return frozenset("".join(s) for word in words for s in product(*pinyin(word, style=Style.NORMAL, heteronym=True)))


def allowed_at(text: str, start: int) -> bool:
    """A clinical word starts here. Words are two to five characters long."""
    words = allowed_words()
    return any(text[start : start + size] in words for size in (2, 3, 4, 5))


def surname_length(text: str, start: int) -> int:
    """Length of the surname at ``start``: 2, 1, or 0 where there is none."""
    if text[start : start + 2] in surnames()["compound"]:
        return 2
    first = text[start : start + 1]
    return 1 if first and (first in surnames()["common"] or first in surnames()["weak"]) else 0


def is_weak(text: str, start: int) -> bool:
    """The surname at ``start`` is rather an everyday or clinical word."""
    return text[start : start + 1] in surnames()["weak"]


def may_be_given(char: str) -> bool:
    """The character can stand in a given name."""
    return bool(char) and "\u3400" <= char <= "\u9fff" and char not in NOT_GIVEN
