"""Tokens → teeth: a recursive descent grammar of the ways in which dentists write teeth.

    text    = { item | any token }
    item    = cross | grid | glyphs | bars | located | named | hash | zone | plain
    cross   = "[" cell "]" × 4                       quadrants 1, 2, 4, 3           [6][0][0][67]
    glyphs  = { cell ┘ | └ cell | cell ┐ | ┌ cell }                                6┘└6
    grid    = row newline [rule newline] row         row = [cell] "|" [cell]
    located = place {sep place} (names | digits)                                   右上3-左上3, 左下6、7, 上颌3-3
    plain   = fdi [range fdi]                                                      36, 13-23

The drawn rules stand in `teeth_cells`, those of words in `teeth_located` and `teeth_names`, the rest here. A rule takes a
token index and returns an `Item`, or None where it does not fit. Every look-ahead is bounded, so the whole is linear in the
length of the text.
"""

from __future__ import annotations

from codelib.data import teeth_lexer as lexer
from codelib.data.teeth_cells import Item, Source, bars, cross, glyphs, grid
from codelib.data.teeth_fdi import FDI, IMPOSSIBLE, fdi_number, fdi_range
from codelib.data.teeth_located import located, named
from codelib.data.teeth_words import INSTRUMENT_SIZES

_ZONES = {"A": 1, "B": 2, "C": 4, "D": 3}  # AC┼BD
_LIST_JOINTS = frozenset("、/")  # values of separators that join FDI numbers into one mention; a comma may end a clause
_TOOTH_AFTER = tuple(
    "牙齿深浅中龋缺松叩冠残根近远颊舌唇腭充拔完伸阻埋未已见无探冷热牙髓邻合磨折楔继发修种治，。；、;,.)）]】?？!！ \n"
)


def parse(text: str) -> list[Item]:
    """Every tooth expression of the text in order, with its span in characters; neighbours joined by 、 are one."""
    src = source(text)
    items: list[Item] = []
    i = 0
    while i < len(src.tokens):
        item = _item(src, i)
        if item is None:
            i += 1
            continue
        assert item.stop > i, "a rule must take at least one token"
        if item.status is not None:
            item.start_char, item.end_char = src.tokens[i].start, src.tokens[item.stop - 1].end
            if not (items and _joined(src, items[-1], item, i)):
                items.append(item)
        i = item.stop
    return items


def source(text: str) -> Source:
    folded = lexer.fold(text)
    tokens = lexer.tokenise(folded)
    return Source(folded, tokens, _quantities(folded, tokens))


def _quantities(folded: str, tokens: list[lexer.Token]) -> list[bool]:
    """Which numbers are quantities by their unit, or by that of the number they are listed with: both of 24、48小时, 12-14岁."""
    marks = [False] * len(tokens)
    for i in range(len(tokens) - 1, -1, -1):
        token = tokens[i]
        if token.kind != "NUMBER":
            continue
        marks[i] = lexer.unit_follows(folded, token.end)
        joined = i + 2 < len(tokens) and tokens[i + 1].kind in ("SEP", "RANGE") and tokens[i + 1].value != ","
        if joined and tokens[i + 2].kind == "NUMBER" and len(tokens[i + 2].text) == len(token.text):
            # one digit: 左下6、7天 is tooth 36 and seven days, 6-7天 is a range
            marks[i] |= marks[i + 2] and (len(token.text) > 1 or tokens[i + 1].kind == "RANGE")
    return marks


def _joined(src: Source, last: Item, item: Item, i: int) -> bool:
    """Whether ``item``, which begins at token i, continues ``last``; if so it is added to it."""
    if last.status != "ok" or item.status != "ok" or item.prefix:
        return False
    joint = src.tokens[i - 1]
    if last.stop != i - 1 or joint.kind != "SEP" or joint.value not in _LIST_JOINTS:
        return False
    last.fdi = list(dict.fromkeys([*last.fdi, *item.fdi]))
    last.stop, last.end_char = item.stop, item.end_char
    return True


