"""Small models in ONNX format: one thread, no log, and nothing told to anybody."""

from __future__ import annotations

import os
from typing import Any


def session(path: str) -> Any:
    """An onnxruntime session on the CPU."""
    # from 1.32 on it would write a session id into the temporary folder at its import, and hold an address to report to
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the stages run one process for each core
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
