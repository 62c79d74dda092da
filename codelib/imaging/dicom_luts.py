"""Lookup tables of DICOM objects: modality and VOI (PS3.3 C.11.1, C.11.2), colour tables plain (C.7.6.3.1.6) and segmented (C.7.9.2).

Every table is bounded: no more entries than its descriptor says, 65536 at most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from codelib.imaging.dicom_values import first_item, integers
from codelib.imaging.pixels import ImageRejected

_MAX_ENTRIES = 65536
_MAX_DEPTH = 2  # an indirect segment may not lead to another; one more for writers who do


@dataclass(frozen=True)
class Lut:
    """Lookup table: the value ``first`` is the first entry, those outside take the nearest (PS3.3 C.11.1.1)."""

    first: int
    bits: int  # of an entry
    table: np.ndarray = field(compare=False)  # uint16


def lut_of(data: Dataset, sequence: str, signed: bool, little: bool) -> Lut | None:
    item = first_item(data.get(sequence))
    if item is None:
        return None
    descriptor = integers(item.get("LUTDescriptor"), False, little)
    if len(descriptor) != 3:
        raise ImageRejected("damaged")
    table = np.asarray(integers(item.get("LUTData"), False, little), dtype=np.int64)
    entries, bits = (descriptor[0] & 0xFFFF) or 65536, descriptor[2]
    if not 1 <= bits <= 16:
        raise ImageRejected("damaged")
    if bits <= 8 and len(table) < entries:  # two entries to a word
        table = np.stack([table & 0xFF, table >> 8], axis=1).ravel()
    if len(table) < entries:
        raise ImageRejected("damaged")
    # the first mapped value is signed where the values it looks up are
    first = descriptor[1] & 0xFFFF
    first -= 65536 if (signed or sequence == "VOILUTSequence") and first >= 32768 else 0
    return Lut(first, bits, (table[:entries] & 0xFFFF).astype(np.uint16))


def palette_of(data: Dataset, signed: bool, little: bool) -> tuple[Lut, Lut, Lut]:
    red, green, blue = (
        Lut(*_palette_table(descriptor, plain, segmented, signed, little))
        for descriptor, plain, segmented in (
            (
                integers(data.get(f"{colour}PaletteColorLookupTableDescriptor"), False, little),
                data.get(f"{colour}PaletteColorLookupTableData"),
                data.get(f"Segmented{colour}PaletteColorLookupTableData"),
            )
            for colour in ("Red", "Green", "Blue")
        )
    )
    return red, green, blue


def _palette_table(descriptor: list[int], plain: Any, segmented: Any, signed: bool, little: bool) -> tuple[int, int, np.ndarray]:
    """One colour's (first mapped value, bits of an entry, entries as uint16). Raises ImageRejected."""
    if len(descriptor) != 3 or descriptor[2] not in (8, 16):
        raise ImageRejected("damaged")
    entries, first, bits = (descriptor[0] & 0xFFFF) or _MAX_ENTRIES, descriptor[1] & 0xFFFF, descriptor[2]
    first -= 65536 if signed and first >= 32768 else 0
    if isinstance(plain, (bytes, bytearray)) and plain:
        # an 8-bit table may still lie in 16-bit words: its length tells
        wide = len(plain) >= 2 * entries
        table = _words(plain, wide, little)
    elif isinstance(segmented, (bytes, bytearray)) and segmented:
        words = _words(segmented, bits == 16, little).tolist()
        table = np.asarray(_expanded(words, bits, little, entries), dtype=np.int64)
    else:
        raise ImageRejected("damaged")
    if len(table) < entries:
        raise ImageRejected("damaged")
    return first, bits, table[:entries].astype(np.uint16)


def _words(raw: bytes | bytearray, wide: bool, little: bool) -> np.ndarray:
    if not wide:
        return np.frombuffer(raw, np.uint8)
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<u2" if little else ">u2")


def _expanded(words: list[int], bits: int, little: bool, entries: int) -> list[int]:
    out: list[int] = []
    _expand(words, 0, None, bits, little, entries, out, 0)
    return out


def _expand(
    words: list[int], at: int, segments: int | None, bits: int, little: bool, entries: int, out: list[int], depth: int
) -> None:
    """Append the entries of the segments from word ``at`` on: discrete, linear, or a jump to earlier segments."""
    while at + 1 < len(words) and len(out) < entries and segments != 0:
        kind, length = words[at], words[at + 1]
        at += 2
        if kind == 0 and length:
            out += words[at : at + length]
            at += length
        elif kind == 1 and out and length and at < len(words):
            out += np.rint(np.linspace(out[-1], words[at], length + 1)[1:]).astype(int).tolist()
            at += 1
        elif kind == 2 and out and depth < _MAX_DEPTH:
            width = 2 if bits == 16 else 4  # a 32-bit byte offset, in entries of this size
            parts = words[at : at + width]
            if len(parts) < width:
                raise ImageRejected("damaged")
            at += width
            size = bits // 8
            offset = sum(p << (bits * i) for i, p in enumerate(parts if little or bits == 16 else reversed(parts)))
            _expand(words, offset // size, length, bits, little, entries, out, depth + 1)
        else:
            raise ImageRejected("damaged")
        segments = None if segments is None else segments - 1
