"""The engine that asks a server, against a real one that does everything a server should not."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.core.shared import Shared
from codelib.core.store import Store
from codelib.models import remote_desk
from codelib.models.conversation import Conversation, Message
from codelib.models.engine import Answer, Decoding, Request, answer_all
from codelib.models.openai_engine import OpenAIEngine
from codelib.models.remote_asking import Said
from codelib.models.remote_budget import spent_before
from codelib.models.remote_desk import Access, Desk, Line, NoMore, open_desk
from codelib.models.remote_prices import Price
from codelib.models.remote_settings import RemoteSettings, ServerFields, is_outside
from tests import chat_server

SECRET = "Zhulian"  # stands in every prompt, and nowhere else


@pytest.fixture
def server() -> Iterator[chat_server.Running]:
    with chat_server.started() as running:
        yield running


def request(text: str, **fields: object) -> Request:
    return Request(Conversation("s/1", (Message("user", f"{text} {SECRET}"),), ()), 50, **fields)  # type: ignore[arg-type]


def acts(*each: str) -> list[Request]:
    """One request for each, `word<n>`, whose server acts like that."""
    return [
        Request(Conversation(f"s/{n}", (Message("user", f"word{n} {SECRET} do: {act}"),), ()), 50) for n, act in enumerate(each)
    ]


def engine(server: chat_server.Running, **options: object) -> OpenAIEngine:
    return OpenAIEngine("m", base_url=server.url, **{"max_retries": 2, "backoff_s": 0.01, **options})  # type: ignore[arg-type]


def told(answers: list[Answer]) -> list[str]:
    return [answer.error or answer.text for answer in answers]


# what one request meets stays with it


@pytest.mark.parametrize(
    ("act", "error", "attempts"),
    [
        ("429:0.01 answer", None, 2),
        ("500 503 answer", None, 3),
        ("half answer", None, 2),
        ("garbage answer", None, 2),
        ("html answer", None, 2),
        ("nothing answer", None, 2),
        ("null answer", None, 2),
        ("deep answer", None, 2),
        ("parts answer", None, 2),
        ("newer", None, 2),
        ("strict", None, 2),
        ("500", "InternalServerError", 3),
        ("half", "APIConnectionError", 3),
        ("garbage", "BadReply", 3),
        ("html", "BadReply", 3),
        ("nothing", "BadReply", 3),
        ("null", "BadReply", 3),
        ("deep", "BadReply", 3),
        ("parts", "BadReply", 3),
        ("filter", "ContentFilter", 1),
        ("refuse", "ContentFilter", 1),
        ("filter400", "ContentFilter", 1),
        ("context", "ContextTooLong", 1),
        ("400", "BadRequestError", 1),
    ],
)
def test_trouble_is_repeated_where_that_may_help_and_stays_with_its_request(
    server: chat_server.Running, act: str, error: str | None, attempts: int
) -> None:
    bad, good = answer_all(engine(server, concurrency=1), acts(act, "answer"))
    assert told([bad, good]) == [error or "word0", "word1"]
    assert server.asked[f"word0 {SECRET} do: {act}"] == attempts
    assert (good.prompt_tokens, good.completion_tokens, good.cut) == (7, 3, False)
    assert bad.text == ("" if error else "word0")


def test_an_empty_answer_is_an_answer_and_a_cut_one_says_so(server: chat_server.Running) -> None:
    blank, long = answer_all(engine(server), acts("blank", "long"))
    assert (blank.text, blank.error, blank.cut) == ("", None, False)
    assert (long.text, long.error, long.cut) == ("word1", None, True)


def test_answers_come_as_they_are_finished_each_once(server: chat_server.Running) -> None:
    came = list(engine(server, concurrency=8).stream(acts("answer", "last:8", *["answer"] * 6)))
    assert sorted(index for index, _ in came) == list(range(8))
    assert came[-1][0] == 1
    assert all(answer.text == f"word{index}" for index, answer in came)


def test_no_more_are_under_way_than_said(server: chat_server.Running) -> None:
    assert told(answer_all(engine(server, concurrency=3), acts(*["late"] * 9))) == [f"word{n}" for n in range(9)]
    assert server.most_under_way == 3


def test_a_server_that_drips_is_given_up(server: chat_server.Running) -> None:
    """The client's own time limit starts anew with every byte."""
    slow, good = answer_all(engine(server, timeout_s=2, max_retries=1, concurrency=1), acts("drip", "answer"))
    assert told([slow, good]) == ["APITimeoutError", "word1"]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ('{"prompt_tokens":-5,"completion_tokens":"many"}', (0, 0)),
        ('{"prompt_tokens":true,"completion_tokens":2.5}', (0, 0)),
        ("[1,2]", (0, 0)),
        ('{"prompt_tokens":12}', (12, 0)),
        ('"none"', (0, 0)),
        (f'{{"prompt_tokens":{10**30},"completion_tokens":{2**31}}}', (0, 0)),
    ],
)
def test_a_wrong_usage_costs_what_was_guessed(server: chat_server.Running, usage: str, counted: tuple[int, int]) -> None:
    fields = ServerFields(base_url=server.url, usd_per_million_input=1e6, usd_per_million_output=0)
    [answer] = answer_all(OpenAIEngine("m", fields=fields), acts(f"usage:{usage}"))
    assert (answer.text, answer.error) == ("word0", None)
    assert (answer.prompt_tokens, answer.completion_tokens) == counted
    assert answer.usd is not None and answer.usd > 0


