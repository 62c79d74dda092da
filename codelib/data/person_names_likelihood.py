"""How likely a stretch of Chinese is as words, as surname + given name, and as a name without a Chinese surname.

jieba's dictionary (MIT; its file is read, the segmenter is not run) ─┬─ words: share of all words, part of speech
terms/ (dental words explain themselves)                             ─┘
its entries for persons    ─── how likely a character is in a surname and in a given name
its entries for foreigners ─── how likely a character is in a transcribed name: 多杰才旦, 艾米莉
No list of full names is used.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from codelib.data.person_names_lists import CJK, TERMS, allowed_words, listed, own_words, surnames
from codelib.data.person_names_rare import RARE_COMPOUND, family_length, is_rare
from codelib.dental.condition_lists import TERMS as CONDITIONS

MAX_WORD = 6
_NAME_SHARE = 0.0005  # of all words; the odds before the characters are looked at
_STRANGER_SHARE = 0.0005
_WORD_GIVEN = math.log(0.2 / 30000)  # 灵犀, 晚晴: two given names in ten are also a word, any of the rarer 30,000
_LISTED_GIVEN = math.log(0.1 / 500)  # 建国, 前进: one in ten is a word that parents did choose, of some hundred
_COMMON = 10
_COMPOUND_ENTRIES = 20  # the dictionary has few persons with a surname of two characters
_KNOWN_FOREIGNER = 20  # 尼古丁 and 克伦威尔 explain themselves
_IN_FOREIGN = 8  # entries for foreigners that hold a character which counts as theirs
_TERM_COUNT = 300  # the frequency of a dental term, in jieba's counts: that of a common noun
_MIN_STRANGER = 3


@dataclass(frozen=True)
class Likelihoods:
    """Natural logarithms. word: of its share of all words; family, given, foreign: of a character's share in names."""

    word: dict[str, float]
    family: dict[str, float]
    given: dict[str, float]
    foreign: dict[str, float]
    acts: frozenset[str]
    """Verbs, adverbs, prepositions, words of time: what a person's name is followed by."""
    unknown: float
    rare_family: float
    rare_given: float
    rare_foreign: float

    def name(self, family: str, rest: str, worded: bool = False) -> float:
        """``worded``: the given name may be a word; asked for only where a person is expected."""
        length = math.log(0.2 if len(rest) == 1 else 0.8)  # one Chinese given name in five has one character
        first = self.family.get(family, self.rare_family)
        given = sum(self.given.get(char, self.rare_given) for char in rest)
        if worded and len(rest) == 2 and rest in self.word:
            given = max(given, _LISTED_GIVEN if rest in listed("given_words.txt") else _WORD_GIVEN)
        return math.log(_NAME_SHARE) + length + first + given

    def stranger(self, stretch: str) -> float:
        """A name without a Chinese surname: 那日苏."""
        return math.log(_STRANGER_SHARE) + sum(self.foreign.get(char, self.rare_foreign) for char in stretch)


def _dictionary() -> Iterator[tuple[str, int, str]]:
    """word, frequency, part of speech."""
    spec = importlib.util.find_spec("jieba")
    assert spec and spec.origin, "jieba is a requirement of this package"
    for line in Path(spec.origin).with_name("dict.txt").read_text(encoding="utf-8").splitlines():
        word, count, tag = line.split(" ")
        yield word, int(count), tag


@lru_cache(maxsize=1)
def word_classes() -> dict[str, str]:
    """Part of speech of each word of the dictionary, one letter: n, v, d, p, …"""
    return {word: tag[0] for word, _, tag in _dictionary()}


def _terms() -> Iterator[str]:
    """Words that explain themselves."""
    yield from allowed_words()
    yield from own_words()
    yield from listed("dental_words.txt")
    for path, columns in ((TERMS / "glossary.csv", 1), (CONDITIONS / "diagnoses.csv", 2)):
        with path.open(encoding="utf-8", newline="") as lines:
            for row in list(csv.reader(lines))[1:]:
                yield from (word for cell in row[:columns] for word in re.findall(rf"[{CJK}]+", cell))


def _logs(counts: Counter[str], add: float) -> tuple[dict[str, float], float]:
    total = math.log(counts.total() + len(counts))
    return {key: math.log(count + add) - total for key, count in counts.items()}, math.log(add) - total


@lru_cache(maxsize=1)
def likelihoods() -> Likelihoods:
    """Read once a process, about a second."""
    counts: dict[str, int] = {}
    families: Counter[str] = Counter()
    givens: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    acts: set[str] = set()
    for word, count, tag in _dictionary():
        family = family_length(word, 0)
        rest = word[family:]
        person = tag in ("nr", "nrfg") and bool(family) and 1 <= len(rest) <= 2
        if tag == "nrt" or (tag == "nr" and len(word) >= _MIN_STRANGER and not person):
            foreign.update(word)
        if person:
            if len(rest) == 2:
                families[word[:family]] += 1
                givens.update(rest)
            if count < (_COMMON if is_rare(word, 0) or len(rest) == 1 else math.inf):
                continue  # a name must not be explained by being in the dictionary; 西红柿 is no name
        if tag == "nrt" and count < _KNOWN_FOREIGNER:
            continue
        if len(word) <= MAX_WORD:
            counts[word] = count
            if tag[0] in "vdpct" and len(word) > 1:
                acts.add(word)
    families.update(dict.fromkeys(RARE_COMPOUND, _COMPOUND_ENTRIES))
    for token in surnames()["tokens"]:
        foreign.update(token * 5)
    foreign = Counter({char: count for char, count in foreign.items() if count >= _IN_FOREIGN})
    total = sum(counts.values())
    for word in _terms():
        if 1 < len(word) <= MAX_WORD:
            counts[word] = max(counts.get(word, 0), _TERM_COUNT)
    family_logs, rare_family = _logs(families, 0.5)
    given_logs, rare_given = _logs(givens, 0.3)
    foreign_logs, rare_foreign = _logs(foreign, 0.3)
    words = {word: math.log(max(count, 1)) - math.log(total) for word, count in counts.items()}
    return Likelihoods(
        words, family_logs, given_logs, foreign_logs, frozenset(acts), -math.log(total), rare_family, rare_given, rare_foreign
    )


@dataclass(frozen=True)
class Cuts:
    """upto, onward: log P of the best cut of run[:i], and of run[i:]; begins, ends: the best word that ends at i, and that begins there."""

    upto: list[float]
    onward: list[float]
    begins: list[int]
    ends: list[int]


def best_cuts(run: str) -> Cuts:
    """The likeliest cuts of a run of Chinese into words, on both sides of each place in it."""
    known = likelihoods()
    size, words = len(run), known.word
    upto, onward, begins, ends = [0.0] * (size + 1), [0.0] * (size + 1), [0] * (size + 1), [size] * (size + 1)
    for end in range(1, size + 1):
        best, begin = upto[end - 1] + words.get(run[end - 1], known.unknown), end - 1
        for start in range(max(0, end - MAX_WORD), end - 1):
            share = words.get(run[start:end])
            if share is not None and upto[start] + share > best:
                best, begin = upto[start] + share, start
        upto[end], begins[end] = best, begin
    for start in range(size - 1, -1, -1):
        best, ending = onward[start + 1] + words.get(run[start], known.unknown), start + 1
        for end in range(start + 2, min(size, start + MAX_WORD) + 1):
            share = words.get(run[start:end])
            if share is not None and onward[end] + share > best:
                best, ending = onward[end] + share, end
        onward[start], ends[start] = best, ending
    return Cuts(upto, onward, begins, ends)
