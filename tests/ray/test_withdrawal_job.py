"""Consent withdrawn, and an export that grows, through jobs.dataset: the person is in no byte of the workspace, whatever else fails, and
wherever the withdrawal is killed; the others keep their ids, and the difference of two releases says what happened."""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import PREDICTIONS
from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store, Workspace
from codelib.data import consent, withdraw
from codelib.data.release_diff import CAME, CHANGED, MOVED, WENT, compare
from codelib.data.settings import DatasetSettings
from codelib.evaluate.withdrawn import withdraw as evaluate_room
from codelib.train.examples import EXAMPLES
from codelib.train.feature_store import FEATURES, STAGE, at_work
from codelib.train.run_folder import RunFolder
from codelib.train.withdrawn import withdraw as train_room
from tests import llm_server
from tests.everything import everything
from tests.here import run
from tests.jobs import tree, with_key
from tests.pictures import jpeg, photograph
from tests.s3_server import BUCKET, environment, keys, s3_server, upload

HEADER = "患者,时间,年龄,性别,姓名,联系电话,主治医生,主诉,检查,诊断,治疗方案\n"
PERSON, NAME, PHONE = "患者004711", "欧阳雪柏", "13977554411"
SNIPPET, ENGLISH = "雪花状白垩斑沿颈缘锯齿状分布", "snowflake shaped chalky spots"
FOUND = (
    *("远中邻面龋洞探及软化牙本质", "颊面楔状缺损深及牙本质中层", "牙龈红肿探诊易出血龈缘糜烂", "牙冠大部缺失残根松动二度"),
    *("拥挤错位前牙开合下颌后缩", "咬合面窝沟发黑卡探针冷诊敏感", "根尖区压痛叩诊阳性牙髓坏死", "乳牙滞留恒牙舌侧萌出"),
    *("修复体边缘渗漏继发龋坏变色", "牙周袋深达六毫米溢脓", "隐裂纹贯穿近远中边缘嵴", "阻生智齿龈瓣覆盖食物嵌塞"),
)
SICK = (
    "深龋",
    "楔状缺损",
    "慢性龈炎",
    "牙列缺损",
    "错颌畸形",
    "浅龋",
    "牙髓坏死",
    "乳牙滞留",
    "继发龋",
    "慢性牙周炎",
    "隐裂牙",
    "阻生齿",
)


def row(number: str, time: str, n: int, name: str = "", phone: str = "", found: str = "", plan: str = "") -> str:
    text = found or FOUND[n % len(FOUND)]
    planned = plan or f"第{n}方案：{FOUND[(5 * n + 3) % len(FOUND)]}者择期处置"
    return f"{number},{time},{20 + n},女,{name},{phone},钱一鸣,疼痛{n}天,16{text},16{SICK[n % len(SICK)]},{planned}\n"


