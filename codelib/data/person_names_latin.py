"""Names in Latin letters: pinyin pairs, names after a title or a label.

Zhou Yan · ZHOU YAN · Zhou, Yan · Dr. Wang       ─> a name
Patient: John Smith                              ─> a doubt: Patient: Upper Left has the same form
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from codelib.data.person_names_lists import surname_pinyin

_TITLED = re.compile(
    r"(?<![A-Za-z])(?:Dr|Mr|Mrs|Ms|Miss|Prof|Nurse|Doctor)\b\.?\s?([A-Z](?:'[A-Z])?[a-z]{1,14}(?:[\s-][A-Z][a-z]{1,14})?)(?![A-Za-z])"
)
_LABELLED = re.compile(
    r"(?<![A-Za-z])(?:[Pp]atient|[Nn]ame|[Dd]octor|[Dd]entist|[Aa]ssistant|[Nn]urse|[Hh]ygienist|[Ss]urgeon|[Oo]perator|[Pp]rovider|[Rr]eferred\sby|[Ss]igned|[Aa]ttn|[Ff]rom|[Tt]o|[Mm]other|[Ff]ather|[Gg]uardian)(?:'s)?(?:\s[Nn]ame)?\s?[:：]\s?"
    r"([A-Z][a-z]{1,14}(?:[\s'-][A-Z][a-z]{1,14}){1,2})(?![A-Za-z])"
)
LATIN_NO_NAMES = frozenset(
    [
        "Angle",
        "Vita",
        "Spee",
        "Bolton",
        "Kennedy",
        "Class",
        "Filtek",
        "Black",
        "Miller",
        "Nance",
        "Hawley",
        "Herbst",
        "Frankel",
        "Twin",
        "Block",
        "Damon",
        "Invisalign",
        "Begg",
        "Tip",
        "Edge",
        "Maryland",
        "Miller",
        "Cariostat",
        "Vitapex",
        "Hunter",
        "Nobel",
        "Straumann",
        "Osstem",
        "Dentium",
        "Bego",
        "Ankylos",
        "Astra",
        "Candida",
        "Sjogren",
        "Ramfjord",
        "Gracey",
        "Bicon",
    ]
)
_INITIALLED = re.compile(
    r"(?:(?<=by\s)|(?<=with\s)|(?<=from\s))[A-Z]\.\s?[A-Z][a-z]{2,14}(?![A-Za-z])"
    r"|(?<![A-Za-z.])(?:[A-Z]\.\s?){1,2}[A-Z][a-z]{2,14}(?=,?\s(?:DDS|DMD|MD|PhD|RN|BDS)(?![A-Za-z]))"
)
# English words that are also a surname in pinyin, and words of records that read as syllables: Long Bone
_ENGLISH = re.compile(r"He|She|You|An|Long|Man|Can|Pan|Fan|Ran|Hang|Lang|Sang|Wan|Ping|Ding|Song|Mu|Lie|Die|Pie|Tie")
_ENGLISH_GIVEN = re.compile(
    r"bone|shade|line|time|male|size|wide|note|zone|cone|side|bite|base|gene|tube|dose|code|site|name|wise|ridge|pulse|rate|made|make|take"
)
_PAIR = re.compile(
    r"(?<![A-Za-z])(?:([A-Z][a-z]{1,6})[\s·,_-]{1,2}([A-Z][a-z]{1,11}(?:[-'][A-Za-z]?[a-z]{1,5}|\s[A-Z][a-z]{1,5})?)"
    r"|([A-Z]{2,6})[\s,]{1,2}([A-Z]{2,6}(?:[-\s][A-Z]{2,6})?))(?![A-Za-z])"
)


@lru_cache(maxsize=1)
def _syllables() -> re.Pattern[str]:
    """A given name in pinyin: one to three syllables."""
    initials = "(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?"
    finals = "(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|ai|an|ao|ei|en|er|ia|ie|in|iu|ou|ua|ue|ui|un|uo|a|e|i|o|u|v)"
    return re.compile(rf"(?:{initials}{finals}){{1,3}}")


def latin_names(text: str) -> Iterator[tuple[int, int, bool]]:
    """start, end, certain."""
    yield from _pairs(text)
    yield from _by_role(text)


def _pairs(text: str) -> Iterator[tuple[int, int, bool]]:
    """Zhou Yan, ZHOU YAN, Yan Zhou is left to the gazetteer: a surname in pinyin, then a given name in pinyin."""
    for match in _PAIR.finditer(text):
        family, given = (match[1], match[2]) if match[1] else (match[3], match[4])
        if _ENGLISH.fullmatch(family.title()) or _ENGLISH_GIVEN.fullmatch(given.lower()):
            continue
        if family.title() in LATIN_NO_NAMES or len(family) + len(given) < 5:
            continue
        if family.lower() in surname_pinyin() and _syllables().fullmatch(re.sub(r"[-'\s]", "", given).lower()):
            yield (match.start(), match.end(), True)


def _by_role(text: str) -> Iterator[tuple[int, int, bool]]:
    """Dr. Wang; Patient: John Smith, where only a person can tell it from Patient: Upper Left."""
    for match in _INITIALLED.finditer(text):
        yield (match.start(), match.end(), True)
    for match in _TITLED.finditer(text):
        if match[1].split()[0] not in LATIN_NO_NAMES:
            yield (match.start(1), match.end(1), True)
    for match in _LABELLED.finditer(text):
        if match[1].split()[0] not in LATIN_NO_NAMES:
            yield (match.start(1), match.end(1), False)
