"""Where a run's numbers go while it runs: TensorBoard event files always, MLflow or Weights & Biases by setting. Numbers and settings
only: no sample's id or text leaves by this way, nor what these services take of the machine by themselves (account, host, command, paths).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from codelib.train.card import public_name
from codelib.train.installed import installed
from codelib.train.settings import TrainSettings

NO_TENSORBOARD = (
    "note        no TensorBoard files: tensorboardX is not installed here (pip install tensorboardX); "
    "curves.csv is written all the same"
)


class Tracker:
    """``with Tracker(folder, name, settings) as tracker: tracker.measured(3, {"loss": 1.2})``, on the driver."""

    def __init__(
        self,
        folder: str,
        name: str,
        settings: TrainSettings,
        say: Callable[[str], None] = print,
        total_steps: int = 0,
        root: str | None = None,
    ) -> None:
        """root: where the run lies for everybody (default: folder), by whose hash a service finds it again."""
        self.say, self.total_steps = say, total_steps
        self.folder, self.last, self.opened, self.writer = folder, 0, 0, None
        self.tensorboard = installed("tensorboardX")
        if not self.tensorboard:
            say(NO_TENSORBOARD)
        self.name = settings.tracker
        self.service: Any = None
        if settings.tracker != "none":
            kind = {"mlflow": _Mlflow, "wandb": _Wandb}[settings.tracker]
            self._guarded(lambda: setattr(self, "service", kind(_hash(root or folder), folder, name, settings)))

    def _open(self, first_step: int) -> None:
        from tensorboardX import SummaryWriter

        if self.writer is not None:
            self.writer.close()
        # steps that were taken before a worker was lost are taken again: TensorBoard hides the first time
        self.writer = SummaryWriter(f"{self.folder}/tensorboard", purge_step=first_step, filename_suffix=f".{self.opened}")
        self.opened += 1  # files are named by the second: two of one second must not be one file

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        if self.tensorboard:
            if self.writer is None or step < self.last:
                self._open(step)
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)  # type: ignore[attr-defined]
        self.last = step
        if self.service is not None:
            self._guarded(lambda: self.service.measured(step, values))

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a server or its library comes up with: no run ends for it
            self.say(f"note        nothing more goes to {self.name}: {type(error).__name__}; training goes on")
            self.service = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.writer is not None:
            self.writer.close()
        if self.service is not None:
            self._guarded(lambda: self.service.close(kind is None and self.last >= self.total_steps))


def _told(settings: TrainSettings) -> dict[str, Any]:
    """What a service is told of the settings: the model without the folder that it lies in."""
    return settings.fingerprint() | {"model": public_name(settings.model)}


def _hash(root: str) -> str:
    return hashlib.sha256(root.encode()).hexdigest()[:16]


class _Mlflow:
    """To the server of MLFLOW_TRACKING_URI, or files where MLflow puts them. The run of the same folder is gone on with."""

    def __init__(self, same: str, folder: str, name: str, settings: TrainSettings) -> None:
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment("codelib")
        found = mlflow.search_runs(filter_string=f"tags.folder_sha256 = '{same}'", max_results=1, output_format="list")
        # in the place of what it would take from the machine: account, path of the program, commit
        said = {"mlflow.user": "-", "mlflow.source.name": "codelib", "mlflow.source.type": "LOCAL"}
        mlflow.start_run(run_id=found[0].info.run_id if found else None, run_name=name, tags=said)
        if not found:
            mlflow.set_tag("folder_sha256", same)
            mlflow.log_params({key: str(value)[:250] for key, value in _told(settings).items()})

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self.mlflow.end_run("FINISHED" if finished else "FAILED")


class _Wandb:
    """To the account of WANDB_API_KEY, or files with WANDB_MODE=offline. The run of the same folder is gone on with."""

    def __init__(self, same: str, folder: str, name: str, settings: TrainSettings) -> None:
        import wandb

        # by itself it sends what the job prints, its command, account, host and folders. A version that does not know one of these settings
        # raises, and nothing is sent
        private = wandb.Settings(
            console="off", host="", disable_git=True, disable_code=True, x_disable_machine_info=True, x_disable_meta=True
        )
        self.run = wandb.init(
            project="codelib", name=name, id=same, resume="allow", dir=folder, config=_told(settings), settings=private
        )

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)
