"""Whether a translation says no where the Chinese says no, and left where it says left.

Both languages are cut into clauses. Where they have equally many, clause answers to clause; else sentence to sentence; else the whole text to
the whole text: English joins and splits clauses freely, and a comparison across the wrong borders would only raise false alarms.

A cue is strong or weak. A strong one (无, 未见, 否认; no, not, denies) must have an answer of either strength on the other side. A weak one
(不全, 缺失, 禁; incomplete, absent, avoid) satisfies a strong one and asks for nothing itself: 不全 is "incomplete", "partial"
or "not complete", and all three are right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLAUSE = re.compile(r"[，。；！？!?;\n]|[,.](?!\d)|(?<!\d)\.(?=\d)")
_SENTENCE = re.compile(r"[。；！？!?;\n]|\.(?!\d)")

# 不良, 不适: words in which 不 negates nothing that English must negate; 无牙颌 is "edentulous"
_LEXICAL = re.compile(
    r"不[良适齐全足整正均平明清当佳稳洁同仅但锈断错透调利便宜规对协舒可易能等够]|无[牙髓菌痛名色水砟缝害]|非[常特典]|未来|除非|是否|能否|可否|有无|与否|无论|不论"
    r"|没收|莫[氏尔]|无[意数]|绝非|不由|不得不"
)
_ZH_STRONG = re.compile(r"[无無未没沒不非]|否认|否認|阴性|陰性|排除")
_ZH_WEAK = re.compile(r"[无無未没沒不非否勿忌禁免除阴陰缺失丧拒别欠少莫难停止脱]|[(（]\s?[-－—–]\s?[)）]|(?<!\d)[-－—–](?!\d)")
_EN_STRONG = re.compile(
    r"\b(?:no|not|none|nor|neither|never|without|denie[sd]|deny|denying|denial|negative|cannot|nothing|nil|nobody)\b|n['’]t\b",
    re.IGNORECASE,
)
_EN_WEAK = re.compile(
    r"\bun(?!der|it|il|iv|til|ion|iq|iform)\w{3,}|\b(?:asymptom|afebril|asymmetr|edentul|incomplet|insuffic|inadequa|indistinct|invisib|instab"
    r"|incompet|inact|intact|ineffect|incorrect|inappropr|insignific|immob|imperfect|immatur|impossib|improper|irregul|irrevers|discontinu"
    r"|disappear|absen|lack|fail|exclu|avoid|refrain|refus|declin|prohibit|contraindic|except|resolv)\w*|\b\w+less\b|\bnon[- ]?\w{3,}"
    r"|\b(?:free|missing|loss|lost|poor|few|little|rarely|hardly|stop|stopped|normal|instead|rather than|rul(?:e|ed|ing) out|forbidden)\b",
    re.IGNORECASE,
)

_LEFT_RIGHT = re.compile(r"左右(?!侧|两|双|对称|上|下|颌|颊|磨|前|后|第|尖|切|智)")  # 10天左右: about
# 上 and 下 are sides before or behind a part of the mouth; 上次, 以上, 治疗下, 下午 are none
_PART = "颌|颔|頜|頷|牙|齿|齒|龈|齦|唇|前|后|後|左|右|半|第|中切|侧切|尖牙|磨牙|智|列|两|双|义齿|总义"
_ZH_SIDES = {
    "left": re.compile(r"左"),
    "right": re.compile(r"右"),
    "upper": re.compile(rf"上(?=下|腭|顎|{_PART})(?!下午|前天|[后後][天期])|(?<=[左右])上|[颌頜]上"),
    "lower": re.compile(rf"(?<![颞顳])下(?={_PART})(?!前天|[后後][天期]|半[年月天身])|(?<=[左右上])下|[颌颔頜頷]下"),
}
_EN_SIDES = {
    # left as a verb, right as an adverb are none
    "left": re.compile(
        r"(?<!\bis )(?<!\bwas )(?<!\bwere )(?<!\bare )(?<!\bbe )(?<!\bbeen )\bleft\b"
        r"(?! (?:untreated|in place|in situ|behind|unfilled|open|alone|over|out|as|to|for|by|with)\b)",
        re.IGNORECASE,
    ),
    "right": re.compile(r"\bright\b(?!-?angle)(?! (?:away|now|after|before|angle|amount|time)\b)", re.IGNORECASE),
    "upper": re.compile(r"\b(?:upper|superior)\b|maxill", re.IGNORECASE),
    "lower": re.compile(r"\b(?:lower|inferior)\b|(?<!temporo)(?<!temporo-)mandib", re.IGNORECASE),
}
_BOTH = re.compile(r"双侧|两侧|雙側|兩側|双|两|\bbilateral|\bboth\b|\beither\b|\beach side\b", re.IGNORECASE)
# 上下: a pair of jaws or lips; "both jaws", "intermaxillary" and "bimaxillary" are as good
_JAWS = re.compile(r"上下|双颌|雙頜|\bjaws?\b|\barch(?:es)?\b|occlu|interm|bimax|全口|full[ -]mouth|咬合|颌间", re.IGNORECASE)


def _pieces(text: str, border: re.Pattern[str]) -> list[str]:
    return [piece for piece in border.split(text) if piece.strip()]


def aligned(chinese: str, english: str) -> Iterator[tuple[str, str]]:
    """Pairs of pieces that answer to each other."""
    for border in (_CLAUSE, _SENTENCE):
        left, right = _pieces(chinese, border), _pieces(english, border)
        if len(left) == len(right):
            yield from zip(left, right, strict=True)
            return
    yield chinese, english


def _negation_kept(chinese: str, english: str) -> bool:
    bare = _LEXICAL.sub(" ", chinese)
    if _ZH_STRONG.search(bare) and not (_EN_STRONG.search(english) or _EN_WEAK.search(english)):
        return False
    return not (_EN_STRONG.search(english) and not _ZH_WEAK.search(chinese))


def _sides_kept(chinese: str, english: str) -> bool:
    chinese = _LEFT_RIGHT.sub(" ", chinese)
    both = bool(_BOTH.search(chinese) or _BOTH.search(english))
    jaws = bool(_JAWS.search(chinese) or _JAWS.search(english))
    for side, zh in _ZH_SIDES.items():
        if bool(zh.search(chinese)) == bool(_EN_SIDES[side].search(english)):
            continue
        if (both and side in ("left", "right")) or (jaws and side in ("upper", "lower")):
            continue
        return False
    return both or _in_order(chinese, english)


def _in_order(chinese: str, english: str) -> bool:
    """Left and right in the same order: a swap has the same words."""
    orders = []
    for text, sides in ((chinese, _ZH_SIDES), (english, _EN_SIDES)):
        found = sorted((m.start(), side) for side in ("left", "right") for m in sides[side].finditer(text))
        orders.append([side for i, (_, side) in enumerate(found) if i == 0 or found[i - 1][1] != side])
    return orders[0] == orders[1]


def negation_kept(chinese: str, english: str) -> bool:
    """No negation of the Chinese is lost in the English, and none is added.

    >>> negation_kept("无叩痛，松动Ⅰ度", "percussion pain, grade I mobility")
    False
    """
    return all(_negation_kept(*pair) for pair in aligned(chinese, english))


def sides_kept(chinese: str, english: str) -> bool:
    """Left, right, upper and lower stand on both sides, left and right in the same order.

    >>> sides_kept("左下后牙疼痛", "pain in the lower right posterior teeth")
    False
    """
    return all(_sides_kept(*pair) for pair in aligned(chinese, english))
