"""Teeth written with words: a place (side and arch) with digits, letters or a name; names and regions without a place.

place  = {side | arch}  in any order: 右上, 上右, 右侧上颌, 双侧下颌, UR
digits = element { separator element | range element }        the place distributes over the list: 左下6、7
names  : see `teeth_names`                                    左下第二乳磨牙, 四颗智齿, 左上第一、二磨牙, 上前牙
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codelib.data import teeth_lexer as lexer
from codelib.data.teeth_cells import (
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
from codelib.data.teeth_fdi import FDI, fdi_number, fdi_range
from codelib.data.teeth_names import counted, names

_MAX_PLACES = 4
_ENGLISH = {"UR": ("U", "R"), "UL": ("U", "L"), "LL": ("L", "L"), "LR": ("L", "R")}
_BOUNDARY = frozenset("。；;，,、：:!！?？()（）[]+-~/\n \t")


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
    while src.kind(stop) in ("SIDE", "ARCH"):
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
    if src.kind(stop) == "OTHER" and src.tokens[stop].text == "颌":  # 上右颌
        stop += 1
    return Place(arches, sides, stop, spelled)


def _english(src: Source, i: int) -> Place | None:
    text = src.tokens[i].text
    if text[:2] not in _ENGLISH or src.glued(i):
        return None
    arch, side = _ENGLISH[text[:2]]
    rest = text[2:]
    if rest and letters_element(rest) is None:
        return None
    if not rest and src.kind(src.skip(i + 1, "SPACE")) != "NUMBER" and src.kind(i + 2) != "LETTERS":
        return None
    return Place(arch, side, i + 1, True, rest)


def _places(src: Source, i: int) -> tuple[list[Place], int] | None:
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
    return found, found[-1].stop


def located(src: Source, i: int) -> Item | None:
    """A place with teeth."""
    if _not_a_place(src, i) or (found := _places(src, i)) is None:
        return None
    places, stop = found
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
    item = names(src, stop, quadrants, all(p.known for p in places), any(p.arches for p in places), any(p.sides for p in places))
    return item or _digits(src, stop, places, quadrants)


def _lateral_incisor(places: list[Place], quadrants: list[int], stop: int) -> Item:
    numbers = in_quadrants(quadrants, [(2, False)]) or []
    return Item(stop + 1, numbers, "ok" if all(p.known for p in places) else "ambiguous")


def _not_a_place(src: Source, i: int) -> bool:
    """以上, 100左右, 晚上: a character of place inside another word."""
    token = src.tokens[i]
    before = src.folded[token.start - 1] if token.start else ""
    if token.text == "左右":
        return before.isdigit() or before in "岁年月天次个mM%"
    return token.kind == "ARCH" and len(token.text) == 1 and before in tuple("以一如之晚早桌线网马路楼")


def named(src: Source, i: int) -> Item | None:
    """A name without a place, or with it behind a count: 四颗智齿, 两颗下颌智齿 (ok), 六龄齿 (ambiguous), 后牙 (region)."""
    if src.kind(i + 1) == "MEASURE" and src.kind(i + 2) in ("SIDE", "ARCH") and (where := place(src, i + 2)):
        stop = src.skip(where.stop, "POSITION")
        return names(src, stop, where.quadrants, where.known, bool(where.arches), bool(where.sides), counted(src, i))
    return names(src, i, [1, 2, 3, 4], known=False)


# --- digits --------------------------------------------------------------------------------------------------------------------


def _digits(src: Source, i: int, places: list[Place], quadrants: list[int]) -> Item | None:
    known = all(p.known for p in places)
    if not known and not (places[0].spelled or places[0].sides or _is_midline_range(src, i)):
        return None
    primary = src.kind(i) == "PRIMARY"
    i = src.skip(i, "ORDINAL", "PRIMARY")
    single = quadrants[0] if len(quadrants) == 1 else 0
    if places[-1].first_element:
        first: _First | None = _First(letters_element(places[-1].first_element) or [], i)
    else:
        first = _first_element(src, i, quadrants)
    if first is None:
        return None
    if first.status:
        return Item(first.stop, list(first.fdi), first.status)
    elements, fdi, stop = first.elements, list(first.fdi), first.stop
    if primary:
        elements = [(digit, True) for digit, _ in elements]
    if not fdi:
        numbers = in_quadrants(quadrants, elements)
        if numbers is None:
            return Item(stop, [], "reject")
        fdi = numbers
    if not known:
        return _arch_or_side_only(src, stop, places, quadrants, elements, fdi)
    while (step := _next_element(src, stop, elements, quadrants, primary)) is not None:
        more, elements, stop = step
        fdi += more
    dash = src.skip(stop, "SPACE")
    if single and src.kind(dash) == "RANGE" and (across := _across(src, dash + 1, fdi[-1])) is not None:
        return Item(across[1], fdi[:-1] + across[0], "ok") if across[0] else Item(across[1], [], "ambiguous")
    if src.kind(stop) == "HASH" or src.kind(stop) == "TOOTH_NO":
        stop += 1
    return Item(stop, list(dict.fromkeys(fdi)), "ok")


@dataclass
class _First:
    elements: list[Element]
    stop: int
    fdi: Sequence[str] = ()
    status: str | None = None


def _first_element(src: Source, i: int, quadrants: list[int]) -> _First | None:
    token = src.tokens[i] if i < len(src.tokens) else None
    if token is None or _guarded(src, i):
        return None
    if token.kind == "QUANTITY":  # 左下6.7, 左下2/3: two teeth, a decimal or a fraction
        pair = len(token.text) == 3 and token.text[0] in "12345678" and token.text[2] in "12345678" and token.text[1] in "./"
        return _First([], i + 1, (), "ambiguous") if pair else None
    if token.kind == "NUMBER" and token.text in FDI:
        digits = [int(token.text[0]), int(token.text[1])]
        if digits[0] in quadrants or digits[0] - 4 in quadrants:
            return _First([(digits[1], digits[0] > 4)], i + 1, [token.text])
        if abs(digits[0] - digits[1]) != 1:  # 右上36: tooth 36, or 13 and 16
            return _First([], i + 1, (), "ambiguous")
    if token.kind == "NUMBER" and token.text in ("0", "9"):
        ends = token.end == len(src.folded) or src.folded[token.end] in _BOUNDARY or src.folded[token.end] in "牙号#"
        return _First([], i + 1, (), "reject") if ends else None
    elements = _element(src, i)
    return _First(elements, i + 1) if elements else None


def _element(src: Source, i: int) -> list[Element] | None:
    """The digits or letters of one element in running text, where more has to be ruled out than inside a bracket."""
    if i >= len(src.tokens) or _guarded(src, i):
        return None
    token = src.tokens[i]
    if token.kind == "CHINESE_DIGIT":
        end = src.skip(i + 1, "TOOTH_NO")
        after = src.folded[token.end : token.end + 1]
        certain = not after or after in _BOUNDARY or after in "牙齿" or end != i + 1 or src.kind(i + 1) == "SEP"
        return [(token.value, False)] if certain and token.text != "两" else None
    if token.kind == "LETTERS" and token.text in ("a", "b", "c", "d", "e"):
        token = token._replace(text=token.text.upper())
    if token.kind == "LETTERS" and src.kind(i + 1) == "NUMBER":
        return None  # A2 is a shade
    elements = element(token)
    if elements and len(elements) > 1 and not is_monotone([digit for digit, _ in elements]):
        return None
    return elements


def _guarded(src: Source, i: int) -> bool:
    token = src.tokens[i]
    if token.kind in ("NUMBER", "QUANTITY", "CHINESE_DIGIT", "CIRCLED"):
        after = src.folded[token.end : token.end + 2]
        if src.kind(i + 1) == "TOOTH_NO":
            return False
        numbers_item = after[:1] == "." and not after[1:].isdigit() and i > 0 and src.tokens[i - 1].text == ","  # 左下6，2.洁治
        return src.quantities[i] or lexer.unit_follows(src.folded, token.end) or numbers_item
    return token.kind in ("ROMAN", "LETTERS") and lexer.grade_follows(src.folded, token.end)


def _next_element(
    src: Source, i: int, elements: list[Element], quadrants: list[int], primary: bool
) -> tuple[list[str], list[Element], int] | None:
    """One more element of a list or range after token i: (its FDI numbers, the elements, the index after it)."""
    j = src.skip(i, "SPACE")
    joint = src.kind(j)
    if joint in ("SEP", "RANGE"):
        k = src.skip(src.skip(j + 1, "SPACE"), "ORDINAL", joint if joint == "RANGE" else "ORDINAL")
    elif joint in ("ROMAN", "CIRCLED") or (joint == "NUMBER" and j > i and len(src.tokens[j].text) == 1):
        k = j  # 左上ⅤⅣ, 右上7 6 5
    else:
        return None
    if src.kind(k) == "NUMBER" and src.tokens[k].text in FDI:
        return None  # an FDI number of its own
    if src.kind(k) in ("NUMBER", "CHINESE_DIGIT") and src.kind(k + 1) == "MEASURE":
        return None
    after = _element(src, k)
    if after is None:
        return None
    if primary:
        after = [(digit, True) for digit, _ in after]
    new = after
    if joint == "RANGE":
        spread = between(elements[-1], after[0])
        if spread is None:
            return None
        new = spread[1:] + after[1:]
    numbers = in_quadrants(quadrants, new)
    return None if numbers is None else (numbers, after, k + 1)


def _across(src: Source, i: int, first: str) -> tuple[list[str], int] | None:
    """The far end of a range with a place or FDI number of its own: …-左上3, …-23. An empty list: the ends share no arch."""
    i = src.skip(src.skip(i, "RANGE"), "SPACE")
    if src.kind(i) == "NUMBER" and src.tokens[i].text in FDI:
        if src.quantities[i]:
            return None
        return fdi_range(first, src.tokens[i].text) or [], i + 1
    end = place(src, i) if i < len(src.tokens) else None
    if end is None or not end.known or len(end.quadrants) > 1:
        return None
    at = src.skip(end.stop, "SPACE")
    elements = letters_element(end.first_element) if end.first_element else _element(src, at)
    if not elements or len(elements) > 1:
        return None
    last = fdi_number(end.quadrants[0], *elements[0])
    return (fdi_range(first, last) or [] if last else []), at if end.first_element else at + 1


def _is_midline_range(src: Source, i: int) -> bool:
    token = src.tokens[i] if i < len(src.tokens) else None
    return bool(token and src.kind(i + 1) == "RANGE" and src.kind(i + 2) == token.kind and src.tokens[i + 2].text == token.text)


def _arch_or_side_only(
    src: Source, stop: int, places: list[Place], quadrants: list[int], elements: list[Element], fdi: list[str]
) -> Item | None:
    """上颌3-3 is the arch across the midline; 上颌6 and 右侧6 do not say which tooth."""
    if src.kind(stop) == "RANGE" and (end := _element(src, src.skip(stop + 1, "RANGE"))) and len(elements) == len(end) == 1:
        after = src.skip(stop + 1, "RANGE") + 1
        if places[0].arches and not places[0].sides and end == elements and len(places) == 1 and len(places[0].arches) == 1:
            first, last = (1, 2) if places[0].arches == "U" else (4, 3)
            ends = fdi_number(first, *elements[0]), fdi_number(last, *elements[0])
            return Item(after, fdi_range(ends[0] or "", ends[1] or "") or [], "ok")
        return Item(after, [], "ambiguous")
    return Item(stop, fdi, "ambiguous")
