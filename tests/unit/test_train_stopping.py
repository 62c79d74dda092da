"""The first signal asks for a checkpoint, the second Ctrl-C leaves; settings that do not go together are refused by name."""

from __future__ import annotations

import os
import re
import signal

import pytest

from codelib.core.config import load
from codelib.train import installed
from codelib.train.settings import TrainSettings
from codelib.train.stopping import Stopping


@pytest.mark.parametrize(
    ("number", "reason", "interrupted"),
    [
        (signal.SIGINT, "interrupted", True),
        (signal.SIGTERM, "asked to end (SIGTERM)", False),
        (signal.SIGUSR1, "pre-empted (SIGUSR1)", False),
    ],
)
def test_the_first_signal_only_asks(number: signal.Signals, reason: str, interrupted: bool) -> None:
    before = signal.getsignal(number)
    with Stopping().listening() as stopping:
        assert not stopping.wanted
        os.kill(os.getpid(), number)
        assert (stopping.wanted, stopping.reason, stopping.interrupted) == (True, reason, interrupted)
        os.kill(os.getpid(), signal.SIGTERM)  # what a scheduler sends next changes nothing
        assert stopping.reason == reason
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_leaves_at_once() -> None:
    with Stopping().listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["offload=optimizer"], "offload=optimizer does not go with strategy=ddp"),
        (["offload=parameters", "strategy=zero2"], "zero3"),
        (["attention=flash"], "attention=flash does not go with precision=fp32"),
        (["workers=[4, 2]"], "the fewest first"),
        (["workers=[2]"], "workers=[2]: give a number of at least 1, or the fewest and the most"),
        (["workers=0"], "workers=0: give a number"),
        (["workers=[0, 2]"], "workers=[0, 2]: give a number"),
        (["workers=two"], "workers='two': give a number"),
        (["workers=4", "global_batch=2"], "global_batch=2"),
        (["best_by=accuracy", "validation_fraction=0"], "best_by=accuracy"),
    ],
)
def test_what_does_not_combine_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load(TrainSettings, "train", "demo", overrides)


def test_the_global_batch_is_kept_by_any_number_of_workers() -> None:
    settings = load(TrainSettings, "train", "demo", ["workers=[2, 4]", "batch_size=3", "global_batch=24"])
    assert (settings.min_workers, settings.max_workers, settings.global_batch) == (2, 4, 24)
    assert load(TrainSettings, "train", "demo", ["workers=2", "batch_size=3"]).global_batch == 6


@pytest.mark.parametrize(
    ("overrides", "lacking"),
    [
        (["tracker=mlflow"], "tracker=mlflow: mlflow is not installed here"),
        (["tracker=wandb"], "tracker=wandb: wandb is not installed here"),
        (["strategy=zero2"], "strategy=zero2: deepspeed is not installed here"),
        (["attention=flash", "precision=bf16"], "attention=flash: flash_attn is not installed here"),
        ([], None),
    ],
)
def test_what_is_not_installed_is_said_before_anything_begins(
    overrides: list[str], lacking: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "installed", lambda module: False)
    said = installed.missing(load(TrainSettings, "train", "demo", overrides))
    assert said is None if lacking is None else lacking in str(said)


def test_attention_follows_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    bf16, fp32 = (TrainSettings(precision=precision) for precision in ("bf16", "fp32"))
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    assert installed.attention(bf16, "cuda:0") == "flash_attention_2"
    assert installed.attention(bf16, "cpu") == installed.attention(fp32, "cuda:0") == "sdpa"
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    assert installed.attention(bf16, "cuda:0") == "sdpa"
    with pytest.raises(ValueError, match="does not run on a CPU"):
        installed.attention(TrainSettings(precision="bf16", attention="flash"), "cpu")
