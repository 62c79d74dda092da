"""The limiter: what it lets through, what it learns, what it makes of a 429."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.models.remote_limits import MAX_WAIT_S, RateLimiter, retry_after_s, seconds
from tests.llm_server import most_within


class Clock:
    """Time that passes when somebody sleeps, so that minutes take no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s


def sent(
    limiter: RateLimiter, clock: Clock, until_s: float, limited=lambda now_s: False, headers=None, tokens=0.0
) -> list[float]:  # type: ignore[no-untyped-def]
    """Times of the requests of a client that asks as fast as it may; each is answered at once."""

    async def run() -> list[float]:
        times = []
        while clock.now_s < until_s:
            await limiter.acquire(tokens)
            times.append(clock.now_s)
            limiter.heard(headers or {}, limited(clock.now_s), tokens)
        return times

    return asyncio.run(run())


@pytest.mark.parametrize("per_minute", [30, 600, 12_000])
def test_a_limit_is_used_and_never_passed(monkeypatch: pytest.MonkeyPatch, per_minute: int) -> None:
    clock = Clock(monkeypatch)
    times = sent(RateLimiter(per_minute, clock=clock), clock, clock.now_s + 120)
    assert most_within(times, 60) <= per_minute
    assert most_within(times, 10) <= per_minute / 6 + 1
    assert len(times) >= 0.95 * 2 * per_minute


def test_tokens_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = sent(RateLimiter(10_000, 60_000, clock), clock, clock.now_s + 60, tokens=1000)
    assert 55 <= len(times) <= 60


def test_headers_lower_a_limit_and_never_raise_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = sent(RateLimiter(None, clock=clock), clock, clock.now_s + 60, headers={"x-ratelimit-limit-requests": "300"})
    assert 270 <= len(times) <= 301
    times = sent(RateLimiter(100, clock=clock), clock, clock.now_s + 60, headers={"x-ratelimit-limit-requests": "300"})
    assert 90 <= len(times) <= 101


def test_nothing_is_known_until_a_first_response(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        limiter = RateLimiter()
        assert await limiter.acquire()
        second = asyncio.ensure_future(limiter.acquire())
        await asyncio.wait((second,), timeout=0.05)
        assert not second.done()
        limiter.heard({"x-ratelimit-limit-requests": "6000"}, False)
        assert await asyncio.wait_for(second, 1)

    asyncio.run(run())


def test_a_429_with_nothing_left_stops_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    limiter = RateLimiter(600, clock=clock)

    async def run() -> float:
        limiter.heard({"x-ratelimit-remaining-requests": "0", "retry-after": "7"}, True)
        await limiter.acquire()
        return clock.now_s - 1000.0

    assert 7 <= asyncio.run(run()) < 7.2
    assert limiter.factor < 1


def test_a_429_with_room_left_slows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    limiter = RateLimiter(600, clock=clock)
    times = sent(
        limiter, clock, clock.now_s + 60, lambda now_s: int(now_s * 7) % 3 == 0, {"x-ratelimit-remaining-requests": "50"}
    )
    assert len(times) >= 0.95 * 600
    assert limiter.factor == 1


def test_429s_that_come_whatever_the_rate_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No headers, a third of all answers a 429 at random."""
    import random

    clock, rng = Clock(monkeypatch), random.Random(3)
    times = sent(RateLimiter(600, clock=clock), clock, clock.now_s + 600, lambda now_s: rng.random() < 1 / 3)
    assert len(times) >= 0.9 * 6000


def test_a_server_without_a_limit_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def answered(now_s: float) -> bool:
        clock.now_s += 0.1 if now_s < 1010 else 0.001  # slow at first
        return False

    assert len(sent(RateLimiter(None, clock=clock), clock, clock.now_s + 20, answered)) >= 9000


@pytest.mark.parametrize("configured", [1200, None])
def test_a_limit_that_nobody_tells_is_found(monkeypatch: pytest.MonkeyPatch, configured: int | None) -> None:
    """The server takes 5 a second and says nothing but 429."""
    clock = Clock(monkeypatch)
    accepted: list[float] = []

    def limited(now_s: float) -> bool:
        clock.now_s += 0.01  # an answer takes time, or a client without a limit would ask for ever
        if len(accepted) >= 10 and accepted[-10] > now_s - 2:
            return True
        accepted.append(now_s)
        return False

    times = sent(RateLimiter(configured, clock=clock), clock, clock.now_s + 300, limited)
    late = [t for t in times if t > 1100]
    refused = len(late) - sum(t > 1100 for t in accepted)
    assert refused <= 0.15 * len(late)
    assert sum(t > 1100 for t in accepted) >= 0.8 * 5 * 200


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1h2m3s", 3723),
        ("8.64s", 8.64),
        ("7", 7),
        ("", None),
        ("soon", None),
        (None, None),
    ],
)
def test_durations_as_servers_write_them(text: str | None, found: float | None) -> None:
    assert seconds(text) == found


@given(st.text(max_size=12))
def test_any_header_can_be_read(text: str) -> None:
    for wait_s in (seconds(text), retry_after_s({"retry-after": text}), retry_after_s({"retry-after-ms": text})):
        assert wait_s is None or wait_s >= 0
    limiter = RateLimiter()
    limiter.heard(
        {"x-ratelimit-limit-requests": text, "x-ratelimit-remaining-tokens": text, "x-ratelimit-reset-tokens": text}, True, 5
    )


def test_retry_after() -> None:
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "3"}) == 3
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_s({"retry-after": "99999"}) == MAX_WAIT_S
    assert retry_after_s({"retry-after": formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(30, abs=2)
    assert retry_after_s({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0
