"""From a clinic's raw export to the released dataset: all stages in order. Read this first.

    python -m jobs.dataset --input EXPORT --workspace DIR [--recipe NAME|FILE] [--set k=v ...] [--dry-run]

Run the same command again after a kill, a full disk or new visits in the export: what is finished is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from codelib.core.cli import Parser, leave, run_job
from codelib.core.cluster import connect
from codelib.core.config import load
from codelib.core.stage import Part, Work, run
from codelib.core.store import Store, Workspace
from codelib.data import build, duplicates, image_review, partition, privacy_answers, start, teeth_review
from codelib.data.image_settings import TRANSIENT
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.dataset", description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="the clinic's raw export: a folder (or URI) that holds the batches")
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

    settings = load(DatasetSettings, "dataset", args.recipe, args.set)
    workspace, export = Workspace.at(args.workspace, args.private_room), Store(args.input)
    excluded = start.excluded(settings)
    batches = start.list_batches(export, excluded)
    start.warn_of_unknown(excluded, batches)
    stages = Stages(workspace, export, settings, excluded)
    if args.dry_run:
        start.check_owner(workspace, settings, args.reconfigure)
        start.print_plan(stages, batches, workspace)
        return 0
    start.check_keys(settings)
    workspace.create()
    with workspace.locked():
        start.check_owner(workspace, settings, args.reconfigure)
        with connect(args.num_cpus):
            start.take(workspace, stages.release_store)
            stages.hand_over_lists()
            if args.retry:
                image_review.retry(workspace.private, TRANSIENT)
            totals = dataset(stages, batches, workspace, settings)
        start.sign(workspace, settings)
    build.print_summary(totals, workspace, stages.release_store)
    return 0


def dataset(stages: Stages, batches: list[start.ListedBatch], workspace: Workspace, settings: DatasetSettings) -> build.Totals:
    """The flow. Each line is a stage; between them stand the three steps that need all keys at once: the plan of the partitions, the
    patient codes, the split."""
    public, private = workspace.public, workspace.private
    # what a person answered since the last run, about pictures, names and teeth: a file that cannot be read is said before the work begins
    answers, written, decisions = (
        image_review.read_answers(private),
        privacy_answers.read_answers(private),
        teeth_review.read_answers(private),
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
    build.translate(stages, deidentified, settings, workspace)
    bilingual = run(stages.bilingual, each(deidentified), public, private)
    annotated = run(stages.annotated, each(bilingual), public, private)

    build.write_diagnosis_report(annotated, settings, workspace)
    build.write_privacy_report(deidentified, annotated, waiting, written, stale, settings, workspace)

    # ── split by patient; the benchmarks' conversations; the release
    split = run(stages.split, build.with_decisions(annotated, chosen, settings, public), public, private)
    conversations = run(stages.conversations, [Work(pair) for pair in zip(annotated, split, strict=True)], public, private)
    deciding = (text, deidentified, bilingual, annotated, split)
    totals = build.write_ledger(records, chosen, deciding, batches, len(visits), workspace)
    build.release(stages, images, annotated, split, conversations, totals, settings, workspace)
    return totals


def each(parts: Sequence[Part]) -> list[Work]:
    """One partition in, one partition out."""
    return [Work((part,), ship_drop=True) for part in parts]


if __name__ == "__main__":
    leave(run_job(main))
