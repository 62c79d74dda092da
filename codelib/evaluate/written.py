"""All figures of written reports: lexical scores, embeddings, sections, length, clinical checks, each language apart where there are two.

    references + answers + patients  ->  written(...)  ->  the dictionary of report.json, and "rows": one value a report for the paired tests

Intervals are 95 %, patients resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from codelib.evaluate.clinical import clinical, diagnosis_f1, tooth_f1
from codelib.evaluate.conditions import is_chinese
from codelib.evaluate.sections import coverage
from codelib.evaluate.similarity import TextScores, part_of, score_texts
from codelib.evaluate.spectrum_scores import spectrum_of_reports
from codelib.evaluate.statistics import Array, Interval, bootstrap, mean_interval

ROWS = "rows"


def _pair(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None


def written(
    references: Sequence[str], answers: Sequence[str], patients: Sequence[str], embeddings: Sequence[str], seed: int
) -> dict[str, Any]:
    """The scores of one variant. Raises ValueError where there is nothing to score."""
    scores = score_texts(references, answers, embeddings)
    whole = _figures(scores, references, answers, patients, seed)
    whole[ROWS] = {name: list(getattr(scores, name)) for name in ("bleu", "meteor", "cosine")}
    spoken: dict[str, list[int]] = {"en": [], "zh": []}
    for n, reference in enumerate(references):
        spoken["zh" if is_chinese(reference) else "en"].append(n)
    if all(spoken.values()):
        whole["by_language"] = {}
        for language, which in spoken.items():
            mine = part_of(scores, which)
            true, said, people = ([column[n] for n in which] for column in (references, answers, patients))
            whole["by_language"][language] = _figures(mine, true, said, people, seed)
    return whole


def _figures(
    scores: TextScores, references: Sequence[str], answers: Sequence[str], patients: Sequence[str], seed: int
) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(scores.bleu), "corpus_bleu": scores.corpus_bleu}
    for name in ("bleu", "meteor", "cosine"):
        values: Sequence[float] = getattr(scores, name)
        result[name] = sum(values) / len(values)
        result[f"{name}_ci"] = _pair(mean_interval(values, patients, seed))
    for name in ("bleu_signature", "meteor_method", "cosine_method"):
        result[name] = getattr(scores, name)
    lengths = np.asarray(scores.lengths, dtype=np.float64)
    covered = coverage(references, answers)
    checked = clinical(references, answers)
    return {
        **result,
        "embeddings": _embeddings(scores, patients, seed),
        "sections": {
            "coverage": sum(covered.rows) / len(covered.rows),
            "coverage_ci": _pair(mean_interval(covered.rows, patients, seed)),
            "each": covered.each,
            "each_n": covered.asked,
        },
        "length_ratio": float(_ratio(lengths.sum(axis=0, keepdims=True))[0]),
        "length_ratio_ci": _pair(bootstrap(lengths, patients, _ratio, seed)),
        "clinical": {
            **checked.report(),
            "tooth_f1_ci": _pair(bootstrap(checked.rows, patients, tooth_f1, seed)),
            "diagnosis_f1_ci": _pair(bootstrap(checked.rows, patients, diagnosis_f1, seed)),
        },
        "spectrum": spectrum_of_reports(references, answers, patients, seed),
        "num_unparsed": sum(not answer.strip() for answer in answers),
    }


def _embeddings(scores: TextScores, patients: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Each model over the rows that it read."""
    found = []
    for name, column in scores.cosines.models.items():
        read = [(score, patient) for score, patient in zip(column, patients, strict=True) if score is not None]
        values = [score for score, _ in read]
        interval = mean_interval(values, [patient for _, patient in read], seed)
        found.append({"model": name, "mean": sum(values) / len(values), "ci": _pair(interval), "n": len(read)})
    return found


def _ratio(sums: Array) -> Array:
    """Words of the answers for each word of the references."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)
