"""For the tests of the local engine: a tiny model, adapters of several kinds, questions about pictures, and what stock libraries answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from codelib.models.conversation import Conversation, Message
from codelib.models.encoding import Encoder, collate
from codelib.models.engine import Request
from codelib.models.loading import load_base, load_processor
from codelib.models.prompt import PixelPolicy
from codelib.train.lora import PLACES

PIXELS = PixelPolicy(max_pixels=112 * 112)
WORDS = ("tooth", "gum", "caries", "pulp", "crown", "left", "right", "upper", "lower", "pain", "swelling", "for", "three", "days")


def make_images(folder: Path, count: int = 6) -> list[str]:
    """Noise in blocks, of several shapes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        height, width = int(rng.integers(2, 5)), int(rng.integers(2, 5))
        blocks = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(blocks).resize((28 * width, 28 * height), Image.Resampling.NEAREST).save(path)
        paths.append(str(path))
    return paths


def make_adapter(folder: Path, model: str, seed: int, places: Sequence[str] = ("language",), **options: Any) -> str:
    """A LoRA adapter with random factors, saved by stock peft."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": "|".join(f"(?:{PLACES[place]})" for place in places)} | options
    )
    torch.manual_seed(seed)
    tuned = get_peft_model(load_base(model, device="cpu"), config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.12)
    tuned.save_pretrained(str(folder))
    return str(folder)


def question(rng: np.random.Generator, images: Sequence[str], words: int, sample_id: str = "s") -> Conversation:
    shown = "\n".join(f"image-{number}: <image>" for number in range(1, len(images) + 1))
    text = " ".join(rng.choice(WORDS, words))
    return Conversation(sample_id, (Message("user", f"{shown}\n{text}".strip()),), tuple(images))


def worked_examples(rng: np.random.Generator, images: Sequence[str]) -> tuple[list[Message], list[str]]:
    """Two questions with answers, one picture each."""
    shown: list[Message] = []
    for place in range(2):
        shown += [*question(rng, images[place : place + 1], 12).messages, Message("assistant", " ".join(rng.choice(WORDS, 6)))]
    return shown, list(images[:2])


def many_requests(images: Sequence[str], adapters: Sequence[str | None], visits: int = 4) -> list[Request]:
    """For each adapter two questions about each visit, and for the bare model the same after worked examples, and one without images."""
    rng = np.random.default_rng(1)
    examples, shown = worked_examples(rng, images)
    requests = []
    for visit in range(visits):
        pictures = [images[int(i)] for i in rng.integers(0, len(images), 1 + visit % 3)]
        first, second = (question(np.random.default_rng(visit), pictures, 4 + 5 * visit, f"v{visit}/{n}") for n in range(2))
        second = replace(second, messages=(Message("user", second.messages[0].content + " Write a report."),))
        plain = question(rng, [], 6 + visit, f"v{visit}/text")
        for adapter in adapters:
            requests += [
                Request(first, 4, adapter, PIXELS),
                Request(second, 10, adapter, PIXELS),
                Request(plain, 6, adapter, PIXELS),
            ]
        few = replace(first, messages=(*examples, *first.messages), images=(*shown, *first.images))
        requests.append(Request(few, 8, None, PIXELS))
    return requests


def few_shot_requests(images: Sequence[str], adapters: Sequence[str | None], visits: int = 6) -> list[Request]:
    """Visits of like length after the same worked examples, for each adapter."""
    rng = np.random.default_rng(2)
    examples, shown = worked_examples(rng, images)
    asked = [question(rng, images[visit % 3 : visit % 3 + 1], 6 + visit, f"f{visit}") for visit in range(visits)]
    few = [replace(one, messages=(*examples, *one.messages), images=(*shown, *one.images)) for one in asked]
    return [Request(one, 6, adapter, PIXELS) for one in few for adapter in adapters]


class Stock:
    """One prompt at a time through stock transformers and peft."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.processor = load_processor(model)
        self._loaded: dict[str | None, Any] = {}

    def loaded(self, adapter: str | None) -> Any:
        from peft import PeftModel

        if adapter not in self._loaded:
            base: Any = load_base(self.model, device="cpu")
            self._loaded[adapter] = (PeftModel.from_pretrained(base, adapter) if adapter else base).eval()
        return self._loaded[adapter]

    def inputs(self, request: Request) -> dict[str, torch.Tensor]:
        encoder = Encoder(self.processor, request.pixels)
        inputs = collate([encoder.question(request.prompt)], encoder.pad_id, left=True)
        del inputs["labels"]
        return inputs

    def text(self, request: Request, **options: Any) -> str:
        from transformers import GenerationConfig

        encoder = Encoder(self.processor, request.pixels)
        config = GenerationConfig(
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            eos_token_id=[encoder.end_id, encoder.pad_id],
            pad_token_id=encoder.pad_id,
            **options,
        )
        inputs = self.inputs(request)
        with torch.inference_mode():
            output = self.loaded(request.adapter).generate(**inputs, generation_config=config)
        return self.processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    def log_likelihood(self, request: Request, choice: str) -> float:
        """Mean over the choice's tokens and the end token, from one plain forward pass over prompt and choice."""
        inputs = self.inputs(request)
        end = self.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        tokens = [*self.processor.tokenizer(choice, add_special_tokens=False)["input_ids"], end]
        prompt = inputs["input_ids"].shape[1]
        more = torch.tensor([tokens])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], more], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(more)], 1)
        with torch.inference_mode():
            logits = self.loaded(request.adapter)(**inputs).logits[0, prompt - 1 : -1].float()
        return float(torch.log_softmax(logits, -1)[torch.arange(len(tokens)), more[0]].mean())
