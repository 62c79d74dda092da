"""Whether an adapter is at work, told from likelihoods, and from answers where there is nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import OK, PREDICTIONS
from codelib.core.store import Store
from codelib.evaluate import canary
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Conversation, Message, open_dataset
from codelib.models.engine import Answer, failed
from codelib.models.prompt import PixelPolicy
from tests.engines import says

PROMPTS = tuple(Conversation(str(n), (Message("user", "Why?"), Message("assistant", "So.")), ()) for n in range(3))
# what the trainer noted: three answers, each by 0.9 nats a token likelier with the adapter
NOTED = canary.Items(PROMPTS, PixelPolicy(), trained=(-0.1, -0.2, -0.3), base=(-1.0, -1.1, -1.2), size=2.0)
UNKNOWN = canary.Items(PROMPTS, PixelPolicy())


def judged(items: canary.Items, base: Sequence[float], tuned: Sequence[float], same: bool = False) -> dict[str, Any]:
    answers: list[Answer] = []
    for number, (b, t) in enumerate(zip(base, tuned, strict=True)):
        answers += [says("base", log_likelihoods=(b,)), says("base" if same else f"tuned {number}", log_likelihoods=(t,))]
    return canary.judge(items, answers)


def test_the_trainers_figures_pass() -> None:
    found = judged(NOTED, (-1.01, -1.09, -1.2), (-0.1, -0.22, -0.29))
    assert (found["status"], found["num_items"], found["num_equal_to_base"]) == ("passed", 3, 0)
    assert found["largest_difference"] == pytest.approx(0.91)


def test_an_adapter_that_reaches_nothing_is_refused() -> None:
    found = judged(NOTED, NOTED.base, NOTED.base, same=True)
    assert found["status"] == "refused"
    assert "no effect" in found["why"]


@pytest.mark.parametrize("tuned", [(-0.9, -1.0, -1.1), (-0.4, -0.5, -0.6), (-3.0, -3.0, -3.0)])
def test_another_adapter_than_was_trained_is_refused(tuned: tuple[float, ...]) -> None:
    """Half its weight, another rank, another run's: it changes something, and not what the trainer saw."""
    assert judged(NOTED, NOTED.base, tuned)["status"] == "refused"


def test_where_the_base_is_not_the_trainers_its_figures_say_nothing() -> None:
    found = judged(NOTED, (-5.0, -5.0, -5.0), (-4.0, -4.0, -4.0))
    assert found["status"] == "passed"
    assert "were not compared" in found["why"]
    assert judged(NOTED, (-5.0, -5.0, -5.0), (-5.0, -5.0, -5.001), same=True)["status"] == "refused"


def test_without_figures_answers_or_likelihoods_must_differ() -> None:
    assert judged(UNKNOWN, (-1.0,) * 3, (-1.0,) * 3, same=True)["status"] == "refused"
    assert judged(UNKNOWN, (-1.0,) * 3, (-1.0,) * 3)["status"] == "passed"
    assert judged(UNKNOWN, (-1.0,) * 3, (-1.5,) * 3, same=True)["status"] == "passed"


def test_weights_that_are_no_numbers_are_refused() -> None:
    for items in (NOTED, UNKNOWN):
        assert judged(items, (-1.0, -1.1, -1.2), (float("nan"),) * 3)["status"] == "refused"


def test_items_that_fail_decide_nothing() -> None:
    assert canary.judge(UNKNOWN, [failed("ImageError")] * 6)["status"] == "not_run"
    assert canary.judge(UNKNOWN, [says("x")] * 6)["status"] == "not_run"
    assert canary.judge(canary.Items((), PixelPolicy()), [])["status"] == "not_run"


def test_an_item_that_fails_leaves_the_others_to_decide() -> None:
    for tuned, status in ((NOTED.base, "refused"), (NOTED.trained, "passed")):
        answers: list[Answer] = []
        for b, t in zip(NOTED.base, tuned, strict=True):
            answers += [says("base", log_likelihoods=(b,)), says("other", log_likelihoods=(t,))]
        answers[3] = failed("ImageError")
        found = canary.judge(NOTED, answers)
        assert (found["status"], found["num_items"]) == (status, 2)


# the trainer's note


def release(folder: Path, count: int = 10) -> Path:
    folder.mkdir()
    for name in ("train-cls", "test-cls"):
        rows = [
            {"id": n, "messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Caries"}]}
            for n in range(count)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def variant(folder: Path, **fields: Any) -> Variant:
    return Variant.model_validate({"name": "lora", "model": str(folder / "model"), "adapter": str(folder / "lora"), **fields})


