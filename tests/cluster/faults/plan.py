"""What a drill kills, and when: everything drawn from one number, so that a drill is told by it and can be made again.

A moment is a share of the job's progress and not a time: the same kill meets the same work on a fast machine and on a slow one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from tests.cluster.hosts import HOSTS

Kind = Literal["worker", "actor", "raylet", "host", "driver"]
Over = Literal["dataset", "training"]

CI_SEEDS = (0, 16, 7, 5)  # two over each job; between them all kinds, the head's loss among them
KINDS: tuple[Kind, ...] = ("worker", "actor", "raylet", "host", "driver")
_SPAN = (0.03, 0.95)  # before it there is nothing to lose, after it nothing left to kill
_MOST = 3  # kills of one drill


@dataclass(frozen=True)
class Kill:
    kind: Kind
    at: float  # share of the job's progress
    host: (
        str  # where; the driver is on the first host alone, and a worker or actor wherever there is one, where there is none here
    )
    pick: float  # 0..1: which of the processes of this kind there
    returns: bool  # of a host: whether it is switched on again while the job runs; the head is

    def __str__(self) -> str:
        stays_off = self.kind == "host" and not self.returns
        return f"{self.kind} on {self.host} at {self.at:.0%}{', which stays off' if stays_off else ''}"


@dataclass(frozen=True)
class Drill:
    seed: int
    over: Over
    kills: tuple[Kill, ...]
    workers: int  # of a training run, at most: 1 with dropout, 2 without

    def __str__(self) -> str:
        return f"seed={self.seed} over a {self.over} job: {'; '.join(map(str, self.kills))}"


def draw(seed: int) -> Drill:
    """The drill of a number: even ones over a dataset job, odd ones over a training run; one to three kills of different kinds."""
    rng = random.Random(f"{seed} faults")
    kinds = rng.sample(KINDS, rng.randint(1, _MOST))
    moments = sorted(round(rng.uniform(*_SPAN), 4) for _ in kinds)
    kills = []
    for kind, at in zip(kinds, moments, strict=True):
        host = HOSTS[0] if kind == "driver" else rng.choice(HOSTS)
        pick, returns = round(rng.random(), 4), rng.random() < 0.5
        kills.append(Kill(kind, at, host, pick, returns or host == HOSTS[0]))
    return Drill(seed, "training" if seed % 2 else "dataset", tuple(kills), rng.randint(1, 2))
