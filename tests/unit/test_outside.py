"""What may leave for a server outside, what it will cost, and what is said about an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from codelib.core.store import Store
from codelib.data.identifiers import contains_identifier
from codelib.evaluate.benchmarks import TestSet
from codelib.evaluate.outside import advice, check_servers, cost_lines
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.predictor import Predictor
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Dataset, open_dataset
from codelib.models.prompt import PixelPolicy
from codelib.models.remote_desk import Access, open_desk
from codelib.models.remote_prices import image_tokens, price_of
from tests import chat_server
from tests.fixtures import make_release

GPT = {"name": "gpt", "engine": "openai", "model": "gpt-4o-2024-11-20", "benchmarks": ["generation"]}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """With sums of all that is in it, as a build leaves them."""
    folder = make_release(tmp_path / "release", visits=6)
    (folder / "test-diagnostic.json").write_bytes((folder / "test-cls.json").read_bytes())
    (folder / "manifest.json").write_text("{}")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    return folder


def planned(folder: Path, *variants: dict[str, Any], **settings: Any) -> tuple[Plan, Dataset, EvaluateSettings]:
    made = EvaluateSettings(**settings)
    dataset = open_dataset(folder)
    return make_plan(dataset, [Variant(**one) for one in variants], ["generation"], None, made), dataset, made


def test_a_release_may_go_outside(release: Path) -> None:
    check_servers(*planned(release, GPT))


@pytest.mark.parametrize("change", ["no sums", "no manifest", "text", "image", "new image"])
def test_what_is_no_release_stays_until_somebody_says_so(release: Path, change: str) -> None:
    image = next(iter(sorted((release / "Images" / "Photographs").glob("*.jpg"))))
    match change:
        case "no sums":
            (release / "SHA256SUMS").unlink()
        case "no manifest":
            (release / "manifest.json").unlink()
        case "text":
            for path in release.glob("*.json"):
                path.write_text(path.read_text().replace("Age", "Name: somebody, Age"))
        case "image":
            for path in (release / "Images" / "Photographs").glob("*.jpg"):
                path.write_bytes(image.read_bytes())
        case "new image":
            sums = (release / "SHA256SUMS").read_text().splitlines()
            (release / "SHA256SUMS").write_text("\n".join(line for line in sums if not line.endswith(".jpg")))
    with pytest.raises(ValueError, match=r"variant gpt: asks a server outside, .* is no verified release .* allow_remote"):
        check_servers(*planned(release, GPT))
    check_servers(*planned(release, GPT, allow_remote=True))
    check_servers(*planned(release, {**GPT, "allow_remote": True}))
    check_servers(*planned(release, {**GPT, "base_url": "http://10.0.0.3:8000/v1"}))


def test_questions_of_ones_own_about_a_release_s_images_are_no_release(release: Path) -> None:
    plan, dataset, settings = planned(release, GPT)
    own = TestSet(release, {}, {"generation": plan.tests["generation"]}, dataset)
    with pytest.raises(ValueError, match="the file of --test is no verified release \\(a file of one's own\\)"):
        check_servers(plan, own, settings)


def test_a_service_has_no_lora_modules_and_a_server_beside_the_job_is_inside(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    tuned = {**GPT, "model": "qwen", "adapter": "sft"}
    with pytest.raises(ValueError, match=r"adapter=sft is the name of a LoRA module"):
        check_servers(*planned(release, tuned))
    (release / "SHA256SUMS").unlink()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://8.8.8.8:8000/v1")
    with pytest.raises(ValueError, match="asks a server outside"):
        check_servers(*planned(release, tuned))
    monkeypatch.setenv("CODELIB_SERVED", "vllm:qwen")
    check_servers(*planned(release, tuned))


def test_a_budget_needs_a_price(release: Path) -> None:
    nobody = {**GPT, "model": "new-model"}
    with pytest.raises(ValueError, match=r"budget_usd=5: no price is known for new-model \(variant gpt\)"):
        check_servers(*planned(release, nobody, budget_usd=5))
    check_servers(*planned(release, {**nobody, "usd_per_million_input": 1, "usd_per_million_output": 1}, budget_usd=5))
    check_servers(*planned(release, {**nobody, "base_url": "http://gpu01/v1"}, budget_usd=5))  # one's own


def test_the_cost_counts_what_is_left_and_what_two_variants_share_once(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    store = Store(str(tmp_path / "books"))
    plan, dataset, settings = planned(release, GPT, {**GPT, "name": "same"})
    first, second, spent = cost_lines(plan, dataset, settings, store)
    assert first.startswith("  gpt: 2 requests, about 0.0") and first.endswith("OPENAI_API_KEY NOT SET")
    assert "same: 0 requests" in second
    assert "0.00 USD, 0 tokens; budget: none" in spent
    key = plan.work[0].extra["asks"][0]["key"]
    store.commit(f"answers/{key[:2]}/{key}.json", b"{}")
    assert "gpt: 1 requests" in cost_lines(plan, dataset, settings, store)[0]
    assert cost_lines(*planned(release, {"name": "local", "model": "tiny", "benchmarks": ["generation"]}), store) == []


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-4o-2024-11-20", (448, 336), 255),
        ("gpt-4o", (448, 448), 255),
        ("gpt-4o-mini-2024-07-18", (448, 336), 8500),
        ("gpt-4.1-mini-2025-04-14", (448, 336), 250),  # 14 x 11 squares of 32 px, times 1.62
        ("Qwen/Qwen2.5-VL-3B-Instruct", (448, 336), 192),
    ],
)
def test_images_count_by_the_model_s_rule(model: str, size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(model, size, PixelPolicy()) == tokens


def test_large_images_are_counted_as_the_service_shrinks_them() -> None:
    """OpenAI's own examples: 1024 x 1024 -> 765, 2048 x 4096 -> 1105."""
    as_it_is = PixelPolicy(max_pixels=4096 * 4096)
    assert image_tokens("gpt-4o", (1024, 1024), as_it_is) == 765
    assert image_tokens("gpt-4o", (2048, 4096), as_it_is) == 1105


