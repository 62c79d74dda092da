"""Store on a real S3 server: the same behaviour as on a disk, and one sentence where the server does not play along."""

import io
import zipfile
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs

from codelib.core.cli import run_job
from codelib.core.objects import StorageDown, StorageError, file_system, open_uri
from codelib.core.store import Store, Workspace, lock_file
from codelib.data.export import batch_names, list_batch
from tests.s3_server import BUCKET, environment, keys, s3_server


@pytest.fixture(scope="module")
def client():
    with s3_server() as (values, client), environment(values):
        yield client


def test_a_server_begins_empty():
    for _ in range(2):  # two in one process, one after the other
        with s3_server() as (_, client):
            assert keys(client) == []
            client.put_object(Bucket=BUCKET, Key="export/left", Body=b"1")


def test_the_same_as_a_folder(client):
    store = Store(f"s3://{BUCKET}//same/")
    sha256 = store.commit("stages/x/y.bin", b"123")
    assert sha256 == Store(f"s3://{BUCKET}/same").commit("stages/x/z.bin", b"123")
    assert store.names("stages") == ["stages/x/y.bin", "stages/x/z.bin"]
    assert store.names("") == store.names("stages")
    assert store.names("nothing") == []
    assert (store.read("stages/x/y.bin"), store.size_bytes("stages/x/y.bin")) == (b"123", 3)
    assert store.exists("stages/x") and not store.exists("stages/x/y")
    store.commit("stages/x/y.bin", b"")
    assert store.read("stages/x/y.bin") == b""
    with pytest.raises(FileNotFoundError):
        store.read("stages/none")
    store.sweep()
    store.delete("stages/none")
    store.delete("stages/x/y.bin")
    store.delete("stages")
    assert store.names("") == []


@pytest.mark.parametrize(
    "name", ["a b", "é#?%20+&=.jpg", "患者0001-30-男/2023-11-02 10:00/照片/1.jpg", "日[1]*.txt", "~$x", "a;b,c'\"(d)"]
)
def test_names_are_taken_as_they_are(client, name):
    store = Store(f"s3://{BUCKET}/names/{len(name)}")
    store.commit(name, name.encode())
    assert store.read(name) == name.encode()
    assert store.names("") == [name]
    assert keys(client, f"names/{len(name)}/")[-1:] == [f"names/{len(name)}/{name}"]
    store.delete(name)
    assert not store.exists(name)


def test_a_large_object_comes_whole_and_a_broken_one_not_at_all(client):
    store = Store(f"s3://{BUCKET}/large")
    block = bytes(range(256)) * 4096
    store.commit_stream("a", (block for _ in range(24)))  # several parts of an upload
    assert store.size_bytes("a") == 24 << 20
    assert store.read("a") == block * 24

    def broken():
        yield block * 12
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.commit_stream("a", broken())
    with pytest.raises(RuntimeError):
        store.commit_stream("b", broken())
    assert store.size_bytes("a") == 24 << 20 and not store.exists("b")


def test_more_keys_than_one_listing_holds(client):
    from moto.s3.models import s3_backends

    for number in range(1005):  # straight into the server, which runs in this process
        s3_backends["123456789012"]["aws"].put_object(BUCKET, f"many/{number:05d}", b"")
    assert len(Store(f"s3://{BUCKET}/many").names("")) == 1005
    assert len(Store(f"s3://{BUCKET}").names("many")) == 1005
    Store(f"s3://{BUCKET}").delete("many")
    assert keys(client, "many/0") == []


