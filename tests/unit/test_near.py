"""Near copies of what an object store keeps: whole, checked, made once, resumed, and gone when nobody needs them."""

import fcntl
import hashlib
import os

import pytest

from codelib.core import near
from codelib.core.near import Near, remove_unused
from codelib.core.store import Store, Workspace
from codelib.evaluate.near_variants import resolve_anywhere
from codelib.evaluate.variants import Variant
from codelib.models.near_dataset import open_anywhere
from codelib.train.run_folder import RunFolder
from codelib.train.withdrawn import withdraw
from tests.s3_server import BUCKET, environment, keys, s3_server

FILES = {"train.json": b"[]", "Images/Photograph/0001-001-01.jpg": b"1", "Images/Radiograph/0001-001-02.jpg": b"22"}
ROOT = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def client():
    with s3_server() as (values, client), environment(values):
        yield client


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CODELIB_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for handle in near._HELD.values():
        handle.close()
    near._HELD.clear()


@pytest.fixture
def release(client, request):
    """A small release in the store, with sums; its URI."""
    name = f"{request.node.name[:40]}/workspace/release"
    store = Store(f"{ROOT}/{name}")
    for file, content in FILES.items():
        store.commit(file, content)
    store.commit("parquet/classification/train-0.parquet", b"shard")
    files = FILES | {"parquet/classification/train-0.parquet": b"shard"}
    store.commit("SHA256SUMS", "".join(f"{hashlib.sha256(c).hexdigest()}  {f}\n" for f, c in files.items()).encode())
    return store.root


def fetched(monkeypatch):
    """Names that are downloaded from now on."""
    names, download = [], Store.download
    monkeypatch.setattr(Store, "download", lambda self, name, path: (names.append(name), download(self, name, path))[1])
    return names


def test_a_copy_is_whole_closed_to_others_and_made_once(release, cache, monkeypatch):
    names = fetched(monkeypatch)
    copy = Near.of(release, skip=("parquet",))
    path = copy.ensure()
    assert path.name == "release"
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    assert not (path / "parquet").exists()
    assert sorted(names) == sorted([*FILES, "SHA256SUMS"])
    assert Near.of(release, skip=("parquet",)).ensure() == path and len(names) == 4
    assert os.stat(cache).st_mode & 0o077 == 0
    copy.remove()
    assert os.listdir(cache) == []


def test_a_killed_download_goes_on(release, cache, monkeypatch):
    copy = Near.of(release)
    kept = Store.download

    def dies(self, name, path):
        if name.startswith("Images/R"):
            raise KeyboardInterrupt
        kept(self, name, path)

    monkeypatch.setattr(near, "_THREADS", 1)
    monkeypatch.setattr(Store, "download", dies)
    with pytest.raises(KeyboardInterrupt):
        copy.ensure()
    monkeypatch.setattr(Store, "download", kept)
    names = fetched(monkeypatch)
    assert (copy.ensure() / "Images/Radiograph/0001-001-02.jpg").read_bytes() == b"22"
    assert "Images/Photograph/0001-001-01.jpg" not in names and "Images/Radiograph/0001-001-02.jpg" in names


def test_what_is_not_as_the_sums_say_is_refused(release, cache):
    Store(release).commit("Images/Photograph/0001-001-01.jpg", b"X")
    with pytest.raises(ValueError, match="a file is not what its SHA256SUMS says") as error:
        Near.of(release).ensure()
    assert "0001-001-01" not in str(error.value)  # in a folder of somebody's own it may be a name
    Store(release).delete("Images/Photograph/0001-001-01.jpg")
    with pytest.raises(ValueError, match="1 files that its SHA256SUMS names are not there"):
        Near.of(release).ensure()


def test_a_key_that_would_leave_the_cache_is_refused(release, cache):
    from moto.s3.models import s3_backends

    # straight into the server: clients shorten such a path
    key = f"{release.removeprefix(ROOT + '/')}/Images/../../../outside"
    s3_backends["123456789012"]["aws"].put_object(BUCKET, key, b"1")
    with pytest.raises(ValueError, match=r"named \. or \.\."):
        Near.of(release).ensure()
    assert not list(cache.rglob("outside"))


def test_another_content_is_another_copy(release):
    before = Near.of(release)
    Store(release).commit("more.txt", b"1")
    assert Near.of(release).folder != before.folder


def test_a_copy_that_somebody_reads_stays_and_what_nobody_reads_goes(release, cache, monkeypatch):
    monkeypatch.setattr(near, "_PATIENCE_S", 0.0)
    copy = Near.of(release)
    copy.ensure()
    with open(f"{copy.folder}.use") as other:  # another process of this node
        fcntl.flock(other, fcntl.LOCK_SH)
        copy.remove()
        assert (copy.path / "train.json").exists()
    remove_unused()
    assert os.listdir(cache) == []
    with copy.held() as path:
        remove_unused()
        assert (path / "train.json").exists()


