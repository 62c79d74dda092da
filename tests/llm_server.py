"""A server that speaks chat completions and the Batch API, in a process of its own, and misbehaves on demand.

    with llm_server.started() as server:            python -m tests.llm_server --port 8000
        server.control(shares={"500": 0.2}, requests_per_minute=600)
        ... base_url=server.url ...
        server.stats()["delivered"]

It translates what `PHRASES` can make (`english`), and texts given to `control`. What it does with a request is drawn from ``shares``, or
taken from ``script`` while that lasts. It counts every request and every text that it delivered whole: those are paid for.

acts: answer · 429 · 429_after (with Retry-After) · 500 · cut (the body ends half way) · broken (half a JSON) · prose (no JSON) · missing (a
key less) · extra (a key of its own) · empty · refusal · wrong (a digit changed) · slow · 401 · quota
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from codelib.data.translate_glossary import gloss

KEY = "sk-local-secret"

PHRASES = (
    ("{}冷刺激痛", "{} pain on cold stimulus"),
    ("{}深龋", "{} deep caries"),
    ("{}叩痛(-)", "{} percussion pain (-)"),
    ("{}无松动", "{} no mobility"),
    ("左下后牙疼痛{}天", "pain in the lower left posterior teeth for {} days"),
    ("右上前牙咬合痛{}天", "pain on biting in the upper right anterior teeth for {} days"),
    ("否认药物过敏史，编外{}次", "denies drug allergy, extra {} times"),
    ("PD {}mm", "PD {} mm"),
    ("建议{}天后复诊", "return after {} days advised"),
    ("患者[NAME]诉夜间痛{}次", "patient [NAME] reports night pain {} times"),
)
_PATTERNS = [(re.compile(re.escape(zh).replace(r"\{\}", r"(\d+)")), en) for zh, en in PHRASES]


def chinese(number: int) -> str:
    """The text of a number: different for each, several phrases long."""
    rng = random.Random(number)
    fdi = [10 * q + t for q in (1, 2, 3, 4) for t in range(1, 9)]
    parts = [zh.format(rng.choice(fdi)) for zh, _ in rng.sample(PHRASES, 3)]
    return "；".join([*parts, f"PD {number}mm"])


def english(text: str) -> str:
    """The right translation of what `chinese` made; of anything else, what the glossary makes of it."""
    made = []
    for part in text.split("；"):
        for pattern, en in _PATTERNS:
            if match := pattern.fullmatch(part):
                made.append(en.format(*match.groups()))
                break
        else:
            made.append(gloss(part))
    return "; ".join(made)


# the server


@dataclass
class State:
    """What it was told, and what it has seen."""

    known: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # of the second pass: string -> its answer
    refuse: list[str] = field(default_factory=list)
    poison: list[str] = field(default_factory=list)  # texts that it answers 500, always
    wrong: list[str] = field(default_factory=list)  # texts whose answer has a digit changed, always
    script: list[str] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)
    structures: list[str] = field(default_factory=lambda: ["json_schema", "json_object", "none"])
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    headers: bool = True
    latency_s: float = 0.0
    slow_s: float = 1.0
    model: str | None = None  # what it says answered; None: what was asked for
    batch_polls: int = 2  # polls until a batch is done
    batch_status: str = "completed"
    batch_lost: int = 0  # of how many lines one is left out
    requests: list[float] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    over_limit: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(7)
        self.window: deque[float] = deque()

    def act(self, texts: list[str]) -> str:
        if self.script:
            return self.script.pop(0)
        if set(texts) & set(self.poison):
            return "500"
        if set(texts) & set(self.refuse):
            return "refusal"
        draw = self.random.random()
        for name, share in self.shares.items():
            draw -= share
            if draw < 0:
                return name
        return "answer"

    def admitted(self, now_s: float) -> bool:
        """The limit, enforced on ten seconds as Azure does: 600 a minute are 100 in any 10 s."""
        while self.window and self.window[0] <= now_s - 10:
            self.window.popleft()
        if self.requests_per_minute is not None and len(self.window) >= self.requests_per_minute / 6:
            return False
        self.window.append(now_s)
        return True

    def limit_headers(self) -> dict[str, str]:
        if self.requests_per_minute is None or not self.headers:
            return {}
        left = max(int(self.requests_per_minute / 6) - len(self.window), 0)
        made = {
            "x-ratelimit-limit-requests": str(self.requests_per_minute),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": "10s",
        }
        if self.tokens_per_minute is not None:
            made |= {"x-ratelimit-limit-tokens": str(self.tokens_per_minute), "x-ratelimit-remaining-tokens": "100000"}
        return made

    def translate(self, text: str) -> str:
        made = self.known.get(text) or english(text)
        return re.sub(r"\d", lambda m: str((int(m.group()) + 1) % 10), made, count=1) if text in self.wrong else made


def asked(body: dict[str, Any]) -> dict[str, str]:
    """The texts of a request; of one for the second pass over the diagnoses, which numbers them, its strings."""
    found = json.loads(body["messages"][1]["content"])
    return {str(item["n"]): item["text"] for item in found} if isinstance(found, list) else found


def diagnoses(state: State, texts: dict[str, str]) -> dict[str, Any]:
    """The answer to the second pass: of each string what `control(conditions=…)` says, else nothing."""
    return {"items": [{"n": int(n), "conditions": state.conditions.get(text, [])} for n, text in texts.items()]}


def completion(state: State, body: dict[str, Any], act: str) -> tuple[dict[str, Any], list[str]]:
    """A chat completion, and the texts that it delivers."""
    texts = asked(body)
    made = {name: state.translate(text) for name, text in texts.items()}
    message: dict[str, Any] = {"role": "assistant", "refusal": None}
    if act == "missing":
        made.pop(next(iter(made)))
    if act == "extra":
        made["note"] = "as asked"
    if act == "wrong":
        made = {name: re.sub(r"\d", lambda m: str((int(m.group()) + 1) % 10), en, count=1) for name, en in made.items()}
    content = json.dumps(diagnoses(state, texts) if isinstance(json.loads(body["messages"][1]["content"]), list) else made)
    if act == "empty":
        content = ""
    if act == "prose":
        content = "Sure! Here is what you asked for: {"
    if act == "refusal":
        content, message["refusal"] = None, "I'm sorry, I can't assist with that."  # type: ignore[assignment]
    message["content"] = content
    tokens_in = sum(len(m["content"]) for m in body["messages"]) // 3
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": tokens_in, "completion_tokens": len(content or "") // 4, "total_tokens": 0}
    reply = {"id": "c", "object": "chat.completion", "created": 0, "model": state.model or body["model"], "choices": [choice]}
    delivered = [texts[name] for name in made if name in texts] if act in ("answer", "slow", "missing", "wrong") else []
    return reply | {"usage": usage}, delivered


class App:
    """The ASGI application. One event loop, so what it counts needs no lock."""

    def __init__(self) -> None:
        self.state = State()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        path, method = scope["path"], scope["method"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if path == "/control":
            self.state = State(**json.loads(body))
            return await _json(send, 200, {})
        if path == "/stats":
            return await _json(send, 200, self._stats())
        if headers.get("authorization") != f"Bearer {KEY}" and headers.get("api-key") != KEY:
            self.state.acts["401"] += 1
            return await _json(send, 401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
        if path.endswith("/chat/completions"):
            return await self._chat(json.loads(body), send)
        await self._batch_api(method, path.removeprefix("/v1").removeprefix("/openai"), headers, body, send)

    def _stats(self) -> dict[str, Any]:
        state = self.state
        return {
            "requests": len(state.requests),
            "seconds": (state.requests[-1] - state.requests[0]) if state.requests else 0.0,
            "most_in_a_second": most_within(state.requests, 1.0),
            "most_in_ten_seconds": most_within(state.requests, 10.0),
            "most_in_a_minute": most_within(state.requests, 60.0),
            "by_second": list(Counter(int(t - state.requests[0]) for t in state.requests).values()) if state.requests else [],
            "over_limit": state.over_limit,
            "acts": dict(state.acts),
            "delivered": dict(state.delivered),
            "bodies": state.bodies[-200:],
            "files": len(state.files),
            "batches": len(state.batches),
            "deleted": state.deleted,
        }

    async def _chat(self, body: dict[str, Any], send: Any) -> None:
        state = self.state
        now_s = time.monotonic()
        state.requests.append(now_s)
        state.bodies.append(body)
        if not state.admitted(now_s):
            state.over_limit += 1
            error = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
            return await _json(send, 429, error, state.limit_headers())
        form = (body.get("response_format") or {"type": "none"})["type"]
        if form not in state.structures:
            return await _json(send, 400, {"error": {"message": f"response_format {form} is not supported", "code": None}})
        act = state.act(list(asked(body).values()))
        state.acts[act] += 1
        await asyncio.sleep(state.slow_s if act == "slow" else state.latency_s)
        limits = state.limit_headers()
        if act in ("429", "429_after"):
            again = {"retry-after": "1"} if act == "429_after" else {}
            return await _json(send, 429, {"error": {"message": "busy", "code": "rate_limit_exceeded"}}, limits | again)
        if act == "quota":
            return await _json(send, 429, {"error": {"message": "no credit", "code": "insufficient_quota"}}, limits)
        if act.isdigit():
            return await _json(send, int(act), {"error": {"message": f"trouble {asked(body)}", "code": None}}, limits)
        reply, delivered = completion(state, body, act)
        payload = json.dumps(reply).encode()
        if act == "cut":
            await _start(send, 200, len(payload), limits)
            await send({"type": "http.response.body", "body": payload[: len(payload) // 2], "more_body": True})
            raise ConnectionAbortedError("cut on purpose")
        if act == "broken":
            payload = payload[: len(payload) // 2]
        await _start(send, 200, len(payload), limits)
        await send({"type": "http.response.body", "body": payload})
        state.delivered.update(delivered)

    async def _batch_api(self, method: str, path: str, headers: dict[str, str], body: bytes, send: Any) -> None:
        state = self.state
        match [method, *path.strip("/").split("/")]:
            case ["POST", "files"]:
                file_id = f"file-{uuid.uuid4().hex[:8]}"
                state.files[file_id] = _uploaded(headers["content-type"], body)
                await _json(send, 200, _file(file_id, len(state.files[file_id])))
            case ["GET", "files", file_id, "content"]:
                content = state.files[file_id]
                await _start(send, 200, len(content), {})
                await send({"type": "http.response.body", "body": content})
            case ["DELETE", "files", file_id]:
                state.files.pop(file_id, None)
                state.deleted += 1
                await _json(send, 200, {"id": file_id, "object": "file", "deleted": True})
            case ["POST", "batches"]:
                made = self._new_batch(json.loads(body))
                if state.script and state.script[0] == "cut":  # created, and the answer is lost
                    state.script.pop(0)
                    await _start(send, 200, 9999, {})
                    raise ConnectionAbortedError("cut on purpose")
                await _json(send, 200, made)
            case ["GET", "batches"]:
                await _json(send, 200, {"object": "list", "data": list(state.batches.values()), "has_more": False})
            case ["GET", "batches", batch_id] if batch_id in state.batches:
                await _json(send, 200, self._polled(state.batches[batch_id]))
            case _:
                await _json(send, 404, {"error": {"message": f"no {path}", "code": None}})

    def _new_batch(self, asked_for: dict[str, Any]) -> dict[str, Any]:
        batch_id = f"batch-{uuid.uuid4().hex[:8]}"
        made = {"id": batch_id, "object": "batch", "status": "validating", "created_at": 0, "polls": 0} | asked_for
        self.state.batches[batch_id] = made
        return made

    def _polled(self, batch: dict[str, Any]) -> dict[str, Any]:
        state = self.state
        batch["polls"] += 1
        lines = [json.loads(line) for line in state.files.get(batch["input_file_id"], b"").splitlines()]
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        if batch["polls"] <= state.batch_polls:
            return batch | {"status": "in_progress", "request_counts": counts}
        if batch["status"] == "validating":
            batch["status"] = state.batch_status
            if state.batch_status == "failed":
                batch["errors"] = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "queue", "line": None}]}
                return batch
            answers = []
            for number, line in enumerate(lines, 1):
                texts = list(asked(line["body"]).values())
                if (state.batch_lost and number % state.batch_lost == 0) or set(texts) & set(state.poison):
                    continue
                act = "refusal" if set(texts) & set(state.refuse) else (state.script.pop(0) if state.script else "answer")
                reply, delivered = completion(state, line["body"], act)
                answers.append(
                    {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": reply}, "error": None}
                )
                state.delivered.update(delivered)
            file_id = f"file-{uuid.uuid4().hex[:8]}"
            state.files[file_id] = "\n".join(json.dumps(a) for a in answers).encode()
            batch |= {"output_file_id": file_id, "request_counts": counts | {"completed": len(answers)}}
            state.batches[batch["id"]] = batch
        return batch


def most_within(times_s: list[float], width_s: float) -> int:
    """The most events in any stretch of time of this width."""
    most = first = 0
    for last, time_s in enumerate(times_s):
        while times_s[first] <= time_s - width_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def _file(file_id: str, size: int) -> dict[str, Any]:
    return {
        "id": file_id,
        "object": "file",
        "bytes": size,
        "created_at": 0,
        "filename": "b.jsonl",
        "purpose": "batch",
        "status": "processed",
    }


def _uploaded(content_type: str, body: bytes) -> bytes:
    """The file of a multipart form: the part with a file name."""
    boundary = b"--" + content_type.split("boundary=")[1].encode()
    part = next(p for p in body.split(boundary) if b"filename=" in p)
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


async def _start(send: Any, status: int, length: int, headers: dict[str, str]) -> None:
    raw = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    raw += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _json(send: Any, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
    payload = json.dumps(value).encode()
    await _start(send, status, len(payload), headers or {})
    await send({"type": "http.response.body", "body": payload})


# from a test


@dataclass(frozen=True)
class Running:
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _post(self, path: str, value: Any) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=json.dumps(value).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def control(self, **state: Any) -> None:
        """Forget everything and behave like this."""
        self._post("/control", state)

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._post("/stats", {})
        return found


@contextmanager
def started() -> Iterator[Running]:
    """The server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.llm_server"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("port "), "the server did not start"
        yield Running(int(line.split()[1]), process.pid)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    server = uvicorn.Server(uvicorn.Config(App(), host="127.0.0.1", port=args.port, log_level="critical", lifespan="off"))
    sock = server.config.bind_socket()
    sock.listen(512)  # who connects from now on waits
    print(f"port {sock.getsockname()[1]}", flush=True)
    parent = os.getppid()

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run(sockets=[sock])


if __name__ == "__main__":
    main()
