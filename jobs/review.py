"""Blinded review of written reports by dentists: make the sheets, and score what comes back.

    python -m jobs.review make --workspace W --dataset DIR [--variant NAME …] [-n 20] [--reviewers 2] [--seed 0] [--name first]
    python -m jobs.review make --workspace W --test FILE.json [--images FOLDER] [--patients FIELD] …
    python -m jobs.review score W/evaluate/review/first

`make` takes reports of the last jobs.evaluate. Each reviewer gets sheets/reviewer-N.html (or the .csv), and nothing else of the folder; what
they send back goes into filled/.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from codelib.core.cli import Parser, leave, run_job
from codelib.core.near import Near, remove_everywhere
from codelib.core.objects import is_object_store
from codelib.core.store import Store, Workspace
from codelib.evaluate.own_set import read_own_set
from codelib.evaluate.review_score import score, summary
from codelib.evaluate.review_sheet import FILLED, KEY, SHEETS, Wanted, make, workspace_of
from codelib.evaluate.variants import GENERATION
from codelib.models.conversation import Dataset
from codelib.models.near_dataset import open_anywhere


def parser() -> argparse.ArgumentParser:
    arguments = Parser(prog="python -m jobs.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = arguments.add_subparsers(dest="what", required=True)
    made = what.add_parser("make", help="the sheets of a new review")
    made.add_argument("--workspace", required=True, help="workspace with evaluate/report of a run that wrote reports")
    made.add_argument("--dataset", help="the dataset that was evaluated")
    made.add_argument("--test", help="the test file of your own that was evaluated, in place of --dataset")
    made.add_argument("--images", help="with --test: as jobs.evaluate was given it")
    made.add_argument("--patients", help="with --test: as jobs.evaluate was given it")
    made.add_argument("--variant", action="append", default=[], metavar="NAME", help="whose reports; may be given several times")
    made.add_argument("-n", "--num-cases", type=int, default=20, help="visits to judge (default: 20)")
    made.add_argument("--reviewers", type=int, default=2, help="how many will judge (default: 2)")
    made.add_argument("--seed", type=int, default=0, help="draws the visits (default: 0)")
    made.add_argument("--name", default="first", help="of the review, its folder (default: first)")
    scored = what.add_parser("score", help="read the filled sheets, unblind, score")
    scored.add_argument("folder", help="WORKSPACE/evaluate/review/NAME")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.what == "make":
        return _make(args)
    folder = args.folder.rstrip("/") if "://" in args.folder else os.path.abspath(args.folder)
    workspace = Workspace.at(workspace_of(folder))
    if not Store(folder).exists(KEY):
        raise ValueError(f"{folder}: no {KEY} there; give the folder that `jobs.review make` printed")
    workspace.create()
    with workspace.locked():  # a withdrawal takes cases out of it
        result = score(Store(folder))
    print(f"review: {result['name']}, {result['num_cases']} cases of {result['dataset']}\n{summary(result)}")
    print(f"\n  all of it: {folder}/review.json, review.csv", flush=True)
    return 0


def _dataset(args: argparse.Namespace) -> tuple[Dataset, tuple[Near, ...]]:
    """What was evaluated, and the copies that it lies in, where an object store keeps it."""
    if (args.dataset is None) == (args.test is None):
        raise ValueError("--dataset: give the dataset that was evaluated, or with --test the file of your own; one of them")
    if args.test is None:
        return open_anywhere(args.dataset if is_object_store(args.dataset) else Path(args.dataset).absolute())
    images = Path(args.images).absolute() if args.images else None
    return read_own_set(Path(args.test).absolute(), images, GENERATION, args.patients).tests, ()


def _make(args: argparse.Namespace) -> int:
    for option, value in (("-n", args.num_cases), ("--reviewers", args.reviewers)):
        if value < 1:
            raise ValueError(f"{option} {value}: at least 1")
    dataset, copies = _dataset(args)
    root = args.workspace if "://" in args.workspace else os.path.abspath(args.workspace)
    workspace = Workspace.at(root)
    workspace.create()
    wanted = Wanted(args.name, tuple(args.variant), args.num_cases, args.reviewers, args.seed)
    with workspace.locked():  # a withdrawal must not come between the report and the sheets
        try:
            folder = make(Store(f"{root.rstrip('/')}/evaluate"), dataset, wanted)
        finally:
            remove_everywhere(copies)
    print(f"review: {args.num_cases} cases for {args.reviewers} reviewers in {folder}")
    print(f"  send each reviewer one file of {SHEETS}/, and nothing else: key.json tells whose report is whose")
    print(f"  put what comes back into {FILLED}/, then: python -m jobs.review score {folder}", flush=True)
    return 0


if __name__ == "__main__":
    leave(run_job(main))
