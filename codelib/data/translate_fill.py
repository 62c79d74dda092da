"""The step before `bilingual`: everything that its partitions need and the cache lacks is asked for.

    deidentified partitions that bilingual has still to make ─ this step, one process ─> cache/translations
    each such partition + cache ─ bilingual, any number of workers ─> bilingual partition

One process sees all texts of the run: so each distinct text is asked for once, one limiter is the cluster's, the queue never runs dry between
partitions, a batch can be as large as the run, and a budget stops everything at one place. The output is one row: what it came to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from codelib.contracts import TEXT_FIELDS, Contract
from codelib.core.stage import Part, Stage, Work, read_part
from codelib.core.store import Store
from codelib.data.translate_batch import Batches
from codelib.data.translate_budget import open_budget
from codelib.data.translate_cache import FOLDER, AnswerCache
from codelib.data.translate_online import Online
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import NOT_ASKED, Counts, Reader, fields_of, key_of
from codelib.models.remote_budget import Budget

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


def translations_work(waiting: Sequence[Part], still_open: Sequence[tuple[Part, Collection[str]]] = ()) -> list[Work]:
    """``waiting``: the deidentified partitions that bilingual has still to make; ``still_open``: those it has made, and the cache keys of the
    texts in them that no server answered. Never twice the same work: what is in the cache is known to the cache alone, and
    somebody may have emptied it."""
    keys = [sorted(keys) for _, keys in still_open]
    return [
        Work(
            (*waiting, *(part for part, _ in still_open)),
            extra={"asked_at": time.time_ns(), "waiting": len(waiting), "open": keys},
        )
    ]


def waiting(stage: Stage, work: Iterable[Work], public: Store) -> list[Part]:
    """The first inputs of the work that a stage has still to do."""
    done = {name.rsplit("/", 1)[-1].removesuffix(".parquet") for name in public.names(f"stages/{stage.name}")}
    return [item.inputs[0] for item in work if stage.key(item) not in done]


@dataclass(frozen=True)
class _Filler:
    settings: TranslateSettings
    cache: Store

    def __call__(self, *inputs: Any) -> pa.Table:
        *parts, extra = inputs
        whole, rest = parts[: extra["waiting"]], parts[extra["waiting"] :]
        cache = AnswerCache(self.cache)

        def tables() -> Iterator[pa.Table]:
            yield from (read_part(part, COLUMNS) for part in whole)
            for part, keys in zip(rest, extra["open"], strict=True):
                yield _only(read_part(part, COLUMNS), frozenset(keys), self.settings)

        counts = fill(self.settings, cache, tables, len(parts))
        for part in parts:  # those with an open text too: an answer has them made again
            if part.drop:
                _note_outdated(part, self.settings, cache)
        return counts


COLUMNS = ("visit_key", *TEXT_FIELDS, "status")
"""Of a deidentified partition: the keys too, since a row of a changed visit is told by them and is asked for no more."""


def _only(table: pa.Table, keys: frozenset[str], settings: TranslateSettings) -> pa.Table:
    """The rows with nothing written in them but the texts of these cache keys."""
    rows = []
    for row in table.to_pylist():
        rows.append(row | {name: "" for name, text in fields_of(row).items() if key_of(settings, text) not in keys})
    return pa.Table.from_pylist(rows, schema=table.schema)


def _note_outdated(part: Part, settings: TranslateSettings, cache: AnswerCache) -> None:
    """`bilingual` makes a partition from all its rows, also from those of visits that changed since: these are noted and not sent."""
    for row in read_part(replace(part, drop=()), COLUMNS, ok_only=True).to_pylist():
        if row["visit_key"] in part.drop:
            for text in fields_of(row).values():
                if cache.get(key := key_of(settings, text)) is None:
                    cache.put_failed(key, [NOT_ASKED])


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
    budget, counts = open_budget(settings, cache.store), Counts()
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
    return came_to(settings.model, counts, budget)


def came_to(model: str, counts: Counts, budget: Budget) -> dict[str, Any]:
    """The row of the step's table."""
    return {
        "model": model,
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
