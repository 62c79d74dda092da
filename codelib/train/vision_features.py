"""What the frozen vision tower makes of every image: computed once by Ray Data actors, kept on disk, read in place of pixels.

    images of the plan ── SHA-256 of their bytes ── kept already? ─┬─ yes
                                                                    └─ no: stage vision_features (an actor holds the tower) ──> shards
    a worker's sample (feed.py) ── FeatureReader ──> image_features in place of pixels ── with_features ──> the model's forward

Before training and not by the training workers on first use: an image stands in several conversations of a release and in every epoch, so
that workers would fill the store while they train at the slow pace, each rank for its own share, and write at the same time; an actor
takes many images at once without padding, a kill costs the partitions in flight, and training starts at its full pace.

Features are found by the image's content, so that other recipes, tasks and epochs of the same data and base use the same ones, and a grown
release costs its new images alone. What a release no longer names is removed before anything is computed: a withdrawn patient's pictures
must not live on as features (a withdrawal removes them too, at once: `codelib.train.feature_store`, where the files are told).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from codelib.core.stage import Stage, Work, digest, run
from codelib.core.store import Store
from codelib.models.conversation import Dataset
from codelib.models.prompt import MERGE, ImageError, PixelPolicy, open_pixels
from codelib.models.vision_tower import fingerprint, load_tower
from codelib.train.feature_store import FEATURES, ROOM, STAGE, at_work, index, remove

_IMAGES_PER_SHARD = 64  # 448 x 336 px for the 7B: 88 MB
_PATCHES_PER_FORWARD = 16_384  # 16 images of 448 px; about 1 GB in the tower's forward pass
_THREADS = 8


@dataclass(frozen=True)
class Recipe:
    """What features depend on, beside the image."""

    model: str
    tower_sha256: str
    policy: PixelPolicy
    precision: str  # bf16 | fp32
    dataset: str  # a release of another clinic has a folder of its own, which goes with it

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.precision == "bf16" else "float32"

    def about(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def folder(self, workspace: Path) -> Path:
        without_name = {name: value for name, value in self.about().items() if name != "model"}
        return workspace / ROOM / digest(without_name)[:16]


def sha256_of(path: str | Path) -> str:
    """Raises ImageError where the file is not there."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        raise ImageError(f"{Path(path).name}: no such image") from None


def _hashes(paths: Iterable[str]) -> dict[str, str]:
    """Path -> SHA-256, for files that are there."""
    with ThreadPoolExecutor(_THREADS) as pool:
        chosen = [path for path in dict.fromkeys(paths) if Path(path).is_file()]
        return dict(zip(chosen, pool.map(sha256_of, chosen), strict=True))


# the stage


def _make(root: str, model: str, policy: PixelPolicy, dtype: str, threads: int | None) -> Callable[[list[list[str]]], pa.Table]:
    """In an actor: load the tower and the image settings; returns the stage's function on [[sha256, path], ...]."""
    from codelib.models.loading import default_device, load_processor

    device = default_device() if threads is None else "cpu"
    if threads is not None:
        torch.set_num_threads(threads)
    tower, images = load_tower(model, dtype, device), load_processor(model).image_processor
    return functools.partial(_compute, Store(root), tower, images, policy)


@torch.inference_mode()
def _compute(store: Store, tower: Any, image_processor: Any, policy: PixelPolicy, items: list[list[str]]) -> pa.Table:
    """Features of some images into one shard, committed before the table that names it. Raises ImageError."""
    from safetensors.torch import save

    shard = f"shards/{digest([sha256 for sha256, _ in items])}.safetensors"
    rows: list[dict[str, Any]] = []
    made: list[torch.Tensor] = []
    waiting: list[Any] = []

    def flush() -> None:
        grid = torch.cat([one["image_grid_thw"] for one in waiting])
        pixels = torch.cat([one["pixel_values"] for one in waiting])
        device = next(tower.parameters()).device
        made.append(tower(pixels.to(device, tower.dtype), grid_thw=grid.to(device)).pooler_output.cpu())
        waiting.clear()

    first_row = patches = 0
    for sha256, path in items:
        one = image_processor([open_pixels(path, policy)], do_resize=False, return_tensors="pt")
        _, grid_rows, grid_columns = one["image_grid_thw"][0].tolist()
        if waiting and patches + grid_rows * grid_columns > _PATCHES_PER_FORWARD:
            flush()
            patches = 0
        waiting.append(one)
        patches += grid_rows * grid_columns
        tokens = grid_rows * grid_columns // MERGE**2
        where = {"shard": shard, "first_row": first_row, "tokens": tokens, "grid_rows": grid_rows, "grid_columns": grid_columns}
        rows.append({"image_sha256": sha256, "name": Path(path).name, **where})
        first_row += tokens
    flush()
    store.commit(shard, save({"features": torch.cat(made).contiguous()}))
    return pa.Table.from_pylist(rows, schema=FEATURES.schema)


