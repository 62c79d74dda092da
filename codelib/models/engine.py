"""What every model engine is: something that answers conversations.

Engines: `codelib.models.transformers_engine` (a model on this cluster) and `codelib.models.openai_engine` (any compatible server).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from codelib.models.conversation import Conversation


@dataclass(frozen=True)
class Answer:
    text: str
    prompt_tokens: int  # text and visual tokens
    completion_tokens: int
    latency_s: float  # wall time of the batch divided by its size
    error: str | None = None  # class of what went wrong, never its values; text is "" then


class Engine(Protocol):
    def answer(self, prompts: Sequence[Conversation], *, max_new_tokens: int) -> list[Answer]:
        """One answer for each prompt, in order. A prompt that fails has ``error`` set; the others are answered."""
        ...
