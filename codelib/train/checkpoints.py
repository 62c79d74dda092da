"""What a checkpoint of a run holds, so that the last one alone is enough to go on, and to finish.

    checkpoints/step-00000050-3f2a/progress.json        step, best step, the curve of every step so far
                                   part-0.safetensors   rank 0's share of adapter weights and AdamW's moments; under ZeRO every rank has one
                                   part-0.json          name, size and SHA-256 of what rank 0 wrote
                                   adapter/  best/      the adapter of this step, and of the best one so far, in stock PEFT format
                                   complete.json        written last by rank 0, when every part is there

A folder without complete.json, or with a file of another size or sum than written, is never gone on from. The shares are cut so that any
number of workers under any strategy can take up what another number under another strategy left. The order of samples, dropout
and the learning rate are functions of (seed, step, rank): no generator's state has to be kept.

Ray Train's own bookkeeping is not used: its list of checkpoints is overwritten in place, refuses another version of Ray, and the loop
has to resume without Ray too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from codelib.core.store import Store

_COMPLETE = "complete.json"
_KEEP = 2  # the last and the one before it: should the last turn out damaged, little is lost
_PARTS_S = 600.0  # other ranks write at the same time; longer than this they are gone


@dataclass
class Curve:
    """One line of curves.csv."""

    step: int  # 1.. optimiser steps done
    epoch: float
    loss: float  # per answer token, nats
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None  # of generated answers, where they choose the best checkpoint


@dataclass
class TrainProgress:
    step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    best_accuracy: float | None = None
    curve: list[Curve] = field(default_factory=list)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, content: bytes) -> TrainProgress:
        values = json.loads(content)
        return cls(**{**values, "curve": [Curve(**line) for line in values["curve"]]})


@dataclass(frozen=True)
class Share:
    """What one rank holds of the trained state: flat pieces of (kind, parameter), each with its first element's place in the whole."""

    pieces: Mapping[tuple[str, str], tuple[int, torch.Tensor]]  # kind: weight | exp_avg | exp_avg_sq
    updates: int  # steps that AdamW counts

    def to_bytes(self) -> bytes:
        from safetensors.torch import save

        flat = {f"{kind}:{start}:{name}": piece for (kind, name), (start, piece) in self.pieces.items()}
        return save({**flat, "updates": torch.tensor([self.updates])})


@dataclass(frozen=True)
class Whole:
    """All shares joined: flat float32 tensors, perhaps with padding behind."""

    tensors: Mapping[tuple[str, str], torch.Tensor]
    updates: int

    def of(self, kind: str, name: str, shape: torch.Size) -> torch.Tensor:
        return self.tensors[kind, name][: shape.numel()].reshape(shape)


def join(shares: list[bytes]) -> Whole:
    from safetensors.torch import load

    found: dict[tuple[str, str], list[tuple[int, torch.Tensor]]] = {}
    updates = 0
    for content in shares:
        for key, piece in load(content).items():
            if key == "updates":
                updates = int(piece)
                continue
            kind, start, name = key.split(":", 2)
            found.setdefault((kind, name), []).append((int(start), piece))
    return Whole(
        {key: torch.cat([piece for _, piece in sorted(pieces, key=lambda pair: pair[0])]) for key, pieces in found.items()},
        updates,
    )


