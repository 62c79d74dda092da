"""The common way to evaluate, one run for each model: stock transformers and peft, samples in file order, batches of 2, `generate`.

As the published evaluation scripts do it: load the model (and its adapter), go through one test file after the other, prepare the two
samples of a batch with the processor, generate greedily, decode. Nothing is shared between two runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from codelib.models.conversation import Conversation
from codelib.models.encoding import Encoder
from codelib.models.loading import load_processor
from codelib.models.prompt import PixelPolicy

BATCH = 2


def run(
    model_name: str, adapter: str | None, files: Mapping[str, Sequence[Conversation]], lengths: Mapping[str, int]
) -> dict[str, str]:
    """Every question of these files answered; sample id -> answer. Conversations end with their question."""
    from peft import PeftModel
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    processor = load_processor(model_name)  # upstream's, without its video part, which wants torchvision
    encoder = Encoder(processor, PixelPolicy())  # for the chat template's text alone
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(model_name, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    answers = {}
    for benchmark, samples in files.items():
        config = GenerationConfig(
            max_new_tokens=lengths[benchmark], do_sample=False, eos_token_id=encoder.end_id, pad_token_id=encoder.pad_id
        )
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            texts = [encoder.text(one, ask=True) for one in batch]
            images = [Image.open(path).convert("RGB") for one in batch for path in one.images]
            inputs = processor(text=texts, images=images or None, padding=True, padding_side="left", return_tensors="pt")
            with torch.inference_mode():
                output = model.generate(**inputs, generation_config=config)
            said = processor.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            answers |= {one.sample_id: text for one, text in zip(batch, said, strict=True)}
    return answers
