"""A budget that holds across runs, whatever is asked: translations, diagnoses, benchmarks.

    FOLDER/spent/<run>.json    {"usd": 1.25, "input": 300000, "output": 50000, "requests": 150}

Every run has a file of its own, written at most a second after the spending and counting what is under way; the sum over all is what this
workspace has spent. A kill therefore costs at most a second of bookkeeping.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
import uuid
from dataclasses import asdict, dataclass

from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.models.remote_prices import Price

FOLDER = "spent"
_WRITE_EVERY_S = 1.0


class BudgetReached(InputError):
    """The budget does not reach for the next request."""


@dataclass
class Spent:
    usd: float = 0.0
    input: float = 0.0
    output: float = 0.0
    requests: int = 0

    def add(self, other: Spent) -> None:
        self.usd += other.usd
        self.input += other.input
        self.output += other.output
        self.requests += other.requests

    def negative(self) -> Spent:
        return Spent(-self.usd, -self.input, -self.output, -self.requests)

    @property
    def tokens(self) -> float:
        return self.input + self.output


def cost(price: Price | None, tokens_in: float, tokens_out: float) -> Spent:
    """Of one request. Without a known price its tokens alone count."""
    return Spent(price.usd(tokens_in, tokens_out) if price else 0.0, tokens_in, tokens_out, 1)


def spent_before(books: Store) -> Spent:
    """All that runs in this workspace have spent. Raises ValueError for a file that is none of the books': nobody can say what is left."""
    total = Spent()
    for name in books.names(FOLDER):
        try:
            total.add(Spent(**json.loads(books.read(name))))
        except (ValueError, TypeError):
            raise ValueError(
                f"{books.root}/{name}: does not say what a run has spent; restore it, or delete it (a budget then does not count that run)"
            ) from None
    return total


@dataclass(frozen=True)
class Limits:
    """What may be spent in a workspace, over all runs. ``prefix``: how the settings are called, for messages."""

    usd: float | None = None
    tokens: int | None = None
    prefix: str = ""

    def named(self) -> str:
        limits = {"budget_usd": None if self.usd is None else f"{self.usd:g}", "budget_tokens": self.tokens}
        return " and ".join(f"{self.prefix}{name}={limit}" for name, limit in limits.items() if limit is not None)


class Budget:
    """``await reserve(...)`` before a request, ``settle(...)`` after it. For one event loop."""

    def __init__(self, limits: Limits, books: Store | None) -> None:
        """``books``: the store in whose folder `spent` the workspace's spending is kept; None: of this process alone."""
        self.limits = limits
        self.before = spent_before(books) if books is not None else Spent()
        self.now, self._reserved, self._booked = Spent(), Spent(), Spent()
        self._books, self._name = books, f"{FOLDER}/{uuid.uuid4().hex[:12]}.json"
        self._written_s = 0.0
        self._disk_is_full = False
        self._released = asyncio.Condition()

    def _fits(self, cost: Spent) -> bool:
        if self._disk_is_full:
            return False
        usd = self.before.usd + self.now.usd + self._reserved.usd + cost.usd
        tokens = self.before.tokens + self.now.tokens + self._reserved.tokens + cost.tokens
        return (self.limits.usd is None or usd <= self.limits.usd) and (
            self.limits.tokens is None or tokens <= self.limits.tokens
        )

    async def reserve(self, cost: Spent) -> Spent:
        """Set the cost of a request aside; waits for what is under way where the rest does not reach. Raises BudgetReached."""
        async with self._released:
            while not self._fits(cost):
                if self._disk_is_full:
                    raise BudgetReached(
                        "no space left on device: what is spent cannot be written down, and nothing more is asked; every answer received is "
                        "kept; free some and run the same command again, it continues"
                    )
                if self._reserved.requests == 0:
                    raise BudgetReached(self.sentence())
                await self._released.wait()
            self._reserved.add(cost)
        return cost

    def try_reserve(self, cost: Spent) -> Spent | None:
        """The same without waiting: None where the rest does not reach now."""
        if not self._fits(cost):
            return None
        self._reserved.add(cost)
        return cost

    def hold(self, cost: Spent) -> None:
        """Set aside what is spent already though nobody has counted it: a batch of an earlier run."""
        self._reserved.add(cost)

    async def settle(self, reserved: Spent, spent: Spent | None = None) -> None:
        """What the request came to; None where the server refused it."""
        async with self._released:
            self._reserved.add(reserved.negative())
            if spent is not None:
                self.now.add(spent)
            self._released.notify_all()

    async def book(self, name: str, reserved: Spent, spent: Spent) -> None:
        """What a batch came to, in a file of its own: booked again after a kill, it counts once all the same."""
        await self.settle(reserved, spent)
        self._booked.add(spent)
        await self._commit(f"{FOLDER}/{name}.json", spent)

    async def write(self, last: bool = False) -> None:
        """Put the spending on disk, at most once a second. On a full disk the request that was just paid for must not fail: no other is let
        through, and the last writing raises OSError."""
        now_s = time.monotonic()
        if not last and now_s - self._written_s < _WRITE_EVERY_S:
            return
        self._written_s = now_s
        total = Spent()
        total.add(self.now)
        total.add(self._booked.negative())
        if not last:
            total.add(self._reserved)
        if total.requests:
            try:
                await self._commit(self._name, total)
            except OSError as error:
                if last or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                async with self._released:
                    self._disk_is_full = True
                    self._released.notify_all()

    async def _commit(self, name: str, spent: Spent) -> None:
        if self._books is not None:
            await asyncio.to_thread(self._books.commit_json, name, asdict(spent))

    def sentence(self) -> str:
        usd, tokens = self.before.usd + self.now.usd, self.before.tokens + self.now.tokens
        money = f"{usd:.2f} USD, " if usd else ""
        return (
            f"{self.limits.named()} is reached: {money}{tokens:,.0f} tokens spent in this workspace, and the next request could take more "
            "than the rest; every answer received is kept; raise it and run the same command again, it continues"
        )
