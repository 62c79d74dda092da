"""Teeth written as numbers without a place: FDI (36, 13-23), with a number sign (#16, 16#, 16号牙), and zone letters (A6).

    plain   = fdi [sign] [range fdi [sign]]          36, 13-23, 13#-23#, 16号牙
    hashed  = "#" fdi [range ["#"] fdi]              #16, #13-#23
    zone    = ("A" | "B" | "C" | "D") digit          A6, where the clinic says so

Most of this file says what such a number is when it is no tooth; the words for that stand in `codelib.dental.teeth_guards`.
"""

from __future__ import annotations

import re

from codelib.dental.teeth_cells import Item, Source
from codelib.dental.teeth_fdi import FDI, IMPOSSIBLE, fdi_number, fdi_range, universal_number
from codelib.dental.teeth_guards import (
    INSTRUMENT_SIZES,
    curette_after,
    curette_before,
    finding_at,
    instrument_context,
    measured_before,
    tested,
    tool_context,
    unit_follows,
)

_SPINE = re.compile(r"(?:[/~-]?[CDT]\d){0,3}(?:脊?神经|[颈胸]?椎)")
_ZONES = {"A": 1, "B": 2, "C": 4, "D": 3}  # AC┼BD
_MAX_CHAIN = 8
_DAY_AFTER = ("上午", "下午", "早上", "中午", "晚上", "复诊", "复查", "就诊", "来诊", "来院", "之前", "以前", "以后")
_CLAUSE_END = frozenset("。；;，,\n！!？?、")
_TOOTH_AFTER = frozenset(
    "牙齿深浅中龋缺松叩冠残根近远颊舌唇腭充拔完伸阻埋未已见无探冷热牙髓邻合磨折楔继发修种治，。；、;,.)）]】?？!！ \n"
)
_FINDING_AFTER = frozenset("牙齿龋缺松叩残阻拔伸折楔充髓根冠")


def plain(src: Source, i: int) -> Item | None:
    """A number in running text: 36, 13-23, 16#, 16号牙."""
    token = src.tokens[i]
    if src.glued(i) and src.tokens[i - 1].text.upper() != "FDI":
        return Item(_range_stop(src, i)[0], [], None)  # F8-12
    behind_tooth = src.kind(i - 1) == "NAME" and src.tokens[i - 1].text == "牙" and src.kind(i + 1) != "NAME"
    if behind_tooth and tested(src.folded, token.start):
        return Item(_range_stop(src, i)[0], [], None)  # 电活力值：36牙38: what was measured at the tooth
    number_of_tooth = src.kind(i + 1) == "TOOTH_NO" and src.kind(i + 2) == "NAME"
    tooth_follows = src.kind(i + 1) == "NAME" or number_of_tooth
    if src.quantities[i] and src.kind(i + 1) != "TOOTH_NO":
        return Item(i + 1, [], None)
    if not tooth_follows and measured_before(src.folded, token.start):
        return Item(_measured_stop(src, i), [], None)
    if src.kind(i + 1) in ("HASH", "TOOTH_NO"):
        return _numbered(src, i, number_of_tooth)
    if token.text in FDI:
        stray = src.kind(i - 1) == "GLYPH" and src.stop != i  # ⏋45: the digits stand on the wrong side of the glyph
        return Item(i + 1, [token.text], "ambiguous") if stray else _fdi(src, i)
    after = src.folded[token.end : token.end + 1]
    if token.text in IMPOSSIBLE and (not after or after in _TOOTH_AFTER):
        return Item(i + 1, [], "reject")
    if _is_ninth(token.text) and (
        (src.kind(i + 1) == "NAME" and src.tokens[i + 1].text in ("牙", "牙齿")) or finding_at(src.folded, token.end)
    ):
        return Item(i + 1, [], "reject")
    return _bare_range(src, i)


def _is_ninth(text: str) -> bool:
    """19, 29, …: they look like FDI, and no quadrant has a ninth tooth."""
    return len(text) == 2 and text[0] in "12345678" and text[1] == "9"


def _fdi(src: Source, i: int) -> Item | None:
    token = src.tokens[i]
    if _is_list_number(src, i) or _is_size(src, i):
        return Item(i + 1, [], None)
    joint = src.tokens[i + 1] if i + 1 < len(src.tokens) else None
    last = src.tokens[i + 2].text if src.kind(i + 2) == "NUMBER" else ""
    if joint and joint.value == "/" and last in FDI and curette_after(src.folded, src.tokens[i + 2].end):
        return Item(i + 3, [], None)  # 11/12 Gracey
    if (
        joint
        and joint.value == "/"
        and last in FDI
        and {token.text, last} & {"11", "12"}
        and max(int(token.text), int(last)) <= 31
    ):
        return Item(i + 3, [token.text, last], "ambiguous")  # two teeth, or a day of November or December
    return _range(src, i, i) or Item(i + 1, [token.text], "ok")


