"""What a run spends, step by step: wall, CPU and memory of the driver and of all its processes, files and partitions read by the driver.

A step is whatever function was wrapped by `watch`; steps nest, and each is told what it spent itself. Processes are looked at a few times a
second, so a worker that lives less is not seen; memory is the anonymous resident part, since what Ray's processes share stands in each.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from codelib.core.store import Store

_EVERY_S = 0.3


@dataclass
class Spent:
    """Of one step, itself alone. CPU in seconds; memory in bytes, the highest seen while it was the innermost step."""

    wall_s: float = 0.0
    driver_s: float = 0.0
    workers_s: float = 0.0
    driver_bytes: int = 0
    worker_bytes: int = 0  # of the largest
    calls: int = 0
    reads: int = 0  # files that the driver read, or asked about, one after another
    commits: int = 0


class Meter:
    """Of this process and those that it started."""

    def __init__(self) -> None:
        self.steps: dict[str, Spent] = defaultdict(Spent)
        self._stack = ["(between)"]
        self._last = self._now()
        self._of_pid: dict[int, float] = {}
        self._seen = 0.0
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    # steps

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def _charge(self) -> None:
        """What was spent since the last time goes to the innermost step."""
        wall, cpu = self._now()
        step = self.steps[self._stack[-1]]
        step.wall_s += wall - self._last[0]
        step.driver_s += cpu - self._last[1]
        self._last = wall, cpu

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        with self._lock:
            self._look()
            self._charge()
            self._stack.append(name)
            self.steps[name].calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._look()
                self._charge()
                self._stack.pop()
                if len(self._stack) == 1:  # a run of hours is told as it goes
                    print(f"  so far {name}: {self._line(self.steps[name])}", flush=True)

    def watch(self, module: Any, name: str, called: Callable[..., str] | None = None) -> None:
        """Wrap a module's function. called: the step's name from its arguments (default: the function's)."""
        plain = getattr(module, name)

        @functools.wraps(plain)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self.step(called(*args) if called else name):
                return plain(*args, **options)

        setattr(module, name, wrapped)

    def count_files(self) -> None:
        """Count what this process reads and commits through Store."""

        def counted(name: str, kind: str) -> None:
            plain = getattr(Store, name)

            def wrapped(store: Store, *args: Any, **options: Any) -> Any:
                step = self.steps[self._stack[-1]]
                setattr(step, kind, getattr(step, kind) + 1)
                return plain(store, *args, **options)

            setattr(Store, name, wrapped)

        for name in ("read", "read_metadata", "open", "size_bytes", "exists"):
            counted(name, "reads")
        counted("commit_stream", "commits")
        plain = Store.read_table

        def read_table(store: Store, name: str, columns: Any = None) -> Any:
            if columns is not None:  # without columns it goes through read
                self.steps[self._stack[-1]].reads += 1
            return plain(store, name, columns)

        setattr(Store, "read_table", read_table)  # noqa: B010 - mypy knows no other way to put a method in its place

    # processes

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._look()
            self._charge()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            with self._lock:
                self._look()

    def _look(self) -> None:
        now = time.perf_counter()
        if now - self._seen < _EVERY_S / 2:
            return
        self._seen = now
        step = self.steps[self._stack[-1]]
        step.driver_bytes = max(step.driver_bytes, _anonymous(os.getpid()))
        for child in psutil.Process().children(recursive=True):
            try:
                times = child.cpu_times()
                spent = times.user + times.system
                if _is_worker(child.name()):
                    step.worker_bytes = max(step.worker_bytes, _anonymous(child.pid))
            except (psutil.Error, OSError):
                continue
            step.workers_s += max(0.0, spent - self._of_pid.get(child.pid, 0.0))
            self._of_pid[child.pid] = spent

    @staticmethod
    def _line(spent: Spent) -> str:
        memory = f"driver {spent.driver_bytes / 2**20:,.0f} MB, worker {spent.worker_bytes / 2**20:,.0f} MB"
        return f"{spent.wall_s:.1f} s, CPU {spent.driver_s:.1f} + {spent.workers_s:.1f} s, {memory}, {spent.reads:,} reads"

    def told(self) -> dict[str, dict[str, float]]:
        return {name: asdict(spent) for name, spent in self.steps.items()}


def _is_worker(name: str) -> bool:
    return name.startswith("ray::") or name.startswith("python")


def _anonymous(pid: int) -> int:
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
