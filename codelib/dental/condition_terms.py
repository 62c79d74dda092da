"""The diagnosis dictionary: the terms of `codelib.dental.condition_lists`, folded, and the longest match in a folded text.

    安氏Ⅱ類錯𬌗  ->  folded 安氏II类错合  ->  安氏II类错牙合, K07.2, characters 0 to 6 of the text as written

Folding lets one entry match every spelling: full-width forms, Roman numerals, traditional characters, 牙合 𬌗 合 颌, blanks,
and tooth numbers between the words of a term.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from codelib.dental.condition_lists import ClassRow, Condition, TermRow, conditions, no_conditions

_ROMAN = {"Ⅰ": "I", "Ⅱ": "II", "Ⅲ": "III", "Ⅳ": "IV", "ⅰ": "I", "ⅱ": "II", "ⅲ": "III", "ⅳ": "IV"}
_TRADITIONAL = dict(
    zip(
        "齲齒齦頜顎腫膿癥殘壞潰瘍斷損擁擠蓋開鎖對類錯無滯發復複週邊緣壓脫鈣變體狀蝕縱隱質過環異難額顳關節亂繫帶經鵝綜乾與後間陽陰線顆齊區診內點遠鄰淺療術見認",
        "龋齿龈颌颌肿脓症残坏溃疡断损拥挤盖开锁对类错无滞发复复周边缘压脱钙变体状蚀纵隐质过环异难额颞关节乱系带经鹅综干与后间阳阴线颗齐区诊内点远邻浅疗术见认",
        strict=True,
    )
)
_CHARS = {
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **_TRADITIONAL,
    **_ROMAN,
    "𬌗": "合",
    "粘": "黏",
}
_BLANKS = frozenset(" \t\u3000\u00a0\u200b")


class _Folding(dict[str, str]):
    """A character -> what stands for it in a folded text; filled as characters are met."""

    def __missing__(self, char: str) -> str:
        # 错颌 is 错牙合; 颌骨 stays one word, for the dictionary is folded the same way
        folded = "".join("合" if c == "颌" else c for c in _CHARS.get(char, char).upper() if c not in _BLANKS)
        self[char] = folded
        return folded


_FOLDING = _Folding()


@dataclass(frozen=True)
class Match:
    condition: Condition
    start: int  # in the text as written
    end: int


@dataclass(frozen=True)
class Folded:
    """A folded text; ``starts[i]`` and ``ends[i]`` are the span of folded character i in the text as written."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    after_tooth: frozenset[int]  # folded positions that directly follow a tooth number


def fold(text: str, teeth: Iterable[tuple[int, int]] = ()) -> Folded:
    """The text for matching, without blanks and without the spans of ``teeth``."""
    chars: list[str] = []
    spans: list[tuple[int, int]] = []
    after: set[int] = set()
    tooth_at = dict(teeth)
    at = 0
    while at < len(text):
        if at in tooth_at:
            after.add(len(chars))
            at = max(tooth_at[at], at + 1)
            continue
        for char in _FOLDING[text[at]]:
            start = at
            if char == "合" and chars and chars[-1] == "牙":
                chars.pop()
                start = spans.pop()[0]
            chars.append(char)
            spans.append((start, at + 1))
        at += 1
    return Folded("".join(chars), tuple(s for s, _ in spans), tuple(e for _, e in spans), frozenset(after))


# Words of extent and degree that clinics write inside a name: 慢性重度牙周炎, 牙龈重度退缩
_EXTENTS = (
    "轻度", "中度", "重度", "轻中度", "中重度", "局限型", "局限性", "广泛型", "广泛性", "弥漫性", "弥漫型", "单纯性",
)  # fmt: skip
_DEGREES = (
    "轻度", "中度", "重度", "轻微", "明显", "严重", "局部", "广泛", "大面积", "水平型", "水平性", "垂直型", "垂直性",
)  # fmt: skip
_HAVE_EXTENT = ("慢性", "急性")
_HAVE_DEGREE = (
    "吸收", "萎缩", "退缩", "增生", "磨耗", "磨损", "缺损", "拥挤", "松动",
    "着色", "变色", "前突", "后缩", "偏斜", "扭转", "脱位", "不齐", "钙化",
)  # fmt: skip


