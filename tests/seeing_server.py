"""A server that speaks chat completions and answers by what it sees, a release for it, and jobs.evaluate over both in this process."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from codelib.contracts import SIX_CLASSES
from codelib.core.cli import run_job
from jobs.evaluate import main

NUM_PATIENTS = 12
# the picture says the class: one colour for each
COLOURS = dict(
    zip(SIX_CLASSES, [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200)], strict=True)
)
SEEING = """
- {name: seeing, engine: openai, model: eye, base_url: URL, batch_size: 4}
- {name: seeing shuffled, engine: openai, model: eye, base_url: URL, images: shuffled, benchmarks: [classification]}
"""


class FakeServer:
    """Answers by the colour of the last image, which is what a model that looks would do. Counts every question it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.delay_s = 0.0
        self.failing = False
        self.away, self.away_says = "", 503  # a model that is not up just now; 404: one that it does not have
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
        if request["model"] == self.away:
            return self.away_says, {"error": {"message": "not here", "type": "server_error"}}
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


@contextmanager
def started() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.http.shutdown()


def make_dataset(folder: Path) -> Path:
    """A release of 12 test patients (two visits each) and 4 train patients."""
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


def run(*arguments: str, expect: int = 0) -> None:
    assert run_job(main, arguments) == expect


def read(workspace: Path) -> dict[str, Any]:
    return json.loads((workspace / "evaluate" / "report" / "report.json").read_text())


def options(dataset: Path, workspace: Path, variants: str) -> tuple[str, ...]:
    return "--dataset", str(dataset), "--workspace", str(workspace), "--variants", variants
