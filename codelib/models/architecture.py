"""The sizes of a Qwen2.5-VL, from its config.json alone: what can be counted before any weight is there.

    hub id of the published 3B or 7B ──> qwen2_5_vl/architectures.json ─┐
    folder, or hub id in the local cache ──> its config.json ───────────┼─> Architecture ──> linear layers, parameters, a config for transformers
    the tiny model ──> its configuration in code ───────────────────────┘

Parameter counts are those of transformers' classes (tests build both published sizes on torch's meta device and compare).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PUBLISHED = Path(__file__).parent / "qwen2_5_vl" / "architectures.json"


@dataclass(frozen=True)
class Linear:
    """A kind of linear layer that occurs ``count`` times. place: language | vision | merger."""

    place: str
    name: str
    inputs: int
    outputs: int
    bias: bool
    count: int

    @property
    def parameters(self) -> int:
        return self.count * (self.inputs * self.outputs + (self.outputs if self.bias else 0))

    def lora_parameters(self, rank: int) -> int:
        """Both low-rank factors: rank x inputs and outputs x rank (Hu et al., arXiv 2106.09685)."""
        return self.count * rank * (self.inputs + self.outputs)


@dataclass(frozen=True)
class Architecture:
    """Widths in channels, counts of blocks and heads."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool  # the head is the embedding
    rope_theta: float
    mrope_section: tuple[int, ...]
    vision_hidden: int
    vision_intermediate: int
    vision_layers: int
    vision_heads: int
    vision_full_layers: tuple[int, ...]  # blocks that look at the whole image; the others at windows
    patch_px: int
    frames: int  # pictures of one patch: a still image counts twice
    merge: int  # merge x merge patches become one visual token
    window_px: int

    @property
    def key_value(self) -> int:
        """Width of the keys, and of the values."""
        return self.hidden // self.heads * self.key_value_heads

    @property
    def patch_values(self) -> int:
        return 3 * self.frames * self.patch_px**2

    @property
    def merged(self) -> int:
        """Width in the merger: the patches of one visual token side by side."""
        return self.vision_hidden * self.merge**2

    def linear_layers(self) -> list[Linear]:
        """Every linear layer of the blocks and the merger: what adapters may stand on."""
        h, f, kv, v, g = self.hidden, self.intermediate, self.key_value, self.vision_hidden, self.vision_intermediate
        language = [
            ("q_proj", h, h, True),
            ("k_proj", h, kv, True),
            ("v_proj", h, kv, True),
            ("o_proj", h, h, False),
            ("gate_proj", h, f, False),
            ("up_proj", h, f, False),
            ("down_proj", f, h, False),
        ]
        vision = [
            ("qkv", v, 3 * v, True),
            ("proj", v, v, True),
            ("gate_proj", v, g, True),
            ("up_proj", v, g, True),
            ("down_proj", g, v, True),
        ]
        merger = [("mlp.0", self.merged, self.merged, True), ("mlp.2", self.merged, h, True)]
        return [
            *(Linear("language", *one, self.layers) for one in language),
            *(Linear("vision", *one, self.vision_layers) for one in vision),
            *(Linear("merger", *one, 1) for one in merger),
        ]

    def parameters(self) -> dict[str, int]:
        """Parameters by part: language (blocks and their last norm), embedding, head (0 where tied), vision, merger."""
        linear = {
            place: sum(one.parameters for one in self.linear_layers() if one.place == place)
            for place in ("language", "vision", "merger")
        }
        return {
            "language": linear["language"] + (2 * self.layers + 1) * self.hidden,
            "embedding": self.vocabulary * self.hidden,
            "head": 0 if self.tied else self.vocabulary * self.hidden,
            "vision": linear["vision"] + 2 * self.vision_layers * self.vision_hidden + self.patch_values * self.vision_hidden,
            "merger": linear["merger"] + self.vision_hidden,
        }

    @property
    def num_parameters(self) -> int:
        return sum(self.parameters().values())

    def config(self) -> Any:
        """The same as transformers' configuration, for a model with random weights."""
        from transformers import Qwen2_5_VLConfig

        return Qwen2_5_VLConfig(
            text_config={
                "vocab_size": self.vocabulary,
                "hidden_size": self.hidden,
                "intermediate_size": self.intermediate,
                "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.key_value_heads,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": self.rope_theta,
                    "mrope_section": list(self.mrope_section),
                },
                "tie_word_embeddings": self.tied,
            },
            vision_config={
                "depth": self.vision_layers,
                "hidden_size": self.vision_hidden,
                "intermediate_size": self.vision_intermediate,
                "num_heads": self.vision_heads,
                "out_hidden_size": self.hidden,
                "fullatt_block_indexes": list(self.vision_full_layers),
                "patch_size": self.patch_px,
                "temporal_patch_size": self.frames,
                "spatial_merge_size": self.merge,
                "window_size": self.window_px,
            },
            tie_word_embeddings=self.tied,
        )


def from_config(config: Mapping[str, Any], place: str) -> Architecture:
    """From the content of a config.json, as published (flat) or as transformers 5 writes it (with text_config).

    Raises ValueError naming ``place`` where it is none of a Qwen2.5-VL.
    """
    text = {**config, **(config.get("text_config") or {})}
    vision = config.get("vision_config") or {}
    rope = {**(text.get("rope_scaling") or {}), **(text.get("rope_parameters") or {})}
    try:
        return Architecture(
            hidden=text["hidden_size"],
            intermediate=text["intermediate_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            key_value_heads=text["num_key_value_heads"],
            vocabulary=text["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            rope_theta=float(rope.get("rope_theta", text.get("rope_theta", 1e6))),
            mrope_section=tuple(text.get("mrope_section") or rope["mrope_section"]),
            vision_hidden=vision["hidden_size"],
            vision_intermediate=vision["intermediate_size"],
            vision_layers=vision["depth"],
            vision_heads=vision["num_heads"],
            vision_full_layers=tuple(vision["fullatt_block_indexes"]),
            patch_px=vision.get("patch_size", 14),
            frames=vision.get("temporal_patch_size", 2),
            merge=vision.get("spatial_merge_size", 2),
            window_px=vision.get("window_size", 112),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{place}: not the configuration of a Qwen2.5-VL ({error} is missing)") from None


def published() -> dict[str, Architecture]:
    """The published sizes, by hub id."""
    configs: dict[str, Any] = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    return {name: from_config(config, name) for name, config in configs.items()}


def architecture_of(model: str) -> Architecture | None:
    """The sizes of a model by hub id or folder; None where its config.json is not on this machine. Needs no network."""
    known = published()
    if model in known:
        return known[model]
    file = Path(model) / "config.json"
    if not file.is_file():
        if Path(model).is_absolute() or model.count("/") != 1:
            return None
        from transformers.utils import cached_file

        found = cached_file(model, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
        if not found:
            return None
        file = Path(found)
    return from_config(json.loads(file.read_text(encoding="utf-8")), str(file))
