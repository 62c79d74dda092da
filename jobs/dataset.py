"""From a clinic's raw export to the released dataset: all stages in order. Read this first.

    python -m jobs.dataset --input EXPORT --workspace DIR [--recipe NAME|FILE] [--set k=v ...] [--dry-run]
    python -m jobs.dataset --import-from FOLDER --workspace DIR

Run the same command again after a kill, a full disk or new visits in the export: what is finished is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codelib.core.cli import Parser, leave, run_job
from codelib.core.cluster import connect
from codelib.core.config import load
from codelib.core.stage import Work, run
from codelib.core.store import Store, Workspace
from codelib.data import (
    asking,
    audit,
    build,
    consent,
    duplicates,
    foreign,
    foreign_rows,
    image_review,
    partition,
    plan,
    privacy_answers,
    reports,
    split_reports,
    split_steps,
    start,
    teeth_review,
    withdraw,
)
from codelib.data.image_settings import TRANSIENT
from codelib.data.release import release_store
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages
from codelib.evaluate.withdrawn import withdraw as evaluate_room
from codelib.train.withdrawn import withdraw as train_room


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.dataset", description=__doc__.splitlines()[0])
    parser.add_argument("--input", help="the clinic's raw export: a folder (or URI) that holds the batches")
    parser.add_argument(
        "--import-from", metavar="FOLDER", help="a downloaded COde folder or ShareGPT JSON: check it, make shards of it"
    )
    parser.add_argument("--workspace", required=True, help="where everything is made; its private/ folder is locked")
    parser.add_argument("--private-room", help="a place of its own for the private room (default: WORKSPACE/private)")
    parser.add_argument("--recipe", help="a name in jobs/recipes or a YAML file; without it everything runs offline")
    parser.add_argument("--set", action="append", default=[], metavar="k=v", help="one setting, for example split.test_size=600")
    parser.add_argument("--num-cpus", type=int, help="CPUs of the Ray that is started here (default: all)")
    parser.add_argument(
        "--reconfigure", action="store_true", help="take a workspace of other settings over and redo what depends on them"
    )
    parser.add_argument(
        "--retry",
        action="store_true",
        help="open again the files that could not be read, or were too slow or too large for the memory",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and touch nothing")
    args = parser.parse_args(argv)
    if (args.input is None) == (args.import_from is None):
        parser.error("one of --input (a clinic's raw export) and --import-from (a released dataset) is needed")
    if args.import_from is not None:
        return import_from(args)

    settings = load(DatasetSettings, "dataset", args.recipe, args.set)
    workspace, export = Workspace.at(args.workspace, args.private_room), Store(args.input)
    lines = consent.read_list(settings)
    if args.dry_run:
        return dry_run(lines, export, workspace, settings, args.reconfigure)
    # whoever withdrew leaves before anything else is looked at: what follows may fail, and a withdrawal does not wait for its mending
    withdrawn: list[str] = []
    if workspace.private.exists("key"):
        with workspace.locked():
            start.check_owner(workspace, settings, args.reconfigure)
            if args.retry:  # before a withdrawal, which takes away the table that says what was rejected
                image_review.retry(workspace.private, TRANSIENT)
            withdrawn = withdraw.withdraw(lines, workspace, settings, (train_room, evaluate_room))
            print("".join(f"{line}\n" for line in withdrawn), end="", flush=True)
    out = consent.consent(lines, workspace.private)
    batches = start.list_batches(export, out)
    start.tell_of_unknown(lines, out, batches, workspace.private)
    start.check_keys(settings)
    workspace.create()
    with workspace.locked():
        start.check_owner(workspace, settings, args.reconfigure)
        with connect(args.num_cpus):
            start.take(workspace, release_store(workspace))
            start.remember(lines, workspace.private)
            stages = Stages(workspace, export, settings, consent.consent(lines, workspace.private).hashes)
            stages.hand_over_lists()
            totals, told = dataset(stages, batches, workspace, settings)
        start.sign(workspace, settings)
    build.print_summary(totals, [*withdrawn, *told], workspace, stages.release_store)
    return 0


def dry_run(lines: consent.Lines, export: Store, workspace: Workspace, settings: DatasetSettings, reconfigure: bool) -> int:
    out = consent.consent(lines, workspace.private)
    batches = start.list_batches(export, out)
    start.tell_of_unknown(lines, out, batches, workspace.private)
    stages = Stages(workspace, export, settings, out.hashes)
    start.check_owner(workspace, settings, reconfigure)
    if planned := withdraw.planned(lines, workspace, settings):
        print(planned)
    plan.print_plan(stages, batches, workspace, settings)
    return 0


def import_from(args: Any) -> int:
    """Shards, card and sums of somebody else's dataset. No setting of the clinic's stages has a meaning there."""
    for option in ("recipe", "set", "reconfigure", "retry"):
        if getattr(args, option):
            raise ValueError(f"--{option} has no meaning with --import-from; leave it out")
    listing = foreign_rows.list_folder(args.import_from)
    if args.dry_run:
        print(f"{len(listing.rows)} files of conversations, {len(listing.images)} images\n\nNothing was touched.")
        return 0
    workspace = Workspace.at(args.workspace, args.private_room)
    workspace.create()
    with workspace.locked(), connect(args.num_cpus):
        found = foreign.import_dataset(listing, workspace)
    foreign.print_summary(found, workspace)
    return 0


def dataset(
    stages: Stages, batches: list[start.ListedBatch], workspace: Workspace, settings: DatasetSettings
) -> tuple[build.Totals, list[str]]:
    """The flow. Each line is a stage; between them stand the three steps that need all keys at once: the plan of the partitions, the
    patient codes, the split. Also returns what is to be told of the servers that were asked."""
    public, private = workspace.public, workspace.private
    # what a person answered since the last run, about pictures, names, teeth and leaks: a file that cannot be read is said before the work
    answers, written, decisions, lines = (
        image_review.read_answers(private),
        privacy_answers.read_answers(private),
        teeth_review.read_answers(private),
        audit.read_audit(private),
    )

    # ── ingest: sheets and folders, one table a batch (private)
    ingested = run(stages.ingest, [batch.work for batch in batches], private, private)

    # ── records: the same rows in partitions that stay when the export grows (private)
    visits, losers = partition.across_batches(partition.visits_of(ingested))
    partitions = partition.plan(visits, private, settings.partition_visits)
    records = run(stages.records, partition.records_work(visits, partitions, ingested, losers), private, private)

    # ── images: 448 px JPEG without metadata, or a reason (private)
    images = run(stages.images, image_review.images_work(records, answers, private), private, private)
    # ── the same picture in two visits: the one search over all of them (private)
    hashes = run(stages.hashes, duplicates.hashes_work(images), private, private)
    pairs = run(stages.duplicates, duplicates.search_work(hashes), private, private)
    chosen = run(stages.chosen, duplicates.chosen_work(images, pairs, answers), private, private)
    build.write_image_queue(records, images, chosen, pairs, answers, workspace)

    # ── text: teeth as FDI numbers (private)
    text = run(stages.text, teeth_review.text_work(records, decisions), private, private)
    teeth_review.write_queue(records, text, decisions, private, settings.teeth)

    # ── from here on no name, number or date of a person
    codes = build.assign_codes(visits, workspace)
    answered = build.read_privacy_answers(records, text, written, decisions, settings, workspace)
    deidentified = run(stages.deidentified, build.with_codes(text, codes, answered), public, private)
    waiting, stale = build.write_review_queue(stages, text, deidentified, codes, written, answered, settings, workspace)
    asks = asking.Asking(stages, workspace)
    bilingual = asks.bilingual(deidentified)
    annotated = asks.annotated(bilingual)
    asks.prune()

    # ── split by patient, patients with like pictures or reports together; audited before anything is released
    traits = run(stages.traits, split_steps.traits_work(annotated, images, chosen), private, private)
    copies = run(stages.copies, split_reports.search_work(traits, settings.split.audit.report_similarity), private, private)
    verdicts = split_steps.verdicts(annotated, chosen, lines, workspace)
    drawn_from = split_steps.Inputs(annotated, chosen, traits, pairs, copies)
    placed = split_steps.with_decisions(stages.split, drawn_from, verdicts, settings, workspace)
    split = run(stages.split, placed, public, private)
    counts = reports.count(stages, deidentified, annotated, split, workspace)
    reports.write_diagnoses(counts, workspace)
    reports.write_privacy(counts, verdicts, waiting, written, stale, workspace)

    # ── the benchmarks' conversations; the release
    conversations = run(stages.conversations, [Work(pair) for pair in zip(annotated, split, strict=True)], public, private)
    deciding = (text, deidentified, bilingual, annotated, split)
    totals = build.write_ledger(records, chosen, deciding, batches, len(visits), workspace)
    build.release(stages, images, annotated, split, conversations, totals, settings, workspace)
    return totals, asks.told


if __name__ == "__main__":
    leave(run_job(main))