def _range(src: Source, i: int, joint: int) -> Item | None:
    """From the FDI number at i over a range sign behind ``joint`` to another: 13-23, 13#-23#, #13-#23."""
    stop, far = _range_stop(src, joint)
    if stop == joint + 1:
        return None
    first, last = src.tokens[i].text, src.tokens[far].text
    chain = stop
    while src.kind(chain) == "RANGE" and src.kind(chain + 1) == "NUMBER":
        chain += 2  # 14→16→18: wires
    if src.quantities[far] or chain > stop:
        return Item(chain, [], None)
    if last not in FDI:
        return Item(stop, [], "reject" if last in IMPOSSIBLE else None)
    numbers = fdi_range(first, last)
    # 12-11 and 11-12 stand alone for a day of the year as well
    day = (
        i == joint
        and {first, last} <= {"11", "12"}
        and src.folded[src.tokens[far].end : src.tokens[far].end + 1] in tuple("复来就")
    )
    return Item(stop, numbers or [], "ok" if numbers and not day else "ambiguous")


def _range_stop(src: Source, i: int) -> tuple[int, int]:
    """The index after ``number [range ["#"] number ["#"]]`` at i, and that of the far number."""
    j = src.skip(i + 1, "SPACE")
    if src.kind(j) != "RANGE":
        return i + 1, i
    j = src.skip(src.skip(src.skip(j + 1, "RANGE"), "SPACE"), "HASH")
    return (src.skip(j + 1, "HASH"), j) if src.kind(j) == "NUMBER" else (i + 1, i)


def _measured_stop(src: Source, i: int) -> int:
    """The index after what is measured from token i: ISQ 72/74, PD 3-4, 弓丝14→16→18."""
    stop = _range_stop(src, i)[0]
    for _ in range(_MAX_CHAIN):
        joined = src.kind(stop) == "RANGE" or (src.kind(stop) == "SEP" and src.tokens[stop].value == "/")
        if not joined or src.kind(stop + 1) != "NUMBER":
            break
        stop = _range_stop(src, stop + 1)[0]
    return stop


def _is_list_number(src: Source, i: int) -> bool:
    """``11.`` at the start of a later line, or before a tooth, is a place in a list; nobody numbers as far as 21."""
    token = src.tokens[i]
    starts_line = i == 0 or src.kind(i - 1) == "NEWLINE"
    if not starts_line or int(token.text) > 18 or src.folded[token.end : token.end + 1] != ".":
        return False
    return i > 0 or src.kind(src.skip(i + 2, "SPACE")) in ("NUMBER", "SIDE", "OPEN")


def _is_size(src: Source, i: int) -> bool:
    token = src.tokens[i]
    if token.text not in INSTRUMENT_SIZES:
        return tool_context(src.folded, token.start, token.end) and src.kind(i + 1) in ("HASH", "TOOTH_NO")
    if instrument_context(src.folded, token.start, token.end):
        return True
    return src.kind(i + 1) == "HASH" and _sizes_of_instrument(src, i)


def _sizes_of_instrument(src: Source, i: int) -> bool:
    """10#、15#、20#K锉: a list of sizes is told by what stands behind its last."""
    for _ in range(_MAX_CHAIN):
        j = src.skip(i + 2, "SEP", "SPACE")
        if src.kind(j) != "NUMBER" or src.tokens[j].text.zfill(2) not in INSTRUMENT_SIZES or src.kind(j + 1) != "HASH":
            break
        i = j
    return instrument_context(src.folded, src.tokens[i].start, src.tokens[i + 1].end)


def _sizes_alone(src: Source, i: int) -> bool:
    """Whether a clause says 25# (or 15# 25#) and nothing else: a tooth, or the size of a file."""
    before = src.folded[max(0, src.tokens[i].start - 1) : src.tokens[i].start]
    if before and before not in _CLAUSE_END:
        return False
    end = src.tokens[i + 1].end
    after = src.folded[end : end + 1]
    return src.tokens[i].text in INSTRUMENT_SIZES and (not after or after in "。；;\n")


def _numbered(src: Source, i: int, tooth_follows: bool) -> Item | None:
    """``16#``, ``16号牙`` are FDI; ``16号`` may be a day or a bed; ``6#`` and ``6号牙`` lack their quadrant."""
    text = src.tokens[i].text
    is_hash = src.kind(i + 1) == "HASH"
    if len(text) > 2 or _is_size(src, i):
        return Item(i + 2, [], None)
    if text in FDI and is_hash and not tooth_follows:
        if _sizes_alone(src, i):
            return Item(i + 2, [text], "ambiguous")
        return _range(src, i, i + 1) or Item(i + 2, [text], "ok")
    if text in FDI:
        return Item(i + 2, [text], "ok") if tooth_follows else Item(i + 2, [text], None if _is_address(src, i) else "ambiguous")
    if (text in IMPOSSIBLE or _is_ninth(text)) and (is_hash or tooth_follows):
        return Item(i + 2, [], None if text in INSTRUMENT_SIZES else "reject")
    if text in tuple("12345678") and (is_hash or tooth_follows):
        if is_hash and (tool_context(src.folded, src.tokens[i].start, src.tokens[i + 1].end) or _sizes_of_instrument(src, i)):
            return Item(i + 2, [], None)
        numbers = [fdi_number(quadrant, int(text), False) or "" for quadrant in (1, 2, 3, 4)]
        return Item(i + 2, numbers, "ambiguous")
    return Item(i + 2, [], None)


