"""Which samples a worker sees at a step: a pure function of (seed, epoch, step, rank, world), so that resuming needs no state but the step.

epoch's permutation = default_rng([seed, epoch])  ──>  step's slice of one global batch  ──>  rank's share, in micro-batches (packer.py)

What a step learns from is its global batch, whatever the number of workers: they divide it, they do not change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codelib.train.packer import Limits, share_out

Micro = tuple[int, ...]
"""Sample indices of one forward. Empty: this rank has nothing to learn in it and runs a forward for the others' sake."""


@lru_cache(maxsize=2)
def _order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


@dataclass(frozen=True)
class Sampler:
    lengths: tuple[int, ...]  # tokens of every sample
    global_batch: int  # samples of one optimiser step over all ranks
    seed: int
    limits: Limits

    def __post_init__(self) -> None:
        assert self.lengths and self.global_batch > 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.global_batch)

    def batch(self, step: int) -> list[int]:
        """Sample indices of the whole step. The last one of an epoch is filled up from the epoch's own beginning, so that every step
        weighs the same and every rank has work."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(len(self.lengths), self.seed, epoch)
        start = place * self.global_batch
        return [int(order[(start + offset) % len(self.lengths)]) for offset in range(self.global_batch)]

    def shares(self, step: int, world: int) -> list[list[Micro]]:
        """Every rank's micro-batches of a step. Joined they are exactly `batch`."""
        batch = self.batch(step)
        dealt = share_out([self.lengths[index] for index in batch], world, self.limits)
        return [[tuple(batch[place] for place in micro) for micro in share] for share in dealt]

    def share(self, step: int, rank: int, world: int) -> list[Micro]:
        return self.shares(step, world)[rank]


def in_order(lengths: Sequence[int], rank: int, world: int, limits: Limits, at_once: int) -> list[Micro]:
    """This rank's micro-batches for looking at every sample once (validation), ``at_once`` samples shared out at a time."""
    mine: list[Micro] = []
    for start in range(0, len(lengths), at_once):
        dealt = share_out(lengths[start : start + at_once], world, limits)
        mine += [tuple(start + place for place in micro) for micro in dealt[rank]]
    return mine


@dataclass(frozen=True)
class Load:
    """What the steps of a run are made of. ``tokens``: of samples; ``computed``: with padding; ``micros``: over all ranks."""

    micros: int
    tokens: int
    computed: int
    least: int  # tokens of the cheapest rank's step and of the dearest, summed over the steps
    most: int

    @property
    def waste(self) -> float:
        """Share of the computed tokens that is padding."""
        return 1 - self.tokens / self.computed if self.computed else 0.0

    @property
    def idle(self) -> float:
        """Share of the dearest rank's work that a rank of each step waits for, at most."""
        return 1 - self.least / self.most if self.most else 0.0


def load(sampler: Sampler, steps: Iterable[int], world: int) -> Load:
    """Add up the micro-batches of these steps."""
    micros = tokens = computed = least = most = 0
    for step in steps:
        spent = []
        for share in sampler.shares(step, world):
            costs = [sampler.limits.cost([sampler.lengths[i] for i in micro]) for micro in share]
            micros += len(costs)
            tokens += sum(sampler.lengths[i] for micro in share for i in micro)
            computed += sum(costs)
            spent.append(sum(costs))
        least, most = least + min(spent), most + max(spent)
    return Load(micros, tokens, computed, least, most)


def heaviest(sampler: Sampler, steps: Iterable[int], world: int, weights: Sequence[Sequence[int]]) -> list[Micro]:
    """The micro-batches of these steps that a GPU's memory must hold: the one of most computed tokens, and for each list of weights (visual
    tokens, answer tokens: one number a sample) the one where their sum is greatest. Each once."""
    best: list[tuple[int, Micro]] = [(0, ())] * (1 + len(weights))
    for step in steps:
        for micro in (micro for share in sampler.shares(step, world) for micro in share):
            values = [sampler.limits.cost([sampler.lengths[i] for i in micro]), *(sum(w[i] for i in micro) for w in weights)]
            best = [max(old, (value, micro), key=lambda pair: pair[0]) for old, value in zip(best, values, strict=True)]
    return list(dict.fromkeys(micro for value, micro in best if value))
