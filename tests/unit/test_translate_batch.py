"""The Batch API against the local server: rounds, kills at every step, budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import TEXT_FIELDS
from codelib.data.translate import AnswerCache, TranslateSettings
from codelib.data.translate_batch import Batches
from codelib.data.translate_fill import fill
from codelib.data.translate_texts import key_of
from codelib.models.remote_budget import spent_before
from tests import llm_server


def table(last: int) -> pa.Table:
    texts = [llm_server.chinese(i) for i in range(last)]
    return pa.Table.from_pylist([dict.fromkeys(TEXT_FIELDS, "") | {"examination": t, "status": "ok"} for t in texts])


def settings(server: llm_server.Running, **changes: Any) -> TranslateSettings:
    given = {"base_url": server.url, "model": "m-1", "transport": "batch", "poll_s": 0.01, "backoff_s": 0.01, "batch_requests": 5}
    return TranslateSettings(engine="openai", **(given | changes))


def run(options: TranslateSettings, folder: Path, last: int = 100) -> dict[str, Any]:
    made = table(last)
    found: dict[str, Any] = fill(options, AnswerCache(folder), lambda: [made], 1).to_pylist()[0]
    return found


def all_right(options: TranslateSettings, folder: Path, last: int = 100) -> bool:
    texts = [llm_server.chinese(i) for i in range(last)]
    kept = [AnswerCache(folder).get(key_of(options, text)) for text in texts]
    return all(k is not None and k.english == llm_server.english(t) for k, t in zip(kept, texts, strict=True))


def test_everything_is_answered_once_and_nothing_stays_on_the_server(server: llm_server.Running, tmp_path: Path) -> None:
    options = settings(server)
    counts = run(options, tmp_path)
    assert (counts["texts"], counts["answered"], counts["needs_review"]) == (100, 100, 0)
    assert all_right(options, tmp_path)
    stats = server.stats()
    assert stats["requests"] == 0  # nothing at full price
    assert set(stats["delivered"].values()) == {1}
    assert (stats["batches"], stats["files"], stats["deleted"]) == (3, 0, 6)  # 13 requests, 5 to a batch
    assert list(tmp_path.glob("batches/*")) == []
    assert counts["input_tokens"] == round(spent_before(AnswerCache(tmp_path).store).input) > 0
    assert run(options, tmp_path)["cached"] == 100
    assert server.stats()["batches"] == 3


def test_lost_lines_and_failed_checks_go_into_the_next_round(server: llm_server.Running, tmp_path: Path) -> None:
    refused, wrong, poison = (llm_server.chinese(i) for i in (3, 20, 50))
    server.control(refuse=[refused], wrong=[wrong], poison=[poison], batch_lost=4, script=["wrong", "prose"])
    options = settings(server)
    counts = run(options, tmp_path)
    cache = AnswerCache(tmp_path)
    known = {
        name: cache.get(key_of(options, text)) for name, text in (("refused", refused), ("wrong", wrong), ("poison", poison))
    }
    assert known["refused"] is not None and known["refused"].failed == ("refusal",)
    assert known["wrong"] is not None and known["wrong"].tries == 2
    assert known["poison"] is not None and known["poison"].failed == ("unanswered",)
    assert counts["answered"] + counts["needs_review"] == 100


@pytest.mark.parametrize("killed_in", ["_open", "_create", "_created", "_await_and_fetch", "_settle_lines", "_forget"])
def test_a_kill_at_any_step_creates_no_batch_twice(
    server: llm_server.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    """The step raises what nothing catches, as a kill would end it: after the server knows, before the disk does."""

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    options = settings(server, batch_requests=50)
    with monkeypatch.context() as patched:
        patched.setattr(Batches, killed_in, die)
        with pytest.raises(Killed):
            run(options, tmp_path)
    assert run(options, tmp_path)["texts"] == 100
    assert all_right(options, tmp_path)
    stats = server.stats()
    assert stats["batches"] == 1
    assert set(stats["delivered"].values()) == {1}
    assert list(tmp_path.glob("batches/*")) == []
    again = spent_before(AnswerCache(tmp_path).store)
    assert again.requests == 13


def test_a_creation_whose_answer_was_cut_off_is_found_by_its_name(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(script=["cut"])
    options = settings(server, batch_requests=50)
    run(options, tmp_path)
    assert all_right(options, tmp_path)
    assert server.stats()["batches"] == 1


def test_an_open_batch_is_fetched_also_by_a_run_without_batches(
    server: llm_server.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Batches, "_await_and_fetch", die)
        with pytest.raises(Killed):
            run(settings(server, batch_requests=50), tmp_path)
    run(settings(server, transport="online"), tmp_path)
    stats = server.stats()
    assert (stats["requests"], set(stats["delivered"].values())) == (0, {1})


def test_a_refused_batch_is_one_sentence(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(batch_status="failed")
    with pytest.raises(ValueError, match=r"batch was refused \(token_limit_exceeded\)"):
        run(settings(server), tmp_path)
    server.control()
    assert run(settings(server), tmp_path)["answered"] == 100


def test_an_expired_batch_is_taken_for_what_it_brought(server: llm_server.Running, tmp_path: Path) -> None:
    server.control(batch_status="expired", batch_lost=3)
    options = settings(server)
    run(options, tmp_path)
    assert all_right(options, tmp_path)
    assert set(server.stats()["delivered"].values()) == {1}


def test_a_budget_sends_what_it_reaches_for(server: llm_server.Running, tmp_path: Path) -> None:
    options = settings(server, budget_tokens=6000)
    with pytest.raises(ValueError, match="is reached"):
        run(options, tmp_path)
    paid = len(server.stats()["delivered"])
    assert 0 < paid < 100
    assert spent_before(AnswerCache(tmp_path).store).tokens <= 6000
    run(options.model_copy(update={"budget_tokens": None}), tmp_path)
    assert all_right(options, tmp_path)
    assert set(server.stats()["delivered"].values()) == {1}


def test_a_server_without_batches_is_said(server: llm_server.Running, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"translate.transport=batch: .* answered 404"):
        run(settings(server, base_url=f"{server.url}/nowhere"), tmp_path)
