"""Stored values to the picture a viewer shows, 8 bit.

    grey:    stored ─ modality LUT or rescale ─ VOI LUT, else window, else 0.5-99.5 percentile ─ MONOCHROME1 inverted
    palette: stored ─ colour tables            colour: as it is

Overlays are never drawn. Pixel padding is left out of the percentile and shown black. PresentationLUTShape is not read: in the objects
that carry it, it repeats what PhotometricInterpretation says, and applying both would invert twice.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from codelib.imaging.dicom_codecs import stored_values
from codelib.imaging.dicom_header import Dicom, Frame, Window
from codelib.imaging.dicom_luts import Lut
from codelib.imaging.pixels import ImageRejected

_PERCENTILES = (0.5, 99.5)


def picture(dicom: Dicom, index: int) -> Image.Image:
    """Frame ``index`` (from 0) as an RGB picture with square pixels. Raises ImageRejected or one of ``dicom_elements.BROKEN``."""
    stored = stored_values(dicom, index)
    if dicom.photometric == "PALETTE COLOR":
        if dicom.palette is None:
            raise ImageRejected("damaged")
        shown = np.stack([_eight_bit_lut(stored, lut) for lut in dicom.palette], axis=-1)
    elif dicom.monochrome:
        shown = _grey(dicom, index, stored)
    else:
        shown = stored
    return _square_pixels(Image.fromarray(np.ascontiguousarray(shown)).convert("RGB"), dicom.aspect)


def modality_values(dicom: Dicom, frame: Frame, stored: np.ndarray) -> np.ndarray:
    """Modality LUT, else slope and intercept (PS3.3 C.11.1): float32."""
    if dicom.modality_lut is not None:
        return _looked_up(stored, dicom.modality_lut).astype(np.float32)
    values = stored.astype(np.float32)
    if frame.slope != 1:
        values *= np.float32(frame.slope)
    if frame.intercept:
        values += np.float32(frame.intercept)
    return values


def padded(dicom: Dicom, stored: np.ndarray) -> np.ndarray | None:
    """Mask of the pixels that are no picture; None where there are none."""
    if dicom.padding is None:
        return None
    mask = (stored >= dicom.padding[0]) & (stored <= dicom.padding[1])
    return mask if mask.any() and not mask.all() else None


def windowed(values: np.ndarray, window: Window) -> np.ndarray:
    """Grey levels 0-255, uint8, by the formulas of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    center, width = window.center, window.width
    levels: np.ndarray
    if window.function == "SIGMOID":
        with np.errstate(over="ignore"):
            levels = 1 / (1 + np.exp(-4 * (values.astype(np.float64) - center) / width))
    elif window.function == "LINEAR_EXACT":
        levels = (values - np.float32(center)) / np.float32(width) + np.float32(0.5)
    elif width == 1:  # LINEAR: a step at the centre
        levels = (values > center - 0.5).astype(np.float32)
    else:
        levels = (values - np.float32(center - 0.5)) / np.float32(width - 1) + np.float32(0.5)
    return _levels(levels)


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Grey levels 0-255, uint8: ``low`` black, ``high`` white."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return _levels((values - np.float32(low)) / np.float32(high - low))


def percentile_range(values: np.ndarray) -> tuple[float, float]:
    """The 0.5th and the 99.5th percentile; the extremes where those are one value."""
    low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def _grey(dicom: Dicom, index: int, stored: np.ndarray) -> np.ndarray:
    frame, padding = dicom.frame(index), padded(dicom, stored)
    values = modality_values(dicom, frame, stored)
    shown = None
    if dicom.voi_lut is not None:
        shown = _eight_bit_lut(np.rint(values).astype(np.int64), dicom.voi_lut)
    elif frame.window is not None:
        shown = windowed(values, frame.window)
    picture_part = values if padding is None else values[~padding]
    if shown is None or _says_nothing(shown if padding is None else shown[~padding], picture_part):
        shown = stretched(values, *percentile_range(picture_part))
    if dicom.photometric == "MONOCHROME1":  # low values are shown white
        shown = 255 - shown
    if padding is not None:
        shown = np.where(padding, np.uint8(0), shown)
    return shown


def _says_nothing(shown: np.ndarray, values: np.ndarray) -> bool:
    """A window that makes one grey of a picture that has more is a wrong one."""
    return bool(shown.min() == shown.max() and values.min() != values.max())


def _looked_up(stored: np.ndarray, lut: Lut) -> np.ndarray:
    return lut.table[np.clip(stored.astype(np.int64) - lut.first, 0, len(lut.table) - 1)]


def _eight_bit_lut(stored: np.ndarray, lut: Lut) -> np.ndarray:
    # entries may use more bits than the descriptor says, or a 16-bit table only its lower byte
    highest = int(lut.table.max())
    full = 255 if lut.bits == 16 and highest <= 255 else max((1 << lut.bits) - 1, highest)
    scaled = (lut.table.astype(np.float32) * np.float32(255 / full) + np.float32(0.5)).astype(np.uint8)
    return scaled[np.clip(stored.astype(np.int64) - lut.first, 0, len(scaled) - 1)]


def _levels(levels: np.ndarray) -> np.ndarray:
    return (np.clip(levels, 0, 1) * 255 + 0.5).astype(np.uint8)


def _square_pixels(image: Image.Image, aspect: float) -> Image.Image:
    """Right proportions by reducing the finer axis: nothing is enlarged. Under 1 % the eye sees no difference."""
    if abs(aspect - 1) < 0.01:
        return image
    width, height = image.size
    size = (max(1, round(width / aspect)), height) if aspect > 1 else (width, max(1, round(height * aspect)))
    return image.resize(size, Image.Resampling.LANCZOS)
