"""A request as the decoder takes it, with what has become of it, and the pieces of work that its prompt makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from codelib.models.choosing import Chooser
from codelib.models.prefixes import Piece
from codelib.models.sight import Seen


@dataclass(eq=False)
class Prompt:
    """A request as the decoder takes it, with what has become of it, and the pieces of work that its prompt makes."""

    number: int  # the caller's
    ids: torch.Tensor  # (tokens,) int64
    positions: torch.Tensor  # (3, tokens) int64: frame, row, column
    images: tuple[tuple[int, int, Seen], ...]  # [start, end) of its tokens, and the image
    max_new_tokens: int
    chooser: Chooser
    adapter: str | None = None
    tower: str | None = None  # the adapter, where it stands on the vision tower
    choices: tuple[tuple[int, ...], ...] = ()  # tokens of each, end token included
    piece: Piece | None = None  # what it has in common with others, to be computed once
    family: Piece | None = None  # what it and enough others hold alike while they answer
    said: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # mean log probability of each choice
    seconds: float = 0.0  # its share of the forward passes
    length: int = 0  # columns of its slot that are filled
    alone: bool = False  # something failed beside it: tried again by itself
    error: BaseException | None = None

    def __post_init__(self) -> None:
        # text goes on behind the largest position so far, which is less than the number of tokens where there are images
        self._ahead = int(self.positions.max()) + 1 - len(self.ids)

    @property
    def next_position(self) -> int:
        return self.length + self._ahead

    @property
    def kind(self) -> tuple[int, Piece | None]:
        """Rows of one kind are of like length, within a factor of 1.4, and of one family."""
        return (len(self.ids) ** 2).bit_length(), self.family

    def restart(self) -> None:
        self.said, self.weights, self.length = [], [], 0
        if self.piece is None:  # gone: it will compute all by itself, and a fault in that is not to reach the others
            self.family = None
        self.chooser.restart()


@dataclass
class Job:
    """Tokens [start, end) of a prompt, to be computed in a slot that holds those before."""

    prompt: Prompt
    start: int
    end: int
    chain: list[Piece]  # what fills the slot up to start
    piece: Piece | None = None  # keep it there

    @property
    def tokens(self) -> int:
        return self.end - self.start


def groups(jobs: Sequence[Job], most_rows: int, most_tokens: int) -> Iterator[list[Job]]:
    """Jobs of like length, in what is computed and in what is seen, up to the rows and the tokens (padding counted) of one forward pass; those
    of one family side by side."""
    group: list[Job] = []
    families: dict[Piece | None, int] = {}
    for job in jobs:
        families.setdefault(job.prompt.family, len(families))
    for job in sorted(jobs, key=lambda job: (-job.end.bit_length(), families[job.prompt.family], -job.tokens)):
        if group:
            tokens = [one.tokens for one in (*group, job)]
            seen = [one.end for one in (*group, job)]
            fits = len(tokens) <= most_rows and len(tokens) * max(tokens) <= most_tokens
            if not fits or 4 * min(tokens) < 3 * max(tokens) or 4 * min(seen) < 3 * max(seen):
                yield group
                group = []
        group.append(job)
    if group:
        yield group
