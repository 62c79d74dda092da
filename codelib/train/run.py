"""One training run from a released dataset to an adapter, on the driver.

dataset ── plan (check, measure, split by patient) ── print ── [dry run ends here] ── fit on Ray ── adapter/, curves.csv, run.json
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from codelib import __version__
from codelib.core.cli import JobFailed, Paused
from codelib.core.near import Near, remove_everywhere
from codelib.core.progress import Progress
from codelib.core.stage import Part, digest
from codelib.core.store import Store
from codelib.models.architecture import architecture_of, from_config
from codelib.models.conversation import Dataset
from codelib.models.encoding import Encoder
from codelib.models.tiny import ensure_tiny, tiny_config
from codelib.models.tiny_tokenizer import build_processor
from codelib.train import preflight
from codelib.train.card import public_name
from codelib.train.checkpoints import TrainProgress
from codelib.train.examples import TINY, Rule, make_examples, processor_of
from codelib.train.forecast import Forecast
from codelib.train.gpus import declared, found
from codelib.train.installed import missing
from codelib.train.job import Job
from codelib.train.run_folder import STAGED, RunFolder
from codelib.train.samples import Measured, Plan, fingerprint, make_plan, measure_all, measured_in, read
from codelib.train.settings import TrainSettings

# where and how a run runs changes nothing that it learns beyond rounding (and the draws of dropout): a run may go on with others
OPERATIONAL = (
    "use_gpu", "cpus_per_worker", "loader_workers", "max_failures", "workers", "batch_size", "tokens_per_batch", "packing", "strategy",
    "offload", "activation_checkpointing", "attention", "tracker", "merge", "gpu", "mfu",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What is asked for: settings, data and where the results go."""

    settings: TrainSettings
    dataset: Dataset
    workspace: Path
    name: str
    profile: bool = False
    uri: str = ""  # of the workspace, where it is an object store; ``workspace`` is a folder of the driver's disk then
    near: tuple[Near, ...] = ()  # copies that dataset and model lie in
    model_copy: str = ""  # folder of the model's copy

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.workspace / "train" / self.name, self.uri and f"{self.uri}/train/{self.name}")

    @property
    def model(self) -> str:
        """Hub id, or a folder that can be opened here."""
        return self.model_copy or self.settings.model

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
    tokens are exact (else the shipped small vocabulary's, an upper bound, for which no sample is left out)."""
    settings, exact, rule = order.settings, True, Rule.of(order.settings)
    _quiet()
    try:
        processor = processor_of(order.model)
    except ValueError:
        if not _is_hub_id(settings.model):
            raise  # a folder that is not there
        processor, exact = build_processor(), False
        rule = replace(rule, budget=replace(rule.budget, cut_off=sys.maxsize))
    conversations = read(order.dataset, settings.tasks)
    with Progress("check", len(conversations), "samples") as progress:
        measured = measure_all(
            conversations,
            Encoder(processor, settings.pixels),
            rule,
            order.dataset.folder,
            step=lambda: progress.step(1, 1),
        )
    if not exact:
        measured = [_at_most(one, settings.cut_off) for one in measured]
    plan = make_plan(measured, settings, order.dataset.validation(), order.dataset.folder)
    check_combination(settings, plan)
    return plan, exact


def _is_hub_id(model: str) -> bool:
    return model.count("/") == 1 and not model.startswith((".", "/", "~"))


def _at_most(one: Measured, cut_off: int) -> Measured:
    """With the bound of its text tokens brought down to what the cut-off leaves: the model's own tokenizer makes fewer."""
    return replace(one, text_tokens=min(one.text_tokens, max(cut_off - one.visual_tokens, one.answer_tokens, 1)))


def check_combination(settings: TrainSettings, plan: Plan) -> None:
    """Raises ValueError where these samples do not go with the settings."""
    fit = (*plan.training, *plan.validation)
    without = [one.conversation.sample_id for one in fit if not one.conversation.images]
    some = 0 < len(without) < len(fit)
    from_pixels = settings.vision_features == "recompute" or settings.best_by == "accuracy"  # answers are generated from pixels
    if some and settings.strategy == "zero3" and from_pixels:
        # stage 3 gathers the tower's weights from all workers at every forward: one whose batch has no image would never come
        raise ValueError(
            f"strategy=zero3 with vision_features={settings.vision_features}, best_by={settings.best_by}: {len(without)} of {len(fit)} samples "
            f"have no image ({without[0]}), and workers would wait for each other for ever; set strategy=zero2, or vision_features=reuse with "
            "best_by=loss"
        )
    if some and settings.strategy == "zero2" and settings.max_workers > 1 and (settings.lora.vision or settings.lora.merger):
        # stage 2 reduces the gradients that a worker has: one whose batch has no image has none of the tower's
        raise ValueError(
            f"strategy=zero2 with adapters in the vision tower or merger: {len(without)} of {len(fit)} samples have no image ({without[0]}), "
            "and workers would add up different gradients; set strategy=ddp"
        )


def prepare(order: Order) -> tuple[Plan, list[Part]]:
    """Make the token-ready shards on the connected cluster, every image decoded once, and plan from them."""
    settings = order.settings
    _quiet()
    conversations = read(order.dataset, settings.tasks)
    parts = make_examples(
        conversations,
        order.dataset.folder,
        order.model,
        processor_of(order.model),
        Rule.of(settings),
        order.folder.examples,
        order.near,
    )
    plan = make_plan(measured_in(parts, conversations), settings, order.dataset.validation(), order.dataset.folder)
    check_combination(settings, plan)
    return plan, parts


def _quiet() -> None:
    # "longer than the maximum": we check that
    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)


