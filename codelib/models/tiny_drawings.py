"""What the tiny model learns to see before anyone tunes it: drawings of rows of pale blocks, with or without an oddity.

    rng, oddity ── Row (place, size, turn and fault of each block) ── paint ── light and grain ──> RGB drawing

The words are those of a child looking at a drawing ("spots", "band", "gap"): no clinical term and no class of a benchmark occurs, so
whatever the tiny model says about a clinic it has learned from the clinic's own release.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ODDITIES: tuple[str, ...] = ("plain", "spots", "band", "tilted", "gap", "short", "hole")

Colour = tuple[int, int, int]
_TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)


@dataclass(frozen=True)
class Palette:
    ground: Colour
    seam: Colour  # behind the feet of the blocks
    pale: Colour
    spot: Colour
    rim: Colour
    band: Colour
    grey: bool


@dataclass(frozen=True)
class Block:
    """In pixels; ``up`` is -1 where the block stands on its foot and +1 where it hangs."""

    x: float
    y: float
    half_width: float
    half_height: float
    angle_deg: float
    up: int
    struck: bool

    def place(self, u: np.ndarray, v: np.ndarray) -> list[tuple[float, float]]:
        """Local points, across and from foot (-1) to tip (+1), in pixels."""
        x, y = u * self.half_width, v * self.half_height * self.up
        c, s = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        return list(zip(self.x + c * x - s * y, self.y + s * x + c * y, strict=True))


def _near(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    red, green, blue = np.clip(np.asarray(colour) + rng.integers(-spread, spread + 1, 3), 0, 255).tolist()
    return red, green, blue


def _palette(rng: np.random.Generator) -> Palette:
    if rng.random() < 0.35:
        return Palette(
            ground=_near(rng, (35, 35, 35), 25),
            seam=_near(rng, (110, 110, 110), 40),
            pale=_near(rng, (205, 205, 205), 35),
            spot=_near(rng, (60, 60, 60), 20),
            rim=_near(rng, (25, 25, 25), 20),
            band=_near(rng, (230, 230, 230), 20),
            grey=True,
        )
    return Palette(
        ground=_near(rng, (100, 45, 50), 40),
        seam=_near(rng, (225, 155, 155), 35),
        pale=_near(rng, (235, 225, 200), 22),
        spot=_near(rng, (80, 48, 22), 22),
        rim=_near(rng, (175, 20, 40), 30),
        band=_near(rng, (195, 20, 45), 25),
        grey=False,
    )


def _row(rng: np.random.Generator, oddity: str, width: int, y: float, half_height: float, up: int) -> list[Block]:
    count = int(rng.integers(4, 9))
    pitch = width / (count - rng.uniform(0, 0.8))
    offset = rng.uniform(-0.4, 0.4) * pitch
    share = rng.uniform(0.35, 0.6) if oddity == "gap" else rng.uniform(0.4, 1.0)
    struck = set(rng.permutation(count)[: max(1, round(share * count))].tolist())
    side = int(rng.choice([-1, 1]))
    blocks = []
    for index in range(count):
        turn, shift = rng.uniform(-4, 4), 0.0
        if oddity == "tilted":
            turn = side * (1 if index % 2 else -1) * rng.uniform(14, 38)
            shift = rng.uniform(-0.3, 0.3)
        blocks.append(
            Block(
                x=(index + 0.5) * pitch + offset,
                y=y + shift * half_height,
                half_width=pitch * rng.uniform(0.38, 0.5),
                half_height=half_height * rng.uniform(0.92, 1.06),
                angle_deg=turn,
                up=up,
                struck=index in struck,
            )
        )
    return blocks


def _blob(
    rng: np.random.Generator, block: Block, u: float, v: float, radius_u: float, radius_v: float
) -> list[tuple[float, float]]:
    wobble = 1 + rng.uniform(-0.2, 0.2, _TURN.size)
    return block.place(u + radius_u * wobble * np.cos(_TURN), v + radius_v * wobble * np.sin(_TURN))


def _paint_block(rng: np.random.Generator, pen: ImageDraw.ImageDraw, block: Block, oddity: str, palette: Palette) -> None:
    u = np.sign(np.cos(_TURN)) * np.abs(np.cos(_TURN)) ** 0.6
    v = np.sign(np.sin(_TURN)) * np.abs(np.sin(_TURN)) ** 0.5
    fault = oddity if block.struck else "plain"
    if palette.grey and rng.random() < 0.8:  # a spike below the foot, with a dark line in it
        pen.polygon(block.place(np.array([-0.8, 0.8, 0.0]), np.array([-0.8, -0.8, -2.8])), fill=_near(rng, (150, 150, 150), 15))
        pen.line(block.place(np.array([0.0, 0.0]), np.array([-0.3, -2.5])), fill=palette.spot, width=2)
    if fault == "short":
        v = np.minimum(v, rng.uniform(-0.4, 0.0) + rng.uniform(-0.7, 0.7) * u + rng.uniform(-0.15, 0.15, u.size))
    pen.polygon(block.place(u, v), fill=_near(rng, palette.pale, 8), outline=_near(rng, (140, 130, 115), 30))
    if fault == "short" and not palette.grey:
        broken = np.argsort(u)[v[np.argsort(u)] > np.median(v)]
        pen.line(block.place(u[broken], v[broken] - 0.1), fill=_near(rng, (200, 155, 85), 30), width=3)
    elif fault == "spots":
        for at in (-1, 1) if rng.random() < 0.7 else (0,):
            place = at * rng.uniform(0.4, 0.8), rng.uniform(-0.3, 0.6)
            pen.polygon(_blob(rng, block, *place, rng.uniform(0.3, 0.55), rng.uniform(0.2, 0.4)), fill=palette.spot)
    elif fault == "hole":
        place = rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.3)
        for radius, colour in ((rng.uniform(0.6, 0.85), palette.rim), (0.4, (20, 6, 10))):
            pen.polygon(_blob(rng, block, *place, radius, radius * 0.75), fill=colour)


def _paint_seam(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, row: list[Block], oddity: str, palette: Palette, width: int, height: int
) -> None:
    """The ground behind the feet, from the feet to the edge of the drawing; a band of another colour over it is an oddity."""
    block = row[0]
    foot = block.y - block.up * block.half_height * rng.uniform(0.6, 0.8)
    edge = 0.0 if block.up > 0 else float(height)
    pen.rectangle((0, min(foot, edge), width, max(foot, edge)), fill=palette.seam)
    if oddity == "band":
        reach = foot if rng.random() < 0.5 else foot - block.up * height * rng.uniform(0.1, 0.2)
        start = edge if rng.random() < 0.6 else reach - block.up * height * 0.15
        pen.rectangle((0, min(reach, start), width, max(reach, start)), fill=palette.band)
        for other in row:  # its edge is uneven
            pen.polygon(_blob(rng, other, 0.0, -0.85, 1.0, rng.uniform(0.15, 0.4)), fill=palette.band)


def draw(rng: np.random.Generator, oddity: str, width_px: int = 112) -> Image.Image:
    """One RGB drawing with the oddity in it, ``width_px`` wide and 0.7 to 1 times as high."""
    assert oddity in ODDITIES, oddity
    width, height = width_px, int(width_px * rng.uniform(0.7, 1.0))
    palette = _palette(rng)
    image = Image.new("RGB", (width, height), palette.ground)
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        half = height * rng.uniform(0.15, 0.2)
        lines = [(1, height / 2 - half * 1.08, half), (-1, height / 2 + half * 1.08, half)]
    else:
        lines = [(int(rng.choice([-1, 1])), height * rng.uniform(0.45, 0.55), height * rng.uniform(0.2, 0.28))]
    rows = [_row(rng, oddity, width, y, half, up) for up, y, half in lines]
    for row in rows:
        _paint_seam(rng, pen, row, oddity, palette, width, height)
    for row in rows:
        for block in row:
            if not (oddity == "gap" and block.struck):
                _paint_block(rng, pen, block, oddity, palette)
    return _expose(rng, image, palette.grey)


def _expose(rng: np.random.Generator, image: Image.Image, grey: bool) -> Image.Image:
    """Soft edges, uneven light, a colour cast and grain."""
    image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.3, 0.9))))
    if grey:
        image = image.convert("L").convert("RGB")
    pixels = np.asarray(image, dtype=np.float32)
    slope = np.linspace(-1, 1, image.width, dtype=np.float32)[None, :, None] * rng.uniform(-0.12, 0.12)
    grain = rng.standard_normal((image.height, image.width, 1), dtype=np.float32) * np.float32(rng.uniform(0, 0.05))
    cast = 1.0 if grey else (1 + rng.uniform(-0.06, 0.06, 3)).astype(np.float32)
    pixels = pixels * (np.float32(rng.uniform(0.8, 1.08)) + slope.astype(np.float32) + grain) * cast
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
