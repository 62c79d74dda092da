"""Tune a vision-language model on a released dataset: LoRA, on this machine or on a cluster.

    python -m jobs.train --dataset DATASET --workspace DIR --recipe NAME|FILE [--set k=v ...] [--name RUN] [--dry-run] [--profile] [--merge]

The dataset is a release of jobs.dataset or the published COde folder. The adapter comes to WORKSPACE/train/RUN/adapter. Killed anywhere, the
same command continues from the last checkpoint; after success it says so and does nothing. SIGTERM, SIGUSR1 or Ctrl-C: a checkpoint is
written at the next step, then it leaves (exit code 75, after Ctrl-C 130).
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codelib.core.cli import Parser, ends_in_a_pause, leave, run_job
from codelib.core.cluster import connect, scratch
from codelib.core.config import load
from codelib.core.near import remove_elsewhere, remove_everywhere
from codelib.core.store import Store, Workspace
from codelib.models.near_dataset import near_folder, open_anywhere
from codelib.train.settings import TrainSettings

if TYPE_CHECKING:
    from codelib.train.run import Order
    from codelib.train.run_folder import RunFolder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.train", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder or URI of a released dataset: ours or the published COde")
    parser.add_argument(
        "--workspace",
        required=True,
        help="where the run's folder is made, below train/: a folder that all nodes see, or s3://, gs://",
    )
    parser.add_argument("--recipe", required=True, help="a name in jobs/recipes or a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="k=v", help="one setting, for example lora.rank=16")
    parser.add_argument("--name", help="name of the run (default: the recipe's)")
    parser.add_argument(
        "--num-cpus", type=int, help="CPUs of the Ray that is started here (default: all, or as many as the recipe asks for)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and touch nothing; needs neither GPU nor weights")
    parser.add_argument("--profile", action="store_true", help="write a trace of a few steps below the run's profile/")
    parser.add_argument("--merge", action="store_true", help="write base and adapter as one model too (also of a finished run)")
    args = parser.parse_args(argv)

    ends_in_a_pause()
    settings = load(TrainSettings, "train", args.recipe, args.set)
    public = Workspace.at(args.workspace).public  # refuses a file
    name = args.name or Path(args.recipe).stem
    if not _NAME.fullmatch(name):
        raise ValueError(f"--name {name}: letters, digits, dot, dash and underscore only")
    with _order(args, settings, public, name) as order:
        return _run(args, order)


@contextmanager
def _order(args: argparse.Namespace, settings: TrainSettings, public: Store, name: str) -> Iterator[Order]:
    """The order, with copies on this node's disk of what lies in an object store; they go when the job ends."""
    dataset, copies = open_anywhere(args.dataset)
    model = near_folder(settings.model)
    copies += (model,) if model else ()
    # torch and transformers take seconds: a mistake in the command is answered before
    from codelib.train.run import Order

    with ExitStack() as ending:
        ending.callback(remove_everywhere, copies)
        folder, uri = Path(public.path()), ""
        if not public.is_local:
            folder, uri = Path(ending.enter_context(scratch())), public.root.rstrip("/")
        yield Order(settings, dataset, folder, name, args.profile, uri, copies, str(model.ensure()) if model else "")


def _run(args: argparse.Namespace, order: Order) -> int:
    from codelib.train import run

    settings, name = order.settings, order.name
    finished = run.already_done(order)
    if args.dry_run:
        plan, exact = run.plan_of(order)
        print("\n".join(run.describe(order, plan, exact, every_id=True)), flush=True)
        print("note        only headers of images were read; the run itself decodes every image before its first step")
        print(f"dry run: {'nothing to do, the run is finished' if finished else 'nothing was touched'}")
        return 0
    if finished is None:
        run.check_machine(order)
    merge = (args.merge or settings.merge) and not run.is_merged(order)
    # a run that left samples out is looked at again: their images may be there now
    if finished is None or finished["rejected"] or merge:
        with order.folder.locked(), connect(args.num_cpus or _cpus(settings)):
            if merge and finished is not None:  # before its samples are looked at again: they may be other ones now
                run.write_merged(order)
            finished = _train(order, finished)
            if merge:
                run.write_merged(order)
            remove_elsewhere(order.near)
    else:
        print(f"train {name}: done already, skipped")
    _summary(order.folder, finished)
    return 0


def _train(order: Order, finished: dict[str, Any] | None) -> dict[str, Any]:
    """What run.json says of the order's run; on the connected cluster."""
    from codelib.train import run

    if finished is None or finished["rejected"]:
        plan, examples = run.prepare(order)
        print("\n".join(run.describe(order, plan, exact=True)), flush=True)
        if finished is None:
            return run.execute(order, plan, examples)
        run.check_samples(order, plan)
    print(f"train {order.name}: done already, skipped")
    return finished


def _cpus(settings: TrainSettings) -> int | None:
    """CPUs are only a count to Ray: a small machine still runs as many workers as the recipe wants, one after the other's turn."""
    if os.environ.get("RAY_ADDRESS"):
        return None
    return max(os.cpu_count() or 1, settings.max_workers * settings.cpus_per_worker)


def _summary(place: RunFolder, run: dict[str, Any]) -> None:
    folder = place.uri or place.path
    print(
        f"trained     {run['steps']} steps on {run['train_samples']} samples, {run['trainable_parameters']:,} parameters; "
        f"loss {run['first_loss']:.3f} -> {run['last_loss']:.3f}\n"
        f"best        step {run['best_step']} by {run['best_by']} ({run['best_loss']:.4f})\n"
        f"adapter     {folder}/adapter (its README.md says what it is)\n"
        f"curves      {folder}/curves.png, curves.csv; tensorboard --logdir {folder}/tensorboard"
    )
    if place.store.exists("merged/config.json"):
        print(f"merged      {folder}/merged")
    if run.get("retrain"):
        print(
            "note        people it learned from withdrew since, and it cannot unlearn them: train anew, and replace it where it is used"
        )
    if run["toy"]:
        print("note        the tiny model is a toy: its answers mean nothing in a clinic")


if __name__ == "__main__":
    leave(run_job(main))
