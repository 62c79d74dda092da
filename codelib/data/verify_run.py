"""How --verify looks: functions of a worker, a few chunks ahead, results in the order of the tasks."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from codelib.core.cli import JobFailed

_AHEAD = 3  # chunks for each worker that wait or are done and not yet taken: what bounds the memory

Task = tuple[str, Callable[..., Any], tuple[Any, ...]]
"""What the result belongs to, a function of a worker, its arguments."""


def run_tasks(tasks: Iterable[Task], workers: int) -> Iterator[tuple[str, Any]]:
    """Results in the order of the tasks; never more than a few ahead. spawn: this process has threads (pyarrow)."""
    if workers == 1:  # in this process: the least memory
        yield from ((key, work(*args)) for key, work, args in tasks)
        return
    waiting: deque[tuple[str, Future[Any]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for key, work, args in tasks:
                waiting.append((key, pool.submit(work, *args)))
                if len(waiting) >= workers * _AHEAD:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        except BrokenProcessPool:
            raise JobFailed("a worker was ended from outside, often for want of memory; run again with --num-cpus 1") from None
        finally:
            pool.shutdown(
                wait=True, cancel_futures=True
            )  # joined here: a process that ends by `leave` would wait for it for ever
