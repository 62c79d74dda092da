"""Engines that misbehave as told, in place of models: what `codelib.evaluate` has to live with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from codelib.models.engine import Answer, Request


def says(text: str, **more: Any) -> Answer:
    return Answer(text, 10, 2, 0.1, **more)


class FakeEngine:
    """Answers by ``reply(request)`` (an Answer, or an exception that the stream raises there), last request first. Counts what it is asked."""

    def __init__(self, reply: Callable[[Request], Answer | BaseException]) -> None:
        self.reply = reply
        self.asked: Counter[tuple[str | None, str, tuple[str, ...]]] = Counter()
        self.batches: list[int] = []

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        self.batches.append(len(requests))
        for index in reversed(range(len(requests))):
            request = requests[index]
            self.asked[request.adapter, request.question.messages[-1].content, request.question.images] += 1
            answer = self.reply(request)
            if isinstance(answer, BaseException):
                raise answer
            yield index, answer
