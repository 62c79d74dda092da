"""The two jobs that drills are made over: what the user types, how far it is, and what has to be true of the end.

Dataset    the release and the ledger byte for byte those of a run that nobody disturbed; every visit and image in the ledger once
Training   loss of every step and weights of the adapter those of the loop alone, in one process, that nobody disturbed
"""

from __future__ import annotations

import csv
import io
import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import openpyxl
import pytest

from codelib.core.store import Store
from codelib.synthetic.export import generate
from tests.cluster.faults.plan import Drill, Kill
from tests.cluster.hosts import RECIPE
from tests.fixtures import make_release
from tests.jobs import run, tree, with_key
from tests.ray.test_train import command, in_this_process

_EVERY, _EPOCHS = 10, 24  # steps between checkpoints (SETTINGS); with six samples of two a patient kept back, about 140 steps
_SHIFT = {1: 1e-6, 2: 1e-4}  # of a loss, by the most workers: the tolerances of tests/ray/test_train.py


class Attempt(Protocol):
    """One job in a workspace of its own."""

    total: int  # pieces of work that can be counted

    def command(self) -> list[str | Path]: ...

    def done(self) -> int:
        """Pieces finished so far; never falls."""
        ...

    def struck(self, kill: Kill) -> Callable[[], bool]:
        """This was killed a moment ago. Returns a question: is what was under way then finished?"""
        ...

    def check(self) -> dict[str, int]:
        """Raises AssertionError where the end is not that of an undisturbed run; what was done again, and what that may be at most."""
        ...


class Dataset:
    """A small clinic, and its release from a run that nobody disturbed."""

    def __init__(self, share: Path, trace: Path) -> None:
        self.share, self.trace = share, trace
        self.export, self.recipe = share / "clinic", share / "small.yaml"
        generate(self.export, visits=14, seed=3)
        _add_a_name_that_stays(self.export)
        self.recipe.write_text(RECIPE)
        self.whole = with_key(share / "whole")
        run("dataset", *self._arguments(self.whole), "--num-cpus", "2")
        assert "deidentify:residual" in (self.whole / "private" / "ledger.csv").read_text()

    def _arguments(self, workspace: Path) -> list[str | Path]:
        return ["--input", self.export, "--workspace", workspace, "--recipe", self.recipe]

    def attempt(self, drill: Drill, place: Path) -> Attempt:
        for one in self.trace.iterdir():
            one.unlink()
        return _DatasetAttempt(self, with_key(place))


def _add_a_name_that_stays(export: Path) -> None:
    """Into the remarks of one visit, so that it waits in the queue: a person of nobody's list."""
    (sheet,) = export.rglob("*.xlsx")
    book = openpyxl.load_workbook(sheet)
    heading = {cell.value: cell.column for cell in book.active[1]}
    book.active.cell(2, heading["备注"]).value = "退费单经王纽白特签收。"
    book.save(sheet)


@dataclass
class _DatasetAttempt:
    clinic: Dataset
    workspace: Path
    in_flight: int = 0
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.total = len(_partitions(self.clinic.whole))

    def command(self) -> list[str | Path]:
        return ["python", "-m", "jobs.dataset", *self.clinic._arguments(self.workspace)]

    def done(self) -> int:
        self.seen |= _partitions(self.workspace)
        return len(self.seen)

    def _begun(self) -> Counter[str]:
        return Counter(path.name.rsplit(".", 1)[0] for path in self.clinic.trace.iterdir())

    def struck(self, kill: Kill) -> Callable[[], bool]:
        begun = set(self._begun())  # first: what is committed meanwhile counts as finished
        in_flight = begun - _partitions(self.workspace)
        # a worker outlives its raylet by a moment, in which the driver may hand it one more
        self.in_flight += len(in_flight) + (kill.kind == "raylet")
        return lambda: in_flight <= self.seen

    def check(self) -> dict[str, int]:
        whole = self.clinic.whole
        assert tree(self.workspace / "release") == tree(whole / "release"), "another release than that of an undisturbed run"
        ledger = (self.workspace / "private" / "ledger.csv").read_bytes()
        assert ledger == (whole / "private" / "ledger.csv").read_bytes(), "another ledger"
        adds_up(self.clinic.export, self.workspace)
        assert _partitions(self.workspace) == _partitions(whole), "other partitions"
        assert not list(self.workspace.rglob(".tmp-*")), "half written files are left"
        again = sum(count - 1 for count in self._begun().values())
        assert again <= self.in_flight, f"{again} partitions were begun again, and {self.in_flight} were in flight at a kill"
        return {"again": again, "at_most": self.in_flight}


def _partitions(workspace: Path) -> set[str]:
    """stage.key of every partition that is committed, as the trace names them."""
    rooms = (workspace, workspace / "private")
    return {f"{path.parent.name}.{path.stem}" for room in rooms for path in room.glob("stages/*/*.parquet")}


