"""Tokens → teeth: a recursive descent grammar of the ways in which dentists write teeth.

    text    = { item | any token }
    item    = cross | grid | glyphs | bars | located | named | quadrant | hash | zone | plain
    cross   = "[" cell "]" × 4                       quadrants 1, 2, 4, 3           [6][0][0][67]
    glyphs  = { cell ┘ | └ cell | cell ┐ | ┌ cell }                                6┘└6
    grid    = row newline [rule newline] row         row = [cell] "|" [cell]
    located = place {sep place} (names | digits)                                   右上3-左上3, 左下6、7, 上颌3-3
    plain   = fdi [range fdi]                                                      36, 13-23
    bare    = digits finding                                                       6、7松动: without a quadrant

The drawn rules stand in `teeth_drawn`, those of words in `teeth_located` and `teeth_names`, those of numbers in `teeth_numbers` and
`teeth_bare`. A rule takes a token index and returns an `Item`, or None where it does not fit. Every look-ahead is bounded, so the
whole is linear in the length of the text.
"""

from __future__ import annotations

from codelib.dental import teeth_lexer as lexer
from codelib.dental.teeth_bare import bare, bare_primary, inherited
from codelib.dental.teeth_cells import Item, Source
from codelib.dental.teeth_drawn import bars, cross, glyphs, grid, lower_row
from codelib.dental.teeth_guards import unit_follows
from codelib.dental.teeth_located import located, named, quadrant
from codelib.dental.teeth_numbers import decimal, hashed, plain, zone
from codelib.dental.teeth_words import Name, fold, vocabulary_with

_OPEN_NOTHING = frozenset(["OTHER", "SPACE", "NEWLINE", "SEP", "STOP"])
_LIST_JOINTS = frozenset("、/")  # values of separators that join FDI numbers into one mention; a comma may end a clause


def parse(text: str, universal: bool = False, zone_letters: bool = False, words: tuple[tuple[str, Name], ...] = ()) -> list[Item]:
    """Every tooth expression of the text in order, with its span in characters; neighbours joined by 、 are one.

    ``universal``: #16 is a Universal number; ``zone_letters``: the clinic writes A6 for 16 (AC┼BD); ``words``: its own names of teeth.
    """
    src = source(text, words)
    src.universal, src.zone_letters = universal, zone_letters
    items: list[Item] = []
    i = 0
    while i < len(src.tokens):
        item = None if src.tokens[i].kind in _OPEN_NOTHING else _item(src, i)
        if item is None:
            i += 1
            continue
        assert item.stop > i, "a rule must take at least one token"
        if item.status is not None:
            src.quadrant = (item.quadrant, src.tokens[item.stop - 1].end) if item.quadrant else None
            item.start_char, item.end_char = src.tokens[i].start, src.tokens[item.stop - 1].end
            if not (items and _joined(src, items[-1], item, i)):
                items.append(item)
        i = src.stop = item.stop
    return items


def source(text: str, words: tuple[tuple[str, Name], ...] = ()) -> Source:
    folded = fold(text)
    tokens = lexer.tokenise(folded, vocabulary_with(words))
    return Source(folded, tokens, _quantities(folded, tokens))


def _quantities(folded: str, tokens: list[lexer.Token]) -> list[bool]:
    """Which numbers are quantities by their unit, or by that of the number they are listed with: both of 24、48小时, 12-14岁."""
    marks = [False] * len(tokens)
    for i in range(len(tokens) - 1, -1, -1):
        token = tokens[i]
        if token.kind != "NUMBER":
            continue
        marks[i] = unit_follows(folded, token.end)
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


def is_list_joint(between: str) -> bool:
    """Whether the words between two FDI numbers make one list of them: 、 和 /."""
    tokens = lexer.tokenise(fold(between))
    return len(tokens) == 1 and tokens[0].kind == "SEP" and tokens[0].value in _LIST_JOINTS


def _item(src: Source, i: int) -> Item | None:
    match src.kind(i):
        case "OPEN":
            return cross(src, i)
        case "GLYPH":
            return glyphs(src, i)
        case "RULE" | "RANGE":
            return lower_row(src, i) if src.has_drawing else None
        case "BAR":
            return _drawing(src, i)
        case "NUMBER":
            return _drawing(src, i) or named(src, i) or inherited(src, i) or bare(src, i) or plain(src, i)
        case "QUANTITY":
            return decimal(src, i)
        case "LETTERS":
            return _drawing(src, i) or located(src, i) or inherited(src, i) or zone(src, i) or bare_primary(src, i)
        case "ROMAN" | "CIRCLED":
            return _drawing(src, i) or inherited(src, i)
        case "SIDE" | "ARCH":
            return located(src, i)
        case "ALL":
            return Item(i + 1, ["ALL"], "region")
        case "HASH":
            return hashed(src, i)
        case "CHINESE_DIGIT" | "NAME" | "ORDINAL" | "PRIMARY" | "PERMANENT":
            return quadrant(src, i) or named(src, i) or (bare_primary(src, i) if src.kind(i) == "PRIMARY" else None)
    return None


def _drawing(src: Source, i: int) -> Item | None:
    return (grid(src, i) or glyphs(src, i) or bars(src, i)) if src.has_drawing else None
