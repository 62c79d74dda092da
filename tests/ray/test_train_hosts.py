"""A host that is lost in the middle of a run: the rest goes on, with fewer workers and the same steps."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.jobs import start
from tests.ray.test_train import command, in_this_process, losses, model, release

pytestmark = pytest.mark.ray
__all__ = ["model", "release"]  # fixtures


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Ray's token for cluster and job alike: whether it is on otherwise depends on what ran in this process before (Ray 2.60)."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    subprocess.run([Path(sys.executable).parent / "ray", "get-auth-token", "--generate"], check=True, capture_output=True)
    return {"RAY_AUTH_MODE": "token"}


def test_what_is_left_goes_on_when_a_host_is_lost(release: Path, model: Path, tmp_path: Path, token: dict[str, str]) -> None:
    more = ["--set", "lora.dropout=0", "--set", "epochs=30", "--set", "workers=[1, 2]", "--set", "global_batch=2"]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1)
        job = command(release, tmp_path / "w", model, *more)
        folder = tmp_path / "w" / "train" / "demo"
        process = start("train", *job, RAY_ADDRESS=cluster.address, **token)
        deadline = time.monotonic() + 1200
        while not list(folder.glob("checkpoints/*/complete.json")):
            assert process.poll() is None, "".join(process.communicate())
            assert time.monotonic() < deadline
            time.sleep(0.05)
        cluster.remove_node(other, allow_graceful=False)
        out, err = process.communicate(timeout=1200)
        assert process.returncode == 0, out + err
        assert "continuing after step" in out
        assert losses(folder) == pytest.approx(in_this_process(release, model, tmp_path / "alone", more), abs=1e-4)
    finally:
        cluster.shutdown()
