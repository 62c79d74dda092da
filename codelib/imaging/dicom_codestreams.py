"""What JPEG, JPEG-LS and JPEG 2000 codestreams say of themselves, read before any decoder sees them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from codelib.imaging.pixels import ImageRejected

_SEGMENTS = (0xC1, 0xC2, 0xC3, 0xC4, 0xDA, 0xDB, 0xDD, 0xFE)  # frame headers, tables, scan, restart interval, comment


@dataclass(frozen=True)
class Stream:
    """What a codestream says of itself."""

    rows: int
    columns: int
    samples: int
    precision: int
    kind: int  # JPEG: which SOF marker; else 0
    component_ids: bytes = b""
    jfif: bool = False
    adobe: int | None = None  # colour transform of the Adobe marker
    mixed: bool = False  # JPEG 2000: component transform used

    @property
    def marked_rgb(self) -> bool:
        """A JPEG that says itself that its components are RGB."""
        return self.component_ids in (b"RGB", b"rgb") or self.adobe == 0


def jpeg_colours(stream: Stream, header: str) -> str:
    """Colour space of the coded components: the codestream's marks first, then the DICOM header."""
    if stream.samples == 1:
        return header
    if stream.marked_rgb:
        return "RGB"
    return "YBR_FULL" if stream.jfif or stream.adobe == 1 or header.startswith("YBR") else "RGB"


def jpeg_head(frame: bytes) -> Stream:
    """Walk the marker segments up to the frame header (ITU-T T.81 B.2, T.87 C.2)."""
    at, jfif, adobe = 2, False, None
    if frame[:2] != b"\xff\xd8":
        raise ImageRejected("damaged")
    while True:
        while frame[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        mark, kind, length = struct.unpack(">BBH", frame[at : at + 4])
        body = frame[at + 4 : at + 2 + length]
        if mark != 0xFF or length < 2 or kind == 0xDA:
            raise ImageRejected("damaged")
        if kind == 0xF7 or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):
            precision, rows, columns, samples = struct.unpack(">BHHB", body[:6])
            return Stream(rows, columns, samples, precision, kind, body[6::3][:samples], jfif, adobe)
        jfif = jfif or (kind == 0xE0 and body.startswith(b"JFIF"))
        if kind == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        at += 2 + length


def jpeg_2000_head(frame: bytes) -> Stream:
    """SIZ, and from COD whether a component transform is used (ITU-T T.800 A.5.1, A.6.1)."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # at 0, or behind the boxes of a JP2 file
    if start == -1:
        raise ImageRejected("damaged")
    at = start + 2
    length, _, x1, y1, x0, y0 = struct.unpack(">HHIIII", frame[at + 2 : at + 22])
    (samples,) = struct.unpack(">H", frame[at + 38 : at + 40])
    depths = {(frame[at + 40 + 3 * i] & 0x7F) + 1 for i in range(min(samples, 4))}
    if len(depths) != 1:
        raise ImageRejected("unsupported_dicom")
    mixed = False
    at += 2 + length
    while frame[at : at + 1] == b"\xff" and frame[at + 1] not in (0x90, 0x93):
        (length,) = struct.unpack(">H", frame[at + 2 : at + 4])
        if frame[at + 1] == 0x52:
            mixed = frame[at + 8] == 1
        at += 2 + max(2, length)
    return Stream(y1 - y0, x1 - x0, samples, depths.pop(), 0, mixed=mixed)


def require_clean_head(frame: bytes) -> None:
    """Raises ImageRejected("damaged") unless the segments up to the scan follow each other without a gap, of known kinds, one frame header."""
    at, frames = 2, 0
    while True:
        mark, kind, length = struct.unpack(">BBH", frame[at : at + 4])
        if mark != 0xFF or length < 2 or not (kind in _SEGMENTS or 0xE0 <= kind <= 0xEF):
            raise ImageRejected("damaged")
        frames += kind in (0xC1, 0xC2, 0xC3)
        at += 2 + length
        if kind == 0xDA:
            break
    if frames != 1:
        raise ImageRejected("damaged")
