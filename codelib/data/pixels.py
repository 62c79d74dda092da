"""From a file's bytes to an upright RGB picture, and from that to a JPEG that holds nothing but the picture.

    bytes ─ content decides the format ─ decode (JPEG: at a scale near the target) ─ orientation ─ sRGB-like 8 bit ─ Lanczos ─ JPEG

Every way a file can be bad has a reason of its own; none raises past `decode`.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings

import numpy as np
import pydicom
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from codelib.core.config import Settings

MAX_PIXELS = 300_000_000  # a decompression bomb is anything above: twice the largest sensor a clinic would own
_DECODED = ("JPEG", "PNG", "TIFF", "BMP", "JPEG2000", "WEBP")  # MPO comes through JPEG
_DRAFT_FACTOR = 2  # JPEG is decoded at no less than twice the target, then reduced: 51.7 dB against full decode


class ImageRejected(Exception):
    """The code of the reason, without its stage: truncated, not_an_image, …"""


class PixelSettings(Settings):
    longest_px: int = Field(448, ge=28, le=8192)
    quality: int = Field(90, ge=30, le=100)


def decode(content: bytes, settings: PixelSettings) -> Image.Image:
    """Upright RGB image with its longer side at most ``longest_px``. Raises ImageRejected."""
    image = _dicom(content) if content[128:132] == b"DICM" else _picture(content, settings.longest_px)
    return _fit(image, settings.longest_px)


def encode(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0, JFIF header and nothing else: rebuilt from pixels, so no comment or profile travels."""
    clean = Image.frombytes("RGB", image.size, image.tobytes())
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False)
    return out.getvalue()


def perceptual_hash(image: Image.Image) -> str:
    """64-bit hash of the low DCT frequencies (pHash): near for pictures that look alike. 16 hexadecimal digits."""
    small = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    steps = np.arange(32)
    basis = np.cos(np.pi * (2 * steps[None, :] + 1) * steps[:, None] / 64)
    low = (basis @ small @ basis.T)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return f"{int(''.join('1' if b else '0' for b in bits), 2):016x}"


def _picture(content: bytes, longest_px: int) -> Image.Image:
    if not content:
        raise ImageRejected("empty_file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; none of it is kept
            return _opened(content, longest_px)
    except UnidentifiedImageError:
        raise ImageRejected("unsupported_format" if _looks_like_image(content) else "not_an_image") from None
    except Image.DecompressionBombError:
        raise ImageRejected("too_many_pixels") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        IndexError,
        EOFError,
        ZeroDivisionError,
        TypeError,
        KeyError,
    ) as error:
        # Pillow's decoders answer a cut or damaged file with any of these
        cut = "truncated" in str(error).lower() or "not enough" in str(error).lower() or isinstance(error, EOFError)
        raise ImageRejected("truncated" if cut else "damaged") from None


def _opened(content: bytes, longest_px: int) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=_DECODED) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageRejected("too_many_pixels")
        if image.format in ("JPEG", "MPO"):
            _check_jpeg_ends(content)
            _draft(image, longest_px)
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


def _check_jpeg_ends(content: bytes) -> None:
    # a JPEG cut inside its scan decodes without an error at some scales, grey from the cut on: the end marker tells
    if content.rfind(b"\xff\xd9") == -1:
        raise ImageRejected("truncated")


def _draft(image: Image.Image, longest_px: int) -> None:
    longest = max(image.size)
    if longest > longest_px * _DRAFT_FACTOR:
        scale = longest_px * _DRAFT_FACTOR / longest
        image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))


def _looks_like_image(content: bytes) -> bool:
    return content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif", b"ftypavif")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        return Image.fromarray(_to_eight_bit(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _to_eight_bit(values: np.ndarray) -> np.ndarray:
    """Stretch between the 0.5th and the 99.5th percentile."""
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


def _fit(image: Image.Image, longest_px: int) -> Image.Image:
    longest = max(image.size)
    if longest <= longest_px:  # never upscaled
        return image
    size = tuple(max(1, round(side * longest_px / longest)) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


_DICOM_ERRORS = (  # what pydicom and its decoders answer damaged headers, unknown syntaxes and short pixel data with
    *(ValueError, OSError, EOFError, AttributeError, KeyError, TypeError, IndexError, OverflowError),
    *(NotImplementedError, RuntimeError, ZeroDivisionError, RecursionError, struct.error),
)


def _dicom(content: bytes) -> Image.Image:
    """A single-frame DICOM image, windowed as its header says. Reads pixels and display tags only."""
    # pydicom quotes the values of elements in its warnings, a patient's name among them: nothing of that may reach a log
    log = logging.getLogger("pydicom")
    log.disabled, log.propagate = True, False  # the loggers of its decoders lie below it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(content))
            if "PixelData" not in dataset:
                raise ImageRejected("dicom_without_pixels")
            if str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES":
                raise ImageRejected("burned_in_text")
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                raise ImageRejected("multi_frame")
            if int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) > MAX_PIXELS:
                raise ImageRejected("too_many_pixels")
        except (InvalidDicomError, *_DICOM_ERRORS):
            raise ImageRejected("damaged") from None
        try:
            return Image.fromarray(_shown(dataset)).convert("RGB")
        except _DICOM_ERRORS:
            raise ImageRejected("unsupported_dicom") from None


def _shown(dataset: pydicom.Dataset) -> np.ndarray:
    """Pixels as a viewer shows them, 8 bit: modality LUT, then VOI LUT or window, else a percentile stretch."""
    values = pixel_array(dataset)
    color = dataset.get("PhotometricInterpretation", "")
    if color == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    if values.ndim == 3:  # RGB; pydicom has turned YBR into it
        return values if values.dtype == np.uint8 else _to_eight_bit(values.astype(np.float64))
    values = apply_modality_lut(values, dataset)
    if "WindowCenter" in dataset or "VOILUTSequence" in dataset:
        windowed = np.asarray(apply_voi_lut(values, dataset), dtype=np.float64)
        low, high = float(windowed.min()), float(windowed.max())
        shown = ((windowed - low) / (high - low or 1) * 255 + 0.5).astype(np.uint8)
    else:
        shown = _to_eight_bit(np.asarray(values, dtype=np.float64))
    return 255 - shown if color == "MONOCHROME1" else shown  # MONOCHROME1: low values are shown white
