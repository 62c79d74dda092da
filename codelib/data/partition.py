"""Cutting the records into partitions that stay what they are when the export grows.

    ingest (one table a batch) ──keys on the driver──> plan (which visit lies in which partition) ──> records (one table a partition)

A visit that is new or changed goes into a new partition; the old partitions keep their names, so every later stage finds its work done.
In a partition with a changed visit the old row is dropped when read. A visit that is gone (withdrawn) must not stay on disk: its
partition is cut again without it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import OK, TEXT_FIELDS, rejected
from codelib.core.ahead import read_parts
from codelib.core.stage import Part, Work, digest
from codelib.core.store import Store
from codelib.data.export import patient_number

_PLAN_FILE = "plan.parquet"  # not below stages/: a stage removes what its manifest does not name
_PLAN = pa.schema([("partition", pa.int64()), ("visit_key", pa.string()), ("fingerprint", pa.string())])


@dataclass(frozen=True)
class Visit:
    """What the driver knows of a visit."""

    visit_key: str
    fingerprint: str
    batch_index: int
    status: str
    patient: str
    checkup_time: str
    fullness: int  # characters of text
    known: frozenset[str] = frozenset()  # digests of what this batch knows of the patient: names, numbers


def visits_of(parts: Sequence[Part]) -> list[Visit]:
    """The visits of all ingested batches; keys and counts only."""
    found = []
    columns = ["visit_key", "fingerprint", "status", "patient", "checkup_time", "identifiers", *TEXT_FIELDS]
    for index, table in enumerate(read_parts(parts, columns, threads=1)):  # whole batches
        lengths = [pc.fill_null(pc.utf8_length(table[name]), 0) for name in TEXT_FIELDS]
        fullness = lengths[0]
        for more in lengths[1:]:
            fullness = pc.add(fullness, more)
        known = [frozenset(digest(i) for i in _personal(values)) for values in table["identifiers"].to_pylist()]
        rows = zip(*(table[c].to_pylist() for c in columns[:5]), fullness.to_pylist(), known, strict=True)
        found += [Visit(key, fp, index, *rest) for key, fp, *rest in rows]
    return _told_by_others(found)


def _personal(identifiers: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [i for i in identifiers if i["kind"] != "staff"]


def _told_by_others(visits: Sequence[Visit]) -> list[Visit]:
    """A patient's name may stand in one batch's columns and in another's text: what any batch knows counts for all. A visit for
    which another batch knows more is a changed visit."""
    known: dict[str, frozenset[str]] = {}
    for visit in visits:
        number = patient_number(visit.patient or "")
        known[number] = known.get(number, frozenset()) | visit.known
    told = []
    for visit in visits:
        more = known[patient_number(visit.patient or "")] - visit.known if visit.patient else frozenset()
        told.append(replace(visit, fingerprint=digest([visit.fingerprint, sorted(more)])) if more else visit)
    return told


def across_batches(visits: Sequence[Visit]) -> tuple[list[Visit], dict[tuple[int, str], str]]:
    """A visit exported in two batches is one visit: the fuller row wins, then the earlier batch.

    Returns the visits that stay, and for the others (batch index, visit key) -> the key their rejected row gets.
    """
    by_key: dict[str, list[Visit]] = defaultdict(list)
    for visit in visits:
        by_key[visit.visit_key].append(visit)
    losers = {}
    kept = []
    for key, twins in by_key.items():
        best, *others = sorted(twins, key=lambda v: (v.status != OK, -v.fullness, v.batch_index))
        kept.append(best)
        for other in others:
            losers[other.batch_index, key] = f"{key}~{other.batch_index}"
    for visit in visits:
        renamed = losers.get((visit.batch_index, visit.visit_key))
        if renamed:
            kept.append(Visit(renamed, visit.fingerprint, visit.batch_index, "rejected", visit.patient, visit.checkup_time, 0))
    return kept, losers


def plan(visits: Sequence[Visit], store: Store, rows: int) -> list[list[Visit]]:
    """Partitions of at most ``rows`` visits of one batch: the old ones as they were, new ones for what is new."""
    current = {(v.visit_key, v.fingerprint): v for v in visits}
    keys = {v.visit_key for v in visits}
    partitions: list[list[tuple[str, str]]] = []
    placed: set[tuple[str, str]] = set()
    for old in _read_plan(store):
        survivors = [unit for unit in old if unit[0] in keys]
        valid = [unit for unit in survivors if unit in current]
        if not valid:
            continue
        # someone left: cut again. someone changed: keep the file, the changed row is dropped on reading
        units = old if len(survivors) == len(old) else valid
        partitions.append(units)
        placed.update(valid)
    fresh: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for unit, visit in sorted(current.items()):
        if unit not in placed:
            fresh[visit.batch_index].append(unit)
    for _, units in sorted(fresh.items()):
        partitions += [units[i : i + rows] for i in range(0, len(units), rows)]
    _write_plan(partitions, store)
    return [[current.get(unit, _gone(unit)) for unit in units] for units in partitions]


def forget(visits: frozenset[str], store: Store) -> None:
    """Take visits out of the plan: their partitions are cut again without them, and without visits that changed and stand in a later one."""
    before = _read_plan(store)
    times = Counter(key for units in before for key, _ in units)
    left = [
        units
        if visits.isdisjoint(key for key, _ in units)
        else [unit for unit in units if unit[0] not in visits and times[unit[0]] == 1]
        for units in before
    ]
    if left != before:
        _write_plan([units for units in left if units], store)


def _write_plan(partitions: Sequence[Sequence[tuple[str, str]]], store: Store) -> None:
    table = [{"partition": i, "visit_key": k, "fingerprint": f} for i, units in enumerate(partitions) for k, f in units]
    store.commit_table(_PLAN_FILE, pa.Table.from_pylist(table, schema=_PLAN))


def _gone(unit: tuple[str, str]) -> Visit:
    """A row that lies in an old partition's file and is valid no more."""
    return Visit(unit[0], unit[1], -1, "changed", "", "", 0)


