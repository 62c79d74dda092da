"""Teeth that wait for a person, and the person's answers.

    private/queue/teeth.csv           written by each run: every ambiguous or impossible mention, with the words around it
    private/queue/teeth-answers.csv   the answers: question, visit_key, field, start, answer; never written by a run

An answer is the FDI numbers (``16`` or ``16 26``), ``region``, ``none`` (no tooth) or ``keep`` (it stays as it is and is asked no more). Its
question is bound to the field's text as written: a field that was changed in the export is another question. A mention without an answer is
left as written and marked. PRIVATE: both files quote the record as written.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, TEXT_FIELDS
from codelib.core.ahead import ahead, read_parts, visits_among
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, Work, read_part
from codelib.core.store import Store
from codelib.data.sheets import decode_text
from codelib.data.teeth import AMBIGUOUS, DEFAULT, KEEP, NO_TOOTH, REGION, REJECT, Answers, TeethSettings, normalised
from codelib.dental.teeth_fdi import FDI

ANSWERS_FILE, QUEUE_FILE = "queue/teeth-answers.csv", "queue/teeth.csv"
QUEUE_HEADER = ("question", "visit_key", "field", "start", "status", "written", "context", "may_be", "answer")
_NEEDED = ("question", "visit_key", "field", "start", "answer")
_CONTEXT_CHARS = 24

Decisions = Mapping[str, Mapping[str, list[list[Any]]]]
"""visit_key -> field -> [[question, start, [answer, …]], …]: plain JSON values, for they travel in a partition's key."""


def question(visit_key: str, field: str, text: str, start: int) -> str:
    """The name of a doubt: it changes with the field's text, and tells nothing of it (visit_key is a keyed hash)."""
    return hashlib.sha256(f"{visit_key}\0{field}\0{start}\0{text}".encode()).hexdigest()[:20]


def read_answers(private: Store) -> Decisions:
    """The person's file. Raises InputError naming the line that cannot be read."""
    if not private.exists(ANSWERS_FILE):
        return {}
    place = f"{private.root}/{ANSWERS_FILE}"
    rows = csv.DictReader(io.StringIO(decode_text(private.read(ANSWERS_FILE), place)))
    if lacking := [name for name in _NEEDED if name not in (rows.fieldnames or ())]:
        raise InputError(f"{place}: no column {', '.join(lacking)}; copy the lines and the head of {QUEUE_FILE}")
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for number, row in enumerate(rows, 2):
        cells = {name: (row[name] or "").strip() for name in _NEEDED}
        if not cells["answer"]:
            continue  # not decided yet
        where = f"{place}: line {number}"
        if not all(cells.values()) or not cells["start"].isdigit() or cells["field"] not in TEXT_FIELDS:
            raise InputError(f"{where}: question, visit_key, field or start is damaged; copy them from {QUEUE_FILE}")
        answer = _answer(cells["answer"], where)
        here = found.setdefault(cells["visit_key"], {}).setdefault(cells["field"], [])
        if any(asked == cells["question"] and given != answer for asked, _, given in here):
            raise InputError(f"{where}: this question has two different answers; leave one")
        here.append([cells["question"], int(cells["start"]), answer])
    return found


def _answer(text: str, where: str) -> list[str]:
    if text.lower() in (REGION, NO_TOOTH, KEEP):
        return [text.lower()]
    numbers = [part for part in re.split(r"[\s,，、;；]+", text) if part]
    wrong = next((number for number in numbers if number not in FDI), None)
    if wrong is not None:
        way_out = "give FDI numbers (16 or 16 26), region, none or keep"
        raise InputError(f"{where}: answer {wrong}: {way_out}; {nearest(wrong, (REGION, NO_TOOTH, KEEP, *FDI))}")
    return numbers


def answers_of(record: Mapping[str, Any], decisions: Decisions) -> dict[str, Answers]:
    """The answers of one record that still fit its text, by field: what `codelib.data.teeth.normalise_teeth` takes."""
    fitting: dict[str, Answers] = {}
    for field, rows in decisions.get(record["visit_key"], {}).items():
        text = record[field] or ""
        fitting[field] = {
            start: tuple(answer) for asked, start, answer in rows if question(record["visit_key"], field, text, start) == asked
        }
    return fitting


def answers_of_table(table: pa.Table, decisions: Decisions) -> dict[str, dict[str, Answers]]:
    """`answers_of` for the rows of a RECORDS table, by visit_key."""
    asked = [row for row in table.select(["visit_key", *TEXT_FIELDS]).to_pylist() if row["visit_key"] in decisions]
    return {row["visit_key"]: answers_of(row, decisions) for row in asked}


def text_work(records: Sequence[Part], decisions: Decisions) -> list[Work]:
    """The text stage's partitions. Those without an answer keep their key, so that nothing of them is done again."""
    work = []
    for part, visits in zip(records, visits_among(records, decisions), strict=True):
        extra = {"teeth": {visit: decisions[visit] for visit in sorted(visits)}}
        work.append(Work((part,), extra if visits else None, ship_drop=True))
    return work


def doubts(
    table: pa.Table, decisions: Decisions, settings: TeethSettings = DEFAULT, visits: frozenset[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The mentions of a RECORDS table that wait for a person, as rows of the queue file; of ``visits`` only, where given. PRIVATE."""
    for record in table.select(["visit_key", "status", *TEXT_FIELDS]).to_pylist():
        if record["status"] != OK or (visits is not None and record["visit_key"] not in visits):
            continue
        decided = answers_of(record, decisions)
        for field in TEXT_FIELDS:
            text = record[field] or ""
            known = decided.get(field, {})
            for mention in normalised(text, settings, known).written:
                if mention.status not in (AMBIGUOUS, REJECT) or known.get(mention.start) == (KEEP,):
                    continue
                start, end = mention.start, mention.end
                yield {
                    "question": question(record["visit_key"], field, text, start),
                    "visit_key": record["visit_key"],
                    "field": field,
                    "start": start,
                    "status": mention.status,
                    "written": text[start:end],
                    "context": text[max(0, start - _CONTEXT_CHARS) : end + _CONTEXT_CHARS],
                    "may_be": " ".join(mention.fdi),
                    "answer": "",
                }


def write_queue(
    records: Sequence[Part], text: Sequence[Part], decisions: Decisions, private: Store, settings: TeethSettings = DEFAULT
) -> int:
    """private/queue/teeth.csv, partition by partition; only visits with a doubt are read again. Returns how many mentions wait."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        yield _line(QUEUE_HEADER)
        doubtful = (_doubtful(table) for table in read_parts(text, ["visit_key", "teeth"]))
        asked = ((record, visits) for record, visits in zip(records, doubtful, strict=True) if visits)
        for table, visits in ahead(lambda one: (read_part(one[0], ok_only=True), one[1]), asked):
            for row in doubts(table, decisions, settings, visits):
                count += 1
                yield _line([row[name] for name in QUEUE_HEADER])

    private.commit_stream(QUEUE_FILE, lines())
    return count


def _doubtful(table: pa.Table) -> frozenset[str]:
    rows = table.to_pylist()
    return frozenset(r["visit_key"] for r in rows if any(t["status"] in (AMBIGUOUS, REJECT) for t in r["teeth"] or []))


def _line(values: Iterable[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()
