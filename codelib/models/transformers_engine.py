"""The engine that answers with a Qwen2.5-VL on this machine: requests of many variants in one model.

requests ─┬─ encode: sizes and text; what cannot be asked becomes an Answer with its error, before the model is touched
          ├─ the same question under the same weights is asked once
          ├─ order: what begins alike together, long answers first, a visit's questions under all adapters side by side
          └─ Decoder (images once, shared beginnings once, rows of all adapters in one batch) ──> answers as they finish
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codelib.models.choosing import Chooser
from codelib.models.decoder import Decoder
from codelib.models.encoding import Encoder
from codelib.models.engine import Answer, Request, failed
from codelib.models.loading import load_base, load_processor
from codelib.models.lora_rows import AdapterError, LoraRows
from codelib.models.packing import rope_positions
from codelib.models.prefixes import shared
from codelib.models.prompt import PixelPolicy, no_control
from codelib.models.rows import Prompt
from codelib.models.sight import Seen, Sight

MIB = 2**20
_FAMILY_ROWS, _FAMILY_TOKENS = 4, 256


class PromptTooLong(ValueError):
    """Prompt and answer together exceed the model's window."""


class TransformersEngine:
    """One base model on one device, loaded once; LoRA adapters are read as requests name them.

    Args:
        model: hub id or folder of a Qwen2.5-VL.
        batch_size: most requests answered at once; None: 128 on a GPU, where a step costs the same for many rows as for few and what
            does not fit into memory is halved by itself; on a CPU what `_rows_on_cpu` finds room for.
        dtype, device: see `codelib.models.loading.load_base`.
        tokens_per_forward: most prompt tokens computed together; None: 16,384 on a GPU, 2,048 on a CPU, where more only wait for memory.
        patch_bytes: of decoded images kept on the host.
        feature_bytes: of what the vision tower made of them, kept on the device.

    Raises ValueError where the model is not to be had.
    """

    def __init__(
        self,
        model: str | Path,
        batch_size: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        tokens_per_forward: int | None = None,
        patch_bytes: int = 256 * MIB,
        feature_bytes: int = 1024 * MIB,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.encoder = Encoder(load_processor(str(model)), PixelPolicy())
        self.model = load_base(str(model), dtype, device, attention="sdpa").eval()
        if self.model.model.language_model.has_sliding_layers:
            raise ValueError(f"model {model}: some of its blocks attend through a sliding window, which this engine does not do")
        self.lora = LoraRows(str(model), self.model)
        on_cpu = self.model.device.type == "cpu"
        self.sight = Sight(self.encoder, self.lora, patch_bytes, feature_bytes, threads=0 if on_cpu else 4)
        tokens = tokens_per_forward or (2048 if on_cpu else 16384)
        ends = frozenset({self.encoder.end_id, self.encoder.pad_id})
        self.decoder = Decoder(self.lora, self.sight, batch_size or (_rows_on_cpu(self.model) if on_cpu else 128), tokens, ends)
        self._one_at_a_time = threading.Lock()

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `codelib.models.engine.Engine`. One stream at a time; a second waits for the first to end."""
        with self._one_at_a_time:
            same: dict[Any, list[int]] = {}
            for index, request in enumerate(requests):
                same.setdefault(_identity(request), []).append(index)
            unfit = self._adapters({request.adapter for request in requests if request.adapter})
            prompts = []
            for indices in same.values():
                request = requests[indices[0]]
                try:
                    if request.adapter in unfit:
                        raise unfit[request.adapter]
                    prompts.append(self._prompt(request, indices[0]))
                except ValueError as error:  # a missing image, a control token, too long, an adapter: this question alone fails
                    yield from ((index, failed(error)) for index in indices)
            twins = {indices[0]: indices for indices in same.values()}
            for prompt in self.decoder.run(_ordered(prompts)):
                indices = twins[prompt.number]
                answer = self._answer(prompt)
                answer = replace(answer, latency_s=answer.latency_s / len(indices))
                yield from ((index, answer) for index in indices)

    def _adapters(self, folders: set[str]) -> dict[str | None, AdapterError]:
        """Let these stand beside the model; the ones that cannot, with the reason."""
        unfit: dict[str | None, AdapterError] = {}
        for folder in sorted(folders):
            try:
                self.lora.load(folder)
            except AdapterError as error:
                unfit[folder] = error
        self.lora.use([folder for folder in sorted(folders) if folder not in unfit])
        return unfit

    def _prompt(self, request: Request, number: int) -> Prompt:
        """Raises ValueError for what cannot be asked."""
        question = request.question
        images = [self.sight.find(path, request.pixels) for path in question.images]
        tokens = self.encoder.asked(question, [image.visual_tokens for image in images])
        window = self.model.config.text_config.max_position_embeddings
        if len(tokens.input_ids) + request.max_new_tokens > window:
            visual = sum(tokens.visual_tokens)
            raise PromptTooLong(
                f"{question.sample_id}: {len(tokens.input_ids)} tokens ({visual} visual) and up to {request.max_new_tokens} of the answer; "
                f"the model's window is {window}. Lower max_pixels, or show fewer images"
            )
        encoded = self.encoder.worded(question.sample_id, tokens)
        encoded = replace(encoded, image_grid_thw=torch.tensor([image.grid for image in images]) if images else None)
        adapter = self.lora.load(request.adapter) if request.adapter else None
        return Prompt(
            number,
            encoded.input_ids,
            rope_positions(encoded)[1:],
            tuple(
                (start, end, image) for (start, end), image in zip(self._spans(encoded.input_ids, images), images, strict=True)
            ),
            request.max_new_tokens,
            Chooser(request.decoding, question.sample_id),
            request.adapter,
            request.adapter if adapter and adapter.sees else None,
            tuple(self._choice(choice) for choice in request.choices),
        )

    def _spans(self, ids: torch.Tensor, images: Sequence[Seen]) -> list[tuple[int, int]]:
        places = (ids == self.encoder.image_id).nonzero()[:, 0].tolist()
        spans, seen = [], 0
        for image in images:
            spans.append((places[seen], places[seen] + image.visual_tokens))
            seen += image.visual_tokens
        return spans

    def _choice(self, text: str) -> tuple[int, ...]:
        no_control(text, "choices")
        return (*self.encoder.processor.tokenizer(text, add_special_tokens=False)["input_ids"], self.encoder.end_id)

    def _answer(self, prompt: Prompt) -> Answer:
        if prompt.error:
            return replace(failed(prompt.error), latency_s=prompt.seconds)
        ended = prompt.said[-1] in self.decoder.ends
        text = self.encoder.processor.tokenizer.decode(prompt.said[:-1] if ended else prompt.said, skip_special_tokens=True)
        return Answer(
            text,
            len(prompt.ids),
            len(prompt.said),
            prompt.seconds,
            cut=not ended,
            log_likelihoods=tuple(prompt.weights),
        )


def _rows_on_cpu(model: Any) -> int:
    """4 to 64 rows of 4,096 columns in 4 GiB: a system that runs out of memory kills, so it is not tried."""
    config = model.config.text_config
    channels = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    column = 2 * config.num_hidden_layers * config.num_key_value_heads * channels * model.dtype.itemsize
    return int(min(64, max(4, 4 * 1024 * MIB // (4096 * column))))


def _identity(request: Request) -> Any:
    """Equal for requests whose answers are equal."""
    question, decoding = request.question, request.decoding
    drawn = question.sample_id if decoding.temperature > 0 else None
    asked = (question.messages, question.images, request.pixels, request.adapter)
    return (*asked, request.max_new_tokens, request.choices, decoding, drawn)


def _ordered(prompts: Sequence[Prompt]) -> list[Prompt]:
    """With what they share (under the same weights) marked, in the order in which they are taken in.

    Long answers first, so that short ones fill the slots of those that end; then long prompts, so that rows of a batch are of like length; the
    questions about the same images under all adapters side by side, while the images' features are at hand.
    """
    numbers: dict[Seen, int] = {}
    groups: dict[str | None, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.adapter, []).append(prompt)
    branches: list[list[Prompt]] = []
    for group in groups.values():
        tree = shared([_by_image(prompt, numbers) for prompt in group])
        for index, piece in tree.piece.items():
            group[index].piece = piece
        _families(group)
        branches += [sorted((group[i] for i in branch), key=lambda one: -one.max_new_tokens) for branch in tree.branches]

    def place(branch: list[Prompt]) -> tuple[Any, ...]:
        longest = max(branch, key=lambda one: len(one.ids))
        images = [numbers[image] for _, _, image in longest.images]
        return -branch[0].max_new_tokens, -len(longest.ids), images, branch[0].number

    return [prompt for branch in sorted(branches, key=place) for prompt in branch]


def _families(group: Sequence[Prompt]) -> None:
    """The longest beginning that enough prompts have in common to be read for all of them at once while they answer."""
    builds = Counter(piece for prompt in group if prompt.piece for piece in prompt.piece.chain)
    for prompt in group:
        pieces = reversed(prompt.piece.chain) if prompt.piece else ()
        prompt.family = next((one for one in pieces if builds[one] >= _FAMILY_ROWS and one.end >= _FAMILY_TOKENS), None)


def _by_image(prompt: Prompt, numbers: dict[Seen, int]) -> np.ndarray:
    """The ids, those of an image's tokens replaced by a number of the image's own."""
    ids = prompt.ids.numpy().copy()
    for start, end, image in prompt.images:
        ids[start:end] = -1 - numbers.setdefault(image, len(numbers))
    return ids
