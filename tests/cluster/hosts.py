"""Three virtual hosts under a real Slurm (vcluster.sh), as a user of a cluster meets them: sbatch, squeue, a log; and their power switch.

with started(folder) as slurm:
    job = slurm.submit("dataset", "--nodes=3", arguments=["--input", …])
    slurm.wait(job) == "COMPLETED 0:0"
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.jobs import ROOT

SCRIPT = Path(__file__).with_name("vcluster.sh")
HOSTS = ("n1", "n2", "n3")
CONTROLLER = "10.77.0.10"
# pictures are looked at by no screen, and nothing is drawn: what is asked here is what a cluster does
RECIPE = """
dataset:
  partition_visits: 2
  split: {test_size: 3}
  figures: {drawn: false}
  images: {screens: {text: "off", faces: "off", documents: "off"}}
"""
_NEEDED = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "nsenter", "unshare")
_DONE = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"}


def why_not() -> str | None:
    """Why there can be no virtual hosts on this machine; None where there can."""
    if os.geteuid() != 0:
        return "virtual hosts need root (tests/cluster)"
    lacking = [name for name in _NEEDED if shutil.which(name, path="/usr/sbin:/sbin:" + os.environ["PATH"]) is None]
    if not Path("/etc/profile.d/modules.sh").exists():
        lacking.append("environment-modules")
    if lacking:
        return f"Slurm is not installed: {', '.join(lacking)} (tests/system/slurm.sh)"
    unshare = ["unshare", "--net", "--pid", "--fork", "--mount", "--uts", "--ipc", "--mount-proc", "sh", "-ec"]
    parts = "mount -t tmpfs none /mnt; ip link add br0 type bridge; ip link add v0 type veth peer name v1"
    tried = subprocess.run([*unshare, parts], capture_output=True, text=True)
    if tried.returncode == 0:
        return None
    said = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
    return (
        f"the kernel forbids namespaces here, which virtual hosts are made of ({said}); in a container: docker run --privileged"
    )


def until(what: Callable[[], object], timeout_s: float, otherwise: Callable[[], str]) -> None:
    """Wait until it is true; AssertionError with what ``otherwise`` says when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s\n{otherwise()}"
        time.sleep(0.2)


