"""How much of a GPU a run will take, from sizes alone: no weights, no GPU.

    Architecture + Setup + Load (one micro-batch) ──> Footprint: weights, adapters, optimiser, kept activations, one moment's peak

What LoRA keeps for the backward pass follows from the operators of transformers' Qwen2.5-VL and peft: a frozen layer keeps nothing of its
input, its adapter keeps the input (one tensor for q, k and v; one for gate and up), the norms keep float32, the product of the MLP keeps
four tensors as wide as the MLP. In tests/unit/test_train_memory.py the bytes are counted by torch's saved-tensor hooks, and the peak of a
whole step by following every storage. What a GPU adds (context, fragments, kernels' workspaces) is a stated margin, not a measurement.

h channels, f channels of the MLP, kv channels of the keys, e bytes a value (bf16: 2), r LoRA rank, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from codelib.models.architecture import Architecture
from codelib.train.lora import expected
from codelib.train.settings import LoraSettings

GIB = 2**30
CONTEXT_GIB = 1.0  # CUDA context, cuBLAS and NCCL buffers
FRAGMENTS = 0.10  # of all that comes and goes: what the allocator cannot hand out again
_LIVE = 1_000_000_000  # DeepSpeed's max_live_parameters of stage 3, in elements


@dataclass(frozen=True)
class Setup:
    """How the run is spread over GPUs. ``padded``: batches need a mask (some samples are shorter than the longest)."""

    lora: LoraSettings
    world: int = 1
    value_bytes: int = 2
    strategy: Literal["ddp", "zero2", "zero3"] = "ddp"
    offload: Literal["none", "optimizer", "parameters"] = "none"
    activation_checkpointing: bool = False
    attention: Literal["sdpa", "flash", "eager"] = "sdpa"
    padded: bool = True
    reuse: bool = False  # vision features are read, not computed


@dataclass(frozen=True)
class Load:
    """One micro-batch. ``tokens`` with its padding; ``longest`` sample; ``answer_tokens`` that the loss is taken at."""

    tokens: int
    longest: int
    visual_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Footprint:
    """Bytes on one GPU. The peak is all of ``fixed``, ``kept`` and the larger of the moments (``vision``, ``loss``, ``layer``)."""

    weights: int  # the frozen model
    adapters: int  # trainable weights, their gradients and buffers to exchange them
    optimizer: int  # Adam's two moments, and the float32 copy under ZeRO
    kept: int  # activations that wait for the backward pass
    layer: int  # working memory of one block's backward pass, recomputed activations included
    loss: int  # logits of the answer tokens over the vocabulary in float32, their softmax and gradient
    vision: int  # working memory of the vision tower's forward pass
    host: int = 0  # what offloading puts into the host's memory instead

    @property
    def moment(self) -> int:
        return max(self.layer, self.loss, self.vision)

    @property
    def tensors(self) -> int:
        """Without any margin."""
        return self.weights + self.adapters + self.optimizer + self.kept + self.moment

    @property
    def margin(self) -> int:
        return round(CONTEXT_GIB * GIB + FRAGMENTS * (self.kept + self.moment))

    @property
    def total(self) -> int:
        return self.tensors + self.margin

    def gib(self) -> dict[str, float]:
        return {one.name: round(getattr(self, one.name) / GIB, 3) for one in fields(self)}


def block_bytes(
    h: int, f: int, kv: int, heads: int, setup: Setup, *, longest: int = 0, mask_bytes: int = 1, masked: bool | None = None
) -> int:
    """Bytes that one block with adapters keeps for each token.

    ``mask_bytes``: of dropout's mask, 1 on a GPU (torch's CPU kernel keeps one of the value's width).
    """
    e, r = setup.value_bytes, setup.lora.rank
    masked = setup.padded if masked is None else masked
    norms = 2 * (4 * h + 4)  # both norms keep their float32 input and one number
    inputs = 2 * e * h  # of q, k, v together; of gate and up together
    if setup.attention == "eager":
        # repeated keys and values; the softmax in float32 and its copy in the run's precision
        softmax = heads * longest * (4 if e == 4 else 4 + e)
        attention = 2 * e * h + 2 * e * h + softmax
    elif setup.attention == "sdpa" and masked:
        # with a mask the keys and values are repeated for all heads, and the mask is made additive in every block
        attention = 2 * e * h + 2 * e * h + 4 * heads + e * longest
    else:
        attention = 2 * e * h + 2 * e * kv + 4 * heads
    mlp = 4 * e * f
    dropped = 0
    if setup.lora.dropout > 0:
        # each adapter has an input of its own then, and the mask that made it; what the undropped inputs were kept for falls away
        dropped = (6 * h + f) * (e + mask_bytes) - inputs - e * f - (e * h if setup.attention == "eager" else 0)
    return norms + inputs + attention + mlp + 7 * r * e + dropped


def _trainable(architecture: Architecture, setup: Setup) -> int:
    return sum(one.parameters for one in expected(architecture, setup.lora))


def _state(architecture: Architecture, setup: Setup) -> tuple[int, int, int, int]:
    """Bytes of frozen weights, adapters with gradients and buffers, optimiser, and what stands in the host's memory."""
    e, world, n = setup.value_bytes, setup.world, _trainable(architecture, setup)
    weights = e * architecture.num_parameters
    if setup.strategy == "ddp":
        # float32 weights and gradients; DDP copies the gradients into buckets
        return weights, (4 + 4 + (4 if world > 1 else 0)) * n, 8 * n, 0
    optimizer = (4 + 4 + 4) * n // world
    # weights, gradients of a micro-batch, the bucket they are exchanged in; a share of the step's float32 sum
    adapters = 3 * e * n + 4 * n // world
    host = 0
    if setup.strategy == "zero3":
        host = weights // world if setup.offload == "parameters" else 0
        gathered = e * min(_LIVE, architecture.num_parameters) if world > 1 or host else 0
        weights = min(weights, (0 if host else weights // world) + gathered)
    if setup.offload != "none":
        summed = 4 * n // world
        host, optimizer, adapters = host + optimizer + summed, 0, adapters - summed
    return weights, adapters, optimizer, host


def _language(architecture: Architecture, setup: Setup, load: Load) -> tuple[int, int]:
    """Kept activations of all language blocks, and the working memory of one block's backward pass."""
    a, e = architecture, setup.value_bytes
    block = block_bytes(a.hidden, a.intermediate, a.key_value, a.heads, setup, longest=load.longest) * load.tokens
    # gradients of two tensors of the MLP's width at a time, or those around the last norm in float32
    moment = max(2 * e * a.intermediate, 20 * a.hidden) * load.tokens
    ends = (2 * e + 4) * a.hidden * load.tokens  # embedded input with the images in place, and the last norm
    if setup.activation_checkpointing:
        return ends + e * a.hidden * a.layers * load.tokens, block + moment
    return ends + block * a.layers, moment


def _vision(architecture: Architecture, setup: Setup, load: Load) -> tuple[int, int]:
    """What the vision tower keeps (nothing while it is frozen), and the working memory of its forward pass."""
    if setup.reuse or not load.visual_tokens:
        return 0, 0
    a, e = architecture, setup.value_bytes
    g, patches = a.vision_hidden, load.visual_tokens * a.merge**2
    pixels = (
        4 + (e if e < 4 else 0)
    ) * a.patch_values  # float32 as the batch brings them, and a copy where the run's precision is another
    # q, k and v, their float32 copies under the rotation, and the residual stream: measured (module docstring)
    forward = (pixels + (26 + 5 * e) * g) * patches
    kept = 0
    if setup.lora.vision:
        block = block_bytes(g, a.vision_intermediate, g, a.vision_heads, setup, longest=patches, masked=False)
        kept = (e * g * a.vision_layers + block if setup.activation_checkpointing else block * a.vision_layers) * patches
    if setup.lora.merger or setup.lora.vision:
        kept += (4 + 3 * e) * g * patches
    return kept, forward


def footprint(architecture: Architecture, setup: Setup, load: Load) -> Footprint:
    """Memory of one GPU that trains on ``load``."""
    weights, adapters, optimizer, host = _state(architecture, setup)
    kept, layer = _language(architecture, setup, load)
    vision_kept, vision = _vision(architecture, setup, load)
    return Footprint(
        weights=weights,
        adapters=adapters,
        optimizer=optimizer,
        kept=kept + vision_kept,
        layer=layer,
        loss=12 * architecture.vocabulary * load.answer_tokens,  # float32 logits, their softmax, their gradient
        vision=vision,
        host=host,
    )
