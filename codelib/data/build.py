"""What `jobs.dataset` does between the stages: codes, decisions, the queue, the ledger, the release."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib import __version__
from codelib.contracts import OK
from codelib.core.stage import Part, Work, digest, manifest_parts, read_part, run
from codelib.core.store import Store, Workspace
from codelib.data import (
    annotate_report,
    card,
    contact_sheet,
    image_review,
    k_anonymity,
    ledger,
    privacy_answers,
    privacy_report,
    privacy_review,
    teeth_review,
    translate_fill,
    translate_plan,
)
from codelib.data import release as layout
from codelib.data.deidentify import RESIDUAL, look_again
from codelib.data.export import patient_number
from codelib.data.images import image_key
from codelib.data.ledger import Tables, Totals
from codelib.data.partition import Visit
from codelib.data.privacy_answers import PartAnswers
from codelib.data.settings import DatasetSettings
from codelib.data.split import Candidate, Decision, decide
from codelib.data.stages import Stages, codes_table
from codelib.data.start import ListedBatch
from codelib.data.vault import Code, Secret, assign, read_codes, write_codes

# codes and answers

Codes = dict[str, tuple[Code, int]]
"""visit_key -> its code, and its patient's date offset in days."""


def assign_codes(visits: Sequence[Visit], workspace: Workspace) -> Codes:
    """New codes go into the vault before they are used."""
    keyed = Secret(workspace.private).load()
    known = read_codes(workspace.private)
    triples = [
        (v.visit_key, keyed.text("patient-key", patient_number(v.patient)), v.checkup_time) for v in visits if v.status == OK
    ]
    codes = assign(triples, known, keyed)
    if len(codes) != len(known):
        write_codes(workspace.private, codes)
    return {code.visit_key: (code, keyed.shift_days(code.patient_key)) for code in codes}


def with_codes(text: Sequence[Part], codes: Codes, answers: Sequence[PartAnswers]) -> list[Work]:
    """Partitions without an answer keep their key, so that nothing of them is done again."""
    work = []
    for part, given in zip(text, answers, strict=True):
        rows = _codes_of(part, codes)
        extra = {"codes": rows, "answers": given.visits, "cells": given.cells} if given else rows
        work.append(Work((part,), extra, ship_drop=True))
    return work


def _codes_of(part: Part, codes: Codes) -> list[list[Any]]:
    keys = read_part(replace(part, drop=()), ["visit_key", "status"], ok_only=True)["visit_key"].to_pylist()
    return [[key, codes[key][0].checkup_id, codes[key][0].patient_id, codes[key][1]] for key in keys]


def read_privacy_answers(
    records: Sequence[Part],
    text: Sequence[Part],
    written: privacy_answers.Written,
    decisions: teeth_review.Decisions,
    settings: DatasetSettings,
    workspace: Workspace,
) -> list[PartAnswers]:
    """The answers of each partition of `text`, what a person wrote turned into places."""
    keyed = Secret(workspace.private).load()
    return privacy_answers.by_partition(records, text, written, keyed, settings.teeth, decisions)


def write_review_queue(
    stages: Stages,
    text: Sequence[Part],
    deidentified: Sequence[Part],
    codes: Codes,
    written: privacy_answers.Written,
    answers: Sequence[PartAnswers],
    settings: DatasetSettings,
    workspace: Workspace,
) -> tuple[Counter[str], list[str]]:
    """private/queue/privacy.csv: every open question of the visits that were held back. Returns how many, by class, and what is to be said
    of answers that fit nothing any more."""
    keyed, stale = Secret(workspace.private).load(), privacy_answers.Stale(written)

    def questions() -> Iterator[dict[str, str]]:
        for before, after, given in zip(text, deidentified, answers, strict=True):
            met: dict[str, frozenset[str]] = {}
            if given or RESIDUAL in after.counts:
                rows = read_part(after, ["visit_key", "reject_reason"])
                held = rows.filter(pc.equal(rows["reject_reason"], RESIDUAL))["visit_key"].to_pylist()
                table = read_part(before, ok_only=True)
                table = table.filter(pc.is_in(table["visit_key"], pa.array({*held, *given.visits}, pa.string())))
                review = privacy_review.Review(keyed, given.visits, given.cells)
                coded = codes_table(_codes_of(before, codes))
                for asked in look_again(table, coded, settings.deidentify, review, stages.lists):
                    yield from asked.questions
                    if asked.visit_key in given.visits:
                        met[asked.visit_key] = asked.met
            stale.look(given, met)

    waiting = privacy_review.write_queue(questions(), workspace.private)
    notes = list(privacy_answers.note(stale.all()))
    if notes:
        print(f"note: {notes[0]}; why stands in {workspace.private.root}/{privacy_report.PRIVATE_FILE}")
    return waiting, notes


