"""Five variants through the local engine: together, one by one, and against plain `generate`, with random weights of the real sizes. No Ray.

    python -m tests.gpu.generate --size 3b        # or 7b; on one GPU, bf16
    python -m tests.gpu.generate --size small     # any machine, seconds: shows that the script works, and no more

The variants: the bare model, the bare model after three worked examples, three LoRA adapters on the language blocks. Each is asked two
questions about every visit (after worked examples one), a class of at most 8 tokens and a report of --report-tokens. Random weights hardly
ever end an answer, so all have the same length. Plain is what a user writes from the libraries' documentation: stock peft, batches of two
in the order of the file, padded left, every image read and looked at again; it is asked the first --plain-visits alone, and compared by
answer tokens a second.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from codelib.models.conversation import Conversation, Message
from codelib.models.encoding import Encoder, collate
from codelib.models.engine import Request, answer_all
from codelib.models.loading import load_base, load_processor
from codelib.models.prompt import PixelPolicy
from codelib.models.tiny_tokenizer import build_processor
from codelib.models.transformers_engine import TransformersEngine
from codelib.train.lora import PLACES
from tests.gpu.train_step import sizes, versions
from tests.visits import Visit, draw_visits

_WORDS = (
    "pain",
    "in",
    "the",
    "upper",
    "left",
    "first",
    "molar",
    "since",
    "three",
    "days",
    "swelling",
    "gum",
    "probing",
    "caries",
)
_CLASS_TOKENS = 8
_EXAMPLES = 3


def make_model(folder: Path, size: str, dtype: torch.dtype) -> None:
    """Random weights of a published size, with the tokenizer of the tests."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    processor = build_processor()
    token = processor.tokenizer.convert_tokens_to_ids
    architecture = sizes()[size]
    architecture = replace(architecture, vocabulary=max(architecture.vocabulary, len(processor.tokenizer)))
    config = architecture.config()
    config.vision_start_token_id, config.vision_end_token_id = token("<|vision_start|>"), token("<|vision_end|>")
    config.image_token_id, config.video_token_id = token("<|image_pad|>"), token("<|video_pad|>")
    config.text_config.max_position_embeddings = 32768
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=dtype)
    model.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)


def make_adapters(folder: Path, model: str, count: int) -> list[str]:
    from peft import LoraConfig, get_peft_model

    base = load_base(model)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=PLACES["language"])
    tuned: Any = get_peft_model(base, config)
    paths = []
    for number in range(count):
        torch.manual_seed(number)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0, 0.02)
        paths.append(str(folder / f"adapter{number}"))
        tuned.save_pretrained(paths[-1])
    return paths


def make_questions(folder: Path, visits: Sequence[Visit], rng: np.random.Generator) -> list[tuple[Conversation, Conversation]]:
    """Two of each visit: a class, a report."""
    made = []
    for number, visit in enumerate(visits):
        paths = []
        for place, (width, height) in enumerate(visit.images):
            small = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
            paths.append(str(folder / f"{number}-{place}.jpg"))
            Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
        shown = "\n".join(f"image-{place}: <image>" for place in range(1, len(paths) + 1))
        told = shown + "\n" + " ".join(rng.choice(_WORDS, visit.question_tokens))
        asked = [
            Conversation(f"{number}/{what}", (Message("user", f"{told} {what}"),), tuple(paths)) for what in ("class", "report")
        ]
        made.append((asked[0], asked[1]))
    return made


@dataclass(frozen=True)
class Case:
    model: str
    variants: dict[str, list[Request]]


def make_case(folder: Path, size: str, visits: int, report_tokens: int, pixels: PixelPolicy, dtype: torch.dtype) -> Case:
    rng = np.random.default_rng(0)
    make_model(folder / "model", size, dtype)
    adapters = make_adapters(folder, str(folder / "model"), 3)
    (folder / "images").mkdir()
    drawn = draw_visits(rng, visits + _EXAMPLES, cut_off=1024)
    questions = make_questions(folder / "images", drawn, rng)
    examples: list[Message] = []
    shown: tuple[str, ...] = ()
    for _, report in questions[visits:]:
        examples += [*report.messages, Message("assistant", " ".join(rng.choice(_WORDS, 200)))]
        shown += report.images

    def zero_shot(adapter: str | None) -> list[Request]:
        classes = [Request(one, _CLASS_TOKENS, adapter, pixels) for one, _ in questions[:visits]]
        return classes + [Request(one, report_tokens, adapter, pixels) for _, one in questions[:visits]]

    few = [replace(one, messages=(*examples, *one.messages), images=(*shown, *one.images)) for _, one in questions[:visits]]
    variants = {"base": zero_shot(None), "base, few-shot": [Request(one, report_tokens, None, pixels) for one in few]}
    return Case(str(folder / "model"), variants | {f"adapter {n}": zero_shot(path) for n, path in enumerate(adapters)})


