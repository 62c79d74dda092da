"""The launchers in slurm/ on a real Slurm of three virtual hosts: every one runs its real sbatch file.

One export, one set of hosts and one local run to compare with, for all tests: they take minutes.
"""

from __future__ import annotations

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
from tests.ray.test_train import command, in_this_process, losses

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
    array = slurm.submit(
        "dataset", "--array=1-2", "--nodelist=n3", arguments=arguments, CODELIB_EACH=str(slurm.share / "clinics.txt")
    )
    limited = slurm.submit(
        "dataset", "--time=1", "--signal=B:USR1@20", "--exclude=n3", arguments=clinic.job(with_key(slurm.share / "limited"))
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


def test_the_time_limit_is_a_pause_and_a_lost_first_host_a_restart(slurm: Slurm, clinic: Clinic, busy: dict[str, str]) -> None:
    job = busy["limited"]
    slurm.saying(job, "queued again")  # perhaps several times already: a minute is little on a busy machine
    slurm.host("exec", "scontrol", "update", f"jobid={job}", "timelimit=30")

    def at_work() -> bool:
        return slurm.show(job)["JobState"] == "RUNNING" and "\n  records  " in slurm.log(job).rpartition("slurm: job ")[2]

    until(at_work, 400, lambda: slurm.log(job))
    first, restarts = slurm.show(job)["BatchHost"], int(slurm.show(job)["Restarts"])
    assert restarts >= 1
    slurm.power_off(first)
    until(lambda: int(slurm.show(job)["Restarts"]) > restarts, 60, lambda: slurm.log(job))
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)  # on another host
    slurm.power_on(first)
    assert "SIGUSR1: the time is nearly over" in slurm.log(job)
    assert sums_of(slurm.share / "limited") == clinic.sums
    assert slurm.left() == []


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
    too_many = slurm.submit("dataset", "--nodes=9", arguments=nowhere)  # Slurm takes it, and says in squeue why it does not start
    until(lambda: slurm.show(too_many)["Reason"] == "PartitionNodeLimit", 30, lambda: str(slurm.show(too_many)))
    slurm.host("exec", "scancel", too_many)

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
        ("give CODELIB_EACH, a file with a clinic a line, and {} in --input and --workspace", ["--array=1"], {}),
    ):
        job = slurm.submit("dataset", "--nodelist=n1", *options, arguments=nowhere, **more)
        assert slurm.wait(job) == "FAILED 2:0"
        assert expected in slurm.log(job)
    assert slurm.left() == []


@pytest.fixture(scope="module")
def discs(slurm: Slurm) -> Path:
    return make_release(slurm.share / "discs", visits=12)


def test_training_on_two_hosts_is_pre_empted_and_goes_on(slurm: Slurm, discs: Path) -> None:
    """On two hosts with a GPU each, which Slurm gives out and nothing computes on."""
    from codelib.models.tiny import build

    model = slurm.share / "tiny"
    model.mkdir()
    build(model, seed=0, eye_steps=0, word_steps=0)
    more = ["--set", "lora.dropout=0", "--set", "global_batch=4", "--set", "checkpoint_every=5", "--set", "epochs=10"]
    workspace = slurm.share / "trained"
    spread = [*command(discs, workspace, model, *more), "--set", "workers=2"]
    job = slurm.submit("train-3b", "--nodes=2", "--gres=gpu:1", arguments=spread)
    until(lambda: list(workspace.glob("train/demo/checkpoints/*/complete.json")), 400, lambda: slurm.log(job))
    slurm.signal(job, "USR1")
    slurm.saying(job, "exit code 75")
    alone = in_this_process(discs, model, slurm.share / "alone", more)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    said = slurm.log(job)
    assert "Ray has 2 nodes, 2 CPUs, 2 GPUs" in said
    assert "continuing after step" in said and "restarted 1 times" in said
    assert losses(workspace / "train" / "demo") == pytest.approx(alone, abs=1e-4)
    assert slurm.left() == []


def test_a_served_model_is_asked_beside_the_job(slurm: Slurm, discs: Path) -> None:
    """A small real HTTP server in the place of vLLM, which is not here; through the same hook."""
    for colour, name in (("Red", "Gingivitis"), ("Blue", "Caries")):  # the benchmark's classes
        test = discs / "test-cls.json"
        test.write_text(test.read_text().replace(f'"{colour}"', f'"{name}"'))
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
    # a container's hook, with `env` in the place of `apptainer exec`: it alone knows where Python is
    inside = {"CODELIB_VENV": "/none", "CODELIB_CONTAINER": f"env PATH={sys.prefix}/bin:/usr/bin:/bin"}
    served = {"VLLM_MODEL": "m", "VLLM_GPUS": "1", "VLLM_COMMAND": server}
    again = slurm.submit("evaluate", "--gres=gpu:2", arguments=arguments, **served, **inside)
    assert slurm.wait(again) == "COMPLETED 0:0", slurm.log(again)
    assert "4 kept, 0 made" in slurm.log(again)  # the server lies at another address, and is the same model
    assert slurm.left() == []
