"""Base and adapter as one model, with every file that the stock AutoProcessor wants.

base's folder or cache ─┬─ weights + adapter ── merge_and_unload ── *.safetensors, config
                        └─ tokenizer, template, image and video processor ── copied as they are
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from codelib.models.loading import ORIGIN

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


def _tuned(base: Any, model: str, adapter: str) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # of weights that the file has not, or by other names, peft only warns: the merged model would be the base under another name
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(base, adapter)
    except UserWarning:
        raise ValueError(
            f"adapter {adapter}: weights of some of its layers are missing, or have other names than those of {model}; copy the whole folder "
            "again, or give the base that it was made for"
        ) from None
    except json.JSONDecodeError:
        raise ValueError(f"adapter {adapter}: adapter_config.json is not JSON") from None
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise ValueError(
            f"adapter {adapter}: made for a base of other sizes than {model}; give the base that it was made for"
        ) from None


def merge(model: str, adapter: str, folder: str, dtype: str, origin: Mapping[str, Any] | None = None) -> None:
    """Write the merged model to ``folder``, whole or not at all. Raises ValueError for an adapter that cannot be read or is not this base's.

    origin: what is to stand in ``merged.json`` about where it comes from, for a model that lies in no run.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    base: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=getattr(torch, dtype), local_files_only=True)
    merged = _tuned(base, model, adapter).merge_and_unload(safe_merge=True)
    target = Path(folder)
    temporary = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        merged.save_pretrained(str(temporary))
        _copy_processor(model, temporary)
        if origin is not None:
            (temporary / ORIGIN).write_text(json.dumps(origin, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
