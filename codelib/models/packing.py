"""Several samples in one row without a padding token, and without seeing one another.

    Encoded, Encoded, … ── pack ──> one row: ids end to end, each sample's own M-RoPE positions, the samples' lengths
    model ── attend_in_segments ──> its language blocks attend within each sample

A stock model reads the row rightly too: from the text positions, which begin again at 0, transformers builds a block-diagonal mask (SDPA,
eager), of rows x rows elements and as much work; flash attention takes the boundaries as they are. `attend_in_segments` gives SDPA
the same: one causal call for each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import torch

from codelib.models.encoding import IGNORED, Encoded, visual_inputs
from codelib.models.prompt import MERGE

SEGMENTS = "codelib_segments"  # the name that our attention has in transformers' registry


def rope_positions(one: Encoded) -> torch.Tensor:
    """(4, tokens) int64: the token's place in its sample, then frame, row and column by upstream's ``get_rope_index``."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    places = torch.arange(len(one.input_ids))[None]
    if one.image_grid_thw is None:  # upstream's rule is for vision and text; without vision all three count the tokens
        return places.expand(4, -1)
    # two methods of the model that read nothing of it but these numbers: no weights are needed to call them
    model: Any = SimpleNamespace(
        config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=MERGE, tokens_per_second=1)),
        get_vision_position_ids=lambda *args, **kwargs: Qwen2_5_VLModel.get_vision_position_ids(model, *args, **kwargs),
    )
    rule: Any = Qwen2_5_VLModel.get_rope_index
    found, _ = rule(model, one.input_ids[None], one.token_types[None], image_grid_thw=one.image_grid_thw)
    return torch.cat([places, found[:, 0]])


def pack(encoded: Sequence[Encoded]) -> dict[str, Any]:
    """One row of all samples as the model's forward takes it (``labels`` included).

    ``segments``: the samples' lengths, a tuple of ints. The other ``*_q`` and ``*_k`` say the same to flash attention.
    """
    lengths = tuple(len(one.input_ids) for one in encoded)
    # the label of a sample's first token would be asked of the sample before it
    assert all(int(one.labels[0]) == IGNORED for one in encoded), "an answer begins with a sample's first token"
    edges = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    batch: dict[str, Any] = {
        "input_ids": torch.cat([one.input_ids for one in encoded])[None],
        "labels": torch.cat([one.labels for one in encoded])[None],
        "position_ids": torch.cat([rope_positions(one) for one in encoded], dim=1)[:, None],
        "segments": lengths,
        "cu_seq_lens_q": edges,
        "cu_seq_lens_k": edges,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
    return batch | visual_inputs(encoded)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Upstream's SDPA for each segment of a packed row; for anything else upstream's SDPA. Shapes (batch, heads, tokens, width)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    sdpa: Any = sdpa_attention_forward
    segments = kwargs.pop("segments", None)
    if segments is None:
        return sdpa(module, query, key, value, attention_mask, **kwargs)
    assert attention_mask is None and sum(segments) == query.shape[2], "segments are of a packed row"
    parts = zip(*(tensor.split(segments, dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([sdpa(module, *part, None, **kwargs)[0] for part in parts], dim=1), None


def _mask(attention_mask: torch.Tensor | None = None, allow_is_causal_skip: bool = True, **kwargs: Any) -> torch.Tensor | None:
    """Upstream's mask for SDPA, except for a packed row, which needs none (upstream forbids the skip there alone)."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None and not allow_is_causal_skip:
        return None
    return sdpa_mask(attention_mask=attention_mask, allow_is_causal_skip=allow_is_causal_skip, **kwargs)


def attend_in_segments(model: Any) -> None:
    """Let the language blocks of a Qwen2.5-VL attend within the segments of packed rows. Where flash attention is set it stays: it does so by
    itself. Padded batches and generation are left as they are."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    config = model.config.text_config
    if config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(SEGMENTS, _attend)
    AttentionMaskInterface.register(SEGMENTS, _mask)
    config._attn_implementation = SEGMENTS
