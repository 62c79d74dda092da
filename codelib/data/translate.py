"""Translation: deidentified -> bilingual. Every field twice, each with the engine it came from and the checks it failed.

    field_cn = the Chinese as de-identified          teeth spans lie in it
    field    = the English ─┬─ openai    any compatible server, checked, cached: `translate_fill` asks, this reads the cache
                            ├─ glossary  term by term, offline: a stand-in, marked by its engine's name and by chinese_left
                            └─ none      the Chinese again, marked untranslated

A field whose translation failed its checks twice holds the Chinese as written, ``needs_review`` and the names of the checks. A visit with
a privacy doubt is not sent: it is held back as ``translate:identifier``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from codelib.contracts import BILINGUAL, OK, TEXT_FIELDS, rejected
from codelib.core.cli import InputError
from codelib.data.translate_cache import AnswerCache, text_digest
from codelib.data.translate_checks import NEEDS_REVIEW, check
from codelib.data.translate_fill import fill
from codelib.data.translate_glossary import gloss, read_glossary
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import failed_at_server, fields_of, is_safe, key_of, verdict
from codelib.data.unanswered import asked_row, asked_table

__all__ = ["AnswerCache", "TranslateSettings", "gloss", "make_bilingual", "make_translator", "read_glossary"]


@dataclass(frozen=True)
class FieldAnswer:
    """The English ("" where there is none) and the names of what is wrong with it."""

    english: str
    failed: tuple[str, ...]


def _offline(engine: str, chinese: str) -> FieldAnswer:
    if engine == "none":
        return FieldAnswer(chinese, ("untranslated",))
    english = gloss(chinese)
    # a stand-in's length says nothing, and what it says no to it says in Chinese
    failed = [name for name in check(chinese, english) if name not in ("length", "negation_changed", "side_changed")]
    keep = {"chinese_left"}.issuperset(failed)
    return FieldAnswer(english if keep else chinese, tuple(failed))


def _kept(settings: TranslateSettings, cache: AnswerCache, chinese: str) -> FieldAnswer:
    """From the cache, checked anew. Raises InputError where the text was never asked for."""
    kept = cache.get(key_of(settings, chinese))
    if kept is None:
        raise InputError(
            f"{cache.store.root} lacks an answer that was there when this stage began; run the same command again, it asks for it"
        )
    failed = verdict(chinese, kept)
    return FieldAnswer("", (NEEDS_REVIEW, *failed)) if failed else FieldAnswer(kept.english, ())


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


def _bilingual(
    table: pa.Table, extra: object = None, *, engine: str, asks: bool, answer: Callable[[str], FieldAnswer]
) -> pa.Table:
    """``extra`` stands in the partition's key alone: which answers came after it was first made (codelib.data.unanswered)."""
    rows = []
    for row in table.to_pylist():
        fields = fields_of(row)
        if row["status"] != OK:
            rows.append(_held_back(row, {"status": row["status"], "reject_reason": row["reject_reason"]}))
        elif asks and not is_safe(fields):
            rows.append(_held_back(row, rejected("translate:identifier")))
        else:
            rows.append(_row(row, engine, {name: answer(text) for name, text in fields.items()}))
    return pa.Table.from_pylist(rows, schema=BILINGUAL.schema)


def make_bilingual(settings: TranslateSettings, cache: AnswerCache | None = None) -> Callable[..., pa.Table]:
    """The stage's function: deidentified -> bilingual, without a network. Engine openai reads ``cache``, which `translate_fill` has filled,
    and raises InputError (when called) where it lacks a text."""
    if settings.engine != "openai":
        return partial(_bilingual, engine=settings.engine, asks=False, answer=partial(_offline, settings.engine))
    assert cache is not None, "engine openai needs a cache"
    return partial(_bilingual, engine=f"openai:{settings.model}", asks=True, answer=partial(_kept, settings, cache))


def make_translator(settings: TranslateSettings, cache: AnswerCache | None = None) -> Callable[[pa.Table], pa.Table]:
    """Both steps in one for a single table, in one process: what the cache lacks is asked for, then read.

    Raises InputError (when called) where the server refuses the key, the model or the address, gives no answer, or the budget is spent.
    """
    bilingual = make_bilingual(settings, cache)
    if settings.engine != "openai":
        return bilingual

    def translate(table: pa.Table) -> pa.Table:
        assert cache is not None
        fill(settings, cache, lambda: [table], 1)
        return bilingual(table)

    return translate


def asked(table: pa.Table, settings: TranslateSettings) -> pa.Table:
    """ASKED of a BILINGUAL table: what its translations hang on, by the hashes of the cache."""
    rows = []
    for row in table.to_pylist():
        checks = {t["field"]: t["checks"] for t in row["translations"]}
        for name in TEXT_FIELDS:
            if (chinese := row[f"{name}_cn"] or "").strip():
                is_answered = not failed_at_server(checks.get(name, ()))
                rows.append(asked_row(row, key_of(settings, chinese), text_digest(chinese), is_answered))
    return asked_table(rows)
