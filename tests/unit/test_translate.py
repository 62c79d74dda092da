"""Translation: the offline stand-in, the checks, and the openai engine against a real server that misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import BILINGUAL, DEIDENTIFIED, TEXT_FIELDS
from codelib.data.translate import AnswerCache, TranslateSettings, gloss, make_translator, read_glossary
from codelib.data.translate_checks import check, numbers

KEY = "sk-test-secret"
ENGLISH = {
    "16深龋，PD 3mm": "16 deep caries, PD 3 mm",
    "患者[NAME]，一周前疼痛": "Patient [NAME], pain 1 week ago",
    "洁治": "Scaling",
}


def table(*texts: dict[str, str], status: str = "ok") -> pa.Table:
    rows = [
        {
            "checkup_id": f"{i:04d}-001",
            "patient_id": f"{i:04d}",
            "visit_key": f"v{i}",
            "checkup_time": "2022-01-01",
            "age": 30,
            "gender": "male",
        }
        | dict.fromkeys(TEXT_FIELDS, "")
        | {"teeth": [], "removed": [], "status": status, "reject_reason": None if status == "ok" else "deidentify:residual"}
        | fields
        for i, fields in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=DEIDENTIFIED.schema)


def checks_of(row: dict[str, Any], field: str) -> tuple[str, list[str]]:
    (found,) = [t for t in row["translations"] if t["field"] == field]
    return found["engine"], found["checks"]


def test_glossary_goes_by_the_longest_term_and_leaves_numbers_placeholders_and_the_unknown() -> None:
    assert gloss("16慢性龈炎，全口洁治") == "16 chronic gingivitis, full-mouth scaling"
    assert gloss("[NAME]：PD 3-4mm，#15") == "[NAME]: PD 3-4mm, #15"
    out = make_translator(TranslateSettings())(table({"diagnosis": "36慢性龈炎", "remarks": "36饕餮龈炎"})).to_pylist()[0]
    assert out["diagnosis"] == "36 chronic gingivitis"
    assert out["diagnosis_cn"] == "36慢性龈炎"
    assert checks_of(out, "diagnosis") == ("glossary", [])
    assert checks_of(out, "remarks") == ("glossary", ["chinese_left"])
    assert "饕餮" in out["remarks"]
    assert checks_of(out, "management") == ("empty", [])
    assert out["management"] == out["management_cn"] == ""


def test_the_glossary_changes_no_number_and_is_large_enough() -> None:
    rows = read_glossary()
    assert len(rows) >= 350
    assert len({zh for zh, _ in rows}) == len(rows)
    assert [(zh, en) for zh, en in rows if numbers(zh) != numbers(en) or not en] == []


def test_engine_none_says_untranslated() -> None:
    out = make_translator(TranslateSettings(engine="none"))(table({"diagnosis": "龋病"})).to_pylist()[0]
    assert out["diagnosis"] == out["diagnosis_cn"] == "龋病"
    assert checks_of(out, "diagnosis") == ("none", ["untranslated"])


def test_rejected_rows_pass_with_their_reason() -> None:
    out = make_translator(TranslateSettings())(table({}, status="rejected"))
    assert out.schema == BILINGUAL.schema
    row = out.to_pylist()[0]
    assert (row["status"], row["reject_reason"]) == ("rejected", "deidentify:residual")


@pytest.mark.parametrize(
    ("chinese", "english", "failed"),
    [
        ("16深龋", "16 deep caries", []),
        ("一周后复诊", "return in 1 week", []),
        ("16深龋", "17 deep caries", ["fdi_changed"]),
        ("覆盖9.5mm", "overjet 9 mm", ["number_changed"]),
        ("16深龋", "16 deep 龋", ["chinese_left"]),
        ("患者[NAME]，牙痛", "Patient, toothache", ["placeholder_changed"]),
        ("洁治", "Scaling " * 30, ["length"]),
        ("洁治与根管治疗", "I'm sorry, I can't assist with that.", ["refusal"]),
        ("牙痛", " ", ["empty"]),
        ("电话[PHONE]", "Phone [PHONE] a.b@c.com", ["identifier"]),
    ],
)
def test_checks(chinese: str, english: str, failed: list[str]) -> None:
    assert check(chinese, english) == failed


class Misbehaving(ThreadingHTTPServer):
    """Speaks chat-completions; ``script`` names what the next requests get before it behaves."""

    daemon_threads = True

    def __init__(self, script: list[str], translate: Callable[[str], str]) -> None:
        self.script, self.translate = list(script), translate
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Misbehaving

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            act = self.server.script.pop(0) if self.server.script else "answer"
        if self.headers["Authorization"] != f"Bearer {KEY}":
            act = "401"
        if act == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
            self.close_connection = True
            return
        if act.isdigit():
            self.send_response(int(act))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = json.loads(body["messages"][1]["content"])
        content = {"answer": json.dumps({k: self.server.translate(v) for k, v in asked.items()}), "not json": "Sure! {"}.get(
            act, act
        )
        payload = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        if act == "broken":
            payload = payload[:20]
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Misbehaving, TranslateSettings]]]:
    monkeypatch.setenv("TEST_KEY", KEY)
    servers = []

    def start(script: list[str], translate: Callable[[str], str] = ENGLISH.__getitem__) -> tuple[Misbehaving, TranslateSettings]:
        server = Misbehaving(script, translate)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        return server, TranslateSettings(
            engine="openai", base_url=url, model="m-1", key_env="TEST_KEY", backoff_s=0.01, timeout_s=5
        )

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


RECORD = {"examination": "16深龋，PD 3mm", "present_illness": "患者[NAME]，一周前疼痛"}


def test_a_misbehaving_server_is_outlasted_and_nothing_is_paid_for_twice(serve: Any, tmp_path: Path) -> None:
    server, options = serve(["429", "500", "broken", "cut"])
    cache = AnswerCache(tmp_path / "answers")
    first = make_translator(options, cache)(table(RECORD))
    row = first.to_pylist()[0]
    assert row["examination"] == "16 deep caries, PD 3 mm"
    assert row["examination_cn"] == RECORD["examination"]
    assert checks_of(row, "present_illness") == ("openai:m-1", [])
    assert len(server.bodies) == 5
    assert {(b["model"], b["temperature"], b["response_format"]["type"]) for b in server.bodies} == {("m-1", 0, "json_object")}
    assert "深龋 = deep caries" in server.bodies[0]["messages"][0]["content"]
    again = make_translator(options, AnswerCache(tmp_path / "answers"))(table(RECORD))
    assert len(server.bodies) == 5
    assert again.equals(first)
    assert KEY not in "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".json"]


def test_only_new_text_is_asked_for(serve: Any, tmp_path: Path) -> None:
    server, options = serve([])
    make_translator(options, AnswerCache(tmp_path))(table(RECORD))
    make_translator(options, AnswerCache(tmp_path))(table(RECORD | {"management": "洁治"}))
    assert json.loads(server.bodies[1]["messages"][1]["content"]) == {"management": "洁治"}


def test_a_failed_check_is_named_in_one_retry(serve: Any, tmp_path: Path) -> None:
    server, options = serve([json.dumps({"examination": "17 deep caries, PD 3 mm"})])
    row = make_translator(options, AnswerCache(tmp_path))(table({"examination": RECORD["examination"]})).to_pylist()[0]
    assert row["examination"] == "16 deep caries, PD 3 mm"
    assert checks_of(row, "examination")[1] == []
    assert len(server.bodies) == 2
    assert "fdi_changed" in server.bodies[1]["messages"][2]["content"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [("I'm sorry, I can't assist with 16 and 3.", "refusal"), ("", "empty"), ("16 deep 龋 PD 3 mm", "chinese_left")],
)
def test_what_fails_twice_stays_chinese_marked_and_uncached(serve: Any, tmp_path: Path, answer: str, failed: str) -> None:
    server, options = serve([], lambda _: answer)
    row = make_translator(options, AnswerCache(tmp_path))(table({"examination": RECORD["examination"]})).to_pylist()[0]
    assert row["status"] == "ok"
    assert row["examination"] == row["examination_cn"] == RECORD["examination"]
    assert failed in checks_of(row, "examination")[1]
    assert len(server.bodies) == 2
    assert list(tmp_path.rglob("*.json")) == []


def test_keys_that_are_missing_or_invented_fail(serve: Any, tmp_path: Path) -> None:
    _, options = serve([json.dumps({"other": "x"}), "not json"])
    row = make_translator(options, None)(table({"examination": RECORD["examination"]})).to_pylist()[0]
    assert checks_of(row, "examination")[1] == ["missing_key"]


def test_a_server_that_stays_down_leaves_the_chinese(serve: Any) -> None:
    server, options = serve(["503"] * 20)
    options = options.model_copy(update={"max_retries": 2})
    row = make_translator(options, None)(table({"examination": RECORD["examination"]})).to_pylist()[0]
    assert row["examination"] == RECORD["examination"]
    assert checks_of(row, "examination")[1] == ["http_503"]
    assert len(server.bodies) == 3


def test_text_with_an_identifier_is_never_sent(serve: Any) -> None:
    server, options = serve([])
    rows = make_translator(options, None)(table({"remarks": "电话13812345678"}, {"management": "洁治"})).to_pylist()
    assert (rows[0]["status"], rows[0]["reject_reason"]) == ("rejected", "translate:identifier")
    assert "13812345678" not in json.dumps([rows[0], *server.bodies])
    assert rows[1]["management"] == "Scaling"


def test_a_wrong_or_missing_key_is_one_clear_sentence_without_the_key(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, options = serve([])
    monkeypatch.setenv("TEST_KEY", "sk-wrong")
    with pytest.raises(ValueError, match="answered 401; check base_url, model and the key in TEST_KEY") as caught:
        make_translator(options, None)(table({"management": "洁治"}))
    assert "sk-wrong" not in str(caught.value)
    assert len(server.bodies) == 1
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ValueError, match="TEST_KEY is not set"):
        make_translator(options, None)(table({"management": "洁治"}))


def test_a_damaged_cache_file_is_asked_for_again(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    key = cache.key("m", "p", "牙痛")
    cache.put(key, "toothache")
    assert cache.get(key) == "toothache"
    next(tmp_path.rglob("*.json")).write_text('{"engl')
    assert cache.get(key) is None
