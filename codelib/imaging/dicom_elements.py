"""From a file's bytes to the few technical elements of a DICOM object and its undecoded pixel data.

    bytes ─ preamble? meta group ─ transfer syntax (deflated: inflated up to a bound) ─ elements of the allow-list ─ pixel data, stop

What is not on the list (patient, institution, dates, private groups) is skipped by its length and never becomes a value. Parsing ends at
the pixel data, so nothing behind it can do harm.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from codelib.imaging.pixels import ImageRejected

ALLOWED = {
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "Modality": 0x00080060,
    "SliceThickness": 0x00180050,
    "ImagerPixelSpacing": 0x00181164,
    "NominalScannedPixelSpacing": 0x00182010,
    "StudyInstanceUID": 0x0020000D,  # the three identifiers are hashed as soon as they are read
    "SeriesInstanceUID": 0x0020000E,
    "FrameOfReferenceUID": 0x00200052,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "PlanarConfiguration": 0x00280006,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "PixelAspectRatio": 0x00280034,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "PixelPaddingValue": 0x00280120,
    "PixelPaddingRangeLimit": 0x00280121,
    "BurnedInAnnotation": 0x00280301,
    "WindowCenter": 0x00281050,
    "WindowWidth": 0x00281051,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "VOILUTFunction": 0x00281056,
    "RedPaletteColorLookupTableDescriptor": 0x00281101,
    "GreenPaletteColorLookupTableDescriptor": 0x00281102,
    "BluePaletteColorLookupTableDescriptor": 0x00281103,
    "RedPaletteColorLookupTableData": 0x00281201,
    "GreenPaletteColorLookupTableData": 0x00281202,
    "BluePaletteColorLookupTableData": 0x00281203,
    "SegmentedRedPaletteColorLookupTableData": 0x00281221,
    "SegmentedGreenPaletteColorLookupTableData": 0x00281222,
    "SegmentedBluePaletteColorLookupTableData": 0x00281223,
    "ModalityLUTSequence": 0x00283000,
    "VOILUTSequence": 0x00283010,
    "SharedFunctionalGroupsSequence": 0x52009229,
    "PerFrameFunctionalGroupsSequence": 0x52009230,
    "ExtendedOffsetTable": 0x7FE00001,
}
_PIXEL_DATA, _FLOAT_PIXELS, _DOUBLE_PIXELS = 0x7FE00010, 0x7FE00008, 0x7FE00009
_MEDIA_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_UNDEFINED = 0xFFFFFFFF
_MAX_ITEMS = 1_000_000  # of encapsulated pixels: a file of empty items would fill the memory
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD

_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split(),
)
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

BROKEN = (  # what pydicom and the decoders answer damaged headers and short data with
    *(ValueError, OSError, EOFError, AttributeError, LookupError, TypeError, ArithmeticError),
    *(NotImplementedError, RuntimeError, RecursionError, struct.error, zlib.error),
)


@dataclass(frozen=True, repr=False)
class Pixels:
    """Pixel data as stored. ``repr`` shows nothing."""

    data: bytes  # of encapsulated pixels the items, without their end mark
    transfer_syntax: str
    little_endian: bool = True
    vr: str = "OW"
    encapsulated: bool = False
    fragments: tuple[tuple[int, int], ...] = ()  # (start, stop) in ``data``, without the offset table
    offsets: tuple[int, ...] = ()  # basic offset table


@dataclass(frozen=True, repr=False)
class Elements:
    """The allowed elements of one object. ``repr`` shows nothing."""

    dataset: Dataset  # elements of the allow-list, converted when asked for
    media_class: str  # SOP class as the meta group says it
    little_endian: bool
    cut: bool  # the file ends before its first element or inside one
    float_pixels: bool  # parametric maps have them
    pixels: Pixels | None


def looks_like_dicom(content: bytes) -> bool:
    """By content: the mark DICM at 128, or, without a preamble, well-formed elements from group 2 or 8 up to a SOP class.

    Strict where the mark is missing: every tag must ascend, every VR be known, every length fit, and the value of the SOP class
    (0008,0016, or 0002,0002 in the meta group) must be a UID. Random bytes and pictures do not get that far.
    """
    if content[128:132] == b"DICM":
        return True
    if content[:2] in (b"\x02\x00", b"\x08\x00"):
        return _leads_to_sop_class(content, "<")
    return content[:2] == b"\x00\x08" and _leads_to_sop_class(content, ">")


def _leads_to_sop_class(content: bytes, order: str) -> bool:
    explicit = content[4:6] in _VRS
    at, last = 0, -1
    for _ in range(64):  # the SOP class is among the first elements of its group
        head = _element_head(content, at, order, explicit)
        if head is None:
            return False
        tag, start, length = head
        if tag <= last or start + length > len(content) or tag > 0x00080016:
            return False
        if tag in (0x00080016, _MEDIA_CLASS):
            value = content[start : start + length].rstrip(b"\0 ")
            return 10 <= len(value) <= 64 and value.startswith(b"1.") and not value.strip(b"0123456789.")
        at, last = start + length, tag
    return False


def _element_head(content: bytes, at: int, order: str, explicit: bool) -> tuple[int, int, int] | None:
    """Tag, start and length of the value; None where no element can stand here."""
    head = content[at : at + 12]
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    if not explicit:
        return group << 16 | element, at + 8, struct.unpack(order + "I", head[4:8])[0]
    if head[4:6] not in _VRS:
        return None
    if head[4:6] not in _LONG_VRS:
        return group << 16 | element, at + 8, struct.unpack(order + "H", head[6:8])[0]
    if len(head) < 12:
        return None
    return group << 16 | element, at + 12, struct.unpack(order + "I", head[8:12])[0]


def silence_libraries() -> None:
    """pydicom and the decoders quote values in their messages, a patient's name among them: none of it may reach a log."""
    for name in ("pydicom", "openjpeg", "jpeg_ls", "pylibjpeg"):
        log = logging.getLogger(name)
        log.setLevel(logging.CRITICAL + 1)  # the loggers of the decoders lie below and inherit it
        log.propagate = False
        if not log.handlers:
            log.addHandler(logging.NullHandler())


