"""Drawings of teeth whose content follows the diagnosis, so that a small vision model has something to learn.

    rng, sign ─ scene (rows of teeth, some bent, cut or missing) ─┬─ photograph: gum, crowns, sign in colour
                                                                 └─ radiograph: bone, roots, sign in grey

The same geometry serves both kinds. A sign is one of the six classes or None (normal-looking teeth). The signs are
larger and touch more teeth than in a real mouth: they must survive a reduction to 112 px.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from codelib.synthetic.exposure import Colour, expose, grey, jitter, mix, shade


@dataclass(frozen=True)
class Tooth:
    """A tooth in pixels: centre and half size of its crown; ``down`` is +1 in the upper row, -1 in the lower."""

    x: float
    y: float
    half_width: float
    half_height: float
    angle_rad: float
    down: int
    affected: bool = False
    missing: bool = False

    def place(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Local points (u across, v from the neck -1 to the biting edge +1) in pixels of the image."""
        x = points[:, 0] * self.half_width
        y = points[:, 1] * self.half_height * self.down
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return list(zip(self.x + cos * x - sin * y, self.y + sin * x + cos * y, strict=True))


def photograph(rng: np.random.Generator, sign: str | None) -> Image.Image:
    """An intraoral photograph of about 900 x 675 px, upright, RGB."""
    width, height = int(rng.integers(860, 941)), int(rng.integers(645, 706))
    rows = _scene(rng, sign, width, height)
    gum = jitter(rng, (196, 22, 48) if sign == "Gingivitis" else (228, 158, 156), 9)
    enamel = shade(jitter(rng, (238, 230, 206), 5), float(rng.uniform(0.92, 1.05)))
    mouth = jitter(rng, (96, 38, 42), 10)
    image = Image.new("RGB", (width, height), mouth)
    draw = ImageDraw.Draw(image)
    for teeth in rows:
        _draw_gum(draw, teeth, gum, width, height)
    for teeth in rows:
        for tooth in teeth:
            if tooth.missing:
                _draw_gap(draw, tooth, gum)
            else:
                _draw_crown(draw, rng, tooth, sign, enamel)
        _draw_margin(draw, rng, teeth, sign, gum)
    return expose(rng, image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.0, 2.2)))), noise=0.035, tint=0.05)


def radiograph(rng: np.random.Generator, sign: str | None) -> Image.Image:
    """A radiograph of about 900 x 675 px in greys (mode L): crowns and roots light, canals and decay dark."""
    width, height = int(rng.integers(860, 941)), int(rng.integers(645, 706))
    rows = _scene(rng, sign, width, height)
    image = Image.new("RGB", (width, height), grey(rng, 26, 6))
    draw = ImageDraw.Draw(image)
    # inflamed gum shows on a radiograph only by the bone it costs: the crest stands further from the crowns
    crest = -1.9 if sign == "Gingivitis" else -1.15
    for teeth in rows:
        _draw_gum(draw, teeth, grey(rng, 104, 8), width, height, level=crest)
    for teeth in rows:
        for tooth in teeth:
            if not tooth.missing:
                _draw_radiograph_tooth(draw, rng, tooth, sign)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.5, 3.0))))
    return expose(rng, image, noise=0.06, tint=0.0).convert("L")


def screenshot(lines: list[str], seed_shade: int) -> Image.Image:
    """A window of a practice system with grey bars for its text: stands for a screenshot, never released."""
    image = Image.new("RGB", (640, 400), (236, 240, 244))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 640, 34), fill=(40, 80 + seed_shade % 60, 140))
    for number, line in enumerate(lines):
        draw.rectangle((30, 60 + 34 * number, 40 + min(560, 14 * len(line)), 78 + 34 * number), fill=(150, 150, 156))
    return image


def _scene(rng: np.random.Generator, sign: str | None, width: int, height: int) -> list[list[Tooth]]:
    """One or two rows of teeth, already bent, marked as affected or missing as the sign wants."""
    two_rows = rng.random() < 0.5
    count = int(rng.integers(5, 8))
    pitch = width / (count - 0.6)
    half_height = height * (rng.uniform(0.155, 0.185) if two_rows else rng.uniform(0.22, 0.27))
    middle = height * rng.uniform(0.48, 0.54)
    tilt = rng.uniform(-0.06, 0.06)
    offset = rng.uniform(-0.3, 0.3) * pitch
    lines = [(1, middle - half_height * 1.08), (-1, middle + half_height * 1.08)] if two_rows else [(1, middle)]
    if not two_rows and rng.random() < 0.4:
        lines = [(-1, middle)]
    return [_row(rng, sign, count, pitch, offset, half_height, line, tilt, width) for line in lines]


