"""The loop that every worker runs: a plain function, with or without Ray around it.

    Job ── model + adapters ── last checkpoint? ──> rehearsal of the largest batch ──> for each step: my share of the global batch ──
      loss ── backend.step ──> every checkpoint_every steps and at the end: validation, best kept, written while the next steps run
                          └──> asked to stop: checkpoint, leave

The loss of a step is the mean over all answer tokens of the global batch, whatever the number of workers, so that two workers
with batch 2 take the step of one worker with batch 4.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from codelib.core.store import Store
from codelib.models.loading import load_base
from codelib.models.packing import attend_in_segments
from codelib.train.backends import Backend, make_backend
from codelib.train.batch import Batch, Step
from codelib.train.checkpoints import Checkpoints, Curve, TrainProgress, Writer, adapter_config, adapter_files
from codelib.train.failures import LossNotFinite, checkpoint_failed, memory_for, named
from codelib.train.feed import make_feed
from codelib.train.installed import attention
from codelib.train.job import Channel, Job, Place
from codelib.train.lora import adapted, log_lines
from codelib.train.probe import write_probe
from codelib.train.settings import TrainSettings
from codelib.train.validation import validate
from codelib.train.watch import Meter, Trace, peak_memory_gib


def learning_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Linear warm-up, then half a cosine to zero. ``step`` counts from 0; the first step already learns, the last still does."""
    warmup = round(settings.warmup_ratio * total_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total_steps - warmup)))


