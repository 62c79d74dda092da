"""Asking a server until there is an answer: budget, limiter, one attempt, its books; and again where that may help.

    question ── Gate.enter: budget, limiter ── send ── Gate.leave: limiter, books ──┬── read ──> what came
                    ^                                                               └── Trouble: wait (Retry-After, or growing) ──┐
                    └─────────────────────────────────────────────────────────────────────────────────────────────────────────────┘

Used by whatever asks: translation, the second pass over diagnoses, evaluation. Where a request fails again and again, one harmless
question tells a request that the server cannot do from a server that does nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from codelib.core.cli import InputError
from codelib.models.remote_budget import Budget, cost
from codelib.models.remote_client import Reply, Server, Trouble, Unusable
from codelib.models.remote_limits import MAX_WAIT_S, RateLimiter
from codelib.models.remote_prices import Price

_MAX_BACKOFF_S = 8.0
_SILENCE_S = 900.0  # nothing but 429 for so long: somebody else uses the limit, or it is nought
_FOR_GOOD = frozenset({"too_long", "refusal"})  # troubles of the text itself: asked again, it would be the same
NAMES = {
    "connection": "APIConnectionError",
    "timeout": "APITimeoutError",
    "rate_limited": "RateLimitError",
    "answer_format": "BadReply",
    "too_long": "ContextTooLong",
    "refusal": "ContentFilter",
}
"""Class of a trouble, for a row of a table; what is not here is the server's own (``http_500``)."""


def name_of(trouble: Trouble) -> str:
    return NAMES.get(trouble.code, "InternalServerError")


class Question(Protocol):
    """A request as it is sent."""

    @property
    def guess(self) -> tuple[float, float]:
        """Tokens in and out, about."""
        ...

    @property
    def max_tokens(self) -> int: ...


S = TypeVar("S", bound=Question)
T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """What a response told the limiter and the books. ``used``: tokens in and out to be paid for; None where nothing is."""

    headers: Mapping[str, str] = field(default_factory=dict)
    limited: bool = False
    answered: bool = True
    used: tuple[float, float] | None = None


class AnyGate(Protocol):
    async def enter(self, guess: tuple[float, float], max_tokens: int, stop: asyncio.Event) -> Any:
        """A ticket for one request; None once ``stop`` is set. Raises BudgetReached."""
        ...

    async def leave(self, ticket: Any, guess: tuple[float, float], said: Said) -> None: ...


class Gate:
    """What every request to one server passes: the budget, then the limiter. For one event loop."""

    def __init__(self, limiter: RateLimiter, budget: Budget, price: Price | None) -> None:
        self.limiter, self.budget, self.price = limiter, budget, price

    async def enter(self, guess: tuple[float, float], max_tokens: int, stop: asyncio.Event) -> Any:
        reserved = await self.budget.reserve(cost(self.price, guess[0], max_tokens))
        if await self.limiter.acquire(sum(guess), stop):
            return reserved
        await self.budget.settle(reserved)
        return None

    async def leave(self, ticket: Any, guess: tuple[float, float], said: Said) -> None:
        if said.used is not None and said.answered:
            self.limiter.correct(sum(said.used) - sum(guess))
        self.limiter.heard(said.headers, said.limited, sum(guess), answered=said.answered)
        await self.budget.settle(ticket, cost(self.price, *said.used) if said.used is not None else None)
        if said.used is not None:
            await self.budget.write()


@dataclass(frozen=True)
class Patience:
    """``max_retries``: repetitions of a request that failed on the way (5xx, cut, broken JSON). 429 is no failure: it is waited out."""

    max_retries: int
    backoff_s: float


