"""Stage teeth: records → text, with every tooth as an FDI number.

    "左下6、7叩(-)，[6][0][0][0]深龋"  ->  "36、37叩(-)，16深龋"  +  teeth (field, FDI numbers, span, status)

A mention that is certain (``ok``) is rewritten. A region (左下后牙), an ambiguous one (六龄齿) and one that cannot be a
tooth (56) are left as written and marked; the last two wait for a person (`codelib.data.teeth_review`). Numbers that are no
teeth (12岁, 3-4mm, 2022-03-05) are not touched. `codelib.dental.teeth_grammar` reads the notation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from codelib.contracts import OK, TEXT, TEXT_FIELDS
from codelib.core.config import Settings
from codelib.dental import teeth_grammar
from codelib.dental.teeth_fdi import FDI
from codelib.dental.teeth_lists import WordList, names_of

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
    mention is left as written and marked ambiguous. A tooth that a person named is charted even there (六龄齿-27 with the answer 16
    would read as a range): its words stay, its number stands in the mention, and its neighbours are as they were.
    """
    if answers:
        mentions, in_words = _answered(text, normalised(text, settings).written, answers)
    else:
        mentions, in_words = find_teeth(text, settings), frozenset[int]()
    new, placed = _rewrite(text, mentions)
    for round_ in range(_MAX_ROUNDS):
        unread = _unread(new, placed, everything=round_ == _MAX_ROUNDS - 1) if new != text else set[int]()
        if not (unread := {n for n in unread if mentions[n].start not in in_words}):
            break
        mentions = [_in_words(text, m, AMBIGUOUS) if n in unread else m for n, m in enumerate(mentions)]
        new, placed = _rewrite(text, mentions)
    return Normalised(new, placed, mentions)


def _answered(text: str, mentions: list[Mention], answers: Answers) -> tuple[list[Mention], frozenset[int]]:
    """The mentions as a person decided them, and where those begin whose words stay, for their number could not be read back."""
    said: list[Mention] = []
    named: set[int] = set()  # where the teeth begin that the person named
    for mention in mentions:
        answer = answers.get(mention.start, (KEEP,))
        if mention.status == OK or answer == (KEEP,):
            said.append(mention)
        elif answer == (REGION,):
            said.append(replace(mention, status=REGION))
        elif answer != (NO_TOOTH,):
            assert set(answer) <= FDI, "the reader of answers lets nothing else pass"
            said.append(replace(mention, fdi=answer, status=OK, replacement=_GLUE.join(answer), kept=0))
            named.add(mention.start)
    in_words: set[int] = set()
    while True:
        lists = _lists(text, said, named)
        new, placed = _rewrite(text, lists)
        unread = {n for n in _unread(new, placed) if lists[n].start not in in_words}
        stuck = _inside(named, lists, unread) or _inside(named, lists, {n + step for n in unread for step in (-1, 1)})
        if not stuck:
            return lists, frozenset(in_words)
        named -= stuck
        in_words |= stuck
        said = [_in_words(text, m, OK) if m.start in stuck else m for m in said]


def _inside(starts: set[int], mentions: list[Mention], which: set[int]) -> set[int]:
    """Those of ``starts`` that lie in one of the mentions ``which``."""
    spans = [(mentions[n].start, mentions[n].end) for n in which if 0 <= n < len(mentions)]
    return {start for start in starts if any(a <= start < b for a, b in spans)}


def _lists(text: str, mentions: list[Mention], named: set[int]) -> list[Mention]:
    """A tooth that a person named, and the certain ones that 、 or 和 joins to it, are one mention, as the grammar reads them: 六龄齿、27."""
    done: list[Mention] = []
    named = set(named)
    for second in mentions:
        first = done[-1] if done else None
        if (
            first is not None
            and _is_number(first)
            and _is_number(second)
            and not {first.start, second.start}.isdisjoint(named)
            and teeth_grammar.is_list_joint(text[first.end : second.start])
        ):
            fdi = tuple(dict.fromkeys([*first.fdi, *second.fdi]))
            done[-1] = replace(first, end=second.end, fdi=fdi, replacement=_GLUE.join(fdi))
            named.add(first.start)
        else:
            done.append(second)
    return done


def _is_number(mention: Mention) -> bool:
    return mention.status == OK and mention.replacement == _GLUE.join(mention.fdi)


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


def _unread(new: str, placed: list[Mention], everything: bool = False) -> set[int]:
    """The numbers of the rewritten text that are not found again where they were put; with ``everything``, then all of them.

    It is read with the default settings: what stands in a text after this stage is FDI.
    """
    found = {(m.start, m.end, m.fdi) for m in find_teeth(new) if m.status == OK}
    numbers = {n for n, m in enumerate(placed) if _is_number(m)}
    lost = {n for n in numbers if (placed[n].start, placed[n].end, placed[n].fdi) not in found}
    return numbers if lost and everything else lost


def _in_words(text: str, mention: Mention, status: str) -> Mention:
    """The mention left as written."""
    return replace(mention, status=status, replacement=text[mention.start : mention.end], kept=0)


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
