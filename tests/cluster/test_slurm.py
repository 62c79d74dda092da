"""The launchers in slurm/ on a real Slurm of three virtual hosts: every one runs its real sbatch file.

One export, one set of hosts and one local run to compare with, for all tests: they take minutes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from codelib.synthetic.export import generate
from tests.cluster.hosts import CONTROLLER, HOSTS, RECIPE, SCRIPT, Slurm, started, until, why_not
from tests.fixtures import make_release
from tests.jobs import ROOT, run, with_key
from tests.ray.test_train import command, in_this_process, losses
from tests.s3_server import BUCKET, KEYS

pytestmark = pytest.mark.cluster


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
    slurm.hold(job)
    slurm.kill_raylet(robbed)
    slurm.power_off(lost)
    words = slurm.jobs / f"dataset-{job}.ray" / "workers.log"  # `ray start` looks once a second whether its Ray is there
    until(lambda: "Ray ended here" in words.read_text(), 60, lambda: slurm.log(job))
    slurm.release(job)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    assert sums_of(workspace) == clinic.sums
    assert re.search(rf"{robbed} worker: Ray ended here", slurm.log(job))
    assert slurm.left((first, robbed)) == []
    slurm.power_on(lost)
    assert slurm.left((lost,)) == [f"{lost}: codelib-{job}"]  # nobody could remove it; the next job there does


_CLINICS = ("north", "south & west")


@pytest.fixture
def tasks(slurm: Slurm, clinic: Clinic) -> list[str]:
    """Two clinics at once on one host, as an array."""
    (slurm.share / "clinics.txt").write_text("".join(f"{name}\n" for name in _CLINICS))
    for name in _CLINICS:
        with_key(slurm.share / "work" / name)
        (slurm.share / f"export-{name}").symlink_to(clinic.export)
    arguments = clinic.job(slurm.share / "work" / "{}")
    arguments[1] = slurm.share / "export-{}"
    array = slurm.submit(
        "dataset", "--array=1-2", "--nodelist=n3", arguments=arguments, CODELIB_EACH=str(slurm.share / "clinics.txt")
    )
    return [f"{array}_{number}" for number in (1, 2)]


def test_two_jobs_of_one_user_on_one_host(slurm: Slurm, clinic: Clinic, tasks: list[str]) -> None:
    """As tasks of an array, of which one is paused; with a stale token in the user's home, as in all of these tests."""
    until(lambda: all("Ray has 1 nodes" in slurm.log(task) for task in tasks), 400, lambda: "\n".join(map(slurm.log, tasks)))
    # one task has the array's own number: what is done to that number is done to all of them
    (paused,) = (task for task in tasks if slurm.show(task)["JobId"] == tasks[0].partition("_")[0])
    (sibling,) = set(tasks) - {paused}
    slurm.saying(paused, r"\n  ingest  ")
    slurm.signal(paused, "USR1")
    slurm.saying(paused, f"queued again as job {paused}")
    for task, name in zip(tasks, _CLINICS, strict=True):
        assert slurm.wait(task) == "COMPLETED 0:0", slurm.log(task)
        assert slurm.show(task)["Restarts"] == str(int(task == paused)), slurm.log(sibling)
        assert sums_of(slurm.share / "work" / name) == clinic.sums
    (begun, until_paused), (from_start, ended) = span(slurm.log(paused), "SIGUSR1"), span(slurm.log(sibling), "exit code 0")
    assert begun < ended and from_start < until_paused
    assert slurm.left(["n3"]) == []
    assert [path.name for path in (slurm.home / ".ray").iterdir()] == ["auth_token"]


def span(log: str, last: str) -> tuple[str, str]:
    """When a job began for the first time, and when the launcher first said ``last``."""
    first, end = re.search(r"\[(.{19})\] slurm: job ", log), re.search(rf"\[(.{{19}})\] slurm: {last}", log)
    assert first and end, log
    return first[1], end[1]


