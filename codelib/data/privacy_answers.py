"""The person's answers to the privacy queue: read, turned into places, and told where they fit nothing any more.

    question_key, visit_key, answer ── identifier   replace it (with ``words``: replace those words of the field instead of the marked ones)
                                    ├─ keep         it is clinical
                                    └─ reject       the visit stays out

Answered partitions are made again by the next run; nothing else is. What a person called an identifier counts for as long as the visit is
there: an answer whose question is asked no more (the text was corrected, a rule was mended) is told as stale, and its words are looked for
in the visit all the same. Stale lines are named by their numbers; no message holds a value.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from codelib.contracts import TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data import teeth_review
from codelib.data.deidentify_clean import Cleaned
from codelib.data.gazetteer import is_name_cell
from codelib.data.identifiers import CLASSES
from codelib.data.person_names_lists import CJK, allowed_words
from codelib.data.privacy_review import ANSWERS, ANSWERS_FILE, CELL, IDENTIFIER, QUEUE_FILE, REJECT, Answer, CellAnswer, cell_key
from codelib.data.sheets import decode_text
from codelib.data.teeth import DEFAULT, TeethSettings, normalised
from codelib.data.vault import Keyed

_MARK = re.compile(r"【([^【】\[\]]+)】")
_BETWEEN_NAMES = re.compile(r"[,，、;；/|\n]")
_CELLS = ""  # in place of a visit_key

GONE_QUESTION = "its question is asked no more: the text or a rule has changed"
STILL_LOOKED_FOR = "; what it calls an identifier is replaced all the same, where it stands in the visit"
NO_EFFECT = "; it has no effect"
NO_WORDS = "its words do not stand in the visit"
NO_CELL_WORDS = "its words do not stand in the cell"
NO_VISIT, NO_CELL = "it names no visit of this export", "no name column of this export holds its cell"


@dataclass(frozen=True, repr=False)
class WrittenAnswer:
    """A line of the person's file. Never printed: ``words`` and ``marked`` are identifiers."""

    line: int
    answer: str
    field: str
    words: str
    cls: str = ""
    marked: str = ""  # what the queue had marked, where the line still shows it


Written = Mapping[str, Mapping[str, WrittenAnswer]]
"""visit_key -> question_key -> line; answers about cells under the visit_key ""."""


def read_answers(private: Store) -> Written:
    """The person's file. Raises InputError naming the line that cannot be read: a misread answer could release a name."""
    if not private.exists(ANSWERS_FILE):
        return {}
    place = f"{private.root}/{ANSWERS_FILE}"
    rows = csv.DictReader(io.StringIO(decode_text(private.read(ANSWERS_FILE), place)))
    wanted = ("question_key", "visit_key", "answer")
    lacking = [name for name in wanted if name not in (rows.fieldnames or ())]
    if lacking:
        raise InputError(f"{place}: no column {', '.join(lacking)}; its first line has at least {','.join(wanted)}")
    found: dict[str, dict[str, WrittenAnswer]] = defaultdict(dict)
    for row in rows:
        line = _line_of(row, rows.line_num, place)
        if line is None:
            continue  # not decided yet
        question = (row["question_key"] or "").strip()
        visit = _CELLS if question.startswith(CELL) else (row["visit_key"] or "").strip()
        known = found[visit].setdefault(question, line)
        if (known.answer, known.words) != (line.answer, line.words):
            raise InputError(f"{place}: line {line.line}: this question has two different answers; leave one")
    return dict(found)


def _line_of(row: Mapping[str, str | None], number: int, place: str) -> WrittenAnswer | None:
    def of(name: str) -> str:
        return (row.get(name) or "").strip()

    answer, words, name, question = of("answer").lower(), of("words"), of("field"), of("question_key")
    if not answer:
        if words:
            raise InputError(f"{place}: line {number}: words without an answer; write identifier in the column answer")
        return None
    if answer not in ANSWERS:
        raise InputError(f"{place}: line {number}: this answer is none: {nearest(answer, ANSWERS)}")
    if not question or not (of("visit_key") or question.startswith(CELL)):
        raise InputError(f"{place}: line {number}: question_key or visit_key is missing; copy both from {QUEUE_FILE}")
    if words and (answer != IDENTIFIER or (name not in TEXT_FIELDS and not question.startswith(CELL))):
        raise InputError(
            f"{place}: line {number}: words belong to the answer identifier and need the column field of {QUEUE_FILE}"
        )
    mark = _MARK.search(row.get("marked") or "")
    cls = of("class") if of("class") in (*CLASSES, "NUMBER") else ""
    return WrittenAnswer(number, answer, name, words, cls, mark[1] if mark else "")