def job_of(order: Order, plan: Plan, examples: Sequence[Part] = ()) -> Job:
    tiny = order.settings.model == TINY and not order.model_copy
    return Job(
        settings=order.settings,
        dataset=str(order.dataset.folder.resolve()),
        model=str(order.tiny.resolve()) if tiny else order.model,
        base_name=public_name(order.settings.model),
        training=tuple(one.conversation.sample_id for one in plan.training),
        validation=tuple(one.conversation.sample_id for one in plan.validation),
        tokens=tuple(one.tokens for one in plan.training),
        examples=tuple(examples),
        profile=order.profile,
        near=order.near,
    )


def describe(order: Order, plan: Plan, exact: bool, every_id: bool = False) -> list[str]:
    """The plan, as lines for a person. every_id: name all samples that are left out, not the first of each reason."""
    settings, job = order.settings, job_of(order, plan)
    fit = [*plan.training, *plan.validation]
    visual, longest = sum(one.visual_tokens for one in fit), max(fit, key=lambda one: one.tokens)
    text = sum(one.text_tokens for one in fit)
    patients = (
        len({one.conversation.patient for one in plan.training}),
        len({one.conversation.patient for one in plan.validation}),
    )
    about = "" if exact else " at most (the model's tokenizer is not on this machine)"
    lines = [
        f"run         {order.folder.uri or order.folder.path}",
        f"model       {settings.model}, {settings.precision}",
        f"samples     {len(plan.training)} training ({patients[0]} patients), {len(plan.validation)} validation ({patients[1]} patients), "
        f"{len(plan.rejected)} rejected",
        *_spared(plan, settings),
        f"tokens      {visual:,} visual, {text:,} text{about}; longest sample {longest.tokens:,} of {settings.cut_off:,} "
        f"({longest.conversation.sample_id})",
        f"steps       {job.total_steps:,}: {settings.epochs} epochs of {job.sampler.steps_per_epoch}, each step {settings.global_batch} samples "
        f"on {settings.max_workers} workers"
        f"{f'; as few as {settings.min_workers} take the same steps' if settings.min_workers < settings.max_workers else ''}",
        f"schedule    peak learning rate {settings.learning_rate:g}, warm-up {settings.warmup_ratio:.0%}, cosine; {settings.strategy}; "
        f"checkpoint every {settings.checkpoint_every} steps",
    ]
    lines += preflight.lines(plan, job.sampler, settings)
    for reason, count in plan.rejected_counts().items():
        named = [one for one in plan.rejected if one.reason == reason]
        shown = ", ".join(
            f"{one.conversation.sample_id}{f' ({one.detail})' if one.detail else ''}"
            for one in (named if every_id else named[:3])
        )
        lines.append(f"rejected    {count} {reason}: {shown}{', …' if count > 3 and not every_id else ''}")
    lines += forecast_lines(order, plan)
    if not plan.validation:
        lines.append("note        no patient can be held back: the best checkpoint is chosen by training loss")
    return lines


def _spared(plan: Plan, settings: TrainSettings) -> list[str]:
    if not plan.spared:
        return []
    return [
        f"spared      {len(plan.spared)} samples of the release's validation side: a checkpoint reads at most "
        f"max_validation_samples={settings.max_validation_samples}; nothing is trained on them"
    ]


