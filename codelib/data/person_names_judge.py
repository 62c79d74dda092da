"""Is this stretch a person's name? Weighed: the odds of its characters, what it is as words, and what stands on both sides.

    features of a span ─ x = (1, gain, gain as a word, before, behind, …) ─ logit = Σ weight(i, j) · x_i · x_j

The weights (terms/name_weights.csv) are those of a logistic regression with products of two features, fitted by tests/benchmarks/names_fit.py
on invented names in the places of 患者 and 他 in public dialogues and in phrases of records, against what else is shaped like a name there.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codelib.data.person_names_lists import TERMS


class Features(NamedTuple):
    """Of a span that is shaped like surname + given name. Gains and odds are natural logarithms, the others 0 or 1."""

    gain: float  # of a name over the likeliest words
    worded: float  # the same where the given name may be a word
    before: float  # odds of the word before and the word behind (person_names_beside)
    behind: float
    surname_word: float  # log frequency of the surname as a word of its own: 时 and 高, not 褚
    may_begin: float  # Place.left
    expected: float
    by_word_before: float
    may_end: float
    by_word_behind: float
    begins_run: float  # no Chinese before it
    ends_run: float
    short_before: float  # the word beside has one character
    short_behind: float
    unknown_before: float
    unknown_behind: float
    weak: float
    rare: float
    function: float  # the surname is a word of grammar: 于, 和
    compound: float
    one_given: float
    given_odds: float  # of its characters in given names, their mean and the least of them
    least_odds: float
    given_word: float
    given_chosen: float  # a word that parents did choose (terms/given_words.txt)
    given_function: float  # its last character is a word of grammar
    holds_term: float  # a word of records begins in it
    drug: float


NAMES = Features._fields


@lru_cache(maxsize=1)
def weights() -> npt.NDArray[np.float64]:
    """(1 + features, 1 + features), the constant first."""
    places = {name: at for at, name in enumerate(("1", *NAMES))}
    table = np.zeros((len(places), len(places)))
    with (TERMS / "name_weights.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            table[places[row["feature"]], places[row["times"]]] = float(row["weight"])
    return table


def logits(spans: list[Features]) -> list[float]:
    """Natural logarithm of the odds that each is a name, as the fit saw them: many more names than a record holds."""
    if not spans:
        return []
    x = np.ones((len(spans), 1 + len(NAMES)))
    x[:, 1:] = spans
    found: list[float] = ((x @ weights()) * x).sum(axis=1).tolist()
    return found