def write_privacy_report(
    deidentified: Sequence[Part],
    annotated: Sequence[Part],
    waiting: Counter[str],
    written: privacy_answers.Written,
    notes: Sequence[str],
    settings: DatasetSettings,
    workspace: Workspace,
) -> None:
    """privacy.json (public: counts) and private/reports/privacy.txt. ``notes``: of stale answers, a headline and a line for each."""
    removed = privacy_report.count_removed(deidentified)
    answers = Counter(line.answer for lines in written.values() for line in lines.values())
    table = k_anonymity.measure(annotated, settings.k_anonymity).table()
    public = privacy_report.public_report(removed, waiting, answers, table, privacy_report.read_audit(workspace.private))
    public["answers_that_fit_nothing"] = len(notes[1:])
    workspace.public.commit_json(privacy_report.PUBLIC_FILE, public)
    text = privacy_report.private_report(public, removed, workspace.private)
    if notes:
        workspace.private.commit(privacy_report.PRIVATE_FILE, (text + "\n" + "\n".join(notes) + "\n").encode())


def write_image_queue(
    records: Sequence[Part],
    images: Sequence[Part],
    chosen: Sequence[Part],
    pairs: Sequence[Part],
    answers: image_review.Answers,
    workspace: Workspace,
) -> None:
    """private/queue: the pictures that wait for a person, as a list and as a page."""
    tables = image_review.Tables(records, images, chosen, partial(image_key, Secret(workspace.private).load()))
    image_review.write_queue(tables, workspace.private)
    contact_sheet.write(tables, answers, pairs, workspace.private)
    lost = image_review.unmatched(answers, tables.images)
    if lost:
        print(
            f"note: {lost} of the answers in {image_review.ANSWERS_FILE} name no picture of this export (its content may have changed)"
        )


def translate(stages: Stages, deidentified: Sequence[Part], settings: DatasetSettings, workspace: Workspace) -> None:
    """Ask the server for what the bilingual partitions still to be made need; nothing where the engine is offline."""
    if settings.translate.engine != "openai":
        return
    work = [Work((part,), ship_drop=True) for part in deidentified]
    needed = translate_fill.waiting(stages.bilingual, work, workspace.public)
    if needed:
        with translate_plan.shown(workspace.public):
            run(stages.translations, translate_fill.translations_work(needed), workspace.public, workspace.private)


def write_diagnosis_report(annotated: Sequence[Part], settings: DatasetSettings, workspace: Workspace) -> None:
    """diagnoses.json (public: strings that several patients share, counts) and private/queue/unknown-diagnoses.csv (every string)."""
    unknown, compared = annotate_report.Unknown(), annotate_report.Comparison()
    for part in annotated:
        table = read_part(part)
        unknown += annotate_report.Unknown.of(table, settings.annotate)
        compared += annotate_report.Comparison.of(table, settings.annotate)
    shared, others, visits = unknown.public()
    report = {
        "unknown": [{"words": row.words, "visits": row.visits} for row in shared],
        "unknown_others": {"strings": others, "visits": visits},
        "labels": compared.lines(),
    }
    workspace.public.commit_json("diagnoses.json", report)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [("words", "visits", "patients"), *((row.words, row.visits, row.patients) for row in unknown.private())]
    )
    workspace.private.commit("queue/unknown-diagnoses.csv", out.getvalue().encode())


# split


def with_decisions(annotated: Sequence[Part], images: Sequence[Part], settings: DatasetSettings, public: Store) -> list[Work]:
    """Decide the split on the driver, from keys and counts."""
    candidates: list[list[Candidate]] = []
    for visits, pictures in zip(annotated, images, strict=True):
        counts: dict[str, int] = {}
        for key in read_part(pictures, ["visit_key", "status"], ok_only=True)["visit_key"].to_pylist():
            counts[key] = counts.get(key, 0) + 1
        columns = ["checkup_id", "patient_id", "visit_key", "six_class", "status"]
        rows = read_part(visits, columns, ok_only=True).to_pylist()
        candidates.append(
            [Candidate(r["checkup_id"], r["patient_id"], r["six_class"], counts.get(r["visit_key"], 0)) for r in rows]
        )
    decisions = decide([c for part in candidates for c in part], settings.split, settings.seed, _previous(settings, public))
    work = []
    for visits, pictures, rows in zip(annotated, images, candidates, strict=True):
        extra = {c.checkup_id: [decisions[c.checkup_id].split, decisions[c.checkup_id].why] for c in rows if c.num_images}
        work.append(Work((visits, pictures), extra))
    return work


