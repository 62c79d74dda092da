"""The loop without Ray: resuming equals never stopping, accumulation equals a larger batch, the adapter is stock PEFT."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from codelib.models import tiny
from codelib.models.conversation import open_dataset
from codelib.models.encoding import collate
from codelib.models.loading import load_base
from codelib.train.backends import answer_loss
from codelib.train.checkpoints import TrainProgress
from codelib.train.loop import Job, LossNotFinite, Place, _Run, learning_rate, train
from codelib.train.lora import add_adapters, num_trainable
from codelib.train.settings import LoraSettings, TrainSettings
from tests.fixtures import make_release


class Stopped(Exception):
    """Stands for a kill."""


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


class Keeper:
    """Takes checkpoints as Ray would, and may stop the run right after one."""

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        self.folder, self.stop_at = folder, stop_at

    def __call__(self, metrics: dict[str, float], files: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(files, self.folder)
        if metrics["step"] == self.stop_at:
            raise Stopped


def test_resuming_equals_never_stopping(place_of_work: Path, tmp_path: Path) -> None:
    job = make_job(place_of_work)
    assert job.total_steps == 9
    train(job, Place(), Keeper(tmp_path / "whole"))
    for stop in (4, 6):
        with pytest.raises(Stopped):
            train(job, Place(), Keeper(tmp_path / "parts", stop_at=stop))
        train(job, Place(), Keeper(tmp_path / "parts"), resume=tmp_path / "parts")
        whole, parts = (TrainProgress.read(tmp_path / name) for name in ("whole", "parts"))
        assert [line.step for line in parts.curve] == list(range(1, 10))
        assert [line.loss for line in parts.curve] == pytest.approx([line.loss for line in whole.curve], abs=1e-6)
        assert parts.best_step == whole.best_step
        for adapter in ("adapter", "best"):
            files = [(tmp_path / name / adapter / "adapter_model.safetensors").read_bytes() for name in ("whole", "parts")]
            assert files[0] == files[1]


def test_it_learns(place_of_work: Path, tmp_path: Path) -> None:
    train(make_job(place_of_work, epochs=8), Place(), Keeper(tmp_path / "ck"))
    curve = TrainProgress.read(tmp_path / "ck").curve
    assert sum(line.loss for line in curve[-3:]) < 0.6 * sum(line.loss for line in curve[:3])
    assert curve[-1].validation_loss is not None


def test_however_a_step_is_divided_it_is_the_same_step(place_of_work: Path, tmp_path: Path) -> None:
    curves = []
    for shape in (
        {"batch_size": 4},
        {"batch_size": 2, "gradient_accumulation": 2},
        {"batch_size": 1, "gradient_accumulation": 4},
        {"batch_size": 4, "packing": "padded"},
        {"batch_size": 4, "tokens_per_batch": 150, "cut_off": 150},
        {"batch_size": 4, "tokens_per_batch": 150, "cut_off": 150, "packing": "padded"},
    ):
        train(make_job(place_of_work, lora=LoraSettings(rank=4), max_steps=4, **shape), Place(), Keeper(tmp_path / "ck"))
        curves.append([line.loss for line in TrainProgress.read(tmp_path / "ck").curve])
    for other in curves[1:]:
        assert other == pytest.approx(curves[0], abs=1e-4)


def test_loss_is_the_models_own(place_of_work: Path) -> None:
    """Scoring only the places that hold an answer gives what upstream's loss over all places gives."""
    run = _Run(make_job(place_of_work), Place(), lambda metrics, files: None, print)
    encoded = run.feed.encode(run.job.training[:3])
    batch = collate(encoded, run.feed.batches.encoder.pad_id, left=False)
    run.model.eval()
    with torch.no_grad():
        upstream = float(run.model(**batch).loss)
        ours = float(answer_loss(run.model, batch)) / sum(one.num_answer_tokens for one in encoded)
    assert ours == pytest.approx(upstream, abs=1e-4)


def test_adapter_loads_in_stock_peft(place_of_work: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    job = make_job(place_of_work)
    tuned = train(job, Place(), Keeper(tmp_path / "ck")).eval()
    base = load_base(job.model, device="cpu")
    loaded = PeftModel.from_pretrained(load_base(job.model, device="cpu"), str(tmp_path / "ck" / "adapter")).eval()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, tuned(input_ids=ids).logits)
        assert not torch.allclose(loaded(input_ids=ids).logits, base(input_ids=ids).logits)


def test_adapters_stand_on_every_linear_layer_of_every_block(place_of_work: Path) -> None:
    for vision in (False, True):
        base = load_base(str(place_of_work / "tiny"), device="cpu")
        blocks = ["language_model.layers."] + (["visual.blocks.", "visual.merger."] if vision else [])
        linear = {
            name
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear) and any(block in name for block in blocks)
        }
        model = add_adapters(base, LoraSettings(rank=2, vision=vision))
        adapted = {
            name.removeprefix("base_model.model.").split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name
        }
        assert adapted == linear
        assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
        assert num_trainable(model) == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)


def test_the_schedule_warms_up_and_ends_low() -> None:
    settings = TrainSettings(learning_rate=1.0, warmup_ratio=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_run_without_validation_is_judged_by_its_training_loss(place_of_work: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(make_job(place_of_work), validation=())
    train(job, Place(), Keeper(tmp_path / "ck"))
    progress = TrainProgress.read(tmp_path / "ck")
    assert progress.best_loss is not None
    assert all(line.validation_loss is None for line in progress.curve)


def test_the_batch_that_needs_most_is_tried_first_and_teaches_nothing(
    place_of_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, said = make_job(place_of_work, max_steps=3), []
    train(job, Place(), Keeper(tmp_path / "tried"), None, said.append)
    assert "batches that need the most memory fit" in said[0]
    monkeypatch.setattr(_Run, "probe", lambda run: None)
    train(job, Place(), Keeper(tmp_path / "untried"))
    tried, untried = (TrainProgress.read(tmp_path / name).curve for name in ("tried", "untried"))
    assert [line.loss for line in tried] == [line.loss for line in untried]


def test_a_loss_that_is_no_number_ends_the_run(place_of_work: Path, tmp_path: Path) -> None:
    job = make_job(place_of_work, learning_rate=1e30, max_grad_norm=1e30)
    with pytest.raises(LossNotFinite, match="lower learning_rate"):
        train(job, Place(0, 1, "cpu"), Keeper(tmp_path), None, lambda line: None)
