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
from codelib.evaluate.page import render, without_browser
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.run import Outcome
from codelib.evaluate.tables import predictions_csv, table_csv
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, Variant

FOLDER = "report"
WITHDRAWN = "WITHDRAWN.txt"  # stands there while a report was taken away and is not made anew
_MB = 1_000_000
_TROUBLES = 5  # sentences of the terminal; the page has all


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
    room = settings.page_mb * _MB - without_browser(report)
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


def summary(report: dict[str, Any]) -> str:
    """The small table of the terminal."""
    lines = []
    classified = [v for v in report["variants"] if v[f"{CLASSIFICATION}_asked"]]
    generated = [v for v in report["variants"] if v[f"{GENERATION}_asked"]]
    names = [v["name"] for v in report["variants"]] + [r["name"] for rows in report["baselines"].values() for r in rows]
    width = max((len(name) for name in names), default=8) + 2
    if classified:
        lines.append(f"  {'classification':<{width}}{'accuracy':>8}  {'95 % interval':<16}{'F1':>6}{'n':>7}{'unparsed':>10}")
        lines += [_class_line(v["name"], v[CLASSIFICATION], width) for v in classified]
        lines += [_class_line(row["name"], row, width) for row in report["baselines"][CLASSIFICATION]]
        groups = {v["name"]: v[CLASSIFICATION]["subgroups"] for v in classified if v[CLASSIFICATION]}
        lines += [_group_line(name, found) for name, found in groups.items() if len(found) > 1]  # one group is the whole
        for control in report["controls"]:
            pair = control["change_ci"]
            sure = f" [{100 * pair[0]:+.1f}, {100 * pair[1]:+.1f}]" if pair else ""
            lines.append(f"  {control['as_is']}: images shuffled, accuracy {100 * control['change']:+.1f} points{sure}")
    if generated:
        lines.append(f"  {'generation':<{width}}{'BLEU':>8}{'METEOR':>9}{'cosine':>9}{'n':>7}{'empty':>8}")
        lines += [_text_line(v["name"], v[GENERATION], width) for v in generated]
        lines += [_text_line(row["name"], row, width) for row in report["baselines"][GENERATION]]
    return "\n".join(lines)


def _class_line(name: str, scores: dict[str, Any] | None, width: int) -> str:
    if scores is None:
        return f"  {name:<{width}}{'failed':>8}"
    pair = scores.get("accuracy_ci")
    between = f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}" if pair else ""
    end = f"{100 * scores['f1']:>6.1f}{scores['n']:>7}{scores.get('num_unparsed', ''):>10}"
    return f"  {name:<{width}}{100 * scores['accuracy']:>8.1f}  {between:<16}{end}".rstrip()


def _group_line(name: str, groups: Sequence[dict[str, Any]]) -> str:
    return f"  {name}: " + "; ".join(f"{g['name']} {100 * g['accuracy']:.1f} (n = {g['n']})" for g in groups)


def _text_line(name: str, scores: dict[str, Any] | None, width: int) -> str:
    if scores is None:
        return f"  {name:<{width}}{'failed':>8}"
    means = "".join(f"{100 * scores[metric]:>9.1f}" for metric in ("meteor", "cosine"))
    return f"  {name:<{width}}{scores['corpus_bleu']:>8.1f}{means}{scores['n']:>7}{scores.get('num_unparsed', ''):>8}".rstrip()
