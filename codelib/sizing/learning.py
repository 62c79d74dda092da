"""What `jobs.train` and `jobs.evaluate` take: their own forecasts of operations and memory (codelib.train), on samples as long as the clinic's.

    visits x samples a visit ─> steps ──┐
    images, tokens a sample ────────────┴─ codelib.train.forecast, flops, memory ─> GPU hours, memory of a GPU
    questions x variants ─ prompts read (operations), answers written (the weights read once a step) ─> GPU hours

No GPU was at hand when this was written: GPU hours are operations over peak x ``mfu``, and bytes over bandwidth x ``decoding``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codelib.models import architecture as sizes
from codelib.models.architecture import Architecture
from codelib.models.conversation import Conversation, Message
from codelib.models.prompt import PixelPolicy, visual_tokens
from codelib.sizing.clinic import Assumed, Clinic, Nodes
from codelib.sizing.dataset import machine_hours
from codelib.sizing.figure import Figure, Section
from codelib.sizing.flow import GB, GIB, HOUR
from codelib.sizing.machines import Machines
from codelib.sizing.unit_costs import Question, UnitCosts
from codelib.train.flops import Length, forward_cost, hours, train_cost
from codelib.train.forecast import Forecast, setup_of
from codelib.train.gpus import declared
from codelib.train.sampler import Sampler
from codelib.train.samples import Measured
from codelib.train.settings import TrainSettings

_DRAWN = 1200  # samples whose lengths stand for all
_MOST_IMAGES = 26  # of a visit, in the published dataset
_PICTURE_PX = (448, 299)  # a DSLR's photograph in the release


def _lengths(clinic: Clinic, costs: UnitCosts, settings: TrainSettings) -> list[Measured]:
    """Samples with as many images as the clinic's visits on average (one plus a negative binomial number, 26 at most)."""
    rng = np.random.default_rng(0)
    more = max(0.0, clinic.images_per_visit - 1)
    counts = 1 + (rng.negative_binomial(2, 2 / (2 + more), _DRAWN) if more else np.zeros(_DRAWN, int))
    each = visual_tokens(*_PICTURE_PX, settings.pixels)
    text, answer = round(costs.training.text_tokens_per_sample), round(costs.training.answer_tokens_per_sample)
    made = []
    for number, count in enumerate(counts.tolist()):
        count = max(1, min(count, _MOST_IMAGES, (settings.cut_off - text) // each))
        names = tuple(f"{number}-{place}" for place in range(count))
        one = Conversation(f"train/{number}", (Message("user", ""), Message("assistant", "")), names)
        made.append(Measured(one, count * each, text, answer))
    return made


@dataclass(frozen=True)
class Run:
    """A training run's counts."""

    samples: int
    validation: int
    steps: int
    world: int


def settings_on(settings: TrainSettings, gpus: Nodes) -> TrainSettings:
    """The recipe on these machines: as many workers as GPUs. Raises ValueError where that cannot be."""
    if gpus.machine.gpu is None:
        raise ValueError(f"--gpu-nodes {gpus.machine.name}: it has no GPU")
    world = gpus.gpus
    if settings.global_batch < world:
        raise ValueError(
            f"--gpu-nodes {gpus.said}: {world} GPUs, and the recipe's global_batch is {settings.global_batch}: every GPU needs a sample in each "
            "step; take fewer machines, or raise it with --set global_batch=…"
        )
    changed = settings.model_dump() | {"workers": world, "gpu": gpus.machine.gpu}
    return TrainSettings.model_validate(changed)


def training(clinic: Clinic, gpus: Nodes, settings: TrainSettings, costs: UnitCosts, test_visits: int) -> Section:
    """Raises ValueError for a model whose sizes are not known, or machines that the recipe cannot use."""
    settings = settings_on(settings, gpus)
    architecture = architecture_of(settings.model)
    measured = _lengths(clinic, costs, settings)
    run = _run(clinic, settings, costs, test_visits)
    gpu = declared(str(settings.gpu))
    sampler = Sampler(
        tuple(one.tokens for one in measured), min(settings.global_batch, len(measured)), settings.seed, settings.limits
    )
    forecast = Forecast(architecture, settings, measured, measured[:1], sampler, 20, gpu)
    needed, _ = forecast.needed()
    setup = setup_of(settings)
    lengths = [Length(one.text_tokens, one.visual_tokens, len(one.conversation.images), one.answer_tokens) for one in measured]
    each = sum(train_cost(architecture, setup, one).total for one in lengths) / len(lengths)
    checked = sum(forward_cost(architecture, setup, one).total for one in lengths) / len(lengths)
    rounds = math.ceil(run.steps / settings.checkpoint_every)
    trained = each * run.samples * settings.epochs
    validated = checked * run.validation * rounds
    assert gpu.bf16_tflops is not None
    took_h = hours(trained, run.world, gpu.bf16_tflops, settings.mfu)
    checks_h = hours(validated, run.world, gpu.bf16_tflops, settings.mfu)
    images = sum(one.num_images for one in lengths) / len(lengths)
    speed = f"({run.world} GPUs x {gpu.bf16_tflops:g} TFLOP/s x {settings.mfu:g})"
    figures = (
        *_prepared(clinic, run, costs),
        Figure("training", took_h, "h", f"{run.samples:,} samples x {settings.epochs} epochs x {each:.2e} operations / {speed}"),
        Figure(
            "validation",
            checks_h,
            "h",
            f"{rounds:,} checkpoints x {run.validation:,} samples x {checked:.2e} operations / {speed}",
        ),
        Figure("time", took_h + checks_h, "h", "training + validation; GPUs do not wait where there are the CPUs below"),
        Figure("GPU time", (took_h + checks_h) * run.world, "GPU h", f"time x {run.world}"),
        Figure(
            "memory of a GPU",
            needed.total / GIB,
            "GiB",
            f"codelib.train.memory, for the heaviest batch; {gpu.name} has {gpu.memory_gib:g}",
        ),
        Figure(
            "CPUs to decode for one GPU",
            _cpus_a_gpu(images, each, gpu.bf16_tflops * settings.mfu, costs),
            "CPUs",
            f"{images:.1f} images x {1000 * costs.training.load_cpu_s_per_image:.1f} CPU ms / seconds of a sample",
        ),
        machine_hours("money", gpus, took_h + checks_h),
    )
    title = f"jobs.train: {settings.model.rpartition('/')[2]} on {gpus.said}, {run.steps:,} steps of {settings.global_batch}"
    return Section(title, figures, tuple(_notes(run, rounds, took_h, checks_h, needed.total, gpu.memory_gib, settings)))


def architecture_of(model: str) -> Architecture:
    """Raises ValueError."""
    found = sizes.architecture_of(model)
    if found is None:
        raise ValueError(f"model={model}: its sizes are not known here; there is: {', '.join(sorted(sizes.published()))}")
    return found


def _run(clinic: Clinic, settings: TrainSettings, costs: UnitCosts, test_visits: int) -> Run:
    visits = max(1, clinic.visits - 2 * test_visits)
    samples = max(1, round(visits * costs.training.samples_per_visit))
    held = round(samples * settings.validation_fraction)  # those over the limit are spared
    validation = min(held, settings.max_validation_samples)
    samples = max(1, samples - held)
    steps = math.ceil(samples / settings.global_batch) * settings.epochs
    return Run(samples, validation, steps, settings.min_workers)


def _prepared(clinic: Clinic, run: Run, costs: UnitCosts) -> list[Figure]:
    known = costs.training
    samples = run.samples + run.validation
    # what each node copies before the first step: the images and the JSON files
    near = clinic.images * _released_bytes(costs) + clinic.visits * costs.kept.release_text_per_visit
    return [
        Figure(
            "near copy of the release, each node",
            near / GB,
            "GB",
            f"{clinic.images:,} images x {_released_bytes(costs) / 1e3:.1f} kB + text",
        ),
        Figure(
            "CPU time, tokens",
            samples * known.tokenise_cpu_s_per_sample / HOUR,
            "CPU h",
            f"{samples:,} samples x {1000 * known.tokenise_cpu_s_per_sample:.1f} CPU ms / 3600",
        ),
        Figure(
            "examples in the run's folder",
            samples * known.example_bytes_per_sample / GB,
            "GB",
            f"{samples:,} samples x {known.example_bytes_per_sample:,.0f} bytes",
        ),
        Figure(
            "memory of the driver",
            samples * known.driver_kb_per_sample * 1024 / GIB,
            "GiB",
            f"{samples:,} samples x {known.driver_kb_per_sample:.1f} kB; all are read there",
        ),
    ]


def _released_bytes(costs: UnitCosts) -> float:
    found = [one.released_kb for one in costs.files if one.kind == "photograph"]
    return 1e3 * sum(found) / len(found)


def _cpus_a_gpu(images: float, operations: float, tflops: float, costs: UnitCosts) -> float:
    return images * costs.training.load_cpu_s_per_image / (operations / (tflops * 1e12))


def _notes(
    run: Run, rounds: int, took_h: float, checks_h: float, needed: int, room_gib: float, settings: TrainSettings
) -> list[str]:
    notes = ["GPU hours are a forecast from operations; no GPU was measured"]
    if needed > room_gib * GIB:
        notes.append("DOES NOT FIT the GPU: `jobs.train --dry-run` says which setting to change")
    if checks_h > 0.1 * took_h:
        notes.append(
            f"validation takes more than a tenth of the training ({rounds:,} checkpoints x {run.validation:,} samples): raise "
            f"checkpoint_every ({settings.checkpoint_every}), lower max_validation_samples ({settings.max_validation_samples:,}) or "
            f"validation_fraction ({settings.validation_fraction:g})"
        )
    return notes


# evaluation


def evaluation(
    clinic: Clinic, gpus: Nodes, models: list[str], costs: UnitCosts, assumed: Assumed, machines: Machines, test_visits: int
) -> Section:
    """``models``: one for each variant, by the base that it runs on. Raises ValueError."""
    if gpus.machine.gpu is None:
        raise ValueError(f"--gpu-nodes {gpus.machine.name}: it has no GPU")
    gpu = declared(gpus.machine.gpu)
    bandwidth = machines.bandwidth(gpu.name)
    if bandwidth is None:
        raise ValueError(f"{gpu.name}: its memory's bandwidth is not in the list of machines (bandwidths)")
    assert gpu.bf16_tflops is not None
    read_h = written_h = 0.0
    prompts = answers = 0.0
    for model in models:
        architecture = architecture_of(model)
        for question in costs.questions:
            length = _question(clinic, question)
            cost = forward_cost(architecture, setup_of(TrainSettings()), length).total
            read_h += hours(cost * test_visits, gpus.gpus, gpu.bf16_tflops, assumed.mfu)
            steps = math.ceil(test_visits / gpus.gpus / assumed.rows) * question.answer_tokens
            written_h += steps * 2 * architecture.num_parameters / (bandwidth * 1e9 * assumed.decoding) / HOUR
            prompts += test_visits * length.tokens
            answers += test_visits * question.answer_tokens
    asked = test_visits * len(costs.questions) * len(models)
    prepare_s = sum(one.prepare_cpu_s for one in costs.questions) * test_visits * len(models)
    figures = (
        Figure(
            "tokens of prompts",
            prompts,
            "tokens",
            f"{asked:,} questions: {test_visits:,} visits x {len(costs.questions)} benchmarks x {len(models)} variants",
        ),
        Figure("tokens of answers", answers, "tokens", "as long as the references"),
        Figure(
            "CPU time, prompts", prepare_s / HOUR, "CPU h", f"{asked:,} x {1000 * prepare_s / asked:.1f} CPU ms / 3600; at most"
        ),
        Figure(
            "CPU time, metrics",
            asked * costs.metrics_cpu_s_per_answer / HOUR,
            "CPU h",
            f"{asked:,} x {1000 * costs.metrics_cpu_s_per_answer:.1f} CPU ms / 3600",
        ),
        Figure(
            "reading prompts", read_h, "h", f"operations / ({gpus.gpus} GPUs x {gpu.bf16_tflops:g} TFLOP/s x {assumed.mfu:g})"
        ),
        Figure(
            "writing answers",
            written_h,
            "h",
            f"tokens / ({gpus.gpus} GPUs x {assumed.rows} rows) x bytes of weights / ({bandwidth:g} GB/s x {assumed.decoding:g})",
        ),
        Figure(
            "time",
            read_h + written_h,
            "h",
            "reading + writing; the start of programs and the loading of weights (minutes) besides",
        ),
        machine_hours("money", gpus, read_h + written_h),
    )
    bases = ", ".join(dict.fromkeys(model.rpartition("/")[2] for model in models))
    title = f"jobs.evaluate: {test_visits:,} test visits, {len(models)} variants of {bases} on {gpus.said}"
    return Section(
        title,
        figures,
        ("GPU hours are a forecast; no GPU was measured. They do not grow with the clinic: the test set keeps its size",),
    )


def _question(clinic: Clinic, question: Question) -> Length:
    images = max(1, round(min(clinic.images_per_visit, _MOST_IMAGES)))
    return Length(round(question.text_tokens), images * visual_tokens(*_PICTURE_PX, PixelPolicy()), images, 1)
