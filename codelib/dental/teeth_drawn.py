"""The drawn notations: bracket slots, Palmer and Zsigmondy glyphs, 2×2 grids and bars.

[6][0][0][67]     6┘└6     6 | 7      6|6
                          --+--
                           5 | 8
"""

from __future__ import annotations

from codelib.dental.teeth_cells import Element, Item, Source, cell, in_quadrants
from codelib.dental.teeth_fdi import FDI, QUADRANT
from codelib.dental.teeth_guards import measured_before
from codelib.dental.teeth_words import CROSSES

_MAX_SLOTS = 64
_MAX_RULE = 200
_SLOT_QUADRANTS = (1, 2, 4, 3)  # slot 3 of the cross is the lower RIGHT quadrant, FDI 4


# --- bracket slots -------------------------------------------------------------------------------------------------------------


def _slot(src: Source, i: int) -> tuple[list[Element] | None, int] | None:
    """The elements of the slot that opens at i (None: it cannot be a tooth), and the index after it."""
    if src.kind(i) != "OPEN":
        return None
    j = src.skip(i + 1, "SPACE")
    if src.kind(j) == "CLOSE":
        return [], j + 1
    is_number, is_sign = src.kind(j) == "NUMBER", src.kind(j) == "LETTERS" and len(src.tokens[j].text) == 1
    empty = (is_number and not src.tokens[j].text.strip("0")) or src.kind(j) == "RANGE"
    empty |= src.kind(j) == "OTHER" and src.tokens[j].text in ("/", "无", "空")
    found = None if empty else cell(src, j)
    if not empty and found is None and not (is_number or is_sign):
        return None
    end = src.skip(found[1] if found else j + 1, "SPACE")
    if src.kind(end) != "CLOSE":
        return None
    return ([] if empty else found[0] if found else None), end + 1


def cross(src: Source, i: int) -> Item | None:
    """Bracket slots: [6][0][0][67], on one line or two. Any number of slots that is no multiple of four is rejected."""
    slots: list[list[Element] | None] = []
    stop = i
    while len(slots) < _MAX_SLOTS and (found := _slot(src, _next_slot(src, stop, len(slots)))):
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


def _next_slot(src: Source, i: int, slots: int) -> int:
    """Where the next slot begins: a cross may break over a line in its middle, and ends at a line end."""
    return src.skip(i, "SPACE", "NEWLINE") if slots % 4 == 2 else src.skip(i, "SPACE") if slots else i


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
        after = _after_glyph(src, i)
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
    kind = src.kind(i)
    if (kind == "NUMBER" and src.tokens[i].text in ("0", "9")) or (kind == "LETTERS" and src.tokens[i].text in "FGHfgh"):
        return [(9, False)], i + 1  # 9┘, └F: no quadrant has it, so it is rejected
    return cell(src, i)


def _after_glyph(src: Source, i: int) -> tuple[list[Element], int] | None:
    """The cell behind the glyph at i. In ┌6，6┐ the second 6 belongs to the glyph behind it."""
    at = src.skip(i + 1, "SPACE")
    found = _impossible_or_cell(src, at)
    behind = src.skip(found[1], "SPACE") if found else at
    if found is None or src.kind(behind) != "GLYPH" or src.tokens[behind].value[2] == "after":
        return found
    joints = [j for j in range(at, found[1]) if src.kind(j) == "SEP"]
    commas = [j for j in joints if src.tokens[j].value == ","]
    split = joints if len(joints) == 1 else commas if len(commas) == 1 else []
    return cell(src, at, until=split[0]) if split else found


def row(src: Source, i: int) -> tuple[list[Element], list[Element], int, int] | None:
    """``[cell] | [cell]``: the elements right and left of the midline, the index after the row, and that without the blank before it."""
    if i not in src.rows:
        src.rows[i] = _row(src, i)
    return src.rows[i]


