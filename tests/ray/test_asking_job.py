"""What servers answered, through jobs.dataset: what they failed on is asked for again alone, what a patient withdrew leaves the caches, and a
leak that a person found leaves the release."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from codelib.contracts import TEXT_FIELDS
from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store
from codelib.data.translate_cache import text_digest
from codelib.synthetic.export import generate
from tests import llm_server
from tests.here import run
from tests.jobs import with_key

UNKNOWN = "怪异之症"
QUICK = (
    *("--set", "partition_visits=6"),
    *("--set", "images.screens={text: 'off', faces: 'off', documents: 'off'}"),
)


@pytest.fixture(scope="module")
def server():
    with llm_server.started() as running:
        yield running


def rows_of(workspace: Path, stage: str) -> list[dict[str, Any]]:
    store = Store(str(workspace / "private" if stage == "records" else workspace))
    return [row for part in manifest_parts(store, stage) for row in read_part(part, ok_only=True).to_pylist()]


def cached(workspace: Path, folder: str) -> dict[str, str]:
    """Digest of what was asked about -> the whole answer's file."""
    files = [path.read_text(encoding="utf-8") for path in (workspace / "cache" / folder).glob("??/*.json")]
    return {json.loads(text).get("of", ""): text for text in files}


def texts_of(row: dict[str, Any]) -> set[str]:
    return {row[f"{name}_cn"] for name in TEXT_FIELDS if row[f"{name}_cn"].strip()}


@dataclass(frozen=True)
class Made:
    """A workspace in which every text was asked about once; its command, the plan before the work, and what was paid for."""

    workspace: Path
    command: tuple[Any, ...]
    plan: str
    delivered: Counter[str]

    def on(self, workspace: Path) -> tuple[Any, ...]:
        return tuple(workspace if word == self.workspace else word for word in self.command)


@pytest.fixture(scope="module")
def made(tmp_path_factory, server, cluster):
    """A clinic in which every record's diagnosis names something that no list knows, and the command that makes its dataset."""
    folder = tmp_path_factory.mktemp("asking")
    export, workspace = folder / "clinic", with_key(folder / "work")
    generate(export, visits=14, seed=6)
    for path in export.rglob("*牙科病历.xlsx"):
        book = openpyxl.load_workbook(path)
        header, *rows = book.worksheets[0].iter_rows()
        at = [cell.value for cell in header].index("诊断")
        for number, row in enumerate(rows):
            row[at].value = f"{row[at].value or ''}；{UNKNOWN}{chr(0x7532 + number)}"
        book.save(path)
    values = {"engine": "openai", "base_url": server.url, "model": "m-1", "key_env": "TEST_KEY"}
    given = [word for name, value in values.items() for word in ("--set", f"translate.{name}={value}")]
    given += [word for name, value in values.items() for word in ("--set", f"annotate.second_pass.{name}={value}")]
    quick = (
        "--set",
        "translate.backoff_s=0.01",
        "--set",
        "translate.max_retries=1",
        "--set",
        "annotate.second_pass.max_retries=1",
    )
    command = ("dataset", "--input", export, "--workspace", workspace, *QUICK, *given, *quick)
    server.control(latency_s=0.01)
    plan = run(*command, "--dry-run", TEST_KEY=llm_server.KEY)
    run(*command, TEST_KEY=llm_server.KEY)
    return Made(workspace, command, plan, Counter(server.stats()["delivered"]))


@pytest.fixture
def clinic(made, server, tmp_path):
    """A copy to work on, and its command; the server has paid for nothing yet."""
    workspace = Path(shutil.copytree(made.workspace, tmp_path / "work"))
    server.control(latency_s=0.01)
    return workspace, made.on(workspace)


