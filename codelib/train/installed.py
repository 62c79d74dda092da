"""What a recipe wants of the machine beside torch, asked before anything begins."""

from __future__ import annotations

import importlib.util

from codelib.train.settings import TrainSettings

_PIP = {
    "deepspeed": "pip install -c constraints.txt -e '.[deepspeed]'",
    "mlflow": "pip install mlflow",
    "wandb": "pip install wandb",
}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def missing(settings: TrainSettings) -> str | None:
    """A sentence on what this recipe wants and this machine has not; None where nothing is missing."""
    wanted = {"deepspeed": f"strategy={settings.strategy}"} if settings.strategy != "ddp" else {}
    if settings.tracker != "none":
        wanted[settings.tracker] = f"tracker={settings.tracker}"
    for module, setting in wanted.items():
        if not installed(module):
            return f"{setting}: {module} is not installed here; {_PIP[module]}, or change the setting"
    if settings.attention == "flash" and not installed("flash_attn"):
        return "attention=flash: flash_attn is not installed here; install it for this torch and CUDA, or take attention=sdpa"
    return None


def attention(settings: TrainSettings, device: str) -> str:
    """The attention implementation in transformers' words. Raises ValueError for flash-attention on a CPU."""
    gpu = device.startswith("cuda")
    if settings.attention == "flash" and not gpu:
        raise ValueError("attention=flash does not run on a CPU; take attention=auto or sdpa")
    if settings.attention == "auto":
        from transformers.utils import is_flash_attn_2_available  # this model's kind, not only a module of that name

        return "flash_attention_2" if gpu and settings.precision == "bf16" and is_flash_attn_2_available() else "sdpa"
    return {"flash": "flash_attention_2"}.get(settings.attention, settings.attention)