def parse(content: bytes, max_inflated: int) -> Elements:
    """The allowed elements and the pixel data. Raises ImageRejected, or one of BROKEN.

    ``max_inflated``: bytes a deflated object may expand to.
    """
    stream: BinaryIO = io.BytesIO(content)
    stream.seek(132 if content[128:132] == b"DICM" else 0)
    syntax, media_class = _meta(stream)
    if syntax == DeflatedExplicitVRLittleEndian:
        content = _inflated(memoryview(content)[stream.tell() :], max_inflated)
        stream = io.BytesIO(content)
    start = stream.tell()
    implicit, little = _encoding(content[start : start + 6], syntax)
    syntax = syntax or (ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
    try:
        found = _found(stream, implicit, little)
    except (EOFError, OSError, struct.error):  # an element's head or a sequence is cut
        raise ImageRejected("truncated") from None
    native = found.pop(_PIXEL_DATA, None)
    floats = any(found.pop(tag, None) is not None for tag in (_FLOAT_PIXELS, _DOUBLE_PIXELS))
    dataset = Dataset(found)  # type: ignore[arg-type]
    dataset.set_original_encoding(implicit, little, "iso8859")
    pixels = None
    cut = not start < stream.tell() <= len(content)
    if isinstance(native, RawDataElement) and native.length:
        if len(native.value or b"") < native.length:
            raise ImageRejected("truncated")
        pixels = Pixels(native.value or b"", syntax, little, native.VR or "OW")
    elif native is None and not floats and stream.tell() < len(content):
        at = stream.tell() + (8 if implicit else 12)  # the stream stands before the head of encapsulated pixels
        pixels = _encapsulated(content, at, syntax)
    return Elements(dataset, media_class, little, cut, floats, pixels)


def _found(stream: BinaryIO, implicit: bool, little: bool) -> dict[int, RawDataElement | DataElement]:
    """Elements of the allow-list up to the pixel data; stops before the head of encapsulated pixels."""
    found: dict[int, RawDataElement | DataElement] = {}
    for element in data_element_generator(
        stream,
        implicit,
        little,
        stop_when=lambda tag, vr, length: tag == _PIXEL_DATA and length == _UNDEFINED,
        specific_tags=[*ALLOWED.values(), _PIXEL_DATA, _FLOAT_PIXELS, _DOUBLE_PIXELS],
    ):
        found[element.tag] = element
        if element.tag in (_PIXEL_DATA, _FLOAT_PIXELS, _DOUBLE_PIXELS):
            break
    return found


def _meta(stream: BinaryIO) -> tuple[str, str]:
    """Transfer syntax and SOP class of the meta group, '' where missing; leaves the stream behind the group."""
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    implicit = head[4:6] not in _VRS  # some writers encode the meta group like the rest
    values = {}
    for element in data_element_generator(
        stream,
        implicit,
        True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
        specific_tags=[_MEDIA_CLASS, _TRANSFER_SYNTAX],
    ):
        if isinstance(element.value, bytes):
            values[int(element.tag)] = element.value.decode("ascii", "replace").rstrip("\0 ")
    return values.get(_TRANSFER_SYNTAX, ""), values.get(_MEDIA_CLASS, "")


def _encoding(head: bytes, syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian). The first element tells which VR is in use, whatever the transfer syntax claims."""
    implicit = head[4:6] not in _VRS if len(head) == 6 else syntax == ImplicitVRLittleEndian
    if syntax:
        return implicit, syntax != ExplicitVRBigEndian
    return implicit, head[:1] != b"\0"  # groups of the standard's beginning are below 256


def _inflated(deflated: memoryview, limit: int) -> bytes:
    expander = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = expander.decompress(deflated, limit + 1)
    if len(plain) > limit:
        raise ImageRejected("too_many_pixels")
    if not expander.eof:
        raise ImageRejected("truncated")
    return plain


def _encapsulated(content: bytes, at: int, syntax: str) -> Pixels:
    """Walk the items of encapsulated pixel data by their lengths: compressed bytes may look like the end mark (PS3.5 A.4)."""
    start = at
    ranges: list[tuple[int, int]] = []
    while True:
        head = content[at : at + 8]
        if len(head) < 8:
            raise ImageRejected("truncated")
        group, element, length = struct.unpack("<HHI", head)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length == _UNDEFINED or len(ranges) > _MAX_ITEMS:
            raise ImageRejected("damaged")
        if at + 8 + length > len(content):
            raise ImageRejected("truncated")
        ranges.append((at + 8 - start, at + 8 + length - start))
        at += 8 + length
    if not ranges:
        raise ImageRejected("damaged")
    (first, stop), *fragments = ranges
    table = content[start + first : start + stop - (stop - first) % 4]
    offsets = struct.unpack(f"<{len(table) // 4}I", table)
    return Pixels(content[start:at], syntax, True, "OB", True, tuple(fragments), offsets)
