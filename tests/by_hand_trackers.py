"""What the real tracking services keep of a run, by hand, in an environment that has them (they are no part of this project's):

    pip install wandb mlflow-skinny
    python -m tests.by_hand_trackers      # exit code 1 and the places where a word of the machine stands

wandb 0.31.0 writes what it would send to files (WANDB_MODE=offline), MLflow 3.17 into a folder.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
import tempfile
from pathlib import Path

from codelib.train.settings import TrainSettings
from codelib.train.trackers import Tracker

_SECRET = "zhang-clinic"
_TOLD = "lora"  # of the settings: what must be found


def main() -> int:
    with tempfile.TemporaryDirectory(prefix=f"{_SECRET}-") as folder:
        os.environ |= {
            "WANDB_MODE": "offline",
            "MLFLOW_TRACKING_URI": f"file://{folder}/mlruns",
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }
        for service in ("wandb", "mlflow"):
            settings = TrainSettings.model_validate({"model": f"/data/{_SECRET}/tuned", "tracker": service})
            with Tracker(folder, "demo", settings, total_steps=2) as tracker:
                assert tracker.service is not None, f"{service} is not installed here"
                print(f"a word of the job about {_SECRET}")
                for step in (1, 2):
                    tracker.measured(step, {"loss": 1.0 / step})
        # of wandb the run's own file: logs/ beside it is this machine's
        kept = {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and "logs" not in path.parts}
        sent = {path: data for path, data in kept.items() if path.suffix == ".wandb" or "mlruns" in path.parts}
        sent = {path: data for path, data in sent.items() if path.name != "meta.yaml"}  # names the store's own place
        assert any(_TOLD.encode() in data for data in sent.values()) and len(sent) > 5
        words = (_SECRET, getpass.getuser(), socket.gethostname(), Path(sys.argv[0]).name)
        found = [f"{path.relative_to(folder)}: {word}" for path, data in sent.items() for word in words if word.encode() in data]
    print("\n".join(found) or "nothing of the machine")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
