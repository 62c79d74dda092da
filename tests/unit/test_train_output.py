"""What a run leaves: an adapter that stock libraries load as it is, a merged model, curves, a card; and the failures that must be loud."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from codelib.core.store import Store
from codelib.evaluate import canary
from codelib.evaluate.variants import Variant
from codelib.models import tiny
from codelib.models.engine import answer_all
from codelib.models.loading import load_base
from codelib.models.transformers_engine import TransformersEngine
from codelib.train import backends
from codelib.train.card import licence, model_card, public_name
from codelib.train.checkpoints import Checkpoints
from codelib.train.curves import as_csv, as_png, smoothed
from codelib.train.failures import CheckpointFailed, LossNotFinite, OutOfMemory
from codelib.train.job import Channel, Job, Place
from codelib.train.loop import train
from codelib.train.merging import VIDEO, merge
from codelib.train.parity import Parity, compare
from codelib.train.probe import FILE, probed, read_probe
from codelib.train.run_folder import RunFolder
from codelib.train.trackers import NO_TENSORBOARD, Tracker
from tests.fixtures import make_release
from tests.train_workers import make_job


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Path]:
    """A finished run's folder, trained in this process."""
    folder = tmp_path_factory.mktemp("output")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (folder / "tiny").mkdir()
    tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
    make_release(folder / "release", visits=8)
    job = make_job(str(folder / "release"), str(folder / "tiny"), {"max_steps": 5, "seed": 3})
    job = Job(**{**vars(job), "profile": True})
    train(job, Place(), folder / "run")
    yield job, folder / "run"
    torch.set_num_threads(threads)


@pytest.fixture
def staged(made: tuple[Job, Path], tmp_path: Path) -> Path:
    _, folder = made
    name = Checkpoints(Store(str(folder))).latest()
    assert name is not None
    target = tmp_path / "adapter"
    shutil.copytree(RunFolder(folder).stage_adapter(name), target)
    return target


def asked(made: tuple[Job, Path], adapter: Path) -> Parity:
    job, folder = made
    return compare(job.model, str(adapter), (folder / FILE).read_bytes(), "float32", "cpu")


def test_the_saved_adapter_is_what_was_trained(made: tuple[Job, Path], staged: Path) -> None:
    parity = asked(made, staged)
    assert parity.problem() is None
    assert parity.to_trained < 1e-6 < parity.to_base
    assert parity.reloaded == pytest.approx(parity.trained, abs=1e-5)
    assert parity.base != pytest.approx(parity.trained, abs=1e-4)
    assert len(parity.trained) == len(probed(made[0])) == len(read_probe((made[1] / FILE).read_bytes()))


@pytest.mark.parametrize("harm", [None, "double", "zero"])
def test_the_evaluating_engine_is_held_to_the_trainers_figures(made: tuple[Job, Path], staged: Path, harm: str | None) -> None:
    """codelib.evaluate.canary on what a run really leaves, through the engine that answers."""
    job, _ = made
    noted = asked(made, staged).to_json() | {"sample_ids": list(probed(job)), "pixels": list(vars(job.settings.pixels).values())}
    (staged / "canary.json").write_text(json.dumps(noted))
    file = staged / "adapter_model.safetensors"
    factor = {None: 1.0, "double": 40.0, "zero": 0.0}[harm]
    save_file({name: t * factor if "lora_B" in name else t for name, t in load_file(str(file)).items()}, str(file))
    variant = Variant.model_validate({"name": "tuned", "model": job.model, "adapter": str(staged)})
    items = canary.trainers_items(variant, Path(job.dataset))
    assert items is not None
    assert len(items.prompts) == len(probed(job))
    engine = TransformersEngine(job.model, device="cpu", dtype="float32")
    answers = answer_all(engine, canary.requests(variant, items))
    assert [one.log_likelihoods[0] for one in answers[::2]] == pytest.approx(items.base, abs=1e-3)
    if harm is None:
        assert [one.log_likelihoods[0] for one in answers[1::2]] == pytest.approx(items.trained, abs=1e-3)
    assert canary.judge(items, answers)["status"] == ("refused" if harm else "passed")


