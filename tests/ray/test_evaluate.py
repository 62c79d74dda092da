"""jobs.evaluate against a real server that speaks chat completions: scores, resume, a failing variant, the report."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from codelib.contracts import SIX_CLASSES
from codelib.core.cli import run_job
from codelib.core.cluster import connect
from jobs.evaluate import main

pytestmark = pytest.mark.ray

REPO = Path(__file__).resolve().parents[2]
NUM_PATIENTS = 12
# the picture says the class: one colour for each
COLOURS = dict(
    zip(SIX_CLASSES, [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200)], strict=True)
)


class FakeServer:
    """Answers by the colour of the last image, which is what a model that looks would do. Counts every question it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.delay_s = 0.0
        self.failing = False
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, reply = outer.reply(json.loads(body))
                content = json.dumps(reply).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):  # the client was killed
                    pass

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        parts = request["messages"][-1]["content"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        question = "".join(part["text"] for part in parts if part["type"] == "text")
        with self.lock:
            self.asked[hashlib.sha256(json.dumps([request["model"], request["messages"]]).encode()).hexdigest()] += 1
        time.sleep(self.delay_s)
        if self.failing and "generation" in question:
            return 400, {"error": {"message": "no", "type": "invalid_request_error"}}
        pixel = Image.open(io.BytesIO(base64.b64decode(urls[-1].split(",", 1)[1]))).convert("RGB").getpixel((5, 5))
        seen = min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True)))
        text = (
            f"The diagnosis is **{seen}**." if "generation" not in question else f"Diagnosis: {seen}. <script>alert(1)</script>"
        )
        if request["model"] == "mute":
            text = "I cannot say."
        return 200, {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }


@pytest.fixture(scope="module")
def ray_local() -> Iterator[None]:
    """One Ray for the tests of this file, in a folder of its own."""
    with connect(num_cpus=2):
        yield


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.http.shutdown()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A release of 12 test patients (two visits each) and 4 train patients."""
    folder = tmp_path / "release"
    (folder / "Images" / "Photographs").mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("test-cls", "test-diagnostic", "train-cls", "train-diagnostic")
    }
    for patient in range(NUM_PATIENTS + 4):
        label = SIX_CLASSES[patient % 6]
        split = "test" if patient < NUM_PATIENTS else "train"
        for visit in (1, 2):
            name = f"Images/Photographs/{patient:04d}-{visit:03d}-01.jpg"
            red, green, blue = COLOURS[label]
            Image.new("RGB", (112, 84), (red + patient, green + visit, blue)).save(folder / name, quality=95)
            for task, suffix, answer in (
                ("classification", "cls", label),
                ("generation", "diagnostic", f"Diagnosis: {label}. Keep clean."),
            ):
                question = f"image-1: <image>\nA {task} question about visit {patient}-{visit}."
                messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                rows[f"{split}-{suffix}"].append({"id": f"{patient:04d}-{visit:03d}", "messages": messages, "images": [name]})
    for name, entries in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(entries))
    return folder


def variants_file(folder: Path, url: str, text: str) -> str:
    path = folder / "variants.yaml"
    path.write_text(text.replace("URL", url))
    return str(path)


SEEING = """
- {name: seeing, engine: openai, model: eye, base_url: URL, batch_size: 4}
- {name: seeing shuffled, engine: openai, model: eye, base_url: URL, images: shuffled, benchmarks: [classification]}
"""


def run(*arguments: str, expect: int = 0) -> None:
    assert run_job(main, arguments) == expect


def read(workspace: Path) -> dict[str, Any]:
    return json.loads((workspace / "evaluate" / "report" / "report.json").read_text())


class Page(HTMLParser):
    """Collects what a browser would fetch, what is shown, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "xlink:href") and tag != "a"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def options(dataset: Path, workspace: Path, variants: str) -> tuple[str, ...]:
    return "--dataset", str(dataset), "--workspace", str(workspace), "--variants", variants


def test_a_model_that_looks_is_scored_and_the_control_falls(
    dataset: Path, server: FakeServer, tmp_path: Path, ray_local: None
) -> None:
    workspace = tmp_path / "work"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command)
    report = read(workspace)
    seeing, blind = report["variants"]
    assert seeing["classification"]["accuracy"] == 1.0
    assert seeing["classification"]["n"] == 24
    assert seeing["classification"]["num_patients"] == NUM_PATIENTS
    assert blind["classification"]["accuracy"] < 0.7
    assert report["controls"][0]["change_ci"][1] < 0
    assert 0 < seeing["generation"]["meteor"] < 1

    page = Page()
    html = (workspace / "evaluate" / "report" / "report.html").read_text()
    page.feed(html)
    assert not page.open
    assert page.fetched
    assert all(url.startswith("data:image/jpeg;base64,") for url in page.fetched)
    assert "url(" not in html
    assert "@import" not in html
    assert page.tags["script"] == 2  # the page's own, and its data: test_report_page.py tries to get past them
    shown = " ".join(page.text)
    assert "<script>alert(1)</script>" in shown  # as text
    assert "100.0" in shown
    assert "48.97" in shown
    assert "chance (uniform)" in shown
    assert "16.7" in shown

    rows = list(csv.DictReader((workspace / "evaluate" / "report" / "predictions.csv").open()))
    assert len(rows) == 24 * 3
    assert str(tmp_path) not in html + json.dumps(report)


