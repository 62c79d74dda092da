"""The launchers in slurm/ on a real Slurm of three virtual hosts: every one runs its real sbatch file.

One export, one set of hosts and one local run to compare with, for all tests: they take minutes.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from codelib.synthetic.export import generate
from tests.cluster.hosts import HOSTS, Slurm, started, until, why_not
from tests.fixtures import make_release
from tests.jobs import ROOT, run, with_key

pytestmark = pytest.mark.cluster

# pictures are looked at by no screen, and nothing is drawn: these tests ask what a cluster does
RECIPE = """
dataset:
  partition_visits: 2
  split: {test_size: 3}
  figures: {drawn: false}
  images: {screens: {text: "off", faces: "off", documents: "off"}}
"""


@dataclass(frozen=True)
class Clinic:
    export: Path
    recipe: Path
    sums: str  # SHA256SUMS of its release, made on this machine

    def job(self, workspace: Path | str) -> list[str | Path]:
        return ["--input", self.export, "--workspace", workspace, "--recipe", self.recipe]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := why_not():
        pytest.skip(reason)
    with started(tmp_path_factory.mktemp("hosts") / "share") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clinic(slurm: Slurm) -> Clinic:
    export, recipe = slurm.share / "clinic", slurm.share / "small.yaml"
    generate(export, visits=12, seed=3)
    recipe.write_text(RECIPE)
    here = with_key(slurm.share / "here")
    run("dataset", "--input", export, "--workspace", here, "--recipe", recipe, "--num-cpus", "2")
    return Clinic(export, recipe, sums_of(here))


def sums_of(workspace: Path) -> str:
    return (workspace / "release" / "SHA256SUMS").read_text()


def test_a_lost_host_and_a_killed_raylet_cost_no_row(slurm: Slurm, clinic: Clinic) -> None:
    workspace = with_key(slurm.share / "lost")
    job = slurm.submit("dataset", "--nodes=3", arguments=clinic.job(workspace))
    said = slurm.saying(job, r"\n  ingest  ")
    assert "Ray has 3 nodes, 3 CPUs, 0 GPUs" in said
    first = slurm.show(job)["BatchHost"]
    robbed, lost = (host for host in HOSTS if host != first)
    slurm.kill_raylet(robbed)
    slurm.power_off(lost)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    assert sums_of(workspace) == clinic.sums
    assert re.search(rf"{robbed} worker: Ray ended here", slurm.log(job))
    assert slurm.left((first, robbed)) == []
    slurm.power_on(lost)


@pytest.fixture(scope="module")
def busy(slurm: Slurm, clinic: Clinic) -> dict[str, str]:
    """Two clinics at once on one host, as an array; beside them a job that meets its time limit (Slurm may warn up to a minute early)."""
    (slurm.share / "clinics.txt").write_text("north\nsouth\n")
    for name in ("north", "south"):
        with_key(slurm.share / "work" / name)
        (slurm.share / f"export-{name}").symlink_to(clinic.export)
    arguments = clinic.job(slurm.share / "work" / "{}")
    arguments[1] = slurm.share / "export-{}"
    array = slurm.submit("dataset", "--array=1-2", "--nodelist=n3", arguments=arguments, EACH=str(slurm.share / "clinics.txt"))
    limited = slurm.submit(
        "dataset", "--time=1", "--signal=B:USR1@20", "--nodelist=n1", arguments=clinic.job(with_key(slurm.share / "limited"))
    )
    return {"array": array, "limited": limited}


def test_two_jobs_of_one_user_on_one_host(slurm: Slurm, clinic: Clinic, busy: dict[str, str]) -> None:
    """With a stale token in the user's home, as in all of these tests."""
    tasks = [f"{busy['array']}_{number}" for number in (1, 2)]
    until(lambda: all("Ray has 1 nodes" in slurm.log(task) for task in tasks), 400, lambda: "\n".join(map(slurm.log, tasks)))
    assert [slurm.show(task)["JobState"] for task in tasks] == ["RUNNING", "RUNNING"]
    for task, name in zip(tasks, ("north", "south"), strict=True):
        assert slurm.wait(task) == "COMPLETED 0:0", slurm.log(task)
        assert sums_of(slurm.share / "work" / name) == clinic.sums
    assert slurm.left(["n3"]) == []
    assert [path.name for path in (slurm.home / ".ray").iterdir()] == ["auth_token"]


def test_the_time_limit_is_a_pause(slurm: Slurm, clinic: Clinic, busy: dict[str, str]) -> None:
    job = busy["limited"]
    slurm.saying(job, "exit code 75")
    until(lambda: slurm.show(job)["JobState"] == "PENDING", 30, lambda: slurm.log(job))
    slurm.host("exec", "scontrol", "update", f"jobid={job}", "timelimit=10")
    slurm.free(job)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    said = slurm.log(job)
    assert "SIGUSR1" in said and "queued again" in said and "restarted 1 times" in said
    assert sums_of(slurm.share / "limited") == clinic.sums
    assert slurm.left(["n1"]) == []


