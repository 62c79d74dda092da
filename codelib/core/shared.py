"""One object for all processes of a run: a limiter, a budget, whatever must not be there twice.

share(make) ──> Shared ──call("method", ...)──> the one object, on one event loop
                         in this process; or, on a connected Ray, in an actor beside the driver that every worker reaches
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MOST_WAITING = 100_000  # calls under way at once: waiting costs an actor nothing


class Shared:
    """A handle; travels to Ray's workers where the object lives in an actor. The object's methods are coroutines."""

    def __init__(self, host: Any) -> None:
        self._host = host

    async def call(self, method: str, *args: Any) -> Any:
        """From any event loop."""
        return await self._host.call(method, args)

    def call_and_wait(self, method: str, *args: Any) -> Any:
        return self._host.call_and_wait(method, args)


def share(make: Callable[[], Any]) -> Shared:
    """``make`` is called once, where the object is to live. Where Ray is connected that is an actor, and it ends with this process."""
    import ray

    return Shared(_There(make) if ray.is_initialized() else _Here(make))


class _Here:
    """On an event loop of its own: who calls may run one that ends before the object does."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._held = make()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        return await asyncio.wrap_future(self._start(method, args))

    def call_and_wait(self, method: str, args: tuple[Any, ...]) -> Any:
        return self._start(method, args).result()

    def _start(self, method: str, args: tuple[Any, ...]) -> Any:
        return asyncio.run_coroutine_threadsafe(getattr(self._held, method)(*args), self._loop)


class _There:
    def __init__(self, make: Callable[[], Any]) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # beside the driver: a host that is lost must not take it along
        beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor: Any = (
            ray.remote(_Actor)
            .options(num_cpus=0, max_concurrency=_MOST_WAITING, max_restarts=-1, max_task_retries=-1, scheduling_strategy=beside)
            .remote(make)
        )

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        with _unwrapped():
            return await self._actor.call.remote(method, args)

    def call_and_wait(self, method: str, args: tuple[Any, ...]) -> Any:
        import ray

        with _unwrapped():
            return ray.get(self._actor.call.remote(method, args))


@contextmanager
def _unwrapped() -> Iterator[None]:
    """What the object raised, as `_Here` raises it: Ray's class for it has lost an OSError's number."""
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, BaseException):
            raise error.cause from None
        raise


class _Actor:
    def __init__(self, make: Callable[[], Any]) -> None:
        self._held = make()

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        return await getattr(self._held, method)(*args)
