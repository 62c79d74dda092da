"""Compare model variants on the benchmarks of a released dataset, or on a test file of your own, and write one report.

    python -m jobs.evaluate --dataset RELEASE --workspace DIR --variants jobs/variants/paper.yaml
    python -m jobs.evaluate --test FILE.json --images FOLDER --benchmark classification --workspace DIR --variants mine.yaml

    variants × test samples ──> predictions (kept, never asked for twice) ──> scores ──> DIR/evaluate/report/report.html

Exit code 0: every variant answered; 1: one of them did not, in whole or in part (the report is written and says which); 2: bad
input. How to use it: docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codelib.core.cli import JobFailed, Parser, leave, run_job
from codelib.core.cluster import connect
from codelib.core.config import load, nearest, recipe_file
from codelib.core.near import Near, remove_elsewhere, remove_everywhere
from codelib.core.objects import is_object_store
from codelib.core.store import Store, Workspace
from codelib.evaluate.benchmarks import left_out
from codelib.evaluate.canary import pixel_notes
from codelib.evaluate.near_variants import resolve_anywhere
from codelib.evaluate.outlook import known_answers, outlook
from codelib.evaluate.outside import advice, check_servers, cost_lines
from codelib.evaluate.own_set import OwnSet, read_own_set
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.report import summary, write_report
from codelib.evaluate.run import num_pending, predict
from codelib.evaluate.scores import evaluate_scores, import_libraries
from codelib.evaluate.served import check_served
from codelib.evaluate.variants import BENCHMARKS, Variant, load_variants
from codelib.evaluate.withdrawn import retrain_note, retrain_notes
from codelib.models.conversation import Dataset
from codelib.models.near_dataset import open_anywhere

_OWN_OPTIONS = ("images", "benchmark", "patients")  # mean nothing without --test


def parser() -> argparse.ArgumentParser:
    arguments = Parser(prog="python -m jobs.evaluate", description=(__doc__ or "").splitlines()[0])
    arguments.add_argument(
        "--dataset", help="folder of a released dataset: ours, or the published COde; with --test: for few-shot examples"
    )
    arguments.add_argument("--workspace", required=True, help="folder for predictions and report; models and adapters lie here")
    arguments.add_argument(
        "--variants", help="YAML list of variants, or the name of one in jobs/variants (default: as the recipe says)"
    )
    arguments.add_argument("--benchmarks", help=f"some of {','.join(BENCHMARKS)} (default: all that the variants name)")
    arguments.add_argument("--test", help="a ShareGPT file of your own, .json or .jsonl, in place of a release's test files")
    arguments.add_argument("--images", help="with --test: the folder that paths of images start from (default: the file's own)")
    arguments.add_argument("--benchmark", help="with --test: what its rows are, classification or generation")
    arguments.add_argument(
        "--patients", help="with --test: the field of a row that says whose visit it is (default: patient_id, patient)"
    )
    arguments.add_argument("--limit", type=int, help="at most this many samples of each benchmark, drawn by seed")
    arguments.add_argument("--recipe", help="recipe with an `evaluate` section")
    arguments.add_argument("--num-cpus", type=int, help="CPUs of the Ray that is started here")
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, for example seed=1")
    arguments.add_argument("--dry-run", action="store_true", help="say what would be asked, and stop")
    return arguments


def _files_of(dataset: Dataset) -> dict[str, tuple[int, int, int]]:
    """What changes whenever a release is made anew or taken away."""
    found = {}
    for name, path in dataset.files.items():
        with suppress(FileNotFoundError):
            about = path.stat()
            found[name] = (about.st_ino, about.st_size, about.st_mtime_ns)
    return found


@dataclass(frozen=True)
class _Questions:
    """What is asked: a release, or a file of the user's own. ``name``: what the report calls it."""

    dataset: Dataset
    name: str
    benchmarks: tuple[str, ...]
    own: OwnSet | None = None
    release: Dataset | None = None
    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # of the release, before anything was read of it

    def check_unchanged(self) -> None:
        """Under the lock, which everything was read before: whoever withdrew since must not be asked about. Raises JobFailed."""
        if self.release is not None and _files_of(self.release) != self.files:
            raise JobFailed("the release was changed or taken away while it was read (a withdrawal?); run the same command again")

    def notes(self, settings: EvaluateSettings) -> list[str]:
        return list(self.own.notes) if self.own else left_out(self.dataset, self.benchmarks, settings.spectrum_visits)


