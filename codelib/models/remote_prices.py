"""What a request to a service costs: prices by model, and a guess of its tokens before the server has counted them.

remote_prices.csv    model, US dollars for a million tokens in and out, share of the Batch API, rule for images, date
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from codelib.models.prompt import PixelPolicy, smart_resize, visual_tokens

OVERHEAD_TOKENS = 12  # roles, braces, names
_TOKENS_PER_WIDE, _TOKENS_PER_NARROW = 0.9, 0.3  # of GPT-4o's vocabulary (o200k), measured on the high side
_TILE_PX, _LONGEST_PX, _SHORTEST_PX = 512, 2048, 768  # OpenAI's rule for images of `detail: high`
_OPENAI_PATCH_PX, _MOST_PATCHES = 32, 1536  # and for the models that count patches


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens, and from when the figure is."""

    input: float
    output: float
    as_of: str

    def usd(self, tokens_in: float, tokens_out: float) -> float:
        return (self.input * tokens_in + self.output * tokens_out) / 1e6


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str]]:
    with Path(__file__).with_name("remote_prices.csv").open(encoding="utf-8", newline="") as source:
        return {row["model"]: row for row in csv.DictReader(source)}


def _row(model: str) -> dict[str, str] | None:
    """The line of a model; an alias (gpt-4o) is the dearest of its snapshots (gpt-4o-2024-05-13), since nobody knows which answers."""
    table = _table()
    if model in table:
        return table[model]
    snapshots = [row for name, row in table.items() if name.startswith(model + "-20")]
    return max(snapshots, key=lambda row: float(row["usd_per_million_input"]), default=None)


def price_of(model: str, batch: bool = False) -> Price | None:
    """From remote_prices.csv (``batch``: with the Batch API's share). None where nobody knows."""
    row = _row(model)
    if row is None:
        return None
    factor = float(row["batch_factor"]) if batch else 1.0
    given, made = float(row["usd_per_million_input"]), float(row["usd_per_million_output"])
    return Price(factor * given, factor * made, f"prices of {row['as_of']}")


def tokens_of(text: str) -> float:
    """A guess without the model's vocabulary: East Asian characters nearly one token each, others three to ten."""
    wide = sum(ord(char) > 0x2E7F for char in text)
    return _TOKENS_PER_WIDE * wide + _TOKENS_PER_NARROW * (len(text) - wide)


def image_tokens(model: str, size: tuple[int, int], pixels: PixelPolicy) -> int:
    """Tokens that a server counts for an image of this width and height (as it lies on disk; sent as ``pixels`` has it).

    By the rule of the model's line in remote_prices.csv: ``tiles 85 170`` (a base and so many for each 512 px square) or ``patches 1.62``
    (32 px squares times a factor); of any other model as Qwen2.5-VL counts. GPT-4o and 448 x 336 px -> 255, Qwen2.5-VL -> 192. Raises
    ValueError for an impossible shape.
    """
    row = _row(model)
    if row is None:
        return visual_tokens(*size, pixels)
    kind, *numbers = row["image_rule"].split()
    width, height = smart_resize(*size, pixels)
    if kind == "patches":
        patches = math.ceil(width / _OPENAI_PATCH_PX) * math.ceil(height / _OPENAI_PATCH_PX)
        return math.ceil(min(patches, _MOST_PATCHES) * float(numbers[0]))
    scale = min(1.0, _LONGEST_PX / max(width, height))
    scale *= min(1.0, _SHORTEST_PX / (scale * min(width, height)))
    tiles = math.ceil(scale * width / _TILE_PX) * math.ceil(scale * height / _TILE_PX)
    return int(numbers[0]) + int(numbers[1]) * tiles
