"""Parquet shards: cut by visual tokens, every sample in one of them, the images' bytes as they are, the same bytes every time."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codelib.contracts import CONVERSATIONS, IMAGES, SPLIT
from codelib.core.stage import Part, Work
from codelib.core.store import Store
from codelib.data import ordering, shards
from codelib.data.card import FEATURES as CARD_FEATURES
from codelib.data.shards import SCHEMA, edges_of, parquet_stream, plan, shard, shard_work, size_table, weigh
from codelib.models.prompt import PixelPolicy, visual_tokens

SIZES_PX = ((448, 336), (300, 448), (448, 448))


def picture(number: int, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(out, "JPEG", quality=90)
    return out.getvalue()


def made(store: Store, name: str, fn, work: list[Work]) -> list[Part]:
    """What a stage would commit for its work, in small row groups."""
    parts = []
    for index, one in enumerate(work):
        table = fn(*one.inputs, one.extra)
        parts.append(Part(f"p{index}", name, store.root, table.num_rows, {}))
        store.commit_table(parts[-1].name, table, 7)
    return parts


class Clinic:
    """Three partitions of a clinic: images, split and conversations as their stages leave them, and the published images."""

    def __init__(self, folder: Path, visits: int = 18) -> None:
        self.store, self.release = Store(str(folder)), Store(str(folder / "release"))
        self.parts: dict[str, list[Part]] = {"images": [], "split": [], "conversations": []}
        self.tokens: dict[str, int] = {}
        for index in range(3):
            self._partition(index, [n for n in range(visits) if n % 3 == index])

    def _partition(self, index: int, visits: list[int]) -> None:
        tables: dict[str, list[dict]] = {name: [] for name in self.parts}
        for number in visits:
            checkup, key = f"{9000 - number:04d}-001", f"k{number}"
            side = ("train", "train", "train", "test", "validation")[number % 5]
            paths, total = [], 0
            for ordinal in range(1, 2 + number % 4):
                size = SIZES_PX[(number + ordinal) % 3]
                paths.append(f"Images/Photographs/{checkup}-{ordinal:02d}.jpg")
                content = picture(number * 10 + ordinal, size)
                self.release.commit(paths[-1], content)
                total += visual_tokens(*size, PixelPolicy())
                image = dict.fromkeys(IMAGES.schema.names) | {
                    "image_key": f"{key}/{ordinal}",
                    "visit_key": key,
                    "ordinal": ordinal,
                }
                tables["images"].append(image | {"width": size[0], "height": size[1], "pixels": content, "status": "ok"})
            rejected = dict.fromkeys(IMAGES.schema.names) | {"image_key": f"{key}/bad", "visit_key": key, "ordinal": 0}
            tables["images"].append(rejected | {"status": "rejected", "reject_reason": "images:truncated"})
            visit = dict.fromkeys(SPLIT.schema.names) | {"checkup_id": checkup, "visit_key": key, "split": side, "status": "ok"}
            tables["split"].append(visit)
            for task in ("classification", "generation"):
                sample = dict.fromkeys(CONVERSATIONS.schema.names) | {"sample_id": f"{checkup}/{task}", "checkup_id": checkup}
                turns = [{"role": "user", "content": "<image>" * len(paths)}, {"role": "assistant", "content": "Caries"}]
                sample |= {"task": task, "split": side, "messages": turns, "images": paths, "language": "en", "status": "ok"}
                tables["conversations"].append(sample)
                self.tokens[sample["sample_id"]] = total
        for contract in (IMAGES, SPLIT, CONVERSATIONS):
            rows = tables[contract.name]
            part = Part(f"p{index}", contract.name, self.store.root, len(rows), {})
            self.store.commit_table(part.name, pa.Table.from_pylist(rows, schema=contract.schema))
            self.parts[contract.name].append(part)

    def samples(self) -> list[Part]:
        """In the order of shards, as the stages `samples` and `ordered_samples` leave them."""
        runs = made(
            self.store, "samples", weigh, ordering.runs_work(*(self.parts[n] for n in ("conversations", "images", "split")))
        )
        return made(self.store, "ordered_samples", ordering.piece, ordering.pieces_work(runs))

    def work(self):
        return shard_work(self.samples())

    def write(self) -> dict[str, bytes]:
        rows = [shard(*work.inputs, work.extra, release=self.release).to_pylist()[0] for work in self.work()]
        assert all(row["size_bytes"] == len(self.release.read(row["path"])) for row in rows)
        return {row["path"]: self.release.read(row["path"]) for row in rows}


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 40_000)
    return Clinic(tmp_path)


def rows_of(files: dict[str, bytes], wanted: str) -> list[dict]:
    return [row for path, content in files.items() if wanted in path for row in pq.read_table(io.BytesIO(content)).to_pylist()]


def test_every_sample_stands_in_one_shard_of_its_config_and_split(clinic: Clinic) -> None:
    files = clinic.write()
    assert {path.split("/")[1] for path in files} == {"classification", "generation"}
    for config in ("classification", "generation"):
        sides = [[row["sample_id"] for row in rows_of(files, f"{config}/{side}-")] for side in ("train", "validation", "test")]
        found = [sample for side in sides for sample in side]
        assert sorted(found) == sorted(s for s in clinic.tokens if s.endswith(config))
        assert all(side == sorted(side) and side for side in sides)


def test_shards_are_balanced_by_the_tokens_that_a_model_sees(clinic: Clinic) -> None:
    work = [one.extra for one in clinic.work() if "/train-" in one.extra["path"] and one.extra["config"] == "generation"]
    assert len(work) > 2
    totals = [one["visual_tokens"] for one in work]
    assert sum(totals) == sum(clinic.tokens[row["sample_id"]] for row in rows_of(clinic.write(), "generation/train-"))
    assert max(totals) - min(totals) <= 2 * max(clinic.tokens.values())


def test_the_plan_reads_no_pixels(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = Store.read_table

    def watched(store: Store, name: str, columns=None) -> pa.Table:
        asked.extend(columns or ["everything"])
        return plain(store, name, columns)

    monkeypatch.setattr(Store, "read_table", watched)
    clinic.work()
    assert {"width", "height"} <= set(asked) and "pixels" not in asked
    assert asked.count("everything") == len(clinic.parts["conversations"])  # which hold none


def test_the_images_are_the_published_bytes(clinic: Clinic) -> None:
    for row in rows_of(clinic.write(), "classification"):
        assert [image["bytes"] for image in row["images"]] == [clinic.release.read(image["path"]) for image in row["images"]]


def test_row_groups_are_cut_by_bytes(clinic: Clinic) -> None:
    content = next(c for path, c in clinic.write().items() if "generation/train-" in path)
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    assert metadata.num_row_groups > 1
    # a group ends with the sample that fills it: over the limit by less than one sample
    assert all(metadata.row_group(i).total_byte_size < 40_000 + 4 * 60_000 for i in range(metadata.num_row_groups))


def test_two_builds_and_other_partitions_give_the_same_bytes(clinic: Clinic) -> None:
    first = clinic.write()
    assert clinic.write() == first
    for parts in clinic.parts.values():
        parts.reverse()
    assert clinic.write() == first


@pytest.mark.parametrize(("run", "piece"), [(1, 1), (6, 5), (7, 1000), (1000, 3)])
def test_runs_and_pieces_of_any_size_give_the_same_bytes(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, run: int, piece: int
) -> None:
    first = clinic.write()
    monkeypatch.setattr(ordering, "RUN_ROWS", run)
    monkeypatch.setattr(ordering, "PIECE_ROWS", piece)
    assert clinic.write() == first


def test_a_shard_is_read_from_the_pieces_beside_it(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "PIECE_ROWS", 4)
    pieces = clinic.samples()
    assert len(pieces) > 5
    for work in shard_work(pieces):
        assert len(work.inputs) <= 2 + work.extra["samples"] // 4
        assert list(work.inputs) == pieces[pieces.index(work.inputs[0]) :][: len(work.inputs)]


def test_datasets_decodes_the_images_in_one_line(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    clinic.write()
    files = {side: f"{clinic.release.root}/parquet/generation/{side}-*.parquet" for side in ("train", "validation", "test")}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation", "test"}
    assert {image.size for row in loaded["train"] for image in row["images"]} == set(SIZES_PX)
    ids = [set(loaded[side]["sample_id"]) for side in loaded]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_a_split_that_is_absent_has_no_shard() -> None:
    table = size_table(["a"] * 3, ["train", "test", "train"], ["1", "2", "3"], np.array([4, 4, 4]), np.zeros(3, np.int64), 0)
    paths = [work.extra["path"] for work in plan(table, [Part("p", "conversations", "/", 3, {})])]
    assert paths == ["parquet/a/test-00000-of-00001.parquet", "parquet/a/train-00000-of-00001.parquet"]


def test_samples_without_images_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_SAMPLES", 4)
    table = size_table(["a"] * 10, ["train"] * 10, list("abcdefghij"), np.zeros(10, np.int64), np.zeros(10, np.int64), 0)
    work = plan(table, [Part("p", "conversations", "/", 10, {})])
    assert [one.extra["samples"] for one in work] == [3, 4, 3]


def test_a_sample_without_images_is_written() -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    row = dict.fromkeys(SCHEMA.names) | {"sample_id": "a", "images": [], "messages": turns}
    schema = SCHEMA.set(SCHEMA.get_field_index("images"), pa.field("images", pa.list_(pa.string())))
    table = pa.Table.from_pylist([row], schema=schema)
    content = b"".join(parquet_stream(table, lambda path: b""))
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [row]


def test_the_features_that_datasets_is_told_are_the_columns() -> None:
    told = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    assert list(told) == SCHEMA.names
    assert list(CARD_FEATURES) == SCHEMA.names


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=200), st.integers(1, 20))
def test_no_shard_is_further_from_the_mean_than_one_sample(tokens: list[int], num_shards: int) -> None:
    edges = edges_of(np.array(tokens, np.int64), num_shards)
    assert edges[0] == 0 and edges[-1] == len(tokens) and edges == sorted(set(edges)) and len(edges) - 1 <= num_shards
    weight = np.array(tokens) + 1
    mean = weight.sum() / num_shards
    for first, stop in pairwise(edges):
        assert weight[first:stop].sum() <= mean + weight.max()
