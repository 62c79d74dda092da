"""What is known of a run's samples and batches before a GPU is taken: on the screen, and as files in the run's folder.

Plan, Sampler ──> lines for a person · preflight.csv (a line for every sample) · preflight.json (sums)
"""

from __future__ import annotations

import csv
import io
from typing import Any

from codelib.core.store import Store
from codelib.train.sampler import Load, Sampler, load
from codelib.train.samples import Measured, Plan
from codelib.train.settings import TrainSettings

_STEPS = 300  # of the first epoch: more of them would tell the same of the load

COLUMNS = (
    "sample_id", "side", "images", "images_dropped", "visual_tokens", "text_tokens", "answer_tokens", "tokens", "reason", "detail",
)  # fmt: skip


def batches(sampler: Sampler, world: int) -> Load:
    """The load of the first epoch's first steps."""
    return load(sampler, range(min(sampler.steps_per_epoch, _STEPS)), world)


def lines(plan: Plan, sampler: Sampler, settings: TrainSettings) -> list[str]:
    found = batches(sampler, settings.max_workers)
    limit = f"{settings.tokens_per_batch:,} tokens" if settings.tokens_per_batch else f"{settings.batch_size} samples"
    said = [
        f"batches     {settings.packing}, at most {limit} a forward: {found.computed / max(found.micros, 1):,.0f} tokens on average, "
        f"{found.waste:.1%} padding; the least loaded worker of a step has {found.idle:.1%} less than the most loaded"
    ]
    dropped = [one for one in (*plan.training, *plan.validation) if one.images_dropped]
    if dropped:
        shown = ", ".join(
            f"{one.conversation.sample_id} ({one.images_dropped} of {len(one.conversation.images)})" for one in dropped[:3]
        )
        said.append(
            f"dropped     {sum(one.images_dropped for one in dropped)} images of {len(dropped)} samples over the budget: {shown}"
            f"{', …' if len(dropped) > 3 else ''}"
        )
    return said


def summary(plan: Plan, sampler: Sampler, settings: TrainSettings) -> dict[str, Any]:
    fit = [*plan.training, *plan.validation]
    found = batches(sampler, settings.max_workers)
    longest = max(fit, key=lambda one: one.tokens)
    return {
        "training_samples": len(plan.training),
        "validation_samples": len(plan.validation),
        "spared_samples": len(plan.spared),
        "rejected": plan.rejected_counts(),
        "images_dropped": sum(one.images_dropped for one in fit),
        "visual_tokens": sum(one.visual_tokens for one in fit),
        "text_tokens": sum(one.text_tokens for one in fit),
        "answer_tokens": sum(one.answer_tokens for one in fit),
        "longest_sample": longest.conversation.sample_id,
        "longest_tokens": longest.tokens,
        "cut_off": settings.cut_off,
        "visual_budget": settings.visual_budget,
        "steps_per_epoch": sampler.steps_per_epoch,
        "padding": round(found.waste, 6),
        "idle": round(found.idle, 6),
    }


def _line(one: Measured, side: str) -> list[Any]:
    counts = [one.visual_tokens, one.text_tokens, one.answer_tokens, one.tokens]
    images = len(one.conversation.images)
    return [one.conversation.sample_id, side, images, one.images_dropped, *counts, one.reason or "", one.detail]


def write(store: Store, plan: Plan, sampler: Sampler, settings: TrainSettings) -> None:
    """preflight.csv and preflight.json."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for side, members in plan.sides().items():
        writer.writerows(_line(one, side) for one in members)
    store.commit("preflight.csv", text.getvalue().encode())
    store.commit_json("preflight.json", summary(plan, sampler, settings))
