"""cluster/onprem.yaml as it stands, with the addresses of three virtual hosts: `ray up` over real ssh, a job, `ray down`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from codelib.synthetic.export import generate
from tests.cluster.hosts import HOSTS, Slurm, started, until, why_not
from tests.cluster.test_slurm import RECIPE, sums_of
from tests.jobs import ROOT, run, with_key

pytestmark = pytest.mark.cluster

SSHD = """
Port 22
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile /tmp/sshd.pid
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Three machines with sshd and a home of their own, set up as cluster/onprem.yaml says."""
    if reason := why_not():
        pytest.skip(reason)
    if lacking := [name for name in ("/usr/sbin/sshd", "/usr/bin/rsync") if not Path(name).exists()]:
        pytest.skip(f"not installed: {', '.join(lacking)} (tests/system/slurm.sh)")
    with started(tmp_path_factory.mktemp("onprem") / "share") as cluster:
        keys = cluster.share / "keys"
        keys.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
        (keys / "sshd_config").write_text(SSHD.format(keys=keys))
        passwd = Path("/etc/passwd").read_text().splitlines()
        homes = [line.replace(":/root:", ":/tmp/home:") if line.startswith("root:") else line for line in passwd]
        (keys / "passwd").write_text("\n".join(homes) + "\n")
        profile = (
            f"export PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin RAY_AUTH_MODE=token "
            "RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token"
        )
        for host in HOSTS:
            cluster.on(
                host,
                f"mkdir -p /tmp/home /run/sshd; echo '{profile}' > /tmp/home/.bashrc; mount --bind {keys}/passwd /etc/passwd; "
                f"/usr/sbin/sshd -f {keys}/sshd_config -E /tmp/sshd.log",
            )
        yield cluster


def test_up_a_job_and_down(hosts: Slurm) -> None:
    definition = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    definition["provider"] |= {"head_ip": "10.77.0.11", "worker_ips": ["10.77.0.12", "10.77.0.13"]}
    definition["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.share / "keys" / "user")}
    small = "--num-cpus=1 --object-store-memory=100000000"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        definition[key] = [f"{line} {small}" if "ray start" in line else line for line in definition[key]]
    mine = hosts.share / "onprem.yaml"
    mine.write_text(yaml.safe_dump(definition))

    def ray(*words: str, check: bool = True) -> str:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "RAY_AUTH_MODE": "token",
            "RAY_UP_enable_autoscaler_v2": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            [ROOT / "tests" / "cluster" / "vcluster.sh", "exec", "ray", *words],
            cwd=hosts.jobs,
            env=hosts.environment(**environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    token = hosts.home / ".ray" / "auth_token"
    os.chmod(token, 0o600)
    ray("up", "-y", "--no-config-cache", str(mine))
    status: list[str] = []

    def three() -> bool:
        status[:] = [ray("exec", str(mine), "ray status", check=False)]
        return "/3.0 CPU" in status[0]

    until(three, 400, lambda: status[0])

    export, recipe = hosts.share / "clinic", hosts.share / "small.yaml"
    generate(export, visits=6, seed=3)
    recipe.write_text(RECIPE)
    here, there = with_key(hosts.share / "here"), with_key(hosts.share / "there")
    job = f"python -m jobs.dataset --input {export} --recipe {recipe} --workspace"
    submit = (
        f"cd {ROOT} && ray job submit --address http://127.0.0.1:8265 --runtime-env cluster/runtime_env.yaml --working-dir . --"
    )
    said = ray("exec", str(mine), f"{submit} {job} {there}")
    assert "succeeded" in said, said[-3000:]
    run("dataset", "--input", export, "--workspace", here, "--recipe", recipe, "--num-cpus", "2")
    assert sums_of(there) == sums_of(here)

    failed = ray("exec", str(mine), f"{submit} {job.replace('clinic', 'clinc')} {there}", check=False)
    assert "failed with exit code 2" in failed and "clinc" in failed, failed[-3000:]

    ray("down", "-y", str(mine))

    # the head at once; a worker's Ray when it has missed the head for a minute (`ray down` with the local provider does not reach it)
    def left() -> list[str]:
        return [host for host in HOSTS if hosts.on(host, "pgrep -c raylet || true").strip() != "0"]

    until(lambda: not left(), 150, lambda: f"Ray still runs on {', '.join(left())}")
