"""Training samples as long as the published data's, with random content: for benchmarks, GPU runs and plans that need lengths alone.

The paper gives 1 to 26 photographs a visit, 5.7 on average, longer side 448 px; the rest is chosen here: one plus a negative binomial
number of images, photographs of 3:2 (a DSLR's), one image in seven a radiograph, a question of about 150 tokens with a class as its
answer, or of about 300 with a report of about 250.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from codelib.models.architecture import Architecture
from codelib.models.encoding import IGNORED, Encoded
from codelib.models.prompt import GRID_PX, PATCH_PX, PixelPolicy, smart_resize
from codelib.train.flops import Length

MOST_IMAGES, MEAN_IMAGES = 26, 5.7
SIZES_PX = ((448, 299), (448, 336), (448, 224), (336, 448))  # photograph; periapical, panoramic, upright radiograph
_SHARES = (6 / 7, 1 / 21, 1 / 21, 1 / 21)
SPECIAL = 8  # the first ids of a vocabulary stand for vision start, image and vision end


@dataclass(frozen=True)
class Visit:
    """One sample: its images as (width, height) in px, and its tokens of text."""

    images: tuple[tuple[int, int], ...]
    question_tokens: int
    answer_tokens: int

    def length(self, policy: PixelPolicy) -> Length:
        visual = sum(w // GRID_PX * (h // GRID_PX) for w, h in (smart_resize(*size, policy) for size in self.images))
        # each image has a start, an end, and a line that numbers it
        text = self.question_tokens + 6 * len(self.images) + self.answer_tokens
        return Length(text, visual, len(self.images), self.answer_tokens)


def draw_visits(rng: np.random.Generator, count: int, cut_off: int = 4096) -> list[Visit]:
    """Samples of at most ``cut_off`` tokens: images beyond it are left out from the end, as the preflight does."""
    visits = []
    for _ in range(count):
        number = min(MOST_IMAGES, 1 + int(rng.negative_binomial(2, 2 / (2 + MEAN_IMAGES - 1))))
        images = tuple(SIZES_PX[int(kind)] for kind in rng.choice(len(SIZES_PX), number, p=_SHARES))
        is_report = rng.random() < 0.5
        question = int(rng.normal(300, 60) if is_report else rng.normal(150, 30))
        answer = int(np.clip(rng.normal(250, 80), 40, 600)) if is_report else int(rng.integers(2, 6))
        visit = Visit(images, max(60, question), answer)
        while visit.length(PixelPolicy()).tokens > cut_off:
            visit = Visit(visit.images[:-1], visit.question_tokens, visit.answer_tokens)
        visits.append(visit)
    return visits


def set_tokens(config: object, architecture: Architecture) -> None:
    """Give the special tokens low ids, so that a small vocabulary holds them."""
    assert architecture.vocabulary > SPECIAL
    config.vision_start_token_id, config.image_token_id, config.vision_end_token_id = 1, 2, 3  # type: ignore[attr-defined]
    config.video_token_id = 4  # type: ignore[attr-defined]


def encode(visit: Visit, number: int, rng: np.random.Generator, architecture: Architecture, policy: PixelPolicy) -> Encoded:
    """The sample as the encoder would return it, of random ids and pixels."""

    def words(count: int) -> list[int]:
        return rng.integers(SPECIAL, architecture.vocabulary, count).tolist()

    ids: list[int] = []
    grids, patches = [], 0
    for size in visit.images:
        width, height = smart_resize(*size, policy)
        grids.append([1, height // PATCH_PX, width // PATCH_PX])
        tokens = (height // GRID_PX) * (width // GRID_PX)
        patches += tokens * architecture.merge**2
        ids += [*words(4), 1, *[2] * tokens, 3]
    answer = words(visit.answer_tokens)
    ids += [*words(visit.question_tokens), *answer]
    labels = [IGNORED] * (len(ids) - len(answer)) + answer
    tensor = torch.tensor(ids)
    pixels = torch.from_numpy(rng.standard_normal((patches, architecture.patch_values), dtype=np.float32))
    return Encoded(
        f"sample/{number}", tensor, torch.tensor(labels), (tensor == 2).long(),
        pixels if visit.images else None, torch.tensor(grids) if visit.images else None,
    )  # fmt: skip
