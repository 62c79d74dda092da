"""Side and arch: 右上, 上右, 右侧上颌, 双侧下颌, UR, upper right; several that share what follows: 左上、左下6, 右上、下智齿."""

from __future__ import annotations

from dataclasses import dataclass, replace

from codelib.dental.teeth_cells import Source, letters_element, quadrants_of

_MAX_PLACES = 4
_MAX_WORDS = 4  # of one place: 右上颌, 上颌右侧
_ENGLISH = {"UR": ("U", "R"), "UL": ("U", "L"), "LL": ("L", "L"), "LR": ("L", "R")}


@dataclass(frozen=True)
class Place:
    arches: str  # "U", "L", "UL"; "" unknown
    sides: str  # "R", "L", "RL"; "" unknown
    stop: int
    spelled: bool  # 上颌 or 左侧 rather than a bare 上 or 左
    first_element: str = ""  # the letters of URE after UR

    @property
    def quadrants(self) -> list[int]:
        return quadrants_of(self.arches, self.sides)

    @property
    def known(self) -> bool:
        return bool(self.arches and self.sides)


def place(src: Source, i: int) -> Place | None:
    if src.kind(i) == "LETTERS":
        return _english(src, i)
    arches = sides = ""
    spelled = False
    stop = i
    for _ in range(_MAX_WORDS):
        if src.kind(stop) not in ("SIDE", "ARCH"):
            break
        token = src.tokens[stop]
        if token.kind == "SIDE":
            if sides:
                break
            sides = token.value
            lateral = token.text[-1] == "侧" and src.folded.startswith("切牙", token.end)  # 右上侧切牙 and 右侧切牙
            spelled |= len(token.text) > 1 and not lateral
        else:
            if arches and not (arches == token.value and len(token.text) > 1):
                break
            arches = token.value
            spelled |= len(token.text) > 1
        stop += 1
        if src.kind(stop) == "SPACE" and src.kind(stop + 1) in ("SIDE", "ARCH"):
            stop += 1
    if stop == i:
        return None
    if (
        src.kind(stop) == "OTHER" and src.tokens[stop].text in ("颌", "方", "边", "部") and (arches and sides)
    ):  # 上右颌, 右上方第二磨牙
        stop += 1
    return Place(arches, sides, stop, spelled)


def _english(src: Source, i: int) -> Place | None:
    text = src.tokens[i].text
    if text in ("ur", "ul", "ll", "lr") and src.kind(i + 1) == "NUMBER":
        text = text.upper()
    if text[:2] not in _ENGLISH or src.glued(i):
        return None
    arch, side = _ENGLISH[text[:2]]
    rest = text[2:]
    if rest and letters_element(rest) is None:
        return None
    if not rest and src.kind(src.skip(i + 1, "SPACE")) != "NUMBER" and src.kind(i + 2) != "LETTERS":
        return None
    return Place(arch, side, i + 1, True, rest)


def places_at(src: Source, i: int) -> tuple[list[Place], int] | None:
    """One place, or several joined by separators that share what follows: 左上、左下6, 右上、下智齿."""
    first = place(src, i)
    if first is None:
        return None
    found = [first]
    while len(found) < _MAX_PLACES and src.kind(found[-1].stop) == "SEP" and not found[-1].first_element:
        after = place(src, found[-1].stop + 1)
        if after is None:
            break
        last = found[-1]
        found.append(
            Place(after.arches or last.arches, after.sides or last.sides, after.stop, after.spelled, after.first_element)
        )
    arch = found[-1].arches
    if arch and not any(p.arches for p in found[:-1]):  # 左、右上6
        found = [replace(p, arches=arch) for p in found]
    return found, found[-1].stop
