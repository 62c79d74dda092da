"""A release, looked at as its reader gets it: `jobs.release --verify`.

    SHA256SUMS ──files──> sums, pictures ─────────────────┐
    complete-dataset.csv ──rows───────────────────────────┤ a pool of processes, a few chunks ahead
    train*.json, test-*.json ──samples────────────────────┤──> Facts ──> what only the whole can tell ──> Report
    parquet/… ──shards, with the bytes in them────────────┤
    every other text ─────────────────────────────────────┘

The driver holds a path for each image, a split for each visit and eight bytes for each sample; no text and no picture.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from codelib.core.progress import Progress
from codelib.data import verify_describe, verify_import
from codelib.data.release import CSV_COLUMNS, JSON_FILES
from codelib.data.verify_files import SUMS, check_files, check_listing, is_of_layout, list_files, read_sums, shown
from codelib.data.verify_report import Report
from codelib.data.verify_run import Task, run_tasks
from codelib.data.verify_tables import Facts, check_csv, check_json, check_shard, check_text, has_json, shard_of

_ROWS, _FILES = 200, 100  # a second of work, more or less
_TABLE = "complete-dataset.csv"
_TEXTS = (".md", ".csv", ".json", ".cff", ".svg", ".txt", ".yaml", ".yml", ".html")


@dataclass
class _Whole:
    """What the chunks add up to."""

    report: Report = field(default_factory=Report)
    digests: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))  # file or shard -> of its samples
    images: set[str] = field(default_factory=set)
    splits: dict[str, str] = field(default_factory=dict)
    labels: dict[str, tuple[str, int]] = field(default_factory=dict)  # as in Facts, of the CSV
    of_tables: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def take(self, key: str, found: Any) -> None:
        facts = found if isinstance(found, Facts) else Facts(report=found)
        self.report.add(facts.report)
        self.images |= facts.images
        self.counts += facts.counts
        self.rows[key] += len(facts.digests) or len(facts.splits)
        if key == _TABLE:
            self.labels |= facts.labels
            for checkup, split in facts.splits.items():
                if self.splits.setdefault(checkup, split) != split:
                    self.report.fail("split", f"{_TABLE}: one checkup_id stands in two rows; build the release again")
        elif key:
            self.digests[key].append(facts.digests)
            for checkup, split in facts.splits.items():
                if self.splits.get(checkup) != split:  # the CSV was taken before
                    self.report.fail(
                        "split",
                        f"{key}: a visit is {split} here and not in {_TABLE}; fetch both again, or build the release again",
                    )
            for checkup, told in facts.labels.items():
                if self.labels.get(checkup, told) != told:  # a visit that is not there was told above
                    sentence = f"{key}: spectrum or conditions of a visit are others in {_TABLE}; fetch both again, or build the release again"
                    self.report.fail("split", sentence)


def verify(folder: Path, workers: int) -> Report:
    """Look at everything. Raises ValueError where the folder holds no release."""
    if not folder.is_dir():
        raise ValueError(
            f"--verify {folder}: no such folder; give a release, or a downloaded copy of one on this machine's disks"
        )
    sums, there = read_sums(folder), set(list_files(folder))
    if verify_import.is_import(folder):
        return verify_import.verify(folder, sums, there, workers)
    whole = _Whole()
    check_listing(sums, there, whole.report)
    manifest = _read_manifest(folder, whole.report)
    stated = [*verify_describe.check(folder, there, whole.report), *verify_describe.stated(manifest)]
    tasks = _tasks(folder, sums, there, manifest, stated, whole.report)
    shards = [path for path in sorted(sums.keys() & there) if path.startswith("parquet/") and is_of_layout(path)]
    total = -(-len(sums) // _FILES) + len(shards)  # the tables' chunks are found on the way
    with Progress("verify", total, "files") as progress:
        for key, found in run_tasks(tasks, workers):
            whole.take(key, found)
            if not key or key.startswith("parquet/"):
                progress.step(1, found.looked["files"] if isinstance(found, Report) else 1)
    _references(whole, {path for path in there if path.startswith("Images/")})
    _one_side(whole, manifest)
    _samples(whole, shards)
    verify_describe.check_counts(folder, manifest, whole.rows, whole.counts, len(whole.images), whole.report)
    return whole.report


def _tasks(
    folder: Path, sums: dict[str, str], there: set[str], manifest: dict[str, Any], stated: list[str], report: Report
) -> Iterator[Task]:
    longest_px = manifest.get("settings", {}).get("images", {}).get("longest_px", 0)
    if _TABLE in there:  # first: what the other tables say is held against it
        for rows in _chunks(_csv_rows(folder, report), _ROWS):
            yield _TABLE, check_csv, (rows,)
    present = sorted(sums.keys() & there)
    for start in range(0, len(present), _FILES):
        yield "", check_files, (folder, {p: sums[p] for p in present[start : start + _FILES]}, longest_px)
    for name in JSON_FILES:
        if name in there:
            for lines in _chunks(_json_lines(folder, name, report), _ROWS):
                yield name, check_json, (name, lines)
    for path in sorted(there):
        if path.startswith("parquet/") and is_of_layout(path):
            yield path, check_shard, (folder, path)
        elif path not in (_TABLE, SUMS, *JSON_FILES) and path.endswith(_TEXTS):
            documents = stated if "/" not in path else []
            yield "", check_text_report, (folder, path, documents)


def check_text_report(folder: Path, path: str, stated: list[str]) -> Report:
    return check_text(folder, path, stated).report


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk


def _csv_rows(folder: Path, report: Report) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with (folder / _TABLE).open(encoding="utf-8", newline="") as source:
            rows = csv.DictReader(source, strict=True)
            if tuple(rows.fieldnames or ()) != CSV_COLUMNS:
                report.fail("counts", f"{_TABLE}: its header is not the one of this layout; fetch it again")
                return
            yield from enumerate(rows, 1)
    except (csv.Error, UnicodeDecodeError):
        report.fail("counts", f"{_TABLE}: cannot be read to its end; fetch it again")


def _json_lines(folder: Path, name: str, report: Report) -> Iterator[tuple[int, str]]:
    """The lines between the brackets: one sample a line, so that no file is held whole."""
    wrong = f"{name}: is not one JSON list with a sample a line; fetch it again"
    try:
        with (folder / name).open(encoding="utf-8", newline="\n") as source:
            opened, closed = next(source, "") == "[\n", False
            for number, line in enumerate(source, 1):
                closed = line == "]\n"
                if closed:
                    break
                if line.startswith(",") != (number > 1):
                    report.fail("samples", wrong)
                yield number, line.rstrip("\n")
            if not opened or not closed or next(source, ""):
                report.fail("samples", wrong)
    except UnicodeDecodeError:
        report.fail("samples", wrong)


# what only the whole can tell


def _read_manifest(folder: Path, report: Report) -> dict[str, Any]:
    try:
        value = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if not isinstance(value["settings"]["images"]["longest_px"], int):
            raise TypeError
        return dict(value)
    except (OSError, ValueError, KeyError, TypeError):
        report.fail("counts", "manifest.json: is missing or cannot be read, so nothing can be held against it; fetch it again")
        return {}


def _references(whole: _Whole, files: set[str]) -> None:
    for path in sorted(whole.images - files):
        whole.report.fail("references", f"{shown(path)}: is named in a table and is not there; fetch it again")
    for path in sorted(files - whole.images):
        whole.report.fail("references", f"{shown(path)}: no table names it; remove it, or build the release again")


def _one_side(whole: _Whole, manifest: dict[str, Any]) -> None:
    by_patient = manifest.get("settings", {}).get("split", {}).get("unit") != "checkup"
    spectrum = {checkup: side for checkup, (side, _) in whole.labels.items()}
    for column, placed in (("split", whole.splits), ("spectrum", spectrum)):
        sides: dict[str, str] = {}
        for checkup, side in placed.items():
            patient = checkup.rsplit("-", 1)[0]
            whole.report.looked_at("split")
            if side != "excluded" and by_patient and sides.setdefault(patient, side) != side:
                whole.report.fail(
                    "split",
                    f"patient {patient}: stands in {sides[patient]} and in {side} by {column}; do not train on this copy, build the "
                    "release again",
                )


def _samples(whole: _Whole, shards: list[str]) -> None:
    """As multisets: each side's rows that the other lacks are named by their number."""
    empty = np.empty(0, np.uint64)
    digests = {key: np.concatenate([empty, *parts]) for key, parts in whole.digests.items()}
    for name, (splits, benchmark) in JSON_FILES.items():
        mine = [s for s in shards if shard_of(s)[1] in splits and benchmark in (None, shard_of(s)[0]) and has_json(s)]
        ours, theirs = digests.get(name, empty), np.concatenate([empty, *(digests.get(s, empty) for s in mine)])
        if np.array_equal(np.sort(ours), np.sort(theirs)):
            continue
        if len(ours) != len(theirs):
            whole.report.fail("samples", f"{name}: {len(ours)} samples, {len(theirs)} rows in its shards; fetch both again")
        for number in np.flatnonzero(~np.isin(ours, theirs)):
            whole.report.fail("samples", f"{name} sample {number + 1}: stands in no shard as it is here; fetch both again")
        for shard in mine:
            for number in np.flatnonzero(~np.isin(digests.get(shard, empty), ours)):
                whole.report.fail("samples", f"{shard} row {number + 1}: stands not in {name} as it is here; fetch both again")
