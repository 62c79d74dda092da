"""The eight sections of a report, found by their names in English and Chinese, as the release writes them and as models do.

    "Examination: 16 …", "**Examination**\\n16 …", "## 2. Examination (检查)", "检查：16 …", '"Examination": "16 …"', "| Examination | 16 … |"

A heading stands at the start of a line; inside a line only where its name, capitalised, follows the end of a sentence and has a colon. A
section is there where something stands under its heading, "Not recorded." included: that is what the release writes for an empty field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NAMES = Path(__file__).parent / "section_names.json"
FINDINGS = ("Examination", "Radiographs Examination", "Diagnosis")
"""The sections that say what the mouth is like; the others tell history, plans and advice."""


@cache
def _headings() -> tuple[re.Pattern[str], dict[str, str]]:
    """What opens a section, and the section of each name (in small letters)."""
    names: dict[str, list[str]] = json.loads(_NAMES.read_text(encoding="utf-8"))
    owner = {name.casefold(): section for section, others in names.items() for name in (section, *others)}
    every = "|".join(re.escape(name) for name in sorted(owner, key=lambda name: (-len(name), name)))
    # the names that the release writes may also stand inside a line; a looser one there would be part of a sentence
    known = {name for section, others in names.items() for name in (section, next(n for n in others if not n.isascii()))}
    exact = "|".join(re.escape(name) for name in sorted(known, key=lambda name: (-len(name), name)))
    # possessive: a model that repeats blanks or marks for ever is read in one pass
    before = (
        r"^[ \t]*+(?:(?:[#>|{*_\-•·\"'“\[【(]++|<\w{1,6}>)[ \t]*+)*+"
        r"(?:\(?[0-9一二三四五六七八]{1,2}[.)、．:：)][ \t]*+)?(?:[*_\"'“\[【]++[ \t]*+)*+"
    )
    bracket = r"(?:[ \t]*+[(（][^()（）\n]{1,40}[)）])?"
    mark = r"(?:[*_\"'”\]】#]|</\w{1,6}>)*+[ \t]*+"
    pattern = re.compile(
        rf"{before}(?P<line>(?i:{every})){mark}{bracket}{mark}(?:[:：|]|(?<=】)|-(?=[ \t])|–|—|$)"
        rf"|(?<=[.。;；!！,，{{])[ \t]*[\"'*]*(?P<inside>{exact})[\"'*]*[ \t]*[:：]",
        re.MULTILINE,
    )
    return pattern, owner


@cache
def section_names() -> tuple[str, ...]:
    """The eight sections in the report's order, by their English names."""
    return tuple(json.loads(_NAMES.read_text(encoding="utf-8")))


def sections_of(text: str) -> dict[str, str]:
    """Section -> what stands under it, for those that are there; one that is written twice holds both."""
    pattern, owner = _headings()
    found = list(pattern.finditer(text))
    ends = [*(match.start() for match in found), len(text)][1:]
    sections: dict[str, str] = {}
    for match, end in zip(found, ends, strict=True):
        name = owner[(match["line"] or match["inside"]).casefold()]
        body = text[match.end() : end].strip(" \t\n*_#|\"',，{}[]`-")
        if any(character.isalnum() for character in body):
            sections[name] = f"{sections[name]}\n{body}" if name in sections else body
    return sections


@dataclass(frozen=True)
class Coverage:
    """``rows``: of each report the share of its reference's sections that it has; ``each``: section -> share of the reports whose reference
    has it; ``asked``: section -> how many those are."""

    rows: tuple[float, ...]
    each: dict[str, float]
    asked: dict[str, int]


def coverage(references: Sequence[str], answers: Sequence[str]) -> Coverage:
    """Which of the sections that a reference has its answer has. A reference without any of the eight asks for all eight."""
    asked = dict.fromkeys(section_names(), 0)
    held = dict(asked)
    rows = []
    for reference, answer in zip(references, answers, strict=True):
        wanted = tuple(sections_of(reference)) or section_names()
        there = sections_of(answer).keys() & set(wanted)
        for name in wanted:
            asked[name] += 1
            held[name] += name in there
        rows.append(len(there) / len(wanted))
    asked = {name: count for name, count in asked.items() if count}
    return Coverage(tuple(rows), {name: held[name] / count for name, count in asked.items()}, asked)