class _Run:
    def __init__(self, job: Job, place: Place, store: Store | None, channel: Channel) -> None:
        self.job, self.place, self.store, self.channel = job, place, store, channel
        settings = job.settings
        torch.manual_seed(settings.seed)  # the adapters' random half is the same on every rank
        dtype = "bfloat16" if settings.precision == "bf16" else "float32"
        base = load_base(job.model, dtype, place.device, attention(settings, place.device))
        if settings.packing == "packed":
            attend_in_segments(base)
        self.model = adapted(base, settings)
        self.backend: Backend = make_backend(self.model, settings, place.rank, place.world)
        self.feed = make_feed(job, place)
        for line in log_lines(self.model, settings.lora):
            self.say(line)
        self.progress = TrainProgress()
        self.best: dict[str, torch.Tensor] | None = None
        self.writer = Writer()
        self.written = 0  # the step of the last checkpoint that is begun
        self.sealed = 0  # the step of the last one that is complete
        self.attempt = place.agree(secrets.token_hex(4))  # two attempts at a step must not write into one folder

    def say(self, line: str) -> None:
        if self.place.rank == 0:
            self.channel.say(line)

    def resume(self) -> None:
        """Go on from the last sound checkpoint, if there is one."""
        if self.store is None:
            return
        checkpoints, name = Checkpoints(self.store), None
        if self.place.rank == 0:
            checkpoints.sweep()
            name = checkpoints.latest(self.say)
            checkpoints.forget_after(name)
        name = self.place.agree(name)
        if name is None:
            return
        self.progress = checkpoints.progress(name)
        self.backend.restore(checkpoints.whole(name))
        self.best = checkpoints.adapter(name, "best") if self.place.rank == 0 else None
        self.written = self.sealed = self.progress.step
        self.say(f"  continuing after step {self.progress.step} of {self.job.total_steps}")

    def run(self) -> bool:
        """Whether the last step was reached; False where the run was asked to stop and left a checkpoint."""
        first, total = self.progress.step, self.job.total_steps
        self.model.train()
        if first < total:
            self._rehearse()
        trace = Trace(self.store, first) if self.job.profile and self.store is not None and self.place.rank == 0 else None
        with closing(self.feed.steps(first, total)) as steps:
            if not self._steps(steps, trace):
                return False
        if trace is not None and not trace.written:
            self.say("  no trace was written: too few steps were left")
        return self._finish()

    def _steps(self, steps: Iterator[Step], trace: Trace | None) -> bool:
        """Whether the last step was reached."""
        progress, settings, total = self.progress, self.job.settings, self.job.total_steps
        steps_per_epoch = self.job.sampler.steps_per_epoch
        meter = Meter(progress.step, total, self.place.device)
        for step, given in enumerate(steps, progress.step):
            answers, tokens, stop, failed = self._together(given)
            if failed or stop:
                return self._leave(write=not failed)
            if trace is not None:
                trace.before_step()
            loss, norm = self._step(step, answers, given)
            if trace is not None and (name := trace.after_step()):
                self.say(f"  trace of a few steps: {name}")
            progress.step = step + 1
            rate = learning_rate(settings, step, total)
            progress.curve.append(Curve(step + 1, round((step + 1) / steps_per_epoch, 4), loss, rate))
            meter.add(settings.global_batch, tokens, given.wait_s)
            self._tell(meter, norm)
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == total:
                self._judge()
                self._checkpoint()
        return True

    def _together(self, given: Step) -> list[float]:
        """Summed over the ranks: answer tokens and all tokens of the step, and who wants to stop or could not write a checkpoint."""
        stop = self.place.rank == 0 and self.channel.stop_wanted()
        failed = self.writer.failure() is not None
        return self.place.sum([float(given.num_answer_tokens), float(given.num_tokens), float(stop), float(failed)])

    def _tell(self, meter: Meter, norm: float) -> None:
        line = self.progress.curve[-1]
        values = {"loss": line.loss, "learning_rate": line.learning_rate, "gradient_norm": norm}
        if meter.due(line.step):
            text, rates = meter.take(line.step, line.loss, line.learning_rate)
            values |= rates
            self.say(text)
        if self.place.rank == 0:
            self.channel.measured(line.step, values)

    def _rehearse(self) -> None:
        """Forward and backward of the batches that need the most memory, so that it runs out now or not at all; nothing is learned."""
        most = 0
        for batch in self.feed.longest(self.job.total_steps):
            with memory_for(batch, f"before the first step (worker {self.place.rank})"):
                self.backend.accumulate(batch.to(self.place.device), 1.0, last=True)
            self.backend.discard()
            most = max(most, batch.num_tokens)
        memory = peak_memory_gib(self.place.device)
        said = f", {memory:.1f} GiB of GPU memory" if memory is not None else ""
        self.say(f"  the batches that need the most memory fit: up to {most:,} tokens{said}")

    def _step(self, step: int, answers: float, given: Step) -> tuple[float, float]:
        """One optimiser step; returns its loss per answer token over the global batch, and the gradients' norm."""
        settings, place = self.job.settings, self.place
        # dropout is a function of (seed, step, rank), so a resumed run draws what the killed one would have drawn
        torch.manual_seed((settings.seed * 1_000_003 + step) * 4099 + place.rank)
        # gradients are averaged over the ranks, and should be summed
        scale, losses = place.world / answers, []
        for number, batch in enumerate(given.batches, 1):
            with memory_for(batch, f"at step {step + 1} (worker {place.rank})"):
                losses.append(self.backend.accumulate(batch.to(place.device), scale, last=number == len(given.batches)))
        loss = place.sum([sum(losses)])[0] / answers
        if not math.isfinite(loss):
            astray = [batch for batch, value in zip(given.batches, losses, strict=True) if not math.isfinite(value)]
            self._astray(f"the loss is not finite at step {step + 1}", astray)
        norm = self.backend.step(learning_rate(settings, step, self.job.total_steps))
        if not math.isfinite(norm):
            self._astray(f"the gradients are not finite at step {step + 1}", given.batches)
        return loss, norm

    def _astray(self, what: str, mine: Sequence[Batch]) -> None:
        """Every rank raises LossNotFinite with the batches of all ranks that went astray."""
        here = named([batch for batch in mine if not batch.empty])
        everyone = [here] * self.place.world
        if self.place.world > 1:
            torch.distributed.all_gather_object(everyone, here)
        where = "; ".join(text for text in everyone if text)
        self.writer.wait()  # what the sentence says is kept may be under way, and the process ends with it
        kept = (
            f"the checkpoint of step {self.sealed or self.written} is kept"
            if self.written
            else "no checkpoint was written before"
        )
        raise LossNotFinite(f"{what}, on {where}; lower learning_rate, or look at these samples; {kept}")

    def _judge(self) -> None:
        """Validate, and keep this adapter where it is the best so far."""
        progress, settings = self.progress, self.job.settings
        line = progress.curve[-1]
        line.validation_loss, line.validation_accuracy = validate(self.job, self.place, self.backend, self.feed)
        self.model.train()
        recent = progress.curve[-settings.checkpoint_every :]
        # without validation patients the training loss since the last checkpoint decides
        loss = line.validation_loss if line.validation_loss is not None else sum(c.loss for c in recent) / len(recent)
        if not math.isfinite(loss):
            self.writer.wait()
            raise LossNotFinite(f"the validation loss is not finite at step {line.step}; lower learning_rate")
        better = progress.best_loss is None or (-(line.validation_accuracy or 0.0), loss) < (
            -(progress.best_accuracy or 0.0),
            progress.best_loss,
        )
        adapter = self.backend.adapter()
        if better:
            progress.best_loss, progress.best_accuracy, progress.best_step = loss, line.validation_accuracy, line.step
            self.best = adapter
        kind = "validation" if line.validation_loss is not None else "training"
        accuracy = f", {line.validation_accuracy:.1%} of answers right" if line.validation_accuracy is not None else ""
        self.say(
            f"  checkpoint at step {line.step}: {kind} loss {loss:.4f}{accuracy}, best {progress.best_loss:.4f} at step {progress.best_step}"
        )
        judged = {"validation_loss": line.validation_loss, "validation_accuracy": line.validation_accuracy}
        if self.place.rank == 0:
            self.channel.measured(line.step, {name: value for name, value in judged.items() if value is not None})

    def _checkpoint(self) -> None:
        """Copy what must be kept, and write it while training goes on."""
        place, step = self.place, self.progress.step
        share, adapter = self.backend.share(), self.backend.adapter()
        self.written = step
        if self.store is None or share is None:
            return
        checkpoints, name = Checkpoints(self.store), f"step-{step:08d}-{self.attempt}"
        parts = 1 if self.job.settings.strategy == "ddp" else place.world
        progress, config, best = self.progress.to_json(), adapter_config(self.model, self.job.base_name), self.best

        def write() -> None:
            files = {f"part-{place.rank}.safetensors": share.to_bytes()}
            if place.rank == 0:
                assert adapter is not None
                # stopped before the first validation: what there is is the best
                files |= adapter_files("adapter", config, adapter) | adapter_files("best", config, best or adapter)
                files["progress.json"] = progress
            checkpoints.write(name, place.rank, files)
            if place.rank == 0:
                checkpoints.seal(name, parts)
            self.sealed = step

        self.writer.submit(write)

    def _flush(self) -> None:
        """Wait until the last checkpoint is written. Raises CheckpointFailed on the rank that could not."""
        error = self.writer.wait()
        failed = self.place.sum([float(error is not None)])[0]
        if error is not None:
            raise checkpoint_failed(error, self.sealed) from error
        if failed:
            raise checkpoint_failed(OSError("another worker could not write its part"), self.sealed)

    def _leave(self, write: bool) -> bool:
        """``write`` is what all ranks agreed on: under ZeRO a checkpoint takes every one of them."""
        step = self.progress.step
        if write and step > self.written:
            self._checkpoint()
        self._flush()
        self.say(f"  stopped after step {step} of {self.job.total_steps}{'; its checkpoint is written' if step else ''}")
        return False

    def _finish(self) -> bool:
        """The last checkpoint is on disk, and so is what the best adapter says to a few samples."""
        self._flush()
        if self.store is not None:
            self.backend.set_adapter(self.best)
            self.model.eval()
            write_probe(self.job, self.place, self.backend, self.feed, self.store)
        return True


def train(job: Job, place: Place, folder: Path | str | None, channel: Channel | None = None) -> tuple[Any, bool]:
    """Run the job to its last step, from the last checkpoint below ``folder`` (the run's) if there is one; None: write nothing.

    Returns the model (with the best adapter, where there is a folder) and whether the last step was reached. Raises TrainingFailed
    where trying again would end the same way.
    """
    run = _Run(job, place, Store(str(folder)) if folder is not None else None, channel or Channel())
    run.resume()
    return run.model, run.run()
