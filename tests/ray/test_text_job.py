"""Text through jobs.dataset: a translation server in a process of its own, kills, budgets; the queues and their answers."""

import csv
import io
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store
from codelib.synthetic.export import generate
from tests import llm_server
from tests.here import run
from tests.jobs import start, tree, with_key

QUICK = (
    *("--set", "partition_visits=6"),
    *("--set", "images.screens={text: 'off', faces: 'off', documents: 'off'}"),
)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "clinic"
    generate(folder, visits=24, seed=6)
    return folder


@pytest.fixture(scope="module")
def server():
    with llm_server.started() as running:
        yield running


def asking(server, **more) -> tuple[str, ...]:
    values = {"engine": "openai", "base_url": server.url, "model": "m-1", "key_env": "TEST_KEY", "backoff_s": 0.05} | more
    return tuple(word for name, value in values.items() for word in ("--set", f"translate.{name}={value}"))


def translations(workspace: Path) -> list[dict]:
    rows = [
        row for part in manifest_parts(Store(str(workspace)), "bilingual") for row in read_part(part, ok_only=True).to_pylist()
    ]
    return [t for row in rows for t in row["translations"] if t["engine"] != "empty"]


def test_a_killed_translation_goes_on_and_pays_at_most_for_what_was_under_way(cluster, export, server, tmp_path):
    given = (*QUICK, *asking(server, concurrency=4, texts_per_request=2))
    server.control()
    run("dataset", "--input", export, "--workspace", with_key(tmp_path / "calm"), *given, TEST_KEY=llm_server.KEY)
    # an answer that fails its checks is asked for again, by design, and how often depends on the text beside it in its request: the bound
    # is held to texts whose answer is good at once
    good = {text for text, times in server.stats()["delivered"].items() if times == 1}
    assert len(good) > 20

    workspace = with_key(tmp_path / "work")
    server.control(latency_s=0.3, shares={"429": 0.2, "500": 0.1, "cut": 0.05})
    command = ("dataset", "--input", export, "--workspace", workspace, *given)
    process = start(*command, TEST_KEY=llm_server.KEY)
    until_s = time.monotonic() + 200
    while process.poll() is None and sum(server.stats()["delivered"].values()) < 12 and time.monotonic() < until_s:
        time.sleep(0.1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = run(*command, TEST_KEY=llm_server.KEY)
    paid = Counter(server.stats()["delivered"])
    assert sum(paid[text] - 1 for text in good) <= 4 * 2  # four requests of two texts were under way
    found = translations(workspace)
    assert found
    assert {t["engine"] for t in found} == {"openai:m-1"}
    assert "Released" in said
    again = run(*command, TEST_KEY=llm_server.KEY)
    assert Counter(server.stats()["delivered"]) == paid  # nothing is asked for again
    assert "computed" not in again
    assert tree(workspace / "release") == tree(tmp_path / "calm" / "release")


def test_a_budget_stops_the_run_with_a_sentence_and_a_larger_one_continues(cluster, export, server, tmp_path):
    workspace = with_key(tmp_path / "work")
    server.control()
    command = (
        "dataset",
        "--input",
        export,
        "--workspace",
        workspace,
        *QUICK,
        *asking(server, texts_per_request=1, concurrency=1),
    )
    said = run(*command, "--set", "translate.budget_tokens=3000", code=2, TEST_KEY=llm_server.KEY)
    assert "budget" in said.strip().splitlines()[-1]
    paid = Counter(server.stats()["delivered"])
    assert paid
    plan = run(*command, "--dry-run", TEST_KEY=llm_server.KEY)
    assert "Nothing was touched" in plan
    assert "transl" in plan.lower()
    run(*command, "--set", "translate.budget_tokens=100000000", TEST_KEY=llm_server.KEY)
    after = Counter(server.stats()["delivered"])
    assert all(after[text] == n for text, n in paid.items())  # what was received before the stop was not asked for again


def test_a_missing_key_is_said_before_the_work_and_by_its_name_alone(export, server, tmp_path):
    said = run(
        "dataset", "--input", export, "--workspace", tmp_path / "w", *QUICK, *asking(server, key_env="NO_SUCH_KEY"), code=2
    )
    assert "NO_SUCH_KEY" in said
    assert not (tmp_path / "w").exists()


# the queues


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def save(path: Path, rows: list[dict[str, str]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8")


def rewrite(export: Path, change) -> None:
    """Give each record of the export's one sheet to ``change`` with its number, and write it again."""
    (sheet,) = export.rglob("*牙科病历.jsonl")
    records = [json.loads(line) for line in sheet.read_text(encoding="utf-8").splitlines()]
    for number, record in enumerate(records):
        change(number, record)
    sheet.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def held(cluster, clinic_of_60, tmp_path):
    """A clinic with a doubtful name and an ambiguous tooth in one record, and its workspace."""
    export, workspace = clinic_of_60, with_key(tmp_path / "work")
    done = []

    def doubts(_, record):
        if "诊断" in record and "备注" in record and not done:
            record |= {"备注": "5/3外院拔牙", "检查": "六龄齿深龋"}
            done.append(record)

    rewrite(export, doubts)
    run("dataset", "--input", export, "--workspace", workspace, *QUICK)
    return export, workspace


def test_both_text_queues_are_answered_and_only_their_partitions_are_done_again(held, tmp_path):
    export, workspace = held
    queue = workspace / "private" / "queue"
    doubts = [row for row in rows_of(queue / "privacy.csv") if "5/3" in row["marked"]]
    assert doubts
    teeth = [row for row in rows_of(queue / "teeth.csv") if "六龄齿" in row["written"]]
    assert teeth
    for name in ("privacy-answers.csv", "teeth-answers.csv"):  # what cannot be read is said before the work
        (queue / name).write_text("nonsense\n1\n", encoding="utf-8")
        assert name in run("dataset", "--input", export, "--workspace", workspace, *QUICK, code=2)
        (queue / name).unlink()
    for row in doubts:
        row["answer"] = "identifier"
    save(queue / "privacy-answers.csv", doubts)
    teeth[0]["answer"] = "16"
    save(queue / "teeth-answers.csv", teeth[:1])
    images = tree(workspace / "private" / "stages" / "images")
    trace = tmp_path / "trace"
    trace.mkdir()
    said = run("dataset", "--input", export, "--workspace", workspace, *QUICK, CODELIB_TRACE=str(trace))
    done = Counter(path.name.split(".")[0] for path in trace.iterdir())
    visits = {row["visit_key"] for row in doubts} | {teeth[0]["visit_key"]}
    assert done["text"] == 1
    assert done["deidentified"] <= len(visits)
    assert not done["images"]
    assert tree(workspace / "private" / "stages" / "images") == images
    rows = [r for part in manifest_parts(Store(str(workspace)), "annotated") for r in read_part(part).to_pylist()]
    released = [r for r in rows if r["visit_key"] == teeth[0]["visit_key"] and r["status"] == "ok"]
    assert released, said
    assert any(t["fdi"] == ["16"] and t["field"] == "examination" for t in released[0]["teeth"])
    assert "5/3" not in released[0]["remarks_cn"]
    assert not [row for row in rows_of(queue / "privacy.csv") if row["visit_key"] == released[0]["visit_key"]]


def test_one_cell_holds_a_batch_back_until_it_is_answered_once_and_a_clinics_names_go(cluster, clinic_of_60, tmp_path):
    export, workspace, trace = clinic_of_60, with_key(tmp_path / "work"), tmp_path / "trace"
    trace.mkdir()
    rewrite(
        export, lambda n, record: record.update({"助手": "晨曦阿星小明"} if n == 0 else {"备注": "晨曦阿星改约，已和静怡沟通"})
    )
    names = tmp_path / "names.txt"
    names.write_text("何静怡\n", encoding="utf-8")
    command = ("dataset", "--input", export, "--workspace", workspace, *QUICK, "--set", f"deidentify.names_file={names}")
    said = run(*command)
    waiting = rows_of(workspace / "private" / "queue" / "privacy.csv")
    (asked,) = [row for row in waiting if row["class"] == "NAME_COLUMN"]
    assert int(asked["visits"]) > 5
    assert "Released 0 visits" not in said  # the other batches

    save(workspace / "private" / "queue" / "privacy-answers.csv", [asked | {"answer": "identifier", "words": "晨曦阿星、小明"}])
    said += run(*command, CODELIB_TRACE=str(trace))
    assert "fit nothing any more" not in said
    assert not [row for row in rows_of(workspace / "private" / "queue" / "privacy.csv") if row["class"] == "NAME_COLUMN"]
    rows = [r for part in manifest_parts(Store(str(workspace)), "annotated") for r in read_part(part).to_pylist()]
    remarks = {r["remarks_cn"] for r in rows if r["status"] == "ok"}
    assert "[NAME]改约，已和[NAME]沟通" in remarks
    done = Counter(path.name.split(".")[0] for path in trace.iterdir())
    assert done["deidentified"]
    assert not done["text"] + done["images"]

    names.write_text("何静怡\n顾晓棠\n", encoding="utf-8")  # the list grows: what depends on it is done again, and nothing else
    for path in trace.iterdir():
        path.unlink()
    said += run(*command, CODELIB_TRACE=str(trace))
    done = Counter(path.name.split(".")[0] for path in trace.iterdir())
    assert done["deidentified"] == len(manifest_parts(Store(str(workspace)), "deidentified"))
    assert not done["text"] + done["images"]
    assert not [word for word in ("静怡", "晓棠", "晨曦阿星") if word in said]
    for path in workspace.rglob("*"):
        if path.is_file() and "private" not in path.parts:
            shown = (
                str(pq.read_table(path).to_pydict()) if path.suffix == ".parquet" else path.read_bytes().decode(errors="ignore")
            )
            assert not [word for word in ("静怡", "晓棠", "晨曦阿星") if word in shown], path
