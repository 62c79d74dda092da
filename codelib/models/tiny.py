"""A tiny, real Qwen2.5-VL: upstream's classes, chat template and special tokens, 1.7 million parameters. A toy.

    seed ── random weights ─┬─ teach_eyes:  the vision tower tells oddities of drawings apart (a linear head, thrown away)
                            └─ teach_words: the whole model names the oddity in words, and repeats words ──> Hugging Face folder

It exists so that tests and the demo run the product's own code on a CPU without any download: the folder is loaded by the very
code that loads the 3B and 7B models. LoRA on random weights hardly learns (the tied embedding is frozen), hence the schooling on
drawings (`codelib.models.tiny_drawings`). It knows no dentistry.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from codelib.models.conversation import IMAGE, Conversation, Message
from codelib.models.encoding import IGNORED, Encoded, Encoder, collate
from codelib.models.prompt import PixelPolicy, smart_resize
from codelib.models.tiny_drawings import ODDITIES, draw
from codelib.models.tiny_tokenizer import build_processor

Made = TypeVar("Made")

RECIPE_VERSION = 1  # raise when the same seed would give another model
SIDE_PX = 112
EYE_STEPS, EYE_BATCH, EYE_RATE = 140, 32, 3e-3
WORD_STEPS, WORD_BATCH, WORD_RATE = 100, 16, 3e-3
_POLICY = PixelPolicy(max_pixels=SIDE_PX * SIDE_PX)
# one thread: more gain nothing on matrices this small, lose much on a busy machine, and would add floats in another order
_THREADS = 1


def tiny_config(tokenizer: Any) -> Any:
    """Upstream's configuration, small: 3 vision blocks, 4 language blocks of width 128."""
    from transformers import Qwen2_5_VLConfig

    token = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            # upstream's 0.02 is for thousands of channels: with 128, a word that the schooling never asked for could not be said, since
            # its frozen, tied embedding is too short for any hidden state to choose it
            "initializer_range": 0.1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 4,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [2],
            "initializer_range": 0.1,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def _drawings(rng: np.random.Generator, oddities: list[str]) -> list[Image.Image]:
    made = [draw(rng, oddity, SIDE_PX) for oddity in oddities]
    return [image.resize(smart_resize(*image.size, _POLICY), Image.Resampling.BICUBIC) for image in made]


def _optimiser(parameters: list[torch.nn.Parameter], rate: float, steps: int) -> tuple[Any, Any]:
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)


def _learn(loss: torch.Tensor, parameters: list[torch.nn.Parameter], optimiser: Any, schedule: Any) -> None:
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    schedule.step()


