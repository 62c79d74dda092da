"""Compare model variants on the two benchmarks of a released dataset, and write one report.

    python -m jobs.evaluate --dataset RELEASE --workspace DIR --variants jobs/variants/paper.yaml

    variants × test samples ──> predictions (kept, never asked for twice) ──> scores ──> DIR/evaluate/report/report.html

Exit code 0: every variant answered; 1: one of them did not, in whole or in part (the report is written and says which); 2: bad
input.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from codelib.core.cli import JobFailed, Parser, leave, run_job
from codelib.core.cluster import connect
from codelib.core.config import load, nearest
from codelib.core.store import Store, Workspace
from codelib.data.identifiers import contains_identifier
from codelib.evaluate.outside import advice, check_servers, cost_lines
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.report import summary, write_report
from codelib.evaluate.run import num_known, num_pending, predict
from codelib.evaluate.scores import evaluate_scores
from codelib.evaluate.variants import BENCHMARKS, MISSING, load_variants, resolve
from codelib.evaluate.withdrawn import retrain_notes
from codelib.models.conversation import open_dataset


def parser() -> argparse.ArgumentParser:
    arguments = Parser(prog="python -m jobs.evaluate", description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--dataset", required=True, help="folder of a released dataset: ours, or the published COde")
    arguments.add_argument("--workspace", required=True, help="folder for predictions and report; models and adapters lie here")
    arguments.add_argument("--variants", required=True, help="YAML list of variants, see jobs/variants/paper.yaml")
    arguments.add_argument("--benchmarks", default=",".join(BENCHMARKS), help="classification,generation (default: both)")
    arguments.add_argument("--limit", type=int, help="at most this many samples of each benchmark, drawn by seed")
    arguments.add_argument("--recipe", help="recipe with an `evaluate` section")
    arguments.add_argument("--num-cpus", type=int, help="CPUs of the Ray that is started here")
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, for example seed=1")
    arguments.add_argument("--dry-run", action="store_true", help="say what would be asked, and stop")
    return arguments


def _benchmarks(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in chosen:
        if name not in BENCHMARKS:
            raise ValueError(f"--benchmarks {name}: unknown benchmark; {nearest(name, BENCHMARKS)}")
    if not chosen:
        raise ValueError(f"--benchmarks: empty; there is: {', '.join(BENCHMARKS)}")
    return chosen


def _print_plan(plan: Plan, store: Store, pending: int) -> None:
    for note in (*plan.left_out, *retrain_notes(plan.variants)):
        print(f"  note: {note}")
    asked = sum(map(len, plan.questions.values()))
    for (variant, benchmark), samples in plan.questions.items():
        prints = plan.fingerprints[variant]
        missing = [part for part, value in prints.items() if value == MISSING or value.endswith(f"@{MISSING}")]
        note = f"   {' and '.join(missing)} NOT FOUND" if missing else ""
        print(f"  {variant:<36} {benchmark:<16} {len(samples):>6} questions{note}")
    print(
        f"  {asked} predictions, {num_known(plan, store)} answers kept from before, "
        f"{pending} of {len(plan.work)} partitions to compute"
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit {args.limit}: at least 1")
    settings = load(EvaluateSettings, "evaluate", args.recipe, args.set)
    benchmarks = _benchmarks(args.benchmarks)
    shown = load_variants(args.variants)
    # absolute: a worker of another node has another current folder
    dataset = open_dataset(Path(args.dataset).absolute())
    root = args.workspace if "://" in args.workspace else os.path.abspath(args.workspace)
    workspace = Workspace.at(root)
    store = Store(f"{root.rstrip('/')}/evaluate")
    variants = tuple(resolve(variant, Path(root)) for variant in shown)
    plan = make_plan(dataset, variants, benchmarks, args.limit, settings)
    print(f"evaluate: {len(plan.variants)} variants on {dataset.folder.name}", flush=True)
    pending = num_pending(dataset, plan, store, settings)
    _print_plan(plan, store, pending)
    for line in cost_lines(plan, dataset, settings, store):
        print(line)
    check_servers(plan, dataset, settings)
    if args.dry_run:
        return 0
    workspace.create()
    # with nothing to ask there is nothing for Ray to do
    with workspace.locked():  # to the end of the report: a withdrawal must not come between answers and page
        with connect(args.num_cpus) if pending else nullcontext():
            outcome = predict(dataset, plan, store, settings, contains_identifier)
        report = evaluate_scores(dataset.folder.name, shown, plan, outcome, settings)
        report["notes"] += retrain_notes(plan.variants)
        page = write_report(store, dataset.folder, shown, plan, outcome, report, settings)
    print(f"  predictions: {outcome.num_kept} kept, {outcome.num_made} made\n")
    print(summary(report))
    print(f"\n  report: {page}", flush=True)
    _raise_unfinished(report, settings, store)
    return 0


def _raise_unfinished(report: dict[str, Any], settings: EvaluateSettings, store: Store) -> None:
    """Raises JobFailed where a variant did not answer everything, naming it and the reason."""
    unfinished = []
    for variant in report["variants"]:
        reasons = [reason.removeprefix("evaluate:") for reason in variant["failures"]]
        if reasons:
            unfinished.append(f"{variant['name']} ({variant['num_answered']} of {variant['num_asked']}: {', '.join(reasons)})")
    if unfinished:
        hint = advice((reason for variant in report["variants"] for reason in variant["failures"]), settings, store)
        raise JobFailed(
            f"not every question was answered: {'; '.join(unfinished)}. The report says so; mend that and run the same command "
            f"again: only what failed is asked{hint and f'. {hint}'}"
        )


if __name__ == "__main__":
    leave(run_job(main))