def _item(src: Source, i: int) -> Item | None:
    match src.kind(i):
        case "OPEN":
            return cross(src, i)
        case "GLYPH":
            return glyphs(src, i)
        case "BAR":
            return grid(src, i) or bars(src, i)
        case "NUMBER":
            return grid(src, i) or glyphs(src, i) or bars(src, i) or named(src, i) or _plain(src, i)
        case "LETTERS":
            return grid(src, i) or glyphs(src, i) or bars(src, i) or located(src, i) or _zone(src, i)
        case "ROMAN" | "CIRCLED":
            return grid(src, i) or glyphs(src, i) or bars(src, i)
        case "SIDE" | "ARCH":
            return located(src, i)
        case "ALL":
            return Item(i + 1, ["ALL"], "region")
        case "HASH":
            return _hash(src, i)
        case "CHINESE_DIGIT" | "NAME" | "ORDINAL" | "PRIMARY" | "PERMANENT":
            return named(src, i)
    return None


def _plain(src: Source, i: int) -> Item | None:
    """A number in running text: 36, 13-23, 16#, 16号牙."""
    token = src.tokens[i]
    if src.glued(i) and src.tokens[i - 1].text.upper() != "FDI":
        return None
    number_of_tooth = src.kind(i + 1) == "TOOTH_NO" and src.kind(i + 2) == "NAME"
    tooth_follows = src.kind(i + 1) == "NAME" or number_of_tooth
    if src.quantities[i] and src.kind(i + 1) != "TOOTH_NO":
        return Item(i + 1, [], None)
    if not tooth_follows and lexer.measured_before(src.folded, token.start):
        return Item(_range_stop(src, i), [], None)
    if src.kind(i + 1) in ("HASH", "TOOTH_NO"):
        return _numbered(src, i, number_of_tooth)
    if token.text in FDI:
        return _fdi(src, i)
    after = src.folded[token.end : token.end + 1]
    if token.text in IMPOSSIBLE and (not after or after in _TOOTH_AFTER):
        return Item(i + 1, [], "reject")
    return _bare_range(src, i)


def _fdi(src: Source, i: int) -> Item | None:
    token = src.tokens[i]
    if _is_list_number(src, i) or _is_size(src, i):
        return Item(i + 1, [], None)
    joint = src.tokens[i + 1] if i + 1 < len(src.tokens) else None
    last = src.tokens[i + 2].text if src.kind(i + 2) == "NUMBER" else ""
    if joint and joint.value == "/" and token.text in ("11", "12") and last in FDI and int(last) <= 31:
        return Item(i + 3, [token.text, last], "ambiguous")  # two teeth, or a day of November or December
    if joint and joint.kind == "RANGE":
        stop = _range_stop(src, i)
        end = src.tokens[stop - 1].text if stop > i + 1 else ""
        if end in FDI:
            numbers = fdi_range(token.text, end)
            return Item(stop, numbers or [], "ok" if numbers else "ambiguous")
        if end:
            return Item(stop, [], "reject" if end in IMPOSSIBLE else None)
    return Item(i + 1, [token.text], "ok")


def _range_stop(src: Source, i: int) -> int:
    """The index after ``number [range number]`` at i."""
    j = src.skip(i + 1, "SPACE")
    if src.kind(j) != "RANGE":
        return i + 1
    j = src.skip(src.skip(j + 1, "RANGE"), "SPACE")
    return j + 1 if src.kind(j) == "NUMBER" else i + 1


def _is_list_number(src: Source, i: int) -> bool:
    """``11.`` at the start of a later line, or before a tooth, is a place in a list; nobody numbers as far as 21."""
    token = src.tokens[i]
    starts_line = i == 0 or src.kind(i - 1) == "NEWLINE"
    if not starts_line or int(token.text) > 18 or src.folded[token.end : token.end + 1] != ".":
        return False
    return i > 0 or src.kind(src.skip(i + 2, "SPACE")) in ("NUMBER", "SIDE", "OPEN")


