"""The second pass against a real HTTP server in a process of its own: `python test_annotate_second.py LOG` serves on a free port."""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import ANNOTATED, BILINGUAL, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.annotate import AnnotateSettings, annotate
from codelib.data.annotate_report import unknown_diagnoses
from codelib.data.annotate_second import FileCache, SecondPass, identity, make_annotator
from codelib.data.teeth import normalise, tooth_row

# what the model says of a string: quotes that are right, made up, of no condition in the list, of a status that is none of ours
SAYS: dict[str, list[dict[str, Any]]] = {
    "牙齿蛀了个洞": [{"quote": "蛀了个洞", "zh": "龋病", "status": "present"}],
    "牙神经发炎可能": [{"quote": "牙神经发炎", "zh": "牙髓炎", "status": "suspected"}],
    "怪病": [{"quote": "牙髓炎", "zh": "牙髓炎", "status": "present"}],
    "奇症": [{"quote": "奇症", "zh": "奇异症", "status": "present"}, {"quote": "奇症", "zh": "牙髓炎", "status": "certain"}],
    "莫名": [],
}


class Handler(BaseHTTPRequestHandler):
    log = ""
    failures = 1  # the first request is refused, as busy servers do

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = json.loads(body["messages"][-1]["content"])
        with Path(self.log).open("a", encoding="utf-8") as log:
            log.write(json.dumps([item["text"] for item in asked], ensure_ascii=False) + "\n")
        if body["model"] == "broken":
            return self._answer(500, {"error": {"message": "牙齿蛀了个洞 failed"}})
        if self.headers["Authorization"] != "Bearer right":
            return self._answer(401, {"error": {"message": "no"}})
        if Handler.failures:
            Handler.failures -= 1
            return self._answer(429, {"error": {"message": "slow down"}})
        items = [{"n": item["n"], "conditions": SAYS.get(item["text"], [])} for item in asked]
        content = "not JSON" if body["model"] == "babbling" else json.dumps({"items": items}, ensure_ascii=False)
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return self._answer(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    def _answer(self, status: int, value: Any) -> None:
        data = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


def serve(log: str) -> None:
    Handler.log = log
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


class Server:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "asked.jsonl"
        self.log.touch()
        self.process = subprocess.Popen([sys.executable, __file__, str(self.log)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECOND_PASS_KEY", "right")
    running = Server(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def second(server: Server, tmp_path: Path, is_private=lambda text: False, **settings: Any) -> SecondPass:
    given = {"engine": "openai", "base_url": server.url, "key_env": "SECOND_PASS_KEY", "max_retries": 2} | settings
    annotate_settings = AnnotateSettings.model_validate({"second_pass": given})
    return SecondPass(annotate_settings, FileCache(Store(str(tmp_path / "cache"))), is_private)


def table(*diagnoses: str) -> pa.Table:
    rows = []
    for n, written in enumerate(diagnoses):
        text, mentions = normalise(written)
        row: dict[str, Any] = {f"{field}_cn": "" for field in TEXT_FIELDS} | {"checkup_id": f"000{n}-001", "status": "ok"}
        rows.append(row | {"diagnosis_cn": text, "teeth": [tooth_row("diagnosis", m) for m in mentions]})
    return annotate(pa.Table.from_pylist(rows, schema=BILINGUAL.schema))


def test_only_the_unknown_is_asked_and_the_quote_is_the_evidence(server: Server, tmp_path: Path) -> None:
    before = table("左下6牙齿蛀了个洞；慢性龈炎", "慢性龈炎", "右上6牙神经发炎可能")
    out = second(server, tmp_path)(before)
    assert out.schema.equals(ANNOTATED.schema)
    first, other, third = out.to_pylist()
    shown = [(d["zh"], d["icd10"], d["status"], d["evidence"], d["fdi"]) for d in first["diseases"]]
    assert shown == [("慢性龈炎", "K05.1", "present", "慢性龈炎", []), ("龋病", "K02.9", "present", "蛀了个洞", ["36"])]
    assert first["six_class"] is None  # two classes now
    assert [d["zh"] for d in other["diseases"]] == ["慢性龈炎"]
    (suspected,) = third["diseases"]
    assert (suspected["zh"], suspected["status"]) == ("牙髓炎", "suspected")
    assert third["diagnosis_cn"][suspected["start"] : suspected["end"]] == "牙神经发炎"
    assert set(server.asked()[-1]) == {"牙齿蛀了个洞", "牙神经发炎可能"}


def test_what_breaks_the_rules_stays_unknown(server: Server, tmp_path: Path) -> None:
    out = second(server, tmp_path)(table("怪病", "奇症", "莫名"))
    assert [row["diseases"] for row in out.to_pylist()] == [[], [], []]
    assert dict(unknown_diagnoses(out)) == {"怪病": 1, "奇症": 1, "莫名": 1}


def test_nothing_is_paid_for_twice(server: Server, tmp_path: Path) -> None:
    second(server, tmp_path)(table("牙齿蛀了个洞"))
    asked = len(server.asked())
    again = second(server, tmp_path)(table("牙齿蛀了个洞", "牙齿蛀了个洞"))
    assert len(server.asked()) == asked
    assert [[d["zh"] for d in row["diseases"]] for row in again.to_pylist()] == [["龋病"], ["龋病"]]
    (answer,) = (tmp_path / "cache").rglob("*.json")
    answer.write_text("{half", encoding="utf-8")
    second(server, tmp_path)(table("牙齿蛀了个洞"))
    assert len(server.asked()) == asked + 1, "a damaged answer is asked for again"


def test_what_may_hold_an_identifier_is_not_sent(server: Server, tmp_path: Path) -> None:
    second(server, tmp_path, is_private=lambda text: "蛀" in text)(table("牙齿蛀了个洞", "莫名"))
    assert all("牙齿蛀了个洞" not in asked for asked in server.asked())


def test_a_babbling_model_changes_nothing(server: Server, tmp_path: Path) -> None:
    out = second(server, tmp_path, model="babbling")(table("牙齿蛀了个洞"))
    assert out.to_pylist()[0]["diseases"] == []
    assert not list((tmp_path / "cache").rglob("*.json")), "no answer, nothing kept"


def test_a_server_that_fails_or_refuses_says_so_without_the_text(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="InternalServerError") as failed:
        second(server, tmp_path, model="broken", max_retries=0)(table("牙齿蛀了个洞"))
    assert "蛀" not in str(failed.value)
    monkeypatch.setenv("SECOND_PASS_KEY", "wrong")
    with pytest.raises(InputError, match="SECOND_PASS_KEY"):
        second(server, tmp_path)(table("牙齿蛀了个洞"))
    monkeypatch.delenv("SECOND_PASS_KEY")
    with pytest.raises(ValueError, match="SECOND_PASS_KEY is not set"):
        second(server, tmp_path)


def test_the_stage_asks_only_where_the_settings_say_so(server: Server, tmp_path: Path) -> None:
    cache = FileCache(Store(str(tmp_path / "cache")))
    plain = AnnotateSettings()
    bilingual = table("牙齿蛀了个洞").select(BILINGUAL.schema.names).cast(BILINGUAL.schema)
    assert make_annotator(plain, cache, lambda text: False)(bilingual).to_pylist()[0]["diseases"] == []
    assert server.asked() == []
    given = {"engine": "openai", "base_url": server.url, "key_env": "SECOND_PASS_KEY"}
    asks = AnnotateSettings.model_validate({"second_pass": given})
    assert [d["zh"] for d in make_annotator(asks, cache, lambda text: False)(bilingual).to_pylist()[0]["diseases"]] == ["龋病"]
    elsewhere = AnnotateSettings.model_validate({"second_pass": given | {"base_url": "http://elsewhere", "timeout_s": 5}})
    assert identity(asks) == identity(elsewhere) != identity(plain)


if __name__ == "__main__":
    serve(sys.argv[1])
