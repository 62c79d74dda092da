"""Progress a person can read: a line that moves on a terminal, a line every few seconds in a log file.

images       42/120   35 %   310 photographs/s   1 min 10 s left
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

_LOG_EVERY_S = 10.0
_TTY_EVERY_S = 0.2


def duration(seconds: float) -> str:
    """1 h 05 min · 1 min 10 s · 4 s"""
    seconds = int(seconds + 0.5)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


class Progress:
    """``with Progress("images", total=120, unit="images") as p: p.step(1, amount=32)``"""

    def __init__(self, name: str, total: int, unit: str = "rows"):
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self.amount = 0
        self.started_s = self._last_s = time.monotonic()
        self._tty = sys.stdout.isatty()

    def step(self, partitions: int = 1, amount: int = 0) -> None:
        """Count finished partitions, and the rows they held."""
        self.done += partitions
        self.amount += amount
        now = time.monotonic()
        if now - self._last_s >= (_TTY_EVERY_S if self._tty else _LOG_EVERY_S):
            self._last_s = now
            print(self._line(now), end="\r" if self._tty else "\n", flush=True)

    def _line(self, now_s: float) -> str:
        elapsed_s = max(now_s - self.started_s, 1e-6)
        left_s = elapsed_s / max(self.done, 1) * (self.total - self.done)
        share = 100 * self.done // max(self.total, 1)
        return (
            f"  {self.name:<14} {self.done}/{self.total}  {share:3d} %   {self.amount / elapsed_s:,.1f} {self.unit}/s   "
            f"{duration(left_s)} left   "
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tty:
            print(" " * 100, end="\r")
