"""The training step of the real sizes with random weights, against a plain transformers + peft loop on the same samples. No Ray.

    python -m tests.gpu.train_step --size 3b        # or 7b; on one GPU, bf16
    python -m tests.gpu.train_step --size small     # any machine, seconds: shows that the script works, and no more

Printed for each loop: step time, useful tokens/s (padding left out), MFU (operations without recomputation over the card's bf16 peak) and,
with recomputation, HFU; peak memory beside what `codelib.train.memory` foretold. The product's step is the one that the worker takes:
`codelib.train.lora.add_adapters`, `codelib.train.backends`, batches of like length; with --reuse the vision features are there already. The
plain loop is what a user writes from the libraries' documentation: stock peft, `model(labels=...)`, batches in random order, padded.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from codelib.models.architecture import Architecture, published
from codelib.models.encoding import Encoded, collate
from codelib.models.prompt import PixelPolicy
from codelib.train.backends import Backend, make_backend
from codelib.train.flops import Length, train_cost
from codelib.train.gpus import Gpu, found
from codelib.train.lora import add_adapters, target_modules
from codelib.train.memory import GIB, Load, Setup, footprint
from codelib.train.settings import LoraSettings, TrainSettings
from tests.visits import Visit, draw_visits, encode, set_tokens

LORA = LoraSettings(rank=8, alpha=16)
PAD = 0


def sizes() -> dict[str, Architecture]:
    three, seven = published().values()
    small = dataclasses.replace(
        three, hidden=128, intermediate=344, layers=2, heads=1, key_value_heads=1, vocabulary=512,
        vision_hidden=64, vision_intermediate=128, vision_layers=2, vision_heads=4, vision_full_layers=(1,),
    )  # fmt: skip
    return {"3b": three, "7b": seven, "small": small}


@dataclass(frozen=True)
class Bench:
    architecture: Architecture
    device: str
    dtype: torch.dtype
    attention: str
    checkpointing: bool
    batch_size: int
    policy: PixelPolicy
    gpu: Gpu | None

    def base(self) -> Any:
        """The model with random weights, made on its device."""
        from transformers import Qwen2_5_VLForConditionalGeneration

        config = self.architecture.config()
        set_tokens(config, self.architecture)
        torch.manual_seed(0)
        with torch.device(self.device):
            model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=self.dtype, attn_implementation=self.attention)
        if self.checkpointing:
            model.activation_checkpointing_enable()
        return model

    def setup(self, reuse: bool) -> Setup:
        return Setup(
            LORA,
            value_bytes=self.dtype.itemsize,
            activation_checkpointing=self.checkpointing,
            attention="flash" if self.attention == "flash_attention_2" else "sdpa",
            padded=True,
            reuse=reuse,
        )

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


Step = Callable[[dict[str, torch.Tensor]], float]


def our_step(bench: Bench) -> tuple[Any, Step]:
    base = bench.base()
    model = add_adapters(base, LORA).train()
    base.disable_input_require_grads()  # as `adapted` does
    settings = TrainSettings(
        lora=LORA, batch_size=bench.batch_size, precision="bf16" if bench.dtype == torch.bfloat16 else "fp32"
    )
    backend: Backend = make_backend(model, settings, 0, 1)

    def step(batch: dict[str, torch.Tensor]) -> float:
        tokens = int((batch["labels"] != -100).sum())
        loss = backend.accumulate(batch, 1 / tokens, True)
        backend.step(settings.learning_rate)
        return loss / tokens

    return model, step


def plain_step(bench: Bench) -> tuple[Any, Step]:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules=target_modules(LORA), task_type="CAUSAL_LM")
    model: Any = get_peft_model(bench.base(), config).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=2e-4)

    def step(batch: dict[str, torch.Tensor]) -> float:
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    return model, step


def with_features(encoded: Sequence[Encoded], bench: Bench) -> list[Encoded]:
    """Random features of the right size: what is timed is the step that reads them, not their making."""
    made = []
    for one in encoded:
        if one.pixel_values is None:
            made.append(one)
            continue
        features = torch.randn(int(one.token_types.sum()), bench.architecture.hidden).to(bench.dtype)
        made.append(dataclasses.replace(one, pixel_values=None, image_features=features))
    return made


def batches(encoded: Sequence[Encoded], size: int, *, grouped: bool) -> list[list[Encoded]]:
    ordered = sorted(encoded, key=lambda one: -len(one.input_ids)) if grouped else list(encoded)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


@dataclass
class Result:
    name: str
    step_ms: float
    tokens_per_s: float
    padding: float  # share of all tokens
    mfu: float | None
    hfu: float | None
    peak_gib: float | None
    foretold_gib: float
    loss: float


def measure(
    name: str, bench: Bench, made: tuple[Any, Step], groups: list[list[Encoded]], lengths: dict[str, Length], reuse: bool
) -> Result:
    """Every batch once, the first two again beforehand: they compile, choose kernels and fill the allocator."""
    _, step = made

    def run(group: list[Encoded]) -> float:
        batch = {key: value.to(bench.device) for key, value in collate(group, PAD, left=False).items()}
        return step(batch)

    for group in groups[:2]:
        run(group)
    bench.synchronize()
    if bench.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    losses = [run(group) for group in groups]
    bench.synchronize()
    elapsed_s = time.perf_counter() - began
    useful = sum(len(one.input_ids) for group in groups for one in group)
    whole = sum(len(group) * max(len(one.input_ids) for one in group) for group in groups)
    setup = bench.setup(reuse)
    named = [lengths[one.sample_id] for group in groups for one in group]
    without = sum(
        train_cost(bench.architecture, dataclasses.replace(setup, activation_checkpointing=False), one).total for one in named
    )
    again = sum(train_cost(bench.architecture, setup, one).total for one in named)
    peak = bench.gpu.bf16_tflops * 1e12 if bench.gpu and bench.gpu.bf16_tflops else None
    biggest = max(groups, key=lambda group: len(group) * max(len(one.input_ids) for one in group))
    longest = max(len(one.input_ids) for one in biggest)
    load = Load(
        longest * len(biggest),
        longest,
        sum(lengths[one.sample_id].visual_tokens for one in biggest),
        sum(one.num_answer_tokens for one in biggest),
    )
    return Result(
        name,
        1000 * elapsed_s / len(groups),
        useful / elapsed_s,
        1 - useful / whole,
        without / elapsed_s / peak if peak else None,
        again / elapsed_s / peak if peak else None,
        torch.cuda.max_memory_allocated() / GIB if bench.device == "cuda" else None,
        footprint(bench.architecture, setup, load).tensors / GIB,
        float(np.mean(losses)),
    )


def table(results: Sequence[Result]) -> str:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    lines = [f"{'loop':<22}{'ms/step':>10}{'tokens/s':>10}{'padding':>9}{'MFU':>8}{'HFU':>8}{'peak GiB':>10}{'foretold':>10}"]
    for one in results:
        peak = "-" if one.peak_gib is None else f"{one.peak_gib:.2f}"
        lines.append(
            f"{one.name:<22}{one.step_ms:>10.1f}{one.tokens_per_s:>10.0f}{one.padding:>9.1%}{share(one.mfu):>8}{share(one.hfu):>8}"
            f"{peak:>10}{one.foretold_gib:>10.2f}"
        )
    plain = next((one for one in results if one.name == "plain"), None)
    if plain:
        lines += [f"{one.name}: {one.tokens_per_s / plain.tokens_per_s:.2f} x plain" for one in results if one is not plain]
    return "\n".join(lines)


def versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    card = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
    )
    return f"{card}; {packages}; CUDA {torch.version.cuda or 'none'}; Python {platform.python_version()}"


def main(argv: Sequence[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("3b", "7b", "small"), required=True)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--attention", choices=("sdpa", "flash_attention_2"), default="sdpa")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations: faster, where they fit")
    parser.add_argument("--loops", default="plain,ours,ours-reuse", help="which to run, comma-joined, in this order")
    parser.add_argument("--max-pixels", type=int, default=448 * 448)
    parser.add_argument("--json", help="write the figures there too")
    args = parser.parse_args(argv)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and args.size != "small":
        raise SystemExit(f"--size {args.size} needs a GPU; --size small runs here")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    policy = PixelPolicy(max_pixels=args.max_pixels)
    bench = Bench(sizes()[args.size], device, dtype, args.attention, not args.no_checkpointing, args.batch_size, policy, found())
    rng = np.random.default_rng(0)
    visits: list[Visit] = draw_visits(rng, args.samples)
    encoded = [encode(visit, number, rng, bench.architecture, policy) for number, visit in enumerate(visits)]
    lengths = {one.sample_id: visit.length(policy) for one, visit in zip(encoded, visits, strict=True)}
    # the text of random ids is as long as the visit says, up to how its images are numbered
    lengths = {
        one.sample_id: dataclasses.replace(lengths[one.sample_id], text_tokens=len(one.input_ids) - int(one.token_types.sum()))
        for one in encoded
    }
    print(versions())
    print(
        f"{args.size}: {bench.architecture.num_parameters:,} parameters, random weights, {str(dtype).removeprefix('torch.')}, {args.attention}, "
        f"LoRA rank {LORA.rank}, activation checkpointing {'on' if bench.checkpointing else 'off'}; {args.samples} samples of "
        f"{sum(len(one.input_ids) for one in encoded) / len(encoded):.0f} tokens on average, batch {args.batch_size}",
        flush=True,
    )
    results = []
    for name in args.loops.split(","):
        made = plain_step(bench) if name == "plain" else our_step(bench)
        reuse = name == "ours-reuse"
        chosen = with_features(encoded, bench) if reuse else encoded
        groups = batches(chosen, args.batch_size, grouped=name != "plain")
        results.append(measure(name, bench, made, groups, lengths, reuse))
        del made
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    print(table(results))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(
                {"versions": versions(), "arguments": vars(args), "results": [dataclasses.asdict(one) for one in results]},
                file,
                indent=1,
            )
    return results


if __name__ == "__main__":
    main()
