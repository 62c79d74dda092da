"""Which samples a worker sees at a step: a pure function of (seed, epoch, step, rank), so that resuming needs no state but the step.

epoch's permutation = default_rng([seed, epoch])  ──>  step's slice of one global batch  ──>  rank's share, in micro-batches
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampler:
    num_samples: int
    global_batch: int  # samples of one optimiser step over all ranks
    seed: int

    def __post_init__(self) -> None:
        assert self.num_samples > 0 and self.global_batch > 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_samples // self.global_batch)

    def batch(self, step: int) -> list[int]:
        """Sample indices of the whole step. The last one of an epoch is filled up from the epoch's own beginning, so that every step
        weighs the same and every rank has work."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        start = place * self.global_batch
        return [int(order[(start + offset) % self.num_samples]) for offset in range(self.global_batch)]

    def share(self, step: int, rank: int, world: int, batch_size: int) -> list[list[int]]:
        """This rank's micro-batches of a step. Joined over the ranks they are exactly `batch`; where they do not divide, some ranks have
        fewer."""
        assert 1 <= world <= self.global_batch
        mine = self.batch(step)[rank::world]
        return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
