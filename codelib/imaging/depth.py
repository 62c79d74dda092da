"""More than 8 bits a sample -> 8 bits, and the loading of what Pillow decodes.

Grey of more than 8 bits (radiographs: 12 bits in 16) is stretched between the 0.5th and the 99.5th percentile, as for DICOM without a window.
16-bit colour keeps its range, unless all of it lies below 12 bits: then the container is wider than the data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile

from codelib.imaging.picture import DECODER_ERRORS, Limits, Raw

_PERCENTILE_SAMPLES = 4_000_000
_SIXTEEN = re.compile(r"^(RGB|RGBA|RGBX|RGBa|LA);16([BLN])$")  # Pillow's names of 16-bit colour in a file
_NATIVE = "L" if sys.byteorder == "little" else "B"


def load(opened: Callable[[], ImageFile.ImageFile], limits: Limits) -> ImageFile.ImageFile:
    """The decoded image. ``opened`` is asked a second time where 16-bit colour turns out to be darker than 12 bits."""
    image = opened()
    limits.check_size(*image.size)
    deep = bool(_low_bytes(image))
    image.load()  # of 16-bit colour Pillow keeps the high bytes
    if not deep or _brightest(image) > 15:
        return image
    again = opened()
    again.tile = _low_bytes(again)
    try:
        again.load()
    except DECODER_ERRORS:  # Pillow cannot unpack every layout the other way round
        return image
    image.im = _widened(image, again).im
    return image


def eight_bit(raw: Raw) -> Image.Image:
    """Grey of more than 8 bits, stretched; anything else as it is."""
    if raw.image.mode.startswith("I;16"):
        values = np.asarray(raw.image).astype(np.uint16)  # in the byte order of this machine
    elif raw.image.mode in ("I", "F"):
        values = np.asarray(raw.image)
    else:
        return raw.image
    grey = stretched(values)
    return Image.fromarray(255 - grey if raw.white_is_zero else grey)


def stretched(values: np.ndarray) -> np.ndarray:
    """8 bit between the 0.5th and the 99.5th percentile; between the extremes where those two are equal. NaN is the least."""
    finite = values if values.dtype.kind in "iu" else values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = _range(finite)
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    if values.dtype == np.uint16:
        table = np.clip((np.arange(65536) - low) / (high - low), 0, 1) * 255 + 0.5
        return table.astype(np.uint8)[values]
    known = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return (np.clip((known - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


def _range(values: np.ndarray) -> tuple[float, float]:
    sample = values.ravel()[:: max(1, values.size // _PERCENTILE_SAMPLES)].astype(np.float64)
    low, high = (float(x) for x in np.percentile(sample, [0.5, 99.5]))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def _low_bytes(image: ImageFile.ImageFile) -> list[ImageFile._Tile]:
    """The image's tiles with the byte order turned round, so that Pillow takes the low bytes; empty if it is not 16-bit colour."""
    turned = []
    for tile in image.tile:
        first, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        mode = _SIXTEEN.match(str(first))
        if mode is None:
            return []
        order = _NATIVE if mode[2] == "N" else mode[2]
        name = f"{mode[1]};16{'B' if order == 'L' else 'L'}"
        turned.append(tile._replace(args=(name, *rest) if isinstance(tile.args, tuple) else name))
    return turned


def _colour_bands(image: Image.Image) -> int:
    return len(image.getbands()) - (image.getbands()[-1] in "Aa")


def _brightest(image: Image.Image) -> int:
    return max(int(np.asarray(band).max()) for band in image.split()[: _colour_bands(image)])


def _widened(high: Image.Image, low: Image.Image) -> Image.Image:
    """8 bits of the 8, 10 or 12 that are used; alpha keeps its high bytes."""
    bands = _colour_bands(high)
    values = np.asarray(high)[..., :bands].astype(np.uint32) << 8 | np.asarray(low)[..., :bands]
    bits = max(8, int(values.max()).bit_length() + 1 & ~1)
    eight = np.asarray(high).copy()
    eight[..., :bands] = (values * 255 + (1 << bits - 1)) // ((1 << bits) - 1)
    return Image.fromarray(eight, high.mode)