def test_what_cannot_work_is_said(slurm: Slurm, clinic: Clinic) -> None:
    """Each as a job on a host of its own, as the states and exit codes of Slurm."""
    nowhere = clinic.job(slurm.share / "nowhere")
    nowhere[1] = slurm.share / "clinc"
    missing = slurm.submit("dataset", "--nodelist=n1", arguments=nowhere)
    headless = slurm.submit("dataset", "--nodelist=n2", arguments=clinic.job(with_key(slurm.share / "headless")))
    no_gpus = slurm.submit(
        "train-3b", "--gres=gpu:1", "--nodelist=n3", arguments=["--dataset", clinic.export, "--workspace", slurm.share]
    )
    assert "invalid partition specified: gpus" in slurm.sbatch("dataset", "--partition=gpus", arguments=nowhere).stderr
    assert "Node count specification invalid" in slurm.sbatch("dataset", "--nodes=9", arguments=nowhere).stderr

    slurm.saying(headless, r"\n  ingest  ")
    slurm.kill_raylet("n2")
    assert slurm.wait(headless) == "FAILED 1:0"
    assert "Ray's head on n2 ended while the job ran; the last lines of" in slurm.log(headless)
    assert slurm.wait(missing) == "FAILED 2:0"
    assert f"{slurm.share}/clinc" in slurm.log(missing) and "error:" in slurm.log(missing)
    assert slurm.wait(no_gpus) == "FAILED 2:0"
    assert "error: the job wants 2 GPUs and Slurm gave it 1: ask for them, say --gres=gpu:2 on one node" in slurm.log(no_gpus)

    for expected, options, more in (
        ("has no Python environment with Ray on n1: run 'make setup'", [], {"CODELIB_VENV": "/none"}),
        ("is not codelib: submit from its folder", [], {"CODELIB": "/none"}),
        ("CODELIB_INTERFACE=ib7: n1 has no such interface", [], {"CODELIB_INTERFACE": "ib7"}),
        ("too long for Ray's sockets", [], {"CODELIB_TMP": "/tmp/" + "a" * 40}),
        ("give EACH, a file with a clinic a line, and {} in --input and --workspace", ["--array=1"], {}),
    ):
        job = slurm.submit("dataset", "--nodelist=n1", *options, arguments=nowhere, **more)
        assert slurm.wait(job) == "FAILED 2:0"
        assert expected in slurm.log(job)
    assert slurm.left() == []


@pytest.fixture(scope="module")
def discs(slurm: Slurm) -> Path:
    return make_release(slurm.share / "discs", visits=12)


def losses(workspace: Path) -> list[float]:
    with (workspace / "train" / "demo" / "curves.csv").open() as lines:
        return [float(line["loss"]) for line in csv.DictReader(lines)]


def test_training_on_two_hosts_is_pre_empted_and_goes_on(slurm: Slurm, discs: Path) -> None:
    """On two hosts with a GPU each, which Slurm gives out and nothing computes on."""
    from codelib.models.tiny import build

    model = slurm.share / "tiny"
    model.mkdir()
    build(model, seed=0, eye_steps=0, word_steps=0)
    settings = (
        "lora={rank: 4, alpha: 8, dropout: 0}",
        "max_pixels=3136",
        "batch_size=2",
        "global_batch=4",
        "checkpoint_every=5",
        "epochs=10",
    )
    given = [f"--set={setting}" for setting in (f"model={model}", *settings)]
    workspace = slurm.share / "trained"
    arguments = ["--dataset", discs, "--workspace", workspace, "--recipe", "demo", *given, "--set=workers=2"]
    job = slurm.submit("train-3b", "--nodes=2", "--gres=gpu:1", arguments=arguments)
    until(lambda: list(workspace.glob("train/demo/checkpoints/*/complete.json")), 400, lambda: slurm.log(job))
    slurm.signal(job, "USR1")
    slurm.saying(job, "exit code 75")
    slurm.free(job)
    alone = slurm.share / "alone"
    run("train", "--dataset", discs, "--workspace", alone, "--recipe", "demo", *given, "--set=workers=1")
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    said = slurm.log(job)
    assert "Ray has 2 nodes, 2 CPUs, 2 GPUs" in said
    assert "continuing after step" in said and "restarted 1 times" in said
    assert losses(workspace) == pytest.approx(losses(alone), abs=1e-4)
    assert slurm.left() == []


def test_a_served_model_is_asked_beside_the_job(slurm: Slurm, discs: Path) -> None:
    """A small real HTTP server in the place of vLLM, which is not here; through the same hook."""
    variants, workspace = slurm.share / "served.yaml", slurm.share / "evaluated"
    variants.write_text(json.dumps([{"name": "served", "engine": "openai", "model": "m", "benchmarks": ["classification"]}]))
    arguments = ["--dataset", discs, "--workspace", workspace, "--variants", variants, "--benchmarks", "classification"]
    server = f"{sys.executable} {ROOT}/tests/cluster/served_model.py"
    job = slurm.submit("evaluate", "--gres=gpu:2", arguments=arguments, VLLM_MODEL="m", VLLM_GPUS="1", VLLM_COMMAND=server)
    said = slurm.saying(job, "the model server answers")
    assert "GPUs 0" in (slurm.jobs / f"evaluate-{job}.ray" / "vllm.log").read_text()
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    said = slurm.log(job)
    assert "Ray has 1 nodes, 1 CPUs, 1 GPUs" in said and "4 made" in said
    again = slurm.submit("evaluate", "--gres=gpu:2", arguments=arguments, VLLM_MODEL="m", VLLM_GPUS="1", VLLM_COMMAND=server)
    assert slurm.wait(again) == "COMPLETED 0:0", slurm.log(again)
    assert "4 kept, 0 made" in slurm.log(again)  # the server lies at another address, and is the same model
    assert slurm.left() == []
