"""From predictions to the figures of the report: one plain dictionary, which is also report.json.

    predictions table + plan  ->  evaluate_scores(...)  ->  {"notes", "variants", "baselines", "controls", "paper", "versions", …}

Rows that failed (a server that was down, a missing adapter) are no answers: they are left out of the scores, counted, and the
variant is marked partial or failed. An answer that cannot be read is an answer, and wrong.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from codelib import __version__
from codelib.contracts import OK, SIX_CLASSES
from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample, other_patients
from codelib.evaluate.metrics import Baseline, chance, classification, macro_f1_interval, majority
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.predictor import BAD_REFERENCE
from codelib.evaluate.run import Outcome
from codelib.evaluate.similarity import TextScores, score_texts
from codelib.evaluate.statistics import (
    Interval,
    accuracy_interval,
    f1_interval,
    mean_interval,
    num_effective_patients,
    paired_difference,
)
from codelib.evaluate.subgroups import subgroups
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, Variant

Row = dict[str, Any]

PAPER_TABLE_3: tuple[tuple[str, float, float, float, float], ...] = (
    # arXiv 2511.04948, Table 3, in per cent: model, accuracy, precision, recall, F1
    ("Zero-shot Qwen 3B", 48.97, 59.35, 48.97, 49.93),
    ("Zero-shot Qwen 7B", 52.65, 73.55, 52.65, 52.99),
    ("Zero-shot GPT-4o", 55.83, 62.37, 55.83, 54.54),
    ("SFT Qwen 3B", 74.90, 79.97, 74.90, 76.19),
    ("SFT Qwen 7B", 78.92, 85.06, 78.92, 79.39),
)
_PACKAGES = ("torch", "transformers", "peft", "ray", "scikit-learn", "sacrebleu", "nltk", "openai", "pillow")


def is_toy(variant: Variant) -> bool:
    """The tiny model of demo and tests, by name or by folder."""
    return variant.model.rstrip("/").rsplit("/", 1)[-1] == "tiny"


def _pair(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None


def _people(patients: Sequence[str]) -> dict[str, Any]:
    return {"num_patients": len(set(patients)), "effective_patients": round(num_effective_patients(patients), 1)}


def _classification(rows: Sequence[Row], samples: Mapping[str, Sample], seed: int) -> dict[str, Any]:
    patients = [samples[row["sample_id"]].patient for row in rows]
    references = [parse_class(row["reference"]) or "" for row in rows]
    parsed = [row["parsed"] for row in rows]
    scored = classification(references, parsed)
    correct = [a == b for a, b in zip(references, parsed, strict=True)]
    return {
        **asdict(scored),
        "accuracy_ci": _pair(accuracy_interval(correct, patients, seed)),
        "f1_ci": _pair(f1_interval(references, parsed, patients, seed)),
        "macro_f1_ci": _pair(macro_f1_interval(references, parsed, patients, seed)),
        "constrained": _constrained(rows, samples, seed),
        "subgroups": subgroups(rows, samples, seed),
        **_people(patients),
    }


def _constrained(rows: Sequence[Row], samples: Mapping[str, Sample], seed: int) -> dict[str, Any] | None:
    """The same figures for the class that the model gives the highest likelihood; None where it was asked for none. Never mixed with what it
    wrote: it cannot fail to name a class here."""
    weighed = [row for row in rows if row.get("constrained") is not None]
    if not weighed:
        return None
    references = [parse_class(row["reference"]) or "" for row in weighed]
    chosen = [row["constrained"] for row in weighed]
    scored = classification(references, chosen)
    correct = [a == b for a, b in zip(references, chosen, strict=True)]
    shown = ("accuracy", "precision", "recall", "f1", "macro_f1", "n", "confusion")
    patients = [samples[row["sample_id"]].patient for row in weighed]
    interval = accuracy_interval(correct, patients, seed)
    return {**{name: getattr(scored, name) for name in shown}, "accuracy_ci": _pair(interval)}


def _text(scores: TextScores, patients: Sequence[str], seed: int) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(scores.bleu), "corpus_bleu": scores.corpus_bleu}
    for name in ("bleu", "meteor", "cosine"):
        values: Sequence[float] = getattr(scores, name)
        result[name] = sum(values) / len(values)
        result[f"{name}_ci"] = _pair(mean_interval(values, patients, seed))
    methods = {name: getattr(scores, name) for name in ("bleu_signature", "meteor_method", "cosine_method")}
    return {**result, **methods, **_people(patients)}


def _generation(rows: Sequence[Row], samples: Mapping[str, Sample], settings: EvaluateSettings) -> dict[str, Any]:
    answers = [row["parsed"] or "" for row in rows]
    scores = score_texts([row["reference"] for row in rows], answers, settings.embeddings)
    patients = [samples[row["sample_id"]].patient for row in rows]
    return {**_text(scores, patients, settings.seed), "num_unparsed": answers.count("")}


def _variant(
    shown: Variant, rows: Sequence[Row], plan: Plan, samples: Mapping[str, Sample], settings: EvaluateSettings
) -> dict[str, Any]:
    answered = [row for row in rows if row["status"] == OK]
    reasons = Counter(row["reject_reason"] for row in rows if row["status"] != OK)
    num_excluded = reasons.pop(BAD_REFERENCE, 0)
    result: dict[str, Any] = {
        "name": shown.name,
        "engine": shown.engine,
        "model": shown.model,
        "adapter": shown.adapter,
        "prompting": shown.prompting,
        "images": shown.images,
        "toy": is_toy(shown),
        "fingerprint": plan.fingerprints[shown.name],
        "status": "complete" if not reasons else ("partial" if answered else "failed"),
        "num_asked": len(rows),
        "num_answered": len(answered),
        "num_excluded": num_excluded,
        "failures": dict(sorted(reasons.items())),
    }
    for benchmark in (CLASSIFICATION, GENERATION):
        mine = [row for row in answered if row["benchmark"] == benchmark]
        result[f"{benchmark}_asked"] = sum(row["benchmark"] == benchmark for row in rows)
        if not mine:
            result[benchmark] = None
            continue
        scored = _classification(mine, samples, settings.seed) if benchmark == CLASSIFICATION else None
        result[benchmark] = scored or _generation(mine, samples, settings)
    return result


def _class_baselines(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    references = [name for name in (parse_class(sample.reference) for sample in samples) if name]
    baselines: list[Baseline] = [chance(references), majority(references)] if references else []
    return [{**asdict(baseline), "n": len(references)} for baseline in baselines]


def _text_baseline(samples: Sequence[Sample], settings: EvaluateSettings) -> dict[str, Any] | None:
    """Another patient's reference handed in as the answer: how alike all reports are."""
    donors: dict[str, Sample] = {}
    for language in sorted({sample.language for sample in samples}):
        donors |= other_patients([sample for sample in samples if sample.language == language], settings.seed)
    paired = [sample for sample in samples if sample.sample_id in donors]
    if not paired:
        return None
    answers = [donors[sample.sample_id].reference for sample in paired]
    scores = score_texts([sample.reference for sample in paired], answers, settings.embeddings)
    return {"name": "another patient's report", **_text(scores, [sample.patient for sample in paired], settings.seed)}


