"""An image of somebody else's without its metadata.

    JPEG ── segments beside JFIF's, tables and pixels dropped, bytes behind the end cut ──> the same coefficients, "stripped"
      └─ where the pixels would look different without them (turned by EXIF, a colour profile, Adobe's inks) ──> "rebuilt"
    PNG ── chunks beside the picture's own dropped ──> "stripped"       any other format ──> PNG, "rebuilt"

EXIF names a time, a place and a camera, XMP and IPTC often a person; a JFIF or EXIF thumbnail may show what was cropped away.
"""

from __future__ import annotations

import io
import zlib
from typing import Literal

from PIL import Image

from codelib.data.verify_files import STANDALONE, metadata_of, scan_end
from codelib.imaging.colour import means_srgb
from codelib.imaging.jpeg import read_header
from codelib.imaging.picture import ImageRejected, PixelSettings
from codelib.imaging.pictures import pictures
from codelib.imaging.tiff import exif_orientation

How = Literal["", "stripped", "rebuilt"]
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_JFIF = b"\xff\xe0\x00\x10JFIF\x00"
_PNG_PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
_PNG_MEANING = (b"iCCP", b"cICP", b"acTL")  # a profile, another transfer curve; an animation
_QUALITY = 95  # of a JPEG that has to be turned or converted: 4:4:4, so that a second generation is not seen
_WHOLE = 1 << 20  # px of the longer side: never a smaller scale


def clean(content: bytes) -> tuple[bytes, How]:
    """The image without metadata, and what that took; "" where the bytes are the given ones.

    Same bytes in, same bytes out. What is stripped has every coefficient (JPEG) or pixel (PNG) of the given file. Raises ImageRejected where
    a picture that has to be rebuilt cannot be decoded to its end.
    """
    if content.startswith(_JPEG):
        if metadata_of(content) is None:
            return content, ""
        bare = stripped_jpeg(content)
        if metadata_of(bare) is None and looks_the_same(content, bare):
            return bare, "stripped"
        return _rebuilt(content, "JPEG"), "rebuilt"
    png = stripped_png(content) if content.startswith(_PNG) else None
    if png is not None:
        return png, "" if png == content else "stripped"
    return _rebuilt(content, "PNG"), "rebuilt"


def looks_the_same(content: bytes, bare: bytes) -> bool:
    """Whether the JPEG was upright and sRGB by itself, and a decoder makes the same pixels without what was dropped: an Adobe segment
    says whether three components are RGB. What it says of four (inverted inks) decoders read differently, so those are always written anew."""
    header = read_header(content)
    if header.components == 4 or exif_orientation(header.exif) != 1 or not (header.icc is None or means_srgb(header.icc)):
        return False
    one, other = (Image.open(io.BytesIO(given), formats=("JPEG",)) for given in (content, bare))
    return (one.mode, one.size) == (other.mode, other.size) and one.tobytes() == other.tobytes()


def stripped_jpeg(content: bytes) -> bytes:
    """JFIF's header, tables, frame and scans as they are; everything else left out. The markers of ITU-T T.81, annex B."""
    kept, place = [b"\xff\xd8"], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF or marker in STANDALONE:  # a fill byte; a marker without a length
            place += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xE0 and content[place:end].startswith(b"JFIF\0", 4) and len(kept) == 1:
            # version and density stay, a thumbnail behind them does not
            kept.append(_JFIF + content[place + 9 : place + 16] + b"\0\0")
        elif not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            if marker == 0xDA:
                end = scan_end(content, end)
            kept.append(content[place:end])
        place = end
    return b"".join([*kept, b"\xff\xd9"])


def stripped_png(content: bytes) -> bytes | None:
    """None where it has to be rebuilt: broken, animated, or in colours of its own."""
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(content):
        size, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        end = place + 12 + size
        chunk = content[place:end]
        if len(chunk) < 12 + size or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big") or kind in _PNG_MEANING:
            return None
        if kind == b"eXIf" and exif_orientation(b"Exif\0\0" + chunk[8:-4]) != 1:
            return None
        if kind in _PNG_PICTURE:
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
        place = end
    return None


def has_metadata(content: bytes) -> bool:
    """Whether an image of an import's shard is not one that ``clean`` leaves as it is: what --verify asks."""
    if content.startswith(_JPEG):
        return metadata_of(content) is not None
    return not content.startswith(_PNG) or stripped_png(content) != content


def _rebuilt(content: bytes, form: Literal["JPEG", "PNG"]) -> bytes:
    """From pixels: upright, sRGB, on white where it was transparent; the first picture of several."""
    first = pictures(content, PixelSettings(), _WHOLE)[0]
    if first.image is None:
        raise ImageRejected(first.reason)
    image, out = Image.frombytes("RGB", first.image.size, first.image.tobytes()), io.BytesIO()
    if form == "JPEG":
        image.save(out, "JPEG", quality=_QUALITY, subsampling="4:4:4", optimize=False, progressive=False)
    else:
        image.save(out, "PNG", compress_level=6)
    return out.getvalue()
