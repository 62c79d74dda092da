"""The step before `annotated` where a second pass is wanted: every unknown string that its partitions need and the cache lacks is asked for.

    bilingual partitions ─ unknown strings ─ identifier in it? never sent ─ each once ─ in the cache? ─ `translate_online` ─> cache/second_pass

One process asks, with the limiter, the retries and the workspace's budget that the translation has too: what is said of them in
`translate_fill` holds here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from codelib.core.stage import Part, Stage, read_part
from codelib.core.store import Store
from codelib.data.annotate import AnnotateSettings
from codelib.data.annotate_second import STATUSES, Questions
from codelib.data.translate_budget import TokenEstimate, open_budget
from codelib.data.translate_cache import FOLDER, SECOND_PASS, AnswerCache
from codelib.data.translate_exchange import Judged, Sent
from codelib.data.translate_fill import TRANSLATIONS, Report, came_to
from codelib.data.translate_online import Online
from codelib.data.translate_prompt import read_json
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import NOT_ASKED, Counts, Text
from codelib.models.remote_client import Reply

COLUMNS = ("visit_key", "diagnosis_cn", "teeth", "status")
_PLACE = "annotate.second_pass"
_TEXTS_OF_ANSWER = 5  # an answer about a string is as long as so many short translations

_CONDITION = {"quote": {"type": "string"}, "zh": {"type": "string"}, "status": {"type": "string", "enum": list(STATUSES)}}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False}


Wanted = tuple[pa.Table, frozenset[str] | None]
"""A BILINGUAL table, and the cache keys that are asked for of it (None: all)."""

_ITEM = _object({"n": {"type": "integer"}, "conditions": {"type": "array", "items": _object(_CONDITION)}})
_SCHEMA = {"name": "diagnoses", "strict": True, "schema": _object({"items": {"type": "array", "items": _ITEM}})}


def asking(annotate: AnnotateSettings, translate: TranslateSettings) -> TranslateSettings:
    """How the server of the second pass is asked: as the translation's, with the same budget; its limits and prices where it is the same."""
    second = annotate.second_pass
    changes: dict[str, Any] = {
        "engine": "openai",
        "base_url": second.base_url,
        "model": second.model,
        "key_env": second.key_env,
        "timeout_s": second.timeout_s,
        "max_retries": second.max_retries,
        "texts_per_request": second.strings_a_request,
        "transport": "online",
        "azure_deployment": None,
        "structured": "auto",
    }
    if urlsplit(second.base_url).netloc != urlsplit(translate.base_url).netloc:
        changes |= {"requests_per_minute": None, "tokens_per_minute": None}
    if second.model != translate.model:
        changes |= {"usd_per_million_input": None, "usd_per_million_output": None}
    return translate.model_copy(update=changes)


@dataclass(frozen=True)
class Diagnoses:
    """`translate_exchange.Task`: unknown strings, each answered by a list of conditions as JSON."""

    questions: Questions
    place: str = _PLACE
    harmless: str = "龋病"

    def compose(self, texts: Iterable[Text], estimate: TokenEstimate) -> Sent:
        named = {str(n): text for n, text in enumerate(texts)}
        numbered = [{"n": int(n), "text": text.chinese} for n, text in named.items()]
        user = json.dumps(numbered, ensure_ascii=False)
        messages = [{"role": "system", "content": self.questions.prompt}, {"role": "user", "content": user}]
        chars = sum(len(text.chinese) for text in named.values())
        return Sent(named, messages, estimate.of(self.questions.prompt + user, chars, _TEXTS_OF_ANSWER * len(named)), _SCHEMA)

    def judge(self, sent: Sent, reply: Reply) -> list[Judged] | None:
        """None where it cannot be read at all. Of a string that the answer left out there is nothing in the list."""
        if reply.refused:
            return [Judged(text, None, ("refusal",)) for text in sent.texts.values()]
        answer = read_json(reply.content) if reply.content else None
        items = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(items, list):
            return None
        given: dict[str, str] = {}
        for item in items:
            if isinstance(item, dict) and type(item.get("n")) is int and isinstance(item.get("conditions"), list):
                given.setdefault(str(item["n"]), json.dumps(item["conditions"], ensure_ascii=False))
        return [Judged(sent.texts[n], conditions, ()) for n, conditions in given.items() if n in sent.texts]


