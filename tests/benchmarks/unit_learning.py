"""What a finished dataset costs on its way to a model: translation's requests, tokens for training, pixels for each step, questions.

    workspace of the flow ─┬─ deidentified ──> texts, requests, tokens of a translating service (nobody is asked)
                           ├─ train.json ──row_of──> examples: CPU seconds, tokens, bytes     ──loader──> patches: CPU seconds an epoch
                           └─ test-*.json ──question──> prompts: CPU seconds, tokens

Texts are counted in Qwen2.5-VL's own vocabulary, where the real data is at hand.
"""

from __future__ import annotations

import base64
import io
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store
from codelib.data.translate import AnswerCache
from codelib.data.translate_budget import TokenEstimate
from codelib.data.translate_exchange import Translation
from codelib.data.translate_fill import COLUMNS
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Reader
from codelib.models.conversation import Conversation, Dataset, open_dataset
from codelib.models.encoding import Encoder, Tokens
from codelib.models.prompt import open_pixels
from codelib.models.tiny_tokenizer import build_processor, build_tokenizer
from codelib.train.examples import EXAMPLES, Rule, look_at_pixels, once, row_of
from codelib.train.settings import TrainSettings


def translation(workspace: Path, visits: int) -> dict[str, float]:
    """What a service would be asked for these visits, each distinct text once, and how many of the texts are."""
    settings = TranslateSettings(engine="openai")
    reader = Reader(settings, AnswerCache(Store(str(workspace / "no-answers"))))
    public = Store(str(workspace))
    tables = [read_part(part, COLUMNS, ok_only=True) for part in manifest_parts(public, "deidentified")]
    estimate, task = TokenEstimate(), Translation(settings)
    requests = tokens_in = tokens_out = 0.0
    for texts in reader.requests(tables):
        given, made = task.compose(texts, estimate).guess
        requests, tokens_in, tokens_out = requests + 1, tokens_in + given, tokens_out + made
    fields = [name for name in COLUMNS if name not in ("checkup_id", "visit_key", "status")]
    written = [text for table in tables for name in fields for text in table[name].to_pylist() if text and text.strip()]
    return {
        "texts": len(written) / visits,
        "distinct_texts": reader.counts.texts / visits,
        "chars": sum(map(len, written)) / visits,
        "distinct_chars": reader.counts.chars_to_ask / visits,
        "requests": requests / visits,
        "tokens_in": tokens_in / visits,
        "tokens_out": tokens_out / visits,
    }


def processor(real_data: Path) -> Any:
    """With the real vocabulary."""
    made = build_processor()
    lines = (real_data / "qwen2_5_vl" / "qwen.tiktoken").read_text(encoding="ascii").splitlines()
    made.tokenizer = build_tokenizer({base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)})
    return made


def learning(release: Path, visits: int, real_data: Path, most: int = 300) -> dict[str, Any]:
    settings = TrainSettings()
    dataset = open_dataset(release)
    encoder = Encoder(processor(real_data), settings.pixels)
    conversations = {name: dataset.read(name) for name in ("train-cls", "train-diagnostic")}
    train = dataset.read("train")
    some = _spread(train, most)
    rule = Rule.of(settings)
    _rows(some[:3], encoder, rule, release)
    began = time.process_time()
    rows = _rows(some, encoder, rule, release)
    tokenise_s = (time.process_time() - began) / len(some)
    kept = [row for row in rows if row["status"] == "ok"]
    images = sum(len(one.images) for one in some)
    patches = 0

    def load(one: tuple[Conversation, dict[str, Any]]) -> None:
        nonlocal patches
        conversation, row = one
        pictures = [open_pixels(path, settings.pixels) for path in conversation.images]
        encoded = encoder.encoded(conversation.sample_id, _tokens(row), pictures)
        patches += 0 if encoded.pixel_values is None else encoded.pixel_values.nbytes

    pairs = [(one, row) for one, row in zip(some, rows, strict=True) if row["status"] == "ok"]
    load_s = _median_s(load, pairs[:60])
    shown = [len(one.images) for one, _ in pairs[:60]]
    asked = {name: _questions(dataset, name, encoder) for name in ("test-cls", "test-diagnostic")}
    return {
        "samples_per_visit": len(train) / visits,
        "images_per_sample": images / len(some),
        "tokenise_cpu_s_per_sample": tokenise_s,
        "load_cpu_s_per_image": load_s / max(1e-9, statistics.median(shown)),
        "text_tokens_per_sample": statistics.mean(row["text_tokens"] for row in kept),
        "answer_tokens_per_sample": statistics.mean(row["answer_tokens"] for row in kept),
        "visual_tokens_per_image": sum(row["visual_tokens"] for row in kept) / max(1, sum(len(row["images"]) for row in kept)),
        "example_bytes_per_sample": _parquet_bytes(kept) / len(kept),
        "training_kinds": {name: len(found) / visits for name, found in conversations.items()},
        "questions": asked,
    }


def _rows(some: Iterable[Conversation], encoder: Encoder, rule: Rule, root: Path) -> list[dict[str, Any]]:
    looked = once(look_at_pixels)
    return [row_of(one, encoder, rule, looked, root) for one in some]


def _tokens(row: dict[str, Any]) -> Tokens:
    answers = tuple(zip(row["answer_starts"], row["answer_ends"], strict=True))
    return Tokens(tuple(row["input_ids"]), answers, tuple(row["image_tokens"]))


def _parquet_bytes(rows: list[dict[str, Any]]) -> int:
    out = io.BytesIO()
    table = pa.Table.from_pylist([dict.fromkeys(EXAMPLES.schema.names) | row for row in rows], schema=EXAMPLES.schema)
    pq.write_table(table, out, compression="zstd")
    return out.tell()


def _questions(dataset: Dataset, name: str, encoder: Encoder) -> dict[str, float]:
    """Of one benchmark's prompts: CPU seconds to make one, its tokens, images and the tokens of the reference answer."""
    some = _spread(dataset.read(name), 40)
    prompts = [encoder.question(one) for one in some]
    count = encoder.processor.tokenizer
    return {
        "prepare_cpu_s": _median_s(encoder.question, some),
        "prompt_tokens": statistics.mean(len(one.input_ids) for one in prompts),
        "images": statistics.mean(len(one.images) for one in some),
        "answer_tokens": statistics.mean(len(count(one.answer)["input_ids"]) for one in some),
    }


def _spread(found: list[Conversation], most: int) -> list[Conversation]:
    return found[:: max(1, len(found) // most)][:most]


def _median_s(way: Callable[[Any], Any], some: Iterable[Any]) -> float:
    taken = []
    for one in some:
        before = time.process_time()
        way(one)
        taken.append(time.process_time() - before)
    return statistics.median(taken)
