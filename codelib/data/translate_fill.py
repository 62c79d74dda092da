"""The step before `bilingual`: everything that its partitions need and the cache lacks is asked for.

    deidentified partitions that bilingual has still to make ─ this step, one process ─> cache/translations
    each such partition + cache ─ bilingual, any number of workers ─> bilingual partition

One process sees all texts of the run: so each distinct text is asked for once, one limiter is the cluster's, the queue never runs dry between
partitions, a batch can be as large as the run, and a budget stops everything at one place. The output is one row: what it came to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from codelib.contracts import TEXT_FIELDS, Contract
from codelib.core.stage import Part, Stage, Work, read_part
from codelib.core.store import Store
from codelib.data.translate_batch import Batches
from codelib.data.translate_budget import Budget
from codelib.data.translate_cache import FOLDER, AnswerCache
from codelib.data.translate_online import Online
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Counts, Reader

PROGRESS = "progress.json"
_REPORT_EVERY_S = 5.0

TRANSLATIONS = Contract(
    "translations",
    1,
    ("model",),
    pa.schema(
        [
            pa.field("model", pa.string(), nullable=False),
            ("texts", pa.int64()),  # distinct texts of the partitions
            ("cached", pa.int64()),  # answered in an earlier run
            ("answered", pa.int64()),
            ("needs_review", pa.int64()),  # of all: failed their checks twice, or got no answer
            ("visits_held_back", pa.int64()),  # an identifier was found at the last moment: nothing of them was sent
            ("requests", pa.int64()),
            ("input_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("usd", pa.float64()),  # by the price table; 0 where no price is known
        ]
    ),
)


@dataclass
class Report:
    """cache/translations/progress.json: counts for whoever wants to look, and for `translate_progress.shown`."""

    cache: Store
    total: int
    counts: Counts
    budget: Budget
    read: int = 0
    note: str = ""
    _last_s: float = 0.0

    def __call__(self, note: str = "", force: bool = False) -> None:
        now_s = time.monotonic()
        self.note = note or self.note
        if force or now_s - self._last_s >= _REPORT_EVERY_S:
            self._last_s = now_s
            counts, spent = self.counts, self.budget.now
            done = {"texts": counts.texts, "cached": counts.cached, "answered": counts.answered, "needs_review": counts.review}
            cost = {"requests": spent.requests, "tokens": round(spent.tokens), "usd": round(spent.usd, 4)}
            where = {"partitions_read": self.read, "partitions": self.total, "note": self.note}
            self.cache.commit_json(PROGRESS, done | cost | where)


def translations_stage(settings: TranslateSettings, public: Store) -> Stage:
    """The step as a stage of one partition. It is lazy: it reads the partitions itself, one at a time."""
    return Stage(
        "translations",
        1,
        TRANSLATIONS,
        fn=_Filler(settings, Store(f"{public.root}/{FOLDER}")),
        settings=settings.answer_settings(),
        lazy=True,
        unit="steps",
    )


def translations_work(waiting: Iterable[Part]) -> list[Work]:
    """``waiting``: the deidentified partitions that bilingual has still to make. Never twice the same work: what is in the cache is known
    to the cache alone, and somebody may have emptied it."""
    return [Work(tuple(replace(part, drop=()) for part in waiting), extra={"asked_at": time.time_ns()})]


def waiting(bilingual: Stage, work: Iterable[Work], public: Store) -> list[Part]:
    """The first inputs of the work that a stage has still to do."""
    done = {name.rsplit("/", 1)[-1].removesuffix(".parquet") for name in public.names(f"stages/{bilingual.name}")}
    return [item.inputs[0] for item in work if bilingual.key(item) not in done]


@dataclass(frozen=True)
class _Filler:
    settings: TranslateSettings
    cache: Store

    def __call__(self, *inputs: Any) -> pa.Table:
        parts: list[Part] = [part for part in inputs if isinstance(part, Part)]
        return fill(self.settings, AnswerCache(self.cache), (lambda: (_table(part) for part in parts)), len(parts))


def _table(part: Part) -> pa.Table:
    return read_part(part, [*TEXT_FIELDS, "status"])


def fill(settings: TranslateSettings, cache: AnswerCache, tables: Callable[[], Iterable[pa.Table]], total: int) -> pa.Table:
    """Ask for every text of the tables that the cache lacks. Raises InputError where the run cannot go on; all that came is kept.

    ``tables`` is called for each pass over them.
    """
    counts = asyncio.run(_fill(settings, cache, tables, total))
    return pa.Table.from_pylist([counts], schema=TRANSLATIONS.schema)


async def _fill(
    settings: TranslateSettings, cache: AnswerCache, tables: Callable[[], Iterable[pa.Table]], total: int
) -> dict[str, Any]:
    cache.store.sweep()  # what a killed writer left
    budget, counts = Budget(settings, cache.store), Counts()
    report = Report(cache.store, total, counts, budget)
    if settings.transport == "batch" or Batches.are_open(cache):
        batches = Batches(settings, cache, counts, budget, report)
        try:
            await batches.resume()
            if settings.transport == "batch":
                await batches.run(tables)
        finally:
            await batches.close()
    if settings.transport == "online":
        reader = Reader(settings, cache, counts)
        await Online(settings, cache, counts, budget).run(reader.requests(_counted(tables(), report)), report)
    report(force=True)
    return {
        "model": settings.model,
        "texts": counts.texts,
        "cached": counts.cached,
        "answered": counts.answered,
        "needs_review": counts.review,
        "visits_held_back": counts.held_back,
        "requests": budget.now.requests,
        "input_tokens": round(budget.now.input),
        "output_tokens": round(budget.now.output),
        "usd": round(budget.now.usd, 6),
    }


def _counted(tables: Iterable[pa.Table], report: Report) -> Iterator[pa.Table]:
    for table in tables:
        report.read += 1
        report()
        yield table
