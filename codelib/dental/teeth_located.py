"""Teeth written with words: a place (side and arch) with digits, letters or a name; names and regions without a place.

digits : see `teeth_digits`    左下6、7, 右上3-左上3
names  : see `teeth_names`     左下第二乳磨牙, 四颗智齿, 左上第一、二磨牙, 上前牙
"""

from __future__ import annotations

from dataclasses import replace

from codelib.dental.teeth_cells import Item, Source, in_quadrants, quadrants_of
from codelib.dental.teeth_digits import digits
from codelib.dental.teeth_drawn import row
from codelib.dental.teeth_fdi import FDI, fdi_range
from codelib.dental.teeth_names import counted, names
from codelib.dental.teeth_places import Place, place, places_at


def located(src: Source, i: int) -> Item | None:
    """A place with teeth."""
    if _not_a_place(src, i) or (found := places_at(src, i)) is None:
        return None
    places = _carried(src, i, found[0])
    item = _located(src, places, found[1])
    if places[0] != found[0][0] and places[0].spelled and (item is None or item.status != "ok"):
        places, item = found[0], _located(src, *found)  # 左上6、下颌前牙: both sides of them
    if item is not None:
        src.said = ((places[-1].arches, places[-1].sides), item.stop)
    return item


def _carried(src: Source, i: int, places: list[Place]) -> list[Place]:
    """右上6、下6: 下 behind a tooth of the same list has the side of that tooth, 左 its arch."""
    joint = src.tokens[i - 1] if i else None
    if src.said is None or src.said[1] != i - 1 or joint is None or joint.kind != "SEP" or joint.value != "、":
        return places
    arches, sides = src.said[0]
    if len(places) != 1 or places[0].known or not (arches and sides):
        return places
    return [replace(places[0], arches=places[0].arches or arches, sides=places[0].sides or sides)]


def _located(src: Source, places: list[Place], stop: int) -> Item | None:
    quadrants = list(dict.fromkeys(q for p in places for q in p.quadrants))
    last_token = src.tokens[stop - 1]
    if last_token.kind == "SIDE" and last_token.text[-1] == "侧" and src.folded.startswith("切牙", last_token.end):
        return _lateral_incisor(places, quadrants, stop)
    for _ in range(2):
        stop = src.skip(stop, "POSITION", "SPACE")
    if (
        src.kind(stop) == "NAME"
        and src.tokens[stop].text == "牙"
        and src.kind(stop + 1) == "NUMBER"
        and not src.quantities[stop + 1]
    ):
        stop += 1  # 右上牙6
    if len(places) == 1 and places[0].arches in ("U", "L") and (drawn := _row_in_arch(src, stop, places[0].arches)):
        return drawn
    if src.kind(stop) == "QUADRANT" and all(p.known for p in places):
        return Item(stop + 1, [tooth for tooth in sorted(FDI) if int(tooth[0]) in quadrants], "region")
    item = names(src, stop, quadrants, all(p.known for p in places), any(p.arches for p in places), any(p.sides for p in places))
    if item is None:
        return digits(src, stop, places, quadrants, place)
    return _across_of_names(src, item, quadrants) or _range_of_names(src, item, quadrants)


def _range_of_names(src: Source, item: Item, quadrants: list[int]) -> Item:
    """右下尖牙至左下尖牙, 右上第一前磨牙至第二磨牙: a range whose ends are names; any other item as it is."""
    dash = src.skip(item.stop, "SPACE")
    if item.status != "ok" or len(item.fdi) != 1 or item.prefix or src.kind(dash) != "RANGE":
        return item
    at = src.skip(src.skip(dash + 1, "RANGE"), "SPACE")
    where = place(src, at) if at < len(src.tokens) and src.kind(at) in ("SIDE", "ARCH") else None
    if where is None:
        far = names(src, at, quadrants, known=True) if at < len(src.tokens) else None
    elif where.known:
        far = names(src, src.skip(where.stop, "POSITION"), where.quadrants, known=True)
    else:
        return item
    if far is None or far.status != "ok" or len(far.fdi) != 1 or far.prefix:
        return item
    numbers = fdi_range(item.fdi[0], far.fdi[0])
    return Item(far.stop, numbers or [], "ok" if numbers else "ambiguous")


