"""Which token comes next: greedy, or as a request's decoding says, by transformers' own rules.

A row draws from a generator of its own, seeded by the request's seed and the sample's id: what is drawn depends on no other row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from codelib.models.engine import Decoding


class Chooser:
    """For one row. ``special``: it is more than the largest logit."""

    def __init__(self, decoding: Decoding, sample_id: str) -> None:
        self.decoding, self.sample_id = decoding, sample_id
        self.special = decoding.temperature > 0 or decoding.repetition_penalty != 1
        self.restart()

    def restart(self) -> None:
        digest = hashlib.sha256(f"{self.decoding.seed}/{self.sample_id}".encode()).digest()
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))

    def __call__(self, logits: torch.Tensor, prompt: torch.Tensor, said: Sequence[int]) -> int:
        """logits: (vocabulary,) float32; prompt: (tokens,) ids."""
        from transformers import RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

        decoding = self.decoding
        ids = torch.cat([prompt, torch.tensor(said, dtype=torch.int64)])[None]
        scores = logits[None].cpu()
        if decoding.repetition_penalty != 1:
            scores = RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty)(ids, scores)
        if decoding.temperature == 0:
            return int(scores.argmax())
        scores = TemperatureLogitsWarper(decoding.temperature)(ids, scores)
        if decoding.top_p < 1:
            scores = TopPLogitsWarper(decoding.top_p)(ids, scores)
        return int(torch.multinomial(torch.softmax(scores, -1)[0], 1, generator=self._generator))
