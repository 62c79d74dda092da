"""Rows of all partitions in one order: every row once, whatever the partitions, runs and pieces; the release's text files out of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import ANNOTATED, CONVERSATIONS, SPLIT, TEXT_FIELDS
from codelib.core.stage import Part, Work
from codelib.core.store import Store, Workspace
from codelib.data import ordering
from codelib.data.ordering import PLACE, groups, piece, pieces_work, place, runs_work
from codelib.data.release import CSV_COLUMNS, JSON_FILES, LINES, assemble, write_text_files
from codelib.data.shards import SAMPLES
from codelib.data.withdraw_rooms import clear_tables

ROWS = pa.schema([(PLACE, pa.string()), ("value", pa.int64())])


def committed(store: Store, stage: str, tables: list[pa.Table], row_group_rows: int = 3) -> list[Part]:
    parts = []
    for index, table in enumerate(tables):
        parts.append(Part(f"p{index}", stage, store.root, table.num_rows, {}))
        store.commit_table(parts[-1].name, table, row_group_rows)
    return parts


def computed(store: Store, stage: str, fn: Any, work: list[Work]) -> list[Part]:
    return committed(store, stage, [fn(*one.inputs, one.extra) for one in work])


def rows_of(store: Store, parts: list[Part]) -> list[dict[str, Any]]:
    return [row for part in parts for row in store.read_table(part.name).to_pylist()]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.text("ab1-/\0牙", max_size=4), max_size=12), max_size=5),
    st.integers(1, 20),
    st.integers(1, 4),
)
def test_the_pieces_are_the_sorted_rows(
    tmp_path_factory: pytest.TempPathFactory, runs: list[set[str]], rows: int, group: int
) -> None:
    store = Store(str(tmp_path_factory.mktemp("ordered")))
    keys = [[f"{key}{index}" for key in run] for index, run in enumerate(runs)]  # of one run or of another, never of two
    tables = [pa.table([sorted(names), range(len(names))], schema=ROWS) for names in keys]
    parts = committed(store, "runs", tables, group)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ordering, "PIECE_ROWS", rows)
        work = pieces_work(parts)
    pieces = [piece(*one.inputs, one.extra) for one in work]
    found = [row for table in pieces for row in table.to_pylist()]
    expected = sorted((row for table in tables for row in table.to_pylist()), key=lambda row: row[PLACE].encode())
    assert found == expected
    assert all(0 < table.num_rows < rows + group * (len(runs) + 1) for table in pieces)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_a_partition_is_in_one_run_and_new_ones_move_only_the_last(sizes: list[int], most: int) -> None:
    parts = [Part(f"p{n}", "s", "/", rows, {}) for n, rows in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ordering, "RUN_ROWS", most)
        found, before = list(groups(parts)), list(groups(parts[:-3]))
    assert [i for group in found for i in group] == list(range(len(parts)))
    assert all(len(group) == 1 or sum(sizes[i] for i in group) <= most for group in found)
    assert found[: max(0, len(before) - 1)] == before[:-1]


@given(st.lists(st.tuples(st.text("a-/0", max_size=3), st.text("a-/0", max_size=3)), max_size=8))
def test_places_stand_in_the_order_of_their_parts(pairs: list[tuple[str, str]]) -> None:
    assert sorted(place(*pair) for pair in pairs) == [place(*pair) for pair in sorted(pairs)]


# the release's text files


class Clinic:
    """Visits in partitions as the stages leave them; some have no class, some are excluded, one is rejected by the split."""

    def __init__(self, folder: Path, visits: int, of_partition: list[int]) -> None:
        self.store, self.release = Store(str(folder)), Store(str(folder / "release"))
        self.visits = visits
        self.annotated: list[dict[str, Any]] = []
        self.split: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        for number in range(visits):
            self._visit(number)
        tables: dict[str, list[pa.Table]] = {"annotated": [], "split": [], "conversations": []}
        for index in range(max(of_partition) + 1):
            mine = {f"{n * 7919 % 10007:04d}-001" for n in range(visits) if of_partition[n % len(of_partition)] == index}
            for name, rows, contract in (
                ("annotated", self.annotated, ANNOTATED),
                ("split", self.split, SPLIT),
                ("conversations", self.samples, CONVERSATIONS),
            ):
                tables[name].append(pa.Table.from_pylist([r for r in rows if r["checkup_id"] in mine], schema=contract.schema))
        self.parts = [committed(self.store, name, found) for name, found in tables.items()]

    def _visit(self, number: int) -> None:
        checkup = f"{number * 7919 % 10007:04d}-001"  # a code says nothing of the partition
        side = ("train", "validation", "test", "excluded")[number % 4]
        visit = dict.fromkeys(ANNOTATED.schema.names) | {"checkup_id": checkup, "status": "ok", "diseases": []}
        visit |= dict.fromkeys((*TEXT_FIELDS, *(f"{name}_cn" for name in TEXT_FIELDS)), 'a "line"\nbreak, and 牙')
        self.annotated.append(visit)
        row = dict.fromkeys(SPLIT.schema.names) | {"checkup_id": checkup, "split": side, "spectrum": "train", "status": "ok"}
        if number == 5:
            self.split.append(row | {"status": "rejected", "reject_reason": "audit:leak"})
            return
        self.split.append(row | {"photographs": [f"{checkup}-01.jpg"], "radiographs": []})
        for task in ("teeth", "classification", "generation") if side != "excluded" else ():
            sample = dict.fromkeys(CONVERSATIONS.schema.names) | {
                "sample_id": f"{checkup}/{task}",
                "checkup_id": checkup,
                "task": task,
            }
            sample |= {
                "benchmark": task if task != "teeth" else None,
                "split": side,
                "status": "ok",
                "images": [],
                "messages": [],
            }
            self.samples.append(sample)

    def write(self) -> dict[str, bytes]:
        runs = computed(self.store, "lines", assemble, runs_work(*self.parts))
        pieces = computed(self.store, "ordered_lines", piece, pieces_work(runs)) if len(runs) > 1 else runs
        sums = write_text_files(pieces, self.release)
        assert set(sums) == {"complete-dataset.csv", *JSON_FILES}
        return {name: self.release.read(name) for name in sums}


def test_every_visit_and_sample_stands_once_in_the_order_of_ids(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, 40, [0, 1, 2])
    files = clinic.write()
    rows = list(csv.DictReader(io.StringIO(files["complete-dataset.csv"].decode(), newline="")))
    released = sorted(row["checkup_id"] for row in clinic.split if row["status"] == "ok")
    assert [row["checkup_id"] for row in rows] == released and tuple(rows[0]) == CSV_COLUMNS
    assert [int(row["id"]) for row in rows] == list(range(39))
    for name, (sides, benchmark) in JSON_FILES.items():
        found = json.loads(files[name])
        wanted = sorted(s["sample_id"] for s in clinic.samples if s["split"] in sides and benchmark in (None, s["benchmark"]))
        assert [(row["id"], row["checkup_id"]) for row in found] == [(n, id.split("/")[0]) for n, id in enumerate(wanted)]


def test_a_file_without_a_line_is_written(tmp_path: Path) -> None:
    files = Clinic(tmp_path, 1, [0]).write()
    assert json.loads(files["test-cls.json"]) == [] and len(json.loads(files["train.json"])) == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 30), st.integers(1, 30))
def test_partitions_runs_and_pieces_change_no_byte(
    tmp_path_factory: pytest.TempPathFactory, of_partition: list[int], run: int, rows: int
) -> None:
    expected = Clinic(tmp_path_factory.mktemp("one"), 24, [0]).write()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ordering, "RUN_ROWS", run)
        patched.setattr(ordering, "PIECE_ROWS", rows)
        assert Clinic(tmp_path_factory.mktemp("many"), 24, of_partition).write() == expected


def test_a_withdrawal_leaves_nothing_of_a_person_in_runs_and_pieces(tmp_path: Path) -> None:
    workspace = Workspace.at(str(tmp_path))
    store = workspace.public
    lines = [{PLACE: place("train.json", f"{name}/x"), "file": "train.json", "line": "{}"} for name in ("0001-001", "0002-001")]
    ids = ("0001-001", "0002-001", "0003-001")
    samples = [
        {PLACE: place("report", "train", name), "visual_tokens": 1, "sample_id": f"{name}/x", "checkup_id": name, "status": "ok"}
        for name in ids
    ]
    for stage in ("lines", "ordered_lines", "samples", "ordered_samples"):
        rows, schema = (lines, LINES.schema) if stage.endswith("lines") else (samples, SAMPLES.schema)
        committed(store, stage, [pa.Table.from_pylist([row], schema=schema) for row in rows])
        store.commit_json(f"stages/{stage}/manifest.json", {})
    clear_tables(workspace, frozenset({"key"}), frozenset({"0002-001"}), frozenset({"0002"}))
    kept = [f"stages/{stage}/p{number}.parquet" for stage in ("ordered_samples", "samples") for number in (0, 2)]
    assert store.names("stages") == kept  # who a line is about cannot be told: all of them go
