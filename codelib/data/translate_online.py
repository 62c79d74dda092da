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
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from codelib.core.cli import InputError
from codelib.data.identifiers import contains_identifier
from codelib.data.translate_budget import Budget, Spent, TokenEstimate
from codelib.data.translate_cache import AnswerCache
from codelib.data.translate_client import Client, Trouble
from codelib.data.translate_exchange import Judged, Sent, Task, Translation
from codelib.data.translate_limits import MAX_WAIT_S, RateLimiter
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Counts, Text, is_final, settle

_WRITERS = 16  # answers put on disk at once: each waits for its fsync
_MAX_BACKOFF_S = 8.0
_SILENCE_S = 900.0  # nothing but 429 for so long: somebody else uses the limit, or it is nought


class Online:
    """``run(requests)`` settles every text of every request, or raises InputError when all that was under way is kept."""

    def __init__(
        self, settings: TranslateSettings, cache: AnswerCache, counts: Counts, budget: Budget, task: Task | None = None
    ) -> None:
        self.settings, self.cache, self.counts, self.budget = settings, cache, counts, budget
        self.task: Task = task or Translation()
        self.limiter = RateLimiter(settings.requests_per_minute, settings.tokens_per_minute)
        self.estimate = TokenEstimate()
        self.client = Client(settings, self.task.place)
        self._queue: asyncio.Queue[list[Text] | None] = asyncio.Queue(maxsize=2 * settings.concurrency)
        self._stop = asyncio.Event()
        self._reason: BaseException | None = None
        self._successes = 0
        self._failures = 0  # since the last success, of all requests
        self._last_success_s = 0.0
        self._writers = ThreadPoolExecutor(_WRITERS)

    async def run(self, requests: Iterable[list[Text]], on_progress: Callable[[], None] = lambda: None) -> None:
        self._on_progress = on_progress
        self._last_success_s = asyncio.get_running_loop().time()
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
            judged = await self._exchange(sent)
        except Trouble as trouble:
            if len(texts) > 1:  # fails again and again while others succeed: each text alone
                return [[text] for text in texts]
            await self._note(texts[0], trouble.code)
            return []
        if judged is None:  # stopped
            return []
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

    async def _exchange(self, sent: Sent) -> list[Judged] | None:
        """Ask until there is something to judge; None once the run is stopped. Raises Trouble where the attempts are used up."""
        attempts, successes = 0, self._successes
        while True:
            reserved = await self.budget.reserve(sent.guess[0], sent.max_tokens)
            if not await self.limiter.acquire(sum(sent.guess), self._stop):
                await self.budget.settle(reserved)
                return None
            try:
                judged = await self._ask(sent, reserved)
            except Trouble as trouble:
                if trouble.code in ("too_long", "refusal"):
                    raise
                if trouble.code != "structured":
                    attempts += trouble.code != "rate_limited"
                    await self._check_alive(trouble, attempts, successes)
                await self._wait(trouble)
                if self._stop.is_set():
                    return None
                continue
            self._successes += 1
            self._failures = 0
            self._last_success_s = asyncio.get_running_loop().time()
            self._on_progress()
            return judged

    async def _ask(self, sent: Sent, reserved: Spent) -> list[Judged]:
        """One attempt, with its books kept."""
        tokens = sum(sent.guess)
        try:
            reply = await self.client.ask(sent.messages, sent.schema, sent.max_tokens)
        except Trouble as trouble:
            limited = trouble.code == "rate_limited"
            self.limiter.heard(trouble.headers, limited, tokens, answered=trouble.code != "connection")
            await self.budget.settle(reserved, *(sent.guess if trouble.billed else (0, 0)))
            raise
        except BaseException:
            self.limiter.heard({}, False, answered=False)
            await self.budget.settle(reserved)
            raise
        used = reply.tokens if any(reply.tokens) else sent.guess
        self.estimate.learn(sent.guess, reply.tokens)
        self.limiter.correct(sum(used) - tokens)
        self.limiter.heard(reply.headers, False, tokens)
        await self.budget.settle(reserved, *used)
        await self.budget.write()
        if reply.too_long:
            raise Trouble("too_long")
        judged = self.task.judge(sent, reply)
        if not judged:  # the same as no answer
            raise Trouble("answer_format" if judged is None else "missing_key")
        return judged

    async def _check_alive(self, trouble: Trouble, attempts: int, successes: int) -> None:
        """Raises InputError where nobody gets an answer, Trouble where only this request does not."""
        silent_s = asyncio.get_running_loop().time() - self._last_success_s
        if attempts <= self.settings.max_retries and silent_s <= _SILENCE_S:
            return
        if self._successes == successes and not await self._answers_at_all():
            raise InputError(
                f"{self.task.place}: {self.settings.base_url} gives no answer ({trouble.code}, {max(attempts, 1)} attempts); every "
                "answer received is kept; run the same command again when it is back, it continues"
            )
        if attempts > self.settings.max_retries:
            raise trouble

    async def _answers_at_all(self) -> bool:
        """Whether the server does one harmless word: then it is the text that it cannot do."""
        sent = self.task.compose([Text("", self.task.harmless)], self.estimate)
        reserved = await self.budget.reserve(sent.guess[0], sent.max_tokens)
        if not await self.limiter.acquire(sum(sent.guess), self._stop):
            await self.budget.settle(reserved)
            return False
        try:
            await self._ask(sent, reserved)
        except Trouble:
            return False
        return True

    async def _wait(self, trouble: Trouble) -> None:
        """Retry-After, else a pause that grows while nobody gets an answer: one request's bad luck is no reason to go slow. Jitter spreads
        the workers; no result depends on it."""
        self._failures += trouble.code != "structured"
        growing_s = min(self.settings.backoff_s * self._failures, _MAX_BACKOFF_S) * (1 + random.random() / 4)
        wait_s = min(trouble.wait_s if trouble.wait_s is not None else growing_s, MAX_WAIT_S)
        if wait_s > 0 and not self._stop.is_set():
            stop = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait((stop,), timeout=wait_s)
            stop.cancel()
