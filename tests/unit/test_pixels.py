"""The release's form: size, shape, and nothing in the file but the picture."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codelib.imaging.pixels import PixelSettings, decode, encode, fit, pictures
from tests.picture_files import gradient, noisy, saved

PIXELS = PixelSettings()
FORMS = [
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("PNG", mode) for mode in ("RGB", "RGBA", "LA", "L", "P", "1", "I;16")),
    *(("TIFF", mode) for mode in ("RGB", "RGBA", "L", "1", "P", "CMYK", "LAB", "F", "I;16")),
    *(("BMP", mode) for mode in ("RGB", "L", "P", "1")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("GIF", "P"), ("JPEG2000", "RGB"), ("JPEG2000", "L"), ("AVIF", "RGB")),
]


def segments(jpeg):
    """(marker, payload) of the segments of a JPEG up to its scan, and the rest."""
    found, at = [], 2
    while jpeg[at + 1] != 0xDA:
        assert jpeg[at] == 0xFF
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append((jpeg[at + 1], jpeg[at + 4 : at + 2 + length]))
        at += 2 + length
    return found, jpeg[at:]


def picture_file(width, height, form, mode, orientation=1):
    picture = gradient(width, height, "L" if mode in ("F", "I;16", "LAB") else mode)
    if mode == "F":
        picture = picture.convert("F")
    elif mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 16)
    elif mode == "LAB":
        picture = Image.merge("LAB", [picture] * 3)
    options = {}
    if form in ("JPEG", "PNG", "TIFF", "WEBP") and mode != "LAB":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
        options["exif"][0x8298] = "张伟"
    if form == "JPEG":
        options["comment"] = b"zhangwei"
    return saved(picture, form, **options)


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1500), st.sampled_from(FORMS), st.integers(1, 8))
def test_any_picture_fits_and_carries_nothing(width, height, form, orientation):
    image = decode(picture_file(width, height, *form, orientation), PIXELS)
    turns = orientation >= 5 and form[0] in ("JPEG", "PNG", "TIFF", "WEBP") and form[1] != "LAB"
    shown = (height, width) if turns else (width, height)
    scale = min(1, 448 / max(shown))  # never upscaled
    assert image.mode == "RGB"
    assert image.size == tuple(max(1, round(side * scale)) for side in shown)
    jpeg = encode(image, 90)
    assert encode(image, 90) == jpeg
    found, scan = segments(jpeg)
    assert {marker for marker, _ in found} == {
        0xE0,
        0xDB,
        0xC0,
        0xC4,
    }  # JFIF, tables, baseline frame: no EXIF, profile or comment
    assert found[0][1].startswith(b"JFIF\0")
    assert len(found[0][1]) == 14  # and no thumbnail in it
    frame = next(payload for marker, payload in found if marker == 0xC0)
    assert frame[7::3][:3] == b"\x22\x11\x11"  # 4:2:0
    assert scan.endswith(b"\xff\xd9")
    assert scan.count(b"\xff\xd9") == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 300), st.booleans(), st.integers(28, 500))
def test_fit_keeps_the_shape_of_the_file(long, short, upright, longest_px):
    width, height = (short, long) if upright else (long, short)
    content = saved(Image.new("L", (width, height), 99), "JPEG")
    image = fit(pictures(content, PIXELS, longest_px)[0].image, longest_px)
    scale = min(1, longest_px / max(width, height))
    assert image.size == tuple(max(1, round(side * scale)) for side in (width, height))


def test_fit_takes_an_image_that_was_changed_after_decoding():
    image = pictures(saved(gradient(2000, 1501), "JPEG"), PIXELS, 896)[0].image
    assert image.size == (1000, 751)
    assert fit(image.crop((0, 0, 400, 751)), 448).size == (239, 448)
    assert fit(image.transpose(Image.Transpose.ROTATE_90), 448).size == (336, 448)
    assert fit(Image.fromarray(np.asarray(image)), 448).size == (448, 336)
    assert fit(fit(image, 600), 448).size == (448, 336)


# where an eighth or a quarter of a side is no whole number, the last row is a part of a pixel: a shift of it costs 10 dB
@pytest.mark.parametrize("size", [(3000, 2000), (4032, 3021), (2001, 1333), (3701, 1239), (1100, 900), (1797, 1203)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_scaled_decode_is_close_to_full_decode(size, orientation):
    rng = np.random.default_rng(size)
    coarse = Image.fromarray(rng.integers(0, 255, (size[1] // 24, size[0] // 24, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(coarse.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=92, exif=exif)
    fast = decode(content, PIXELS)
    stored = Image.open(io.BytesIO(content))
    full = stored if orientation == 1 else stored.transpose(Image.Transpose({3: 3, 6: 4}[orientation]))
    error = np.asarray(fast, dtype=float) - np.asarray(full.resize(fast.size, Image.Resampling.LANCZOS), dtype=float)
    assert 10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)) > 45


@pytest.mark.parametrize("form", ["JPEG", "PNG", "JPEG2000", "TIFF", "WEBP"])
def test_the_working_image_is_near_the_size_wanted_and_not_below(form):
    content = saved(gradient(2500, 1900), form)
    for working_px in (300, 600, 900, 1300, 2499, 2500, 9000):
        longest = max(pictures(content, PIXELS, working_px)[0].image.size)
        assert min(2500, working_px) <= longest < max(2 * working_px, 300)


def test_real_photographs_decode_close_to_the_published_way(real_data):
    for path in sorted((real_data / "clinic-export").glob("*/*/*/照片/*.jp*g"))[:8]:
        content = path.read_bytes()
        if path.stem == "broken":
            continue
        fast = np.asarray(decode(content, PixelSettings(longest_px=224)), dtype=float)
        full = Image.open(io.BytesIO(content)).resize(fast.shape[1::-1], Image.Resampling.LANCZOS)
        assert 10 * np.log10(255**2 / np.mean((fast - np.asarray(full, dtype=float)) ** 2)) > 45


def test_the_same_bytes_on_every_run():
    content = saved(noisy(1700, 1100), "JPEG", quality=95)
    assert len({encode(decode(content, PIXELS), 90) for _ in range(3)}) == 1
