"""Each request gets exactly one answer, whatever the engine does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codelib.evaluate.asking import Asker, LoadFailed
from codelib.models.conversation import Conversation, Message
from codelib.models.engine import Answer, Request, failed
from tests.engines import FakeEngine, says


def requests(count: int) -> list[Request]:
    return [Request(Conversation(str(n), (Message("user", str(n)),), ()), 8) for n in range(count)]


def number(request: Request) -> int:
    return int(request.question.messages[-1].content)


def ask(engine: Any, count: int) -> dict[int, Answer]:
    found = list(Asker(lambda: engine, lambda: None).ask(requests(count)))
    assert len(found) == len(dict(found)) == count
    return dict(found)


def test_answers_come_as_they_are_made() -> None:
    engine = FakeEngine(lambda request: says(f"to {number(request)}"))
    stream = Asker(lambda: engine, lambda: None).ask(requests(3))
    assert next(stream) == (2, says("to 2"))
    assert engine.asked.total() == 1  # the others were not waited for
    assert dict(stream) == {0: says("to 0"), 1: says("to 1")}


@given(st.sets(st.integers(0, 19)))
def test_requests_at_which_an_engine_raises_take_no_other_down(bad: set[int]) -> None:
    def reply(request: Request) -> Answer | BaseException:
        return RuntimeError("words of the prompt") if number(request) in bad else says("yes")

    answers = ask(FakeEngine(reply), 20)
    assert all(answers[n].error in (None, "RuntimeError") for n in range(20))
    if len(bad) <= 2:  # three in a row are an engine that is broken
        assert {n for n in answers if answers[n].error} == bad


def test_an_engine_that_always_raises_is_given_up_soon() -> None:
    engine = FakeEngine(lambda request: RuntimeError())
    assert {answer.error for answer in ask(engine, 500).values()} == {"RuntimeError"}
    assert engine.asked.total() <= 5


def test_after_an_exception_the_questions_go_to_a_new_engine() -> None:
    made: list[FakeEngine] = []

    def current() -> FakeEngine:
        if not made or made[-1] is discarded[-1]:
            made.append(FakeEngine(lambda request: RuntimeError() if len(made) == 1 and number(request) == 1 else says("x")))
        return made[-1]

    discarded: list[Any] = [None]
    answers = dict(Asker(current, lambda: discarded.append(made[-1])).ask(requests(4)))
    assert all(answer.error is None for answer in answers.values())
    assert len(made) == 2
    assert made[1].asked.total() == 2  # what the first had answered is not asked again


def test_a_model_that_does_not_load_answers_with_its_class() -> None:
    def current() -> FakeEngine:
        raise LoadFailed("ModelNotFound")

    assert [answer.error for _, answer in Asker(current, lambda: None).ask(requests(2))] == ["ModelNotFound"] * 2


class Garbage:
    """Numbers twice and out of range, things that are no answers, half characters, and no word about request 0."""

    def stream(self, given: Sequence[Request]) -> Iterator[tuple[Any, Any]]:
        yield 1, says("first")
        yield 1, says("second")
        yield 99, says("of nobody")
        yield -1, says("of nobody")
        yield None, says("of nobody")
        yield 2, "no answer"
        yield 2, says("half \ud83d")
        yield 3, Answer(None, 1, 1, 0.1)  # type: ignore[arg-type]


def test_garbage_is_not_believed() -> None:
    answers = ask(Garbage(), 4)
    assert answers[0] == failed("NotAnswered")
    assert answers[1].text == "first"
    assert answers[2].text == "half ?"
    assert answers[3].error == "NotText"


def test_what_is_no_pair_is_an_exception() -> None:
    class Odd:
        def stream(self, given: Sequence[Request]) -> Iterator[Any]:
            yield 7

    assert {answer.error for answer in ask(Odd(), 3).values()} == {"TypeError"}


def test_a_server_that_is_down_is_not_asked_all_questions() -> None:
    engine = FakeEngine(lambda request: failed("APIConnectionError"))
    assert {answer.error for answer in ask(engine, 300).values()} == {"APIConnectionError"}
    assert engine.asked.total() < 10


def test_errors_of_single_requests_are_no_reason_to_stop() -> None:
    engine = FakeEngine(lambda request: failed("BadRequestError") if number(request) % 2 else says("x"))
    assert sum(answer.error is not None for answer in ask(engine, 40).values()) == 20
