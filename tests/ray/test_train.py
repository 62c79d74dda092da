"""jobs.train as a user runs it: on a Ray of its own, killed, pre-empted, run again, robbed of a worker, on two workers under ZeRO."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from codelib.core.config import load
from codelib.core.store import Store
from codelib.models.conversation import open_dataset
from codelib.train.checkpoints import Checkpoints
from codelib.train.job import Place
from codelib.train.loop import train
from codelib.train.run import Order, job_of, plan_of
from codelib.train.settings import TrainSettings
from tests import here
from tests.fixtures import make_release
from tests.jobs import run, start, tree

pytestmark = pytest.mark.ray

SETTINGS = [
    "--set", "lora={rank: 4, alpha: 8, dropout: 0.1}", "--set", "max_pixels=3136", "--set", "batch_size=2", "--set", "checkpoint_every=10",
]  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("data") / "release", visits=12)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model without schooling: these tests ask whether the run is right, not whether it is clever."""
    from codelib.models.tiny import build

    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    build(folder, seed=0, eye_steps=0, word_steps=0)
    return folder


def command(release: Path | str, workspace: Path, model: Path | str, *more: str) -> list[str | Path]:
    return ["--dataset", release, "--workspace", workspace, "--recipe", "demo", "--set", f"model={model}", *SETTINGS, *more]


def losses(folder: Path) -> list[float]:
    with (folder / "curves.csv").open() as lines:
        return [float(line["loss"]) for line in csv.DictReader(lines)]


def attempts(folder: Path) -> set[str]:
    """Which attempts wrote the checkpoints that are there. Workers outlive a killed driver by a second or two, and may write one more."""
    return {path.parent.name.split("-")[2] for path in folder.glob("checkpoints/*/complete.json")}


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 1200
    while not what():
        assert process.poll() is None, "".join(process.communicate())
        assert time.monotonic() < deadline
        time.sleep(0.05)


def actors_of(process: subprocess.Popen[str], name: str) -> list[int]:
    """Process ids of the actors of this class that this job's own Ray started."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [one.pid for one in below if one.is_running() and f"ray::{name}" in " ".join(one.cmdline()[:1])]


def in_this_process(release: Path, model: Path, folder: Path, more: list[str]) -> list[float]:
    """The same job's curve by the loop alone, without Ray."""
    settings = load(TrainSettings, "train", "demo", [f"model={model}", *SETTINGS[1::2], *more[1::2]])
    order = Order(settings, open_dataset(release), folder, "alone")
    plan, _ = plan_of(order)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.cpus_per_worker)  # sums are rounded by how they are shared out
    try:
        train(job_of(order, plan), Place(), folder)
    finally:
        torch.set_num_threads(threads)
    checkpoints = Checkpoints(Store(str(folder)))
    return [line.loss for line in checkpoints.progress(str(checkpoints.latest())).curve]


def test_killed_preempted_and_robbed_of_its_processes_equals_never_stopped(release: Path, model: Path, tmp_path: Path) -> None:
    """One run: the driver is killed, started again, pre-empted, started again, loses a worker, Ray's controller and the board, and ends."""
    more = ["--set", "epochs=60", "--set", "cpus_per_worker=2"]
    # as many CPUs as the one worker takes: what a dead controller left behind would leave no room for the next one's
    job = [*command(release, tmp_path / "w", model, *more), "--num-cpus", "2"]
    folder = tmp_path / "w" / "train" / "demo"

    process = start("train", *job)
    wait_for(lambda: bool(attempts(folder)), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "run.json").exists()

    process, before = start("train", *job), attempts(folder)
    wait_for(lambda: not attempts(folder) <= before, process)
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=1200)
    assert process.returncode == os.EX_TEMPFAIL, out + err
    assert "continuing after step" in out and "pre-empted (SIGUSR1)" in out
    assert "paused" in err and "run the same command again" in err
    assert not (folder / "run.json").exists()

    process, before = start("train", *job, "--merge"), attempts(folder)
    for name in ("RayTrainWorker", "TrainController", "Board"):
        wait_for(lambda: not attempts(folder) <= before, process)  # noqa: B023
        [actor] = actors_of(process, name)
        before = attempts(folder)
        os.kill(actor, signal.SIGKILL)
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err, err
    assert out.count("continuing after step") == 3  # a board's loss costs no step
    assert losses(folder) == pytest.approx(in_this_process(release, model, tmp_path / "alone", more), abs=1e-6)

    adapter = json.loads((folder / "adapter" / "canary.json").read_text())
    assert adapter["to_trained"] < adapter["tolerance"] < adapter["to_base"]
    assert (folder / "adapter" / "README.md").is_file() and (folder / "adapter" / "curves.png").is_file()
    assert list((folder / "tensorboard").iterdir())
    assert (folder / "merged" / "model.safetensors").is_file()

    before_tree = tree(folder)
    # how it ran is not what it learnt
    assert "done already, skipped" in run("train", *job, "--set", "batch_size=1", "--set", "global_batch=2")
    assert tree(folder) == before_tree
    said = run("train", *command(release, tmp_path / "w", model, "--set", "epochs=61"), code=2)
    assert "settings.epochs: 60 -> 61" in said
    assert "--name" in said


