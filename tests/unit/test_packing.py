"""Packed rows: the losses and gradients of samples one by one, whichever way a model attends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codelib.models import tiny
from codelib.models.conversation import Conversation, Message, open_dataset
from codelib.models.encoding import Encoded, Encoder, collate
from codelib.models.loading import load_base, load_processor
from codelib.models.packing import SEGMENTS, attend_in_segments, pack
from codelib.models.prompt import PixelPolicy
from codelib.train.backends import answer_loss
from codelib.train.lora import add_adapters
from codelib.train.settings import LoraSettings
from tests.fixtures import make_release


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("packing")
    (folder / "tiny").mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
    make_release(folder / "release", visits=6)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def samples(folder: Path) -> list[Encoded]:
    """One and two images, of two shapes, and a sample of text alone in the middle."""
    encoder = Encoder(load_processor(str(folder / "tiny")), PixelPolicy())
    read = open_dataset(folder / "release").read("train-diagnostic")[:4]
    words = Conversation("words", (Message("user", "Which colour has no disc?"), Message("assistant", "All\nothers")), ())
    return [encoder.example(one) for one in (*read[:2], words, *read[2:])]


def tuned(folder: Path) -> Any:
    torch.manual_seed(0)
    model = add_adapters(load_base(str(folder / "tiny"), device="cpu"), LoraSettings(rank=4, vision=True))
    with torch.no_grad():  # the adapters' other half is zero at the beginning, and would hide half of the gradients
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return model


def loss_and_gradients(model: Any, batches: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = sum(answer_loss(model, batch) for batch in batches)
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_packed_equals_padded_equals_one_by_one(folder: Path, samples: list[Encoded]) -> None:
    """The tolerance is that of float32 sums in another order: 1e-5 of the loss, 1e-4 of the gradients' size."""
    model = tuned(folder)
    alone, gradients = loss_and_gradients(model, [collate([one], 0, left=False) for one in samples])
    stock, stock_gradients = loss_and_gradients(model, [pack(samples)])
    padded, padded_gradients = loss_and_gradients(model, [collate(samples, 0, left=False)])
    attend_in_segments(model)
    assert model.config.text_config._attn_implementation == SEGMENTS
    packed, packed_gradients = loss_and_gradients(model, [pack(samples)])
    halves, halves_gradients = loss_and_gradients(model, [pack(samples[:2]), pack(samples[2:])])
    for loss in (stock, padded, packed, halves):
        assert loss == pytest.approx(alone, rel=1e-5)
    for other in (stock_gradients, padded_gradients, packed_gradients, halves_gradients):
        assert float((other - gradients).norm() / gradients.norm()) < 1e-4


def test_without_the_boundaries_the_gradients_would_be_others(folder: Path, samples: list[Encoded]) -> None:
    """What the test above would not see if the samples of this release did not differ."""
    model = tuned(folder)
    _, right = loss_and_gradients(model, [pack(samples)])
    attend_in_segments(model)
    batch = pack(samples)
    _, mixed = loss_and_gradients(model, [{**batch, "segments": (sum(batch["segments"]),)}])
    assert float((mixed - right).norm() / right.norm()) > 1e-2


def test_activation_checkpointing_changes_no_packed_gradient(folder: Path, samples: list[Encoded]) -> None:
    model = tuned(folder)
    attend_in_segments(model)
    plain, gradients = loss_and_gradients(model, [pack(samples)])
    model.train()
    model.base_model.model.activation_checkpointing_enable()
    model.enable_input_require_grads()
    again, other = loss_and_gradients(model, [pack(samples)])
    assert again == pytest.approx(plain, rel=1e-6)
    assert float((other - gradients).norm() / gradients.norm()) < 1e-5


def test_padded_batches_and_answers_stay_as_they_are(folder: Path, samples: list[Encoded]) -> None:
    model = load_base(str(folder / "tiny"), device="cpu").eval()
    batch = collate(samples, 0, left=True)
    del batch["labels"]
    with torch.no_grad():
        before, written = model(**batch).logits, model.generate(**batch, max_new_tokens=4, do_sample=False)
        attend_in_segments(model)
        after, again = model(**batch).logits, model.generate(**batch, max_new_tokens=4, do_sample=False)
    assert torch.equal(before, after)
    assert torch.equal(written, again)


def test_tokens_and_patches_are_the_processors_own(folder: Path) -> None:
    """Ids come from sizes, before any pixel is read; upstream's processor, given text and images at once, is the truth."""
    from codelib.models.prompt import all_pixels

    processor, policy = load_processor(str(folder / "tiny")), PixelPolicy(max_pixels=112 * 112)
    encoder = Encoder(processor, policy)
    for one in open_dataset(folder / "release").read("train"):
        images = list(all_pixels(one, policy))
        made = processor(text=[encoder.text(one, ask=False)], images=images, do_resize=False, return_tensors="pt")
        encoded = encoder.example(one)
        assert torch.equal(encoded.input_ids, made["input_ids"][0])
        assert torch.equal(encoded.token_types, made["mm_token_type_ids"][0])
        assert torch.equal(encoded.pixel_values, made["pixel_values"])
        assert torch.equal(encoded.image_grid_thw, made["image_grid_thw"])
