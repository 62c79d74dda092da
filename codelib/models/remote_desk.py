"""One limiter for each server and one budget for the run, whoever asks and wherever: the desk that every request passes.

    engines in any number of actors ── DeskGate ──> Desk (codelib.core.shared) ── Gate: budget, limiter of that server

A worker that dies with requests under way leaves their tickets behind. They lapse, and count as paid: the server may have made the answer.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from codelib.core.shared import Shared, share
from codelib.core.store import Store
from codelib.models.remote_asking import Gate, Said
from codelib.models.remote_budget import Budget, BudgetReached, Limits, Spent
from codelib.models.remote_client import Server
from codelib.models.remote_limits import RateLimiter
from codelib.models.remote_prices import Price
from codelib.models.remote_settings import RemoteSettings

_GRACE_S = 60.0  # beyond a request's own time limit, before its ticket lapses
_LOOK_EVERY_S = 5.0


@dataclass(frozen=True)
class Line:
    """A model on a server: what a rate limit holds for."""

    base_url: str
    model: str
    price: Price | None
    timeout_s: float


@dataclass
class _Ticket:
    line: Line
    guess: tuple[float, float]
    reserved: Spent
    lapses_s: float


@dataclass(frozen=True)
class NoMore:
    """The budget's sentence, as an answer: an exception of ours need not travel between processes."""

    sentence: str


class Desk:
    """Lives once in a run, on one event loop. ``clients`` are streams of requests; one that is gone waits no more."""

    def __init__(self, settings: RemoteSettings, books: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self._clock = settings, clock
        self.budget = Budget(Limits(settings.budget_usd, settings.budget_tokens), books)
        self._gates: dict[tuple[str, str], Gate] = {}
        self._tickets: dict[str, _Ticket] = {}
        self._lapsed: set[str] = set()
        self._stops: dict[str, asyncio.Event] = {}

    def _gate(self, line: Line) -> Gate:
        key = (line.base_url, line.model)
        if key not in self._gates:
            limiter = RateLimiter(self.settings.requests_per_minute, self.settings.tokens_per_minute)
            self._gates[key] = Gate(limiter, self.budget, line.price)
        return self._gates[key]

    async def enter(self, client: str, line: Line, guess: tuple[float, float], max_tokens: int) -> str | NoMore | None:
        """A ticket; None once the client is gone; NoMore where the budget does not reach."""
        stop = self._stops.setdefault(client, asyncio.Event())
        entering = asyncio.ensure_future(self._gate(line).enter(guess, max_tokens, stop))
        while not (await asyncio.wait((entering,), timeout=_LOOK_EVERY_S))[0]:
            await self._let_lapse()  # what the dead hold may be what this one waits for
        try:
            reserved = entering.result()
        except BudgetReached as reached:
            return NoMore(str(reached))
        if reserved is None:
            return None
        ticket = uuid.uuid4().hex
        self._tickets[ticket] = _Ticket(line, guess, reserved, self._clock() + line.timeout_s + _GRACE_S)
        return ticket

    async def leave(self, line: Line, ticket: str, guess: tuple[float, float], said: Said) -> None:
        if ticket in self._lapsed:  # counted already
            self._lapsed.remove(ticket)
            return
        held = self._tickets.pop(
            ticket, None
        )  # None: of a desk that died; its books count it as under way, and this counts it too
        await self._gate(line).leave(held.reserved if held else Spent(), guess, said)

    async def _let_lapse(self) -> None:
        now_s = self._clock()
        for name in [name for name, ticket in self._tickets.items() if ticket.lapses_s < now_s]:
            ticket = self._tickets.pop(name)
            self._lapsed.add(name)
            await self._gate(ticket.line).leave(ticket.reserved, ticket.guess, Said(answered=False, used=ticket.guess))

    async def gone(self, client: str) -> None:
        self._stops.pop(client, asyncio.Event()).set()

    async def close(self) -> Spent:
        """What this run has spent, and put on disk: at the end of a run."""
        await self.budget.write(last=True)
        return self.budget.now


class DeskGate:
    """`remote_asking.AnyGate` of one stream of requests to one server."""

    def __init__(self, desk: Shared, server: Server, price: Price | None) -> None:
        self._desk, self._client = desk, uuid.uuid4().hex
        self._line = Line(server.base_url, server.asked_as, price, server.timeout_s)

    async def enter(self, guess: tuple[float, float], max_tokens: int, stop: asyncio.Event) -> Any:
        """``stop`` cannot travel: `gone` ends the waiting."""
        if stop.is_set():
            return None
        ticket = await self._desk.call("enter", self._client, self._line, guess, max_tokens)
        if isinstance(ticket, NoMore):
            raise BudgetReached(ticket.sentence)
        return ticket

    async def leave(self, ticket: Any, guess: tuple[float, float], said: Said) -> None:
        await self._desk.call("leave", self._line, ticket, guess, said)

    async def gone(self) -> None:
        await self._desk.call("gone", self._client)


def open_desk(settings: RemoteSettings, books: Store) -> Shared:
    """The desk of a run; on a connected Ray all workers reach it. ``books``: where the workspace's spending is kept, over all runs."""
    return share(partial(Desk, settings, books))


@dataclass(frozen=True)
class Access:
    """What an engine needs to ask servers. Travels to workers. ``scan``: class of an identifier in a text, or None; without it nothing
    goes outside (`codelib.data.identifiers.contains_identifier`, which this room may not import)."""

    desk: Shared
    settings: RemoteSettings
    scan: Callable[[str], str | None] | None = None
