"""Text → tokens, for the tooth grammar: one pass, every character in exactly one token, spans in the text as written.

    "PD 3-4mm，[6][0][0][67]"  ->  LETTERS SPACE NUMBER RANGE NUMBER LETTERS SEP OPEN NUMBER CLOSE …

A number that is a date, time, decimal, fraction or long run of digits becomes one QUANTITY token here, so that the grammar
never sees its parts. Matching is on a folded copy of the same length (full-width forms, a few traditional characters).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from codelib.data.teeth_fdi import FDI
from codelib.data.teeth_words import (
    CIRCLED,
    DEGREES,
    FOLD,
    GLYPHS,
    INSTRUMENT_AFTER,
    INSTRUMENT_BEFORE,
    MEASURED,
    MEASURED_LATIN,
    ROMAN_CHARS,
    UNITS,
    VOCABULARY,
    is_latin_unit,
)

_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SPACES = frozenset(" \t\r\n\u00a0\u2002\u2003\u2009\u200b\ufeff")
_MAX_DIGITS = 8  # as many as a quadrant has teeth
_CLAUSE_END = frozenset("。；;，,\n！!？?")


class Token(NamedTuple):
    kind: str
    text: str  # folded
    start: int
    end: int
    value: Any = None


def fold(text: str) -> str:
    """The text for matching, character for character."""
    return "".join(FOLD.get(char, char) for char in text)


def tokenise(folded: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(folded):
        new = _tokens_at(folded, at)
        tokens += new
        at = new[-1].end
    return tokens


def _run(folded: str, at: int, alphabet: frozenset[str]) -> int:
    while at < len(folded) and folded[at] in alphabet:
        at += 1
    return at


def _tokens_at(folded: str, at: int) -> list[Token]:
    char = folded[at]
    if char in _SPACES:
        end = _run(folded, at, _SPACES)
        newline = "\n" in folded[at:end]
        return [Token("NEWLINE" if newline else "SPACE", folded[at:end], at, end)]
    for word, kind, value in VOCABULARY.get(char, ()):
        if folded.startswith(word, at):
            return [Token(kind, word, at, at + len(word), value)]
    if char in _DIGITS:
        return _number(folded, at)
    if char in _LETTERS:
        end = _run(folded, at, _LETTERS)
        return [Token("LETTERS", folded[at:end], at, end)]
    for kind, table in (("ROMAN", ROMAN_CHARS), ("CIRCLED", CIRCLED), ("GLYPH", GLYPHS)):
        if char in table:
            return [Token(kind, char, at, at + 1, table[char])]
    return [Token("OTHER", char, at, at + 1)]


def _number(folded: str, at: int) -> list[Token]:
    """A number alone, a pair such as 13-23 or 36/37, or a QUANTITY: a chain of numbers that no tooth is written as."""
    parts, joints = [(at, _run(folded, at, _DIGITS))], []
    while (end := parts[-1][1]) + 1 < len(folded) and folded[end] in "-/.:," and folded[end + 1] in _DIGITS:
        if folded[end] == "," and _run(folded, end + 1, _DIGITS) - end != 4:
            break  # a list, not the comma of thousands
        joints.append(folded[end])
        parts.append((end + 1, _run(folded, end + 1, _DIGITS)))
    texts = [folded[a:b] for a, b in parts]
    if len(parts) == 1 and len(texts[0]) <= _MAX_DIGITS:
        return [Token("NUMBER", texts[0], *parts[0])]
    if not _is_numbered(folded, texts, joints, parts) and _is_quantity(texts, joints):
        return [Token("QUANTITY", folded[at : parts[-1][1]], at, parts[-1][1])]
    tokens = [Token("NUMBER", texts[0], *parts[0])]
    for joint, text, (a, b) in zip(joints, texts[1:], parts[1:], strict=True):
        kind, value = {"-": ("RANGE", "-"), "/": ("SEP", "/")}.get(joint, ("OTHER", None))
        tokens += [Token(kind, joint, a - 1, a, value), Token("NUMBER", text, a, b)]
    return tokens


def _is_quantity(texts: list[str], joints: list[str]) -> bool:
    if set(joints) == {"-"}:
        return len(texts) > 2 or any(len(text) > 3 for text in texts)
    if set(joints) == {"/"}:
        return not all(text in FDI for text in texts)
    if joints == [":"]:
        return not (texts[0] in FDI and int(texts[0]) > 23)  # 36：11冠折 is no time
    return True


def _is_numbered(folded: str, texts: list[str], joints: list[str], parts: list[tuple[int, int]]) -> bool:
    """Whether ``1.36`` is item 1 of a list and tooth 36: at the start of a clause, with no unit behind."""
    if joints != ["."] or len(texts[0]) != 1 or texts[0] == "0" or texts[1] not in FDI:
        return False
    start, end = parts[0][0], parts[-1][1]
    starts = start == 0 or folded[start - 1] in "\n;。 "
    words_follow = folded[end : end + 1] > "\u2e7f" or folded[end : end + 1] == "、"  # 3.16 alone is a decimal
    return starts and words_follow and not unit_follows(folded, end) and not measured_before(folded, start)


def unit_follows(folded: str, at: int) -> bool:
    """Whether what stands at ``at`` makes the number before it a quantity: 岁, mm, %, 天 (but not 天然), …"""
    at = _run(folded, at, frozenset(" \t\u00a0"))
    if at >= len(folded):
        return False
    char = folded[at]
    if char in "%‰°º℃℉×*":
        return True
    if char in "μµ㎜㎝㎎㎏㎖㏄" or (char in "/" and folded[at + 1 : at + 2] in ("分", "次", "天", "日")):
        return True
    if char in _LETTERS:
        word = folded[at : _run(folded, at, _LETTERS)]
        return is_latin_unit(word) or (word in ("x", "X") and folded[at + 1 : at + 2] in _DIGITS)
    if char not in UNITS:
        return False
    return not any(folded.startswith(word, at) for word in UNITS[char].split())


def measured_before(folded: str, at: int) -> bool:
    """Whether a word just before ``at`` says that the number measures something: PD 3, 年龄36, 约12."""
    before = folded[max(0, at - 10) : at].rstrip(" :")
    if not before:
        return False
    if before[-1] in "±=<>≤≥×*$¥€@\\_≈＜＞":
        return True
    letters = len(before)
    while letters and before[letters - 1] in _LETTERS:
        letters -= 1
    if before[letters:].upper() in MEASURED_LATIN or (before[-1] == "." and before[-3:-1].upper() == "NO"):
        return True
    return any(before.endswith(word) for word in MEASURED)


def instrument_context(folded: str, start: int, end: int) -> bool:
    """Whether the number at ``start``..``end`` is the size of a file, point, needle or blade: 主尖25#, 15#K锉, 预备至25号."""
    after = folded[end : end + 6].lstrip(" #号")
    if any(after.startswith(word) for word in INSTRUMENT_AFTER):
        return True
    clause = start
    while clause and start - clause < 12 and folded[clause - 1] not in _CLAUSE_END:
        clause -= 1
    return any(word in folded[clause:start] for word in INSTRUMENT_BEFORE)


def grade_follows(folded: str, at: int) -> bool:
    """Whether a Roman numeral or letter that ends at ``at`` is a grade or a class."""
    rest = folded[at : at + 3].lstrip(" ")
    return rest[:1] in tuple(DEGREES) and rest[:2] not in ("分叉", "分裂")
