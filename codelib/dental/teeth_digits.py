"""The digits behind a place: they take their quadrants from it.

digits = ["乳"] element { separator element | range element | element }     左下6、7  右上6 7 8  右下四五  左上ⅤⅣ
range  = … range (element | place element | fdi)                            左下4-6  右上3-左上3  右上3-23  上颌3-3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codelib.dental.teeth_cells import (
    Element,
    Item,
    Source,
    between,
    element,
    in_quadrants,
    is_monotone,
    letters_element,
    quadrants_of,
)
from codelib.dental.teeth_fdi import FDI, fdi_number, fdi_range
from codelib.dental.teeth_guards import finding_at, grade_follows, unit_follows
from codelib.dental.teeth_places import Place

_FINDING_AFTER = frozenset("缺龋残叩松阻拔伸折倾楔")
_BOUNDARY = frozenset("。；;，,、：:!！?？()（）[]+-~/\n \t")
_NUMBER_ENDS = _BOUNDARY | _FINDING_AFTER | frozenset("牙号#")
_MAX_RUN = 8
_MAX_ELEMENTS = 40

PlaceRule = Callable[[Source, int], Place | None]


def digits(src: Source, i: int, places: list[Place], quadrants: list[int], place: PlaceRule) -> Item | None:
    """The teeth that stand from token i behind ``places``; ``place`` reads the far end of a range across the midline."""
    known = all(p.known for p in places)
    told = places[0].spelled or places[0].sides or _is_midline_range(src, i)
    if not known and not told and not (src.kind(i) == "NUMBER" and finding_at(src.folded, src.tokens[i].end)):  # 下7松动
        return None
    i = src.skip(i, "ORDINAL", "PRIMARY")
    primary = src.kind(i - 1) == "PRIMARY"
    if src.kind(i - 1) == "ORDINAL" and src.kind(i) == "SPACE":  # 第 6 牙
        i += 1
    first = _first_element(src, i, places[-1], quadrants)
    if first is None:
        return None
    if first.status:
        return Item(first.stop, list(first.fdi), first.status)
    if src.kind(first.stop) == "NAME" and src.tokens[first.stop].text == "乳牙":  # 左下第4乳牙
        primary, first.stop = True, first.stop + 1
    elements, fdi, stop = _as_primary(first.elements, primary), list(first.fdi), first.stop
    if not fdi:
        numbers = in_quadrants(quadrants, elements)
        if numbers is None:
            return Item(stop, [], "reject")
        fdi = numbers
    if not known and (item := _across_midline(src, stop, places, elements)):
        return item
    for _ in range(_MAX_ELEMENTS):
        step = _next_element(src, stop, elements, quadrants, primary)
        if step is None:
            break
        more, elements, stop = step
        fdi += more
    if not known:
        return Item(stop, list(dict.fromkeys(fdi)), "ambiguous")  # 上颌6, 右侧6、7 do not say which tooth
    dash = src.skip(stop, "SPACE")
    if len(quadrants) == 1 and src.kind(dash) == "RANGE" and (across := across_from(src, dash + 1, fdi[-1], place)) is not None:
        return Item(across[1], fdi[:-1] + across[0], "ok") if across[0] else Item(across[1], [], "ambiguous")
    if src.kind(stop) in ("HASH", "TOOTH_NO"):
        stop += 1
    return Item(stop, list(dict.fromkeys(fdi)), "ok", quadrant=quadrants[0] if len(quadrants) == 1 else 0)


def _as_primary(elements: list[Element], primary: bool) -> list[Element]:
    return [(digit, True) for digit, _ in elements] if primary else elements


@dataclass
class _First:
    elements: list[Element]
    stop: int
    fdi: Sequence[str] = ()
    status: str | None = None


def _first_element(src: Source, i: int, place: Place, quadrants: list[int]) -> _First | None:
    if place.first_element:
        return _First(letters_element(place.first_element) or [], i)
    token = src.tokens[i] if i < len(src.tokens) else None
    if token is None or _guarded(src, i):
        return None
    if token.kind == "QUANTITY":  # 左下6.7, 左下2/3: two teeth, a decimal or a fraction
        pair = len(token.text) == 3 and token.text[0] in "12345678" and token.text[2] in "12345678" and token.text[1] in "./"
        return _First([], i + 1, (), "ambiguous") if pair else None
    if token.kind == "NUMBER" and token.text in FDI:
        number = [int(token.text[0]), int(token.text[1])]
        if number[0] in quadrants or number[0] - 4 in quadrants:
            return _First([(number[1], number[0] > 4)], i + 1, [token.text])
        if abs(number[0] - number[1]) != 1:  # 右上36: tooth 36, or 13 and 16
            return _First([], i + 1, (), "ambiguous")
    ninth = token.kind == "NUMBER" and len(token.text) <= 2 and not {"0", "9"}.isdisjoint(token.text)
    if ninth or (token.kind == "LETTERS" and token.text == "F"):
        ends = token.end == len(src.folded) or src.folded[token.end] in _NUMBER_ENDS
        return _First([], i + 1, (), "reject") if ends else None
    found = _element(src, i)
    return _First(found[0], found[1]) if found else None


def _element(src: Source, i: int) -> tuple[list[Element], int] | None:
    """One element in running text and the index after it; more has to be ruled out here than inside a bracket."""
    if i >= len(src.tokens) or _guarded(src, i):
        return None
    token = src.tokens[i]
    if token.kind == "CHINESE_DIGIT":
        return _chinese(src, i)
    small = token.kind == "LETTERS" and len(token.text) <= 5
    if small and (set(token.text) <= set("abcde") or token.text in ("i", "ii", "iii", "iv", "v")):
        token = token._replace(text=token.text.upper())
    if token.kind == "LETTERS" and src.kind(i + 1) == "NUMBER":
        return None  # A2 is a shade
    elements = element(token)
    if elements and len(elements) > 1 and not is_monotone([digit for digit, _ in elements]):
        return None
    return (elements, i + 1) if elements else None


def _chinese(src: Source, i: int) -> tuple[list[Element], int] | None:
    """六, 四五六七: Chinese digits are teeth only where a separator, an end, 牙 or a finding follows: 左下一直疼 has none."""
    elements: list[Element] = []
    while src.kind(i) == "CHINESE_DIGIT" and src.tokens[i].text != "两" and len(elements) < _MAX_RUN:
        elements.append((src.tokens[i].value, False))
        i += 1
    end = src.tokens[i - 1].end
    after = src.folded[end : end + 1]
    certain = not after or after in _BOUNDARY or after in "牙齿" or after in _FINDING_AFTER or src.kind(i) in ("TOOTH_NO", "SEP")
    in_order = len(elements) < 2 or is_monotone([digit for digit, _ in elements])
    return (elements, i) if elements and certain and in_order and not unit_follows(src.folded, end) else None


def _guarded(src: Source, i: int) -> bool:
    token = src.tokens[i]
    if token.kind in ("NUMBER", "QUANTITY", "CHINESE_DIGIT", "CIRCLED"):
        after = src.folded[token.end : token.end + 2]
        if src.kind(i + 1) == "TOOTH_NO":
            return False
        numbers_item = after[:1] == "." and not after[1:].isdigit() and i > 0 and src.tokens[i - 1].text == ","  # 左下6，2.洁治
        return src.quantities[i] or unit_follows(src.folded, token.end) or numbers_item
    return token.kind in ("ROMAN", "LETTERS") and grade_follows(src.folded, token.end)


def _next_element(
    src: Source, i: int, elements: list[Element], quadrants: list[int], primary: bool
) -> tuple[list[str], list[Element], int] | None:
    """One more element of a list or range after token i: (its FDI numbers, the elements, the index after it)."""
    j = src.skip(i, "SPACE")
    joint = src.kind(j)
    if joint in ("SEP", "RANGE"):
        k = _after_joint(src, j)
    elif joint in ("ROMAN", "CIRCLED") or (joint == "NUMBER" and j > i and len(src.tokens[j].text) == 1):
        k = j  # 左上ⅤⅣ, 右上7 6 5
    else:
        return None
    if src.kind(k) == "NUMBER" and src.tokens[k].text in FDI:
        return None  # an FDI number of its own
    if src.kind(k) in ("NUMBER", "CHINESE_DIGIT") and src.kind(k + 1) == "MEASURE":
        return None
    found = _element(src, k)
    if found is None:
        return None
    after = _as_primary(found[0], primary or src.kind(k - 1) == "PRIMARY")
    new = after
    if joint == "RANGE":
        spread = between(elements[-1], after[0])
        if spread is None:
            return None
        new = spread[1:] + after[1:]
    numbers = in_quadrants(quadrants, new)
    return None if numbers is None else (numbers, after, found[1])


def _after_joint(src: Source, j: int) -> int:
    """Where the element behind a separator or range sign begins; a list may go on in the next line (6、<line end>7)."""
    k = j + 1
    if src.kind(j) == "SEP" and src.tokens[j].value == "、" and src.kind(k) == "NEWLINE":
        number = src.tokens[k + 1] if k + 1 < len(src.tokens) else None
        is_item = number is None or src.folded[number.end : number.end + 1] in tuple(".、)）")
        return j if is_item else k + 1
    k = src.skip(k, "SPACE")
    return src.skip(src.skip(k, "ORDINAL", "RANGE" if src.kind(j) == "RANGE" else "ORDINAL"), "PRIMARY")


def across_from(src: Source, i: int, first: str, place: PlaceRule) -> tuple[list[str], int] | None:
    """The far end of a range with a place or FDI number of its own: …-左上3, …-23, 下颌右4-左4. An empty list: they share no arch."""
    i = src.skip(src.skip(i, "RANGE"), "SPACE")
    if src.kind(i) == "NUMBER" and src.tokens[i].text in FDI:
        if src.quantities[i]:
            return None
        return fdi_range(first, src.tokens[i].text) or [], i + 1
    end = place(src, i) if i < len(src.tokens) else None
    if end is None or len(end.sides) != 1:
        return None
    arch = end.arches or ("U" if first[0] in "1256" else "L")
    if len(arch) != 1:
        return None
    quadrant = quadrants_of(arch, end.sides)[0]
    at = src.skip(end.stop, "SPACE")
    at = src.skip(at, "PRIMARY")
    far = (letters_element(end.first_element) or [], at) if end.first_element else _element(src, at)
    if not far or len(far[0]) != 1:
        return None
    (digit, primary), stop = far[0][0], far[1]
    last = fdi_number(quadrant, digit, primary or src.kind(at - 1) == "PRIMARY")
    return (fdi_range(first, last) or [] if last else []), stop


def _is_midline_range(src: Source, i: int) -> bool:
    token = src.tokens[i] if i < len(src.tokens) else None
    return bool(token and src.kind(i + 1) == "RANGE" and src.kind(i + 2) == token.kind and src.tokens[i + 2].text == token.text)


def _across_midline(src: Source, stop: int, places: list[Place], elements: list[Element]) -> Item | None:
    """上颌3-3: the arch across the midline; any other range of a place without a quadrant is ambiguous."""
    dash = src.skip(stop, "SPACE")
    if src.kind(dash) == "RANGE":
        end = _element(src, src.skip(src.skip(dash + 1, "RANGE"), "SPACE"))
        if end and len(elements) == len(end[0]) == 1:
            one_place = len(places) == 1 and places[0].arches and not places[0].sides
            if not one_place or end[0] != elements:
                return Item(end[1], [], "ambiguous")
            return Item(end[1], [tooth for arch in places[0].arches for tooth in _across_arch(arch, elements[0])], "ok")
    return None


def _across_arch(arch: str, end: Element) -> list[str]:
    right, left = (1, 2) if arch == "U" else (4, 3)
    return fdi_range(fdi_number(right, *end) or "", fdi_number(left, *end) or "") or []
