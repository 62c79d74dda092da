"""The stage on a real Ray: keeps what is done, redoes what changed, loses nothing, says where it failed and no value."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from ray import cloudpickle

from codelib.contracts import Contract
from codelib.core.cli import InputError, JobFailed
from codelib.core.stage import Part, Stage, Work, manifest_parts, pending, read_part, run
from codelib.core.store import Store

NUMBERS = Contract(
    "numbers",
    1,
    ("visit_key",),
    pa.schema([("visit_key", pa.string()), ("n", pa.int64()), ("status", pa.string()), ("reject_reason", pa.string())]),
)
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have the tests on their path
SECRET = "zhang wei 13812345678"


def rows(values):
    found = [{"visit_key": f"v{v}", "n": v, "status": "ok", "reject_reason": None} for v in values]
    return pa.Table.from_pylist(found, schema=NUMBERS.schema)


def source(extra):
    return rows(extra)


def double(table):
    return table.set_column(1, "n", pa.array([2 * n for n in table["n"].to_pylist()]))


def reject_odd(table):
    found = table.to_pylist()
    for row in found:
        if row["n"] % 2:
            row |= {"status": "rejected", "reject_reason": "numbers:odd"}
    return pa.Table.from_pylist(found, schema=NUMBERS.schema)


def lose_one(table):
    return table.slice(1)


def fail(table):
    raise RuntimeError(SECRET)


def refuse(table):
    raise InputError("the sheet lacks a column")


def full(table):
    raise OSError(28, "No space left on device")


class Adder:
    def __init__(self):
        self.made_in = os.getpid()

    def __call__(self, table):
        return table.set_column(1, "n", pa.array([n + 100 for n in table["n"].to_pylist()]))


SOURCE = Stage("source", 1, NUMBERS, source)
DOUBLE = Stage("double", 1, NUMBERS, double, conserve="visit_key")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "work"))


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Counts how often each stage worked on a partition. Workers of the shared cluster do not see a new variable, so it is asked of
    the files' names and times instead."""
    return lambda store, stage: {
        n: os.stat(store.path(n)).st_mtime_ns for n in store.names(f"stages/{stage}") if n.endswith(".parquet")
    }


def made(store, numbers, stage=SOURCE):
    return run(stage, [Work((), extra=n, identity=n) for n in numbers], store)


def values(parts):
    return sorted(n for part in parts for n in read_part(part)["n"].to_pylist())


def test_only_what_is_new_is_computed(cluster, store, trace):
    first = made(store, [[1, 2], [3]])
    run(DOUBLE, [Work((p,)) for p in first], store)
    before = trace(store, "double")
    grown = made(store, [[1, 2], [3], [4]])
    work = [Work((p,)) for p in grown]
    assert pending(DOUBLE, work, store) == 1
    parts = run(DOUBLE, work, store)
    after = trace(store, "double")
    assert {k: after[k] for k in before} == before
    assert values(parts) == [2, 4, 6, 8]


def test_a_second_run_touches_nothing(cluster, store, trace, capsys):
    made(store, [[1], [2]])
    before = trace(store, "source"), os.stat(store.path("stages/source/manifest.json")).st_mtime_ns
    made(store, [[1], [2]])
    assert (trace(store, "source"), os.stat(store.path("stages/source/manifest.json")).st_mtime_ns) == before
    assert "nothing new, 2 partitions kept" in capsys.readouterr().out


def test_other_settings_are_other_partitions_and_the_old_ones_go(cluster, store):
    made(store, [[1]])
    old = store.names("stages/source")
    made(store, [[1]], Stage("source", 1, NUMBERS, source, settings={"x": 1}))
    new = store.names("stages/source")
    assert len(new) == len(old) == 2
    assert set(new) & set(old) == {"stages/source/manifest.json"}


def test_a_lost_row_fails_the_stage(cluster, store):
    parts = made(store, [[1, 2]])
    with pytest.raises(JobFailed, match="AssertionError"):
        run(Stage("lossy", 1, NUMBERS, lose_one, conserve="visit_key"), [Work((p,)) for p in parts], store)
    with pytest.raises(ValueError, match=r"has no manifest.json: its stage did not finish; run the same command again"):
        manifest_parts(store, "lossy")


