import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codelib.data.pixels import ImageRejected, PixelSettings, decode, encode, perceptual_hash

PIXELS = PixelSettings()


def gradient(width, height, mode="RGB"):
    rng = np.random.default_rng([width, height])
    smooth = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return smooth.convert(mode)


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def markers(jpeg):
    """Segment markers of a JPEG up to its scan."""
    found, at = [], 2
    while jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        found.append(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.sampled_from(
        [
            ("JPEG", "RGB"),
            ("JPEG", "L"),
            ("JPEG", "CMYK"),
            ("PNG", "RGBA"),
            ("PNG", "P"),
            ("PNG", "1"),
            ("BMP", "RGB"),
            ("TIFF", "RGB"),
            ("WEBP", "RGB"),
        ]
    ),
)
def test_any_picture_fits_and_carries_nothing(width, height, form):
    image = decode(saved(gradient(width, height, form[1]), form[0]), PIXELS)
    assert image.mode == "RGB"
    assert max(image.size) == min(max(width, height), 448)  # never upscaled
    scale = max(image.size) / max(width, height)
    assert abs(image.size[0] - width * scale) <= 1
    assert abs(image.size[1] - height * scale) <= 1
    jpeg = encode(image, 90)
    assert markers(jpeg)[0] == 0xE0
    assert not {m for m in markers(jpeg) if 0xE1 <= m <= 0xEF or m == 0xFE}  # no EXIF, profile, Adobe block or comment
    assert encode(image, 90) == jpeg


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_baked_into_the_pixels(orientation):
    upright = Image.new("RGB", (300, 200), "white")
    upright.paste("red", (0, 0, 100, 100))  # upper left
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8298] = "张伟"
    image = decode(saved(stored, "JPEG", exif=exif, quality=95), PIXELS)
    assert image.size == (300, 200)
    red, green, _ = image.getpixel((30, 30))
    assert red > 200
    assert green < 60


def test_scaled_decode_is_close_to_full_decode():
    picture = gradient(3000, 2000)
    content = saved(picture, "JPEG", quality=95)
    fast = np.asarray(decode(content, PIXELS), dtype=float)
    full = Image.open(io.BytesIO(content)).resize((448, 299), Image.Resampling.LANCZOS)
    error = np.mean((fast - np.asarray(full, dtype=float)) ** 2)
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 45


def test_sixteen_bit_is_stretched():
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = np.asarray(decode(saved(Image.fromarray(values), "PNG"), PIXELS))
    assert image.min() == 0
    assert image.max() == 255


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"not an image at all", "not_an_image"),
        (saved(gradient(400, 300), "JPEG")[:3000], "truncated"),
        (saved(gradient(900, 700), "PNG")[:2000], "truncated"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "unsupported_format"),
        (b"\0" * 128 + b"DICM" + b"\0" * 10, "dicom_without_pixels"),
    ],
)
def test_bad_files_have_a_reason(content, reason):
    with pytest.raises(ImageRejected) as error:
        decode(content, PIXELS)
    assert str(error.value) == reason


def test_a_bomb_is_refused_before_it_is_decoded():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(ImageRejected, match="too_many_pixels"):
        decode(bomb, PIXELS)


WHOLE = saved(gradient(500, 400), "JPEG", quality=85)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 3))
def test_a_jpeg_cut_anywhere_is_rejected(length):
    with pytest.raises(ImageRejected):
        decode(WHOLE[:length], PIXELS)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"\0" * 128 + b"DICM"]),
)
def test_hostile_bytes_never_crash(tail, head):
    try:
        image = decode(head + tail, PIXELS)
    except ImageRejected:
        return
    assert max(image.size) <= 448


def test_hash_is_near_for_what_looks_alike():
    picture = gradient(800, 600)
    again = Image.open(io.BytesIO(saved(picture.resize((400, 300)), "JPEG", quality=60)))
    near = bin(int(perceptual_hash(picture), 16) ^ int(perceptual_hash(again), 16)).count("1")
    far = bin(int(perceptual_hash(picture), 16) ^ int(perceptual_hash(gradient(801, 600)), 16)).count("1")
    assert near <= 6 < far


def test_no_value_of_a_dicom_header_reaches_a_log(caplog, recwarn, monkeypatch):
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
    dataset.add_new(0x00100010, "PN", "Zhang^Wei" * 20)
    dataset.add_new(0x00101010, "AS", "zhangwei-age")
    dataset.add_new(0x00280008, "IS", "77777777")
    dataset.add_new(0x7FE00010, "OB", b"12")
    out = io.BytesIO()
    dataset.preamble = b"\0" * 128
    dataset.save_as(out, enforce_file_format=False)
    caplog.clear(), recwarn.clear()
    with pytest.raises(ImageRejected):
        decode(out.getvalue().replace(b"77777777", b"zhangwei"), PIXELS)
    assert "zhang" not in caplog.text.lower() + "".join(str(w.message) for w in recwarn).lower()
