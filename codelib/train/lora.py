"""Where the LoRA adapters stand, through stock peft: every linear layer of every language block, and of the vision tower on demand."""

from __future__ import annotations

from typing import Any

from codelib.train.settings import LoraSettings

# whole names of modules, as peft matches them
LANGUAGE = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
VISION = r".*visual\.(blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)|merger\.mlp\.[02])"


def target_modules(settings: LoraSettings) -> str:
    return f"({LANGUAGE}|{VISION})" if settings.vision else LANGUAGE


def add_adapters(model: Any, settings: LoraSettings) -> Any:
    """The model with fresh adapters: its own weights frozen, the adapters trainable in float32."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=target_modules(settings),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def num_trainable(model: Any) -> int:
    # under ZeRO-3 a parameter is empty here and keeps its whole size in ds_numel
    return sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad)
