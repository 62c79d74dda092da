"""Where the LoRA adapters stand, through stock peft: every linear layer of every language block; vision blocks and merger on demand.

    LoraSettings ── expected (from the sizes alone, for the plan) ──┐ the same numbers
                 └─ add_adapters (peft, on the model) ── placed ────┘ ──> lines for the log

In bf16 the adapters' weights stay float32, as the optimiser wants them, and are multiplied in bfloat16 under autocast. Left to itself
peft would copy every layer's input to float32 first, once for each of its seven layers, and keep the copies for the backward pass
(counted in tests/unit/test_train_memory.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codelib.models.architecture import Architecture
from codelib.train.settings import LoraSettings, TrainSettings

# whole names of modules, as peft matches them
PLACES = {
    "language": r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)",
    "vision": r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
    "merger": r".*visual\.merger\.mlp\.[02]",
}
_CALLED = {"language": "language blocks", "vision": "vision blocks", "merger": "merger"}


@dataclass(frozen=True)
class Adapted:
    """What adapters stand on in one part of the model."""

    place: str  # language | vision | merger
    layers: dict[str, int]  # linear layers by name
    parameters: int  # trainable

    def __str__(self) -> str:
        names = ", ".join(self.layers)
        return f"{_CALLED[self.place]}: {sum(self.layers.values())} linear layers ({names}), {self.parameters:,} parameters"


def places(settings: LoraSettings) -> list[str]:
    chosen = {"language": True, "vision": settings.vision, "merger": settings.merger}
    return [place for place, wanted in chosen.items() if wanted]


def target_modules(settings: LoraSettings) -> str:
    return "|".join(f"(?:{PLACES[place]})" for place in places(settings))


def add_adapters(model: Any, settings: LoraSettings) -> Any:
    """The model with fresh adapters: its own weights frozen, the adapters trainable in float32."""
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=target_modules(settings),
        task_type="CAUSAL_LM",
    )
    tuned = get_peft_model(model, config)
    dtype = next(model.parameters()).dtype
    if dtype == torch.bfloat16:
        for module in tuned.modules():
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        device = next(model.parameters()).device.type
        if device != "meta":
            # as accelerate does it: the model's forward pass itself knows its precision, also when peft's generate goes past peft's forward
            model.forward = torch.autocast(device, dtype)(model.forward)
    return tuned


def adapted(model: Any, settings: TrainSettings) -> Any:
    """The model ready to train: adapters, and activations kept or computed again as the settings say."""
    if settings.activation_checkpointing:
        model.activation_checkpointing_enable()
        model.disable_input_require_grads()
    tuned = add_adapters(model, settings.lora)
    if settings.activation_checkpointing:
        # transformers and peft (each its own) make every input ask for a gradient, which the reentrant kind of checkpointing needs and this
        # kind does not: a frozen vision tower would be computed again and trained through, a third more than a 3B model's step needs
        model.disable_input_require_grads()
    return tuned


def expected(architecture: Architecture, settings: LoraSettings) -> list[Adapted]:
    """What `add_adapters` will make of a model of these sizes."""
    return [
        Adapted(
            place,
            {one.name: one.count for one in architecture.linear_layers() if one.place == place},
            sum(one.lora_parameters(settings.rank) for one in architecture.linear_layers() if one.place == place),
        )
        for place in places(settings)
    ]


def numel(parameter: Any) -> int:
    # under ZeRO-3 a parameter is empty here and keeps its whole size in ds_numel
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def num_trainable(model: Any) -> int:
    return sum(numel(p) for p in model.parameters() if p.requires_grad)


def placed(model: Any) -> list[Adapted]:
    """What stands on a model with adapters."""
    found: list[Adapted] = []
    for place, pattern in PLACES.items():
        # base_model.model.model.visual.merger.mlp.0.lora_A.default.weight: the layer, then peft's own names
        of_layer = {
            name: (layer, numel(parameter))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and ".lora_" in name and re.fullmatch(pattern, layer := name.split(".lora_")[0])
        }
        layers = Counter(_name(layer, place) for layer in {layer for layer, _ in of_layer.values()})
        if of_layer:
            order = list(dict.fromkeys(_name(layer, place) for layer, _ in of_layer.values()))
            found.append(Adapted(place, {name: layers[name] for name in order}, sum(size for _, size in of_layer.values())))
    return found


def _name(layer: str, place: str) -> str:
    parts = layer.split(".")
    return ".".join(parts[-2:]) if place == "merger" else parts[-1]


def lines(adapted: Sequence[Adapted], settings: LoraSettings, num_parameters: int) -> list[str]:
    """For the plan and the log: which layers, how many parameters, what share of the model with its adapters."""
    trainable = sum(one.parameters for one in adapted)
    frozen = [_CALLED[place] for place in PLACES if place not in {one.place for one in adapted}]
    return [
        f"adapters    LoRA rank {settings.rank}, alpha {settings.alpha}, dropout {settings.dropout:g}: {trainable:,} trainable of "
        f"{num_parameters + trainable:,} parameters ({trainable / (num_parameters + trainable):.2%})",
        *(f"            on the {one}" for one in adapted),
        *([f"            frozen: {' and '.join(frozen)}"] if frozen else []),
    ]


def log_lines(model: Any, settings: LoraSettings) -> list[str]:
    """`lines` of a model that has its adapters."""
    total = sum(numel(p) for p in model.parameters())
    return lines(placed(model), settings, total - num_trainable(model))
