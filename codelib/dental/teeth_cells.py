"""The cell of digits that all notations share, and what the rules of the grammar read (`Source`) and give (`Item`).

    cell = element { [space | separator | range] element },  element = digits 1-8 | A-E | Ⅰ-Ⅴ | ⑥

A cell says which teeth of a quadrant; brackets, glyphs, bars (`codelib.dental.teeth_drawn`) or words say which quadrant.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from codelib.dental.teeth_fdi import FDI, QUADRANT, fdi_number
from codelib.dental.teeth_lexer import Token
from codelib.dental.teeth_words import DRAWING, ROMAN

Element = tuple[int, bool]
"""(digit, primary): 4 is (4, False), D and Ⅳ are (4, True)."""

_MAX_ELEMENTS = 8


@dataclass
class Item:
    """What a rule found. ``status`` None: a quantity, to be passed over. ``prefix`` is kept before the numbers (阻生)."""

    stop: int  # index of the token after it
    fdi: list[str]
    status: str | None  # ok | region | ambiguous | reject
    prefix: str = ""
    quadrant: int = 0  # the one that a place said, for digits that follow without one
    start_char: int = -1
    end_char: int = -1


@dataclass
class Source:
    """The folded text with its tokens; ``quantities`` marks the number tokens that a unit makes quantities."""

    folded: str
    tokens: list[Token]
    quantities: list[bool] = field(default_factory=list)
    universal: bool = False  # #16 is a number of the Universal system
    zone_letters: bool = False  # A6 is tooth 16
    quadrant: tuple[int, int] | None = None  # that of the tooth found last, and where it ended, if a place said it
    stop: int = 0  # the index where the item found last ends
    said: tuple[tuple[str, str], int] | None = (
        None  # the (arches, sides) that words said last, and the index where their teeth end
    )
    cells: dict[int, tuple[list[Element], int] | None] = field(default_factory=dict)  # what `cell` found at a token
    rows: dict[int, tuple[list[Element], list[Element], int, int] | None] = field(default_factory=dict)  # and `teeth_drawn.row`

    def __post_init__(self) -> None:
        self.has_drawing = not DRAWING.isdisjoint(self.folded)

    def kind(self, i: int) -> str:
        return self.tokens[i].kind if 0 <= i < len(self.tokens) else ""

    def skip(self, i: int, *kinds: str) -> int:
        """The index after one optional token of these kinds."""
        return i + 1 if self.kind(i) in kinds else i

    def skip_blanks(self, at: int) -> int:
        """The character position after one optional blank."""
        return at + 1 if self.folded[at : at + 1] == " " else at

    def glued(self, i: int) -> bool:
        """Whether a letter, digit or decimal point stands right before token i: PD3, N95."""
        return i > 0 and self.kind(i - 1) in ("LETTERS", "QUANTITY", "NUMBER")


def letters_element(text: str) -> list[Element] | None:
    """A-E in rising or falling order, or Roman numerals written with letters."""
    if all(char in "ABCDE" for char in text):
        digits = ["ABCDE".index(char) + 1 for char in text]
        return [(d, True) for d in digits] if is_monotone(digits) else None
    if text in ("VI", "VII", "VIII"):
        return [(len(text) + 4, True)]  # there is no sixth primary tooth: whoever asks for its number gets none
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


def drawn(token: Token) -> list[Element] | None:
    """An element inside a drawing, where small letters are teeth too: [e][0][0][d], e┘."""
    small = token.kind == "LETTERS" and token.text.islower() and len(token.text) <= 5
    return element(token._replace(text=token.text.upper()) if small else token)


def cell(src: Source, i: int, until: int = -1) -> tuple[list[Element], int] | None:
    """The elements from token i, and the index after them; none from token ``until`` on."""
    if until >= 0:
        return _cell(src, i, until)
    if i not in src.cells:  # three rules ask for it
        src.cells[i] = _cell(src, i, until)
    return src.cells[i]


def _cell(src: Source, i: int, until: int) -> tuple[list[Element], int] | None:
    if src.kind(i) not in ("NUMBER", "LETTERS", "ROMAN", "CIRCLED") or (found := drawn(src.tokens[i])) is None:
        return None
    elements = list(found)
    i += 1
    for _ in range(_MAX_ELEMENTS):
        j = src.skip(i, "SPACE")
        joint = src.kind(j)
        if 0 <= until <= j:
            break
        k = src.skip(j + 1, "SPACE") if joint in ("SEP", "RANGE") else j
        if k >= len(src.tokens) or _of_its_own(src, j, k) or (found := drawn(src.tokens[k])) is None:
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


def _of_its_own(src: Source, joint: int, k: int) -> bool:
    """Whether the number at k belongs to no cell before it: └6，25 and └6，25#, └6，3天前."""
    if src.kind(k) != "NUMBER":
        return False
    comma = src.kind(joint) == "SEP" and src.tokens[joint].value == ","
    return (comma and src.tokens[k].text in FDI) or src.quantities[k] or src.kind(k + 1) in ("HASH", "TOOTH_NO")


def in_quadrants(quadrants: list[int], elements: list[Element]) -> list[str] | None:
    """FDI numbers of the elements in each quadrant, or None where one cannot be."""
    numbers = [fdi_number(q, digit, primary) for q in quadrants for digit, primary in elements]
    return None if None in numbers else [n for n in numbers if n]


def quadrants_of(arches: str, sides: str) -> list[int]:
    """Quadrants of "U", "L" or "UL" and "R", "L" or "RL" ("" is unknown: both), in the order 1, 2, 3, 4."""
    return sorted(QUADRANT[arch, side] for arch in arches or "UL" for side in sides or "RL")
