"""Translation: the offline stand-in, and the openai engine against a real server process that misbehaves (tests/llm_server.py)."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import BILINGUAL, DEIDENTIFIED, TEXT_FIELDS
from codelib.core.config import load
from codelib.core.stage import Stage, Work
from codelib.core.store import Store
from codelib.data.settings import DatasetSettings
from codelib.data.translate import AnswerCache, TranslateSettings, gloss, make_bilingual, make_translator
from codelib.data.translate_fill import fill
from codelib.data.translate_online import Online
from codelib.data.translate_plan import cost_lines
from codelib.data.translate_prompt import read_answer
from codelib.data.translate_texts import Text, key_of
from codelib.models.remote_budget import spent_before
from tests import llm_server

EXAMINATION, ILLNESS, MANAGEMENT = "16深龋，PD 3mm", "患者[NAME]，一周前疼痛", "洁治"
KNOWN = {EXAMINATION: "16 deep caries, PD 3 mm", ILLNESS: "Patient [NAME], pain 1 week ago", MANAGEMENT: "Scaling"}
RECORD = {"examination": EXAMINATION, "present_illness": ILLNESS}


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


def many(first: int, last: int) -> pa.Table:
    return table(*({"examination": llm_server.chinese(i)} for i in range(first, last)))


def checks_of(row: dict[str, Any], field: str) -> tuple[str, list[str]]:
    (found,) = [t for t in row["translations"] if t["field"] == field]
    return found["engine"], found["checks"]


# offline


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


def test_engine_none_says_untranslated() -> None:
    out = make_translator(TranslateSettings(engine="none"))(table({"diagnosis": "龋病"})).to_pylist()[0]
    assert out["diagnosis"] == out["diagnosis_cn"] == "龋病"
    assert checks_of(out, "diagnosis") == ("none", ["untranslated"])


def test_rejected_rows_pass_with_their_reason() -> None:
    out = make_translator(TranslateSettings())(table({}, status="rejected"))
    assert out.schema == BILINGUAL.schema
    row = out.to_pylist()[0]
    assert (row["status"], row["reject_reason"]) == ("rejected", "deidentify:residual")


# settings


def test_what_changes_no_answer_is_no_part_of_the_fingerprint() -> None:
    plain = TranslateSettings(engine="openai")
    other = TranslateSettings(engine="openai", budget_usd=3, requests_per_minute=60, transport="batch", concurrency=9)
    assert plain.fingerprint() == other.fingerprint()
    assert plain.answer_settings() != TranslateSettings(engine="openai", model="gpt-4o-2024-08-06").answer_settings()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["translate.engine=openai", "translate.model=gpt-4o"], "translate.model='gpt-4o': name a snapshot with its date"),
        (["translate.usd_per_million_output=3"], "give usd_per_million_input and usd_per_million_output"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(DatasetSettings, "dataset", None, given)


# a server


@pytest.fixture
def server(server: llm_server.Running) -> llm_server.Running:
    server.control(known=KNOWN)
    return server


def settings(server: llm_server.Running, **changes: Any) -> TranslateSettings:
    given = {"base_url": server.url, "model": "m-1", "key_env": "TEST_KEY", "backoff_s": 0.01, "timeout_s": 5, "poll_s": 0.02}
    return TranslateSettings(engine="openai", **(given | changes))


def test_a_misbehaving_server_is_outlasted_and_nothing_is_paid_for_twice(server: llm_server.Running, tmp_path: Path) -> None:
    acts = ["429", "500", "broken", "cut", "prose", "empty", "extra", "missing"]
    server.control(known=KNOWN, script=acts)
    first = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD, RECORD))
    row = first.to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
    assert row["examination_cn"] == EXAMINATION
    assert checks_of(row, "present_illness") == ("openai:m-1", [])
    stats = server.stats()
    assert stats["requests"] == len(acts) + 1
    assert stats["delivered"] == {EXAMINATION: 1, ILLNESS: 1}
    again = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD, RECORD))
    assert server.stats()["requests"] == stats["requests"]
    assert again.equals(first)
    assert llm_server.KEY not in "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".json"]


def test_what_is_sent(server: llm_server.Running, tmp_path: Path) -> None:
    make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD | {"management": MANAGEMENT}))
    (body,) = server.stats()["bodies"]
    assert (body["model"], body["temperature"]) == ("m-1", 0)
    assert json.loads(body["messages"][1]["content"]) == {"t1": ILLNESS, "t2": EXAMINATION, "t3": MANAGEMENT}
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["required"] == ["t1", "t2", "t3"]
    assert schema["schema"]["additionalProperties"] is False
    assert "深龋 = deep caries" in body["messages"][0]["content"]
    assert "牙周炎 = " not in body["messages"][0]["content"]  # a term that no text needs


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ('{"t1": "a", "t2": "b"}', {"t1": "a", "t2": "b"}),
        ('{"t1": "a", "t2": 7}', {"t1": "a"}),
        ('```json\n{"t1": "a"}\n```', {"t1": "a"}),
        ('<think>{"t1": "?"}</think>\n{"t1": "a"}', {"t1": "a"}),
        ('{"t1": "a", "t9": "b"}', None),
        ('["a", "b"]', None),
        ("Sure! {", None),
        ("[" * 100_000, None),
    ],
)
def test_answers_are_read_as_far_as_they_have_the_form(content: str, read: dict[str, str] | None) -> None:
    assert read_answer(content, ["t1", "t2"]) == read


def test_only_new_text_is_asked_for(server: llm_server.Running, tmp_path: Path) -> None:
    make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD))
    make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD | {"management": MANAGEMENT}))
    assert json.loads(server.stats()["bodies"][1]["messages"][1]["content"]) == {"t1": MANAGEMENT}


def test_a_text_of_many_visits_is_asked_for_once_also_while_it_is_under_way(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known=KNOWN, latency_s=0.2)
    options = settings(server, texts_per_request=1)
    tables = [table(*[RECORD] * 5) for _ in range(5)]
    counts = fill(options, AnswerCache(tmp_path), lambda: tables, 5).to_pylist()[0]
    assert (counts["texts"], counts["answered"]) == (2, 2)
    assert server.stats()["delivered"] == {EXAMINATION: 1, ILLNESS: 1}


def test_a_failed_check_is_named_in_one_retry(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known=KNOWN, script=["wrong"])
    row = make_translator(settings(server), AnswerCache(tmp_path))(table({"examination": EXAMINATION})).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
    assert checks_of(row, "examination")[1] == []
    bodies = server.stats()["bodies"]
    assert len(bodies) == 2
    assert "t1: fdi_changed (a tooth number was changed" in bodies[1]["messages"][2]["content"]


def test_what_fails_its_checks_twice_stays_chinese_is_marked_and_not_paid_for_again(
    server: llm_server.Running, tmp_path: Path
) -> None:
    server.control(known=KNOWN, wrong=[EXAMINATION])
    for _ in range(2):
        row = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD)).to_pylist()[0]
        assert row["status"] == "ok"
        assert row["examination"] == row["examination_cn"] == EXAMINATION
        assert checks_of(row, "examination")[1] == ["needs_review", "fdi_changed"]
        assert row["present_illness"] == KNOWN[ILLNESS]
        assert server.stats()["requests"] == 2


def test_a_kill_between_an_answer_and_its_retry_costs_no_answer(server: llm_server.Running, tmp_path: Path) -> None:
    options, cache = settings(server), AnswerCache(tmp_path)
    cache.put(key_of(options, EXAMINATION), "17 deep caries, PD 3 mm", tries=1)
    row = make_translator(options, cache)(table({"examination": EXAMINATION})).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
    (body,) = server.stats()["bodies"]
    assert "fdi_changed" in body["messages"][2]["content"]


def test_a_refusal_is_asked_alone_once_more_noted_and_never_kept(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known=KNOWN, refuse=[EXAMINATION])
    row = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD)).to_pylist()[0]
    assert row["examination"] == EXAMINATION
    assert checks_of(row, "examination")[1] == ["needs_review", "refusal"]
    assert row["present_illness"] == KNOWN[ILLNESS]
    assert server.stats()["requests"] == 4  # both, each alone, the refused one again
    server.control(known=KNOWN)
    row = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD)).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
    assert server.stats()["requests"] == 1


def test_a_text_that_breaks_the_server_stops_nobody_else(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known=KNOWN, poison=[EXAMINATION])
    options = settings(server, max_retries=2)
    row = make_translator(options, AnswerCache(tmp_path))(table(RECORD | {"management": MANAGEMENT})).to_pylist()[0]
    assert checks_of(row, "examination")[1] == ["needs_review", "http_500"]
    assert (row["present_illness"], row["management"]) == (KNOWN[ILLNESS], KNOWN[MANAGEMENT])


def test_a_dead_server_ends_the_run_and_marks_nothing(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known=KNOWN, shares={"503": 1.0})
    with pytest.raises(ValueError, match=r"gives no answer \(http_503, 3 attempts\).*the same command") as caught:
        make_translator(settings(server, max_retries=2), AnswerCache(tmp_path))(table(RECORD))
    assert EXAMINATION not in str(caught.value)
    server.control(known=KNOWN)
    row = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD)).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]


def test_nobody_at_the_address_is_said(server: llm_server.Running, tmp_path: Path) -> None:
    options = settings(server, base_url="http://127.0.0.1:9/v1", max_retries=1)
    with pytest.raises(ValueError, match=r"gives no answer \(connection"):
        make_translator(options, AnswerCache(tmp_path))(table(RECORD))


@pytest.mark.parametrize("simpler", ["json_object", "none"])
def test_a_server_without_schemas_is_asked_more_simply(server: llm_server.Running, tmp_path: Path, simpler: str) -> None:
    supported = {"json_object": ["json_object", "none"], "none": ["none"]}[simpler]
    server.control(known=KNOWN, structures=supported)
    row = make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD)).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
    assert server.stats()["bodies"][-1].get("response_format", {"type": "none"})["type"] == simpler
    server.control(known=KNOWN, structures=supported)
    with pytest.raises(ValueError, match="answered 400"):
        make_translator(settings(server, structured="json_schema"), AnswerCache(tmp_path / "new"))(table(RECORD))


def test_text_with_an_identifier_is_never_sent(server: llm_server.Running, tmp_path: Path) -> None:
    doubtful = {"remarks": "电话13812345678", "examination": EXAMINATION}
    rows = make_translator(settings(server), AnswerCache(tmp_path))(table(doubtful, {"management": MANAGEMENT})).to_pylist()
    assert (rows[0]["status"], rows[0]["reject_reason"]) == ("rejected", "translate:identifier")
    bodies = server.stats()["bodies"]
    assert [json.loads(body["messages"][1]["content"]) for body in bodies] == [{"t1": MANAGEMENT}]
    assert "13812345678" not in json.dumps([rows[0], *bodies])
    assert rows[1]["management"] == "Scaling"


def test_the_call_itself_looks_again(server: llm_server.Running, tmp_path: Path) -> None:
    """Whoever hands a text to the part that sends: what holds an identifier stays here."""
    from codelib.data.translate_budget import open_budget
    from codelib.data.translate_texts import Counts

    options, cache, counts = settings(server), AnswerCache(tmp_path), Counts()

    async def run() -> None:
        online = Online(options, cache, counts, open_budget(options, cache.store))
        await online.run([[Text("a" * 64, "电话13812345678"), Text("b" * 64, MANAGEMENT)]])

    asyncio.run(run())
    assert [json.loads(b["messages"][1]["content"]) for b in server.stats()["bodies"]] == [{"t1": MANAGEMENT}]
    kept = cache.get("a" * 64)
    assert kept is not None and kept.failed == ("identifier",)


def test_an_answer_with_an_identifier_is_not_kept(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known={MANAGEMENT: "Scaling, see a.b@example.com"})
    row = make_translator(settings(server), AnswerCache(tmp_path))(table({"management": MANAGEMENT})).to_pylist()[0]
    assert row["management"] == MANAGEMENT
    assert "identifier" in checks_of(row, "management")[1]
    assert "example.com" not in "".join(p.read_text() for p in tmp_path.rglob("*.json"))


def test_a_wrong_or_missing_key_is_one_clear_sentence_without_the_key(
    server: llm_server.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnswerCache(tmp_path)
    monkeypatch.setenv("TEST_KEY", "sk-wrong")
    with pytest.raises(ValueError, match="answered 401; check base_url, model and the key in TEST_KEY") as caught:
        make_translator(settings(server), cache)(table({"management": MANAGEMENT}))
    assert "sk-wrong" not in str(caught.value)
    assert server.stats()["acts"] == {"401": 1}
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ValueError, match="TEST_KEY is not set"):
        make_translator(settings(server), cache)(table({"management": MANAGEMENT}))


def test_an_account_without_credit_ends_the_run(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(known=KNOWN, shares={"quota": 1.0})
    with pytest.raises(ValueError, match="no credit left"):
        make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD))
    assert server.stats()["requests"] == 1


def test_azure_is_asked_by_deployment_and_must_answer_with_the_snapshot(server: llm_server.Running, tmp_path: Path) -> None:
    endpoint = server.url.removesuffix("/v1")
    options = settings(server, base_url=endpoint, azure_deployment="dental", model="gpt-4o-2024-11-20")
    server.control(known=KNOWN, model="gpt-4o-2024-11-20")
    row = make_translator(options, AnswerCache(tmp_path))(table(RECORD)).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
    assert checks_of(row, "examination") == ("openai:gpt-4o-2024-11-20", [])
    server.control(known=KNOWN, model="gpt-4o-2024-05-13")
    with pytest.raises(ValueError, match="answers with 'gpt-4o-2024-05-13'"):
        make_translator(options, AnswerCache(tmp_path / "new"))(table(RECORD))


def test_nothing_of_a_record_is_logged(
    server: llm_server.Running, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.control(known=KNOWN, script=["500", "429", "broken", "cut", "wrong"])
    make_translator(settings(server), AnswerCache(tmp_path))(table(RECORD))
    said = caplog.text + "".join(capfd.readouterr())
    assert all(word not in said for word in ("深龋", "deep caries", "疼痛", llm_server.KEY))


# budget


def test_a_budget_ends_the_run_keeps_what_came_and_goes_on_when_it_is_raised(server: llm_server.Running, tmp_path: Path) -> None:
    made = many(0, 200)
    options = settings(server, budget_tokens=12_000, concurrency=4)
    with pytest.raises(ValueError, match=r"translate.budget_tokens=12000 is reached: .*the same command"):
        fill(options, AnswerCache(tmp_path), lambda: [made], 1)
    paid = server.stats()["delivered"]
    assert 0 < len(paid) < 200
    assert len(list(tmp_path.glob("??/*.json"))) == len(paid)
    assert 6_000 < spent_before(Store(str(tmp_path))).tokens <= 12_000
    with pytest.raises(ValueError, match="is reached"):  # not another budget for every start
        fill(options, AnswerCache(tmp_path), lambda: [made], 1)
    fill(options.model_copy(update={"budget_tokens": None}), AnswerCache(tmp_path), lambda: [made], 1)
    assert set(server.stats()["delivered"].values()) == {1}
    assert len(server.stats()["delivered"]) == 200


def test_a_budget_in_money_needs_a_price(server: llm_server.Running, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no price is known for m-1"):
        fill(settings(server, budget_usd=1), AnswerCache(tmp_path), lambda: [table(RECORD)], 1)
    options = settings(server, budget_usd=1, usd_per_million_input=2.5, usd_per_million_output=10)
    counts = fill(options, AnswerCache(tmp_path), lambda: [table(RECORD)], 1).to_pylist()[0]
    assert counts["usd"] == pytest.approx((2.5 * counts["input_tokens"] + 10 * counts["output_tokens"]) / 1e6, abs=1e-6)


# kill -9

TRANSLATING = """
import sys
import pyarrow as pa
from codelib.contracts import TEXT_FIELDS
from codelib.data.translate import AnswerCache, TranslateSettings
from codelib.data.translate_fill import fill
from tests.llm_server import chinese
options = TranslateSettings(engine="openai", base_url=sys.argv[1], model="m-1", key_env="TEST_KEY", concurrency=8)
rows = [dict.fromkeys(TEXT_FIELDS, "") | {"examination": chinese(i), "status": "ok"} for i in range(400)]
fill(options, AnswerCache(sys.argv[2]), lambda: [pa.Table.from_pylist(rows)], 1)
"""


def test_a_kill_costs_what_is_under_way_and_no_answer_that_came(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(latency_s=0.1, shares={"429": 0.1, "500": 0.1})
    command = [sys.executable, "-c", TRANSLATING, server.url, str(tmp_path)]
    for enough in (100, 250):
        process = subprocess.Popen(command)
        while sum(1 for _ in tmp_path.glob("??/*.json")) < enough:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {path.stem for path in tmp_path.glob("??/*.json")}
    before = server.stats()["delivered"]
    subprocess.run(command, check=True)
    after = server.stats()["delivered"]
    again = {key_of(settings(server), text) for text, n in after.items() if n > before.get(text, 0)}
    assert len(after) == 400
    assert not again & kept  # what was on disk is not asked for
    assert sum(after.values()) - 400 <= 2 * 8 * 8  # two kills, 8 requests under way, 8 texts in each


# the plan


def test_the_plan_says_what_it_knows_and_what_not(server: llm_server.Running, tmp_path: Path) -> None:
    public = Store(str(tmp_path))
    assert cost_lines(TranslateSettings(), public, True) == []
    options = TranslateSettings(engine="openai", budget_usd=5)
    (first, second) = cost_lines(options, public, True)
    assert "not known yet" in first
    assert "1,000 visits of 500 Chinese characters are about" in second and "prices of 20" in second
    stage = Stage("deidentified", 1, DEIDENTIFIED)
    key = stage.key(Work())
    public.commit_table(f"stages/deidentified/{key}.parquet", table(RECORD, RECORD, {"remarks": MANAGEMENT}))
    part = {"key": key, "rows": 3, "counts": {"ok": 3}, "drop": []}
    public.commit_json("stages/deidentified/manifest.json", {"parts": [part]})
    lines = "\n".join(cost_lines(options, public, False))
    assert "3 distinct texts, 0 answered already, 3 to ask (27 characters, 1 requests)" in lines
    assert "the least it costs" in lines and "Budget: 5 USD" in lines and "0.00 USD" in lines
    assert server.stats()["requests"] == 0
    cache = AnswerCache(tmp_path / "cache" / "translations")
    for text, english in KNOWN.items():
        cache.put(key_of(options, text), english)
    assert "nothing to pay" in cost_lines(options, public, True)[0]


# the cache


def test_a_damaged_cache_file_is_asked_for_again(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    key = cache.key("m", "p", "牙痛")
    cache.put(key, "toothache")
    kept = cache.get(key)
    assert kept is not None and kept.english == "toothache"
    for damage in ('{"engl', "[]", '{"english": 7}', '{"english": " "}', "{}"):
        next(tmp_path.rglob("*.json")).write_text(damage)
        assert cache.get(key) is None


def test_bilingual_reads_the_cache_and_asks_nobody(server: llm_server.Running, tmp_path: Path) -> None:
    options, cache = settings(server), AnswerCache(tmp_path)
    with pytest.raises(ValueError, match="lacks an answer"):
        make_bilingual(options, cache)(table(RECORD))
    fill(options, cache, lambda: [table(RECORD)], 1)
    asked = server.stats()["requests"]
    assert make_bilingual(options, cache)(table(RECORD)).to_pylist()[0]["examination"] == KNOWN[EXAMINATION]
    assert server.stats()["requests"] == asked == 1


def test_the_cache_lies_anywhere(server: llm_server.Running) -> None:
    cache = AnswerCache(Store("memory://answers"))
    row = make_translator(settings(server), cache)(table(RECORD)).to_pylist()[0]
    assert row["examination"] == KNOWN[EXAMINATION]
