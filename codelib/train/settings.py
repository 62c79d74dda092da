"""The ``train`` section of a recipe. Every value has a place in the run's ``run.json``; a run is one set of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from codelib.core.config import Settings
from codelib.models.prompt import PixelPolicy
from codelib.train.gpus import declared
from codelib.train.packer import Limits, Packing


class LoraSettings(Settings):
    """LoRA on every linear layer of the language blocks; with ``vision`` on those of the vision blocks, with ``merger`` on the two of the
    merger that brings their features into the language model. The published configuration ran with both frozen."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    vision: bool = False
    merger: bool = False


def _yes_no(value: Any) -> Any:
    """YAML reads a bare yes or no as true or false."""
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _workers(value: Any) -> Any:
    """2 as it is, [2, 4] as a pair."""
    counts = list(value) if isinstance(value, list | tuple) else [value]
    range_or_number = len(counts) == 2 or counts == [value]
    if not range_or_number or not all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts):
        raise ValueError("give a number of at least 1, or the fewest and the most, for example [2, 4]")
    return value if counts == [value] else tuple(counts)


class TrainSettings(Settings):
    model: str = "tiny"  # hub id or folder; "tiny" is built in the workspace
    tasks: tuple[Literal["train", "train-cls", "train-diagnostic"], ...] = ("train",)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)  # stops earlier than the epochs would
    # samples of one optimiser step over all workers; 0: batch_size for each of the most workers
    global_batch: int = Field(0, ge=0)
    # what one forward may hold: so many samples, or in their place so many tokens, padding included. How many forwards a step takes follows
    # from it, and nothing that is learned does
    batch_size: int = Field(2, ge=1)
    tokens_per_batch: int | None = Field(None, ge=64)
    packing: Packing = "packed"  # packed: samples end to end in one row, without padding
    # [2, 4]: as many as there is room for, at least 2; more or fewer take the same steps
    workers: Annotated[int | tuple[int, int], BeforeValidator(_workers)] = 1
    cpus_per_worker: int = Field(1, ge=1)
    use_gpu: Annotated[Literal["auto", "yes", "no"], BeforeValidator(_yes_no)] = "auto"
    precision: Literal["bf16", "fp32"] = "fp32"
    strategy: Literal["ddp", "zero2", "zero3"] = "ddp"
    # of ZeRO, to the host's memory; parameters (and the optimizer with them): ZeRO-3
    offload: Literal["none", "optimizer", "parameters"] = "none"
    activation_checkpointing: bool = False
    # auto: flash-attention where it is installed and runs, else SDPA
    attention: Literal["auto", "sdpa", "flash", "eager"] = "auto"
    learning_rate: float = Field(2e-4, gt=0)  # the peak, at the end of the warm-up
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    cut_off: int = Field(4096, ge=64)  # text and visual tokens; a longer sample is never cut
    visual_budget: int | None = Field(None, ge=1)  # visual tokens of a sample, over all its images
    over_budget: Literal["reject", "drop_images"] = (
        "reject"  # what becomes of a sample over either: left out by name, or fewer images
    )
    loader_workers: int | None = Field(None, ge=0)  # processes that decode images for each worker; default: cpus_per_worker - 1
    min_pixels: int = 56 * 56
    max_pixels: int = 448 * 448
    validation_fraction: float = Field(
        0.05, ge=0, lt=1
    )  # of the training patients, where the release has no validation side; 0: nobody
    max_validation_samples: int = Field(2000, ge=1)  # read at each checkpoint: whole patients, one at least
    checkpoint_every: int = Field(50, ge=1)  # optimiser steps; each checkpoint measures the validation loss
    best_by: Literal["loss", "accuracy"] = "loss"  # what chooses the best checkpoint: validation loss, or generated answers
    validation_answers: int = Field(64, ge=1)  # best_by accuracy: validation samples that are answered at each checkpoint
    max_failures: int = Field(2, ge=0)  # restarts by Ray Train after a worker or host was lost
    tracker: Literal["none", "mlflow", "wandb"] = "none"  # beside the TensorBoard files
    merge: bool = False  # write base and adapter as one model too
    lora: LoraSettings = LoraSettings()
    # reuse: what the frozen vision tower makes of an image is computed once, in the run's precision, and kept below the workspace
    vision_features: Literal["recompute", "reuse"] = "recompute"
    gpu: str | None = (
        None  # the type that memory and hours are planned for, as in gpus.json (A800-80GB); default: what this machine has
    )
    mfu: float = Field(0.4, gt=0, le=1)  # share of the GPU's peak that the estimate of hours counts on

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
        fewest, most = self.min_workers, self.max_workers
        if fewest > most:
            raise ValueError(f"workers=[{fewest}, {most}]: the fewest first, then the most")
        if self.global_batch == 0:
            object.__setattr__(self, "global_batch", self.batch_size * most)
        if self.global_batch < most:
            raise ValueError(f"global_batch={self.global_batch}: every one of {most} workers needs a sample in each step")
        if self.offload != "none" and self.strategy == "ddp":
            raise ValueError(f"offload={self.offload} does not go with strategy=ddp; take zero2 or zero3")
        if self.offload == "parameters" and self.strategy != "zero3":
            raise ValueError("offload=parameters goes with strategy=zero3 alone; take offload=optimizer")
        if self.attention == "flash" and self.precision != "bf16":
            raise ValueError("attention=flash does not go with precision=fp32; take bf16, or attention=sdpa")
        if self.best_by == "accuracy" and self.validation_fraction == 0:
            raise ValueError("best_by=accuracy does not go with validation_fraction=0: nobody is held back to be asked")
        if self.gpu is not None:
            declared(self.gpu)
        if self.vision_features == "reuse" and (self.lora.vision or self.lora.merger):
            raise ValueError(
                f"vision_features=reuse with lora.{'vision' if self.lora.vision else 'merger'}=true: features that are kept cannot "
                "follow adapters that learn; set vision_features=recompute, or leave vision blocks and merger frozen"
            )
        return self

    @property
    def pixels(self) -> PixelPolicy:
        return PixelPolicy(self.min_pixels, self.max_pixels)

    @property
    def max_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def min_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def limits(self) -> Limits:
        """Of one micro-batch."""
        return Limits(self.batch_size if self.tokens_per_batch is None else None, self.tokens_per_batch, self.packing)

    @property
    def loaders(self) -> int:
        """Loader processes of each worker; none: a thread of the worker decodes."""
        return self.cpus_per_worker - 1 if self.loader_workers is None else self.loader_workers
