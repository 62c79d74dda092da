"""Zips: a list of members within bounds, and each member's bytes; nothing is ever unpacked to a disk."""

from __future__ import annotations

import io
import lzma
import os
import struct
import zipfile
import zlib
from collections import Counter

from codelib.imaging.pixels import ImageRejected

ZIP = b"PK\x03\x04"
OTHER_ARCHIVES = (b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_BROKEN = (  # what zipfile and its decompressors answer damaged archives with
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, LookupError, NotImplementedError, RuntimeError),
)


def members(content: bytes, max_files: int, max_bytes: int) -> tuple[zipfile.ZipFile, list[tuple[int, zipfile.ZipInfo]]]:
    """The archive, and its files (at most ``max_files``, of ``max_bytes`` unpacked): those with the shortest name first, each with a
    number that counts members of the same name.

    Raises ImageRejected: damaged, too_many_files, archive_too_large, empty_archive.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        found = [info for info in archive.infolist() if not info.filename.endswith("/") and not _is_litter(info.filename)]
    except _BROKEN:
        raise ImageRejected("damaged") from None
    if len(found) > max_files:
        raise ImageRejected("too_many_files")
    if sum(info.file_size for info in found) > max_bytes:
        raise ImageRejected("archive_too_large")
    if not found:
        raise ImageRejected("empty_archive")
    found.sort(key=lambda i: (len(os.path.basename(i.filename)), i.filename, i.header_offset))
    namesakes: Counter[str] = Counter()
    numbered = []
    for info in found:
        numbered.append((namesakes[info.filename], info))
        namesakes[info.filename] += 1
    return archive, numbered


def _is_litter(name: str) -> bool:
    """What operating systems add to a zip; no file of the clinic."""
    return name.startswith("__MACOSX/") or os.path.basename(name) in (".DS_Store", "desktop.ini")


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes; reads no more than its header promised, whatever the stream goes on to give. Raises ImageRejected."""
    if info.flag_bits & 1:
        raise ImageRejected("encrypted")
    try:
        with archive.open(info) as stream:
            content = stream.read(info.file_size + 1)
    except _BROKEN:
        raise ImageRejected("damaged") from None
    if len(content) != info.file_size:
        raise ImageRejected("damaged")
    return content
