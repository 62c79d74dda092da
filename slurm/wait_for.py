"""Wait until the Ray cluster at RAY_ADDRESS has its nodes: python wait_for.py NODES GPUS SECONDS. Exit code 1: it has not."""

import logging
import sys
import time
from typing import Any

import ray


def main(nodes: int, gpus: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    while True:
        alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
        if len(alive) >= nodes or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    total = ray.cluster_resources()
    have = int(total.get("GPU", 0))
    print(f"Ray has {len(alive)} nodes, {int(total.get('CPU', 0))} CPUs, {have} GPUs", flush=True)
    if len(alive) < nodes:
        there = ", ".join(sorted(node["NodeManagerHostname"] for node in alive))
        print(f"error: {len(alive)} of {nodes} nodes came within {seconds:g} s: {there}", file=sys.stderr)
        return 1
    if have < gpus:
        print(
            f"error: the job wants {gpus} GPUs and Slurm gave it {have}: ask for them, say --gres=gpu:{gpus} on one node or "
            f"--nodes=2 --gres=gpu:{(gpus + 1) // 2}, in a partition that has them (sinfo -o '%P %G')",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
