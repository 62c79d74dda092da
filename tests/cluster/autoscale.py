"""A cluster of one machine that Ray's autoscaler grows and shrinks, and a job on it. Run in namespaces of its own (the class ends every Ray
of the host):

    python -m tests.cluster.autoscale WORKERS COMMAND…     prints one line of JSON: exit code, most nodes seen, nodes at the end
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import ray
from ray.cluster_utils import AutoscalingCluster

_STORE = 100 * 2**20  # bytes of shared memory a node


class Cluster(AutoscalingCluster):
    """The wheel lacks the example file that the class reads: here is what it would hold."""

    def _generate_config(
        self, head_resources: dict[str, float], worker_node_types: dict[str, Any], autoscaler_v2: bool = False, **more: Any
    ) -> dict[str, Any]:
        empty = {
            name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
        }
        empty |= {name: [] for name in ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files")}
        return {
            **empty,
            "cluster_name": "fake",
            "max_workers": 4,
            "head_node_type": "head",
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 0.1,
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            "available_node_types": {
                **worker_node_types,
                "head": {"resources": head_resources, "node_config": {}, "max_workers": 0},
            },
            **more,
        }


def main(workers: int, command: list[str]) -> None:
    kinds = {
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": _STORE},
            "node_config": {},
            "min_workers": 0,
            "max_workers": workers,
        }
    }
    cluster = Cluster(head_resources={"CPU": 0, "object_store_memory": _STORE}, worker_node_types=kinds)
    cluster.start()
    ray.init("auto", log_to_driver=False)

    def alive() -> int:
        return sum(node["Alive"] for node in ray.nodes())

    with tempfile.TemporaryFile("w+") as said:
        job = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": "auto"}, stdout=said, stderr=subprocess.STDOUT)
        most = alive()
        while job.poll() is None:
            most = max(most, alive())
            time.sleep(0.2)
        said.seek(0)
        print(said.read(), file=sys.stderr)
    deadline = time.monotonic() + 120
    while alive() > 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    print(json.dumps({"code": job.returncode, "most": most, "end": alive()}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
