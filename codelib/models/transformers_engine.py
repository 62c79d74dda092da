"""The engine that answers with a Qwen2.5-VL on this machine: batches of similar length, padded left, greedy.

prompts ── encode (a bad one becomes an Answer with its error) ── sort by length ── batches ── generate ──> answers in order
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from codelib.models.conversation import Conversation
from codelib.models.encoding import Encoded, Encoder, collate
from codelib.models.engine import Answer
from codelib.models.loading import load_model, load_processor
from codelib.models.prompt import PixelPolicy


def failed(error: BaseException) -> Answer:
    """An answer that is none: the class of what went wrong, never its words (they may quote the prompt)."""
    return Answer("", 0, 0, 0.0, error=type(error).__name__)


class TransformersEngine:
    """One model, loaded once, answering on one device.

    Args:
        model: hub id or folder of a Qwen2.5-VL.
        adapter: folder of a LoRA adapter for it.
        pixels: how many pixels it may see of each image.
        batch_size: prompts generated together.
        dtype, device: see `codelib.models.loading.load_model`.
    """

    def __init__(
        self,
        model: str | Path,
        adapter: str | Path | None = None,
        pixels: PixelPolicy | None = None,
        batch_size: int = 4,
        dtype: str = "auto",
        device: str = "auto",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.encoder = Encoder(load_processor(str(model)), pixels or PixelPolicy())
        self.model = load_model(str(model), adapter, dtype, device)
        self.batch_size = batch_size

    def answer(self, prompts: Sequence[Conversation], *, max_new_tokens: int) -> list[Answer]:
        answers: list[Answer | None] = [None] * len(prompts)
        encoded: dict[int, Encoded] = {}
        for index, prompt in enumerate(prompts):
            try:
                encoded[index] = self.encoder.question(prompt)
            except ValueError as error:  # a missing image, a control token in the text: this prompt alone fails
                answers[index] = failed(error)
        # longest first: a batch that does not fit is met at once, and padding stays short
        order = sorted(encoded, key=lambda index: (-len(encoded[index].input_ids), index))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            for index, answer in zip(batch, self._generate([encoded[i] for i in batch], max_new_tokens), strict=True):
                answers[index] = answer
        assert all(answer is not None for answer in answers)
        return [answer for answer in answers if answer is not None]

    def _generate(self, batch: list[Encoded], max_new_tokens: int) -> list[Answer]:
        import torch
        from transformers import GenerationConfig

        began = time.monotonic()
        inputs = collate(batch, self.encoder.pad_id, left=True)
        del inputs["labels"]
        width = inputs["input_ids"].shape[1]
        # a configuration of our own: the released one samples, and benchmarks must not
        greedy = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=self.encoder.end_id,
            pad_token_id=self.encoder.pad_id,
        )
        device = self.model.device
        with torch.inference_mode():
            output = self.model.generate(**{name: tensor.to(device) for name, tensor in inputs.items()}, generation_config=greedy)
        elapsed_s = (time.monotonic() - began) / len(batch)
        return [self._answer(one, output[row, width:].tolist(), elapsed_s) for row, one in enumerate(batch)]

    def _answer(self, encoded: Encoded, ids: list[int], elapsed_s: float) -> Answer:
        if self.encoder.end_id in ids:
            ids = ids[: ids.index(self.encoder.end_id)]
            completion = len(ids) + 1
        else:
            completion = len(ids)
        text = self.encoder.processor.tokenizer.decode(ids, skip_special_tokens=True)
        return Answer(text, len(encoded.input_ids), completion, elapsed_s)
