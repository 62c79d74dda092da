"""What a reader of the report must know before believing a figure: notes, the paper's figures, versions.

report dictionary  ->  notes(report)  ->  plain sentences, the gravest first
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from codelib import __version__
from codelib.evaluate.costs import NOTE as COST_NOTE
from codelib.evaluate.paired import BOOTSTRAP, SIGNIFICANT

PAPER_TABLE_3: tuple[tuple[str, float, float, float, float], ...] = (
    # arXiv 2511.04948, Table 3, in per cent: model, accuracy, precision, recall, F1
    ("Zero-shot Qwen 3B", 48.97, 59.35, 48.97, 49.93),
    ("Zero-shot Qwen 7B", 52.65, 73.55, 52.65, 52.99),
    ("Zero-shot GPT-4o", 55.83, 62.37, 55.83, 54.54),
    ("SFT Qwen 3B", 74.90, 79.97, 74.90, 76.19),
    ("SFT Qwen 7B", 78.92, 85.06, 78.92, 79.39),
)
_PACKAGES = ("torch", "transformers", "peft", "ray", "scikit-learn", "sacrebleu", "nltk", "openai", "pillow", "scipy")


def paper_table() -> list[dict[str, Any]]:
    """Table 3 as shares in 0..1."""
    names = ("name", "accuracy", "precision", "recall", "f1")
    return [dict(zip(names, (name, *(x / 100 for x in scores)), strict=True)) for name, *scores in PAPER_TABLE_3]


def versions() -> dict[str, str]:
    """What made the figures: this package, Python, and the libraries that count."""
    found = {"codelib": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def notes(report: dict[str, Any]) -> list[str]:
    """What a reader must know before believing a figure."""
    notes = []
    if any(variant["toy"] for variant in report["variants"]):
        notes.append(
            "The model called “tiny” is a toy: a randomly initialised miniature of Qwen2.5-VL, trained for seconds. Its figures "
            "show that the pipeline works; they say nothing about dentistry."
        )
    notes += [line for variant in report["variants"] if (line := _unfinished(variant))]
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
    notes += report["withheld"]
    if tested := [line for line in report["paired"] if line["p"] is not None]:
        clustered = any(line["metric"] == "accuracy" and line["test"] == BOOTSTRAP for line in tested)
        why = "; McNemar's test takes visits for independent, and stands in report.json alone" if clustered else ""
        notes.append(
            f"Differences between variants are tested over the rows that both answered ({BOOTSTRAP}{why}), two-sided, and corrected by Holm "
            f"over all pairs of one metric; significant means p < {SIGNIFICANT} after the correction."
        )
    notes.append(COST_NOTE)
    notes.append("The paper's figures stand for reference. They come from other data, and the n behind them is not known.")
    return notes


def _unfinished(variant: dict[str, Any]) -> str | None:
    if variant["status"] == "complete":
        return None
    if variant["status"] == "refused":
        return f"{variant['name']} is not scored: the canary refused it. {variant['canary']['why']}"
    counts = variant["failures"].items()
    why = ", ".join(f"{reason.removeprefix('evaluate:')} × {count}" for reason, count in counts)
    return (
        f"{variant['name']} is {variant['status']}: {variant['num_answered']} of {variant['num_asked']} questions "
        f"answered ({why}). Rows that failed are not in its scores."
    )