def add_batch(export: Path, batch: str, rows: list[str]) -> None:
    sheet = export / batch / f"牙科数据_电子病历_{batch}"
    sheet.mkdir(parents=True, exist_ok=True)
    (sheet / f"{batch}牙科病历.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    for line in rows:
        number, time = line.split(",")[:2]
        folder = export / batch / f"{number}-30-女" / time.replace(":", ".") / "照片"
        if not folder.exists():
            folder.mkdir(parents=True)
            seed = int(hashlib.sha256(f"{number}{time}".encode()).hexdigest()[:6], 16)
            (folder / "IMG_1.jpg").write_bytes(jpeg(photograph(seed)))


def seen_by(m: int) -> str:
    return f"{SNIPPET}，第{m}次复查见{FOUND[m]}"


def first_batch(plan_of_2: str = "") -> list[str]:
    rows = [row(f"患者{n:04d}", f"2022-03-{n:02d} 09:30", n, plan=plan_of_2 if n == 2 else "") for n in range(1, 13)]
    person = [row(PERSON, f"2022-0{m}-05 10:00", m, NAME, PHONE, seen_by(m)) for m in (4, 5)]
    return [*rows, *person]


@dataclass
class Made:
    """A workspace with a release, a training run and an evaluation, and all that the person is known by in it."""

    workspace: Path
    export: Path
    command: tuple[Any, ...]
    words: frozenset[str]
    code: str
    pictures: frozenset[str]  # sha256
    checkups: tuple[str, ...]


def rows_of(workspace: Path, stage: str, private: bool = False) -> list[dict[str, Any]]:
    store = Store(str(workspace / "private" if private else workspace))
    return [r for part in manifest_parts(store, stage) for r in read_part(part).to_pylist()]


def write_train(workspace: Path, checkups: tuple[str, ...], others: list[str]) -> None:
    """Run folders as `codelib.train` writes them: one finished, one not, one that never saw the person."""
    for name, seen, is_finished in (
        ("paper", [*checkups, *others], True),
        ("half", list(checkups), False),
        ("other", others, True),
        ("spared", list(checkups), True),
    ):
        folder = workspace / "train" / name
        (folder / "ray" / "checkpoint_1").mkdir(parents=True)
        (folder / "ray" / "checkpoint_1" / "state.pt").write_bytes(pickle.dumps({"samples": seen}))
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "settings.json").write_text(json.dumps({"settings": {}, "data_sha256": "x"}))
        side = "spared" if name == "spared" else "training"
        lines = [f"train/{n},{checkup},{side if n % 2 else 'rejected'}" for n, checkup in enumerate(seen)]
        (folder / "samples.csv").write_text("\n".join(["sample_id,checkup_id,side", *lines]) + "\n")
        rejects = [f"train/{n},train:image,Images/Photographs/{c}-01.jpg cannot be read" for n, c in enumerate(seen) if not n % 2]
        (folder / "rejected.csv").write_text("\n".join(["sample_id,reason,detail", *rejects]) + "\n")
        (folder / "curves.csv").write_text("step,loss\n1,0.5\n")
        (folder / "checkpoints" / "step-1").mkdir(parents=True)
        (folder / "checkpoints" / "step-1" / "part-0.safetensors").write_bytes(" ".join(seen).encode())
        (folder / "preflight.csv").write_text("\n".join(["sample_id,side,detail", *rejects]) + "\n")
        (folder / "preflight.json").write_text(json.dumps({"longest_sample": "train/0"}))
        (folder / "adapter" / "canary.json").write_text(json.dumps({"sample_ids": ["train/0", "train/4"], "base": [-2.0, -1.0]}))
        write_examples(folder, seen)
        if is_finished:
            (folder / "run.json").write_text(json.dumps({"name": name, "rejected": {}, "steps": 1}))
    write_examples(workspace / "train" / "killed-early", list(checkups))
    write_features(workspace, checkups, others)


def write_examples(folder: Path, seen: list[str]) -> None:
    """What a run makes first of all."""
    rows = [{"sample_id": f"train/{n}", "checkup_id": checkup, "status": "ok"} for n, checkup in enumerate(seen)]
    table = pa.Table.from_pylist(rows, schema=EXAMPLES.schema)
    RunFolder(folder).examples.commit_table("stages/examples/k.parquet", table)


def write_features(workspace: Path, checkups: tuple[str, ...], others: list[str]) -> None:
    """Two partitions as `codelib.train.vision_features` writes them, and the shard of one that was killed before it named it."""
    store = Store(str(workspace / "features" / "0f"))
    for key, seen in (("a", [*checkups, others[0]]), ("b", others)):
        rows = [
            {"image_sha256": checkup, "name": f"{checkup}-01.jpg", "shard": f"shards/{key}.safetensors"}
            | dict.fromkeys(("first_row", "tokens", "grid_rows", "grid_columns"), 1)
            for checkup in seen
        ]
        store.commit(f"shards/{key}.safetensors", " ".join(seen).encode())
        store.commit_table(f"stages/{STAGE}/{key}.parquet", pa.Table.from_pylist(rows, schema=FEATURES.schema))
    store.commit("shards/c.safetensors", checkups[0].encode())


