"""How many floating-point operations a run takes, and how long that is on a GPU at a stated share of its peak.

A matrix of N weights costs 2N operations a token forward and 2N for the gradient of its input; a frozen one has no gradient of its own, so
LoRA takes 4N where full training takes 6N; activation checkpointing adds the forward pass again, 2N. The adapters themselves take all 6. A
frozen vision tower is passed forward once. Causal attention over T tokens takes 2Th a token and block forward, twice that backward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codelib.models.architecture import Architecture, Linear
from codelib.train.lora import expected
from codelib.train.memory import Setup


@dataclass(frozen=True)
class Length:
    """One sample's tokens. ``text_tokens`` holds the answer's."""

    text_tokens: int
    visual_tokens: int = 0
    num_images: int = 0
    answer_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.text_tokens + self.visual_tokens


def _weights(linear: Iterable[Linear], place: str) -> int:
    return sum(one.count * one.inputs * one.outputs for one in linear if one.place == place)


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of one sample."""

    language: float
    vision: float

    @property
    def total(self) -> float:
        return self.language + self.vision


def vision_forward(architecture: Architecture, length: Length) -> float:
    """Operations of the vision tower and merger on one sample's images, forward once."""
    if not length.num_images:
        return 0.0
    a, linear = architecture, architecture.linear_layers()
    patches = length.visual_tokens * a.merge**2
    per_image = patches / length.num_images
    window = (a.window_px // a.patch_px) ** 2
    full = len(a.vision_full_layers)
    seen = full * per_image + (a.vision_layers - full) * min(window, per_image)
    matrices = _weights(linear, "vision") + a.patch_values * a.vision_hidden
    return patches * (2 * matrices + 4 * a.vision_hidden * seen) + 2 * _weights(linear, "merger") * length.visual_tokens


def train_cost(architecture: Architecture, setup: Setup, length: Length) -> Cost:
    """Forward and backward of one sample."""
    a, tokens, again = architecture, length.tokens, 2 if setup.activation_checkpointing else 0
    adapters = {one.place: one.parameters for one in expected(a, setup.lora)}
    blocks = (4 + again) * _weights(a.linear_layers(), "language") * tokens
    attention = (6 + again) * tokens**2 * a.hidden * a.layers
    head = 4 * a.vocabulary * a.hidden * length.answer_tokens
    language = blocks + attention + head + (6 + again) * adapters["language"] * tokens
    forward = 0.0 if setup.reuse else vision_forward(a, length)
    if setup.lora.vision:  # backward through all of it, and the forward pass again
        forward *= (4 + again) / 2
    return Cost(language, forward)


def forward_cost(architecture: Architecture, setup: Setup, length: Length) -> Cost:
    """What a validation sample takes."""
    a, tokens = architecture, length.tokens
    language = 2 * _weights(a.linear_layers(), "language") * tokens + 2 * tokens**2 * a.hidden * a.layers
    head = 2 * a.vocabulary * a.hidden * length.answer_tokens
    return Cost(language + head, 0.0 if setup.reuse else vision_forward(a, length))


def hours(operations: float, num_gpus: int, bf16_tflops: float, mfu: float) -> float:
    return operations / (num_gpus * bf16_tflops * 1e12 * mfu) / 3600
