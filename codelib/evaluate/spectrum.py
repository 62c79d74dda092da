"""The benchmark of the full spectrum: every condition of a visit at once, where classification knows six classes and one answer.

    complete-dataset.csv ── spectrum == test ──> visits ──┬── those of patients whom no training file shows: asked by default
                                                          └── the others: fair for a model that never saw this data set

The multi-label split (`spectrum`) and that of the six classes (`split`) are drawn apart, and conversations for training are made by `split`.
So most test visits of the spectrum belong to patients whom an adapter tuned on train*.json has seen, reports included.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import yaml

from codelib.evaluate.visits import Visit, columns, iter_visits, table_file
from codelib.models.conversation import Dataset
from codelib.models.words import Language, Modalities, words

TEST = "test"
_TRAINING_SIDES = ("train", "validation")
_TRAINING_FILES = ("train", "train-cls", "train-diagnostic")
MAX_NAMES = 200  # a question lists at most so many, the most frequent ones: a prompt must end somewhere


@dataclass(frozen=True)
class Spectrum:
    """The test visits of the multi-label split, in the order of the table. ``seen``: checkups of patients whom a training file shows.
    ``names``: the conditions that a question lists."""

    visits: tuple[Visit, ...]
    seen: frozenset[str]
    names: tuple[str, ...]


def read_spectrum(dataset: Dataset) -> Spectrum:
    """Read once while the table stays as it is. Raises ValueError where it does not say who is tested, or nobody is."""
    path = table_file(dataset.folder)
    stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path else (0, 0)
    return _read(dataset.folder, tuple(sorted(dataset.files.items())), stamp)


@lru_cache(maxsize=1)
def _read(folder: Path, files: tuple[tuple[str, Path], ...], stamp: tuple[int, int]) -> Spectrum:
    dataset = Dataset(folder, dict(files))
    there = columns(dataset.folder)
    if "spectrum" not in there or "anomalies_en" not in there:
        what = (
            "complete-dataset.csv has no column spectrum"
            if "anomalies_en" in there
            else "there is no complete-dataset.csv with labels"
        )
        raise ValueError(
            f"--dataset {dataset.folder}: benchmark spectrum: {what}; the published COde has none, a release of jobs.dataset has one"
        )
    tested: dict[str, Visit] = {}  # by checkup: of a visit that stands twice the first row
    trained = set() if "split" in there else _trained(dataset)
    counts: Counter[str] = Counter()
    for visit in iter_visits(dataset.folder):
        counts.update(visit.conditions)
        if visit.split in _TRAINING_SIDES:
            trained.add(visit.patient)
        if visit.spectrum == TEST and visit.conditions:
            tested.setdefault(visit.checkup_id, visit)
    if not tested:
        raise ValueError(f"--dataset {dataset.folder}: benchmark spectrum: no visit of the table is in its test set")
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_NAMES]
    seen = frozenset(visit.checkup_id for visit in tested.values() if visit.patient in trained)
    return Spectrum(tuple(tested.values()), seen, tuple(sorted(frequent)))


def _trained(dataset: Dataset) -> set[str]:
    """Patients of the training files, where the table has no column `split`."""
    names = [name for name in _TRAINING_FILES if name in dataset.files]
    return {row.patient for name in names for row in dataset.read(name)}


def reference(visit: Visit) -> str:
    return json.dumps(list(visit.conditions), ensure_ascii=False)


@cache
def _templates() -> dict[str, str]:
    loaded: dict[str, str] = yaml.safe_load((Path(__file__).parent / "spectrum.yaml").read_text(encoding="utf-8"))
    return loaded


def question(names: tuple[str, ...], language: Language, modalities: Modalities) -> str:
    """One line."""
    return _templates()[language].format(evidence=words(language).evidence[modalities], names="; ".join(names))
