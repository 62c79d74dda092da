"""`jobs.dataset --import-from`: shards of somebody else's files, faults listed, the same bytes on any number of CPUs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from codelib.core.reading import read_shards
from codelib.data.verify import verify
from tests import here
from tests.fixtures import draw_disc, make_release, sample
from tests.jobs import run, tree

SECRET = "Ada Beispiel 13812345678"


def hostile(folder: Path) -> None:
    """Three samples more, whose pictures tell of a person: in EXIF and behind the end; turned by EXIF; in a chunk of a PNG."""
    tags = Image.Exif()
    tags[0x013B] = SECRET
    draw_disc("Red", np.random.default_rng(1)).save(folder / "Images/told.jpg", exif=tags, comment=SECRET)
    (folder / "Images/told.jpg").write_bytes((folder / "Images/told.jpg").read_bytes() + SECRET.encode())
    tags[0x0112] = 6
    draw_disc("Red", np.random.default_rng(2)).save(folder / "Images/turned.jpg", exif=tags)
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET)
    draw_disc("Red", np.random.default_rng(3)).save(folder / "Images/told.png", pnginfo=info)
    rows = [sample(n, [f"Images/{name}"], "Red") for n, name in enumerate(("told.jpg", "turned.jpg", "told.png"))]
    (folder / "hostile.json").write_text(json.dumps(rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A COde folder with an image that is gone, one that is cut, one that nobody names, an empty answer and an id that occurs twice."""
    folder = make_release(tmp_path_factory.mktemp("import") / "COde", visits=9)
    rows = json.loads((folder / "train-cls.json").read_text())
    (folder / rows[0]["images"][0]).write_bytes((folder / rows[0]["images"][0]).read_bytes()[:300])
    rows[2]["images"][0] = "Images/Photographs/gone.jpg"
    rows[3]["messages"][1]["content"] = ""
    rows[5]["id"] = rows[4]["id"]
    (folder / "train-cls.json").write_text(json.dumps(rows))
    for name in ("train.json", "train-diagnostic.json"):
        (folder / name).unlink()
    (folder / "test-cls.json").rename(folder / "test_cls.json")
    hostile(folder)
    (folder / "Images" / "spare.png").write_bytes((folder / rows[1]["images"][0]).read_bytes())
    names = ["1000-001-01.jpg", "lost.jpg"]
    (folder / "complete_dataset.csv").write_text(f'id,photographs,radiographs\n0,"{",".join(names)}",\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def imported(folder: Path, tmp_path_factory) -> tuple[Path, str]:
    workspace = tmp_path_factory.mktemp("imported") / "w"
    return workspace, run("dataset", "--import-from", folder, "--workspace", workspace, "--num-cpus", "2")


def test_every_fault_is_listed_and_the_run_ends_well(imported) -> None:
    workspace, said = imported
    with (workspace / "import.csv").open(newline="") as file:
        faults = {
            (row["file"], row["index"], row["reason"].removeprefix("import:"), row["place"]) for row in csv.DictReader(file)
        }
    assert faults == {
        ("train-cls.json", "0", "unreadable_image", "image 1"),
        ("train-cls.json", "2", "missing_image", "image 1"),
        ("train-cls.json", "3", "empty_answer", ""),
        ("train-cls.json", "5", "duplicate_id", ""),
        ("complete_dataset.csv", "0", "missing_image", "photographs 2"),
        ("Images/Photographs/1001-001-01.jpg", "", "unused_image", "file"),
        ("Images/spare.png", "", "unused_image", "file"),
        ("Images/told.jpg", "", "image_stripped", "file"),
        ("Images/told.png", "", "image_stripped", "file"),
        ("Images/turned.jpg", "", "image_rebuilt", "file"),
    }
    assert "2  import:image_stripped" in said and "1  import:image_rebuilt" in said
    assert "11 samples in" in said and "4 left out" in said


def test_what_the_pictures_told_of_a_person_is_nowhere_and_verify_passes(imported, folder: Path) -> None:
    release = imported[0] / "release"
    for path in (p for p in imported[0].rglob("*") if p.is_file()):
        assert SECRET[:8].encode() not in path.read_bytes(), path
    (table,) = (pq.read_table(path) for path in release.glob("parquet/hostile/*.parquet"))
    pictures = [Image.open(io.BytesIO(row[0]["bytes"])) for row in table["images"].to_pylist()]
    assert [picture.size for picture in pictures] == [(112, 84), (84, 112), (112, 84)]
    assert pictures[0].tobytes() == Image.open(folder / "Images/told.jpg").tobytes()
    assert verify(release, 2).passed, verify(release, 1).table()


def stamp(table: pa.Table) -> pa.Table:
    """Metadata put back into every picture."""
    rows = table.to_pylist()
    for image in (image for row in rows for image in row["images"]):
        image["bytes"] = image["bytes"][:20] + b"\xff\xfe\0\6name" + image["bytes"][20:]
    return pa.Table.from_pylist(rows, schema=table.schema)


def speak(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[0]["messages"][1]["content"] = f"Call {SECRET}"
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (stamp, "images", "holds metadata"),
        (speak, "identifiers", "has the form of an identifier"),
        (lambda table: table.slice(1), "counts", "manifest.json says"),
    ],
)
def test_verify_finds_what_is_wrong_with_an_import(imported, tmp_path: Path, change, check: str, words: str) -> None:
    copy = Path(shutil.copytree(imported[0] / "release", tmp_path / "copy"))
    path = min(copy.glob("parquet/classification/train-*.parquet"))
    pq.write_table(change(pq.read_table(path)), path)
    lines = (copy / "SHA256SUMS").read_text().splitlines()
    sums = {line[66:]: hashlib.sha256((copy / line[66:]).read_bytes()).hexdigest() for line in lines}
    (copy / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    report = verify(copy, 1)
    assert set(report.failed) == {check}, report.table()
    assert any(words in sentence for sentence in report.told[check])
    assert SECRET[-11:] not in report.table()


def test_a_file_that_no_import_has_is_not_passed_over(imported, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(imported[0] / "release", tmp_path / "copy"))
    (copy / "Images/Photographs").mkdir(parents=True)
    (copy / "Images/Photographs/0001-001-01.jpg").write_bytes(b"x")
    with (copy / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(b'x').hexdigest()}  Images/Photographs/0001-001-01.jpg\n")
    assert "an import has no such file" in verify(copy, 1).told["files"][0]


def test_one_line_of_datasets_reads_it(imported, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    loaded = load_dataset(str(imported[0] / "release"), "classification", cache_dir=str(tmp_path))
    assert {side: len(rows) for side, rows in loaded.items()} == {"train": 5, "test": 3}
    assert all(image.size == (112, 84) for rows in loaded.values() for row in rows for image in row["images"])


def test_ray_data_and_pyarrow_read_the_same(imported, cluster) -> None:
    import pyarrow.dataset as arrow

    files = sorted(str(path) for path in (imported[0] / "release/parquet").rglob("*.parquet"))
    plain = arrow.dataset(files).to_table().sort_by("sample_id").to_pylist()
    for stream in (cluster.data.read_parquet(files), read_shards(f"{imported[0]}/release/parquet/*/*.parquet")):
        assert sorted(stream.take_all(), key=lambda row: row["sample_id"]) == plain
    assert read_shards(files, ["checkup_id"]).schema().names == ["checkup_id"]


def test_the_sums_are_those_of_the_files(imported) -> None:
    release = imported[0] / "release"
    lines = dict(reversed(line.split("  ")) for line in (release / "SHA256SUMS").read_text().splitlines())
    files = {str(p.relative_to(release)) for p in release.rglob("*") if p.is_file()}
    assert files == {*lines, "SHA256SUMS"}
    assert all(hashlib.sha256((release / name).read_bytes()).hexdigest() == digest for name, digest in lines.items())


def test_one_cpu_gives_the_same_bytes(imported, folder: Path, tmp_path: Path) -> None:
    run("dataset", "--import-from", folder, "--workspace", tmp_path / "w", "--num-cpus", "1")
    assert tree(tmp_path / "w/release") == tree(imported[0] / "release")


def test_what_cannot_work_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.json").write_text('[{"messages": []}]')
    said = here.run("dataset", "--import-from", tmp_path / "bad", "--workspace", tmp_path / "w", code=1)
    assert "no sample of 1 files can be used" in said
    said = here.run("dataset", "--import-from", folder, "--input", folder, "--workspace", tmp_path / "w", code=2)
    assert "one of --input" in said
    assert "no such folder" in here.run("dataset", "--import-from", tmp_path / "x", "--workspace", tmp_path / "w", code=2)