def note(folder: Path, **fields: Any) -> None:
    (folder / "lora").mkdir(exist_ok=True)
    whole = {"trained_whole": [-0.1, -0.2], "base_whole": [-1.0, -1.1], "size": 2.0, "pixels": [3136, 12544]}
    (folder / "lora" / "canary.json").write_text(json.dumps({"sample_ids": ["train-cls/7", "train-cls/2"], **whole, **fields}))


def test_the_trainers_samples_are_found_in_the_dataset(tmp_path: Path) -> None:
    release(tmp_path / "set")
    note(tmp_path)
    items = canary.trainers_items(variant(tmp_path), tmp_path / "set")
    assert items is not None
    assert [one.sample_id for one in items.prompts] == ["train-cls/2", "train-cls/7"]
    assert items.trained == (-0.2, -0.1)
    assert items.base == (-1.1, -1.0)
    assert items.pixels == PixelPolicy(3136, 12544)
    asked = canary.requests(variant(tmp_path), items)
    assert [one.adapter for one in asked] == [None, str(tmp_path / "lora")] * 2
    assert asked[0].choices == ("Caries",)
    assert asked[0].question.messages[-1].role == "user"


def test_the_trainers_samples_without_their_images_are_none(tmp_path: Path) -> None:
    """A data set of which somebody copied the test images alone: the variant's own questions must do."""
    release(tmp_path / "set")
    rows = json.loads((tmp_path / "set" / "train-cls.json").read_text())
    for row in rows:
        row["images"] = ["gone.jpg"]
        row["messages"][0]["content"] += "<image>"
    (tmp_path / "set" / "train-cls.json").write_text(json.dumps(rows))
    note(tmp_path)
    assert canary.trainers_items(variant(tmp_path), tmp_path / "set") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"sample_ids": ["withdrawn", "withdrawn"]},
        {"sample_ids": ["other/1", "train-cls/999"]},
        {"trained_whole": None},
        {"sample_ids": [1, 2]},
        {"size": "large"},
        {"pixels": [0, 0]},
    ],
)
def test_a_note_of_other_data_or_of_somebody_else_is_no_error(tmp_path: Path, fields: dict[str, Any]) -> None:
    release(tmp_path / "set")
    note(tmp_path, **fields)
    assert canary.trainers_items(variant(tmp_path), tmp_path / "set") is None


def test_another_pixel_policy_than_was_trained_on_is_said(tmp_path: Path) -> None:
    note(tmp_path)
    [said] = canary.pixel_notes([variant(tmp_path)])
    assert "trained on images of 3136 to 12544 pixels" in said and "`max_pixels: 12544`" in said
    assert canary.pixel_notes([variant(tmp_path, min_pixels=3136, max_pixels=12544)]) == []
    for pixels in (None, 3, [1], ["a"]):
        note(tmp_path, pixels=pixels)
        assert canary.pixel_notes([variant(tmp_path)]) == []


def test_an_adapter_without_a_note_is_no_error(tmp_path: Path) -> None:
    release(tmp_path / "set")
    (tmp_path / "lora").mkdir()
    assert canary.trainers_items(variant(tmp_path), tmp_path / "set") is None
    (tmp_path / "lora" / "canary.json").write_text("[]")
    assert canary.trainers_items(variant(tmp_path), tmp_path / "set") is None


# the run's answers


def planned(folder: Path, *rows: dict[str, Any]) -> Plan:
    data = folder / "set" if (folder / "set").exists() else release(folder / "set")
    variants = [Variant.model_validate(row) for row in rows]
    return make_plan(open_dataset(data), variants, ("classification",), None, EvaluateSettings())


def table(plan: Plan, **answers: Sequence[str]) -> pa.Table:
    empty = dict.fromkeys(PREDICTIONS.schema.names)
    rows = [
        empty | {"variant": name, "benchmark": "classification", "sample_id": str(n), "status": OK, "answer": text, "images": []}
        for name, texts in answers.items()
        for n, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)


SERVER = {"engine": "openai", "base_url": "http://127.0.0.1:9/v1"}


def test_two_models_of_a_server_may_agree_and_it_is_told(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"name": "base", "model": "m", **SERVER}, {"name": "other", "model": "l", **SERVER})
    same = canary.verdicts(plan, table(plan, base=["a"] * 10, other=["a"] * 10), Store(str(tmp_path / "work")))
    assert (same["other"]["status"], same["other"]["num_equal_to_base"]) == ("not_run", 10)
    assert same["other"]["why"] == "all of its 10 answers are those of base: does the server hold two models?"


