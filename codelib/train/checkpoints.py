"""What a checkpoint of a run holds, so that the last one alone is enough to go on, and to finish.

    <checkpoint>/progress.json   step, best step and loss, the curve of every step so far
                 state.pt        adapter weights and optimiser (ZeRO: a folder with every rank's part)
                 adapter/        the adapter of this step, in stock PEFT format
                 best/           the adapter of the best validation loss so far

The order of samples, dropout and the learning rate are functions of (seed, step, rank): no generator's state has to be kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass
class Curve:
    """One line of curves.csv."""

    step: int  # 1.. optimiser steps done
    epoch: float
    loss: float  # per answer token, nats
    learning_rate: float
    validation_loss: float | None = None


@dataclass
class TrainProgress:
    step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    curve: list[Curve] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        (folder / "progress.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> TrainProgress:
        values = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        return cls(**{**values, "curve": [Curve(**line) for line in values["curve"]]})


def write_adapter(folder: Path, model: Any, weights: dict[str, torch.Tensor], base: str) -> None:
    """The adapter as stock peft loads it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = model.peft_config["default"]
    before = config.inference_mode, config.base_model_name_or_path
    config.inference_mode, config.base_model_name_or_path = True, base
    config.save_pretrained(str(folder))
    config.inference_mode, config.base_model_name_or_path = before
    save_file({name: tensor.contiguous() for name, tensor in sorted(weights.items())}, str(folder / "adapter_model.safetensors"))


def read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(str(folder / "adapter_model.safetensors"))
