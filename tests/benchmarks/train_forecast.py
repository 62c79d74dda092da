"""Memory, hours and disk of the recipes at the published data's size, as jobs.train --dry-run would print them for such a release.

    python -m tests.benchmarks.train_forecast        # seconds; no GPU, no weights: docs/training.md has its table

COde: 8,175 visits outside the two test sets of 600, a question for the class and one for the report on each; lengths as in tests/visits.py.
MMOral: 20,563 panoramic images of 2,000 x 1,000 px, 1.3 million question-answer pairs of about 150 tokens.
"""

from __future__ import annotations

import numpy as np

from codelib.core.config import load
from codelib.models.architecture import published
from codelib.models.conversation import Conversation, Message
from codelib.models.prompt import visual_tokens
from codelib.train.forecast import Forecast
from codelib.train.gpus import declared
from codelib.train.sampler import Sampler
from codelib.train.samples import Measured
from codelib.train.settings import TrainSettings
from tests.visits import draw_visits

VISITS = 8_175
PANORAMICS, PAIRS = 20_563, 1_300_000
_THINNED = 50  # of MMOral's pairs one in so many is drawn, and the epoch counted as many times


def _measured(number: int, images: tuple[str, ...], visual: int, text: int, answer: int) -> Measured:
    messages = (Message("user", "q" * (text - answer)), Message("assistant", "a" * answer))
    return Measured(Conversation(f"train/{number}", messages, images), visual, text, answer)


def code(settings: TrainSettings) -> list[Measured]:
    rng = np.random.default_rng(0)
    samples = []
    for number, visit in enumerate(draw_visits(rng, 2 * VISITS, settings.cut_off)):
        length = visit.length(settings.pixels)
        # the two questions on a visit show the same images: the second one names those of the first
        names = tuple(f"{number // 2}-{place}" for place in range(length.num_images))
        samples.append(_measured(number, names, length.visual_tokens, length.text_tokens, length.answer_tokens))
    return samples


def mmoral(settings: TrainSettings) -> list[Measured]:
    rng = np.random.default_rng(0)
    visual = visual_tokens(2000, 1000, settings.pixels)
    made = []
    for number in range(PAIRS // _THINNED + round(PAIRS * settings.validation_fraction)):
        answer = int(np.clip(rng.lognormal(3.3, 1), 2, 800))
        made.append(_measured(number, (f"{number % PANORAMICS}",), visual, 100 + answer, answer))
    return made


def forecast(recipe: str, *change: str) -> Forecast:
    settings = load(TrainSettings, "train", recipe, change)
    samples, thinned = (mmoral(settings), _THINNED) if recipe.startswith("mmoral") else (code(settings), 1)
    held = round(len(samples) * settings.validation_fraction) if thinned == 1 else len(samples) - PAIRS // thinned
    training, validation = samples[held:], samples[:held]
    sampler = Sampler(tuple(one.tokens for one in training), settings.global_batch, settings.seed, settings.limits)
    # an epoch of the drawn samples stands for one ``thinned``-th of the real one
    steps = -(-len(training) * thinned // settings.global_batch) * settings.epochs
    assert settings.gpu is not None
    return Forecast(published()[settings.model], settings, training, validation, sampler, steps, declared(settings.gpu))


def main() -> None:
    for recipe, *change in (
        ("paper-3b",),
        ("paper-3b", "activation_checkpointing=false"),
        ("paper-7b",),
        ("paper-7b", "activation_checkpointing=false"),
        ("published-3b",),
        ("mmoral-7b",),
    ):
        print(f"--recipe {recipe} {' '.join(f'--set {one}' for one in change)}")
        made = forecast(recipe, *change)
        print(f"samples     {len(made.training):,} training, {len(made.validation):,} validation, {made.steps:,} steps")
        print("\n".join(made.lines()), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
