"""Suspicions that wait for a person, and the person's answers.

    private/queue/privacy.csv           written by each run: every suspicion, its class, and the words around it with the suspicion in 【 】
    private/queue/privacy-answers.csv   the answers; never written by a run. The queue itself, filled in and saved under this name, is one

    question_key, visit_key, answer ── identifier   replace it (with ``words``: replace those words of the field instead of the marked ones)
                                    ├─ keep         it is clinical
                                    └─ reject       the visit stays out

A question's key is a keyed hash of the visit, the field, its whole text as written and the place: the same words in another text are another
question, and a text that was corrected since is asked about anew. Answered partitions are made again by the next run; nothing else is.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from codelib.contracts import TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data.identifiers import Finding
from codelib.data.sheets import decode_text
from codelib.data.vault import Keyed

QUEUE_FILE, ANSWERS_FILE = "queue/privacy.csv", "queue/privacy-answers.csv"
IDENTIFIER, KEEP, REJECT = "identifier", "keep", "reject"
ANSWERS = (IDENTIFIER, KEEP, REJECT)
QUEUE_HEADER = ("question_key", "visit_key", "checkup_id", "field", "class", "marked", "answer", "words")
NAME_COLUMN = "NAME_COLUMN"
"""The class of a question about a name column that could not be read: keep (the texts name nobody) or reject; an ``identifier`` has no place
in a text to be replaced at, so it counts as reject."""

Spans = list[list[int]]
Answer = tuple[str, Spans]
"""What was answered, and the places in the field as written that are to be replaced (empty: the marked place itself)."""


@dataclass(frozen=True)
class WrittenAnswer:
    """A line of the person's file."""

    line: int
    answer: str
    field: str
    words: str


Written = Mapping[str, Mapping[str, WrittenAnswer]]
"""visit_key -> question_key -> line."""


@dataclass(frozen=True)
class Review:
    """What the stage is handed: the key that questions are made with, and the answers of its visits. Without a key there are no questions."""

    keyed: Keyed | None = None
    answers: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)

    def question(self, visit_key: str, name: str, text: str, start: int, end: int) -> str:
        """start, end: the suspicion's place in ``text``, the field as written."""
        if self.keyed is None:
            return ""
        return self.keyed.text("privacy-question", f"{visit_key}\0{name}\0{start}\0{end}\0{text}")

    def answer(self, visit_key: str, question: str) -> Answer | None:
        found = self.answers.get(visit_key, {}).get(question)
        return None if found is None else (found[0], [list(span) for span in found[1]])


def marked_places(finding: Finding, place: tuple[int, int], spans: Spans) -> list[Finding]:
    """What is to be replaced where a finding at a place of the original was called an identifier."""
    return [Finding(start, end, finding.cls) for start, end in spans or [list(place)]]


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
        visit, question = row["visit_key"].strip(), row["question_key"].strip()
        known = found[visit].setdefault(question, line)
        if (known.answer, known.words) != (line.answer, line.words):
            raise InputError(f"{place}: line {line.line}: this question has two different answers; leave one")
    return dict(found)


def _line_of(row: Mapping[str, str | None], number: int, place: str) -> WrittenAnswer | None:
    answer = (row["answer"] or "").strip().lower()
    words, name = (row.get("words") or "").strip(), (row.get("field") or "").strip()
    if not answer:
        if words:
            raise InputError(f"{place}: line {number}: words without an answer; write identifier in the column answer")
        return None
    if answer not in ANSWERS:
        raise InputError(f"{place}: line {number}: this answer is none: {nearest(answer, ANSWERS)}")
    if not (row["question_key"] or "").strip() or not (row["visit_key"] or "").strip():
        raise InputError(f"{place}: line {number}: question_key or visit_key is missing; copy both from {QUEUE_FILE}")
    if words and (answer != IDENTIFIER or name not in TEXT_FIELDS):
        raise InputError(
            f"{place}: line {number}: words belong to the answer identifier and need the column field of {QUEUE_FILE}"
        )
    return WrittenAnswer(number, answer, name, words)


def answers_of(part: Part, written: Written, private: Store) -> dict[str, dict[str, Answer]]:
    """The answers that concern a partition of `text`, words turned into places: a worker's task carries no identifier.

    Raises InputError where the words do not stand in the field.
    """
    if not written:
        return {}
    part = replace(part, drop=())  # as its codes are: a visit that is dropped later must not change what the partition is made of
    keys = set(read_part(part, ["visit_key"])["visit_key"].to_pylist()) & set(written)
    worded = {key for key in keys if any(line.words for line in written[key].values())}
    rows = read_part(part, ["visit_key", *TEXT_FIELDS]).to_pylist() if worded else []
    texts = {row["visit_key"]: row for row in rows if row["visit_key"] in worded}
    return {
        key: {
            question: (line.answer, _spans(texts[key][line.field] or "", line, private) if line.words else [])
            for question, line in sorted(written[key].items())
        }
        for key in sorted(keys)
    }


def _spans(text: str, line: WrittenAnswer, private: Store) -> Spans:
    spans = _places(text, line.words)
    if not spans:
        place = f"{private.root}/{ANSWERS_FILE}: line {line.line}"
        raise InputError(f"{place}: the words do not stand in {line.field} of this visit as it was written")
    return spans


def unmatched(written: Written, text: Iterable[Part]) -> int:
    """How many answers name no visit of this export (any more)."""
    left = set(written)
    for part in text if left else ():
        left -= set(read_part(part, ["visit_key"])["visit_key"].to_pylist())
    return sum(len(written[visit]) for visit in left)


def _places(text: str, words: str) -> Spans:
    spans, at = [], text.find(words)
    while at >= 0:
        spans.append([at, at + len(words)])
        at = text.find(words, at + len(words))
    return spans


def write_queue(rows: Iterable[Mapping[str, str]], private: Store) -> Counter[str]:
    """private/queue/privacy.csv from the rows of `deidentify.review_queue`, streamed. Returns how many questions wait, by class."""
    waiting: Counter[str] = Counter()

    def lines() -> Iterable[bytes]:
        yield _line(QUEUE_HEADER)
        for row in rows:
            waiting[row["class"]] += 1
            yield _line([row.get(name, "") for name in QUEUE_HEADER])

    private.commit_stream(QUEUE_FILE, lines())
    return waiting


def _line(values: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()
