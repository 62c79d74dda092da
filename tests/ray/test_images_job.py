"""Pictures through jobs.dataset: volumes, archives, copies across visits, the queue and its answers."""

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from codelib.synthetic.export import generate
from tests.here import run
from tests.jobs import public_text, tree, with_key
from tests.pictures import VIEWS, burned_in, cbct_slices, jpeg, photograph, zipped

FAST = ("--set", "partition_visits=4")


def ledger(workspace: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((workspace / "private" / "ledger.csv").read_text(encoding="utf-8"))))


def reasons(workspace: Path) -> dict[str, str]:
    return {
        r["source"].split("/", 3)[3]: r["reason"]
        for r in ledger(workspace)
        if r["kind"].startswith("image") and r["source"].count("/") >= 3
    }


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A synthetic clinic into whose visits a person has put what clinics put there."""
    export = tmp_path_factory.mktemp("clinic") / "export"
    generate(export, visits=8, seed=4)
    visits = sorted(p for p in export.glob("*/患者*/*") if (p / "照片").is_dir())
    patients = sorted({p.parent for p in visits})
    first, second = visits[0], next(v for v in visits if v.parent == patients[1])
    for index, content in enumerate(cbct_slices()):
        _put(first / "X片" / "CBCT 张伟" / f"IM{index:03d}", content)
    _put(first / "X片" / "scans.zip", zipped(**{"李娜.jpg": jpeg(photograph(21)), "notes.txt": b"text"}))
    _put(first / "X片" / "name.jpg", burned_in())
    _put(first / "照片" / "same.jpg", jpeg(photograph(22)))
    _put(second / "照片" / "mine.jpg", jpeg(photograph(22)))
    _put(second / "照片" / "alike.jpg", jpeg(photograph(23), 95))
    _put(first / "照片" / "alike.jpg", jpeg(photograph(23), 60))
    return export


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def workspace(clinic, tmp_path_factory, cluster):
    folder = with_key(tmp_path_factory.mktemp("images") / "work")
    run("dataset", "--input", clinic, "--workspace", folder, *FAST)
    return folder


def test_every_file_and_every_rejected_part_has_its_line(workspace):
    found = reasons(workspace)
    assert {found[f"X片/CBCT 张伟/IM{i:03d}"] for i in range(24)} == {""}
    assert found["X片/scans.zip"] == ""
    assert found["X片/scans.zip!notes.txt"] == "images:not_an_image"
    assert found["X片/name.jpg"] == "images:burned_in_text"
    assert found["照片/same.jpg"] == found["照片/mine.jpg"] == "images:duplicate_across_patients"
    (names,) = {r["released_as"] for r in ledger(workspace) if "CBCT" in r["source"] and r["kind"] == "image"}
    # the phantom's teeth stand like letters in a row: where a screen takes them for text, the view waits and has a line
    waiting = [r for r in ledger(workspace) if r["kind"] == "image_part" and "CBCT" in r["source"]]
    assert len(names.split(" ")) + len(waiting) == len(VIEWS)
    assert {r["reason"] for r in waiting} <= {"images:burned_in_text"}
    for name in names.split(" "):
        with Image.open(workspace / "release" / "Images" / "Radiographs" / name) as image:
            assert max(image.size) <= 448
    public = Counter()
    for row in csv.DictReader((workspace / "release" / "ledger.csv").open(encoding="utf-8")):
        public[row["kind"], row["reason"]] += int(row["count"])
    assert public["image_part", "not_an_image"] == 1
    assert public["image", "duplicate_across_patients"] == 2


def test_no_source_name_leaves(workspace):
    words = ["张伟", "李娜", "scans", "IM000", "CBCT", "notes.txt", "name.jpg", "ZHANG"]
    assert {(w, place) for place, text in public_text(workspace) for w in words if w in text} == set()


def test_pairs_of_two_patients_are_reported(workspace):
    said = run("inspect", "--workspace", workspace, "stage", "duplicates")
    assert "DUPLICATES" in said or "duplicates" in said
    page = (workspace / "private" / "queue" / "contact-sheet.html").read_text(encoding="utf-8")
    assert "Alike, of two patients: 1 pairs" in page


def test_answers_are_taken_up_and_nothing_else_is_done_again(clinic, workspace, tmp_path):
    """The queue, filled in as a person would, is the file of answers."""
    queue = list(csv.DictReader(io.StringIO((workspace / "private/queue/images.csv").read_text(encoding="utf-8"))))
    by_source = {Path(row["source"]).name: row for row in queue}
    assert {"name.jpg", "same.jpg", "mine.jpg"} <= set(by_source)
    before = {r["source"]: r for r in ledger(workspace)}
    images_before = tree(workspace / "release" / "Images")
    by_source["name.jpg"]["answer"] = "mask"
    by_source["mine.jpg"]["answer"] = "accept"
    out = io.StringIO()
    writer = csv.DictWriter(out, list(queue[0]))
    writer.writeheader()
    writer.writerows(queue)
    (workspace / "private/queue/image-answers.csv").write_text(out.getvalue(), encoding="utf-8")
    trace = tmp_path / "trace"
    trace.mkdir()
    run("dataset", "--input", clinic, "--workspace", workspace, *FAST, CODELIB_TRACE=str(trace))
    done = Counter(p.name.split(".")[0] for p in trace.iterdir())
    assert done["images"] == 1  # name.jpg's; whose a picture is touches no pixel
    assert not done["records"] and not done["text"]
    after = {r["source"]: r for r in ledger(workspace)}
    changed = {Path(s).name: r["status"] for s, r in after.items() if r != before[s]}
    assert changed == {"name.jpg": "ok", "mine.jpg": "ok"}
    images_after = tree(workspace / "release" / "Images")
    assert {name: images_after[name] for name in images_before} == images_before  # no other picture's name or bytes change
    assert len(images_after) == len(images_before) + 2
    said = run("dataset", "--input", clinic, "--workspace", workspace, *FAST)
    assert "computed" not in said

    path = workspace / "private/queue/image-answers.csv"
    path.write_text("picture_key,visit_key,reason,answer\nx,y,,acept\n", encoding="utf-8")
    said = run("dataset", "--input", clinic, "--workspace", workspace, *FAST, code=2)
    assert "line 2: answer acept to a picture: did you mean accept?" in said
    path.unlink()


def test_the_contact_sheet_opens_by_itself(workspace):
    page = (workspace / "private" / "queue" / "contact-sheet.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") > 10
    assert "burned_in_text" in page
    assert json.loads(page.split("const given = ")[1].split(";\n")[0]) is not None


def test_without_images_the_queue_is_empty_and_the_run_ends_well(cluster, tmp_path):
    export = tmp_path / "export"
    generate(export, visits=2, seed=4)
    for folder in export.glob("*/患者*/*/*"):
        shutil.rmtree(folder)
        _put(folder.with_name("照片") / "x.jpg", b"no picture")
    said = run("dataset", "--input", export, "--workspace", tmp_path / "work")
    assert "Released 0 visits with 0 images" in said
    assert (tmp_path / "work/private/queue/images.csv").read_text().count("\n") == 1
