"""The GPUs that a run is planned for: what they hold and what they can do, as their data sheets say (gpus.json).

``bf16_tflops`` is the dense tensor-core peak (NVIDIA's data sheets of A800/A100, H100 and H200); ``memory_gib`` what CUDA reports of the
nominal memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from codelib.core.config import nearest


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_gib: float
    bf16_tflops: float | None  # None: a card that the list does not know
    cards: tuple[str, ...] = ()


@cache
def known() -> dict[str, Gpu]:
    listed = json.loads((Path(__file__).parent / "gpus.json").read_text(encoding="utf-8"))
    return {one["name"]: Gpu(**{**one, "cards": tuple(one["cards"])}) for one in listed}


def declared(name: str) -> Gpu:
    """Raises ValueError naming the nearest one."""
    if name not in known():
        raise ValueError(f"gpu={name}: unknown; {nearest(name, known())}")
    return known()[name]


def of_card(card: str, memory_gib: float) -> Gpu:
    """A card as CUDA calls it, with the memory that it reports."""
    listed = next((gpu for gpu in known().values() if card in gpu.cards), None)
    return Gpu(card, memory_gib, listed.bf16_tflops if listed else None)


def found() -> Gpu | None:
    """The first GPU of this machine; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return of_card(properties.name, properties.total_memory / 2**30)
