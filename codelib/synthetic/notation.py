"""Teeth as a clinic writes them: FDI numbers in, one of the written forms of formats A out.

    write_teeth(rng, ["16", "36", "37"])  ->  "[6][0][0][67]"  or  "16、36、37"

Only forms whose reading is certain are written, so that the FDI numbers of the truth file are the only right answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

QUADRANT_ZH = {1: "右上", 2: "左上", 3: "左下", 4: "右下"}
QUADRANT_EN = {1: "UR", 2: "UL", 3: "LL", 4: "LR"}
PERMANENT_ZH = ("中切牙", "侧切牙", "尖牙", "第一前磨牙", "第二前磨牙", "第一磨牙", "第二磨牙", "智齿")
PRIMARY_ZH = ("乳中切牙", "乳侧切牙", "乳尖牙", "第一乳磨牙", "第二乳磨牙")
ROMAN = "ⅠⅡⅢⅣⅤ"
# the corner of the Palmer cross points at the quadrant; right quadrants have the number before it, left ones behind it
CORNER = {1: "{}┘", 2: "└{}", 3: "┌{}", 4: "{}┐"}

RANGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("右上3-左上3", ("13", "12", "11", "21", "22", "23")),
    ("上颌3-3", ("13", "12", "11", "21", "22", "23")),
    ("13-23", ("13", "12", "11", "21", "22", "23")),
    ("下颌4-4", ("44", "43", "42", "41", "31", "32", "33", "34")),
    ("34-44", ("34", "33", "32", "31", "41", "42", "43", "44")),
)


def write_teeth(rng: np.random.Generator, fdi: Sequence[str]) -> str:
    """One written form of one or several teeth, permanent or primary, drawn among those that can carry them."""
    forms = [_fdi_list(fdi)]
    quadrants = {quadrant(tooth) for tooth in fdi}
    if len(fdi) == 1:
        forms += _single_forms(fdi[0])
    elif len(quadrants) == 1:
        forms += _same_quadrant_forms(fdi)
    if not any(is_primary(tooth) for tooth in fdi):
        forms += [bracket_slots(fdi)] * 2
    return forms[int(rng.integers(len(forms)))]


def bracket_slots(fdi: Sequence[str]) -> str:
    """The practice system's Palmer cross: upper right, upper left, lower right, lower left = quadrants 1, 2, 4, 3."""
    slots = ("".join(sorted(tooth[1] for tooth in fdi if quadrant(tooth) == slot)) or "0" for slot in (1, 2, 4, 3))
    return "".join(f"[{slot}]" for slot in slots)


def region(tooth: str) -> str:
    """The region a complaint would name: 左下后牙, 上前牙."""
    side = quadrant(tooth)
    if int(tooth[1]) <= 3:
        return "上前牙" if side in (1, 2) else "下前牙"
    return f"{QUADRANT_ZH[side]}后牙"


def quadrant(tooth: str) -> int:
    """1 to 4, for primary teeth too."""
    return (int(tooth[0]) - 1) % 4 + 1


def is_primary(tooth: str) -> bool:
    return tooth[0] in "5678"


def _fdi_list(fdi: Sequence[str]) -> str:
    return "、".join(fdi)


def _single_forms(tooth: str) -> list[str]:
    side, number = quadrant(tooth), int(tooth[1])
    name = QUADRANT_ZH[side]
    if is_primary(tooth):
        letter = "ABCDE"[number - 1]
        return [
            name + ROMAN[number - 1],
            name + letter,
            name + PRIMARY_ZH[number - 1],
            CORNER[side].format(letter),
            CORNER[side].format(ROMAN[number - 1]),
        ]
    return [
        f"#{tooth}",
        f"{name}{number}",
        name + PERMANENT_ZH[number - 1],
        CORNER[side].format(number),
        f"{QUADRANT_EN[side]}{number}",
    ]


def _same_quadrant_forms(fdi: Sequence[str]) -> list[str]:
    side = quadrant(fdi[0])
    name = QUADRANT_ZH[side]
    if all(is_primary(tooth) for tooth in fdi):
        letters = ["ABCDE"[int(tooth[1]) - 1] for tooth in fdi]
        return [name + "、".join(letters), CORNER[side].format("".join(letters))]
    return [name + "、".join(tooth[1] for tooth in fdi)]
