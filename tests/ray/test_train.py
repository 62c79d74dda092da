"""jobs.train as a user runs it: on a Ray of its own, killed in the middle, run again, on two workers, under ZeRO."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.fixtures import make_release
from tests.jobs import run, start, tree

pytestmark = pytest.mark.ray

SETTINGS = [
    "--set", "lora={rank: 4, alpha: 8, dropout: 0.1}", "--set", "max_pixels=3136", "--set", "batch_size=2", "--set", "checkpoint_every=4",
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


def command(release: Path, workspace: Path, model: Path, *more: str) -> list[str | Path]:
    return ["--dataset", release, "--workspace", workspace, "--recipe", "demo", "--set", f"model={model}", *SETTINGS, *more]


def losses(folder: Path) -> list[float]:
    with (folder / "curves.csv").open() as lines:
        return [float(line["loss"]) for line in csv.DictReader(lines)]


def checkpoints(folder: Path) -> int:
    return len(list((folder / "ray").glob("checkpoint_2*"))) if (folder / "ray").is_dir() else 0


def test_killed_and_run_again_equals_never_killed(release: Path, model: Path, tmp_path: Path) -> None:
    epochs = ["--set", "epochs=12"]
    run("train", *command(release, tmp_path / "whole", model, *epochs))
    killed = tmp_path / "killed" / "train" / "demo"
    process = start("train", *command(release, tmp_path / "killed", model, *epochs))
    deadline = time.monotonic() + 300
    while checkpoints(killed) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert checkpoints(killed) >= 2
    assert not (killed / "run.json").exists()
    said = run("train", *command(release, tmp_path / "killed", model, *epochs))
    assert "continuing after step" in said
    whole = tmp_path / "whole" / "train" / "demo"
    assert losses(killed) == pytest.approx(losses(whole), abs=1e-6)
    assert tree(killed / "adapter") == tree(whole / "adapter")

    before = tree(killed)
    said = run("train", *command(release, tmp_path / "killed", model, *epochs))
    assert "done already, skipped" in said
    assert tree(killed) == before
    said = run("train", *command(release, tmp_path / "killed", model, "--set", "epochs=13"), code=2)
    assert "settings.epochs: 12 -> 13" in said
    assert "--name" in said


def test_two_workers_take_the_steps_of_one(release: Path, model: Path, tmp_path: Path) -> None:
    """The same global batch gives the same curve, however many workers share it (no dropout: its draws differ by rank)."""
    steady = ["--set", "lora.dropout=0", "--set", "max_steps=6"]
    run("train", *command(release, tmp_path, model, *steady, "--name", "one", "--set", "gradient_accumulation=2"))
    run("train", *command(release, tmp_path, model, *steady, "--name", "two", "--set", "workers=2"))
    assert losses(tmp_path / "train" / "two") == pytest.approx(losses(tmp_path / "train" / "one"), abs=1e-4)


def test_zero_2_takes_the_steps_of_ddp(release: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    steady = ["--set", "lora.dropout=0", "--set", "max_steps=6", "--set", "workers=2"]
    run("train", *command(release, tmp_path, model, *steady, "--name", "ddp"))
    run("train", *command(release, tmp_path, model, *steady, "--name", "zero", "--set", "strategy=zero2"))
    assert losses(tmp_path / "train" / "zero") == pytest.approx(losses(tmp_path / "train" / "ddp"), abs=1e-3)


def test_a_dry_run_touches_nothing(release: Path, tmp_path: Path) -> None:
    """For the paper's recipes too: no GPU, no weights."""
    for recipe in ("paper-3b", "paper-7b", "demo"):
        said = run("train", "--dataset", release, "--workspace", tmp_path / "w", "--recipe", recipe, "--dry-run")
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
    said = run("train", "--dataset", release, "--workspace", tmp_path / "w", *more, code=2)
    assert message in said
    assert not (tmp_path / "w").exists()


def test_run_json_says_what_was_done(release: Path, model: Path, tmp_path: Path) -> None:
    photograph = json.loads((release / "train-cls.json").read_text())[0]["images"][0]
    hidden = (release / photograph).rename(release / "hidden")
    try:
        said = run("train", *command(release, tmp_path, model, "--set", "max_steps=2", "--set", "loader_workers=1"))
    finally:
        hidden.rename(release / photograph)
    assert f"1 train:image: train-cls/0 ({Path(photograph).name}: no such image)" in said
    done = json.loads((tmp_path / "train" / "demo" / "run.json").read_text())
    assert (done["steps"], done["rejected"]) == (2, {"train:image": 1})
    assert done["train_samples"] + done["validation_samples"] == 11
    assert done["settings"]["lora"]["rank"] == 4
    assert len(losses(tmp_path / "train" / "demo")) == 2
    with (tmp_path / "train" / "demo" / "preflight.csv").open() as lines:
        sides = {line["sample_id"]: line["side"] for line in csv.DictReader(lines)}
    assert (len(sides), sides["train-cls/0"]) == (12, "rejected")
