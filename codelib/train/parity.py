"""Does the adapter on disk do what the trained model did? Asked in a fresh process, with stock transformers and peft alone.

    probe.safetensors + adapter/ ── base, then base + adapter ──> mean difference to the trained logits, and to the base's

The adapter has to give the trained model's logits within a tolerance, and others than the base's: a run whose adapter was saved wrongly,
or does nothing, must not look finished.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from codelib.train.probe import read_probe, whole_answer

# mean difference of logits, as a share of their mean size. bfloat16 keeps 8 bits; ZeRO computes the adapter in it, stock peft in float32
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
_APART = 4.0  # the base's logits must be this many times further away than the trained model's


@dataclass(frozen=True)
class Parity:
    """Over all probed answer tokens. Differences are means of absolute values of logits."""

    to_trained: float
    to_base: float
    size: float  # of the trained logits
    dtype: str
    # of each probed sample: the mean log probability of its answer's tokens, in nats
    trained: tuple[float, ...]
    reloaded: tuple[float, ...]
    base: tuple[float, ...]
    # the same over whole answers, their end included, as an engine tells it
    trained_whole: tuple[float, ...] = ()
    base_whole: tuple[float, ...] = ()

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.dtype] * self.size

    def problem(self) -> str | None:
        """A sentence on what is wrong, None where the adapter is what was trained."""
        if not self.to_trained <= self.tolerance:
            return (
                f"the saved adapter, loaded with stock transformers and peft, does not give the trained model's logits (mean difference "
                f"{self.to_trained:.3g}, tolerance {self.tolerance:.3g}); its weights or its configuration were not saved as trained"
            )
        if not self.to_base > _APART * self.to_trained:
            return (
                f"the adapter changes nothing that can be told from rounding (mean difference to the base's logits {self.to_base:.3g}, to the "
                f"trained model's {self.to_trained:.3g}); train longer, or with a higher learning_rate"
            )
        return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"tolerance": self.tolerance}


def _log_probability(logits: torch.Tensor, answers: torch.Tensor) -> float:
    return float(torch.log_softmax(logits, dim=-1).gather(1, answers[:, None]).mean())


def compare(model: str, adapter: str, probe: bytes, dtype: str, device: str) -> Parity:
    """Load and ask. ``model`` is a hub id or folder on this machine, ``dtype`` float32 or bfloat16."""
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    base: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=getattr(torch, dtype), local_files_only=True)
    tuned = PeftModel.from_pretrained(base.to(device), adapter).eval()
    to_trained, to_base, sizes = [], [], []
    scores: dict[str, list[float]] = {"trained": [], "reloaded": [], "base": [], "trained_whole": [], "base_whole": []}
    for inputs, facts in read_probe(probe):
        batch = {name: tensor.to(device) for name, tensor in inputs.items()}
        places = facts["places"].to(device)
        with torch.no_grad():
            reloaded = tuned(**batch, use_cache=False).logits[0, places].float().cpu()
            with tuned.disable_adapter():
                full = tuned(**batch, use_cache=False).logits[0]
        plain = full[places].float().cpu()
        scores["trained_whole"].append(float(facts["whole"]))
        scores["base_whole"].append(whole_answer(full, facts["labels"]))
        to_trained.append((reloaded - facts["logits"]).abs().mean())
        to_base.append((reloaded - plain).abs().mean())
        sizes.append(facts["logits"].abs().mean())
        for name, logits in (("trained", facts["logits"]), ("reloaded", reloaded), ("base", plain)):
            scores[name].append(_log_probability(logits, facts["answers"]))

    def mean(values: list[torch.Tensor]) -> float:
        return float(torch.stack(values).mean())

    tuples = {name: tuple(values) for name, values in scores.items()}
    return Parity(mean(to_trained), mean(to_base), mean(sizes), dtype, **tuples)
