"""What is sent for a few texts, and what is made of the answer: the same for requests sent now and for lines of a batch.

A `Task` is what `translate_online` asks about: texts to be translated here, unknown diagnoses in `annotate_ask`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from codelib.data.translate_budget import TokenEstimate
from codelib.data.translate_checks import check, is_refusal
from codelib.data.translate_prompt import answer_schema, messages, read_answer
from codelib.data.translate_texts import Text
from codelib.models.remote_client import Reply


@dataclass(frozen=True)
class Sent:
    """A request as it is sent: names for its texts, its messages, and a guess of its tokens."""

    texts: dict[str, Text]
    messages: list[dict[str, str]]
    guess: tuple[float, float]
    schema: dict[str, Any] = field(default_factory=dict)  # the form of the answer, as json_schema wants it

    @property
    def max_tokens(self) -> int:
        """Room for a long answer; servers count it against the limit, so not more than that."""
        return int(2 * self.guess[1] + 200)


def compose(texts: Iterable[Text], estimate: TokenEstimate) -> Sent:
    named = {f"t{i}": text for i, text in enumerate(texts, 1)}
    failed = {name: text.failed for name, text in named.items() if text.failed}
    made = messages({name: text.chinese for name, text in named.items()}, failed)
    chars = sum(len(text.chinese) for text in named.values())
    guess = estimate.of("".join(m["content"] for m in made), chars, len(named))
    return Sent(named, made, guess, answer_schema(list(named)))


@dataclass(frozen=True)
class Judged:
    """What came for a text: English and the checks that it fails; None where all of a request was refused."""

    text: Text
    english: str | None
    failed: tuple[str, ...]


def judge(sent: Sent, reply: Reply) -> list[Judged] | None:
    """None where it cannot be read at all. Of a text that the answer left out there is nothing in the list."""
    if reply.content is None and not reply.refused:
        return None
    given = read_answer(reply.content, list(sent.texts)) if reply.content and not reply.refused else None
    if given is None:
        refused = reply.refused or is_refusal(reply.content or "")
        return [Judged(text, None, ("refusal",)) for text in sent.texts.values()] if refused else None
    return [Judged(sent.texts[name], english, tuple(check(sent.texts[name].chinese, english))) for name, english in given.items()]


class Task(Protocol):
    """How a server is asked, and what counts as an answer."""

    @property
    def place(self) -> str:
        """The settings that it is asked by, for messages."""
        ...

    @property
    def harmless(self) -> str:
        """A text that any server can do: asked for to tell a text that one cannot do from a server that does nothing."""
        ...

    def compose(self, texts: Iterable[Text], estimate: TokenEstimate) -> Sent: ...

    def judge(self, sent: Sent, reply: Reply) -> list[Judged] | None: ...


@dataclass(frozen=True)
class Translation:
    place: str = "translate"
    harmless: str = "龋病"

    def compose(self, texts: Iterable[Text], estimate: TokenEstimate) -> Sent:
        return compose(texts, estimate)

    def judge(self, sent: Sent, reply: Reply) -> list[Judged] | None:
        return judge(sent, reply)