def test_a_served_adapter_is_compared_with_its_base_in_the_list(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"name": "base", "model": "m", **SERVER}, {"name": "lora", "model": "m", "adapter": "l", **SERVER})
    store = Store(str(tmp_path / "work"))
    same = canary.verdicts(plan, table(plan, base=["a"] * 10, lora=["a"] * 10), store)
    assert same["base"]["status"] == "not_needed"
    assert (same["lora"]["status"], same["lora"]["num_equal_to_base"]) == ("refused", 10)
    assert "base" in same["lora"]["why"]
    other = canary.verdicts(plan, table(plan, base=["a"] * 10, lora=["a"] * 9 + ["b"]), store)
    assert other["lora"]["status"] == "passed"
    few = canary.verdicts(plan, table(plan, base=["a"] * 3, lora=["a"] * 3), store)
    assert few["lora"]["status"] == "not_run"


def test_a_served_adapter_whose_base_is_not_in_the_list_gets_a_control(tmp_path: Path) -> None:
    loras = [{"name": name, "model": "m", "adapter": name, **SERVER} for name in ("one", "two")]
    plan = planned(tmp_path, *loras)
    (control,) = plan.controls
    bare = next(one for one in plan.variants if one.name == control)
    assert (bare.model, bare.adapter, bare.benchmarks) == ("m", None, ("classification",))
    assert plan.questions[control, "classification"] == plan.questions["one", "classification"][:32]
    rows = table(plan, one=["a"] * 24, two=["a"] * 23 + ["b"], **{control: ["a"] * 24})
    found = canary.verdicts(plan, rows, Store(str(tmp_path / "work")))
    assert {name: verdict["status"] for name, verdict in found.items()} == {"one": "refused", "two": "passed"}
    few = canary.verdicts(plan, table(plan, one=["a"] * 20, two=[], **{control: ["a"] * 20}), Store(str(tmp_path / "work")))
    assert (few["one"]["status"], few["one"]["why"][:20]) == ("not_run", "20 answers of both i")
    silent = canary.verdicts(plan, table(plan, one=["a"] * 10, two=["a"] * 10), Store(str(tmp_path / "work")))
    assert {verdict["status"] for verdict in silent.values()} == {"not_run"}
    assert not planned(tmp_path, *loras, {"name": "base", "model": "m", **SERVER}).controls
    # a base that is asked nothing of this is none
    plan = planned(tmp_path, {"name": "base", "model": "m", **SERVER, "benchmarks": ["generation"]}, loras[0])
    rows = table(plan, one=["a"] * 24, **{name: ["a"] * 24 for name in plan.controls})
    assert canary.verdicts(plan, rows, Store(str(tmp_path / "work")))["one"]["status"] == "refused"
    local = {"name": "local", "model": str(tmp_path / "none"), "adapter": str(tmp_path / "lora")}
    assert not planned(tmp_path, local, {"name": "public", "engine": "openai", "model": "gpt-4o"}).controls


def test_variants_that_are_asked_otherwise_are_not_compared(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        {"name": "base", "model": "m", **SERVER},
        {"name": "small", "model": "m", "max_pixels": 12544, **SERVER},
        {"name": "elsewhere", "model": "l", **SERVER, "base_url": "http://127.0.0.1:8/v1"},
        {"name": "public", "engine": "openai", "model": "gpt-4o"},
    )
    answers = {one.name: ["a"] * 10 for one in plan.variants}
    found = canary.verdicts(plan, table(plan, **answers), Store(str(tmp_path / "work")))
    assert {one["status"] for one in found.values()} == {"not_needed"}


def test_a_record_of_the_trainers_figures_outweighs_equal_answers(tmp_path: Path) -> None:
    local = {"model": str(tmp_path / "model")}
    lora = {"name": "lora", "adapter": str(tmp_path / "lora"), **local}
    for name in ("model", "lora"):
        (tmp_path / name).mkdir()
    plan = planned(tmp_path, {"name": "base", **local}, lora)
    store = Store(str(tmp_path / "work"))
    rows = table(plan, base=["a"] * 10, lora=["a"] * 10)
    assert canary.verdicts(plan, rows, store)["lora"]["status"] == "refused"  # no record: answers alone
    name = canary.record_name(plan.fingerprints["lora"], plan.variants[1])
    record = judged(NOTED, NOTED.base, NOTED.trained)
    store.commit_json(name, {**record, "run": "1"})
    found = canary.verdicts(plan, rows, store)
    assert set(found["lora"]) == {"status", "why", "num_items", "num_equal_to_base", "largest_difference"}
    assert found["lora"]["status"] == "passed"
    assert found["base"]["status"] == "not_needed"
    store.commit_json(name, {**judged(UNKNOWN, (-1.0,) * 3, (-2.0,) * 3), "run": "1"})
    assert canary.verdicts(plan, rows, store)["lora"]["status"] == "refused"  # likelier words, and the same answers all over
