"""The engine that answers with a Qwen2.5-VL on this machine: batches of similar length, padded left, greedy.

requests ── encode (a bad one becomes an Answer with its error) ── sort by length ── batches ── generate ──> answers
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codelib.models.encoding import Encoded, Encoder, collate
from codelib.models.engine import Answer, Request, failed
from codelib.models.loading import load_model, load_processor


class TransformersEngine:
    """One base model on one device, its LoRA adapters loaded as requests name them.

    Args:
        model: hub id or folder of a Qwen2.5-VL.
        batch_size: prompts generated together.
        dtype, device: see `codelib.models.loading.load_model`.
    """

    def __init__(self, model: str | Path, batch_size: int = 4, dtype: str = "auto", device: str = "auto") -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.name, self.dtype, self.device = str(model), dtype, device
        self.processor = load_processor(str(model))
        self.adapter: str | None = None
        self.model: Any = load_model(str(model), None, dtype, device)
        self.batch_size = batch_size

    def _use(self, adapter: str | None) -> None:
        if adapter != self.adapter:
            self.model, self.adapter = load_model(self.name, adapter, self.dtype, self.device), adapter

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `codelib.models.engine.Engine`."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault((request.adapter or "", request.max_new_tokens), []).append(index)
        for (adapter, max_new_tokens), members in sorted(groups.items()):
            try:
                self._use(adapter or None)
            except ValueError as error:
                yield from ((index, failed(error)) for index in members)
                continue
            encoded: dict[int, Encoded] = {}
            for index in members:
                try:
                    self.encoder = Encoder(self.processor, requests[index].pixels)
                    encoded[index] = self.encoder.question(requests[index].prompt)
                except ValueError as error:  # a missing image, a control token in the text: this prompt alone fails
                    yield index, failed(error)
            # longest first: a batch that does not fit is met at once, and padding stays short
            order = sorted(encoded, key=lambda index: (-len(encoded[index].input_ids), index))
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                yield from zip(batch, self._generate([encoded[i] for i in batch], max_new_tokens), strict=True)

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
        return Answer(text, len(encoded.input_ids), completion, elapsed_s, cut=completion == len(ids))
