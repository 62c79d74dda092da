"""The report dictionary as a whole: canaries, partial runs, what is compared, costs, prompts."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import OK, PREDICTIONS, SIX_CLASSES, rejected
from codelib.core.stage import Work
from codelib.evaluate.baselines import always_first, class_baselines, first_named
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.costs import cost, once
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.run import Outcome
from codelib.evaluate.scores import evaluate_scores
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Message

SETTINGS = EvaluateSettings(embeddings=("ngrams",))
BASE = Variant(name="base", model="org/model")
TUNED = Variant(name="tuned", model="org/model", adapter="train/demo")
TEXT_ONLY = TUNED.model_copy(update={"name": "tuned, text only", "modalities": "text"})
SHUFFLED = TUNED.model_copy(update={"name": "tuned, shuffled", "images": "shuffled"})
REFUSED = TUNED.model_copy(update={"name": "dead adapter", "adapter": "train/other"})
SHARE = {
    "base": 3,
    "tuned": 10,
    "tuned, text only": 6,
    "tuned, shuffled": 2,
    "dead adapter": 3,
}  # of twelve answers, how many are right


def answer(variant: Variant, sample: Sample, n: int) -> str:
    if sample.benchmark == "generation":
        return sample.reference if n % 12 < SHARE[variant.name] else "Something else altogether."
    return sample.reference if n % 12 < SHARE[variant.name] else SIX_CLASSES[(n + 1) % 6]


def run(*shown: Variant, failing: str = "", canaries: dict[str, Any] | None = None) -> dict[str, Any]:
    """36 visits of 36 patients. ``failing``: a variant that answers only the first ten of each benchmark."""
    tests = {}
    for benchmark in ("classification", "generation"):
        tests[benchmark] = tuple(
            Sample(
                f"{benchmark}/{n}",
                benchmark,
                str(n),
                (Message("system", "You are a dentist."), Message("user", f"image-1: <image>\nQuestion {n} of {benchmark}.")),
                (f"{n}.jpg",),
                SIX_CLASSES[n % 6] if benchmark == "classification" else f"Diagnosis: {SIX_CLASSES[n % 6]} of tooth {n + 11}.",
            )
            for n in range(36)
        )
    rows = []
    for variant in shown:
        for benchmark, samples in tests.items():
            for n, sample in enumerate(samples):
                text = answer(variant, sample, n)
                told = {
                    "variant": variant.name,
                    "sample_id": sample.sample_id,
                    "benchmark": benchmark,
                    "reference": sample.reference,
                }
                told |= {"answer": text, "parsed": text, "prompt_tokens": 100, "completion_tokens": 10, "latency_s": 0.5}
                told |= {"usd": 0.01, "status": OK, "reject_reason": None, "images": list(sample.images)}
                rows.append(told | rejected("evaluate:APITimeoutError") if variant.name == failing and n >= 10 else told)
    questions = {(variant.name, name): samples for variant in shown for name, samples in tests.items()}
    prints = {variant.name: {"model": "sha256:00"} for variant in shown}
    plan = Plan([], shown, tests, questions, prints, frozenset())
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)
    report = evaluate_scores("release", shown, plan, Outcome(table, 0, len(rows), {}, canaries or {}), SETTINGS)
    json.dumps(report, allow_nan=False)
    return report


def test_every_pair_is_tested_and_the_controls_stay_out() -> None:
    report = run(BASE, TUNED, TEXT_ONLY, SHUFFLED)
    pairs = {(line["a"], line["b"]) for line in report["paired"]}
    assert pairs == {("base", "tuned"), ("base", "tuned, text only"), ("tuned", "tuned, text only")}
    assert [line["metric"] for line in report["paired"]][:6] == ["accuracy", "f1"] * 3
    assert {line["metric"] for line in report["paired"] if line["benchmark"] == "generation"} == {"bleu", "meteor", "cosine"}
    sure = next(line for line in report["paired"] if (line["a"], line["b"], line["metric"]) == ("base", "tuned", "accuracy"))
    assert (sure["difference"], sure["n"], sure["significant"]) == ((9 - 30) / 36, 36, True)
    assert sure["difference_ci"][0] < sure["difference"] < sure["difference_ci"][1] < 0
    assert report["partial"] is False
    assert "rows" not in report["variants"][0]["generation"]
    assert "rows" not in report["baselines"]["generation"][0]
    (control,) = report["controls"]
    assert control["change"] < -0.5


def test_what_differs_in_one_thing_stands_in_a_table() -> None:
    tables = run(BASE, TUNED, TEXT_ONLY, SHUFFLED)["ablations"]
    assert {(table["what"], table["benchmark"], table["metric"]) for table in tables} == {
        (what, benchmark, metric)
        for what in ("modalities", "images")
        for benchmark, metrics in (("classification", ("accuracy", "f1")), ("generation", ("bleu", "meteor", "cosine")))
        for metric in metrics
    }
    rows = next(table["rows"] for table in tables if (table["what"], table["metric"]) == ("modalities", "accuracy"))
    assert [(row["label"], row["variant"], row["value"], row["n"]) for row in rows] == [
        ("images and text", "tuned", 30 / 36, 36),
        ("text only", "tuned, text only", 0.5, 36),
    ]
    assert rows[0]["ci"][0] < 30 / 36 < rows[0]["ci"][1]


def test_a_refused_variant_is_named_and_not_scored() -> None:
    why = "with and without it the answers to all 8 canary items are the same, and equally likely"
    refused = {"status": "refused", "why": why, "num_items": 8, "num_equal_to_base": 8, "largest_difference": 0.0}
    report = run(BASE, TUNED, REFUSED, canaries={"dead adapter": refused})
    entry = report["variants"][2]
    assert (entry["status"], entry["classification"], entry["generation"], entry["canary"]) == ("refused", None, None, refused)
    assert entry["diagnosis"][0]["code"] == "no_effect"
    assert f"dead adapter is not scored: the canary refused it. {why}" in report["notes"]
    assert report["partial"] is True
    assert all("dead adapter" not in (line["a"], line["b"]) for line in report["paired"])
    assert report["variants"][0]["canary"]["status"] == "not_run"


def test_a_partial_variant_is_compared_over_what_both_answered() -> None:
    report = run(BASE, TUNED, failing="tuned")
    assert report["partial"] is True
    assert report["variants"][1]["status"] == "partial"
    assert {line["n"] for line in report["paired"]} == {10}
    assert any("tuned is partial: 20 of 72 questions answered (APITimeoutError × 52)" in note for note in report["notes"])
    assert report["variants"][1]["cost"]["num_answers"] == 20


def test_variants_that_are_asked_the_same_share_a_prompt() -> None:
    first, second = run(BASE, TUNED)["prompts"]
    assert first["variants"] == ["base", "tuned"]
    assert first["text"] == "[system]\nYou are a dentist.\n\n[user]\nimage-1: <image>\nQuestion 0 of classification."
    assert second["benchmark"] == "generation"


def test_costs_add_up() -> None:
    report = run(BASE, TUNED)
    found = report["variants"][0]["cost"]
    assert (report["cost"]["num_answers"], report["cost"]["usd"]) == (144, pytest.approx(1.44))
    assert found["num_answers"] == 72
    assert (found["prompt_tokens"], found["completion_tokens"], found["seconds"]) == (7200, 720, 36.0)
    assert (found["tokens_per_s"], round(found["usd"], 6), found["num_priced"]) == (20.0, 0.72, 72)
    bare = {"prompt_tokens": None, "completion_tokens": None, "latency_s": None, "usd": None}
    assert cost([bare])["usd"] is cost([bare])["tokens_per_s"] is None
    assert cost([])["num_answers"] == 0


def test_an_answer_that_is_shared_is_paid_for_once() -> None:
    def row(variant: str, number: int, ask: int) -> dict[str, Any]:
        return {"variant": variant, "benchmark": "generation", "sample_id": str(number), "ask": ask, "usd": 0.1}

    rows = [row("a", 1, 0), row("a", 2, 1), row("a", 3, 1), row("b", 1, 0), row("b", 2, 2)]
    work = [Work(extra={"rows": rows, "asks": [{"key": key} for key in "xyz"]})]
    assert [(found["variant"], found["sample_id"]) for found in once(rows, work)] == [("a", "1"), ("a", "2"), ("b", "2")]
    assert once(rows, []) == rows


def test_baselines_for_nothing() -> None:
    listed = "Choose one of: Pulpitis, Gingivitis, " + ", ".join(n for n in SIX_CLASSES if n not in ("Pulpitis", "Gingivitis"))

    def sample(n: int, label: str, question: str) -> Sample:
        return Sample(f"s{n}", "classification", str(n), (Message("user", question),), (), label)

    samples = [sample(n, label, listed) for n, label in enumerate(["Pulpitis", "Caries", "Caries", "not a class"])]
    assert first_named(samples) == "Pulpitis"
    assert first_named([sample(0, "Caries", "What is it?")]) == SIX_CLASSES[0]
    chinese = "是哪一种：牙体缺损、龋病、牙龈炎、错颌畸形、牙髓炎还是牙齿缺失？"
    assert first_named([sample(0, "Caries", chinese)]) == "Tooth Structure Loss"
    names = {row["name"]: row for row in class_baselines(samples)}
    assert names["always the first listed (Pulpitis)"]["accuracy"] == 1 / 3
    assert names["majority (always Caries)"]["accuracy"] == 2 / 3
    assert {row["n"] for row in names.values()} == {3}
    assert always_first(["Caries"], "Caries").f1 == 1.0
    assert class_baselines(samples[3:]) == []


def test_the_full_spectrum_is_scored_and_tested() -> None:
    labels = ('["Deep caries", "Dental calculus"]', '["Gingivitis"]')
    tests = tuple(Sample(f"spectrum/{n}", "spectrum", str(n // 2), (Message("user", "?"),), (), labels[n % 2]) for n in range(40))
    answers = {"base": "Gingivitis", "tuned": "Deep caries, dental calculus, gingivitis"}
    rows = [
        {"variant": name, "sample_id": sample.sample_id, "benchmark": "spectrum", "reference": sample.reference, "images": []}
        | {"answer": text, "parsed": text, "status": OK}
        for name, text in answers.items()
        for sample in tests
    ]
    shown = (BASE, TUNED)
    plan = Plan([], shown, {"spectrum": tests}, {}, {one.name: {"model": "x"} for one in shown}, frozenset())
    report = evaluate_scores(
        "release", shown, plan, Outcome(pa.Table.from_pylist(rows, schema=PREDICTIONS.schema), 0, 0, {}), SETTINGS
    )
    json.dumps(report, allow_nan=False)
    base, tuned = (variant["spectrum"] for variant in report["variants"])
    assert (base["micro_precision"], base["micro_recall"], base["num_patients"]) == (0.5, 1 / 3, 20)
    assert tuned["micro_recall"] == 1.0
    assert "rows" not in tuned
    (line,) = report["paired"]
    assert (line["metric"], line["difference"], line["significant"]) == ("micro_f1", base["micro_f1"] - tuned["micro_f1"], True)
    assert (report["variants"][0]["spectrum_asked"], report["variants"][0]["classification"]) == (40, None)
