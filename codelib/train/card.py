"""The adapter's model card: what it is, what it was made from, how to load it, under which licence its base stands."""

from __future__ import annotations

import json
from typing import Any

from codelib.train.parity import Parity

# the base decides under which terms an adapter may be used
_LICENCES = {
    "Qwen/Qwen2.5-VL-3B-Instruct": (
        "other",
        "The base is under the Qwen Research License: research and evaluation, no commercial use without Alibaba Cloud's permission.",
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": ("apache-2.0", "The base is under the Apache License 2.0."),
    "tiny": ("apache-2.0", "The base is this repository's toy model: its answers mean nothing in a clinic."),
}
_LOAD = """```python
from peft import PeftModel
from transformers import Qwen2_5_VLForConditionalGeneration

base = Qwen2_5_VLForConditionalGeneration.from_pretrained("{base}", dtype="{dtype}")
model = PeftModel.from_pretrained(base, "adapter").eval()
```"""


def public_name(model: str) -> str:
    """What a model is called in files that are passed on: a hub id as it is; of a folder or address the hub id that its last part is of, else
    that part."""
    last = model.rstrip("/").rpartition("/")[2]
    known = next((name for name in _LICENCES if name.rpartition("/")[2] == last), None)
    if known is not None:
        return known
    return model if model.count("/") == 1 and not model.startswith(("/", ".", "~")) else last


def licence(base: str) -> tuple[str, str]:
    """The Hub's short name and a sentence."""
    unknown = (
        "other",
        f"Which licence {base} stands under is not known here: look at its own card before the adapter is used or passed on.",
    )
    return _LICENCES.get(base, unknown)


def _table(rows: dict[str, Any]) -> str:
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"| | |\n|---|---|\n{lines}"


def model_card(run: dict[str, Any], parity: Parity) -> str:
    """README.md of the adapter's folder, from what run.json holds."""
    short, sentence = licence(run["model"])
    front = {"base_model": run["model"], "library_name": "peft", "license": short, "pipeline_tag": "image-text-to-text"}
    head = "\n".join(f"{name}: {value}" for name, value in front.items())
    judged = f"{run['best_loss']:.4f} nats per answer token" + (
        f", {run['best_accuracy']:.1%} of answers right" if run["best_accuracy"] is not None else ""
    )
    left_out = sum(run["rejected"].values())
    facts = {
        "Base model": run["model"],
        "Data, SHA-256 of the training files": run["data_sha256"],
        "Samples": f"{run['train_samples']} training, {run['validation_samples']} validation (other patients), {left_out} left out"
        + (f", {spared} of the validation side not used" if (spared := run.get("spared_samples", 0)) else ""),
        "Trainable parameters": f"{run['trainable_parameters']:,}",
        "Steps": f"{run['steps']}, best at step {run['best_step']} by {run['best_by']}: {judged}",
        "Training loss": f"{run['first_loss']:.4f} at the first step, {run['last_loss']:.4f} at the last",
        "Made with": ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
    }
    return f"""---
{head}
tags: [lora, medical, dental]
---

# {run["name"]}: LoRA adapter for {run["model"]}

{_table(facts)}

![Curves](curves.png)

Not a medical device. It was tuned on photographs, radiographs and records of dental patients, and may be wrong in any answer.

## Licence of the base

{sentence}

## Loading

{_LOAD.format(base=run["model"], dtype=parity.dtype)}

Checked when it was made, in a process of its own with stock libraries: the mean difference to the trained model's logits was
{parity.to_trained:.2g} (tolerance {parity.tolerance:.2g}), to the base's {parity.to_base:.2g}. `canary.json` holds what base and adapter
say to a few samples, to see later whether an adapter is in effect.

## Recipe

```json
{json.dumps(run["settings"] | run["how"] | {"model": run["model"]}, indent=1, sort_keys=True)}
```
"""
