import os
import stat

import fsspec
import pyarrow as pa
import pytest

from codelib.core.store import Store, Workspace, parquet_bytes


def test_commit_is_whole_or_not_at_all(tmp_path):
    store = Store(str(tmp_path))
    store.commit("a/b.txt", b"old")

    def broken():
        yield b"new, but"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.commit_stream("a/b.txt", broken())
    assert store.read("a/b.txt") == b"old"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_leftovers_are_not_listed_and_are_swept(tmp_path):
    store = Store(str(tmp_path))
    store.commit("s/one", b"1")
    (tmp_path / "s" / ".tmp-two-123").write_bytes(b"half")
    assert store.names("s") == ["s/one"]
    store.sweep("s")
    assert os.listdir(tmp_path / "s") == ["one"]


def test_object_store_speaks_the_same():
    fsspec.filesystem("memory").store.clear()
    store = Store("memory://bucket/workspace")
    store.commit("stages/x/y.bin", b"123")
    store.commit_json("stages/x/manifest.json", {"a": 1})
    assert store.names("stages") == ["stages/x/manifest.json", "stages/x/y.bin"]
    assert store.read("stages/x/y.bin") == b"123"
    assert store.read_json("stages/x/manifest.json") == {"a": 1}
    store.delete("stages/x/y.bin")
    assert not store.exists("stages/x/y.bin")


def test_same_table_same_bytes():
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert parquet_bytes(table) == parquet_bytes(pa.table({"a": [1, 2], "b": ["x", None]}))


def test_the_private_room_is_locked(tmp_path):
    workspace = Workspace.at(str(tmp_path / "w"))
    workspace.create()
    workspace.private.commit("ledger.csv", b"x")
    assert stat.S_IMODE(os.stat(tmp_path / "w" / "private").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "w" / "private" / "ledger.csv").st_mode) & 0o077 == 0


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "w").write_text("")
    with pytest.raises(ValueError, match="a file stands there"):
        Workspace.at(str(tmp_path / "w"))


def test_one_job_at_a_time(tmp_path):
    workspace = Workspace.at(str(tmp_path / "w"))
    workspace.create()
    with (
        workspace.locked(),
        pytest.raises(ValueError, match="another job is working"),
        Workspace.at(str(tmp_path / "w")).locked(),
    ):
        pass
    with workspace.locked():
        pass
