"""From a conversation to tensors: the same path for a training example and for a question.

    Conversation ── chat template ── processor ──> Encoded(input_ids, labels, pixel_values, image_grid_thw)
                                                       └── collate (padding left for generation, right for training)

Labels stand on the answers only: from behind ``<|im_start|>assistant\\n`` up to and with ``<|im_end|>``. Real Qwen templates mark no
generation span, so the mask is found by scanning the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from codelib.models.conversation import Conversation
from codelib.models.prompt import MERGE, PixelPolicy, all_pixels, chat_messages

IGNORED = -100  # the label that torch's cross entropy passes over


@dataclass(frozen=True)
class Encoded:
    sample_id: str
    input_ids: torch.Tensor  # (tokens,) int64
    labels: torch.Tensor  # (tokens,) int64, IGNORED outside the answers
    token_types: torch.Tensor  # (tokens,) 1 on visual tokens
    pixel_values: torch.Tensor | None  # (patches, 1176) float32
    image_grid_thw: torch.Tensor | None  # (images, 3) int64: frames, rows and columns of patches
    image_features: torch.Tensor | None = (
        None  # (visual tokens, hidden): what the vision tower makes of the pixels, in their place
    )

    @property
    def num_answer_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())


def answer_labels(input_ids: Sequence[int], header: Sequence[int], end: int) -> list[int]:
    """Labels for ids: every span between ``header`` and ``end`` (included) keeps its ids, the rest is IGNORED.

    ``header`` stands for ``<|im_start|>assistant\\n``. ids ``[H, 7, 8, E, 9]`` with header ``[H]`` and end ``E`` -> ``[-100, 7, 8, E, -100]``
    """
    ids, header = list(input_ids), list(header)
    labels = [IGNORED] * len(ids)
    position = 0
    while position < len(ids):
        if ids[position : position + len(header)] != header:
            position += 1
            continue
        position += len(header)
        while position < len(ids):
            labels[position] = ids[position]
            position += 1
            if ids[position - 1] == end:
                break
    return labels


class Encoder:
    """Turns conversations into tensors for one model's processor under one pixel policy."""

    def __init__(self, processor: Any, policy: PixelPolicy) -> None:
        self.processor = processor
        self.policy = policy
        tokenizer = processor.tokenizer
        self.end_id: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.header_ids: list[int] = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_id

    def text(self, conversation: Conversation, *, ask: bool) -> str:
        """What the chat template makes of it; ``ask`` opens the assistant's turn."""
        return self.processor.apply_chat_template(chat_messages(conversation), tokenize=False, add_generation_prompt=ask)

    def num_text_tokens(self, conversation: Conversation) -> int:
        """Tokens of a training example without those of its pixels: its length is this plus the visual tokens, minus one
        placeholder for each image."""
        return len(self.processor.tokenizer(self.text(conversation, ask=False), add_special_tokens=False)["input_ids"])

    def _encode(self, conversation: Conversation, *, ask: bool, images: Sequence[Image.Image] | None = None) -> Encoded:
        images = list(all_pixels(conversation, self.policy) if images is None else images)
        # the pixels lie on the patch grid already: resizing again could only change them
        made = self.processor(
            text=[self.text(conversation, ask=ask)], images=images or None, do_resize=False, return_tensors="pt"
        )
        ids = made["input_ids"][0]
        types = made["mm_token_type_ids"][0] if "mm_token_type_ids" in made else torch.zeros_like(ids)
        labels = torch.full_like(ids, IGNORED)
        if not ask:
            labels = torch.tensor(answer_labels(ids.tolist(), self.header_ids, self.end_id))
        return Encoded(conversation.sample_id, ids, labels, types, made.get("pixel_values"), made.get("image_grid_thw"))

    def question(self, conversation: Conversation) -> Encoded:
        """A prompt, without its answer if it has one. Raises ValueError (ImageError) for what cannot be shown to a model."""
        has_answer = conversation.messages[-1].role == "assistant"
        return self._encode(conversation.prompt if has_answer else conversation, ask=True)

    def example(self, conversation: Conversation, images: Sequence[Image.Image] | None = None) -> Encoded:
        """A training example; ``images`` are its pixels under the policy, where the caller has them in memory already.

        Raises ValueError where an answer's tokens cannot be told from the prompt's, ImageError for an image that cannot be decoded.
        """
        return self._checked(conversation, self._encode(conversation, ask=False, images=images))

    def example_with_features(self, conversation: Conversation, features: torch.Tensor, grid: torch.Tensor) -> Encoded:
        """The same without pixels: ``features`` of all images (visual tokens, hidden) and their ``grid`` (images, 3) of patches."""
        tokenizer, image = self.processor.tokenizer, self.processor.image_token
        first, *texts = self.text(conversation, ask=False).split(image)
        # as the processor does it: one placeholder for each visual token
        counts = (grid.prod(-1) // MERGE**2).tolist()
        text = first + "".join(image * count + text for count, text in zip(counts, texts, strict=True))
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        types = (ids == self.processor.image_token_id).to(ids.dtype)
        labels = torch.tensor(answer_labels(ids.tolist(), self.header_ids, self.end_id))
        return self._checked(conversation, Encoded(conversation.sample_id, ids, labels, types, None, grid, features))

    def _checked(self, conversation: Conversation, encoded: Encoded) -> Encoded:
        answers = sum(message.role == "assistant" for message in conversation.messages)
        closed = int((encoded.labels == self.end_id).sum())
        if not answers or closed != answers:
            raise ValueError(
                f"{conversation.sample_id}: {answers} answers, but {closed} could be marked; an answer must not begin with a line break"
            )
        return encoded


def collate(encoded: Sequence[Encoded], pad_id: int, *, left: bool) -> dict[str, torch.Tensor]:
    """A padded batch as the model's forward takes it (``labels`` included)."""
    longest = max(len(one.input_ids) for one in encoded)

    def padded(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        batch = torch.full((len(tensors), longest), value, dtype=torch.int64)
        for row, tensor in zip(batch, tensors, strict=True):
            row[longest - len(tensor) if left else 0 :][: len(tensor)] = tensor
        return batch

    batch = {
        "input_ids": padded([one.input_ids for one in encoded], pad_id),
        "attention_mask": padded([torch.ones_like(one.input_ids) for one in encoded], 0),
        "mm_token_type_ids": padded([one.token_types for one in encoded], 0),
        "labels": padded([one.labels for one in encoded], IGNORED),
    }
    return batch | visual_inputs(encoded)


def visual_inputs(encoded: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Pixels, or features in their place, of all images of a batch, and the images' grids."""
    parts = {
        "pixel_values": [one.pixel_values for one in encoded if one.pixel_values is not None],
        "image_features": [one.image_features for one in encoded if one.image_features is not None],
        "image_grid_thw": [one.image_grid_thw for one in encoded if one.image_grid_thw is not None],
    }
    return {name: torch.cat(tensors) for name, tensors in parts.items() if tensors}
