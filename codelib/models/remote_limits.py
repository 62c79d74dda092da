"""How fast a server may be asked: one limiter, in the one process that asks.

Requests are spread evenly (GCRA: the next one may go when the last ones have been paid for), since a limit of 600 a minute is enforced by
many servers as 10 a second. The limits are the lower of what the settings say and what ``x-ratelimit-limit-*`` headers say.

A 429 has two causes, and only one of them is ours. Where the headers say that nothing is left, the rate is cut and everybody waits.
Where they say that there is room, the server is merely busy: only that request waits. Where they say nothing, the limiter finds out: it
slows down to the rate at which requests were accepted and looks whether the 429s cease. If so that is the limit; if not they do not depend on
us, slowness buys nothing, and it returns to full speed, to try again ever more rarely.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

SAFETY = 0.97  # of a limit: clocks and networks jitter
BURST_S = 0.15  # how much may go at once, as a stretch of time at full rate
MAX_WAIT_S = 120.0
_WINDOW_RESPONSES = 60  # how many answers show whether slowness helps
_FIRST_REST = 4  # windows until the next trial, after one that did not help
_NOISE = 0.02  # a share of 429s not worth looking into
_MIN_FACTOR = 0.05
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def seconds(text: str | None) -> float | None:
    """``1s``, ``6m0s``, ``120ms`` or plain seconds, as servers write them; None where it is none of these."""
    if not text:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        return None
    hours, minutes, secs, millis = (float(group or 0) for group in match.groups())
    return 3600 * hours + 60 * minutes + secs + millis / 1000


def retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """What ``Retry-After`` (seconds or a date) or ``retry-after-ms`` asks for, at most MAX_WAIT_S. None where it asks for nothing."""
    text = headers.get("retry-after")
    if millis := seconds(headers.get("retry-after-ms")):
        wait_s: float | None = millis / 1000
    elif (wait_s := seconds(text)) is None and text:
        try:
            wait_s = max(parsedate_to_datetime(text).timestamp() - (time.time() if now_s is None else now_s), 0.0)
        except ValueError:
            wait_s = None
    return None if wait_s is None else min(wait_s, MAX_WAIT_S)


def _count(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(f"x-ratelimit-{name}", "")
    return int(text) if text.isascii() and text.isdigit() else None


@dataclass
class _Lane:
    """One limit: ``per_minute`` units a minute (None: not known). ``next_s``: when all that was let through is paid for."""

    per_minute: float | None
    next_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        return 0.0 if self.per_minute is None else self.next_s - BURST_S - now_s

    def take(self, units: float, factor: float, now_s: float) -> None:
        if self.per_minute is not None:
            self.next_s = max(self.next_s, now_s) + 60 * units / (self.per_minute * SAFETY * factor)

    def learn(self, limit: int | None) -> None:
        if limit and (self.per_minute is None or limit < self.per_minute):
            self.per_minute = limit


class RateLimiter:
    """``await acquire(tokens)`` before each request, ``heard(...)`` after each response. For one event loop."""

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests, self.tokens = _Lane(requests_per_minute), _Lane(tokens_per_minute)
        self.factor = 1.0  # of the limits: below 1 after 429s
        self._clock = clock
        self._paused_until_s = 0.0
        self._turn = asyncio.Lock()  # first come, first served
        self._heard = asyncio.Event()
        self._asked_first = False
        self._probe = _Probe(clock)

    async def acquire(self, tokens: float = 0.0, stop: asyncio.Event | None = None) -> bool:
        """Returns True when a request of about so many tokens may go, False once ``stop`` is set. Until a first response has told
        the limits, one goes alone."""
        async with self._turn:
            if self._asked_first and not self._heard.is_set():
                await self._heard.wait()
            self._asked_first = True
            while not (stop and stop.is_set()) and (wait_s := self._wait_s()) > 0:
                await asyncio.sleep(min(wait_s, 1.0))
            if stop and stop.is_set():
                return False
            now_s = self._clock()
            self.requests.take(1, self.factor, now_s)
            self.tokens.take(tokens, self.factor, now_s)
            return True

    def _wait_s(self) -> float:
        now_s = self._clock()
        return max(self._paused_until_s - now_s, self.requests.wait_s(now_s), self.tokens.wait_s(now_s))

    def correct(self, tokens: float) -> None:
        """So many tokens more (or fewer) were used than was said to `acquire`."""
        if self.tokens.per_minute is not None:
            self.tokens.next_s += 60 * tokens / (self.tokens.per_minute * SAFETY * self.factor)

    def heard(self, headers: Mapping[str, str], limited: bool, tokens: float = 0.0, answered: bool = True) -> None:
        """A response came (``answered``: or a connection failed). ``limited``: it was a 429, for a request of so many tokens."""
        self._heard.set()
        self.requests.learn(_count(headers, "limit-requests"))
        self.tokens.learn(_count(headers, "limit-tokens"))
        if not answered:
            return
        left, left_tokens = _count(headers, "remaining-requests"), _count(headers, "remaining-tokens")
        told = left is not None or left_tokens is not None
        spent = left == 0 or (left_tokens is not None and left_tokens < tokens)
        if limited and spent:
            self.factor = max(0.9 * self.factor, _MIN_FACTOR)
            resets = [
                s for lane in ("requests", "tokens") if (s := seconds(headers.get(f"x-ratelimit-reset-{lane}"))) is not None
            ]
            wait_s = retry_after_s(headers)
            self._pause(wait_s if wait_s is not None else min([*resets, 5.0]))
        elif told:  # busy, or answered: nothing to find out
            self.factor = min(1.0, self.factor * (1 + 0.05 / _WINDOW_RESPONSES)) if not limited else self.factor
        else:
            self._find_out(limited)

    def _pause(self, wait_s: float) -> None:
        self._paused_until_s = max(self._paused_until_s, self._clock() + min(wait_s, MAX_WAIT_S))

    def _find_out(self, limited: bool) -> None:
        factor, rate = self._probe.step(limited, self.factor)
        if rate is not None and factor < 1.0 and self.requests.per_minute is None:
            self.requests.per_minute = rate / SAFETY  # no limit was known: what was sent is the scale
        self.factor = min(1.0, max(factor, _MIN_FACTOR))


def _helpful(before: float) -> float:
    """The share of 429s below which slowness has helped, and not by luck: under half of what it was, by one standard deviation."""
    return before / 2 - math.sqrt(before * (1 - before) / _WINDOW_RESPONSES)


class _Probe:
    """Whether going slower makes 429s cease. `step` counts responses and answers with the factor to go on with."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began_s: float | None = None
        self._seen = self._limited = 0
        self._before: tuple[float, float] | None = None  # factor and share of 429s before the trial under way
        self._fallback = 1.0  # the share of 429s at full speed, before it was found to be too fast
        self._settle = 0  # responses to requests sent before the last change: not counted
        self._rest, self._rests = 0, _FIRST_REST  # windows to leave alone, and how many next time

    def step(self, limited: bool, factor: float) -> tuple[float, float | None]:
        """(factor, requests a minute that were sent while it looked; None but at the first change)."""
        if self._settle:
            self._settle -= 1
            return factor, None
        self._began_s = self._clock() if self._began_s is None else self._began_s
        self._seen += 1
        self._limited += limited
        hopeless = self._before is not None and self._limited > _helpful(self._before[1]) * _WINDOW_RESPONSES
        if self._seen < _WINDOW_RESPONSES and not hopeless:
            return factor, None
        share, noise = self._limited / self._seen, 2 / math.sqrt(self._seen)
        rate = 60 * self._seen / max(self._clock() - self._began_s, 1e-3)
        self._seen = self._limited = 0
        self._began_s = None
        return self._judge(share, noise, factor), rate

    def _judge(self, share: float, noise: float, factor: float) -> float:
        if self._before is not None:
            old, before = self._before
            if _helpful(before) < share < before - noise * math.sqrt(before * (1 - before)) and factor > _MIN_FACTOR:
                return self._slower(share, factor)  # somewhat better: a first burst had hidden how low the limit is
            self._before = None
            if share <= _helpful(before):  # this is the limit
                self._rests = _FIRST_REST
                self._fallback = before if old == 1.0 else max(self._fallback, before)
                return factor
            self._rest, self._rests = self._rests, min(4 * self._rests, 64)
            self._settle = _WINDOW_RESPONSES // 4
            return old
        if self._rest:
            self._rest -= 1
            return factor
        if share <= _NOISE:
            return min(1.0, factor * 1.05)
        if factor < 1.0 and share > self._fallback / 2:  # as many as before it slowed down: it was luck
            self._rest, self._rests = self._rests, min(4 * self._rests, 64)
            return 1.0
        self._before = (factor, share)
        return self._slower(share, factor)

    def _slower(self, share: float, factor: float) -> float:
        """At the rate at which requests were accepted, and a little less."""
        self._settle = _WINDOW_RESPONSES // 4
        return factor * max(0.95 * (1 - share), _MIN_FACTOR)