@pytest.mark.parametrize("harm", ["weights", "alpha", "zero"])
def test_an_adapter_that_is_not_what_was_trained_is_refused(made: tuple[Job, Path], staged: Path, harm: str) -> None:
    file = staged / "adapter_model.safetensors"
    weights = load_file(str(file))
    if harm == "alpha":
        config = json.loads((staged / "adapter_config.json").read_text())
        (staged / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))
    else:
        factor = 0.0 if harm == "zero" else 1.5
        save_file({name: tensor * factor if "lora_B" in name else tensor for name, tensor in weights.items()}, str(file))
    problem = asked(made, staged).problem()
    assert problem is not None and "does not give the trained model's logits" in problem


def test_an_adapter_without_effect_is_refused() -> None:
    same = Parity(1e-6, 1e-6, 2.0, "float32", (), (), ())
    assert "changes nothing" in str(same.problem())


def test_the_merged_model_answers_like_base_and_adapter(made: tuple[Job, Path], staged: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    job, _ = made
    base = tmp_path / "base"
    shutil.copytree(job.model, base)
    (base / VIDEO).write_text('{"video_processor_type": "Qwen2VLVideoProcessor"}')
    merge(str(base), str(staged), str(tmp_path / "merged"), "float32")
    tuned = PeftModel.from_pretrained(load_base(job.model, device="cpu"), str(staged)).eval()
    merged = load_base(str(tmp_path / "merged"), device="cpu").eval()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, tuned(input_ids=ids).logits, atol=1e-4)
    here = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {path.name for path in base.iterdir()} <= here | {"tiny.json"}  # the toy's own note
    assert (tmp_path / "merged" / VIDEO).read_bytes() == (base / VIDEO).read_bytes()


def test_a_base_older_than_the_video_settings_gets_them_from_the_image_settings(
    made: tuple[Job, Path], staged: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(made[0].model, base)
    (base / VIDEO).unlink(missing_ok=True)
    merge(str(base), str(staged), str(tmp_path / "merged"), "float32")
    video = json.loads((tmp_path / "merged" / VIDEO).read_text())
    image = json.loads((base / "preprocessor_config.json").read_text())
    assert video["video_processor_type"] == "Qwen2VLVideoProcessor"
    assert video["patch_size"] == image["patch_size"]


def test_curves_are_a_table_and_a_picture(made: tuple[Job, Path]) -> None:
    checkpoints = Checkpoints(Store(str(made[1])))
    curve = checkpoints.progress(str(checkpoints.latest())).curve
    lines = as_csv(curve).decode().splitlines()
    assert lines[0].startswith("step,epoch,loss,learning_rate,validation_loss")
    assert len(lines) == 1 + 5
    assert as_png(curve, 2).startswith(b"\x89PNG")
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])


def test_the_card_names_data_recipe_versions_and_licence(made: tuple[Job, Path], staged: Path) -> None:
    run = {
        "name": "r", "model": "Qwen/Qwen2.5-VL-3B-Instruct", "data_sha256": "ab" * 32, "train_samples": 6, "validation_samples": 2,
        "rejected": {"train:image": 1}, "trainable_parameters": 1234, "steps": 5, "best_step": 4, "best_by": "validation loss",
        "best_loss": 0.5, "best_accuracy": None, "first_loss": 2.0, "last_loss": 0.4, "versions": {"codelib": "1", "peft": "2"},
        "settings": {"seed": 3}, "how": {"workers": [2, 4]},
    }  # fmt: skip
    card = model_card(run, asked(made, staged))
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["base_model"], front["library_name"]) == ("other", run["model"], "peft")
    for wanted in ("ab" * 32, "research", "no commercial use", "peft 2", '"seed": 3', "curves.png", "step 4"):
        assert wanted in card
    assert licence("Qwen/Qwen2.5-VL-7B-Instruct")[0] == "apache-2.0"
    assert "not known here" in licence("some/model")[1]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("s3://clinic-7/workspace/Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("/home/somebody/weights/Qwen2.5-VL-7B-Instruct/", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("some/model", "some/model"),
        ("./model", "model"),
        ("gs://clinic-7/model", "model"),
        ("tiny", "tiny"),
    ],
)
def test_files_that_are_passed_on_name_a_base_without_its_place(given: str, name: str) -> None:
    assert public_name(given) == name


def test_a_trace_of_a_few_steps(made: tuple[Job, Path]) -> None:
    [trace] = (made[1] / "profile").iterdir()
    assert trace.name == "steps-3-4.json.gz"
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]


def again(made: tuple[Job, Path], settings: dict[str, Any]) -> Job:
    job = made[0]
    return make_job(job.dataset, job.model, settings)