def _graded(term: str) -> Iterator[str]:
    """A term with a word of extent or degree inside it."""
    if term.startswith(_HAVE_EXTENT):
        yield from (term[:2] + extent + term[2:] for extent in _EXTENTS)
    if term.endswith(_HAVE_DEGREE) and len(term) > 3:
        yield from (term[:-2] + degree + term[-2:] for degree in _DEGREES)


class Dictionary:
    """The conditions to look for, indexed by the first two folded characters of their terms."""

    def __init__(self, conditions: Iterable[Condition]) -> None:
        self.conditions = tuple(conditions)
        terms: dict[tuple[str, bool], Condition | None] = {(fold(term).text, False): None for term in no_conditions()}
        for condition in self.conditions:
            for term in (condition.zh, *condition.synonyms, *condition.names_en):
                terms.setdefault((fold(term.lstrip("#")).text, term.startswith("#")), condition)
        for (term, needs_tooth), found in list(terms.items()):
            for graded in _graded(term) if found is not None else ():
                terms.setdefault((graded, needs_tooth), found)
        self._index: dict[str, list[tuple[str, bool, Condition | None]]] = {}
        for (term, needs_tooth), found in sorted(terms.items(), key=lambda entry: (-len(entry[0][0]), entry[0])):
            self._index.setdefault(term[:2], []).append((term, needs_tooth, found))
        self._starts = frozenset(start[0] for start in self._index)
        for start, entries in self._index.items():
            if len(start) == 2:
                entries += self._index.get(start[0], [])  # 龋: the terms of one character come last

    def find(self, text: str, teeth: Iterable[tuple[int, int]] = ()) -> list[Match]:
        """The conditions named in ``text``, left to right, the longest term at each place; ``teeth``: spans of tooth numbers.

        >>> [m.condition.zh for m in dictionary().find("慢性牙髓炎急性发作，牙龈炎")]
        ['慢性牙髓炎急性发作', '牙龈炎']
        """
        folded = fold(text, teeth)
        matches: list[Match] = []
        at = 0
        while at < len(folded.text):
            if folded.text[at] not in self._starts:
                at += 1
                continue
            term, condition = self._at(folded, at)
            if condition is not None:
                matches.append(Match(condition, folded.starts[at], folded.ends[at + len(term) - 1]))
            at += len(term) or 1
        return matches

    def _at(self, folded: Folded, at: int) -> tuple[str, Condition | None]:
        candidates = self._index.get(folded.text[at : at + 2]) or self._index.get(folded.text[at])
        for term, needs_tooth, condition in candidates or ():
            if (
                folded.text.startswith(term, at)
                and (not needs_tooth or at in folded.after_tooth)
                and not _inside_word(folded, at, term)
            ):
                return term, condition
        return "", None


@cache
def dictionary(terms: tuple[TermRow, ...] = (), classes: tuple[ClassRow, ...] = ()) -> Dictionary:
    """The built-in list, with a clinic's lists over it."""
    return Dictionary(conditions(terms, classes))


def _inside_word(folded: Folded, at: int, term: str) -> bool:
    """Whether a Latin abbreviation (TMD) stands inside a longer Latin word, or 安氏I类 before a further I."""
    text, end = folded.text, at + len(term)
    left_joined = at > 0 and folded.ends[at - 1] == folded.starts[at]  # a blank was between: OLP vs
    right_joined = end < len(text) and folded.ends[end - 1] == folded.starts[end]
    before, after = text[at - 1] if left_joined else "", text[end] if right_joined else ""
    left = term[0].isascii() and term[0].isalnum() and before.isascii() and before.isalnum()
    return left or (term[-1].isascii() and term[-1].isalpha() and after.isascii() and after.isalpha())
