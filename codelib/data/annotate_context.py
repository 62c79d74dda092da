"""Is a condition present, suspected, negated, past or planned? A small context algorithm in the manner of NegEx.

    segment   what stands between 。；, and line ends: no cue reaches past it
    item      what stands between 、和或 inside a segment

A cue before a condition (排除, 否认, 曾, 可疑) reaches over the items after it, up to a word that turns the sentence (但, 现);
a cue behind it (？, 待排, 史, 治疗后, (-)) reaches the condition of its own item, and back over items joined by 或 和 与 及.

Chapman et al., A simple algorithm for identifying negated findings and diseases in discharge summaries (2001); the cues are ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SEGMENT_END = re.compile(r"[。；;，,！!\n\r]|(?<!\d)\.(?!\d)")
_ITEM_END = re.compile(r"[、/]")
_TURN = re.compile(r"但是?|然而|现(?!病史)|目前|伴有?(?!发)|合并|并发|转为|发展为|继发(?!龋|性龋)|导致|引起")


@dataclass(frozen=True)
class Segment:
    start: int
    end: int


def segments(text: str) -> list[Segment]:
    found, start = [], 0
    for end in SEGMENT_END.finditer(text):
        found.append(Segment(start, end.start()))
        start = end.end()
    return [*found, Segment(start, len(text))]


# Longer cues stand before the shorter ones that they contain: 不能排除 is no 排除, 无法 is no 无.
_BEFORE = re.compile(
    r"(?P<none>无法|无症状的?|无痛性?|无保留价值的?|无功能|无对[颌合]|无充填|非龋性?|非手术|非创伤|非特异|无明显诱因|无诱因|无意中)"
    r"|(?P<suspected>不能完全排除|不能排除|未能排除|不排除|未排除|不能除外|不除外|待排除?|待除外|高度怀疑|怀疑|疑似|可疑|疑诊|疑为|疑|考虑为?|可能为?|倾向于?|似为|拟诊)"
    r"|(?P<negated>已排除|排除|除外|否认|没有|未见|未发现|未查见|未探及|未及|未患|无明显|无|非|不是|不伴|不支持)"
    r"|(?P<past>曾经?|既往|以往|以前|过去|幼时|儿时|小时候|(?:[\d一二两三四五六七八九十半数几多]+余?个?(?:年|月|周|天|日)余?|多年|数年|半年)(?:之?前|以前)|去年|前年|上次|陈旧性?)"
    r"|(?P<planned>拟行?|计划|择期|预防)"
)
_AFTER = re.compile(
    r"(?P<suspected>[？?]|待排除?|待查|待诊|待定|待除外|待确[诊认]|不能排除|不能除外|不除外|不排除|未排除|可能性?大?|可疑|疑似)"
    r"|(?P<negated>除外|已排除|排除|[(（]\s*[-－—]\s*[)）]|阴性)"
    r"|(?P<past>家族史|病史|史|根管治疗术?后|治疗术?后|术后|充填术?后|修复术?后|拔除术?后|已?治愈|已愈|痊愈|已治疗|已充填|已拔除)"
)
_BOTH_WAYS = frozenset(
    [
        "除外",
        "已排除",
        "排除",
        "待排",
        "待排除",
        "待除外",
        "不能排除",
        "不能除外",
        "不除外",
        "不排除",
        "未排除",
        "可能",
        "可疑",
        "疑似",
    ]
)
_AFTER_REACH = 14  # characters between a condition and a cue behind it
_SHORT_CUES = {"无": 8, "非": 2, "疑": 8}  # how far a one-character cue reaches
_PRIORITY = ("negated", "suspected", "past", "planned")


def status_of(text: str, segment: Segment, spans: list[tuple[int, int]], which: int) -> str:
    """The status of the condition ``spans[which]``; ``spans`` are all conditions of the segment, in order."""
    start, _end = spans[which]
    found = set(_cues_before(text, segment, spans, start))
    if behind := _cue_behind(text, segment, spans, which):
        found.add(behind)
    return next((status for status in _PRIORITY if status in found), "present")


def _cues_before(text: str, segment: Segment, spans: list[tuple[int, int]], start: int) -> list[str]:
    begin = segment.start
    for turn in _TURN.finditer(text, segment.start, start):
        begin = turn.end()
    found: list[tuple[int, str]] = []
    if text[begin:start].lstrip(" （(").startswith(("？", "?")):
        found.append((start, "suspected"))
    for cue in _BEFORE.finditer(text, begin, start):
        kind = cue.lastgroup or ""
        inside_condition = any(a < cue.end() and cue.start() < b for a, b in spans)
        reach = _SHORT_CUES.get(cue.group(), len(text))
        listed = sum(
            b - a for a, b in spans if cue.end() <= a and b <= start
        )  # 无牙周炎、龈炎: what is listed between does not count
        if kind == "none" or inside_condition or start - cue.end() - listed > reach:
            continue
        if kind == "suspected" and _is_suffix_of_earlier(text, cue, spans, start):
            continue
        found.append((cue.start(), kind))
    previous = max((b for _, b in spans if b <= start), default=begin)
    own = [kind for at, kind in found if at >= previous]  # 除外牙髓炎后考虑龋病: the nearer cue takes over
    return own or [kind for _, kind in found]


def _is_suffix_of_earlier(text: str, cue: re.Match[str], spans: list[tuple[int, int]], start: int) -> bool:
    """深龋待排、牙髓炎: 待排 stands behind a condition and ends its item, so it says nothing of the next."""
    after_condition = any(b <= cue.start() and cue.start() - b <= 3 for _, b in spans)
    return after_condition and _ITEM_END.search(text, cue.end(), start) is not None


def _cue_behind(text: str, segment: Segment, spans: list[tuple[int, int]], which: int) -> str | None:
    """The first cue behind the condition, or behind those joined to it by 或 和 与 及."""
    end = spans[which][1]
    limit = segment.end
    if which + 1 < len(spans):
        following = spans[which + 1][0]
        joint = text[end:following]
        if re.fullmatch(r"\s*[或和与及]者?\s*", joint):
            return _cue_behind(text, segment, spans, which + 1)
        limit = following
    item = _ITEM_END.search(text, end, limit)
    limit = min(item.start() if item else limit, end + _AFTER_REACH)
    turn = _TURN.search(text, end, limit)
    cue = _AFTER.search(text, end, turn.start() if turn else limit)
    before_next = which + 1 < len(spans) and limit == spans[which + 1][0]
    if cue and before_next and cue.lastgroup != "past" and cue.group() in _BOTH_WAYS:
        return None  # 深龋排除牙髓炎: the cue opens the next condition
    return cue.lastgroup if cue else None
