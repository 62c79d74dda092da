"""What every model engine is: something that answers requests, each as soon as it is done.

    Request (a conversation, an answer length, a LoRA adapter, a way of decoding) ── Engine.stream ──> (number of the request, Answer)

Engines: `codelib.models.transformers_engine` (a model on this cluster) and `codelib.models.openai_engine` (any compatible server).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from codelib.models.conversation import Conversation
from codelib.models.prompt import PixelPolicy


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen. The default is greedy: what a benchmark wants.

    ``temperature`` 0 is greedy and ``top_p`` and ``seed`` mean nothing then; ``repetition_penalty`` is that of Keskar et al., arXiv 1909.05858.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1 and 0 < self.repetition_penalty < math.inf):
            raise ValueError(
                f"temperature={self.temperature}, top_p={self.top_p}, repetition_penalty={self.repetition_penalty}: "
                "needed 0 <= temperature, 0 < top_p <= 1, 0 < repetition_penalty"
            )


@dataclass(frozen=True)
class Request:
    """What is asked of a model. An answer at the end of ``prompt`` is taken off before it is asked."""

    prompt: Conversation
    max_new_tokens: int
    adapter: str | None = None  # folder of a LoRA adapter; None: the bare model
    pixels: PixelPolicy = field(default_factory=PixelPolicy)
    choices: tuple[str, ...] = ()  # answers to be weighed by their likelihood as well
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}: at least 1")

    @property
    def question(self) -> Conversation:
        return self.prompt.prompt if self.prompt.messages[-1].role == "assistant" else self.prompt


@dataclass(frozen=True)
class Answer:
    text: str
    prompt_tokens: int  # text and visual tokens
    completion_tokens: int
    latency_s: float  # wall time; where a batch shares a model, this request's share of it
    error: str | None = None  # class of what went wrong, never its values; text is "" then
    cut: bool = False  # it ended at max_new_tokens, not by itself
    log_likelihoods: tuple[float, ...] = ()  # of each of ``choices``: mean log probability of its tokens, the end token included
    usd: float | None = None  # what it cost, where the price is known


class Engine(Protocol):
    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """(index of the request, its answer), each exactly once, as it is finished, in any order.

        A request that fails has an answer with ``error`` set; the others are answered. Raises nothing of a single request.
        """
        ...


def failed(error: BaseException | str) -> Answer:
    """An answer that is none: the class of what went wrong, never its words (they may quote the prompt)."""
    return Answer("", 0, 0, 0.0, error=error if isinstance(error, str) else type(error).__name__)


def answer_all(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """The answers in the order of the requests."""
    answers: dict[int, Answer] = {}
    for index, answer in engine.stream(requests):
        assert index not in answers, f"request {index} was answered twice"
        answers[index] = answer
    return [answers[index] for index in range(len(requests))]
