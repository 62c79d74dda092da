"""The ONNX runtime tells nobody anything: no session id, no address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_model_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    code = "from codelib.data.person_tagger import tagger; tagger(); import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []
