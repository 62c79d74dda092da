"""Colour, frames and proportions of DICOM."""

import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from codelib.imaging.dicom import read, shown_frames
from tests.dicom_files import COLOURS, RAMP, SMOOTH, dataset, encapsulated, file_of, jpeg, real, reason, shown, without_app0


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_rgb(planar, syntax):
    data = dataset(COLOURS, syntax, PlanarConfiguration=planar)
    if planar:
        data.PixelData = COLOURS.transpose(2, 0, 1).tobytes()
    assert np.array_equal(shown(file_of(data))[0], COLOURS)


def test_rgb_of_sixteen_bits():
    assert np.array_equal(shown(file_of(dataset(COLOURS.astype(np.uint16) << 4, bits=12)))[0], COLOURS)


def test_ybr_full():
    ybr = np.array(Image.fromarray(COLOURS).convert("YCbCr"))
    found = shown(file_of(dataset(ybr, PhotometricInterpretation="YBR_FULL")))[0]
    assert np.abs(found.astype(int) - COLOURS).max() <= 3


@pytest.mark.parametrize("packed", [RLELossless, JPEGLSLossless])
def test_compressed_rgb(packed):
    assert np.array_equal(shown(file_of(dataset(COLOURS), packed))[0], COLOURS)


@pytest.mark.parametrize("header", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_with_a_jfif_marker_is_ybr_whatever_the_header_says(header):
    content = encapsulated([jpeg(SMOOTH)], JPEGBaseline8Bit, pixels=SMOOTH, PhotometricInterpretation=header)
    assert np.abs(shown(content)[0].astype(int) - SMOOTH).max() <= 6


def test_jpeg_without_a_marker_is_what_the_header_says():
    stored_as_rgb = without_app0(jpeg(np.asarray(Image.fromarray(SMOOTH).convert("YCbCr").convert("RGB"))))
    ybr = encapsulated([stored_as_rgb], JPEGBaseline8Bit, pixels=SMOOTH, PhotometricInterpretation="YBR_FULL")
    assert np.abs(shown(ybr)[0].astype(int) - SMOOTH).max() <= 6
    raw = encapsulated([stored_as_rgb], JPEGBaseline8Bit, pixels=SMOOTH, PhotometricInterpretation="RGB")
    assert np.abs(shown(raw)[0].astype(int) - np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))).max() <= 6


def test_lossless_rgb_without_a_marker_is_what_the_header_says(real_data):
    content = real(real_data, "pydicom/SC_rgb_jpeg_gdcm.dcm")
    adobe = content.index(b"\xff\xee\x00\x0eAdobe")
    silent = content.replace(content[adobe : adobe + 16], b"\xff\xfe\x00\x0e" + bytes(12))
    ids = [(b"\x52\x11\0\x47\x11\0\x42\x11\0", b"\1\x11\0\2\x11\0\3\x11\0")]
    scan = silent.index(b"\xff\xda") + 5
    silent = bytearray(silent.replace(*ids[0]))
    silent[scan : scan + 6 : 2] = b"\1\2\3"
    assert np.array_equal(shown(bytes(silent))[0], shown(content)[0])


def palette(data, entries, bits=16, segmented=None):
    for index, (colour, table) in enumerate(zip(("Red", "Green", "Blue"), entries, strict=True)):
        data.add_new(0x00281101 + index, "US", [len(table) & 0xFFFF, 0, bits])
        raw = np.asarray(table, "<u2" if bits == 16 else "u1").tobytes()
        if segmented:
            setattr(data, f"Segmented{colour}PaletteColorLookupTableData", segmented)
        else:
            setattr(data, f"{colour}PaletteColorLookupTableData", raw)
    data.PhotometricInterpretation = "PALETTE COLOR"
    return data


TABLES = np.random.default_rng(5).integers(0, 256, (3, 256))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("cells", [np.uint8, np.uint16])
def test_palette(bits, cells):
    content = file_of(palette(dataset(RAMP.astype(cells)), TABLES * (257 if bits == 16 else 1), bits))
    assert np.array_equal(shown(content)[0], TABLES.T[RAMP])


def test_segmented_palette():
    # three discrete entries, a ramp of four to 65535, then the first segment again
    words = [0, 3, 0, 1000, 257 * 10, 1, 4, 65535, 2, 1, 0, 0]
    content = file_of(palette(dataset(RAMP % 10), [range(10)] * 3, segmented=struct.pack("<12H", *words)))
    red = shown(content)[0][0, :10, 0]
    assert np.abs(red.astype(int) - [0, 4, 10, 71, 133, 194, 255, 0, 4, 10]).max() <= 1


@pytest.mark.parametrize("words", [[0, 0] * 500, [2, 1, 0, 0], [0, 1, 5, 2, 65535, 0, 0] * 50, [1, 3, 9], [7, 1, 1], [0, 1]])
def test_a_hostile_segmented_palette_is_damaged(words):
    content = file_of(palette(dataset(RAMP), [range(256)] * 3, segmented=struct.pack(f"<{len(words)}H", *words)))
    assert reason(content) == "damaged"


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [1]), (2, [1, 11]), (3, [1, 6, 11]), (4, [1, 4, 8, 11]), (11, list(range(1, 12))), (99, list(range(1, 12)))],
)
@pytest.mark.parametrize("packed", [None, RLELossless])
def test_frames_are_evenly_chosen(most, expected, packed):
    frames = [np.full((4, 6, 3), 20 * n, np.uint8) for n in range(11)]
    found = shown_frames(read(file_of(dataset(frames), packed)), most)
    assert [part for part, _ in found] == [f"frame {n}" for n in expected]
    assert [image.getpixel((0, 0))[0] for _, image in found] == [20 * (n - 1) for n in expected]


def test_frames_in_several_fragments():
    streams = [jpeg(np.full((8, 8), 30 * n, np.uint8)) for n in range(3)]
    items = [pydicom.encaps.itemize_fragment(part) for s in streams for part in (s[:100], s[100:] + bytes(len(s) % 2))]
    starts = [0, *np.cumsum([len(items[2 * n]) + len(items[2 * n + 1]) for n in range(2)])]
    for table in (struct.pack("<3I", *starts), b""):
        data = dataset([np.zeros((8, 8), np.uint8)] * 3, syntax=JPEGBaseline8Bit, WindowCenter=128, WindowWidth=256)
        data.PixelData = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(table)) + table + b"".join(items)
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        assert [int(p.mean()) for p in shown(file_of(data))] == [0, 30, 60]


@pytest.mark.parametrize(
    ("elements", "size"),
    [
        ({"PixelAspectRatio": [2, 1]}, (20, 30)),
        ({"PixelSpacing": [0.1, 0.2]}, (40, 15)),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, (40, 30)),
        ({"PixelAspectRatio": [1, 1000]}, (40, 30)),  # no detector has such pixels
        ({"PixelSpacing": [0, 0.2]}, (40, 30)),
    ],
)
def test_proportions_are_right_and_nothing_is_enlarged(elements, size):
    dicom = read(file_of(dataset(np.zeros((30, 40), np.uint16), **elements)))
    assert shown_frames(dicom, 1)[0][1].size == size


def test_burned_in_is_told():
    for value, expected in (("YES", True), ("NO", False), ("", False), ("yes ", True), ("?", False)):
        with pydicom.config.disable_value_validation():
            content = file_of(dataset(RAMP, BurnedInAnnotation=value))
        assert read(content).burned_in is expected
