"""Formats, colours, orientation and pages: what a file shows is what comes out."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from codelib.imaging.pictures import recognise
from codelib.imaging.pixels import PixelSettings, pictures
from tests.picture_files import (
    CORNERS,
    DATA,
    SETTINGS,
    WORKING_PX,
    chunk,
    corners,
    gradient,
    only,
    png,
    png16,
    saved,
    swapped_profile,
    with_tag,
    worst_difference,
)

UNDO = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the transposition that a camera held so has done


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 97, "subsampling": 0}),
        ("JPEG", {"quality": 97, "subsampling": 0, "progressive": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_orientation_is_baked_into_the_pixels(form, options, orientation):
    stored = corners() if UNDO[orientation] is None else corners().transpose(Image.Transpose(UNDO[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = only(saved(stored, form, exif=exif, **options)).image
    assert image.size == (60, 40)
    assert worst_difference(image) <= 12


def test_heic_is_turned_by_its_own_rotation_only():
    blocks = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    content = (DATA / "corners.heic").read_bytes()
    image = only(content).image
    assert image.size == (96, 64)
    expected = {(8, 8): blocks["red"], (88, 8): blocks["lime"], (8, 56): blocks["blue"], (88, 56): blocks["white"]}
    assert worst_difference(image, expected) <= 6
    assert only((DATA / "corners_turned.heic").read_bytes()).image.size == (64, 96)  # EXIF says otherwise
    at = content.index(b"pixi")  # a property that no decoder needs makes room for a rotation: a quarter to the left
    turned = only(content[:at] + b"irot\1" + content[at + 5 :]).image
    assert turned.size == (64, 96)
    assert worst_difference(turned, {(8, 8): blocks["lime"], (56, 8): blocks["white"], (8, 88): blocks["red"]}) <= 6


def test_cmyk_and_lab():
    assert worst_difference(only(saved(corners().convert("CMYK"), "JPEG", quality=97)).image) <= 6  # Adobe's, inverted
    assert worst_difference(only(saved(corners().convert("CMYK"), "TIFF")).image) <= 2
    lab = ImageCms.profileToProfile(corners(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert worst_difference(only(saved(lab, "TIFF")).image) <= 10


def test_cmyk_without_adobe_marker_is_not_inverted():
    content = saved(corners().convert("CMYK"), "JPEG", quality=97)
    at = content.index(b"\xff\xee")
    plain = content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]
    inks = np.asarray(only(plain).image.getpixel((52, 34)))
    assert (inks < 40).all()  # the stored, inverted values taken as ink: nearly all black


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_profile_is_converted_to_srgb(form):
    options = {"quality": 98} if form in ("JPEG", "WEBP") else {}
    image = only(saved(corners(), form, icc_profile=swapped_profile(), **options)).image
    swapped = {at: (colour[1], colour[0], colour[2]) for at, colour in CORNERS.items()}
    assert worst_difference(image, swapped) <= 30  # out of gamut by a little
    assert worst_difference(image) > 100
    assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    "profile", [b"no profile", swapped_profile()[:200], b"\0" * 300, swapped_profile().replace(b"RGB ", b"CMYK")]
)
def test_a_broken_profile_is_passed_over(profile):
    assert worst_difference(only(saved(corners(), "PNG", icc_profile=profile)).image) == 0


def test_transparency_is_shown_on_white():
    clear = corners().convert("RGBA")
    clear.putalpha(0)
    half = corners().convert("RGBA")
    half.putalpha(128)
    for form in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        assert only(saved(clear, form, **options)).image.getpixel((8, 6)) == (255, 255, 255)
        assert worst_difference(only(saved(half, form, **options)).image, {(8, 6): (237, 142, 142)}) <= 2
    assert only(saved(clear.convert("LA"), "PNG")).image.getpixel((8, 6)) == (255, 255, 255)
    palette = corners().quantize(8)
    assert only(saved(palette, "PNG", transparency=palette.getpixel((8, 6)))).image.getpixel((8, 6)) == (255, 255, 255)


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {"compression": "packbits"})])
def test_palettes(form, options):
    assert worst_difference(only(saved(corners().quantize(8), form, **options)).image) <= 8


def test_one_bit():
    black_left = Image.new("1", (60, 40), 1)
    black_left.paste(0, (0, 0, 30, 40))
    for form, options in [("PNG", {}), ("BMP", {}), ("TIFF", {"compression": "group4"})]:
        image = only(saved(black_left, form, **options)).image
        assert (image.getpixel((8, 8)), image.getpixel((52, 8))) == ((0, 0, 0), (255, 255, 255))


def test_grey_of_more_than_eight_bits_is_stretched():
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64)
    bad = values.copy()
    bad[0, :3] = np.nan, np.inf, -np.inf
    files = {
        "png16": saved(Image.fromarray(values.astype(np.uint16)), "PNG"),
        "tiff16": saved(Image.fromarray(values.astype(np.uint16)), "TIFF"),
        "tiff32": saved(Image.fromarray(values.astype(np.int32)), "TIFF"),
        "float": saved(Image.fromarray(values.astype(np.float32)), "TIFF"),
        "float with holes": saved(Image.fromarray(bad.astype(np.float32)), "TIFF"),
        "jpeg2000": saved(Image.fromarray(values.astype(np.uint16)), "JPEG2000"),
    }
    for name, content in files.items():
        shown = np.asarray(only(content).image)[..., 0]
        assert (int(shown.min()), int(shown.max())) == (0, 255), name
        assert abs(int(shown[32, 32]) - 129) <= 2, name
    flat = only(saved(Image.fromarray(np.full((40, 40), 700, np.uint16)), "PNG")).image
    assert len(np.unique(np.asarray(flat))) == 1


def test_white_is_zero():
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    upside_down = only(with_tag(saved(Image.fromarray(values), "TIFF"), 262, 0)).image
    assert (upside_down.getpixel((0, 0)), upside_down.getpixel((63, 63))) == ((255, 255, 255), (0, 0, 0))


def test_sixteen_bit_colour_keeps_its_range():
    values = np.asarray(corners()).astype(np.uint16)
    opaque = np.full((40, 60, 1), 65535, np.uint16)
    assert worst_difference(only(png16(values * 257)).image) == 0
    assert worst_difference(only(png16(np.dstack([values * 257, opaque]))).image) == 0
    assert worst_difference(only(png16(values * 16)).image) <= 1  # 12 bits in 16: would be black with the high bytes alone
    assert worst_difference(only(png16(np.dstack([values * 16, opaque]))).image) <= 1
    dark = np.full((40, 60, 3), 5000, np.uint16)
    assert only(png16(dark)).image.getpixel((8, 8)) == (19, 19, 19)  # dark, but of 16 bits


def sixteen_bit_tiff(values):
    """Uncompressed little-endian RGB of 16 bits, one strip: Pillow does not write it."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    bits_at = 8 + len(data)
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", bits_at + 6) + data + struct.pack("<3H", 16, 16, 16) + directory


