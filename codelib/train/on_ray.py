"""The training loop on Ray Train: workers, restarts, and the words between the first worker and the driver.

    Job ── TorchTrainer ── workers: codelib.train.loop.train(run folder) ──> checkpoints/, probe.safetensors
     driver <── Board: lines, numbers, a verdict ── worker          driver ── Board: please stop ──> worker

A lost worker or host restarts the group (FailureConfig), with as many workers as there is room for where ``workers`` is a range; Ray's
controller of the group is started again from here, the board by Ray; a lost driver is started again with the same command. Each time the
loop finds the last checkpoint in the run's folder by itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from codelib.core.cli import JobFailed
from codelib.core.cluster import may_grow
from codelib.models.loading import NoCuda, check_given_gpu
from codelib.train.examples import TINY
from codelib.train.failures import TrainingFailed
from codelib.train.job import Channel, Job, Place
from codelib.train.loop import train
from codelib.train.run_folder import RunFolder
from codelib.train.settings import TrainSettings
from codelib.train.stopping import Stopping

_ASK_EVERY_S = 0.5
_NOBODY_S = 60.0  # without a look at the board there is no worker: Ray waits for room, or starts the group again


class Board:
    """An actor on which workers put what they have to say, and the driver its wish to stop. One that is lost begins anew: without notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []
        self.stop = False
        self.failed = False
        self.asked_s = time.monotonic()  # when a worker last looked

    def put(self, kind: str, value: Any) -> None:
        """line: str; measured: (step, {name: value}); verdict: why the run failed for good."""
        self.notes.append((kind, value))
        self.failed |= kind == "verdict"

    def take(self) -> list[tuple[str, Any]]:
        notes, self.notes = self.notes, []
        return notes

    def ask_to_stop(self) -> None:
        self.stop = True

    def wishes(self) -> tuple[bool, bool]:
        """Whether to stop, and whether the run failed for good already."""
        self.asked_s = time.monotonic()
        return self.stop, self.failed

    def silent_s(self) -> float:
        """How long no worker has looked here."""
        return time.monotonic() - self.asked_s


class _RayChannel(Channel):
    """The worker's end. The wish to stop is fetched beside the steps, which never wait for it."""

    def __init__(self, board: Any) -> None:
        self.board, self.stop = board, False

    def say(self, line: str) -> None:
        self.board.put.remote("line", line)

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.board.put.remote("measured", (step, dict(values)))

    def stop_wanted(self) -> bool:
        return self.stop

    def listen(self) -> None:
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        import ray

        while not self.stop:
            try:
                self.stop, _ = ray.get(self.board.wishes.remote())
            except ray.exceptions.RayError:  # the driver is gone: Ray ends this worker too
                return
            time.sleep(_ASK_EVERY_S)


def uses_gpu(settings: TrainSettings) -> bool:
    """Whether workers take a GPU each. Raises ValueError where one is demanded and a cluster started here has too few."""
    import ray

    gpus, needed = int(ray.cluster_resources().get("GPU", 0)), settings.min_workers
    if settings.use_gpu == "auto":
        return gpus >= needed
    if settings.use_gpu == "yes" and gpus < needed and not may_grow():
        raise ValueError(
            f"use_gpu=yes, workers={needed}: Ray has {gpus} GPUs here; submit the job to a cluster that has them, ask Slurm for more (--gres), "
            "or --set use_gpu=no"
        )
    return settings.use_gpu == "yes"


def note_of_cpus(settings: TrainSettings, use_gpu: bool) -> str | None:
    """What is to be told of a cluster that has too few GPUs now: one that grows with the work is asked for none by ``auto``."""
    if use_gpu or settings.use_gpu != "auto" or settings.model == TINY or not may_grow():
        return None
    return (
        f"use_gpu=auto, and this cluster has fewer than {settings.min_workers} GPUs now, so workers train on its CPUs; where machines with GPUs "
        "come with the work, stop this and --set use_gpu=yes"
    )


def check_cpus(settings: TrainSettings) -> None:
    """Raises ValueError where a cluster started here could never place the workers: Ray would wait for ever."""
    import ray

    have, need = int(ray.cluster_resources().get("CPU", 0)), settings.min_workers * settings.cpus_per_worker
    if have < need and not may_grow():
        raise ValueError(
            f"workers={settings.min_workers}, cpus_per_worker={settings.cpus_per_worker}: needs {need} CPUs, Ray has {have}; "
            "raise --num-cpus (under Slurm --cpus-per-task) or lower them with --set"
        )


