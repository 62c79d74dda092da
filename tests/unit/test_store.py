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


@pytest.mark.parametrize("root", ["local", "memory"])
def test_files_that_belong_together_never_disagree(tmp_path, monkeypatch, root):
    """Killed at any step: where the last file is, the others are those that were committed with it."""
    fsspec.filesystem("memory").store.clear()
    store = Store(str(tmp_path) if root == "local" else "memory://bucket/together")
    old = {name: f"old {name}".encode() for name in ("r/page", "r/old-table", "r/last")}
    new = {name: f"new {name}".encode() for name in ("r/page", "r/table", "r/last")}
    steps = 0

    def counted(original, stop_at):
        def call(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == stop_at:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return call

    def go(stop_at):
        nonlocal steps
        steps = 0
        for name in store.names("r"):
            store.delete(name)
        store.commit_together(old, "r/last")
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", counted(os.replace, stop_at))
            for name in ("delete", "commit"):
                patched.setattr(Store, name, counted(getattr(Store, name), stop_at))
            store.commit_together(new, "r/last", gone=["r/old-table"])
        return {name: store.read(name) for name in store.names("r")}

    assert go(None) == new
    total = steps
    assert total == 5  # two files go, three come
    for stop_at in range(1, total + 1):
        with pytest.raises(KeyboardInterrupt):
            go(stop_at)
        found = {name: store.read(name) for name in store.names("r")}
        assert found == old if stop_at == 1 else "r/last" not in found, stop_at
        assert not [name for name in store.listing() if ".tmp-" in name]


def test_a_disk_that_is_full_changes_nothing_of_what_belongs_together(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.commit_together({"a": b"1", "last": b"2"}, "last")
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.commit_together({"a": b"3", "last": b"4"}, "last")
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {"a": b"1", "last": b"2"}


def test_a_file_may_be_its_owners_alone(tmp_path):
    store = Store(str(tmp_path))
    store.commit_json("key.json", {}, 0o600)
    store.commit_json("other.json", {})
    assert stat.S_IMODE(os.stat(tmp_path / "key.json").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "other.json").st_mode) == 0o644


def test_leftovers_are_not_listed_and_are_swept(tmp_path):
    store = Store(str(tmp_path))
    store.commit("s/one", b"1")
    (tmp_path / "s" / ".tmp-two-123").write_bytes(b"half")
    assert store.names("s") == ["s/one"]
    store.sweep("s")
    assert os.listdir(tmp_path / "s") == ["one"]


def test_what_somebody_writes_below_can_be_left_alone(tmp_path):
    store = Store(str(tmp_path))
    for folder in ("s", "s/below"):
        store.commit(f"{folder}/one", b"1")
        (tmp_path / folder / ".tmp-two-123").write_bytes(b"half")
    store.sweep("s", below=False)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["below", "one"]
    assert len(list((tmp_path / "s" / "below").iterdir())) == 2


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
