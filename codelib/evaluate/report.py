"""Writes what a run found: a page for a person, and the same for a program and for a paper.

    report dictionary + predictions  ->  WORKSPACE/evaluate/report/
        report.html         the page (page.py), with the error browser over cases.py
        table.csv           every figure, tidy (tables.py);  table-*.tex  booktabs tables (latex.py)
        predictions.csv     every answer
        rejected.csv        rows of a file of one's own that were not asked
        report.json         the report dictionary; written last

report.json is away while the others change: where it is, they belong to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codelib.core.store import Store, json_bytes
from codelib.evaluate import latex
from codelib.evaluate.cases import collect, examples
from codelib.evaluate.page import render, without_answers
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.run import Outcome
from codelib.evaluate.summary import summary
from codelib.evaluate.tables import predictions_csv, table_csv
from codelib.evaluate.variants import Variant

FOLDER, REPORT, REJECTED = "report", "report.json", "rejected.csv"
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
    if plan.image_names:
        paths = {name: path for path, name in plan.image_names.items()}
        rows = [row | {"images": [paths.get(name, name) for name in row["images"] or ()]} for row in rows]
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
    rejected: bytes | None = None,
) -> str:
    """Commit the files; returns where the page lies. rejected: the rows of a file of one's own that were not asked, as CSV."""
    page = page_html(dataset_folder, shown, plan, outcome, report, settings)
    files = {"report.html": page.encode(), "table.csv": table_csv(report)}
    files |= {name: text.encode() for name, text in latex.tables(report).items()}
    files |= {"predictions.csv": predictions_csv(outcome), REPORT: json_bytes(report)}
    files |= {REJECTED: rejected} if rejected is not None else {}
    stale = [  # of an earlier run that had another benchmark, or another file of one's own
        name for name in store.names(FOLDER) if name.endswith((".tex", REJECTED, WITHDRAWN)) and Path(name).name not in files
    ]
    store.commit_together({f"{FOLDER}/{name}": content for name, content in files.items()}, f"{FOLDER}/{REPORT}", stale)
    return f"{store.root}/{FOLDER}/report.html"
