"""What the trained model says to a few samples, kept so that the saved adapter can be held against it.

last step ── best adapter in the live model ──> probe.safetensors: inputs and logits on the answers' places
parity.py, a fresh process, stock transformers + peft ──> same logits? another than the base's? ──> adapter/canary.json
"""

from __future__ import annotations

import torch
from safetensors.torch import load, save

from codelib.core.store import Store
from codelib.models.encoding import IGNORED, collate
from codelib.train.backends import Backend
from codelib.train.feed import Feed
from codelib.train.job import Job, Place

FILE = "probe.safetensors"
_SAMPLES = 3
_PLACES = 16  # answer tokens of each: 150,000 words make 0.6 MB of each place


def probed(job: Job) -> tuple[str, ...]:
    """Validation samples, or training samples where nobody was held back."""
    return (job.validation or job.training)[:_SAMPLES]


def answer_places(labels: torch.Tensor) -> torch.Tensor:
    """Where the next token is an answer's, the first ones."""
    return (labels[1:] != IGNORED).nonzero().flatten()[:_PLACES]


def whole_answer(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean log probability of an answer's tokens, in nats, as any engine tells it to `codelib.evaluate.canary`. logits: (tokens, words)."""
    places = (labels[1:] != IGNORED).nonzero().flatten()
    total = 0.0
    for some in places.split(64):  # 64 places of 150,000 words at a time
        scores = torch.log_softmax(logits[some.to(logits.device)].float(), dim=-1)
        total += float(scores.gather(1, labels[some + 1].to(logits.device)[:, None]).sum())
    return total / max(1, len(places))


def write_probe(job: Job, place: Place, backend: Backend, feed: Feed, store: Store) -> None:
    """Every rank must call it; rank 0 writes."""
    kept: dict[str, torch.Tensor] = {}
    for number, sample_id in enumerate(probed(job)):
        [one] = feed.encode([sample_id])
        batch = {name: tensor.to(place.device) for name, tensor in collate([one], feed.encoder.pad_id, left=False).items()}
        del batch["labels"]
        places = answer_places(one.labels)
        full = backend.forward(batch)[0]
        logits = full[places.to(place.device)].float()
        kept |= {f"{number}:input:{name}": tensor.cpu().contiguous() for name, tensor in batch.items()}
        kept |= {
            f"{number}:answers": one.labels[places + 1],
            f"{number}:places": places,
            f"{number}:logits": logits.cpu().contiguous(),
            f"{number}:labels": one.labels,
            f"{number}:whole": torch.tensor(whole_answer(full, one.labels)),
        }
    if place.rank == 0:
        store.commit(FILE, save(kept))


def read_probe(content: bytes) -> list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    """For each sample: the model's inputs; and answers, places, logits, labels, whole."""
    samples: dict[int, tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = {}
    for key, tensor in load(content).items():
        number, *rest = key.split(":")
        inputs, facts = samples.setdefault(int(number), ({}, {}))
        if rest[0] == "input":
            inputs[rest[1]] = tensor
        else:
            facts[rest[0]] = tensor
    return [samples[number] for number in sorted(samples)]
