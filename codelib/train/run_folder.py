"""The folder of one training run, ``WORKSPACE/train/<name>``: whose run it is, whether it is finished, and its results.

settings.json   written first: settings and data of the run that the folder belongs to
samples.csv     the samples that it learns from or leaves out, each with its checkup: whom a withdrawal concerns
examples/       token-ready shards: every sample's ids, by reference to the images of the release
preflight.csv   every sample with its side, tokens, dropped images, and reason where it is left out; preflight.json: their sums
rejected.csv    sample ids left out, with the reason
checkpoints/    the last two, each with the best adapter so far (codelib.train.checkpoints)
tensorboard/    event files, while it runs       ray/   Ray Train's own notes       profile/   traces, on demand
adapter/        the best checkpoint's adapter, in stock PEFT format, with its card, curves and canary.json
curves.csv      a line for every step            curves.png
merged/         base and adapter as one model, on demand
run.json        written last: a folder without it is not finished
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codelib.core.config import differences
from codelib.core.store import Store, exclusive, lock_file
from codelib.train.settings import TrainSettings

if TYPE_CHECKING:  # torch takes a second, and nobody needs it who only asks what a run has seen
    from codelib.train.checkpoints import TrainProgress
    from codelib.train.parity import Parity
    from codelib.train.samples import Measured

SAMPLES = "samples.csv"
WITHDRAWN = "withdrawn"  # in place of the sample's id, where consent was withdrawn since
EXAMPLES = "examples"
STAGED = "adapter-unchecked"  # on an object store, while it is compared with what was trained

_SAMPLES_HEADER = ["sample_id", "checkup_id", "side"]


@dataclass(frozen=True)
class RunFolder:
    """``uri``: where the folder is, if that is an object store; ``path`` is a folder of the driver's disk then, for what needs one."""

    path: Path
    uri: str = ""

    @property
    def root(self) -> str:
        """For a person, and for workers of any node."""
        return self.uri or str(self.path.resolve())

    @property
    def store(self) -> Store:
        return Store(self.uri or str(self.path))

    @property
    def examples(self) -> Store:
        return Store(f"{self.root}/{EXAMPLES}")

    def finished(self) -> dict[str, Any] | None:
        """run.json, where the run is finished."""
        return self.store.read_json("run.json") if self.store.exists("run.json") else None

    def check_identity(self, identity: dict[str, Any], only: bool = False) -> None:
        """Raises ValueError where the folder belongs to a run of other settings or data. only: look at the names in ``identity``."""
        if not self.store.exists("settings.json"):
            return
        written = self.store.read_json("settings.json")
        # a setting that was not there when the run was begun had no say: it counts as its default
        defaults = TrainSettings().fingerprint()
        asked = identity.get("settings", {})
        written["settings"] = {name: defaults[name] for name in asked if name in defaults} | written.get("settings", {})
        known = {name: written.get(name) for name in identity} if only else written
        changed = differences(known, json.loads(json.dumps(identity)))
        if changed:
            shown = "; ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            raise ValueError(
                f"{self.uri or self.path} holds a run of another kind ({shown}); give this one a name of its own with --name, or remove "
                "the folder"
            )

    def claim(self, identity: dict[str, Any]) -> None:
        if not self.store.exists("settings.json"):
            self.store.commit_json("settings.json", identity)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One job at a time in a run's folder; the lock goes with the process, however it ends (`Workspace.locked` for object stores)."""
        if not self.uri:
            self.path.mkdir(parents=True, exist_ok=True)
        busy = f"{self.uri or self.path}: another job trains there; wait for it, or give this one a name with --name"
        with exclusive(lock_file(self.store), busy):
            yield

    def write_samples(self, sides: Mapping[str, Sequence[Measured]]) -> None:
        """Before the first step: a run that is killed has learned from them too."""
        lines = [[m.conversation.sample_id, m.conversation.checkup or "", side] for side, found in sides.items() for m in found]
        self.store.commit(SAMPLES, _csv(_SAMPLES_HEADER, lines))

    def blank_samples(self, checkups: frozenset[str]) -> None:
        """Leave of these visits that there was a sample, and on which side."""
        rows = csv.DictReader(io.StringIO(self.store.read(SAMPLES).decode(), newline=""))
        lines = [[WITHDRAWN, "", row["side"]] if row["checkup_id"] in checkups else [*row.values()] for row in rows]
        self.store.commit(SAMPLES, _csv(_SAMPLES_HEADER, lines))

    def remove(self) -> None:
        if self.uri:
            self.store.delete("")
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def upload(self, folder: Path, name: str, last: str) -> None:
        """Make ``name`` in the store hold what a local folder holds; the file ``last`` comes last, and says that all is there."""
        self.store.delete(name)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix() == last):
            self.store.commit_file(f"{name}/{file.relative_to(folder).as_posix()}", file)

    def keep_events(self) -> None:
        """TensorBoard's files are appended to, which no object store does: they are written beside the driver and kept when it ends."""
        if self.uri:
            for file in (self.path / "tensorboard").glob("*"):
                with suppress(OSError):  # numbers that curves.csv has too
                    self.store.commit_file(f"tensorboard/{file.name}", file)

    def write_rejected(self, rejected: Sequence[Measured]) -> None:
        lines = [[one.conversation.sample_id, one.reason or "", one.detail] for one in rejected]
        self.store.commit("rejected.csv", _csv(["sample_id", "reason", "detail"], lines))

    def stage_adapter(self, checkpoint: str) -> Path:
        """The best adapter of a checkpoint, in a folder that nobody takes for finished."""
        from codelib.train.checkpoints import Checkpoints

        staged = self.path / ".tmp-adapter"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            (staged / file).write_bytes(Checkpoints(self.store).read(checkpoint, f"best/{file}"))
        return staged

    def finish(
        self, staged: Path, progress: TrainProgress, summary: dict[str, Any], parity: Parity, canary: Sequence[str]
    ) -> None:
        """Adapter with card, curves and canary, in its place; run.json comes last."""
        from codelib.train.card import model_card
        from codelib.train.curves import as_csv, as_png
        from codelib.train.probe import FILE as PROBE

        picture = as_png(progress.curve, progress.best_step)
        (staged / "curves.png").write_bytes(picture)
        (staged / "README.md").write_text(model_card(summary, parity), encoding="utf-8")
        seen = {"sample_ids": list(canary), "pixels": [summary["settings"][name] for name in ("min_pixels", "max_pixels")]}
        (staged / "canary.json").write_text(json.dumps(parity.to_json() | seen, indent=1), encoding="utf-8")
        if self.uri:
            self.upload(staged, "adapter", last="adapter_config.json")
        else:
            shutil.rmtree(self.path / "adapter", ignore_errors=True)
            os.rename(staged, self.path / "adapter")
        self.store.commit("curves.csv", as_csv(progress.curve))
        self.store.commit("curves.png", picture)
        self.store.delete(PROBE)
        self.store.commit_json("run.json", summary)


def _csv(header: list[str], rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