# what no request gets past ends the asking


@pytest.mark.parametrize(
    ("act", "error"),
    [("401", "AuthenticationError"), ("403", "PermissionDeniedError"), ("404", "NotFoundError"), ("quota", "NoCredit")],
)
def test_what_nobody_gets_past_is_met_once(server: chat_server.Running, act: str, error: str) -> None:
    assert told(answer_all(engine(server, concurrency=1), acts(*[act] * 20))) == [error] * 20
    assert server.num_requests == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_is_sent_on_to_another_address(server: chat_server.Running, status: int) -> None:
    """With 307 and 308 the client would take the prompt along, to wherever a portal points."""
    answers = answer_all(engine(server, concurrency=1), acts(f"moved:{status}", "answer"))
    assert told(answers) == ["Redirected"] * 2
    assert len(server.paths) == 1


def test_a_lora_module_that_is_not_there_takes_no_other_down(server: chat_server.Running) -> None:
    missing = [Request(one.prompt, 5, adapter="missing") for one in acts(*["404"] * 5)]
    assert told(answer_all(engine(server, concurrency=1), [*missing, *acts("answer", "answer")])) == [
        *["NotFoundError"] * 5,
        "word0",
        "word1",
    ]
    assert server.num_requests == 3


def test_a_dead_server_is_given_up_and_found_again(server: chat_server.Running) -> None:
    asking = engine(server, concurrency=2, max_retries=1)
    server.answer = lambda body: {"choices": "none"}
    assert set(told(answer_all(asking, acts(*["answer"] * 20)))) == {"BadReply"}
    before = server.num_requests
    assert set(told(answer_all(asking, acts(*["answer"] * 20)))) == {"BadReply"}
    assert server.num_requests == before + 1, "one harmless word shows that it is still dead"
    server.answer = None
    assert told(answer_all(asking, acts("answer", "answer"))) == ["word0", "word1"]


def test_a_text_that_the_server_cannot_do_does_not_take_it_for_dead(server: chat_server.Running) -> None:
    assert told(answer_all(engine(server, concurrency=1), acts("500", "500", "answer"))) == [
        "InternalServerError",
        "InternalServerError",
        "word2",
    ]


def test_nobody_who_stops_listening_leaves_a_thread_behind(server: chat_server.Running) -> None:
    stream = engine(server, concurrency=4).stream(acts("answer", *["drip"] * 8))
    next(stream)
    assert any(thread.name == "openai-engine" for thread in threading.enumerate())
    stream.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "openai-engine" for thread in threading.enumerate())


# nothing of a text is anywhere


