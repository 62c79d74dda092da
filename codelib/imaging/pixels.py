"""From a file's bytes to an upright RGB picture of the release's size, and from that to a JPEG that holds nothing but the picture.

    bytes ─ pictures ─ decode near the size wanted, sRGB, upright ─ fit: block means, Lanczos ─ encode: JPEG

Every way a file can be bad has a reason of its own; none raises past `decode` but as ImageRejected.
"""

from __future__ import annotations

import io
import math

from PIL import Image

from codelib.imaging.picture import MAX_PIXELS, Box, ImageRejected, Picture, PixelSettings, whole_box
from codelib.imaging.pictures import pictures

__all__ = ["MAX_PIXELS", "ImageRejected", "Picture", "PixelSettings", "decode", "encode", "fit", "pictures", "wanted_px"]

_GAP = 1.4  # of the reduction at least this much is left to Lanczos; the rest is block means or the decoder's scale, far faster


def wanted_px(longest_px: int) -> int:
    """The longer side to decode to for a release of ``longest_px``."""
    return math.ceil(longest_px * _GAP)


def decode(content: bytes, settings: PixelSettings) -> Image.Image:
    """The first picture of a file that is not DICOM, with its longer side at most ``longest_px``. Raises ImageRejected."""
    first = pictures(content, settings, wanted_px(settings.longest_px))[0]
    if first.image is None:
        raise ImageRejected(first.reason)
    return fit(first.image, settings.longest_px)


def fit(image: Image.Image, longest_px: int) -> Image.Image:
    """The longer side at ``longest_px``, the shorter rounded and at least 1; a smaller image is left as it is."""
    full, box = _shape(image)
    longest = min(longest_px, max(image.size))  # never upscaled
    width, height = (max(1, round(side * longest / max(full))) for side in full)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=_GAP)


def _shape(image: Image.Image) -> tuple[tuple[int, int], Box]:
    """The file's size and its picture's box, as ``pictures`` noted them, unless the image was cropped, turned or scaled since."""
    box: Box = image.info.get("box", whole_box(image))
    width, height = image.info.get("full_size", image.size)
    whole = 0 <= image.width - (box[2] - box[0]) < 2 and 0 <= image.height - (box[3] - box[1]) < 2
    same_shape = abs(width * image.height - height * image.width) <= 2 * max(width, height)
    return ((width, height), box) if whole and same_shape else (image.size, whole_box(image))


def encode(image: Image.Image, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0, JFIF header and nothing else: rebuilt from pixels, so no comment or profile travels."""
    clean = Image.frombytes("RGB", image.size, image.tobytes())
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False)
    return out.getvalue()