class Slurm:
    """The cluster. ``share`` is its shared file system; jobs are submitted from ``share``/jobs, where their logs come to lie."""

    def __init__(self, share: Path) -> None:
        self.share, self.jobs, self.home = share, share / "jobs", share / "home"
        self.jobs.mkdir(parents=True)
        # what any earlier ray.init() of the user left: another cluster's token
        (self.home / ".ray").mkdir(parents=True)
        (self.home / ".ray" / "auth_token").write_text("0" * 64)

    def environment(self, **more: str) -> dict[str, str]:
        # a login shell's and nothing of this process: the launcher finds Python by itself
        login = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        ours = {"VC_SHARE": str(self.share), "HOME": str(self.home), "CODELIB": str(ROOT), "CODELIB_VENV": sys.prefix}
        return login | ours | more

    def host(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """vcluster.sh with these arguments."""
        return subprocess.run(
            [SCRIPT, *command], cwd=self.jobs, env=self.environment(**more), capture_output=True, text=True, timeout=120
        )

    def on(self, host: str, script: str) -> str:
        """A piece of shell on a host."""
        done = self.host("on", host, "bash", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sbatch(
        self, launcher: str, *options: str, arguments: Sequence[str | Path] = (), **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Submit slurm/LAUNCHER.sbatch as a user would. The small hosts want other sizes than the file; ``options`` come last and win."""
        small = ("--cpus-per-task=1", "--mem-per-cpu=2500", "--time=10")
        file = str(ROOT / "slurm" / f"{launcher}.sbatch")
        return self.host("exec", "sbatch", "--parsable", *small, *options, file, *map(str, arguments), **more)

    def submit(self, launcher: str, *options: str, arguments: Sequence[str | Path] = (), **more: str) -> str:
        done = self.sbatch(launcher, *options, arguments=arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> dict[str, str]:
        """What `scontrol show job` knows; of an array's task by ID_TASK."""
        said = self.host("exec", "scontrol", "show", "job", "-o", job).stdout
        return dict(field.split("=", 1) for field in said.split() if "=" in field)

    def hosts(self, job: str) -> list[str]:
        return self.host("exec", "scontrol", "show", "hostnames", self.show(job)["NodeList"]).stdout.split()

    def log(self, job: str) -> str:
        number = self.show(job)["JobId"]
        return "\n".join(path.read_text(errors="replace") for path in self.jobs.glob(f"*-{number}.log"))

    def saying(self, job: str, pattern: str, timeout_s: float = 400) -> str:
        """Wait until the job's log has this; the log. AssertionError as soon as the job has ended without it."""

        def said() -> bool:
            over = self.show(job).get("JobState") in _DONE  # before its log is read
            found = re.search(pattern, self.log(job)) is not None
            assert found or not over, f"{job} ended without {pattern}:\n{self.log(job)}"
            return found

        until(said, timeout_s, lambda: f"no {pattern} in the log of {job}:\n{self.log(job)}")
        return self.log(job)

    def wait(self, job: str, timeout_s: float = 500) -> str:
        """Wait until the job has ended for good; `STATE CODE:SIGNAL`."""
        until(lambda: self.show(job).get("JobState") in _DONE, timeout_s, lambda: f"{self.show(job)}\n{self.log(job)}")
        end = self.show(job)
        return f"{end['JobState']} {end['ExitCode']}"

    def signal(self, job: str, name: str) -> None:
        """To the batch script alone, as --signal=B: does before the time limit."""
        assert self.host("exec", "scancel", "--batch", f"--signal={name}", job).returncode == 0

    def hold(self, job: str) -> None:
        """Stop a dataset job's driver where it is, so that the job does not end meanwhile."""
        self.on(self.show(job)["BatchHost"], "pkill -STOP -f 'jobs[.]dataset'")

    def release(self, job: str) -> None:
        self.on(self.show(job)["BatchHost"], "pkill -CONT -f 'jobs[.]dataset'")

    def kill_raylet(self, host: str) -> None:
        self.on(host, 'for p in /proc/[0-9]*; do case $(readlink "$p/exe") in */raylet) kill -KILL "${p#/proc/}";; esac; done')

    def power_off(self, host: str) -> None:
        assert self.host("kill", host).returncode == 0

    def power_on(self, host: str) -> None:
        assert self.host("start", host, VC_DISK="1").returncode == 0

        def state() -> str:
            return self.host("exec", "sinfo", "-h", "-n", host, "-o", "%t").stdout.strip()

        # `mix`: Slurm 22.05 does not get back the CPUs of a step that a host was lost with ("unable to update job's core use information")
        until(lambda: state() in ("idle", "mix"), 60, lambda: f"{host} is {state()}")

    def left(self, hosts: Sequence[str] = HOSTS) -> list[str]:
        """What jobs left running, in /tmp or in /dev/shm of these hosts."""
        mine = {place.parts[2] for place in (self.share, ROOT) if place.is_relative_to("/tmp")}
        found = []
        for host in hosts:
            running = self.on(host, "ps -eo comm=,args= | grep -vE '^(bash|sleep|slurmd|ps|grep) ' || true")
            files = self.on(host, "ls -A /tmp /dev/shm").split()
            found += [f"{host}: {line}" for line in running.splitlines()]
            found += [f"{host}: {name}" for name in files if name not in {"/tmp:", "/dev/shm:", *mine}]
        return found


@contextmanager
def started(share: Path) -> Iterator[Slurm]:
    slurm = Slurm(share)
    up = slurm.host("up", str(len(HOSTS)))
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield slurm
    finally:
        slurm.host("down")
