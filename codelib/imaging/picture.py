"""What one picture out of a file is, why a file may be refused, and the settings of the pictures."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image
from pydantic import Field

from codelib.core.config import Settings

MAX_PIXELS = 300_000_000  # a decompression bomb is anything above: twice the largest sensor a clinic would own

# What Pillow, libheif, simplejpeg and littleCMS answer a cut, damaged or hostile file with. MemoryError is not among
# them: it says something about the machine.
DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, LookupError, EOFError, RuntimeError),  # RuntimeError: RecursionError, NotImplementedError too
)


class ImageRejected(Exception):
    """The code of the reason, without its stage: truncated, not_an_image, …"""


class PixelSettings(Settings):
    longest_px: int = Field(448, ge=28, le=8192)
    quality: int = Field(90, ge=30, le=100)
    max_megapixels: int = Field(MAX_PIXELS // 1_000_000, ge=1, le=10_000)
    max_pages: int = Field(16, ge=1, le=1000)  # of a multi-page TIFF; evenly spaced where there are more

    @property
    def max_pixels(self) -> int:
        return self.max_megapixels * 1_000_000


class Picture(NamedTuple):
    """One picture of a file: an upright sRGB ``image``, or the ``reason`` why there is none."""

    part: str  # "" where the file holds one picture, else "page 2": its place in the file, counted from 1
    image: Image.Image | None
    reason: str | None


Box = tuple[float, float, float, float]  # left, upper, right, lower


def whole_box(image: Image.Image) -> Box:
    return 0.0, 0.0, float(image.width), float(image.height)


class Limits(NamedTuple):
    """What a reader needs to know of the settings."""

    max_pixels: int
    working_px: int  # the longer side wanted; a reader may give more, and less only where the file has less

    def check_size(self, width: int, height: int) -> None:
        """Called with the header's numbers, before anything is decoded. Raises ImageRejected."""
        if width < 1 or height < 1:
            raise ImageRejected("damaged")
        if width * height > self.max_pixels:
            raise ImageRejected("too_many_pixels")


class Raw(NamedTuple):
    """A decoded image as its file describes it: still to be made upright, sRGB and 8 bit."""

    image: Image.Image
    icc: bytes | None = None
    orientation: int = 1  # EXIF 1-8; 1 where the decoder has turned the image already
    full_size: tuple[int, int] | None = None  # the file's width and height, where the image is smaller
    box: Box | None = None  # where the picture lies in the image, in its pixels, where it does not fill the last of them
    white_is_zero: bool = False  # TIFF's photometric 0 at more than 8 bits, which Pillow leaves as it is


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the indices 0 … count-1, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [0]
    return [round(step * (count - 1) / (wanted - 1)) for step in range(wanted)]