def test_sixteen_bit_colour_in_tiff():
    values = np.asarray(corners()).astype(np.uint16)
    assert worst_difference(only(sixteen_bit_tiff(values * 257)).image) == 0
    assert worst_difference(only(sixteen_bit_tiff(values * 16)).image) <= 1


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"])
def test_tiff_compressions(compression):
    assert worst_difference(only(saved(corners(), "TIFF", compression=compression)).image) <= 24


def several(count, **options):
    pages = [Image.new("RGB", (60, 40), (10 * number, 0, 0)) for number in range(count)]
    return saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)


def test_every_page_of_a_tiff():
    found = pictures(several(3, compression="tiff_lzw"), SETTINGS, WORKING_PX)
    assert [picture.part for picture in found] == ["page 1", "page 2", "page 3"]
    assert [picture.image.getpixel((5, 5))[0] for picture in found] == [0, 10, 20]


def test_of_many_pages_evenly_spaced_ones():
    found = pictures(several(25), PixelSettings(max_pages=5), WORKING_PX)
    assert [picture.part for picture in found] == ["page 1", "page 7", "page 13", "page 19", "page 25"]
    assert [picture.image.getpixel((5, 5))[0] for picture in found] == [0, 60, 120, 180, 240]


def test_a_broken_page_does_not_take_the_others_with_it():
    unknown = with_tag(several(3), 258, 77)  # the bits of its first page cannot be
    found = pictures(with_tag(unknown, 262, 77), SETTINGS, WORKING_PX)
    assert [(picture.part, picture.image is None) for picture in found] == [
        ("page 1", True),
        ("page 2", False),
        ("page 3", False),
    ]


def test_thumbnails_in_a_tiff_are_no_pages():
    small = with_tag(several(2, tiffinfo={254: 0}), 254, 1)
    [picture] = pictures(small, SETTINGS, WORKING_PX)
    assert picture.part == ""
    assert picture.image.getpixel((5, 5)) == (10, 0, 0)