def _controls(
    shown: Sequence[Variant], by_variant: dict[str, list[Row]], patient_of: dict[str, str], seed: int
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
            {r["sample_id"]: float(r["parsed"] == parse_class(r["reference"])) for r in by_variant[name] if _scored(r)}
            for name in (variant.name, other)
        ]
        both = sorted(right[0].keys() & right[1].keys())
        if both:
            a, b = ([scores[sample] for sample in both] for scores in right)
            interval = paired_difference(a, b, [patient_of[sample] for sample in both], seed)
            drop = (sum(a) - sum(b)) / len(both)
            found.append({"shuffled": variant.name, "as_is": other, "n": len(both), "change": drop, "change_ci": _pair(interval)})
    return found


def _scored(row: Row) -> bool:
    return bool(row["status"] == OK and row["benchmark"] == CLASSIFICATION)


def _versions() -> dict[str, str]:
    found = {"codelib": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _notes(report: dict[str, Any]) -> list[str]:
    """What a reader must know before believing a figure."""
    notes = []
    if any(variant["toy"] for variant in report["variants"]):
        notes.append(
            "The model called “tiny” is a toy: a randomly initialised miniature of Qwen2.5-VL, trained for seconds. Its figures "
            "show that the pipeline works; they say nothing about dentistry."
        )
    for variant in report["variants"]:
        if variant["status"] != "complete":
            counts = variant["failures"].items()
            why = ", ".join(f"{reason.removeprefix('evaluate:')} × {count}" for reason, count in counts)
            notes.append(
                f"{variant['name']} is {variant['status']}: {variant['num_answered']} of {variant['num_asked']} questions "
                f"answered ({why}). Rows that failed are not in its scores."
            )
    if excluded := max((variant["num_excluded"] for variant in report["variants"]), default=0):
        notes.append(
            f"{excluded} test samples have a reference that names none of the six classes, or several: they are left out."
        )
    smallest = min((size["num_samples"] for size in report["benchmarks"].values()), default=0)
    if smallest < 100:
        notes.append(f"Few samples (n = {smallest}): read the intervals, not the points.")
    notes.append(
        "Intervals are 95 %, from a bootstrap over patients, because visits of one patient resemble each other. "
        "The effective number of patients is Kish's."
    )
    notes.append("The paper's figures stand for reference. They come from other data, and the n behind them is not known.")
    return notes


def evaluate_scores(
    dataset_name: str, shown: Sequence[Variant], plan: Plan, outcome: Outcome, settings: EvaluateSettings
) -> dict[str, Any]:
    """All figures of a run. shown: the variants as their file names them (no path of this machine)."""
    rows = outcome.table.to_pylist()
    by_variant = {variant.name: [row for row in rows if row["variant"] == variant.name] for variant in shown}
    taking_part = [variant for variant in shown if by_variant[variant.name]]
    samples = {sample.sample_id: sample for tests in plan.tests.values() for sample in tests}
    patient_of = {name: sample.patient for name, sample in samples.items()}
    classify, generate = plan.tests.get(CLASSIFICATION, ()), plan.tests.get(GENERATION, ())
    text_baseline = _text_baseline(generate, settings) if generate else None
    report: dict[str, Any] = {
        "dataset": dataset_name,
        "classes": list(SIX_CLASSES),
        "benchmarks": {
            name: {"num_samples": len(tests), **_people([sample.patient for sample in tests])}
            for name, tests in plan.tests.items()
        },
        "variants": [_variant(variant, by_variant[variant.name], plan, samples, settings) for variant in taking_part],
        "baselines": {
            CLASSIFICATION: _class_baselines(classify),
            GENERATION: [text_baseline] if text_baseline else [],
        },
        "controls": _controls(taking_part, by_variant, patient_of, settings.seed),
        "paper_table_3": [
            dict(zip(("name", "accuracy", "precision", "recall", "f1"), (name, *(x / 100 for x in scores)), strict=True))
            for name, *scores in PAPER_TABLE_3
        ],
        "settings": settings.fingerprint(),
        "versions": _versions(),
        "num_kept": outcome.num_kept,
        "num_made": outcome.num_made,
    }
    return {"notes": [*_notes(report), *plan.left_out], **report}
