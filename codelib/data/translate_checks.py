"""What is checked of a translated field. A check answers with its name, and the names go into the data.

number_changed · fdi_changed · placeholder_changed · chinese_left · length · refusal · identifier · empty
"""

from __future__ import annotations

import re
from collections import Counter

from codelib.data.identifiers import CJK, PLACEHOLDER, contains_identifier, fold

_CHINESE = re.compile(rf"[{CJK}]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FDI = re.compile(r"(?<![\d.])(?:[1-4][1-8]|[5-8][1-5])(?![\d.])")
_REFUSAL = re.compile(
    r"\b(?:I(?:'|’)?m sorry|I am sorry|I can(?:'|’)?t|I cannot|I(?:'|’)?m unable|I am unable"
    r"|as an AI|unable to (?:assist|help|comply)"
    r"|can(?:'|’)?t help with)\b",
    re.IGNORECASE,
)
_NUMERALS = re.compile(r"[一二三四五六七八九十两半]")
MIN_RATIO, MAX_RATIO, SLACK_CHARS = 0.5, 8.0, 24
"""English characters for each Chinese one: dental text lies between 1.5 and 5; outside the band something was lost or made up."""


def numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(fold(text).text))


def _numbers_kept(chinese: str, english: str) -> bool:
    """Every number of the Chinese is in the English; more only where the Chinese has a numeral in characters (一周, 1 week)."""
    asked, given = numbers(chinese), numbers(english)
    added = sum((given - asked).values())
    return not asked - given and added <= len(_NUMERALS.findall(chinese))


def check(chinese: str, english: str) -> list[str]:
    """Names of the checks that ``english`` fails as the translation of ``chinese``, in a fixed order."""
    if not english.strip():
        return ["empty"]
    failed = []
    if _REFUSAL.search(english):
        failed.append("refusal")
    if _CHINESE.search(english):
        failed.append("chinese_left")
    if not _numbers_kept(chinese, english):
        asked, given = (Counter(_FDI.findall(fold(text).text)) for text in (chinese, english))
        failed.append("fdi_changed" if asked - given else "number_changed")
    if Counter(PLACEHOLDER.findall(chinese)) != Counter(PLACEHOLDER.findall(english)):
        failed.append("placeholder_changed")
    if not MIN_RATIO * len(chinese) - SLACK_CHARS <= len(english) <= MAX_RATIO * len(chinese) + SLACK_CHARS:
        failed.append("length")
    if contains_identifier(english):
        failed.append("identifier")
    return failed