def _worker(config: dict[str, Any]) -> None:
    """One worker of the group, on its own process."""
    import ray
    import ray.train.torch
    import torch

    job: Job = config["job"]
    channel = _RayChannel(config["board"])
    if ray.get(config["board"].wishes.remote())[1]:
        return  # it failed for good, and Ray started the group once more
    for copy in job.near:
        copy.ensure()
    context = ray.train.get_context()
    if config["use_gpu"]:
        try:
            check_given_gpu()
        except NoCuda as error:  # for good: another try finds the same driver
            ray.get(config["board"].put.remote("verdict", str(error)))
            raise
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"
        torch.set_num_threads(job.settings.cpus_per_worker)
    place = Place(context.get_world_rank(), context.get_world_size(), str(ray.train.torch.get_device()))
    if place.rank == 0:
        channel.listen()
    try:
        train(job, place, config["folder"], channel)
    except TrainingFailed as error:
        ray.get(config["board"].put.remote("verdict", str(error)))
        if error.alone:  # the others wait for this rank: end the group
            raise


def _scaling(settings: TrainSettings, use_gpu: bool) -> Any:
    from ray.train import ScalingConfig

    fewest, most = settings.min_workers, settings.max_workers
    count: Any = most if fewest == most else (fewest, most)
    return ScalingConfig(
        num_workers=count,
        use_gpu=use_gpu,
        resources_per_worker={"CPU": settings.cpus_per_worker, **({"GPU": 1} if use_gpu else {})},
    )


def _trainer(job: Job, folder: RunFolder, board: Any, use_gpu: bool) -> Any:
    from ray.train import FailureConfig, RunConfig

    from codelib.train.groups import Trainer

    config: Any = RunConfig(  # to a type checker it is the former Ray Train's
        name="ray",  # its own notes; what a run needs to go on is in checkpoints/
        storage_path=str(folder.path.resolve()),
        failure_config=FailureConfig(max_failures=job.settings.max_failures),
    )
    return Trainer(
        _worker,
        train_loop_config={"job": job, "board": board, "use_gpu": use_gpu, "folder": folder.root},
        scaling_config=_scaling(job.settings, use_gpu),
        run_config=config,
    )


class _Fit:
    """trainer.fit() in a thread of its own: Ray would put its handler in the place of the driver's, and end a run without a checkpoint."""

    def __init__(self, trainer: Any) -> None:
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self.thread.start()

    def _run(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self.error = error

    @property
    def lost(self) -> bool:
        """Whether it ended with the process of Ray's controller, which Ray does not start again."""
        import ray

        return isinstance(self.error, ray.exceptions.RayActorError)


def fit(job: Job, folder: RunFolder, stopping: Stopping, measured: Callable[[int, dict[str, float]], None]) -> None:
    """Train on the connected cluster, going on from what ``folder`` holds; prints the workers' lines and hands on their numbers.

    Returns when the workers reached the last step, or left a checkpoint because ``stopping`` was asked to. Raises JobFailed where they
    failed for good.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from codelib.train.groups import give_back

    settings = job.settings
    check_cpus(settings)
    use_gpu = uses_gpu(settings)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # beside the driver: a host that is lost must not take the board with it
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    lasting = {"max_restarts": -1, "max_task_retries": -1}
    board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here, **lasting).remote()

    lost, under_way = 0, _Fit(_trainer(job, folder, board, use_gpu))
    verdict, asked = None, False
    while True:
        alive = under_way.thread.is_alive()
        if stopping.wanted and not asked:
            asked = True
            print(
                f"{stopping.reason}: at the next step a checkpoint is written, then this run leaves; Ctrl-C leaves at once",
                flush=True,
            )
        if asked:  # again and again: a board that was lost has forgotten it
            board.ask_to_stop.remote()
        for kind, value in ray.get(board.take.remote()):
            if kind == "line":
                print(value, flush=True)
            elif kind == "measured":
                measured(*value)
            else:
                verdict = verdict or value
        if not alive:
            if verdict is not None or not under_way.lost or lost == settings.max_failures:
                break
            lost += 1
            print("note        Ray's controller of the workers was lost; it starts again, from the last checkpoint", flush=True)
            give_back()
            under_way = _Fit(_trainer(job, folder, board, use_gpu))
        if asked and ray.get(board.silent_s.remote()) > _NOBODY_S:
            print("no worker is running that could write another checkpoint: the last one counts", flush=True)
            return
        under_way.thread.join(_ASK_EVERY_S)
    if verdict is not None:
        raise JobFailed(f"training stopped: {verdict}")
    if under_way.error is not None:
        raise _failed(under_way.error) from None


def _failed(error: BaseException) -> BaseException:
    import ray

    if isinstance(error, ray.exceptions.RayActorError):
        return JobFailed(
            "training stopped: the process that directs the workers was lost more often than max_failures allows; run the same command again "
            "to continue from the last checkpoint"
        )
    if not isinstance(error, ray.train.TrainingFailedError):
        return error
    failures = getattr(error, "worker_failures", {}) or {}
    first = next(iter(failures.values()), error.__cause__ or error)
    return JobFailed(
        f"training stopped: {type(first).__name__} in a worker; run the same command again to continue from the last checkpoint ({first})"
    )
