"""The jobs with everything on a real S3 server, as a user of a cloud runs them: export, workspace, release, model, run, answers, report."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from codelib.synthetic.export import generate
from tests import here
from tests.fixtures import make_release
from tests.jobs import KEY, run, start, with_key
from tests.s3_server import BUCKET, keys, s3_server, upload

pytestmark = pytest.mark.ray

ROOT = f"s3://{BUCKET}"
TRAIN = (
    "--recipe", "demo", "--set", "lora={rank: 4, alpha: 8, dropout: 0.1}", "--set", "max_pixels=3136", "--set", "batch_size=2",
    "--set", "checkpoint_every=5", "--set", "epochs=6", "--set", f"model={ROOT}/models/tiny",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Any]]:
    with s3_server() as (environment, client):
        yield environment | {"CODELIB_CACHE": str(tmp_path_factory.mktemp("node") / "cache")}, client


@pytest.fixture(scope="module")
def learned(server: tuple[dict[str, str], Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that was trained from the store into the store, killed once on the way; what its last attempt said."""
    from codelib.models.tiny import build

    environment, client = server
    tmp = tmp_path_factory.mktemp("data")
    (tmp / "tiny").mkdir()
    build(tmp / "tiny", seed=0, eye_steps=0, word_steps=0)
    release = make_release(tmp / "release", visits=12)
    shutil.copy(release / "test-cls.json", release / "test-diagnostic.json")  # its answers name no class, and serve as reports
    upload(client, release, "published")
    upload(client, tmp / "tiny", "models/tiny")
    job = ("--dataset", f"{ROOT}/published", "--workspace", f"{ROOT}/runs", *TRAIN, "--set", "workers=2")
    killed(start("train", *job, **environment), lambda: any(key.endswith("complete.json") for key in keys(client, "runs/")))
    assert "runs/train/demo/run.json" not in keys(client, "runs/")
    return run("train", *job, **environment)


def killed(process: subprocess.Popen[str], when: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 1200
    while not when():
        assert process.poll() is None, "".join(process.communicate())
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def read(client: Any, key: str) -> bytes:
    content: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


@pytest.mark.usefixtures("cluster")
def test_a_dataset_in_the_store_is_byte_for_byte_a_local_one(server: tuple[dict[str, str], Any], tmp_path: Path) -> None:
    environment, client = server
    generate(tmp_path / "export", visits=10, seed=3)
    upload(client, tmp_path / "export", "export")
    client.put_object(Bucket=BUCKET, Key="workspace/private/key", Body=KEY)
    job = ("dataset", "--input", f"{ROOT}/export", "--workspace", f"{ROOT}/workspace")
    killed(start(*job, **environment), lambda: any("/stages/images/" in key for key in keys(client, "workspace/private/")))
    run(*job, **environment)
    here.run("dataset", "--input", tmp_path / "export", "--workspace", with_key(tmp_path / "w"))
    sums = read(client, "workspace/release/SHA256SUMS")
    assert sums == (tmp_path / "w" / "release" / "SHA256SUMS").read_bytes()
    for line in sums.decode().splitlines():
        assert hashlib.sha256(read(client, f"workspace/release/{line[66:]}")).hexdigest() == line[:64]
    assert "all checks passed" in run("release", "--verify", f"{ROOT}/workspace/release", **environment)
    inspected = run("inspect", "--workspace", f"{ROOT}/workspace", "rejections", **environment)
    assert "ingest:" in inspected
    before = {
        entry["Key"]: entry["ETag"] for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="workspace/release/")["Contents"]
    }
    again = run(*job, **environment)
    assert again.count("nothing new") >= 17 and "computed" not in again
    assert before == {
        entry["Key"]: entry["ETag"] for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="workspace/release/")["Contents"]
    }


def test_a_run_trains_from_the_store_and_goes_on_after_a_kill(server: tuple[dict[str, str], Any], learned: str) -> None:
    environment, client = server
    assert "continuing after step" in learned
    assert f"{ROOT}/runs/train/demo/adapter" in learned
    about = json.loads(read(client, "runs/train/demo/run.json"))
    curve = list(csv.DictReader(io.StringIO(read(client, "runs/train/demo/curves.csv").decode())))
    assert [int(line["step"]) for line in curve] == list(range(1, about["steps"] + 1))
    found = {key.removeprefix("runs/train/demo/") for key in keys(client, "runs/train/demo/")}
    assert {"adapter/adapter_config.json", "adapter/canary.json", "samples.csv", "settings.json", "curves.png"} <= found
    assert not [name for name in found if name.startswith(("adapter-unchecked/", "ray/")) and not name.endswith("/")]
    # nothing of the release stays on the node's disk
    assert [path for path in Path(environment["CODELIB_CACHE"]).rglob("*") if path.is_file()] == []


