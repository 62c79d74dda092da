"""What `jobs.dataset` does between the stages: listing, the plan, codes, decisions, the ledger, the release."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from codelib import __version__
from codelib.contracts import OK
from codelib.core.config import differences
from codelib.core.stage import Part, Work, digest, pending, read_part, run
from codelib.core.store import Store, Workspace
from codelib.data import card, ledger
from codelib.data import release as layout
from codelib.data.deidentify import review_queue
from codelib.data.export import batch_names, list_batch, patient_number
from codelib.data.ledger import Tables, Totals
from codelib.data.partition import Visit
from codelib.data.settings import DatasetSettings
from codelib.data.split import Candidate, Decision, decide
from codelib.data.stages import Stages, codes_table
from codelib.data.vault import Code, Secret, assign, read_codes, write_codes

_CONFIGURATION = "workspace.json"


@dataclass(frozen=True)
class ListedBatch:
    name: str
    fingerprint: str
    num_visits: int
    files_of: dict[str, int]  # patient number ("" for none) -> image files


def list_batches(export: Store) -> list[ListedBatch]:
    """Names, sizes and times of everything in the export; nothing is opened."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda name: _listed(export, name), batch_names(export)))


def _listed(export: Store, name: str) -> ListedBatch:
    batch = list_batch(export, name)
    files = {"": len(batch.loose)}
    for patient in batch.patients.values():
        count = len(patient.loose) * bool(patient.visits) + sum(len(v.files) for v in patient.visits.values())
        files[patient.number] = files.get(patient.number, 0) + count
    return ListedBatch(name, batch.fingerprint(), sum(len(p.visits) for p in batch.patients.values()), files)


def excluded_patients(settings: DatasetSettings) -> frozenset[str]:
    """Patients without consent. Raises ValueError where the list is named and not there."""
    if settings.exclude is None:
        return frozenset()
    store = Store(settings.exclude)
    fs, path = store._open()
    if not fs.isfile(path):
        raise ValueError(f"exclude={settings.exclude}: no such file; it lists source patient ids, one a line")
    found = set()
    for number, line in enumerate(bytes(fs.cat_file(path)).decode("utf-8-sig").splitlines(), 1):
        written = line.strip().removesuffix("号")
        if not written or written.startswith("#"):
            continue
        if len(written.split()) > 1 or any(mark in written for mark in ",，、;；"):
            raise ValueError(
                f"exclude={settings.exclude}: line {number} is not one patient id; write one id a line, as in the sheet"
            )
        found.add(patient_number(written))
    return frozenset(found)


def warn_of_unknown(excluded: frozenset[str], batches: Sequence[ListedBatch]) -> None:
    """Say how many ids of the exclusion list name nobody here: a misspelt one would let its patient in."""
    there = {patient for batch in batches for patient in batch.files_of}
    unknown = len(excluded - there)
    if unknown:
        print(
            f"note: {unknown} of {len(excluded)} ids of the exclusion list match no patient folder of this export; check their spelling"
        )


def check_configuration(workspace: Workspace, settings: DatasetSettings, reconfigure: bool, write: bool) -> None:
    """A workspace belongs to one configuration. Raises ValueError naming what differs."""
    mine = {k: v for k, v in settings.fingerprint().items() if k != "exclude"}
    if workspace.private.exists(_CONFIGURATION):
        changed = differences(workspace.private.read_json(_CONFIGURATION), mine)
        if changed and not reconfigure:
            raise ValueError(
                f"--workspace {workspace.public.root} was made with other settings ({'; '.join(changed[:4])}); use another workspace, "
                "the same settings, or --reconfigure to redo what depends on them here"
            )
    if write:
        workspace.create()
        Secret(workspace.private).create()
        workspace.private.commit_json(_CONFIGURATION, mine)  # private: a mapping and a server's address tell of the clinic


def print_plan(stages: Stages, batches: Sequence[ListedBatch], workspace: Workspace) -> None:
    """What a run would do, stage by stage."""
    files = sum(sum(b.files_of.values()) for b in batches)
    print(f"input      {len(batches)} batches, {sum(b.num_visits for b in batches)} visit folders, {files} image files")
    print(f"workspace  {workspace.public.root}")
    work = [Work((), {"batch": b.name}, identity=b.fingerprint) for b in batches]
    new = pending(stages.ingest, work, workspace.private)
    print(f"\n{'stage':<15}{'where':<9}{'CPUs':>5}{'GPUs':>5}  what would be done")
    changed = new > 0
    for stage, is_private in stages.in_order():
        store = workspace.private if is_private else workspace.public
        name = f"stages/{stage.name}/manifest.json"
        known = store.read_json(name) if store.exists(name) else None
        if stage is stages.ingest:
            todo = f"{new} of {len(batches)} batches" if new else f"nothing new, {len(batches)} batches kept"
        elif known is None:
            todo = "everything"
        elif known["settings"] != stage.settings or known["version"] != stage.version:
            todo, changed = "everything: its settings changed", True
        else:
            todo = "what depends on the change" if changed else f"nothing new, {len(known['parts'])} partitions kept"
        print(f"{stage.name:<15}{'private' if is_private else 'public':<9}{stage.num_cpus:>5g}{stage.num_gpus:>5g}  {todo}")
    print("\nNothing was touched.")


# codes