class Asking(Generic[S, T]):
    """One server, asked by many coroutines of one event loop. ``harmless``: makes a question that any server can answer."""

    def __init__(
        self,
        server: Server,
        gate: AnyGate,
        patience: Patience,
        stop: asyncio.Event,
        send: Callable[[S], Awaitable[Reply]],
        read: Callable[[S, Reply], T],
        harmless: Callable[[], S],
        counted: Callable[[S, Reply], None] = lambda sent, reply: None,
    ) -> None:
        """``read`` makes of a reply what was asked for, and raises Trouble for one that is as good as none; ``counted`` is told of every
        reply before."""
        self.server, self.gate, self.patience, self.stop = server, gate, patience, stop
        self._send, self._read, self._harmless, self._counted = send, read, harmless, counted
        self._successes = 0
        self._failures = 0  # since the last success, of all requests
        self._last_success_s = asyncio.get_running_loop().time()

    async def exchange(self, sent: S) -> T | None:
        """Ask until there is an answer; None once stopped. Raises Trouble where the attempts are used up, and InputError where nobody
        gets an answer."""
        attempts, successes = 0, self._successes
        while True:
            ticket = await self.gate.enter(sent.guess, sent.max_tokens, self.stop)
            if ticket is None:
                return None
            try:
                made = await self._attempt(sent, ticket)
            except Trouble as trouble:
                if trouble.code in _FOR_GOOD:
                    raise
                if trouble.code != "structured":
                    attempts += trouble.code != "rate_limited"
                    await self._check_alive(trouble, attempts, successes)
                await self._wait(trouble)
                if self.stop.is_set():
                    return None
                continue
            self._successes += 1
            self._failures = 0
            self._last_success_s = asyncio.get_running_loop().time()
            return made

    async def _attempt(self, sent: S, ticket: Any) -> T:
        """One attempt, with its books kept."""
        try:
            reply = await self._send(sent)
        except Trouble as trouble:
            answered = trouble.code not in ("connection", "timeout")
            used = sent.guess if trouble.billed else None
            limited = trouble.code == "rate_limited"
            await self.gate.leave(ticket, sent.guess, Said(trouble.headers, limited, answered, used))
            raise
        except InputError:
            await self.gate.leave(ticket, sent.guess, Said(answered=False))
            raise
        except BaseException:  # cancelled half way: it may be counted all the same
            await self.gate.leave(ticket, sent.guess, Said(answered=False, used=sent.guess))
            raise
        used = reply.tokens if any(reply.tokens) else sent.guess
        self._counted(sent, reply)
        await self.gate.leave(ticket, sent.guess, Said(reply.headers, used=used))
        return self._read(sent, reply)

    async def _check_alive(self, trouble: Trouble, attempts: int, successes: int) -> None:
        """Raises Unusable where nobody gets an answer, Trouble where only this request does not."""
        silent_s = asyncio.get_running_loop().time() - self._last_success_s
        if attempts <= self.patience.max_retries and silent_s <= _SILENCE_S:
            return
        if self._successes == successes and not await self.answers_at_all():
            raise Unusable(
                f"{self.server.place}: {self.server.base_url} gives no answer ({trouble.code}, {max(attempts, 1)} attempts); every "
                "answer received is kept; run the same command again when it is back, it continues",
                name_of(trouble),
                gone=True,
            )
        if attempts > self.patience.max_retries:
            raise trouble

    async def answers_at_all(self) -> bool:
        """Whether the server does one harmless word: then it is the text that it cannot do."""
        sent = self._harmless()
        ticket = await self.gate.enter(sent.guess, sent.max_tokens, self.stop)
        if ticket is None:
            return False
        try:
            await self._attempt(sent, ticket)
        except Trouble:
            return False
        return True

    async def _wait(self, trouble: Trouble) -> None:
        """Retry-After, else a pause that grows while nobody gets an answer: one request's bad luck is no reason to go slow. Jitter spreads
        the workers; no result depends on it."""
        self._failures += trouble.code != "structured"
        growing_s = min(self.patience.backoff_s * self._failures, _MAX_BACKOFF_S) * (1 + random.random() / 4)
        wait_s = min(trouble.wait_s if trouble.wait_s is not None else growing_s, MAX_WAIT_S)
        if wait_s > 0 and not self.stop.is_set():
            stop = asyncio.ensure_future(self.stop.wait())
            await asyncio.wait((stop,), timeout=wait_s)
            stop.cancel()