def _previous(settings: DatasetSettings, public: Store) -> dict[str, Decision]:
    """The decisions of the last finished run with these settings: they stand."""
    name = "stages/split/manifest.json"
    if not public.exists(name) or public.read_json(name)["settings"] != {"seed": settings.seed, **settings.split.fingerprint()}:
        return {}
    rows = [r for p in manifest_parts(public, "split") for r in read_part(p, ["checkup_id", "split", "why"]).to_pylist()]
    return {r["checkup_id"]: Decision(r["split"], r["why"]) for r in rows if r["split"]}


# ledger and release

_RELEASED = "released.json"  # what the release was made of: not in it, since it tells of the export's files and times


def write_ledger(
    records: Sequence[Part],
    images: Sequence[Part],
    deciding: Sequence[Sequence[Part]],
    batches: Sequence[ListedBatch],
    num_visits: int,
    workspace: Workspace,
) -> Totals:
    keyed = Secret(workspace.private).load()
    num_files = sum(batch.num_files for batch in batches)
    return ledger.write(Tables(records, images, deciding), keyed, workspace.private, num_visits, num_files)


def release(
    stages: Stages,
    images: Sequence[Part],
    annotated: Sequence[Part],
    split: Sequence[Part],
    conversations: Sequence[Part],
    totals: Totals,
    settings: DatasetSettings,
    workspace: Workspace,
) -> None:
    """Build release/, or leave it where nothing in it would change."""
    store, public, private = stages.release_store, workspace.public, workspace.private
    made_of = digest(
        [card.release_settings(settings), [[p.key, p.drop] for s in (images, annotated, split, conversations) for p in s]]
    )
    if _is_released(store, private, made_of):
        print("  release        nothing new")
        return
    store.commit(layout.INCOMPLETE, b"This release is being built. Run the same jobs.dataset command again if it stopped.\n")
    pairs = [Work((i, s)) for i, s in zip(images, split, strict=True)]
    sums = layout.run_writing(stages.publish, pairs, "Images", public, store, private)
    lines = run(stages.assemble, layout.assemble_work(annotated, split, conversations), public, private)
    sums |= layout.write_text_files(lines, store)
    shards = layout.run_writing(stages.shards, layout.shard_work(conversations), "parquet", public, store, private)
    sums |= shards
    sums["README.md"] = store.commit("README.md", card.dataset_card(settings, totals, list(shards)).encode())
    sums["ledger.csv"] = store.commit("ledger.csv", totals.public_csv().encode())
    sums["manifest.json"] = store.commit_json("manifest.json", card.manifest(settings, totals, digest(sums)))
    store.commit("SHA256SUMS", layout.checksums(sums).encode())
    private.commit_json(_RELEASED, {"made_of": made_of})
    store.delete(layout.INCOMPLETE)


def _is_released(store: Store, private: Store, made_of: str) -> bool:
    if store.exists(layout.INCOMPLETE) or not store.exists("SHA256SUMS") or not private.exists(_RELEASED):
        return False
    named = {line.split("  ", 1)[1] for line in store.read("SHA256SUMS").decode().splitlines()}
    return bool(private.read_json(_RELEASED)["made_of"] == made_of and named <= set(store.names("")))


_CALLED = {"visit": "visits", "image": "image files", "image_part": "parts of image files"}


def print_summary(totals: Totals, workspace: Workspace, store: Store) -> None:
    """What was built, what was rejected and why, and what to look at next."""
    print(f"\nReleased {totals.of('visit', True)} visits with {totals.num_images} images: {store.root}")
    for kind in ("visit", "image", "image_part"):
        rejects = {reason: n for (k, reason), n in sorted(totals.counts.items()) if k == kind and reason != OK}
        if rejects:
            print(
                f"Rejected {sum(rejects.values())} {_CALLED[kind]}: "
                + ", ".join(f"{n} {reason}" for reason, n in rejects.items())
            )
    print(f"Every line of the export and what became of it: {workspace.private.root}/ledger.csv (private)")
    held = totals.counts["visit", RESIDUAL]
    if held:
        print(f"{held} visits wait for a person's eye: {workspace.private.root}/{privacy_review.QUEUE_FILE} (private)")
    waiting = sum(n for (kind, reason), n in totals.counts.items() if kind != "visit" and reason in image_review.QUEUED)
    print(
        f"{waiting} pictures wait for a person's eye; look at all of it: {workspace.private.root}/{contact_sheet.FILE} (private)"
    )
    if line := translate_plan.summary(workspace.public):
        print(line)
    print(f"Look at one: python -m jobs.inspect --workspace {workspace.public.root} visit CHECKUP_ID   (codelib {__version__})")
