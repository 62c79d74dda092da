"""Every recipe that is shipped is one that the jobs it names take, and the paper's hold the paper's values."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from codelib.core.config import SECTIONS, load
from codelib.data.settings import DatasetSettings
from codelib.evaluate.plan import EvaluateSettings
from codelib.evaluate.variants import load_variants
from codelib.train.settings import TrainSettings

RECIPES = sorted(Path(__file__).parents[2].glob("jobs/recipes/*.yaml"))
VARIANTS = sorted(Path(__file__).parents[2].glob("jobs/variants/*.yaml"))
MODELS = {"dataset": DatasetSettings, "train": TrainSettings, "evaluate": EvaluateSettings}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_validates_for_each_job_that_it_names(path: Path) -> None:
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert sections and set(sections) <= set(MODELS) <= set(SECTIONS)
    for section in sections:
        load(MODELS[section], section, path.stem)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_list_of_variants_that_a_recipe_names_is_there(path: Path) -> None:
    if "evaluate" in yaml.safe_load(path.read_text(encoding="utf-8")):
        named = load(EvaluateSettings, "evaluate", path.stem).variants
        assert named is None or load_variants(named, beside=path.parent)
    assert load(EvaluateSettings, "evaluate", "paper").variants == "paper"


@pytest.mark.parametrize("path", VARIANTS, ids=lambda path: path.stem)
def test_a_list_of_variants_is_valid(path: Path) -> None:
    assert load_variants(path.stem) == load_variants(path)


def test_an_ablation_changes_one_thing() -> None:
    for what in ("modalities", "language"):
        groups: dict[str, list[str]] = {}
        for variant in load_variants(f"ablation-{what}"):
            groups.setdefault(variant.twin(what), []).append(str(getattr(variant, what)))
        assert all(len(set(values)) == len(values) > 1 for values in groups.values())


def test_the_papers_dataset_is_the_papers() -> None:
    settings = load(DatasetSettings, "dataset", "paper")
    assert (settings.split.unit, settings.split.test_size) == ("checkup", 600)
    assert settings.images.longest_px == 448
    assert settings.translate.engine == "openai" and settings.translate.model.startswith("gpt-4o-")
    assert set(settings.sharegpt.tasks) == {"classification", "generation", "quadrant", "teeth"}
    assert settings.sharegpt.shuffle_images and settings.sharegpt.vary_questions


def test_the_papers_tuning_is_the_papers() -> None:
    for name, gpus, batch in (("paper-3b", 2, 2), ("paper-7b", 4, 3)):
        settings = load(TrainSettings, "train", name)
        assert (settings.workers, settings.batch_size, settings.epochs) == (gpus, batch, 3)
        assert settings.model == f"Qwen/Qwen2.5-VL-{name[-2].upper()}B-Instruct"


def test_a_recipe_without_the_section_of_a_job_says_what_it_has() -> None:
    with pytest.raises(ValueError, match="paper has no section train; it has: dataset"):
        load(TrainSettings, "train", "paper")
