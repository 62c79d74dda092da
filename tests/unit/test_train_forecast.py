"""What the plan says of memory, hours and disk: on a machine without GPU, weights and network, and with a way out where it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from codelib.core.config import load
from codelib.models.architecture import published
from codelib.models.conversation import Conversation, Message, open_dataset
from codelib.train import gpus, run
from codelib.train.flops import Length, forward_cost, hours, train_cost, vision_forward
from codelib.train.forecast import Forecast, image_tokens
from codelib.train.memory import Setup
from codelib.train.sampler import Sampler
from codelib.train.samples import Measured, Plan
from codelib.train.settings import LoraSettings, TrainSettings
from tests.fixtures import make_release

THREE_B, SEVEN_B = published().values()


def samples(count: int, images: int = 6, text: int = 600) -> list[Measured]:
    made = []
    for number in range(count):
        names = tuple(f"Images/{number // 2}-{place}.jpg" for place in range(images))  # two questions on each visit
        messages = (Message("user", "q" * 60), Message("assistant", "a" * 40))
        made.append(Measured(Conversation(f"train/{number}", messages, names), 176 * images, text, round(0.4 * text)))
    return made


def forecast(recipe: str = "paper-7b", *change: str, gpu: str = "A800-80GB", training: list[Measured] | None = None) -> Forecast:
    settings = load(TrainSettings, "train", recipe, change)
    architecture = published()[settings.model]
    training = training or samples(960)
    sampler = Sampler(tuple(one.tokens for one in training), settings.global_batch, settings.seed, settings.limits)
    return Forecast(architecture, settings, training, samples(20), sampler, 3 * sampler.steps_per_epoch, gpus.declared(gpu))


def test_the_paper_s_runs_fit_their_gpus() -> None:
    for recipe in ("paper-3b", "paper-7b"):
        said = "\n".join(forecast(recipe, training=samples(960, images=20, text=576)).lines())
        assert "of 79 GiB on one A800-80GB: fits" in said
        assert "trainable of" in said and " x A800-80GB at 40%" in said and "GB of disk" in said


def test_what_does_not_fit_says_what_to_change() -> None:
    long = samples(960, images=20, text=576)
    tight = forecast("paper-7b", "activation_checkpointing=false", training=long)
    assert not tight.fits(tight.needed()[0])
    said = "\n".join(tight.memory_lines())
    assert "DOES NOT FIT" in said
    assert "--set activation_checkpointing=true" in said
    for name, needed in tight.ways():
        assert tight.fits(needed), name
    # a small card needs several changes together
    small = forecast("paper-7b", "activation_checkpointing=false", gpu="A100-40GB", training=samples(9, images=22, text=200))
    assert all(small.fits(needed) for _, needed in small.ways())
    impossible = forecast("paper-7b", "batch_size=1", gpu="A100-40GB", training=samples(3, images=900))
    assert "no setting makes it fit" in "\n".join(impossible.memory_lines())


def test_operations_are_those_of_the_rule_of_thumb() -> None:
    """LoRA: about 4N a token, 6N with activation checkpointing, N the weights of the language blocks."""
    weights = sum(one.count * one.inputs * one.outputs for one in SEVEN_B.linear_layers() if one.place == "language")
    text = Length(text_tokens=1000)
    plain = train_cost(SEVEN_B, Setup(LoraSettings()), text)
    again = train_cost(SEVEN_B, Setup(LoraSettings(), activation_checkpointing=True), text)
    assert plain.language == pytest.approx(4 * weights * 1000, rel=0.04)
    assert again.language == pytest.approx(6 * weights * 1000, rel=0.04)
    assert plain.vision == 0
    assert forward_cost(SEVEN_B, Setup(LoraSettings()), text).language == pytest.approx(2 * weights * 1000, rel=0.04)
    shown = Length(100, 256, 1)
    vision = sum(SEVEN_B.parameters()[part] for part in ("vision", "merger"))
    assert vision_forward(SEVEN_B, shown) == pytest.approx(2 * vision * 4 * 256, rel=0.15)
    assert train_cost(SEVEN_B, Setup(LoraSettings(), reuse=True), shown).vision == 0
    assert train_cost(SEVEN_B, Setup(LoraSettings(vision=True)), shown).vision == 2 * vision_forward(SEVEN_B, shown)
    assert hours(312e12 * 3600, 1, 312, 1.0) == 1


def test_operations_are_those_that_torch_counts() -> None:
    """torch's own counter on a small model of the same classes, forward and backward."""
    import dataclasses

    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import Qwen2_5_VLForConditionalGeneration

    from codelib.train.lora import add_adapters

    small = dataclasses.replace(
        SEVEN_B, hidden=256, intermediate=512, layers=2, heads=2, key_value_heads=1, vocabulary=1000,
        vision_hidden=64, vision_intermediate=128, vision_layers=2, vision_heads=4, vision_full_layers=(1,),
    )  # fmt: skip
    config = small.config()
    for part in (config, config.text_config, config.vision_config):
        part._attn_implementation = "eager"  # torch counts matrix products, and none inside a fused kernel of the CPU
    config.image_token_id, config.vision_start_token_id, config.video_token_id = 990, 991, 992
    model = add_adapters(Qwen2_5_VLForConditionalGeneration(config), LoraSettings(rank=4)).train()
    ids = torch.cat([torch.tensor([991]), torch.full((64,), 990), torch.arange(1, 192)])[None]
    keep = torch.zeros_like(ids, dtype=torch.bool)
    keep[0, -10:] = True
    with FlopCounterMode(display=False) as counter:
        model(
            input_ids=ids,
            mm_token_type_ids=(ids == 990).long(),
            pixel_values=torch.zeros(256, 1176),
            image_grid_thw=torch.tensor([[1, 16, 16]]),
            use_cache=False,
            logits_to_keep=keep,
        ).logits.sum().backward()
    counted = counter.get_total_flops()
    length = Length(text_tokens=192, visual_tokens=64, num_images=1, answer_tokens=10)
    cost = train_cost(small, Setup(LoraSettings(rank=4)), length)
    # torch counts causal attention in full, and the first block's q, k and v pass no gradient on to the frozen embedding
    attention = 6 * 256**2 * small.hidden * small.layers
    first = 2 * 256 * small.hidden * (small.hidden + 2 * small.key_value)
    assert cost.total + attention - first == pytest.approx(counted, rel=0.01)


