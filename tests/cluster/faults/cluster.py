"""A plain Ray cluster over the virtual hosts, its token on: a head and two workers, one CPU each; and what an operator does to it.

    n1  head, and the driver of the job       n2, n3  workers

Every process of it carries a mark in its environment, which says the cluster and the host (SPT_NOENV: Ray's process titles would overwrite
it). Nothing is looked for, or killed, but by that mark.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.cluster.hosts import HOSTS, SCRIPT, Slurm, until
from tests.jobs import ROOT

HEAD, DRIVER = HOSTS[0], "driver"
ADDRESS, PORT = {host: f"10.77.0.{11 + number}" for number, host in enumerate(HOSTS)}, 6379
TORCHS = ("torchinductor_root",)  # in /tmp: an empty cache of compiled code, which torch makes on every machine
_MARK = "CODELIB_DRILL"
# a raylet waits some seconds, and no longer, to be told of ports that its agents choose: on a busy machine they need more to come up
_PORTS = (
    "--runtime-env-agent-port=6391", "--dashboard-agent-grpc-port=6392", "--dashboard-agent-listen-port=6393", "--metrics-export-port=6394",
)  # fmt: skip
_JOIN_S = 240  # for all hosts to join, on a machine that does other work
_AGAIN_S = 2.0  # a node's Ray that ended is started again after so long, as slurm/ray_node.sh does
# Ray misses a host without a word after (period + timeout) x threshold, by default about a minute; what was sent to it meanwhile fails with
# the connection, by default after two minutes
_NOTICE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}


class RayHosts:
    """``noticing``: Ray's settings of how soon it misses a host."""

    def __init__(self, hosts: Slurm, noticing: dict[str, str] | None = None) -> None:
        self.hosts, self.noticing = hosts, _NOTICE if noticing is None else noticing
        self.mark, self.token = secrets.token_hex(8), secrets.token_hex(32)
        self.trace = hosts.share / "trace"
        self.trace.mkdir()
        self.logs = hosts.share / "ray"
        self.logs.mkdir()
        self.off: set[str] = set()
        self.changed = True  # since all hosts were last seen in the cluster
        self._ray: dict[str, subprocess.Popen[bytes]] = {}
        self._ended_s: dict[str, float] = {}

    # ── what runs

    def _environment(self) -> dict[str, str]:
        return self.noticing | {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "ORT_DISABLE_TELEMETRY": "1",
            "SPT_NOENV": "1",
            # Ray's own limits are too short for its processes' imports on a busy machine
            "RAY_agent_register_timeout_ms": str(1000 * _JOIN_S),
            "RAY_worker_register_timeout_seconds": str(_JOIN_S),
            "RAY_memory_monitor_refresh_ms": "0",  # it looks at the whole machine's memory, which other work fills
            "CODELIB_TRACE": str(self.trace),
        }

    def run(self, host: str, place: str, command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
        """Start a command on a host, marked as ``place``'s, its words at the end of ``log``."""
        with log.open("ab") as out:  # the mark inside: the programs that reach the host are not the host's
            return subprocess.Popen(
                [SCRIPT, "on", host, "env", f"{_MARK}={self.mark}.{place}", *map(str, command)],
                cwd=ROOT,
                env=self.hosts.environment(**self._environment()),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def drive(self, command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
        """Start a job on the head, attached to this cluster."""
        return self.run(HEAD, DRIVER, ["env", f"RAY_ADDRESS={ADDRESS[HEAD]}:{PORT}", *command], log)

    def processes(self, place: str) -> list[psutil.Process]:
        """Those that carry the mark of a host, or of the driver; oldest first."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == f"{self.mark}.{place}" and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    # ── the cluster

    def start(self, host: str) -> None:
        """Start Ray on a host that is on; it joins when it can."""
        where = [f"--address={ADDRESS[HEAD]}:{PORT}"]
        if host == HEAD:
            where = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        command = [
            "python", "-m", "ray.scripts.scripts", "start", *where, f"--node-ip-address={ADDRESS[host]}", "--num-cpus=1", "--memory=2000000000",
            "--object-store-memory=100000000", "--disable-usage-stats", "--block", *_PORTS,
        ]  # fmt: skip
        self._ray[host] = self.run(host, host, command, self.logs / f"{host}.log")
        self._ended_s.pop(host, None)
        self.changed = True

    def end(self, host: str) -> None:
        """End this cluster's Ray on a host; the folder that it wrote into goes too."""
        if host in self.off:
            return
        for process in self.processes(host):
            with suppress(psutil.Error):
                process.kill()
        until(lambda: not self.processes(host), 20, lambda: f"Ray still runs on {host}")
        if host in self._ray:
            self._ray.pop(host).wait(20)
        self.hosts.on(host, "rm -rf /tmp/ray")

    def whole(self) -> None:
        """Every host on, and in the cluster."""
        for host in [host for host in HOSTS if host in self.off]:
            self.power_on(host)
            self.changed = True
        if not self.is_up(HEAD):
            return self.restart()
        for host in [host for host in HOSTS if not self.is_up(host)]:
            self.end(host)
            self.start(host)
        return self._join() if self.changed else None

    def restart(self) -> None:
        """A new cluster on all hosts that are on: what follows the loss of its head."""
        for host in HOSTS:
            self.end(host)
        self.start(HEAD)
        until(self._head_answers, _JOIN_S, lambda: f"Ray's head does not start\n{self._last_words(HEAD)}")
        for host in [host for host in HOSTS[1:] if host not in self.off]:
            self.start(host)
        self._join()

    def _last_words(self, host: str) -> str:
        return (self.logs / f"{host}.log").read_text(errors="replace")[-3000:]

    def _head_answers(self) -> bool:
        self.mend(head=True)
        return self.hosts.host("exec", "bash", "-c", f"exec 3<>/dev/tcp/{ADDRESS[HEAD]}/{PORT}").returncode == 0

    def is_up(self, host: str) -> bool:
        return host not in self.off and host in self._ray and self._ray[host].poll() is None

    def mend(self, head: bool = False) -> None:
        """Start Ray again on hosts where it ended a moment ago; to be called now and then. Not on the head, whose loss is the cluster's, but
        for one that never came up (Ray 2.60 gives itself 30 s to start, which are few on a busy machine)."""
        for host in HOSTS if head else HOSTS[1:]:
            if host in self.off or host not in self._ray or self.is_up(host):
                continue
            # what the shell says of a program that is not there: no second try makes it come
            assert self._ray[host].returncode not in (126, 127), self._last_words(host)
            ended_s = self._ended_s.setdefault(host, time.monotonic())
            if time.monotonic() - ended_s > _AGAIN_S:
                self.end(host)
                self.start(host)

    def _join(self) -> None:
        """Wait until every host that is on has joined."""
        nodes, log = len(HOSTS) - len(self.off), self.logs / "waiting.log"
        waiting = self.drive(["python", ROOT / "slurm" / "wait_for.py", str(nodes), "0", str(_JOIN_S)], log)

        def ended() -> bool:
            self.mend(head=True)
            return waiting.poll() is not None

        until(ended, 2 * _JOIN_S, lambda: "the hosts did not join")
        assert waiting.returncode == 0, log.read_text()[-3000:]
        self.changed = False

    def in_tmp(self, host: str) -> list[str]:
        """Names in the host's own /tmp, without what leads to the shared folder and the checkout."""
        leading = {place.parts[2] for place in (self.hosts.share, ROOT) if place.is_relative_to("/tmp")}
        return [name for name in self.hosts.on(host, "ls -A /tmp").split() if name not in leading]

    def left(self) -> list[str]:
        """What is left of this cluster when it has ended."""
        on = [host for host in HOSTS if host not in self.off]
        running = [f"{place}: {process.pid}" for place in (*on, DRIVER) for process in self.processes(place)]
        return running + [f"{host}: /tmp/{name}" for host in on for name in self.in_tmp(host) if name not in TORCHS]

    # ── the power switch

    def power_off(self, host: str) -> None:
        """As when the plug is pulled: the wire goes first, so that nobody hears a last word and no connection is closed."""
        self._switch("exec", "ip", "link", "del", f"v{host}")
        self._switch("kill", host)
        self.off.add(host)
        self._ray.pop(host).wait(20)

    def power_on(self, host: str) -> None:
        self._switch("start", host)
        self.off.discard(host)
        until(
            lambda: self.hosts.host("on", host, "ip", "route", "get", ADDRESS[HEAD]).returncode == 0,
            30,
            lambda: f"{host} has no net",
        )

    def _switch(self, *command: str) -> None:
        done = self.hosts.host(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