def _ahead(prepare: Callable[[], Made], count: int) -> Iterator[Made]:
    """What ``prepare`` makes, ``count`` times, the next one in a thread while this one is used. One thread keeps the order."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(prepare)
        for number in range(count):
            made = following.result()
            if number + 1 < count:
                following = pool.submit(prepare)
            yield made


def teach_eyes(model: Any, processor: Any, rng: np.random.Generator, steps: int = EYE_STEPS) -> float:
    """Train the vision tower to tell the oddities apart. Returns the share that it got right over the last 20 steps."""
    tower = model.model.visual
    head = torch.nn.Linear(model.config.text_config.hidden_size, len(ODDITIES))
    parameters = [*tower.parameters(), *head.parameters()]
    optimiser, schedule = _optimiser(parameters, EYE_RATE, steps)
    right: list[float] = []

    def prepare() -> tuple[np.ndarray, Any]:
        kinds = rng.integers(0, len(ODDITIES), EYE_BATCH)
        images = _drawings(rng, [ODDITIES[kind] for kind in kinds])
        return kinds, processor.image_processor(images, do_resize=False, return_tensors="pt")

    for kinds, inputs in _ahead(prepare, steps):
        grid = inputs["image_grid_thw"]
        tokens = tower(inputs["pixel_values"], grid_thw=grid).pooler_output.split((grid.prod(1) // 4).tolist())
        # the maximum over an image's tokens: one struck block is enough to call the drawing odd
        scores = head(torch.stack([one.amax(0) for one in tokens]))
        target = torch.from_numpy(kinds)
        right.append(float((scores.argmax(1) == target).float().mean()))
        _learn(torch.nn.functional.cross_entropy(scores, target), parameters, optimiser, schedule)
    return float(np.mean(right[-20:]))


def _babble(rng: np.random.Generator, tokenizer: Any, count: int) -> str:
    """Random words of the vocabulary: every embedding is trained, and surrounding text is learned to be ignored."""
    text = tokenizer.decode(rng.integers(256, 4096, count).tolist())
    return text.replace("<", "").replace("\ufffd", "").strip() or "a"


class _Exercises:
    """Conversations about drawings that are held in memory: the product's own encoder, with its images looked up here."""

    def __init__(self, processor: Any, rng: np.random.Generator) -> None:
        self.encoder = Encoder(processor, _POLICY)
        self.rng = rng

    def _encode(self, question: str, answer: str, images: list[Image.Image]) -> Encoded:
        conversation = Conversation("tiny", (Message("user", question), Message("assistant", answer)), ("",) * len(images))
        return self.encoder.example(conversation, images)

    def draw(self) -> Encoded:
        """One in seven repeats words; the others name what is odd in one to three drawings, among which some may be plain."""
        rng, tokenizer = self.rng, self.encoder.processor.tokenizer
        if rng.random() < 0.15:
            words = _babble(rng, tokenizer, int(rng.integers(1, 3)))
            return self._encode(f"{_babble(rng, tokenizer, 4)}\nRepeat: {words}", words, [])
        oddity = ODDITIES[int(rng.integers(len(ODDITIES)))]
        shown = [oddity] + [oddity if rng.random() < 0.8 else "plain" for _ in range(int(rng.integers(0, 3)))]
        images = _drawings(rng, [shown[place] for place in rng.permutation(len(shown))])
        lines = [f"image-{number}: {IMAGE}" for number in range(1, len(images) + 1)]
        text = "\n".join([*lines, _babble(rng, tokenizer, int(rng.integers(2, 20))), "What is odd?"])
        return self._encode(text, oddity, images)


def teach_words(model: Any, processor: Any, rng: np.random.Generator, steps: int = WORD_STEPS) -> float:
    """Train all parameters to name the oddity in words. Returns the mean loss of the last 20 steps."""
    exercises = _Exercises(processor, rng)
    parameters = list(model.parameters())
    optimiser, schedule = _optimiser(parameters, WORD_RATE, steps)
    losses: list[float] = []

    def prepare() -> dict[str, torch.Tensor]:
        return collate([exercises.draw() for _ in range(WORD_BATCH)], exercises.encoder.pad_id, left=False)

    for batch in _ahead(prepare, steps):
        labels = batch.pop("labels")[:, 1:]
        hidden = model.model(**batch).last_hidden_state[:, :-1]
        # words are scored where an answer stands only: scoring all positions takes half of the step
        answered = labels != IGNORED
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[answered]), labels[answered])
        losses.append(float(loss.detach()))
        _learn(loss, parameters, optimiser, schedule)
    return float(np.mean(losses[-20:]))


@contextlib.contextmanager
def _fixed_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build(folder: Path, seed: int, eye_steps: int = EYE_STEPS, word_steps: int = WORD_STEPS) -> None:
    """Build, school and save a tiny model: the same seed gives the same weights on one machine. No steps: no schooling."""
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    processor = build_processor()
    with _fixed_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(tiny_config(processor.tokenizer))
        rng = np.random.default_rng(seed)
        seen = teach_eyes(model, processor, rng, eye_steps) if eye_steps else None
        loss = teach_words(model, processor, rng, word_steps) if word_steps else None
    model.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    note = {"toy": True, "recipe_version": RECIPE_VERSION, "seed": seed, "oddities_told_apart": seen, "last_loss": loss}
    (folder / "tiny.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def ensure_tiny(folder: Path, seed: int = 0) -> Path:
    """The tiny model of this seed in ``folder``: built once, in a temporary folder that is renamed when it is whole.

    Raises ValueError where the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists():
        note = folder / "tiny.json"
        found = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if (found.get("seed"), found.get("recipe_version")) != (seed, RECIPE_VERSION):
            raise ValueError(
                f"{folder}: holds another model than the tiny one of seed {seed}; remove the folder or choose another"
            )
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tiny-", dir=folder.parent))
    try:
        build(temporary, seed)
        temporary.chmod(0o755)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not (folder / "tiny.json").is_file():  # else: another process was faster, and made the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