def test_the_first_of_several_pictures():
    second = corners().transpose(Image.Transpose.ROTATE_180)
    for form in ("MPO", "GIF", "WEBP", "PNG"):
        options = {"quality": 95} if form in ("MPO", "WEBP") else {}
        image = only(saved(corners(), form, save_all=True, append_images=[second], **options)).image
        assert worst_difference(image) <= 25, form


def test_jpeg2000_in_both_wrappings():
    for bare in (True, False):
        image = only(saved(corners(), "JPEG2000", no_jp2=bare)).image
        assert worst_difference(image) == 0


PICTURES = {
    "jpeg": saved(corners(), "JPEG"),
    "png": saved(corners(), "PNG"),
    "tiff": saved(corners(), "TIFF"),
    "bmp": saved(corners(), "BMP"),
    "gif": saved(corners(), "GIF"),
    "webp": saved(corners(), "WEBP"),
    "avif": saved(corners(), "AVIF"),
    "jpeg2000": saved(corners(), "JPEG2000"),
    "heic": (DATA / "corners.heic").read_bytes(),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_content_tells_the_format(kind):
    assert recognise(PICTURES[kind]) == kind


def boxed(brand):
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0" + brand + b"isom" + b"\0" * 40


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"not an image at all", "not_an_image"),
        (b"PK\3\4 whatever", "not_an_image"),
        (b"BM is how this text begins, and it is no bitmap", "not_an_image"),
        *((boxed(brand), "unsupported_format") for brand in (b"isom", b"mp42", b"qt  ", b"crx ")),  # films, Canon's CR3
        (b"\0\0\0\x08wide\0\0\0\x20mdat" + b"\0" * 24, "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"8BPS\0\1" + b"\0" * 40, "unsupported_format"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"<html><body>an svg is not here", "not_an_image"),
        (b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 24, "unsupported_format"),
        (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 24, "not_an_image"),
        (PICTURES["tiff"][:8] + b"CR\2\0" + PICTURES["tiff"][12:], "unsupported_format"),  # Canon's CR2
        (with_tag(PICTURES["tiff"], 262, 32803), "unsupported_format"),  # a sensor's mosaic
        (with_tag(PICTURES["tiff"], 259, 34713), "unsupported_format"),  # Nikon's compression
        (
            with_tag(saved(corners(), "TIFF", tiffinfo={254: 0, 330: 8}), 254, 1),
            "unsupported_format",
        ),  # a thumbnail of a raw file
        (saved(corners(), "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "unsupported_format"),  # DNG
        (PICTURES["jpeg"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "unsupported_format"),  # 12 bits
        (PICTURES["jpeg"].replace(b"\xff\xc0\0\x11", b"\xff\xc3\0\x11"), "unsupported_format"),  # lossless
        (PICTURES["jpeg"].replace(b"\xff\xc0\0\x11", b"\xff\xf7\0\x11"), "unsupported_format"),  # JPEG-LS
        (png((4, 4, 8, 2), chunk(b"CgBI", b"\0\0\0\0")), "unsupported_format"),  # Apple's
    ],
)
def test_what_is_no_picture_has_a_reason(content, reason):
    assert only(content).reason == reason


def test_nothing_of_the_metadata_stays_with_the_image():
    exif = Image.Exif()
    exif[0x8298] = "zhangwei"
    for content in (
        saved(corners(), "JPEG", exif=exif, comment=b"zhangwei"),
        saved(corners(), "TIFF", tiffinfo={315: "zhangwei"}),
    ):
        assert set(only(content).image.info) == {"full_size", "box"}


def test_unusual_but_whole_jpegs():
    content = saved(gradient(200, 120), "JPEG", quality=95)
    end, start_of_scan = len(content) - 2, content.index(b"\xff\xda")
    parameters = start_of_scan + 5 + 2 * 3
    expected = np.asarray(only(content).image)
    for name, changed in {
        "padded with zeros": content[:end] + b"\0" * 9 + content[end:],
        "something behind the end": content + b"\xff\xd8\xff trailer \xff\xd9" * 9,
        "spectral range 0, 0, 0": content[:parameters] + b"\0\0\0" + content[parameters + 3 :],
        "a fill byte before a marker": content[:start_of_scan] + b"\xff\xff" + content[start_of_scan:],
        "JFIF 2.1": content.replace(b"JFIF\0\1", b"JFIF\0\2"),
    }.items():
        assert np.array_equal(np.asarray(only(changed).image), expected), name


@pytest.mark.parametrize("name", ["third.jpg", "arithmetic.jpg"])
def test_rare_kinds_of_jpeg(name):
    content = (DATA / name).read_bytes()
    assert worst_difference(only(content).image) <= 30
    assert {only(content[:length]).reason for length in range(3, len(content))} == {"truncated"}
