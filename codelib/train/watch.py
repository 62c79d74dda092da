"""What a person sees of a running loop: a line every few seconds, numbers for curves at every step, a trace of a few steps on demand.

train  step 40/300  loss 1.2345  lr 4.9e-04  1.9 samples/s  3,410 tokens/s  data wait 0.4 %  GPU 41.2 GiB  2 h 05 min left
"""

from __future__ import annotations

import gzip
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from codelib.core.progress import duration
from codelib.core.store import Store

_SAY_EVERY_S = 5.0
_TRACED = (2, 4)  # steps after the start that a trace holds: the first ones only warm up


def peak_memory_gib(device: str) -> float | None:
    """The most that torch held on this rank's GPU so far; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.startswith("cuda") else None


class Meter:
    """Rates since the last line, and the time left by the rate since the start."""

    def __init__(self, first: int, total: int, device: str) -> None:
        self.first, self.total, self.device = first, total, device
        self.began_s = self.said_s = time.monotonic()
        self.samples = self.tokens = 0.0
        self.wait_s = 0.0

    def add(self, samples: int, tokens: float, wait_s: float) -> None:
        self.samples += samples
        self.tokens += tokens
        self.wait_s += wait_s

    def due(self, step: int) -> bool:
        return time.monotonic() - self.said_s >= _SAY_EVERY_S or step == self.total

    def take(self, step: int, loss: float, rate: float) -> tuple[str, dict[str, float]]:
        """The line for a person, and the rates by name; begins the next interval."""
        now = time.monotonic()
        interval_s = max(now - self.said_s, 1e-9)
        rates = {
            "samples_per_s": self.samples / interval_s,
            "tokens_per_s": self.tokens / interval_s,
            "data_wait_percent": 100 * self.wait_s / interval_s,
        }
        memory = peak_memory_gib(self.device)
        if memory is not None:
            rates["gpu_memory_gib"] = memory
        left_s = (now - self.began_s) / (step - self.first) * (self.total - step)
        line = (
            f"  train  step {step}/{self.total}  loss {loss:.4f}  lr {rate:.2e}  {rates['samples_per_s']:.1f} samples/s  "
            f"{rates['tokens_per_s']:,.0f} tokens/s  data wait {rates['data_wait_percent']:.1f} %  "
            f"{f'GPU {memory:.1f} GiB  ' if memory is not None else ''}{duration(left_s)} left"
        )
        self.said_s, self.samples, self.tokens, self.wait_s = now, 0.0, 0.0, 0.0
        return line, rates


class Trace:
    """torch's profiler over a few steps of rank 0, as ``profile/steps-3-4.json.gz`` for chrome://tracing or Perfetto."""

    def __init__(self, store: Store, first: int) -> None:
        from torch.profiler import ProfilerActivity, profile

        self.store, self.first, self.done = store, first, 0
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self.profile: Any = profile(activities=activities, record_shapes=True, profile_memory=True)

    @property
    def written(self) -> bool:
        return self.done >= _TRACED[1]

    def before_step(self) -> None:
        if self.done == _TRACED[0]:
            self.profile.start()

    def after_step(self) -> str | None:
        """The name of the trace, when it has just been written."""
        self.done += 1
        if self.done != _TRACED[1]:
            return None
        self.profile.stop()
        name = f"profile/steps-{self.first + _TRACED[0] + 1}-{self.first + _TRACED[1]}.json.gz"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self.profile.export_chrome_trace(str(path))
            self.store.commit(name, gzip.compress(path.read_bytes(), 5))
        return name