@dataclass(frozen=True)
class PartAnswers:
    """The answers that concern a partition of `text`, words turned into places: a worker's task carries no identifier."""

    visits: dict[str, dict[str, Answer]] = field(default_factory=dict)
    cells: dict[str, CellAnswer] = field(default_factory=dict)
    lost_words: frozenset[int] = frozenset()  # lines whose words stand nowhere in their visit or cell

    def __bool__(self) -> bool:
        return bool(self.visits or self.cells)


@dataclass(frozen=True)
class Original:
    """A partition as it was written, before the teeth stage: a person may have copied the words from there."""

    records: Part
    settings: TeethSettings = DEFAULT
    decisions: teeth_review.Decisions = field(default_factory=dict)

    def rows(self, visits: Iterable[str]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """visit_key -> (the record, its answers about teeth by field)."""
        wanted = set(visits)
        if not wanted:
            return {}
        records = read_part(replace(self.records, drop=()), ["visit_key", *TEXT_FIELDS]).to_pylist()
        chosen = {row["visit_key"]: row for row in records if row["visit_key"] in wanted}
        return {key: (row, dict(teeth_review.answers_of(row, self.decisions))) for key, row in chosen.items()}

    def spans(self, found: tuple[dict[str, Any], dict[str, Any]] | None, name: str, after: str, words: str) -> list[list[int]]:
        """Where words of the original field stand in the text of the teeth stage; a rewritten tooth that they touch counts whole."""
        before = (found[0][name] or "") if found else ""
        if found is None or words not in before or before == after:
            return []
        done = normalised(before, self.settings, found[1].get(name))
        if done.text != after:
            return []  # another record of the same visit
        shift, edits = 0, []
        for mention in done.written:
            edits.append((mention.start + shift, mention.start + shift + len(mention.replacement), mention.end - mention.start))
            shift += len(mention.replacement) - (mention.end - mention.start)
        back = Cleaned(before, Counter(), tuple(edits))  # as if the text of the teeth stage had been edited into the original
        return [list(back.before(*span)) for span in _occurrences(before, words)]


def answers_of(part: Part, written: Written, keyed: Keyed, original: Original | None = None) -> PartAnswers:
    """The answers that concern a partition of `text`."""
    if not written:
        return PartAnswers()
    part = replace(part, drop=())  # as its codes are: a visit that is dropped later must not change what the partition is made of
    keys = (set(read_part(part, ["visit_key"])["visit_key"].to_pylist()) & set(written)) - {_CELLS}
    named = {key for key in keys if any(_said(line) for line in written[key].values())}
    rows = read_part(part, ["visit_key", *TEXT_FIELDS]).to_pylist() if named else []
    texts = {row["visit_key"]: row for row in rows if row["visit_key"] in named}
    worded = [key for key in named if any(line.words for line in written[key].values())]
    records = original.rows(worded) if original else {}
    visits: dict[str, dict[str, Answer]] = {}
    lost: set[int] = set()
    for key in sorted(keys):
        visits[key] = {}
        for question, line in sorted(written[key].items()):
            places = _places(texts[key], line, original, records.get(key)) if _said(line) else []
            visits[key][question] = Answer(line.answer, bool(line.words), line.cls, places)
            if line.words and not places:
                lost.add(line.line)
    cells, lost_in_cells = _cells_of(part, written.get(_CELLS, {}), keyed)
    return PartAnswers(visits, cells, frozenset(lost | lost_in_cells))


def by_partition(
    records: Sequence[Part],
    text: Sequence[Part],
    written: Written,
    keyed: Keyed,
    teeth: TeethSettings,
    decisions: teeth_review.Decisions,
) -> list[PartAnswers]:
    """`answers_of` for all partitions, in their order."""
    return [
        answers_of(part, written, keyed, Original(before, teeth, decisions)) for before, part in zip(records, text, strict=True)
    ]


def _said(line: WrittenAnswer) -> str:
    """What the line calls an identifier; of an unworded one only a name, for it may stand in any text (5/3 is a date in one only)."""
    if line.answer != IDENTIFIER:
        return ""
    return line.words or (line.marked if line.cls == "NAME" and _telling(line.marked) else "")


def _telling(words: str) -> bool:
    """Long enough to mean the same wherever it stands in the visit."""
    letters = sum(char.isascii() and char.isalpha() for char in words)
    digits = sum(char.isdigit() for char in words)
    return words not in allowed_words() and (len(re.findall(f"[{CJK}]", words)) >= 2 or letters >= 4 or digits >= 5)


def _places(
    row: Mapping[str, Any], line: WrittenAnswer, original: Original | None, record: tuple[dict[str, Any], dict[str, Any]] | None
) -> list[list[Any]]:
    words, found = _said(line), []
    for name in TEXT_FIELDS:
        text = row[name] or ""
        spans = _occurrences(text, words) if name == line.field or _telling(words) else []
        if original and line.words and name == line.field:
            spans += [span for span in original.spans(record, name, text, words) if span not in spans]
        found += [[name, *span] for span in sorted(spans)]
    return found


def _occurrences(text: str, words: str) -> list[list[int]]:
    return [[at.start(), at.end()] for at in re.finditer(re.escape(words), text)]


def _cells_of(part: Part, lines: Mapping[str, WrittenAnswer], keyed: Keyed) -> tuple[dict[str, CellAnswer], set[int]]:
    found: dict[str, CellAnswer] = {}
    lost: set[int] = set()
    for value in _name_cells(part) if lines else ():
        line = lines.get(cell_key(value, keyed))
        if line is None:
            continue
        names = [name.strip() for name in _BETWEEN_NAMES.split(line.words) if name.strip()]
        if line.words in value:  # 阿不都·热西提, 小明 also where a comma stands in the name
            names = [line.words] if line.words else []
        spans = [_occurrences(value, name) for name in names]
        if all(spans):
            found[cell_key(value, keyed)] = CellAnswer(line.answer, sorted(span for several in spans for span in several))
        else:
            lost.add(line.line)
    return dict(sorted(found.items())), lost


def _name_cells(part: Part) -> set[str]:
    rows = read_part(part, ["identifiers"])["identifiers"].to_pylist()
    cells = {(one["kind"] or "", one["value"] or "") for row in rows for one in row or ()}
    return {value for kind, value in cells if is_name_cell(kind, value)}


# what fits nothing any more


@dataclass
class Stale:
    """The lines of the person's file that fit nothing any more. Visits are looked at one partition at a time."""

    written: Written
    lines: dict[int, str] = field(default_factory=dict)  # line -> why
    _met: set[str] = field(default_factory=set)  # visits and cells that are there

    def look(self, answers: PartAnswers, met: Mapping[str, frozenset[str]]) -> None:
        """``met``: for each visit of the partition that has answers, the questions that they were answers to."""
        self._met |= {*met, *answers.cells}
        for visit, questions in met.items():
            for question, line in self.written[visit].items():
                if question not in questions and line.answer != REJECT:  # a visit that was refused stays out, whatever its text
                    told = answers.visits.get(visit, {}).get(question)
                    self.lines[line.line] = GONE_QUESTION + (STILL_LOOKED_FOR if told and told.places else NO_EFFECT)
                elif line.line in answers.lost_words:
                    self.lines[line.line] = NO_WORDS
        for question, line in self.written.get(_CELLS, {}).items():
            if line.line in answers.lost_words:
                self._met.add(question)
                self.lines[line.line] = NO_CELL_WORDS

    def all(self) -> list[tuple[int, str]]:
        """(line, why), after every partition was looked at."""
        for visit, lines in self.written.items():
            for question, line in lines.items():
                if (question if visit == _CELLS else visit) not in self._met:
                    self.lines[line.line] = NO_CELL if visit == _CELLS else NO_VISIT
        return sorted(self.lines.items())


def note(stale: Sequence[tuple[int, str]]) -> Iterator[str]:
    """What a run says of them: one line, and one for each in the private report."""
    if stale:
        numbers = ", ".join(str(line) for line, _ in stale[:20]) + (", …" if len(stale) > 20 else "")
        yield f"{len(stale)} of the answers in {ANSWERS_FILE} fit nothing any more: line {numbers}"
        yield from (f"  line {line}: {why}" for line, why in stale)
