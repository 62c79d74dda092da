"""A Qwen2.5-VL by hub id or folder; the tiny model of the tests is loaded by the same code.

    name or folder ──> load_processor ──> tokenizer + chat template + image settings
                   └─> load_base      ──> base weights on a device; adapters: codelib.models.lora_rows

The stock processor wants a video processor and that wants torchvision, which has no build beside a CPU torch (and whose resize
differs from Pillow's). Photographs and radiographs need neither: the processor here is the upstream class without its video part.
Nothing is downloaded at run time: a hub id is looked up in the local cache.
"""

from __future__ import annotations

import gc
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

ORIGIN = "merged.json"  # in a model of jobs.merge: where it comes from
WAY_OUT = "give a folder in Hugging Face format, or fetch the model beforehand with `hf download {name}`"


@cache
def _processor_class() -> type:
    """Upstream's processor without video, under upstream's name, so that saved files name the class that others have."""
    from transformers import Qwen2_5_VLProcessor
    from transformers.processing_utils import ProcessorMixin

    def __init__(self: Any, image_processor: Any, tokenizer: Any, chat_template: str | None = None, **kwargs: Any) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return type(
        "Qwen2_5_VLProcessor",
        (Qwen2_5_VLProcessor,),
        {"__init__": __init__, "attributes": ["image_processor", "tokenizer"], "__module__": __name__},
    )


def make_processor(image_processor: Any, tokenizer: Any, chat_template: str) -> Any:
    return _processor_class()(image_processor, tokenizer, chat_template=chat_template)


def check_files(name: str, what: str, file: str) -> None:
    """A clear sentence before a library's long one: ValueError where ``name`` has no ``file``. A name with a path's looks must be a folder."""
    path = Path(name)
    if path.is_dir():
        if not (path / file).is_file():
            raise ValueError(f"{what} {name}: the folder has no {file}; {WAY_OUT.format(name='NAME')}")
    elif path.exists():
        raise ValueError(f"{what} {name}: a file; give the folder that holds {file}")
    elif path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise ValueError(f"{what} {name}: no such folder; {WAY_OUT.format(name='ORGANISATION/NAME')}")


def _chat_template(name: str, tokenizer: Any) -> str:
    if tokenizer.chat_template:
        return str(tokenizer.chat_template)
    from transformers.utils import cached_file

    # older releases keep the template beside the tokenizer, as JSON
    for file in ("chat_template.jinja", "chat_template.json"):
        found = cached_file(name, file, local_files_only=True, _raise_exceptions_for_missing_entries=False)
        if found:
            text = Path(found).read_text(encoding="utf-8")
            return json.loads(text)["chat_template"] if file.endswith(".json") else text
    raise ValueError(f"model {name}: no chat template; an instruction-tuned Qwen2.5-VL has one")


def import_all() -> None:
    """Import what loading and asking a model takes, without Python's collector: it would look through the same hundred thousand new objects
    again and again, a fifth of the whole. Modules stay to the end, so it need not look at them later either."""
    collects = gc.isenabled()
    gc.disable()
    try:
        import peft  # noqa: F401
        from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil  # noqa: F401
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def load_processor(name: str) -> Any:
    """Tokenizer, chat template and image settings of a model. Raises ValueError where the model is not to be had."""
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

    check_files(name, "model", "config.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(name, local_files_only=True)
    except OSError:
        raise ValueError(f"model {name}: not on this machine; {WAY_OUT.format(name=name)}") from None
    return make_processor(image_processor, tokenizer, _chat_template(name, tokenizer))


def default_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    check_given_gpu()
    return "cpu"


class NoCuda(ValueError):
    """A GPU was given, and torch cannot use it."""


def check_given_gpu() -> None:
    """Raises NoCuda where Ray gave this process a GPU that torch does not see: it would be held, and paid for, while a CPU works."""
    import torch

    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or not ray.get_gpu_ids() or torch.cuda.is_available():
        return
    raise NoCuda(
        f"Ray gave a GPU, and torch {torch.__version__} sees none: "
        + (
            f"it is built for CUDA {torch.version.cuda}, and NVIDIA's driver here may be too old for that (`nvidia-smi` shows both; "
            "CUDA 13 needs driver 580 or newer)"
            if torch.version.cuda
            else "it is a build for CPUs; install the one for CUDA"
        )
    )


def load_base(name: str, dtype: str = "auto", device: str = "auto", attention: str | None = None) -> Any:
    """The bare model, without adapter. ``dtype`` float32 | bfloat16 | auto (bfloat16 on a GPU); ``device`` cpu | cuda | cuda:N | auto;
    ``attention`` as transformers names it (sdpa, flash_attention_2, eager), None: its own choice."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # our own progress speaks
    device = default_device() if device == "auto" else device
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype {dtype}: float32, bfloat16 or auto")
    check_files(name, "model", "config.json")
    try:
        model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            name, dtype=getattr(torch, dtype), local_files_only=True, attn_implementation=attention
        )
    except OSError:
        raise ValueError(f"model {name}: not on this machine; {WAY_OUT.format(name=name)}") from None
    return model.to(device)
