"""Samples that are longer than a run allows: what is over, and how images are left out of a conversation.

    conversation, tokens ── over the cut-off, or over the budget of visual tokens? ── fewer images, or a reason

A placeholder is never cut: an image leaves together with its line of the text. Which images leave is drawn by the run's seed and the sample,
so that not always the photographs (which stand last) are lost; the kept ones stay in their order, and their lines are numbered as if
there had been no others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from codelib.models.conversation import IMAGE, Conversation, Message
from codelib.models.encoding import Encoder, Tokens

Policy = Literal["reject", "drop_images"]
_LABEL_CHARS = 24  # "image-12: <image>" is a label; a sentence with an image in it is not


@dataclass(frozen=True)
class Budget:
    cut_off: int  # tokens of a sample, text and visual
    visual: int | None  # visual tokens of a sample, summed over its images
    policy: Policy
    seed: int

    def too_many(self, visual: int, text: int) -> bool:
        return visual > (visual if self.visual is None else self.visual) or visual + text > self.cut_off

    def over(self, tokens: Tokens) -> tuple[str, str] | None:
        """Reason and detail, where a sample may not stay as it is."""
        visual = sum(tokens.visual_tokens)
        text = len(tokens.input_ids) - visual
        said = f"{visual} visual and {text} text tokens"
        if tokens.num_answer_tokens > self.cut_off:
            return "train:answer_too_long", f"the answer has {tokens.num_answer_tokens} tokens, cut-off {self.cut_off}"
        if self.visual is not None and visual > self.visual:
            return "train:visual_budget", f"{said}, visual budget {self.visual}"
        if visual + text > self.cut_off:
            return "train:too_long", f"{said}, cut-off {self.cut_off}"
        return None


def fitted(
    conversation: Conversation, visual: Sequence[int], encoder: Encoder, budget: Budget
) -> tuple[Tokens, list[int], tuple[str, str] | None]:
    """Tokens of the conversation, the places of its images that stay, and reason and detail where it still is over the budget.

    visual: the visual tokens of each image. Raises ValueError as ``encoder.tokens`` does.
    """
    kept = list(range(len(visual)))
    tokens = encoder.tokens(conversation, visual)
    over = budget.over(tokens)
    leaving = _order(conversation, budget.seed) if budget.policy == "drop_images" else []
    # text alone that is too long stays too long; with one image left it is no longer a conversation about a visit's images
    while over is not None and len(kept) > 1 and over[0] != "train:answer_too_long":
        if not leaving:
            return tokens, kept, over
        kept.remove(leaving.pop())
        # words are counted again only when the pixels alone would fit
        while len(kept) > 1 and budget.too_many(sum(visual[place] for place in kept), tokens.num_answer_tokens):
            kept.remove(leaving.pop())
        tokens = encoder.tokens(with_images(conversation, kept), [visual[place] for place in kept])
        over = budget.over(tokens)
    return tokens, kept, over


def _order(conversation: Conversation, seed: int) -> list[int]:
    """The images' places in the order that the seed draws for this sample; images leave from its end."""
    return sorted(
        range(len(conversation.images)),
        key=lambda place: hashlib.sha256(f"{seed}/{conversation.sample_id}/{place}".encode()).hexdigest(),
    )


def with_images(conversation: Conversation, kept: Sequence[int]) -> Conversation:
    """The conversation with these images alone (places, ascending); each other one leaves with its placeholder and its label.

    Where all labels are alike but for their numbers the last ones leave, whichever images do:
    ``image-1: <image> image-2: <image>`` without the first is ``image-1: <image>``.
    """
    slots = [slot for message in conversation.messages for slot in _slots(message.content)]
    labels = {re.sub(r"\d+", "", slot) for slot in slots}
    stay = set(range(len(kept))) if len(labels) == 1 else set(kept)
    messages, number = [], 0
    for message in conversation.messages:
        parts, text = [], message.content
        for slot in _slots(text):
            before, text = text.split(slot, 1)
            parts += [before, slot if number in stay else ""]
            number += 1
        messages.append(Message(message.role, "".join([*parts, text])))
    return replace(conversation, messages=tuple(messages), images=tuple(conversation.images[place] for place in kept))


def _slots(text: str) -> list[str]:
    """What leaves with each image: its whole line where that is a short label and the placeholder, else the placeholder."""
    slots: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.count(IMAGE) == 1 and line.rstrip().endswith(IMAGE) and len(line) <= _LABEL_CHARS + len(IMAGE):
            slots.append(line)
        else:
            slots += [IMAGE] * line.count(IMAGE)
    return slots