def _is_size(src: Source, i: int) -> bool:
    token = src.tokens[i]
    return token.text in INSTRUMENT_SIZES and lexer.instrument_context(src.folded, token.start, token.end)


def _numbered(src: Source, i: int, tooth_follows: bool) -> Item | None:
    """``16#``, ``16号牙`` are FDI; ``16号`` may be a day or a bed; ``6#`` and ``6号牙`` lack their quadrant."""
    text = src.tokens[i].text
    is_hash = src.kind(i + 1) == "HASH"
    if len(text) > 2 or (
        text in INSTRUMENT_SIZES and lexer.instrument_context(src.folded, src.tokens[i].start, src.tokens[i].end)
    ):
        return Item(i + 2, [], None)
    if text in FDI:
        if is_hash or tooth_follows:
            return Item(i + 2, [text], "ok")
        before = src.folded[max(0, src.tokens[i].start - 1) : src.tokens[i].start]
        address = before and before in "月路街巷弄道村楼栋幢座院"
        follows = src.folded[src.tokens[i + 1].end : src.tokens[i + 1].end + 1]
        return Item(i + 2, [text], None if address or follows in tuple("楼房床室线院门") else "ambiguous")
    if text in IMPOSSIBLE and (is_hash or tooth_follows):
        return Item(i + 2, [], "reject")
    if text in tuple("12345678") and (is_hash or tooth_follows):
        numbers = [fdi_number(quadrant, int(text), False) or "" for quadrant in (1, 2, 3, 4)]
        return Item(i + 2, numbers, "ambiguous")
    return Item(i + 2, [], None)


def _bare_range(src: Source, i: int) -> Item | None:
    """``3-6`` with no quadrant, where it stands alone."""
    stop = _range_stop(src, i)
    if stop == i + 1:
        return None
    first, last = src.tokens[i], src.tokens[stop - 1]
    before = src.folded[first.start - 1 : first.start]
    after = src.folded[last.end : last.end + 1]
    digits = len(first.text) == len(last.text) == 1 and {first.text, last.text} <= set("12345678")
    alone = (not before or before in "，。；、;,(（:\n ") and (not after or after in _TOOTH_AFTER)
    return Item(stop, [], "ambiguous" if digits and alone else None)


def _hash(src: Source, i: int) -> Item | None:
    """``#16`` is FDI (the project's default; in the Universal system #16 is 28); ``#3`` may be Universal or half of Palmer."""
    j = src.skip(i + 1, "SPACE")
    if src.kind(j) != "NUMBER" or src.glued(i) or (src.quantities[j] and src.kind(j + 1) != "TOOTH_NO"):
        return None
    token = src.tokens[j]
    if len(token.text) > 2 or (token.text in INSTRUMENT_SIZES and lexer.instrument_context(src.folded, token.start, token.end)):
        return Item(j + 1, [], None)
    if token.text in FDI:
        item = _fdi(src, j)
        return item if item and item.status else Item(j + 1, [token.text], "ok")
    if 1 <= int(token.text) <= 32:
        return Item(j + 1, [], "ambiguous")
    return Item(j + 1, [], "reject")


def _zone(src: Source, i: int) -> Item | None:
    """``A6``: a zone letter where the clinic uses them, and never with 1-4, which are shades (A2)."""
    token = src.tokens[i]
    number = src.tokens[i + 1].text if src.kind(i + 1) == "NUMBER" else ""
    if token.text not in _ZONES or number not in ("5", "6", "7", "8") or src.quantities[i + 1] or src.glued(i):
        return None
    if src.folded[max(0, token.start - 1) : token.start] in ("素", "维"):
        return None  # 维生素B6
    return Item(i + 2, [f"{_ZONES[token.text]}{number}"], "ambiguous")
