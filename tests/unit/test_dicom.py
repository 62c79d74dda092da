import contextlib
import io
import logging
import pickle
import struct
import time
import traceback
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from codelib.imaging.dicom import DicomSettings, looks_like_dicom, read, shown_frames
from codelib.imaging.pixels import ImageRejected

# Each line was checked by eye against the picture, or against what SOURCE.md, the headers and pydicom's README say of the file
REAL = {
    "orthodontic_photo.dcm": (409, 517, 1),
    "charset/chrFrenMulti.dcm": (32, 32, 1),
    "charset/chrH31.dcm": (32, 32, 1),
    "charset/chrI2.dcm": (32, 32, 1),
    "charset/chrX1.dcm": (32, 32, 1),
    "pydicom/CT_small.dcm": (128, 128, 1),
    "pydicom/JPEG2000.dcm": (256, 1024, 1),
    "pydicom/JPGExtended.dcm": (256, 1024, 1),  # 12 bit, the bone scan of JPEG2000.dcm
    "pydicom/MR_small.dcm": (64, 64, 1),
    "pydicom/MR_small_RLE.dcm": (64, 64, 1),
    "pydicom/MR_small_bigendian.dcm": (64, 64, 1),
    "pydicom/MR_small_implicit.dcm": (64, 64, 1),
    "pydicom/MR_small_jp2klossless.dcm": (64, 64, 1),
    "pydicom/MR_small_jpeg_ls_lossless.dcm": (64, 64, 1),
    "pydicom/MR_truncated.dcm": "truncated",
    "pydicom/SC_rgb_jpeg_dcmtk.dcm": (100, 100, 1),
    "pydicom/SC_rgb_jpeg_gdcm.dcm": (100, 100, 1),
    "pydicom/SC_rgb_rle_2frame.dcm": (100, 100, 2),
    "pydicom/SC_rgb_small_odd.dcm": (3, 3, 1),
    "pydicom/SC_ybr_full_422_uncompressed.dcm": (100, 100, 1),
    "pydicom/badVR.dcm": "dicom_not_a_picture",  # a dose grid
    "pydicom/examples_palette.dcm": (800, 350, 1),
    "pydicom/examples_ybr_color.dcm": (320, 240, 30),
    "pydicom/image_dfl.dcm": (512, 512, 1),
    "pydicom/nested_priv_SQ.dcm": "damaged",  # pixel data, and nothing that describes it
    "pydicom/priv_SQ.dcm": "dicom_without_pixels",
    "pydicom/reportsi.dcm": "dicom_without_pixels",
    "pydicom/rtdose.dcm": "dicom_not_a_picture",
    "pydicom/test-SR.dcm": "dicom_without_pixels",
    "pydicom/waveform_ecg.dcm": "dicom_without_pixels",
    "pydicom-data/693_J2KR.dcm": (512, 512, 1),
    "pydicom-data/HTJ2K_08_RGB.dcm": (640, 480, 1),
    "pydicom-data/JLSL_16_15_1_1F.dcm": (128, 128, 1),
    "pydicom-data/JPGLosslessP14SV1_1s_1f_8b.dcm": (1024, 768, 1),
    "pydicom-data/MR-SIEMENS-DICOM-WithOverlays.dcm": (484, 484, 1),
    "pydicom-data/OBXXXX1A_rle_2frame.dcm": (800, 600, 2),
    "pydicom-data/RG1_J2KI.dcm": (1841, 1955, 1),
    "pydicom-data/bad_sequence.dcm": (512, 512, 1),
    "pydicom-data/emri_small.dcm": (64, 64, 10),
    "pydicom-data/emri_small_RLE.dcm": (64, 64, 10),
    "pydicom-data/mlut_18.dcm": (512, 512, 1),
    "LICENSE": None,
    "SOURCE.md": None,
    "pydicom/README.txt": None,
    "pydicom-data/LICENSE": None,
    "pydicom-data/SOURCE.md": None,
}
SECRET = "Geheim"
SC, US_FRAMES = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.3.1"


