"""From a conversation to tensors: the same path for a training example and for a question.

    Conversation ─┬─ chat template, tokenizer, sizes of images ──> Tokens ─┬─> Encoded ── collate (padding left for generation, right
                  └─ pixels under the policy ──> patches ──────────────────┘              for training) or codelib.models.packing.pack

Tokens need no pixel, so training makes them beforehand; the patches are made when they are needed. Together they are what upstream's processor
makes of both at once (a test holds them to it).

Labels stand on the answers only: from behind ``<|im_start|>assistant\\n`` up to and with ``<|im_end|>``. Real Qwen templates mark no
generation span, so the mask is found by scanning the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from codelib.models.conversation import Conversation
from codelib.models.prompt import GRID_PX, PixelPolicy, all_pixels, chat_messages

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


class UnmarkedAnswer(ValueError):
    """An answer whose tokens cannot be told from the prompt's."""


@dataclass(frozen=True)
class Tokens:
    """A training example without its pixels: everything that can be known from text and sizes."""

    input_ids: tuple[int, ...]  # every visual token has its place already
    answers: tuple[tuple[int, int], ...]  # [start, end) of each answer in input_ids, its <|im_end|> included
    visual_tokens: tuple[int, ...]  # of each image

    @property
    def num_answer_tokens(self) -> int:
        return sum(end - start for start, end in self.answers)


def answer_spans(input_ids: Sequence[int], header: Sequence[int], end: int) -> list[tuple[int, int]]:
    """[start, end) of every answer: what stands between ``header`` and ``end``, the latter included.

    ``header`` stands for ``<|im_start|>assistant\n``. ids ``[H, 7, 8, E, 9]`` with header ``[H]`` and end ``E`` -> ``[(1, 4)]``
    """
    ids, header = list(input_ids), list(header)
    spans: list[tuple[int, int]] = []
    position = 0
    while position < len(ids):
        if ids[position : position + len(header)] != header:
            position += 1
            continue
        start = position + len(header)
        position = ids.index(end, start) + 1 if end in ids[start:] else len(ids)
        spans.append((start, position))
    return spans


class Encoder:
    """Turns conversations into tensors for one model's processor under one pixel policy."""

    def __init__(self, processor: Any, policy: PixelPolicy) -> None:
        self.processor = processor
        self.policy = policy
        tokenizer = processor.tokenizer
        self.image_id: int = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.end_id: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.header_ids: list[int] = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_id

    def text(self, conversation: Conversation, *, ask: bool) -> str:
        """What the chat template makes of it; ``ask`` opens the assistant's turn."""
        return self.processor.apply_chat_template(chat_messages(conversation), tokenize=False, add_generation_prompt=ask)

    def tokens(self, conversation: Conversation, visual: Sequence[int]) -> Tokens:
        """Ids and answers of a training example; ``visual``: the visual tokens of each of its images.

        Raises ValueError where a text holds a control token, UnmarkedAnswer.
        """
        ids = self._ids(self.text(conversation, ask=False), visual)
        spans = answer_spans(ids, self.header_ids, self.end_id)
        answers = sum(message.role == "assistant" for message in conversation.messages)
        closed = sum(ids[start:end].count(self.end_id) for start, end in spans)
        if not answers or closed != answers:
            raise UnmarkedAnswer(
                f"{conversation.sample_id}: {answers} answers, but {closed} could be marked; an answer must not begin with a line break"
            )
        return Tokens(tuple(ids), tuple(spans), tuple(visual))

    def _ids(self, text: str, visual: Sequence[int]) -> list[int]:
        """Token ids, each image's one placeholder repeated for all its tokens."""
        ids: list[int] = []
        following = iter(visual)
        for number in self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]:
            ids += [number] * (next(following) if number == self.image_id else 1)
        return ids

    def patches(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """pixel_values and image_grid_thw of images that lie on the patch grid already: resizing again could only change them."""
        if not images:
            return None, None
        made = self.processor.image_processor(list(images), do_resize=False, return_tensors="pt")
        return made["pixel_values"], made["image_grid_thw"]

    def worded(self, sample_id: str, tokens: Tokens) -> Encoded:
        """Tokens alone, without what their images show."""
        ids = torch.tensor(tokens.input_ids)
        labels = torch.full_like(ids, IGNORED)
        for start, end in tokens.answers:
            labels[start:end] = ids[start:end]
        return Encoded(sample_id, ids, labels, (ids == self.image_id).long(), None, None)

    def encoded(self, sample_id: str, tokens: Tokens, images: Sequence[Image.Image]) -> Encoded:
        """Tokens and pixels (under the policy) put together."""
        pixels, grid = self.patches(images)
        return replace(self.worded(sample_id, tokens), pixel_values=pixels, image_grid_thw=grid)

    def question(self, conversation: Conversation) -> Encoded:
        """A prompt, without its answer if it has one. Raises ValueError (ImageError) for what cannot be shown to a model."""
        has_answer = conversation.messages[-1].role == "assistant"
        asked = conversation.prompt if has_answer else conversation
        images = all_pixels(asked, self.policy)
        return self.encoded(asked.sample_id, self.asked(asked, [_on_grid(image) for image in images]), images)

    def asked(self, question: Conversation, visual: Sequence[int]) -> Tokens:
        """Ids of a prompt without an answer; ``visual``: the visual tokens of each of its images. Raises ValueError for a control token."""
        return Tokens(tuple(self._ids(self.text(question, ask=True), visual)), (), tuple(visual))

    def example(self, conversation: Conversation, images: Sequence[Image.Image] | None = None) -> Encoded:
        """A training example; ``images`` are its pixels under the policy, where the caller has them in memory already.

        Raises ValueError where an answer's tokens cannot be told from the prompt's, ImageError for an image that cannot be decoded.
        """
        images = all_pixels(conversation, self.policy) if images is None else images
        return self.encoded(conversation.sample_id, self.tokens(conversation, [_on_grid(image) for image in images]), images)


def _on_grid(image: Image.Image) -> int:
    """Visual tokens of an image under the policy."""
    return (image.width // GRID_PX) * (image.height // GRID_PX)


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