def _read_plan(store: Store) -> list[list[tuple[str, str]]]:
    if not store.exists(_PLAN_FILE):
        return []
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in store.read_table(_PLAN_FILE).to_pylist():
        found[row["partition"]].append((row["visit_key"], row["fingerprint"]))
    return [units for _, units in sorted(found.items())]


def records_work(
    visits: Sequence[Visit], partitions: Sequence[Sequence[Visit]], ingested: Sequence[Part], losers: dict[tuple[int, str], str]
) -> list[Work]:
    """For each partition the work that cuts it."""
    renamed_to = {new: old for (_, old), new in losers.items()}
    batches_of: dict[str, set[int]] = defaultdict(set)
    for visit in visits:
        batches_of[visit.patient].add(visit.batch_index)
    work = []
    for units in partitions:
        alive = [v for v in units if v.batch_index >= 0]
        own = alive[0].batch_index
        others = sorted({i for v in alive for i in batches_of[v.patient]} - {own, -1})
        extra = {"visits": [[renamed_to.get(v.visit_key, v.visit_key), v.visit_key] for v in units]}
        identity = [[v.visit_key, v.fingerprint] for v in units]
        inputs = tuple(ingested[i] for i in (own, *others))
        work.append(Work(inputs, extra, identity, drop=tuple(v.visit_key for v in units if v.batch_index < 0)))
    return work


def cut(table: pa.Table, *rest: Any) -> pa.Table:
    """The rows of one partition out of its batch, with what other batches know of its patients. The last argument: which rows."""
    *others, extra = rest
    wanted = dict(extra["visits"])
    rows = _having(table, "visit_key", list(wanted)).to_pylist()  # a batch may hold a thousand times as many
    numbers = {patient_number(row["patient"]) for row in rows if row["patient"]}
    known: dict[str, list[dict[str, str]]] = defaultdict(list)
    for other in others:
        names = [name for name in pc.unique(other["patient"]).to_pylist() if patient_number(name or "") in numbers]
        told = _having(other.select(["patient", "identifiers"]), "patient", names)
        for patient, identifiers in zip(told["patient"].to_pylist(), told["identifiers"].to_pylist(), strict=True):
            known[patient_number(patient or "")] += _personal(identifiers)
    for row in rows:
        more = known[patient_number(row["patient"])] if row["patient"] else []
        row["identifiers"] += [i for n, i in enumerate(more) if i not in row["identifiers"] and i not in more[:n]]
        if wanted[row["visit_key"]] != row["visit_key"]:
            row |= rejected("ingest:duplicate_visit") | {"visit_key": wanted[row["visit_key"]]}
    return pa.Table.from_pylist(rows, schema=table.schema)


def _having(table: pa.Table, column: str, values: Sequence[str | None]) -> pa.Table:
    """The rows that have one of the values, in their order."""
    return table.filter(pc.is_in(table[column], pa.array(values, pa.string())))
