"""The memory model against bytes that were counted: every tensor kept for the backward pass, and the peak of a whole step."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from codelib.models.architecture import Architecture, published
from codelib.models.encoding import IGNORED
from codelib.train.backends import answer_loss
from codelib.train.lora import add_adapters
from codelib.train.memory import Load, Setup, block_bytes, footprint
from codelib.train.settings import LoraSettings

SEVEN_B = published()["Qwen/Qwen2.5-VL-7B-Instruct"]
# the 7B in small: the MLP much wider than the rest, fewer keys than queries, a vocabulary much wider than both
SMALL = dataclasses.replace(
    SEVEN_B, hidden=512, intermediate=2048, layers=3, heads=4, key_value_heads=2, vocabulary=8192,
    vision_hidden=160, vision_intermediate=428, vision_layers=2, vision_heads=4, vision_full_layers=(1,),
)  # fmt: skip
TYPES = {2: torch.bfloat16, 4: torch.float32}
LENGTH = 256


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model_of(architecture: Architecture, setup: Setup) -> Any:
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = architecture.config()
    config._attn_implementation = config.text_config._attn_implementation = setup.attention
    base = Qwen2_5_VLForConditionalGeneration(config).to(TYPES[setup.value_bytes])
    if setup.activation_checkpointing:
        base.activation_checkpointing_enable()
    tuned = add_adapters(base, setup.lora).train()
    base.disable_input_require_grads()  # as `adapted` does
    return tuned


def batch_of(setup: Setup, images: int = 0, answers: int = 4) -> dict[str, torch.Tensor]:
    """Two samples of LENGTH tokens, the second half as long where the setup says padded; images of 8 x 8 patches in the first."""
    ids = torch.randint(0, 800, (2, LENGTH))
    mask = torch.ones_like(ids)
    if setup.padded:
        mask[1, LENGTH // 2 :] = 0
    labels = torch.full_like(ids, IGNORED)
    labels[:, 40 : 40 + answers // 2] = ids[:, 40 : 40 + answers // 2]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def kept(architecture: Architecture, setup: Setup) -> int:
    """Bytes of every distinct tensor that one forward pass keeps, parameters left out."""
    model, batch = model_of(architecture, setup), batch_of(setup)
    storages = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        alive.append(tensor)  # or its place would be given to the next one
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = answer_loss(model, batch)
    assert loss.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("attention", "padded"), [("sdpa", False), ("sdpa", True), ("eager", True)])
@pytest.mark.parametrize("value_bytes", [2, 4])
def test_what_a_block_keeps_is_what_is_counted(value_bytes: int, attention: str, padded: bool, dropout: float) -> None:
    """Within 1.5 %: the model leaves out the adapters' weights in bfloat16, which do not grow with the tokens."""
    setup = Setup(LoraSettings(rank=4, dropout=dropout), value_bytes=value_bytes, attention=attention, padded=padded)  # type: ignore[arg-type]
    three, one = (kept(dataclasses.replace(SMALL, layers=layers), setup) for layers in (3, 1))
    a = SMALL
    predicted = block_bytes(
        a.hidden, a.intermediate, a.key_value, a.heads, setup, longest=LENGTH, mask_bytes=value_bytes
    )  # torch's CPU dropout keeps a mask of the value's width
    assert (three - one) / 2 / (2 * LENGTH) == pytest.approx(predicted, rel=0.015)


def test_checkpointing_keeps_one_hidden_state_a_block() -> None:
    setup = Setup(LoraSettings(rank=4), activation_checkpointing=True)
    three, one = (kept(dataclasses.replace(SMALL, layers=layers), setup) for layers in (3, 1))
    assert (three - one) / 2 / (2 * LENGTH) == pytest.approx(2 * SMALL.hidden, rel=0.001)


def test_adapters_do_not_keep_float32_copies_of_their_inputs() -> None:
    """What peft does when it is left alone: here 1.5 times the bytes."""
    setup = Setup(LoraSettings(rank=4), padded=False)
    ours = kept(SMALL, setup)
    model, batch = model_of(SMALL, setup), batch_of(setup)
    model.base_model.model.__dict__.pop("forward")
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = True
    seen: dict[int, torch.Tensor] = {p.untyped_storage().data_ptr(): p for p in model.parameters()}
    weights = set(seen)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answer_loss(model, batch)
    stock = sum(tensor.untyped_storage().nbytes() for place, tensor in seen.items() if place not in weights)
    assert stock > 1.4 * ours


