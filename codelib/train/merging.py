"""Base and adapter as one model, with every file that the stock AutoProcessor wants.

base's folder or cache ─┬─ weights + adapter ── merge_and_unload ── *.safetensors, config
                        └─ tokenizer, template, image and video processor ── copied as they are
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

VIDEO = "video_preprocessor_config.json"
_IMAGE = "preprocessor_config.json"
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "processor_config.json",
    _IMAGE,
    VIDEO,
)


def _copy_processor(model: str, folder: Path) -> None:
    from transformers.utils import cached_file

    for file in _FILES:
        found = cached_file(model, file, local_files_only=True, _raise_exceptions_for_missing_entries=False)
        if found:
            shutil.copyfile(found, folder / file)
    video, image = folder / VIDEO, folder / _IMAGE
    if not video.exists() and image.exists():
        # a base without one is older than the file: the stock processor then read the image settings in its place
        settings = json.loads(image.read_text(encoding="utf-8"))
        settings.pop("image_processor_type", None)
        settings.pop("processor_class", None)
        video.write_text(json.dumps(settings | {"video_processor_type": "Qwen2VLVideoProcessor"}, indent=2), encoding="utf-8")


def merge(model: str, adapter: str, folder: str, dtype: str) -> None:
    """Write the merged model to ``folder``, whole or not at all."""
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    base: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=getattr(torch, dtype), local_files_only=True)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    target = Path(folder)
    temporary = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        merged.save_pretrained(str(temporary))
        _copy_processor(model, temporary)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