def test_tables_and_files_are_read_in_part(client):
    store = Store(f"s3://{BUCKET}/tables")
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    store.commit_table("t.parquet", table)
    assert store.read_table("t.parquet").equals(table)
    assert store.read_table("t.parquet", ["b"]).column_names == ["b"]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("inside", b"1")
    store.commit("z.zip", made.getvalue())
    with store.open("z.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("inside") == b"1"


def test_folders_that_are_only_marks_are_no_files(client):
    client.put_object(Bucket=BUCKET, Key="marks/empty/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="marks/one", Body=b"1")
    assert Store(f"s3://{BUCKET}/marks").names("") == ["one"]


def test_an_export_in_a_bucket(client):
    for key in ("b1/牙科数据_电子病历/x牙科病历.csv", "b1/患者0001-30-男/2023-11-02/照片/1 #.jpg"):
        client.put_object(Bucket=BUCKET, Key=f"export/{key}", Body=b"1")
    export = Store(f"s3://{BUCKET}/export/")
    assert batch_names(export) == ["b1"]
    (patient,) = list_batch(export, "b1").patients.values()
    (visit,) = patient.visits.values()
    assert [file.path for file in visit.files] == ["b1/患者0001-30-男/2023-11-02/照片/1 #.jpg"]
    client.put_object(Bucket=BUCKET, Key="export/b1/患者0001-30-男/2023-11-02//2.jpg", Body=b"1")
    with pytest.raises(ValueError, match="empty folder name"):
        list_batch(export, "b1")
    with pytest.raises(ValueError, match="no such folder"):
        batch_names(Store(f"s3://{BUCKET}/nothing"))
    with pytest.raises(ValueError, match="a file"):
        batch_names(Store(f"s3://{BUCKET}/export/b1/牙科数据_电子病历/x牙科病历.csv"))


def test_a_missing_bucket_and_a_file_in_the_way_are_said_before_the_work(client):
    with pytest.raises(StorageError, match="no such bucket"):
        Workspace.at("s3://nobody-has-this/workspace")
    with pytest.raises(StorageError, match="no such bucket"):
        Store("s3://nobody-has-this/workspace").commit("a", b"1")
    client.put_object(Bucket=BUCKET, Key="inway", Body=b"1")
    with pytest.raises(ValueError, match="a file stands there"):
        Workspace.at(f"s3://{BUCKET}/inway")
    for uri in ("s3://", f"s3://{BUCKET}/a/../b"):
        with pytest.raises(ValueError, match="give a bucket"):
            open_uri(uri)


def test_credentials_that_are_refused(client, capsys, monkeypatch):
    from moto import settings

    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)  # the server asks from now on who it is
    with pytest.raises(StorageError, match="refuses these credentials") as refused:
        Workspace.at(f"s3://{BUCKET}/workspace")
    assert BUCKET not in str(refused.value)
    with pytest.raises(StorageError, match="refuses these credentials"):
        Store(f"s3://{BUCKET}/workspace").commit("患者0001", b"1")
    assert run_job(lambda _: Workspace.at(f"s3://{BUCKET}/workspace") and None, []) == 2
    assert "AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_a_server_that_is_down_ends_in_a_sentence(client, capsys):
    with environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}):
        for operation in (
            lambda: Workspace.at(f"s3://{BUCKET}/workspace"),
            lambda: Store(f"s3://{BUCKET}/w").read("患者0001"),
            lambda: Store(f"s3://{BUCKET}/w").commit("患者0001", b"1"),
        ):
            with pytest.raises(StorageDown, match="not reached or busy") as down:
                operation()
            assert "患者" not in str(down.value)
        assert run_job(lambda _: Store(f"s3://{BUCKET}/w").exists("x") and None, []) == 1
    assert "run the same command again" in capsys.readouterr().err


def test_one_job_of_this_machine_at_a_time(client):
    workspace = Workspace.at(f"s3://{BUCKET}/locked")
    workspace.create()
    with (
        workspace.locked(),
        pytest.raises(ValueError, match="another job is working"),
        Workspace.at(f"s3://{BUCKET}/locked").locked(),
    ):
        pass
    with workspace.locked(), Workspace.at(f"s3://{BUCKET}/other").locked():
        pass


@pytest.mark.parametrize(
    ("endpoint", "by_host"), [("https://oss-cn-hangzhou.aliyuncs.com", True), ("http://minio:9000", False), ("", False)]
)
def test_a_bucket_of_alibaba_cloud_is_a_host_name(endpoint: str, by_host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pyarrow is asked for; OSS refuses the other way (SecondLevelDomainForbidden)."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr("pyarrow.fs.S3FileSystem", lambda **options: asked.update(options) or fs.LocalFileSystem())
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "oss-cn-hangzhou")
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    file_system.__wrapped__("s3", "bucket")
    assert asked["force_virtual_addressing"] is by_host


def test_two_jobs_of_slurm_on_a_node_look_at_one_lock(tmp_path, monkeypatch):
    """Each has a temporary folder of its own."""
    monkeypatch.setenv("CODELIB_TMP", str(tmp_path))
    found = set()
    for job in ("701", "702"):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / f"codelib-{job}"))
        found.add(lock_file(Store(f"s3://{BUCKET}/one")))
    assert len(found) == 1
