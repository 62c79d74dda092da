"""PNG, WebP, BMP, GIF, JPEG 2000, HEIC and AVIF: what their structure says before a decoder sees them, and the decoders.

Each reader checks that the file is whole and its numbers sane, so that a cut file is ``truncated`` at whatever byte it was cut, also where
the decoder would fill the rest with grey, and so that a small file cannot keep a decoder busy for minutes (``too_complex``).
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator

import pi_heif
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Jpeg2KImagePlugin, PngImagePlugin, WebPImagePlugin

from codelib.imaging.depth import load
from codelib.imaging.picture import DECODER_ERRORS, ImageRejected, Limits, Raw
from codelib.imaging.tiff import exif_orientation

_MAX_PIECES = 100_000  # chunks, boxes, segments or tile-parts in one file
_MAX_TILES = 16_384  # of a JPEG 2000: 128 x 128 tiles
_MAX_COMPONENTS = 5
# Text chunks stay out (compressed, they are bombs), and so do the frames of an animation: its default picture is decoded.
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"eXIf"}


def _number(content: bytes, at: int, code: str) -> int:
    try:
        return int(struct.unpack_from(code, content, at)[0])
    except struct.error:
        raise ImageRejected("truncated") from None


# PNG


def read_png(content: bytes, limits: Limits) -> Raw:
    bare = _bare_png(content)
    if bare[12:16] != b"IHDR":
        raise ImageRejected("damaged")
    limits.check_size(_number(bare, 16, ">I"), _number(bare, 20, ">I"))
    image = load(lambda: PngImagePlugin.PngImageFile(io.BytesIO(bare)), limits)
    return Raw(image, image.info.get("icc_profile"), exif_orientation(image.info.get("exif", b"")))


def _bare_png(content: bytes) -> bytes:
    """The chunks that make the picture, checked; what stands behind the end chunk is left off."""
    kept, at = [content[:8]], 8
    for _ in range(_MAX_PIECES):
        length, kind = _number(content, at, ">I"), content[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(content):
            raise ImageRejected("truncated")
        if kind in _PNG_KEPT:
            if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != _number(content, end - 4, ">I"):
                raise ImageRejected("damaged")
            kept.append(content[at:end])
        elif not kind[0] & 0x20:  # a capital first letter: not to be passed over, and not of the standard (Apple's CgBI)
            raise ImageRejected("unsupported_format" if kind.isalpha() else "damaged")
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ImageRejected("too_complex")


# WebP


def read_webp(content: bytes, limits: Limits) -> Raw:
    if 8 + _number(content, 4, "<I") > len(content):
        raise ImageRejected("truncated")
    limits.check_size(*_webp_size(content))
    image = load(lambda: WebPImagePlugin.WebPImageFile(io.BytesIO(content)), limits)
    return Raw(image, image.info.get("icc_profile"), exif_orientation(image.info.get("exif") or b""))


def _webp_size(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if kind == b"VP8L":
        sides = _number(content, 21, "<I")
        return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _number(content, 26, "<H") & 0x3FFF, _number(content, 28, "<H") & 0x3FFF
    raise ImageRejected("damaged")


# BMP and GIF


def read_bmp(content: bytes, limits: Limits) -> Raw:
    if _number(content, 14, "<I") == 12:
        limits.check_size(_number(content, 18, "<H"), _number(content, 20, "<H"))
    else:
        limits.check_size(abs(_number(content, 18, "<i")), abs(_number(content, 22, "<i")))
        # run lengths (compression 1 and 2) may end early, and then the rest of the picture is left as it is
        if _number(content, 30, "<I") in (1, 2) and _number(content, 2, "<I") > len(content):
            raise ImageRejected("truncated")
    image = load(lambda: BmpImagePlugin.BmpImageFile(io.BytesIO(content)), limits)
    return Raw(image)


def read_gif(content: bytes, limits: Limits) -> Raw:
    limits.check_size(_number(content, 6, "<H"), _number(content, 8, "<H"))
    flags = _number(content, 10, "<B")
    if 13 + (flags >> 7) * (6 << (flags & 7)) > len(content):  # the palette
        raise ImageRejected("truncated")
    try:
        return Raw(load(lambda: GifImagePlugin.GifImageFile(io.BytesIO(content)), limits))
    except DECODER_ERRORS:
        if content.endswith(b";"):
            raise
        raise ImageRejected("truncated") from None


# JPEG 2000


def read_jpeg2000(content: bytes, limits: Limits) -> Raw:
    """A .jp2 file or a bare codestream, decoded at a wavelet level near the size wanted."""
    start = 0
    if not content.startswith(b"\xff\x4f"):
        kinds = {kind: at for kind, at, _ in boxes(content)}
        if b"jp2c" not in kinds:
            raise ImageRejected("truncated")
        start = kinds[b"jp2c"]
    width, height, levels = _codestream(content, start)
    limits.check_size(width, height)
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(content))
    limits.check_size(*image.size)
    full = image.size
    halvings = min(int(math.log2(max(max(full) / limits.working_px, 1))), levels)
    image.reduce, step = halvings, 1 << halvings
    image.load()
    # a wavelet's low band is sampled at every second pixel, not between two: pixel i of the image lies at step * i
    left = 0.5 - 0.5 / step
    right, lower = (min(inner, left + outer / step) for inner, outer in zip(image.size, full, strict=True))
    return Raw(image, image.info.get("icc_profile"), full_size=full, box=(left, left, right, lower))


def _codestream(content: bytes, at: int) -> tuple[int, int, int]:
    """Width, height and the wavelet levels of all tiles. Walks tile-parts to the end marker."""
    if content[at : at + 4] != b"\xff\x4f\xff\x51":
        raise ImageRejected("truncated" if len(content) < at + 4 else "damaged")
    right, lower, left, upper, tile_width, tile_height, tile_left, tile_upper = (
        _number(content, at + 8 + 4 * i, ">I") for i in range(8)
    )
    components = _number(content, at + 40, ">H")
    if not tile_width or not tile_height or right <= left or lower <= upper:
        raise ImageRejected("damaged")
    tiles = math.ceil((right - tile_left) / tile_width) * math.ceil((lower - tile_upper) / tile_height)
    if tiles > _MAX_TILES or components > _MAX_COMPONENTS:
        raise ImageRejected("too_complex")
    return right - left, lower - upper, _wavelet_levels(content, at + 2)


def _wavelet_levels(content: bytes, at: int) -> int:
    levels = 32
    for _ in range(_MAX_PIECES):
        marker = _number(content, at, ">H")
        if marker == 0xFFD9:
            return levels
        length = _number(content, at + 2, ">H")
        if marker < 0xFF00 or length < 2:
            raise ImageRejected("damaged")
        if marker == 0xFF52:  # COD: coding style of all components, of the file or of a tile
            levels = min(levels, _number(content, at + 9, ">B"))
        elif marker == 0xFF53:  # COC: of one component; the number of levels stands further back where there are many
            levels = min(levels, _number(content, at + 6, ">B"))
        if marker == 0xFF90:  # SOT: length of the tile-part from here, 0 for the last one
            part = _number(content, at + 6, ">I")
            at = at + part if part else content.rfind(b"\xff\xd9")
            if at < 0 or at > len(content) - 2:
                raise ImageRejected("truncated")
            if part and part < 14:
                raise ImageRejected("damaged")
        else:
            at += 2 + length
    raise ImageRejected("too_complex")


# HEIC and AVIF


def read_heic(content: bytes, limits: Limits) -> Raw:
    """The primary picture. libheif turns it upright; EXIF's orientation is for information only in this format."""
    kinds = {kind for kind, _, _ in boxes(content)}
    pi_heif.options.DECODE_THREADS = 1  # one core for each worker
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    try:
        file = pi_heif.open_heif(content)
        limits.check_size(*file.size)
        image = file.to_pillow()
    except DECODER_ERRORS as error:
        cut = not kinds >= {b"meta", b"mdat"} or "end of file" in str(error).lower()
        raise ImageRejected("truncated" if cut else "damaged") from None
    return Raw(image, image.info.get("icc_profile"))


def read_avif(content: bytes, limits: Limits) -> Raw:
    """The primary picture, or the first of a sequence."""
    kinds = {kind for kind, _, _ in boxes(content)}
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one core for each worker
    try:
        image = load(lambda: AvifImagePlugin.AvifImageFile(io.BytesIO(content)), limits)
    except DECODER_ERRORS:
        raise ImageRejected("damaged" if kinds >= {b"meta", b"mdat"} else "truncated") from None
    return Raw(image, image.info.get("icc_profile"), exif_orientation(image.info.get("exif", b"")))


def boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte of the payload, end) of the outer boxes of an ISO file. A phone's own trailer ends the walk."""
    at = 0
    for _ in range(_MAX_PIECES):
        if at == len(content):
            return
        size, kind, header = _number(content, at, ">I"), content[at + 4 : at + 8], 8
        if not kind.isascii() or b"\0" in kind:
            return
        if size == 1:
            size, header = _number(content, at + 8, ">Q"), 16
        elif size == 0:
            size = len(content) - at
        if size < header:
            raise ImageRejected("damaged")
        if at + size > len(content) or len(kind) < 4:
            raise ImageRejected("truncated")
        yield kind, at + header, at + size
        at += size
    raise ImageRejected("too_complex")
