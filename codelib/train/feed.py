"""Micro-batches for one worker, made ahead of the GPU by processes that do nothing else.

    Sampler ── keys (sample indices) ──> loader processes: row of the shard, its images decoded, patches, packed or padded ──> Batch
                                                                                                (pinned memory) ──> the loop

What is made is a function of the key, and keys come in the sampler's order, so neither the number of loader processes nor a kill changes
what a step sees. With no loader processes a thread does the same, one batch ahead.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codelib.core.cli import JobFailed
from codelib.models.encoding import IGNORED, Encoded, Encoder, Tokens, collate
from codelib.models.packing import pack
from codelib.models.prompt import ImageError, PixelPolicy, open_pixels
from codelib.train.example_rows import Rows
from codelib.train.examples import processor_of
from codelib.train.packer import Limits, Packing
from codelib.train.sampler import Micro, Sampler, heaviest, in_order
from codelib.train.settings import TrainSettings

_AHEAD = 2  # batches that each loader process holds ready
# other people's modules alone: the server does not know our sys.path (Python 3.11), and would import an installed codelib for a worker
# that runs another one, a job's working directory say
_IMPORTED = [
    "torch",
    "pyarrow.parquet",
    "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
]
_FEW = 8  # batches for which no process is started


class LoadError(JobFailed):
    """A sample that could be read when its shard was made, and cannot be now. Names the sample."""


@dataclass(frozen=True)
class Batch:
    """One forward's samples. ``inputs``: what the model takes, ``labels`` included. ``empty``: it is there for the other ranks' sake, and no
    label is asked of it."""

    sample_ids: tuple[str, ...]
    lengths: tuple[int, ...]  # tokens of each sample
    num_answer_tokens: int
    inputs: dict[str, Any]
    empty: bool = False

    @property
    def num_tokens(self) -> int:
        return 0 if self.empty else sum(self.lengths)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        moved = {name: change(value) if isinstance(value, torch.Tensor) else value for name, value in self.inputs.items()}
        return replace(self, inputs=moved)

    def pin_memory(self) -> Batch:
        """For torch's loader."""
        return self._with(lambda tensor: tensor.pin_memory())

    def to(self, device: str) -> dict[str, Any]:
        """The model's inputs on a device; out of pinned memory the copy runs beside the computation."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True)).inputs


@dataclass(frozen=True)
class Step:
    """A worker's share of one optimiser step. ``wait_s``: how long the loop stood still for it."""

    batches: tuple[Batch, ...]
    wait_s: float

    @property
    def num_answer_tokens(self) -> int:
        return sum(batch.num_answer_tokens for batch in self.batches)

    @property
    def num_tokens(self) -> int:
        return sum(batch.num_tokens for batch in self.batches)


@dataclass(frozen=True)
class _Failed:
    sentence: str


Key = tuple[Micro, bool]
"""Sample indices, and whether their labels are left out."""


class _Batches(torch.utils.data.Dataset[Batch | _Failed]):
    """Key -> Batch, in whatever process it is asked. Travels as paths and numbers; files and processor are opened on first use."""

    def __init__(self, rows: Rows, root: str, model: str, pixels: PixelPolicy, packing: Packing, dtype: torch.dtype) -> None:
        self.rows, self.root, self.model, self.pixels, self.packing, self.dtype = rows, root, model, pixels, packing, dtype
        self._encoder: Encoder | None = None

    @property
    def encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder(processor_of(self.model), self.pixels)
        return self._encoder

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": None}

    def sample(self, index: int) -> Encoded:
        """Raises ImageError (ValueError) where an image is not what it was when the shards were made."""
        row = self.rows.read(index)
        images = []
        for name, size_bytes in zip(row["images"], row["image_bytes"], strict=True):
            path = Path(self.root) / name
            images.append(open_pixels(path, self.pixels))
            if path.stat().st_size != size_bytes:
                raise ImageError(f"{path.name}: another image than when the run began")
        spans = tuple(zip(row["answer_starts"], row["answer_ends"], strict=True))
        tokens = Tokens(tuple(row["input_ids"]), spans, tuple(row["image_tokens"]))
        return self.encoder.encoded(row["sample_id"], tokens, images)

    def __getitem__(self, key: Key) -> Batch | _Failed:
        indices, silent = key
        encoded = []
        for index in indices:
            try:
                encoded.append(self.sample(index))
            except (ValueError, OSError) as error:
                return _Failed(f"{self.rows.sample_ids[index]}: {error}")
            except Exception as error:
                error.add_note(f"while sample {self.rows.sample_ids[index]} was read")
                raise
        if silent:
            encoded = [replace(one, labels=torch.full_like(one.labels, IGNORED)) for one in encoded]
        packed = self.packing == "packed"
        inputs = pack(encoded) if packed else collate(encoded, self.encoder.pad_id, left=False)
        if "pixel_values" in inputs:  # the vision tower would cast them first of all: half of the bytes to move
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        return Batch(
            tuple(one.sample_id for one in encoded),
            tuple(len(one.input_ids) for one in encoded),
            sum(one.num_answer_tokens for one in encoded),
            inputs,
            silent,
        )


