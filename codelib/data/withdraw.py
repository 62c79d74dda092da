"""Consent withdrawn: everything of a person leaves the workspace, before anything of the run can fail.

    exclusion list ─ find (records, vault) ─> withdrawal.json ─> tombstones ─> release taken away ─> tables, vault, plan, caches, queues
                                                                  ─> rooms made of the release (train/, evaluate/) ─> withdrawal.json goes

It needs neither the export nor Ray nor a server, so a bad new export or a leak that an audit finds do not hold it up. The release is taken
away whole, but for the other patients' pictures: its tables are made anew by the run, and while that fails there is no release.
``private/withdrawal.json`` is written first and removed last: killed anywhere, the next run finishes, whatever its list says. At the end
private/withdrawn.json holds keyed hashes and a date, and nothing else is left of the person.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from codelib.contracts import TEXT_FIELDS
from codelib.core.ahead import ahead
from codelib.core.store import Store, Workspace
from codelib.data import withdraw_rooms as rooms
from codelib.data.annotate_second import Questions
from codelib.data.consent import Consent, Lines, bury, consent, id_hash, line_hash, stone_of
from codelib.data.edited import keep_edited
from codelib.data.export import patient_number
from codelib.data.privacy_review import ANSWERS_FILE, cell_key
from codelib.data.release import release_store
from codelib.data.settings import DatasetSettings
from codelib.data.translate_cache import FOLDER, SECOND_PASS, text_digest
from codelib.data.vault import Keyed, read_codes

JOURNAL = "withdrawal.json"
_WRITTEN = ("ingest", "records", "text")  # the private tables that name a source patient
_TEXTS = ("deidentified", "bilingual", "annotated")

Derived = Callable[[Workspace, frozenset[str]], tuple[list[str], bool]]
"""Takes checkup ids out of a room that was made of the release. Returns what is to be told, and whether all of it could be done."""


@dataclass(frozen=True)
class Gone:
    """All that a person who withdrew is known by in the workspace; as the journal holds it: keyed hashes, released ids, hashes of texts."""

    visits: frozenset[str] = frozenset()  # visit keys
    patients: frozenset[str] = frozenset()  # codes of those who withdrew whole
    checkups: frozenset[str] = frozenset()
    cells: frozenset[str] = frozenset()  # keys of questions about name cells that nobody else has
    texts: frozenset[str] = (
        frozenset()
    )  # digests of texts that servers were asked about, and nobody else has; names of their answers
    people: frozenset[str] = frozenset()  # keyed hashes, to count by

    def __bool__(self) -> bool:
        return bool(self.visits or self.checkups)

    def joined(self, other: Gone) -> Gone:
        return Gone(*(getattr(self, f.name) | getattr(other, f.name) for f in fields(self)))


def withdraw(lines: Lines, workspace: Workspace, settings: DatasetSettings, derived: Sequence[Derived] = ()) -> list[str]:
    """Take out whoever the list, a tombstone or an unfinished withdrawal names; nothing where nobody is. To be called under the workspace's
    lock, before anything that can fail. Returns what is to be told."""
    private = workspace.private
    known, stones = _read_journal(private)
    found, more = find(consent(lines, private), lines, workspace, settings)
    gone, stones = known.joined(found), stones | more
    if gone:
        journal = {"gone": {name: sorted(values) for name, values in asdict(gone).items()}, "stones": stones}
        try:
            private.commit_json(JOURNAL, journal)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            rooms.make_room(workspace.private, release_store(workspace))  # a full disk holds no withdrawal up
            private.commit_json(JOURNAL, journal)
    bury(private, stones, lines)
    if not gone:
        return []
    keep_edited(release_store(workspace), workspace)
    is_built = rooms.take_release_away(release_store(workspace), gone.checkups)
    rooms.clear_tables(workspace, gone.visits, gone.checkups, gone.patients)
    rooms.clear_private(private, gone.visits, gone.checkups | gone.cells)
    rooms.clear_public(workspace.public, gone.texts)
    told, finished = [], True
    for room in derived:
        sentences, done = room(workspace, gone.checkups)
        told += sentences
        finished = finished and done
    if finished:
        private.delete(JOURNAL)
    return [*_summary(gone, is_built, workspace), *told]


def _summary(gone: Gone, is_built: bool, workspace: Workspace) -> Iterator[str]:
    yield (
        f"withdrawn: {len(gone.visits):,} visits of {len(gone.people):,} patients left tables, caches, queues and lists "
        f"({len(gone.checkups):,} of them had a released id)"
    )
    if is_built:
        release = release_store(workspace).root
        yield "the release that held them was taken away; this run builds it anew without them, and until it has there is none"
        yield (
            "copies outside of this workspace (zips, uploads, downloads) are yours to call back; once it is built, "
            f"python -m jobs.release --diff COPY {release} --csv FILE lists the ids that went"
        )


Stones = dict[str, dict[str, list[str]]]


def _read_journal(private: Store) -> tuple[Gone, Stones]:
    if not private.exists(JOURNAL):
        return Gone(), {}
    journal = private.read_json(JOURNAL)
    return Gone(**{name: frozenset(values) for name, values in journal["gone"].items()}), journal["stones"]


# who it is


def find(who: Consent, lines: Lines, workspace: Workspace, settings: DatasetSettings) -> tuple[Gone, Stones]:
    """What the workspace holds of whoever is out, and the tombstones of the lines that named somebody. Reads only."""
    private = workspace.private
    if not who.hashes:
        return Gone(), {}
    matched, numbers = _matched(who, private)
    keyed = who.keyed
    plain = {line_hash(keyed, line): line for line in lines.out}
    whole = {name: number for name, number in numbers.items() if line_hash(keyed, number) == name}
    # the vault may know somebody whose records are there no more: their batch was moved out of the export
    whole |= {name: line for name, line in plain.items() if " " not in line}
    by_patient = {keyed.text("patient-key", number): name for name, number in whole.items()}
    by_visit = matched | {keyed.text("visit", one): name for name, line in plain.items() for one in _visits_of(line)}
    ids: dict[str, set[str]] = {name: set() for name in matched.values()}
    visits, checkups, patients, people = set(matched), set(), set(), {keyed.text("patient-key", n) for n in numbers.values()}
    codes = read_codes(private)
    for code in codes:
        name = by_patient.get(code.patient_key) or by_visit.get(code.visit_key)
        if name is not None:
            visits.add(code.visit_key)
            checkups.add(code.checkup_id)
            people.add(code.patient_key)
            released = ids.setdefault(name, set())
            released.add(id_hash(keyed, code.checkup_id))
            if code.patient_key in by_patient:
                patients.add(code.patient_id)
                released.add(id_hash(keyed, code.patient_id))
    staying = {code.patient_key for code in codes if code.visit_key not in visits}
    for code in codes:
        if (
            code.visit_key in visits and code.patient_key not in staying
        ):  # all visits of a patient, one by one: the code is nobody else's
            ids[by_patient.get(code.patient_key) or by_visit[code.visit_key]].add(id_hash(keyed, code.patient_id))
    cells = _cells(frozenset(visits), private, keyed)
    texts = _texts(frozenset(visits), workspace.public, settings)
    none: dict[str, list[str]] = {"days": [], "ids": []}  # of a tombstone that is there already
    stones = {
        name: (stone_of(keyed, plain[name]) if name in plain else none) | {"ids": sorted(found)} for name, found in ids.items()
    }
    return Gone(*(frozenset(part) for part in (visits, patients, checkups, cells, texts, people))), stones


def _visits_of(line: str) -> Iterator[str]:
    """What a line ``<number> <day>[ <time>]`` may be in the vault, whose key was made of a time as exact as the export had it."""
    number, _, time = line.partition(" ")
    if len(time) > 10:
        yield from (f"{number}|{time}", f"{number}|{time[:10]}")
    elif time:
        yield f"{number}|{time}"
        yield from (f"{number}|{time} {minute // 60:02d}:{minute % 60:02d}" for minute in range(24 * 60))


def _matched(who: Consent, private: Store) -> tuple[dict[str, str], dict[str, str]]:
    """Visit key -> the hash that keeps it out, and that hash -> the source number of its patient; over all tables that are on the disk, those of
    a run that was killed too."""
    matched, numbers = {}, {}
    for table in _tables(private, _WRITTEN, ("visit_key", "patient", "checkup_time")):
        for key, patient, time in zip(*(column.to_pylist() for column in table.columns), strict=True):
            name = who.match(patient or "", time or "")
            if name is not None:
                matched[key] = name
                numbers[name] = patient_number(patient)
    return matched, numbers


def _tables(store: Store, stages: Iterable[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    def read(name: str) -> pa.Table | None:
        try:
            return store.read_table(name, columns).select(columns)
        except pa.ArrowInvalid:  # damaged: `withdraw_rooms` deletes it
            return None

    names = [name for stage in stages for name in store.names(f"stages/{stage}") if name.endswith(".parquet")]
    return (table for table in ahead(read, names) if table is not None)


def _cells(visits: frozenset[str], private: Store, keyed: Keyed) -> set[str]:
    """The questions about name cells that stand in nobody else's rows: an answer to one holds the name."""
    own: set[str] = set()
    others: set[str] = set()
    if visits and private.exists(ANSWERS_FILE):
        for table in _tables(private, ("ingest", "records"), ("visit_key", "identifiers")):
            for key, values in zip(table["visit_key"].to_pylist(), table["identifiers"].to_pylist(), strict=True):
                (own if key in visits else others).update(value["value"] for value in values or ())
    return {cell_key(value, keyed) for value in own - others}


