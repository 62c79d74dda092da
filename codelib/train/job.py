"""What a worker is told, where it stands, and whom it talks to: plain values, so that the loop runs with Ray around it or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codelib.core.near import Near
from codelib.core.stage import Part
from codelib.train.sampler import Sampler
from codelib.train.settings import TrainSettings


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, as plain values."""

    settings: TrainSettings
    dataset: str  # folder
    model: str  # hub id or folder
    base_name: str  # what the adapter says it was made for
    training: tuple[str, ...]  # sample ids, in the plan's order
    validation: tuple[str, ...]
    tokens: tuple[int, ...] = ()  # of each training sample, where they are known
    examples: tuple[Part, ...] = ()  # token-ready shards; without them a worker makes its examples itself, in memory
    features: str | None = None  # folder of the vision features, where they are reused
    profile: bool = False  # write a trace of a few steps
    near: tuple[Near, ...] = ()  # copies that dataset and model lie in, to be made on each node

    @property
    def sampler(self) -> Sampler:
        lengths = self.tokens or (1,) * len(self.training)
        return Sampler(lengths, self.settings.global_batch, self.settings.seed, self.settings.limits)

    @property
    def total_steps(self) -> int:
        steps = self.sampler.steps_per_epoch * self.settings.epochs
        return min(steps, self.settings.max_steps or steps)


@dataclass(frozen=True)
class Place:
    """Where a worker stands."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    def sum(self, values: list[float]) -> list[float]:
        """Element by element over all ranks; every rank must call it."""
        if self.world == 1:
            return values
        import torch

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor]

    def agree(self, value: Any) -> Any:
        """What rank 0 has; every rank must call it."""
        if self.world == 1:
            return value
        import torch

        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]


class Channel:
    """Between the first worker and the driver. This one has nobody at the other end: nothing is heard, nobody asks to stop."""

    def say(self, line: str) -> None:
        """A line for a person."""

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured at a step, by name, for curves."""

    def stop_wanted(self) -> bool:
        """Whether to write a checkpoint at the next step boundary and leave."""
        return False
