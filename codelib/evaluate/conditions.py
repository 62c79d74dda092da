"""The conditions that a text asserts or denies, in English and Chinese: what reports and lists of conditions are compared by.

    "No caries. Tooth 36: irreversible pulpitis; 26牙髓炎待排"
        ->  Irreversible pulpitis asserted · Dental caries denied · Pulpitis in doubt

Names are those of `codelib.dental` (194 conditions with their Chinese and English synonyms), what models call them beside
(condition_names.csv), and what a test set calls them that the list does not know. Chinese is judged by `codelib.dental.condition_context`,
English by `denials` and the cues of doubt, past and plan below. A condition is called by its English name, as the release's labels are.
"""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from codelib.dental.condition_context import Segment, healed_behind, segments, status_of
from codelib.dental.condition_lists import Condition
from codelib.dental.condition_lists import conditions as listed
from codelib.dental.condition_terms import Dictionary
from codelib.dental.teeth_fdi import FDI
from codelib.evaluate.answer_forms import plain
from codelib.evaluate.denials import answered_no, asserted

_FOLDER = Path(__file__).parent
_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_NUMBER = re.compile(r"(?<![\d.])[1-8][1-8](?![\d.%])")
_END_BRACKET = re.compile(r"^(.*\S)\s*\(([^()]+)\)$")
_LINE = re.compile(r"[^\n]{1,600}(?:[\s,，。;；、.]|$)|[^\n]{1,600}")
"""A line, or of one that has no end (a model that repeats itself) pieces: cues are looked for from every condition on, back to its start."""
_PIECE_END = re.compile(r"[,，、](?!\d)")
_ENGLISH_END = re.compile(r"[.;!?](?=\s|$)|[。；！？\n]")
_DOUBT_BEFORE = re.compile(
    r"\b(?:suspect(?:ed|ing)?|suspicious (?:of|for)|suspicion of|possibl[ey]|probabl[ey]|questionable|rule out|r/o|might|"
    r"may (?:have|be|indicate)|"
    r"could (?:be|indicate|represent)|differential(?: diagnosis)?|(?:cannot|can not|not) (?:be )?(?:exclude[d]?|rule[d]? out)|less likely|"
    r"history of|hx of|previous(?:ly)?|prior|past|status post|s/p|formerly|childhood|"
    r"prevent(?:s|ing|ion)?(?: of)?|avoid(?:ing)?|risks? (?:of|for)|at risk|reduc(?:e|ing)|monitor(?:ing)? for|watch for|prone to|"
    r"whether|unclear|uncertain|susceptib(?:le|ility) to|progress(?:ion|ing)? (?:to|into)|develop(?:ment|ing)?(?: of)?|leads? to|"
    r"in case of|if|should|"
    r"remov(?:al|e|ing)(?: of)?(?: the)?|excavat(?:e|ion|ing)(?: of)?)\b:?[^.;:\n]{0,40}$"
)
_DOUBT_BEHIND = re.compile(
    r"^(?:\s*\([^()\n]{0,40}\))?\s*(?:\?|\((?:suspected|possible|probable|r/o|to be ruled out|\?)\)"
    r"|:\s?(?:n/a|unknown|unclear|uncertain|possible|suspected|probable|cannot be|not (?:assess|applicable|sure|certain))"
    r"|,? (?:is |was )?(?:suspected|possible|questionable)\b"
    r"|(?:risks?|prevention|control|removal|excavation|detector|prone)\b"
    r"|(?:has |have |is |was |now )*(?:been )?(?:resolved|healed|cured)\b"
    r"|(?:was|were|has been|have been|already) (?:\w+ )?(?:treated|filled|restored|removed|extracted)\b)"
)
ASSERTED, DENIED, OTHER = "asserted", "denied", "other"


@dataclass(frozen=True)
class Mention:
    """A condition named in a text. ``status``: asserted | denied | other (in doubt, past, planned); ``clause``: the words around it."""

    name: str
    status: str
    clause: str