def test_an_evaluation_reads_and_writes_the_store(server: tuple[dict[str, str], Any], learned: str, tmp_path: Path) -> None:
    environment, client = server
    variants = tmp_path / "v.yaml"
    variants.write_text(
        f"- {{name: base, model: '{ROOT}/models/tiny', max_new_tokens: 4, benchmarks: [generation]}}\n"
        f"- {{name: tuned, model: '{ROOT}/models/tiny', adapter: train/demo/adapter, max_new_tokens: 4, benchmarks: [generation]}}\n"
    )
    job = ("--dataset", f"{ROOT}/published", "--workspace", f"{ROOT}/runs", "--variants", variants, "--limit", "3")
    process = start("evaluate", *job, **environment)
    out, err = process.communicate(timeout=1200)
    assert process.returncode in (0, 1) and "Traceback" not in err, out + err
    base, tuned = json.loads(read(client, "runs/evaluate/report/report.json"))["variants"]
    assert (base["status"], base["num_answered"]) == ("complete", 3)
    # an adapter that learned nothing may be refused by its canary, and for nothing else; then the exit code is 1
    assert tuned["status"] == ("refused" if process.returncode else "complete")
    assert tuned["canary"]["num_items"] > 0 and set(tuned["failures"]) <= {"evaluate:AdapterWithoutEffect"}
    assert f"report: {ROOT}/runs/evaluate/report/report.html" in out
    assert {"report.html", "report.json"} <= {Path(key).name for key in keys(client, "runs/evaluate/report/")}
    answers = keys(client, "runs/evaluate/answers/")
    assert answers
    again = start("evaluate", *job, **environment).communicate(timeout=1200)[0]
    assert "0 made" in again and keys(client, "runs/evaluate/answers/") == answers
    assert [path for path in Path(environment["CODELIB_CACHE"]).rglob("*") if path.is_file()] == []


def test_a_file_of_ones_own_in_the_store_is_asked(server: tuple[dict[str, str], Any], learned: str, tmp_path: Path) -> None:
    environment, client = server
    question = {"role": "user", "content": "<image>\nWhat is it?"}
    rows = [{"messages": [question, {"role": "assistant", "content": "Caries"}], "images": [f"{n}.png"]} for n in range(3)]
    rows[2]["images"] = ["HOSPITAL.png"]
    client.put_object(Bucket=BUCKET, Key="elsewhere/lists/cases.json", Body=json.dumps(rows).encode())
    for number in range(2):
        picture = io.BytesIO()
        Image.new("RGB", (56, 56), (90 * number, 0, 0)).save(picture, "PNG")
        client.put_object(Bucket=BUCKET, Key=f"elsewhere/pictures/{number}.png", Body=picture.getvalue())
    variants = tmp_path / "v.yaml"
    variants.write_text(f"- {{name: base, model: '{ROOT}/models/tiny', max_new_tokens: 4, benchmarks: [classification]}}\n")
    job = ("--test", f"{ROOT}/elsewhere/lists/cases.json", "--images", f"{ROOT}/elsewhere/pictures")
    job += ("--benchmark", "classification", "--workspace", f"{ROOT}/theirs", "--variants", str(variants))
    said = run("evaluate", *job, **environment)
    assert "row 3: image_missing" in said and "2 made" in said
    answers = read(client, "theirs/evaluate/report/predictions.csv").decode()
    assert ",test/1/image-1," in answers and "HOSPITAL" not in answers
    assert [path for path in Path(environment["CODELIB_CACHE"]).rglob("*") if path.is_file()] == []
    assert "say which folder" in start("evaluate", *job[:2], *job[4:], **environment).communicate()[1]
    wrong = [word.replace("cases", "case") for word in job]
    assert f"--test {ROOT}/elsewhere/lists/case.json: no such file" in start("evaluate", *wrong, **environment).communicate()[1]
    assert run("evaluate", *job, **environment).count("0 made") == 1
