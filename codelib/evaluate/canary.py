"""Is the adapter at work? A variant whose adapter changes nothing would be scored as if it had been tuned, and nobody would see it.

    before its questions, in the actor     a few items, each put with and without the adapter, in one batch
      adapter/canary.json fits these items?   the answers' log probabilities must be the trainer's, and not the base's
      none, or of other samples or weights?   they must not be the base's
    after the run, on the driver           answers of variant and base (or of two models of one server) over all rows: all equal?

What an actor finds is a record in ``evaluate/canaries/``; `verdicts` makes one entry for each variant of them:
``{"status": passed | refused | not_needed | not_run, "why", "num_items", "num_equal_to_base", "largest_difference"}``. Differences are
those of the mean log probability of an answer's tokens, in nats.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from codelib.contracts import OK
from codelib.core.stage import digest
from codelib.core.store import Store
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, SPECTRUM, Variant
from codelib.models.conversation import Conversation, Message, open_dataset
from codelib.models.engine import Answer, Request
from codelib.models.prompt import PixelPolicy

if TYPE_CHECKING:
    from codelib.evaluate.plan import Plan

PASSED, REFUSED, NOT_NEEDED, NOT_RUN = "passed", "refused", "not_needed", "not_run"
NO_EFFECT = "AdapterWithoutEffect"  # the class of error of rows that were not asked because of it
MOST_ITEMS = 4  # of a variant's own questions, where the trainer left none
LEAST_EQUAL = (
    8  # answers that must all equal the base's before that alone speaks against an adapter: two models may agree on a few classes
)
# the same, of the few that a control was asked (codelib.evaluate.plan)
CONTROL_EQUAL = {GENERATION: 8, SPECTRUM: 16, CLASSIFICATION: 24}
_FOLDER = "canaries"
_TOKENS = 16  # of an item's answer: enough to see two of them part
# of the logits' mean size. bfloat16 keeps 8 bits (codelib.train.parity allows as much), and a run trained in float32 may be evaluated in it
_TOLERANCE = 0.02
_ROUNDING = 0.02  # nats; a base asked twice in batches of another shape differs by less, in bfloat16 too
_VISIBLE = 1e-5  # the same in float32


@dataclass(frozen=True)
class Items:
    """What is put with and without the adapter. ``trained`` and ``base``: what the trainer noted of each (empty: nothing)."""

    prompts: tuple[Conversation, ...]  # with their answers
    pixels: PixelPolicy
    trained: tuple[float, ...] = ()
    base: tuple[float, ...] = ()
    size: float = 0.0


def record_name(prints: Mapping[str, str], variant: Variant) -> str:
    return f"{_FOLDER}/{digest([prints, vars(variant.pixels())])}.json"


def read_record(store: Store, name: str) -> dict[str, Any] | None:
    """What an actor found; None where none did, or a file that is no record."""
    if not store.exists(name):
        return None
    try:
        held = store.read_json(name)
    except ValueError:  # a broken disk: as if nobody had looked
        return None
    return held if isinstance(held, dict) and held.keys() >= _verdict(NOT_RUN, "").keys() else None


def trainers_items(variant: Variant, dataset: Path) -> Items | None:
    """The samples that the trainer noted, where this dataset has them and their images. None where it noted none, or they are of other data."""
    assert variant.adapter is not None
    try:
        noted = json.loads((Path(variant.adapter) / "canary.json").read_text(encoding="utf-8"))
        pixels = PixelPolicy(*noted["pixels"]) if "pixels" in noted else variant.pixels()
        scored = {
            name: (t, b) for name, t, b in zip(noted["sample_ids"], noted["trained_whole"], noted["base_whole"], strict=True)
        }
        found = _by_id(dataset, scored)
        if not found:
            return None
        trained, base = zip(*(scored[one.sample_id] for one in found), strict=True)
        return Items(tuple(found), pixels, trained, base, float(noted["size"]))
    except (OSError, ValueError, KeyError, TypeError):  # somebody else's adapter, with something else under this name
        return None


def _by_id(dataset: Path, wanted: Mapping[str, Any]) -> list[Conversation]:
    opened = open_dataset(dataset)
    files = {str(name).rsplit("/", 1)[0] for name in wanted} & set(opened.files)
    return [
        one
        for name in sorted(files)
        for one in opened.read(name)
        if one.sample_id in wanted
        and sum(message.role == "assistant" for message in one.messages) == 1
        and all(os.path.isfile(image) for image in one.images)
    ]


def pixel_notes(variants: Sequence[Variant]) -> list[str]:
    """Of resolved variants that are shown images by another policy than their adapter was trained on: often a forgotten line, at times meant."""
    notes = []
    for variant in variants:
        if variant.engine != "transformers" or variant.adapter is None:
            continue
        try:
            least, most = json.loads((Path(variant.adapter) / "canary.json").read_text(encoding="utf-8"))["pixels"]
        except (OSError, ValueError, KeyError, TypeError):  # somebody else's adapter
            continue
        shown = variant.pixels()
        if (least, most) != (shown.min_pixels, shown.max_pixels):
            notes.append(
                f"{variant.name}: its adapter was trained on images of {least} to {most} pixels and is shown {shown.min_pixels} to "
                f"{shown.max_pixels}; unless that is meant, write `min_pixels: {least}` and `max_pixels: {most}` in the variant."
            )
    return notes


def own_items(variant: Variant, questions: Sequence[tuple[Conversation, str]]) -> Items:
    """Of the variant's own questions, with their references."""
    prompts = (
        replace(one, messages=(*one.messages, Message("assistant", reference))) for one, reference in questions[:MOST_ITEMS]
    )
    return Items(tuple(prompts), variant.pixels())


