"""Translation: deidentified -> bilingual. Every field twice, each with the engine it came from and the checks it failed.

    field_cn = the Chinese as de-identified          teeth spans lie in it
    field    = the English ─┬─ openai    any compatible server, checked, cached
                            ├─ glossary  term by term, offline: a stand-in, marked by its engine's name and by chinese_left
                            └─ none      the Chinese again, marked untranslated
A field whose translation fails its checks holds the Chinese as written and the names of the checks. A visit with a privacy doubt
is not sent: it is held back as ``translate:identifier``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from codelib.contracts import BILINGUAL, OK, TEXT_FIELDS, rejected
from codelib.core.config import Settings
from codelib.data.identifiers import contains_identifier
from codelib.data.translate_checks import check
from codelib.data.translate_openai import AnswerCache, FieldAnswer, OpenAITranslator, Server

__all__ = ["AnswerCache", "TranslateSettings", "gloss", "make_translator", "read_glossary"]


class TranslateSettings(Settings):
    engine: Literal["none", "glossary", "openai"] = "glossary"
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-4o-2024-11-20"
    key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable with the key; the key itself stands in no file."""
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_s: float = Field(default=60.0, gt=0)
    max_retries: int = Field(default=5, ge=0, le=20)
    backoff_s: float = Field(default=0.5, ge=0)


_PUNCTUATION = str.maketrans(
    {"，": ", ", "。": ". ", "；": "; ", "：": ": ", "、": ", ", "（": " (", "）": ") ", "！": "! ", "？": "? "}
)


@lru_cache(maxsize=1)
def read_glossary() -> tuple[tuple[str, str], ...]:
    """(Chinese, English) of terms/glossary.csv, longest first."""
    path = Path(__file__).with_name("terms") / "glossary.csv"
    with path.open(encoding="utf-8", newline="") as source:
        rows = [(row["zh"], row["en"]) for row in csv.DictReader(source)]
    return tuple(sorted(rows, key=lambda row: (-len(row[0]), row[0])))


@lru_cache(maxsize=1)
def _terms() -> tuple[dict[str, str], re.Pattern[str]]:
    terms = dict(read_glossary())
    return terms, re.compile("|".join(re.escape(zh) for zh, _ in read_glossary()))


def gloss(chinese: str) -> str:
    """Term by term, the longest first; what is unknown stays Chinese, numbers and placeholders stay as they are.

    >>> gloss("16慢性龈炎，全口洁治")
    '16 chronic gingivitis, full-mouth scaling'
    """
    terms, pattern = _terms()
    pieces: list[str] = []
    at = 0
    for match in pattern.finditer(chinese):
        pieces += [chinese[at : match.start()], f" {terms[match.group()]} "]
        at = match.end()
    text = "".join([*pieces, chinese[at:]]).translate(_PUNCTUATION)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ([,.;:!?)](?!\d))", r"\1", text)
    text = re.sub(r"\( ", "(", text)
    return "\n".join(line.strip() for line in text.split("\n"))


def _offline(engine: str, chinese: str) -> FieldAnswer:
    if engine == "none":
        return FieldAnswer(chinese, ("untranslated",))
    english = gloss(chinese)
    failed = [name for name in check(chinese, english) if name != "length"]  # a stand-in's length says nothing
    keep = {"chinese_left"}.issuperset(failed)
    return FieldAnswer(english if keep else chinese, tuple(failed))


def _row(row: dict[str, Any], engine: str, answers: dict[str, FieldAnswer]) -> dict[str, Any]:
    out = {name: row[name] for name in BILINGUAL.schema.names if name in row}
    translations = []
    for name in TEXT_FIELDS:
        chinese = row[name] or ""
        answer = answers.get(name, FieldAnswer("", ()))
        # a field that failed keeps the Chinese in the English's place, and says so
        out[name], out[f"{name}_cn"] = answer.english or chinese, chinese
        used = engine if chinese.strip() else "empty"
        translations.append({"field": name, "engine": used, "checks": list(answer.failed)})
    return out | {"translations": translations}


def _held_back(row: dict[str, Any], reason: dict[str, str]) -> dict[str, Any]:
    out = {name: row[name] for name in BILINGUAL.schema.names if name in row}
    empty = dict.fromkeys(TEXT_FIELDS, "") | dict.fromkeys((f"{name}_cn" for name in TEXT_FIELDS), "")
    return out | empty | {"teeth": [], "removed": [], "translations": []} | reason


def make_translator(settings: TranslateSettings, cache: AnswerCache | None = None) -> Callable[[pa.Table], pa.Table]:
    """The stage's function under these settings. ``cache`` serves the openai engine alone: the others cost nothing.

    Raises ValueError (when called) where the server refuses the key, the model or the address.
    """
    server = Server(
        settings.base_url, settings.model, settings.key_env, settings.timeout_s, settings.max_retries, settings.backoff_s
    )
    remote = OpenAITranslator(server, read_glossary(), cache, settings.concurrency)
    engine = remote.name if settings.engine == "openai" else settings.engine

    def answers_of(rows: list[dict[str, str]]) -> list[dict[str, FieldAnswer]]:
        if settings.engine == "openai":
            return remote.translate(rows)
        return [{name: _offline(settings.engine, text) for name, text in fields.items()} for fields in rows]

    def translate(table: pa.Table) -> pa.Table:
        out: list[dict[str, Any] | None] = []
        waiting: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        for row in table.to_pylist():
            fields = {name: row[name] for name in TEXT_FIELDS if row[name] and row[name].strip()}
            if row["status"] != OK:
                out.append(_held_back(row, {"status": row["status"], "reject_reason": row["reject_reason"]}))
            elif settings.engine == "openai" and any(contains_identifier(text) for text in fields.values()):
                out.append(_held_back(row, rejected("translate:identifier")))
            else:
                waiting.append((len(out), row, fields))
                out.append(None)
        for (place, row, _), answers in zip(waiting, answers_of([fields for _, _, fields in waiting]), strict=True):
            out[place] = _row(row, engine, answers)
        return pa.Table.from_pylist(out, schema=BILINGUAL.schema)

    return translate