@pytest.fixture
def limited(slurm: Slurm, clinic: Clinic) -> str:
    """A job that is about to meet its time limit, wherever a fast or a slow machine is with it: once at work it is held still, its limit
    is set so that Slurm's next look warns it. Then it goes on."""
    job = slurm.submit("dataset", "--time=60", "--exclude=n3", arguments=clinic.job(with_key(slurm.share / "limited")))
    slurm.saying(job, r"\n  ingest  ")
    slurm.hold(job)
    hours, minutes, _ = map(int, slurm.show(job)["RunTime"].split(":"))
    # five to six minutes from now: Slurm warns up to a minute before the 300 s of the file, and looks every half minute
    slurm.host("exec", "scontrol", "update", f"jobid={job}", f"timelimit={60 * hours + minutes + 6}")
    slurm.saying(job, "SIGUSR1: the time is nearly over")
    slurm.release(job)
    return job


def test_the_time_limit_is_a_pause_and_a_lost_first_host_a_restart(slurm: Slurm, clinic: Clinic, limited: str) -> None:
    job = limited
    slurm.saying(job, "queued again")
    slurm.host("exec", "scontrol", "update", f"jobid={job}", "timelimit=30")

    def at_work() -> bool:
        return slurm.show(job)["JobState"] == "RUNNING" and "\n  records  " in slurm.log(job).rpartition("slurm: job ")[2]

    until(at_work, 400, lambda: slurm.log(job))
    first, restarts = slurm.show(job)["BatchHost"], int(slurm.show(job)["Restarts"])
    assert restarts >= 1
    slurm.power_off(first)
    until(lambda: int(slurm.show(job)["Restarts"]) > restarts, 60, lambda: slurm.log(job))
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)  # on another host
    last = slurm.show(job)["BatchHost"]
    slurm.power_on(first)
    assert sums_of(slurm.share / "limited") == clinic.sums
    assert slurm.left((last,)) == []


# what a job that begins on a host finds in its /tmp: of a job that is no more, with the number of a process that is another's; of one that
# runs; of one that is just starting; another user's; and what only looks like one
_FOUND = """
cd /tmp; mkdir codelib-701 codelib-702 codelib-703 codelib-704 codelib-near-0
echo 1 >codelib-701/pid; echo 99999999 >codelib-704/pid; chown nobody codelib-704; touch codelib-0-abc.lock
SLURM_JOB_ID=702 sleep 600 </dev/null >/dev/null 2>&1 & echo $! >codelib-702/pid
"""
_KEPT = ["codelib-702", "codelib-703", "codelib-704", "codelib-near-0", "codelib-0-abc.lock"]


@pytest.fixture
def leftovers(slurm: Slurm) -> Iterator[None]:
    slurm.on("n1", _FOUND)
    yield
    slurm.on("n1", f"cd /tmp; kill $(cat codelib-702/pid); rm -r {' '.join(_KEPT)}")


def test_ended_by_hand_nothing_stays(slurm: Slurm, clinic: Clinic, leftovers: None) -> None:
    """One job with a signal to its script, one on two hosts at once; then the first one's command again. Leftovers of dead jobs go too."""
    workspace = with_key(slurm.share / "ended")
    told = slurm.submit("dataset", "--nodelist=n1", arguments=clinic.job(workspace))
    slurm.saying(told, r"\n  ingest  ")
    slurm.signal(told, "TERM")
    cut = slurm.submit("dataset", "--nodes=2", "--exclude=n1", arguments=clinic.job(with_key(slurm.share / "cut")))
    slurm.saying(cut, r"\n  ingest  ")
    assert slurm.host("exec", "scancel", cut).returncode == 0
    assert slurm.wait(told) == "FAILED 130:0", slurm.log(told)
    assert "what is finished is kept; run the same command again to continue" in slurm.log(told)
    assert "queued again" not in slurm.log(told)
    assert slurm.wait(cut).startswith("CANCELLED"), slurm.log(cut)
    until(lambda: not slurm.left(("n2", "n3")), 60, lambda: str(slurm.left()))
    again = slurm.submit("dataset", "--nodelist=n1", arguments=clinic.job(workspace))
    assert slurm.wait(again) == "COMPLETED 0:0", slurm.log(again)
    assert sums_of(workspace) == clinic.sums
    assert sorted(slurm.left(("n1",))) == sorted(f"n1: {name}" for name in _KEPT)


