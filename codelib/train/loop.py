"""The loop that every worker runs: a plain function, with or without Ray around it.

    Job ── model + adapters ── resume? ──> for each step: my share of the global batch ── loss ── backend.step
                                                └─ every checkpoint_every steps and at the end: validation, best kept, report

The loss of a step is the mean over all answer tokens of the global batch, whatever the number of workers, so that two workers
with batch 2 take the step of one worker with batch 4.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codelib.core.progress import duration
from codelib.core.stage import Part
from codelib.models.conversation import open_dataset
from codelib.models.encoding import Encoder
from codelib.models.loading import load_base
from codelib.models.packing import attend_in_segments
from codelib.train.backends import Backend, make_backend
from codelib.train.checkpoints import Curve, TrainProgress, read_adapter, write_adapter
from codelib.train.example_rows import Rows
from codelib.train.examples import Rule, look_at_header, processor_of, table_of
from codelib.train.feed import Feed, Step, limits_of
from codelib.train.lora import add_adapters
from codelib.train.sampler import Sampler
from codelib.train.samples import read
from codelib.train.settings import TrainSettings

_SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, as plain values."""

    settings: TrainSettings
    dataset: str  # folder
    model: str  # hub id or folder
    base_name: str  # what the adapter says it was made for
    training: tuple[str, ...]  # sample ids, in the plan's order
    validation: tuple[str, ...]
    tokens: tuple[int, ...] = ()  # of each training sample, where they are known
    examples: tuple[Part, ...] = ()  # token-ready shards; without them a worker makes its examples itself, in memory

    @property
    def sampler(self) -> Sampler:
        lengths = self.tokens or (1,) * len(self.training)
        return Sampler(lengths, self.settings.global_batch, self.settings.seed, limits_of(self.settings))

    @property
    def total_steps(self) -> int:
        steps = self.sampler.steps_per_epoch * self.settings.epochs
        return min(steps, self.settings.max_steps or steps)


@dataclass(frozen=True)
class Place:
    """Where a worker stands."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"


Report = Callable[[dict[str, float], Path], None]
"""Called by every rank at a checkpoint, with the metrics and this rank's files; must have taken them when it returns."""


