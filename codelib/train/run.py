"""One training run from a released dataset to an adapter, on the driver.

dataset ── plan (check, measure, split by patient) ── print ── [dry run ends here] ── fit on Ray ── adapter/, curves.csv, run.json
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codelib import __version__
from codelib.core.progress import Progress
from codelib.core.stage import Part, digest
from codelib.models.conversation import Dataset
from codelib.models.encoding import Encoder
from codelib.models.tiny import ensure_tiny
from codelib.models.tiny_tokenizer import build_processor
from codelib.train import preflight
from codelib.train.examples import TINY, Rule, make_examples, processor_of
from codelib.train.loop import Job
from codelib.train.run_folder import RunFolder
from codelib.train.samples import Plan, fingerprint, make_plan, measure_all, measured_in, read
from codelib.train.settings import TrainSettings

OPERATIONAL = (
    "use_gpu",
    "cpus_per_worker",
    "max_failures",
    "loader_workers",
)  # where and how patiently a run runs changes nothing that it learns


@dataclass(frozen=True)
class Order:
    """What is asked for: settings, data and where the results go."""

    settings: TrainSettings
    dataset: Dataset
    workspace: Path
    name: str

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.workspace / "train" / self.name)

    @property
    def tiny(self) -> Path:
        return self.workspace / "models" / TINY

    def identity(self) -> dict[str, Any]:
        """What makes a run this run and no other."""
        return {
            "settings": {k: v for k, v in self.settings.fingerprint().items() if k not in OPERATIONAL},
            "data_sha256": fingerprint(self.dataset, self.settings.tasks),
        }


def plan_of(order: Order) -> tuple[Plan, bool]:
    """The plan from texts and image headers alone, without the model's files where they are not here. The second value says whether text
    tokens are exact (else the shipped small vocabulary's, an upper bound)."""
    settings, exact = order.settings, True
    _quiet()
    try:
        processor = processor_of(settings.model)
    except ValueError:
        processor, exact = build_processor(), False
    conversations = read(order.dataset, settings.tasks)
    with Progress("check", len(conversations), "samples") as progress:
        measured = measure_all(
            conversations,
            Encoder(processor, settings.pixels),
            Rule.of(settings),
            order.dataset.folder,
            step=lambda: progress.step(1, 1),
        )
    return make_plan(measured, settings, order.dataset.validation()), exact


def prepare(order: Order) -> tuple[Plan, list[Part]]:
    """Make the token-ready shards on the connected cluster, every image decoded once, and plan from them."""
    settings = order.settings
    _quiet()
    conversations = read(order.dataset, settings.tasks)
    parts = make_examples(
        conversations,
        order.dataset.folder,
        settings.model,
        processor_of(settings.model),
        Rule.of(settings),
        order.folder.examples,
    )
    return make_plan(measured_in(parts, conversations), settings, order.dataset.validation()), parts


def check_model(order: Order) -> None:
    """Raises ValueError where the model is not on this machine."""
    processor_of(order.settings.model)


def _quiet() -> None:
    # "longer than the maximum": we check that
    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)


def job_of(order: Order, plan: Plan, examples: Sequence[Part] = ()) -> Job:
    tiny = order.settings.model == TINY
    return Job(
        settings=order.settings,
        dataset=str(order.dataset.folder.resolve()),
        model=str(order.tiny.resolve()) if tiny else order.settings.model,
        base_name=order.settings.model,
        training=tuple(one.conversation.sample_id for one in plan.training),
        validation=tuple(one.conversation.sample_id for one in plan.validation),
        tokens=tuple(one.tokens for one in plan.training),
        examples=tuple(examples),
    )


