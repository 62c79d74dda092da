"""What an actor does with a partition: answers kept as they come, faults isolated to their rows, nothing asked twice."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from codelib.contracts import SIX_CLASSES
from codelib.core import stage as stage_module
from codelib.core.stage import Part, Stage, Work, check, committed, pending
from codelib.core.store import Store
from codelib.evaluate import deaths, predictor, run
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.predictor import Predictor
from codelib.evaluate.variants import Variant, resolve
from codelib.models.conversation import open_dataset
from codelib.models.engine import Answer, Request, failed
from tests.engines import FakeEngine, says

NUM_VISITS = 6


class Place:
    """A dataset of six visits, a model folder, a store, and engines that the test makes up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store = folder, Store(str(folder / "work"))
        (folder / "set").mkdir()
        rows: dict[str, list[Any]] = {"test-cls": [], "test-diagnostic": []}
        for visit in range(NUM_VISITS):
            Image.new("RGB", (56, 56)).save(folder / "set" / f"{visit:04d}-001-01.jpg")
            for task, answer in (("cls", SIX_CLASSES[visit]), ("diagnostic", f"Report {visit}.")):
                turns = [{"role": "user", "content": f"<image> {task} {visit}"}, {"role": "assistant", "content": answer}]
                rows[f"test-{task}"].append({"id": visit, "messages": turns, "images": [f"{visit:04d}-001-01.jpg"]})
        for name, value in rows.items():
            (folder / "set" / f"{name}.json").write_text(json.dumps(value))
        for name in ("model", "lora"):
            (folder / name).mkdir()
            (folder / name / f"{'adapter_' if name == 'lora' else ''}config.json").write_text("{}")
        self.engines: list[FakeEngine] = []
        self.load: Callable[[], None] = lambda: None
        self.reply: Callable[[Request], Answer | BaseException] = lambda request: says(
            f"{request.adapter and 'tuned '}{words(request)}"
        )

        def make(variants: Any, access: Any) -> FakeEngine:
            self.load()
            self.engines.append(FakeEngine(lambda request: self.reply(request)))
            return self.engines[-1]

        monkeypatch.setattr(predictor, "make_engine", make)

    def plan(self, *rows: dict[str, Any], **more: Any) -> Plan:
        variants = [resolve(Variant.model_validate({"model": "model", **row}), self.folder) for row in rows]
        benchmarks = more.pop("benchmarks", ("classification", "generation"))
        return make_plan(open_dataset(self.folder / "set"), variants, benchmarks, None, EvaluateSettings(**more))

    def actor(self, plan: Plan, run: str = "1") -> Predictor:
        named = {variant.name: variant for variant in plan.variants}
        groups = {group.key: tuple(named[name] for name in group.variants) for group in plan.groups}
        return Predictor(str(self.folder / "set"), groups, plan.fingerprints, self.store, run=run)

    def rows(self, plan: Plan, actor: Predictor | None = None) -> list[dict[str, Any]]:
        actor = actor or self.actor(plan)
        tables = [actor(work.extra) for work in plan.work]
        for table in tables:
            check(Stage("predictions", 1, predictor.PREDICTIONS), [], table)
        return pa.concat_tables(tables).to_pylist()

    @property
    def asked(self) -> int:
        return sum(engine.asked.total() for engine in self.engines)


def words(request: Request) -> str:
    return request.question.messages[-1].content.removeprefix("<image> ")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


BASE, LORA = {"name": "base"}, {"name": "lora", "adapter": "lora"}


def test_a_group_is_asked_in_one_stream_of_one_engine(place: Place) -> None:
    plan = place.plan(BASE, {"name": "small", "max_pixels": 12544})
    rows = place.rows(plan)
    assert [row["status"] for row in rows] == ["ok"] * 24
    assert [engine.batches for engine in place.engines] == [[24]]
    assert place.rows(plan) == rows
    assert place.asked == 24  # a second actor finds all of it


