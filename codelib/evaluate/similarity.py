"""How close a written report is to its reference: BLEU, METEOR, cosine similarity of embeddings, length.

    references + answers  ->  score_texts(...)  ->  TextScores (corpus BLEU, and one row of scores for each sample)

An empty answer scores 0 in all. METEOR says whether WordNet was there, and the cosine what stands behind it (`embeddings`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from codelib.evaluate.conditions import is_chinese
from codelib.evaluate.embeddings import AUTO, Cosines, cosines

_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


# BLEU


@dataclass(frozen=True)
class BleuRow:
    """What one row adds to a corpus BLEU. ``counts``: n-grams in common and n-grams of the answer, of 1 to 4 words each; ``lengths``: of answer
    and reference; ``score``: the row's own BLEU (0..1), with effective order as for single sentences."""

    chinese: bool
    counts: tuple[int, ...]
    lengths: tuple[int, int]
    score: float


def bleu_rows(references: Sequence[str], answers: Sequence[str]) -> list[BleuRow]:
    """Each row cut by the rule of its reference's language: `zh` cuts Chinese by character, 13a cuts words."""
    from sacrebleu.metrics.bleu import BLEU

    cut = {chinese: BLEU(tokenize="zh" if chinese else "13a", effective_order=True) for chinese in (True, False)}
    rows = []
    for reference, answer in zip(references, answers, strict=True):
        chinese = is_chinese(reference)
        found = cut[chinese].sentence_score(answer, [reference])
        rows.append(BleuRow(chinese, (*found.counts, *found.totals), (found.sys_len, found.ref_len), min(1.0, found.score / 100)))
    return rows


def corpus_bleu(rows: Sequence[BleuRow]) -> tuple[float, str]:
    """sacrebleu's corpus BLEU (0..100, exponential smoothing) out of the rows' counts, and its signature; of two languages both signatures."""
    from sacrebleu.metrics.bleu import BLEU

    counts = [sum(column) for column in zip(*(row.counts for row in rows), strict=True)]
    said, true = (sum(column) for column in zip(*(row.lengths for row in rows), strict=True))
    score = BLEU.compute_bleu(counts[:4], counts[4:], said, true, smooth_method="exp")
    return float(score.score), " + ".join(_signature(chinese) for chinese in sorted({row.chinese for row in rows}))


@cache
def _signature(chinese: bool) -> str:
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="zh" if chinese else "13a")
    metric.corpus_score(["a"], [["a"]])  # it learns the number of references from them
    return str(metric.get_signature())


# METEOR


def words(text: str) -> list[str]:
    """NLTK's wordpunct_tokenize, each Chinese character a word of its own."""
    from nltk.tokenize import wordpunct_tokenize

    return list(wordpunct_tokenize(_CJK.sub(r" \g<0> ", text)))


class _NoWordNet:
    """Stands in for WordNet where it is not installed: no word has a synonym."""

    @staticmethod
    def synsets(word: str) -> list[Any]:
        return []


@cache
def wordnet() -> Any | None:
    """NLTK's WordNet out of NLTK_DATA or the checkout's .nltk_data; None where it is in neither."""
    import nltk
    from nltk.corpus import wordnet as corpus

    # tests/system/wordnet.sh puts it there
    local = str(Path(__file__).resolve().parents[2] / ".nltk_data")
    if os.path.isdir(local) and local not in nltk.data.path:
        nltk.data.path.append(local)
    try:
        corpus.ensure_loaded()
    except (LookupError, OSError):
        return None
    return corpus


class _Synonyms:
    """What NLTK's METEOR reads of a synset: the names of its lemmas."""

    def __init__(self, names: tuple[str, ...]):
        self._names = [_Lemma(name) for name in names]

    def lemmas(self) -> list[_Lemma]:
        return self._names


@dataclass(frozen=True)
class _Lemma:
    text: str

    def name(self) -> str:
        return self.text


class _KeptWordNet:
    """WordNet with the synonyms of each word kept: the same words come in every report."""

    @staticmethod
    @lru_cache(maxsize=100_000)
    def synsets(word: str) -> list[_Synonyms]:
        found = wordnet().synsets(word)  # type: ignore[union-attr]  # asked only where WordNet is there
        return [_Synonyms(tuple(dict.fromkeys(lemma.name() for synset in found for lemma in synset.lemmas())))]


class _KeptStemmer:
    """Porter's stemmer as NLTK's METEOR has it, each stem kept."""

    @staticmethod
    @lru_cache(maxsize=100_000)
    def stem(word: str) -> str:
        return str(_porter().stem(word))


@cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def meteor(reference: str, answer: str) -> float:
    """METEOR of one answer (Banerjee & Lavie 2005, NLTK's parameters), without synonyms where WordNet is missing."""
    from nltk.translate.meteor_score import meteor_score

    said, true = words(answer), words(reference)
    if not said or not true:
        return 0.0
    synonyms = _KeptWordNet() if wordnet() else _NoWordNet()
    return float(meteor_score([true], said, stemmer=_KeptStemmer(), wordnet=synonyms))


def meteor_method(chinese: bool = False) -> str:
    """chinese: whether a reference is."""
    exact = "; Chinese: each character a word, exact matches only" if chinese else ""
    if wordnet():
        return f"NLTK, WordNet 3.0 synonyms{exact}"
    return f"NLTK, WITHOUT synonyms: WordNet is not installed (tests/system/wordnet.sh){exact}"


# all together


@dataclass(frozen=True)
class TextScores:
    """Per-row scores in 0..1, and the corpus BLEU in sacrebleu's 0..100. ``lengths``: words of answer and reference, as METEOR cuts them; the
    texts (signature, methods) say by which means."""

    bleu_of: tuple[BleuRow, ...]
    meteor: tuple[float, ...]
    cosines: Cosines
    lengths: tuple[tuple[int, int], ...]

    @property
    def bleu(self) -> tuple[float, ...]:
        return tuple(row.score for row in self.bleu_of)

    @property
    def corpus_bleu(self) -> float:
        return corpus_bleu(self.bleu_of)[0]

    @property
    def bleu_signature(self) -> str:
        return corpus_bleu(self.bleu_of)[1]

    @property
    def meteor_method(self) -> str:
        return meteor_method(any(row.chinese for row in self.bleu_of))

    @property
    def cosine(self) -> tuple[float, ...]:
        return self.cosines.mean

    @property
    def cosine_method(self) -> str:
        return self.cosines.method


def score_texts(references: Sequence[str], answers: Sequence[str], embeddings: Sequence[str] = (AUTO,)) -> TextScores:
    """All text scores of one variant. Raises ValueError where there is nothing to score, or a model cannot be opened."""
    if not references:
        raise ValueError("generation: no answered sample to score")
    pairs = list(zip(references, answers, strict=True))
    meteors = {pair: meteor(*pair) for pair in set(pairs)}
    return TextScores(
        bleu_of=tuple(bleu_rows(references, answers)),
        meteor=tuple(meteors[pair] for pair in pairs),
        cosines=cosines(references, answers, embeddings),
        lengths=tuple((len(words(answer)), len(words(reference))) for reference, answer in pairs),
    )


def part_of(scores: TextScores, which: Sequence[int]) -> TextScores:
    """The scores of some rows of all."""
    return TextScores(
        bleu_of=tuple(scores.bleu_of[n] for n in which),
        meteor=tuple(scores.meteor[n] for n in which),
        cosines=scores.cosines.part(which),
        lengths=tuple(scores.lengths[n] for n in which),
    )
