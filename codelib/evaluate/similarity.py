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


@dataclass(frozen=True)
class TextScores:
    """Per-row scores in 0..1, and the corpus BLEU in sacrebleu's 0..100. ``lengths``: words of answer and reference, as METEOR cuts them; the
    texts say by which means."""

    corpus_bleu: float
    bleu: tuple[float, ...]
    meteor: tuple[float, ...]
    cosines: Cosines
    lengths: tuple[tuple[int, int], ...]
    bleu_signature: str
    meteor_method: str

    @property
    def cosine(self) -> tuple[float, ...]:
        return self.cosines.mean

    @property
    def cosine_method(self) -> str:
        return self.cosines.method


# BLEU


def corpus_bleu(references: Sequence[str], answers: Sequence[str]) -> tuple[float, str]:
    """Corpus BLEU (0..100) and sacrebleu's signature. With any Chinese reference all rows are cut by the `zh` rule, which cuts Chinese by
    character and Latin words as 13a does."""
    from sacrebleu.metrics.bleu import BLEU

    corpus = BLEU(tokenize="zh" if any(map(is_chinese, references)) else "13a")
    score = corpus.corpus_score(list(answers), [list(references)])
    return float(score.score), str(corpus.get_signature())


def sentence_bleu(references: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Sentence BLEU of each row (0..1), exponential smoothing and effective order (sacrebleu), cut by the rule of its reference's language."""
    from sacrebleu.metrics.bleu import BLEU

    chinese, english = (BLEU(tokenize=cut, effective_order=True) for cut in ("zh", "13a"))
    return [
        min(1.0, (chinese if is_chinese(reference) else english).sentence_score(answer, [reference]).score / 100)
        for reference, answer in zip(references, answers, strict=True)
    ]


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


def score_texts(references: Sequence[str], answers: Sequence[str], embeddings: Sequence[str] = (AUTO,)) -> TextScores:
    """All text scores of one variant. Raises ValueError where there is nothing to score, or a model cannot be opened."""
    if not references:
        raise ValueError("generation: no answered sample to score")
    pairs = list(zip(references, answers, strict=True))
    meteors = {pair: meteor(*pair) for pair in set(pairs)}
    corpus, signature = corpus_bleu(references, answers)
    return TextScores(
        corpus_bleu=corpus,
        bleu=tuple(sentence_bleu(references, answers)),
        meteor=tuple(meteors[pair] for pair in pairs),
        cosines=cosines(references, answers, embeddings),
        lengths=tuple((len(words(answer)), len(words(reference))) for reference, answer in pairs),
        bleu_signature=signature,
        meteor_method=meteor_method(any(map(is_chinese, references))),
    )


def part_of(scores: TextScores, references: Sequence[str], answers: Sequence[str], which: Sequence[int]) -> TextScores:
    """The scores of some rows of all: per-row scores as they are, the corpus BLEU anew with the tokeniser that fits these."""
    mine = [references[n] for n in which]
    corpus, signature = corpus_bleu(mine, [answers[n] for n in which])
    return TextScores(
        corpus_bleu=corpus,
        bleu=tuple(scores.bleu[n] for n in which),
        meteor=tuple(scores.meteor[n] for n in which),
        cosines=scores.cosines.part(which),
        lengths=tuple(scores.lengths[n] for n in which),
        bleu_signature=signature,
        meteor_method=meteor_method(any(map(is_chinese, mine))),
    )
