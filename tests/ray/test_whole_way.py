"""The whole way, as a newcomer and as an operator go it: the demo twice, the real export to a report, and ray job submit."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import REAL_DATA
from tests.jobs import ROOT, environment, run, tree

TRAINED = ("--recipe", "demo")
VARIANTS = ROOT / "jobs" / "variants" / "demo.yaml"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One demo, run to its end; its folder and its words."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, run("demo", "--workspace", folder, timeout_s=900)


def report_of(workspace: Path) -> dict:
    return json.loads((workspace / "evaluate" / "report" / "report.json").read_text(encoding="utf-8"))


def test_the_tuned_model_beats_base_chance_and_majority_and_looks_at_the_images(demo):
    report = report_of(demo[0] / "work")
    base, tuned, shuffled = (v["classification"] for v in report["variants"])
    chance, majority, _ = (row["accuracy"] for row in report["baselines"]["classification"])
    assert tuned["n"] >= 25
    assert tuned["accuracy_ci"][0] > max(majority, chance)
    assert tuned["accuracy"] > base["accuracy"]
    assert shuffled["accuracy"] < tuned["accuracy_ci"][0]
    (control,) = report["controls"]
    assert control["change_ci"][1] < 0


def test_the_demo_ends_with_what_a_person_wants_to_know(demo):
    _, said = demo
    end = said[said.index("Done in") :]
    for words in ("built", "rejected", "ingest:duplicate_visit", "Tiny, LoRA-tuned", "majority", "report.html", "toy"):
        assert words in end, words


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.outside = []

    def handle_starttag(self, tag, attrs):
        self.outside += [
            v for k, v in attrs if k in ("src", "href") and v and v.startswith(("http:", "https:", "//")) and tag != "a"
        ]


def test_the_report_is_one_page_that_asks_nobody(demo):
    page = (demo[0] / "work" / "evaluate" / "report" / "report.html").read_text(encoding="utf-8")
    links = _Links()
    links.feed(page)
    assert links.outside == []
    for words in ("Table 3", "majority", "images shuffled", "data:image/jpeg;base64,"):
        assert words in page, words


def test_a_second_demo_skips_what_is_done_and_says_so(demo):
    folder, _ = demo
    before = {p: p.stat().st_mtime_ns for p in (folder / "work" / "release").rglob("*")}
    adapter = tree(folder / "work" / "train" / "demo" / "adapter")
    said = run("demo", "--workspace", folder)
    assert "already there, kept" in said
    assert said.count("nothing new") >= 10
    assert "done already, skipped" in said
    assert " 0 made" in said
    assert {p: p.stat().st_mtime_ns for p in (folder / "work" / "release").rglob("*")} == before
    assert tree(folder / "work" / "train" / "demo" / "adapter") == adapter


def test_the_real_export_goes_all_the_way_to_a_report(demo, real_data, tmp_path):
    workspace = tmp_path / "work"
    run("dataset", "--input", real_data / "clinic-export", "--workspace", workspace)
    assert "all checks passed" in run("release", "--verify", workspace / "release")
    shutil.copytree(demo[0] / "work" / "models", workspace / "models")  # the toy is built once
    run("train", "--dataset", workspace / "release", "--workspace", workspace, *TRAINED)
    given = ("--dataset", workspace / "release", "--workspace", workspace, "--variants", VARIANTS, *TRAINED)
    said = run("evaluate", *given)
    report = report_of(workspace)
    assert [v["name"] for v in report["variants"]][:2] == ["Tiny, zero-shot", "Tiny, LoRA-tuned"]
    assert report["variants"][1]["classification"]["n"] >= 1
    assert "report.html" in said


# ── ray start --head, ray job submit


def free_ports(count: int) -> list[int]:
    """Ports below those that the system hands out by itself: Ray's own parts take some of these while it starts."""
    found: list[int] = []
    for port in random.Random(os.getpid()).sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


@pytest.fixture
def head():
    """A Ray head as the README starts it, with its token, in a home of its own; gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="clh-", dir="/tmp"))  # short: Ray's sockets lie below it
    port, dashboard, client, agent = free_ports(4)
    env = environment(HOME=str(home), RAY_AUTH_MODE="token", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    subprocess.run(["ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    command = ["ray", "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={home}/ray"]
    command += ["--num-cpus=2", f"--ray-client-server-port={client}", "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={agent}"]  # the usual one may be taken by another Ray of this machine
    with open(home / "head.log", "w") as log:  # a pipe that nobody reads would fill and stop the head
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    deadline_s = time.monotonic() + 180
    # the head takes jobs only when its agent is up, a few seconds after ray start
    while subprocess.run(["ray", "job", "submit", "--no-wait", "--", "true"], env=env, capture_output=True).returncode != 0:
        assert process.poll() is None and time.monotonic() < deadline_s, (home / "head.log").read_text()
        time.sleep(1)
    yield home, env
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)


def submit(env: dict[str, str], *entry: str) -> subprocess.CompletedProcess[str]:
    command = ["ray", "job", "submit", "--runtime-env", "cluster/runtime_env.yaml", "--working-dir", ".", "--", *entry]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(not (REAL_DATA / "clinic-export").is_dir(), reason="no real data here (CODELIB_REAL_DATA)")
def test_ray_job_submit_and_no_identifier_in_rays_own_folders(head, tmp_path):
    home, env = head
    source, workspace = REAL_DATA / "clinic-export", tmp_path / "work"
    done = submit(env, "python", "-m", "jobs.dataset", "--input", str(source.resolve()), "--workspace", str(workspace))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Released 8 visits" in done.stdout
    assert (workspace / "release" / "SHA256SUMS").is_file()

    failing = submit(env, "python", "-m", "jobs.dataset", "--input", "nowhere", "--workspace", str(workspace))
    assert failing.returncode != 0
    assert "error: --input nowhere: no such folder" in failing.stdout + failing.stderr

    truth = json.loads((REAL_DATA / "clinic-export.truth.json").read_text(encoding="utf-8"))
    found = set()
    files = [p for p in (home / "ray").rglob("*") if p.is_file() and not p.is_symlink()]
    assert len(files) > 20
    for path in files:
        text = path.read_bytes().decode("utf-8", "ignore")
        found |= {(word, str(path)) for word in truth["identifiers"] if word in text or word in str(path)}
    assert found == set()