def test_no_text_is_in_logs_or_answers(
    server: chat_server.Running,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    each = ("500", "garbage", "html", "null", "filter400", "context", "400", "refuse", 'usage:{"prompt_tokens":"x"}')
    answers = answer_all(engine(server, max_retries=0), acts(*each))
    answers += answer_all(engine(server), acts("401"))
    printed = capfd.readouterr()
    seen = caplog.text + printed.out + printed.err + repr([(a.error, a.text) for a in answers])
    assert SECRET not in seen
    assert "trouble with" not in seen and "Sign in" not in seen


# how it is asked


def test_decoding_and_lora_module_are_passed_on(server: chat_server.Running) -> None:
    decoding = Decoding(temperature=0.7, top_p=0.9, seed=5, repetition_penalty=1.1)
    answer_all(engine(server), [request("hello", adapter="sft-3b", decoding=decoding)])
    [body] = server.bodies
    assert {name: body[name] for name in ("model", "temperature", "top_p", "seed", "repetition_penalty", "max_tokens")} == {
        "model": "sft-3b",
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 5,
        "repetition_penalty": 1.1,
        "max_tokens": 50,
    }
    answer_all(engine(server), [request("hello")])
    assert (server.bodies[-1]["model"], server.bodies[-1]["temperature"]) == ("m", 0.0)
    assert server.bodies[-1]["repetition_penalty"] == 1.0, "what is left out a server may take from the model's own configuration"


def test_choices_are_not_weighed(server: chat_server.Running) -> None:
    [answer] = answer_all(engine(server), [request("hello", choices=("a", "b"))])
    assert (answer.text, answer.log_likelihoods) == ("hello", ())


def test_azure_is_asked_by_deployment_and_must_answer_with_the_snapshot(
    server: chat_server.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = server.url.removesuffix("/v1")
    fields = ServerFields(base_url=endpoint, azure_deployment="ours", api_key_env="AZURE_KEY")
    with pytest.raises(ValueError, match="AZURE_KEY is not set"):
        OpenAIEngine("gpt-4o-2024-11-20", fields=fields)
    monkeypatch.setenv("AZURE_KEY", "k-1")
    asking = OpenAIEngine("gpt-4o-2024-11-20", fields=fields)
    good, other = (answer_all(asking, acts(f"model:{model}"))[0] for model in ("gpt-4o-2024-11-20", "gpt-4o-2024-05-13"))
    assert told([good, other]) == ["word0", "WrongSnapshot"]
    assert server.paths[0] == "/openai/deployments/ours/chat/completions?api-version=2024-10-21"
    assert server.headers[0]["api-key"] == "k-1"
    assert "repetition_penalty" not in server.bodies[0]
    penalised = Request(request("hello").prompt, 5, decoding=Decoding(repetition_penalty=1.2))
    assert told(answer_all(asking, [penalised])) == ["UnsupportedDecoding"]
    assert good.usd == pytest.approx((7 * 2.5 + 3 * 10) / 1e6)


@pytest.mark.parametrize(
    ("asked", "said", "fits"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", True),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", False),
    ],
)
def test_an_alias_is_answered_by_a_snapshot_of_its_own(
    server: chat_server.Running, monkeypatch: pytest.MonkeyPatch, asked: str, said: str, fits: bool
) -> None:
    monkeypatch.setenv("AZURE_KEY", "k-1")
    fields = ServerFields(base_url=server.url.removesuffix("/v1"), azure_deployment="ours", api_key_env="AZURE_KEY")
    [answer] = answer_all(OpenAIEngine(asked, fields=fields), acts(f"model:{said}"))
    assert answer.error == (None if fits else "WrongSnapshot")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"base_url": "host:8000"}, "not an address"),
        ({"base_url": "http://"}, "not an address"),
        ({"base_url": "http://me:secret@host/v1"}, "password stands in the address"),
        ({"azure_deployment": "x"}, "needs base_url"),
        ({"azure_api_version": "2024-01-01"}, "is for azure_deployment"),
        ({"usd_per_million_input": 1.0}, "or neither"),
    ],
)
def test_fields_that_do_not_fit_are_named(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ServerFields(**fields)


# what leaves the house


@pytest.mark.parametrize(
    ("url", "outside"),
    [
        ("https://api.openai.com/v1", True),
        ("https://x.openai.azure.com", True),
        ("http://8.8.8.8/v1", True),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.1:1/v1", False),
        ("http://[::1]:1/v1", False),
        ("http://10.0.0.7:1/v1", False),
        ("http://gpu01:8000/v1", False),
        ("http://vllm.default.svc.cluster.local:8000/v1", False),
        ("http://llm.hospital.example/v1", True),
        ("http://134744072/v1", True),
        ("api.example.com/v1", True),
    ],
)
def test_what_is_outside(url: str, outside: bool) -> None:
    assert is_outside(url) is outside


@pytest.fixture
def service(server: chat_server.Running, monkeypatch: pytest.MonkeyPatch) -> chat_server.Running:
    """The server under a public name, by way of a proxy."""
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SERVICE_KEY", "k")
    return server


def _phone(text: str) -> str | None:
    return "PHONE" if "138" in text else None


def test_nothing_goes_outside_unscanned_and_an_identifier_stays(service: chat_server.Running, tmp_path: Path) -> None:
    fields = ServerFields(base_url="http://llm.service.example/v1", api_key_env="SERVICE_KEY")
    both = [request("fine"), request("call 13812345678")]
    assert told(answer_all(OpenAIEngine("m", fields=fields), both)) == ["NotScanned", "NotScanned"]
    assert service.num_requests == 0
    access = Access(open_desk(RemoteSettings(), Store(str(tmp_path))), RemoteSettings(), _phone)
    assert told(answer_all(OpenAIEngine("m", fields=fields, access=access), both)) == ["fine", "IdentifierFound"]
    assert service.num_requests == 1
    assert "13812345678" not in json.dumps(service.bodies)


# budget and limiter of the whole run


def priced(server: chat_server.Running, desk: Shared, **options: object) -> OpenAIEngine:
    """A dollar for each token that is made, none for what is sent."""
    fields = ServerFields(base_url=server.url, usd_per_million_input=0, usd_per_million_output=1e6)
    return OpenAIEngine("m", fields=fields, access=Access(desk, RemoteSettings(backoff_s=0.01)), **options)  # type: ignore[arg-type]


def test_the_budget_is_never_exceeded_and_goes_on_when_raised(server: chat_server.Running, tmp_path: Path) -> None:
    """Each answer takes 3 of the 50 tokens that it may take: the last ones wait for what is under way."""
    desk = open_desk(RemoteSettings(budget_usd=100), Store(str(tmp_path)))
    answers = answer_all(priced(server, desk, concurrency=8), acts(*["answer"] * 30))
    made = [answer for answer in answers if answer.error is None]
    assert {answer.error for answer in answers} == {None, "BudgetReached"}
    assert 50 < sum(answer.usd or 0 for answer in made) == 3 * len(made) <= 100
    assert server.num_requests == len(made) == 17  # with 51 spent, another 50 do not fit
    spent = desk.call_and_wait("close")
    assert (spent.usd, spent.requests) == (51, 17)
    assert spent_before(Store(str(tmp_path))) == spent
    # another run in the same workspace has nothing left; with more it goes on
    again = open_desk(RemoteSettings(budget_usd=100), Store(str(tmp_path)))
    assert set(told(answer_all(priced(server, again), acts("answer")))) == {"BudgetReached"}
    more = open_desk(RemoteSettings(budget_usd=150), Store(str(tmp_path)))
    assert told(answer_all(priced(server, more), acts("answer"))) == ["word0"]


@settings(max_examples=4, deadline=None)
@given(limit=st.integers(60, 200), concurrency=st.integers(1, 12), engines=st.integers(1, 3))
def test_many_engines_share_one_budget(
    tmp_path_factory: pytest.TempPathFactory, limit: int, concurrency: int, engines: int
) -> None:
    with chat_server.started() as server:
        desk = open_desk(RemoteSettings(budget_usd=limit), Store(str(tmp_path_factory.mktemp("books"))))
        results: list[list[Answer]] = []
        threads = [
            threading.Thread(
                target=lambda: results.append(answer_all(priced(server, desk, concurrency=concurrency), acts(*["answer"] * 25)))
            )
            for _ in range(engines)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        paid = sum(answer.usd or 0 for answers in results for answer in answers)
        asked = 3 * server.num_requests
        assert paid == asked <= limit
        assert asked + 50 > limit or server.num_requests == 25 * engines


def test_a_full_disk_of_the_books_loses_no_answer_and_asks_no_more(
    server: chat_server.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store, name: str, value: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "commit_json", full)
    desk = open_desk(RemoteSettings(budget_usd=1000), Store(str(tmp_path)))
    answers = answer_all(priced(server, desk, concurrency=1), acts(*["answer"] * 5))
    assert told(answers) == ["word0", *["BudgetReached"] * 4]
    assert server.num_requests == 1
    with pytest.raises(OSError, match="No space") as caught:  # the job's last sentence
        desk.call_and_wait("close")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert desk.call_and_wait("close").usd == 3
    assert spent_before(Store(str(tmp_path))).usd == 3


@pytest.mark.parametrize("content", ["", "[]", '{"eur": 1}'])
def test_books_that_cannot_be_read_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "spent").mkdir()
    (tmp_path / "spent" / "1.json").write_text(content)
    with pytest.raises(ValueError, match=r"spent/1\.json: does not say what a run has spent; restore it"):
        spent_before(Store(str(tmp_path)))


def test_engines_share_one_limiter(server: chat_server.Running, tmp_path: Path) -> None:
    """600 a minute are one in 0.1 s, however many engines ask."""
    desk = open_desk(RemoteSettings(requests_per_minute=600), Store(str(tmp_path)))
    began = time.monotonic()
    threads = [
        threading.Thread(target=lambda: answer_all(priced(server, desk, concurrency=8), acts(*["answer"] * 6))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.num_requests == 18
    assert time.monotonic() - began > 1.5  # 17 waits of 0.1 s, less a first burst


def test_what_a_dead_worker_held_lapses_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_desk, "_LOOK_EVERY_S", 0.05)
    now_s = [0.0]
    line = Line("http://h/v1", "m", Price(0, 1e6, "here"), timeout_s=1.0)

    async def run() -> None:
        desk = Desk(RemoteSettings(budget_usd=100), Store(str(tmp_path)), clock=lambda: now_s[0])
        first = await desk.enter("dead", line, (1.0, 60.0), 60)
        assert isinstance(first, str)
        waiting = asyncio.ensure_future(desk.enter("alive", line, (1.0, 60.0), 60))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        now_s[0] = 100.0
        assert isinstance(await waiting, NoMore), "60 count as spent: another 60 do not fit"
        await desk.leave(line, first, (1.0, 60.0), Said(used=(1.0, 3.0)))  # it was only slow: not counted twice
        assert (await desk.close()).usd == 60

    asyncio.run(run())
