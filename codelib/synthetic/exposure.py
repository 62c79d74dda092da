"""Colour and light of a drawing: shades that vary, and the exposure that turns flat colours into a photograph."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
NOISE_SIDE_PX = 1400  # larger than any image drawn here, so that a window of it always fits


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    """One fixed sheet of film grain; images take windows of it, which is much cheaper than fresh noise for each."""
    return np.random.default_rng(20240229).standard_normal((NOISE_SIDE_PX, NOISE_SIDE_PX), dtype=np.float32)


def expose(rng: np.random.Generator, image: Image.Image, *, noise: float, tint: float) -> Image.Image:
    """Light falling from one side, darker corners, a colour cast, grain."""
    pixels = np.asarray(image, dtype=np.float32)
    height, width = pixels.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slope_x, slope_y = rng.uniform(-0.1, 0.1, 2).astype(np.float32)
    light = np.float32(rng.uniform(0.86, 1.06)) * (1 + slope_x * x + slope_y * y - np.float32(0.12) * (x * x + y * y) / 2)
    top, left = int(rng.integers(0, NOISE_SIDE_PX - height)), int(rng.integers(0, NOISE_SIDE_PX - width))
    light += np.float32(noise) * _noise()[top : top + height, left : left + width]
    cast = (1 + rng.uniform(-tint, tint, 3)).astype(np.float32)
    pixels = pixels * light[:, :, None] * cast
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jitter(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.integers(-spread, spread + 1, 3), 0, 255).tolist()
    return red, green, blue


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (int((1 - share) * a + share * b) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def grey(rng: np.random.Generator, level: int, spread: int) -> Colour:
    value = int(np.clip(level + rng.integers(-spread, spread + 1), 0, 255))
    return value, value, value


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue
