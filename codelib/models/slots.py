"""Keys and values of the rows that are being answered: a slot for each row, each row as long as it is.

               columns ->  0 ......................... width
    slot 0  | prompt of this row, its answer so far |·····|
    slot 1  | another one |·······························|
    slot 2  | free                                        |

A row begins at column 0 and every forward pass appends to it, whatever the others' lengths: nothing is shifted when a row ends and another
takes its slot. Which columns a token sees is said by a mask. Stands in for transformers' Cache in a forward pass (its ``update`` is all that the
attention calls).
"""

from __future__ import annotations

from typing import Any

import torch

_STEP = 128  # columns added at once


class Slots:
    """Keys and values, for each layer (slots, heads, columns, channels): as the attention's products read them, without a copy."""

    def __init__(self, config: Any, count: int, dtype: torch.dtype, device: Any) -> None:
        self.heads = config.num_key_value_heads
        self.channels = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.dtype, self.device = dtype, device
        self.count = count  # may be asked for
        self.rows = self.columns = 0  # are there
        empty = (0, self.heads, 0, self.channels)
        self.keys = [torch.empty(empty, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        self.values = [torch.empty(empty, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        self._first, self._width = 0, 0
        self._place: tuple[torch.Tensor, torch.Tensor] | None = None

    def reserve(self, rows: int, columns: int) -> None:
        """Room for so many rows of so many columns; what is held stays. A failure for want of memory leaves all as it was."""
        assert rows <= self.count
        if rows <= self.rows and columns <= self.columns:
            return
        rows = max(rows, self.rows)
        columns = self.columns if columns <= self.columns else -(-columns // _STEP) * _STEP
        for held in (self.keys, self.values):
            for layer, old in enumerate(held):
                if old.shape[0] >= rows and old.shape[2] >= columns:  # grown before memory ran out at a later layer
                    continue
                # zeros: a masked column still takes part with weight 0, and 0 x NaN is NaN
                new = torch.zeros((rows, self.heads, columns, self.channels), dtype=self.dtype, device=self.device)
                new[: old.shape[0], :, : old.shape[2]] = old
                held[layer] = new
        self.rows, self.columns = rows, columns

    def shrink(self, count: int) -> None:
        """The first slots alone."""
        for held in (self.keys, self.values):
            for layer, old in enumerate(held):
                held[layer] = old[:count].clone()
        self.count, self.rows = count, min(count, self.rows)

    def aim(self, first: int, starts: torch.Tensor, tokens: int, width: int) -> None:
        """The next forward pass is for slots ``first`` and following: row i appends ``tokens`` columns from ``starts[i]`` on, all rows see
        the first ``width`` columns."""
        rows = first + torch.arange(len(starts), device=self.device)
        self._first, self._width = first, width
        self._place = (rows[:, None], starts[:, None] + torch.arange(tokens, device=self.device))

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """transformers' Cache.update: (rows, heads, tokens, channels) are appended, all that the rows hold comes back."""
        assert self._place is not None, "aim first"
        held = []
        for buffer, new in ((self.keys[layer_idx], keys), (self.values[layer_idx], values)):
            slots, columns = self._place
            buffer[slots, :, columns] = new.transpose(1, 2)
            held.append(buffer[self._first : self._first + len(keys), :, : self._width])
        return tuple(held)

    def move(self, source: int, target: int, columns: int) -> None:
        for held in (self.keys, self.values):
            for buffer in held:
                buffer[target, :, :columns] = buffer[source, :, :columns]

    def wipe(self, slot: int) -> None:
        """After numbers that are none: nothing of them may meet the slot's next row."""
        for held in (self.keys, self.values):
            for buffer in held:
                buffer[slot] = 0

    def take(self, slot: int, start: int, end: int) -> Segment:
        """A copy of some columns of a slot."""
        return Segment(
            [b[slot, :, start:end].clone() for b in self.keys], [b[slot, :, start:end].clone() for b in self.values], start
        )

    def put(self, slot: int, segment: Segment) -> None:
        end = segment.start + segment.keys[0].shape[1]
        for layer, (keys, values) in enumerate(zip(segment.keys, segment.values, strict=True)):
            self.keys[layer][slot, :, segment.start : end] = keys
            self.values[layer][slot, :, segment.start : end] = values


class Segment:
    """Keys and values of a piece of prompt, for each layer (heads, columns, channels), to stand from column ``start``."""

    def __init__(self, keys: list[torch.Tensor], values: list[torch.Tensor], start: int) -> None:
        self.keys, self.values, self.start = keys, values, start
