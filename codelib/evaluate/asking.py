"""Putting many requests to somebody else's engine, whatever it does: each request gets exactly one answer.

requests ── engine.stream ──> answers as they come ──┬─ raised? the rest again, by a new engine; then one by one
                                                     └─ a number twice, out of range, never; no Answer: said, not believed
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

from codelib.models.engine import Answer, Engine, Request, failed

UNANSWERED = "NotAnswered"  # the engine ended without a word about this request
HOPELESS = frozenset({"APIConnectionError", "AuthenticationError"})
"""Errors that the next request will meet as well: after a row of them the rest of a partition is not tried. A module that a server has not
(NotFoundError) is none of them: the next request may be for another."""
_HOPELESS_ROW = 4
_MOST_RAISED = 3  # requests in a row, put one by one, at which an engine may raise before it is given up


class LoadFailed(RuntimeError):
    """A model did not load. ``error``: the class of what went wrong."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Asker:
    """Holds what makes engines: ``current`` gives the engine or raises LoadFailed, ``discard`` throws it away. An engine that raised may
    answer wrongly from then on (peft leaves its hooks behind), so the next question goes to a new one."""

    def __init__(self, current: Callable[[], Engine], discard: Callable[[], None]) -> None:
        self.current, self.discard = current, discard

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """(index, answer), each exactly once. Raises nothing of an engine."""
        left = dict(enumerate(requests))
        together, raised = True, 0  # raised: by how many requests in a row that were put one by one
        while left:
            try:
                engine = self.current()
            except LoadFailed as problem:
                yield from _all(left, problem.error)
                return
            numbers = list(left) if together else [next(iter(left))]
            before, last = len(left), deque[str | None](maxlen=_HOPELESS_ROW)
            error: str | None = None
            stream = _checked(engine, [requests[number] for number in numbers])
            for index, answer in stream:
                if index is None:
                    error = answer.error
                    break
                del left[numbers[index]]
                yield numbers[index], answer
                last.append(answer.error)
                if len(last) == _HOPELESS_ROW and len(set(last)) == 1 and answer.error in HOPELESS:
                    stream.close()
                    yield from _all(left, str(answer.error))
                    return
            if error is None:
                together, raised = True, 0
                continue
            self.discard()
            if together:
                together = len(left) < before
                continue
            del left[numbers[0]]
            yield numbers[0], failed(error)
            raised += 1
            if raised == _MOST_RAISED:
                yield from _all(left, error)
                return


def _all(left: dict[int, Request], error: str) -> Iterator[tuple[int, Answer]]:
    for number in left:
        yield number, failed(error)


def _checked(engine: Engine, requests: Sequence[Request]) -> Generator[tuple[int | None, Answer]]:
    """What the stream says, as far as it keeps the contract. An exception of the engine comes last, as the answer of nobody."""
    open_requests = set(range(len(requests)))
    try:  # wide, because it is somebody else's code: whatever a model does, the other questions go on
        for index, answer in engine.stream(requests):
            if index in open_requests and isinstance(answer, Answer):
                open_requests.remove(index)
                yield index, _readable(answer)
    except Exception as error:
        yield None, failed(error)
        return
    for index in sorted(open_requests):
        yield index, failed(UNANSWERED)


def _readable(answer: Answer) -> Answer:
    """Without half characters, which no file and no table takes (a byte-level tokeniser or a server may leave one)."""
    if not isinstance(answer.text, str):
        return failed("NotText")
    text = answer.text.encode("utf-8", "replace").decode()
    return answer if text == answer.text else Answer(**{**vars(answer), "text": text})