def test_nothing_is_asked_twice(
    dataset: Path, server: FakeServer, tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "work"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command, "--limit", "10")
    assert sum(server.asked.values()) == 30
    first = {str(p): p.read_bytes() for p in (workspace / "evaluate" / "report").iterdir() if p.suffix == ".csv"}
    run(*command, "--limit", "10")
    assert sum(server.asked.values()) == 30
    assert "30 kept, 0 made" in capsys.readouterr().out
    assert first == {str(p): p.read_bytes() for p in (workspace / "evaluate" / "report").iterdir() if p.suffix == ".csv"}
    # more samples, and a variant by another name: only what is new is asked
    run(*command[:-1], variants_file(tmp_path, server.url, SEEING.replace("name: seeing,", "name: renamed,")))
    assert sum(server.asked.values()) == 72
    assert max(server.asked.values()) == 1


def test_dry_run_asks_and_writes_nothing(dataset: Path, server: FakeServer, tmp_path: Path) -> None:
    workspace = tmp_path / "work"
    run(*options(dataset, workspace, variants_file(tmp_path, server.url, SEEING)), "--dry-run")
    assert not server.asked
    assert not workspace.exists()


def test_a_file_of_ones_own_is_asked_but_for_its_bad_rows(
    dataset: Path, server: FakeServer, tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((dataset / "test-cls.json").read_text())
    folder = tmp_path / "other clinic"
    folder.mkdir()
    for number, row in enumerate(rows):
        picture = f"scan {number}.jpg"
        (folder / picture).write_bytes((dataset / row["images"][0]).read_bytes())
        row |= {"images": [picture], "id": f"HOSPITAL-{number}", "mrn": f"HOSPITAL-{number // 2}"}
    rows[3]["images"] = ["HOSPITAL.jpg"]
    rows[5]["messages"][-1]["content"] = "HOSPITAL"
    (folder / "cases.json").write_text(json.dumps(rows))
    workspace = tmp_path / "work"
    command = ("--test", str(folder / "cases.json"), "--benchmark", "classification", "--patients", "mrn")
    command += ("--workspace", str(workspace), "--variants", variants_file(tmp_path, server.url, SEEING))
    run(*command)
    report = read(workspace)
    assert report["dataset"] == "cases"
    assert any("2 of the 24 rows" in note for note in report["notes"])
    scored = report["variants"][0]["classification"]
    assert (scored["n"], scored["accuracy"], scored["num_patients"]) == (22, 1.0, 12)
    rejected = (workspace / "evaluate" / "report" / "rejected.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in rejected[1:]] == [["4", "image_missing"], ["6", "label"]]
    written = [path for path in workspace.rglob("*") if path.is_file()]
    assert not any(b"HOSPITAL" in path.read_bytes() or "HOSPITAL" in path.name for path in written)
    assert "HOSPITAL" not in "".join(capsys.readouterr())
    asked = server.asked.total()
    run(*command)
    assert server.asked.total() == asked


FAILING = (
    SEEING
    + """
- {name: mute, engine: openai, model: mute, base_url: URL}
- {name: no adapter, model: tiny, adapter: train/nowhere}
- {name: no model, model: tiny}
"""
)


def test_a_failing_variant_stops_no_other(
    dataset: Path, server: FakeServer, tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
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


def test_killed_and_run_again_asks_only_what_was_in_flight(dataset: Path, server: FakeServer, tmp_path: Path) -> None:
    workspace = tmp_path / "work"
    server.delay_s = 0.15
    arguments = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    command = [sys.executable, "-m", "jobs.evaluate", *arguments, "--num-cpus", "1", "--set", "num_actors=1"]
    child = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while sum(server.asked.values()) < 18 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(1.0)  # workers of a killed driver may answer for a moment yet
    assert 18 <= sum(server.asked.values()) < 72
    server.delay_s = 0.0
    assert subprocess.run(command, cwd=REPO, capture_output=True, timeout=240).returncode == 0
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
    dataset: Path, server: FakeServer, tmp_path: Path, ray_local: None
) -> None:
    workspace = tmp_path / "work"
    server.delay_s = 0.1
    killed: list[int] = []

    def kill() -> None:
        while sum(server.asked.values()) < 20:
            time.sleep(0.02)
        killed.extend(actors())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command, "--set", "num_actors=1")
    killer.join()
    assert killed
    assert len(server.asked) == 72
    assert sum(server.asked.values()) - 72 <= 4  # what one actor had under way
    report = read(workspace)
    assert [variant["status"] for variant in report["variants"]] == ["complete", "complete"]
    assert report["variants"][0]["classification"]["accuracy"] == 1.0


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can be mounted by root only")
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    dataset: Path, server: FakeServer, tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--benchmarks", "clasification"), "did you mean classification"),
        (("--limit", "0"), "--limit 0"),
        (("--set", "sead=1"), "did you mean seed"),
    ],
)
def test_bad_input_is_one_sentence(
    dataset: Path, server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    file = variants_file(tmp_path, server.url, SEEING)
    run(*options(dataset, tmp_path / "work", file), *arguments, expect=2)
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
