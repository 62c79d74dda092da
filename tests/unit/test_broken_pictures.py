"""Cut, damaged and hostile files: a reason by name, soon, and nothing of a header in a log."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from codelib.imaging.pixels import ImageRejected, PixelSettings, decode, pictures
from tests.picture_files import DATA, SETTINGS, WORKING_PX, chunk, corners, gradient, noisy, only, png, saved, with_tag

PICTURE = noisy(92, 70)  # a multiple of 4: a bitmap's rows have no padding, which may be missing without harm
THUMBNAIL = saved(gradient(40, 30), "JPEG")  # with an end marker of its own


def with_thumbnail(jpeg):
    segment = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + THUMBNAIL
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


WHOLE = {
    "jpeg": saved(PICTURE, "JPEG", quality=80),
    "jpeg with a thumbnail": with_thumbnail(saved(PICTURE, "JPEG", quality=80)),
    "jpeg, progressive": saved(PICTURE, "JPEG", progressive=True, quality=80),
    "jpeg, grey": saved(PICTURE.convert("L"), "JPEG"),
    "jpeg, cmyk": saved(PICTURE.convert("CMYK"), "JPEG", quality=60),
    "png": saved(PICTURE.quantize(16), "PNG"),
    "tiff": saved(PICTURE, "TIFF"),
    "tiff, lzw": saved(PICTURE.quantize(16), "TIFF", compression="tiff_lzw"),
    "tiff, deflate": saved(PICTURE.quantize(16), "TIFF", compression="tiff_adobe_deflate"),
    "tiff, jpeg": saved(PICTURE, "TIFF", compression="jpeg"),
    "tiff, fax": saved(PICTURE.convert("1"), "TIFF", compression="group4"),
    "webp": saved(PICTURE, "WEBP"),
    "webp, lossless": saved(PICTURE.quantize(16).convert("RGB"), "WEBP", lossless=True),
    "bmp": saved(PICTURE, "BMP"),
    "jp2": saved(PICTURE, "JPEG2000", quality_mode="rates", quality_layers=[8]),
    "j2k": saved(PICTURE, "JPEG2000", no_jp2=True, quality_mode="rates", quality_layers=[8]),
    "heic": (DATA / "corners.heic").read_bytes(),
    "avif": saved(PICTURE, "AVIF"),
}
RECOGNISED = 18  # bytes from which every one of them is recognised


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_anywhere_is_truncated(kind):
    content = WHOLE[kind]
    assert only(content).reason is None
    step = max(1, len(content) // 700) if len(content) > 3000 else 1
    lengths = [*range(RECOGNISED, len(content) - 40, step), *range(len(content) - 40, len(content))]
    for working_px in (20, 2000):  # at a scale of 1/4, and at full size
        reasons = {length: pictures(content[:length], SETTINGS, working_px)[0].reason for length in lengths}
        assert {length: reason for length, reason in reasons.items() if reason != "truncated"} == {}
    assert {only(content[:length]).reason for length in range(1, RECOGNISED)} <= {"truncated", "not_an_image"}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_file_cut_at_a_random_byte_is_truncated(kind, data):
    content = WHOLE[kind]
    length = data.draw(st.integers(RECOGNISED, len(content) - 1))
    assert only(content[:length]).reason == "truncated"


def test_a_cut_file_in_which_an_end_marker_was_put():
    content = WHOLE["jpeg"]
    for length in range(len(content) // 2, len(content) - 40, 37):
        assert only(content[:length] + b"\xff\xd9").reason == "damaged"  # not grey from there on


def test_pages_of_a_cut_tiff():
    pages = [gradient(60 + number, 40) for number in range(3)]
    content = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    whole = len(content)
    seen = set()
    for length in range(RECOGNISED, whole, 97):
        reasons = tuple(picture.reason for picture in pictures(content[:length], SETTINGS, WORKING_PX))
        assert set(reasons[:-1]) <= {None}
        assert reasons[-1] == "truncated" or length > whole - 16  # padding at the end
        seen.add(len(reasons))
    assert seen == {1, 2, 3}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_crash(kind, changes):
    content = bytearray(WHOLE[kind])
    for at, value in changes:
        content[at % len(content)] = value
    for picture in pictures(bytes(content), SETTINGS, WORKING_PX):
        assert (picture.image is None) != (picture.reason is None)
        assert picture.image is None or picture.image.mode == "RGB"


HEADS = [
    *(b"", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"BM" + b"\0" * 12 + b"\x28\0\0\0", b"GIF89a"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"II*\0\x08\0\0\0", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    *(b"RIFF\x10\0\0\0WEBPVP8X", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif"),
]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(HEADS))
@example(b"", b"")
def test_random_bytes_never_crash(tail, head):
    try:
        image = decode(head + tail, SETTINGS)
    except ImageRejected:
        return
    assert max(image.size) <= 448


def jpeg_of(width, height):
    """A JPEG whose header tells another size than it has."""
    content = bytearray(saved(gradient(64, 64), "JPEG"))
    at = content.index(b"\xff\xc0")
    struct.pack_into(">HH", content, at + 5, height, width)
    return bytes(content)


def tiff_of(width, height):
    return with_tag(with_tag(saved(gradient(64, 64), "TIFF", compression="tiff_lzw"), 256, width), 257, height)


def jp2_siz(width, height, tile, components):
    at = WHOLE["j2k"].index(b"\xff\x51")
    content = bytearray(WHOLE["j2k"])
    struct.pack_into(">IIIIIIIIH", content, at + 6, width, height, 0, 0, tile, tile, 0, 0, components)
    return bytes(content)


def looped_tiff():
    content = saved(gradient(20, 20), "TIFF")
    at = struct.unpack_from("<I", content, 4)[0]
    entries = struct.unpack_from("<H", content, at)[0]
    looped = bytearray(content)
    struct.pack_into("<I", looped, at + 2 + 12 * entries, at)
    return bytes(looped)


def tiff_of_many_pages(count):
    empty = struct.pack("<HHHIII", 1, 256, 3, 1, 9, 0)
    directories = b"".join(empty[:-4] + struct.pack("<I", 8 + 18 * (number + 1)) for number in range(count - 1))
    return b"II*\0\x08\0\0\0" + directories + empty


def many_scans(count):
    """A progressive JPEG whose last scan is repeated."""
    content = WHOLE["jpeg, progressive"]
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


PIXELS_OF_NOTHING = chunk(b"IDAT", zlib.compress(b"\0" * 1000))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png((60000, 60000, 8, 2), PIXELS_OF_NOTHING), "too_many_pixels"),
        (png((8000, 8000, 1, 0), PIXELS_OF_NOTHING), "too_many_pixels"),
        (jpeg_of(65500, 65500), "too_many_pixels"),
        (tiff_of(65000, 65000), "too_many_pixels"),
        (b"BM" + b"\0" * 12 + struct.pack("<IiiHHIIiiII", 40, 60000, -60000, 1, 24, 0, 0, 0, 0, 0, 0), "too_many_pixels"),
        (b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0;", "too_many_pixels"),
        (b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff", "too_many_pixels"),
        (jp2_siz(60000, 60000, 60000, 3), "too_many_pixels"),
        (jp2_siz(5000, 5000, 1, 3), "too_complex"),
        (jp2_siz(500, 500, 500, 16384), "too_complex"),
        (looped_tiff(), "too_complex"),
        (tiff_of_many_pages(5000), "too_complex"),
        (b"\xff\xd8" + b"\xff\xfe\0\x02" * 200_000, "too_complex"),
        (png((4, 4, 8, 2), chunk(b"tEXt", b"") * 200_000), "too_complex"),
        (many_scans(20_000), "too_many_scans"),
        (jpeg_of(0, 10), "damaged"),
        (png((4, 4, 8, 2)), "damaged"),
        (png((64, 64, 8, 2), PIXELS_OF_NOTHING), "truncated"),  # rows are missing though the file is whole
        (WHOLE["png"][:-20] + bytes(8) + WHOLE["png"][-12:], "damaged"),  # a wrong check sum
    ],
)
def test_hostile_files_are_refused(content, reason):
    assert only(content).reason == reason


def test_compressed_text_is_never_unpacked():
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 200_000_000, 1))
    raw = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(4)))
    assert only(png((4, 4, 8, 2), bomb, chunk(b"IDAT", raw))).image.size == (4, 4)


def test_pixels_are_limited_by_the_setting():
    content = saved(Image.new("L", (2000, 600)), "PNG")
    assert only(content, settings=PixelSettings(max_megapixels=1)).reason == "too_many_pixels"
    assert only(content, settings=PixelSettings(max_megapixels=2)).reason is None


def test_more_pixels_than_pillow_would_take():
    content = saved(Image.new("1", (20_000, 10_000)), "TIFF", compression="group4")
    limit = Image.MAX_IMAGE_PIXELS
    assert only(content, settings=PixelSettings(max_megapixels=250)).reason is None
    assert only(content, settings=PixelSettings(max_megapixels=150)).reason == "too_many_pixels"
    assert limit == Image.MAX_IMAGE_PIXELS


def test_no_value_of_a_header_reaches_a_log(caplog, recwarn, capfd):
    caplog.set_level(logging.DEBUG)
    warnings.simplefilter("always")
    exif = Image.Exif()
    exif[0x013B] = "zhangwei"
    tagged = saved(corners(), "TIFF", tiffinfo={315: "zhangwei", 270: "zhangwei"})
    jpeg = saved(corners(), "JPEG", exif=exif, comment=b"zhangwei")
    text = png((4, 4, 8, 2), chunk(b"tEXt", b"Author\0zhangwei"), chunk(b"eXIf", exif.tobytes()), PIXELS_OF_NOTHING)
    files = (tagged, jpeg, text, saved(corners(), "WEBP", exif=exif))
    caplog.clear()  # Pillow logs what it writes
    for content in files:
        for changed in (content, content[:-30], content.replace(b"zhang", b"\xffhang")):
            for picture in pictures(changed, SETTINGS, WORKING_PX):
                assert "wei" not in repr(picture)
    out, err = capfd.readouterr()
    assert "hangwei" not in caplog.text + out + err + "".join(str(warning.message) for warning in recwarn)


def test_real_broken_photograph(real_data):
    [path] = (real_data / "clinic-export").glob("*/*/*/照片/broken.jpg")
    assert only(path.read_bytes()).reason == "truncated"


def test_damage_in_a_scan_is_seen():
    content = bytearray(saved(noisy(400, 300), "JPEG", quality=90))
    rng = np.random.default_rng(7)
    at = len(content) // 2
    content[at : at + 400] = bytes(rng.integers(0, 255, 400, dtype=np.uint8))
    assert only(bytes(content)).reason == "damaged"
    assert Image.open(io.BytesIO(content)).convert("RGB").size == (400, 300)  # Pillow says nothing