def _texts(visits: frozenset[str], public: Store, settings: DatasetSettings) -> set[str]:
    """Digests of the texts that a server may have been asked about: whole fields, and the unknown parts of a diagnosis."""
    if not visits or not any(public.exists(folder) for folder in (FOLDER, SECOND_PASS)):
        return set()
    own: set[str] = set()
    others: set[str] = set()
    questions = Questions(settings.annotate) if public.exists(SECOND_PASS) else None
    for stage in _TEXTS:
        names = [name if stage == "deidentified" else f"{name}_cn" for name in TEXT_FIELDS]
        for table in _tables(public, (stage,), ["visit_key", "status", "teeth", *names]):
            for row in table.to_pylist():
                chinese = {field: row[name] or "" for field, name in zip(TEXT_FIELDS, names, strict=True)}
                held = own if row["visit_key"] in visits else others
                held.update(text_digest(text) for text in chinese.values() if text.strip())
                if questions:
                    asked = {**row, "diagnosis_cn": chinese["diagnosis"]}
                    held.update(text_digest(words) for _, _, words in questions.strings(asked))
    for table in _tables(public, ("asked", "asked_second"), ("visit_key", "text", "key")):
        for visit, *hashes in zip(*(column.to_pylist() for column in table.columns), strict=True):
            (own if visit in visits else others).update(hashes)
    return own - others


def planned(lines: Lines, workspace: Workspace, settings: DatasetSettings) -> str | None:
    """What a run would withdraw first, for a dry run."""
    gone = _read_journal(workspace.private)[0].joined(find(consent(lines, workspace.private), lines, workspace, settings)[0])
    if not gone:
        return None
    return f"withdraws   {len(gone.visits):,} visits of {len(gone.people):,} patients, before anything else"