def test_an_error_is_named_without_its_value(cluster, store, tmp_path):
    parts = made(store, [[1]])
    private = Store(str(tmp_path / "private"), 0o700)
    with pytest.raises(JobFailed) as error:
        run(Stage("bad", 1, NUMBERS, fail), [Work((p,)) for p in parts], store, private)
    sentence = str(error.value)
    assert "RuntimeError at test_stage.py:" in sentence
    assert SECRET not in sentence
    (log,) = private.names("errors")
    assert SECRET in private.read(log).decode()  # the whole text, in the locked room only


def test_what_the_user_gave_and_a_full_disk_are_said_as_sentences(cluster, store):
    parts = made(store, [[1]])
    with pytest.raises(InputError, match="the sheet lacks a column"):
        run(Stage("bad", 1, NUMBERS, refuse), [Work((p,)) for p in parts], store)
    with pytest.raises(JobFailed, match="no space left on device"):
        run(Stage("bad", 1, NUMBERS, full), [Work((p,)) for p in parts], store)


def test_rejected_rows_stay_where_they_were_rejected(cluster, store):
    parts = run(Stage("odd", 1, NUMBERS, reject_odd), [Work((p,)) for p in made(store, [[1, 2, 3]])], store)
    assert parts[0].counts == {"numbers:odd": 2, "ok": 1}
    after = run(DOUBLE, [Work((p,)) for p in parts], store)
    assert values(after) == [4]


def test_dropped_visits_travel_or_are_left_out(cluster, store):
    (part,) = made(store, [[1, 2, 3]])
    dropped = Part(part.key, part.stage, part.root, part.rows, part.counts, drop=("v2",))
    assert values([dropped]) == [1, 3]
    (shipped,) = run(DOUBLE, [Work((dropped,), ship_drop=True)], store)
    assert shipped.drop == ("v2",)
    assert values([shipped]) == [2, 6]
    assert shipped.rows == 3  # made once for the whole file: its key is that of the undropped partition
    (cut,) = run(DOUBLE, [Work((dropped,))], store)
    assert cut.rows == 2


def test_a_stage_that_holds_something_makes_it_once_an_actor(cluster, store):
    parts = run(Stage("adder", 1, NUMBERS, make=Adder, concurrency=2), [Work((p,)) for p in made(store, [[1], [2], [3]])], store)
    assert values(parts) == [101, 102, 103]


class Meeting:
    """Leaves its partition only when as many of its kind are at work as were asked for."""

    def __init__(self, folder, actors):
        self.folder, self.actors = Path(folder), actors

    def __call__(self, extra):
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < self.actors:
            assert time.monotonic() < deadline, "the other actor got no partition"
            time.sleep(0.05)
        return rows(extra)


def test_as_many_actors_work_as_there_are_partitions_for(cluster, store, tmp_path):
    (tmp_path / "here").mkdir()
    stage = Stage("meeting", 1, NUMBERS, make=partial(Meeting, str(tmp_path / "here"), 2), concurrency=2)
    assert values(run(stage, [Work(extra=[1]), Work(extra=[2])], store)) == [1, 2]


class Dying(Store):
    """Its worker dies when it has committed its first partition, and before it can say so."""

    def __reduce__(self):
        return (Dying, (self.root,))

    def commit_table(self, name, table, *more):
        super().commit_table(name, table, *more)
        dead = Path(self.root).with_name("dead")
        if not dead.exists():
            dead.touch()
            os._exit(1)


def test_what_a_worker_committed_before_it_died_is_not_made_again(cluster, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()

    def noting(extra):
        (calls / f"{extra[0]}-{os.getpid()}").touch()
        return rows(extra)

    parts = run(Stage("noting", 1, NUMBERS, noting), [Work(extra=[1]), Work(extra=[2, 3])], Dying(str(tmp_path / "work")))
    assert (tmp_path / "dead").exists()
    assert len(list(calls.iterdir())) == 2
    assert values(parts) == [1, 2, 3]
    assert sorted(part.rows for part in parts) == [1, 2]


def test_a_ray_of_our_own_starts_what_a_job_uses_and_nothing_else(cluster):
    from ray._private import ray_constants, worker

    started = set(worker._global_node.all_processes)
    assert {ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER} <= started
    assert not started & {
        ray_constants.PROCESS_TYPE_DASHBOARD,
        ray_constants.PROCESS_TYPE_MONITOR,
        ray_constants.PROCESS_TYPE_LOG_MONITOR,
    }


def test_on_an_object_store(cluster, tmp_path):
    # a file:// URI goes through fsspec like s3:// does
    remote = Store(f"file://{tmp_path}/bucket")
    parts = run(DOUBLE, [Work((p,)) for p in made(remote, [[1], [2]])], remote)
    assert values(parts) == [2, 4]
