"""Partitions: every question once, all of a visit together, one question to the same weights asked once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codelib.core.store import Store
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.run import _check_gpus, _forget_names
from codelib.evaluate.variants import Variant, resolve
from codelib.evaluate.withdrawn import retrain_notes
from codelib.models.conversation import Dataset, open_dataset

NUM_PATIENTS = 7


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seven test patients of two visits, both benchmarks; reports of five train patients."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "Images").mkdir()
    files: dict[str, list[Any]] = {"test-cls": [], "test-diagnostic": [], "train-diagnostic": [], "train-cls": []}
    for patient in range(NUM_PATIENTS + 5):
        for visit in (1, 2):
            name = f"Images/{patient:04d}-{visit:03d}-01.jpg"
            Image.new("RGB", (56, 56), (patient * 20, visit * 90, 0)).save(folder / name)
            side = "test" if patient < NUM_PATIENTS else "train"
            for task, answer in (("cls", "Caries"), ("diagnostic", "A report.")):
                question = {"role": "user", "content": f"<image>\n{task}?"}
                row = {"id": f"{patient}-{visit}", "messages": [question, {"role": "assistant", "content": answer}]}
                files[f"{side}-{task}"].append(row | {"images": [name]})
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return open_dataset(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, weights in {"a": "1", "copy-of-a": "1", "b": "2", "lora": "3", "copy-of-lora": "3", "lora2": "4"}.items():
        (folder / name).mkdir()
        (folder / name / "weights").write_text(weights)
    return folder


def plan(dataset: Dataset, models: Path, *rows: dict[str, Any], limit: int | None = None, **more: Any) -> Plan:
    variants = tuple(resolve(Variant.model_validate({"model": "a", **row}), models) for row in rows)
    benchmarks = more.pop("benchmarks", ("classification", "generation"))
    return make_plan(dataset, variants, benchmarks, limit, EvaluateSettings(**more))


FEW = {"name": "few", "prompting": "few-shot", "k": 2, "benchmarks": ["generation"]}


def test_variants_of_one_base_are_one_group_and_a_visit_is_in_one_partition(dataset: Dataset, models: Path) -> None:
    made = plan(
        dataset,
        models,
        {"name": "base"},
        {"name": "other", "model": "b"},
        FEW,
        {"name": "small", "max_pixels": 12544},
        {"name": "lora", "adapter": "lora"},
        {"name": "copy", "model": "copy-of-a", "adapter": "lora2"},
        partition_samples=4,
    )
    assert [group.variants for group in made.groups] == [("base", "few", "small", "lora", "copy"), ("other",)]
    assert len(made.work) == 2 * 4  # 14 visits, 4 in a partition
    visits: dict[tuple[str, str], set[int]] = {}
    for number, work in enumerate(made.work):
        for row in work.extra["rows"]:
            visits.setdefault((work.extra["group"], row["sample_id"].split("/")[1]), set()).add(number)
    assert len(visits) == 2 * 14
    assert all(len(partitions) == 1 for partitions in visits.values())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.sampled_from([None, 1, 5, 13]))
def test_no_row_is_planned_twice_or_forgotten(dataset: Dataset, models: Path, visits: int, limit: int | None) -> None:
    made = plan(
        dataset, models, {"name": "base"}, {"name": "blind", "images": "shuffled"}, FEW, limit=limit, partition_samples=visits
    )
    rows = [(row["variant"], row["sample_id"]) for work in made.work for row in work.extra["rows"]]
    wanted = [(name, sample.sample_id) for (name, _), asked in made.questions.items() for sample in asked]
    assert sorted(rows) == sorted(wanted)
    asked = [ask["key"] for work in made.work for ask in work.extra["asks"]]
    assert len(asked) == len(set(asked))
    assert set(asked) == made.keys


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 14))
def test_partitions_are_as_few_as_may_be_and_about_equal(dataset: Dataset, models: Path, most: int, visits: int) -> None:
    made = plan(dataset, models, {"name": "base"}, limit=visits, partition_samples=most, benchmarks=("classification",))
    sizes = [len(work.extra["rows"]) for work in made.work]
    assert len(sizes) <= -(-visits // most)
    assert max(sizes) <= most
    assert max(sizes) <= -(-visits // len(sizes))  # none is larger than an even share


def test_one_question_to_the_same_weights_is_asked_once(dataset: Dataset, models: Path) -> None:
    made = plan(
        dataset,
        models,
        {"name": "one", "adapter": "lora"},
        {"name": "two", "adapter": "copy-of-lora", "batch_size": 2},
        {"name": "three", "adapter": "lora2"},
    )
    asks = [ask for work in made.work for ask in work.extra["asks"]]
    assert len(asks) == 2 * 28
    assert {ask["variant"] for ask in asks} == {"one", "three"}
    questions = [question for work in made.work for question in work.extra["questions"]]
    assert len(questions) == 28  # the words travel once, not for each variant


def test_two_visits_that_ask_the_same_share_an_answer_that_names_both(tmp_path: Path, models: Path) -> None:
    rows = [
        {
            "id": n,
            "checkup_id": f"00{n:02d}-001",
            "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Caries"}],
        }
        for n in range(40)
    ]
    (tmp_path / "test-cls.json").write_text(json.dumps(rows))
    made = plan(open_dataset(tmp_path), models, {"name": "base"}, benchmarks=("classification",), partition_samples=4)
    assert len(made.work) == 1  # those that wait for the answer stand where it is asked
    assert len(made.work[0].extra["rows"]) == 40
    [ask] = made.work[0].extra["asks"]
    assert len(ask["checkups"]) == 40


def test_what_an_answer_depends_on_is_in_its_key(dataset: Dataset, models: Path) -> None:
    same = plan(dataset, models, {"name": "x"}).keys
    assert same == plan(dataset, models, {"name": "renamed", "batch_size": 9, "model": "copy-of-a"}).keys
    for change in (
        {"max_pixels": 12544},
        {"max_new_tokens": 5},
        {"model": "b"},
        {"adapter": "lora"},
        {"decoding": {"temperature": 0.7}},
        {"decoding": {"repetition_penalty": 1.1}},
    ):
        assert same.isdisjoint(plan(dataset, models, {"name": "x", **change}).keys), change
    weighed = plan(dataset, models, {"name": "x", "constrained": True}).keys
    assert len(same & weighed) == 14  # the reports are asked as before


def test_answers_of_the_version_before_stay_good(dataset: Dataset, models: Path) -> None:
    """The key of one question as issue 6's code made it: answers that were paid for must be found again."""
    from codelib.core.stage import digest
    from codelib.evaluate.variants import files_digest

    image = "Images/0000-001-01.jpg"
    key = digest(
        {
            "version": 1,
            "model": {"model": f"sha256:{files_digest(models / 'a')}"},
            "messages": [["user", "<image>\ncls?"]],
            "images": [files_digest(dataset.folder / image)],
            "pixels": [56 * 56, 448 * 448],
            "max_new_tokens": 32,
        }
    )
    assert key in plan(dataset, models, {"name": "x"}).keys


