"""18-megapixel photographs as a DSLR writes them, made from the real ones of the clinic's export.

The real photographs have 1-2 megapixels. Each is enlarged with Lanczos to a camera's 5184 x 3456, gets the shot and read noise of a sensor at a
middling ISO, which is what a camera's JPEG spends its bytes on, and is written with 4:2:2 or 4:2:0, turn about.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (5184, 3456)
_READ_NOISE = 1.5  # standard deviation in 8-bit steps
_SHOT_NOISE = 0.05  # variance for each step of brightness: 2.9 steps of noise at mid-grey
_SMALLEST = 1_000_000  # pixels of a photograph that is worth enlarging


@dataclass(frozen=True)
class Photograph:
    number: int
    quality: int
    content: bytes


def real_photographs(export: Path) -> list[Path]:
    """The larger photographs of an export, sorted."""
    found = []
    for path in sorted(export.glob("*/*/*/照片/*")):
        if path.suffix.lower() in (".jpg", ".jpeg") and path.stem != "broken" and "副本" not in path.stem:
            with Image.open(path) as image:
                if image.width * image.height >= _SMALLEST and image.width > image.height:
                    found.append(path)
    return found


def photographs(export: Path, count: int, qualities: list[int], size: tuple[int, int] = SIZE) -> Iterator[Photograph]:
    """``count`` scenes at each quality, spread over what the export holds, of so many pixels."""
    paths = real_photographs(export)
    for number in range(count):
        path = paths[number * len(paths) // count % len(paths)]
        sensor = _sensor(path, number, size)
        for quality in qualities:
            out = io.BytesIO()
            sensor.save(out, "JPEG", quality=quality, subsampling=("4:2:2", "4:2:0")[number % 2])
            yield Photograph(number, quality, out.getvalue())


def _sensor(path: Path, seed: int, size: tuple[int, int]) -> Image.Image:
    with Image.open(path) as image:
        light = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    noise = np.random.default_rng(seed).standard_normal(light.shape, dtype=np.float32)
    seen = light + noise * np.sqrt(_READ_NOISE**2 + _SHOT_NOISE * light)
    return Image.fromarray(np.clip(seen + 0.5, 0, 255).astype(np.uint8))