def test_what_an_answer_says_of_itself_is_in_its_row(place: Place) -> None:
    place.reply = lambda request: says(
        "Caries", cut=True, usd=0.25, log_likelihoods=(-3.0, -0.5, -3.0, -3.0, -3.0, -4.0) if request.choices else ()
    )
    plan = place.plan({"name": "weighed", "constrained": True})
    for rows in (place.rows(plan), place.rows(plan)):  # as made, and as kept
        by_benchmark = {row["benchmark"]: row for row in rows}
        assert by_benchmark["classification"]["constrained"] == SIX_CLASSES[1]
        assert by_benchmark["generation"]["constrained"] is None
        assert all(row["cut"] is True and row["usd"] == 0.25 for row in rows)


def test_an_empty_answer_is_an_answer(place: Place) -> None:
    place.reply = lambda request: says(" ")
    assert {(row["status"], row["parsed"]) for row in place.rows(place.plan(BASE))} == {("ok", None)}


def test_a_request_that_fails_is_asked_again_and_nothing_else(place: Place) -> None:
    mended = False
    place.reply = lambda request: failed("OddError") if words(request) == "cls 3" and not mended else says("Caries")
    plan = place.plan(BASE)
    assert [row["reject_reason"] for row in place.rows(plan) if row["status"] != "ok"] == ["evaluate:OddError"]
    mended = True
    assert {row["status"] for row in place.rows(plan)} == {"ok"}
    assert place.asked == 12 + 1


def test_a_kill_costs_what_was_in_flight(place: Place) -> None:
    plan = place.plan(BASE)

    def reply(request: Request) -> Answer:
        if place.asked == 8:
            raise KeyboardInterrupt  # as abrupt as it gets in one process
        return says("Caries")

    place.reply = reply
    with pytest.raises(KeyboardInterrupt):
        place.rows(plan)
    assert len(place.store.names("answers")) == 7
    place.reply = lambda request: says("Caries")
    assert {row["status"] for row in place.rows(plan)} == {"ok"}
    assert place.asked == 12 + 1


def test_a_full_disk_ends_the_partition_and_loses_no_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = place.plan(BASE)
    commit = Store.commit
    room = 5

    def full(store: Store, name: str, content: bytes) -> str:
        if name.startswith("answers/") and len(store.names("answers")) >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return commit(store, name, content)

    monkeypatch.setattr(Store, "commit", full)
    with pytest.raises(OSError, match="No space"):  # core.stage makes the sentence of it
        place.rows(plan)
    assert len(place.store.names("answers")) == room
    room = 100
    assert {row["status"] for row in place.rows(plan)} == {"ok"}
    assert place.asked == 12 + 1  # the one that could not be kept


