"""Micro-batches for one worker, made ahead of the GPU by processes that do nothing else.

    Sampler ── keys (sample indices) ──> loader processes: row of the shard, its images decoded, patches, packed or padded ──> Batch
                                                   (or the vision features kept of them, no pixel read)   (pinned memory) ──> the loop

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
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codelib.models.conversation import open_dataset
from codelib.models.encoding import IGNORED, Encoded, Encoder, Tokens, collate
from codelib.models.packing import pack
from codelib.models.prompt import ImageError, PixelPolicy, open_pixels
from codelib.train.batch import Batch, Step
from codelib.train.example_rows import Rows
from codelib.train.examples import Rule, look_at_header, look_at_pixels, processor_of, table_of
from codelib.train.failures import LoadError
from codelib.train.job import Job, Place
from codelib.train.packer import Packing
from codelib.train.sampler import Micro, Sampler, heaviest, in_order
from codelib.train.samples import read
from codelib.train.settings import TrainSettings
from codelib.train.vision_features import FeatureReader

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


@dataclass(frozen=True)
class _Failed:
    sentence: str


Key = tuple[Micro, bool]
"""Sample indices, and whether their labels are left out."""


class _Batches(torch.utils.data.Dataset[Batch | _Failed]):
    """Key -> Batch, in whatever process it is asked. Travels as paths and numbers; files and processor are opened on first use."""

    def __init__(
        self, rows: Rows, root: str, model: str, pixels: PixelPolicy, packing: Packing, dtype: torch.dtype, features: str | None
    ) -> None:
        self.rows, self.root, self.model, self.pixels, self.packing, self.dtype = rows, root, model, pixels, packing, dtype
        self.features = features
        self._encoder: Encoder | None = None
        self._reader: FeatureReader | None = None

    @property
    def encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder(processor_of(self.model), self.pixels)
        return self._encoder

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": None, "_reader": None}

    def sample(self, index: int) -> Encoded:
        """As it is trained on. Raises ImageError (ValueError) where an image is not what it was when the shards were made."""
        if self.features is None:
            return self.from_pixels(index)
        row = self.rows.read(index)
        if self._reader is None:
            self._reader = FeatureReader(self.features)
        one = self.encoder.worded(row["sample_id"], _tokens(row))
        if not row["images"]:
            return one
        features, grid = self._reader.read(row["image_sha256"], [Path(name).name for name in row["images"]])
        return replace(one, image_features=features, image_grid_thw=grid)

    def from_pixels(self, index: int) -> Encoded:
        """Also where features are reused: for what the stock model is asked. Raises ImageError."""
        row = self.rows.read(index)
        images = []
        for name, size_bytes in zip(row["images"], row["image_bytes"], strict=True):
            path = Path(self.root) / name
            images.append(open_pixels(path, self.pixels))
            if path.stat().st_size != size_bytes:
                raise ImageError(f"{path.name}: another image than when the run began")
        return self.encoder.encoded(row["sample_id"], _tokens(row), images)

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


def _tokens(row: dict[str, Any]) -> Tokens:
    spans = tuple(zip(row["answer_starts"], row["answer_ends"], strict=True))
    return Tokens(tuple(row["input_ids"]), spans, tuple(row["image_tokens"]))


class Feed:
    """All that one worker trains and validates on. ``training`` and ``validation``: sample ids in the plan's order. ``features``: folder of
    the vision features, where they are reused."""

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
        features: str | None = None,
    ) -> None:
        self.settings, self.rank, self.world, self.device = settings, rank, world, device
        self.rows = rows.only([*training, *validation])
        self.num_training = len(training)
        self.limits = settings.limits
        self.sampler = Sampler(
            tuple(int(n) for n in self.rows.lengths[: len(training)]), settings.global_batch, settings.seed, self.limits
        )
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        self.batches = _Batches(self.rows, root, model, settings.pixels, settings.packing, dtype, features)

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

    @property
    def encoder(self) -> Encoder:
        return self.batches.encoder

    def encode(self, sample_ids: Sequence[str]) -> list[Encoded]:
        """Single samples by id, from pixels whatever is reused. Raises LoadError."""
        made = []
        for sample_id in sample_ids:
            try:
                made.append(self.batches.from_pixels(self.rows.index[sample_id]))
            except (ValueError, OSError) as error:
                raise _load_error(f"{sample_id}: {error}") from None
        return made

    def _key(self, micro: Micro) -> Key:
        return (micro, False) if micro else ((int(np.argmin(self.rows.lengths)),), True)

    def _checked(self, made: Batch | _Failed) -> Batch:
        if isinstance(made, _Failed):
            raise _load_error(made.sentence)
        return made


def _load_error(sentence: str) -> LoadError:
    return LoadError(f"sample {sentence}; put the release back as it was and run the same command again")


def make_feed(job: Job, place: Place) -> Feed:
    """What this worker trains and validates on."""
    settings = job.settings
    if job.examples:
        rows = Rows.of_parts(job.examples)
    else:
        wanted = {*job.training, *job.validation}
        conversations = [one for one in read(open_dataset(job.dataset), settings.tasks) if one.sample_id in wanted]
        encoder = Encoder(processor_of(job.model), settings.pixels)
        look = look_at_pixels if job.features else look_at_header  # features are found by the hash of a file
        rows = Rows.of_table(table_of(conversations, encoder, Rule.of(settings), look, Path(job.dataset)))
    return Feed(
        rows, job.training, job.validation, settings=settings, root=job.dataset, model=job.model, features=job.features,
        rank=place.rank, world=place.world, device=place.device,
    )  # fmt: skip


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
