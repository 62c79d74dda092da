"""Whatever a decoder gives -> 8 bit sRGB, upright, near the size wanted.

    16 bit, 32 bit, float ─ 8 bit ─ palette ─ alpha on white ─ box reduction ─ ICC profile ─ sRGB ─ orientation

A profile that is broken, or made for another colour model, is passed over: RGB and grey are taken for sRGB, CMYK is mixed as
(1 - ink)(1 - black).
"""

from __future__ import annotations

import functools
import io

from PIL import Image, ImageCms

from codelib.imaging.depth import eight_bit
from codelib.imaging.picture import DECODER_ERRORS, Box, Raw, whole_box

_MAX_PROFILE = 8_000_000  # bytes; press profiles have 2 MB
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_rgb(raw: Raw, working_px: int) -> Image.Image:
    """RGB image with its longer side at no less than ``working_px``, if the file has so much.

    Of the file's metadata nothing is left in ``info``. It holds what ``fit`` needs to hit the file's own shape, for decoders' scales round
    up, and the last row or column may be a part of a pixel only: ``full_size`` of the file's picture, and its ``box`` in this image.
    """
    image = _on_white(eight_bit(raw))
    full, box = raw.full_size or image.size, raw.box or whole_box(image)
    factor = max(image.size) // working_px
    if factor > 1:
        image = image.reduce(factor)  # whole blocks averaged: no aliasing
        box = (box[0] / factor, box[1] / factor, box[2] / factor, box[3] / factor)
    image = _srgb(image, raw.icc)
    if raw.orientation in _UPRIGHT:
        full, box = (full if raw.orientation < 5 else full[::-1]), _turned(box, image.size, raw.orientation)
        image = image.transpose(_UPRIGHT[raw.orientation])
    image.info = {"full_size": full, "box": box}
    return image


def _turned(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """The box after the turn of an EXIF orientation."""
    left, upper, right, lower = box
    if orientation in (2, 3, 7, 8):  # left and right change places
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 6, 7):  # and so do up and down
        upper, lower = size[1] - lower, size[1] - upper
    return (upper, left, lower, right) if orientation >= 5 else (left, upper, right, lower)


def _on_white(image: Image.Image) -> Image.Image:
    """L, RGB, CMYK or LAB without transparency."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    try:
        if image.mode == "LAB":
            return ImageCms.applyTransform(image, _lab_to_srgb()) or image
        transform = _to_srgb(icc, image.mode) if icc and len(icc) <= _MAX_PROFILE else None
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, *DECODER_ERRORS):
        pass  # a broken profile: as without
    return image.convert("RGB")


def means_srgb(icc: bytes) -> bool:
    """Whether pixels under this profile are taken for sRGB: by its name, or because it is broken and passed over."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return (profile.profile.profile_description or "").startswith("sRGB")
    except (ImageCms.PyCMSError, *DECODER_ERRORS):
        return True


@functools.lru_cache(maxsize=16)
def _to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where the profile is sRGB itself. A clinic has a few cameras, each with one profile."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    if mode == "RGB" and (profile.profile.profile_description or "").startswith("sRGB"):
        return None
    return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL)


@functools.lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
