"""A server that speaks chat completions and does what each prompt says, over real HTTP.

A prompt's text ends in ``do: act act …``: one act for each time it is asked, the last one for ever. So what happens depends on no order.

    answer (the text's first word, seen 7 tokens, made 3) · late (0.3 s) · last:N (of N requests) · long (cut at the limit) · blank ·
    nothing (no choices) · null (choices: [null]) · filter · refuse · filter400 · html · garbage · deep (JSON) · parts (a list as text) ·
    half (the connection is reset in the middle) · drip (byte by byte, for ever) · usage:… (this JSON as usage) · model:… (another model
    answers) · moved:S (a redirect) · 429:S (Retry-After) · 400 401 403 404 500 503 · quota · context · newer (knows
    max_completion_tokens alone) · strict (knows no repetition_penalty)
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


def text_of(body: Body) -> str:
    """The last message's text; images left out."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def completion(body: Body, content: str | None, finish: str = "stop", usage: Any = None, **message: Any) -> Body:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10} if usage is None else usage
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice], "usage": usage}


@dataclass
class Running:
    url: str
    bodies: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    answer: Callable[[Body], Body] | None = None  # in place of the acts
    models: list[Body] = field(default_factory=list)  # what it says that it serves; none: it knows no such question

    @property
    def num_requests(self) -> int:
        return len(self.bodies)


class _Handler(BaseHTTPRequestHandler):
    running: Running
    lock: threading.Lock
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/models") and self.running.models:
            self._json(200, {"object": "list", "data": self.running.models})
        else:
            self._send(404, b"", "text/plain")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        running = self.running
        with self.lock:
            running.bodies.append(body)
            running.headers.append({name.lower(): value for name, value in self.headers.items()})
            running.paths.append(self.path)
            running.under_way += 1
            running.most_under_way = max(running.most_under_way, running.under_way)
            text = text_of(body)
            acts = text.split("do:")[1].split() if "do:" in text else ["answer"]
            act = acts[min(running.asked[text], len(acts) - 1)]
            running.asked[text] += 1
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                if running.answer is not None:
                    self._json(200, running.answer(body))
                else:
                    self._do(act, body, text.split()[0])
        finally:
            with self.lock:
                running.under_way -= 1

    def _do(self, act: str, body: Body, word: str) -> None:
        name, _, rest = act.partition(":")
        if name.isdigit():
            headers = {"Retry-After": rest} if rest else {}
            return self._json(int(name), {"error": {"message": f"trouble with {word}", "code": None}}, headers)
        match name:
            case "answer":
                self._json(200, completion(body, word))
            case "late":
                time.sleep(0.3)
                self._json(200, completion(body, word))
            case "last":
                while self.running.num_requests < int(rest) or self.running.under_way > 1:
                    time.sleep(0.01)
                self._json(200, completion(body, word))
            case "long":
                self._json(200, completion(body, word, finish="length"))
            case "blank":
                self._json(200, completion(body, ""))
            case "nothing":
                self._json(200, completion(body, word) | {"choices": []})
            case "null":
                self._json(200, completion(body, word) | {"choices": [None]})
            case "filter":
                self._json(200, completion(body, "half an ans", finish="content_filter"))
            case "refuse":
                self._json(200, completion(body, None, refusal=f"I will not speak about {word}"))
            case "filter400":
                self._json(400, {"error": {"message": f"filtered {word}", "code": "content_filter"}})
            case "html":
                self._send(200, f"<html><body>Sign in to the network, {word}</body></html>".encode(), "text/html")
            case "garbage":
                self._send(200, b'{"id": "1", "choices": [{"mess')
            case "deep":
                self._send(200, b"[" * 200_000 + b"]" * 200_000)
            case "parts":
                whole = completion(body, word)
                whole["choices"][0]["message"]["content"] = [{"type": "text", "text": word}]
                self._json(200, whole)
            case "moved":
                self._send(int(rest), b"", headers={"Location": f"{self.running.url}/elsewhere"})
            case "usage":
                self._json(200, completion(body, word, usage=json.loads(rest)))
            case "model":
                self._json(200, completion(body, word) | {"model": rest})
            case "quota":
                self._json(429, {"error": {"message": "no credit", "code": "insufficient_quota"}})
            case "context":  # as vLLM says it
                message = f"This model's maximum context length is 32 tokens; {word} has more."
                self._json(400, {"object": "error", "message": message, "type": "BadRequestError", "code": 400})
            case "newer":
                if "max_tokens" in body:
                    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
                    return self._json(400, {"error": {"message": said, "code": "unsupported_parameter"}})
                self._json(200, completion(body, word))
            case "strict":
                if "repetition_penalty" in body:
                    said = "body.repetition_penalty: extra fields not permitted"
                    return self._json(422, {"error": {"message": said, "code": None}})
                self._json(200, completion(body, word))
            case "half":
                self._begin(200, 1000)
                self.wfile.write(b'{"id": "1", "choi')
                self.wfile.flush()
                # a reset, not an orderly end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "drip":
                self._begin(200, 1000)
                for _ in range(600):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.05)
            case _:
                raise AssertionError(act)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", headers)

    def _begin(self, status: int, length: int, kind: str = "application/json", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, content: bytes, kind: str = "application/json", headers: dict[str, str] | None = None) -> None:
        self._begin(status, len(content), kind, headers)
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *args: object) -> None:  # a client that went away
        pass


@contextmanager
def started(answer: Callable[[Body], Body] | None = None) -> Iterator[Running]:
    """``answer``: makes a whole reply of a request's body, in place of the acts."""
    running = Running("", answer=answer)
    handler = type("Handler", (_Handler,), {"running": running, "lock": threading.Lock()})
    httpd = _Quiet(("127.0.0.1", 0), handler)
    running.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield running
    finally:
        httpd.shutdown()
        httpd.server_close()
