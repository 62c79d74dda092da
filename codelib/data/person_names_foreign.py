"""Names without a Chinese surname: Tibetan, Mongolian, Uyghur and transcribed ones, by their dot, their parts or their syllables.

买买提·艾力 · 扎西次仁 · 阿依古丽 · 玛利亚·费尔南德斯
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from codelib.data.person_names_lists import CJK, NOT_GIVEN, allowed_at, allowed_words, own_words, surnames
from codelib.data.person_names_roles import LEFT_FUNCTION, PREFIX, NameSpan

DOTTED = re.compile(rf"[{CJK}]{{1,8}}(?:[·•・‧∙●][{CJK}]{{1,8}}){{1,4}}")


def foreign_length(text: str, start: int) -> int:
    """Length of a name without a surname at ``start``, by its syllables; 0 where there is none."""
    span = foreign_at(text, start)
    return span.end - start if span else 0


def foreign_at(text: str, start: int) -> NameSpan | None:
    """Names without a surname: known Tibetan, Mongolian and Uyghur names, or four and more syllables of a transcription."""
    run = start
    while run < min(len(text), start + 10) and text[run] in surnames()["syllables"]:
        run += 1
    tokens = surnames()["tokens"]
    for size in (4, 3, 2):
        if text[start : start + size] in tokens:
            end = max(run, start + size)
            while any(text[end : end + more] in tokens for more in (2, 3)):
                end += 3 if text[end : end + 3] in tokens else 2
            second = foreign_at(text, end + 1) if text[end : end + 1] == " " else None
            return NameSpan(start, second.end if second else end, True)
    if any(text[start : start + size] in own_words() for size in (3, 4, 5)):
        return None  # 维拉帕米
    return NameSpan(start, run, True) if run - start >= 4 else None


def _ends(char: str) -> bool:
    """The character stands in no name; 吐 does in 吐尔逊."""
    return char in NOT_GIVEN and char not in surnames()["syllables"]


def dotted_names(text: str) -> Iterator[NameSpan]:
    """买买提·艾力 anywhere, without the words around it; a dot between clinical words (牙周·牙髓) is none."""
    for match in DOTTED.finditer(text):
        dot, last = text.index("·", match.start()), text.rindex("·", match.start(), match.end())
        start = _after_words(text, match.start(), dot)
        end = next(
            (i for i in range(last + 1, match.end()) if _ends(text[i]) or (i > last + 1 and allowed_at(text, i))),
            match.end(),
        )
        inner = text[dot:last]
        if start < dot and last + 1 < end and not any(map(_ends, inner)) and not allowed_at(text, last + 1):
            yield NameSpan(start, end, True)


def _after_words(text: str, start: int, end: int) -> int:
    """Where the last stretch before ``end`` begins that is neither a role nor a word of records nor a character of no name."""
    begin = start
    for at in range(start, end):
        size = next((n for n in (5, 4, 3, 2) if text[at : at + n] in allowed_words() and at + n <= end), 0)
        if _ends(text[at]) or text[at] in LEFT_FUNCTION:
            size = max(size, 1)
        if size and at + size > begin:
            begin = at + size
    roles = [role.end() for role in PREFIX.finditer(text, start, end)]
    return max([begin, *roles])


def foreign_anywhere(text: str) -> Iterator[NameSpan]:
    """扎西次仁 with nothing before it that gives it away: two known parts in a row, or one of three and more characters (a doubt)."""
    tokens = surnames()["tokens"]
    at = 0
    while at < len(text) - 2:
        size = next((n for n in (4, 3, 2) if text[at : at + n] in tokens), 0)
        following = next((n for n in (4, 3, 2) if text[at + size : at + size + n] in tokens), 0) if size else 0
        if following or size > 2:
            yield NameSpan(at, at + size + following, bool(following))
        at += size + following or 1
