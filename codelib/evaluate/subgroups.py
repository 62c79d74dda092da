"""Accuracy by what a release says of its samples: does the complaint already name the label, and in which language is it asked.

    classified rows + the test set's samples  ->  subgroups(...)  ->  [{"name", "n", "accuracy", "accuracy_ci", …}, …]

A model that only reads the complaint scores high where it names the label; what it is worth stands in the other group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.statistics import accuracy_interval, num_effective_patients

NAMED, NOT_NAMED = "complaint names the label", "complaint does not name it"
_LANGUAGES = {"en": "asked in English", "zh": "asked in Chinese"}


def subgroups(rows: Sequence[dict[str, Any]], samples: Mapping[str, Sample], seed: int) -> list[dict[str, Any]]:
    """rows: answered classification rows. Empty where the dataset says nothing of its samples; a language is no group where it is the
    only one."""
    groups: dict[str, list[dict[str, Any]]] = {}
    languages = {samples[row["sample_id"]].language for row in rows}
    for row in rows:
        sample = samples[row["sample_id"]]
        if sample.names_label is not None:
            groups.setdefault(NAMED if sample.names_label else NOT_NAMED, []).append(row)
        if len(languages) > 1 and sample.language in _LANGUAGES:
            groups.setdefault(_LANGUAGES[sample.language], []).append(row)
    order = (NAMED, NOT_NAMED, *_LANGUAGES.values())
    return [_scored(name, groups[name], samples, seed) for name in order if name in groups]


def _scored(name: str, rows: Sequence[dict[str, Any]], samples: Mapping[str, Sample], seed: int) -> dict[str, Any]:
    patients = [samples[row["sample_id"]].patient for row in rows]
    correct = [row["parsed"] is not None and row["parsed"] == parse_class(row["reference"]) for row in rows]
    interval = accuracy_interval(correct, patients, seed)
    return {
        "name": name,
        "n": len(rows),
        "accuracy": sum(correct) / len(rows),
        "accuracy_ci": [interval.low, interval.high] if interval else None,
        "num_patients": len(set(patients)),
        "effective_patients": round(num_effective_patients(patients), 1),
    }
