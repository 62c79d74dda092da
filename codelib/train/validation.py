"""What chooses the best checkpoint: the loss on the validation patients, and on demand the share of their questions answered rightly."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import GenerationConfig

from codelib.models.encoding import IGNORED, Encoded, collate
from codelib.train.backends import Backend
from codelib.train.failures import memory_for
from codelib.train.feed import Feed
from codelib.train.job import Job, Place

_LONGEST_ANSWER = 256  # tokens; a longer one cannot be compared word for word anyway


def _batches(ids: list[str], place: Place, size: int) -> Iterator[tuple[list[str], bool]]:
    """This rank's batches; every rank has as many (False: one that does not count), since ZeRO-3 gathers weights in each."""
    for number in range(-(-len(ids) // (place.world * size))):
        start = (number * place.world + place.rank) * size
        mine = ids[start : start + size]
        yield mine or ids[:1], bool(mine)


def _on(device: str, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def loss(place: Place, backend: Backend, feed: Feed) -> float:
    """Nats per answer token over all validation samples."""
    nll = tokens = 0.0
    for batch in feed.validation():  # as many on every rank: ZeRO-3 gathers weights in each
        with memory_for(batch, f"in validation (worker {place.rank})"):
            nll += backend.measure(batch.to(place.device))
        tokens += batch.num_answer_tokens
    nll, tokens = place.sum([nll, tokens])
    return nll / tokens


def plain(text: str) -> str:
    """An answer without what does not matter when it is compared: 'Dental  Caries.' -> 'dental caries'"""
    return " ".join(text.casefold().split()).strip(" .。")


def _question(one: Encoded) -> Encoded:
    """A training example cut before its last answer."""
    end = int((one.labels != IGNORED).nonzero().max())
    while one.labels[end - 1] != IGNORED:
        end -= 1
    return Encoded(
        one.sample_id, one.input_ids[:end], one.labels[:end], one.token_types[:end], one.pixel_values, one.image_grid_thw
    )


def accuracy(job: Job, place: Place, backend: Backend, feed: Feed) -> float:
    """The share of validation samples, evenly spread, whose greedy answer is the reference's text but for case, blanks and full stop."""
    wanted = job.settings.validation_answers
    ids = list(job.validation[:: -(-len(job.validation) // wanted)])
    encoder = feed.encoder
    decode = encoder.processor.tokenizer.decode
    right = 0.0
    for mine, counts in _batches(ids, place, job.settings.batch_size):
        examples = feed.encode(mine)
        questions = [_question(one) for one in examples]
        references = [one.input_ids[len(asked.input_ids) :] for one, asked in zip(examples, questions, strict=True)]
        batch = collate(questions, encoder.pad_id, left=True)
        del batch["labels"]
        greedy = GenerationConfig(
            max_new_tokens=min(_LONGEST_ANSWER, max(len(reference) for reference in references)),
            do_sample=False,
            repetition_penalty=1.0,  # else the model's own (Qwen2.5-VL: 1.05), and a class that the question names is the worse for it
            eos_token_id=encoder.end_id,
            pad_token_id=encoder.pad_id,
        )
        lengths = ", ".join(f"{one.sample_id} ({len(one.input_ids):,} tokens)" for one in examples)
        with memory_for(lengths, f"while answers were generated (worker {place.rank})"):
            said = backend.generate(_on(place.device, batch), generation_config=greedy)[:, batch["input_ids"].shape[1] :]
        if counts:
            pairs = zip(said, references, strict=True)
            right += sum(
                plain(decode(a, skip_special_tokens=True)) == plain(decode(b, skip_special_tokens=True)) for a, b in pairs
            )
    return place.sum([right])[0] / len(ids)


def validate(job: Job, place: Place, backend: Backend, feed: Feed) -> tuple[float | None, float | None]:
    """Validation loss, and accuracy where it chooses the best; None for what is not measured. Leaves the model in evaluation mode."""
    if not job.validation:
        return None, None
    backend.model.eval()
    measured = loss(place, backend, feed)
    answered = accuracy(job, place, backend, feed) if job.settings.best_by == "accuracy" else None
    return measured, answered
