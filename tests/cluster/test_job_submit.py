"""`ray job submit` of each job, as docs/running.md has it: a head with its token on, followed, stopped, submitted again, failing, refused.

One head for all; what it keeps and shows is searched for secrets at the end.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from codelib.synthetic.export import generate
from tests import chat_server
from tests.chat_server import Body, completion
from tests.cluster.test_slurm import RECIPE, sums_of
from tests.conftest import REAL_DATA
from tests.fixtures import make_release
from tests.jobs import ROOT, run, with_key
from tests.ray.test_train import command, in_this_process, losses
from tests.ray_head import Head, started

pytestmark = pytest.mark.cluster

SECRET = "sk-of-the-machine-1f7b93"


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started(OPENAI_API_KEY=SECRET) as running:  # the machine has the key; the client has none
        yield running


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of discs that train, classification and report questions are made of."""
    folder = make_release(tmp_path_factory.mktemp("data") / "discs", visits=24)
    shutil.copy(folder / "test-cls.json", folder / "test-diagnostic.json")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from codelib.models.tiny import build

    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    build(folder, seed=0, eye_steps=0, word_steps=0)
    return folder


def test_a_dataset_is_stopped_and_submitted_again(head: Head, tmp_path: Path) -> None:
    export, recipe = tmp_path / "clinic", tmp_path / "small.yaml"
    generate(export, visits=8, seed=3)
    recipe.write_text(RECIPE)
    here, there = with_key(tmp_path / "here"), with_key(tmp_path / "there")
    job = ("--input", export, "--recipe", recipe, "--workspace")
    head.submit("dataset-1", "jobs.dataset", *job, there, wait=False)
    head.until("dataset-1", lambda: "\n  ingest  " in head.log("dataset-1"))
    head.stop("dataset-1")
    assert head.log("dataset-1").rstrip().endswith("what is finished is kept; run the same command again to continue")
    assert not (there / "release" / "SHA256SUMS").exists()

    assert "already exists" in head.submit("dataset-1", "jobs.dataset", *job, there, code=None)
    said = head.submit("dataset-2", "jobs.dataset", *job, there)
    assert "Job 'dataset-2' succeeded" in said and re.search(r"\n  ingest .* kept", said), said
    run("dataset", *job, here, "--num-cpus", "2")
    assert sums_of(there) == sums_of(here)
    assert "all checks passed" in head.submit("release-1", "jobs.release", "--verify", there / "release")