# the driver


def prepare(
    workspace: Path,
    recipe: Recipe,
    dataset: Dataset,
    wanted: Iterable[str],
    *,
    workers: int,
    cpus: int,
    gpu: bool,
) -> Path:
    """Compute what is missing for the images ``wanted`` (paths) on the connected cluster. Returns the folder of the features.

    Raises ValueError where another job prepares the same ones.
    """
    folder = recipe.folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(str(folder))
    with at_work(folder):
        store.commit_json("about.json", recipe.about())
        wanted_hashes = _hashes(wanted)
        files = [task for task in dataset.files if task.startswith("train")]
        named = _hashes(path for task in files for one in dataset.read(task) for path in one.images)
        wanted_or_named = {*named.values(), *wanted_hashes.values()}
        remove(store, lambda row: row["image_sha256"] not in wanted_or_named)
        have = {row["image_sha256"] for rows in index(store).values() for row in rows}
        paths = {sha256: path for path, sha256 in wanted_hashes.items()}  # one image under two names is one
        missing = [[sha256, path] for sha256, path in paths.items() if sha256 not in have]
        if not missing:
            print(f"  {STAGE}  nothing new, {len(paths)} images kept", flush=True)
            return folder
        make = functools.partial(_make, store.root, recipe.model, recipe.policy, recipe.dtype, None if gpu else cpus)
        stage = Stage(
            STAGE,
            1,
            FEATURES,
            make=make,
            settings=recipe.about(),
            unit="images",
            num_cpus=cpus,
            num_gpus=1 if gpu else 0,
            concurrency=workers,
        )
        chunks = [missing[start : start + _IMAGES_PER_SHARD] for start in range(0, len(missing), _IMAGES_PER_SHARD)]
        run(stage, [Work(extra=chunk) for chunk in chunks], store, keep=True)
    return folder


def recipe_of(model: str, policy: PixelPolicy, precision: str, dataset: Dataset) -> Recipe:
    """Raises ValueError where the model's weights are not on this machine."""
    return Recipe(model, fingerprint(model), policy, precision, str(dataset.folder.resolve()))


# the worker


class FeatureReader:
    """Features by image, from the folder that `prepare` returned."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.places = {row["image_sha256"]: row for rows in index(Store(str(folder))).values() for row in rows}

    def read(self, images: Sequence[str], names: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (visual tokens, hidden) of these images by their files' SHA-256, in this order, and their grids (images, 3).

        ``names``: their files', for a person. Raises ImageError for an image without features: its file is not the one that the run began
        with.
        """
        from safetensors import safe_open

        features, grids = [], []
        for sha256, name in zip(images, names, strict=True):
            place = self.places.get(sha256)
            if place is None:
                raise ImageError(f"{name}: has no vision features; it changed since the run began")
            with safe_open(str(self.folder / place["shard"]), "pt") as shard:
                first = place["first_row"]
                features.append(shard.get_slice("features")[first : first + place["tokens"]])
            grids.append([1, place["grid_rows"], place["grid_columns"]])
        return torch.cat(features), torch.tensor(grids)


def with_features(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A batch as the model's forward takes it: ``image_features`` stand for what its vision tower would return."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    others = {name: value for name, value in inputs.items() if name != "image_features"}
    if "image_features" not in inputs:
        return others
    return {**others, "mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=(inputs["image_features"],))}}  # type: ignore[arg-type]
