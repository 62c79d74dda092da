"""A model server as small as it can be, in the place of `vllm serve MODEL --host H --port P`: health, a key, chat completions, one answer.

It "loads" for two seconds, in which it refuses to be healthy. It prints the GPUs that it may see.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "Gingivitis"


class Handler(BaseHTTPRequestHandler):
    began_s = time.monotonic()

    def do_GET(self) -> None:
        self._reply(200 if self.path == "/health" and time.monotonic() - self.began_s > 2 else 503, {})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self._reply(401, {"error": {"message": "no"}})
        message = {"role": "assistant", "content": ANSWER}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        made = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [choice],
            "usage": usage,
        }
        return self._reply(200, made)

    def _reply(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    print("GPUs", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    ThreadingHTTPServer((args.host, args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