def test_a_training_run_is_stopped_at_a_checkpoint_and_goes_on_attached(
    head: Head, discs: Path, model: Path, tmp_path: Path
) -> None:
    more = ["--set", "lora.dropout=0", "--set", "checkpoint_every=10", "--set", "epochs=20"]
    job, folder = command(discs, tmp_path / "w", model, *more), tmp_path / "w" / "train" / "demo"
    head.submit("train-1", "jobs.train", *job, wait=False)
    head.until("train-1", lambda: list(folder.glob("checkpoints/*/complete.json")))
    head.stop("train-1")
    # the run left by itself, which takes longer than the 3 s after which Ray kills unless cluster/runtime_env.yaml says otherwise
    paused = re.search(r"paused: asked to end \(SIGTERM\) after step (\d+) of", head.log("train-1").splitlines()[-1])
    assert paused and int(paused[1]) >= 10, head.log("train-1")

    attached = [sys.executable, "-m", "jobs.train", *map(str, job)]
    done = subprocess.run(
        attached, env=head.env | {"RAY_ADDRESS": head.address}, cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"continuing after step {paused[1]}" in done.stdout
    assert losses(folder) == pytest.approx(in_this_process(discs, model, tmp_path / "alone", more), abs=1e-6)
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


@dataclass
class Slow:
    """Answers two requests, then none until it may."""

    may: threading.Event = field(default_factory=threading.Event)
    delivered: int = 0

    def answer(self, body: Body) -> dict[str, Any]:
        if self.delivered >= 2:
            self.may.wait(200)
        self.delivered += 1
        return completion(body, "A red disc.")


def test_an_evaluation_is_stopped_and_pays_no_answer_twice(head: Head, discs: Path, model: Path, tmp_path: Path) -> None:
    slow = Slow()
    with chat_server.started(slow.answer) as server:
        variants, workspace = tmp_path / "both.yaml", tmp_path / "w"
        remote = {"name": "remote", "engine": "openai", "model": "m", "base_url": server.url, "benchmarks": ["generation"]}
        local = {"name": "base", "model": str(model), "max_new_tokens": 4, "benchmarks": ["generation"]}
        variants.write_text(json.dumps([remote | {"batch_size": 1}, local]))
        job = ("--dataset", discs, "--workspace", workspace, "--variants", variants)
        head.submit("evaluate-1", "jobs.evaluate", *job, wait=False)
        answers = workspace / "evaluate" / "answers"
        head.until("evaluate-1", lambda: slow.delivered == 2 and server.num_requests > 2)
        head.ray("job", "stop", "evaluate-1")  # the command itself, where it cannot come too late
        assert head.about("evaluate-1")["status"] == "STOPPED"
        assert "run the same command again" in head.log("evaluate-1").splitlines()[-1], head.log("evaluate-1")
        kept = len(list(answers.rglob("*.json")))
        assert kept >= 2
        before = server.num_requests
        slow.may.set()
        said = head.submit("evaluate-2", "jobs.evaluate", *job)
        assert "Job 'evaluate-2' succeeded" in said and f"{kept} answers kept from before" in said, said
        assert server.num_requests - before == 8 - 2  # of eight visits; those under way at the stop are asked again
        assert server.headers[-1]["authorization"] == f"Bearer {SECRET}"
    said = head.submit(
        "review-1", "jobs.review", "make", "--workspace", workspace, "--dataset", discs, "-n", "4", "--variant", "base"
    )
    assert "succeeded" in said and list((workspace / "evaluate" / "review" / "first" / "sheets").glob("*.html"))


@pytest.mark.parametrize(
    ("name", "words", "last"),
    [
        ("bad-input", ("jobs.dataset", "--input", "nowhere", "--workspace", "w"), "error: --input nowhere: no such folder"),
        (
            "bad-option",
            ("jobs.train", "--dataset", "d", "--workspaces", "w"),
            "error: --workspaces: unknown option; did you mean",
        ),
    ],
)
def test_what_cannot_work_fails_and_says_why_last(head: Head, name: str, words: tuple[str, ...], last: str) -> None:
    said = head.submit(name, *words, code=1)
    about = head.about(name)
    assert (about["status"], about["driver_exit_code"]) == ("FAILED", 2)
    assert head.log(name).splitlines()[-1].startswith(last), head.log(name)
    assert "failed with exit code 2" in said and last in said


@pytest.mark.parametrize("holds", ["another", "none"])
def test_without_its_token_nothing_is_submitted_or_joined(head: Head, tmp_path: Path, holds: str) -> None:
    if holds == "another":
        (tmp_path / "token").write_text("f" * 64)
        (tmp_path / "token").chmod(0o600)
        lacks, said = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, "Invalid authentication token"
    else:
        lacks, said = {"HOME": str(tmp_path)}, "couldn't find an authentication token"
    assert said in head.submit(f"token-{holds}", "jobs.dataset", "--help", code=1, **lacks)
    generate(tmp_path / "clinic", visits=3, seed=3)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.dataset", "--input", tmp_path / "clinic", "--workspace", tmp_path / "w"],
        env=head.env | {"RAY_ADDRESS": head.address} | lacks,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "the cluster asks for its token" in done.stderr.splitlines()[-1] and "RAY_AUTH_TOKEN_PATH" in done.stderr


def test_no_identifier_in_rays_own_folders(head: Head, real_data: Path, tmp_path: Path) -> None:
    source, workspace = REAL_DATA / "clinic-export", tmp_path / "work"
    said = head.submit("real-1", "jobs.dataset", "--input", source.resolve(), "--workspace", workspace)
    assert "Released 8 visits" in said
    truth = json.loads((REAL_DATA / "clinic-export.truth.json").read_text(encoding="utf-8"))
    found = set()
    for path, text in kept_by(head):
        found |= {(word, str(path)) for word in truth["identifiers"] if word in text or word in str(path)}
    assert found == set()


def test_no_secret_in_what_the_cluster_keeps_and_shows(head: Head) -> None:
    """The last: after all of them."""
    names = [about["submission_id"] for about in head.all() if about["type"] == "SUBMISSION"]
    shown = [head.ray("job", "list"), json.dumps(head.all()), *map(head.log, names)]
    assert names
    for secret in (SECRET, head.token):
        assert not any(secret in text for text in shown)
        assert [str(path) for path, text in kept_by(head) if secret in text] == []


def kept_by(head: Head) -> list[tuple[Path, str]]:
    """(file, what it says) of all that Ray wrote."""
    files = [path for path in (head.home / "ray").rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    return [(path, path.read_bytes().decode("utf-8", "ignore")) for path in files]
