"""Being asked to leave: the first signal wants a checkpoint, the second wants out.

    SIGTERM, SIGUSR1 (pre-emption) ── driver ── Board ──> first worker ── next step boundary, all ranks at the same one ── checkpoint
    Ctrl-C                            once: the same     twice: leave at once, the last written checkpoint counts

Only the driver takes signals. Under Slurm: `sbatch --signal=B:USR1@300` sends it to the batch script alone, which hands it to the driver
(`kill -USR1`); without `B:` Slurm would send it to Ray's processes too, and end them. 300 s are for the step under way and the write.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_REASONS = {signal.SIGINT: "interrupted", signal.SIGTERM: "asked to end (SIGTERM)", signal.SIGUSR1: "pre-empted (SIGUSR1)"}


class Stopping:
    """Whether this process was asked to stop, and how."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def wanted(self) -> bool:
        return self.signal is not None

    @property
    def reason(self) -> str:
        return _REASONS[self.signal] if self.signal is not None else ""

    @property
    def interrupted(self) -> bool:
        """By a person at the keyboard."""
        return self.signal == signal.SIGINT

    def _take(self, signum: int, frame: object) -> None:
        if self.signal is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(signum)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stopping]:
        """Takes the signals for the length of the block; in another thread than the main one nothing can be taken."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._take) for number in _REASONS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
