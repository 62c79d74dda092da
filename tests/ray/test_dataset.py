"""jobs.dataset as a user runs it: on real files, killed, grown, on other machines' CPUs, and on bad input."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store
from codelib.models.conversation import open_dataset
from codelib.synthetic.export import generate
from tests import here
from tests.conftest import REAL_DATA
from tests.jobs import public_text, run, start, tree, with_key

FIELDS = {
    "检查": "examination",
    "诊断": "diagnosis",
    "现病史": "present_illness",
    "治疗方案": "treatment_plan",
    "X线检查示": "radiographs_examination",
}


def rows_of(workspace: Path, stage: str, private: bool = False) -> list[dict]:
    store = Store(str(workspace / "private") if private else str(workspace))
    return [row for part in manifest_parts(store, stage) for row in read_part(part).to_pylist()]


def ledger(workspace: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((workspace / "private" / "ledger.csv").read_text(encoding="utf-8"))))


# ── the real export


@pytest.fixture(scope="module")
def clinic(real_workspace):
    """The release of the real export, and its truth."""
    truth = json.loads((REAL_DATA / "clinic-export.truth.json").read_text(encoding="utf-8"))
    return real_workspace, truth, (real_workspace.parent / "said.txt").read_text(encoding="utf-8")


def visit_keys(workspace: Path) -> dict[tuple[str, str], dict]:
    """(patient, time) as written -> the record."""
    return {(r["patient"], r["checkup_time"]): r for r in rows_of(workspace, "records", private=True) if r["status"] == "ok"}


def by_truth_name(workspace: Path, name: str) -> list[dict]:
    """The annotated rows of '患者0001 2022-03-05' or '患者0002'."""
    patient, _, day = name.partition(" ")
    keys = {r["visit_key"] for (p, t), r in visit_keys(workspace).items() if p == patient and t.startswith(day)}
    return [row for row in rows_of(workspace, "annotated") if row["visit_key"] in keys]


def test_the_right_visits_are_released_and_no_others(clinic):
    workspace, truth, _ = clinic
    released = [r["source"].split("/", 1)[1] for r in ledger(workspace) if r["kind"] == "visit" and r["status"] == "ok"]
    assert sorted(released) == sorted(f"{patient} {time}" for patient, time in truth["released_visits"])


def test_every_rejection_has_its_reason(clinic):
    workspace, truth, _ = clinic
    visits = {r["source"]: r["reason"] for r in ledger(workspace) if r["kind"] == "visit" and r["status"] != "ok"}
    images = {
        r["source"].split("/", 1)[1]: r["reason"] for r in ledger(workspace) if r["kind"] == "image" and r["status"] != "ok"
    }
    expected = sorted((name.split("，")[0], reason) for name, reason in truth["rejected_visits"].items())
    got = sorted((source.split("/")[1][:6], reason) for source, reason in visits.items())
    assert [(name[:6], reason) for name, reason in expected] == got
    either_way = {path: images.pop(path) for path in truth["either_way"] if path in images}
    assert images == truth["rejected_images"]
    assert set(either_way.values()) <= {"images:face"}


def test_teeth_are_the_fdi_numbers_of_the_truth(clinic):
    workspace, truth, _ = clinic
    for place, expected in truth["teeth"].items():
        *name, field = place.split(" ")
        for row in by_truth_name(workspace, " ".join(name)):
            found = [t for t in row["teeth"] if t["field"] == FIELDS[field] and t["status"] == "ok"]
            numbers = list(dict.fromkeys(n for t in found for n in t["fdi"]))
            assert sorted(numbers) == sorted(expected), place
            for tooth in found:  # the span holds the numbers it claims
                text = row[f"{FIELDS[field]}_cn"][tooth["start"] : tooth["end"]]
                assert all(n in text for n in tooth["fdi"]), (place, text)


def test_diagnoses_and_classes_are_those_of_the_truth(clinic):
    workspace, truth, _ = clinic
    for name, expected in truth["present_diagnoses"].items():
        (row,) = by_truth_name(workspace, name)
        present = sorted((d["zh"], d["icd10"]) for d in row["diseases"] if d["status"] == "present")
        assert present == sorted(map(tuple, expected)), name
    for name, expected in truth["six_class"].items():
        (row,) = by_truth_name(workspace, name)
        assert row["six_class"] == expected, name
    (third,) = by_truth_name(workspace, "患者0003")
    statuses = {d["zh"]: d["status"] for d in third["diseases"]}
    assert statuses["冠周炎"] == "past"
    assert statuses["牙周炎"] == "negated"
    (last,) = by_truth_name(workspace, "患者0013")
    assert {d["zh"]: d["status"] for d in last["diseases"]}["牙髓炎"] == "suspected"


def test_no_identifier_outside_the_private_room(clinic):
    workspace, truth, said = clinic
    words = truth["identifiers"] + ["IMG_0101", "副本", "Thumbs", "ortho0", "第一批"]
    found = {(word, place) for place, text in public_text(workspace) for word in words if word.lower() in text.lower()}
    assert found == set()
    assert not [word for word in truth["identifiers"] if word in said]
    assert oct((workspace / "private").stat().st_mode & 0o777) == "0o700"


def test_the_layout_is_the_published_one(clinic):
    workspace, truth, _ = clinic
    release = workspace / "release"
    rows = list(csv.DictReader((release / "complete-dataset.csv").open(encoding="utf-8", newline="")))
    assert [int(r["id"]) for r in rows] == list(range(len(truth["released_visits"])))
    assert [r["checkup_id"] for r in rows] == sorted(r["checkup_id"] for r in rows)
    named = [
        f"Images/{kind.capitalize()}/{name}"
        for row in rows
        for kind in ("photographs", "radiographs")
        for name in row[kind].split(",")
        if name
    ]
    assert sorted(named) == sorted(str(p.relative_to(release)) for p in (release / "Images").rglob("*.jpg"))
    for path in (release / "Images").rglob("*.jpg"):
        with Image.open(path) as image:
            assert max(image.size) <= 448
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    dataset = open_dataset(release)
    assert set(dataset.files) == {"train", "train-cls", "train-diagnostic", "test-cls", "test-diagnostic"}
    counts = json.loads((release / "manifest.json").read_text())["conversations"]
    for name, task in (("train-cls", "classification"), ("train-diagnostic", "generation"), ("test-cls", "classification")):
        sides = ("test",) if name.startswith("test") else ("train", "validation")
        told = [counts[f"{side}/{task}/en"]["samples"] for side in sides if f"{side}/{task}/en" in counts]
        assert len(dataset.read(name)) == sum(told), name
    training = [value["samples"] for place, value in counts.items() if not place.startswith("test/")]
    assert len(dataset.read("train")) == sum(training) > len(dataset.read("train-cls")) + len(dataset.read("train-diagnostic"))
    for one in dataset.read("train"):
        assert one.checkup_id[:4] == one.patient and one.split in ("train", "validation") and one.names_label in (True, False)
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=release, capture_output=True, text=True)
    assert sums.returncode == 0, sums.stdout
    assert set(tree(release)) == {line.split("  ")[1] for line in (release / "SHA256SUMS").read_text().splitlines()} | {
        "SHA256SUMS"
    }


def test_one_line_of_datasets_loads_it(clinic, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    loaded = load_dataset(str(clinic[0] / "release"), "generation", cache_dir=str(tmp_path))
    training = loaded["train"].num_rows + loaded["validation"].num_rows  # one file in the published layout
    assert training == len(open_dataset(clinic[0] / "release").read("train-diagnostic"))
    assert max(loaded["train"][0]["images"][0].size) <= 448  # decoded


def test_inspect_shows_it_before_and_after(clinic):
    workspace, _, _ = clinic
    (row,) = by_truth_name(workspace, "患者0001 2022-03-05")
    shown = run("inspect", "--workspace", workspace, "visit", row["checkup_id"])
    assert "[NAME]" in shown
    assert "张伟" not in shown
    assert "36" in shown
    private = here.run("inspect", "--workspace", workspace, "visit", row["checkup_id"], "--private")
    assert "张伟" in private
    assert "images:truncated" in here.run("inspect", "--workspace", workspace, "rejections")
    assert "broken.jpg" in here.run("inspect", "--workspace", workspace, "rejections", "images:truncated", "--private")
    assert "six_class" in here.run("inspect", "--workspace", workspace, "stage", "annotated")
    assert "did you mean annotated" in here.run("inspect", "--workspace", workspace, "stage", "anotated", code=2)
    assert "448" in here.run("inspect", "--workspace", workspace, "image", f"{row['checkup_id']}-01.jpg")


# ── a synthetic clinic: kills, growth, CPUs, bad input

# the screens have tests of their own; here they would cost a minute a run
SMALL = (
    *("--set", "partition_visits=6"),
    *("--set", "images.screens={text: 'off', faces: 'off', documents: 'off'}"),
)
PER_VISIT = ("records", "images", "chosen", "text", "deidentified", "bilingual", "annotated")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "clinic"
    generate(folder, visits=48, seed=3)
    return folder


@pytest.fixture(scope="module")
def whole(export, tmp_path_factory, cluster):
    """The release of a run that nobody disturbed."""
    workspace = with_key(tmp_path_factory.mktemp("whole") / "work")
    here.run("dataset", "--input", export, "--workspace", workspace, *SMALL)
    return workspace


def test_the_synthetic_truth_holds(export, whole):
    truth = json.loads(Path(f"{export}.truth.json").read_text(encoding="utf-8"))
    rejected = {r["source"]: r["reason"] for r in ledger(whole) if r["kind"] == "image" and r["status"] != "ok"}
    held = {r["source"] for r in ledger(whole) if r["kind"] == "visit" and r["reason"].startswith("deidentify:")}
    for path, reason in truth["rejected_images"].items():
        assert rejected[path] in (reason, "images:visit_rejected"), path
    extra = {path: reason for path, reason in rejected.items() if path not in truth["rejected_images"]}
    assert set(extra.values()) <= ({"images:visit_rejected"} if held else set())
    reasons = Counter(r["reason"] for r in ledger(whole) if r["kind"] == "visit" and r["reason"].startswith("ingest:"))
    assert reasons == Counter(r["reason"] for r in truth["rejected_visits"])
    found = {w for place, text in public_text(whole) for w in truth["identifiers"] if len(w) > 1 and w in text}
    assert found == set()


def test_other_cpus_same_bytes(export, whole, tmp_path):
    workspace = with_key(tmp_path / "work")
    run("dataset", "--input", export, "--workspace", workspace, *SMALL, "--num-cpus", "1")
    assert tree(workspace / "release") == tree(whole / "release")


def test_a_second_run_says_that_there_is_nothing_to_do(export, whole):
    before = {p: p.stat().st_mtime_ns for p in (whole / "release").rglob("*")}
    said = here.run("dataset", "--input", export, "--workspace", whole, *SMALL)
    assert "computed" not in said
    assert said.count("nothing new") > 10  # every stage that this clinic needs, and the release
    assert {p: p.stat().st_mtime_ns for p in (whole / "release").rglob("*")} == before


def ray_processes_of(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-ww", "-eo", "pgid=,stat=,args="], capture_output=True, text=True).stdout
    running = [line for line in listed.splitlines() if line.split()[0] == str(group) and not line.split()[1].startswith("Z")]
    # two agents of Ray notice a minute later that they are alone; they work on nothing
    return [line for line in running if "DashboardAgent" not in line and "RuntimeEnvAgent" not in line]


def test_killed_again_and_again_it_ends_with_the_same_bytes(export, whole, tmp_path):
    workspace, trace = with_key(tmp_path / "work"), tmp_path / "trace"
    trace.mkdir()
    rng = random.Random(5)
    in_flight = 0
    kills = 0
    deadline_s = time.monotonic() + 600
    while kills < 3:
        assert time.monotonic() < deadline_s
        at = len(list(trace.iterdir())) + rng.randint(4, 24)
        process = start("dataset", "--input", export, "--workspace", workspace, *SMALL, CODELIB_TRACE=str(trace))
        while process.poll() is None and len(list(trace.iterdir())) < at:
            time.sleep(0.02)
        if process.poll() is not None:
            break  # it finished before the last kills: there was nothing left to kill
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        quiet_since = time.monotonic()
        while ray_processes_of(process.pid) and time.monotonic() - quiet_since < 30:
            time.sleep(0.2)  # Ray's processes go with their driver; a worker may still finish its partition
        begun = Counter(p.name.rsplit(".", 1)[0] for p in trace.iterdir())
        committed = {f"{p.parent.name}.{p.stem}" for p in workspace.rglob("stages/*/*.parquet")}
        in_flight += len(set(begun) - committed)
    said = run("dataset", "--input", export, "--workspace", workspace, *SMALL, CODELIB_TRACE=str(trace))
    assert "Released" in said
    assert kills >= 2
    assert tree(workspace / "release") == tree(whole / "release")
    begun = Counter(p.name.rsplit(".", 1)[0] for p in trace.iterdir())
    twice = sum(n - 1 for n in begun.values())
    print(f"{kills} kills, {sum(begun.values())} partitions begun, {twice} again, {in_flight} in flight at a kill")
    assert twice <= in_flight
    assert not list(workspace.rglob(".tmp-*"))


def test_a_grown_export_does_only_what_is_new(cluster, clinic_of_60, tmp_path):
    """One batch more, and one patient more inside a batch that was there."""
    export, trace, later = clinic_of_60, tmp_path / "trace", tmp_path / "later"
    trace.mkdir()
    later.mkdir()
    (sheet,) = export.rglob("*牙科病历.jsonl")
    inside = sheet.parents[1]
    newcomer = sorted(p.name for p in inside.iterdir() if p.name.startswith("患者") and len(list(p.iterdir())) == 1)[0]
    whole_batch = sorted(p.name for p in export.iterdir() if p != inside)[0]
    lines = sheet.read_text(encoding="utf-8").splitlines(keepends=True)
    number = newcomer.split("-")[0]
    sheet.write_text("".join(line for line in lines if number not in line), encoding="utf-8")
    (inside / newcomer).rename(later / newcomer)
    (export / whole_batch).rename(later / whole_batch)

    workspace = tmp_path / "work"
    here.run("dataset", "--input", export, "--workspace", workspace, *SMALL)
    before = {r["source"]: r for r in ledger(workspace)}
    splits = {r["checkup_id"]: r["split"] for r in rows_of(workspace, "split")}
    sheet.write_text("".join(lines), encoding="utf-8")
    (later / newcomer).rename(inside / newcomer)
    (later / whole_batch).rename(export / whole_batch)
    here.run("dataset", "--input", export, "--workspace", workspace, *SMALL, CODELIB_TRACE=str(trace))

    after = {r["source"]: r for r in ledger(workspace)}
    assert len(after) > len(before)
    assert {s: after[s] for s in before} == before  # codes and file names stay
    now = {r["checkup_id"]: r["split"] for r in rows_of(workspace, "split")}
    assert {c: now[c] for c in splits} == splits
    records = rows_of(workspace, "records", private=True)
    new = [sum(r["batch"] == whole_batch for r in records), sum(r["patient"] == number for r in records)]
    assert min(new) > 0
    partitions = sum(-(-n // 6) for n in new)
    done = Counter(p.name.split(".")[0] for p in trace.iterdir())
    assert done["ingest"] == 2
    for stage in PER_VISIT:
        assert done[stage] == partitions, (stage, done)

    # one record is written anew: its visit alone is done again, and its old row stands in no table that is read
    one = next(i for i, line in enumerate(lines) if number in line)
    sheet.write_text("".join(_changed(lines, one)), encoding="utf-8")
    for path in trace.iterdir():
        path.unlink()
    here.run("dataset", "--input", export, "--workspace", workspace, *SMALL, CODELIB_TRACE=str(trace))
    done = Counter(p.name.split(".")[0] for p in trace.iterdir())
    assert {stage: done[stage] for stage in PER_VISIT} == dict.fromkeys(PER_VISIT, 1)
    assert {r["source"]: r for r in ledger(workspace)} == after
    annotated = rows_of(workspace, "annotated")
    assert len({r["checkup_id"] for r in annotated}) == len(annotated) == len(now)
    assert sum("已电话通知" in r["remarks_cn"] for r in annotated) == 1


def _changed(lines: list[str], index: int) -> list[str]:
    record = json.loads(lines[index]) | {"备注": "已电话通知"}
    return [*lines[:index], json.dumps(record, ensure_ascii=False) + "\n", *lines[index + 1 :]]


def test_a_withdrawn_clinic_leaves_nothing(cluster, tmp_path):
    export, workspace = tmp_path / "clinic", tmp_path / "work"
    generate(export, visits=4, seed=2)
    here.run("dataset", "--input", export, "--workspace", workspace, *SMALL)
    assert list((workspace / "release" / "Images").rglob("*.jpg"))
    everyone = {r["patient"] for r in rows_of(workspace, "records", private=True)} - {""}
    (tmp_path / "withdrawn.txt").write_text("\n".join(sorted(everyone)), encoding="utf-8")
    said = here.run(
        "dataset", "--input", export, "--workspace", workspace, *SMALL, "--set", f"exclude={tmp_path / 'withdrawn.txt'}"
    )
    assert "Released 0 visits with 0 images" in said
    assert not [p for p in (workspace / "release").rglob("*") if p.suffix in (".jpg", ".parquet")]


def test_sigterm_is_one_sentence(export, tmp_path):
    process = start("dataset", "--input", export, "--workspace", tmp_path / "work", *SMALL)
    while process.poll() is None and not list(tmp_path.rglob("stages/ingest/*.parquet")):
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1].startswith("interrupted: what is finished is kept")


def test_ctrl_c_is_one_sentence_and_the_same_command_continues(export, whole, tmp_path):
    workspace = with_key(tmp_path / "work")
    process = start("dataset", "--input", export, "--workspace", workspace, *SMALL)
    while process.poll() is None and not list(workspace.rglob("stages/images/*.parquet")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1].startswith("interrupted: what is finished is kept")
    assert "Traceback" not in err
    here.run("dataset", "--input", export, "--workspace", workspace, *SMALL)
    assert tree(workspace / "release") == tree(whole / "release")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can be mounted by root only")
def test_a_full_disk_is_one_sentence_and_the_same_command_continues(export, whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], check=True)
    try:
        workspace = with_key(disk / "work")
        said = run("dataset", "--input", export, "--workspace", workspace, *SMALL, code=1)
        assert "no space left on device" in said
        assert said.strip().splitlines()[-1].startswith("failed:")
        assert not (workspace / "release" / "SHA256SUMS").exists()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        run("dataset", "--input", export, "--workspace", workspace, *SMALL)
        assert tree(workspace / "release") == tree(whole / "release")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_unfinished_release_is_refused(whole, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "train.json").write_text("[]")
    (tmp_path / "r" / "INCOMPLETE").write_text("")
    with pytest.raises(ValueError, match="did not finish; run the same"):
        open_dataset(tmp_path / "r")
    with pytest.raises(ValueError, match=r"did you mean .*release"):
        open_dataset(whole)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--input", "nowhere"), "--input nowhere: no such folder"),
        (("--input", "README.md"), "--input README.md: a file"),
        (("--input", "codelib"), "no batch in it"),
        (("--recipe", "demmo"), "unknown recipe; did you mean demo?"),
        (("--set", "split.tset_size=3"), "split.tset_size: unknown setting; did you mean test_size?"),
        (("--set", "split.test_size=100000"), "split.test_size=100000: the eligible visits are"),
        (("--workspace", "README.md"), "--workspace README.md: a file stands there"),
        (("--set", "exclude=nowhere.txt"), "exclude=nowhere.txt: no such file"),
        (("--num-cpus", "0"), "--num-cpus 0: at least 1"),
    ],
)
def test_what_cannot_work_is_one_sentence(cluster, export, tmp_path, args, words):
    given = {"--input": str(export), "--workspace": str(tmp_path / "work")}
    if args[0] in given:
        given[args[0]] = args[1]
        args = ()
    said = here.run("dataset", *(v for pair in given.items() for v in pair), *args, code=2)
    assert words in said


def test_another_configuration_is_named(export, whole):
    said = run("dataset", "--input", export, "--workspace", whole, *SMALL, "--set", "seed=7", code=2)
    assert "seed: 0 -> 7" in said
    assert "--reconfigure" in said


def test_a_dry_run_touches_nothing(export, whole, tmp_path):
    said = here.run("dataset", "--input", export, "--workspace", tmp_path / "new", "--dry-run")
    assert "Nothing was touched." in said
    assert not (tmp_path / "new").exists()
    before = tree(whole)
    said = here.run("dataset", "--input", export, "--workspace", whole, *SMALL, "--dry-run")
    stages = [line for line in said.splitlines() if line[15:23].strip() in ("private", "public")]
    assert len(stages) > 15
    assert all("nothing new" in line for line in stages)
    assert tree(whole) == before
