"""What one worker computes on: a batch for one forward, and the batches of its share of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Batch:
    """One forward's samples. ``inputs``: what the model takes, ``labels`` included. ``empty``: it is there for the other ranks' sake, and no
    label is asked of it."""

    sample_ids: tuple[str, ...]
    lengths: tuple[int, ...]  # tokens of each sample
    num_answer_tokens: int
    inputs: dict[str, Any]
    empty: bool = False

    @property
    def num_tokens(self) -> int:
        return 0 if self.empty else sum(self.lengths)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        moved = {name: change(value) if isinstance(value, torch.Tensor) else value for name, value in self.inputs.items()}
        return replace(self, inputs=moved)

    def pin_memory(self) -> Batch:
        """For torch's loader."""
        return self._with(lambda tensor: tensor.pin_memory())

    def to(self, device: str) -> dict[str, Any]:
        """The model's inputs on a device; out of pinned memory the copy runs beside the computation."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True)).inputs


@dataclass(frozen=True)
class Step:
    """A worker's share of one optimiser step. ``wait_s``: how long the loop stood still for it."""

    batches: tuple[Batch, ...]
    wait_s: float

    @property
    def num_answer_tokens(self) -> int:
        return sum(batch.num_answer_tokens for batch in self.batches)

    @property
    def num_tokens(self) -> int:
        return sum(batch.num_tokens for batch in self.batches)
