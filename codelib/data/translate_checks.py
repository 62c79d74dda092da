"""What is checked of a translated field. A check answers with its name, and the names go into the data.

empty · refusal · chinese_left · fdi_changed · number_changed · placeholder_changed · negation_changed · side_changed · length · identifier
(missing_key, for a text that an answer left out, is found where the answer is read.)

The checks are made for false alarms that cost a retry, not for errors that pass: a field that fails twice keeps its Chinese.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from codelib.data.identifiers import CJK, PLACEHOLDER, contains_identifier, fold
from codelib.data.translate_glossary import read_glossary
from codelib.data.translate_parity import negation_kept, sides_kept

NEEDS_REVIEW = "needs_review"
"""First among the names of a field whose translation failed twice: a person should look, the Chinese stands in the English's place."""

_CHINESE = re.compile(rf"[{CJK}]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?![\d,]))")
_FDI = re.compile(r"(?:[1-4][1-8]|[5-8][1-5])")
_REFUSAL = re.compile(
    r"\b(?:I(?:'|’)?m sorry|I am sorry|I can(?:'|’)?t|I cannot|I(?:'|’)?m unable|I am unable|I(?:'|’)?m not able|I won(?:'|’)?t"
    r"|as an AI|as a(?:n AI)? language model|unable to (?:assist|help|comply|provide)"
    r"|can(?:'|’)?t help with|cannot (?:assist|help) with|against my (?:guidelines|policy))\b",
    re.IGNORECASE,
)
_NUMERAL = re.compile(r"[零〇一二三四五六七八九十百两半]+")
_ROMAN = re.compile(r"[Ⅰ-Ⅻⅰ-ⅻ]|(?<![A-Za-z])[IVX]{1,4}(?![A-Za-z])")
_DIGITS = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {"零": 0, "两": 2}
_ROMAN_VALUES = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "X": 10, "XI": 11, "XII": 12}
MIN_RATIO, MIN_SLACK_CHARS, MAX_RATIO, MAX_SLACK_CHARS = 0.7, 8, 8.0, 32
"""English characters for each Chinese one: dental text lies between 1.5 and 5; outside the band something was lost or made up."""


def is_refusal(english: str) -> bool:
    return bool(_REFUSAL.search(english))


def numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(_THOUSANDS.sub("", fold(text).text)))


def _value(numeral: str) -> int | None:
    """十二 -> 12, 二十 -> 20, 一百 -> 100; None where it is no one number (三四天)."""
    if numeral in _DIGITS:
        return _DIGITS[numeral]
    match = re.fullmatch(r"(?:([一二三四五六七八九两])百)?零?(?:([一二三四五六七八九]?)(十))?([一二三四五六七八九]?)", numeral)
    if not match or not numeral:
        return None
    hundreds, tens, ten, units = match.groups()
    return 100 * _DIGITS.get(hundreds, 0) + (10 * _DIGITS.get(tens, 1) if ten else 0) + _DIGITS.get(units, 0)


def _written_out(chinese: str) -> Counter[str]:
    """Numbers that the Chinese has in characters or Roman numerals, and that the English may have in digits."""
    found: Counter[str] = Counter()
    for match in _NUMERAL.finditer(chinese):
        run = match.group()
        found.update({str(v) for v in (_value(run), *(_value(c) for c in run)) if v is not None})
        if "半" in run:  # 一个半月: 1.5
            found.update(["0.5", "1.5", "2.5", "3.5", "1", "2", "6"])
    for match in _ROMAN.finditer(chinese):
        folded = "".join(_compatible(char) for char in match.group()).upper()
        if folded in _ROMAN_VALUES:
            found.update([str(_ROMAN_VALUES[folded])])
    return found


def _compatible(char: str) -> str:
    """Ⅱ -> II"""
    code = ord(char)
    if not 0x2160 <= code <= 0x217B:
        return char
    return list(_ROMAN_VALUES)[(code - 0x2160) % 16]


def changed_numbers(chinese: str, english: str) -> str | None:
    """``fdi_changed`` or ``number_changed`` where the numbers are not the same ones equally often; what the Chinese writes in
    characters (一周) may stand in digits in the English."""
    asked, given = numbers(chinese), numbers(english)
    lost, added = asked - given, given - asked
    added -= _written_out(chinese)
    if not lost and not added:
        return None
    return "fdi_changed" if any(_FDI.fullmatch(number) for number in (*lost, *added)) else "number_changed"


@lru_cache(maxsize=1)
def _odd_terms() -> tuple[tuple[str, str], ...]:
    """Terms of the glossary in which English denies or names a side and Chinese does not: periapical abscess without sinus. The prompt asks
    for these words, so they may not count against the answer."""
    return tuple((zh, en) for zh, en in read_glossary() if not (negation_kept(zh, en) and sides_kept(zh, en)))


def _without_odd_terms(chinese: str, english: str) -> tuple[str, str]:
    for zh, en in _odd_terms():
        if zh in chinese and en.lower() in english.lower():
            chinese, english = chinese.replace(zh, ""), re.sub(re.escape(en), "", english, flags=re.IGNORECASE)
    return chinese, english


def check(chinese: str, english: str) -> list[str]:
    """Names of the checks that ``english`` fails as the translation of ``chinese``, in a fixed order."""
    if not english.strip():
        return ["empty"]
    failed = []
    if is_refusal(english):
        failed.append("refusal")
    if _CHINESE.search(english):
        failed.append("chinese_left")
    if changed := changed_numbers(chinese, english):
        failed.append(changed)
    if Counter(PLACEHOLDER.findall(chinese)) != Counter(PLACEHOLDER.findall(english)):
        failed.append("placeholder_changed")
    without = _without_odd_terms(chinese, english)
    if not negation_kept(*without):
        failed.append("negation_changed")
    if not sides_kept(*without):
        failed.append("side_changed")
    shortest, longest = MIN_RATIO * len(chinese) - MIN_SLACK_CHARS, MAX_RATIO * len(chinese) + MAX_SLACK_CHARS
    if not shortest <= len(english) <= longest:
        failed.append("length")
    if contains_identifier(english):
        failed.append("identifier")
    return failed
