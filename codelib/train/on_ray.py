"""The training loop on Ray Train: workers, restarts, checkpoints, and its lines on the driver's screen.

    Job ── TorchTrainer(RunConfig(name, storage_path)) ── workers: codelib.train.loop.train ──> last checkpoint

The same name and storage path resume by themselves, after a lost worker (FailureConfig) and after a lost driver (the same command).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codelib.core.cli import JobFailed
from codelib.train.loop import Job, Place, train
from codelib.train.settings import TrainSettings


class Board:
    """An actor on which the first worker puts its lines; the driver takes them off and prints them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, line: str) -> None:
        self.lines.append(line)

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


@contextlib.contextmanager
def _printed(board: Any) -> Iterator[None]:
    """While the block runs, lines on the board appear on the screen."""
    import ray

    stop = threading.Event()

    def follow() -> None:
        while True:
            last = stop.wait(0.5)
            try:
                for line in ray.get(board.take.remote()):
                    print(line, flush=True)
            except ray.exceptions.RayError:  # the cluster is going down: the error that matters is fit()'s
                return
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def uses_gpu(settings: TrainSettings) -> bool:
    """Whether workers take a GPU each. Raises ValueError where one is demanded and a cluster started here has too few."""
    import ray

    gpus = int(ray.cluster_resources().get("GPU", 0))
    if settings.use_gpu == "auto":
        return gpus >= settings.workers
    if settings.use_gpu == "yes" and gpus < settings.workers and not os.environ.get("RAY_ADDRESS"):
        raise ValueError(
            f"use_gpu=yes, workers={settings.workers}: this machine has {gpus} GPUs; submit the job to a cluster that has them, "
            "or --set use_gpu=no"
        )
    return settings.use_gpu == "yes"


def check_cpus(settings: TrainSettings) -> None:
    """Raises ValueError where a cluster started here could never place the workers: Ray would wait for ever."""
    import ray

    have, need = int(ray.cluster_resources().get("CPU", 0)), settings.workers * settings.cpus_per_worker
    if have < need and not os.environ.get("RAY_ADDRESS"):
        raise ValueError(
            f"workers={settings.workers}, cpus_per_worker={settings.cpus_per_worker}: needs {need} CPUs, Ray has {have}; "
            "raise --num-cpus or lower them with --set"
        )


def _worker(config: dict[str, Any]) -> None:
    """One worker of the group, on its own process."""
    import ray.train
    import torch
    from ray.train import Checkpoint

    job: Job = config["job"]
    context = ray.train.get_context()
    if not config["use_gpu"]:
        os.environ["DS_ACCELERATOR"] = "cpu"
        torch.set_num_threads(job.settings.cpus_per_worker)
    place = Place(context.get_world_rank(), context.get_world_size(), str(ray.train.torch.get_device()))

    def report(metrics: dict[str, float], folder: Path) -> None:
        # only rank 0 has files, unless ZeRO sharded them; an empty folder is no checkpoint
        files = Checkpoint.from_directory(str(folder)) if any(folder.iterdir()) else None
        ray.train.report(metrics, checkpoint=files)

    def say(line: str) -> None:
        config["board"].put.remote(line)

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        train(job, place, report, None, say)
        return
    with checkpoint.as_directory() as folder:
        train(job, place, report, Path(folder), say)


def fit(job: Job, storage: Path) -> Path:
    """Train on the connected cluster, resuming what ``storage`` holds. Returns the last checkpoint's folder.

    Raises JobFailed where the workers failed for good.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    settings = job.settings
    check_cpus(settings)
    use_gpu = uses_gpu(settings)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    board = ray.remote(num_cpus=0)(Board).remote()
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job, "board": board, "use_gpu": use_gpu},
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": settings.cpus_per_worker, **({"GPU": 1} if use_gpu else {})},
        ),
        run_config=RunConfig(
            name=storage.name,
            storage_path=str(storage.parent.resolve()),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="judged_loss", checkpoint_score_order="min"
            ),
        ),
    )
    try:
        with _printed(board):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        cause = error.__cause__ or error
        failures = getattr(error, "worker_failures", {}) or {}
        first = next(iter(failures.values()), cause)
        raise JobFailed(
            f"training stopped: {type(first).__name__} in a worker; run the same command again to continue "
            f"from the last checkpoint ({first})"
        ) from None
    assert result.checkpoint is not None, "a finished run has a checkpoint"
    return Path(result.checkpoint.path)
