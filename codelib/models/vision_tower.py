"""The vision tower of a Qwen2.5-VL by itself, merger included: what turns an image's patches into the language model's visual tokens.

hub id or folder ──> config.json + the weights below ``visual.`` alone ──> tower   (of the 7B model 1.4 GB in place of 16.6)
                                                                     └──> fingerprint: SHA-256 over those weights
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codelib.models.loading import WAY_OUT

# published checkpoints call it visual., those that transformers 5 writes model.visual.
_VISUAL = re.compile(r"(?:.*\.)?visual\.(.+)")


def _file(name: str, file: str) -> Path | None:
    from transformers.utils import cached_file

    found = cached_file(
        name,
        file,
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def _weight_files(name: str) -> list[Path]:
    """The safetensors files that hold weights of the vision tower. Raises ValueError where there are none."""
    single = _file(name, "model.safetensors")
    if single:
        return [single]
    index = _file(name, "model.safetensors.index.json")
    if index:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = [_file(name, file) for file in sorted({file for key, file in shards.items() if _VISUAL.fullmatch(key)})]
        if files and all(files):
            return [file for file in files if file]
    raise ValueError(f"model {name}: its weights (model.safetensors) are not on this machine; {WAY_OUT.format(name=name)}")


def _weights(name: str) -> Iterator[tuple[str, Any]]:
    """Names below ``visual.`` with their tensors, one at a time, in a fixed order."""
    from safetensors import safe_open

    for file in _weight_files(name):
        with safe_open(str(file), "pt") as tensors:
            for key in sorted(tensors.keys()):
                if found := _VISUAL.fullmatch(key):
                    yield found.group(1), tensors.get_tensor(key)


def fingerprint(name: str) -> str:
    """What tells one vision tower from another: of two models tuned from one base with a frozen tower it is the same."""
    import torch

    parts = {}
    for key, tensor in _weights(name):
        values = tensor.contiguous().view(torch.uint8).numpy()
        parts[key] = hashlib.sha256(values.tobytes()).hexdigest() + str(tensor.dtype)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_tower(name: str, dtype: str, device: str) -> Any:
    """The tower with its weights, for inference. dtype: float32 | bfloat16. Raises ValueError where the model is not to be had."""
    import torch
    from transformers import AutoConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    weights = dict(_weights(name))
    config = AutoConfig.from_pretrained(name, local_files_only=True).vision_config
    tower = Qwen2_5_VisionTransformerPretrainedModel._from_config(config, dtype=getattr(torch, dtype))
    tower.load_state_dict(weights)
    return tower.to(device).eval()
