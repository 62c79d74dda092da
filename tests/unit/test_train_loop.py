"""The loop without Ray: resuming equals never stopping, accumulation equals a larger batch, the adapter is stock PEFT."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from codelib.core.store import Store
from codelib.models import tiny
from codelib.models.conversation import open_dataset
from codelib.models.encoding import collate
from codelib.train.backends import answer_loss
from codelib.train.checkpoints import Checkpoints, TrainProgress
from codelib.train.failures import LoadError, LossNotFinite
from codelib.train.job import Channel, Job, Place
from codelib.train.loop import _Run, learning_rate, train
from codelib.train.settings import LoraSettings, TrainSettings
from codelib.train.validation import accuracy
from tests.fixtures import make_release


@pytest.fixture(scope="module")
def place_of_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    (folder / "tiny").mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
    make_release(folder / "release", visits=8)
    yield folder
    torch.set_num_threads(threads)


def make_job(folder: Path, **change) -> Job:
    defaults = {
        "tasks": ("train-cls",),
        "epochs": 3,
        "batch_size": 2,
        "max_pixels": 56 * 56,
        "learning_rate": 3e-3,
        "checkpoint_every": 2,
        "lora": LoraSettings(rank=4, dropout=0.1),
    }
    ids = [one.sample_id for one in open_dataset(folder / "release").read("train-cls")]
    return Job(
        TrainSettings(**{**defaults, **change}),
        str(folder / "release"),
        str(folder / "tiny"),
        "tiny",
        tuple(ids[:6]),
        tuple(ids[6:]),
    )


class Asking(Channel):
    """Keeps what is said and measured, and asks to stop once ``stop_at`` steps are measured."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[str] = []
        self.values: dict[int, dict[str, float]] = {}
        self.stop_at = stop_at

    def say(self, line: str) -> None:
        self.lines.append(line)

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.values.setdefault(step, {}).update(values)

    def stop_wanted(self) -> bool:
        return self.stop_at is not None and max(self.values, default=0) >= self.stop_at


def progress_of(folder: Path) -> TrainProgress:
    checkpoints = Checkpoints(Store(str(folder)))
    name = checkpoints.latest()
    assert name is not None
    return checkpoints.progress(name)


def losses(folder: Path) -> list[float]:
    return [line.loss for line in progress_of(folder).curve]


def last_adapter(folder: Path, which: str) -> bytes:
    checkpoints = Checkpoints(Store(str(folder)))
    return checkpoints.read(str(checkpoints.latest()), f"{which}/adapter_model.safetensors")


def test_resuming_equals_never_stopping(place_of_work: Path, tmp_path: Path) -> None:
    """Asked to stop at any step, mid-epoch and between checkpoints."""
    job = make_job(place_of_work)
    assert job.total_steps == 9
    train(job, Place(), tmp_path / "whole")
    for stop in (1, 4, 5):
        parts = tmp_path / f"stopped at {stop}"
        channel = Asking(stop_at=stop)
        assert train(job, Place(), parts, channel)[1] is False
        assert channel.lines[-1] == f"  stopped after step {stop} of 9; its checkpoint is written"
        assert train(job, Place(), parts)[1] is True
        assert progress_of(parts) == progress_of(tmp_path / "whole")
        for adapter in ("adapter", "best"):
            assert last_adapter(parts, adapter) == last_adapter(tmp_path / "whole", adapter)


def test_asked_to_stop_before_the_first_step_it_leaves_with_nothing_written(place_of_work: Path, tmp_path: Path) -> None:
    channel = Asking(stop_at=0)
    assert train(make_job(place_of_work), Place(), tmp_path, channel)[1] is False
    assert channel.lines[-1] == "  stopped after step 0 of 9"
    assert not list(tmp_path.rglob("*.safetensors"))


def test_it_learns(place_of_work: Path, tmp_path: Path) -> None:
    train(make_job(place_of_work, epochs=8), Place(), tmp_path)
    curve = progress_of(tmp_path).curve
    assert sum(line.loss for line in curve[-3:]) < 0.6 * sum(line.loss for line in curve[:3])
    assert curve[-1].validation_loss is not None


def test_however_a_step_is_divided_it_is_the_same_step(place_of_work: Path, tmp_path: Path) -> None:
    curves = []
    for shape in (
        {"batch_size": 4},
        {"batch_size": 2},
        {"batch_size": 3},  # 3 and 1
        {"batch_size": 1},
        {"batch_size": 2, "activation_checkpointing": True},
        {"batch_size": 4, "packing": "padded"},
        {"batch_size": 3, "packing": "padded"},
        {"batch_size": 3, "attention": "eager"},
        {"tokens_per_batch": 150, "cut_off": 150},
        {"tokens_per_batch": 150, "cut_off": 150, "packing": "padded"},
    ):
        folder = tmp_path / str(len(curves))
        train(make_job(place_of_work, lora=LoraSettings(rank=4), max_steps=4, global_batch=4, **shape), Place(), folder)
        curves.append(losses(folder))
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=1e-4)


