"""How far the gradients of one step under ZeRO in bf16 are from the sum of its micro-batches' gradients; one of several workers.

    python -m tests.zero_sums WORLD RANK MEETING STRATEGY.OFFLOAD … > JSON on rank 0: {"zero2.none": relative error, …}

MEETING: a file that all workers see and that is not there yet.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

_STEP = 64  # micro-batches


class Words(torch.nn.Module):
    """Says each next word of a row; one layer learns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(50, 32).requires_grad_(False)
        self.inner = torch.nn.Linear(32, 32, bias=False)
        self.head = torch.nn.Linear(32, 50, bias=False).requires_grad_(False)

    def forward(self, input_ids: torch.Tensor, use_cache: bool, logits_to_keep: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.head(self.inner(self.embed(input_ids)))[logits_to_keep])


def batches(count: int) -> Iterator[dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(count):
        ids = torch.randint(50, (2, 9), generator=draw)
        yield {"input_ids": ids, "labels": ids}


def wanted() -> torch.Tensor:
    from codelib.train.backends import answer_loss

    model = Words().to(torch.bfloat16)
    total = torch.zeros(32 * 32, dtype=torch.float64)
    for batch in batches(_STEP):
        model.zero_grad()
        (answer_loss(model, batch) / _STEP).backward()
        total += model.inner.weight.grad.double().flatten()
    return total


def taken(strategy: str, offload: str, rank: int, world: int) -> torch.Tensor:
    """The gradients that AdamW saw, from its first moment; behind a rehearsal that was thrown away. Every rank passes all batches."""
    from codelib.train.settings import TrainSettings
    from codelib.train.zero import Zero

    settings = {"strategy": strategy, "offload": offload, "precision": "bf16", "max_grad_norm": 1e9, "workers": world}
    zero = Zero(Words().to(torch.bfloat16), TrainSettings.model_validate(settings), rank, world)
    for batch in batches(3):
        zero.accumulate(batch, 1.0, last=True)
    zero.discard()
    for number, batch in enumerate(batches(_STEP)):
        zero.accumulate(batch, 1 / _STEP, last=number == _STEP - 1)
    zero.step(1e-3)
    share = zero.share()
    assert share is not None
    start, piece = share.pieces["exp_avg", "inner.weight"]
    whole = torch.zeros(32 * 32, dtype=torch.float64)
    held = piece[: whole.numel() - start]
    whole[start : start + held.numel()] = held.double()
    torch.distributed.all_reduce(whole)
    return whole / (1 - zero.optimiser.optimizer.param_groups[0]["betas"][0])


def main(world: int, rank: int, meeting: str, ways: list[str]) -> None:
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    exact, errors = wanted(), {}
    for way in ways:
        strategy, offload = way.split(".")
        errors[way] = float((taken(strategy, offload, rank, world) - exact).norm() / exact.norm())
    torch.distributed.destroy_process_group()
    if rank == 0:
        print(json.dumps(errors))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
