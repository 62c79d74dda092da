"""Small picture files of every format, for the tests of decoding."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from codelib.imaging.pixels import PixelSettings, pictures

DATA = Path(__file__).parent / "data"
SETTINGS = PixelSettings(max_megapixels=60)
WORKING_PX = 2 * SETTINGS.longest_px


def gradient(width, height, mode="RGB"):
    """A smooth picture, the same for the same size."""
    rng = np.random.default_rng([width, height])
    smooth = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return smooth.convert(mode)


def noisy(width, height):
    """A picture whose compressed file is not small."""
    rng = np.random.default_rng([width, height, 1])
    grain = rng.integers(-12, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(gradient(width, height), dtype=int) + grain, 0, 255).astype(np.uint8))


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


CORNERS = {(8, 6): (220, 30, 30), (52, 6): (30, 200, 30), (8, 34): (30, 30, 220), (52, 34): (128, 128, 128)}


def corners():
    """60 x 40, grey, with a red, a green and a blue corner; the fourth is grey."""
    image = Image.new("RGB", (60, 40), (128, 128, 128))
    image.paste((220, 30, 30), (0, 0, 20, 15))
    image.paste((30, 200, 30), (40, 0, 60, 15))
    image.paste((30, 30, 220), (0, 25, 20, 40))
    return image


def worst_difference(image, expected=CORNERS):
    """The largest difference of any channel at the named points."""
    return max(abs(a - b) for at, colour in expected.items() for a, b in zip(image.getpixel(at), colour, strict=True))


def only(content, working_px=WORKING_PX, settings=SETTINGS):
    """The one picture of a file: an image or a reason."""
    [picture] = pictures(content, settings, working_px)
    assert picture.part == ""
    assert (picture.image is None) != (picture.reason is None)
    return picture


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(header, *chunks):
    """A PNG of the given chunks; header: width, height, bits, colour type."""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)) + b"".join(chunks) + chunk(b"IEND", b"")
    )


def png16(values):
    """A 16-bit PNG of an array (height, width, 3 or 4): Pillow does not write them."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png((width, height, 16, {3: 2, 4: 6}[channels]), chunk(b"IDAT", zlib.compress(rows)))


def swapped_profile():
    """An ICC profile that calls sRGB's green red and its red green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other_name = profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return other_name.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")


def with_tag(tiff, tag, value):
    """A little-endian TIFF with the first value of a short or long tag of its first directory changed."""
    changed = bytearray(tiff)
    at = struct.unpack_from("<I", changed, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", changed, at)[0], 12):
        if struct.unpack_from("<H", changed, entry)[0] == tag:
            short = struct.unpack_from("<H", changed, entry + 2)[0] == 3
            struct.pack_into("<H" if short else "<I", changed, entry + 8, value)
            return bytes(changed)
    raise AssertionError(f"no tag {tag}")