def _variants(args: argparse.Namespace, settings: EvaluateSettings) -> tuple[Variant, ...]:
    if args.variants:
        return load_variants(args.variants)
    if settings.variants:
        return load_variants(settings.variants, beside=recipe_file(args.recipe).parent if args.recipe else None)
    raise ValueError(
        "--variants: which models are compared? Give a YAML file, the name of a list in jobs/variants (demo, paper, …), or a --recipe that "
        "names one"
    )


def _benchmarks(text: str | None, variants: Sequence[Variant]) -> tuple[str, ...]:
    """As given, else all that a variant takes part in."""
    if text is None:
        return tuple(name for name in BENCHMARKS if any(name in variant.benchmarks for variant in variants))
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in chosen:
        if name not in BENCHMARKS:
            raise ValueError(f"--benchmarks {name}: unknown benchmark; {nearest(name, BENCHMARKS)}")
    if not chosen:
        raise ValueError(f"--benchmarks: empty; there is: {', '.join(BENCHMARKS)}")
    return chosen


def _questions(args: argparse.Namespace, variants: Sequence[Variant], copies: list[Near]) -> _Questions:
    """``copies`` gets those that the release lies in."""
    release = None
    if args.dataset:
        # absolute: a worker of another node has another current folder
        given = args.dataset if is_object_store(args.dataset) else Path(args.dataset).absolute()
        release, near = open_anywhere(given)
        copies += near
    state = _files_of(release) if release else {}
    if args.test is None:
        for option in _OWN_OPTIONS:
            if getattr(args, option) is not None:
                hint = "; did you mean --benchmarks?" if option == "benchmark" else ""
                raise ValueError(f"--{option} is for a file of your own; give it with --test{hint}")
        if release is None:
            raise ValueError("--dataset: what is asked? Give the folder of a released dataset, or a file of your own with --test")
        return _Questions(release, release.folder.name, _benchmarks(args.benchmarks, variants), None, release, state)
    if args.benchmarks is not None:
        raise ValueError(
            "--benchmarks is for a release; say what the rows of --test are with --benchmark classification or generation"
        )
    if args.benchmark is None:
        raise ValueError("--benchmark: say what the rows of --test are, classification or generation")
    if release is not None and not any(variant.num_exemplars for variant in variants):
        raise ValueError("--dataset beside --test is where few-shot examples come from, and no variant shows any; take it away")
    with tempfile.TemporaryDirectory(prefix="codelib-") as scratch:
        file, images = _own_place(args, copies, Path(scratch))
        try:
            own = read_own_set(file, images, args.benchmark, args.patients, release)
        except ValueError as error:  # as they were given, not as their copies are called
            said = str(error).replace(str(file), args.test)
            raise ValueError(said.replace(str(images), args.images) if args.images else said) from None
    return _Questions(own.tests, file.stem, (args.benchmark,), own, release, state)


def _own_place(args: argparse.Namespace, copies: list[Near], scratch: Path) -> tuple[Path, Path | None]:
    """The file of one's own and the folder of its images. Out of an object store the file comes into ``scratch``, and the images' folder
    becomes a copy of each node, which ``copies`` gets."""
    file, images = Path(args.test).absolute(), Path(args.images).absolute() if args.images else None
    folder, _, name = args.test.rpartition("/")
    if is_object_store(args.images or ""):
        copies.append(Near.of(args.images))
        images = copies[-1].ensure()
    if not is_object_store(args.test):
        return file, images
    if not (name and Store(folder).exists(name)):
        raise ValueError(f"--test {args.test}: no such file; give the address of a .json or .jsonl file")
    if images is None:  # beside the file, in a bucket, may lie anything, and all of it would be copied
        raise ValueError(
            f"--images: say which folder of the store holds the images of {args.test}; all of it is copied to each machine"
        )
    file = scratch / name
    Store(folder).download(name, str(file))
    return file, images


