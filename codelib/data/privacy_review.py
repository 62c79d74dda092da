"""Suspicions that wait for a person, and how the answers reach the stage. `codelib.data.privacy_answers` reads the answers.

    private/queue/privacy.csv           written by each run: every suspicion, its class, and the words around it with the suspicion in 【 】
    private/queue/privacy-answers.csv   the answers; never written by a run. The queue itself, filled in and saved under this name, is one

There are two kinds of questions:

    about a place in a text    tied by a keyed hash to the visit, the field, its whole text and the place: the same words in another text are
                               another question, and a text that was corrected since is asked about anew
    about a cell of a name     tied to what the cell says, and asked once for all visits whose columns hold it, however many: its answer
    column (NAME_COLUMN)       stays while anything else changes. Its key begins with ``cell-``, its line has no visit_key
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from codelib.core.store import Store
from codelib.data.vault import Keyed

QUEUE_FILE, ANSWERS_FILE = "queue/privacy.csv", "queue/privacy-answers.csv"
IDENTIFIER, KEEP, REJECT = "identifier", "keep", "reject"
ANSWERS = (IDENTIFIER, KEEP, REJECT)
QUEUE_HEADER = ("question_key", "visit_key", "checkup_id", "field", "class", "visits", "marked", "answer", "words")
NAME_COLUMN = "NAME_COLUMN"
"""The class of a question about a name cell that could not be read. identifier: ``words`` are the names in it (none given: all of it is one),
and are looked for in every visit with the cell; keep: it names nobody; reject: the visits with the cell stay out."""
CELL = "cell-"


class Answer(NamedTuple):
    """An answer about a place of a text. Plain JSON values: it travels in a partition's work, and so holds places instead of words."""

    answer: str
    worded: bool = False  # the person wrote what is to be replaced, in place of what was marked
    cls: str = ""  # of the question, where the line tells it
    places: Sequence[Sequence[Any]] = ()  # [field, start, end]: where what was called an identifier stands in this visit


class CellAnswer(NamedTuple):
    """An answer about a name cell; ``spans`` [start, end] of the names in it, none where all of it is one."""

    answer: str
    spans: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Review:
    """What the stage is handed: the key that questions are made with, and the answers of its visits. Without a key there are no questions."""

    keyed: Keyed | None = None
    answers: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)  # visit_key -> question_key -> Answer
    cells: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # question_key -> CellAnswer

    def question(self, visit_key: str, name: str, text: str, start: int, end: int) -> str:
        """start, end: the suspicion's place in ``text``, the field as it came into the stage."""
        if self.keyed is None:
            return ""
        return self.keyed.text("privacy-question", f"{visit_key}\0{name}\0{start}\0{end}\0{text}")

    def cell_question(self, value: str) -> str:
        return cell_key(value, self.keyed) if self.keyed else ""

    def of_visit(self, visit_key: str) -> dict[str, Answer]:
        """question_key -> answer."""
        return {key: Answer(*found) for key, found in self.answers.get(visit_key, {}).items()}

    def of_cell(self, value: str) -> CellAnswer | None:
        found = self.cells.get(self.cell_question(value)) if self.cells else None
        return None if found is None else CellAnswer(*found)


def cell_key(value: str, keyed: Keyed) -> str:
    """The name of the question about a cell."""
    return CELL + keyed.text("privacy-cell", value)


def write_queue(rows: Iterable[Mapping[str, Any]], private: Store) -> Counter[str]:
    """private/queue/privacy.csv from the rows of `deidentify.review_queue`, streamed; a cell that several visits ask about becomes one
    line at the end. Returns how many questions wait, by class."""
    waiting: Counter[str] = Counter()
    cells: dict[str, Mapping[str, Any]] = {}
    holding: Counter[str] = Counter()

    def lines() -> Iterable[bytes]:
        yield _line(QUEUE_HEADER)
        for row in rows:
            if row["class"] == NAME_COLUMN:
                cells.setdefault(row["question_key"], row)
                holding[row["question_key"]] += 1
                continue
            waiting[row["class"]] += 1
            yield _line([row.get(name, "") for name in QUEUE_HEADER])
        for key, row in sorted(cells.items()):
            waiting[NAME_COLUMN] += 1
            yield _line([{**row, "visits": holding[key]}.get(name, "") for name in QUEUE_HEADER])

    private.commit_stream(QUEUE_FILE, lines())
    return waiting


def _line(values: Sequence[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()
