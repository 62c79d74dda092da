"""Which prompts begin alike: a tree of pieces, each to be computed once.

    prompts ── shared ──>  Piece [0, 900)   three worked examples, asked of every visit
                             └─ Piece [900, 1700)   a visit's photographs, asked with two questions
                                  ├─ prompt 3, its tokens from 1700 on
                                  └─ prompt 8, its tokens from 1700 on

Prompts are token ids; the tokens of an image are numbered by image, so that prompts are alike only where they show the same pixels. What a
piece is to a model depends on everything before it and on the weights: trees of different weights are kept apart by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

MIN_TOKENS = 16  # shorter pieces cost more to keep than to compute again
# the same of a first one: tokens that are computed from the first on need no mask, and their attention is twice as fast without
FIRST_TOKENS = 64


@dataclass(eq=False)
class Piece:
    """Tokens [start, end) that several prompts have in common, after all of ``parent``'s."""

    parent: Piece | None
    start: int
    end: int
    waiting: int = 0  # prompts and pieces that still build on it
    held: Any = None  # what a model made of it

    @property
    def chain(self) -> list[Piece]:
        """From the first token on."""
        return [*(self.parent.chain if self.parent else []), self]

    def done(self) -> None:
        """One that built on it is through: after the last its memory goes."""
        self.waiting -= 1
        if not self.waiting:
            self.held = None
            if self.parent:
                self.parent.done()


@dataclass
class Shared:
    """``branches``: the prompts by what they share beyond that which all share, those that begin alike side by side; ``piece``: what each
    prompt builds on."""

    branches: list[list[int]] = field(default_factory=list)
    piece: dict[int, Piece | None] = field(default_factory=dict)


def _alike(a: np.ndarray, b: np.ndarray) -> int:
    """Number of first tokens in common."""
    size = min(len(a), len(b))
    differs = np.nonzero(a[:size] != b[:size])[0]
    return int(differs[0]) if len(differs) else size


def shared(prompts: Sequence[np.ndarray], min_tokens: int = MIN_TOKENS, first_tokens: int = FIRST_TOKENS) -> Shared:
    """The tree of prompts (token ids, int64).

    A prompt is never covered whole: at least its last token is left to compute, since that one gives the answer's first.
    """
    # by bytes: any order will do in which those that begin alike lie side by side
    order = sorted(range(len(prompts)), key=lambda index: prompts[index].astype(">i8").tobytes())
    pairs = pairwise(order)
    alike = [min(_alike(prompts[a], prompts[b]), len(prompts[a]) - 1, len(prompts[b]) - 1) for a, b in pairs]
    found = Shared()

    def grow(low: int, high: int, parent: Piece | None, top: bool) -> None:
        """Prompts order[low:high], which all build on ``parent``."""
        if high - low == 1:
            found.piece[order[low]] = parent
            if parent:
                parent.waiting += 1
            if top:
                found.branches.append([order[low]])
            return
        least = parent.end + min_tokens if parent else first_tokens
        common = min(alike[low : high - 1])
        if common >= least:
            if parent:
                parent.waiting += 1
            parent = Piece(parent, parent.end if parent else 0, common)
            least = common + min_tokens
        # all that have too little in common part at once: every second step down is a piece, and the depth is bounded by a prompt's length
        cuts = [low, *(place + 1 for place in range(low, high - 1) if alike[place] < least), high]
        for first, last in pairwise(cuts):
            if top:
                found.branches.append(order[first:last])
            grow(first, last, parent, False)

    if prompts:
        grow(0, len(prompts), None, True)
    return found
