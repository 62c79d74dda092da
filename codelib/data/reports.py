"""The reports of a run: counted in the workers, written on the driver from counts."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from codelib.core.stage import Part, Work, read_part, run
from codelib.core.store import Workspace
from codelib.data import privacy_answers, privacy_report, tallies
from codelib.data.annotate_report import shared_strings
from codelib.data.audit import Audited
from codelib.data.stages import Stages

DIAGNOSES_FILE, UNKNOWN_FILE = "diagnoses.json", "queue/unknown-diagnoses.csv"


def count(
    stages: Stages, deidentified: Sequence[Part], annotated: Sequence[Part], split: Sequence[Part], workspace: Workspace
) -> tallies.Totals:
    """What the reports say, of all partitions."""
    public, private = workspace.public, workspace.private
    counted = run(stages.counted, tallies.counted_work(deidentified, annotated, split), public, private)
    if len(counted) > tallies.PARTS_A_FILE:
        counted = run(stages.joined, tallies.joined_work(counted), public, private)
    else:  # of a workspace that was larger
        public.delete(f"stages/{stages.joined.name}")
    (total,) = run(stages.totals, [Work(tuple(counted))], public, private)
    return tallies.Totals.of(read_part(total))


def write_diagnoses(totals: tallies.Totals, workspace: Workspace) -> None:
    """diagnoses.json (public: strings that several patients share, counts) and private/queue/unknown-diagnoses.csv (every string)."""
    shared, others, visits = shared_strings(totals.unknown)
    report = {
        "unknown": [{"words": row.words, "visits": row.visits} for row in shared],
        "unknown_others": {"strings": others, "visits": visits},
        "labels": totals.compared.lines(),
    }
    workspace.public.commit_json(DIAGNOSES_FILE, report)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [("words", "visits", "patients"), *((row.words, row.visits, row.patients) for row in totals.unknown)]
    )
    workspace.private.commit(UNKNOWN_FILE, out.getvalue().encode())


def write_privacy(
    totals: tallies.Totals,
    verdicts: Mapping[str, str],
    waiting: Counter[str],
    written: privacy_answers.Written,
    notes: Sequence[str],
    workspace: Workspace,
) -> None:
    """privacy.json (public: counts) and private/reports/privacy.txt. ``verdicts``: of `audit.standing`, on what this run releases or
    holds back for them; ``notes``: of stale answers, a headline and a line for each."""
    answers = Counter(line.answer for lines in written.values() for line in lines.values())
    audited = Audited(Counter(verdicts.values()))
    public = privacy_report.public_report(totals.removed, waiting, answers, totals.k_table, audited)
    public["answers_that_fit_nothing"] = len(notes[1:])
    workspace.public.commit_json(privacy_report.PUBLIC_FILE, public)
    text = privacy_report.private_report(public, totals.removed, workspace.private)
    if notes:
        workspace.private.commit(privacy_report.PRIVATE_FILE, (text + "\n" + "\n".join(notes) + "\n").encode())
