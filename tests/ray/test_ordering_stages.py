"""Runs and pieces as stages on a real Ray: what a kill left is finished to the same bytes, a new partition redoes the last run alone."""

import sys

import pyarrow as pa
import pytest
from ray import cloudpickle

from codelib.contracts import Contract
from codelib.core.stage import Part, Stage, Work, read_part, run
from codelib.core.store import Store, Workspace
from codelib.data import ordering
from codelib.data.ordering import PLACE, by_partition, in_order, piece, runs_work

ROWS = Contract("rows", 1, (PLACE,), pa.schema([(PLACE, pa.string()), ("n", pa.int64())]))
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have the tests on their path


def made(extra):
    return pa.table([[f"{n * 7919 % 10007:05d}" for n in extra], extra], schema=ROWS.schema)


def sorted_run(*inputs):
    return pa.concat_tables([read_part(part) for (part,) in by_partition(inputs)]).sort_by(PLACE).combine_chunks()


SOURCE, RUNS = Stage("source", 1, ROWS, made), Stage("runs", 1, ROWS, sorted_run, lazy=True, row_group_rows=4)
ORDERED = Stage("ordered", 1, ROWS, piece, lazy=True)


def ordered(workspace: Workspace, partitions: int) -> tuple[list[Part], list[Part]]:
    parts = run(SOURCE, [Work((), list(range(10 * p, 10 * p + 10))) for p in range(partitions)], workspace.public)
    runs = run(RUNS, runs_work(parts), workspace.public)
    return runs, in_order(ORDERED, runs, workspace)


def bytes_of(store: Store, parts: list[Part]) -> list[bytes]:
    return [store.read(part.name) for part in parts]


def test_what_a_kill_left_is_finished_to_the_same_bytes(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ordering, "RUN_ROWS", 30)
    monkeypatch.setattr(ordering, "PIECE_ROWS", 16)
    workspace = Workspace.at(str(tmp_path / "w"))
    store = workspace.public
    runs, pieces = ordered(workspace, 11)
    assert len(runs) == 4 and len(pieces) > 4
    rows = [row for part in pieces for row in read_part(part).to_pylist()]
    assert rows == sorted(made(list(range(110))).to_pylist(), key=lambda row: row[PLACE])
    expected = bytes_of(store, runs), bytes_of(store, pieces)

    for left in (runs[1], pieces[0], pieces[-1]):
        store.delete(left.name)
    store.delete("stages/ordered/manifest.json")
    capsys.readouterr()
    again, in_pieces = ordered(workspace, 11)
    assert (bytes_of(store, again), bytes_of(store, in_pieces)) == expected
    assert "(1 partitions computed, 3 kept)" in (told := capsys.readouterr().out)
    assert f"(2 partitions computed, {len(pieces) - 2} kept)" in told

    grown, _ = ordered(workspace, 13)
    assert [part.key for part in grown[:3]] == [part.key for part in runs[:3]]


@pytest.mark.parametrize("partitions", [1, 3])
def test_one_run_is_in_order_as_it_is(cluster, tmp_path, partitions):
    workspace = Workspace.at(str(tmp_path / "w"))
    workspace.public.commit("stages/ordered/left.parquet", b"of a workspace that was larger")
    runs, pieces = ordered(workspace, partitions)
    assert pieces == runs and len(runs) == 1
    assert workspace.public.names("stages/ordered") == []
