"""What a run will take, said before it begins: memory of one GPU with a verdict, hours, and the disk that kept vision features cost.

    settings + sizes of the model + lengths of the samples ──> Forecast ──> lines of the plan, and what to change where it does not fit

Needs neither weights nor a GPU. The heaviest micro-batch that the sampler makes decides on memory; the sum of all samples, with padding where
there is some, on hours, at the share of the GPU's peak that ``mfu`` states. How both are counted: `codelib.train.memory`,
`codelib.train.flops`, docs/training.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from codelib.models.architecture import Architecture
from codelib.train.flops import Length, forward_cost, hours, train_cost, vision_forward
from codelib.train.gpus import Gpu
from codelib.train.lora import expected
from codelib.train.lora import lines as lora_lines
from codelib.train.memory import GIB, Footprint, Load, Setup, footprint
from codelib.train.preflight import batches
from codelib.train.sampler import Micro, Sampler, heaviest
from codelib.train.samples import Measured
from codelib.train.settings import TrainSettings

_SHARED_OUT = 50_000  # samples whose steps are looked at for the heaviest batch: more would hardly find a heavier one
_PARTS = {
    "weights": "weights",
    "adapters": "adapters with gradients",
    "optimizer": "optimizer",
    "kept": "activations kept",
}
_MOMENTS = {"layer": "a block's backward pass", "loss": "logits of the answers", "vision": "the vision tower"}


def setup_of(settings: TrainSettings) -> Setup:
    """On the fewest workers that the run may have: there a share of what is sharded is largest."""
    return Setup(
        lora=settings.lora,
        world=settings.min_workers,
        value_bytes=2 if settings.precision == "bf16" else 4,
        strategy=settings.strategy,
        offload=settings.offload,
        activation_checkpointing=settings.activation_checkpointing,
        attention="sdpa" if settings.attention == "auto" else settings.attention,
        padded=settings.packing == "padded" and settings.limits.samples != 1,
        reuse=settings.vision_features == "reuse",
    )


def length_of(one: Measured) -> Length:
    return Length(one.text_tokens, one.visual_tokens, len(one.conversation.images) - one.images_dropped, one.answer_tokens)


@lru_cache(maxsize=16)
def _heaviest(sampler: Sampler, steps: int, world: int, *weights: tuple[int, ...]) -> list[Micro]:
    return heaviest(sampler, range(steps), world, weights)


def image_tokens(samples: Iterable[Measured]) -> tuple[int, int]:
    """Distinct images, and their visual tokens together (an image of a sample counts the sample's mean)."""
    seen: dict[str, float] = {}
    for one in samples:
        for path in one.conversation.images:
            seen.setdefault(path, one.visual_tokens / (len(one.conversation.images) - one.images_dropped))
    return len(seen), round(sum(seen.values()))


@dataclass(frozen=True)
class Forecast:
    architecture: Architecture
    settings: TrainSettings
    training: Sequence[Measured]
    validation: Sequence[Measured]
    sampler: Sampler
    steps: int
    gpu: Gpu | None  # None: neither found nor declared

    @property
    def setup(self) -> Setup:
        return setup_of(self.settings)

    def needed(self, **change: object) -> tuple[Footprint, Load]:
        """What a GPU must hold, with these settings changed, and the micro-batch that decides on it."""
        settings = self.settings.model_copy(update=change)
        setup = setup_of(settings)
        found = [(footprint(self.architecture, setup, load), load) for load in self._loads(settings)]
        return max(found, key=lambda pair: pair[0].total)

    def _loads(self, settings: TrainSettings) -> list[Load]:
        """The micro-batches of most tokens, visual tokens and answer tokens."""
        sampler = dataclasses.replace(self.sampler, limits=settings.limits)
        lengths = [length_of(one) for one in self.training]
        weights = [tuple(one.visual_tokens for one in lengths), tuple(one.answer_tokens for one in lengths)]
        steps = min(self.steps, max(1, _SHARED_OUT // sampler.global_batch))
        loads = []
        for micro in _heaviest(sampler, steps, settings.min_workers, *weights):
            chosen = [lengths[index] for index in micro]
            tokens = sampler.limits.cost([one.tokens for one in chosen])
            # eager attention makes a matrix of the whole row, also where it is packed
            whole_row = settings.packing == "packed" and settings.attention == "eager"
            loads.append(
                Load(
                    tokens=tokens,
                    longest=tokens if whole_row else max(one.tokens for one in chosen),
                    visual_tokens=sum(one.visual_tokens for one in chosen),
                    answer_tokens=sum(one.answer_tokens for one in chosen),
                )
            )
        return loads

    def fits(self, needed: Footprint) -> bool:
        return self.gpu is None or needed.total <= self.gpu.memory_gib * GIB

    def ways(self) -> list[tuple[str, Footprint]]:
        """Changes of settings that would make the run fit, each by itself; where none does, all of them together."""
        settings, setup = self.settings, self.setup
        steps: list[tuple[str, dict[str, object]]] = []
        if settings.precision == "fp32":
            steps.append(("precision=bf16", {"precision": "bf16"}))
        if not settings.activation_checkpointing:
            steps.append(("activation_checkpointing=true", {"activation_checkpointing": True}))
        if settings.attention == "eager":
            steps.append(("attention=sdpa", {"attention": "sdpa"}))
        if settings.packing == "padded":
            steps.append(("packing=packed", {"packing": "packed"}))
        if settings.tokens_per_batch is not None and settings.tokens_per_batch > settings.cut_off:
            steps.append((f"tokens_per_batch={settings.cut_off}", {"tokens_per_batch": settings.cut_off}))
        if settings.tokens_per_batch is None and settings.batch_size > 1:
            steps.append(("batch_size=1 (the global batch stays)", {"batch_size": 1}))
        if not setup.reuse and not (setup.lora.vision or setup.lora.merger):
            steps.append(("vision_features=reuse", {"vision_features": "reuse"}))
        if settings.strategy != "zero3" and setup.world > 1:
            steps.append(("strategy=zero3", {"strategy": "zero3"}))
        if settings.offload != "parameters":
            steps.append(("strategy=zero3 with offload=parameters", {"strategy": "zero3", "offload": "parameters"}))
        alone = [(name, self.needed(**change)[0]) for name, change in steps]
        if fitting := [(name, needed) for name, needed in alone if self.fits(needed)]:
            return fitting
        names: list[str] = []
        together: dict[str, object] = {}
        for name, change in steps:
            names.append(name)
            together |= change
            if self.fits(needed := self.needed(**together)[0]):
                return [(" and ".join(names), needed)]
        return []

    # lines

    def memory_lines(self) -> list[str]:
        (needed, load), gpu = self.needed(), self.gpu
        if self.settings.use_gpu == "no":
            return [f"memory      about {_gib(needed.tensors)} GiB for each worker, on the CPU"]
        room = (
            f" of {gpu.memory_gib:.0f} GiB on one {gpu.name}"
            if gpu
            else " GiB on one GPU; none is here and none declared (gpu=A800-80GB)"
        )
        verdict = "" if gpu is None else ": fits" if self.fits(needed) else ": DOES NOT FIT"
        moment = max(_MOMENTS, key=lambda name: getattr(needed, name))
        parts = [f"{said} {_gib(getattr(needed, name))}" for name, said in _PARTS.items()]
        parts += [f"at work {_gib(needed.moment)} ({_MOMENTS[moment]})", f"context and fragments {_gib(needed.margin)}"]
        lines = [
            f"memory      about {_gib(needed.total)}{room}{verdict}",
            f"            {', '.join(parts)}; for the heaviest batch, {load.tokens:,} tokens",
        ]
        if needed.host:
            lines.append(f"            offloaded: {_gib(needed.host)} GiB of the host's memory for each worker")
        if self.fits(needed):
            return [*lines, *self._faster()]
        assert gpu is not None
        ways = self.ways()
        if not ways:
            return [*lines, "            no setting makes it fit: take more GPUs or larger ones, or lower cut_off or max_pixels"]
        said = "; or ".join(f"{name} ({_gib(found.total)} GiB)" for name, found in ways)
        return [*lines, f"            change one: --set {said}" if len(ways) > 1 else f"            change: --set {said}"]

    def _faster(self) -> list[str]:
        """Room that is left may be worth a fifth of the hours."""
        if self.gpu is None or not self.settings.activation_checkpointing:
            return []
        needed, _ = self.needed(activation_checkpointing=False)
        if not self.fits(needed):
            return []
        keep_all = dataclasses.replace(self.setup, activation_checkpointing=False)
        return [f"            activation_checkpointing=false would fit too ({_gib(needed.total)} GiB){self._saved(keep_all)}"]

    def _saved(self, setup: Setup) -> str:
        if self.gpu is None or self.gpu.bf16_tflops is None or self.settings.precision != "bf16":
            return ""
        return f" and take about {_duration(self._hours(sum(self.operations(setup))))}"

    def operations(self, setup: Setup) -> tuple[float, float]:
        """Of the language model and of the vision tower, over all steps, validations and, where reused, the one pass over the images."""
        training = [train_cost(self.architecture, setup, length_of(one)) for one in self.training]
        validation = [forward_cost(self.architecture, setup, length_of(one)) for one in self.validation]
        epochs = self.steps / self.sampler.steps_per_epoch
        padded = 1 / (1 - batches(self.sampler, setup.world).waste)
        rounds = -(-self.steps // self.settings.checkpoint_every)
        language = epochs * padded * sum(one.language for one in training) + rounds * sum(one.language for one in validation)
        vision = epochs * sum(one.vision for one in training) + rounds * sum(one.vision for one in validation)
        if setup.reuse:
            count, tokens = image_tokens((*self.training, *self.validation))
            vision += vision_forward(self.architecture, Length(0, tokens, count))
        return language, vision

    def _hours(self, operations: float) -> float:
        assert self.gpu is not None and self.gpu.bf16_tflops is not None
        return hours(operations, self.setup.world, self.gpu.bf16_tflops, self.settings.mfu)

    def time_lines(self) -> list[str]:
        gpu, settings, setup = self.gpu, self.settings, self.setup
        if settings.use_gpu == "no":
            return []
        if gpu is None or gpu.bf16_tflops is None:
            return ["time        not estimated: the GPU's speed is unknown; declare a known one with gpu=A800-80GB"]
        if settings.precision != "bf16":
            return ["time        not estimated in fp32: the GPUs' stated speed is that of bf16"]
        language, vision = self.operations(setup)
        total = language + vision
        return [
            f"time        about {_duration(self._hours(total))} on {setup.world} x {gpu.name} at {settings.mfu:.0%} of their "
            f"{gpu.bf16_tflops:.0f} TFLOP/s: {total:.2e} operations, {vision / total:.0%} of them the vision tower's"
        ]

    def feature_lines(self) -> list[str]:
        """The disk cost of kept features: of a run that keeps them, and of one that might."""
        setup = self.setup
        count, tokens = image_tokens((*self.training, *self.validation))
        if setup.lora.vision or setup.lora.merger or not count:
            return []
        disk = f"{tokens * self.architecture.hidden * setup.value_bytes / 1e9:.1f} GB of disk for {count:,} images ({tokens:,} tokens)"
        if setup.reuse:
            return [f"features    kept: {disk}; computed once, reused by every epoch and by other runs on this data and base"]
        if self.gpu is None or self.gpu.bf16_tflops is None or self.settings.precision != "bf16":
            return [f"features    recomputed at every step; vision_features=reuse would keep them: {disk}"]
        with_reuse = self._hours(sum(self.operations(dataclasses.replace(setup, reuse=True))))
        return [f"features    recomputed at every step; vision_features=reuse: about {_duration(with_reuse)} in all, {disk}"]

    def lines(self) -> list[str]:
        architecture, lora = self.architecture, self.settings.lora
        said = lora_lines(expected(architecture, lora), lora, architecture.num_parameters)
        return [*said, *self.memory_lines(), *self.time_lines(), *self.feature_lines()]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}" if size >= GIB / 10 else f"{size / GIB:.3f}"


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} hours"
    return "a minute" if hours < 1.5 / 60 else f"{round(60 * hours)} minutes"