def test_samples_without_image_do_not_go_with_zero_3_unless_features_are_kept() -> None:
    mixed = run.Plan(tuple(samples(3) + samples(2, images=0)), (), ())
    for change, names in (([], "2 of 5 samples have no image"), (["vision_features=reuse"], None), (["strategy=zero2"], None)):
        settings = load(TrainSettings, "train", "paper-7b", ["strategy=zero3", *change])
        if names:
            with pytest.raises(ValueError, match=names):
                run.check_combination(settings, mixed)
        else:
            run.check_combination(settings, mixed)
    run.check_combination(load(TrainSettings, "train", "paper-7b", ["strategy=zero3"]), run.Plan(tuple(samples(3)), (), ()))


def test_reuse_saves_hours_and_costs_disk() -> None:
    recomputed, kept = forecast("paper-3b"), forecast("paper-3b", "vision_features=reuse")
    assert sum(kept.operations(kept.setup)) < 0.9 * sum(recomputed.operations(recomputed.setup))
    count, tokens = image_tokens(recomputed.training)
    assert (count, tokens) == (480 * 6, 480 * 6 * 176)
    [line] = kept.feature_lines()
    assert f"{tokens * THREE_B.hidden * 2 / 1e9:.1f} GB of disk for 2,880 images" in line
    assert forecast("paper-3b", "lora.merger=true").feature_lines() == []


