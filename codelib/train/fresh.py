"""Work on the finished adapter in a process that trained nothing, where the workers were: there is a GPU, and the memory for a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from codelib.core.cli import JobFailed
from codelib.core.near import Near
from codelib.train.settings import TrainSettings

Made = TypeVar("Made")


def on_worker(gpu: bool) -> str:
    return "cuda" if gpu else "cpu"


def apart(work: Callable[..., Made], *args: Any, settings: TrainSettings, gpu: bool, near: Sequence[Near] = ()) -> Made:
    """``work(*args)`` in a worker process of the connected cluster that ends with it. near: copies that it reads, to be made on its node."""
    import ray

    task: Any = ray.remote(num_cpus=settings.cpus_per_worker, num_gpus=1 if gpu else 0, max_calls=1)(_call)
    try:
        return ray.get(task.remote(work, args, settings.cpus_per_worker, gpu, tuple(near)))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # as it was raised there
    except ray.exceptions.RayError as error:
        raise JobFailed(
            f"the process that worked on the finished adapter was lost ({type(error).__name__}); run the same command again, nothing is "
            "trained anew"
        ) from None


def _call(work: Callable[..., Made], args: tuple[Any, ...], threads: int, gpu: bool, near: Sequence[Near]) -> Made:
    import torch

    for copy in near:
        copy.ensure()
    if not gpu:
        torch.set_num_threads(threads)
    return work(*args)
