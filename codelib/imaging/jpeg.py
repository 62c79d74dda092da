"""JPEG: its marker structure, and a decode at a scale near the size wanted.

    SOI · segments (EXIF, ICC, Adobe, frame header) · SOS · scan … EOI · anything (MPO's other pictures, a camera's trailer)

The scale is libjpeg's: at 1/2, 1/4 and 1/8 it computes a smaller inverse DCT, so that an 18 megapixel photograph costs little more
than the Huffman decoding of its bytes. libjpeg-turbo is called through simplejpeg in its strict mode because every other binding on hand
(Pillow, OpenCV) decodes a damaged scan without a word, grey or shifted from the damage on.

What is damage: any warning of libjpeg's, but for zero bytes between the last block and the end marker (cameras pad with them) and two
header fields that it ignores itself and that are put right here first. A JPEG without an end marker is ``truncated``.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from PIL import Image, JpegImagePlugin

from codelib.imaging.picture import DECODER_ERRORS, ImageRejected, Limits, Raw
from codelib.imaging.tiff import exif_orientation

_MAX_SCANS = 100  # encoders write about 10; each scan walks all the coefficients: the way to make a small file slow
_MAX_SEGMENTS = 5_000  # of an ICC profile there may be 255
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended, progressive; arithmetic: sequential, progressive
_PROGRESSIVE = (0xC2, 0xCA)
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # 0xF7 is JPEG-LS
_SCALES = (1, 2, 4, 8)  # eighths. 3/8, 5/8, … have no vector code and are slower than the next power of two
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # within a scan FF 00 is a stuffed byte, FF D0-D7 a restart
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


@dataclass
class Header:
    """What stands before the first scan."""

    width: int = 0
    height: int = 0
    frame: int = 0  # marker of the frame header: which kind of JPEG
    precision: int = 0
    components: int = 0
    scan_at: int = 0  # offset of the first SOS marker
    scan_components: int = 0
    adobe: bool = False
    exif: bytes = b""
    icc_parts: list[bytes] = field(default_factory=list)
    mended: list[tuple[int, int]] = field(default_factory=list)  # (offset, byte) of header fields that decoders ignore

    @property
    def one_scan(self) -> bool:
        return self.frame not in _PROGRESSIVE and self.scan_components == self.components

    @property
    def icc(self) -> bytes | None:
        """The profile, out of its numbered parts."""
        return b"".join(part[14:] for part in sorted(self.icc_parts, key=lambda part: part[12])) or None


def read_jpeg(content: bytes, limits: Limits) -> Raw:
    """The first picture of a JPEG or MPO file. Raises ImageRejected."""
    header = read_header(content)
    if header.frame not in _DECODED or header.precision != 8 or header.components not in (1, 3, 4):
        raise ImageRejected("unsupported_format")  # lossless, hierarchical, JPEG-LS, 12 bits
    limits.check_size(header.width, header.height)
    if not header.one_scan:
        end_of_picture(content, header)
    eighths = _scale(header, limits.working_px)
    image = _decoded(content, header, eighths)
    size = header.width, header.height
    box = (0.0, 0.0, header.width * eighths / 8, header.height * eighths / 8)
    return Raw(image, header.icc, exif_orientation(header.exif), size, box)


def read_header(content: bytes) -> Header:
    """Segments up to the first scan. Raises ImageRejected."""
    header, at = Header(), 2
    for _ in range(_MAX_SEGMENTS):
        marker, at = _marker(content, at)
        length = _length(content, at)
        segment = content[at + 2 : at + length]
        if marker in _FRAMES:
            if len(segment) < 6:
                raise ImageRejected("damaged")
            header.frame, header.precision, header.components = marker, segment[0], segment[5]
            header.height, header.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        elif marker == 0xDA:
            if not header.frame or not segment or len(segment) < 2 * segment[0] + 4:
                raise ImageRejected("damaged")
            header.scan_at, header.scan_components = at - 2, segment[0]
            _mend_scan(header, segment, at + 2)
            return header
        else:
            _keep(header, marker, segment, at + 2)
        at += length
    raise ImageRejected("too_complex")


def end_of_picture(content: bytes, header: Header) -> int:
    """Offset of the end marker, found by walking scans. Raises ImageRejected: truncated, too_many_scans, damaged."""
    at, scans = header.scan_at, 0
    for _ in range(_MAX_SEGMENTS):
        marker, at = _marker(content, at)
        if marker == 0xD9:
            return at - 2
        at += _length(content, at)
        if marker == 0xDA:
            scans += 1
            if scans > _MAX_SCANS:
                raise ImageRejected("too_many_scans")
            found = _NEXT_MARKER.search(content, at)
            if found is None:
                raise ImageRejected("truncated")
            at = found.start()
    raise ImageRejected("too_complex")


def _marker(content: bytes, at: int) -> tuple[int, int]:
    """The marker at an offset, and the offset behind it. Any number of FF may stand before it."""
    start = at
    while at < len(content) and content[at] == 0xFF:
        at += 1
    if at >= len(content):
        raise ImageRejected("truncated")
    if at == start or content[at] == 0:
        raise ImageRejected("damaged")
    return content[at], at + 1


def _length(content: bytes, at: int) -> int:
    if at + 2 > len(content):
        raise ImageRejected("truncated")
    length = int.from_bytes(content[at : at + 2], "big")
    if length < 2:
        raise ImageRejected("damaged")
    if at + length > len(content):
        raise ImageRejected("truncated")
    return length


def _keep(header: Header, marker: int, segment: bytes, at: int) -> None:
    """Notes the application segments that say something about the pixels."""
    if marker == 0xE1 and segment.startswith(b"Exif\0\0") and not header.exif:
        header.exif = segment
    elif marker == 0xE2 and segment.startswith(b"ICC_PROFILE\0") and len(segment) > 14:
        header.icc_parts.append(segment)
    elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
        header.adobe = True
        if segment[11] > 2:  # an unknown transform: libjpeg takes it for YCC or YCCK
            header.mended.append((at + 11, 1 if header.components == 3 else 2))
    elif marker == 0xE0 and segment.startswith(b"JFIF\0") and len(segment) >= 7 and segment[5] != 1:
        header.mended.append((at + 5, 1))  # the major version


def _mend_scan(header: Header, segment: bytes, at: int) -> None:
    """Phones write 0, 0, 0 for the spectral range of a sequential scan, where only 0, 63, 0 is possible."""
    last = 1 + 2 * segment[0]
    if header.frame not in _PROGRESSIVE and segment[last : last + 3] != b"\0\x3f\0":
        header.mended += [(at + last, 0), (at + last + 1, 63), (at + last + 2, 0)]


def _scale(header: Header, working_px: int) -> int:
    """The least number of eighths that leaves the longer side at no less than ``working_px``."""
    longest = max(header.width, header.height)
    return next((n for n in _SCALES if math.ceil(longest * n / 8) >= working_px), 8)


def _decoded(content: bytes, header: Header, eighths: int) -> Image.Image:
    if header.mended:
        changed = bytearray(content)
        for at, value in header.mended:
            changed[at] = value
        content = bytes(changed)
    try:
        simplejpeg.decode_jpeg_header(content)
    except DECODER_ERRORS:
        return _decoded_by_pillow(content, header, eighths)
    try:
        return _decoded_by_turbo(content, header, eighths, strict=True)
    except DECODER_ERRORS as error:
        end = end_of_picture(content, header)
        padding = _PADDING.search(str(error))
        if padding is None or content[end - int(padding[1]) : end].strip(b"\0"):
            raise ImageRejected("damaged") from None
    try:
        return _decoded_by_turbo(content, header, eighths, strict=False)
    except DECODER_ERRORS:
        raise ImageRejected("damaged") from None


def _decoded_by_turbo(content: bytes, header: Header, eighths: int, *, strict: bool) -> Image.Image:
    least = {"min_height": math.ceil(header.height * eighths / 8), "min_width": math.ceil(header.width * eighths / 8)}
    if header.components == 4:
        inks = simplejpeg.decode_jpeg(content, "CMYK", strict=strict, **least)  # YCCK comes out as CMYK too
        return Image.fromarray(np.subtract(255, inks) if header.adobe else inks, "CMYK")  # Adobe stores ink inverted
    if header.components == 1:
        return Image.fromarray(simplejpeg.decode_jpeg(content, "GRAY", strict=strict, **least)[:, :, 0])
    pixels = simplejpeg.decode_jpeg(
        content, "RGBX", strict=strict, **least
    )  # four bytes a pixel, as Pillow keeps them: 1 ms less
    return Image.frombuffer("RGB", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)


def _decoded_by_pillow(content: bytes, header: Header, eighths: int) -> Image.Image:
    """For chroma samplings that turbojpeg's interface does not know (3:1, …). Structure is checked here, damage is not seen."""
    end_of_picture(content, header)
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(content))
        image.draft(None, (header.width * eighths // 8, header.height * eighths // 8))
        image.load()
    except DECODER_ERRORS:
        raise ImageRejected("damaged") from None
    return image
