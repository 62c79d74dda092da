"""Names that no role, title or form gives away: 邻居许秀兰推荐来诊. A suspicion, measured; seldom a certainty.

    run of Chinese ─┬─ the likeliest way to cut it into words                      log P(words)
                    └─ the likeliest way with a name as one piece                  log P(words around) + log P(name)
    their difference is the gain; a place where a name can stand on either side raises it (person_names_sides)

Two kinds of names are tried: surname + given name, and strangers, names without a Chinese surname (多杰才旦), which only a place where a
person stands on both sides makes a suspicion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from codelib.data.person_names_likelihood import Likelihoods, best_cuts, likelihoods
from codelib.data.person_names_lists import CJK, allowed_at, allowed_words, may_be_given, own_words
from codelib.data.person_names_rare import family_length, is_rare
from codelib.data.person_names_sides import among_persons, hospitality, left_of, place_of, right_of

SUSPECT_GAIN = -1.0
"""Natural logarithm of odds. Set on 2.7 million characters of dental lecture notes and medical dialogues (docs/privacy.md has the numbers)."""
CERTAIN_GAIN = 6.0
_STRANGER_SIZES = (6, 5, 4, 3)
# characters of foreign names that are words of records first: 植体周, 冠根比, 自冠方至根方
_NO_STRANGER = frozenset("植根冠基台方位止点先向板壁野器自从于其将宁音画力照测备体工材料树脂菌膏汤丸粥")
_RUN = re.compile(rf"[{CJK}]{{2,}}")


@dataclass(frozen=True)
class BareName:
    start: int
    end: int
    gain: float
    among_persons: bool

    @property
    def certain(self) -> bool:
        return self.gain >= CERTAIN_GAIN and self.among_persons


def _shaped(run: str, start: int) -> Iterator[tuple[int, int]]:
    """Length of the surname, end of the name."""
    family = family_length(run, start)
    shortest = 2 if run[start + family - 1 : start + family] == "氏" else 1  # 安氏二|类
    for end in range(start + family + 1, min(len(run), start + family + 2) + 1) if family else ():
        if not may_be_given(run[end - 1]) and family == 1:
            return  # 高桥由美: a surname of two characters is plain enough for any given name
        if end - start - family < shortest:
            continue
        if run[start:end] not in allowed_words():
            yield family, end


class _Run:
    """A run of Chinese, cut into words, with the sides of each place in it."""

    def __init__(self, text: str, start: int, run: str) -> None:
        self.run, self.model = run, likelihoods()
        self.upto, self.onward, begins = best_cuts(run)
        self.left = [left_of(text, start, run, at, begins) for at in range(len(run))]
        self.right = [right_of(text, start, run, at) for at in range(len(run) + 1)]

    def gain(self, start: int, end: int, named: float) -> float:
        return self.upto[start] + named + self.onward[end] - self.upto[-1]

    def surnamed(self, first: int) -> Iterator[BareName]:
        run = self.run
        for start in range(first, len(run) - 1):
            rare = is_rare(run, start)
            for family, end in _shaped(run, start):
                place = place_of(self.left[start], self.right[end])
                if rare and not place.closed:
                    continue  # mostly a word of every day
                named = self.model.name(run[start : start + family], run[start + family : end], worded=place.closed)
                gain = self.gain(start, end, named) + hospitality(run, start, end, place)
                if gain > SUSPECT_GAIN:
                    yield BareName(start, end, gain, among_persons(run, start, end) and not rare)

    def strangers(self) -> Iterator[BareName]:
        """Stretches that no words explain, between a place before a person and one behind: 请|那日苏|到场."""
        run = self.run
        for start in range(len(run) - 2):
            if not self.left[start][0] or allowed_at(run, start):
                continue
            for size in _STRANGER_SIZES:
                end = start + size
                if end > len(run) or not self.right[end][0] or not _strange(run[start:end], self.model):
                    continue
                place = place_of(self.left[start], self.right[end])
                gain = self.gain(start, end, self.model.stranger(run[start:end])) + hospitality(run, start, end, place)
                if place.closed and gain > SUSPECT_GAIN:
                    yield BareName(start, end, gain, False)


def _strange(stretch: str, model: Likelihoods) -> bool:
    """Every character stands in names and none in words of records."""
    return all(char in model.foreign and char not in _NO_STRANGER and may_be_given(char) for char in stretch) and not any(
        stretch[at : at + size] in own_words() or stretch[at : at + size] in allowed_words()
        for size in (2, 3, 4)
        for at in range(len(stretch) - size + 1)
    )


def bare_names(text: str) -> list[BareName]:
    """Names by their likelihood alone, best first where two overlap; ``text`` is folded and simplified. Sorted, disjoint.

    >>> [text[n.start:n.end] for text in ["邻居许秀兰推荐来诊"] for n in bare_names(text)]
    ['许秀兰']
    """
    found: list[BareName] = []
    for match in _RUN.finditer(text):
        at = match.start()
        counted = text[at - 1 : at].isdigit()  # 10|余天来: what follows a number is its unit
        run = _Run(text, at, match.group())
        names = [*run.surnamed(int(counted)), *(() if counted else run.strangers())]
        found += [BareName(at + n.start, at + n.end, n.gain, n.among_persons) for n in names]
    return _disjoint(found, len(text))


def _disjoint(found: list[BareName], size: int) -> list[BareName]:
    covered = bytearray(size)
    taken: list[BareName] = []
    for name in sorted(found, key=lambda n: (-n.gain, n.start)):
        if not any(covered[name.start : name.end]):
            covered[name.start : name.end] = b"\1" * (name.end - name.start)
            taken.append(name)
    return sorted(taken, key=lambda n: n.start)