def forecast_lines(order: Order, plan: Plan) -> list[str]:
    """Adapters, memory, hours and disk, where the model's sizes are known."""
    settings, job = order.settings, job_of(order, plan)
    tiny = settings.model == TINY
    sizes = from_config(tiny_config(build_processor().tokenizer).to_dict(), TINY) if tiny else architecture_of(order.model)
    if sizes is None:
        return [f"memory      not estimated: {settings.model} has no config.json on this machine"]
    # a card of this machine is what the run meets; a declared one stands for machines that are taken later
    gpu = None if settings.use_gpu == "no" else found() or (declared(settings.gpu) if settings.gpu else None)
    return Forecast(sizes, settings, plan.training, plan.validation, job.sampler, job.total_steps, gpu).lines()


def check_samples(order: Order, plan: Plan) -> None:
    """Raises ValueError where this run was begun on other samples, say while images were missing."""
    order.folder.check_identity(order.identity() | samples_identity(plan))


def samples_identity(plan: Plan) -> dict[str, Any]:
    return {
        "training_samples": digest([one.conversation.sample_id for one in plan.training]),
        "validation_samples": digest([one.conversation.sample_id for one in plan.validation]),
        "images": digest([one.images for one in (*plan.training, *plan.validation)]),
    }


def already_done(order: Order) -> dict[str, Any] | None:
    """run.json of this very run, if it is finished. Raises ValueError where the folder is another run's."""
    order.folder.check_identity(order.identity(), only=True)
    return order.folder.finished()


def check_machine(order: Order) -> None:
    """Raises ValueError where the recipe wants something that is not installed here, or the model is not on this machine."""
    lacking = missing(order.settings)
    if lacking:
        raise ValueError(lacking)
    processor_of(order.model)
    if order.uri and order.settings.vision_features == "reuse":
        raise ValueError(
            f"vision_features=reuse: kept features are mapped into memory from a folder that all nodes see, and --workspace {order.uri} is "
            "none; set vision_features=recompute, or give a workspace on a shared disk"
        )


def features_of(order: Order, plan: Plan, model: str, *, gpu: bool) -> Path:
    """Vision features of the plan's images, computed on the connected cluster where they are missing."""
    from codelib.train.vision_features import prepare, recipe_of

    settings = order.settings
    images = [path for one in (*plan.training, *plan.validation) for path in one.conversation.images]
    recipe = recipe_of(model, settings.pixels, settings.precision, order.dataset)
    workers, cpus = settings.max_workers, settings.cpus_per_worker
    return prepare(order.workspace, recipe, order.dataset, images, workers=workers, cpus=cpus, gpu=gpu)


def with_tiny(order: Order) -> Order:
    """The order with the tiny model in its workspace."""
    kept = Store(f"{order.uri}/models") if order.uri else None
    if kept is None or not kept.exists(f"{TINY}/config.json"):
        if not order.tiny.exists():
            print("building the tiny toy model (about half a minute, once)", flush=True)
        ensure_tiny(order.tiny)
    if kept is None:
        return order
    if not kept.exists(f"{TINY}/config.json"):
        RunFolder(order.tiny, kept.root).upload(order.tiny, TINY, last="config.json")
    copy = Near.of(f"{kept.root}/{TINY}")
    return replace(order, near=(*order.near, copy), model_copy=str(copy.ensure()))