def test_the_batch_that_decides_on_memory_is_one_that_the_sampler_makes() -> None:
    mixed = [*samples(30, images=1, text=100), *samples(2, images=20, text=500)]
    longest = 176 * 20 + 500
    change = ["batch_size=4", "global_batch=32", "workers=1"]
    # both long samples come in one step: packed they are kept apart, padded they are put together
    packed = forecast("paper-3b", *change, training=mixed).needed()[1]
    padded = forecast("paper-3b", *change, "packing=padded", training=mixed).needed()[1]
    assert (packed.longest, packed.tokens) == (longest, longest + 3 * 276)
    assert (padded.longest, padded.tokens, padded.answer_tokens) == (longest, 4 * longest, 480)
    budget = forecast("paper-3b", *change, "tokens_per_batch=8192", training=mixed).needed()[1]
    assert longest < budget.tokens <= 8192
    assert forecast("paper-3b", *change, "attention=eager", "tokens_per_batch=8192", training=mixed).needed()[1].longest > longest


def test_padding_costs_hours() -> None:
    mixed = [*samples(100, images=1, text=100), *samples(100, images=20, text=500)]
    packed, padded = (forecast("paper-3b", f"packing={one}", "batch_size=8", training=mixed) for one in ("packed", "padded"))
    assert sum(padded.operations(padded.setup)) > 1.02 * sum(packed.operations(packed.setup))


def test_gpus_are_found_by_name_and_by_card() -> None:
    assert set(gpus.known()) >= {"A800-80GB", "A100-80GB", "H100-80GB", "H200-141GB"}
    assert gpus.of_card("NVIDIA H200", 139.5).bf16_tflops == 989
    assert gpus.of_card("Some Card", 8).bf16_tflops is None
    with pytest.raises(ValueError, match="gpu=A80-80GB: unknown; did you mean A800-80GB"):
        load(TrainSettings, "train", "demo", ["gpu=A80-80GB"])


def test_the_whole_plan_needs_neither_gpu_nor_weights(tmp_path: Path) -> None:
    dataset = open_dataset(make_release(tmp_path / "release", visits=4))
    for recipe in ("paper-3b", "paper-7b", "published-3b", "mmoral-7b", "demo"):
        settings = load(TrainSettings, "train", recipe, [])
        order = run.Order(settings, dataset, tmp_path / "w", recipe)
        plan, exact = run.plan_of(order)
        said = "\n".join(run.describe(order, plan, exact))
        for word in ("adapters ", "memory ", "features "):
            assert word in said
        assert ("time  " in said) == (recipe != "demo")
    unknown = run.Order(load(TrainSettings, "train", "demo", ["model=some/model"]), dataset, tmp_path / "w", "x")
    plan, exact = run.plan_of(unknown)
    assert "memory      not estimated: some/model has no config.json on this machine" in run.describe(unknown, plan, exact)


def test_a_dry_run_leaves_no_sample_out_for_a_tokenizer_it_has_not(tmp_path: Path) -> None:
    dataset = open_dataset(make_release(tmp_path / "release", visits=4))
    settings = load(TrainSettings, "train", "demo", ["model=some/model", "cut_off=64"])
    plan, exact = run.plan_of(run.Order(settings, dataset, tmp_path / "w", "x"))
    assert not exact and not plan.rejected
    missing = load(TrainSettings, "train", "demo", ["model=/no/such/folder"])
    with pytest.raises(ValueError, match="/no/such/folder"):
        run.plan_of(run.Order(missing, dataset, tmp_path / "w", "x"))


@pytest.mark.parametrize(
    "change",
    [
        ["strategy=zero3"],
        ["strategy=zero3", "vision_features=reuse", "best_by=accuracy"],
        ["strategy=zero2", "workers=2", "lora.vision=true"],
        ["strategy=zero2", "workers=2", "lora.merger=true"],
    ],
)
def test_workers_that_would_wait_for_each_other_are_refused(change: list[str]) -> None:
    mixed = [*samples(3, images=1, text=100), *samples(1, images=0, text=100)]
    with pytest.raises(ValueError, match=r"1 of 4 samples have no image"):
        run.check_combination(load(TrainSettings, "train", "demo", change), Plan(tuple(mixed), (), ()))
    run.check_combination(load(TrainSettings, "train", "demo", change), Plan(tuple(mixed[:3]), (), ()))
