"""Digits and letters that name no quadrant, beside a finding: they take it from the teeth before, or are ambiguous.

右上6深龋，7残根      17: the quadrant said before holds on through the sentence           inherited
6深龋, 6、7松动, 乳D龋   a tooth, and nothing says of which quadrant: ambiguous, for a person  bare
"""

from __future__ import annotations

from codelib.dental.teeth_cells import Element, Item, Source, element, in_quadrants
from codelib.dental.teeth_digits import digits
from codelib.dental.teeth_fdi import FDI
from codelib.dental.teeth_guards import finding_at, surface_at, surface_before
from codelib.dental.teeth_places import Place, place

_MAX_APART = 16  # characters between the tooth that says the quadrant and one that takes it from there
_SENTENCE_END = frozenset("。；;\n！!？?")
_BEFORE = frozenset("，。；、;,(（:：\n \t")
_NOT_PRIMARY = frozenset("哺母配炼酸豆牛")
_ALL = [1, 2, 3, 4]


def inherited(src: Source, i: int) -> Item | None:
    """A digit, run or letter from token i that stands in the quadrant of the tooth before it in the sentence."""
    if src.quadrant is None or src.kind(i) not in ("NUMBER", "LETTERS", "ROMAN") or src.tokens[i].text in FDI:
        return None
    quadrant, end = src.quadrant
    start = src.tokens[i].start
    between = src.folded[end:start]
    if len(between) > _MAX_APART or not _SENTENCE_END.isdisjoint(between) or any(char.isdigit() for char in between):
        return None
    if src.kind(i - 1 if src.kind(i - 1) != "SPACE" else i - 2) != "SEP" and not surface_before(src.folded, start):
        return None
    here = Place("U" if quadrant < 3 else "L", "R" if quadrant in (1, 4) else "L", i, spelled=True)
    item = digits(src, i, [here], [quadrant], place)
    if item is None or item.status != "ok":
        return None
    marked = src.kind(item.stop - 1) in ("HASH", "TOOTH_NO")
    stop = src.tokens[item.stop - 1].end
    return item if marked or finding_at(src.folded, stop) or surface_at(src.folded, stop) or _tooth_at(src, item.stop) else None


def bare(src: Source, i: int) -> Item | None:
    """6深龋, 6、7松动, 6牙: single digits from token i, right before a finding or 牙."""
    if not _begins(src, i):
        return None
    elements: list[Element] = []
    stop = i
    while len(elements) < 8 and src.kind(stop) == "NUMBER" and src.tokens[stop].text in tuple("12345678"):
        if src.quantities[stop]:
            return None
        elements.append((int(src.tokens[stop].text), False))
        joint = src.skip(stop + 1, "SPACE")
        if src.kind(joint) not in ("SEP", "RANGE") or src.kind(src.skip(joint + 1, "SPACE")) != "NUMBER":
            stop += 1
            break
        stop = src.skip(joint + 1, "SPACE")
    if not elements or not (finding_at(src.folded, src.tokens[stop - 1].end) or _tooth_at(src, stop)):
        return None
    return Item(stop, in_quadrants(_ALL, elements) or [], "ambiguous")


def bare_primary(src: Source, i: int) -> Item | None:
    """乳D龋, 乳4早失, D残根: a primary tooth of any quadrant."""
    at = src.skip(i, "PRIMARY")
    token = src.tokens[at] if at < len(src.tokens) else None
    if token is None or token.kind not in ("NUMBER", "LETTERS", "ROMAN") or len(token.text) != 1 or src.glued(i):
        return None
    before = src.folded[max(0, src.tokens[i].start - 1) : src.tokens[i].start]
    if before in _NOT_PRIMARY or (at == i and not (_begins(src, i) and token.kind == "LETTERS")):
        return None
    found = element(token)
    numbers = in_quadrants(_ALL, [(digit, True) for digit, _ in found]) if found else None
    if not numbers or (token.kind == "NUMBER" and src.quantities[at]):
        return None
    return Item(at + 1, numbers, "ambiguous") if finding_at(src.folded, token.end) or _tooth_at(src, at + 1) else None


def _begins(src: Source, i: int) -> bool:
    start = src.tokens[i].start
    return not src.glued(i) and (start == 0 or src.folded[start - 1] in _BEFORE)


def _tooth_at(src: Source, i: int) -> bool:
    return src.kind(i) == "NAME" and src.tokens[i].text == "牙"
