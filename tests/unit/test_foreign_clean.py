"""Somebody else's image loses its metadata and nothing of its picture; only what would look different is written anew."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from codelib.data.foreign_clean import clean, has_metadata, stripped_jpeg
from codelib.data.verify_files import metadata_of
from codelib.imaging.picture import ImageRejected

SECRET = b"Ada Beispiel 13812345678"


def drawing(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (10, 15, 3), dtype=np.uint8)).resize(size).convert(mode)


def saved(image: Image.Image, form: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x013B] = orientation, SECRET.decode()
    tags.get_ifd(0x8825)[2] = (47.0, 3.0, 2.0)  # GPS latitude
    return tags.tobytes()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def with_segments(content: bytes, *segments: bytes) -> bytes:
    """Behind the JFIF header, as a camera writes them."""
    end = 4 + int.from_bytes(content[4:6], "big")
    return content[:end] + b"".join(segments) + content[end:]


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


PLAIN = saved(drawing(), quality=90)
JFXX = segment(0xE0, b"JFXX\0\x10" + SECRET)
STRIPPED = {
    "exif": with_segments(PLAIN, segment(0xE1, b"Exif\0\0" + exif().removeprefix(b"Exif\0\0"))),
    "xmp": with_segments(PLAIN, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SECRET)),
    "iptc": with_segments(PLAIN, segment(0xED, b"Photoshop 3.0\0" + SECRET)),
    "comment": with_segments(PLAIN, segment(0xFE, SECRET)),
    "preview": with_segments(PLAIN, JFXX),
    "maker's own": with_segments(PLAIN, *(segment(0xE0 + n, SECRET) for n in range(3, 13))),
    "behind the end": PLAIN + SECRET,
    "second picture": PLAIN + PLAIN,
    "fill bytes": with_segments(PLAIN, b"\xff\xff\xff" + segment(0xFE, SECRET)),
    "progressive": saved(drawing(), progressive=True, comment=SECRET),
    "restarts": saved(drawing(), restart_marker_blocks=1, comment=SECRET),
    "grey": saved(drawing("L"), exif=exif()),
    "srgb profile": saved(drawing(), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    "thumbnail in the header": PLAIN[:4] + b"\0\x1c" + PLAIN[6:18] + b"\2\2" + SECRET[:12] + PLAIN[20:],
}


@pytest.mark.parametrize("name", STRIPPED)
def test_a_jpeg_is_stripped_and_every_pixel_stays(name: str) -> None:
    given_ = STRIPPED[name]
    bare, how = clean(given_)
    assert how == "stripped" and len(bare) < len(given_)
    assert metadata_of(bare) is None and SECRET[:8] not in bare and not has_metadata(bare)
    assert np.array_equal(pixels(bare), pixels(given_))
    assert clean(bare) == (bare, "")


def test_what_carries_nothing_keeps_its_bytes() -> None:
    for content in (PLAIN, saved(drawing(), "PNG"), saved(drawing("L"), progressive=True)):
        assert clean(content) == (content, "")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photograph_is_made_upright(orientation: int) -> None:
    for content in (
        saved(drawing(), exif=exif(orientation), quality=95, subsampling=0),
        saved(drawing(), "PNG", exif=exif(orientation)),
    ):
        bare, how = clean(content)
        assert how == "rebuilt" and not has_metadata(bare) and SECRET not in bare
        upright = drawing().transpose(_TURNS[orientation])
        assert np.abs(pixels(bare).astype(int) - np.asarray(upright)).mean() < 6


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def test_colours_that_hang_on_a_segment_are_not_lost() -> None:
    # RGB components, told by Adobe's segment alone: without it they would be taken for YCbCr
    named = saved(drawing(), keep_rgb=True)  # libjpeg writes R, G, B as the components' numbers: enough by themselves
    assert np.array_equal(pixels(clean(named)[0]), pixels(named))
    frame, scan = named.index(b"\xff\xc0"), named.index(b"\xff\xda")
    components = bytearray(named)
    for number in range(3):
        components[frame + 10 + 3 * number] = components[scan + 5 + 2 * number] = number + 1
    components = bytes(components)
    assert np.array_equal(pixels(components), pixels(named))
    inks = saved(drawing("CMYK"), comment=SECRET)
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for content in (components, inks, saved(drawing(), icc_profile=swapped)):
        bare, how = clean(content)
        assert how == "rebuilt" and not has_metadata(bare), content[:40]
    assert np.abs(pixels(clean(components)[0]).astype(int) - np.asarray(drawing())).mean() < 6


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_png_chunks() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    told = saved(drawing(), "PNG", pnginfo=info, exif=exif(), dpi=(72, 72))
    bare, how = clean(told + SECRET)
    assert how == "stripped" and SECRET not in bare and np.array_equal(pixels(bare), np.asarray(drawing()))
    assert has_metadata(told) and not has_metadata(bare)
    private = told[:33] + chunk(b"prVt", SECRET) + told[33:]
    assert SECRET not in clean(private)[0]
    deep = saved(Image.fromarray(np.arange(60_000, dtype=np.uint16).reshape(200, 300)), "PNG")
    assert clean(deep[:33] + chunk(b"tEXt", b"a\0b") + deep[33:]) == (deep, "stripped")


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_become_png(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    content = saved(drawing(), form, **options)
    bare, how = clean(content)
    assert how == "rebuilt" and bare.startswith(b"\x89PNG") and not has_metadata(bare) and has_metadata(content)
    assert np.array_equal(pixels(bare), pixels(content))


def test_what_cannot_be_rebuilt_is_refused() -> None:
    with pytest.raises(ImageRejected):
        clean(b"RIFF\x10\0\0\0WEBPVP8 nonsense")


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_bytes_break_the_walk(noise: bytes, at: int) -> None:
    for content in (PLAIN[:at] + noise + PLAIN[at:], PLAIN[:at] + noise):
        stripped_jpeg(content)
        assert isinstance(has_metadata(content), bool)
        assert isinstance(has_metadata(b"\x89PNG\r\n\x1a\n" + noise), bool)
