"""The ``train`` section of a recipe. Every value has a place in the run's ``run.json``; a run is one set of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from codelib.core.config import Settings
from codelib.models.prompt import PixelPolicy


class LoraSettings(Settings):
    """LoRA on every linear layer of the language blocks; with ``vision`` on those of the vision tower and its merger too."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    vision: bool = False


def _yes_no(value: Any) -> Any:
    """YAML reads a bare yes or no as true or false."""
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


class TrainSettings(Settings):
    model: str = "tiny"  # hub id or folder; "tiny" is built in the workspace
    tasks: tuple[Literal["train", "train-cls", "train-diagnostic"], ...] = ("train",)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)  # stops earlier than the epochs would
    batch_size: int = Field(2, ge=1)  # samples of one worker in one forward
    gradient_accumulation: int = Field(1, ge=1)
    workers: int = Field(1, ge=1)
    cpus_per_worker: int = Field(1, ge=1)
    use_gpu: Annotated[Literal["auto", "yes", "no"], BeforeValidator(_yes_no)] = "auto"
    precision: Literal["bf16", "fp32"] = "fp32"
    strategy: Literal["ddp", "zero2", "zero3"] = "ddp"
    activation_checkpointing: bool = False
    learning_rate: float = Field(2e-4, gt=0)  # the peak, at the end of the warm-up
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    cut_off: int = Field(4096, ge=64)  # text and visual tokens; a longer sample is never cut
    visual_budget: int | None = Field(None, ge=1)  # visual tokens of a sample, over all its images
    over_budget: Literal["reject", "drop_images"] = (
        "reject"  # what becomes of a sample over either: left out by name, or fewer images
    )
    packing: Literal["packed", "padded"] = "packed"  # packed: samples end to end in one row, without padding
    tokens_per_batch: int | None = Field(
        None, ge=64
    )  # of one forward, padding included; default: batch_size samples, however long
    loader_workers: int | None = Field(None, ge=0)  # processes that decode images for each worker; default: cpus_per_worker - 1
    min_pixels: int = 56 * 56
    max_pixels: int = 448 * 448
    validation_fraction: float = Field(
        0.05, ge=0, lt=1
    )  # of the training patients, where the release has no validation side; 0: nobody
    checkpoint_every: int = Field(50, ge=1)  # optimiser steps; each checkpoint measures the validation loss
    max_failures: int = Field(2, ge=0)  # restarts by Ray Train after a worker or host was lost
    lora: LoraSettings = LoraSettings()

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        self.pixels  # noqa: B018  the policy has limits of its own
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks: name at least one, each once")
        if "train" in self.tasks and len(self.tasks) > 1:
            raise ValueError("tasks: train already holds train-cls and train-diagnostic")
        if self.tokens_per_batch is not None and self.tokens_per_batch < self.cut_off:
            raise ValueError(
                f"tokens_per_batch={self.tokens_per_batch}: a sample may have cut_off={self.cut_off} tokens; raise it, or lower cut_off"
            )
        return self

    @property
    def pixels(self) -> PixelPolicy:
        return PixelPolicy(self.min_pixels, self.max_pixels)

    @property
    def loaders(self) -> int:
        """Loader processes of each worker; none: a thread of the worker decodes."""
        return self.cpus_per_worker - 1 if self.loader_workers is None else self.loader_workers

    @property
    def global_batch(self) -> int:
        """Samples of one optimiser step, over all workers."""
        return self.batch_size * self.gradient_accumulation * self.workers
