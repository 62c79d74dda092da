"""The attention of rows that are being answered: one new token each, over all that the row's slot holds.

    rows that stand side by side        columns ->
    ┌ few-shot, visit 1   | worked examples ........ | visit 1 |····|  ┐ span with common columns: the examples' keys and values
    ├ few-shot, visit 2   | worked examples ........ | visit 2 .... |  ┘ are read once, for the queries of all its rows
    ├ zero-shot, visit 1  | visit 1 .... |                             ┐ span of rows of like length: nothing is read
    └ zero-shot, visit 2  | visit 2 |····|                             ┘ that lies behind the longest

What answering costs here is reading: a token is compared with every key of its row, and a masked column is read all the same. So neighbours
of like length go together, over as many columns as they have, and what several rows hold in common is read for all of them (cascade
inference, Ye et al. 2024, flashinfer.ai/2024/02/02/cascade-inference.html; here with one softmax over both parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch

SPANS = "codelib_spans"  # the name that our attention has in transformers' registry


class Span(NamedTuple):
    """Rows [start, end) of a forward pass, the columns that they see, and how many of those hold the same in all of them."""

    start: int
    end: int
    width: int
    common: int = 0


def spans(lengths: Sequence[int], worth: int, families: Sequence[tuple[Any, int] | None] | None = None) -> list[Span]:
    """Rows of these lengths, in order, cut where what is not read (rows x columns) is ``worth`` a second call.

    ``families``: for each row what it begins with, (anything that is equal for rows that begin alike, its columns), or None.
    ``[1700, 1690, 600, 580]`` -> ``[(0, 2, 1700, 0), (2, 4, 600, 0)]``
    """
    found: list[Span] = []
    alone: list[int] = []  # rows before the one at hand that share nothing

    def close() -> None:
        if alone:
            found.extend(_alike(alone[0], [lengths[row] for row in alone], worth))
            alone.clear()

    for family, members in groupby(range(len(lengths)), lambda row: families[row] if families else None):
        rows = list(members)
        if family is None or (len(rows) - 1) * family[1] < worth:
            alone += rows
        else:
            close()
            found.append(Span(rows[0], rows[-1] + 1, max(lengths[row] for row in rows), family[1]))
    close()
    return found


def _alike(first: int, lengths: Sequence[int], worth: int) -> list[Span]:
    alike: list[Span] = []
    for row, length in enumerate(lengths, first):
        if alike and 4 * min(alike[-1].width, length) >= 3 * max(alike[-1].width, length):
            alike[-1] = Span(alike[-1].start, row + 1, max(alike[-1].width, length))
        else:
            alike.append(Span(row, row + 1, length))
    found = alike[:1]
    for span in alike[1:]:
        before = found[-1]
        wider = max(before.width, span.width)
        unread = (before.end - before.start) * (wider - before.width) + (span.end - span.start) * (wider - span.width)
        if unread < worth:
            found[-1] = Span(before.start, span.end, wider)
        else:
            found.append(span)
    return found


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Shapes (rows, heads, tokens, channels), the mask (rows, 1, tokens, width) bool; returns (rows, tokens, heads, channels).

    Where no spans are given: upstream's SDPA. Answers' tokens in float32: two products, which read less than a fused kernel where heads share
    their keys. In half precision the scores would be rounded between the two, so there SDPA goes span by span, and common columns are read by
    every row.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    sdpa: Any = sdpa_attention_forward
    cut: list[Span] | None = kwargs.pop("spans", None)
    if not cut:
        return sdpa(module, query, key, value, attention_mask, **kwargs)
    assert attention_mask is not None
    if query.dtype == torch.float32:
        query = query[:, :, 0] * kwargs["scaling"]
        hides = ~attention_mask[:, :, 0]
        parts = [
            _one_token(query[a:b], key[a:b, :, :width], value[a:b, :, :width], hides[a:b, :, None, :width], common)
            for a, b, width, common in cut
        ]
    else:
        parts = [
            sdpa(module, query[a:b], key[a:b, :, :width], value[a:b, :, :width], attention_mask[a:b, :, :, :width], **kwargs)[0]
            for a, b, width, _ in cut
        ]
    return parts[0] if len(parts) == 1 else torch.cat(parts), None


def _one_token(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hides: torch.Tensor, common: int) -> torch.Tensor:
    """query: scaled, (rows, heads, channels); key, value: (rows, key heads, columns, channels); hides: (rows, 1, 1, columns) bool. The first
    ``common`` columns are those of the first row for all."""
    rows, heads, channels = query.shape
    groups = key.shape[1]
    query = query.view(rows, groups, heads // groups, channels)
    near = query @ key[:, :, common:].transpose(2, 3)
    near.masked_fill_(hides[..., common:], float("-inf"))
    if not common:
        return (near.softmax(-1) @ value).view(rows, 1, heads, channels)
    by_group = query.transpose(0, 1).reshape(groups, -1, channels)
    far = by_group @ key[0, :, :common].transpose(1, 2)
    weights = torch.cat([far.view(groups, rows, -1, common).transpose(0, 1), near], -1).softmax(-1)
    seen = weights[..., common:] @ value[:, :, common:]
    seen += (
        (weights[..., :common].transpose(0, 1).reshape(groups, -1, common) @ value[0, :, :common])
        .view(groups, rows, -1, channels)
        .transpose(0, 1)
    )
    return seen.view(rows, 1, heads, channels)


def attend_in_spans(model: Any) -> None:
    """Let the language blocks of a Qwen2.5-VL with SDPA attend in spans where a forward pass is given some."""
    from transformers import AttentionInterface

    AttentionInterface.register(SPANS, attend)
    model.config.text_config._attn_implementation = SPANS