def test_failures_are_asked_again_and_what_was_withdrawn_leaves_the_caches(made, clinic, server, tmp_path):
    workspace, command = clinic
    assert "second pass  m-1: the diagnoses are not known yet" in made.plan
    rows = rows_of(workspace, "annotated")
    gone = next(row for row in rows if row["patient_id"] != rows[-1]["patient_id"])
    patient = next(r["patient"] for r in rows_of(workspace, "records") if r["visit_key"] == gone["visit_key"])
    others = {text for row in rows if row["patient_id"] != gone["patient_id"] for text in texts_of(row)}
    own = {text for row in rows if row["patient_id"] == gone["patient_id"] for text in texts_of(row)} - others
    assert own
    assert {text_digest(text) for text in own} <= set(cached(workspace, "translations"))
    assert len(cached(workspace, "second_pass")) == len({t for t in made.delivered if t.startswith(UNKNOWN)}) > 1

    # consent is withdrawn: no answer to a text that this patient alone had is on disk, and no other is paid for again
    (tmp_path / "withdrawn.txt").write_text(f"{patient}\n", encoding="utf-8")
    command = (*command, "--set", f"exclude={tmp_path / 'withdrawn.txt'}")
    run(*command, TEST_KEY=llm_server.KEY)
    assert not server.stats()["delivered"]
    left = rows_of(workspace, "annotated")
    current = {text_digest(text) for row in left for text in texts_of(row)}
    assert set(cached(workspace, "translations")) == current
    strings = {text[text.index(UNKNOWN) :] for row in left if UNKNOWN in (text := row["diagnosis_cn"])}
    assert set(cached(workspace, "second_pass")) == {text_digest(words) for words in strings}

    # a run that asks nobody says nothing of servers
    again = run(*command, TEST_KEY=llm_server.KEY)
    assert "Translated" not in again and "Second pass" not in again and "computed" not in again
    assert "nothing to pay" in run(*command, "--dry-run", TEST_KEY=llm_server.KEY)


def test_what_both_servers_failed_on_is_asked_for_by_the_next_run_alone(made, server, tmp_path):
    whole = {row["checkup_id"]: row for row in rows_of(made.workspace, "annotated")}
    once = made.delivered
    victim = min(whole.values(), key=lambda row: row["checkup_id"])
    string = victim["diagnosis_cn"][victim["diagnosis_cn"].index(UNKNOWN) :]
    poison = [victim["diagnosis_cn"], string]

    other = with_key(tmp_path / "other")
    command = made.on(other)
    server.control(latency_s=0.01, poison=poison)
    said = run(*command, TEST_KEY=llm_server.KEY)
    assert "1 texts of `bilingual` got no answer" in said and "1 texts of `annotated` got no answer" in said
    server.control(latency_s=0.01)
    said = run(*command, TEST_KEY=llm_server.KEY)
    delivered = server.stats()["delivered"]
    assert set(delivered) == {text for text in poison if once[text]}
    assert "got no answer" not in said
    assert {row["checkup_id"]: row for row in rows_of(other, "annotated")} == whole


def test_a_leak_that_an_audit_found_is_held_back_until_it_is_answered(clinic):
    workspace, command = clinic
    told = run("inspect", "--workspace", workspace, "audit", "3")
    assert "3 visits" in told
    path = workspace / "private" / "audit" / "first.csv"
    verdicts = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    splits = {row["checkup_id"]: row["split"] for row in rows_of(workspace, "split")}

    def judged(*given: str) -> str:
        lines = [f"{row['checkup_id']},{row['text_key']},{verdict}," for row, verdict in zip(verdicts, given, strict=True)]
        path.write_text("\n".join(["checkup_id,text_key,verdict,note", *lines]), encoding="utf-8")
        assert "partitions: answers wait to be taken up" in run(*command, "--dry-run", TEST_KEY=llm_server.KEY) or not given
        return run(*command, TEST_KEY=llm_server.KEY)

    said = judged("leak", "clean", "clean")
    leaking = verdicts[0]["checkup_id"]
    assert "1 visits are held back, since a person found that they leak" in said
    for place in ("complete-dataset.csv", "train.json", "test-cls.json"):
        assert leaking not in (workspace / "release" / place).read_text(encoding="utf-8")
    assert not [path for path in (workspace / "release" / "Images").rglob("*.jpg") if path.name.startswith(leaking)]
    report = json.loads((workspace / "privacy.json").read_text(encoding="utf-8"))
    assert report["audit"]["verdicts"] == {"clean": 2, "leak": 1, "too_much": 0}
    assert report["held_back"]["audit:leak"] == 1
    assert report["released"] == len(splits) - 1 == report["k_anonymity"][0]["visits"]
    assert "held back" not in judged("clean", "clean", "clean").replace("held back for", "")
    assert {row["checkup_id"]: row["split"] for row in rows_of(workspace, "split")} == splits