def _row(
    rng: np.random.Generator,
    sign: str | None,
    count: int,
    pitch: float,
    offset: float,
    half_height: float,
    line: tuple[int, float],
    tilt: float,
    width: int,
) -> list[Tooth]:
    down, y = line
    teeth = []
    for number in range(-1, count + 1):
        x = (number + 0.2) * pitch + offset
        bow = -down * 0.10 * half_height * (2 * x / width - 1) ** 2  # the arch curves away at its ends
        half_width = pitch * rng.uniform(0.43, 0.48)
        size = half_height * rng.uniform(0.93, 1.05)
        teeth.append(Tooth(x, y + bow + tilt * (x - width / 2), half_width, size, tilt + rng.uniform(-0.03, 0.03), down))
    if sign == "Malocclusion":
        return [_crooked(rng, tooth, pitch, number) for number, tooth in enumerate(teeth)]
    inner = [number for number, tooth in enumerate(teeth) if 0.08 * width < tooth.x < 0.92 * width]
    share = {"Caries": 0.9, "Pulpitis": 0.9, "Tooth Structure Loss": 1.0, "Tooth Loss": 0.66}.get(sign or "", 0.0)
    struck = set(rng.permutation(inner)[: max(2, round(share * len(inner)))].tolist()) if share else set()
    mark = "missing" if sign == "Tooth Loss" else "affected"
    return [replace(tooth, **{mark: number in struck}) for number, tooth in enumerate(teeth)]


def _crooked(rng: np.random.Generator, tooth: Tooth, pitch: float, number: int) -> Tooth:
    """Turned to alternating sides, pushed up or down, broader than its place: neighbours overlap."""
    side = 1 if number % 2 else -1
    return replace(
        tooth,
        x=tooth.x + rng.uniform(-0.16, 0.16) * pitch,
        y=tooth.y + side * rng.uniform(0.12, 0.3) * tooth.half_height,
        half_width=tooth.half_width * rng.uniform(1.0, 1.25),
        angle_rad=tooth.angle_rad + side * rng.uniform(0.3, 0.6),
    )


def _outline(tooth: Tooth, rng: np.random.Generator, cut: bool) -> np.ndarray:
    """The crown as a superellipse, narrower at the neck; a cut one ends in a slanting, jagged break."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    u = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.55
    v = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.45
    u = u * (0.86 + 0.14 * v)
    if cut:
        slant = rng.uniform(0.25, 0.7) * rng.choice([-1, 1])
        break_line = rng.uniform(-0.35, -0.05) + slant * u + 0.1 * np.sign(np.sin(9 * u))
        v = np.minimum(v, break_line)
    return np.stack([u, v], axis=1)


def _blob(rng: np.random.Generator, u: float, v: float, radius_u: float, radius_v: float) -> np.ndarray:
    """An irregular closed outline in a tooth's local coordinates."""
    turn = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    wobble = 1 + rng.uniform(-0.2, 0.2, turn.size)
    return np.stack([u + radius_u * wobble * np.cos(turn), v + radius_v * wobble * np.sin(turn)], axis=1)


def _draw_gum(
    draw: ImageDraw.ImageDraw, teeth: list[Tooth], colour: Colour, width: int, height: int, level: float = -0.72
) -> None:
    """The jaw behind a row: from the row's necks to the edge of the image."""
    down = teeth[0].down
    border = [tooth.place(np.array([[0.0, level]]))[0] for tooth in sorted(teeth, key=lambda tooth: tooth.x)]
    edge_y = 0 if down > 0 else height
    draw.polygon(
        [(-width, edge_y), (-width, border[0][1]), *border, (2 * width, border[-1][1]), (2 * width, edge_y)],
        fill=colour,
    )


def _draw_gap(draw: ImageDraw.ImageDraw, tooth: Tooth, gum: Colour) -> None:
    """A healed, pale ridge where a tooth is missing: gum to a third of the crown's height, the dark mouth below it."""
    ridge = np.array([[-1.15, -1.1], [1.15, -1.1], [1.15, -0.5], [0.6, -0.3], [-0.6, -0.3], [-1.15, -0.5]])
    draw.polygon(tooth.place(ridge), fill=shade(gum, 1.04))


