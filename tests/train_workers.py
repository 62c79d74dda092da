"""One of several workers without Ray: runs a list of jobs one after the other in one process group, so that they start (and DeepSpeed
compiles) once.

    python -m tests.train_workers PLAN.json RANK

PLAN: {"world", "port", "runs": [{"folder", "stop_at", "release", "tiny", "settings", "features"}]}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.jobs import ROOT, environment


def make_job(release: str, tiny: str, settings: Mapping[str, Any], features: str | None = None) -> Any:
    """Six training samples and two for validation."""
    from codelib.models.conversation import open_dataset
    from codelib.train.job import Job
    from codelib.train.settings import TrainSettings

    defaults = {
        "tasks": ("train-cls",), "max_pixels": 56 * 56, "learning_rate": 3e-3, "checkpoint_every": 2, "lora": {"rank": 4},
        "batch_size": 2, "global_batch": 4, "max_steps": 6,
    }  # fmt: skip
    ids = [one.sample_id for one in open_dataset(release).read("train-cls")]
    return Job(
        TrainSettings.model_validate(defaults | dict(settings)),
        release,
        tiny,
        "tiny",
        tuple(ids[:6]),
        tuple(ids[6:8]),
        features=features,
    )


def work(plan: dict[str, Any], rank: int) -> None:
    os.environ["DS_ACCELERATOR"] = "cpu"
    import torch

    from codelib.train.job import Channel, Place
    from codelib.train.loop import train

    class Stopper(Channel):
        def __init__(self, stop_at: int | None) -> None:
            self.stop_at, self.step = stop_at, 0

        def measured(self, step: int, values: Mapping[str, float]) -> None:
            self.step = step

        def stop_wanted(self) -> bool:
            return self.stop_at is not None and self.step >= self.stop_at

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(plan["port"]), "LOCAL_RANK": "0"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=plan["world"])
    for one in plan["runs"]:
        began = time.monotonic()
        job = make_job(one["release"], one["tiny"], one["settings"], one.get("features"))
        train(job, Place(rank, plan["world"]), one["folder"], Stopper(one.get("stop_at")))
        print(f"{Path(one['folder']).name} {time.monotonic() - began:.1f} s", flush=True)
    torch.distributed.destroy_process_group()


def run_workers(folder: Path, runs: list[dict[str, Any]], world: int = 2) -> None:
    """Raises AssertionError with what the workers wrote where one of them fails."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"world": world, "port": port, "runs": runs}))
    command = [sys.executable, "-m", "tests.train_workers", str(plan)]
    workers = [
        subprocess.Popen(
            [*command, str(rank)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(world)
    ]
    said = [worker.communicate(timeout=900)[0] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), "\n".join(text[-3000:] for text in said)


if __name__ == "__main__":
    work(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]))