def write_evaluate(workspace: Path, checkups: tuple[str, ...], others: list[str]) -> None:
    store = Store(str(workspace / "evaluate"))
    predictions = []
    for n, checkup in enumerate([*checkups, *others]):
        text = ENGLISH if checkup in checkups else f"report {n}"
        key = hashlib.sha256(checkup.encode()).hexdigest()[:32]
        store.commit_json(f"answers/{key[:2]}/{key}.json", {"text": text, "error": None, "checkups": [checkup]})
        told = {"variant": "base", "sample_id": f"test-cls/{n}", "images": [f"Images/Photographs/{checkup}-01.jpg"]}
        empty = dict.fromkeys(PREDICTIONS.schema.names)
        predictions.append({**empty, **told, "reference": text, "answer": text, "status": "ok"})
    store.commit_table("stages/predictions/abc.parquet", pa.Table.from_pylist(predictions, schema=PREDICTIONS.schema))
    store.commit_json("stages/predictions/manifest.json", {"parts": []})
    page = "".join(f"<p>{p['images'][0]} {p['answer']}</p>" for p in predictions)
    store.commit("report/report.html", f"<html>{page}</html>".encode())
    store.commit("report/predictions.csv", page.encode())
    store.commit_json("report/report.json", {"variants": []})
    write_review(store, [*checkups, *others])


def write_review(store: Store, seen: list[str]) -> None:
    """A blinded review as `codelib.evaluate.review_sheet` writes it, one sheet of it filled in with its texts."""
    cases = {str(n): {"sample_id": f"test/{c}", "patient": c[:4], "checkups": [c]} for n, c in enumerate(seen, start=1)}
    order = {number: {"A": "reference", "B": "base"} for number in cases}
    rows = "".join(f"t1,{n},A,{ENGLISH if n == '1' else ''} {case['sample_id']},5,5,5,A,\n" for n, case in cases.items())
    store.commit("review/first/sheets/reviewer-1.html", rows.encode())
    store.commit(
        "review/first/filled/back.csv", f"sheet,case,report,text,accuracy,completeness,safety,best,comment\n{rows}".encode()
    )
    store.commit_json("review/first/review.json", {"comments": rows})
    key = {
        "version": 1,
        "name": "first",
        "dataset": "release",
        "seed": 0,
        "reports": ["reference", "base"],
        "withdrawn": [],
        "cases": cases,
    }
    store.commit_json("review/first/key.json", key | {"sheets": {"t1": {"reviewer": 1, "order": order}}})


@pytest.fixture(scope="module")
def server():
    with llm_server.started() as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory, server, cluster) -> Made:
    tmp = tmp_path_factory.mktemp("withdrawal")
    export, workspace = tmp / "clinic", with_key(tmp / "work")
    add_batch(export, "第一批", first_batch())
    server.control(latency_s=0.001, known={f"16{seen_by(m)}": f"16 {ENGLISH}, review {m}" for m in (4, 5)})
    values = {"engine": "openai", "base_url": server.url, "model": "m-1", "key_env": "TEST_KEY"}
    given = [word for name, value in values.items() for word in ("--set", f"translate.{name}={value}")]
    quick = ("--set", "partition_visits=5", "--set", "images.screens={text: 'off', faces: 'off', documents: 'off'}")
    command = ("dataset", "--input", export, "--workspace", workspace, *quick, *given)
    run(*command, TEST_KEY=llm_server.KEY)
    records = [r for r in rows_of(workspace, "records", private=True) if r["patient"] == PERSON]
    keys = {r["visit_key"] for r in records}
    mine = [r for r in rows_of(workspace, "annotated") if r["visit_key"] in keys]
    images = [r for r in rows_of(workspace, "images", private=True) if r["visit_key"] in keys]
    checkups = tuple(sorted(r["checkup_id"] for r in mine))
    assert len(checkups) == 2 == len(images)
    pictures = {hashlib.sha256(r["pixels"]).hexdigest() for r in images}
    pictures |= {hashlib.sha256(p.read_bytes()).hexdigest() for p in export.rglob(f"{PERSON}*/**/*.jpg")}
    words = {PERSON, "004711", NAME, PHONE, SNIPPET, ENGLISH, *keys, *checkups, *pictures}
    words |= {r["image_key"] for r in images} | {r["picture_key"] for r in images} | {r["patient_key"] for r in images}
    words |= {f"{r[name]}"[:40] for r in mine for name in ("examination", "examination_cn")}
    others = sorted({r["checkup_id"] for r in rows_of(workspace, "split") if r["checkup_id"] not in checkups})[:3]
    write_train(workspace, checkups, others)
    write_evaluate(workspace, checkups, others)
    run("inspect", "--workspace", workspace, "audit", "20")
    (workspace / "private" / "queue" / "image-answers.csv").write_text(
        "picture_key,visit_key,reason,answer\n"
        + "".join(f"{r['picture_key']},{r['visit_key']},,accept\n" for r in images)
        + f"{'0' * 32},{rows_of(workspace, 'split')[0]['visit_key']},,accept\n"
    )
    made = Made(workspace, export, command, frozenset(words), checkups[0][:4], frozenset(pictures), checkups)
    assert {place.split("/")[0] for place, _ in traces(made)} >= {
        "private",
        "release",
        "stages",
        "train",
        "features",
        "evaluate",
        "cache",
    }
    return made


