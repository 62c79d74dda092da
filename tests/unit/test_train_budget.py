"""Samples over the cut-off or over the visual budget: named, or with fewer images, and never with a cut placeholder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.core.store import Store
from codelib.models.conversation import IMAGE, Conversation, Message, open_dataset
from codelib.models.encoding import Encoder
from codelib.models.prompt import PixelPolicy
from codelib.models.tiny_tokenizer import build_processor
from codelib.train import preflight
from codelib.train.budget import Budget, fitted, with_images
from codelib.train.examples import Rule, look_at_pixels
from codelib.train.sampler import Sampler
from codelib.train.samples import make_plan, measure_all, read
from codelib.train.settings import TrainSettings
from tests.fixtures import make_release

_PROCESSOR = build_processor()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(_PROCESSOR, PixelPolicy())


def visit(images: int, answer: str = "Red") -> Conversation:
    lines = "".join(f"image-{number}: {IMAGE}\n" for number in range(1, images + 1))
    return Conversation(
        f"visit/{images}",
        (Message("user", f"{lines}Age: 30\nWhich?"), Message("assistant", answer)),
        tuple(f"{number}.jpg" for number in range(images)),
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 26), st.integers(0, 5), st.integers(192, 6000))
def test_images_leave_until_the_sample_fits(images: int, seed: int, budget: int) -> None:
    encoder = Encoder(_PROCESSOR, PixelPolicy())
    tokens, kept, over = fitted(visit(images), [192] * images, encoder, Budget(8192, budget, "drop_images", seed))
    assert over is None
    assert len(kept) == min(images, budget // 192)
    assert kept == sorted(kept)
    assert tokens.visual_tokens == (192,) * len(kept)
    # every placeholder that is left is whole, and its line is numbered as if there had been no others
    assert tokens.input_ids.count(encoder.image_id) == 192 * len(kept)
    text = encoder.processor.tokenizer.decode([number for number in tokens.input_ids if number != encoder.image_id])
    assert [f"image-{number}: " in text for number in range(1, images + 1)] == [number < len(kept) for number in range(images)]
    again = fitted(visit(images), [192] * images, encoder, Budget(8192, budget, "drop_images", seed))
    assert again[1] == kept


def test_which_images_leave_is_drawn_by_the_seed(encoder: Encoder) -> None:
    kept = {tuple(fitted(visit(6), [192] * 6, encoder, Budget(8192, 600, "drop_images", seed))[1]) for seed in range(12)}
    assert len(kept) > 4  # not always the last ones: the photographs
    assert all(len(places) == 3 for places in kept)


@pytest.mark.parametrize(
    ("written", "kept", "left"),
    [
        (f"image-1: {IMAGE}\nimage-2: {IMAGE}\nWhat?", [1], f"image-1: {IMAGE}\nWhat?"),
        (f"{IMAGE}{IMAGE}{IMAGE} What?", [0, 2], f"{IMAGE}{IMAGE} What?"),
        (f"Radiograph: {IMAGE}\nPhotograph: {IMAGE}\nWhat?", [1], f"Photograph: {IMAGE}\nWhat?"),
        (f"Compare {IMAGE} of last year with {IMAGE}.", [1], f"Compare {IMAGE} of last year with ."),
    ],
)
def test_an_image_leaves_with_its_label(written: str, kept: list[int], left: str) -> None:
    images = tuple(f"{number}.jpg" for number in range(written.count(IMAGE)))
    found = with_images(Conversation("s", (Message("user", written), Message("assistant", "Red")), images), kept)
    assert found.messages[0].content == left
    assert found.images == tuple(f"{place}.jpg" for place in kept)


def test_what_no_image_can_help_is_named(encoder: Encoder) -> None:
    drop = Budget(400, None, "drop_images", 0)
    assert fitted(visit(1, "Red " * 600), [192], encoder, drop)[2] == (
        "train:answer_too_long",
        "the answer has 603 tokens, cut-off 400",
    )
    _, kept, over = fitted(visit(3), [390] * 3, encoder, drop)
    assert over is not None
    assert (len(kept), over[0]) == (1, "train:too_long")
    assert "390 visual and" in over[1]
    _, kept, over = fitted(visit(3), [192] * 3, encoder, Budget(8192, 300, "reject", 0))
    assert over is not None
    assert (len(kept), over[0]) == (3, "train:visual_budget")


def test_preflight_files_name_every_sample(tmp_path: Path, encoder: Encoder) -> None:
    folder = make_release(tmp_path / "r", visits=8)
    rows = json.loads((folder / "train-cls.json").read_text())
    (folder / rows[0]["images"][0]).unlink()
    (folder / rows[2]["images"][0]).write_bytes(b"\xff\xd8\xff no image")
    rows[4]["messages"][1]["content"] = "Red " * 500
    (folder / "train-cls.json").write_text(json.dumps(rows))
    recipe = TrainSettings(
        tasks=("train-cls",),
        cut_off=300,
        visual_budget=20,
        over_budget="drop_images",
        validation_fraction=0.2,
        max_pixels=112 * 112,
    )
    measured = measure_all(read(open_dataset(folder), recipe.tasks), encoder_for(recipe), Rule.of(recipe), folder, look_at_pixels)
    plan = make_plan(measured, recipe)
    sampler = Sampler(tuple(one.tokens for one in plan.training), 2, 0, recipe.limits)
    store = Store(str(tmp_path / "run"))
    preflight.write(store, plan, sampler, recipe)
    found = {line["sample_id"]: line for line in csv.DictReader(io.StringIO(store.read("preflight.csv").decode()))}
    assert len(found) == len(rows)
    assert {name: line["reason"] for name, line in found.items() if line["side"] == "rejected"} == {
        "train-cls/0": "train:image",
        "train-cls/2": "train:image",
        "train-cls/4": "train:answer_too_long",
    }
    two_images = [line for line in found.values() if line["images"] == "2"]
    assert {line["images_dropped"] for line in two_images} == {"1"}
    summary = store.read_json("preflight.json")
    assert summary["images_dropped"] == len(two_images)
    assert summary["padding"] == 0
    said = "\n".join(preflight.lines(plan, sampler, recipe))
    assert f"{len(two_images)} images of {len(two_images)} samples over the budget: train-cls/1 (1 of 2)" in said


def encoder_for(recipe: TrainSettings) -> Encoder:
    return Encoder(_PROCESSOR, recipe.pixels)