@dataclass
class Result:
    name: str
    seconds: float  # the model's loading included
    prompts: int
    answer_tokens: int

    @property
    def tokens_per_s(self) -> float:
        return self.answer_tokens / self.seconds


def settle() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def engine_run(name: str, case: Case, requests: Sequence[Request], batch_size: int | None) -> Result:
    began = time.perf_counter()
    answers = answer_all(TransformersEngine(case.model, batch_size=batch_size), requests)
    seconds = time.perf_counter() - began
    errors = {answer.error for answer in answers} - {None}
    assert not errors, f"{name}: {errors}"
    settle()
    return Result(name, seconds, len(answers), sum(answer.completion_tokens for answer in answers))


def plain_run(name: str, case: Case, requests: Sequence[Request]) -> Result:
    from peft import PeftModel
    from transformers import GenerationConfig

    began = time.perf_counter()
    encoder = Encoder(load_processor(case.model), requests[0].pixels)
    model: Any = load_base(case.model)
    if requests[0].adapter:
        model = PeftModel.from_pretrained(model, requests[0].adapter)
    model.eval()
    tokens = 0
    for start in range(0, len(requests), 2):
        batch = requests[start : start + 2]
        inputs = collate([encoder.question(one.prompt) for one in batch], encoder.pad_id, left=True)
        del inputs["labels"]
        width = inputs["input_ids"].shape[1]
        config = GenerationConfig(
            max_new_tokens=batch[0].max_new_tokens,
            do_sample=False,
            eos_token_id=[encoder.end_id, encoder.pad_id],
            pad_token_id=encoder.pad_id,
        )
        with torch.inference_mode():
            output = model.generate(**{key: value.to(model.device) for key, value in inputs.items()}, generation_config=config)
        for row in output[:, width:].tolist():
            tokens += next((place + 1 for place, one in enumerate(row) if one in (encoder.end_id, encoder.pad_id)), len(row))
    seconds = time.perf_counter() - began
    del model
    settle()
    return Result(name, seconds, len(requests), tokens)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("3b", "7b", "small"), required=True)
    parser.add_argument("--visits", type=int, default=24)
    parser.add_argument("--plain-visits", type=int, default=4)
    parser.add_argument("--report-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, help="rows of the engine; by default its own choice")
    parser.add_argument("--max-pixels", type=int, default=448 * 448)
    parser.add_argument("--json", help="write the figures there too")
    args = parser.parse_args(argv)

    on_gpu = torch.cuda.is_available()
    if not on_gpu and args.size != "small":
        raise SystemExit(f"--size {args.size} needs a GPU; --size small runs here")
    dtype = torch.bfloat16 if on_gpu else torch.float32
    print(versions(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pixels = PixelPolicy(max_pixels=args.max_pixels)
        case = make_case(Path(folder), args.size, args.visits, args.report_tokens, pixels, dtype)
        everything = [one for requests in case.variants.values() for one in requests]
        engine_run("warm-up", case, everything[:2], args.batch_size)  # compiles, chooses kernels, reads the files once
        results = [engine_run(name, case, requests, args.batch_size) for name, requests in case.variants.items()]
        together = engine_run("together", case, everything, args.batch_size)
        some = {
            name: [one for one in requests if int(one.prompt.sample_id.split("/")[0]) < args.plain_visits]
            for name, requests in case.variants.items()
        }
        plain = [plain_run(f"plain, {name}", case, requests) for name, requests in some.items()]
    for one in [*results, together, *plain]:
        print(
            f"{one.name:<24}{one.prompts:>6} prompts{one.answer_tokens:>8} tokens{one.seconds:>9.2f} s{one.tokens_per_s:>9.1f} tokens/s"
        )
    alone_s = sum(one.seconds for one in results)
    plain_rate = sum(one.answer_tokens for one in plain) / sum(one.seconds for one in plain)
    ratio, faster = together.seconds / alone_s, together.tokens_per_s / plain_rate
    print(f"together / sum of the five alone: {ratio:.2f}")
    print(f"together against plain batches of two: {faster:.1f} x the answer tokens a second")
    figures = {
        "versions": versions(),
        "arguments": vars(args),
        "together_over_alone": ratio,
        "times_plain": faster,
        "results": [vars(one) for one in [*results, together, *plain]],
    }
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


if __name__ == "__main__":
    main()