def test_out_of_memory_names_the_batch(made: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, calls = backends.answer_loss, []

    def scarce(model: Any, batch: Any) -> Any:
        calls.append(1)
        if len(calls) == limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(model, batch)

    monkeypatch.setattr(backends, "answer_loss", scarce)
    limit = 1
    with pytest.raises(OutOfMemory, match=r"before the first step .*train-cls/\d \(\d+ tokens\).*lower batch_size") as error:
        train(again(made, {}), Place(), tmp_path / "first")
    assert error.value.alone
    limit, calls[:] = 4, []
    with pytest.raises(OutOfMemory, match=r"at step 2 \(worker 0\)"):
        train(again(made, {}), Place(), tmp_path / "later")


def test_gradients_that_are_no_number_leave_the_last_checkpoint(
    made: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def astray(parameters: Any, limit: float) -> torch.Tensor:
        calls.append(1)
        return torch.tensor(float("nan")) if len(calls) == 4 else clip(parameters, limit)

    seal = Checkpoints.seal

    def late(self: Checkpoints, name: str, parts: int) -> None:
        time.sleep(1.0)  # still under way when the numbers are none
        seal(self, name, parts)

    monkeypatch.setattr(Checkpoints, "seal", late)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", astray)
    with pytest.raises(LossNotFinite, match=r"gradients are not finite at step 4, on train-cls/.*checkpoint of step 2 is kept"):
        train(again(made, {}), Place(), tmp_path)
    checkpoints = Checkpoints(Store(str(tmp_path)))
    name = str(checkpoints.latest())
    assert name.startswith("step-00000002")
    assert all(torch.isfinite(tensor).all() for tensor in checkpoints.adapter(name, "adapter").values())


def test_a_full_disk_is_named_and_the_last_good_checkpoint_kept(
    made: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Store.commit

    def full(self: Store, name: str, content: bytes) -> str:
        if "step-00000004" in name and "best" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return commit(self, name, content)

    monkeypatch.setattr(Store, "commit", full)
    with pytest.raises(CheckpointFailed, match=r"no space left on device\); the checkpoint of step 2 is kept: free some space"):
        train(again(made, {"max_steps": 6}), Place(), tmp_path)
    monkeypatch.undo()
    lines: list[str] = []

    class Said(Channel):
        def say(self, line: str) -> None:
            lines.append(line)

    assert train(again(made, {"max_steps": 6}), Place(), tmp_path, Said())[1]
    assert "  continuing after step 2 of 6" in lines


def test_tensorboard_files_are_written_and_their_absence_said(
    made: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = made[0].settings
    with Tracker(str(tmp_path), "r", settings) as tracker:
        for step in (1, 2, 3, 2, 3):  # a worker was lost after step 3
            tracker.measured(step, {"loss": 1.0 / step})
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    monkeypatch.setattr("codelib.train.trackers.installed", lambda module: False)
    said: list[str] = []
    with Tracker(str(tmp_path / "none"), "r", settings, said.append) as tracker:
        tracker.measured(1, {"loss": 1.0})
    assert said == [NO_TENSORBOARD]
    assert not (tmp_path / "none").exists()


def test_a_service_is_not_told_of_the_machine(made: tuple[Job, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is not installed here: what it is asked for. tests/by_hand_trackers.py asks the real ones."""
    asked: list[Any] = []
    fake = SimpleNamespace(Settings=dict, init=lambda **options: asked.append(options))
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    settings = made[0].settings.model_copy(update={"model": "/data/zhang-clinic/tuned", "tracker": "wandb"})
    Tracker(str(tmp_path), "r", settings)
    (options,) = asked
    assert options["settings"] == {
        "console": "off",
        "host": "",
        "disable_git": True,
        "disable_code": True,
        "x_disable_machine_info": True,
        "x_disable_meta": True,
    }
    assert options["config"]["model"] == "tuned" and "zhang" not in str(options["config"])


def test_a_tracking_server_that_goes_away_ends_no_run(made: tuple[Job, Path], tmp_path: Path) -> None:
    class Gone:
        def measured(self, step: int, values: Any) -> None:
            raise ConnectionError

    said: list[str] = []
    with Tracker(str(tmp_path), "r", made[0].settings, said.append) as tracker:
        tracker.service, tracker.name = Gone(), "mlflow"
        tracker.measured(1, {"loss": 1.0})
        tracker.measured(2, {"loss": 1.0})
    assert said == ["note        nothing more goes to mlflow: ConnectionError; training goes on"]