def _is_address(src: Source, i: int) -> bool:
    """月16号 is a day, 路16号 an address, 16号楼 a house."""
    before = src.folded[max(0, src.tokens[i].start - 1) : src.tokens[i].start]
    follows = src.folded[src.tokens[i + 1].end : src.tokens[i + 1].end + 1]
    at = src.tokens[i + 1].end
    day = int(src.tokens[i].text) <= 31 and src.folded.startswith(_DAY_AFTER, src.skip_blanks(at))
    return day or bool(before and before in "月路街巷弄道村楼栋幢座院") or follows in tuple("楼房床室线院门诊病")


def _bare_range(src: Source, i: int) -> Item | None:
    """``3-6`` with no quadrant, where it stands alone."""
    stop, far = _range_stop(src, i)
    if stop == i + 1:
        return None
    first, last = src.tokens[i], src.tokens[far]
    before = src.folded[first.start - 1 : first.start]
    after = src.folded[last.end : last.end + 1]
    digits = len(first.text) == len(last.text) == 1 and {first.text, last.text} <= set("12345678")
    counted = after == "根" and src.folded[last.end + 1 : last.end + 2] not in tuple("管尖")  # 3-5根
    alone = not counted and (not before or before in "，。；、;,(（:\n ") and (not after or after in _TOOTH_AFTER)
    return Item(stop, [], "ambiguous" if digits and alone else None)


def decimal(src: Source, i: int) -> Item | None:
    """12.11.21.22: teeth, where it can be no date. 36.46叩痛: two teeth, or a number with decimals; only before a finding is it either."""
    token = src.tokens[i]
    parts = token.text.split(".")
    finding = src.folded[token.end : token.end + 1] in _FINDING_AFTER
    listed = _listed_by_dots(src, i)
    if (
        len(parts) < 2
        or not set(parts) <= FDI
        or not (finding or listed or len(parts) > 3)
        or src.glued(i)
        or measured_before(src.folded, token.start)
    ):
        return None
    return Item(i + 1, parts, "ok" if listed else "ambiguous")


def _listed_by_dots(src: Source, i: int) -> bool:
    """Whether three FDI numbers or more stand between full stops, each once, and no day: 22.11.21 is one, 16.11.21 the teeth or a day."""
    token = src.tokens[i]
    parts = token.text.split(".")
    day = len(parts) == 3 and not {"11", "12"}.isdisjoint(parts[:2])  # day, month, year in any order
    is_list = len(parts) > 2 and set(parts) <= FDI and len(set(parts)) == len(parts) and not day
    return is_list and set(token.text) <= set("0123456789.") and not unit_follows(src.folded, token.end)


def hashed(src: Source, i: int) -> Item | None:
    """``#16`` is FDI (in the Universal system, a setting, it is 28); ``#3`` may be Universal or half of Palmer."""
    j = src.skip(i + 1, "SPACE")
    if (
        src.kind(j) == "LETTERS"
        and src.tokens[j].text in tuple("ABCDEFGHIJKLMNOPQRST")
        and finding_at(src.folded, src.tokens[j].end)
    ):
        return Item(j + 1, [], "ambiguous")  # a primary tooth of the Universal system
    if src.kind(j) != "NUMBER" or src.glued(i) or (src.quantities[j] and src.kind(j + 1) != "TOOTH_NO"):
        return None
    token = src.tokens[j]
    if (
        len(token.text) > 2
        or curette_before(src.folded, src.tokens[i].start)
        or tool_context(src.folded, src.tokens[i].start, token.end)
        or _is_size(src, j)
    ):
        return Item(j + 1, [], None)
    if src.universal:
        tooth = universal_number(int(token.text))
        return Item(j + 1, [tooth], "ok") if tooth else Item(j + 1, [], "ambiguous" if token.text in FDI else "reject")
    if token.text in FDI:
        return _range(src, j, j) or Item(j + 1, [token.text], "ok")
    if 1 <= int(token.text) <= 32:
        return Item(j + 1, [], "ambiguous")
    return Item(j + 1, [], None if token.text in INSTRUMENT_SIZES or not token.text.strip("0") else "reject")  # 排龈线#00


def zone(src: Source, i: int) -> Item | None:
    """``A6``: a zone letter where the clinic uses them, and never with 1-4, which are shades (A2)."""
    token = src.tokens[i]
    number = src.tokens[i + 1].text if src.kind(i + 1) == "NUMBER" else ""
    if token.text not in _ZONES or number not in ("5", "6", "7", "8") or src.quantities[i + 1] or src.glued(i):
        return None
    if src.folded[max(0, token.start - 1) : token.start] in ("素", "维") or _SPINE.match(src.folded, src.tokens[i + 1].end):
        return None  # 维生素B6, C6神经
    return Item(i + 2, [f"{_ZONES[token.text]}{number}"], "ok" if src.zone_letters else "ambiguous")
