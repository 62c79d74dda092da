"""From predictions to the figures of the report: one plain dictionary, which is also report.json.

    predictions table + plan  ->  evaluate_scores(...)  ->  {"notes", "variants", "baselines", "controls", "paper", "versions", …}

Rows that failed (a server that was down, a missing adapter) are no answers: they are left out of the scores, counted, and the
variant is marked partial or failed. An answer that cannot be read is an answer, and wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from codelib.contracts import OK, SIX_CLASSES
from codelib.evaluate.ablations import ablations, controls
from codelib.evaluate.answers import parse_class
from codelib.evaluate.baselines import class_baselines
from codelib.evaluate.benchmarks import Sample, other_patients
from codelib.evaluate.costs import cost, once
from codelib.evaluate.diagnosis import diagnose, without_adapter
from codelib.evaluate.embeddings import prepare
from codelib.evaluate.metrics import classification, macro_f1_interval
from codelib.evaluate.notes import notes, paper_table, versions
from codelib.evaluate.paired import paired
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.predictor import BAD_REFERENCE
from codelib.evaluate.prompts import prompts
from codelib.evaluate.run import Outcome
from codelib.evaluate.spectrum_scores import spectrum
from codelib.evaluate.statistics import Interval, accuracy_interval, f1_interval, num_effective_patients
from codelib.evaluate.subgroups import subgroups, withheld
from codelib.evaluate.variants import BENCHMARKS, CLASSIFICATION, GENERATION, SPECTRUM, Variant
from codelib.evaluate.written import ROWS, written

Row = dict[str, Any]

REFUSED = "refused"  # status of a canary, and of its variant: there is nothing to score
_NOT_RUN = {"status": "not_run", "why": "", "num_items": 0, "num_equal_to_base": 0, "largest_difference": None}


def import_libraries() -> None:
    """Those of the metrics, which take seconds to import; for a thread that has time before there are answers."""
    for name in ("sklearn.metrics", "scipy.stats", "nltk.translate.meteor_score", "nltk.corpus", "sacrebleu.metrics.bleu"):
        import_module(name)


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


def _written(
    references: Sequence[str], answers: Sequence[str], patients: Sequence[str], settings: EvaluateSettings
) -> dict[str, Any]:
    return {**written(references, answers, patients, settings.embeddings, settings.seed), **_people(patients)}


def _generation(rows: Sequence[Row], samples: Mapping[str, Sample], settings: EvaluateSettings) -> dict[str, Any]:
    answers = [row["parsed"] or "" for row in rows]
    patients = [samples[row["sample_id"]].patient for row in rows]
    return _written([row["reference"] for row in rows], answers, patients, settings)


def _spectrum(rows: Sequence[Row], samples: Mapping[str, Sample], seed: int) -> dict[str, Any]:
    patients = [samples[row["sample_id"]].patient for row in rows]
    scored = spectrum([row["reference"] for row in rows], [row["parsed"] for row in rows], patients, seed)
    return {**scored, **_people(patients)}


def _score(benchmark: str, rows: Sequence[Row], samples: Mapping[str, Sample], settings: EvaluateSettings) -> dict[str, Any]:
    """Of answered rows of one variant and one benchmark, at least one."""
    if benchmark == CLASSIFICATION:
        return _classification(rows, samples, settings.seed)
    if benchmark == SPECTRUM:
        return _spectrum(rows, samples, settings.seed)
    return _generation(rows, samples, settings)


def _asked(shown: Variant, plan: Plan, canary: dict[str, Any]) -> dict[str, Any]:
    """What a variant is: as its file names it, and by fingerprint."""
    fields = shown.model_dump(mode="json")
    names = ("name", "engine", "model", "adapter", "prompting", "images", "language", "modalities", "decoding")
    told = {name: fields[name] for name in names}
    return {**told, "toy": is_toy(shown), "fingerprint": plan.fingerprints[shown.name], "canary": canary}


def _variant(
    shown: Variant,
    rows: Sequence[Row],
    plan: Plan,
    canary: dict[str, Any],
    samples: Mapping[str, Sample],
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """All that the report says of one variant. rows: its own; answered ones take their text scores with them, for the paired tests."""
    answered = [row for row in rows if row["status"] == OK]
    reasons = Counter(row["reject_reason"] for row in rows if row["status"] != OK)
    num_excluded = reasons.pop(BAD_REFERENCE, 0)
    refused = canary["status"] == REFUSED
    result: dict[str, Any] = {
        **_asked(shown, plan, canary),
        "status": REFUSED if refused else "complete" if not reasons else ("partial" if answered else "failed"),
        "num_asked": len(rows),
        "num_answered": len(answered),
        "num_excluded": num_excluded,
        "failures": dict(sorted(reasons.items())),
        "cost": cost(once(answered, plan.work)),
    }
    for benchmark in BENCHMARKS:
        mine = [row for row in answered if row["benchmark"] == benchmark]
        result[f"{benchmark}_asked"] = sum(row["benchmark"] == benchmark for row in rows)
        result[benchmark] = _score(benchmark, mine, samples, settings) if mine and not refused else None
        for name, values in (result[benchmark] or {}).pop(ROWS, {}).items():
            for row, value in zip(mine, values, strict=True):
                row[name] = value
    return result


def _text_baseline(samples: Sequence[Sample], settings: EvaluateSettings) -> dict[str, Any] | None:
    """Another patient's reference handed in as the answer: how alike all reports are."""
    donors: dict[str, Sample] = {}
    for language in sorted({sample.language for sample in samples}):
        donors |= other_patients([sample for sample in samples if sample.language == language], settings.seed)
    whole = [sample for sample in samples if sample.sample_id in donors]
    if not whole:
        return None
    answers = [donors[sample.sample_id].reference for sample in whole]
    scored = _written([sample.reference for sample in whole], answers, [sample.patient for sample in whole], settings)
    del scored[ROWS]
    return {"name": "another patient's report", **scored}


