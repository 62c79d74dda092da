"""Where adapters stand, how many parameters they have, what the log says of it; the numbers of the plan are those of the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codelib.core.config import load
from codelib.models import tiny
from codelib.models.architecture import Architecture, architecture_of, from_config, published
from codelib.models.loading import load_base
from codelib.train.lora import add_adapters, expected, log_lines, num_trainable, placed
from codelib.train.settings import LoraSettings, TrainSettings

EVERY = [
    LoraSettings(rank=2),
    LoraSettings(rank=3, vision=True),
    LoraSettings(rank=2, merger=True),
    LoraSettings(rank=2, vision=True, merger=True),
]
IN = {"language": "language_model.layers.", "vision": "visual.blocks.", "merger": "visual.merger."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny.build(folder, seed=0, eye_steps=0, word_steps=0)
    yield folder
    torch.set_num_threads(threads)


def on_meta(architecture: Architecture) -> Any:
    """The real classes in full size, without a byte of weights."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(architecture.config())
    model.tie_weights()
    return model


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_adapters_stand_on_every_linear_layer_of_every_block(folder: Path, settings: LoraSettings) -> None:
    base = load_base(str(folder), device="cpu")
    wanted = [part for place, part in IN.items() if place == "language" or getattr(settings, place)]
    linear = {
        name
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part in name for part in wanted)
    }
    model = add_adapters(base, settings)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {name.removeprefix("base_model.model.").split(".lora_")[0] for name in names} == linear
    assert all("lora_" in name for name in names)
    assert num_trainable(model) == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    architecture = architecture_of(str(folder))
    assert architecture is not None
    assert placed(model) == expected(architecture, settings)


@pytest.mark.parametrize(("name", "total"), [("3B", 3_754_622_976), ("7B", 8_292_166_656)])
def test_the_published_sizes_are_counted_without_weights(name: str, total: int) -> None:
    architecture = published()[f"Qwen/Qwen2.5-VL-{name}-Instruct"]
    model = on_meta(architecture)
    parts = {
        "language": [model.model.language_model.layers, model.model.language_model.norm],
        "embedding": [model.model.language_model.embed_tokens],
        "head": [] if architecture.tied else [model.lm_head],
        "vision": [model.model.visual.patch_embed, model.model.visual.blocks],
        "merger": [model.model.visual.merger],
    }
    counted = {part: sum(p.numel() for module in modules for p in module.parameters()) for part, modules in parts.items()}
    assert architecture.parameters() == counted
    assert architecture.num_parameters == sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize(("name", "trainable"), [("3B", 14_966_784), ("7B", 20_185_088)])
def test_the_paper_s_adapters_are_counted_without_weights(name: str, trainable: int) -> None:
    """Rank 8 on all linear layers of the language blocks: 20,185,088 is also what other trainers print for a Qwen2.5 7B."""
    architecture = published()[f"Qwen/Qwen2.5-VL-{name}-Instruct"]
    assert sum(one.parameters for one in expected(architecture, LoraSettings())) == trainable
    settings = LoraSettings(rank=4, vision=True, merger=True)
    assert placed(add_adapters(on_meta(architecture), settings)) == expected(architecture, settings)


def test_the_log_spells_it_out() -> None:
    architecture = published()["Qwen/Qwen2.5-VL-7B-Instruct"]
    said = log_lines(add_adapters(on_meta(architecture), LoraSettings(rank=8, alpha=16)), LoraSettings(rank=8, alpha=16))
    assert said == [
        "adapters    LoRA rank 8, alpha 16, dropout 0: 20,185,088 trainable of 8,312,351,744 parameters (0.24%)",
        "            on the language blocks: 196 linear layers (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj), "
        "20,185,088 parameters",
        "            frozen: vision blocks and merger",
    ]


def test_bf16_adapters_learn_in_float32(folder: Path) -> None:
    torch.manual_seed(0)
    model = add_adapters(load_base(str(folder), "bfloat16", "cpu"), LoraSettings(rank=4))
    adapters = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in adapters} == {torch.float32}
    logits = model(input_ids=torch.arange(40)[None]).logits
    assert logits.dtype == torch.bfloat16
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in adapters)
    assert model.generate(input_ids=torch.arange(40)[None], max_new_tokens=2).shape == (1, 42)


def test_both_spellings_of_a_configuration_are_read(folder: Path) -> None:
    for architecture in published().values():
        assert from_config(architecture.config().to_dict(), "here") == architecture
    with pytest.raises(ValueError, match=r"here: not the configuration of a Qwen2\.5-VL"):
        from_config({"hidden_size": 8}, "here")
    assert architecture_of("no/where-at-all") is None
    assert architecture_of("/no/such/folder") is None


@pytest.mark.parametrize("place", ["vision", "merger"])
def test_kept_features_and_adapters_that_would_change_them_do_not_combine(place: str) -> None:
    with pytest.raises(ValueError, match=rf"vision_features=reuse with lora\.{place}=true.*set vision_features=recompute"):
        load(TrainSettings, "train", "demo", [f"lora.{place}=true", "vision_features=reuse"])
