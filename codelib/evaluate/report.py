"""Writes what a run found: a page for a person, and the same for a program and for a paper.

    report dictionary + predictions  ->  WORKSPACE/evaluate/report/
        report.html         the page (page.py), with the error browser over cases.py
        table.csv           every figure, tidy (tables.py);  table-*.tex  booktabs tables (latex.py)
        predictions.csv     every answer
        report.json         the report dictionary; written last

Each file is committed whole; report.json, written last, says that the others belong to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codelib.core.store import Store
from codelib.evaluate import latex
from codelib.evaluate.cases import collect, examples
from codelib.evaluate.page import render, without_answers
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.run import Outcome
from codelib.evaluate.summary import summary
from codelib.evaluate.tables import predictions_csv, table_csv
from codelib.evaluate.variants import Variant

FOLDER = "report"
WITHDRAWN = "WITHDRAWN.txt"  # stands there while a report was taken away and is not made anew
_MB = 1_000_000
__all__ = ["FOLDER", "WITHDRAWN", "page_html", "summary", "write_report"]


def page_html(
    dataset_folder: Path,
    shown: Sequence[Variant],
    plan: Plan,
    outcome: Outcome,
    report: dict[str, Any],
    settings: EvaluateSettings,
) -> str:
    """The page with as many test visits in its error browser as settings.page_mb has room for."""
    rows = outcome.table.to_pylist()
    room = settings.page_mb * _MB - without_answers(report)
    for_examples = room // 12
    cases = collect(dataset_folder, shown, plan.tests, rows, settings.seed, room - for_examples)
    few = examples(cases, plan.tests, settings.num_examples, settings.seed, for_examples)
    return render(report, cases, few)


def write_report(
    store: Store,
    dataset_folder: Path,
    shown: Sequence[Variant],
    plan: Plan,
    outcome: Outcome,
    report: dict[str, Any],
    settings: EvaluateSettings,
) -> str:
    """Commit the files; returns where the page lies."""
    store.delete(f"{FOLDER}/{WITHDRAWN}")
    store.commit(f"{FOLDER}/report.html", page_html(dataset_folder, shown, plan, outcome, report, settings).encode())
    store.commit(f"{FOLDER}/table.csv", table_csv(report))
    made = latex.tables(report)
    for name in store.names(FOLDER):  # of an earlier run that had another benchmark
        if name.endswith(".tex") and Path(name).name not in made:
            store.delete(name)
    for name, text in made.items():
        store.commit(f"{FOLDER}/{name}", text.encode())
    store.commit(f"{FOLDER}/predictions.csv", predictions_csv(outcome))
    store.commit_json(f"{FOLDER}/report.json", report)
    return f"{store.root}/{FOLDER}/report.html"