def test_a_disk_that_is_too_small_and_a_cache_that_is_open_are_said(release, cache, monkeypatch):
    monkeypatch.setattr(near, "_free", lambda folder: 1)
    with pytest.raises(ValueError, match="CODELIB_CACHE"):
        Near.of(release).ensure()
    cache.chmod(0o755)
    near._HELD.clear()
    with pytest.raises(ValueError, match="0700"):
        Near.of(release).ensure()


def test_a_dataset_that_is_none_is_said_before_anything_is_copied(release, cache):
    workspace = release.removesuffix("/release")
    Store(workspace).commit("private/key", b"secret")
    Store(workspace).commit("workspace.json", b"{}")
    with pytest.raises(ValueError, match=f"did you mean {release}"):
        open_anywhere(workspace)
    for folder in (workspace, workspace.rpartition("/")[0]):
        with pytest.raises(ValueError, match="private room is copied nowhere"):
            Near.of(folder)
    with pytest.raises(ValueError, match="not a released dataset"):
        open_anywhere(f"{ROOT}/nothing-here")
    with pytest.raises(ValueError, match="a file"):
        open_anywhere(f"{release}/train.json")
    Store(release).commit("INCOMPLETE", b"")
    with pytest.raises(ValueError, match="did not finish"):
        open_anywhere(release)
    assert not cache.exists()
    Store(release).delete("INCOMPLETE")
    dataset, copies = open_anywhere(f"{release}/")
    assert dataset.folder == copies[0].path and dataset.folder.name == "release"


def test_variants_of_a_workspace_in_the_store(client, cache):
    Store(f"{ROOT}/w/models/tiny").commit("config.json", b"{}")
    Store(f"{ROOT}/w/train/run").commit("adapter/adapter_config.json", b"{}")
    Store(f"{ROOT}/w/train/run").commit_json("run.json", {"retrain": True})
    variant, copies, retrain = resolve_anywhere(Variant(name="v", model="tiny", adapter="train/run/adapter"), f"{ROOT}/w")
    assert os.path.isfile(f"{variant.model}/config.json") and variant.model.endswith("/tiny")
    assert os.path.isfile(f"{variant.adapter}/adapter_config.json")
    assert len(copies) == 2 and retrain
    hub, none, _ = resolve_anywhere(
        Variant(name="v", model="Qwen/Qwen2.5-VL-3B-Instruct", adapter="train/no/adapter"), f"{ROOT}/w"
    )
    assert hub.model == "Qwen/Qwen2.5-VL-3B-Instruct" and none == ()
    Store(f"{ROOT}/w/Qwen/Qwen2.5-VL-3B-Instruct").commit("config.json", b"{}")  # as docs/running.md has it put there
    kept, _, _ = resolve_anywhere(Variant(name="v", model="Qwen/Qwen2.5-VL-3B-Instruct"), f"{ROOT}/w")
    assert os.path.isfile(f"{kept.model}/config.json") and kept.model.endswith("/Qwen2.5-VL-3B-Instruct")
    assert hub.adapter is not None and os.path.isabs(hub.adapter) and not os.path.exists(hub.adapter)


def test_a_withdrawal_reaches_runs_in_the_store(client, cache, tmp_path):
    workspace = Workspace.at(f"{ROOT}/withdrawn")
    header = "sample_id,checkup_id,side\n"
    for name in ("finished", "killed", "others"):
        folder = RunFolder(tmp_path / name, f"{ROOT}/withdrawn/train/{name}")
        whose = "0002-001" if name == "others" else "0001-001"
        folder.store.commit("samples.csv", f"{header}a,{whose},training\nb,0003-001,training\n".encode())
        folder.store.commit("settings.json", b"{}")
        folder.store.commit("examples/stages/examples/k.parquet", b"text")
        folder.store.commit("checkpoints/step-1/complete.json", b"{}")
        if name != "killed":
            folder.store.commit_json("run.json", {})
    told, done = withdraw(workspace, frozenset({"0001-001"}))
    assert done and len(told) == 2
    left = {key for key in keys(client, "withdrawn/train/") if not key.endswith("/")}
    assert {key for key in left if "/killed/" in key} == set()
    assert {key.rpartition("/")[2] for key in left if "/finished/" in key} == {"samples.csv", "settings.json", "run.json"}
    assert len([key for key in left if "/others/" in key]) == 5
    assert RunFolder(tmp_path, f"{ROOT}/withdrawn/train/finished").finished() == {"retrain": True, "withdrawn_samples": 1}
    assert b"0001-001" not in RunFolder(tmp_path, f"{ROOT}/withdrawn/train/finished").store.read("samples.csv")