def _print_plan(
    plan: Plan, shown: Sequence[Variant], asked: _Questions, notes: Sequence[str], store: Store, pending: int
) -> None:
    for line in asked.own.lines() if asked.own else ():
        print(f"  {line}")
    for note in notes:
        print(f"  note: {note}")
    known = known_answers(plan, store)
    for line in outlook(plan, shown, asked.dataset.folder, known):
        print(line)
    total = sum(map(len, plan.questions.values()))
    print(
        f"  {total} predictions, {len(known)} answers kept from before, {pending} of {len(plan.work)} partitions to compute",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit {args.limit}: at least 1")
    copies: list[Near] = []
    try:
        return _evaluate(args, copies)
    finally:
        remove_everywhere(copies)


def _evaluate(args: argparse.Namespace, copies: list[Near]) -> int:
    """``copies`` gets what was copied to this node; it goes when the job ends."""
    settings = load(EvaluateSettings, "evaluate", args.recipe, args.set)
    shown = _variants(args, settings)
    root = args.workspace if "://" in args.workspace else os.path.abspath(args.workspace)
    workspace = Workspace.at(root)
    asked = _questions(args, shown, copies)
    dataset = asked.dataset
    store = Store(f"{root.rstrip('/')}/evaluate")
    placed = [resolve_anywhere(variant, root) for variant in shown]
    variants = tuple(variant for variant, _, _ in placed)
    copies += [copy for _, near, _ in placed for copy in near]
    plan = make_plan(dataset, variants, asked.benchmarks, args.limit, settings)
    notes = [*asked.notes(settings), *_not_asked(shown, asked), *pixel_notes(plan.variants)]
    notes += [retrain_note(variant.name) for variant, _, retrain in placed if retrain]
    print(f"evaluate: {len(shown)} variant{'s' * (len(shown) != 1)} on {asked.name}", flush=True)
    pending = num_pending(dataset, plan, store, settings)
    retrained = retrain_notes(plan.variants, workspace.public)
    _print_plan(plan, shown, asked, [*notes, *plan.left_out, *retrained], store, pending)
    for line in cost_lines(plan, dataset, settings, store):
        print(line)
    check_servers(plan, dataset, settings)
    if args.dry_run:
        return 0
    workspace.create()
    # with nothing to ask there is nothing for Ray to do
    with workspace.locked():  # to the end of the report: a withdrawal must not come between answers and page
        asked.check_unchanged()
        if pending:
            check_served(plan, store)
        with connect(args.num_cpus, import_libraries) if pending else nullcontext():
            outcome = predict(dataset, plan, store, settings, _scan(plan), copies)
            remove_elsewhere(copies)
        report = evaluate_scores(asked.name, shown, plan, outcome, settings)
        report["notes"] += [*notes, *retrained]
        rejected = asked.own.rejected_csv() if asked.own else None
        page = write_report(store, dataset.folder, shown, plan, outcome, report, settings, rejected)
    print(f"  predictions: {outcome.num_kept} kept, {outcome.num_made} made\n")
    print(summary(report))
    print(f"\n  report: {page}", flush=True)
    _raise_unfinished(report, settings, store)
    return 0


def _scan(plan: Plan) -> Callable[[str], str | None] | None:
    """The search for identifiers in what would go to a server; its tables are not read where none is asked."""
    if all(group.local for group in plan.groups):
        return None
    from codelib.data.identifiers import contains_identifier

    return contains_identifier


def _not_asked(variants: Sequence[Variant], asked: _Questions) -> list[str]:
    """Variants that take part in none of the benchmarks."""
    idle = [variant for variant in variants if not set(variant.benchmarks) & set(asked.benchmarks)]
    return [f"{variant.name} is asked nothing: its benchmarks are {', '.join(variant.benchmarks)}." for variant in idle]


def _raise_unfinished(report: dict[str, Any], settings: EvaluateSettings, store: Store) -> None:
    """Raises JobFailed where a variant did not answer everything, naming it and the reason."""
    unfinished = []
    for variant in report["variants"]:
        reasons = [reason.removeprefix("evaluate:") for reason in variant["failures"]]
        if variant["status"] == "refused" and not reasons:
            reasons = ["the canary refused it"]
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
