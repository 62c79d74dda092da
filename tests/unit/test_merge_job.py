"""python -m jobs.merge: any adapter that peft reads becomes a model that says what base and adapter say together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from codelib.core.store import Store
from codelib.evaluate.variants import files_digest
from codelib.evaluate.withdrawn import is_to_retrain
from codelib.models import tiny
from codelib.models.loading import ORIGIN, load_base
from codelib.train.lora import PLACES
from jobs.merge import main

PLACE, WEIGHTS = PLACES["language"], "adapter_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder, 0, 0, 0)
    return str(folder)


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=torch.arange(20, 60)[None]).logits


@pytest.mark.parametrize(
    "options", [{}, {"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"use_dora": True}], ids=str
)
def test_a_merged_model_is_the_tuned_one(model: str, tmp_path: Path, options: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    tuned = get_peft_model(load_base(model, device="cpu"), LoraConfig(r=4, target_modules=PLACE, **options))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    tuned.save_pretrained(str(tmp_path / "adapter"))
    asked = ["--model", model, "--adapter", str(tmp_path / "adapter"), "--to", str(tmp_path / "whole"), "--dtype", "float32"]
    assert main(asked) == 0
    merged = _logits(load_base(str(tmp_path / "whole"), device="cpu"))
    assert (_logits(tuned) - _logits(load_base(model, device="cpu"))).abs().max() > 0.1
    torch.testing.assert_close(merged, _logits(tuned), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="is there already"):
        main(asked)


def test_what_is_missing_is_named(model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--adapter"):
        main(["--model", model, "--adapter", str(tmp_path / "none"), "--to", str(tmp_path / "whole")])


def _without_most(adapter: Path) -> None:
    weights = load_file(adapter / WEIGHTS)
    save_file({name: weights[name] for name in list(weights)[:2]}, adapter / WEIGHTS)


def _by_other_names(adapter: Path) -> None:
    weights = load_file(adapter / WEIGHTS)
    save_file({name.replace("language_model", "text_model"): part for name, part in weights.items()}, adapter / WEIGHTS)


def _of_other_sizes(adapter: Path) -> None:
    weights = load_file(adapter / WEIGHTS)
    save_file({name: torch.zeros(2 * part.shape[0], part.shape[1]) for name, part in weights.items()}, adapter / WEIGHTS)


def _broken(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_without_most, "layers are missing"),
        (_by_other_names, "layers are missing"),
        (_of_other_sizes, "base of other sizes"),
        (_broken, "not JSON"),
    ],
)
def test_an_adapter_that_does_not_fit_gives_no_model(
    model: str, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    from peft import LoraConfig, get_peft_model

    adapter = tmp_path / "adapter"
    get_peft_model(load_base(model, device="cpu"), LoraConfig(r=4, target_modules=PLACE)).save_pretrained(str(adapter))
    spoil(adapter)
    with pytest.raises(ValueError, match=says):
        main(["--model", model, "--adapter", str(adapter), "--to", str(tmp_path / "whole")])
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_adapter_that_learned_from_somebody_who_withdrew_is_told(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig, get_peft_model

    adapter = tmp_path / "run" / "adapter"
    get_peft_model(load_base(model, device="cpu"), LoraConfig(r=4, target_modules=PLACE)).save_pretrained(str(adapter))
    (tmp_path / "run" / "run.json").write_text('{"retrain": true}')
    assert main(["--model", model, "--adapter", str(adapter), "--to", str(tmp_path / "whole")]) == 0
    assert "learned from people who withdrew since; retrain before it is used" in capsys.readouterr().out
    assert is_to_retrain(str(tmp_path / "whole"))  # wherever it is taken


def test_a_merged_model_says_where_it_comes_from(model: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    adapter = tmp_path / "run" / "adapter"
    get_peft_model(load_base(model, device="cpu"), LoraConfig(r=4, target_modules=PLACE)).save_pretrained(str(adapter))
    asked = ["--model", model, "--adapter", str(adapter), "--to"]
    assert main([*asked, str(tmp_path / "foreign")]) == 0
    (tmp_path / "run" / "run.json").write_text(json.dumps({"name": "first", "data_sha256": "ab", "steps": 3}))
    assert main([*asked, str(tmp_path / "ours")]) == 0
    foreign, ours = (json.loads((tmp_path / name / ORIGIN).read_text()) for name in ("foreign", "ours"))
    assert (foreign["run"], ours["run"]["name"], ours["run"]["data_sha256"]) == (None, "first", "ab")
    assert ours["base"] == f"sha256:{files_digest(Path(model))}" and ours["adapter"] == f"sha256:{files_digest(adapter)}"
    assert {key: value for key, value in foreign.items() if key != "run"} == {k: v for k, v in ours.items() if k != "run"}
    assert not ours["retrain"] and not is_to_retrain(str(tmp_path / "ours"))
    # later somebody withdraws, and the workspace marks the run
    workspace = Store(str(tmp_path / "work"))
    workspace.commit_json("train/first/run.json", {"name": "first", "data_sha256": "ab", "retrain": True})
    assert is_to_retrain(str(tmp_path / "ours"), workspace) and not is_to_retrain(str(tmp_path / "foreign"), workspace)
    workspace.commit_json("train/first/run.json", {"name": "first", "data_sha256": "cd", "retrain": True})  # another run since
    assert not is_to_retrain(str(tmp_path / "ours"), workspace)
    assert str(tmp_path) not in json.dumps(ours)


def test_a_model_is_not_written_into_a_folder_called_s3(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"--to s3://bucket/whole: a folder of this machine"):
        main(["--model", model, "--adapter", str(tmp_path / "adapter"), "--to", "s3://bucket/whole"])
    assert not (tmp_path / "s3:").exists()
