"""A run of Chinese, cut into words, and the stretches in it that are shaped like a name, each with what speaks for and against it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from codelib.data.person_names_beside import BEGIN, END, beside
from codelib.data.person_names_judge import Features
from codelib.data.person_names_likelihood import best_cuts, likelihoods
from codelib.data.person_names_lists import FUNCTION, allowed_at, allowed_words, is_weak, listed, may_be_given
from codelib.data.person_names_rare import family_length, is_rare
from codelib.data.person_names_roles import RELATION
from codelib.data.person_names_sides import Place, drug_goes_on, left_of, right_of

HOPELESS_GAIN = -16.0
"""Natural logarithm of odds. Below it no word beside a stretch makes a name of it."""
_TAKES_A_PERSON = 0.7  # the word stands beside a person twice as often as elsewhere
_PERSON = re.compile(RELATION + "|患者|患儿|病人|本人|医生|护士|医师|大夫|[他她我你]们")  # 向|家长 交代
_GRAMMAR = frozenset("于在和有能向都从时成连后来易常明全应平冷解查计相须空权单双与因过对为之及自当并由而已若但其")


def _shaped(run: str, start: int) -> Iterator[tuple[int, int]]:
    """Length of the surname, end of the name."""
    family = family_length(run, start)
    if start > 1 and run[start - 1] == "氏":
        return  # 李氏|红绒 begins at its surname
    shortest = 2 if run[start + family - 1 : start + family] == "氏" else 1  # 安氏二|类
    for end in range(start + family + 1, min(len(run), start + family + 2) + 1) if family else ():
        if not may_be_given(run[end - 1]) and family == 1:
            return  # 高桥由美: a surname of two characters is plain enough for any given name
        if end - start - family < shortest:
            continue
        if run[start:end] not in allowed_words() and not _PERSON.fullmatch(run, start + family, end):
            yield family, end


class Run:
    """A run of Chinese, cut into words, with the sides of each place in it."""

    def __init__(self, text: str, start: int, run: str) -> None:
        self.at, self.run, self.model = start, run, likelihoods()
        self.counted = text[start - 1 : start].isdigit()  # 10|余天来: what follows a number is its unit
        self.cuts = best_cuts(run)
        self.left = [left_of(text, start, run, at, self.cuts.begins) for at in range(len(run))]
        self.right = [right_of(text, start, run, at) for at in range(len(run) + 1)]

    def gain(self, start: int, end: int, named: float) -> float:
        return self.cuts.upto[start] + named + self.cuts.onward[end] - self.cuts.upto[-1]

    def place(self, start: int, end: int) -> Place:
        """What stands on both sides: by list and class, and as it was counted."""
        before, behind = beside().left(self.word_before(start)), beside().right(self.word_behind(end))
        left, right = self.left[start], self.right[end]
        likely = (before > _TAKES_A_PERSON, behind > _TAKES_A_PERSON)
        return Place(max(left[0], likely[0]), max(right[0], likely[1]), left[1] or right[1] or any(likely))

    def word_before(self, start: int) -> str:
        return self.run[self.cuts.begins[start] : start] or BEGIN

    def word_behind(self, end: int) -> str:
        return self.run[end : self.cuts.ends[end]] or END

    def candidates(self) -> Iterator[tuple[int, int, Features]]:
        """start, end, features of each stretch that may be surname and given name."""
        run = self.run
        for start in range(int(self.counted), len(run) - 1):
            for family, end in _shaped(run, start):
                worded = self.gain(
                    start, end, self.model.name(run[start : start + family], run[start + family : end], worded=True)
                )
                if worded > HOPELESS_GAIN:
                    yield start, end, self._features(start, family, end, worded)

    def _features(self, start: int, family: int, end: int, worded: float) -> Features:
        run, words = self.run, self.model.word
        surname, given = run[start : start + family], run[start + family : end]
        before, behind = self.word_before(start), self.word_behind(end)
        left, right = self.left[start], self.right[end]
        odds = [self.model.given.get(char, self.model.rare_given) for char in given]
        return Features(
            gain=self.gain(start, end, self.model.name(surname, given)),
            worded=worded,
            before=beside().left(before),
            behind=beside().right(behind),
            surname_word=words.get(surname, self.model.unknown) - self.model.unknown,
            may_begin=float(left[0] > 0),
            expected=float(left[0] > 1),
            by_word_before=float(left[1]),
            may_end=float(right[0] > 0),
            by_word_behind=float(right[1]),
            begins_run=float(before == BEGIN),
            ends_run=float(behind == END),
            short_before=float(len(before) == 1 and before != BEGIN),
            short_behind=float(len(behind) == 1 and behind != END),
            unknown_before=float(before != BEGIN and before not in words),
            unknown_behind=float(behind != END and behind not in words),
            weak=float(family == 1 and is_weak(run, start)),
            rare=float(is_rare(run, start)),
            function=float(surname in _GRAMMAR),
            compound=float(family > 1),
            one_given=float(len(given) == 1),
            given_odds=sum(odds) / len(odds),
            least_odds=min(odds),
            given_word=float(len(given) > 1 and given in words),
            given_chosen=float(given in listed("given_words.txt")),
            given_function=float(given[-1] in FUNCTION),
            holds_term=float(any(allowed_at(run[:end], at) for at in range(start, end))),
            drug=float(drug_goes_on(run, end)),
        )
