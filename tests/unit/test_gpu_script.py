"""The scripts of tests/gpu work from end to end: a small model on the CPU, in seconds. Its figures mean nothing here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from codelib.models.prompt import PixelPolicy
from tests.gpu import generate, train_step
from tests.visits import MEAN_IMAGES, MOST_IMAGES, draw_visits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_script_compares_both_loops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--size", "small", "--samples", "4", "--max-pixels", "3136", "--json", str(tmp_path / "figures.json")]
    plain, ours, reuse = train_step.main(command)
    said = capsys.readouterr().out
    assert "transformers " in said and "x plain" in said
    assert ours.padding < plain.padding  # batches of like length
    assert {one.tokens_per_s > 0 and one.foretold_gib > 0 for one in (plain, ours, reuse)} == {True}
    assert reuse.foretold_gib <= ours.foretold_gib
    assert len(json.loads((tmp_path / "figures.json").read_text())["results"]) == 3


def test_the_first_steps_of_both_loops_have_one_loss() -> None:
    """The same random weights, adapters that begin as nothing: both loops see the same model."""
    from codelib.models.encoding import collate
    from tests.visits import encode

    bench = train_step.Bench(
        train_step.sizes()["small"], "cpu", torch.float32, "sdpa", False, 2, PixelPolicy(max_pixels=3136), None
    )
    rng = np.random.default_rng(1)
    encoded = [encode(visit, number, rng, bench.architecture, bench.policy) for number, visit in enumerate(draw_visits(rng, 2))]
    losses = [make(bench)[1](collate(encoded, 0, left=False)) for make in (train_step.our_step, train_step.plain_step)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_visits_are_as_long_as_the_paper_s() -> None:
    visits = draw_visits(np.random.default_rng(0), 4000)
    images = [len(visit.images) for visit in visits]
    assert np.mean(images) == pytest.approx(MEAN_IMAGES, rel=0.05)
    assert min(images) == 1 and max(images) <= MOST_IMAGES
    assert max(visit.length(PixelPolicy()).tokens for visit in visits) <= 4096


def test_the_generating_script_compares_together_alone_and_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--size", "small", "--visits", "2", "--plain-visits", "2", "--report-tokens", "6", "--max-pixels", "3136"]
    figures = generate.main([*command, "--json", str(tmp_path / "figures.json")])
    assert "together / sum of the five alone" in capsys.readouterr().out
    tokens = {one["name"]: one["answer_tokens"] for one in figures["results"]}
    for name in ("base", "base, few-shot", "adapter 0"):
        assert tokens[name] == tokens[f"plain, {name}"] > 0
    assert json.loads((tmp_path / "figures.json").read_text())["times_plain"] > 0
