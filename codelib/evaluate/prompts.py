"""The exact words of each way of asking: what a reader needs to ask another model the same.

    plan + variants  ->  prompts(...)  ->  [{"benchmark", "variants": ["base", "tuned"], "text"}]

Shown is the first question of the test set as it is asked, roles, placeholders, line breaks and worked examples included. What a model's own
chat template puts around it is the model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Message


def written(messages: Iterable[Message]) -> str:
    """A conversation as text, each message under its role."""
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)


def prompts(shown: Sequence[Variant], questions: Mapping[tuple[str, str], Sequence[Sample]]) -> list[dict[str, Any]]:
    """questions: (variant, benchmark) -> samples as that variant is asked them. Variants that are asked the same stand together."""
    found: dict[tuple[str, str], list[str]] = {}
    for (name, benchmark), samples in questions.items():
        if samples and any(variant.name == name for variant in shown):
            found.setdefault((benchmark, written(samples[0].messages)), []).append(name)
    return [{"benchmark": benchmark, "variants": names, "text": text} for (benchmark, text), names in found.items()]
