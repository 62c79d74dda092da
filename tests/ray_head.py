"""A Ray head of this machine with its token on, as an operator starts one, and the commands that are typed against it.

with started(OPENAI_API_KEY="…") as head:          what is given is in the machine's environment and not in the client's
    head.submit("dataset-1", "jobs.dataset", "--input", …)
    head.status("dataset-1") == "SUCCEEDED"
"""

from __future__ import annotations

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
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.jobs import ROOT, environment


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


@dataclass(frozen=True)
class Head:
    home: Path  # its user's: the token is in .ray, Ray's own files are in ray
    address: str  # for RAY_ADDRESS
    env: dict[str, str]  # of a client that holds the token

    def ray(self, *words: str, code: int | None = 0, **more: str) -> str:
        """What a `ray` command says, both streams. code None: any."""
        done = subprocess.run(["ray", *words], env=self.env | more, cwd=ROOT, capture_output=True, text=True, timeout=900)
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{words}: exit code {done.returncode}\n{said}"
        return said

    def submit(self, name: str, job: str, *words: str | Path, wait: bool = True, code: int | None = 0, **more: str) -> str:
        """As docs/running.md has it."""
        sent = ["--submission-id", name, "--runtime-env", "cluster/runtime_env.yaml", "--working-dir", "."]
        entry = ["python", "-m", job, *map(str, words)]
        return self.ray("job", "submit", *sent, *([] if wait else ["--no-wait"]), "--", *entry, code=code, **more)

    @property
    def token(self) -> str:
        return (self.home / ".ray" / "auth_token").read_text().strip()

    def log(self, name: str) -> str:
        """As `ray job logs` shows it."""
        said: str = self.about(f"{name}/logs")["logs"]
        return said

    def about(self, name: str) -> dict[str, Any]:
        """What the head keeps of a job, and shows to everybody with the token; by HTTP, as the commands ask it."""
        found: dict[str, Any] = self._asked("GET", name)
        return found

    def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._asked("GET", "")
        return found

    def stop(self, name: str) -> None:
        """What `ray job stop` asks for, without the seconds that the command takes to start; waits for the end as it does."""
        self._asked("POST", f"{name}/stop")
        self.until(name, lambda: self.about(name)["status"] == "STOPPED")

    def _asked(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.env['RAY_API_SERVER_ADDRESS']}/api/jobs/{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def until(self, name: str, what: Callable[[], object], timeout_s: float = 600) -> None:
        """Wait for it while the job runs."""
        deadline_s = time.monotonic() + timeout_s
        while not what():
            running = self.about(name)["status"] in ("PENDING", "RUNNING") or what()
            assert running and time.monotonic() < deadline_s, self.log(name)
            time.sleep(0.2)


@contextmanager
def started(**machine: str) -> Iterator[Head]:
    for attempt in (1, 2, 3):  # Ray gives its dashboard a minute to start, which is short beside other work
        with _head(machine, attempt) as head:
            if head is not None:
                yield head
                return
    raise AssertionError("Ray's head did not start three times")


@contextmanager
def _head(machine: dict[str, str], attempt: int) -> Iterator[Head | None]:
    home = Path(tempfile.mkdtemp(prefix="clh-", dir="/tmp"))  # short: Ray's sockets lie below it
    port, dashboard, client, agent = free_ports(4)
    env = environment(HOME=str(home), RAY_AUTH_MODE="token", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    subprocess.run(["ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    command = ["ray", "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={home}/ray"]
    command += ["--num-cpus=2", f"--ray-client-server-port={client}", "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={agent}"]  # the usual one may be taken by another Ray of this machine
    with open(home / "head.log", "w") as log:  # a pipe that nobody reads would fill and stop the head
        process = subprocess.Popen(command, env=env | machine, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    head = Head(home, f"127.0.0.1:{port}", env)
    try:
        up = _is_up(head, process)
        if not up:
            print(f"attempt {attempt}:", (home / "head.log").read_text()[-2000:])
        yield head if up else None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


def _is_up(head: Head, process: subprocess.Popen[bytes]) -> bool:
    """The head takes jobs only when its agent is up, a few seconds after ray start."""
    deadline_s = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline_s:
        if subprocess.run(["ray", "job", "submit", "--no-wait", "--", "true"], env=head.env, capture_output=True).returncode == 0:
            return True
        time.sleep(1)
    return False