def test_loss_is_the_models_own(place_of_work: Path) -> None:
    """Scoring only the places that hold an answer gives what upstream's loss over all places gives."""
    run = _Run(make_job(place_of_work), Place(), None, Channel())
    encoded = run.feed.encode(run.job.training[:3])
    batch = collate(encoded, run.feed.encoder.pad_id, left=False)
    run.model.eval()
    with torch.no_grad():
        upstream = float(run.model(**batch).loss)
        ours = float(answer_loss(run.model, batch)) / sum(one.num_answer_tokens for one in encoded)
    assert ours == pytest.approx(upstream, abs=1e-4)


def test_a_frozen_tower_is_computed_once_a_step(place_of_work: Path) -> None:
    """Whether activations are kept or computed again: nothing in it learns, so there is nothing to go back for."""
    gradients = []
    for again in (False, True):
        job = make_job(place_of_work, activation_checkpointing=again, lora=LoraSettings(rank=4, dropout=0))
        run = _Run(job, Place(), None, Channel())
        tower, calls = run.model.base_model.model.model.visual, []
        tower.blocks[0].attn.register_forward_hook(lambda *_, calls=calls: calls.append(torch.is_grad_enabled()))
        layer, seen = run.model.base_model.model.model.language_model.layers[0].self_attn, []
        layer.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        batch = collate(run.feed.encode(run.job.training[:2]), run.feed.encoder.pad_id, left=False)
        answer_loss(run.model.train(), batch).backward()
        assert (len(calls), len(seen)) == (1, 2 if again else 1)
        gradients.append(torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None]))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_answers_that_choose_the_best_are_greedy_whatever_the_model_is_set_to(
    place_of_work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _Run(make_job(place_of_work, best_by="accuracy", validation_answers=2), Place(), None, Channel())
    run.model.base_model.model.generation_config.repetition_penalty = 1.05  # Qwen2.5-VL's own

    def penalise(*_: object) -> None:
        raise AssertionError("a class that the question names is the worse for it")

    monkeypatch.setattr("transformers.generation.utils.RepetitionPenaltyLogitsProcessor", penalise)
    assert 0 <= accuracy(run.job, Place(), run.backend, run.feed) <= 1


def test_the_schedule_warms_up_and_ends_low() -> None:
    settings = TrainSettings(learning_rate=1.0, warmup_ratio=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_run_without_validation_is_judged_by_its_training_loss(place_of_work: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(make_job(place_of_work), validation=())
    train(job, Place(), tmp_path)
    progress = progress_of(tmp_path)
    assert progress.best_loss is not None
    assert all(line.validation_loss is None for line in progress.curve)


def test_the_batch_that_needs_most_is_tried_first_and_teaches_nothing(
    place_of_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, channel = make_job(place_of_work, max_steps=3), Asking()
    train(job, Place(), tmp_path / "tried", channel)
    assert any("the batches that need the most memory fit: up to " in line for line in channel.lines)
    monkeypatch.setattr(_Run, "_rehearse", lambda run: None)
    train(job, Place(), tmp_path / "untried")
    assert losses(tmp_path / "tried") == losses(tmp_path / "untried")


def test_a_sample_that_cannot_be_read_any_more_ends_the_run_by_name(place_of_work: Path, tmp_path: Path) -> None:
    shutil.copytree(place_of_work / "release", tmp_path / "release")
    job = dataclasses.replace(make_job(place_of_work), dataset=str(tmp_path / "release"))
    run = _Run(job, Place(), None, Channel())
    image = next(iter(open_dataset(tmp_path / "release").read("train-cls"))).images[0]
    Path(image).unlink()
    with pytest.raises(LoadError, match=rf"sample train-cls/0: {Path(image).name}.*put the release back") as error:
        run.run()
    assert error.value.alone


def test_a_loss_that_is_no_number_ends_the_run(place_of_work: Path, tmp_path: Path) -> None:
    job = make_job(place_of_work, learning_rate=1e30, max_grad_norm=1e30)
    with pytest.raises(LossNotFinite, match=r"not finite at step \d+, on train-cls/\d \(\d+ tokens\).*lower learning_rate"):
        train(job, Place(), tmp_path)