def test_what_cannot_work_is_said(slurm: Slurm, clinic: Clinic) -> None:
    """Each as a job on a host of its own, as the states and exit codes of Slurm."""
    nowhere = clinic.job(slurm.share / "nowhere")
    nowhere[1] = slurm.share / "clinc"
    missing = slurm.submit("dataset", "--nodelist=n1", arguments=nowhere)
    no_gpus = slurm.submit(
        "train-3b", "--gres=gpu:1", "--nodelist=n3", arguments=["--dataset", clinic.export, "--workspace", slurm.share]
    )
    assert "invalid partition specified: gpus" in slurm.sbatch("dataset", "--partition=gpus", arguments=nowhere).stderr
    too_many = slurm.submit("dataset", "--nodes=9", arguments=nowhere)  # Slurm takes it, and says in squeue why it does not start
    until(lambda: slurm.show(too_many)["Reason"] == "PartitionNodeLimit", 30, lambda: str(slurm.show(too_many)))
    slurm.host("exec", "scancel", too_many)
    headless = slurm.submit("dataset", "--nodelist=n2", arguments=clinic.job(with_key(slurm.share / "headless")))

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
        ("module load cuda/99 failed on n1; see 'module avail'", [], {"CODELIB_MODULES": "cuda/99"}),
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
    folder = make_release(slurm.share / "discs", visits=12)
    shutil.copy(folder / "test-cls.json", folder / "test-diagnostic.json")  # a colour is a report too
    return folder


@pytest.fixture(scope="module")
def model(slurm: Slurm) -> Path:
    from codelib.models.tiny import build

    folder = slurm.share / "tiny"
    folder.mkdir()
    build(folder, seed=0, eye_steps=0, word_steps=0)
    return folder


@pytest.fixture(scope="module")
def bucket(slurm: Slurm, discs: Path, model: Path) -> dict[str, str]:
    """What the environment of a job needs that reads dataset and model from a store on the controller."""
    with (slurm.share / "s3.log").open("w") as log:
        subprocess.Popen(
            [SCRIPT, "exec", sys.executable, "-m", "tests.s3_server", CONTROLLER, "9000", f"discs={discs}", f"tiny={model}"],
            cwd=ROOT,
            env=slurm.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )  # ends with the controller
    until(lambda: "ready" in (slurm.share / "s3.log").read_text(), 120, lambda: (slurm.share / "s3.log").read_text())
    return {**KEYS, "AWS_ENDPOINT_URL": f"http://{CONTROLLER}:9000"}


def test_training_on_two_hosts_is_pre_empted_and_goes_on(slurm: Slurm, discs: Path, model: Path, bucket: dict[str, str]) -> None:
    """On two hosts with a GPU each, which Slurm gives out and nothing computes on. Dataset and model lie in an object store: each host makes
    a copy of its own."""
    more = ["--set", "lora.dropout=0", "--set", "global_batch=4", "--set", "checkpoint_every=5", "--set", "epochs=30"]
    workspace = slurm.share / "trained"
    spread = [*command(f"s3://{BUCKET}/discs", workspace, f"s3://{BUCKET}/tiny", *more), "--set", "workers=2"]
    job = slurm.submit("train-3b", "--nodes=2", "--gres=gpu:1", arguments=spread, **bucket)
    until(lambda: list(workspace.glob("train/demo/checkpoints/*/complete.json")), 400, lambda: slurm.log(job))
    for host in slurm.hosts(job):
        copied = slurm.on(host, f"cd /tmp/codelib-{job}/tmp/codelib-near-*; ls -d */complete */discs */tiny")
        assert (copied.count("/complete"), copied.count("/discs"), copied.count("/tiny")) == (2, 1, 1), host
    slurm.signal(job, "USR1")
    slurm.saying(job, "exit code 75")
    alone = in_this_process(discs, model, slurm.share / "alone", more)
    assert slurm.wait(job) == "COMPLETED 0:0", slurm.log(job)
    said = slurm.log(job)
    assert "Ray has 2 nodes, 2 CPUs, 2 GPUs" in said
    assert "continuing after step" in said and "restarted 1 times" in said
    assert losses(workspace / "train" / "demo") == pytest.approx(alone, abs=1e-4)
    assert slurm.left() == []


