"""Another model behind an address is noticed before its answers are mixed with those that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codelib.core.store import Store
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.predictor import answer_name
from codelib.evaluate.served import check_served
from codelib.evaluate.variants import Variant
from codelib.models.conversation import open_dataset
from tests.chat_server import Running, started
from tests.fixtures import make_release


class Room:
    def __init__(self, folder: Path, server: Running) -> None:
        self.server, self.store = server, Store(str(folder / "work" / "evaluate"))
        self.dataset = open_dataset(make_release(folder / "release", visits=6))

    def plan(self, **more: Any) -> Plan:
        fields = {"name": "served", "engine": "openai", "model": "m", "base_url": self.server.url} | more
        return make_plan(self.dataset, [Variant.model_validate(fields)], ["classification"], None, EvaluateSettings())

    def says(self, **fields: Any) -> None:
        self.server.models[:] = [{"id": "m", "object": "model", "created": 1, "owned_by": "vllm", **fields}]

    def keeps_an_answer(self, plan: Plan) -> None:
        extra = plan.work[0].extra  # of the variant itself: a LoRA module's control comes after it
        assert extra["asks"][0]["variant"] == "served"
        self.store.commit(answer_name(extra["asks"][0]["key"]), b"{}")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with started() as server:
        yield Room(tmp_path, server)


def test_another_model_under_the_same_name_is_refused_with_ways_out(room: Room) -> None:
    room.says(root="org/first")
    plan = room.plan()
    check_served(plan, room.store)
    room.keeps_an_answer(plan)
    room.says(root="org/second")
    with pytest.raises(
        ValueError, match=r"variant served: the server says of m another root than when 1 kept answers were made"
    ) as error:
        check_served(plan, room.store)
    name = str(error.value).rsplit("delete ", 1)[1]
    Path(name).unlink()  # the way out that the sentence names
    check_served(plan, room.store)
    room.says(root="org/first")
    with pytest.raises(ValueError, match="another root"):
        check_served(plan, room.store)


def test_a_restart_of_the_same_model_is_none(room: Room) -> None:
    room.says(root="org/first", max_model_len=4096)
    plan = room.plan()
    check_served(plan, room.store)
    room.keeps_an_answer(plan)
    room.says(root="org/first", created=99, max_model_len=8192, permission=[{"id": "perm-2"}])
    check_served(plan, room.store)


def test_without_answers_another_model_may_come(room: Room) -> None:
    for root in ("org/first", "org/second"):
        room.says(root=root)
        check_served(room.plan(), room.store)
    room.keeps_an_answer(room.plan())
    check_served(room.plan(), room.store)


def test_another_lora_module_under_the_same_name_is_refused(room: Room) -> None:
    def says(root: str) -> None:
        room.says(root="org/base")
        room.server.models.append(
            {"id": "tuned", "object": "model", "created": 1, "owned_by": "vllm", "root": root, "parent": "m"}
        )

    says("/adapters/1")
    plan = room.plan(adapter="tuned")
    check_served(plan, room.store)
    room.keeps_an_answer(plan)
    says("/adapters/2")
    with pytest.raises(ValueError, match="says of tuned another root"):
        check_served(plan, room.store)


def test_a_module_of_which_a_server_begins_to_say_nothing_is_no_other_one(room: Room) -> None:
    room.says(root="org/base")
    plan = room.plan(adapter="tuned")
    check_served(plan, room.store)
    room.keeps_an_answer(plan)
    room.server.models.append({"id": "tuned", "object": "model", "created": 1, "owned_by": "vllm"})
    check_served(plan, room.store)


def test_a_module_that_a_server_lists_while_it_is_loaded_is_no_other_one(room: Room) -> None:
    room.says(root="org/base")
    plan = room.plan(adapter="tuned")
    check_served(plan, room.store)
    room.keeps_an_answer(plan)
    room.server.models.append({"id": "tuned", "object": "model", "created": 1, "owned_by": "vllm", "root": "/srv/zhang/1"})
    check_served(plan, room.store)
    del room.server.models[1]
    check_served(plan, room.store)
    room.server.models.append({"id": "tuned", "object": "model", "created": 1, "owned_by": "vllm", "root": "/srv/zhang/2"})
    with pytest.raises(ValueError, match="says of tuned another root"):
        check_served(plan, room.store)
    assert "zhang" not in "".join(room.store.read(name).decode() for name in room.store.names("served"))


@pytest.mark.parametrize("silence", ["no list", "nothing telling", "unreachable", "nonsense", "a number"])
def test_a_server_that_says_nothing_is_believed(room: Room, silence: str) -> None:
    plan = room.plan()
    room.keeps_an_answer(plan)
    match silence:
        case "nothing telling":
            room.says()
        case "unreachable":
            plan = room.plan(base_url="http://127.0.0.1:9/v1")
        case "a number":
            room.server.models = 5  # type: ignore[assignment]
        case "nonsense":
            room.server.models[:] = ["m", {"id": None}, {"id": "m", "root": ""}]  # type: ignore[list-item]
    check_served(plan, room.store)
    assert room.store.names("served") == []
