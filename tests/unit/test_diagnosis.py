"""A broken model is named, with its figure and the next step; a weak one is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.diagnosis import diagnose, without_adapter
from codelib.evaluate.metrics import classification
from codelib.evaluate.statistics import accuracy_interval
from codelib.evaluate.variants import Variant

TUNED = Variant(name="tuned", model="tiny", adapter="train/demo")
BASELINES = [{"name": "chance (uniform)", "accuracy": 1 / 6}, {"name": "majority (always Caries)", "accuracy": 0.2}]
LABELS = [SIX_CLASSES[n % 6] for n in range(60)]


def row(benchmark: str, n: int, reference: str, answer: str, parsed: str | None, **more: Any) -> dict[str, Any]:
    told = {"benchmark": benchmark, "sample_id": f"{benchmark}/{n}", "reference": reference, "answer": answer, "parsed": parsed}
    return {**told, "completion_tokens": 5, "cut": False, **more}


def classified(answers: list[str | None], **more: Any) -> list[dict[str, Any]]:
    return [
        row("classification", n, label, answer or "no idea", answer, **more)
        for n, (label, answer) in enumerate(zip(LABELS, answers, strict=False))
    ]


def written(texts: list[str], **more: Any) -> list[dict[str, Any]]:
    return [row("generation", n, f"Report {n}", text, text.strip() or None, **more) for n, text in enumerate(texts)]


def found(rows: list[dict[str, Any]], variant: Variant = TUNED, base: list[dict[str, Any]] = (), **scored: Any) -> dict[str, str]:
    """code -> sentence."""
    entry: dict[str, Any] = {"status": "complete", "num_asked": len(rows), "classification": None, "generation": None}
    mine = [r for r in rows if r["benchmark"] == "classification"]
    if mine:
        correct = [r["parsed"] == r["reference"] for r in mine]
        interval = accuracy_interval(correct, [r["sample_id"] for r in mine], 0)
        score = classification([r["reference"] for r in mine], [r["parsed"] for r in mine])
        entry["classification"] = {"accuracy": score.accuracy, "accuracy_ci": [interval.low, interval.high], "n": len(mine)}
    if len(mine) < len(rows):
        entry["generation"] = {"n": len(rows) - len(mine)}
    lines = diagnose(variant, entry | scored, rows, BASELINES, base)
    assert all(line["text"].startswith(variant.name) for line in lines)
    assert len({line["code"] for line in lines}) == len(lines)
    return {line["code"]: line["text"] for line in lines}


def test_a_good_model_and_a_weak_one_are_left_alone() -> None:
    good = [label if n % 5 else "Caries" for n, label in enumerate(LABELS)]
    weak = [label if n % 2 else SIX_CLASSES[n % 5] for n, label in enumerate(LABELS)]
    assert found(classified(good) + written([f"Report {n} of tooth 36" for n in range(20)])) == {}
    assert found(classified(weak)) == {}


def test_near_chance() -> None:
    text = found(classified([SIX_CLASSES[(n * 7 + n // 6) % 6] for n in range(60)]))["near_chance"]
    assert "is no better than nothing (majority (always Caries) gets 20.0 %). Check labels and images" in text
    few = [LABELS[0], "Caries", *LABELS[2:4], "Caries", "Gingivitis"]
    assert "may be chance" in found(classified(few))["near_chance"]
    assert "n = 6" in found(classified(few))["near_chance"]


@pytest.mark.parametrize("control", [{"images": "shuffled"}, {"modalities": "text"}])
def test_a_control_is_meant_to_fall(control: dict[str, str]) -> None:
    guesses = [SIX_CLASSES[(n * 7 + n // 6) % 6] for n in range(60)]
    assert found(classified(guesses), TUNED.model_copy(update=control)) == {}


def test_one_class_for_all() -> None:
    text = found(classified(["Pulpitis"] * 58 + ["Caries", None]))["one_class"]
    assert text.startswith("tuned, classification: 58 of 59 answers that were read say Pulpitis.")
    assert "one_class" not in found(classified(["Caries"] * 2))


def test_unparsed_and_empty_are_told_apart() -> None:
    many = found(classified([label if n % 2 else None for n, label in enumerate(LABELS)]))
    assert "30 of 60 answers could not be read" in many["unparsed"]
    assert "empty" not in many
    empty = found([{**r, "answer": "  ", "parsed": None} if n < 10 else r for n, r in enumerate(classified(list(LABELS)))])
    assert "10 of 60 answers are empty" in empty["empty"]
    assert "unparsed" not in empty
    # one empty answer is no fault of its own, but the column Unparsed has it: the two sum up
    both = found([{**r, "answer": "" if n == 0 else "no idea", "parsed": None} for n, r in enumerate(classified(list(LABELS)))])
    assert "59 of 60 answers could not be read, 1 more were empty; they count as wrong" in both["unparsed"]


def test_cut_answers() -> None:
    texts = [f"Report {n}" for n in range(20)]
    assert "20 of 20 answers were cut at the limit of 768 tokens. Raise max_new_tokens" in found(written(texts, cut=True))["cut"]
    assert found(written(texts, cut=False, completion_tokens=768)) == {}  # as the engine says
    assert "cut" in found(written(texts, cut=None, completion_tokens=768))  # kept from before engines said it
    short = TUNED.model_copy(update={"max_new_tokens": 64})
    assert "limit of 64 tokens" in found(written(texts, cut=True), short)["cut"]
    # a class that was read before the cut is no loss
    assert found(classified(list(LABELS), cut=True)) == {}


def test_missing_sections_and_one_text_for_all() -> None:
    scores = {"sections": {"coverage": 0.4, "each": {"Diagnosis": 0.9, "Treatment Plan": 0.1, "Past History": None}}}
    text = found(written([f"Report {n}" for n in range(20)]), generation=scores)["sections"]
    assert "sections that most reports lack: Treatment Plan (10.0 %)" in text
    assert "Check that the prompt" in text
    same = found(written(["All teeth are healthy."] * 20))
    assert "20 of 20 reports are the same text" in same["same_text"]


def test_sections_that_are_all_missing_are_counted_and_not_listed() -> None:
    each = {"Examination": 0.1, "Diagnosis": 0.0, "Remarks": None}
    rows = written([f"Report {n}" for n in range(20)])
    entry = {"generation": {"n": 20, "sections": {"each": {**each, "Remarks": 0.0}}}}
    assert "sections that most reports lack: all 3, the most frequent is in 10.0 %. Check" in found(rows, **entry)["sections"]
    some = {"generation": {"n": 20, "sections": {"each": each}}}
    assert "lack: Examination (10.0 %), Diagnosis (0.0 %). Check" in found(rows, **some)["sections"]


def test_an_adapter_without_effect() -> None:
    rows = classified(list(LABELS))
    assert "all 60 answers equal those of the model without its adapter" in found(rows, base=rows)["equal_to_base"]
    other = [{**r, "answer": "x"} if n == 3 else r for n, r in enumerate(rows)]
    assert found(rows, base=other) == {}
    assert found(rows[:2], base=rows) == {}  # two equal answers are no proof
    base = TUNED.model_copy(update={"name": "base", "adapter": None})
    asked = base.model_copy(update={"name": "base zh", "language": "zh"})
    assert without_adapter(TUNED, (asked, base, TUNED)) == base
    assert without_adapter(TUNED, (asked, TUNED)) is None
    assert without_adapter(base, (base, TUNED)) is None


def test_two_models_of_a_server_that_answer_alike_are_told() -> None:
    canary = {
        "status": "not_run",
        "why": "all of its 8 answers are those of base: two models?",
        "num_items": 8,
        "num_equal_to_base": 8,
    }
    assert "two models?" in found(classified(["Caries"] * 60), canary=canary)["same_answers"]
    assert "same_answers" not in found(classified(["Caries"] * 60), canary=canary | {"num_equal_to_base": 7})


def test_refused_and_failed_say_that_alone() -> None:
    canary = {"status": "refused", "why": "all of its 8 answers are those of base"}
    text = found(classified(["Caries"] * 60), status="refused", canary=canary)
    assert list(text) == ["no_effect"]
    assert "all of its 8 answers" in text["no_effect"]
    assert "none of 0 questions" in found([], status="failed")["no_answer"]
