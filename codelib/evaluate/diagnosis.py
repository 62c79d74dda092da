"""Is a variant plainly broken? What a table of figures hides, said in a sentence with the next step.

    a variant's rows and scores  ->  diagnose(...)  ->  [{"code": "one_class", "benchmark": "classification", "text": "…"}, …]

The thresholds are wide on purpose: a model that is merely weak is no fault of the pipeline, and a report that always warns is not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from codelib.evaluate.answers import parse_class
from codelib.evaluate.canary import LEAST_EQUAL
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, Variant

FEW = 5  # answers below which sameness says nothing
NEARLY_ALL = 0.95  # of answers with one class, or of reports with one text
MANY_UNPARSED = 0.2
MANY_EMPTY, MANY_CUT = 0.05, 0.1
MISSING_SECTION = 0.5  # a section that fewer of the reports have than this

Rows = Sequence[dict[str, Any]]


def diagnose(
    variant: Variant, scored: Mapping[str, Any], rows: Rows, baselines: Sequence[Mapping[str, Any]], base: Rows = ()
) -> list[dict[str, Any]]:
    """What is wrong with a variant, the gravest first; empty where nothing is.

    scored: its entry of the report. rows: its answered rows. baselines: of classification. base: the answered rows of the same model asked
    in the same way without the adapter, where a variant of the run is that.
    """
    found: list[dict[str, Any]] = []

    def tell(code: str, benchmark: str | None, text: str) -> None:
        place = f"{variant.name}, {benchmark}" if benchmark else variant.name
        found.append({"code": code, "benchmark": benchmark, "text": f"{place}: {text}"})

    if scored["status"] == "refused":
        tell(
            "no_effect",
            None,
            f"not scored, the canary refused it: {scored['canary']['why'].rstrip('.')}. Check that it is the adapter of this model, and that "
            "its training changed anything (train/<run>/).",
        )
        return found
    if scored["status"] == "failed":
        tell(
            "no_answer",
            None,
            f"none of {scored['num_asked']} questions was answered; mend what Failures says and run the command again.",
        )
        return found
    _same_as_base(variant, rows, base, tell)
    canary = scored.get("canary") or {}
    if canary.get("status") == "not_run" and LEAST_EQUAL <= (canary.get("num_items") or 0) == canary.get("num_equal_to_base"):
        tell("same_answers", None, canary["why"])
    elif canary.get("status") == "not_run" and variant.engine == "openai" and variant.adapter:
        tell(
            "unchecked",
            None,
            f"nothing shows that the server used {variant.adapter}: {canary['why'] or 'its bare model was not asked'}. "
            "Put that model into the variants file too.",
        )
    for benchmark in variant.benchmarks:
        mine = [row for row in rows if row["benchmark"] == benchmark]
        if mine:
            _answers(variant, benchmark, mine, scored.get(benchmark) or {}, tell)
    if scored.get(CLASSIFICATION):
        _classified(variant, scored[CLASSIFICATION], [row for row in rows if row["benchmark"] == CLASSIFICATION], baselines, tell)
    if scored.get(GENERATION):
        _written(scored[GENERATION], [row for row in rows if row["benchmark"] == GENERATION], tell)
    return found


Tell = Callable[[str, str | None, str], None]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _same_as_base(variant: Variant, rows: Rows, base: Rows, tell: Tell) -> None:
    others = {(row["benchmark"], row["sample_id"]): row["answer"] for row in base}
    pairs = [(row["answer"], others[key]) for row in rows if (key := (row["benchmark"], row["sample_id"])) in others]
    if variant.adapter and len(pairs) >= LEAST_EQUAL and all(a == b for a, b in pairs):
        tell(
            "equal_to_base",
            None,
            f"all {len(pairs)} answers equal those of the model without its adapter: the adapter has no effect. Check that it is the "
            "adapter of this model, and that its training changed anything (train/<run>/).",
        )


def _answers(variant: Variant, benchmark: str, rows: Rows, scores: Mapping[str, Any], tell: Tell) -> None:
    """Faults of the text alone, the same for each benchmark."""
    n, limit = len(rows), variant.answer_length(benchmark)
    empty = sum(not (row["answer"] or "").strip() for row in rows)
    if empty > MANY_EMPTY * n:
        tell(
            "empty",
            benchmark,
            f"{empty} of {n} answers are empty. Check the chat template and the end-of-text token of the model, and what the server "
            "filters.",
        )
    # a class that could be read was not hurt by what was cut behind it
    cut = sum(is_cut(row, limit) and (benchmark != CLASSIFICATION or row["parsed"] is None) for row in rows)
    if cut > MANY_CUT * n:
        tell(
            "cut",
            benchmark,
            f"{cut} of {n} answers were cut at the limit of {limit} tokens. Raise max_new_tokens of the variant; if answers do not end "
            "then either, the model never learned its end token.",
        )
    unparsed = scores.get("num_unparsed", sum(row["parsed"] is None for row in rows)) - empty
    if benchmark != GENERATION and unparsed > MANY_UNPARSED * n:
        tell(
            "unparsed",
            benchmark,
            f"{unparsed} of {n} answers could not be read{f', {empty} more were empty' if empty else ''}; they count as wrong. Read some of "
            "them in predictions.csv: does the model answer in another form than the prompt asks for?",
        )


def is_cut(row: Mapping[str, Any], limit: int) -> bool:
    """Whether an answer ended at its limit: as the engine says, else by its length."""
    if row.get("cut") is not None:
        return bool(row["cut"])
    return (row["completion_tokens"] or 0) >= limit


def _classified(
    variant: Variant, scores: Mapping[str, Any], rows: Rows, baselines: Sequence[Mapping[str, Any]], tell: Tell
) -> None:
    parsed = Counter(row["parsed"] for row in rows if row["parsed"] is not None)
    references = {parse_class(row["reference"]) for row in rows}
    top = parsed.most_common(1)
    if top and len(references) > 1 and sum(parsed.values()) >= FEW and top[0][1] >= NEARLY_ALL * sum(parsed.values()):
        name, count = top[0]
        tell(
            "one_class",
            CLASSIFICATION,
            f"{count} of {sum(parsed.values())} answers that were read say {name}. It learned nothing but a class: check the balance of "
            "the training labels and the learning rate.",
        )
    # a control without the right images, or without any, is meant to fall
    if variant.images != "as_is" or variant.modalities == "text" or not baselines:
        return
    level = max(baselines, key=lambda baseline: float(baseline["accuracy"]))
    accuracy, pair = scores["accuracy"], scores["accuracy_ci"]
    if (pair[0] if pair else accuracy) > level["accuracy"]:
        return
    told = f"{level['name']} gets {_percent(level['accuracy'])}"
    if accuracy > level["accuracy"]:
        tell(
            "near_chance",
            CLASSIFICATION,
            f"accuracy {_percent(accuracy)} may be chance: {told}, and the interval reaches down to {_percent(pair[0])} (n = "
            f"{scores['n']}). Ask more samples, or check labels and images.",
        )
    else:
        tell(
            "near_chance",
            CLASSIFICATION,
            f"accuracy {_percent(accuracy)} is no better than nothing ({told}). Check labels and images: does each question show the "
            "images of its own visit, and is the reference its class (predictions.csv)?",
        )


def _written(scores: Mapping[str, Any], rows: Rows, tell: Tell) -> None:
    texts = Counter((row["answer"] or "").strip() for row in rows)
    text, count = texts.most_common(1)[0]
    if text and len({row["reference"] for row in rows}) > 1 and len(rows) >= FEW and count >= NEARLY_ALL * len(rows):
        tell(
            "same_text",
            GENERATION,
            f"{count} of {len(rows)} reports are the same text. It answers without looking: check that images and complaint reach the model.",
        )
    each = (scores.get("sections") or {}).get("each") or {}
    missing = [name for name, share in each.items() if share is not None and share < MISSING_SECTION]
    if missing:
        shares = ", ".join(f"{name} ({_percent(each[name])})" for name in missing)
        if len(missing) == len(each) > 1:  # a list of all eight is read by nobody
            shares = f"all {len(each)}, the most frequent is in {_percent(max(each[name] for name in missing))}"
        tell(
            "sections",
            GENERATION,
            f"sections that most reports lack: {shares}. Check that the prompt asks for them as the training did, and that answers are not "
            "cut.",
        )


def without_adapter(variant: Variant, shown: Sequence[Variant]) -> Variant | None:
    """The variant of the run that is this one without its adapter; None where there is none."""
    if variant.adapter is None:
        return None
    alike = variant.twin("adapter")
    return next((one for one in shown if one.adapter is None and one.twin("adapter") == alike), None)
