"""What `jobs.dataset` does between the stages: codes, decisions, the queue, the ledger, the release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib import __version__
from codelib.contracts import OK
from codelib.core.ahead import read_parts
from codelib.core.stage import Part, Work, digest, read_part, run
from codelib.core.store import Store, Workspace
from codelib.data import (
    audit,
    card,
    card_documents,
    contact_sheet,
    figures,
    image_review,
    ledger,
    privacy_answers,
    privacy_report,
    privacy_review,
    teeth_review,
)
from codelib.data import release as layout
from codelib.data.consent import buried_ids, id_hash
from codelib.data.deidentify import RESIDUAL, look_again
from codelib.data.edited import RELEASED, keep_edited
from codelib.data.export import patient_number
from codelib.data.images import image_key
from codelib.data.ledger import Tables, Totals
from codelib.data.ordering import in_order, runs_work
from codelib.data.partition import Visit
from codelib.data.privacy_answers import PartAnswers
from codelib.data.settings import DatasetSettings
from codelib.data.shards import shard_work
from codelib.data.sharegpt import count_samples
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
    buried = buried_ids(workspace.private)
    codes = assign(triples, known, keyed, lambda released: bool(buried) and id_hash(keyed, released) in buried)
    if len(codes) != len(known):
        write_codes(workspace.private, codes)
    return {code.visit_key: (code, keyed.shift_days(code.patient_key)) for code in codes}


def with_codes(text: Sequence[Part], codes: Codes, answers: Sequence[PartAnswers]) -> list[Work]:
    """Partitions without an answer keep their key, so that nothing of them is done again."""
    work = []
    whole = [replace(part, drop=()) for part in text]
    for part, given, table in zip(text, answers, read_parts(whole, _CODED, ok_only=True), strict=True):
        rows = _codes_of(table, codes)
        extra = {"codes": rows, "answers": given.visits, "cells": given.cells} if given else rows
        work.append(Work((part,), extra, ship_drop=True))
    return work


_CODED = ("visit_key", "status")


def _codes_of(table: pa.Table, codes: Codes) -> list[list[Any]]:
    keys = table["visit_key"].to_pylist()
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
                coded = codes_table(_codes_of(read_part(replace(before, drop=()), _CODED, ok_only=True), codes))
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


# ledger and release


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
        [
            card.release_settings(settings),
            settings.figures.fingerprint(),
            [[p.key, p.drop] for s in (images, annotated, split, conversations) for p in s],
        ]
    )
    if _is_released(store, private, made_of):
        print("  release        nothing new")
        return
    keep_edited(store, workspace)
    store.commit(layout.INCOMPLETE, b"This release is being built. Run the same jobs.dataset command again if it stopped.\n")
    pairs = [Work((i, s)) for i, s in zip(images, split, strict=True)]
    sums = layout.run_writing(stages.publish, pairs, "Images", public, store, private)
    lines = run(stages.assemble, runs_work(annotated, split, conversations), public, private)
    sums |= layout.write_text_files(in_order(stages.ordered_lines, lines, workspace), store)
    weighed = run(stages.samples, runs_work(conversations, images, split), public, private)
    samples_in_order = in_order(stages.ordered_samples, weighed, workspace)
    shards = layout.run_writing(stages.shards, shard_work(samples_in_order), "parquet", public, store, private)
    sums |= shards
    sums |= write_figures(stages, annotated, split, settings, workspace)
    samples = count_samples(samples_in_order)
    sizes = {path: store.size_bytes(path) for path in shards}
    texts = card_documents.documents(settings, totals, sums, card.translation(settings))
    texts["README.md"] = card.dataset_card(settings, totals, sizes, samples)
    documents = {name: store.commit(name, text.encode()) for name, text in texts.items()}
    sums |= documents
    sums["ledger.csv"] = store.commit("ledger.csv", totals.public_csv().encode())
    sums["manifest.json"] = store.commit_json("manifest.json", card.manifest(settings, totals, samples, digest(sums)))
    store.commit("SHA256SUMS", layout.checksums(sums).encode())
    private.commit_json(RELEASED, {"made_of": made_of, "documents": documents})
    store.delete(layout.INCOMPLETE)


def write_figures(
    stages: Stages, annotated: Sequence[Part], split: Sequence[Part], settings: DatasetSettings, workspace: Workspace
) -> dict[str, str]:
    """release/figures/. Returns path -> sha256."""
    public, private = workspace.public, workspace.private
    counted = run(stages.statistics, [Work(pair) for pair in zip(annotated, split, strict=True)], public, private)
    sums = figures.add_up(counted, settings.figures)
    work = figures.figures_work(
        sums, settings.figures, settings.deidentify.dates == "shift", settings.translate.engine == "openai"
    )
    return layout.run_writing(stages.figures, work, figures.FOLDER, public, stages.release_store, private)


def _is_released(store: Store, private: Store, made_of: str) -> bool:
    if store.exists(layout.INCOMPLETE) or not store.exists("SHA256SUMS") or not private.exists(RELEASED):
        return False
    named = {line.split("  ", 1)[1] for line in store.read("SHA256SUMS").decode().splitlines()}
    return bool(private.read_json(RELEASED)["made_of"] == made_of and named <= set(store.names("")))


_CALLED = {"visit": "visits", "image": "image files", "image_part": "parts of image files"}


def print_summary(totals: Totals, told: Sequence[str], workspace: Workspace, store: Store) -> None:
    """What was built, what was rejected and why, and what to look at next. ``told``: what the servers that were asked did."""
    print(f"\nReleased {totals.of('visit', True)} visits with {totals.num_images} images: {store.root}")
    for kind in ("visit", "image", "image_part"):
        rejects = {reason: n for (k, reason), n in sorted(totals.counts.items()) if k == kind and reason != OK}
        if rejects:
            print(
                f"Rejected {sum(rejects.values())} {_CALLED[kind]}: "
                + ", ".join(f"{n} {reason}" for reason, n in rejects.items())
            )
    print(f"What changed since a copy that you kept: python -m jobs.release --diff COPY {store.root}")
    print(f"Every line of the export and what became of it: {workspace.private.root}/ledger.csv (private)")
    held = totals.counts["visit", RESIDUAL]
    if held:
        print(f"{held} visits wait for a person's eye: {workspace.private.root}/{privacy_review.QUEUE_FILE} (private)")
    waiting = sum(n for (kind, reason), n in totals.counts.items() if kind != "visit" and reason in image_review.QUEUED)
    print(
        f"{waiting} pictures wait for a person's eye; look at all of it: {workspace.private.root}/{contact_sheet.FILE} (private)"
    )
    leaking = totals.counts["visit", audit.LEAK]
    if leaking:
        print(
            f"{leaking} visits are held back, since a person found that they leak; change their text (an answer, a name column, a term "
            f"list) or their verdict: {workspace.private.root}/{audit.AUDIT} (private)"
        )
    for line in told:
        print(line)
    print(f"Look at one: python -m jobs.inspect --workspace {workspace.public.root} visit CHECKUP_ID   (codelib {__version__})")
