"""What handing a task to a worker costs the driver: empty ones, through Ray. A module of its own, since workers import it by its name."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import pyarrow as pa

from codelib.core.cluster import connect
from codelib.core.stage import Stage, Work, run
from codelib.core.store import Store
from codelib.data.release import FILES

_TASKS = 300


def _empty(extra: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"path": str(extra["number"]), "sha256": "", "size_bytes": 0}], schema=FILES.schema)


def handing_out() -> float:
    """CPU seconds of the driver for one task of an empty stage."""
    stage = Stage("empty", 1, FILES, _empty, unit="tasks")
    with tempfile.TemporaryDirectory() as folder, connect(2):
        store = Store(folder)
        run(stage, [Work((), {"number": -number - 1}) for number in range(20)], store)  # workers start
        before = time.process_time()
        run(stage, [Work((), {"number": number}) for number in range(_TASKS)], store)
        return (time.process_time() - before) / _TASKS