def traces(made: Made, workspace: Path | None = None) -> Iterator[tuple[str, str]]:
    """(place, what) wherever the person still is."""
    code = re.compile(rf"(?<![0-9A-Za-z.+/]){made.code}-\d{{3}}")
    for place, value in everything(workspace or made.workspace):
        if isinstance(value, bytes):
            if hashlib.sha256(value).hexdigest() in made.pictures:
                yield place, "a picture"
            continue
        for word in made.words:
            if word in value:
                yield place, word
        if code.search(value) or (value == made.code and "column" in place):
            yield place, "the patient's code"


def listed(tmp_path: Path, *lines: str) -> tuple[str, str]:
    (tmp_path / "withdrawn.txt").write_text("\n".join(lines), encoding="utf-8")
    return "--set", f"exclude={tmp_path / 'withdrawn.txt'}"


def copy_of(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.workspace, tmp_path / "copy"))


class Killed(BaseException):
    pass


class Killer:
    """Counts what is written and deleted, and dies before one of them."""

    def __init__(self, monkeypatch):
        self.steps, self.stop_at = 0, None
        for name in ("delete", "commit_stream"):
            monkeypatch.setattr(Store, name, self._counted(getattr(Store, name)))

    def _counted(self, original):
        def call(*args, **kwargs):
            self.steps += 1
            if self.steps == self.stop_at:
                raise Killed
            return original(*args, **kwargs)

        return call

    def at(self, stop_at: int | None) -> None:
        self.steps, self.stop_at = 0, stop_at


def go(folder: Path | str, given: consent.Lines) -> list[str]:
    return withdraw.withdraw(given, Workspace.at(str(folder)), DatasetSettings(), (train_room, evaluate_room))


def test_killed_anywhere_the_next_run_finishes_the_withdrawal(made, tmp_path, monkeypatch):
    """Before every single thing that a withdrawal writes or deletes; what follows may even have forgotten the list."""
    lines, killer = consent.Lines(frozenset({"4711"})), Killer(monkeypatch)
    whole = tmp_path / "whole"
    shutil.copytree(made.workspace, whole)
    go(whole, lines)
    assert list(traces(made, whole)) == []
    total = killer.steps
    assert total > 30
    for stop_at in sorted({1, 2, 3, 4, total - 1, total, *range(5, total, 13)}):
        folder = tmp_path / str(stop_at)
        shutil.copytree(made.workspace, folder)
        killer.at(stop_at)
        with pytest.raises(Killed):
            go(folder, lines)
        killer.at(None)
        go(folder, lines if stop_at == 1 else consent.Lines())
        assert list(traces(made, folder)) == [], stop_at
        assert set(tree(folder)) == set(tree(whole)), stop_at
        shutil.rmtree(folder)


