"""What translation costs: prices, an estimate of tokens that learns, and a budget that holds across runs.

    cache/translations/spent/<run>.json    {"usd": 1.25, "input": 300000, "output": 50000, "requests": 150}

Every run has a file of its own, written at most a second after the spending and counting what is under way; the sum over all is what this
workspace has spent. A kill therefore costs at most a second of bookkeeping.
"""

from __future__ import annotations

import asyncio
import csv
import json
import time
import uuid
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.translate_settings import TranslateSettings

_FOLDER = "spent"
_WRITE_EVERY_S = 1.0


class BudgetReached(InputError):
    """The budget does not reach for the next request."""


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens, and from when the figure is."""

    input: float
    output: float
    as_of: str

    def usd(self, tokens_in: float, tokens_out: float) -> float:
        return (self.input * tokens_in + self.output * tokens_out) / 1e6


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str]]:
    with Path(__file__).with_name("translate_prices.csv").open(encoding="utf-8", newline="") as source:
        return {row["model"]: row for row in csv.DictReader(source)}


def price_of(settings: TranslateSettings) -> Price | None:
    """From the settings, else from translate_prices.csv (the Batch API's share applied). None where nobody knows."""
    row = _table().get(settings.model)
    factor = (float(row["batch_factor"]) if row else 1.0) if settings.transport == "batch" else 1.0
    if settings.usd_per_million_input is not None and settings.usd_per_million_output is not None:
        return Price(settings.usd_per_million_input, settings.usd_per_million_output, "the settings")
    if row is None:
        return None
    return Price(
        factor * float(row["usd_per_million_input"]), factor * float(row["usd_per_million_output"]), f"prices of {row['as_of']}"
    )


def checked_price(settings: TranslateSettings) -> Price | None:
    """The price; InputError where a budget in money is set and nobody knows it. The second pass is asked by such settings too."""
    price = price_of(settings)
    if price is None and settings.budget_usd is not None:
        raise InputError(
            f"translate.budget_usd={settings.budget_usd:g}: no price is known for {settings.model}; give translate.usd_per_million_input "
            "and _output, or translate.budget_tokens"
        )
    return price


# tokens

_TOKENS_PER_WIDE, _TOKENS_PER_NARROW = 0.9, 0.3  # of GPT-4o's vocabulary (o200k), measured on the high side
_ENGLISH_PER_CHINESE = 1.1  # tokens of the English for each Chinese character
_OVERHEAD = 12  # roles, braces, names


def tokens_of(text: str) -> float:
    """A guess without the model's vocabulary: East Asian characters nearly one token each, others three to ten."""
    wide = sum(ord(char) > 0x2E7F for char in text)
    return _TOKENS_PER_WIDE * wide + _TOKENS_PER_NARROW * (len(text) - wide)


@dataclass
class TokenEstimate:
    """Guesses of a request's tokens, corrected by what the server counted so far."""

    input_factor: float = 1.0
    output_factor: float = 1.0

    def of(self, sent: str, chinese_chars: int, texts: int) -> tuple[float, float]:
        """(input, output) of a request that sends these characters to have so many translated."""
        given = self.input_factor * (tokens_of(sent) + _OVERHEAD)
        return given, self.output_factor * (_ENGLISH_PER_CHINESE * chinese_chars + 6 * texts)

    def learn(self, guessed: tuple[float, float], counted: tuple[int, int]) -> None:
        for name, guess, count in zip(("input_factor", "output_factor"), guessed, counted, strict=True):
            if count and guess:
                old = getattr(self, name)
                setattr(self, name, min(max(0.9 * old + 0.1 * old * count / guess, 0.2), 5.0))


# spending


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


def spent_before(cache: Store) -> Spent:
    """All that runs in this workspace have spent."""
    total = Spent()
    for name in cache.names(_FOLDER):
        total.add(Spent(**json.loads(cache.read(name))))
    return total


class Budget:
    """``await reserve(...)`` before a request, ``settle(...)`` after it. For one event loop."""

    def __init__(self, settings: TranslateSettings, cache: Store) -> None:
        self.settings, self.price = settings, checked_price(settings)
        self.before, self.now, self._reserved, self._booked = spent_before(cache), Spent(), Spent(), Spent()
        self._cache, self._name = cache, f"{_FOLDER}/{uuid.uuid4().hex[:12]}.json"
        self._written_s = 0.0
        self._released = asyncio.Condition()

    def cost(self, tokens_in: float, tokens_out: float) -> Spent:
        """Of one request."""
        return Spent(self.price.usd(tokens_in, tokens_out) if self.price else 0.0, tokens_in, tokens_out, 1)

    def _fits(self, cost: Spent) -> bool:
        usd = self.before.usd + self.now.usd + self._reserved.usd + cost.usd
        tokens = self.before.tokens + self.now.tokens + self._reserved.tokens + cost.tokens
        limit_usd, limit_tokens = self.settings.budget_usd, self.settings.budget_tokens
        return (limit_usd is None or usd <= limit_usd) and (limit_tokens is None or tokens <= limit_tokens)

    async def reserve(self, tokens_in: float, tokens_out: float) -> Spent:
        """Set the cost of a request aside; waits for what is under way where the rest does not reach. Raises BudgetReached."""
        cost = self.cost(tokens_in, tokens_out)
        async with self._released:
            while not self._fits(cost):
                if self._reserved.requests == 0:
                    raise BudgetReached(self.sentence())
                await self._released.wait()
            self._reserved.add(cost)
        return cost

    def try_reserve(self, tokens_in: float, tokens_out: float) -> Spent | None:
        """The same without waiting: None where the rest does not reach now."""
        cost = self.cost(tokens_in, tokens_out)
        if not self._fits(cost):
            return None
        self._reserved.add(cost)
        return cost

    def hold(self, cost: Spent) -> None:
        """Set aside what is spent already though nobody has counted it: a batch of an earlier run."""
        self._reserved.add(cost)

    async def settle(self, reserved: Spent, tokens_in: float = 0.0, tokens_out: float = 0.0) -> None:
        """What the request came to; nothing where the server refused it."""
        async with self._released:
            self._reserved.add(reserved.negative())
            if tokens_in or tokens_out:
                self.now.add(self.cost(tokens_in, tokens_out))
            self._released.notify_all()

    async def book(self, name: str, reserved: Spent, spent: Spent) -> None:
        """What a batch came to, in a file of its own: booked again after a kill, it counts once all the same."""
        await self.settle(reserved)
        self.now.add(spent)
        self._booked.add(spent)
        await asyncio.to_thread(self._cache.commit_json, f"{_FOLDER}/{name}.json", asdict(spent))

    async def write(self, last: bool = False) -> None:
        """Put the spending on disk, at most once a second."""
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
            await asyncio.to_thread(self._cache.commit_json, self._name, asdict(total))

    def sentence(self) -> str:
        limits = {"budget_usd": self.settings.budget_usd, "budget_tokens": self.settings.budget_tokens}
        named = " and ".join(f"translate.{name}={limit}" for name, limit in limits.items() if limit is not None)
        usd, tokens = self.before.usd + self.now.usd, self.before.tokens + self.now.tokens
        money = f"{usd:.2f} USD, " if self.price else ""
        return (
            f"{named} is reached: {money}{tokens:,.0f} tokens spent in this workspace, and the next request could take more than the rest; "
            "every answer received is kept; raise it and run the same command again, it continues"
        )
