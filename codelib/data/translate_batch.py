"""The Batch API: all texts of a run in a few files, answered within a day at half the price.

    texts ─ plan (on disk) ─ upload ─ create (named) ─ poll ─ fetch ─ checks ─ cache        what failed or got lost: the next round

    cache/translations/batches/<name>.plan.json    request -> its texts
    cache/translations/batches/<name>.json         {"model": ..., "input_file_id": ..., "batch_id": ...}, as far as it got

A kill at any point is resumed from these files. A batch that was created without the answer reaching us is found by the name in its
metadata, so it is not created, and paid, a second time. Uploaded and fetched files are deleted on the server afterwards.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.identifiers import contains_identifier
from codelib.data.translate_batch_server import BatchServer
from codelib.data.translate_budget import TokenEstimate, checked_price
from codelib.data.translate_cache import AnswerCache, text_digest
from codelib.data.translate_client import Client, server_of
from codelib.data.translate_exchange import Judged, compose, judge
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Counts, Reader, Text, is_final, settle
from codelib.models.remote_budget import Budget, BudgetReached, Spent, cost
from codelib.models.remote_client import Trouble, asks_for_less, read_completion

_FOLDER = "batches"
_ROUNDS = 5  # the first, one retry of what failed a check, the rest for lines that got lost
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class ReportProgress(Protocol):
    def __call__(self, note: str = "", force: bool = False) -> None: ...


@dataclass
class _Batch:
    """One batch file: its requests, and what is set aside for it."""

    name: str
    plan: dict[str, list[Text]]
    reserved: Spent
    state: dict[str, str]


class Batches:
    """``run(tables)`` has every text answered, or noted as unanswered, through batches. ``resume()`` fetches what earlier runs left open."""

    def __init__(
        self, settings: TranslateSettings, cache: AnswerCache, counts: Counts, budget: Budget, report: ReportProgress
    ) -> None:
        self.settings, self.cache, self.counts, self.budget, self.report = settings, cache, counts, budget, report
        self.store = cache.store
        self.client = Client(settings)
        self.server = BatchServer(settings, self.client.api)
        self.estimate = TokenEstimate()
        self.price = checked_price(settings)
        self._again: dict[str, Text | None] = {}

    @staticmethod
    def are_open(cache: AnswerCache) -> bool:
        """Whether an earlier run left a batch that nobody fetched."""
        return any(not name.endswith(".plan.json") for name in cache.store.names(_FOLDER))

    async def close(self) -> None:
        await self.client.api.close()

    async def run(self, tables: Callable[[], Iterable[pa.Table]]) -> None:
        for number in range(1, _ROUNDS + 1):
            seen = Counts()
            reader = Reader(self.settings, self.cache, seen, again=self._again)
            planned, cut_short = await asyncio.to_thread(self._plan, reader.requests(tables()))
            if number == 1:
                self.counts.texts, self.counts.cached = seen.texts, seen.cached
                self.counts.review += seen.review
                self.counts.held_back = seen.held_back
            if cut_short and not planned:
                raise BudgetReached(self.budget.sentence())
            if not planned:
                return
            await self._finish(planned, f"round {number}")
            if cut_short:
                raise BudgetReached(self.budget.sentence())
        await self._give_up(tables)

    async def resume(self) -> None:
        """Fetch the batches that earlier runs left open, whatever this run's transport is: they are paid for."""
        opened = []
        for name in self.store.names(_FOLDER):
            if name.endswith(".plan.json"):
                continue
            held = name.rsplit("/", 1)[-1].removesuffix(".json")
            plan = {
                custom_id: [Text(t["key"], t["chinese"], t["tries"], tuple(t["failed"])) for t in texts]
                for custom_id, texts in self.store.read_json(f"{_FOLDER}/{held}.plan.json").items()
            }
            guesses = [compose(texts, self.estimate) for texts in plan.values()]
            reserved = Spent()
            for sent in guesses:
                reserved.add(cost(self.price, sent.guess[0], sent.max_tokens))
            self.budget.hold(reserved)
            opened.append(_Batch(held, plan, reserved, self.store.read_json(name)))
        await self._finish(opened, "of an earlier run")

    async def _finish(self, batches: list[_Batch], title: str) -> None:
        for batch in batches:
            await self._open(batch)
        fetched = (self._await_and_fetch(batch, f"{title}, batch {i} of {len(batches)}") for i, batch in enumerate(batches, 1))
        for error in await asyncio.gather(*fetched, return_exceptions=True):  # one that fails keeps no other from being fetched
            if error is not None:
                raise error

    # plan

    def _plan(self, requests: Iterator[list[Text]]) -> tuple[list[_Batch], bool]:
        """The batches of a round, on disk; and whether the budget cut them short."""
        batches: list[_Batch] = []
        current: _Batch | None = None
        cut_short = False
        for texts in requests:
            # the last gate before a text leaves, whoever put it here
            texts = [text for text in texts if not contains_identifier(text.chinese)]
            if not texts:
                continue
            sent = compose(texts, self.estimate)
            reserved = self.budget.try_reserve(cost(self.price, sent.guess[0], sent.max_tokens))
            if reserved is None:
                cut_short = True
                break
            if current is None or len(current.plan) == self.settings.batch_requests:
                current = _Batch(uuid.uuid4().hex[:16], {}, Spent(), {"model": self.settings.model})
                batches.append(current)
            current.plan[f"r{len(current.plan)}"] = texts
            current.reserved.add(reserved)
        for batch in batches:
            plan = {custom_id: [vars(text) for text in texts] for custom_id, texts in batch.plan.items()}
            self.store.commit(f"{_FOLDER}/{batch.name}.plan.json", json.dumps(plan, ensure_ascii=False).encode())
            self._save(batch)
        return batches, cut_short

    def _save(self, batch: _Batch) -> None:
        self.store.commit_json(f"{_FOLDER}/{batch.name}.json", batch.state)

    def _lines(self, batch: _Batch) -> bytes:
        lines = []
        for custom_id, texts in batch.plan.items():
            sent = compose(texts, self.estimate)
            body = self.client.body(sent.messages, sent.schema, sent.max_tokens)
            lines.append(
                json.dumps(
                    {"custom_id": custom_id, "method": "POST", "url": self.server.endpoint, "body": body}, ensure_ascii=False
                )
            )
        return ("\n".join(lines) + "\n").encode()

    # open

    async def _open(self, batch: _Batch) -> None:
        """Upload and create, as far as that was not done; every step is on disk before the next."""
        if "input_file_id" not in batch.state:
            content = await asyncio.to_thread(self._lines, batch)
            batch.state["input_file_id"] = await self.server.upload(batch.name, content)
            self._save(batch)
            await self._create(batch)
        elif "batch_id" not in batch.state:  # killed between the two: it may be there
            found = await self.server.find(batch.name)
            await self._created(batch, found) if found else await self._create(batch)

    async def _create(self, batch: _Batch) -> None:
        await self._created(batch, await self.server.create(batch.name, batch.state["input_file_id"]))

    async def _created(self, batch: _Batch, batch_id: str) -> None:
        batch.state["batch_id"] = batch_id
        self._save(batch)

    # poll and fetch

    async def _await_and_fetch(self, batch: _Batch, title: str) -> None:
        while True:
            found = await self.server.retrieve(batch.state["batch_id"])
            if found is None:
                await self.budget.settle(batch.reserved)
                return self._forget(batch)
            done = found.request_counts
            self.report(f"{title}: {found.status}" + (f", {done.completed} of {done.total} requests" if done else ""))
            if found.status in _ENDED:
                break
            await asyncio.sleep(self.settings.poll_s)
        lines: list[dict[str, Any]] = []
        for file_id in filter(None, (found.output_file_id, found.error_file_id)):
            lines += _json_lines(await self.server.content(file_id))
        if found.status == "failed" and not lines:
            self._forget(batch)
            codes = sorted({str(e.code) for e in (found.errors.data if found.errors and found.errors.data else ())})
            raise InputError(
                f"translate: the batch was refused ({', '.join(codes) or 'no reason given'}); a smaller translate.batch_requests keeps under "
                "a limit of queued tokens; everything received is kept"
            )
        spent = await asyncio.to_thread(self._settle_lines, batch, lines)
        await self.budget.book(batch.name, batch.reserved, spent)
        self._forget(batch)
        for file_id in filter(None, (batch.state["input_file_id"], found.output_file_id, found.error_file_id)):
            await self.server.delete(file_id)

    def _forget(self, batch: _Batch) -> None:
        self.store.delete(f"{_FOLDER}/{batch.name}.json")
        self.store.delete(f"{_FOLDER}/{batch.name}.plan.json")

    def _settle_lines(self, batch: _Batch, lines: list[dict[str, Any]]) -> Spent:
        """Every line's answers on disk. What a batch lost is in no line and is asked for in the next round."""
        spent = Spent()
        server = server_of(self.settings.model_copy(update={"model": batch.state["model"]}))
        for line in lines:
            texts = batch.plan.get(str(line.get("custom_id")))
            response = line.get("response") or {}
            body = response.get("body") or {}
            if texts is None:
                continue
            sent = compose(texts, self.estimate)
            if response.get("status_code") != 200:
                if asks_for_less(response.get("status_code"), body.get("error")):
                    self.client.simpler(self.client.structure)
                continue
            with suppress(Trouble):
                reply = read_completion(body, server, {})
                spent.add(cost(self.price, *(reply.tokens if any(reply.tokens) else sent.guess)))
                self.estimate.learn(sent.guess, reply.tokens)
                for one in (None if reply.too_long else judge(sent, reply)) or ():
                    self._settle_one(one)
        return spent

    def _settle_one(self, one: Judged) -> None:
        left = settle(one.text, one.english, one.failed, self.cache)
        self._again[one.text.key] = left
        if is_final(one.text, one.failed):
            self.counts.answered += not one.failed
            self.counts.review += bool(one.failed)
            if not one.failed:
                del self._again[one.text.key]  # the cache knows it

    async def _give_up(self, tables: Callable[[], Iterable[pa.Table]]) -> None:
        """What no round brought is noted, and asked for again by the next run."""
        for texts in Reader(self.settings, self.cache, again=self._again).requests(tables()):
            for text in texts:
                await asyncio.to_thread(self.cache.put_failed, text.key, ["unanswered"])
                self.counts.review += 1


def drop_from_plans(cache: Store, is_current: Callable[[str], bool]) -> None:
    """Take the requests with a text that nobody asks for any more out of the batches that nobody fetched: their lines are ignored then.
    ``is_current``: by a text's digest. A request goes as a whole, since its texts are told by their places in it."""
    for name in cache.names(_FOLDER):
        if name.endswith(".plan.json"):
            plan = cache.read_json(name)
            left = {c: texts for c, texts in plan.items() if all(is_current(text_digest(t["chinese"])) for t in texts)}
            if len(left) < len(plan):
                cache.commit(name, json.dumps(left, ensure_ascii=False).encode())


def _json_lines(text: str) -> list[dict[str, Any]]:
    """The lines that are JSON objects; a broken one is a lost answer, asked for again."""
    found = []
    for line in text.splitlines():
        with suppress(json.JSONDecodeError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found