def _row(src: Source, i: int) -> tuple[list[Element], list[Element], int, int] | None:
    right = cell(src, i)
    bar = src.skip(right[1], "SPACE") if right else i
    crossed = right is not None and bar < len(src.tokens) and src.tokens[bar].text in CROSSES  # 3┼3
    if src.kind(bar) != "BAR" and not crossed:
        return None
    left = cell(src, src.skip(bar + 1, "SPACE"))
    stop = left[1] if left else bar + 1
    return (right[0] if right else []), (left[0] if left else []), stop, src.skip(stop, "SPACE")


def _rule(src: Source, i: int) -> int:
    """The index after the drawn line --+-- or - - + - - that begins at i (i itself: there is none)."""
    at, last, ruled = i, i, False
    for _ in range(_MAX_RULE):
        if src.kind(at) not in ("RULE", "RANGE", "BAR") or (src.kind(at) == "BAR" and not ruled):
            break
        ruled = True
        last = at + 1
        at = src.skip(last, "SPACE") if src.kind(src.skip(last, "SPACE")) in ("RULE", "RANGE", "BAR") else last
    return last


def grid(src: Source, i: int) -> Item | None:
    """A cross drawn over lines; without a rule between them, both rows must be lines of their own."""
    upper = row(src, i)
    if upper is None or src.kind(upper[3]) != "NEWLINE":
        return None
    at = upper[3] + 1
    ruled = _rule(src, at)
    if ruled > at and src.kind(ruled) not in ("NEWLINE", "SPACE"):
        return _drawn_row(upper, upper[2], (1, 2), src, i) if ruled == len(src.tokens) and ruled - at > 2 else None
    starts_line = i == 0 or src.kind(i - 1) == "NEWLINE"
    if ruled == at and not starts_line:
        return None
    lower = row(src, ruled + 1 if ruled > at else at)
    if lower is None and ruled - at > 2:
        return _drawn_row(upper, ruled, (1, 2), src, i)
    if lower is None or (ruled == at and src.kind(lower[3]) not in ("", "NEWLINE")):
        return None
    parts = [in_quadrants([q], elements) for q, elements in zip((1, 2, 4, 3), (*upper[:2], *lower[:2]), strict=True)]
    if None in parts:
        return Item(lower[2], [], "reject")
    numbers = [n for part in parts for n in part or []]
    return Item(lower[2], numbers, "ok" if numbers else None)


def lower_row(src: Source, i: int) -> Item | None:
    """The lower half of a cross alone, under its rule: where a text or a paragraph begins, for a table has such lines too."""
    if i and not (src.kind(i - 1) == "NEWLINE" and (i == 1 or src.tokens[i - 1].text.count("\n") > 1)):
        return None
    ruled = _rule(src, i)
    if ruled - i < 3 or src.kind(ruled) != "NEWLINE":
        return None
    lower = row(src, ruled + 1)
    if lower is None or src.kind(lower[3]) not in ("", "NEWLINE"):
        return None
    return _drawn_row(lower, lower[2], (4, 3), src, ruled + 1)


def _drawn_row(
    found: tuple[list[Element], list[Element], int, int], stop: int, quadrants: tuple[int, int], src: Source, i: int
) -> Item | None:
    if _is_table(src, i) or not (found[0] or found[1]):
        return None
    right, left = (in_quadrants([q], elements) for q, elements in zip(quadrants, found[:2], strict=True))
    return Item(stop, [], "reject") if right is None or left is None else Item(stop, right + left, "ok")


def _is_table(src: Source, i: int) -> bool:
    """Whether the row at i holds FDI numbers: | 16 | 26 | is a table of them."""
    return any(src.kind(j) == "NUMBER" and src.tokens[j].text in FDI for j in (i, i + 1, i + 2))


def bars(src: Source, i: int) -> Item | None:
    """``6|``, ``|6``, ``6|6``: the side is known, the arch is not."""
    found = None if src.glued(i) or _is_table(src, i) else row(src, i)
    if found is None or not (found[0] or found[1]):
        return None
    if measured_before(src.folded, src.tokens[i].start):  # PD 3 2 3 | 4 3 5
        return Item(found[2], [], None)
    right, left = in_quadrants([1, 4], found[0]), in_quadrants([2, 3], found[1])
    if right is None or left is None:
        return Item(found[2], [], "reject")
    return Item(found[2], right + left, "ambiguous")