def adapter_files(folder: str, config: bytes, weights: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    """The adapter as stock peft loads it, by file name."""
    from safetensors.torch import save

    ordered = {name: tensor.contiguous() for name, tensor in sorted(weights.items())}
    return {f"{folder}/adapter_config.json": config, f"{folder}/adapter_model.safetensors": save(ordered, {"format": "pt"})}


def adapter_config(model: Any, base: str) -> bytes:
    """adapter_config.json of a peft model, for inference on ``base``."""
    config = model.peft_config["default"].to_dict()
    config |= {"inference_mode": True, "base_model_name_or_path": base}
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    return json.dumps(plain, indent=2, sort_keys=True).encode()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, below ``checkpoints/`` in its folder."""

    store: Store

    def _folders(self) -> list[str]:
        return sorted({name.split("/")[1] for name in self.store.names("checkpoints") if name.count("/") > 1})

    def names(self) -> list[str]:
        """The complete ones, oldest first."""
        return [name for name in self._folders() if self.store.exists(f"checkpoints/{name}/{_COMPLETE}")]

    def read(self, name: str, file: str) -> bytes:
        return self.store.read(f"checkpoints/{name}/{file}")

    def damage(self, name: str) -> str | None:
        """What is wrong with a complete one's files, None where every size and sum is as written."""
        import hashlib

        for file, (size, sha256) in json.loads(self.read(name, _COMPLETE))["files"].items():
            try:
                content = self.read(name, file)
            except FileNotFoundError:
                return f"{file} is missing"
            if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
                return f"{file} is not as it was written ({len(content)} of {size} bytes)"
        return None

    def latest(self, say: Callable[[str], None] = lambda line: None) -> str | None:
        """The last sound one; says which it passes over, and why."""
        for name in reversed(self.names()):
            damage = self.damage(name)
            if damage is None:
                return name
            say(f"  checkpoint {name} is damaged and left out: {damage}")
        return None

    def progress(self, name: str) -> TrainProgress:
        return TrainProgress.of(self.read(name, "progress.json"))

    def whole(self, name: str) -> Whole:
        parts = json.loads(self.read(name, _COMPLETE))["parts"]
        return join([self.read(name, f"part-{rank}.safetensors") for rank in range(parts)])

    def adapter(self, name: str, which: str) -> dict[str, torch.Tensor]:
        from safetensors.torch import load

        return load(self.read(name, f"{which}/adapter_model.safetensors"))

    def write(self, name: str, rank: int, files: Mapping[str, bytes]) -> None:
        """This rank's files, then their sums. Raises OSError; what is there already stays incomplete."""
        sums = {file: (len(content), self.store.commit(f"checkpoints/{name}/{file}", content)) for file, content in files.items()}
        self.store.commit_json(f"checkpoints/{name}/part-{rank}.json", sums)

    def seal(self, name: str, parts: int) -> None:
        """Wait for the other ranks' parts, then say that the checkpoint is complete, and let go of older ones."""
        deadline_s = time.monotonic() + _PARTS_S
        files: dict[str, Any] = {}
        for rank in range(parts):
            while not self.store.exists(f"checkpoints/{name}/part-{rank}.json"):
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"checkpoint {name}: the part of worker {rank} did not come within {_PARTS_S:.0f} s")
                time.sleep(0.05)
            files |= json.loads(self.read(name, f"part-{rank}.json"))
        self.store.commit_json(f"checkpoints/{name}/{_COMPLETE}", {"parts": parts, "files": files})
        for old in self.names()[:-_KEEP]:
            self.remove(old)

    def remove(self, name: str) -> None:
        self.store.delete(f"checkpoints/{name}/{_COMPLETE}")  # first: what is half removed must not look complete
        self.store.delete(f"checkpoints/{name}")

    def forget_after(self, name: str | None) -> None:
        """Remove what comes behind a checkpoint that is gone on from: it was damaged, and would push new ones out."""
        for other in self.names():
            if name is None or other > name:
                self.remove(other)

    def sweep(self) -> None:
        """Remove what a killed run left unfinished. Only while no worker writes."""
        self.store.sweep("checkpoints")  # a folder that holds half a file alone is seen by nobody else
        complete = set(self.names())
        for name in self._folders():
            if name not in complete:
                self.store.delete(f"checkpoints/{name}")


class Writer:
    """Writes one checkpoint at a time while training goes on. A failure stays: it is asked for at every step, and never swallowed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Waits for the one before: two at once would only share the disk. After a failure nothing more is written."""
        if self.wait() is None:
            self._pending = self._pool.submit(write)

    def failure(self) -> BaseException | None:
        """What one failed with, if it has; does not wait."""
        return self._pending.exception() if self._pending is not None and self._pending.done() else None

    def wait(self) -> BaseException | None:
        return self._pending.exception() if self._pending is not None else None