def requests(variant: Variant, items: Items) -> list[Request]:
    """Base and adapter in turns, so that a batch holds both."""
    return [
        Request(prompt, _TOKENS, adapter, items.pixels, choices=(prompt.answer,))
        for prompt in items.prompts
        for adapter in (None, variant.adapter)
    ]


def judge(items: Items, answers: Sequence[Answer]) -> dict[str, Any]:
    """answers: to `requests`, in their order. An item that an engine could not do (a broken image) decides nothing; the others do."""
    pairs = list(zip(answers[::2], answers[1::2], strict=True))
    errors = sorted({one.error for pair in pairs for one in pair if one.error is not None})
    items, pairs = _answered(items, pairs)
    if not pairs or not all(one.log_likelihoods for pair in pairs for one in pair):
        why = f"its canary items met {', '.join(errors)}" if errors else "no items, or an engine that tells no likelihoods"
        return _verdict(NOT_RUN, why)
    base = [without.log_likelihoods[0] for without, _ in pairs]
    tuned = [with_it.log_likelihoods[0] for _, with_it in pairs]
    equal = sum(without.text == with_it.text for without, with_it in pairs)
    counts = (len(pairs), equal, max((abs(a - b) for a, b in zip(tuned, base, strict=True)), default=0.0))
    if all(map(math.isfinite, base)) and not all(map(math.isfinite, tuned)):
        return _verdict(REFUSED, "with it the likelihood of an answer is no number: its weights are broken", *counts[:2])
    tolerance = 2 * _TOLERANCE * items.size  # a log probability is a difference of two logits
    if items.trained and _apart(base, items.base) <= tolerance:
        problem = _against_trainer(items, base, tuned, tolerance)
        return _verdict(REFUSED, problem, *counts) if problem else _verdict(PASSED, "the trainer's log probabilities", *counts)
    if equal == len(pairs) and counts[2] < _ROUNDING:
        why = f"with and without it the answers to all {len(pairs)} canary items are the same, and equally likely"
        return _verdict(REFUSED, why, *counts)
    why = "it changes answers or their likelihood"
    if items.trained:
        why += "; the trainer's figures do not fit this base or these samples, and were not compared"
    return _verdict(PASSED, why, *counts, by_trainer=False)


def _answered(items: Items, pairs: list[tuple[Answer, Answer]]) -> tuple[Items, list[tuple[Answer, Answer]]]:
    """The items, with their figures, that were answered both with and without the adapter."""
    good = [number for number, pair in enumerate(pairs) if all(one.error is None for one in pair)]
    trained, base = (tuple(held[number] for number in good if held) for held in (items.trained, items.base))
    prompts = tuple(items.prompts[number] for number in good)
    return replace(items, prompts=prompts, trained=trained, base=base), [pairs[number] for number in good]


def _against_trainer(items: Items, base: Sequence[float], tuned: Sequence[float], tolerance: float) -> str | None:
    """What is wrong, where the base gives the trainer's figures for the base."""
    wanted, effect, off = _apart(items.trained, items.base), _apart(tuned, base), _apart(tuned, items.trained)
    if effect < _VISIBLE or (wanted > 2 * tolerance and effect < wanted / 2):
        return (
            f"it has no effect: with it the canary's answers are {effect:.2g} nats a token from the base's, where the trainer measured "
            f"{wanted:.2g}; its weights do not reach this model"
        )
    if off > tolerance:
        return (
            f"it is not what was trained: the canary's answers are {off:.2g} nats a token from the trainer's figures, more than the "
            f"{tolerance:.2g} that rounding explains"
        )
    return None