def _english(condition: Condition, more: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a condition is called in English: its name, the parts of "a / b" and "a (b)", the lists' names, and their plurals."""
    names = [*condition.names_en, *more.get(condition.en, ())]
    for part in (condition.en, *condition.en.split(" / ")):
        names += [part, re.sub(r"\s*\([^()]*\)", "", part)]
        if bracket := _END_BRACKET.match(part):
            names.append(bracket.group(2))
    single = [name for name in dict.fromkeys(map(plain, names)) if name]
    plural = [
        re.sub(r"\btooth$", "teeth", name) if name.endswith("tooth") else f"{name}s" for name in single if name[-1] not in "sx"
    ]
    return tuple(dict.fromkeys([*single, *(name for name in plural if name[0] != "#")]))


@cache
def _more_names() -> dict[str, tuple[str, ...]]:
    with (_FOLDER / "condition_names.csv").open(encoding="utf-8", newline="") as lines:
        return {row["en"]: tuple(row["names_en"].split(";")) for row in csv.DictReader(lines)}


@cache
def vocabulary(others: tuple[str, ...] = ()) -> Dictionary:
    """The conditions to look for. others: names of a test set that no list has; they are looked for as they are written."""
    known = [replace(condition, names_en=_english(condition, _more_names())) for condition in listed()]
    names = {
        plain(name) for condition in known for name in (condition.zh, condition.en, *condition.synonyms, *condition.names_en)
    }
    new = [Condition(name, name, None, None, (), names_en=(plain(name),)) for name in others if plain(name) not in names]
    return Dictionary([*known, *new])


@cache
def kinds_above() -> dict[str, str]:
    """Condition -> the wider one that it is a kind of, by English names: Deep caries -> Dental caries."""
    families: dict[str, list[str]] = json.loads((_FOLDER / "condition_families.json").read_text(encoding="utf-8"))
    english = {condition.zh: condition.en for condition in listed()}
    return {english[kind]: english[family] for family, kinds in families.items() for kind in kinds}


def kin(name: str) -> tuple[str, ...]:
    """A condition and the wider one that it is a kind of."""
    above = kinds_above().get(name)
    return (name, above) if above else (name,)


def is_chinese(text: str) -> bool:
    """Whether a text reads as Chinese: at least one character in five of its letters."""
    letters = sum(character.isalpha() for character in text)
    return letters > 0 and len(_CJK.findall(text)) / letters >= 0.2


def mentions(text: str, others: tuple[str, ...] = ()) -> Iterator[Mention]:
    """The conditions that a text names, line by line, each with its status. others: see `vocabulary`."""
    terms = vocabulary(others)
    for line in _LINE.findall(plain(text)):
        numbers = [match.span() for match in _NUMBER.finditer(line) if match.group() in FDI]
        found = terms.find(line, numbers)
        spans = [(match.start, match.end) for match in found]
        if not found:
            continue
        told_in_chinese = is_chinese(line)
        chinese = _chinese_statuses(line, spans) if told_in_chinese or _CJK.search(line) else []
        english = [] if told_in_chinese else _english_statuses(line, spans)
        ends = [end.span() for end in _ENGLISH_END.finditer(line)]
        for n, (match, span) in enumerate(zip(found, spans, strict=True)):
            status = chinese[n] if told_in_chinese or _CJK.search(line, *span) else english[n]
            yield Mention(match.condition.en, status, _clause(line, ends, spans, n))


def _clause(line: str, ends: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], which: int) -> str:
    """The sentence of a condition that stands alone in it; else the piece between commas, up to the conditions beside it. ends: of the line's
    sentences, in order."""
    start, stop = spans[which]
    place = bisect_right(ends, (start, len(line)))
    first, last = ends[place - 1][1] if place else 0, ends[place][0] if place < len(ends) else len(line)
    before = spans[which - 1][1] if which and spans[which - 1][0] >= first else None
    behind = spans[which + 1][0] if which + 1 < len(spans) and spans[which + 1][0] < last else None
    if before is None and behind is None:
        return line[first:last]
    first, last = before or first, last if behind is None else behind
    for piece in _PIECE_END.finditer(line, first, start):
        first = piece.end()
    piece_end = _PIECE_END.search(line, stop, last)
    return line[first : piece_end.start() if piece_end else last]


def _chinese_statuses(line: str, spans: list[tuple[int, int]]) -> list[str]:
    capital = line.upper()  # its cues know CT and MRI
    text = capital if len(capital) == len(line) else line
    statuses = []
    for segment in segments(text):
        inside = [span for span in spans if segment.start <= span[0] < segment.end]
        until = next((start for start, _ in spans if start >= segment.end), len(text))
        for n in range(len(inside)):
            status = status_of(text, segment, inside, n)
            if status == "present" and healed_behind(text, segment, until):
                status = "past"
            if status == "present" and answered_no(line, inside[n]):
                status = "negated"
            statuses.append({"present": ASSERTED, "negated": DENIED}.get(status, OTHER))
    return statuses


def _english_statuses(line: str, spans: list[tuple[int, int]]) -> list[str]:
    statuses: list[str] = []
    ends = [end.end() for end in _ENGLISH_END.finditer(line)]
    for start, stop in zip([0, *ends], [*ends, len(line)], strict=True):
        sentence = Segment(start, stop)
        inside = [(a - start, b - start) for a, b in spans if start <= a < stop]
        words = line[sentence.start : sentence.end]
        for n, ((a, b), stands) in enumerate(zip(inside, asserted(words, inside), strict=True)):
            before = words[inside[n - 1][1] if n else 0 : a]
            doubt = _DOUBT_BEFORE.search(before) or _DOUBT_BEHIND.match(words[b:])
            statuses.append(DENIED if not stands else OTHER if doubt else ASSERTED)
    return statuses