def adds_up(export: Path, workspace: Path) -> None:
    """Every visit and every image file of the export stands in the ledger once: released, or rejected with a reason; of these, visits that
    wait for a person stand in the queue. What the ledger calls released is in the release, and nothing else is."""
    lines = [line for line in _rows(workspace / "private" / "ledger.csv") if line["kind"] != "image_part"]
    visits, images = ([line for line in lines if line["kind"] == kind] for kind in ("visit", "image"))
    assert len({line["source"] for line in lines}) == len(lines), "a source stands twice in the ledger"
    assert all((line["status"] == "ok") == (not line["reason"]) for line in lines), (
        "rejected without a reason, or released with one"
    )
    truth = json.loads(Path(f"{export}.truth.json").read_text(encoding="utf-8"))
    assert len(visits) == len(truth["released_visits"]) + len(truth["rejected_visits"]), "another number of visits"
    places = [path.relative_to(export) for path in export.rglob("*") if path.is_file()]
    assert {line["source"] for line in images} == {str(place) for place in places if len(place.parts) > 3}, (
        "other files than the visits'"
    )
    waiting = {row["visit_key"] for row in _rows(workspace / "private" / "queue" / "privacy.csv")}
    assert len(waiting) == sum(line["reason"] == "deidentify:residual" for line in visits), "other visits in the queue"
    named = {name for line in images for name in line["released_as"].split()}
    assert named == {path.name for path in (workspace / "release" / "Images").rglob("*.jpg")}, "other pictures in the release"
    released = [row["checkup_id"] for row in _rows(workspace / "release" / "complete-dataset.csv")]
    assert sorted(line["released_as"] for line in visits if line["status"] == "ok") == sorted(released), (
        "other visits in the release"
    )


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


class Training:
    """A tiny model without schooling on drawn discs; and what the loop alone, in one process, makes of them."""

    def __init__(self, share: Path) -> None:
        from codelib.models.tiny import build

        self.share, self.model = share, share / "tiny"
        self.release = make_release(share / "discs", visits=12)
        self.model.mkdir()
        build(self.model, seed=0, eye_steps=0, word_steps=0)
        self.alone: dict[int, tuple[list[float], dict[str, Any]]] = {}

    def more(self, workers: int) -> list[str]:
        """One worker with dropout (its draws belong to a rank), or up to two without."""
        spread = ["lora.dropout=0", "workers=[1, 2]", "global_batch=2"] if workers == 2 else []
        return [word for one in (f"epochs={_EPOCHS}", "max_failures=12", *spread) for word in ("--set", one)]

    def reference(self, workers: int) -> tuple[list[float], dict[str, Any]]:
        from codelib.train.checkpoints import Checkpoints

        if workers not in self.alone:
            folder = self.share / f"alone-{workers}"
            losses = in_this_process(self.release, self.model, folder, self.more(workers))
            checkpoints = Checkpoints(Store(str(folder)))
            self.alone[workers] = losses, checkpoints.adapter(str(checkpoints.latest()), "best")
        return self.alone[workers]

    def attempt(self, drill: Drill, place: Path) -> Attempt:
        return _TrainingAttempt(self, place, drill.workers)


@dataclass
class _TrainingAttempt:
    lesson: Training
    workspace: Path
    workers: int
    kills: int = 0
    reached: int = 0

    def __post_init__(self) -> None:
        steps = len(self.lesson.reference(self.workers)[0])
        self.total = 1 + -(-steps // _EVERY) + 1  # the shards, the checkpoints, the adapter
        self.folder = self.workspace / "train" / "demo"

    def command(self) -> list[str | Path]:
        lesson = self.lesson
        return ["python", "-m", "jobs.train", *command(lesson.release, self.workspace, lesson.model, *lesson.more(self.workers))]

    def done(self) -> int:
        steps = [int(path.parent.name.split("-")[1]) for path in self.folder.glob("checkpoints/*/complete.json")]
        shards = (self.folder / "examples" / "stages" / "examples" / "manifest.json").exists()
        finished = (self.folder / "run.json").exists()
        self.reached = max(self.reached, int(shards) + -(-max(steps, default=0) // _EVERY) + int(finished))
        return self.reached

    def struck(self, kill: Kill) -> Callable[[], bool]:
        self.kills += 1
        reached = self.reached
        return lambda: self.reached > reached

    def check(self) -> dict[str, int]:
        from safetensors.torch import load_file

        losses, adapter = self.lesson.reference(self.workers)
        with (self.folder / "curves.csv").open() as lines:
            found = [float(line["loss"]) for line in csv.DictReader(lines)]
        shift = _SHIFT[self.workers]
        assert found == pytest.approx(losses, abs=shift), "another loss curve than that of an undisturbed run"
        made = load_file(self.folder / "adapter" / "adapter_model.safetensors")
        assert made.keys() == adapter.keys()
        apart = max(float((made[name] - adapter[name]).abs().max()) for name in made)
        assert apart <= shift, f"a weight of the adapter is {apart:.1e} apart"
        again = sum(count - 1 for count in steps_heard(self.folder / "tensorboard").values())
        # a checkpoint is written while the next steps run: a kill costs the steps since the last that is complete
        at_most = self.kills * 2 * _EVERY
        assert again <= at_most, f"{again} steps were taken again after {self.kills} kills"
        return {"again": again, "at_most": at_most}


def steps_heard(folder: Path) -> Counter[int]:
    """How often the driver heard of each step, from TensorBoard's files (frames of TFRecord: length, its sum, content, its sum)."""
    from tensorboardX.proto.event_pb2 import Event

    heard: Counter[int] = Counter()
    for file in sorted(folder.glob("events.*")):
        content, place = file.read_bytes(), 0
        while place + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            heard.update(event.step for value in event.summary.value if value.tag == "loss")
            place += 16 + length
    return heard
