"""Ray's own autoscaler under a real dataset job: from the head alone to all workers, and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codelib.synthetic.export import generate
from tests.cluster.hosts import started, why_not
from tests.cluster.test_slurm import RECIPE, sums_of
from tests.jobs import ROOT, run, with_key

pytestmark = pytest.mark.cluster


def test_the_cluster_grows_under_a_job_and_shrinks_after_it(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with started(tmp_path / "share") as hosts:
        export, recipe = hosts.share / "clinic", hosts.share / "small.yaml"
        generate(export, visits=24, seed=3)
        recipe.write_text(RECIPE)
        here, there = with_key(hosts.share / "here"), with_key(hosts.share / "there")
        job = [sys.executable, "-m", "jobs.dataset", "--input", export, "--recipe", recipe, "--workspace", there]
        done = subprocess.run(
            [ROOT / "tests/cluster/vcluster.sh", "on", "n1", sys.executable, "-m", "tests.cluster.autoscale", "2", *job],
            cwd=ROOT,
            env=hosts.environment(
                PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin", RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0"
            ),
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        seen = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
        assert (seen["code"], seen["end"]) == (0, 1), done.stderr[-3000:]
        assert seen["most"] >= 3  # two workers and the head; one that is being replaced counts for a moment too
        run("dataset", "--input", export, "--workspace", here, "--recipe", recipe, "--num-cpus", "2")
        assert sums_of(there) == sums_of(here)
