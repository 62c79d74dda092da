"""One frame of a DICOM object, decoded to its stored values. Which library decodes is fixed by the transfer syntax, never tried out:

    uncompressed, deflated   pydicom            JPEG-LS                  pyjpegls (CharLS)
    RLE                      Pillow (PackBits)  JPEG 2000, HTJ2K         pylibjpeg-openjpeg
    JPEG 8 bit, lossless too Pillow             JPEG of more bits        GDCM

The size that a codestream declares must be the header's before anything is decoded.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gdcm
import jpeg_ls
import numpy as np
import openjpeg
from PIL import Image
from pydicom import uid
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space

from codelib.imaging.dicom_codestreams import Stream, jpeg_2000_head, jpeg_colours, jpeg_head, require_clean_head
from codelib.imaging.dicom_header import Dicom
from codelib.imaging.pixels import ImageRejected

_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian)


@dataclass(frozen=True)
class _Samples:
    """What a decoder gives: (rows, columns) or (rows, columns, 3) unsigned cells, their valid bits, and their colour space."""

    cells: np.ndarray
    precision: int
    photometric: str


def require_supported(dicom: Dicom) -> None:
    """Raises ImageRejected: ``unsupported_dicom`` for a transfer syntax that nothing here decodes, ``damaged`` where the pixels belie it."""
    syntax = dicom.pixels.transfer_syntax
    if syntax not in _NATIVE and syntax not in _DECODERS:
        raise ImageRejected("unsupported_dicom")
    if dicom.pixels.encapsulated != (syntax in _DECODERS):
        raise ImageRejected("damaged")


def stored_values(dicom: Dicom, index: int) -> np.ndarray:
    """Frame ``index`` (from 0): integers (rows, columns) as stored, or RGB 8 bit (rows, columns, 3).

    Bits outside BitsStored, an old place for overlays, are cleared. Raises ImageRejected or one of ``dicom_elements.BROKEN``.
    """
    require_supported(dicom)
    samples = (
        _native(dicom, index)
        if not dicom.pixels.encapsulated
        else _DECODERS[dicom.pixels.transfer_syntax](_frame_bytes(dicom, index), dicom)
    )
    expected = (dicom.rows, dicom.columns) if dicom.samples == 1 else (dicom.rows, dicom.columns, 3)
    if samples.cells.shape != expected:
        raise ImageRejected("damaged")
    if dicom.samples == 1:
        return _integers(samples, dicom)
    return _rgb(samples, dicom)


def _integers(samples: _Samples, dicom: Dicom) -> np.ndarray:
    cells, width = samples.cells, samples.cells.dtype.itemsize * 8
    if not dicom.pixels.encapsulated or dicom.pixels.transfer_syntax == uid.RLELossless:
        shift, bits = dicom.high_bit + 1 - dicom.bits_stored, dicom.bits_stored
    else:  # the codestream knows its precision; where it fills the cell, unused bits may hold anything
        shift, bits = 0, dicom.bits_stored if samples.precision == dicom.bits_allocated else samples.precision
    if shift:
        cells = cells >> np.array(shift, cells.dtype)
    if bits < width:
        cells = cells & np.array((1 << bits) - 1, cells.dtype)
    if not dicom.signed:
        return cells
    unused = width - bits
    wide = (cells << np.array(unused, cells.dtype)).view(f"i{width // 8}") if unused else cells.view(f"i{width // 8}")
    return wide >> np.array(unused, wide.dtype)


def _rgb(samples: _Samples, dicom: Dicom) -> np.ndarray:
    cells = samples.cells
    if dicom.signed or cells.dtype.itemsize > 2:
        raise ImageRejected("unsupported_dicom")
    bits = samples.precision if dicom.pixels.encapsulated else dicom.bits_stored
    if bits > 8:
        cells = (cells >> np.uint16(bits - 8)).astype(np.uint8)
    elif bits < 8:
        cells = (cells.astype(np.uint16) * 255 // ((1 << bits) - 1)).clip(0, 255).astype(np.uint8)
    cells = cells.astype(np.uint8, copy=False)
    return convert_color_space(cells, samples.photometric, "RGB") if samples.photometric.startswith("YBR_FULL") else cells


def _frame_bytes(dicom: Dicom, index: int) -> bytes:
    """The codestream of a frame, joined from its fragments (PS3.5 A.4)."""
    ranges = dicom.pixels.fragments
    if dicom.num_frames > 1:
        firsts = range(len(ranges)) if len(ranges) == dicom.num_frames else _first_fragments(dicom)
        if len(firsts) != dicom.num_frames:
            raise ImageRejected("damaged")
        ranges = ranges[firsts[index] : [*firsts, len(ranges)][index + 1]]
    return b"".join(dicom.pixels.data[start:stop] for start, stop in ranges)


def _first_fragments(dicom: Dicom) -> list[int]:
    """The fragments that begin a frame: those the offset table points to, else those that begin like a codestream."""
    data, ranges = dicom.pixels.data, dicom.pixels.fragments
    if len(dicom.pixels.offsets) == dicom.num_frames:  # an offset points to an item's head, counted from the first fragment's
        offsets = set(dicom.pixels.offsets)
        return [i for i, (start, _) in enumerate(ranges) if start - ranges[0][0] in offsets]
    return [i for i, (start, _) in enumerate(ranges) if data.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51"), start)]


def _native(dicom: Dicom, index: int) -> _Samples:
    options: dict[str, Any] = {
        "rows": dicom.rows,
        "columns": dicom.columns,
        "number_of_frames": dicom.num_frames,
        "samples_per_pixel": dicom.samples,
        "photometric_interpretation": dicom.photometric,
        "planar_configuration": dicom.planar,
        "bits_allocated": dicom.bits_allocated,
        "bits_stored": dicom.bits_stored,
        "pixel_representation": 0,  # the sign is found once, in _integers
        "pixel_keyword": "PixelData",
        "pixel_vr": dicom.pixels.vr,
        "allow_excess_frames": False,
        "correct_unused_bits": False,
        "view_only": True,
    }
    cells, _ = get_decoder(dicom.pixels.transfer_syntax).as_array(dicom.pixels.data, index=index, raw=True, **options)
    # pydicom names big-endian cells by their own order
    return _Samples(cells.astype(cells.dtype.newbyteorder("="), copy=False), dicom.bits_stored, dicom.photometric)


def _rle(frame: bytes, dicom: Dicom) -> _Samples:
    """PS3.5 annex G: a head of 16 words, then one PackBits segment for each byte of a pixel, the highest first."""
    width = dicom.bits_allocated // 8
    size = dicom.rows * dicom.columns
    count, *offsets = struct.unpack("<16I", frame[:64])
    if not width or count != width * dicom.samples:
        raise ImageRejected("damaged")
    planes = np.empty((dicom.samples, size, width), np.uint8)
    ends = [*offsets[1:count], len(frame)]
    for segment in range(count):
        packed = frame[offsets[segment] : ends[segment]]
        # Pillow stops when the plane is full: a segment cannot expand beyond it
        plane = Image.frombytes("L", (size, 1), packed, "packbits", "L")
        planes[segment // width, :, width - 1 - segment % width] = np.asarray(plane)[0]
    cells = planes.view(f"<u{width}").reshape(dicom.samples, dicom.rows, dicom.columns)
    return _Samples(cells[0] if dicom.samples == 1 else np.moveaxis(cells, 0, 2), dicom.bits_stored, dicom.photometric)


def _jpeg(frame: bytes, dicom: Dicom) -> _Samples:
    """JPEG as its own head says: writers mistake baseline, extended and lossless for each other."""
    stream = _checked(jpeg_head(frame), dicom)
    if stream.precision == 8 and stream.kind in (0xC0, 0xC1, 0xC2, 0xC3):
        return _eight_bit_jpeg(frame, dicom, stream)
    if stream.samples != 1 or stream.precision <= 8:
        raise ImageRejected("unsupported_dicom")
    if stream.kind in (0xC1, 0xC2) and stream.precision == 12:
        return _gdcm(frame, dicom, stream, uid.JPEGExtended12Bit)
    if stream.kind == 0xC3:
        return _gdcm(frame, dicom, stream, uid.JPEGLosslessSV1)
    raise ImageRejected("unsupported_dicom")


def _eight_bit_jpeg(frame: bytes, dicom: Dicom, stream: Stream) -> _Samples:
    colours = jpeg_colours(stream, dicom.photometric)
    if stream.kind == 0xC3:  # libjpeg converts nothing of a lossless stream, and fails where it would have to
        as_coded, unconverted = True, stream.jfif or stream.adobe == 1
    else:  # it takes unmarked components for YCbCr, also where the DICOM header alone says that they are RGB
        as_coded = unconverted = not stream.marked_rgb and colours == "RGB"
    with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
        if unconverted and stream.samples == 3:
            image.draft("YCbCr", image.size)
        if image.size != (dicom.columns, dicom.rows):
            raise ImageRejected("damaged")
        cells = np.asarray(image)
    return _Samples(cells, 8, colours if as_coded or stream.samples == 1 else "RGB")


def _gdcm(frame: bytes, dicom: Dicom, stream: Stream, syntax: str) -> _Samples:
    """One component of 9 to 16 bits. GDCM ends the process on a head that is not in order, so that is looked at first."""
    require_clean_head(frame)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dicom.columns, dicom.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, stream.precision, stream.precision - 1, 0))
    with _mute_stderr():
        raw = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM hands a char* over as str
    return _Samples(_shaped(raw, stream, 2), stream.precision, dicom.photometric)


@contextmanager
def _mute_stderr() -> Iterator[None]:
    """GDCM's own traces can be switched off; the JPEG library inside it writes to the file descriptor all the same."""
    for trace in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
        trace()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _jpeg_ls(frame: bytes, dicom: Dicom) -> _Samples:
    stream = _checked(jpeg_head(frame), dicom)
    if stream.kind != 0xF7:
        raise ImageRejected("damaged")
    raw, info = jpeg_ls.decode_pixel_data(frame)
    planar = stream.samples == 3 and info["interleave_mode"] == 0
    cells = _shaped(raw, stream, 1 if stream.precision <= 8 else 2, planar)
    return _Samples(cells, stream.precision, jpeg_colours(stream, dicom.photometric))


