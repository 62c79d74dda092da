"""Stage teeth: records → text, with every tooth as an FDI number.

    "左下6、7叩(-)，[6][0][0][0]深龋"  ->  "36、37叩(-)，16深龋"  +  teeth (field, FDI numbers, span, status)

A mention that is certain (``ok``) is rewritten. A region (左下后牙), an ambiguous one (六龄齿) and one that cannot be a
tooth (56) are left as written and marked. Numbers that are no teeth (12岁, 3-4mm, 2022-03-05) are not touched.
`codelib.data.teeth_grammar` reads the notation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, TEXT, TEXT_FIELDS
from codelib.data import teeth_grammar

_GLUE = "、"
_MAX_ROUNDS = 4


@dataclass(frozen=True)
class Mention:
    """A tooth expression at ``start``..``end`` of a text, in characters.

    ``fdi``: the numbers of an ``ok`` mention; of a ``region`` the teeth it covers, ("ALL",) for the whole mouth; of an
    ``ambiguous`` one the teeth it may be. ``replacement``: what normalising writes in its place (for all but ``ok`` the words).
    """

    start: int
    end: int
    fdi: tuple[str, ...]
    status: str  # ok | region | ambiguous | reject
    replacement: str
    kept: int = 0  # leading characters of the replacement that are words, not numbers (阻生48)


def find_teeth(text: str) -> list[Mention]:
    """The tooth mentions of a text, in order and without overlap.

    >>> [(m.fdi, m.status) for m in find_teeth("左下6、7松动，六龄齿窝沟深")]
    [(('36', '37'), 'ok'), (('16', '26', '36', '46'), 'ambiguous')]
    """
    mentions = []
    for item in teeth_grammar.parse(text):
        assert item.status is not None
        fdi = tuple(dict.fromkeys(item.fdi))
        written = text[item.start_char : item.end_char]
        new = item.prefix + _GLUE.join(fdi) if item.status == OK else written
        mentions.append(Mention(item.start_char, item.end_char, fdi, item.status, new, len(item.prefix)))
    return mentions


def normalise(text: str) -> tuple[str, list[Mention]]:
    """The text with its certain teeth as FDI numbers, and the mentions with their spans in it.

    What is written can be read back: where a number would run into its neighbours (1[6][0][0][0] would become 116) the
    mention is left as written and marked ambiguous.
    """
    mentions = find_teeth(text)
    for round_ in range(_MAX_ROUNDS):
        new, placed = _rewrite(text, mentions)
        if new == text:
            return new, placed
        unread = _unread(new, placed, everything=round_ == _MAX_ROUNDS - 1)
        if not unread:
            return new, placed
        mentions = [_left_as_written(text, m) if n in unread else m for n, m in enumerate(mentions)]
    return _rewrite(text, mentions)


def _rewrite(text: str, mentions: list[Mention]) -> tuple[str, list[Mention]]:
    parts: list[str] = []
    placed: list[Mention] = []
    at = length = 0
    for mention in mentions:
        between = text[at : mention.start]
        start = length + len(between)
        end = start + len(mention.replacement)
        parts += [between, mention.replacement]
        placed.append(
            replace(mention, start=start + mention.kept, end=end, kept=0, replacement=mention.replacement[mention.kept :])
        )
        at, length = mention.end, end
    return "".join([*parts, text[at:]]), placed


def _unread(new: str, placed: list[Mention], everything: bool) -> set[int]:
    """The mentions of the rewritten text that are not found again where they were put; with ``everything``, then all of them."""
    found = {(m.start, m.end, m.fdi) for m in find_teeth(new)}
    lost = {n for n, m in enumerate(placed) if m.status == OK and (m.start, m.end, m.fdi) not in found}
    return {n for n, m in enumerate(placed) if m.status == OK} if lost and everything else lost


def _left_as_written(text: str, mention: Mention) -> Mention:
    return replace(mention, status="ambiguous", replacement=text[mention.start : mention.end], kept=0)


def normalise_teeth(table: pa.Table) -> pa.Table:
    """RECORDS → TEXT. A rejected row passes with its fields as they are and no teeth."""
    rows: list[dict[str, Any]] = []
    for record in table.to_pylist():
        row = {name: record.get(name) for name in TEXT.schema.names}
        row["teeth"] = []
        if row["status"] == OK:
            for field in TEXT_FIELDS:
                row[field], mentions = normalise(row[field] or "")
                row["teeth"] += [_tooth(field, mention) for mention in mentions]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TEXT.schema)


def _tooth(field: str, mention: Mention) -> dict[str, Any]:
    fdi = list(mention.fdi) if mention.status == OK else []  # a region or a doubt charts no tooth
    return {"field": field, "fdi": fdi, "start": mention.start, "end": mention.end, "status": mention.status}