def test_an_alias_costs_what_its_dearest_snapshot_does() -> None:
    alias, dearest = price_of("gpt-4o"), price_of("gpt-4o-2024-05-13")
    assert alias is not None and dearest is not None
    assert (alias.input, alias.output) == (dearest.input, dearest.output)
    assert price_of("gpt-4o-mini") == price_of("gpt-4o-mini-2024-07-18")
    assert price_of("qwen") is None


def test_an_error_comes_with_its_way_out(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert advice(["evaluate:OddError"], EvaluateSettings(), store) == ""
    assert "hf download" in advice(["evaluate:ModelNotFound"], EvaluateSettings(), store)
    told = advice(["evaluate:BudgetReached", "evaluate:NotFoundError"], EvaluateSettings(budget_usd=2), store)
    assert told.startswith("budget_usd=2 is reached: 0 tokens spent")
    assert "NotFoundError: the server has no such model" in told


def test_what_names_somebody_stays_and_the_rest_is_asked(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job does it, to a server under a public name (by way of a proxy)."""
    path = release / "test-diagnostic.json"
    rows = json.loads(path.read_text())
    rows[0]["messages"][0]["content"] += " Reach the patient at 13812345678."
    path.write_text(json.dumps(rows))
    store = Store(str(tmp_path / "evaluate"))
    variant = {
        **GPT,
        "model": "m",
        "base_url": "http://llm.service.example/v1",
        "allow_remote": True,
        "api_key_env": "SERVICE_KEY",
    }
    plan, dataset, made = planned(release, variant)
    check_servers(plan, dataset, made)
    with chat_server.started(lambda body: chat_server.completion(body, "A report.")) as server:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, server.url.removesuffix("/v1"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SERVICE_KEY", "k")
        access = Access(open_desk(made, store), made, contains_identifier)
        groups = {group.key: plan.variants for group in plan.groups}
        table = Predictor(str(release), groups, plan.fingerprints, store, access)(plan.work[0].extra)
        assert table["reject_reason"].to_pylist() == ["evaluate:IdentifierFound", None]
        assert "13812345678" not in json.dumps(server.bodies)
        assert server.num_requests == 1
    written = "".join(file.read_text() for file in (tmp_path / "evaluate").rglob("*.json"))
    assert "13812345678" not in written and "service.example" not in written
