"""How one optimiser step is taken over several workers: plain data parallel, or DeepSpeed ZeRO 2 and 3.

Both do the same four things: compute a loss, step at a given learning rate, hand out the adapter, save and restore the optimiser.

    DataParallel  adapters' gradients are averaged by torch DDP; every rank holds the same optimiser   (CPU with gloo, GPU with NCCL)
    Zero          DeepSpeed shards optimiser and gradients (stage 2), and the frozen weights too (stage 3)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from codelib.models.encoding import IGNORED
from codelib.train.settings import TrainSettings

Batch = Mapping[str, Any]  # tensors; of packed rows the segments' lengths too


def answer_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Summed negative log likelihood of the labelled tokens, in nats."""
    labels = batch["labels"][:, 1:]
    # the head is applied only where some sample has an answer token next: with 150,000 words the rest would fill the GPU
    places = (labels != IGNORED).any(dim=0).nonzero().flatten()
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False, logits_to_keep=places).logits.float()
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, places].flatten(), ignore_index=IGNORED, reduction="sum"
    )


class Backend(Protocol):
    def accumulate(self, batch: Batch, scale: float, last: bool) -> float:
        """Forward and backward of one micro-batch, its summed loss times ``scale``; ``last`` of the step. Returns the summed loss."""
        ...

    def step(self, learning_rate: float) -> None: ...

    def measure(self, batch: Batch) -> float:
        """The summed loss, without gradients."""
        ...

    def adapter(self) -> dict[str, torch.Tensor] | None:
        """The adapter's weights on the CPU, on rank 0; every rank must call it."""
        ...

    def save(self, folder: Path) -> None:
        """Weights and optimiser, as far as this rank holds them; every rank must call it."""
        ...

    def load(self, folder: Path) -> None: ...


class DataParallel:
    def __init__(self, model: Any, settings: TrainSettings, rank: int, world: int) -> None:
        self.model, self.rank, self.max_norm = model, rank, settings.max_grad_norm
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.999)
        )
        self.wrapped: Any = model
        if world > 1:
            from torch.nn.parallel import DistributedDataParallel

            # with adapters in the vision tower, a micro-batch without an image leaves them unused
            self.wrapped = DistributedDataParallel(model, find_unused_parameters=settings.lora.vision)

    def accumulate(self, batch: Batch, scale: float, last: bool) -> float:
        wait = contextlib.nullcontext() if last or self.wrapped is self.model else self.wrapped.no_sync()
        with wait:
            loss = answer_loss(self.wrapped, batch)
            (loss * scale).backward()
        return float(loss.detach())

    def step(self, learning_rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def measure(self, batch: Batch) -> float:
        with torch.no_grad():
            return float(answer_loss(self.model, batch))

    def adapter(self) -> dict[str, torch.Tensor] | None:
        from peft import get_peft_model_state_dict

        if self.rank:
            return None
        return {name: tensor.detach().cpu().clone() for name, tensor in get_peft_model_state_dict(self.model).items()}

    def save(self, folder: Path) -> None:
        if self.rank == 0:
            weights = [p.detach().cpu() for p in self.parameters]
            torch.save({"weights": weights, "optimiser": self.optimiser.state_dict()}, folder / "state.pt")

    def load(self, folder: Path) -> None:
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["weights"], strict=True):
                parameter.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])


class Zero:
    def __init__(self, model: Any, settings: TrainSettings, rank: int, world: int) -> None:
        import deepspeed

        self.rank, self.model = rank, model
        self.stage = 3 if settings.strategy == "zero3" else 2
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.999)
        )
        self.engine, self.optimiser, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimiser,
            model_parameters=parameters,
            config={
                "train_micro_batch_size_per_gpu": settings.batch_size,
                "gradient_accumulation_steps": settings.gradient_accumulation,
                "gradient_clipping": settings.max_grad_norm,
                "bf16": {"enabled": settings.precision == "bf16"},
                "zero_optimization": {"stage": self.stage},
                # torch's AdamW under ZeRO: tested by us, not on DeepSpeed's list; its own CPU kernel would need a compiler
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": 10**9,
            },
            dist_init_required=False,
        )

    def accumulate(self, batch: Batch, scale: float, last: bool) -> float:
        self.engine.set_gradient_accumulation_boundary(last)
        loss = answer_loss(self.engine, batch)
        self.engine.backward(loss * scale, scale_wrt_gas=False)  # the scale holds the accumulation already
        if not last:
            self.engine.step()  # only counts the micro-batch
        return float(loss.detach())

    def step(self, learning_rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.engine.step()

    def measure(self, batch: Batch) -> float:
        with torch.no_grad():
            return float(answer_loss(self.engine, batch))

    @contextlib.contextmanager
    def _gathered(self) -> Iterator[None]:
        """Under stage 3 a parameter is spread over the ranks."""
        if self.stage < 3:
            yield
            return
        import deepspeed

        with deepspeed.zero.GatheredParameters([p for p in self.model.parameters() if p.requires_grad]):
            yield

    def adapter(self) -> dict[str, torch.Tensor] | None:
        from peft import get_peft_model_state_dict

        with self._gathered():
            if self.rank:
                return None
            state = get_peft_model_state_dict(self.model)
            return {name: tensor.detach().float().cpu().clone() for name, tensor in state.items()}

    def save(self, folder: Path) -> None:
        # frozen weights are the base's and stay out
        self.engine.save_checkpoint(str(folder), tag="zero", exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        found, _ = self.engine.load_checkpoint(str(folder), tag="zero", load_module_strict=False)
        assert found is not None, "the checkpoint has no ZeRO state"


def make_backend(model: Any, settings: TrainSettings, rank: int, world: int) -> Backend:
    return (DataParallel if settings.strategy == "ddp" else Zero)(model, settings, rank, world)
