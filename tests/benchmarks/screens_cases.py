"""What the benchmark of the screens shows them: which real files carry writing (looked at one by one), and writing burned into real ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

# Looked at by eye in November 2026. What is not named carries no writing, or a side marker only.
WITH_WRITING = {
    "JPGLosslessP14SV1_1s_1f_8b.dcm",  # echo: settings, measurements, heart rate
    "examples_palette.dcm",  # obstetric ultrasound: maker, number, date, time
    "examples_ybr_color.dcm",  # echo, two frames: settings, menu
    "OBXXXX1A_rle_2frame.dcm",  # the ultrasound above as frame 1; frame 2 has none and is not shown here
    "mlut_18.dcm",  # SMPTE test pattern: percentages, title
    "screenshot1.png",  # the export's own record screenshot
}
# The radiographs among the backgrounds; the others are CT, MR, scintigrams, a drawing, a test pattern and a seascape in DICOM
FILMS = {"zhangwei_pano.jpg", "opg.jpg", "pano.jpg", "pa.tif", "pa_11.jpg", "cr.dcm"}

# the first half of each list was looked at while sizes and thresholds were chosen; the second was not
CHINESE = ("王小明", "欧阳慧敏", "李建国 男 45岁", "北京口腔医院", "赵雨桐", "司马文博", "陈静 女 28岁", "华西口腔医院 放射科")
LATIN = (
    *(
        "ZHANG WEI",
        "Wang Xiaoming",
        "Li Na",
        "2022-03-05 09:30",
        "05/03/2022",
        "ID 00123456",
        "13812345678",
        "Peking University Hospital",
    ),
    *(
        "CHEN JING",
        "Sima Wenbo",
        "Wu Di",
        "2019.11.28 16:07",
        "28/11/2019",
        "PID 9083417",
        "15098761234",
        "West China Stomatology",
    ),
)
STYLES = ("white", "black", "box", "grey", "faint", "rot90", "rot270", "rot180", "mirror", "vertical")
MARKERS = ("L", "R", "左", "右", "LEFT", "RIGHT", "36", "R5", "10 mm")
FRACTIONS = (0.02, 0.03, 0.04, 0.06)  # of the picture's height
_FAINT = 45  # grey values from the background


@dataclass(frozen=True)
class Case:
    text: str
    style: str
    fraction: float
    held_out: bool
    seed: str


def burned_in(name: str, chinese: bool) -> Iterator[Case]:
    """Cases for one picture: every style on a Chinese and two Latin texts of each half, sizes in turn."""
    for number, style in enumerate(STYLES):
        rng = random.Random(f"{name}/{style}")
        for held_out in (False, True):
            texts = [rng.choice(_half(CHINESE, held_out))] if chinese else []
            texts += rng.sample(_half(LATIN, held_out), 0 if style == "vertical" else 2)
            for text in texts:
                yield Case(text, style, FRACTIONS[(number + rng.randrange(4)) % 4], held_out, f"{name}/{style}/{text}")


def _half(texts: tuple[str, ...], second: bool) -> tuple[str, ...]:
    middle = len(texts) // 2
    return texts[middle:] if second else texts[:middle]


def burn(picture: Image.Image, case: Case, fonts: dict[str, list[Path]]) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The picture with the text in it, in a corner three times of four, and the text's box in pixels."""
    rng = random.Random(case.seed)
    script = "cjk" if any(ord(c) > 0x2E80 for c in case.text) else "latin"
    glyphs = _glyphs(case, max(6, round(case.fraction * picture.height)), rng.choice(fonts[script]) if fonts[script] else None)
    glyphs.thumbnail((int(picture.width * 0.96), int(picture.height * 0.96)))
    x, y = _place(rng, picture.width - glyphs.width, picture.height - glyphs.height)
    box = (x, y, x + glyphs.width, y + glyphs.height)
    out = picture.convert("RGB")
    under = float(np.asarray(out.crop(box).convert("L")).mean())
    ink = 255 if under < 128 else 0
    if case.style == "box":
        out.paste((255 - ink,) * 3 if case.seed[-1] < "5" else (230, 230, 230), box)
        ink = 0 if sum(out.getpixel(box[:2])) > 384 else 255
    elif case.style == "faint":
        ink = int(under + _FAINT if under < 128 else under - _FAINT)
    elif case.style == "grey":
        ink = 170 if under < 100 else 30
    elif case.style == "black" and under > 70:
        ink = 0
    out.paste(Image.new("RGB", glyphs.size, (ink,) * 3), box[:2], glyphs)
    return out, box


def stamp(photograph: Image.Image, text: str, font: Path | None) -> Image.Image:
    """The orange date that cameras print into the lower right corner, 4 % of the height."""
    out = photograph.convert("RGB")
    size = max(12, round(out.height * 0.04))
    ImageDraw.Draw(out).text(
        (out.width * 0.97, out.height * 0.95), text, fill=(255, 150, 40), font=_font(font, size), anchor="rs"
    )
    return out


def card(photograph: Image.Image, lines: tuple[str, ...], font: Path | None) -> Image.Image:
    """A white name card held into the picture, a little askew."""
    size = max(12, round(photograph.height * 0.045))
    paper = Image.new("RGBA", (size * 9, size * (2 * len(lines) + 1)), (238, 236, 228, 255))
    for number, line in enumerate(lines):
        ImageDraw.Draw(paper).text(
            (size * 0.7, size * (0.6 + 1.8 * number)), line, fill=(40, 40, 60, 255), font=_font(font, size)
        )
    paper = paper.rotate(7, expand=True, resample=Image.Resampling.BICUBIC)
    out = photograph.convert("RGB")
    out.paste(paper, (round(out.width * 0.05), round(out.height * 0.6)), paper)
    return out


def _glyphs(case: Case, size: int, path: Path | None) -> Image.Image:
    font = _font(path, size)
    if case.style == "vertical":
        text = "".join(c for c in case.text if c.isalnum())
        mask = Image.new("L", (round(size * 1.4), round(size * (1.15 * len(text) + 0.4))))
        for number, c in enumerate(text):
            ImageDraw.Draw(mask).text((size * 0.2, size * (0.1 + 1.15 * number)), c, fill=255, font=font)
        return mask
    left, top, right, bottom = (round(v) for v in font.getbbox(case.text))
    edge = max(2, size // 5)
    mask = Image.new("L", (right - left + 2 * edge, bottom - top + 2 * edge))
    ImageDraw.Draw(mask).text((edge - left, edge - top), case.text, fill=255, font=font)
    if case.style.startswith("rot"):
        return mask.rotate(int(case.style[3:]), expand=True)
    return ImageOps.mirror(mask) if case.style == "mirror" else mask


def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(str(path), size) if path else ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _place(rng: random.Random, free_x: int, free_y: int) -> tuple[int, int]:
    if rng.random() < 0.25:
        return rng.randint(0, free_x), rng.randint(0, free_y)
    return rng.choice((free_x // 100, free_x - free_x // 100)), rng.choice((free_y // 100, free_y - free_y // 100))