def test_as_many_workers_as_there_is_room_for_take_the_steps_of_one(release: Path, model: Path, tmp_path: Path) -> None:
    """No dropout: its draws differ by rank. On Ray, under ZeRO-2, with a range of workers."""
    pytest.importorskip("deepspeed")
    more = ["--set", "lora.dropout=0", "--set", "max_steps=6", "--set", "global_batch=4"]
    spread = ["--set", "workers=[1, 2]", "--set", "strategy=zero2"]
    run("train", *command(release, tmp_path / "w", model, *more, *spread))
    folder = tmp_path / "w" / "train" / "demo"
    assert len(list(folder.glob("checkpoints/step-00000006-*/part-*.safetensors"))) == 2
    assert losses(folder) == pytest.approx(in_this_process(release, model, tmp_path / "alone", more), abs=1e-4)


def test_a_dry_run_touches_nothing(release: Path, tmp_path: Path) -> None:
    """For the paper's recipes too: no GPU, no weights."""
    for recipe in ("paper-3b", "paper-7b", "demo"):
        said = here.run("train", "--dataset", release, "--workspace", tmp_path / "w", "--recipe", recipe, "--dry-run")
        assert "nothing was touched" in said
        assert "visual" in said
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--recipe", "dmeo"], "did you mean demo"),
        (["--recipe", "demo", "--set", "epoch=1"], "did you mean epochs"),
        (["--recipe", "demo", "--name", "../x"], "--name ../x"),
        (["--recipe", "demo", "--set", "tasks=[train-clss]"], "train-cls"),
        (["--recipe", "paper-3b"], "hf download"),
    ],
)
def test_a_mistake_is_one_sentence(release: Path, tmp_path: Path, more: list[str], message: str) -> None:
    said = here.run("train", "--dataset", release, "--workspace", tmp_path / "w", *more, code=2)
    assert message in said
    assert not (tmp_path / "w").exists()


def test_run_json_says_what_was_done(release: Path, model: Path, tmp_path: Path) -> None:
    photograph = json.loads((release / "train-cls.json").read_text())[0]["images"][0]
    shown = {name for row in json.loads((release / "train-cls.json").read_text())[1:] for name in row["images"]}
    hidden = (release / photograph).rename(release / "hidden")
    try:
        more = ("--set", "max_steps=2", "--set", "vision_features=reuse", "--set", "loader_workers=1")
        said = run("train", *command(release, tmp_path, model, *more))
    finally:
        hidden.rename(release / photograph)
    # those of the 11 samples that are left, by an actor, before the first step
    assert f"vision_features {len(shown)} images, 0 rejected" in said
    assert f"1 train:image: train-cls/0 ({Path(photograph).name}: no such image)" in said
    done = json.loads((tmp_path / "train" / "demo" / "run.json").read_text())
    assert (done["steps"], done["rejected"]) == (2, {"train:image": 1})
    assert done["train_samples"] + done["validation_samples"] == 11
    assert done["settings"]["lora"]["rank"] == 4
    assert len(losses(tmp_path / "train" / "demo")) == 2
    with (tmp_path / "train" / "demo" / "preflight.csv").open() as lines:
        sides = {line["sample_id"]: line["side"] for line in csv.DictReader(lines)}
    assert (len(sides), sides["train-cls/0"]) == (12, "rejected")