def _across_of_names(src: Source, item: Item, quadrants: list[int]) -> Item | None:
    """上颌双侧尖牙至尖牙, 双侧下颌尖牙间: one name at both ends of an arch."""
    dash = src.skip(item.stop, "SPACE")
    if item.status != "ok" or len(item.fdi) != 2 or len(quadrants) != 2 or item.prefix or src.kind(dash) != "RANGE":
        return None
    at = src.skip(dash + 1, "SPACE")
    far = names(src, at, quadrants, known=True) if at < len(src.tokens) else None
    numbers = fdi_range(item.fdi[0], item.fdi[1]) if far and far.fdi == item.fdi else None
    return Item(far.stop, numbers, "ok") if far and numbers else None


def _row_in_arch(src: Source, i: int, arch: str) -> Item | None:
    """上颌 76|67: a row of a cross whose arch is said."""
    found = row(src, i)
    if found is None or not (found[0] or found[1]):
        return None
    right, left = (in_quadrants(quadrants_of(arch, side), part) for side, part in zip("RL", found[:2], strict=True))
    return Item(found[2], [], "reject") if right is None or left is None else Item(found[2], right + left, "ok")


def quadrant(src: Source, i: int) -> Item | None:
    """第一象限: a quadrant by its number, 5 to 8 those of the primary teeth."""
    if src.kind(i) != "ORDINAL" or src.kind(i + 1) not in ("CHINESE_DIGIT", "NUMBER") or src.kind(i + 2) != "QUADRANT":
        return None
    number = src.tokens[i + 1].value or int(src.tokens[i + 1].text[:2])
    teeth = [tooth for tooth in sorted(FDI) if tooth[0] == str(number)]
    return Item(i + 3, teeth, "region" if teeth else "reject")


def _lateral_incisor(places: list[Place], quadrants: list[int], stop: int) -> Item:
    numbers = in_quadrants(quadrants, [(2, False)]) or []
    return Item(stop + 1, numbers, "ok" if all(p.known for p in places) else "ambiguous")


def _not_a_place(src: Source, i: int) -> bool:
    """以上, 100左右, 晚上: a character of place inside another word."""
    token = src.tokens[i]
    before = src.folded[token.start - 1] if token.start else ""
    if token.text == "左右":
        return before.isdigit() or before in tuple("岁年月天次个mM%")
    return token.kind == "ARCH" and len(token.text) == 1 and before in tuple("以一如之晚早桌线网马路楼")


def named(src: Source, i: int) -> Item | None:
    """A name without a place, or with it behind a count: 四颗智齿, 两颗下颌智齿 (ok), 六龄齿 (ambiguous), 后牙 (region)."""
    if src.kind(i + 1) == "MEASURE" and src.kind(i + 2) in ("SIDE", "ARCH") and (where := place(src, i + 2)):
        stop = src.skip(where.stop, "POSITION")
        return names(src, stop, where.quadrants, where.known, bool(where.arches), bool(where.sides), counted(src, i))
    every = src.skip(i + 1, "MEASURE")
    if src.kind(every) == "QUADRANT" and src.kind(i) in ("NUMBER", "CHINESE_DIGIT") and counted(src, i) == 4:
        return names(src, every + 1, [1, 2, 3, 4], known=True)  # 四个象限第一磨牙
    item = names(src, i, [1, 2, 3, 4], known=False)
    return _placed_behind(src, i, item) if item and item.status == "ambiguous" else item


def _placed_behind(src: Source, i: int, item: Item) -> Item:
    """第一磨牙（右上）: the place of a name in brackets right behind it; the item as it is where none stands there."""
    at = src.skip(item.stop, "SPACE")
    if at + 1 >= len(src.tokens) or src.tokens[at].text not in ("(", "["):
        return item
    found = places_at(src, at + 1)
    closes = found is not None and found[1] < len(src.tokens) and src.tokens[found[1]].text in (")", "]")
    if found is None or not closes or not all(p.known for p in found[0]):
        return item
    placed = names(src, i, list(dict.fromkeys(q for p in found[0] for q in p.quadrants)), known=True)
    if placed is None or placed.status != "ok":
        return item
    placed.stop = found[1] + 1
    return placed
