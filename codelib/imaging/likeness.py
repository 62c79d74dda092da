"""Whether two pictures show the same thing: re-encoded, resized, brightened or slightly cropped copies of one photograph.

    picture ─┬─ 64-bit hash of the low DCT frequencies: finds candidates (few bits differ)
             └─ grey thumbnail, longer side 64 px: decides (best normalised correlation over the ways one could be a crop of the other)

Measured on 30 real pictures and on drawings that resemble each other more: docs/performance.md, `python -m tests.benchmarks.likeness`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

THUMB_PX = 64
HASH_BYTES = 8
NEAR_BITS = 28  # of 64: copies cropped by up to 6 % differ in at most 26, different pictures in 30 on average
_SCALES = np.arange(1.0, 0.855, -0.01)  # how much of a picture's side its crop may show
_BLUR_PX = 0.8  # a crop falls between the pixels of the other's thumbnail; a little blur forgives that

cv2.setNumThreads(1)  # Ray brings the parallelism


def likeness(image: Image.Image) -> bytes:
    """Hash (8 bytes, big-endian), width and height (a byte each) and grey values of the thumbnail of an upright picture."""
    grey = image.convert("L")
    square = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    scale = THUMB_PX / max(grey.size)
    thumb = grey.resize((max(8, round(grey.width * scale)), max(8, round(grey.height * scale))), Image.Resampling.BOX)
    return _hash(square).to_bytes(HASH_BYTES, "big") + bytes(thumb.size) + thumb.tobytes()


def _hash(small: np.ndarray) -> int:
    """pHash: signs of the 8 x 8 lowest DCT coefficients against their median."""
    steps = np.arange(32)
    basis = np.cos(np.pi * (2 * steps[None, :] + 1) * steps[:, None] / 64)
    low = (basis @ small @ basis.T)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def hash_of(value: bytes) -> int:
    return int.from_bytes(value[:HASH_BYTES], "big")


def similarity(a: bytes, b: bytes) -> float:
    """-1..1: 1 for the same picture. Symmetrical."""
    one, two = _thumb(a), _thumb(b)
    return max(_best_crop(one, two), _best_crop(two, one))


def _thumb(value: bytes) -> np.ndarray:
    width, height = value[HASH_BYTES], value[HASH_BYTES + 1]
    grey = np.frombuffer(value[HASH_BYTES + 2 :], np.uint8).reshape(height, width).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), _BLUR_PX)


def _best_crop(whole: np.ndarray, part: np.ndarray) -> float:
    """The best correlation of ``part`` with a window of ``whole`` that covers at least 60 % of its area."""
    best = -1.0
    for scale in _SCALES:
        height, width = (max(4, round(side * scale)) for side in part.shape)
        if height > whole.shape[0] + 1 or width > whole.shape[1] + 1:
            continue
        height, width = min(height, whole.shape[0]), min(width, whole.shape[1])
        if height * width < 0.6 * whole.size:
            break
        window = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        best = max(best, float(cv2.matchTemplate(whole, window, cv2.TM_CCOEFF_NORMED).max()))
    return best if np.isfinite(best) else -1.0


class Neighbours:
    """A growing list of likenesses that knows which of them are near another by their hash."""

    _MOST = 20  # compared more closely: of pictures that look like many, the nearest few tell

    def __init__(self, values: Sequence[bytes]):
        self.values = list(values)
        self._hashes = [hash_of(value) for value in values]

    def add(self, value: bytes) -> None:
        self.values.append(value)
        self._hashes.append(hash_of(value))

    def near(self, value: bytes) -> list[int]:
        """Indices of candidates, the nearest first."""
        if not self.values:
            return []
        bits = np.bitwise_count(np.array(self._hashes, dtype=np.uint64) ^ np.uint64(hash_of(value)))
        found = np.flatnonzero(bits <= NEAR_BITS)
        return [int(i) for i in found[np.argsort(bits[found], kind="stable")][: self._MOST]]


def are_alike(a: bytes, b: bytes, threshold: float) -> bool:
    """Near-duplicates: cheap hash first, correlation then."""
    return (hash_of(a) ^ hash_of(b)).bit_count() <= NEAR_BITS and similarity(a, b) >= threshold