@dataclass
class StringReader:
    """Reads BILINGUAL tables and yields the strings to ask for, a request's worth at a time."""

    questions: Questions
    cache: AnswerCache
    counts: Counts = field(default_factory=Counts)
    seen: set[str] = field(default_factory=set)

    def requests(self, tables: Iterable[Wanted], size: int) -> Iterator[list[Text]]:
        waiting: list[Text] = []
        for table, only in tables:
            for row in table.select(list(COLUMNS)).to_pylist():
                for _, _, words in self.questions.strings(row):
                    if text := self._new(words, only):
                        waiting.append(text)
                    if len(waiting) == size:
                        yield waiting
                        waiting = []
        if waiting:
            yield waiting

    def _new(self, words: str, only: frozenset[str] | None) -> Text | None:
        key = self.questions.key(words)
        if key in self.seen or (only is not None and key not in only):
            return None
        self.seen.add(key)
        self.counts.texts += 1
        kept = self.cache.get(key)
        if kept is not None and kept.english.strip():
            self.counts.cached += 1
            return None
        self.counts.chars_to_ask += len(words)
        return Text(key, words)


def answers_stage(annotate: AnnotateSettings, translate: TranslateSettings, public: Store) -> Stage:
    """The step as a lazy stage of one partition, with work as `translate_fill.translations_work` makes it."""
    return Stage(
        "second_answers",
        1,
        TRANSLATIONS,
        fn=_Asker(annotate, asking(annotate, translate), Store(f"{public.root}/{SECOND_PASS}"), Store(f"{public.root}/{FOLDER}")),
        settings={"model": annotate.second_pass.model},
        lazy=True,
        unit="steps",
    )


@dataclass(frozen=True)
class _Asker:
    annotate: AnnotateSettings
    settings: TranslateSettings
    cache: Store
    books: Store  # of the workspace's budget

    def __call__(self, *inputs: Any) -> pa.Table:
        *parts, extra = inputs
        wanted = [None] * extra["waiting"] + [frozenset(keys) for keys in extra["open"]]
        questions, cache = Questions(self.annotate), AnswerCache(self.cache)
        tables = ((read_part(part, COLUMNS), only) for part, only in zip(parts, wanted, strict=True))
        counts = asyncio.run(ask(self.settings, questions, cache, self.books, tables, len(parts)))
        for part in parts:
            if part.drop:
                _note_outdated(part, questions, cache)
        return pa.Table.from_pylist([counts], schema=TRANSLATIONS.schema)


async def ask(
    settings: TranslateSettings, questions: Questions, cache: AnswerCache, books: Store, tables: Iterable[Wanted], total: int
) -> dict[str, Any]:
    """Ask for every string of the tables that the cache lacks; a row of TRANSLATIONS. Raises InputError where the run cannot go on; all
    that came is kept. ``settings``: of `asking`; ``books``: the cache in whose folder `spent` the workspace's budget is kept."""
    cache.store.sweep()
    budget, counts = open_budget(settings, books), Counts()
    report = Report(cache.store, total, counts, budget)

    def counted() -> Iterator[Wanted]:
        for table in tables:
            report.read += 1
            report()
            yield table

    requests = StringReader(questions, cache, counts).requests(counted(), settings.texts_per_request)
    await Online(settings, cache, counts, budget, Diagnoses(questions)).run(requests, report)
    report(force=True)
    return came_to(settings.model, counts, budget)


def _note_outdated(part: Part, questions: Questions, cache: AnswerCache) -> None:
    """`annotated` makes a partition from all its rows, also from those of visits that changed since: these are noted and not sent."""
    for row in read_part(replace(part, drop=()), COLUMNS, ok_only=True).to_pylist():
        if row["visit_key"] in part.drop:
            for _, _, words in questions.strings(row):
                if cache.get(key := questions.key(words)) is None:
                    cache.put_failed(key, [NOT_ASKED])