def describe(order: Order, plan: Plan, exact: bool) -> list[str]:
    """The plan, as lines for a person."""
    settings, job = order.settings, job_of(order, plan)
    fit = [*plan.training, *plan.validation]
    visual, longest = sum(one.visual_tokens for one in fit), max(fit, key=lambda one: one.tokens)
    text = sum(one.text_tokens for one in fit)
    patients = (
        len({one.conversation.patient for one in plan.training}),
        len({one.conversation.patient for one in plan.validation}),
    )
    about = "" if exact else " at most (the model's tokenizer is not on this machine)"
    lora = settings.lora
    where = "language blocks, vision tower and merger" if lora.vision else "language blocks, vision frozen"
    lines = [
        f"run         {order.folder.path}",
        f"model       {settings.model}, {settings.precision}; LoRA rank {lora.rank}, alpha {lora.alpha}, on all linear layers of the {where}",
        f"samples     {len(plan.training)} training ({patients[0]} patients), {len(plan.validation)} validation ({patients[1]} patients), "
        f"{len(plan.rejected)} rejected",
        f"tokens      {visual:,} visual, {text:,} text{about}; longest sample {longest.tokens:,} of {settings.cut_off:,} "
        f"({longest.conversation.sample_id})",
        f"steps       {job.total_steps:,}: {settings.epochs} epochs of {job.sampler.steps_per_epoch}, each step {settings.global_batch} samples "
        f"= {settings.workers} workers x batch {settings.batch_size} x accumulation {settings.gradient_accumulation}",
        f"schedule    peak learning rate {settings.learning_rate:g}, warm-up {settings.warmup_ratio:.0%}, cosine; {settings.strategy}; "
        f"checkpoint every {settings.checkpoint_every} steps",
    ]
    lines += preflight.lines(plan, job.sampler, settings)
    for reason, count in plan.rejected_counts().items():
        named = [one for one in plan.rejected if one.reason == reason]
        shown = ", ".join(f"{one.conversation.sample_id}{f' ({one.detail})' if one.detail else ''}" for one in named[:3])
        lines.append(f"rejected    {count} {reason}: {shown}{', …' if count > 3 else ''}")
    if not plan.validation:
        lines.append("note        no patient can be held back: the best checkpoint is chosen by training loss")
    return lines


def check_samples(order: Order, plan: Plan) -> None:
    """Raises ValueError where this run was begun on other samples, say while images were missing."""
    order.folder.check_identity(order.identity() | samples_identity(plan))


def samples_identity(plan: Plan) -> dict[str, Any]:
    return {
        "training_samples": digest([one.conversation.sample_id for one in plan.training]),
        "validation_samples": digest([one.conversation.sample_id for one in plan.validation]),
    }


def already_done(order: Order) -> dict[str, Any] | None:
    """run.json of this very run, if it is finished. Raises ValueError where the folder is another run's."""
    order.folder.check_identity(order.identity(), only=True)
    return order.folder.finished()


def execute(order: Order, plan: Plan, examples: Sequence[Part]) -> dict[str, Any]:
    """Train on the connected cluster and write the results. Returns what run.json says."""
    import torch

    from codelib.train.checkpoints import TrainProgress, read_adapter
    from codelib.train.on_ray import check_cpus, fit, uses_gpu

    settings, folder = order.settings, order.folder
    check_cpus(settings)  # before the folder is claimed: the way out is another setting
    uses_gpu(settings)
    check_samples(order, plan)
    folder.claim(order.identity() | samples_identity(plan))
    folder.write_rejected(plan.rejected)
    if settings.model == TINY:
        if not order.tiny.exists():
            print("building the tiny toy model (about half a minute, once)", flush=True)
        ensure_tiny(order.tiny)
    job = job_of(order, plan, examples)
    preflight.write(folder.store, plan, job.sampler, settings)
    checkpoint = fit(job, folder.path / "ray")
    progress = TrainProgress.read(checkpoint)
    assert progress.step == job.total_steps, f"stopped at step {progress.step} of {job.total_steps}"
    judged = [line.validation_loss for line in progress.curve if line.validation_loss is not None]
    summary = {
        **order.identity(),
        "name": order.name,
        "model": settings.model,
        "toy": settings.model == TINY,
        "code_version": __version__,
        "torch": torch.__version__,
        "train_samples": len(plan.training),
        "validation_samples": len(plan.validation),
        "rejected": plan.rejected_counts(),
        "trainable_parameters": sum(tensor.numel() for tensor in read_adapter(checkpoint / "best").values()),
        "steps": progress.step,
        "best_step": progress.best_step,
        "best_loss": progress.best_loss,
        "best_by": "validation loss" if judged else "training loss",
        "first_loss": progress.curve[0].loss,
        "last_loss": progress.curve[-1].loss,
        "last_validation_loss": judged[-1] if judged else None,
    }
    folder.finish(checkpoint, progress, summary)
    return summary
