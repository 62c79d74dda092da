"""Voxels of a volume and the pictures taken of it.

Orientation: axes are (S falling, P growing, L growing), so that every plane is a plain slice in radiological convention: axial with the
front up and the patient's right at the left, coronal with the head up and the patient's right at the left, sagittal with the head up and
the front at the left. An oblique acquisition keeps its tilt: axes are permuted and turned, never interpolated.

Places: enamel and metal are the densest of a head, and CBCT grey values are no Hounsfield units, so the dental band is where the densest
1 % of the voxels gather: the levels around the fullest one with at least a quarter of its count (smoothed over 1/40 of the height). Where
that run is thinner than 1/20 of the height, or holds less than half of the densest voxels, fixed fractions are taken. Within the
band the densest 3 %, teeth and the jaw's own bone on both sides, bound the arch (all but the outer 2 % of them on either side), through
which coronal and sagittal slices go.

Grey: one range for all pictures of a volume, 0.5-99.5 percentile of its voxels or a window. Millimetres per pixel are equal in both
directions: the coarser axis is interpolated (Lanczos) to the finer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from codelib.imaging.dicom import guarded
from codelib.imaging.dicom_codecs import stored_values
from codelib.imaging.dicom_display import modality_values, padded, percentile_range, stretched, windowed
from codelib.imaging.dicom_header import Dicom, Window
from codelib.imaging.pixels import ImageRejected
from codelib.imaging.volume_geometry import Stack
from codelib.imaging.volume_settings import VolumeSettings

_SAMPLE = 2_000_000  # voxels that percentiles are taken of
_TEETH, _ARCH = 99.0, 97.0  # percentiles of the volume, and of its dental band
_LONGEST_PX = 4096  # of a picture after interpolation


@dataclass(frozen=True)
class Voxels:
    """``values``: (S falling, P growing, L growing); ``slope`` and ``intercept`` turn them into rescaled values."""

    values: np.ndarray
    spacing_mm: tuple[float, float, float]
    slope: float
    intercept: float
    inverted: bool  # MONOCHROME1

    @classmethod
    def assembled(cls, stack: Stack, load: Callable[[int], Dicom]) -> Voxels:
        """Decode slice by slice into one array. ``load``: the object of a source number, asked for once in a row."""
        acquired = np.empty(stack.shape, np.dtype(stack.dtype))
        held: tuple[int, Dicom] | None = None
        for place, wanted in enumerate(stack.slices):
            if held is None or held[0] != wanted.source:
                held = None  # let it go before the next one comes
                held = wanted.source, load(wanted.source)
            acquired[place] = _decoded(held[1], wanted.frame, stack)
        turned = acquired.transpose(stack.axes)[tuple(slice(None, None, -1 if flip else 1) for flip in stack.flips)]
        first = stack.slices[0].dicom.frame(stack.slices[0].frame)
        slope, intercept = (1.0, 0.0) if stack.dtype == "float32" else (first.slope, first.intercept)
        return cls(turned, stack.spacing_mm, slope, intercept, stack.slices[0].dicom.photometric == "MONOCHROME1")


def _decoded(dicom: Dicom, frame: int, stack: Stack) -> np.ndarray:
    return guarded(lambda: _slice(dicom, frame, stack))  # the loader's own errors (storage) are not the picture's


def _slice(dicom: Dicom, frame: int, stack: Stack) -> np.ndarray:
    """Stored integers, or rescaled values; padding takes the lowest value of the picture, so that it is shown as air."""
    stored = stored_values(dicom, frame)
    if stored.shape != stack.shape[1:]:
        raise ImageRejected("volume_mixed_series")
    padding = padded(dicom, stored)
    if padding is not None:
        stored = np.where(padding, stored[~padding].min(), stored)
    return stored if stack.dtype != "float32" else modality_values(dicom, dicom.frame(frame), stored)


def render(voxels: Voxels, settings: VolumeSettings) -> Iterator[tuple[str, Callable[[], Image.Image]]]:
    """(part, a function that draws it)."""
    levels, rows, columns = _regions(voxels, settings.band, settings.fallback_band)
    to_grey = _grey_scale(voxels, settings.window)
    high, deep, wide = voxels.spacing_mm
    values = voxels.values

    def drawn(plane: np.ndarray, down_mm: float, across_mm: float) -> Image.Image:
        return _equal_mm(to_grey(plane), down_mm, across_mm)

    for number, z in enumerate(_evenly(levels, settings.axial), 1):
        yield f"axial {number}", lambda z=z: drawn(values[z], deep, wide)  # type: ignore[misc]
    for number, y in enumerate(_evenly(rows, settings.coronal), 1):
        yield f"coronal {number}", lambda y=y: drawn(values[:, y], high, wide)  # type: ignore[misc]
    for number, x in enumerate(_evenly(columns, settings.sagittal), 1):
        yield f"sagittal {number}", lambda x=x: drawn(values[:, :, x], high, deep)  # type: ignore[misc]
    if settings.mip:
        densest = np.min if voxels.inverted else np.max
        yield "axial mip", lambda: drawn(densest(values[levels[0] : levels[1]], axis=0), deep, wide)


def _regions(voxels: Voxels, band: tuple[float, float] | None, fallback: tuple[float, float]) -> list[tuple[int, int]]:
    """Ranges (first, behind the last) of levels, rows and columns that hold the teeth."""
    values = voxels.values

    def dense(part: np.ndarray, percentile: float) -> Callable[[np.ndarray], np.ndarray]:
        threshold = np.percentile(_sample(part), 100 - percentile if voxels.inverted else percentile)
        return (lambda level: level <= threshold) if voxels.inverted else (lambda level: level >= threshold)

    teeth = dense(values, _TEETH)
    counts = np.array([teeth(level).sum() for level in values])
    levels = _fractions(band, len(values)) if band else _run(counts) or _fractions(fallback, len(values))
    belt = values[levels[0] : levels[1]]
    arch = dense(belt, _ARCH)
    rows, columns = np.zeros(values.shape[1], np.int64), np.zeros(values.shape[2], np.int64)
    for level in belt:
        bright = arch(level)
        rows += bright.sum(axis=1)
        columns += bright.sum(axis=0)
    return [levels, _middle(rows), _middle(columns)]


def _run(counts: np.ndarray) -> tuple[int, int] | None:
    """The levels around the fullest with at least a quarter of its count; None where the counts do not gather."""
    size = len(counts)
    width = max(1, size // 40)
    smooth = np.convolve(counts, np.ones(width) / width, mode="same")
    peak = int(smooth.argmax())
    full = smooth >= smooth[peak] / 4
    first = last = peak
    while first > 0 and full[first - 1]:
        first -= 1
    while last + 1 < size and full[last + 1]:
        last += 1
    run = first, last + 1
    if run[1] - run[0] < size / 20 or counts[run[0] : run[1]].sum() < counts.sum() / 2:
        return None
    return run


def _middle(counts: np.ndarray) -> tuple[int, int]:
    """The range that holds all but the outer 2 % on either side."""
    total = np.cumsum(counts)
    if total[-1] == 0:
        return 0, len(counts)
    first = int(np.searchsorted(total, 0.02 * total[-1], side="right"))
    last = int(np.searchsorted(total, 0.98 * total[-1], side="left"))
    return min(first, last), max(first, last) + 1


def _fractions(band: tuple[float, float], size: int) -> tuple[int, int]:
    first = min(int(band[0] * size), size - 1)
    return first, max(first + 1, min(size, round(band[1] * size)))


def _evenly(region: tuple[int, int], count: int) -> list[int]:
    """The middles of ``count`` equal parts of a range."""
    first, behind = region
    return [min(behind - 1, first + int((step + 0.5) * (behind - first) / count)) for step in range(count)]


def _sample(values: np.ndarray) -> np.ndarray:
    """At most _SAMPLE voxels, every so many along each axis: the same of the same volume."""
    step = max(1, int(np.ceil((values.size / _SAMPLE) ** (1 / 3))))
    return np.ascontiguousarray(values[::step, ::step, ::step])


def _grey_scale(voxels: Voxels, window: tuple[float, float] | None) -> Callable[[np.ndarray], np.ndarray]:
    if window is None:
        low, high = percentile_range(_sample(voxels.values))

        def shown(plane: np.ndarray) -> np.ndarray:
            return stretched(plane.astype(np.float32), low, high)
    else:
        # the window is given in rescaled values, the voxels may be stored ones
        wanted = Window(*window)

        def shown(plane: np.ndarray) -> np.ndarray:
            return windowed(plane.astype(np.float32) * np.float32(voxels.slope) + np.float32(voxels.intercept), wanted)

    return (lambda plane: 255 - shown(plane)) if voxels.inverted else shown


def _equal_mm(plane: np.ndarray, down_mm: float, across_mm: float) -> Image.Image:
    height, width = plane.shape
    finest = max(min(down_mm, across_mm), max(height * down_mm, width * across_mm) / _LONGEST_PX)
    size = max(1, round(width * across_mm / finest)), max(1, round(height * down_mm / finest))
    image = Image.fromarray(np.ascontiguousarray(plane))
    return (image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)).convert("RGB")
