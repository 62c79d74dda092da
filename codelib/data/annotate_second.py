"""The optional second pass: a model reads the diagnosis strings that no list knows, and must quote them.

    bilingual partitions that annotated has still to make ─ `annotate_ask`, one process ─> cache/second_pass
    unknown parts of a table + cache ─ this ─ checked ─ diseases

An answer counts only where its quote stands in the string word for word, its condition is one of the dictionary (so that zh, en and ICD-10 are
never the model's) and its status is one of ours. What fails that, and what the model does not know, stays unknown and is listed as before.
A string that the server failed on stays unknown too; the row names it in ``unanswered``, and the next run asks again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from codelib.contracts import ANNOTATED, OK
from codelib.core.cli import InputError
from codelib.core.stage import digest
from codelib.data.annotate import AnnotateSettings, annotate, disease_row, six_class, teeth_of
from codelib.data.annotate_report import unknown_parts
from codelib.data.identifiers import contains_identifier
from codelib.data.translate_cache import AnswerCache, text_digest
from codelib.data.translate_texts import failed_at_server
from codelib.data.unanswered import asked_row, asked_table
from codelib.dental.condition_lists import Condition
from codelib.dental.condition_terms import Dictionary

STATUSES = ("present", "suspected", "negated", "past", "planned")
_PROMPT = """You read diagnoses of a Chinese dental clinic that a dictionary did not know: an array of objects with "n" and "text".
Answer with a JSON object {"items": [{"n": ..., "conditions": [{"quote": ..., "zh": ..., "status": ...}]}]}, one item for each n.
"quote": the words of that text that name the condition, copied exactly. "zh": the name of the same condition, from the list below.
"status": present, suspected, negated, past or planned, as the text says. A text that names none of the listed conditions has an
empty list: never take a condition that is only similar. The list:
"""


@dataclass(frozen=True)
class Found:
    """A condition that the model named in a string; ``start``..``end`` is its quote there."""

    zh: str
    status: str
    start: int
    end: int


@dataclass(frozen=True)
class Questions:
    """What is asked about a string, and by which name its answer is kept."""

    settings: AnnotateSettings

    @cached_property
    def terms(self) -> Dictionary:
        return self.settings.dictionary()

    @cached_property
    def conditions(self) -> dict[str, Condition]:
        return {condition.zh: condition for condition in self.terms.conditions}

    @cached_property
    def prompt(self) -> str:
        return _PROMPT + "、".join(self.conditions)

    def key(self, words: str) -> str:
        asked = ["second_pass", self.settings.second_pass.model, self.prompt, words]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def strings(self, row: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
        """The unknown parts of a BILINGUAL or ANNOTATED row that may be sent: (start, end, words). None of a diagnosis in which an identifier
        may be, whatever was removed before: a part of it may be a piece of that."""
        if row["status"] == OK and not contains_identifier(row["diagnosis_cn"] or ""):
            yield from (part for part in unknown_parts(row, self.terms) if not contains_identifier(part[2]))

    def checked(self, words: str, answer: str) -> tuple[Found, ...]:
        """The conditions of an answer that keep the rules: quoted word for word, of the dictionary, with a status of ours."""
        found = []
        for row in json.loads(answer):
            quote, zh, status = (row.get(name) for name in ("quote", "zh", "status")) if isinstance(row, dict) else (None,) * 3
            if not (isinstance(quote, str) and isinstance(zh, str) and isinstance(status, str)) or not quote.strip():
                continue
            if zh not in self.conditions or status not in STATUSES:
                continue
            start = words.find(quote)
            if start >= 0:
                found.append(Found(zh, status, start, start + len(quote)))
        return tuple(found)


@dataclass(frozen=True)
class SecondPass:
    """ANNOTATED → ANNOTATED: the unknown parts of the diagnoses, as the cache answers them. Asks nobody, in any number of workers."""

    questions: Questions
    cache: AnswerCache

    def __call__(self, table: pa.Table) -> pa.Table:
        """Raises InputError where a string was never asked for."""
        rows = table.to_pylist()
        for row in rows:
            unanswered = []
            for start, end, words in self.questions.strings(row):
                key = self.questions.key(words)
                kept = self.cache.get(key)
                if kept is None:
                    raise InputError(
                        f"{self.cache.store.root} lacks an answer that was there when this stage began; run the same command again, "
                        "it asks for it"
                    )
                if kept.english:
                    self._add(row, start, end, words, self.questions.checked(words, kept.english))
                elif failed_at_server(kept.failed):
                    unanswered.append(key)
            row["six_class"] = six_class(row["diseases"])
            row["unanswered"] = list(dict.fromkeys(unanswered))
        return pa.Table.from_pylist(rows, schema=ANNOTATED.schema)

    def _add(self, row: dict[str, Any], start: int, end: int, words: str, found: tuple[Found, ...]) -> None:
        """The found conditions as diseases of the row. A quote that a tooth number parts in the text is quoted as the whole part."""
        text = row["diagnosis_cn"]
        teeth = [t for t in teeth_of(row, "diagnosis") if start <= t["start"] < end]
        numbers = list(dict.fromkeys(number for tooth in teeth for number in tooth["fdi"]))
        for condition in found:
            at = text.find(words[condition.start : condition.end], start, end)
            span = (at, at + condition.end - condition.start) if at >= 0 else (start, end)
            known = self.questions.conditions[condition.zh]
            disease = disease_row(known, condition.status, "diagnosis", text, span, numbers)
            row["diseases"].append(disease | {"source": f"openai:{self.questions.settings.second_pass.model}"})


@dataclass(frozen=True)
class Annotator:
    """The stage's function, BILINGUAL → ANNOTATED, with the second pass where the settings ask for it. ``extra`` stands in the
    partition's key alone: which answers came after it was first made (codelib.data.unanswered)."""

    settings: AnnotateSettings
    cache: AnswerCache

    def __call__(self, table: pa.Table, extra: object = None) -> pa.Table:
        first = annotate(table, self.settings)
        if self.settings.second_pass.engine == "none":
            return first
        return SecondPass(Questions(self.settings), self.cache)(first)


def asked(table: pa.Table, questions: Questions) -> pa.Table:
    """ASKED of an ANNOTATED table: the strings that the second pass asks about, by the hashes of the cache."""
    rows = []
    for row in table.to_pylist():
        for _, _, words in questions.strings(row):
            key = questions.key(words)
            rows.append(asked_row(row, key, text_digest(words), key not in (row["unanswered"] or ())))
    return asked_table(rows)


def identity(settings: AnnotateSettings) -> dict[str, Any]:
    """What of the settings decides the result, for the stage's key and for manifests that anybody may read: where the server stands and how
    patient we are does not, and of a clinic's own lists a digest says whether they are the same."""
    second, lists = settings.second_pass, {"diagnoses": settings.diagnoses, "six_class": settings.six_class}
    digests = {name: digest([row.fingerprint() for row in rows]) if rows else [] for name, rows in lists.items()}
    return settings.fingerprint() | digests | {"second_pass": second.model if second.engine != "none" else None}
