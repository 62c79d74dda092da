"""Teeth and regions by their names.

names = [count] [adjective] name { separator name }      第二乳磨牙, 四颗智齿, 第一、二磨牙, 前牙
count = number measure                                   上颌两个4
"""

from __future__ import annotations

from codelib.dental.teeth_cells import Element, Item, Source, in_quadrants
from codelib.dental.teeth_fdi import ARCHES
from codelib.dental.teeth_guards import finding_at
from codelib.dental.teeth_words import Name


def counted(src: Source, i: int) -> int | None:
    """The number of a count such as 四颗 or 2个 at token i."""
    token = src.tokens[i]
    return token.value or (int(token.text) if len(token.text) == 1 else None)


def names(
    src: Source, i: int, quadrants: list[int], known: bool, arch: bool = False, side: bool = False, count: int | None = None
) -> Item | None:
    """Names from token i of teeth in ``quadrants``. ``known``: side and arch were said; ``arch``, ``side``: that one was."""
    start = i
    if src.kind(i) in ("NUMBER", "CHINESE_DIGIT") and src.kind(i + 1) == "MEASURE":
        count = counted(src, i)
        i += 2
    prefix = ""
    if src.kind(i) == "ADJECTIVE":
        prefix = src.tokens[i].text
        i = src.skip(i + 1, "POSITION")
    found: list[Name] = []
    stop = i
    while len(found) < 8 and (new := _name(src, stop if not found else _after_separator(src, stop))):  # 第一磨牙、第二磨牙
        if found and not (known or arch or side) and found[0].exact != new[0][0].exact:
            break  # 六龄齿、前牙: a tooth, and a region
        found += new[0]
        stop = new[1]
    if not found and i > start and not prefix:
        return _counted_digit(src, i, quadrants, count)
    if not found or (prefix and start == i):
        return None
    elements: list[Element] = [(digit, name.primary) for name in found for digit in name.digits]
    if any(digit > 8 or digit == 0 for digit, _ in elements):
        return Item(stop, [], "reject")
    if not all(name.exact for name in found):
        if count is not None and len(found[0].digits) == 8:
            return None  # 左下2颗牙: a count
        return _region(stop, found, quadrants, known, arch, side)
    numbers = in_quadrants(quadrants, elements)
    if numbers is None:
        return Item(stop, [], "reject")
    certain = known or (count == len(quadrants) and len(found) == 1)
    return Item(stop, numbers, "ok" if certain else "ambiguous", prefix if certain else "")


def _after_separator(src: Source, i: int) -> int:
    return i + 1 if src.kind(i) == "SEP" else len(src.tokens)


def _region(stop: int, found: list[Name], quadrants: list[int], known: bool, arch: bool, side: bool) -> Item | None:
    group = found[0]
    whole_quadrant = len(group.digits) > 4 and not group.with_arch
    if not (known or group.alone or ((arch or side) and not whole_quadrant)):
        return None
    numbers = set(in_quadrants(quadrants, [(d, name.primary) for name in found for d in name.digits]) or [])
    if len(quadrants) == 1:
        return Item(stop, sorted(numbers), "region")
    return Item(stop, [n for line in ARCHES for n in line if n in numbers], "region")  # as one walks along the arch


def _name(src: Source, i: int) -> tuple[list[Name], int] | None:
    """中切牙, 第一磨牙, 第一、二磨牙, 第二乳磨牙, 乳第二磨牙."""
    primary = src.kind(i) == "PRIMARY"
    i = src.skip(i, "PRIMARY", "PERMANENT")
    if src.kind(i) == "NAME":
        return [src.tokens[i].value], i + 1
    ordinals: list[int] = []
    at = i
    while src.kind(at) == "ORDINAL" or (ordinals and src.kind(at) in ("CHINESE_DIGIT", "NUMBER")):
        at = src.skip(at, "ORDINAL")
        token = src.tokens[at] if at < len(src.tokens) else None
        if token is None or token.kind not in ("CHINESE_DIGIT", "NUMBER") or len(token.text) != 1 or len(ordinals) > 3:
            return None
        ordinals.append(token.value or int(token.text))
        at += 1
        if src.kind(at) == "SEP" and src.kind(at + 1) in ("ORDINAL", "CHINESE_DIGIT", "NUMBER"):
            at += 1
    primary |= src.kind(at) == "PRIMARY"
    at = src.skip(at, "PRIMARY", "PERMANENT")
    group = src.tokens[at].value if src.kind(at) == "NAME" else None
    if not ordinals or group is None or group.ordinal_base is None:
        return None
    primary |= group.primary
    base = 3 if primary else group.ordinal_base
    limit = 2 if primary or group.ordinal_base == 3 else 3
    return [Name((base + n if 1 <= n <= limit else 9,), primary) for n in ordinals], at + 1


def _counted_digit(src: Source, i: int, quadrants: list[int], count: int | None) -> Item | None:
    """The digit at token i behind a count that is that of its quadrants: 四个4拔除, 上颌两个4."""
    if count != len(quadrants) or count < 2 or src.kind(i) != "NUMBER" or src.tokens[i].text not in tuple("12345678"):
        return None
    end = src.tokens[i].end
    ends = end == len(src.folded) or src.folded[end] in tuple("，。；、;,) \n拔减均都")
    if src.quantities[i] or src.kind(i + 1) == "RANGE" or not (ends or finding_at(src.folded, end)):
        return None
    return Item(i + 1, in_quadrants(quadrants, [(int(src.tokens[i].text), False)]) or [], "ok")