class Peak(TorchDispatchMode):
    """Follows every storage that an operator makes, until it is freed."""

    def __init__(self, known: Any) -> None:
        super().__init__()
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage())._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage._cdata)
        return out

    def _freed(self, place: int) -> None:
        self.now -= self.sizes.pop(place, 0)


@pytest.mark.parametrize("answers", [4, 400])
@pytest.mark.parametrize("activation_checkpointing", [False, True])
@pytest.mark.parametrize("value_bytes", [2, 4])
def test_the_peak_of_a_step_is_what_is_counted(value_bytes: int, activation_checkpointing: bool, answers: int) -> None:
    """Within 15 %, and never less by more than 5 %: forward and backward, gradients included."""
    setup = Setup(LoraSettings(rank=4), value_bytes=value_bytes, activation_checkpointing=activation_checkpointing)
    model, batch = model_of(SMALL, setup), batch_of(setup, answers=answers)
    known = [*model.parameters(), *model.buffers(), *batch.values()]
    with Peak(known) as peak:
        answer_loss(model, batch).backward()
    counted = footprint(SMALL, setup, Load(2 * LENGTH, LENGTH, 0, answers))
    gradients = sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    assert -0.05 < (counted.kept + counted.moment + gradients) / peak.peak - 1 < 0.15


@pytest.mark.parametrize("value_bytes", [2, 4])
def test_the_vision_tower_s_moment_is_what_is_counted(value_bytes: int) -> None:
    setup = Setup(LoraSettings(rank=4), value_bytes=value_bytes)
    tower = model_of(SMALL, setup).base_model.model.model.visual
    grid = torch.tensor([[1, 16, 16]] * 3)
    with Peak([*tower.parameters(), *tower.buffers()]) as peak, torch.no_grad():
        pixels = torch.zeros(3 * 256, 1176)  # as a batch brings them, in float32
        tower(pixels if value_bytes == 4 else pixels.to(TYPES[value_bytes]), grid_thw=grid)
    counted = footprint(SMALL, setup, Load(LENGTH, LENGTH, 3 * 64, 4))
    assert counted.vision == pytest.approx(peak.peak, rel=0.10)


def test_the_state_of_each_strategy() -> None:
    """Bytes a parameter: bf16 weights 2; DDP's float32 adapters 4 + 4 + 4 (buckets) + 8; ZeRO's 2 + 2 + 2 (bucket), and 12 + 4
    (the float32 sum of a step's gradients) over all GPUs."""
    lora, load = LoraSettings(rank=8), Load(4096, 4096, 2048, 200)
    weights, n = 2 * SEVEN_B.num_parameters, 20_185_088
    ddp = footprint(SEVEN_B, Setup(lora, world=4), load)
    assert (ddp.weights, ddp.adapters, ddp.optimizer, ddp.host) == (weights, 12 * n, 8 * n, 0)
    assert footprint(SEVEN_B, Setup(lora, world=1), load).adapters == 8 * n
    zero2 = footprint(SEVEN_B, Setup(lora, world=4, strategy="zero2"), load)
    assert (zero2.weights, zero2.adapters, zero2.optimizer) == (weights, 6 * n + n, 3 * n)
    assert zero2.total < ddp.total
    zero3 = footprint(SEVEN_B, Setup(lora, world=4, strategy="zero3"), load)
    assert zero3.weights == weights // 4 + 2 * 10**9
    offloaded = footprint(SEVEN_B, Setup(lora, world=4, strategy="zero3", offload="parameters"), load)
    assert (offloaded.weights, offloaded.adapters, offloaded.optimizer) == (2 * 10**9, 6 * n, 0)
    assert offloaded.host == weights // 4 + 3 * n + n
    assert ddp.kept == zero2.kept == zero3.kept
    more = footprint(SEVEN_B, Setup(LoraSettings(rank=8, vision=True), world=4), load)
    assert more.kept > ddp.kept and more.adapters > ddp.adapters
    assert footprint(SEVEN_B, Setup(lora, reuse=True), load).vision == 0