def learning_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Linear warm-up, then half a cosine to zero. ``step`` counts from 0; the first step already learns, the last still does."""
    warmup = round(settings.warmup_ratio * total_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total_steps - warmup)))


def _summed(values: list[float], place: Place) -> list[float]:
    """The sum over all ranks."""
    if place.world == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=place.device)
    torch.distributed.all_reduce(tensor)
    return [float(value) for value in tensor]


def make_feed(job: Job, place: Place) -> Feed:
    """What this worker trains and validates on."""
    settings = job.settings
    if job.examples:
        rows = Rows.of_parts(job.examples)
    else:
        wanted = {*job.training, *job.validation}
        conversations = [one for one in read(open_dataset(job.dataset), settings.tasks) if one.sample_id in wanted]
        encoder = Encoder(processor_of(job.model), settings.pixels)
        rows = Rows.of_table(table_of(conversations, encoder, Rule.of(settings), look_at_header, Path(job.dataset)))
    return Feed(
        rows,
        job.training,
        job.validation,
        settings=settings,
        root=job.dataset,
        model=job.model,
        rank=place.rank,
        world=place.world,
        device=place.device,
    )


class LossNotFinite(ArithmeticError):
    """Training went astray; nothing after this step would be worth keeping."""


class _Run:
    def __init__(self, job: Job, place: Place, report: Report, say: Callable[[str], None]) -> None:
        self.job, self.place, self.report, self.say = job, place, report, say
        settings = job.settings
        torch.manual_seed(settings.seed)  # the adapters' random half is the same on every rank
        dtype = "bfloat16" if settings.precision == "bf16" else "float32"
        base = load_base(job.model, dtype, place.device)
        if settings.packing == "packed":
            attend_in_segments(base)
        if settings.activation_checkpointing:
            base.activation_checkpointing_enable()
        self.model = add_adapters(base, settings.lora)
        self.backend: Backend = make_backend(self.model, settings, place.rank, place.world)
        self.feed = make_feed(job, place)
        self.progress = TrainProgress()
        self.best: dict[str, torch.Tensor] | None = None

    def resume(self, folder: Path) -> None:
        self.progress = TrainProgress.read(folder)
        self.backend.load(folder)
        self.best = read_adapter(folder / "best")

    def run(self) -> None:
        job = self.job
        settings, sampler, total = job.settings, job.sampler, job.total_steps
        first = self.progress.step
        self.model.train()
        if first < total:
            self.probe()
        began = said = time.monotonic()
        waited = 0.0
        with closing(self.feed.steps(first, total)) as steps:
            for step, given in zip(range(first, total), steps, strict=True):
                waited += given.wait_s
                loss = self._step(step, total, given)
                rate = learning_rate(settings, step, total)
                epoch = round((step + 1) / sampler.steps_per_epoch, 4)
                self.progress.step = step + 1
                self.progress.curve.append(Curve(step + 1, epoch, loss, rate))
                if (step + 1) % settings.checkpoint_every == 0 or step + 1 == total:
                    self._checkpoint()
                now = time.monotonic()
                if now - said >= _SAY_EVERY_S or step + 1 == total:
                    said = now
                    per_step_s = (now - began) / (step + 1 - first)
                    self.say(
                        f"  train  step {step + 1}/{total}  loss {loss:.4f}  lr {rate:.2e}  "
                        f"{settings.global_batch / per_step_s:.1f} samples/s  "
                        f"{waited / (now - began):.1%} waiting for data  {duration(per_step_s * (total - step - 1))} left"
                    )

    def probe(self) -> None:
        """Forward and backward of the batches that need the most memory, so that it runs out now or not at all; their gradients are zero."""
        tried = []
        for batch in self.feed.longest(self.job.total_steps):
            self.backend.accumulate(batch.to(self.place.device), 0.0, last=False)
            tried.append(batch.num_tokens)
        self.say(f"  the batches that need the most memory fit: up to {max(tried):,} tokens")

    def _step(self, step: int, total: int, given: Step) -> float:
        """One optimiser step; returns its loss per answer token over the global batch."""
        settings, place = self.job.settings, self.place
        # dropout is a function of (seed, step, rank), so a resumed run draws what the killed one would have drawn
        torch.manual_seed((settings.seed * 1_000_003 + step) * 4099 + place.rank)
        [tokens] = _summed([float(given.num_answer_tokens)], place)
        # gradients are averaged over the ranks, and should be summed
        scale = place.world / tokens
        loss = sum(
            self.backend.accumulate(batch.to(place.device), scale, last=number == len(given.batches) - 1)
            for number, batch in enumerate(given.batches)
        )
        per_token = _summed([loss], place)[0] / tokens
        if not math.isfinite(per_token):
            raise LossNotFinite(
                f"the loss is not finite at step {step + 1}: lower learning_rate, or look at the samples of that step"
            )
        self.backend.step(learning_rate(settings, step, total))
        return per_token

    def validation_loss(self) -> float | None:
        """Per answer token over the validation patients; None where there are none."""
        if not self.job.validation:
            return None
        self.model.eval()
        nll = tokens = 0.0
        for batch in self.feed.validation():  # as many on every rank: ZeRO-3 gathers weights in each
            nll += self.backend.measure(batch.to(self.place.device))
            tokens += batch.num_answer_tokens
        self.model.train()
        nll, tokens = _summed([nll, tokens], self.place)
        return nll / tokens

    def _checkpoint(self) -> None:
        progress, place = self.progress, self.place
        line = progress.curve[-1]
        line.validation_loss = self.validation_loss()
        recent = progress.curve[-self.job.settings.checkpoint_every :]
        # without validation patients the training loss since the last checkpoint decides
        judged = line.validation_loss if line.validation_loss is not None else sum(c.loss for c in recent) / len(recent)
        adapter = self.backend.adapter()
        if progress.best_loss is None or judged < progress.best_loss:
            progress.best_loss, progress.best_step, self.best = judged, progress.step, adapter
        folder = Path(tempfile.mkdtemp(prefix="codelib-checkpoint-"))
        try:
            self.backend.save(folder)
            if place.rank == 0:
                assert adapter is not None and self.best is not None
                write_adapter(folder / "adapter", self.model, adapter, self.job.base_name)
                write_adapter(folder / "best", self.model, self.best, self.job.base_name)
                progress.write(folder)
            self.report({"step": progress.step, "loss": line.loss, "judged_loss": judged}, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        kind = "validation" if line.validation_loss is not None else "training"
        self.say(
            f"  checkpoint at step {progress.step}: {kind} loss {judged:.4f}, best {progress.best_loss:.4f} at step {progress.best_step}"
        )


def train(
    job: Job, place: Place, report: Report, resume: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> Any:
    """Run the job to its last step, from ``resume`` (a checkpoint folder) if one is given. Returns the tuned model."""
    run = _Run(job, place, report, say if place.rank == 0 else lambda line: None)
    if resume is not None:
        run.resume(resume)
        run.say(f"  continuing after step {run.progress.step} of {job.total_steps}")
    run.run()
    return run.model
