"""The drawn notations: bracket slots, Palmer and Zsigmondy glyphs, 2×2 grids and bars, and the cell of digits they share.

    cell = element { [space | separator | range] element },  element = digits 1-8 | A-E | Ⅰ-Ⅴ | ⑥

A cell says which teeth of a quadrant; brackets, glyphs and bars say which quadrant.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from codelib.data.teeth_fdi import FDI, QUADRANT, fdi_number
from codelib.data.teeth_lexer import Token
from codelib.data.teeth_words import ROMAN

Element = tuple[int, bool]
"""(digit, primary): 4 is (4, False), D and Ⅳ are (4, True)."""

_MAX_ELEMENTS = 8
_MAX_SLOTS = 64
_SLOT_QUADRANTS = (1, 2, 4, 3)  # slot 3 of the cross is the lower RIGHT quadrant, FDI 4


@dataclass
class Item:
    """What a rule found. ``status`` None: a quantity, to be passed over. ``prefix`` is kept before the numbers (阻生)."""

    stop: int  # index of the token after it
    fdi: list[str]
    status: str | None  # ok | region | ambiguous | reject
    prefix: str = ""
    start_char: int = -1
    end_char: int = -1


@dataclass
class Source:
    """The folded text with its tokens; ``quantities`` marks the number tokens that a unit makes quantities."""

    folded: str
    tokens: list[Token]
    quantities: list[bool] = field(default_factory=list)

    def kind(self, i: int) -> str:
        return self.tokens[i].kind if 0 <= i < len(self.tokens) else ""

    def skip(self, i: int, *kinds: str) -> int:
        """The index after one optional token of these kinds."""
        return i + 1 if self.kind(i) in kinds else i

    def glued(self, i: int) -> bool:
        """Whether a letter, digit or decimal point stands right before token i: PD3, N95."""
        return i > 0 and self.kind(i - 1) in ("LETTERS", "QUANTITY", "NUMBER")


def letters_element(text: str) -> list[Element] | None:
    """A-E in rising or falling order, or Roman numerals written with letters."""
    if all(char in "ABCDE" for char in text):
        digits = ["ABCDE".index(char) + 1 for char in text]
        return [(d, True) for d in digits] if is_monotone(digits) else None
    if len(text) > 15 or not all(char in "IV" for char in text):
        return None
    elements: list[Element] = []
    at = 0
    while at < len(text):
        numeral = next(n for n in ("III", "II", "IV", "I", "V") if text.startswith(n, at))
        elements.append((ROMAN[numeral], True))
        at += len(numeral)
    return elements


def is_monotone(digits: list[int]) -> bool:
    pairs = list(itertools.pairwise(digits))
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)


def element(token: Token) -> list[Element] | None:
    if token.kind == "NUMBER" and all(char in "12345678" for char in token.text):
        return [(int(char), False) for char in token.text]
    if token.kind == "LETTERS":
        return letters_element(token.text)
    if token.kind in ("ROMAN", "CIRCLED"):
        return [(token.value, token.kind == "ROMAN")]
    return None


def between(first: Element, last: Element) -> list[Element] | None:
    """The elements of a range within a quadrant, both ends included; None across dentitions."""
    if first[1] != last[1]:
        return None
    step = 1 if first[0] <= last[0] else -1
    return [(d, first[1]) for d in range(first[0], last[0] + step, step)]


def cell(src: Source, i: int) -> tuple[list[Element], int] | None:
    """The elements from token i, and the index after them."""
    if src.kind(i) not in ("NUMBER", "LETTERS", "ROMAN", "CIRCLED") or (found := element(src.tokens[i])) is None:
        return None
    elements = list(found)
    i += 1
    for _ in range(_MAX_ELEMENTS):
        j = src.skip(i, "SPACE")
        joint = src.kind(j)
        k = src.skip(j + 1, "SPACE") if joint in ("SEP", "RANGE") else j
        if k >= len(src.tokens) or (found := element(src.tokens[k])) is None:
            break
        if joint == "RANGE":
            spread = between(elements[-1], found[0])
            if spread is None:
                break
            elements += spread[1:] + found[1:]
        else:
            elements += found
        i = k + 1
    return elements, i


def in_quadrants(quadrants: list[int], elements: list[Element]) -> list[str] | None:
    """FDI numbers of the elements in each quadrant, or None where one cannot be."""
    numbers = [fdi_number(q, digit, primary) for q in quadrants for digit, primary in elements]
    return None if None in numbers else [n for n in numbers if n]


def quadrants_of(arches: str, sides: str) -> list[int]:
    """Quadrants of "U", "L" or "UL" and "R", "L" or "RL" ("" is unknown: both), in the order 1, 2, 3, 4."""
    return sorted(QUADRANT[arch, side] for arch in arches or "UL" for side in sides or "RL")


# --- bracket slots -------------------------------------------------------------------------------------------------------------


def _slot(src: Source, i: int) -> tuple[list[Element] | None, int] | None:
    """The elements of the slot that opens at i (None: it cannot be a tooth), and the index after it."""
    j = src.skip(i + 1, "SPACE")
    if src.kind(j) == "CLOSE":
        return [], j + 1
    empty = (src.kind(j) == "NUMBER" and not src.tokens[j].text.strip("0")) or src.kind(j) == "RANGE"
    impossible = src.kind(j) == "NUMBER" and element(src.tokens[j]) is None
    found = None if empty or impossible else cell(src, j)
    if not empty and not impossible and found is None:
        return None
    end = src.skip(found[1] if found else j + 1, "SPACE")
    if src.kind(end) != "CLOSE":
        return None
    return ([] if empty else found[0] if found else None), end + 1


def cross(src: Source, i: int) -> Item | None:
    """Bracket slots: [6][0][0][67]. Any number of slots that is no multiple of four is rejected."""
    slots: list[list[Element] | None] = []
    stop = i
    while len(slots) < _MAX_SLOTS and (found := _slot(src, src.skip(stop, "SPACE") if slots else stop)):
        slots.append(found[0])
        stop = found[1]
    if len(slots) < 2:
        return None
    if all(slot == [] for slot in slots):
        return Item(stop, [], None)
    numbers: list[str] = []
    for n, slot in enumerate(slots):
        found_numbers = None if slot is None else in_quadrants([_SLOT_QUADRANTS[n % 4]], slot)
        if found_numbers is None or len(slots) % 4:
            return Item(stop, [], "reject")
        numbers += found_numbers
    return Item(stop, numbers, "ok")


# --- glyphs, bars, grids -------------------------------------------------------------------------------------------------------


def glyphs(src: Source, i: int) -> Item | None:
    """Palmer glyphs, one or several side by side: 6┘, └DE, 76┘└67, 6┴6."""
    numbers: list[str] = []
    status = "ok"
    stop = i
    for _ in range(4):
        found = _glyph(src, stop if stop == i else src.skip(stop, "SPACE"))
        if found is None:
            break
        elements, stop = found
        new = [in_quadrants([quadrant], part) for quadrant, part in elements]
        if None in new:
            status = "reject"
        numbers += [n for part in new for n in part or []]
    if stop == i:
        return None
    if status == "ok" and src.kind(stop) == "GLYPH" and src.tokens[stop].value[2] == "before":
        status, stop = "ambiguous", stop + 1  # └6┘: the digits stand between two glyphs
    return Item(stop, numbers if status != "reject" else [], status)


def _glyph(src: Source, i: int) -> tuple[list[tuple[int, list[Element]]], int] | None:
    """One glyph with its digits: [(quadrant, elements)], and the index after it."""
    if src.kind(i) == "GLYPH":
        arch, _, where = src.tokens[i].value
        after = cell(src, src.skip(i + 1, "SPACE"))
        if where == "before" or after is None:
            return None
        return [(QUADRANT[arch, "L"], after[0])], after[1]
    before = _impossible_or_cell(src, i)
    if before is None or src.glued(i):
        return None
    glyph = src.skip(before[1], "SPACE")
    if src.kind(glyph) != "GLYPH":
        return None
    arch, _sides, where = src.tokens[glyph].value
    if where == "after":
        return None
    parts = [(QUADRANT[arch, "R"], before[0])]
    if where == "both" and (after := cell(src, src.skip(glyph + 1, "SPACE"))):
        return [*parts, (QUADRANT[arch, "L"], after[0])], after[1]
    return parts, glyph + 1


def _impossible_or_cell(src: Source, i: int) -> tuple[list[Element], int] | None:
    if src.kind(i) == "NUMBER" and src.tokens[i].text in ("0", "9"):
        return [(9, False)], i + 1  # 9┘: no quadrant has it, so it is rejected
    return cell(src, i)


def _row(src: Source, i: int) -> tuple[list[Element], list[Element], int, int] | None:
    """``[cell] | [cell]``: the elements right and left of the midline, the index of the last token and of the one after it."""
    right = cell(src, i)
    bar = src.skip(right[1], "SPACE") if right else i
    if src.kind(bar) != "BAR":
        return None
    left = cell(src, src.skip(bar + 1, "SPACE"))
    stop = left[1] if left else bar + 1
    return (right[0] if right else []), (left[0] if left else []), stop, src.skip(stop, "SPACE")


def grid(src: Source, i: int) -> Item | None:
    """A cross drawn over lines; without a rule between them, both rows must be lines of their own."""
    upper = _row(src, i)
    if upper is None or src.kind(upper[3]) != "NEWLINE":
        return None
    at = upper[3] + 1
    ruled = False
    while src.kind(at) in ("RULE", "RANGE", "BAR") and not (src.kind(at) == "BAR" and not ruled and _row(src, at)):
        at, ruled = at + 1, True
    if ruled:
        if src.kind(at) not in ("NEWLINE", "SPACE"):
            return None
        at += 1
    elif not (i == 0 or src.kind(i - 1) == "NEWLINE"):
        return None
    lower = _row(src, at)
    if lower is None or (not ruled and src.kind(lower[3]) not in ("", "NEWLINE")):
        return None
    parts = [in_quadrants([q], elements) for q, elements in zip((1, 2, 4, 3), (*upper[:2], *lower[:2]), strict=True)]
    if None in parts:
        return Item(lower[2], [], "reject")
    numbers = [n for part in parts for n in part or []]
    return Item(lower[2], numbers, "ok" if numbers else None)


def bars(src: Source, i: int) -> Item | None:
    """``6|``, ``|6``, ``6|6``: the side is known, the arch is not."""
    for j in (i, i + 1, i + 2):
        if src.kind(j) == "NUMBER" and src.tokens[j].text in FDI:
            return None  # | 16 | 26 | is a table of FDI numbers
    row = None if src.glued(i) else _row(src, i)
    if row is None or not (row[0] or row[1]):
        return None
    right, left = in_quadrants([1, 4], row[0]), in_quadrants([2, 3], row[1])
    if right is None or left is None:
        return Item(row[2], [], "reject")
    return Item(row[2], right + left, "ambiguous")