def assign_codes(visits: Sequence[Visit], workspace: Workspace) -> dict[str, tuple[Code, int]]:
    """visit_key -> (its code, its patient's date offset in days). New codes go into the vault before they are used."""
    keyed = Secret(workspace.private).load()
    known = read_codes(workspace.private)
    triples = [
        (v.visit_key, keyed.text("patient-key", patient_number(v.patient)), v.checkup_time) for v in visits if v.status == OK
    ]
    codes = assign(triples, known, keyed)
    if len(codes) != len(known):
        write_codes(workspace.private, codes)
    return {code.visit_key: (code, keyed.shift_days(code.patient_key)) for code in codes}


def with_codes(text: Sequence[Part], codes: dict[str, tuple[Code, int]], workspace: Workspace) -> list[Work]:
    return [Work((part,), _codes_of(part, codes), ship_drop=True) for part in text]


def _codes_of(part: Part, codes: dict[str, tuple[Code, int]]) -> list[list[Any]]:
    keys = read_part(replace(part, drop=()), ["visit_key", "status"], ok_only=True)["visit_key"].to_pylist()
    return [[key, codes[key][0].checkup_id, codes[key][0].patient_id, codes[key][1]] for key in keys]


def write_review_queue(
    text: Sequence[Part],
    deidentified: Sequence[Part],
    codes: dict[str, tuple[Code, int]],
    settings: DatasetSettings,
    workspace: Workspace,
) -> None:
    """private/queue/privacy.json: the visits that were held back, with the place of every suspicion, for a person to read."""
    queue: list[dict[str, Any]] = []
    for before, after in zip(text, deidentified, strict=True):
        if set(after.counts) - {OK}:
            held = {r["visit_key"] for r in read_part(after, ["visit_key", "status"]).to_pylist() if r["status"] != OK}
            found = review_queue(read_part(before, ok_only=True), codes_table(_codes_of(before, codes)), settings.deidentify)
            queue += [row for row in found if row["visit_key"] in held]
    workspace.private.commit_json("queue/privacy.json", queue)


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
    from codelib.core.stage import manifest_parts

    rows = [r for p in manifest_parts(public, "split") for r in read_part(p, ["checkup_id", "split", "why"]).to_pylist()]
    return {r["checkup_id"]: Decision(r["split"], r["why"]) for r in rows if r["split"]}


# ledger and release


def write_ledger(
    records: Sequence[Part],
    images: Sequence[Part],
    deciding: Sequence[Sequence[Part]],
    batches: Sequence[ListedBatch],
    workspace: Workspace,
) -> Totals:
    # patients without consent are in no table; their files are not in the ledger either
    there = {p for part in records for p in read_part(part, ["patient"])["patient"].to_pylist()}
    numbers = {patient_number(p or "") if p else "" for p in there} | {""}
    num_files = sum(n for b in batches for patient, n in b.files_of.items() if patient in numbers)
    return ledger.write(Tables(records, images, deciding), Secret(workspace.private).load(), workspace.private, num_files)


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
    inputs = digest([[p.key, p.drop] for stage in (images, annotated, split, conversations) for p in stage])
    manifest = card.manifest(settings, totals, inputs)
    if _is_released(store, manifest):
        print("  release        nothing new")
        return
    store.commit(layout.INCOMPLETE, b"This release is being built. Run the same jobs.dataset command again if it stopped.\n")
    pairs = [Work((i, s)) for i, s in zip(images, split, strict=True)]
    files = layout.run_writing(stages.publish, pairs, public, store, private)
    lines = run(stages.assemble, layout.assemble_work(annotated, split, conversations), public, private)
    layout.write_text_files(lines, store)
    files += layout.run_writing(stages.shards, layout.shard_work(conversations), public, store, private)
    shards = [row["path"] for row in files if row["path"].startswith("parquet/")]
    store.commit("README.md", card.dataset_card(settings, totals, shards).encode())
    store.commit("ledger.csv", totals.public_csv().encode())
    store.commit_json("manifest.json", manifest)
    named = [*layout.JSON_FILES, "complete-dataset.csv", "README.md", "ledger.csv", "manifest.json"]
    store.commit("SHA256SUMS", layout.checksums(files, store, named).encode())
    store.delete(layout.INCOMPLETE)


def _is_released(store: Store, manifest: dict[str, Any]) -> bool:
    if store.exists(layout.INCOMPLETE) or not store.exists("manifest.json") or not store.exists("SHA256SUMS"):
        return False
    there = set(store.names(""))
    named = {line.split("  ", 1)[1] for line in store.read("SHA256SUMS").decode().splitlines()}
    return bool(store.read_json("manifest.json") == manifest and named | {"SHA256SUMS"} == there)


def print_summary(totals: Totals, workspace: Workspace, store: Store) -> None:
    """What was built, what was rejected and why, and what to look at next."""
    print(f"\nReleased {totals.of('visit', True)} visits with {totals.of('image', True)} images: {store.root}")
    for kind in ("visit", "image"):
        rejects = {reason: n for (k, reason), n in sorted(totals.counts.items()) if k == kind and reason != OK}
        if rejects:
            print(f"Rejected {sum(rejects.values())} {kind}s: " + ", ".join(f"{n} {reason}" for reason, n in rejects.items()))
    print(f"Every line of the export and what became of it: {workspace.private.root}/ledger.csv (private)")
    held = totals.counts["visit", "deidentify:residual"]
    if held:
        print(f"{held} visits wait for a person's eye: {workspace.private.root}/queue/privacy.json (private)")
    print(f"Look at one: python -m jobs.inspect --workspace {workspace.public.root} visit CHECKUP_ID   (codelib {__version__})")
