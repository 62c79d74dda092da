"""What an optimiser step under ZeRO adds up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import ROOT, environment

pytest.importorskip("deepspeed")

WAYS = ("zero2.none", "zero3.none", "zero2.optimizer", "zero3.parameters")


def test_micro_batches_are_added_up_in_float32(tmp_path: Path) -> None:
    """64 of them, on two workers, in bf16, after a rehearsal that was thrown away. Added up in bf16 they are 1e-2 away from their sum; what
    the workers exchange is rounded once, and as all have the same here, not at all."""
    command = [sys.executable, "-m", "tests.zero_sums", "2"]
    workers = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting"), *WAYS],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=300) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), "\n".join(error[-3000:] for _, error in said)
    errors = json.loads(said[0][0].splitlines()[-1])
    assert errors == pytest.approx(dict.fromkeys(WAYS, 0.0), abs=1e-6)
