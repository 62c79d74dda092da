"""Grey values of DICOM: bits, signs, look-up tables, windows."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicom_files import RAMP, dataset, file_of, grey, lut, shown


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
def test_depth_sign_and_order(syntax, signed, bits):
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = np.linspace(low, high, 256).round().astype(np.int32).reshape(16, 16)
    cells = (values & ((1 << bits) - 1)).astype(np.uint16)
    window = {"WindowCenter": (low + high + 1) / 2, "WindowWidth": high - low + 1}
    assert np.abs(grey(file_of(dataset(cells, syntax, bits=bits, signed=signed, **window))).astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_signed_values(syntax):
    values = (RAMP.astype(np.int16) - 128) * 16
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    plain = grey(file_of(dataset(values, bits=13, signed=True, **window)))
    assert np.array_equal(grey(file_of(dataset(values, bits=13, signed=True, **window), syntax)), plain)


def test_an_overlay_in_the_unused_bits_is_not_shown():
    clean = dataset(RAMP * 16, bits=12, WindowCenter=2048, WindowWidth=4096)
    with_overlay = RAMP * 16
    with_overlay[3:9, 3:9] |= 0x8000
    marked = dataset(with_overlay, bits=12, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(grey(file_of(marked)), grey(file_of(clean)))
    marked = dataset(with_overlay, bits=12, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(grey(file_of(marked, RLELossless)), grey(file_of(clean)))


def test_an_overlay_plane_is_not_shown():
    marked = dataset(RAMP, WindowCenter=128, WindowWidth=256)
    marked.add_new(0x60000010, "US", 16)
    marked.add_new(0x60000011, "US", 16)
    marked.add_new(0x60003000, "OW", b"\xff" * 32)
    assert np.array_equal(grey(file_of(marked)), grey(file_of(dataset(RAMP, WindowCenter=128, WindowWidth=256))))


def test_values_in_the_high_bits():
    assert np.array_equal(grey(file_of(dataset(RAMP << 8, bits=8, HighBit=15, WindowCenter=128, WindowWidth=256))), RAMP)


def test_one_bit_a_pixel():
    bits = np.zeros((8, 16), np.uint8)
    bits[2, 3] = bits[5, 9] = 1
    data = dataset(bits, BitsAllocated=1, BitsStored=1, HighBit=0)
    data.PixelData = np.packbits(bits, bitorder="little").tobytes()
    assert np.array_equal(grey(file_of(data)), bits * 255)


def test_monochrome_1_is_inverted():
    assert np.array_equal(
        grey(file_of(dataset(RAMP, PhotometricInterpretation="MONOCHROME1", WindowCenter=128, WindowWidth=256))), 255 - RAMP
    )


@pytest.mark.parametrize(
    ("function", "expected"),
    [  # PS3.3 C.11.2.1.2 and C.11.2.1.3 for the values 90, 99, 100, 101, 110 and a window of 100/20
        (None, [0, 121, 134, 148, 255]),
        ("LINEAR_EXACT", [0, 115, 128, 140, 255]),
        ("SIGMOID", [30, 115, 128, 140, 225]),
    ],
)
def test_window_functions(function, expected):
    extra = {"VOILUTFunction": function} if function else {}
    values = np.array([[90, 99, 100, 101, 110]], np.uint16)
    assert np.abs(grey(file_of(dataset(values, WindowCenter=100, WindowWidth=20, **extra)))[0].astype(int) - expected).max() <= 1


def test_of_several_windows_the_first_and_rescaled():
    data = dataset(RAMP, WindowCenter=[1128, 5], WindowWidth=[256, 2], RescaleSlope=1, RescaleIntercept=1000)
    assert np.array_equal(grey(file_of(data)), RAMP)


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": 5, "WindowWidth": 0}, {"WindowCenter": 90000, "WindowWidth": 10}, {"WindowCenter": 5}]
)
def test_without_a_window_that_says_anything_the_percentiles(window):
    values = np.full((100, 100), 500, np.uint16)
    values[:50] = 700
    values[0, :10], values[1, :10] = 60000, 0  # a tenth of a percent each
    assert np.unique(grey(file_of(dataset(values, **window)))).tolist() == [0, 255]
    assert grey(file_of(dataset(values, **window)))[60, 60] == 0


def test_padding_is_black_and_left_out_of_the_percentiles():
    values = (np.arange(10000).reshape(100, 100) % 256 + 1000).astype(np.int16)
    plain = grey(file_of(dataset(values[:, 50:], signed=True)))
    values[:, :50] = -2000
    for padding in (-2000, 63536):
        data = dataset(values, signed=True)
        data.add_new(0x00280120, "SS" if padding < 0 else "US", padding)
        found = grey(file_of(data))
        assert found[:, :50].max() == 0 and np.array_equal(found[:, 50:], plain)
    data = dataset(values, signed=True, PhotometricInterpretation="MONOCHROME1")
    data.add_new(0x00280120, "SS", -2000)
    data.add_new(0x00280121, "SS", -1990)
    assert grey(file_of(data))[:, :50].max() == 0


def test_modality_lut():
    data = dataset(RAMP, ModalityLUTSequence=lut(10, 16, [100, 200, 50]), WindowCenter=128, WindowWidth=256)
    assert grey(file_of(data)).ravel()[[0, 10, 11, 12, 255]].tolist() == [100, 100, 200, 50, 50]


def test_voi_lut_goes_before_the_window():
    data = dataset(RAMP, VOILUTSequence=lut(0, 12, (4095 - np.arange(256) * 16).clip(0)), WindowCenter=1, WindowWidth=1)
    assert np.abs(grey(file_of(data)).astype(int) - (255 - RAMP)).max() <= 1
    data = dataset(RAMP, VOILUTSequence=lut(0, 8, 255 - np.arange(256), packed=True))
    assert np.array_equal(grey(file_of(data)), 255 - RAMP)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_voi_lut_of_negative_values(syntax):
    values = RAMP.astype(np.int16) - 128
    data = dataset(values, syntax, signed=True, VOILUTSequence=lut(-128, 16, np.arange(256) * 257))
    assert np.array_equal(grey(file_of(data)), RAMP)


def test_values_of_the_frame_go_before_those_of_the_object():
    def item(center, intercept):
        voi, transformation, outer = Dataset(), Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 256
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = 1, intercept, "HU"
        outer.FrameVOILUTSequence, outer.PixelValueTransformationSequence = [voi], [transformation]
        return outer

    data = dataset([RAMP] * 3, WindowCenter=1, WindowWidth=1)
    data.PerFrameFunctionalGroupsSequence = [item(128, 0), item(228, 100), item(128, 100)]
    first, second, third = (frame[..., 0].astype(int) for frame in shown(file_of(data)))
    assert np.array_equal(first, RAMP) and np.array_equal(second, RAMP)
    assert np.array_equal(third, np.minimum(RAMP + 100, 255))