def evaluate_scores(
    dataset_name: str, shown: Sequence[Variant], plan: Plan, outcome: Outcome, settings: EvaluateSettings
) -> dict[str, Any]:
    """All figures of a run. shown: the variants as their file names them (no path of this machine)."""
    rows = outcome.table.to_pylist()
    canaries = _canaries(outcome)
    by_variant = {variant.name: [row for row in rows if row["variant"] == variant.name] for variant in shown}
    taking_part = [variant for variant in shown if by_variant[variant.name] or canaries[variant.name]["status"] == REFUSED]
    samples = {sample.sample_id: sample for tests in plan.tests.values() for sample in tests}
    classify, generate = plan.tests.get(CLASSIFICATION, ()), plan.tests.get(GENERATION, ())
    reports = [row for row in rows if row["benchmark"] == GENERATION and row["status"] == OK]
    prepare([text for row in reports for text in (row["reference"], row["parsed"] or "")], settings.embeddings)
    text_baseline = _text_baseline(generate, settings) if generate else None
    report: dict[str, Any] = {
        "dataset": dataset_name,
        "classes": list(SIX_CLASSES),
        "benchmarks": {
            name: {"num_samples": len(tests), **_people([sample.patient for sample in tests])}
            for name, tests in plan.tests.items()
        },
        "variants": [_variant(one, by_variant[one.name], plan, canaries[one.name], samples, settings) for one in taking_part],
        "baselines": {
            CLASSIFICATION: class_baselines(classify),
            GENERATION: [text_baseline] if text_baseline else [],
        },
        "withheld": withheld(samples),
        "cost": cost(once((row for row in (*rows, *outcome.controls.to_pylist()) if row["status"] == OK), plan.work)),
        "prompts": prompts(taking_part, plan.questions),
        "paper_table_3": paper_table(),
        "settings": settings.fingerprint(),
        "versions": versions(),
        "num_kept": outcome.num_kept,
        "num_made": outcome.num_made,
    }
    report |= _compared(taking_part, report["variants"], by_variant, plan, settings.seed)
    for variant, entry in zip(taking_part, report["variants"], strict=True):
        base = without_adapter(variant, taking_part)
        answers = [[row for row in by_variant[one.name] if row["status"] == OK] if one else [] for one in (variant, base)]
        entry["diagnosis"] = diagnose(variant, entry, answers[0], report["baselines"][CLASSIFICATION], answers[1])
    return {"notes": [*notes(report), *plan.left_out], **report}


def _compared(
    shown: Sequence[Variant], entries: Sequence[dict[str, Any]], by_variant: dict[str, list[Row]], plan: Plan, seed: int
) -> dict[str, Any]:
    """What sets variants beside each other. Controls stay out of the pairs: they are compared with their own variant, and would only cost
    every other pair its significance."""
    scored = {entry["name"]: by_variant[entry["name"]] for entry in entries if entry["status"] != REFUSED}
    as_is = {one.name: scored[one.name] for one in shown if one.images == "as_is" and one.name in scored}
    patient_of = {sample.sample_id: sample.patient for tests in plan.tests.values() for sample in tests}
    return {
        "partial": any(entry["status"] != "complete" for entry in entries),
        "paired": paired(as_is, patient_of, tuple(plan.tests), seed),
        "controls": controls(shown, scored, patient_of, seed),
        "ablations": ablations(shown, entries),
    }


def _canaries(outcome: Outcome) -> defaultdict[str, dict[str, Any]]:
    """What the canary said of each variant; of one that it was not asked about, that."""
    return defaultdict(lambda: dict(_NOT_RUN), outcome.canaries)
