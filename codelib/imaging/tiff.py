"""TIFF: its directories, read before Pillow does, and its pages.

A file is a chain of directories (IFD), a page each; thumbnails and masks stand in the same chain and are passed over. Camera raw files
(DNG, NEF, CR2, ARW) are TIFF too: their pictures need developing, and the thumbnails in them are not the photograph.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

from PIL import TiffImagePlugin

from codelib.imaging.depth import load
from codelib.imaging.picture import ImageRejected, Limits, Raw

_MAX_PAGES = 4096
_MAX_STRIPS = 200_000
_CODES = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    5: "Q",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    10: "q",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
_ORIENTATION = 274
_ICC = 34675
_STRIPS = ((273, 279), (324, 325))  # offsets and lengths, of strips and of tiles
_RAW_PHOTOMETRIC = {32803, 34892}  # colour filter array, linear raw
_RAW_COMPRESSION = {32767, 34713, 65535, 34892}  # Sony, Nikon, Pentax, lossy DNG
_DNG_VERSION, _SUB_IFDS = 50706, 330


class Directory(NamedTuple):
    number: int  # place in the file, counted from 1
    at: int
    tags: dict[int, tuple[int, ...]]  # the integer tags that are looked at
    has: frozenset[int]  # all tags

    def one(self, tag: int, default: int = 0) -> int:
        return (self.tags.get(tag) or (default,))[0]


_WANTED = {254, 256, 257, 258, 259, 262, 322, 323, _ORIENTATION, *_STRIPS[0], *_STRIPS[1]}


class Reader:
    """The byte order and offset size of one file, and its directories. Raises ImageRejected."""

    def __init__(self, content: bytes):
        self.content = content
        self.order = "<" if content[:2] == b"II" else ">"
        self.big = self._number("H", 2) == 43
        self.first_at = self._number(self._offset, 8 if self.big else 4)

    @property
    def _offset(self) -> str:
        return "Q" if self.big else "I"

    def _number(self, code: str, at: int) -> int:
        try:
            return int(struct.unpack_from(self.order + code, self.content, at)[0])
        except (struct.error, OverflowError):  # past the end; a 64-bit offset past anything
            raise ImageRejected("truncated") from None

    def directory(self, at: int, number: int) -> tuple[Directory, int]:
        """The directory at an offset, and the offset of the next (0: none)."""
        entries = self._number("Q" if self.big else "H", at)
        start, size = (at + 8, 20) if self.big else (at + 2, 12)
        if start + entries * size > len(self.content):
            raise ImageRejected("truncated")
        tags, has = {}, set()
        for entry in range(start, start + entries * size, size):
            tag = self._number("H", entry)
            has.add(tag)
            values = self._values(tag, entry)
            if values is not None:
                tags[tag] = values
        return Directory(number, at, tags, frozenset(has)), self._number(self._offset, start + entries * size)

    def _values(self, tag: int, entry: int) -> tuple[int, ...] | None:
        """Values of a tag that is looked at. A standard tag whose value lies past the end of the file says that it is cut."""
        code = _CODES.get(self._number("H", entry + 2))
        count = self._number(self._offset, entry + 4)
        if code is None or (tag >= 32768 and tag != _ICC):  # private tags of editors may point anywhere
            return None
        inline, at = (8, entry + 12) if self.big else (4, entry + 8)
        size = count * struct.calcsize(self.order + code)
        at = at if size <= inline else self._number(self._offset, at)
        if at + size > len(self.content):
            raise ImageRejected("truncated")
        if tag not in _WANTED or code in "fd":
            return None
        if count > _MAX_STRIPS:
            raise ImageRejected("too_complex")
        return struct.unpack_from(f"{self.order}{count}{code}", self.content, at)


def exif_orientation(exif: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        reader = Reader(exif.removeprefix(b"Exif\0\0"))
        orientation = reader.directory(reader.first_at, 1)[0].one(_ORIENTATION, 1)
    except ImageRejected:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def directories(content: bytes) -> tuple[list[Directory], str | None]:
    """All directories of the chain, and the reason why it ends early, if it does."""
    reader = Reader(content)
    found: list[Directory] = []
    at, seen = reader.first_at, set()
    while at:
        if at in seen or len(found) >= _MAX_PAGES:  # a loop, or thousands of pages
            raise ImageRejected("too_complex")
        seen.add(at)
        try:
            directory, at = reader.directory(at, len(found) + 1)
        except ImageRejected as reason:
            return found, str(reason)
        found.append(directory)
    return found, None


def pages(content: bytes) -> tuple[list[Directory], str | None]:
    """The directories that are pictures, and why the chain ends early. Raises ImageRejected, for a camera's raw file too."""
    found, broken = directories(content)
    if any(_is_raw(directory) for directory in found):
        raise ImageRejected("unsupported_format")
    full = [directory for directory in found if not directory.one(254) & 0b101]  # neither thumbnail nor mask
    if not full and any(_SUB_IFDS in directory.has for directory in found):
        raise ImageRejected("unsupported_format")
    return full or found[:1], broken


def _is_raw(directory: Directory) -> bool:
    return _DNG_VERSION in directory.has or directory.one(262) in _RAW_PHOTOMETRIC or directory.one(259) in _RAW_COMPRESSION


def read_page(stream: io.BytesIO, directory: Directory, limits: Limits) -> Raw:
    """One page; ``stream`` holds the file and is changed: its first directory becomes this one, whatever is wrong with others."""
    size = len(stream.getbuffer())
    limits.check_size(directory.one(256), directory.one(257))
    limits.check_size(directory.one(322, 1), directory.one(323, 1))  # of a tile
    for offsets, lengths in _STRIPS:
        pieces = zip(directory.tags.get(offsets, ()), directory.tags.get(lengths, ()), strict=False)
        if any(at + length > size for at, length in pieces):
            raise ImageRejected("truncated")
    with stream.getbuffer() as bytes_:
        order = "<" if bytes_[:2] == b"II" else ">"
        big = struct.unpack_from(order + "H", bytes_, 2)[0] == 43
        struct.pack_into(order + ("Q" if big else "I"), bytes_, 8 if big else 4, directory.at)
    image = load(lambda: _opened(stream), limits)  # Pillow turns TIFF upright itself
    icc = image.info.get("icc_profile")
    deep = image.mode.startswith("I") or image.mode == "F"
    return Raw(image, icc, white_is_zero=deep and directory.one(262, 1) == 0)


def _opened(stream: io.BytesIO) -> TiffImagePlugin.TiffImageFile:
    stream.seek(0)
    return TiffImagePlugin.TiffImageFile(stream)
