"""jobs.evaluate where something goes wrong: a variant that fails, a kill, a lost actor, a full disk. Nothing is lost or asked twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.jobs import ROOT
from tests.seeing_server import SEEING, FakeServer, options, read, run, variants_file

pytestmark = pytest.mark.ray


FAILING = (
    SEEING
    + """
- {name: mute, engine: openai, model: mute, base_url: URL}
- {name: no adapter, model: tiny, adapter: train/nowhere}
- {name: no model, model: tiny}
"""
)


def test_a_failing_variant_stops_no_other(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "work"
    server.failing = True  # the reports of `seeing` fail, its classes do not
    command = options(dataset, workspace, variants_file(tmp_path, server.url, FAILING))
    run(*command, expect=1)
    sentence = capsys.readouterr().err
    assert "no adapter" in sentence
    assert "AdapterNotFound" in sentence
    assert "ModelNotFound" in sentence
    variants = {variant["name"]: variant for variant in read(workspace)["variants"]}
    assert variants["seeing"]["status"] == "partial"
    assert variants["seeing"]["failures"] == {"evaluate:BadRequestError": 24}
    assert variants["seeing"]["classification"]["accuracy"] == 1.0
    assert variants["seeing"]["generation"] is None
    assert variants["mute"]["classification"]["num_unparsed"] == 24
    assert variants["mute"]["classification"]["accuracy"] == 0.0
    assert variants["no adapter"]["status"] == "failed"
    assert variants["no adapter"]["failures"] == {"evaluate:AdapterNotFound": 48}
    # mended: only what failed is asked again
    before = sum(server.asked.values())
    server.failing = False
    run(*command, expect=1)
    variants = {variant["name"]: variant for variant in read(workspace)["variants"]}
    assert variants["seeing"]["status"] == "complete"
    assert variants["seeing"]["generation"]["n"] == 24
    assert sum(server.asked.values()) - before == 48  # the 24 reports of `seeing`, and the 24 of `mute`


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_ended_and_run_again_asks_only_what_was_in_flight(
    dataset: Path, server: FakeServer, tmp_path: Path, how: signal.Signals
) -> None:
    workspace = tmp_path / "work"
    server.delay_s = 0.15
    arguments = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    command = [sys.executable, "-m", "jobs.evaluate", *arguments, "--num-cpus", "1", "--set", "num_actors=1"]
    said = tmp_path / "said"
    with said.open("wb") as file:
        child = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    deadline = time.monotonic() + 120
    while sum(server.asked.values()) < 18 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, how)  # as a terminal's Ctrl-C does: the whole group
    code = child.wait(timeout=60)
    if how == signal.SIGINT:
        assert code == 130, said.read_text()
        assert said.read_text().strip().splitlines()[-1].startswith("interrupted: what is finished is kept")
        assert "Traceback" not in said.read_text()
    time.sleep(1.0)  # workers of a killed driver may answer for a moment yet
    assert 18 <= sum(server.asked.values()) < 72
    server.delay_s = 0.0
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=240).returncode == 0
    assert len(server.asked) == 72
    assert sum(server.asked.values()) - 72 <= 4  # one batch of the one actor
    assert read(workspace)["variants"][0]["classification"]["accuracy"] == 1.0


def actors() -> list[int]:
    """Processes below this one that hold a predictor."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone since
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and ours(parents[pid]))

    return [pid for pid, name in names.items() if name.startswith("ray::") and "Map" in name and ours(pid)]


def test_a_killed_actor_is_started_again_and_asks_what_was_in_flight(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object
) -> None:
    workspace = tmp_path / "work"
    server.delay_s = 0.1
    killed: list[int] = []
    under_way: list[int] = []  # asked, and not kept yet

    def kill() -> None:
        while sum(server.asked.values()) < 20:
            time.sleep(0.02)
        killed.extend(actors())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        kept = [path for path in (workspace / "evaluate" / "answers").rglob("*.json") if path.is_file()]
        under_way.append(sum(server.asked.values()) - len(kept))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command, "--set", "num_actors=1")
    killer.join()
    assert killed
    assert len(server.asked) == 72
    assert sum(server.asked.values()) - 72 <= under_way[0]
    report = read(workspace)
    assert [variant["status"] for variant in report["variants"]] == ["complete", "complete"]
    assert report["variants"][0]["classification"]["accuracy"] == 1.0


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can be mounted by root only")
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "work"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command, "--limit", "5")
    answers = workspace / "evaluate" / "answers"
    before = sum(server.asked.values())
    kept = {path: path.read_bytes() for path in answers.rglob("*.json")}
    report = (workspace / "evaluate" / "report" / "report.json").read_bytes()
    # a small disk that is full, in place of the folder: workers are processes of their own, and a patched function would not reach them
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(answers)], check=True)
    try:
        for path, content in kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        run(*command, expect=1)
        error = capsys.readouterr().err
        assert "no space left on device" in error
        assert error.count("\n") == 1
        held = {path: path.read_bytes() for path in answers.rglob("*.json")}
        assert all(held[path] == content for path, content in kept.items())
        assert (workspace / "evaluate" / "report" / "report.json").read_bytes() == report
        assert all(json.loads(content)["text"] for content in held.values())  # none is half
        subprocess.run(["mount", "-o", "remount,size=16m", str(answers)], check=True)
        run(*command)
        assert len(server.asked) == 72
        assert sum(server.asked.values()) - 72 <= 4 * 4  # what could not be kept: what each of four actors had under way
        assert sum(server.asked.values()) > before
    finally:
        subprocess.run(["umount", str(answers)], check=True)
