"""Text → tokens, for the tooth grammar: one pass, every character in exactly one token, spans in the text as written.

    "PD 3-4mm，[6][0][0][67]"  ->  LETTERS SPACE NUMBER RANGE NUMBER LETTERS SEP OPEN NUMBER CLOSE …

A number that is a date, time, decimal, fraction or long run of digits becomes one QUANTITY token here, so that the grammar
never sees its parts. Matching is on a folded copy of the same length (full-width forms, a few traditional characters).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from codelib.dental.teeth_fdi import FDI
from codelib.dental.teeth_guards import measured_before, unit_follows
from codelib.dental.teeth_words import CIRCLED, ENGLISH, ENGLISH_KINDS, GLYPHS, ROMAN_CHARS, VOCABULARY, Vocabulary

_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SPACES = frozenset(" \t\r\n\u00a0\u2002\u2003\u2009\u200b\ufeff")
_LAST_SIGN = "\u2e7f"  # digits, letters, Roman numerals, glyphs and drawn lines stand before it, Chinese characters behind
_MAX_DIGITS = 8  # as many as a quadrant has teeth


class Token(NamedTuple):
    kind: str
    text: str  # folded
    start: int
    end: int
    value: Any = None


def tokenise(folded: str, vocabulary: Vocabulary = VOCABULARY) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(folded):
        char = folded[at]
        if char > _LAST_SIGN and char not in vocabulary and char not in _SPACES:  # most of a text
            tokens.append(Token("OTHER", char, at, at + 1))
            at += 1
            continue
        new = _tokens_at(folded, at, vocabulary)
        tokens += new
        at = new[-1].end
    return tokens


def _run(folded: str, at: int, alphabet: frozenset[str]) -> int:
    while at < len(folded) and folded[at] in alphabet:
        at += 1
    return at


def _tokens_at(folded: str, at: int, vocabulary: Vocabulary) -> list[Token]:
    char = folded[at]
    if char in _SPACES:
        end = _run(folded, at, _SPACES)
        newline = "\n" in folded[at:end]
        return [Token("NEWLINE" if newline else "SPACE", folded[at:end], at, end)]
    for word, kind, value in vocabulary.get(char, ()):
        if folded.startswith(word, at):
            return [Token(kind, word, at, at + len(word), value)]
    if char in _DIGITS:
        return _number(folded, at)
    if char in _LETTERS:
        if (english := ENGLISH.match(folded, at)) and english.lastgroup:
            kind, value = ENGLISH_KINDS[english.lastgroup]
            return [Token(kind, english.group(), at, english.end(), value)]
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
    after = folded[end : end + 1]
    if after in tuple("复来就初") and int(texts[1]) <= 31:  # 5.16复查 is a day
        return False
    words_follow = after > "\u2e7f" or after == "、" or "A" <= after <= "Z"  # 3.16 alone is a decimal
    return starts and words_follow and not unit_follows(folded, end) and not measured_before(folded, start)
