"""What is sent for a few texts, and what is made of the answer: the same for requests sent now and for lines of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codelib.data.translate_budget import TokenEstimate
from codelib.data.translate_checks import check, is_refusal
from codelib.data.translate_client import Reply
from codelib.data.translate_prompt import messages, read_answer
from codelib.data.translate_texts import Text


@dataclass(frozen=True)
class Sent:
    """A request as it is sent: names for its texts, its messages, and a guess of its tokens."""

    texts: dict[str, Text]
    messages: list[dict[str, str]]
    guess: tuple[float, float]

    @property
    def max_tokens(self) -> int:
        """Room for a long answer; servers count it against the limit, so not more than that."""
        return int(2 * self.guess[1] + 200)


def compose(texts: Iterable[Text], estimate: TokenEstimate) -> Sent:
    named = {f"t{i}": text for i, text in enumerate(texts, 1)}
    failed = {name: text.failed for name, text in named.items() if text.failed}
    made = messages({name: text.chinese for name, text in named.items()}, failed)
    chars = sum(len(text.chinese) for text in named.values())
    return Sent(named, made, estimate.of("".join(m["content"] for m in made), chars, len(named)))


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
