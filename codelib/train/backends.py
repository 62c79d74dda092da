"""How one optimiser step is taken over several workers: plain data parallel, or DeepSpeed ZeRO 2 and 3.

Both do the same things: compute a loss, step at a given learning rate, hand out the adapter, give and take the state of training.

    DataParallel  adapters' gradients are averaged by torch DDP; every rank holds the same optimiser   (CPU with gloo, GPU with NCCL)
    Zero          codelib.train.zero: DeepSpeed shards optimiser and gradients (stage 2), and the frozen weights too (stage 3)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from codelib.models.encoding import IGNORED
from codelib.train.checkpoints import Share, Whole
from codelib.train.settings import TrainSettings
from codelib.train.vision_features import with_features

Batch = Mapping[str, Any]  # tensors; of packed rows the segments' lengths too


def answer_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Summed negative log likelihood of the labelled tokens, in nats."""
    labels = batch["labels"][:, 1:]
    # the head is applied only where an answer token comes next: with 150,000 words the rest would fill the GPU
    answered = torch.nn.functional.pad(labels != IGNORED, (0, 1))
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits = model(**with_features(inputs), use_cache=False, logits_to_keep=answered).logits.float()
    return torch.nn.functional.cross_entropy(logits, labels[answered[:, :-1]], reduction="sum")


class Backend(Protocol):
    model: Any  # the peft model, for its configuration and its mode

    def accumulate(self, batch: Batch, scale: float, last: bool) -> float:
        """Forward and backward of one micro-batch, its summed loss times ``scale``; ``last`` of the step. Returns the summed loss."""
        ...

    def step(self, learning_rate: float) -> float:
        """One clipped optimiser step; returns the gradients' norm before clipping. One that is not finite changes nothing where it can be
        seen in time (DDP), and must end the run."""
        ...

    def measure(self, batch: Batch) -> float:
        """The summed loss, without gradients."""
        ...

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits at every place, without gradients; every rank must call it."""
        ...

    def generate(self, batch: Batch, **options: Any) -> torch.Tensor:
        """As the model's own; every rank must call it."""
        ...

    def adapter(self) -> dict[str, torch.Tensor] | None:
        """The adapter's weights on the CPU, on rank 0; every rank must call it."""
        ...

    def set_adapter(self, weights: Mapping[str, torch.Tensor] | None) -> None:
        """Put rank 0's other weights in its place, to look at what they do. No step may follow; every rank must call it."""
        ...

    def share(self) -> Share | None:
        """A copy, on the CPU, of what this rank holds of weights and optimiser; None where another rank has all of it."""
        ...

    def restore(self, whole: Whole) -> None:
        """Go on from here; every rank must call it."""
        ...

    def discard(self) -> None:
        """Forget gradients that were only tried out."""
        ...


def adamw(parameters: list[Any], settings: TrainSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.999))


class DataParallel:
    def __init__(self, model: Any, settings: TrainSettings, rank: int, world: int) -> None:
        self.model, self.rank, self.max_norm = model, rank, settings.max_grad_norm
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimiser = adamw(list(self.parameters.values()), settings)
        self.wrapped: Any = model
        if world > 1:
            from torch.nn.parallel import DistributedDataParallel

            # with adapters in the vision tower or merger, a micro-batch without an image leaves them unused
            self.wrapped = DistributedDataParallel(model, find_unused_parameters=settings.lora.vision or settings.lora.merger)

    def accumulate(self, batch: Batch, scale: float, last: bool) -> float:
        wait = contextlib.nullcontext() if last or self.wrapped is self.model else self.wrapped.no_sync()
        with wait:
            loss = answer_loss(self.wrapped, batch)
            (loss * scale).backward()
        return float(loss.detach())

    def step(self, learning_rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        for parameter in self.parameters.values():
            if parameter.grad is None:  # vision adapters in a step without an image: AdamW counts it as one, as ZeRO does
                parameter.grad = torch.zeros_like(parameter)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.max_norm))
        if math.isfinite(norm):
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def measure(self, batch: Batch) -> float:
        with torch.no_grad():
            return float(answer_loss(self.model, batch))

    def forward(self, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            return self.model(**batch, use_cache=False).logits

    def generate(self, batch: Batch, **options: Any) -> torch.Tensor:
        with torch.no_grad():
            return self.model.generate(**batch, **options)

    def adapter(self) -> dict[str, torch.Tensor] | None:
        from peft import get_peft_model_state_dict

        if self.rank:
            return None
        return {name: tensor.detach().cpu().clone() for name, tensor in get_peft_model_state_dict(self.model).items()}

    def set_adapter(self, weights: Mapping[str, torch.Tensor] | None) -> None:
        from peft import set_peft_model_state_dict

        if weights is not None:
            set_peft_model_state_dict(self.model, dict(weights))

    def share(self) -> Share | None:
        if self.rank:
            return None
        pieces = {}
        for name, parameter in self.parameters.items():
            moments = self.optimiser.state[parameter]
            held = {"weight": parameter, "exp_avg": moments["exp_avg"], "exp_avg_sq": moments["exp_avg_sq"]}
            pieces.update({(kind, name): (0, tensor.detach().flatten().float().cpu().clone()) for kind, tensor in held.items()})
        return Share(pieces, int(moments["step"]))

    def restore(self, whole: Whole) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(whole.of("weight", name, parameter.shape))
                # as AdamW would have made it at its first step
                self.optimiser.state[parameter] = {"step": torch.tensor(float(whole.updates))} | {
                    kind: torch.empty_like(parameter).copy_(whole.of(kind, name, parameter.shape))
                    for kind in ("exp_avg", "exp_avg_sq")
                }

    def discard(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)


def make_backend(model: Any, settings: TrainSettings, rank: int, world: int) -> Backend:
    if settings.strategy == "ddp":
        return DataParallel(model, settings, rank, world)
    from codelib.train.zero import Zero

    return Zero(model, settings, rank, world)