def test_two_variants_of_one_name_are_refused(dataset: Dataset, models: Path) -> None:
    with pytest.raises(ValueError, match="base stands twice"):
        plan(dataset, models, {"name": "base"}, {"name": "base", "model": "b"})


def test_missing_images_are_said_before_anything_is_asked(dataset: Dataset, models: Path, tmp_path: Path) -> None:
    for name, path in dataset.files.items():
        (tmp_path / f"{name}.json").write_bytes(path.read_bytes())
    notes = plan(open_dataset(tmp_path), models, {"name": "base"}).left_out
    assert [note.split(":")[0] for note in notes] == ["classification", "generation"]
    assert "14 images are not in the dataset's folder; the 14 of 14 samples" in notes[0]


@pytest.mark.parametrize("gpus", [2, -1])
def test_a_number_of_gpus_that_no_actor_can_use_is_refused(gpus: float) -> None:
    with pytest.raises(ValueError, match="num_gpus_per_actor"):
        EvaluateSettings(num_gpus_per_actor=gpus)


def test_gpus_that_will_never_come_and_those_that_were_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match="num_gpus_per_actor=1: Ray has 0 GPUs here"):
        _check_gpus(1.0, 0.0)
    assert _check_gpus(None, 0.0) is None
    assert _check_gpus(1.0, 1.0) is None
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert _check_gpus(1.0, 0.0) is None  # an autoscaler brings them
    assert _check_gpus(None, 8.0) is None
    assert "--set num_gpus_per_actor=1 --set num_actors=N" in (_check_gpus(None, 0.0) or "")
    monkeypatch.setenv("CODELIB_CLUSTER_FIXED", "1")  # what Slurm gave does not grow
    with pytest.raises(ValueError, match="num_gpus_per_actor=1: Ray has 0 GPUs here"):
        _check_gpus(1.0, 0.0)
    assert _check_gpus(None, 0.0) is None


def test_a_merged_model_of_a_run_is_to_be_retrained_as_its_adapter_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    variants = [
        Variant(name="tuned", model="org/base", adapter=str(tmp_path / "run" / "adapter")),
        Variant(name="merged", model=str(tmp_path / "run" / "merged")),
        Variant(name="base", model="org/base"),
    ]
    assert retrain_notes(variants, Store(str(tmp_path))) == []
    (tmp_path / "run" / "run.json").write_text('{"retrain": true}')
    assert [note.partition(":")[0] for note in retrain_notes(variants, Store(str(tmp_path)))] == ["tuned", "merged"]


def test_a_table_that_names_a_hospitals_files_goes_and_a_damaged_one_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name, image in (("names", "Zhang.jpg"), ("ours", "test/1/image-1")):
        store.commit_table(f"stages/predictions/{name}.parquet", pa.table({"images": [[image]]}))
    store.commit("stages/predictions/damaged.parquet", b"PAR1 half")
    plan = SimpleNamespace(image_names={"Zhang.jpg": "test/1/image-1"})
    _forget_names(plan, store, [])  # type: ignore[arg-type]
    assert store.names("stages/predictions") == ["stages/predictions/ours.parquet"]
