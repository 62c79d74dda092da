"""Every picture of a file, recognised by its content and never by its name.

    bytes ─ recognise ─┬─ jpeg: scaled decode (libjpeg-turbo) ─┬─ colour: 8 bit sRGB, upright ─ Picture
                       ├─ tiff: page by page (Pillow) ─────────┤
                       └─ png, webp, bmp, gif, jp2, heic, avif ┘

Whatever is wrong with a file ends as the reason of a Picture; nothing is raised but MemoryError.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

from codelib.imaging import containers
from codelib.imaging.colour import upright_rgb
from codelib.imaging.jpeg import read_jpeg
from codelib.imaging.picture import DECODER_ERRORS, ImageRejected, Limits, Picture, PixelSettings, Raw, evenly_spaced
from codelib.imaging.tiff import pages, read_page

_READERS: dict[str, Callable[[bytes, Limits], Raw]] = {
    "jpeg": read_jpeg,
    "png": containers.read_png,
    "webp": containers.read_webp,
    "bmp": containers.read_bmp,
    "gif": containers.read_gif,
    "jpeg2000": containers.read_jpeg2000,
    "heic": containers.read_heic,
    "avif": containers.read_avif,
}
_SIGNATURES: list[tuple[bytes, str]] = [
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    *((mark, "tiff") for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    # pictures, films and pages that would need developing, choosing or rendering
    *(
        (mark, "unsupported") for mark in (b"IIRO", b"IIRS", b"IIU\0", b"II\xbc", b"FUJIFILMCCD-RAW", b"FOVb")
    ),  # camera raw, JPEG XR
    *((mark, "unsupported") for mark in (b"8BPS", b"%PDF-", b"%!PS", b"\xc5\xd0\xd3\xc6", b"gimp xcf", b"AT&TFORM")),
    *((mark, "unsupported") for mark in (b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\1\0", b"\xd7\xcd\xc6\x9a", b"DDS ")),
    *((mark, "unsupported") for mark in (b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"OggS")),  # films
]
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
_AVIF_BRANDS = {b"avif", b"avis"}
_FILM_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_SVG = re.compile(rb"^(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE svg|<svg).*<svg[\s>]|^(\xef\xbb\xbf)?\s*<svg[\s>]", re.DOTALL)


def recognise(content: bytes) -> str:
    """A key of the readers, or "tiff". Raises ImageRejected: empty_file, unsupported_format, not_an_image."""
    if not content:
        raise ImageRejected("empty_file")
    kind = next((kind for mark, kind in _SIGNATURES if content.startswith(mark)), None) or _by_structure(content)
    if kind == "unsupported":
        raise ImageRejected("unsupported_format")
    if kind is None:
        raise ImageRejected("not_an_image")
    if content[:2] == b"II" and content[8:10] == b"CR":  # Canon's raw files, which are TIFF
        raise ImageRejected("unsupported_format")
    return kind


def _by_structure(content: bytes) -> str | None:
    if content[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "unsupported"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        size = int.from_bytes(content[:4], "big")
        if size > len(content):
            raise ImageRejected("truncated")
        size = min(size, 256)
        brands = {content[8:12], *(content[at : at + 4] for at in range(16, size, 4))}
        if brands & _AVIF_BRANDS:
            return "avif"
        return "heic" if brands & _HEIC_BRANDS else "unsupported"
    if content[4:8] in _FILM_BOXES:
        return "unsupported"
    if content[:2] == b"BM" and content[14:18] in (
        b"\x0c\0\0\0",
        b"\x28\0\0\0",
        b"\x40\0\0\0",
        b"\x34\0\0\0",
        b"\x38\0\0\0",
        b"\x6c\0\0\0",
        b"\x7c\0\0\0",
    ):
        return "bmp"
    return "unsupported" if _SVG.search(content[:4096]) else None


def pictures(content: bytes, settings: PixelSettings, working_px: int) -> list[Picture]:
    """Every picture of a file that is neither DICOM nor an archive: one, or the pages of a TIFF.

    Images are upright, RGB, sRGB, on white, and decoded at a scale at which the longer side is at least ``working_px`` (or the
    file's own, if less): feed them to ``fit``. Of an animation or MPO the first picture comes.
    """
    limits = Limits(settings.max_pixels, working_px)
    with _pillow(limits):
        try:
            kind = recognise(content)
            if kind == "tiff":
                return list(_tiff_pages(content, limits, settings.max_pages))
        except ImageRejected as reason:
            return [Picture("", None, str(reason))]
        except DECODER_ERRORS as error:
            return [Picture("", None, _reason(str(error).lower()))]
        return [_picture("", lambda: _READERS[kind](content, limits), working_px)]


@contextmanager
def _pillow(limits: Limits) -> Iterator[None]:
    """Pillow with this product's limit, and silent: it writes values of tags to its debug log and warns of odd metadata.

    Both are globals of Pillow's: several threads must not decode with different settings.
    """
    log = logging.getLogger("PIL")  # the loggers of its plug-ins take their level from it
    before = log.level, Image.MAX_IMAGE_PIXELS
    log.setLevel(logging.CRITICAL + 1)
    Image.MAX_IMAGE_PIXELS = limits.max_pixels // 2  # it refuses above twice its limit, and warns before
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before[0])
        Image.MAX_IMAGE_PIXELS = before[1]


def _tiff_pages(content: bytes, limits: Limits, max_pages: int) -> Iterator[Picture]:
    found, broken = pages(content)
    if not found:
        raise ImageRejected(broken or "damaged")
    several = len(found) > 1 or broken is not None
    stream = io.BytesIO(content)
    for index in evenly_spaced(len(found), max_pages):
        page = found[index]
        yield _picture(
            f"page {page.number}" if several else "",
            lambda page=page: read_page(stream, page, limits),  # type: ignore[misc]
            limits.working_px,
        )
    if broken:
        yield Picture(f"page {found[-1].number + 1}", None, broken)


def _picture(part: str, read: Callable[[], Raw], working_px: int) -> Picture:
    try:
        return Picture(part, upright_rgb(read(), working_px), None)
    except ImageRejected as reason:
        return Picture(part, None, str(reason))
    except Image.DecompressionBombError:
        return Picture(part, None, "too_many_pixels")
    except DECODER_ERRORS as error:
        return Picture(part, None, _reason(str(error).lower()))


def _reason(said: str) -> str:
    """What a decoder's message means. Pillow has no classes for it; the message itself goes nowhere."""
    if "truncated" in said or "not enough" in said or "unexpected end" in said:
        return "truncated"
    return "unsupported_format" if "unknown pixel mode" in said or "unsupported" in said else "damaged"
