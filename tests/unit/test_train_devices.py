"""What a training run says of the devices that it takes."""

from __future__ import annotations

import pytest

from codelib.train.on_ray import note_of_cpus
from codelib.train.settings import TrainSettings


def test_a_joined_cluster_without_gpus_is_told_how_to_be_asked_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    real = TrainSettings(model="Qwen/Qwen2.5-VL-7B-Instruct")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert "--set use_gpu=yes" in (note_of_cpus(real, False) or "")
    assert note_of_cpus(real, True) is None
    assert note_of_cpus(TrainSettings(), False) is None  # the tiny model is made for CPUs
    assert note_of_cpus(real.model_copy(update={"use_gpu": "no"}), False) is None
    monkeypatch.delenv("RAY_ADDRESS")
    assert note_of_cpus(real, False) is None  # this machine is what it is
