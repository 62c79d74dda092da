"""Vision features that are kept: the same examples and the same loss as from pixels, only what is new is computed, nothing stale stays."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codelib.core.store import Store
from codelib.models import tiny
from codelib.models.conversation import open_dataset
from codelib.models.loading import load_base
from codelib.models.prompt import ImageError, PixelPolicy
from codelib.models.vision_tower import fingerprint, load_tower
from codelib.train import vision_features
from codelib.train.backends import answer_loss
from codelib.train.batch import Batch
from codelib.train.checkpoints import Checkpoints
from codelib.train.feed import make_feed
from codelib.train.job import Job, Place
from codelib.train.loop import train
from codelib.train.settings import LoraSettings, TrainSettings
from codelib.train.vision_features import FeatureReader, prepare, recipe_of
from tests.fixtures import make_release

POLICY = PixelPolicy(max_pixels=84 * 84)


@dataclasses.dataclass
class Computed:
    """Stands for Ray: runs a stage's partitions one after the other, and notes what went in."""

    images: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, stage: Any, work: list[Any], store: Store, keep: bool) -> None:
        fn = stage.make()
        for one in work:
            self.images += [path for _, path in one.extra]
            store.commit_table(f"stages/{stage.name}/{stage.key(one)}.parquet", fn(one.extra))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("features")
    (folder / "tiny").mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
    make_release(folder / "release", visits=8)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    computed = Computed()
    monkeypatch.setattr(vision_features, "run", computed)
    monkeypatch.setattr(vision_features, "_IMAGES_PER_SHARD", 3)
    monkeypatch.setattr(vision_features, "_PATCHES_PER_FORWARD", 50)
    return computed


def images_of(release: Path, task: str = "train-cls") -> list[str]:
    return [path for one in open_dataset(release).read(task) for path in one.images]


def make(place: Path, workspace: Path, release: Path, precision: str = "fp32", images: list[str] | None = None) -> Path:
    dataset = open_dataset(release)
    recipe = recipe_of(str(place / "tiny"), POLICY, precision, dataset)
    return prepare(workspace, recipe, dataset, images or images_of(release), workers=1, cpus=1, gpu=False)


def test_examples_and_loss_are_those_of_pixels(place: Path, tmp_path: Path, computed: Computed) -> None:
    job = job_of(place, features=str(make(place, tmp_path, place / "release")))
    model = load_base(str(place / "tiny"), device="cpu").eval()
    losses = []
    for packing in ("padded", "packed"):
        settings = job.settings.model_copy(update={"packing": packing})
        ours, theirs = (
            make_feed(dataclasses.replace(job, settings=settings, features=features), Place())
            for features in (job.features, None)
        )
        for index in range(len(job.training)):
            one, other = ours.batches.sample(index), theirs.batches.sample(index)
            for name in ("input_ids", "labels", "token_types", "image_grid_thw"):
                assert torch.equal(getattr(one, name), getattr(other, name)), name
            assert one.pixel_values is None and other.image_features is None
        for feed in (ours, theirs):
            batch = feed.batches[(0, 1, 2, 3), False]
            assert isinstance(batch, Batch)
            assert ("pixel_values" in batch.inputs) == (feed is theirs)
            losses.append(answer_loss(model, batch.inputs).item())
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-4)


def job_of(place: Path, release: str = "release", features: str | None = None, **change: object) -> Job:
    folder = place / release
    ids = [one.sample_id for one in open_dataset(folder).read("train-cls")]
    defaults: dict[str, Any] = {
        "tasks": ("train-cls",), "epochs": 2, "batch_size": 2, "max_pixels": 84 * 84, "learning_rate": 3e-3, "checkpoint_every": 3,
        "best_by": "accuracy", "validation_answers": 2, "lora": LoraSettings(rank=4),
    }  # fmt: skip
    settings = TrainSettings(**{**defaults, **change})
    return Job(settings, str(folder), str(place / "tiny"), "tiny", tuple(ids[:6]), tuple(ids[6:]), features=features)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 2e-2)])
def test_a_run_has_the_curve_of_one_that_recomputes(
    place: Path, tmp_path: Path, computed: Computed, precision: str, tolerance: float
) -> None:
    job = job_of(place, precision=precision)
    features = str(make(place, tmp_path, place / "release", precision))
    curves = []
    for one, folder in ((job, tmp_path / "pixels"), (dataclasses.replace(job, features=features), tmp_path / "features")):
        train(one, Place(), folder)
        checkpoints = Checkpoints(Store(str(folder)))
        curve = checkpoints.progress(str(checkpoints.latest())).curve
        curves.append([line.loss for line in curve] + [line.validation_loss for line in curve if line.validation_loss])
        answered = [line.validation_accuracy for line in curve if line.validation_loss]
        assert None not in answered  # generated answers come from pixels either way
    assert curves[1] == pytest.approx(curves[0], rel=tolerance)


def test_only_new_images_are_computed_and_stale_ones_leave(place: Path, tmp_path: Path, computed: Computed) -> None:
    release = tmp_path / "release"
    shutil.copytree(place / "release", release)
    images = images_of(release)
    folder = make(place, tmp_path / "w", release, images=images[:5])
    assert sorted(computed.images) == sorted(images[:5])
    make(place, tmp_path / "w", release)
    assert sorted(computed.images) == sorted(images)  # none twice
    make(place, tmp_path / "w", release)
    assert sorted(computed.images) == sorted(images)
    assert len(FeatureReader(folder).places) == len(images)

    gone = vision_features.sha256_of(images[0])
    for task in release.glob("train*.json"):
        task.write_text(
            task.read_text().replace(str(Path(images[0]).relative_to(release)), str(Path(images[1]).relative_to(release)))
        )
    make(place, tmp_path / "w", release)
    reader = FeatureReader(folder)
    assert gone not in reader.places
    assert {vision_features.sha256_of(path) for path in images[1:]} == set(reader.places)
    shards = {row["shard"] for row in reader.places.values()}
    assert set(Store(str(folder)).names("shards")) == shards
    with pytest.raises(ImageError, match=r"one\.jpg: has no vision features"):
        reader.read([gone], ["one.jpg"])


def test_the_store_knows_its_model_policy_and_precision(place: Path, tmp_path: Path, computed: Computed) -> None:
    (tmp_path / "other").mkdir()
    tiny.build(tmp_path / "other", seed=1, eye_steps=0, word_steps=0)
    shutil.copytree(place / "tiny", tmp_path / "copy")
    dataset = open_dataset(place / "release")
    recipes = [
        recipe_of(str(place / "tiny"), POLICY, "fp32", dataset),
        recipe_of(str(place / "tiny"), POLICY, "bf16", dataset),
        recipe_of(str(place / "tiny"), PixelPolicy(), "fp32", dataset),
        recipe_of(str(tmp_path / "other"), POLICY, "fp32", dataset),
    ]
    assert len({one.folder(tmp_path) for one in recipes}) == 4
    # a model that was copied, or tuned with its tower frozen, has the same features
    assert recipe_of(str(tmp_path / "copy"), POLICY, "fp32", dataset).folder(tmp_path) == recipes[0].folder(tmp_path)


def test_the_tower_alone_is_that_of_the_model(place: Path) -> None:
    tower = load_tower(str(place / "tiny"), "float32", "cpu")
    whole = load_base(str(place / "tiny"), device="cpu").model.visual
    for (name, ours), (_, theirs) in zip(tower.named_parameters(), whole.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert len(fingerprint(str(place / "tiny"))) == 64
    with pytest.raises(ValueError, match="hf download"):
        fingerprint("Qwen/Qwen2.5-VL-3B-Instruct")
