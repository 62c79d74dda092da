"""The second pass against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import ANNOTATED, BILINGUAL, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data import card
from codelib.data.annotate import AnnotateSettings, annotate
from codelib.data.annotate_ask import ask, asking
from codelib.data.annotate_report import unknown_diagnoses
from codelib.data.annotate_second import Annotator, Questions, SecondPass, asked, identity
from codelib.data.settings import DatasetSettings
from codelib.data.teeth import normalise, tooth_row
from codelib.data.translate import AnswerCache, TranslateSettings

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
    delay_s = 0.02
    failures = 1  # of each server the first request is refused, as busy servers do

    def do_POST(self) -> None:
        started = time.monotonic()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = json.loads(body["messages"][-1]["content"])
        with Path(self.log).open("a", encoding="utf-8") as log:
            log.write(json.dumps([item["text"] for item in asked], ensure_ascii=False) + "\n")
        if body["model"] == "broken":
            return self._answer(500, {"error": {"message": "牙齿蛀了个洞 failed"}})
        if self.headers["Authorization"] != "Bearer right":
            return self._answer(401, {"error": {"message": "no"}})
        time.sleep(self.delay_s)
        with Path(self.log).with_name("at_once").open("a") as times:
            times.write(f"{started} {time.monotonic()}\n")
        if self.failures:
            type(self).failures = 0
            return self._answer(429, {"error": {"message": "slow down"}})
        forgotten = Path(self.log).with_name("forgotten").read_text(encoding="utf-8")
        items = [{"n": i["n"], "conditions": SAYS.get(i["text"], [])} for i in asked if i["text"] != forgotten]
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


class Server:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "asked.jsonl"
        self.log.touch()
        self.forgets("")
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Logging", (Handler,), {"log": str(self.log)}))
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def forgets(self, text: str) -> None:
        """A string that its answers leave out from now on."""
        self.log.with_name("forgotten").write_text(text, encoding="utf-8")

    def most_at_once(self) -> int:
        spans = [tuple(map(float, line.split())) for line in self.log.with_name("at_once").read_text().splitlines()]
        return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECOND_PASS_KEY", "right")
    running = Server(tmp_path)
    yield running
    running.http.shutdown()
    running.http.server_close()


def settings(server: Server, **changes: Any) -> AnnotateSettings:
    given = {"engine": "openai", "base_url": server.url, "key_env": "SECOND_PASS_KEY", "max_retries": 2} | changes
    return AnnotateSettings.model_validate({"second_pass": given})


def second(server: Server, tmp_path: Path, **changes: Any) -> Callable[[pa.Table], pa.Table]:
    """Both steps in one: what the cache lacks is asked for, then read."""
    questions, cache = Questions(settings(server, **changes)), AnswerCache(tmp_path / "cache")
    options = asking(questions.settings, TranslateSettings(backoff_s=0.01, concurrency=4))

    def both(given: pa.Table, only: frozenset[str] | None = None) -> pa.Table:
        asyncio.run(ask(options, questions, cache, Store(str(tmp_path / "books")), [(given, only)], 1))
        return SecondPass(questions, cache)(given)

    return both


def table(*diagnoses: str) -> pa.Table:
    rows = []
    for n, written in enumerate(diagnoses):
        text, mentions = normalise(written)
        row: dict[str, Any] = {f"{field}_cn": "" for field in TEXT_FIELDS} | {"checkup_id": f"000{n}-001", "status": "ok"}
        row |= {"visit_key": f"v{n}"}
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
    (answer,) = (tmp_path / "cache").glob("??/*.json")
    answer.write_text("{half", encoding="utf-8")
    second(server, tmp_path)(table("牙齿蛀了个洞"))
    assert len(server.asked()) == asked + 1, "a damaged answer is asked for again"


def test_what_may_hold_an_identifier_is_not_sent(server: Server, tmp_path: Path) -> None:
    out = second(server, tmp_path)(table("怪病见a.b@example.com者", "莫名"))
    assert {words for asked in server.asked() for words in asked} == {"莫名"}
    assert [row["unanswered"] for row in out.to_pylist()] == [[], []]


def test_a_babbling_model_ends_the_run_and_keeps_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"annotate\.second_pass: .* gives no answer \(answer_format"):
        second(server, tmp_path, model="babbling")(table("牙齿蛀了个洞"))
    assert not list((tmp_path / "cache").glob("??/*.json"))


def test_what_the_server_left_out_is_named_and_asked_for_again_alone(server: Server, tmp_path: Path) -> None:
    server.forgets("牙神经发炎可能")
    both = second(server, tmp_path, max_retries=1)
    given = table("牙齿蛀了个洞", "牙神经发炎可能")
    key = Questions(settings(server)).key("牙神经发炎可能")
    first = both(given).to_pylist()
    assert [row["unanswered"] for row in first] == [[], [key]]
    assert [[d["zh"] for d in row["diseases"]] for row in first] == [["龋病"], []]
    table_of = asked(both(given), Questions(settings(server))).to_pylist()
    assert [row["status"] for row in table_of] == ["ok", "rejected"] and table_of[1]["key"] == key
    server.forgets("")
    before = len(server.asked())
    again = both(given, frozenset([key])).to_pylist()
    assert server.asked()[before:] == [["牙神经发炎可能"]]
    assert [[d["zh"] for d in row["diseases"]] for row in again] == [["龋病"], ["牙髓炎"]]
    assert [row["unanswered"] for row in again] == [[], []]


def test_many_strings_are_asked_about_at_once(server: Server, tmp_path: Path) -> None:
    server.http.RequestHandlerClass.delay_s = 0.2
    second(server, tmp_path, strings_a_request=1)(table(*(f"怪{chr(0x7532 + n)}病" for n in range(8))))
    assert server.most_at_once() > 1


def test_the_budget_is_the_workspaces(server: Server, tmp_path: Path) -> None:
    questions, cache = Questions(settings(server)), AnswerCache(tmp_path / "cache")
    options = asking(questions.settings, TranslateSettings(budget_tokens=10))
    with pytest.raises(InputError, match=r"translate\.budget_tokens=10 is reached"):
        asyncio.run(ask(options, questions, cache, Store(str(tmp_path / "books")), [(table("莫名"), None)], 1))
    assert server.asked() == []


def test_limits_and_prices_are_the_translations_only_where_the_server_is(server: Server) -> None:
    given = settings(server, model="m")
    plain = TranslateSettings(requests_per_minute=60, usd_per_million_input=1, usd_per_million_output=2)
    elsewhere = asking(given, plain)
    assert (elsewhere.requests_per_minute, elsewhere.usd_per_million_input) == (None, None)
    same = asking(given, plain.model_copy(update={"base_url": server.url, "model": "m"}))
    assert (same.requests_per_minute, same.usd_per_million_input) == (60, 1)


def test_a_server_that_fails_or_refuses_says_so_without_the_text(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"annotate\.second_pass: .* gives no answer \(http_500") as failed:
        second(server, tmp_path, model="broken", max_retries=0)(table("牙齿蛀了个洞"))
    assert "蛀" not in str(failed.value)
    monkeypatch.setenv("SECOND_PASS_KEY", "wrong")
    with pytest.raises(InputError, match="SECOND_PASS_KEY"):
        second(server, tmp_path)(table("牙齿蛀了个洞"))
    monkeypatch.delenv("SECOND_PASS_KEY")
    with pytest.raises(ValueError, match=r"annotate.second_pass.key_env: .* SECOND_PASS_KEY is not set"):
        second(server, tmp_path)(table("牙齿蛀了个洞"))


def test_the_stage_reads_answers_only_where_the_settings_say_so(server: Server, tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "cache")
    plain, asks = AnnotateSettings(), settings(server)
    given = table("牙齿蛀了个洞")
    bilingual = given.select(BILINGUAL.schema.names).cast(BILINGUAL.schema)
    assert Annotator(plain, cache)(bilingual).to_pylist()[0]["diseases"] == []
    with pytest.raises(InputError, match="lacks an answer"):
        Annotator(asks, cache)(bilingual)
    second(server, tmp_path)(given)
    asked_before = len(server.asked())
    made = Annotator(asks, cache)(bilingual, {"answered": "x"})
    assert [d["zh"] for d in made.to_pylist()[0]["diseases"]] == ["龋病"]
    assert len(server.asked()) == asked_before
    elsewhere = settings(server, base_url="http://elsewhere", timeout_s=5)
    assert identity(asks) == identity(elsewhere) != identity(plain)


def test_a_clinics_own_lists_stand_in_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("zh,synonyms_zh,en,icd10_who\n某某氏牙病,某氏病,Somebody's tooth,K00.9\n", encoding="utf-8")
    own = AnnotateSettings.model_validate({"diagnoses": str(path)})
    for value in (identity(own), card.release_settings(DatasetSettings(annotate=own))):
        assert "某" not in json.dumps(value, ensure_ascii=False)
    assert identity(own) != identity(AnnotateSettings())