def _jpeg_2000(frame: bytes, dicom: Dicom) -> _Samples:
    stream = _checked(jpeg_2000_head(frame), dicom)
    raw = bytes(openjpeg.decode_pixel_data(frame, version=2))
    width = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
    # a component transform is undone by the decoder, so that its output is RGB
    rgb = stream.mixed or dicom.photometric in ("YBR_ICT", "YBR_RCT")
    return _Samples(_shaped(raw, stream, width), stream.precision, "RGB" if rgb else dicom.photometric)


def _shaped(raw: bytes | bytearray, stream: Stream, width: int, planar: bool = False) -> np.ndarray:
    cells = np.frombuffer(raw, f"<u{width}")
    if cells.size != stream.rows * stream.columns * stream.samples:
        raise ImageRejected("damaged")
    if stream.samples == 1:
        return cells.reshape(stream.rows, stream.columns)
    if planar:
        return np.moveaxis(cells.reshape(3, stream.rows, stream.columns), 0, 2)
    return cells.reshape(stream.rows, stream.columns, 3)


def _checked(stream: Stream, dicom: Dicom) -> Stream:
    if (stream.rows, stream.columns, stream.samples) != (dicom.rows, dicom.columns, dicom.samples):
        raise ImageRejected("damaged")
    if not 1 <= stream.precision <= 32:
        raise ImageRejected("unsupported_dicom")
    return stream


_DECODERS: dict[str, Callable[[bytes, Dicom], _Samples]] = {
    uid.RLELossless: _rle,
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), _jpeg),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), _jpeg_ls),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), _jpeg_2000),
}
