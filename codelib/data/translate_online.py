"""Asking for texts now: many requests under way at once, one limiter, one budget, one retry of what fails a check.

    requests ─ queue ─ workers ─ budget ─ limiter ─ server ─┬─ answers ─ checks ─ disk ─┬─ done
                          ^                                 │                           └─ failed a check: once more, with its names
                          └── waits (429, 5xx, cut) ────────┘

All of it runs in one process of the cluster, so that its limiter is the cluster's. A worker is a coroutine: a hundred cost nothing.

What stops the run (an empty budget, a refused key, a dead server, a full disk) stops the sending; what is under way is received and kept, then
the reason is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from codelib.data.identifiers import contains_identifier
from codelib.data.translate_budget import TokenEstimate, checked_price
from codelib.data.translate_cache import AnswerCache
from codelib.data.translate_client import Client
from codelib.data.translate_exchange import Judged, Sent, Task, Translation
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Counts, Text, is_final, settle
from codelib.models.remote_asking import Asking, Gate, Patience
from codelib.models.remote_budget import Budget
from codelib.models.remote_client import Reply, Trouble
from codelib.models.remote_limits import RateLimiter

_WRITERS = 16  # answers put on disk at once: each waits for its fsync


class Online:
    """``run(requests)`` settles every text of every request, or raises InputError when all that was under way is kept."""

    def __init__(
        self, settings: TranslateSettings, cache: AnswerCache, counts: Counts, budget: Budget, task: Task | None = None
    ) -> None:
        self.settings, self.cache, self.counts, self.budget = settings, cache, counts, budget
        self.task: Task = task or Translation()
        limiter = RateLimiter(settings.requests_per_minute, settings.tokens_per_minute)
        self.gate = Gate(limiter, budget, checked_price(settings))
        self.estimate = TokenEstimate()
        self.client = Client(settings, self.task.place)
        self._queue: asyncio.Queue[list[Text] | None] = asyncio.Queue(maxsize=2 * settings.concurrency)
        self._stop = asyncio.Event()
        self._reason: BaseException | None = None
        self._writers = ThreadPoolExecutor(_WRITERS)

    async def run(self, requests: Iterable[list[Text]], on_progress: Callable[[], None] = lambda: None) -> None:
        self._on_progress = on_progress
        patience = Patience(self.settings.max_retries, self.settings.backoff_s)
        self._asking = Asking(
            self.client.server, self.gate, patience, self._stop, self._send, self._read, self._harmless, self._learn
        )
        workers = [asyncio.create_task(self._guarded(self._work)) for _ in range(self.settings.concurrency)]
        producer = asyncio.create_task(self._guarded(lambda: self._produce(iter(requests))))
        await asyncio.gather(producer, *workers)
        await self.budget.write(last=True)
        self._writers.shutdown()
        await self.client.api.close()
        if self._reason is not None:
            raise self._reason

    async def _guarded(self, work: Callable[[], object]) -> None:
        """The first thing that goes wrong is kept and stops the sending; nobody is cancelled, so nothing received is lost."""
        try:
            await work()  # type: ignore[misc]
        except Exception as error:
            self._reason = self._reason or error
            self._stop.set()

    async def _produce(self, requests: Iterator[list[Text]]) -> None:
        while not self._stop.is_set() and (request := await asyncio.to_thread(next, requests, None)) is not None:
            await self._put(request)
        for _ in range(self.settings.concurrency):
            await self._put(None)

    async def _put(self, request: list[Text] | None) -> None:
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._queue.put(request), 1.0)
            except TimeoutError:
                continue
            return

    async def _take(self) -> list[Text] | None:
        take, stop = asyncio.ensure_future(self._queue.get()), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((take, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if take.done():
            return take.result()
        take.cancel()
        return None

    async def _work(self) -> None:
        while (request := await self._take()) is not None:
            await self._finish(request)

    async def _finish(self, texts: list[Text]) -> None:
        """Ask until every text is settled; what falls apart goes on side by side."""
        if not self._stop.is_set():
            await asyncio.gather(*(self._finish(group) for group in await self._round(texts)))

    async def _round(self, texts: list[Text]) -> list[list[Text]]:
        """One request, answered and kept; the groups that must be asked again."""
        # the last gate before a text leaves, whoever put it here
        doubtful = [text for text in texts if contains_identifier(text.chinese)]
        for text in doubtful:
            await self._note(text, "identifier")
        if not (texts := [text for text in texts if text not in doubtful]):
            return []
        sent = self.task.compose(texts, self.estimate)
        try:
            judged = await self._asking.exchange(sent)
        except Trouble as trouble:
            if len(texts) > 1:  # fails again and again while others succeed: each text alone
                return [[text] for text in texts]
            await self._note(texts[0], trouble.code)
            return []
        if judged is None:  # stopped
            return []
        self._on_progress()
        if len(texts) > 1 and all(one.english is None for one in judged):
            return [[text] for text in texts]  # refused as a whole: one text spoils the others
        again = await self._settle(judged)
        answered = {one.text.key for one in judged}
        return [group for group in (again, [text for text in texts if text.key not in answered]) if group]

    async def _settle(self, judged: list[Judged]) -> list[Text]:
        """Every answer on disk, then counted; the texts to ask for once more."""
        loop = asyncio.get_running_loop()
        written = [loop.run_in_executor(self._writers, settle, one.text, one.english, one.failed, self.cache) for one in judged]
        left = await asyncio.gather(*written)
        for one in judged:
            if is_final(one.text, one.failed):
                self.counts.answered += not one.failed
                self.counts.review += bool(one.failed)
        return [text for text in left if text is not None]

    async def _note(self, text: Text, code: str) -> None:
        """There will be no answer in this run."""
        await asyncio.to_thread(self.cache.put_failed, text.key, [code])
        self.counts.review += 1

    # how `Asking` asks

    async def _send(self, sent: Sent) -> Reply:
        return await self.client.ask(sent.messages, sent.schema, sent.max_tokens)

    def _harmless(self) -> Sent:
        return self.task.compose([Text("", self.task.harmless)], self.estimate)

    def _learn(self, sent: Sent, reply: Reply) -> None:
        self.estimate.learn(sent.guess, reply.tokens)

    def _read(self, sent: Sent, reply: Reply) -> list[Judged]:
        if reply.too_long:
            raise Trouble("too_long")
        judged = self.task.judge(sent, reply)
        if not judged:  # the same as no answer
            raise Trouble("answer_format" if judged is None else "missing_key")
        return judged