def dataset(pixels=None, syntax=ExplicitVRLittleEndian, sop_class=SC, bits=16, signed=False, **elements):
    """A secondary capture of an array: (rows, columns), (rows, columns, 3) or a list of them."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.Modality, data.StudyInstanceUID, data.SeriesInstanceUID = "OT", "1.2.3", "1.2.3.1"
    if pixels is not None:
        frames = pixels if isinstance(pixels, list) else [pixels]
        data.Rows, data.Columns = frames[0].shape[:2]
        data.SamplesPerPixel = 3 if frames[0].ndim == 3 else 1
        data.PhotometricInterpretation = "RGB" if frames[0].ndim == 3 else "MONOCHROME2"
        if frames[0].ndim == 3:
            data.PlanarConfiguration = 0
        data.BitsAllocated, data.BitsStored = frames[0].dtype.itemsize * 8, min(bits, frames[0].dtype.itemsize * 8)
        data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(signed)
        if len(frames) > 1:
            data.NumberOfFrames = len(frames)
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        raw = b"".join(f.astype(f.dtype.newbyteorder(order)).tobytes() for f in frames)
        data.PixelData = raw + bytes(len(raw) % 2)
        data["PixelData"].VR = "OB" if frames[0].dtype.itemsize == 1 else "OW"
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def file_of(data, compress=None):
    if compress:
        data.compress(compress)
    out = io.BytesIO()
    syntax = data.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(
        out, data, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True
    )
    return out.getvalue()


def encapsulated(codestreams, syntax, **elements):
    data = dataset(**elements)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = pydicom.encaps.encapsulate(codestreams)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return file_of(data)


def shown(content, max_frames=4):
    return [np.asarray(image) for _, image in shown_frames(read(content), max_frames)]


def grey(content):
    (picture,) = shown(content)
    assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
    return picture[..., 0]


def reason(content, **chosen):
    with pytest.raises(ImageRejected) as caught:
        shown_frames(read(content, DicomSettings(**chosen)), 3)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    return str(caught.value)


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
COLOURS = np.random.default_rng(3).integers(0, 256, (15, 20, 3), dtype=np.uint8)

# --- real files


@pytest.mark.parametrize("name", REAL)
def test_every_real_file(real_data, name, capfd):
    content, expected = (real_data / "dicom" / name).read_bytes(), REAL[name]
    assert looks_like_dicom(content) == (expected is not None)
    if isinstance(expected, str):
        assert reason(content) == expected
    elif expected:
        width, height, num_frames = expected
        dicom = read(content)
        parts = [part for part, _ in shown_frames(dicom, 3)]
        assert (dicom.columns, dicom.rows, dicom.num_frames) == expected
        assert parts == (
            [""] if num_frames == 1 else [f"frame {n}" for n in {2: (1, 2), 10: (1, 5, 10), 30: (1, 15, 30)}[num_frames]]
        )
        for picture in shown(content, 3):
            assert picture.shape == (height, width, 3) and picture.std() > 5
    assert capfd.readouterr() == ("", "")


def test_no_real_file_is_missing_from_the_table(real_data):
    found = {str(p.relative_to(real_data / "dicom")) for p in (real_data / "dicom").rglob("*") if p.is_file()}
    assert found == set(REAL)


def real(real_data, name):
    return (real_data / "dicom" / name).read_bytes()


def test_one_picture_in_six_syntaxes_is_one_picture(real_data):
    family = [
        "MR_small",
        "MR_small_RLE",
        "MR_small_bigendian",
        "MR_small_implicit",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
    ]
    assert len({grey(real(real_data, f"pydicom/{name}.dcm")).tobytes() for name in family}) == 1


def test_enhanced_frames_are_the_same_in_two_syntaxes(real_data):
    plain, packed = (shown(real(real_data, f"pydicom-data/{name}.dcm"), 10) for name in ("emri_small", "emri_small_RLE"))
    assert np.array_equal(plain, packed)


def test_colour_bars_are_the_same_in_four_encodings(real_data):
    bars = [
        shown(real(real_data, f"pydicom/SC_{name}.dcm"))[0].astype(int)
        for name in ("rgb_rle_2frame", "rgb_jpeg_gdcm", "rgb_jpeg_dcmtk", "ybr_full_422_uncompressed")
    ]
    assert bars[0][5, 50].tolist() == [255, 0, 0] and bars[0][95, 50].tolist() == [255, 255, 255]
    assert all(np.abs(other - bars[0]).max() <= 6 for other in bars[1:])  # two of them lossy


def test_twelve_bit_jpeg_is_the_picture_of_its_lossy_twin(real_data):
    twelve, twin = (
        np.asarray(Image.fromarray(grey(real(real_data, f"pydicom/{name}.dcm"))).reduce(8), float)
        for name in ("JPGExtended", "JPEG2000")
    )
    assert np.corrcoef(twelve.ravel(), twin.ravel())[0, 1] > 0.9


def test_a_chest_radiograph_has_dark_lungs(real_data):
    chest = grey(real(real_data, "pydicom-data/RG1_J2KI.dcm")).astype(float)  # MONOCHROME1
    lungs, spine = chest[500:800, 400:700].mean(), chest[500:800, 870:970].mean()
    assert lungs + 20 < spine


def test_brain_window(real_data):
    head = grey(real(real_data, "pydicom-data/693_J2KR.dcm"))  # window 40/100 HU, padding -2000
    assert head[:10, :10].max() == 0  # outside the scanned circle
    assert 80 < np.median(head[200:300, 220:300]) < 200


# --- grey values


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


def lut(first, bits, values, packed=False):
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new(0x00283006, "OW", np.asarray(values, "u1" if packed else "<u2").tobytes())
    return [item]


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


# --- colour


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


def jpeg(array, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=100, subsampling=0, **options)
    return out.getvalue()


def without_app0(stream):
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


SMOOTH = np.asarray(Image.fromarray(COLOURS[:4, :4]).resize((64, 48), Image.Resampling.BICUBIC))


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


# --- frames and proportions


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


# --- what is and what is no DICOM


def bare(content, meta=True):
    """Without preamble, and without meta group unless asked for."""
    if meta:
        return content[132:]
    length = struct.unpack("<I", content[140:144])[0]
    return content[144 + length :]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_without_preamble_and_without_meta_group(syntax):
    content = file_of(dataset(RAMP, syntax, WindowCenter=128, WindowWidth=256))
    for stripped in (bare(content), bare(content, meta=False)):
        assert looks_like_dicom(stripped)
        assert np.array_equal(grey(stripped), RAMP)


def test_pictures_and_random_bytes_are_no_dicom():
    for form in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"):
        out = io.BytesIO()
        Image.fromarray(COLOURS).save(out, form)
        assert not looks_like_dicom(out.getvalue())
    for content in (b"", b"\x08\x00", b"\x08\x00\x16\x00UI\xff\xff1.2", b"DICM", b"PK\x03\x04" + bytes(200)):
        assert not looks_like_dicom(content)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", b"\x08\x00", b"\x02\x00\x00\x00UL\x04\x00", b"\x00\x08\x00\x05CS"]), st.binary(max_size=400))
def test_random_bytes_are_not_taken_for_dicom(start, tail):
    content = start + tail
    assert looks_like_dicom(content) == (content[128:132] == b"DICM")


@pytest.mark.parametrize(
    ("sop_class", "modality", "expected"),
    [
        ("1.2.840.10008.1.3.10", "", "dicom_without_pixels"),  # DICOMDIR
        ("1.2.840.10008.5.1.4.1.1.104.1", "DOC", "dicom_without_pixels"),  # encapsulated PDF
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR", "dicom_without_pixels"),  # presentation state
        ("1.2.840.10008.5.1.4.1.1.88.11", "SR", "dicom_without_pixels"),
    ],
)
def test_objects_without_pixels(sop_class, modality, expected):
    assert reason(file_of(dataset(sop_class=sop_class, Modality=modality, PatientName=SECRET))) == expected


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG"),
        ("1.2.840.10008.5.1.4.1.1.30", "MR"),
        (SC, "RTDOSE"),
    ],
)
def test_objects_that_are_no_pictures(sop_class, modality):
    assert reason(file_of(dataset(RAMP, sop_class=sop_class, Modality=modality))) == "dicom_not_a_picture"


def test_float_pixels_are_no_picture():
    data = dataset(RAMP)
    del data.PixelData
    data.FloatPixelData = bytes(1024)
    assert reason(file_of(data)) == "dicom_not_a_picture"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.95"])
def test_video_and_unknown_syntaxes_are_unsupported(syntax):
    assert reason(encapsulated([b"\0\0\1\xb3" + bytes(96)], syntax, pixels=RAMP)) == "unsupported_dicom"


@pytest.mark.parametrize("photometric", ["HSV", "YBR_PARTIAL_420"])
def test_retired_colour_spaces_are_unsupported(photometric):
    assert reason(file_of(dataset(COLOURS, PhotometricInterpretation=photometric))) == "unsupported_dicom"


# --- hostile


def test_too_many_pixels():
    assert reason(file_of(dataset(RAMP, Rows=65535, Columns=65535))) == "too_many_pixels"
    assert reason(file_of(dataset(RAMP)), max_frame_pixels=255) == "too_many_pixels"
    assert reason(file_of(dataset([RAMP] * 3)), max_bytes=1500) == "too_many_pixels"
    assert reason(file_of(dataset(RAMP, NumberOfFrames=2**31 - 1))) == "too_many_pixels"
    assert reason(file_of(dataset([RAMP] * 3)), max_frames=2) == "too_many_pixels"
    assert read(file_of(dataset([RAMP] * 3)), DicomSettings(max_bytes=1536)).num_frames == 3


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ((0x00280010, "US", 0), "damaged"),
        ((0x00280010, "US", 17), "truncated"),
        ((0x00280008, "IS", "2"), "truncated"),
        ((0x00280008, "IS", "-1"), "damaged"),
        ((0x00280008, "LO", "many"), "damaged"),
        ((0x00280011, "LO", "x"), "damaged"),
        ((0x00280011, "DS", "1e999"), "damaged"),
        ((0x00280011, "US", [16, 16]), "damaged"),
        ((0x00280100, "US", 12), "unsupported_dicom"),
        ((0x00280100, "US", 0), "damaged"),
        ((0x00280101, "US", 17), "damaged"),
        ((0x00280002, "US", 3), "damaged"),
        ((0x00280004, "CS", "PALETTE COLOR"), "damaged"),
        ((0x00280004, "CS", SECRET.upper()), "damaged"),
    ],
    ids=str,
)
def test_hostile_values(element, expected):
    data = dataset(RAMP)
    data.add_new(*element)
    with pydicom.config.disable_value_validation():
        assert reason(file_of(data)) == expected


def test_a_deflate_bomb_is_found_before_it_expands():
    head = file_of(dataset(syntax=DeflatedExplicitVRLittleEndian))
    head = head[: 144 + struct.unpack("<I", head[140:144])[0]]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = head + b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()
    start = time.monotonic()
    assert reason(bomb, max_inflated=1 << 20) == "too_many_pixels"
    assert time.monotonic() - start < 0.5
    small = file_of(dataset(RAMP, DeflatedExplicitVRLittleEndian))
    assert reason(small[:-20]) == "truncated"


def test_a_run_length_bomb_fills_no_more_than_the_picture():
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 4_000_000  # would be 512 MB
    start = time.monotonic()
    content = encapsulated([frame], RLELossless, pixels=np.zeros((16, 16), np.uint8))
    assert grey(content).max() == 0
    assert time.monotonic() - start < 2


def test_a_codestream_of_another_size_is_damaged():
    for size in ((64, 48), (8, 8)):
        other = jpeg(np.zeros(size, np.uint8))
        assert reason(encapsulated([other], JPEGBaseline8Bit, pixels=np.zeros((16, 16), np.uint8))) == "damaged"


SAMPLES = [
    "MR_small",
    "MR_small_RLE",
    "MR_small_implicit",
    "MR_small_bigendian",
    "MR_small_jp2klossless",
    "MR_small_jpeg_ls_lossless",
]
SAMPLES += ["SC_rgb_jpeg_gdcm", "SC_rgb_jpeg_dcmtk", "image_dfl", "SC_rgb_rle_2frame", "JPGExtended"]


@pytest.mark.parametrize("name", SAMPLES)
def test_cut_anywhere_only_a_reason(real_data, name):
    content = real(real_data, f"pydicom/{name}.dcm")
    whole = shown(content)
    told = set()
    for cut in sorted({*range(0, len(content), max(1, len(content) // 150)), *range(132, 400, 3), len(content) - 1}):
        short = content[:cut]
        try:
            found = shown(short)
        except ImageRejected as rejected:
            told.add(str(rejected))
        else:  # cut behind the pixel data
            assert all(np.array_equal(a, b) for a, b in zip(found, whole, strict=True)), cut
    assert told <= {"truncated", "damaged", "dicom_without_pixels"}


@pytest.mark.parametrize("name", SAMPLES)
def test_changed_bytes_give_a_picture_or_a_reason(real_data, name):
    content = real(real_data, f"pydicom/{name}.dcm")
    rng = np.random.default_rng(len(content))
    start = time.monotonic()
    for _ in range(60):
        changed = bytearray(content)
        for at in rng.integers(128, len(content), rng.integers(1, 12)):
            changed[at] = rng.integers(0, 256)
        with contextlib.suppress(ImageRejected):
            shown(bytes(changed))
    assert time.monotonic() - start < 30


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=600),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless]),
)
def test_random_bytes_behind_a_valid_head_give_a_reason(tail, syntax):
    head = file_of(dataset(syntax=syntax))
    assert reason(head[: 144 + struct.unpack("<I", head[140:144])[0]] + tail)


def test_sequences_without_end_give_a_reason():
    head = bare(file_of(dataset(RAMP)), meta=False)
    deep = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20000
    assert reason(head[: head.index(b"\x28\x00\x02\x00")] + deep) in ("damaged", "truncated")


# --- privacy


def secretive(**changes):
    data = dataset(RAMP, **changes)
    data.PatientName, data.PatientID, data.InstitutionName = f"{SECRET}^Name", SECRET, SECRET
    data.PatientBirthDate, data.StudyDate, data.StationName = "19700101", "20240102", SECRET
    data.StudyDescription = data.ImageComments = SECRET
    data.add_new(0x00090010, "LO", SECRET)
    data.add_new(0x00091001, "LO", SECRET)
    inner, outer = Dataset(), Dataset()
    inner.FrameAcquisitionDateTime, inner.FrameLabel, inner.FrameComments = "20240102", SECRET, SECRET
    outer.FrameContentSequence = [inner]
    data.PerFrameFunctionalGroupsSequence = [outer]
    return data


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Modality": SECRET.upper()},
        {"PhotometricInterpretation": SECRET.upper()},
        {"Rows": 0},
        {"WindowCenter": "1", "WindowWidth": "1"},
        {"ImageType": [SECRET.upper()] * 3, "BurnedInAnnotation": SECRET.upper()},
        {"file": "window"},
    ],
    ids=str,
)
def test_nothing_of_the_header_is_kept_or_told(change, caplog, capfd, recwarn):
    caplog.set_level(logging.DEBUG)
    broken = change.get("file")
    with pydicom.config.disable_value_validation():
        data = secretive(**{k: v for k, v in change.items() if k != "file"})
        if broken == "window":
            data.add_new(0x00281050, "DS", "1.5")
            data.add_new(0x00281051, "DS", "1.5")
        content = file_of(data)
    if broken == "window":  # no number, quoted by pydicom in its error
        content = content.replace(
            struct.pack("<HH", 0x28, 0x1050) + b"DS\x04\x001.5 ", struct.pack("<HH", 0x28, 0x1050) + b"DS\x06\x00Geheim"
        )
        assert b"DS\x06\x00Geheim" in content
    told = ""
    try:
        dicom = read(content)
        shown_frames(dicom, 3)
        told += repr(dicom) + str(pickle.dumps(dicom)) + repr(dicom.__dict__)
    except ImageRejected as rejected:
        told += "".join(traceback.format_exception(rejected)) + repr(rejected) + repr(rejected.__context__)
    out, err = capfd.readouterr()
    told += out + err + caplog.text + "".join(str(w.message) for w in recwarn)
    assert SECRET.lower() not in told.lower()
    assert "1970" not in told and "20240102" not in told and "1.2.3.1" not in told


def test_series_are_told_apart_without_their_names():
    first, second, third = (
        read(file_of(dataset(RAMP, SeriesInstanceUID=series, StudyInstanceUID=study)))
        for series, study in (("1.2.3.1", "1.2.3"), ("1.2.3.2", "1.2.3"), ("1.2.3.1", "1.2.3"))
    )
    assert first.series == third.series != second.series and first.study == second.study
