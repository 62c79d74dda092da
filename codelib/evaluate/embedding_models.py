"""What turns texts into vectors: any model that transformers' AutoModel opens, or counts of character n-grams.

    texts ── windows that the model can read ── batches of like length ── token vectors ── mean or last ── unit vectors, kept by text

A model's weights are loaded when a text is met that it has not embedded yet, one model at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
POOLS = ("mean", "last")
_BATCH_TOKENS = 8192  # tokens, padding included, that a model is given at once
_LONGEST_WINDOW = 2048  # tokens; a model that reads more gains nothing on a report
_UNREADABLE = 0.05  # share of unknown tokens above which a model cannot read a text
_NGRAM_BUCKETS = 2**18


class Ngrams:
    """Counts of hashed character 2- to 4-grams: words in common, nothing learned."""

    name = "hashed character 2-4-grams: LEXICAL overlap, not a learned embedding"

    def reads(self, text: str) -> bool:
        return True

    def cosines(self, references: Sequence[str], answers: Sequence[str]) -> list[float]:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.preprocessing import normalize

        cut = HashingVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), n_features=_NGRAM_BUCKETS, alternate_sign=False, norm=None
        )
        a, b = (normalize(cut.transform(texts)) for texts in (references, answers))
        return [float(score) for score in np.asarray(a.multiply(b).sum(axis=1)).ravel()]


@dataclass(frozen=True)
class Learned:
    """A model of transformers. ``source``: a folder or a hub id; ``name``: how the report calls it; ``longest``: tokens that it was made for,
    where its configuration says more."""

    source: str
    name: str
    pool: str = "mean"
    longest: int = _LONGEST_WINDOW

    def reads(self, text: str) -> bool:
        """Whether its vocabulary has the signs of a text."""
        key = self._key(text)
        if key not in _readable:
            _readable[key] = _reader(self).reads(text)
        return _readable[key]

    def keep(self, texts: Sequence[str]) -> None:
        """Embed what was not embedded yet."""
        todo = {key: text for text in texts if (key := self._key(text)) not in _kept}
        if todo:
            _kept.update(zip(todo, _reader(self).embed(list(todo.values())), strict=True))

    def cosines(self, references: Sequence[str], answers: Sequence[str]) -> list[float]:
        self.keep((*references, *answers))
        pairs = zip(references, answers, strict=True)
        return [float(np.dot(_kept[self._key(reference)], _kept[self._key(answer)])) for reference, answer in pairs]

    def _key(self, text: str) -> tuple[str, str, bytes]:
        return self.source, self.pool, hashlib.sha256(text.encode("utf-8", "replace")).digest()


_kept: dict[tuple[str, str, bytes], Vectors] = {}
"""(model, pool, SHA-256 of a text) -> its unit vector, for as long as the process lives."""
_readable: dict[tuple[str, str, bytes], bool] = {}


@lru_cache(maxsize=1)  # one model at a time: the paper's two take 5 and 10 GB on a CPU
def _reader(model: Learned) -> _Reader:
    """Raises ValueError where transformers cannot open it, with the kind of its own reason."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    device = "cuda" if torch.cuda.is_available() else "cpu"
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.source)
        # on a GPU the precision that it was published in; bfloat16 on a CPU is slow
        dtype = "auto" if device == "cuda" else torch.float32
        weights = AutoModel.from_pretrained(model.source, dtype=dtype).eval().to(device)
        if weights.config.is_encoder_decoder:  # T5 and its like: what reads, without what writes
            weights = weights.get_encoder()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(
            f"embeddings: {model.name}: transformers cannot open it ({type(error).__name__}); give a folder with config.json, weights and "
            "tokenizer, or a hub id that was downloaded. Answers are kept: the same command goes on from here"
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    return _Reader(tokenizer, weights, device, model.pool, model.longest)


@dataclass
class _Reader:
    """Texts to vectors: windows of like length together, padded on the right, which no model that masks its padding sees."""

    tokenizer: Any
    model: Any
    device: str
    pool: str
    longest: int

    def __post_init__(self) -> None:
        bare, whole = self.tokenizer.encode("a", add_special_tokens=False), self.tokenizer.encode("a")
        at = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
        self.before: list[int] = whole[:at]
        self.behind: list[int] = whole[at + len(bare) :]
        positions = getattr(self.model.config, "max_position_embeddings", None) or _LONGEST_WINDOW
        # a tokenizer without a limit says so by a number of thirty digits; RoBERTa counts positions from 2
        limit = min(self.tokenizer.model_max_length, positions, _LONGEST_WINDOW)
        self.window = max(
            8, int(limit) - len(self.before) - len(self.behind) - (2 if positions > 2 and positions % 2 == 0 else 0)
        )

    def reads(self, text: str) -> bool:
        unknown = self.tokenizer.unk_token_id
        ids = self.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return unknown is None or not ids or ids.count(unknown) / len(ids) <= _UNREADABLE

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(number of texts, hidden size), each of length 1; zeros for a text without a token."""
        windows: list[tuple[int, int, list[int]]] = []  # text, start, ids
        for row, text in enumerate(texts):
            ids = self.tokenizer.encode(text, add_special_tokens=False, verbose=False)
            windows += [(row, start, ids[start : start + self.window]) for start in range(0, max(len(ids), 1), self.window)]
        windows = [window for window in windows if window[2] or self.before or self.behind]
        last = {row: start for row, start, _ in windows}
        sums: npt.NDArray[np.float64] | None = None
        for batch in _batches(sorted(windows, key=lambda window: (len(window[2]), window[:2]))):
            pooled = self._forward([self.before + ids + self.behind for _, _, ids in batch])
            sums = np.zeros((len(texts), pooled.shape[1])) if sums is None else sums
            for (row, start, _), vector in zip(batch, pooled, strict=True):
                if self.pool == "mean" or start == last[row]:
                    sums[row] += vector
        if sums is None:
            return np.zeros((len(texts), 1), dtype=np.float32)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0), dtype=np.float32)

    def _forward(self, batch: list[list[int]]) -> npt.NDArray[np.float64]:
        """Of each window the sum of its token vectors, or the vector of its last token."""
        import torch

        longest = max(map(len, batch))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=self.device)
        with torch.inference_mode():
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pool == "last":
            chosen = states[torch.arange(len(batch), device=self.device), mask.sum(dim=1) - 1]
        else:
            # in float32: a long window's vectors add up to more than float16 holds
            chosen = (states.float() * mask.unsqueeze(-1)).sum(dim=1)
        return np.asarray(chosen.double().cpu().numpy())


def _batches(windows: list[tuple[int, int, list[int]]]) -> list[list[tuple[int, int, list[int]]]]:
    """Windows, the shortest first, cut so that a batch stays below `_BATCH_TOKENS`."""
    batches: list[list[tuple[int, int, list[int]]]] = [[]]
    for window in windows:
        if batches[-1] and (len(batches[-1]) + 1) * (len(window[2]) + 2) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(window)
    return batches if windows else []
