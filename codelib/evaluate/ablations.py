"""What a change of one thing does: variants that differ in nothing but what they are shown, or in which language they are asked.

variants + their scores  ->  ablations(...)  ->  [{"what": "modalities", "benchmark", "metric", "rows": [{"label", "value", "ci", "n"}, …]}]
shuffled variants + rows ->  controls(...)   ->  how far accuracy falls without the right images, row by row
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codelib.contracts import OK
from codelib.evaluate.answers import parse_class
from codelib.evaluate.statistics import paired_difference
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, SPECTRUM, Variant

ABLATED = ("modalities", "language", "images")
METRICS = {CLASSIFICATION: ("accuracy", "f1"), GENERATION: ("bleu", "meteor", "cosine"), SPECTRUM: ("micro_f1",)}
_LABELS: dict[str, dict[str | None, str]] = {
    "modalities": {"both": "images and text", "images": "images only", "text": "text only"},
    "language": {None: "as the test set says", "en": "English", "zh": "Chinese"},
    "images": {"as_is": "its own images", "shuffled": "another patient's images"},
}


def ablations(shown: Sequence[Variant], scored: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One table for each field, group of variants, benchmark and metric of which two variants have a score. ``of`` tells tables of several
    models apart. scored: the variants of the report, which may be fewer."""
    scores = {variant["name"]: variant for variant in scored}
    found = []
    for what in ABLATED:
        groups: dict[str, list[Variant]] = {}
        for variant in shown:
            groups.setdefault(variant.twin(what), []).append(variant)
        for group in groups.values():
            if len({getattr(variant, what) for variant in group}) > 1:
                found += _tables(what, group, scores)
    return found


def _tables(what: str, group: Sequence[Variant], scores: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    order = list(_LABELS[what])
    group = sorted(group, key=lambda variant: order.index(getattr(variant, what)))
    tables = []
    for benchmark, metrics in METRICS.items():
        for metric in metrics:
            rows = []
            for variant in group:
                got = scores.get(variant.name, {}).get(benchmark) or {}
                if metric in got:
                    label = _LABELS[what][getattr(variant, what)]
                    figures = {"value": got[metric], "ci": got.get(f"{metric}_ci"), "n": got["n"]}
                    rows.append({"label": label, "variant": variant.name, **figures})
            if len(rows) > 1:
                tables.append({"what": what, "of": group[0].name, "benchmark": benchmark, "metric": metric, "rows": rows})
    return tables


def controls(
    shown: Sequence[Variant], by_variant: Mapping[str, Sequence[dict[str, Any]]], patient_of: Mapping[str, str], seed: int
) -> list[dict[str, Any]]:
    """For each shuffled variant and its twin: how far accuracy falls, over the rows that both answered."""
    compared = [variant for variant in shown if CLASSIFICATION in variant.benchmarks]
    twins = {variant.twin(): variant.name for variant in compared if variant.images == "as_is"}
    found = []
    for variant in compared:
        other = twins.get(variant.twin())
        if variant.images != "shuffled" or other is None:
            continue
        right = [
            {r["sample_id"]: float(r["parsed"] == parse_class(r["reference"])) for r in by_variant.get(name, ()) if _scored(r)}
            for name in (variant.name, other)
        ]
        both = sorted(right[0].keys() & right[1].keys())
        if both:
            a, b = ([scores[sample] for sample in both] for scores in right)
            interval = paired_difference(a, b, [patient_of[sample] for sample in both], seed)
            drop = (sum(a) - sum(b)) / len(both)
            pair = [interval.low, interval.high] if interval else None
            found.append({"shuffled": variant.name, "as_is": other, "n": len(both), "change": drop, "change_ci": pair})
    return found


def _scored(row: dict[str, Any]) -> bool:
    return bool(row["status"] == OK and row["benchmark"] == CLASSIFICATION)
