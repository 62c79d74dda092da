"""The same optimisation however it is spread: workers, DDP, ZeRO-2, ZeRO-3, and going on with another number under another strategy.

Tolerances are of the loss per answer token in float32: 1e-4 where only sums are added in another order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from codelib.core.store import Store
from codelib.models import tiny
from codelib.train.checkpoints import Checkpoints, TrainProgress
from codelib.train.job import Place
from codelib.train.loop import train
from tests.fixtures import make_release
from tests.train_workers import make_job, run_workers

pytest.importorskip("deepspeed")

RUNS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "ddp, activations twice": {"activation_checkpointing": True},
    "ddp, 3 samples on 2 workers": {"global_batch": 3},
    "ddp, one sample a forward": {"batch_size": 1},
    "ddp, padded": {"packing": "padded"},
    "zero2": {"strategy": "zero2"},
    "zero3": {"strategy": "zero3"},
    "zero3, 3 samples on 2 workers": {"strategy": "zero3", "global_batch": 3},
    "zero2, offload": {"strategy": "zero2", "offload": "optimizer", "batch_size": 1},
    "zero3, offload": {"strategy": "zero3", "offload": "parameters", "batch_size": 1},
    "zero3, features kept": {"strategy": "zero3", "vision_features": "reuse"},
    "zero3, by answers": {"strategy": "zero3", "best_by": "accuracy"},
}
BF16: dict[str, dict[str, Any]] = {
    "ddp, bf16": {"precision": "bf16"},
    "zero2, bf16": {"precision": "bf16", "strategy": "zero2"},
    "zero3, bf16": {"precision": "bf16", "strategy": "zero3"},
}
STOPPED = {"ddp": 3, "zero2": 3, "zero3": 3}  # stopped on two workers after so many steps, in the middle of an epoch


def progress_of(folder: Path) -> TrainProgress:
    checkpoints = Checkpoints(Store(str(folder)))
    name = checkpoints.latest()
    assert name is not None
    return checkpoints.progress(name)


def losses(folder: Path) -> list[float]:
    return [line.loss for line in progress_of(folder).curve]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that two workers do, done once; and what one worker does, in this process."""
    folder = tmp_path_factory.mktemp("workers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (folder / "tiny").mkdir()
    tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
    make_release(folder / "release", visits=8)
    where = {"release": str(folder / "release"), "tiny": str(folder / "tiny")}
    runs: list[dict[str, Any]] = [
        {**where, "folder": str(folder / name), "settings": settings} for name, settings in (RUNS | BF16).items()
    ]
    for run in runs:
        if run["settings"].get("vision_features") == "reuse":
            run["features"] = str(kept_features(folder))
    for strategy, stop_at in STOPPED.items():
        stopped = {**where, "folder": str(folder / f"{strategy}, stopped"), "settings": {"strategy": strategy}}
        runs.append({**stopped, "stop_at": stop_at})
    # taken up by the others: ZeRO-3 from what DDP left, and so on
    alone(folder, "one, stopped", {"max_steps": 6}, stop_at=3)
    for strategy in ("zero2", "zero3"):
        target = folder / f"one, then {strategy} on two"
        copy(folder / "one, stopped", target)
        runs.append({**where, "folder": str(target), "settings": {"strategy": strategy}})
    run_workers(folder, runs)
    yield folder
    torch.set_num_threads(threads)


def kept_features(folder: Path) -> Path:
    """As the stage leaves them, without Ray."""
    from codelib.models.conversation import open_dataset
    from codelib.models.prompt import PixelPolicy
    from codelib.train import vision_features

    policy, store = PixelPolicy(max_pixels=56 * 56), Store(str(folder / "features"))
    paths = {path for one in open_dataset(folder / "release").read("train-cls") for path in one.images}
    compute = vision_features._make(store.root, str(folder / "tiny"), policy, "float32", 1)
    table = compute([[vision_features.sha256_of(path), path] for path in sorted(paths)])
    store.commit_table(f"stages/{vision_features.STAGE}/all.parquet", table)
    return folder / "features"


def copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target)


def alone(folder: Path, name: str, settings: dict[str, Any], stop_at: int | None = None) -> Path:
    from codelib.train.job import Channel

    class Stopper(Channel):
        step = 0

        def measured(self, step: int, values: Any) -> None:
            self.step = step

        def stop_wanted(self) -> bool:
            return stop_at is not None and self.step >= stop_at

    train(make_job(str(folder / "release"), str(folder / "tiny"), settings), Place(), folder / name, Stopper())
    return folder / name


@pytest.mark.parametrize("name", [name for name in RUNS if "3 samples" not in name])
def test_any_way_takes_the_steps_of_one_worker(place: Path, name: str) -> None:
    one = place / "one"
    if not one.exists():
        alone(place, "one", {})
    assert losses(place / name) == pytest.approx(losses(one), abs=1e-4)
    judged = [[line.validation_loss for line in progress_of(folder).curve[1::2]] for folder in (place / name, one)]
    assert judged[0] == pytest.approx(judged[1], abs=1e-4)


@pytest.mark.parametrize("name", BF16)
def test_the_same_in_bf16_within_its_8_bits(place: Path, name: str) -> None:
    """Within 2**-7 of the loss; ZeRO rounds the adapters to bfloat16 too."""
    one = place / "one in bf16"
    if not one.exists():
        alone(place, "one in bf16", {"precision": "bf16"})
    assert losses(place / name) == pytest.approx(losses(one), rel=2**-7)


@pytest.mark.parametrize("name", [name for name in RUNS if "3 samples" in name])
def test_a_global_batch_that_the_workers_do_not_divide(place: Path, name: str) -> None:
    one = place / "one of 3"
    if not one.exists():
        alone(place, "one of 3", {"global_batch": 3})
    assert losses(place / name) == pytest.approx(losses(one), abs=1e-4)


@pytest.mark.parametrize("left_by", STOPPED)
def test_one_worker_goes_on_where_two_left(place: Path, left_by: str) -> None:
    """Two hosts were lost; what is left takes up the shares of both, whoever wrote them."""
    folder = place / f"{left_by}, stopped"
    assert progress_of(folder).step == STOPPED[left_by]
    parts = 1 if left_by == "ddp" else 2
    assert len(list(folder.glob("checkpoints/step-00000003-*/part-*.safetensors"))) == parts
    alone(place, folder.name, {})
    assert losses(folder) == pytest.approx(losses(place / "ddp"), abs=1e-4)


@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_two_workers_under_zero_go_on_where_one_left(place: Path, strategy: str) -> None:
    assert losses(place / f"one, then {strategy} on two") == pytest.approx(losses(place / "ddp"), abs=1e-4)


def test_answers_choose_the_best_checkpoint(place: Path) -> None:
    progress = progress_of(place / "zero3, by answers")
    accuracies = [line.validation_accuracy for line in progress.curve[1::2]]
    assert all(value is not None and 0 <= value <= 1 for value in accuracies)
    assert progress.best_accuracy == max(accuracies)