def limits_of(settings: TrainSettings) -> Limits:
    """Of one micro-batch: a number of tokens where the recipe has one, else a number of samples."""
    tokens = settings.tokens_per_batch
    return Limits(settings.batch_size if tokens is None else None, tokens, settings.packing)


class Feed:
    """All that one worker trains and validates on. ``training`` and ``validation``: sample ids in the plan's order."""

    def __init__(
        self,
        rows: Rows,
        training: Sequence[str],
        validation: Sequence[str],
        *,
        settings: TrainSettings,
        root: str,
        model: str,
        rank: int = 0,
        world: int = 1,
        device: str = "cpu",
    ) -> None:
        self.settings, self.rank, self.world, self.device = settings, rank, world, device
        self.rows = rows.only([*training, *validation])
        self.num_training = len(training)
        self.limits = limits_of(settings)
        self.sampler = Sampler(
            tuple(int(n) for n in self.rows.lengths[: len(training)]), settings.global_batch, settings.seed, self.limits
        )
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        self.batches = _Batches(self.rows, root, model, settings.pixels, settings.packing, dtype)

    def steps(self, first: int, total: int) -> Generator[Step]:
        """This worker's share of the steps from ``first`` to before ``total``. Close the iterator to end its processes early."""
        counts: deque[int] = deque()  # batches of each step that the loader has begun

        def keys() -> Iterator[Key]:
            for step in range(first, total):
                share = self.sampler.share(step, self.rank, self.world)
                counts.append(len(share))
                yield from map(self._key, share)

        with _Made(self, keys(), self.settings.loaders) as made:
            for _ in range(first, total):
                began_s = time.monotonic()
                batches = [next(made)]
                batches += itertools.islice(made, counts.popleft() - 1)
                yield Step(tuple(batches), time.monotonic() - began_s)

    def validation(self) -> Iterator[Batch]:
        """This worker's share of the validation samples, as many batches as every other worker's."""
        lengths = [int(n) for n in self.rows.lengths[self.num_training :]]
        micros = in_order(lengths, self.rank, self.world, self.limits, self.settings.global_batch)
        keys = (self._key(tuple(self.num_training + index for index in micro)) for micro in micros)
        with _Made(self, keys, self.settings.loaders if len(micros) > _FEW else 0) as made:
            yield from made

    def longest(self, total: int) -> Iterator[Batch]:
        """The batches of a run's steps that need the most memory: for the probe before the first step. The same on every rank."""
        rows, training = self.rows, slice(0, self.num_training)
        weights = [rows.visual_tokens[training].tolist(), rows.answer_tokens[training].tolist()]
        steps = range(min(total, self.sampler.steps_per_epoch * self.settings.epochs))
        found = heaviest(self.sampler, steps, self.world, weights)
        for micro in found:
            yield self._checked(self.batches[micro, False])

    def encode(self, sample_ids: Sequence[str]) -> list[Encoded]:
        """Single samples, by id."""
        return [self.batches.sample(self.rows.index[sample_id]) for sample_id in sample_ids]

    def _key(self, micro: Micro) -> Key:
        return (micro, False) if micro else ((int(np.argmin(self.rows.lengths)),), True)

    def _checked(self, made: Batch | _Failed) -> Batch:
        if isinstance(made, _Failed):
            raise LoadError(f"sample {made.sentence}; put the release back as it was and run the same command again")
        return made


class _Made:
    """The batches of some keys in their order, made ahead; leaving the block ends whatever makes them."""

    def __init__(self, feed: Feed, keys: Iterator[Key], loaders: int) -> None:
        self.feed, self.keys, self.loaders = feed, keys, loaders

    def __enter__(self) -> Iterator[Batch]:
        self.source = self._processes() if self.loaders else self._thread()
        return map(self.feed._checked, self.source)

    def __exit__(self, *error: object) -> None:
        self.source.close()

    def _thread(self) -> Any:
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[Batch | _Failed]] = deque()
            for key in self.keys:
                waiting.append(pool.submit(self.feed.batches.__getitem__, key))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _processes(self) -> Any:
        # a fork of a process with Ray's, NCCL's and torch's threads may hang; the server forks from a clean one that has imported what it takes
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        theirs, ours = context.Pipe(duplex=False)
        loader = torch.utils.data.DataLoader(
            self.feed.batches,
            batch_size=None,
            sampler=self.keys,
            num_workers=self.loaders,
            prefetch_factor=_AHEAD,
            pin_memory=self.feed.device != "cpu",
            multiprocessing_context=context,
            worker_init_fn=functools.partial(_end_with, theirs),
        )
        iterator: Any = iter(loader)
        try:
            yield from iterator
        finally:
            iterator._shutdown_workers()  # not when the garbage is collected
            ours.close()
            theirs.close()


def _end_with(pipe: Any, loader: int) -> None:
    """In a loader process: end when the other end of the pipe closes, which a killed worker does too. torch's own watch looks at the parent, and
    that is the fork server, which its children keep alive."""

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            pipe.poll(None)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
