"""What a model sees of an image, made once for all who ask.

    path, pixel policy ── opened once ──> patches (kept on the host) ── vision tower, once per tower ──> features (kept on the device)

Requests of many variants and benchmarks show the same photographs. Adapters that leave the tower alone share the bare model's features; one
that stands on the tower has its own. Both stores are bounded by bytes and forget what was not asked for longest.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from codelib.models.encoding import Encoder
from codelib.models.lora_rows import LoraRows
from codelib.models.prompt import MERGE, PATCH_PX, ImageError, PixelPolicy, image_size, open_pixels, smart_resize

Key = TypeVar("Key")
PATCH_BYTES = 2 * 3 * PATCH_PX**2 * 4  # two frames, three colours, float32


@dataclass(frozen=True)
class Seen:
    """One image as a policy shows it: which file, as it was when it was looked up, and how large it is to a model."""

    path: str
    policy: PixelPolicy
    changed_ns: int
    size_bytes: int
    grid: tuple[int, int, int]  # frames, rows and columns of patches

    @property
    def visual_tokens(self) -> int:
        return self.grid[1] * self.grid[2] // MERGE**2


class Recent(Generic[Key]):
    """Tensors up to a number of bytes; what was used longest ago goes first. One that is larger than all is not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.held_bytes = limit_bytes, 0
        self._held: OrderedDict[Key, tuple[torch.Tensor, ...]] = OrderedDict()

    def get(self, key: Key) -> tuple[torch.Tensor, ...] | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: Key, *value: torch.Tensor) -> None:
        size = sum(one.nbytes for one in value)
        if key in self._held or size > self.limit_bytes:
            return
        while self.held_bytes + size > self.limit_bytes:
            _, old = self._held.popitem(last=False)
            self.held_bytes -= sum(one.nbytes for one in old)
        self._held[key] = value
        self.held_bytes += size


class Sight:
    """The images of one model.

    Args:
        encoder: of the model's processor; its own policy is not used.
        lora: whose model's tower looks.
        patch_bytes, feature_bytes: bounds of the two stores.
        patches_per_forward: patches that the tower looks at together; a larger image goes alone.
        threads: that open images ahead of their turn; 0 where the model itself takes the processors.
    """

    def __init__(
        self,
        encoder: Encoder,
        lora: LoraRows,
        patch_bytes: int,
        feature_bytes: int,
        patches_per_forward: int = 8192,
        threads: int = 0,
    ) -> None:
        self.encoder, self.lora, self.patches_per_forward = encoder, lora, patches_per_forward
        self._patches: Recent[Seen] = Recent(patch_bytes)
        self._features: Recent[tuple[Seen, str | None]] = Recent(feature_bytes)
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self._coming: dict[Seen, Future[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.opened = self.looked = 0  # images decoded, and images that the tower looked at: what tests and benchmarks count

    def find(self, path: str, policy: PixelPolicy) -> Seen:
        """By its header alone. Raises ImageError."""
        width_px, height_px = _shown_size(path, policy)
        at = os.stat(path)
        return Seen(path, policy, at.st_mtime_ns, at.st_size, (1, height_px // PATCH_PX, width_px // PATCH_PX))

    def ahead(self, images: Sequence[Seen]) -> None:
        """Open the next of these while the model answers others: as many as a quarter of the patches' store holds."""
        if self._pool is None:
            return
        room = self._patches.limit_bytes // 4
        for image in dict.fromkeys(images):
            room -= image.grid[1] * image.grid[2] * PATCH_BYTES
            if room < 0:
                break
            if image not in self._coming and not self._patches.get(image) and not self._features.get((image, None)):
                self._coming[image] = self._pool.submit(self._open, image)

    def forget(self) -> None:
        """What was to be opened for prompts that will not come."""
        for one in self._coming.values():
            one.cancel()
        self._coming = {}

    def _open(self, image: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, grid = self.encoder.patches([open_pixels(image.path, image.policy)])
        assert pixels is not None and grid is not None
        return pixels, grid

    def patches(self, image: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        """pixel_values and grid. Raises ImageError for an image that cannot be decoded."""
        coming = self._coming.pop(image, None)
        found = self._patches.get(image)
        if found is None:
            found = coming.result() if coming else self._open(image)
            self.opened += 1
            self._patches.put(image, *found)
        return found[0], found[1]

    def look(self, images: Sequence[Seen], tower: str | None) -> dict[Seen, torch.Tensor | Exception]:
        """Features of each image, (visual tokens, hidden), or what went wrong with it.

        ``tower``: the adapter whose vision tower looks; None: the bare one.
        """
        found: dict[Seen, torch.Tensor | Exception] = {}
        group: list[Seen] = []
        size = 0
        for image in dict.fromkeys(images):
            kept = self._features.get((image, tower))
            if kept is not None:
                found[image] = kept[0]
                continue
            patches = image.grid[1] * image.grid[2]
            if group and size + patches > self.patches_per_forward:
                found |= self._computed(group, tower)
                group, size = [], 0
            group.append(image)
            size += patches
        return found | (self._computed(group, tower) if group else {})

    def _computed(self, images: Sequence[Seen], tower: str | None) -> dict[Seen, torch.Tensor | Exception]:
        found: dict[Seen, torch.Tensor | Exception] = {}
        made: dict[Seen, tuple[torch.Tensor, torch.Tensor]] = {}
        for image in images:
            try:
                made[image] = self.patches(image)
            except ValueError as error:
                found[image] = error
        if not made:
            return found
        try:
            features = self._forward(list(made.values()), tower)
        # whatever the tower meets, memory first of all: half as many at once, and only the image that cannot be looked at alone has failed
        except Exception as error:
            release(error)
            if len(made) == 1:
                return found | dict.fromkeys(made, error)
            half = len(made) // 2
            rest = list(made)
            return found | self._computed(rest[:half], tower) | self._computed(rest[half:], tower)
        for image, one in zip(made, features, strict=True):
            self._features.put((image, tower), one)
            found[image] = one
        return found

    def _forward(self, made: Sequence[tuple[torch.Tensor, torch.Tensor]], tower: str | None) -> list[torch.Tensor]:
        model: Any = self.lora.model
        pixels = torch.cat([one for one, _ in made]).to(model.device)
        grid = torch.cat([one for _, one in made]).to(model.device)
        with self.lora.whole(tower):
            parts = model.model.get_image_features(pixels, grid, return_dict=True).pooler_output
        self.looked += len(made)
        # clones: a view would keep the features of the whole group alive
        return [one.clone() for one in parts] if len(parts) > 1 else list(parts)


def _shown_size(path: str, policy: PixelPolicy) -> tuple[int, int]:
    """Width and height to a model. Raises ImageError for what is no image by its header, or too long for its width."""
    size = image_size(path)
    try:
        return smart_resize(*size, policy)
    except ValueError as error:
        raise ImageError(f"{os.path.basename(path)}: {error}") from None


def release(error: BaseException) -> None:
    """Let go of what a failed forward pass held: its frames keep tensors alive, and the GPU's allocator keeps the blocks."""
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
