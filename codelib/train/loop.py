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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from codelib.core.progress import duration
from codelib.models.conversation import Conversation, open_dataset
from codelib.models.encoding import Encoded, Encoder, collate
from codelib.models.loading import load_base, load_processor
from codelib.train.backends import Backend, make_backend
from codelib.train.checkpoints import Curve, TrainProgress, read_adapter, write_adapter
from codelib.train.lora import add_adapters, log_lines
from codelib.train.sampler import Sampler
from codelib.train.samples import read
from codelib.train.settings import TrainSettings
from codelib.train.vision_features import FeatureReader

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
    features: str | None = None  # folder of the vision features, where they are reused

    @property
    def sampler(self) -> Sampler:
        return Sampler(len(self.training), self.settings.global_batch, self.settings.seed)

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


class _Loader:
    """Reads and encodes the next step's samples while this step is computed."""

    def __init__(self, encoder: Encoder, conversations: dict[str, Conversation], features: str | None) -> None:
        self.encoder, self.conversations = encoder, conversations
        self.example = partial(FeatureReader(features).example, encoder) if features else encoder.example

    def encode(self, sample_ids: list[str]) -> list[Encoded]:
        return [self.example(self.conversations[sample_id]) for sample_id in sample_ids]

    def _step(self, share: list[list[str]]) -> list[list[Encoded]]:
        return [self.encode(micro) for micro in share]

    def steps(self, shares: Iterator[list[list[str]]]) -> Iterator[list[list[Encoded]]]:
        with ThreadPoolExecutor(1) as pool:
            ahead = None
            for share in shares:
                following = pool.submit(self._step, share)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()


class LossNotFinite(ArithmeticError):
    """Training went astray; nothing after this step would be worth keeping."""


class _Run:
    def __init__(self, job: Job, place: Place, report: Report, say: Callable[[str], None]) -> None:
        self.job, self.place, self.report, self.say = job, place, report, say
        settings = job.settings
        torch.manual_seed(settings.seed)  # the adapters' random half is the same on every rank
        dtype = "bfloat16" if settings.precision == "bf16" else "float32"
        base = load_base(job.model, dtype, place.device)
        if settings.activation_checkpointing:
            base.activation_checkpointing_enable()
        self.model = add_adapters(base, settings.lora)
        self.backend: Backend = make_backend(self.model, settings, place.rank, place.world)
        self.encoder = Encoder(load_processor(job.model), settings.pixels)
        wanted = {*job.training, *job.validation}
        conversations = {one.sample_id: one for one in read(open_dataset(job.dataset), settings.tasks) if one.sample_id in wanted}
        self.loader = _Loader(self.encoder, conversations, job.features)
        for line in log_lines(self.model, settings.lora):
            say(line)
        self.progress = TrainProgress()
        self.best: dict[str, torch.Tensor] | None = None

    def resume(self, folder: Path) -> None:
        self.progress = TrainProgress.read(folder)
        self.backend.load(folder)
        self.best = read_adapter(folder / "best")

    def run(self) -> None:
        job, place = self.job, self.place
        settings, sampler, total = job.settings, job.sampler, job.total_steps
        first = self.progress.step
        shares = (
            [
                [job.training[index] for index in micro]
                for micro in sampler.share(step, place.rank, place.world, settings.batch_size)
            ]
            for step in range(first, total)
        )
        self.model.train()
        began = said = time.monotonic()
        for step, micros in zip(range(first, total), self.loader.steps(shares), strict=True):
            loss = self._step(step, total, micros)
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
                    f"{settings.global_batch / per_step_s:.1f} samples/s  {duration(per_step_s * (total - step - 1))} left"
                )

    def _to_device(self, encoded: list[Encoded]) -> dict[str, torch.Tensor]:
        batch = collate(encoded, self.encoder.pad_id, left=False)
        return {name: tensor.to(self.place.device) for name, tensor in batch.items()}

    def _step(self, step: int, total: int, micros: list[list[Encoded]]) -> float:
        """One optimiser step; returns its loss per answer token over the global batch."""
        settings, place = self.job.settings, self.place
        # dropout is a function of (seed, step, rank), so a resumed run draws what the killed one would have drawn
        torch.manual_seed((settings.seed * 1_000_003 + step) * 4099 + place.rank)
        [tokens] = _summed([float(sum(one.num_answer_tokens for micro in micros for one in micro))], place)
        # gradients are averaged over the ranks, and should be summed
        scale = place.world / tokens
        loss = sum(
            self.backend.accumulate(self._to_device(micro), scale, last=number == len(micros) - 1)
            for number, micro in enumerate(micros)
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
        ids, place, size = self.job.validation, self.place, self.job.settings.batch_size
        if not ids:
            return None
        self.model.eval()
        nll = tokens = 0.0
        rounds = -(-len(ids) // (place.world * size))
        for number in range(rounds):  # every rank runs as many forwards: ZeRO-3 gathers weights in each
            start = (number * place.world + place.rank) * size
            mine = list(ids[start : start + size])
            encoded = self.loader.encode(mine or [ids[0]])
            value = self.backend.measure(self._to_device(encoded))
            if mine:
                nll += value
                tokens += sum(one.num_answer_tokens for one in encoded)
        self.model.train()
        nll, tokens = _summed([nll, tokens], place)
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
