"""Training on kept vision features against the common way, side by side in one run: `python -m tests.benchmarks.train_vision`.

A random Qwen2.5-VL in the 3B's proportions: every width an eighth of it, a ninth of its blocks, images and text an eighth of their tokens, so
that the vision tower has about the share of the operations that it has in the 3B (printed for both, from `codelib.train.flops`). Rounds
alternate on the same samples; one thread; ratios of useful tokens for each second of processor time are medians over the rounds, so that
other work on the machine weighs little.

- common: batches of 2 in random order, padded to the longest, the vision tower at every step, the model's own loss over all places
- recompute: our step (adapters, loss at the answers alone) on batches of like length
- reuse: the same with features in place of pixels

Ends with 1 where reuse is less than 1.5 times the common way.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from codelib.models.architecture import published
from codelib.models.encoding import Encoded, collate
from codelib.models.prompt import PixelPolicy
from codelib.train.flops import Length, train_cost
from tests.gpu.train_step import LORA, PAD, Bench, batches, our_step, plain_step, with_features
from tests.visits import Visit, draw_visits, encode

LEAST = 1.5
EIGHTH = dataclasses.replace(
    published()["Qwen/Qwen2.5-VL-3B-Instruct"], hidden=256, intermediate=1376, layers=4, heads=2, key_value_heads=1, vocabulary=2048,
    vision_hidden=160, vision_intermediate=428, vision_layers=4, vision_heads=4, vision_full_layers=(3,),
)  # fmt: skip
POLICY = PixelPolicy(max_pixels=448 * 448 // 8)
_TEXT = 8


@dataclass(frozen=True)
class Compared:
    """Useful tokens for each second of processor time; ratios to the common way."""

    common: float
    recompute_ratio: float
    reuse_ratio: float
    padding: float  # share of the common way's tokens


def shorter(visit: Visit) -> Visit:
    return Visit(visit.images, max(8, visit.question_tokens // _TEXT), max(1, visit.answer_tokens // _TEXT))


def vision_share(bench: Bench, lengths: Sequence[Length]) -> float:
    """Of all operations of training on these samples, with activation checkpointing as in the paper's recipes."""
    costs = [train_cost(bench.architecture, bench.setup(reuse=False), one) for one in lengths]
    return sum(one.vision for one in costs) / sum(one.total for one in costs)


def _rate(step: Callable[[dict[str, torch.Tensor]], float], groups: Sequence[Sequence[Encoded]]) -> float:
    made = [collate(group, PAD, left=False) for group in groups]
    began = time.process_time()
    for batch in made:
        step(batch)
    return sum(len(one.input_ids) for group in groups for one in group) / (time.process_time() - began)


def compare(num_samples: int = 32, rounds: int = 3, checkpointing: bool = True) -> Compared:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bench = Bench(EIGHTH, "cpu", torch.float32, "sdpa", checkpointing, 2, POLICY, None)
        rng = np.random.default_rng(0)
        visits = draw_visits(rng, num_samples)
        encoded = [encode(shorter(visit), number, rng, bench.architecture, POLICY) for number, visit in enumerate(visits)]
        lengths = [shorter(visit).length(POLICY) for visit in visits]
        three = dataclasses.replace(bench, architecture=published()["Qwen/Qwen2.5-VL-3B-Instruct"])
        print(
            f"{bench.architecture.num_parameters:,} parameters, LoRA rank {LORA.rank}; the vision tower has "
            f"{vision_share(bench, lengths):.0%} of the operations (3B at full size: "
            f"{vision_share(three, [visit.length(PixelPolicy()) for visit in visits]):.0%})",
            flush=True,
        )
        groups = {
            "common": batches(encoded, 2, grouped=False),
            "recompute": batches(encoded, 2, grouped=True),
            "reuse": batches(with_features(encoded, bench), 2, grouped=True),
        }
        steps = {name: (plain_step if name == "common" else our_step)(bench)[1] for name in groups}
        rates: dict[str, list[float]] = {name: [] for name in groups}
        for name, step in steps.items():  # the first pass chooses kernels
            _rate(step, groups[name][:2])
        for number in range(rounds):
            for name, step in steps.items():
                rates[name].append(_rate(step, groups[name]))
            print(
                f"round {number + 1}: " + ", ".join(f"{name} {found[-1]:.0f} tokens/s" for name, found in rates.items()),
                flush=True,
            )
        ratios = {
            name: statistics.median(a / b for a, b in zip(found, rates["common"], strict=True)) for name, found in rates.items()
        }
        whole = sum(len(group) * max(len(one.input_ids) for one in group) for group in groups["common"])
        padding = 1 - sum(len(one.input_ids) for one in encoded) / whole
        return Compared(statistics.median(rates["common"]), ratios["recompute"], ratios["reuse"], padding)
    finally:
        torch.set_num_threads(threads)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    reached = True
    for checkpointing in (True, False):
        print(f"activation checkpointing {'on' if checkpointing else 'off'}")
        found = compare(args.samples, args.rounds, checkpointing)
        reached &= found.reuse_ratio >= LEAST
        print(
            f"common way {found.common:.0f} useful tokens/s ({found.padding:.1%} padding); ours {found.recompute_ratio:.2f} x, with reused "
            f"features {found.reuse_ratio:.2f} x (wanted: {LEAST} x)\n"
        )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