def test_the_larger_launchers_on_two_hosts(slurm: Slurm, discs: Path, model: Path) -> None:
    """train-7b.sbatch with its four GPUs, two on each host; then evaluate.sbatch asks base and adapter on both. The hosts' GPUs are numbers
    that Slurm gives out: what computes are CPUs."""
    workspace = slurm.share / "larger"
    more = ["--set", "max_steps=3", "--set", "global_batch=4", "--set", "workers=4"]
    options = ("--nodes=2", "--gres=gpu:2", "--cpus-per-task=2", "--mem-per-cpu=2000")
    trained = slurm.submit("train-7b", *options, arguments=command(discs, workspace, model, *more))
    assert slurm.wait(trained) == "COMPLETED 0:0", slurm.log(trained)
    assert "Ray has 2 nodes, 4 CPUs, 4 GPUs" in slurm.log(trained)
    assert len(losses(workspace / "train" / "demo")) == 3
    variants = slurm.share / "larger.yaml"
    asked = {"model": str(model), "benchmarks": ["generation"], "max_new_tokens": 4}
    variants.write_text(json.dumps([asked | {"name": "base"}, asked | {"name": "tuned", "adapter": "train/demo/adapter"}]))
    arguments = ["--dataset", discs, "--workspace", workspace, "--variants", variants, "--limit", "4"]
    arguments += ["--set", "partition_samples=1", "--set", "num_actors=2", "--set", "num_gpus_per_actor=0"]
    evaluated = slurm.submit("evaluate", "--nodes=2", arguments=arguments)
    state = slurm.wait(evaluated)
    said = slurm.log(evaluated)
    assert "Ray has 2 nodes, 2 CPUs, 2 GPUs" in said, said
    base, tuned = json.loads((workspace / "evaluate" / "report" / "report.json").read_text())["variants"]
    assert (base["status"], base["num_answered"]) == ("complete", 4)
    # three steps may have taught nothing that its canary can see: then it is refused, and the job failed
    assert tuned["status"] == ("complete" if state == "COMPLETED 0:0" else "refused"), said
    assert tuned["canary"]["num_items"] > 0 and set(tuned["failures"]) <= {"evaluate:AdapterWithoutEffect"}
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
    # a container's hook, with `env` in the place of `apptainer exec`: it alone knows where Python is, and a module where it is
    tools = slurm.share / "modules" / "tools"
    tools.mkdir(parents=True)
    (tools / "inside").write_text(f'#!/bin/sh\nexec env PATH={sys.prefix}/bin:/usr/bin:/bin "$@"\n')
    (tools / "inside").chmod(0o755)
    (slurm.share / "modules" / "site").write_text(f"#%Module\nprepend-path PATH {tools}\n")
    inside = {"CODELIB_VENV": "/none", "CODELIB_CONTAINER": "inside", "CODELIB_MODULES": "site"}
    inside["MODULEPATH"] = str(slurm.share / "modules")
    served = {"VLLM_MODEL": "m", "VLLM_GPUS": "1", "VLLM_COMMAND": server}
    again = slurm.submit("evaluate", "--gres=gpu:2", arguments=arguments, **served, **inside)
    assert slurm.wait(again) == "COMPLETED 0:0", slurm.log(again)
    assert "4 kept, 0 made" in slurm.log(again)  # the server lies at another address, and is the same model
    assert slurm.left() == []