def execute(order: Order, plan: Plan, examples: Sequence[Part]) -> dict[str, Any]:
    """Train on the connected cluster and write the results. Returns what run.json says.

    Raises Paused where it was asked to stop and left a checkpoint, JobFailed where it cannot go on or the saved adapter is not what was
    trained.
    """
    from codelib.train.checkpoints import Checkpoints
    from codelib.train.fresh import apart, on_worker
    from codelib.train.on_ray import check_cpus, fit, note_of_cpus, uses_gpu
    from codelib.train.parity import compare
    from codelib.train.probe import FILE as PROBE
    from codelib.train.probe import probed
    from codelib.train.stopping import Stopping
    from codelib.train.trackers import Tracker

    settings, folder = order.settings, order.folder
    check_cpus(settings)  # before the folder is claimed: the way out is another setting
    gpu = uses_gpu(settings)
    if note := note_of_cpus(settings, gpu):
        print(f"note        {note}", flush=True)
    check_samples(order, plan)
    folder.claim(order.identity() | samples_identity(plan))
    folder.write_samples(plan.sides())
    folder.write_rejected(plan.rejected)
    if settings.model == TINY:
        order = with_tiny(order)
    job = job_of(order, plan, examples)
    preflight.write(folder.store, plan, job.sampler, settings)
    if settings.vision_features == "reuse":
        job = replace(job, features=str(features_of(order, plan, job.model, gpu=gpu).resolve()))
    try:
        with (
            Stopping().listening() as stopping,
            Tracker(str(folder.path.resolve()), order.name, settings, total_steps=job.total_steps, root=folder.root) as tracker,
        ):
            fit(job, folder, stopping, tracker.measured)
    finally:
        folder.keep_events()
    checkpoints = Checkpoints(folder.store)
    last = checkpoints.latest(print)
    progress = checkpoints.progress(last) if last else None
    if progress is None or progress.step < job.total_steps or not folder.store.exists(PROBE):
        assert stopping.wanted, "the workers ended before the last step, and nobody asked them to"
        raise Paused(
            f"{stopping.reason} after step {progress.step if progress else 0} of {job.total_steps}", stopping.interrupted
        )
    assert last is not None
    staged = folder.stage_adapter(last)
    near, seen = order.near, staged.resolve()
    if folder.uri:  # the process that looks at it may be on another node
        folder.upload(staged, STAGED, last="adapter_config.json")
        copy = Near.of(f"{folder.uri}/{STAGED}")
        near, seen = (*near, copy), copy.path
    print("checking the adapter with stock transformers and peft", flush=True)
    dtype = "bfloat16" if settings.precision == "bf16" else "float32"
    parity = apart(
        compare, job.model, str(seen), folder.store.read(PROBE), dtype, on_worker(gpu), settings=settings, gpu=gpu, near=near
    )
    if folder.uri:
        folder.store.delete(STAGED)
        remove_everywhere(near[-1:])
    problem = parity.problem()
    if problem:
        raise JobFailed(f"{problem}; the run is not finished, its checkpoints are kept in {folder.root}/checkpoints")
    summary = _summary(order, plan, progress, checkpoints.adapter(last, "best"))
    folder.finish(staged, progress, summary, parity, probed(job))
    return summary


def is_merged(order: Order) -> bool:
    return order.folder.store.exists("merged/config.json")


def write_merged(order: Order) -> None:
    """Base and adapter of a finished run as one model; kept where it is there already."""
    from codelib.train.fresh import apart
    from codelib.train.merging import merge

    settings, folder = order.settings, order.folder
    if is_merged(order):
        return
    print("merging base and adapter", flush=True)
    if folder.uri:
        _merge_far(order)
        return
    model = str(order.tiny.resolve()) if settings.model == TINY else order.model
    dtype = "bfloat16" if settings.precision == "bf16" else "float32"
    adapter, target = str((folder.path / "adapter").resolve()), str((folder.path / "merged").resolve())
    apart(merge, model, adapter, target, dtype, settings=settings, gpu=False, near=order.near)


def _merge_far(order: Order) -> None:
    """The same for a run on an object store: merged on some node's disk, and uploaded from there."""
    from codelib.train.fresh import apart

    order = with_tiny(order) if order.settings.model == TINY else order
    adapter = Near.of(f"{order.folder.uri}/adapter")
    dtype = "bfloat16" if order.settings.precision == "bf16" else "float32"
    near = (*order.near, adapter)
    apart(_merge_and_upload, order.model, str(adapter.path), order.folder, dtype, settings=order.settings, gpu=False, near=near)
    remove_everywhere([adapter])


def _merge_and_upload(model: str, adapter: str, folder: RunFolder, dtype: str) -> None:
    from codelib.train.merging import merge

    with tempfile.TemporaryDirectory() as scratch:
        merge(model, adapter, f"{scratch}/merged", dtype)
        folder.upload(Path(scratch, "merged"), "merged", last="config.json")


def _summary(order: Order, plan: Plan, progress: TrainProgress, best: dict[str, Any]) -> dict[str, Any]:
    settings = order.settings
    judged = [line.validation_loss for line in progress.curve if line.validation_loss is not None]
    by = {"accuracy": "validation answers", "loss": "validation loss"}[settings.best_by] if judged else "training loss"
    return {
        **order.identity(),
        "how": {name: value for name, value in settings.fingerprint().items() if name in OPERATIONAL},
        "name": order.name,
        "model": public_name(settings.model),
        "toy": settings.model == TINY,
        "code_version": __version__,
        "versions": {"codelib": __version__} | {name: version(name) for name in ("torch", "transformers", "peft", "ray")},
        "train_samples": len(plan.training),
        "validation_samples": len(plan.validation),
        "spared_samples": len(plan.spared),
        "rejected": plan.rejected_counts(),
        "trainable_parameters": sum(tensor.numel() for tensor in best.values()),
        "steps": progress.step,
        "best_step": progress.best_step,
        "best_loss": progress.best_loss,
        "best_accuracy": progress.best_accuracy,
        "best_by": by,
        "first_loss": progress.curve[0].loss,
        "last_loss": progress.curve[-1].loss,
        "last_validation_loss": judged[-1] if judged else None,
    }
