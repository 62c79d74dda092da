"""What is no DICOM, what would break a reader, and what must not be told of a header."""

import contextlib
import io
import logging
import pickle
import struct
import traceback
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
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
from tests.dicom_files import COLOURS, RAMP, SC, SECRET, bare, dataset, encapsulated, file_of, grey, jpeg, real, reason, shown


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


# hostile values


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
    assert reason(bomb, max_inflated=1 << 20) == "too_many_pixels"
    small = file_of(dataset(RAMP, DeflatedExplicitVRLittleEndian))
    assert reason(small[:-20]) == "truncated"


def test_a_run_length_bomb_fills_no_more_than_the_picture():
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 4_000_000  # would be 512 MB
    content = encapsulated([frame], RLELossless, pixels=np.zeros((16, 16), np.uint8))
    assert grey(content).max() == 0


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
    for _ in range(60):
        changed = bytearray(content)
        for at in rng.integers(128, len(content), rng.integers(1, 12)):
            changed[at] = rng.integers(0, 256)
        with contextlib.suppress(ImageRejected):
            shown(bytes(changed))


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


# privacy


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