def _apart(some: Sequence[float], others: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(some, others, strict=True)) / len(some)


def _verdict(
    status: str,
    why: str,
    num_items: int = 0,
    num_equal: int = 0,
    largest: float | None = None,
    by_trainer: bool = True,
) -> dict[str, Any]:
    return {
        "status": status,
        "why": why,
        "num_items": num_items,
        "num_equal_to_base": num_equal,
        "largest_difference": largest,
        "by_trainer": by_trainer,
    }


def verdicts(plan: Plan, table: pa.Table, store: Store) -> dict[str, dict[str, Any]]:
    """Variant name -> its canary, from the actors' records and the finished table."""
    answers: dict[str, dict[tuple[str, str], str]] = {variant.name: {} for variant in plan.variants}
    columns = (table[name].to_pylist() for name in ("variant", "benchmark", "sample_id", "status", "answer"))
    for variant, benchmark, sample, status, answer in zip(*columns, strict=True):
        if status == OK:
            answers[variant][benchmark, sample] = answer
    shown = [variant for variant in plan.variants if variant.name not in plan.controls]
    found = {variant.name: _of_variant(variant, plan, answers, store) for variant in shown}
    for verdict in found.values():
        verdict.pop("by_trainer")
    return found


def _of_variant(
    variant: Variant, plan: Plan, answers: Mapping[str, Mapping[tuple[str, str], str]], store: Store
) -> dict[str, Any]:
    if variant.engine == "transformers" and variant.adapter is None:
        return _verdict(NOT_NEEDED, "no adapter")
    if variant.engine != "transformers" and variant.base_url is None and variant.adapter is None:
        return _verdict(NOT_NEEDED, "a public model")
    other = _base_of(variant, plan)
    name = record_name(plan.fingerprints[variant.name], variant)
    held = read_record(store, name) if variant.engine == "transformers" else None
    record = _verdict(NOT_RUN, "nothing was asked yet") if held is None else {k: v for k, v in held.items() if k != "run"}
    if record["status"] == REFUSED or (record["status"] == PASSED and record["by_trainer"]) or other is None:
        if variant.engine != "transformers" and other is None:
            return _verdict(NOT_NEEDED, "no second model of its server is in the list")
        return record
    both = answers[variant.name].keys() & answers[other.name].keys()
    equal = sum(answers[variant.name][key] == answers[other.name][key] for key in both)
    counts = (len(both), equal, record["largest_difference"])
    least = max(CONTROL_EQUAL[one] for one in other.benchmarks) if other.name in plan.controls else LEAST_EQUAL
    if len(both) >= least and equal == len(both):
        if variant.adapter is None:  # two models of a server may agree by chance: told, not refused
            return _verdict(
                NOT_RUN, f"all of its {equal} answers are those of {other.name}: does the server hold two models?", *counts
            )
        return _verdict(REFUSED, f"all of its {equal} answers are those of {other.name}: its adapter had no effect", *counts)
    if record["status"] == PASSED:
        return record
    if equal < len(both):
        return _verdict(PASSED, f"its answers are not those of {other.name}", *counts)
    return _verdict(NOT_RUN, f"{len(both)} answers of both it and {other.name}; {least} are needed to tell", *counts)


def _base_of(variant: Variant, plan: Plan) -> Variant | None:
    """The variant that is asked the same without the adapter: bare weights of the group, or a server's bare model, or its first of the list."""
    asked = variant.twin("adapter", "model")
    put = {
        one.name: {b for (name, b), samples in plan.questions.items() if name == one.name and samples} for one in plan.variants
    }
    alike = [
        one
        for one in plan.variants
        if one.name != variant.name and one.twin("adapter", "model") == asked and put[one.name] & put[variant.name]
    ]
    if variant.engine == "transformers":
        model = plan.fingerprints[variant.name]["model"]
        return next((one for one in alike if one.adapter is None and plan.fingerprints[one.name]["model"] == model), None)
    if variant.adapter is not None:
        bare = next((one for one in alike if one.adapter is None and one.model == variant.model), None)
        if bare is not None:
            return bare
    first = next((one for one in plan.variants if one.name == variant.name or one in alike), None)
    return (
        first
        if first is not None and first.name != variant.name and (first.model, first.adapter) != (variant.model, variant.adapter)
        else None
    )