def test_what_failed_before_a_kill_is_asked_again_by_the_very_next_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partitions are committed with their failed rows; killed before it took them back, a run left them as if they were done."""
    plan, dataset, settings = place.plan(BASE, partition_samples=2), open_dataset(place.folder / "set"), EvaluateSettings()

    def in_this_process(stage: Stage, work: list[Work], store: Store, keep: bool) -> list[Part]:
        job = stage_module._Job(stage, store, None)
        for one in work:
            if pending(stage, [one], store):
                job.apply(place.actor(plan), {"item": json.dumps(job.item(stage.key(one), one))})
        return committed(stage, work, store)

    monkeypatch.setattr(run, "run_stage", in_this_process)
    place.reply = lambda request: failed("OddError") if words(request) == "cls 3" else says("Caries")
    with monkeypatch.context() as killed:
        killed.setattr(run.canary, "verdicts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.predict(dataset, plan, place.store, settings)
    place.reply = lambda request: says("Caries")
    assert run.num_pending(dataset, plan, place.store, settings) == 1
    outcome = run.predict(dataset, plan, place.store, settings)
    assert (outcome.failures, place.asked) == ({}, 12 + 1)


def test_what_does_not_load_takes_its_own_variants_down(place: Place) -> None:
    def load() -> None:
        raise MemoryError

    place.load = load
    plan = place.plan(BASE, {"name": "small", "max_pixels": 12544})
    assert {row["reject_reason"] for row in place.rows(plan)} == {"evaluate:MemoryError"}
    place.load = lambda: None
    (place.folder / "b").mkdir()
    plan = place.plan(BASE, {"name": "gone", "adapter": "nowhere"}, {"name": "other", "model": "b"})
    reasons = {(row["variant"], row["reject_reason"]) for row in place.rows(plan)}
    assert reasons == {("base", None), ("gone", "evaluate:AdapterNotFound"), ("other", None)}


def test_a_hub_model_that_is_not_on_this_machine_is_called_that() -> None:
    with pytest.raises(predictor.ModelNotFound):  # a bare ValueError in the report tells nobody to fetch it
        predictor.make_engine([Variant(name="a", model="nobody/has-this-model")], None)


def test_a_missing_image_takes_its_visit_down(place: Place) -> None:
    (place.folder / "set" / "0002-001-01.jpg").unlink()
    rows = place.rows(place.plan(BASE))
    assert [row["sample_id"] for row in rows if row["reject_reason"] == "evaluate:image_missing"] == [
        "test-cls/2",
        "test-diagnostic/2",
    ]
    assert place.asked == 10


def test_a_name_that_no_disk_takes_is_a_missing_image(place: Place) -> None:
    file = place.folder / "set" / "test-cls.json"
    rows = json.loads(file.read_text())
    rows[2]["images"], rows[3]["images"] = ["y" * 300 + ".jpg"], ["nul\0.jpg"]
    file.write_text(json.dumps(rows))
    reasons = [row["reject_reason"] for row in place.rows(place.plan(BASE))]
    assert reasons == [*[None] * 2, *["evaluate:image_missing"] * 2, *[None] * 8]


def test_answers_of_the_version_before_are_read(place: Place) -> None:
    plan = place.plan({**BASE, "max_new_tokens": 2})
    for key in plan.keys:
        old = {
            "text": "Caries",
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "latency_s": 0.5,
            "error": None,
            "checkups": ["0000-001"],
        }
        place.store.commit_json(predictor.answer_name(key), old)
    rows = place.rows(plan)
    assert {row["cut"] for row in rows} == {True}
    assert not place.engines
    kept = [place.store.read_json(name)["checkups"] for name in place.store.names("answers")]
    assert {"0003-001"} <= {checkup for checkups in kept for checkup in checkups}  # whom else the answer is about since


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"text": "Car',
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"text": "Caries"}',
        b'{"text": "a", "prompt_tokens": 1, "completion_tokens": 1, "latency_s": 0.1, "of_a_later_version": 1}',
    ],
)
def test_a_kept_answer_that_is_none_is_asked_again_and_stops_nothing(place: Place, content: bytes) -> None:
    plan = place.plan(BASE)
    rows = place.rows(plan)
    place.store.commit(place.store.names("answers")[0], content)
    assert place.rows(plan) == rows
    assert place.asked == 12 + 1


# a question that ends the process that asks it


def dying(place: Place, plan: Plan, bad: Callable[[Request], bool], starts: int) -> list[dict[str, Any]]:
    """What `starts` actors in turn make of the plan, each of which dies (here: BaseException) at a bad question."""

    class Death(BaseException):
        pass

    def reply(request: Request) -> Answer:
        if bad(request):
            raise Death
        return says("Caries")

    place.reply = reply
    for _ in range(starts):
        try:
            return place.rows(plan, place.actor(plan))
        except Death:
            pass
    raise AssertionError("never finished")


def test_a_question_that_kills_is_found_and_given_up(place: Place) -> None:
    plan = place.plan(BASE)
    rows = dying(place, plan, lambda request: words(request) == "diagnostic 2", starts=4)
    assert [row["sample_id"] for row in rows if row["reject_reason"] == "evaluate:WorkerDied"] == ["test-diagnostic/2"]
    assert sum(row["status"] == "ok" for row in rows) == 11
    assert not place.store.names(deaths.FOLDER)


def test_a_note_that_is_none_stops_nothing(place: Place) -> None:
    plan = place.plan(BASE)

    def reply(request: Request) -> Answer:
        raise KeyboardInterrupt

    place.reply = reply
    with pytest.raises(KeyboardInterrupt):
        place.rows(plan)
    for name in place.store.names(deaths.FOLDER):
        place.store.commit(name, b"")
    place.reply = lambda request: says("Caries")
    assert {row["status"] for row in place.rows(plan)} == {"ok"}


def test_a_model_whose_loading_kills_is_given_up(place: Place) -> None:
    def load() -> None:
        raise SystemExit

    place.load = load
    plan = place.plan(BASE)
    for _ in range(3):
        with pytest.raises(SystemExit):
            place.rows(plan)
    assert {row["reject_reason"] for row in place.rows(plan)} == {"evaluate:WorkerDied"}
    deaths.forget(place.store)
    place.load = lambda: None
    assert {row["status"] for row in place.rows(plan)} == {"ok"}


# the canary


def weighs(adapter_at_work: bool) -> Callable[[Request], Answer]:
    def reply(request: Request) -> Answer:
        tuned = request.adapter is not None and adapter_at_work
        return says(f"{'tuned' if tuned else 'base'} {words(request)}", log_likelihoods=(-1.0 - tuned,) * len(request.choices))

    return reply


def test_an_adapter_without_effect_is_not_asked(place: Place) -> None:
    place.reply = weighs(False)
    plan = place.plan(BASE, LORA)
    rows = place.rows(plan)
    assert {(row["variant"], row["reject_reason"]) for row in rows} == {("base", None), ("lora", "evaluate:AdapterWithoutEffect")}
    assert len(place.store.names("answers")) == 12
    place.reply = weighs(True)
    assert {row["status"] for row in place.rows(plan, place.actor(plan, run="2"))} == {"ok"}


def test_one_actor_asks_the_canary_for_all_of_a_run(place: Place) -> None:
    place.reply = weighs(True)
    plan = place.plan(BASE, LORA)
    place.rows(plan)
    assert place.asked == 24 + 2 * 4
    for name in place.store.names("answers"):
        place.store.delete(name)
    place.rows(plan)
    assert place.asked == 2 * 24 + 2 * 4


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_a_record_that_is_none_counts_as_never_looked(place: Place, content: bytes) -> None:
    place.reply = weighs(True)
    plan = place.plan(LORA)
    place.rows(plan)
    [record] = place.store.names("canaries")
    place.store.commit(record, content)
    place.store.delete(place.store.names("answers")[0])
    assert {row["status"] for row in place.rows(plan)} == {"ok"}
    assert place.store.read_json(record)["status"] == "passed"


def broken(*visits: int) -> Callable[[Request], Answer]:
    """An adapter without effect, and pictures that no engine can open."""

    def reply(request: Request) -> Answer:
        return failed("ImageError") if int(words(request).split()[-1]) in visits else weighs(False)(request)

    return reply


@pytest.mark.parametrize("bad", [(0,), (0, 1, 2)])
def test_broken_pictures_hide_no_adapter_without_effect(place: Place, bad: tuple[int, ...]) -> None:
    place.reply = broken(*bad)
    rows = place.rows(place.plan(LORA))
    assert {row["reject_reason"] for row in rows} == {"evaluate:AdapterWithoutEffect"}


def test_missing_pictures_hide_no_adapter_without_effect(place: Place) -> None:
    for visit in range(4):
        (place.folder / "set" / f"{visit:04d}-001-01.jpg").unlink()
    place.reply = broken(0, 1, 2, 3)
    rows = place.rows(place.plan(LORA))
    assert {row["reject_reason"] for row in rows} == {"evaluate:AdapterWithoutEffect", "evaluate:image_missing"}


def test_items_that_nobody_could_do_leave_the_next_partition_to_tell(place: Place) -> None:
    place.reply = broken(0, 1, 2)
    plan = place.plan(LORA, partition_samples=3, benchmarks=("classification",))
    rows = place.rows(plan)
    reasons = [row["reject_reason"] for row in rows]
    assert reasons == ["evaluate:ImageError"] * 3 + ["evaluate:AdapterWithoutEffect"] * 3
    assert place.store.read_json(place.store.names("canaries")[0])["status"] == "refused"