def test_a_withdrawal_from_an_object_store_reaches_every_place_there(made, tmp_path, monkeypatch):
    """Killed after the journal, in the middle and at the end, as on a disk."""
    lines, killer = consent.Lines(frozenset({"4711"})), Killer(monkeypatch)
    with s3_server() as (values, client), environment(values):

        def work(name: str) -> str:
            upload(client, made.workspace, name)
            return f"s3://{BUCKET}/{name}"

        def left(name: str) -> Path:
            """What a reader of the bucket has, as a folder."""
            for key in keys(client, f"{name}/"):
                if not key.endswith("/"):
                    (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
                    client.download_file(BUCKET, key, str(tmp_path / key))
            return tmp_path / name

        told = go(work("whole"), lines)
        assert any("withdrawn: 2 visits of 1 patients" in line for line in told)
        whole, total = left("whole"), killer.steps
        assert list(traces(made, whole)) == []
        here = copy_of(made, tmp_path)
        go(here, lines)
        assert without_locks(whole) == without_locks(here)
        for stop_at in (2, total // 2, total):
            uri = work(f"killed-{stop_at}")
            killer.at(stop_at)
            with pytest.raises(Killed):
                go(uri, lines)
            assert f"killed-{stop_at}/private/{withdraw.JOURNAL}" in keys(client, f"killed-{stop_at}/private/")
            killer.at(None)
            go(uri, consent.Lines())
            folder = left(f"killed-{stop_at}")
            assert list(traces(made, folder)) == []
            assert without_locks(folder) == without_locks(whole)


def without_locks(folder: Path) -> set[str]:
    return {name for name in tree(folder) if not name.endswith("/lock")}


def test_a_full_disk_holds_no_withdrawal_up(made, tmp_path, monkeypatch):
    folder, commit = copy_of(made, tmp_path), Store.commit_stream

    def full(store, name, chunks, mode=None):
        if (folder / "release" / "parquet").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return commit(store, name, chunks, mode)

    monkeypatch.setattr(Store, "commit_stream", full)
    withdraw.withdraw(
        consent.Lines(frozenset({"4711"})), Workspace.at(str(folder)), DatasetSettings(), (train_room, evaluate_room)
    )
    assert list(traces(made, folder)) == []


def test_a_dry_run_says_whom_it_would_withdraw_and_touches_nothing(made, tmp_path):
    folder = copy_of(made, tmp_path)
    lines = consent.Lines(frozenset({"4711 2022-04-05"}))
    before = tree(folder)
    assert withdraw.planned(consent.Lines(), Workspace.at(str(folder)), DatasetSettings()) is None
    told = withdraw.planned(lines, Workspace.at(str(folder)), DatasetSettings())
    assert told is not None and "1 visits of 1 patients" in told
    assert tree(folder) == before


def test_one_visit_alone_can_be_withdrawn(made, tmp_path):
    folder = copy_of(made, tmp_path)
    lines = consent.Lines(frozenset({"4711 2022-04-05 10:00"}))
    withdraw.withdraw(lines, Workspace.at(str(folder)), DatasetSettings(), (train_room, evaluate_room))
    text = "".join(value for _, value in everything(folder) if isinstance(value, str))
    assert made.checkups[0] not in text
    assert made.checkups[1] in text


def test_a_run_that_is_at_work_is_told_and_finished_later(made, tmp_path):
    folder = copy_of(made, tmp_path)
    room = Workspace.at(str(folder))
    lines = consent.Lines(frozenset({"4711"}))
    with RunFolder(folder / "train" / "half").locked(), at_work(folder / "features" / "0f"):
        told = withdraw.withdraw(lines, room, DatasetSettings(), (train_room, evaluate_room))
    assert any("train/half: at work" in line for line in told)
    assert any("features/0f: at work" in line for line in told)
    assert {place.split("/")[0] for place, _ in traces(made, folder)} <= {"train", "features", "private"}
    withdraw.withdraw(consent.Lines(), room, DatasetSettings(), (train_room, evaluate_room))
    assert list(traces(made, folder)) == []


def test_a_withdrawal_waits_for_nothing_and_the_export_grows_meanwhile(made, tmp_path):
    workspace, export = made.workspace, made.export
    shutil.copytree(workspace / "release", tmp_path / "older")
    before = {r["visit_key"]: (r["checkup_id"], r["split"]) for r in rows_of(workspace, "split")}
    gone = listed(tmp_path, "# of this month", PERSON, "患者009999")

    # a new batch that cannot be read: the run fails, the person has left all the same
    bad = export / "第二批" / "患者0050-30-女" / "2022-06-01 09.30" / "照片"
    bad.mkdir(parents=True)
    (bad / "1.jpg").write_bytes(b"x")
    said = run(*made.command, *gone, code=2, TEST_KEY=llm_server.KEY)
    assert "withdrawn: 2 visits of 1 patients" in said
    assert "the release that held them was taken away" in said
    assert "train/paper: its adapter learned from 1 of their samples and cannot unlearn them: retrain" in said
    assert "train/half: a run that was not finished had learned from them, and was removed" in said
    assert "evaluate/: 2 answers about them" in said
    assert list(traces(made)) == []
    assert (workspace / "release" / "INCOMPLETE").exists()
    assert len(list((workspace / "release" / "Images").rglob("*.jpg"))) == 12
    marked = json.loads((workspace / "train" / "paper" / "run.json").read_text())
    assert (marked["withdrawn_samples"], marked["retrain"], marked["steps"]) == (1, True, 1)
    assert "train/spared: its adapter learned from none of their samples" in said
    assert "retrain" not in json.loads((workspace / "train" / "spared" / "run.json").read_text())
    assert "retrain" not in json.loads((workspace / "train" / "other" / "run.json").read_text())
    assert not (workspace / "train" / "half").exists() and not (workspace / "train" / "killed-early").exists()
    assert "features/0f: vision features of 3 images, theirs among them, were removed" in said
    assert [path.name for path in (workspace / "features" / "0f" / "shards").iterdir()] == ["b.safetensors"]
    assert json.loads((workspace / "train" / "paper" / "adapter" / "canary.json").read_text())["sample_ids"] == [
        "withdrawn",
        "train/4",
    ]
    assert (workspace / "train" / "other" / "checkpoints").exists() and (workspace / "train" / "other" / "examples").exists()
    assert len(list((workspace / "evaluate" / "answers").rglob("*.json"))) == 3
    assert (workspace / "evaluate" / "report" / "WITHDRAWN.txt").exists()
    answers = (workspace / "private" / "queue" / "image-answers.csv").read_text().splitlines()
    assert len(answers) == 2

    # the batch is mended: a new visit of an old patient, one of a new one, a changed record; the list is forgotten, the person comes again
    shutil.rmtree(export / "第二批")
    add_batch(export, "第一批", first_batch("改约下月行根管再治疗与冠修复"))
    add_batch(export, "第二批", [row("患者0003", "2022-07-01 09:30", 17), row("患者0050", "2022-07-02 09:30", 19)])
    add_batch(export, "第三批", [row(PERSON, "2022-08-05 10:00", 8, NAME, PHONE, SNIPPET)])
    said = run(*made.command, TEST_KEY=llm_server.KEY)
    assert "Released 14 visits" in said
    assert "jobs.release --diff" in said
    assert list(traces(made)) == []
    after = {r["visit_key"]: (r["checkup_id"], r["split"]) for r in rows_of(workspace, "split")}
    stayed = {key: value for key, value in before.items() if value[0] not in made.checkups}
    assert {key: after[key] for key in stayed} == stayed

    found = compare(tmp_path / "older", workspace / "release")
    kinds = {kind: {c for c, k, _ in found.checkups if k == kind} for kind in (CAME, WENT, CHANGED, MOVED)}
    assert kinds[WENT] == set(made.checkups)
    assert kinds[CAME] == {value[0] for key, value in after.items() if key not in before}
    assert len(kinds[CAME]) == 2
    assert kinds[MOVED] == set()
    (changed,) = [(c, columns) for c, kind, columns in found.checkups if kind == CHANGED]
    assert set(changed[1]) == {"treatment_plan", "treatment_plan_cn"}
    assert found.images == {CAME: 2, WENT: 2, CHANGED: 0}

    # withdrawn twice, and somebody who was never there
    released = tree(workspace / "release")
    said = run(*made.command, *gone, TEST_KEY=llm_server.KEY)
    assert "withdrawn:" not in said
    assert "1 of 2 lines of the exclusion list match no patient or visit folder here" in said
    assert tree(workspace / "release") == released
    assert list(traces(made)) == []
    stones = json.loads((workspace / "private" / "withdrawn.json").read_text()).values()
    assert all(set(stone) == {"date", "days", "ids"} for stone in stones)
    # the line that names nobody keeps whoever it means out of later exports
    assert sorted(bool(stone["ids"]) for stone in stones) == [False, True]
