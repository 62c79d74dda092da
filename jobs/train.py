"""Tune a vision-language model on a released dataset: LoRA, on this machine or on a cluster.

    python -m jobs.train --dataset DATASET --workspace DIR --recipe NAME|FILE [--set k=v ...] [--name RUN] [--dry-run]

The dataset is a release of jobs.dataset or the published COde folder. The adapter comes to WORKSPACE/train/RUN/adapter. Killed anywhere, the
same command continues from the last checkpoint; after success it says so and does nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codelib.core.cli import Parser, leave, run_job
from codelib.core.cluster import connect
from codelib.core.config import load
from codelib.core.store import Workspace
from codelib.models.conversation import open_dataset
from codelib.train.settings import TrainSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.train", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder of a released dataset: ours or the published COde")
    parser.add_argument("--workspace", required=True, help="where the run's folder is made, below train/")
    parser.add_argument("--recipe", required=True, help="a name in jobs/recipes or a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="k=v", help="one setting, for example lora.rank=16")
    parser.add_argument("--name", help="name of the run (default: the recipe's)")
    parser.add_argument(
        "--num-cpus", type=int, help="CPUs of the Ray that is started here (default: all, or as many as the recipe asks for)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and touch nothing; needs neither GPU nor weights")
    args = parser.parse_args(argv)

    settings = load(TrainSettings, "train", args.recipe, args.set)
    Workspace.at(args.workspace)  # refuses a file
    name = args.name or Path(args.recipe).stem
    if not _NAME.fullmatch(name):
        raise ValueError(f"--name {name}: letters, digits, dot, dash and underscore only")
    # torch and transformers take seconds: a mistake in the command is answered before
    from codelib.train import run

    order = run.Order(settings, open_dataset(args.dataset), Path(args.workspace), name)
    finished = run.already_done(order)
    if args.dry_run:
        plan, exact = run.plan_of(order)
        print("\n".join(run.describe(order, plan, exact)), flush=True)
        print(f"dry run: {'nothing to do, the run is finished' if finished else 'nothing was touched'}")
        return 0
    # a run that left samples out is looked at again: their images may be there now
    if finished is None or finished["rejected"]:
        run.check_model(order)
        with order.folder.locked(), connect(args.num_cpus or _cpus(settings)):
            plan, examples = run.prepare(order)
            print("\n".join(run.describe(order, plan, exact=True)), flush=True)
            if finished is None:
                finished = run.execute(order, plan, examples)
                _summary(order.folder.path, finished)
                return 0
            run.check_samples(order, plan)
    print(f"train {name}: done already, skipped")
    _summary(order.folder.path, finished)
    return 0


def _cpus(settings: TrainSettings) -> int | None:
    """CPUs are only a count to Ray: a small machine still runs as many workers as the recipe wants, one after the other's turn."""
    if os.environ.get("RAY_ADDRESS"):
        return None
    return max(os.cpu_count() or 1, settings.workers * settings.cpus_per_worker)


def _summary(folder: Path, run: dict[str, Any]) -> None:
    print(
        f"trained     {run['steps']} steps on {run['train_samples']} samples, {run['trainable_parameters']:,} parameters; "
        f"loss {run['first_loss']:.3f} -> {run['last_loss']:.3f}\n"
        f"best        step {run['best_step']} by {run['best_by']} ({run['best_loss']:.4f})\n"
        f"adapter     {folder / 'adapter'}\n"
        f"curves      {folder / 'curves.csv'}"
    )
    if run["toy"]:
        print("note        the tiny model is a toy: its answers mean nothing in a clinic")


if __name__ == "__main__":
    leave(run_job(main))
