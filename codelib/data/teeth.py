"""Stage teeth: records → text, with every tooth as an FDI number.

    "左下6、7叩(-)，[6][0][0][0]深龋"  ->  "36、37叩(-)，16深龋"  +  teeth (field, FDI numbers, span, status)

A mention that is certain (``ok``) is rewritten. A region (左下后牙), an ambiguous one (六龄齿) and one that cannot be a
tooth (56) are left as written and marked; the last two wait for a person (`codelib.data.teeth_review`). Numbers that are no
teeth (12岁, 3-4mm, 2022-03-05) are not touched. `codelib.data.teeth_grammar` reads the notation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from codelib.contracts import OK, TEXT, TEXT_FIELDS
from codelib.core.config import Settings
from codelib.data import teeth_grammar
from codelib.data.teeth_fdi import FDI
from codelib.data.teeth_lists import WordList, names_of

_GLUE = "、"
_MAX_ROUNDS = 4
AMBIGUOUS, REJECT, REGION, NO_TOOTH, KEEP = "ambiguous", "reject", "region", "none", "keep"


class TeethSettings(Settings):
    """Habits of a clinic that no text tells."""

    hash_numbers: Literal["fdi", "universal"] = "fdi"
    """What #16 is: the FDI number 16, or number 16 of the Universal system, which is FDI 28."""
    zone_letters: bool = False
    """Whether A6, B6, C6, D6 are 16, 26, 46, 36 (AC┼BD). Elsewhere they are ambiguous, for B6 is a vitamin and A2 a shade."""
    words: WordList = ()
    """Path of a CSV file with the clinic's own names of teeth and regions (word, teeth, dentition)."""


DEFAULT = TeethSettings()
Answers = Mapping[int, tuple[str, ...]]
"""Where a mention begins in the text as written -> what a person said it is: FDI numbers, or ("none",), ("region",), ("keep",)."""


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


def find_teeth(text: str, settings: TeethSettings = DEFAULT) -> list[Mention]:
    """The tooth mentions of a text, in order and without overlap.

    >>> [(m.fdi, m.status) for m in find_teeth("左下6、7松动，六龄齿窝沟深")]
    [(('36', '37'), 'ok'), (('16', '26', '36', '46'), 'ambiguous')]
    """
    mentions = []
    for item in teeth_grammar.parse(text, settings.hash_numbers == "universal", settings.zone_letters, names_of(settings.words)):
        assert item.status is not None
        fdi = tuple(dict.fromkeys(item.fdi))
        written = text[item.start_char : item.end_char]
        new = item.prefix + _GLUE.join(fdi) if item.status == OK else written
        mentions.append(Mention(item.start_char, item.end_char, fdi, item.status, new, len(item.prefix)))
    return mentions


@dataclass(frozen=True)
class Normalised:
    """A text with its certain teeth as FDI numbers. ``written[i]`` is the mention in the text as written, ``mentions[i]`` in ``text``."""

    text: str
    mentions: list[Mention]
    written: list[Mention]


def normalise(text: str, settings: TeethSettings = DEFAULT) -> tuple[str, list[Mention]]:
    """The text with its certain teeth as FDI numbers, and the mentions with their spans in it."""
    done = normalised(text, settings)
    return done.text, done.mentions


def normalised(text: str, settings: TeethSettings = DEFAULT, answers: Answers | None = None) -> Normalised:
    """The text with its certain teeth, and those that a person named, as FDI numbers.

    What is written can be read back: where a number would run into its neighbours (1[6][0][0][0] would become 116) the
    mention is left as written and marked ambiguous.
    """
    mentions = find_teeth(text, settings)
    if answers:
        mentions = [said for m in mentions if (said := _answered(text, m, answers.get(m.start))) is not None]
    new, placed = _rewrite(text, mentions)
    for round_ in range(_MAX_ROUNDS):
        unread = _unread(new, placed, everything=round_ == _MAX_ROUNDS - 1) if new != text else None
        if not unread:
            break
        mentions = [_left_as_written(text, m) if n in unread else m for n, m in enumerate(mentions)]
        new, placed = _rewrite(text, mentions)
    return Normalised(new, placed, mentions)


def _answered(text: str, mention: Mention, answer: tuple[str, ...] | None) -> Mention | None:
    """The mention as a person decided it; None: it is no tooth."""
    if answer is None or mention.status == OK or answer == (KEEP,):
        return mention
    if answer == (NO_TOOTH,):
        return None
    if answer == (REGION,):
        return replace(mention, status=REGION)
    assert set(answer) <= FDI, "the reader of answers lets nothing else pass"
    return replace(mention, fdi=answer, status=OK, replacement=_GLUE.join(answer), kept=0)


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
    """The mentions of the rewritten text that are not found again where they were put; with ``everything``, then all of them.

    It is read with the default settings: what stands in a text after this stage is FDI.
    """
    found = {(m.start, m.end, m.fdi) for m in find_teeth(new)}
    lost = {n for n, m in enumerate(placed) if m.status == OK and (m.start, m.end, m.fdi) not in found}
    return {n for n, m in enumerate(placed) if m.status == OK} if lost and everything else lost


def _left_as_written(text: str, mention: Mention) -> Mention:
    return replace(mention, status=AMBIGUOUS, replacement=text[mention.start : mention.end], kept=0)


def normalise_teeth(
    table: pa.Table, settings: TeethSettings = DEFAULT, answers: Mapping[str, Mapping[str, Answers]] | None = None
) -> pa.Table:
    """RECORDS → TEXT. A rejected row passes with its fields as they are and no teeth. ``answers``: visit_key -> field -> `Answers`."""
    rows: list[dict[str, Any]] = []
    for record in table.to_pylist():
        row = {name: record.get(name) for name in TEXT.schema.names}
        row["teeth"] = []
        if row["status"] == OK:
            decided = (answers or {}).get(row["visit_key"], {})
            for field in TEXT_FIELDS:
                done = normalised(row[field] or "", settings, decided.get(field))
                row[field] = done.text
                row["teeth"] += [tooth_row(field, mention) for mention in done.mentions]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TEXT.schema)


def tooth_row(field: str, mention: Mention) -> dict[str, Any]:
    """A mention as a row of the contract's TOOTH."""
    fdi = list(mention.fdi) if mention.status == OK else []  # a region or a doubt charts no tooth
    return {"field": field, "fdi": fdi, "start": mention.start, "end": mention.end, "status": mention.status}