def _draw_crown(draw: ImageDraw.ImageDraw, rng: np.random.Generator, tooth: Tooth, sign: str | None, enamel: Colour) -> None:
    colour = jitter(rng, enamel, 4)
    if tooth.affected:  # decayed enamel browns, an inflamed pulp shines through in pink, worn teeth show dentine
        stain = {"Caries": (168, 128, 88), "Pulpitis": (240, 150, 160), "Tooth Structure Loss": (226, 190, 116)}[sign or ""]
        colour = mix(colour, stain, 0.6)
    cut = sign == "Tooth Structure Loss" and tooth.affected
    outline = _outline(tooth, rng, cut)
    draw.polygon(tooth.place(outline), fill=shade(colour, 0.68))
    draw.polygon(tooth.place(outline * np.array([0.93, 0.95])), fill=colour)
    if cut:  # yellow dentine along the break, and a wedge at the neck of the tooth
        lip = outline[outline[:, 1] > np.median(outline[:, 1])]
        lip = lip[np.argsort(lip[:, 0])]
        draw.line(tooth.place(lip - np.array([0, 0.1])), fill=(206, 158, 78), width=max(6, int(tooth.half_height * 0.17)))
        draw.polygon(tooth.place(np.array([[-0.95, -0.62], [0.2, -0.5], [-0.95, -0.36]])), fill=(150, 104, 58))
    else:
        shine = np.array([[-0.45, -0.5], [-0.2, -0.5], [-0.25, 0.5], [-0.5, 0.5]])
        draw.polygon(tooth.place(shine), fill=shade(colour, 1.06))
    if sign == "Caries" and tooth.affected:
        for side in (-1.0, 1.0):
            spot = _blob(
                rng,
                side * rng.uniform(0.5, 0.7),
                rng.uniform(-0.1, 0.6),
                rng.uniform(0.42, 0.56),
                rng.uniform(0.28, 0.4),
            )
            draw.polygon(tooth.place(spot), fill=jitter(rng, (84, 48, 20), 8))
            inner = spot.mean(axis=0) + 0.6 * (spot - spot.mean(axis=0))
            draw.polygon(tooth.place(inner), fill=(30, 20, 12))
    if sign == "Pulpitis" and tooth.affected:
        u, v = rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.25)
        for radius, glow in ((0.78, (170, 16, 40)), (0.52, (34, 4, 10)), (0.26, (240, 20, 44))):
            draw.polygon(tooth.place(_blob(rng, u, v, radius, radius * 0.78)), fill=glow)


def _draw_margin(draw: ImageDraw.ImageDraw, rng: np.random.Generator, teeth: list[Tooth], sign: str | None, gum: Colour) -> None:
    """The scalloped edge of the gum over the necks; swollen papillae and blood in gingivitis."""
    swollen = sign == "Gingivitis"
    for tooth in teeth:
        reach = -0.35 if swollen else -0.78
        for side in (-1.0, 1.0):
            draw.polygon(
                tooth.place(
                    np.array(
                        [
                            [side * 1.15, -1.3],
                            [side * 0.1, -1.15],
                            [side * 0.55, reach - 0.15],
                            [side * 1.1, reach + 0.35],
                        ]
                    )
                ),
                fill=gum,
            )
        if swollen:
            draw.polygon(tooth.place(_blob(rng, 0.0, -0.72, 1.0, 0.36)), fill=jitter(rng, gum, 7))
            if rng.random() < 0.65:
                drip = _blob(rng, rng.uniform(-0.8, 0.8), -0.2, 0.17, rng.uniform(0.25, 0.5))
                draw.polygon(tooth.place(drip), fill=(138, 6, 20))


def _draw_radiograph_tooth(draw: ImageDraw.ImageDraw, rng: np.random.Generator, tooth: Tooth, sign: str | None) -> None:
    struck = tooth.affected
    root = np.array([[-0.8, -0.8], [0.8, -0.8], [0.3, -2.9], [0.0, -3.1], [-0.3, -2.9]])
    draw.polygon(tooth.place(root), fill=grey(rng, 158, 6))
    outline = _outline(tooth, rng, sign == "Tooth Structure Loss" and struck)
    draw.polygon(tooth.place(outline), fill=grey(rng, 214, 8))
    dark = (58, 58, 58)
    draw.polygon(tooth.place(np.array([[-0.22, -0.4], [0.22, -0.4], [0.06, -2.8], [-0.06, -2.8]])), fill=dark)
    if sign == "Caries" and struck:
        for side in (-1.0, 1.0):
            draw.polygon(tooth.place(_blob(rng, side * 0.75, rng.uniform(-0.1, 0.5), 0.5, 0.42)), fill=(64, 64, 64))
    if sign == "Pulpitis" and struck:
        draw.polygon(tooth.place(_blob(rng, 0.0, 0.0, 0.68, 0.62)), fill=(8, 8, 8))
        draw.polygon(tooth.place(_blob(rng, 0.0, -2.2, 0.8, 0.5)), fill=(12, 12, 12))
