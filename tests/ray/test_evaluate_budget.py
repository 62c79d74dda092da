"""jobs.evaluate under a budget and a rate limit: several actors, one desk."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray

from codelib.core.cli import run_job
from codelib.core.store import Store
from codelib.models.remote_asking import Said
from codelib.models.remote_budget import spent_before
from codelib.models.remote_desk import Line, NoMore, open_desk
from codelib.models.remote_prices import Price
from codelib.models.remote_settings import RemoteSettings
from jobs.evaluate import main
from tests import chat_server
from tests.chat_server import Body, completion
from tests.fixtures import make_release

pytestmark = pytest.mark.ray

# three dollars an answer of the 10 that it may cost
VARIANT = """
- name: paid
  engine: openai
  model: m
  base_url: URL
  usd_per_million_input: 0
  usd_per_million_output: 1.0e+6
  max_new_tokens: 10
  benchmarks: [generation]
  batch_size: 3
"""


def _process(actor: Any) -> int:
    return int(ray.get(actor.__ray_call__.remote(lambda held: os.getpid())))


def test_the_desk_comes_back_where_its_process_is_lost(tmp_path: Path, cluster: object) -> None:
    books, line = Store(str(tmp_path)), Line("http://h/v1", "m", Price(0, 1e6, "here"), 60.0)
    desk = open_desk(RemoteSettings(budget_usd=100), books)
    first = desk.call_and_wait("enter", "client", line, (1.0, 40.0), 40)
    desk.call_and_wait("leave", line, first, (1.0, 40.0), Said(used=(1.0, 30.0)))
    held = desk.call_and_wait("enter", "client", line, (1.0, 40.0), 40)
    actor = desk._host._actor
    lives_in = _process(actor)
    os.kill(lives_in, signal.SIGKILL)
    while _process(actor) == lives_in:
        time.sleep(0.1)
    # its books are read again, and an answer under way is counted by whoever brings it
    desk.call_and_wait("leave", line, held, (1.0, 40.0), Said(used=(1.0, 20.0)))
    assert isinstance(desk.call_and_wait("enter", "client", line, (1.0, 60.0), 60), NoMore)
    assert isinstance(desk.call_and_wait("enter", "client", line, (1.0, 40.0), 40), str)
    desk.call_and_wait("close")
    assert spent_before(books).usd == 50


def test_what_a_desk_raises_is_an_error_of_this_process(tmp_path: Path, cluster: object) -> None:
    """Ray's own class for it has no errno, by which a full disk is told."""
    desk = open_desk(RemoteSettings(), Store(str(tmp_path)))
    line = Line("http://h/v1", "m", None, 60.0)
    ticket = desk.call_and_wait("enter", "client", line, (1.0, 40.0), 40)
    (tmp_path / "spent").write_text("a file in the way")
    with pytest.raises(FileExistsError) as caught:
        desk.call_and_wait("leave", line, ticket, (1.0, 40.0), Said(used=(1.0, 30.0)))
    assert caught.value.errno == errno.EEXIST


def test_a_budget_holds_over_all_actors_and_the_run_goes_on_when_it_is_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cluster: object
) -> None:
    folder = make_release(tmp_path / "release", visits=48)
    (folder / "test-diagnostic.json").write_bytes((folder / "test-cls.json").read_bytes())
    asked: Counter[str] = Counter()

    def answer(body: Body) -> Body:
        asked[json.dumps(body["messages"])] += 1
        return completion(body, "A red disc.")

    with chat_server.started(answer) as server:
        (tmp_path / "variants.yaml").write_text(VARIANT.replace("URL", server.url))
        command = ["--dataset", str(folder), "--workspace", str(tmp_path / "work")]
        command += ["--variants", str(tmp_path / "variants.yaml"), "--benchmarks", "generation"]
        command += ["--set", "partition_samples=2", "--set", "num_actors=3"]
        assert run_job(main, [*command, "--set", "budget_usd=30", "--dry-run"]) == 0
        told = capsys.readouterr().out
        assert "paid: 16 requests, about" in told and "at most 160.00 USD" in told
        assert "spent in this workspace so far: 0.00 USD, 0 tokens; budget: budget_usd=30" in told

        assert run_job(main, [*command, "--set", "budget_usd=30"]) == 1
        said = capsys.readouterr().err
        assert "BudgetReached" in said and "budget_usd=30 is reached: " in said
        assert "raise it and run the same command again" in said
        first = server.num_requests
        spent = spent_before(Store(str(tmp_path / "work" / "evaluate")))
        assert spent.usd == 3 * first <= 30 < 3 * first + 10

        assert run_job(main, [*command, "--set", "budget_usd=100"]) == 0
    assert len(asked) == 16 and max(asked.values()) == 1
    assert spent_before(Store(str(tmp_path / "work" / "evaluate"))).usd == 48
    report = json.loads((tmp_path / "work" / "evaluate" / "report" / "report.json").read_text())
    assert report["variants"][0]["status"] == "complete"
