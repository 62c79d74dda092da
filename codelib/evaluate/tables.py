"""All figures of a report as one tidy table: a line for each figure, never a second meaning in one column.

report dictionary  ->  figures(report)  ->  [{"kind", "name", "benchmark", "metric", "value", "low", "high", "n", …}, …]  ->  table.csv
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from codelib.contracts import PREDICTIONS
from codelib.evaluate.run import Outcome
from codelib.evaluate.variants import CLASSIFICATION, GENERATION

COLUMNS = ("kind", "name", "benchmark", "metric", "value", "low", "high", "n", "by", "group", "against", "p", "p_holm")
"""``by`` and ``group``: of a subgroup, a class, a section, a condition, a language, an embedding model or an ablation; ``against``: the
variant that a difference is taken from. Empty where it does not apply. Shares are 0..1."""

_SHARES = ("precision", "recall", "f1")
_CLASSIFY = ("accuracy", *_SHARES, "macro_precision", "macro_recall", "macro_f1", "num_unparsed")
_WRITE = ("corpus_bleu", "bleu", "meteor", "cosine", "length_ratio", "num_unparsed")
_SPECTRUM = ("micro_precision", "micro_recall", "micro_f1", "macro_f1", "num_unparsed")
_CLINICAL = (
    *(f"{what}_{share}" for what in ("tooth", "diagnosis") for share in _SHARES),
    *("num_side_errors", "num_negation_errors", "side_error_share", "negation_error_share"),
)
# what a cell begins with that spreadsheet programs calculate, and our own mark
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_COST = ("num_answers", "prompt_tokens", "completion_tokens", "seconds", "usd")
_BENCHMARKS = ((CLASSIFICATION, _CLASSIFY), (GENERATION, _WRITE), ("spectrum", _SPECTRUM))
Line = dict[str, Any]


def _lines(scores: Line | None, metrics: Sequence[str], **told: Any) -> Iterator[Line]:
    """A line for each metric that is there."""
    for metric in metrics:
        if scores and scores.get(metric) is not None:
            low, high = scores.get(f"{metric}_ci") or (None, None)
            n = scores.get("n", scores.get("support"))
            yield {"metric": metric, "value": scores[metric], "low": low, "high": high, "n": n, **told}


def _classification(name: str, scores: Line) -> Iterator[Line]:
    told = {"name": name, "benchmark": CLASSIFICATION}
    yield from _lines(scores.get("constrained"), _CLASSIFY, kind="constrained", **told)
    for found in scores.get("per_class") or ():
        yield from _lines(found, _SHARES, kind="class", by="class", group=found["name"], **told)
    for found in scores.get("subgroups") or ():
        yield from _lines(found, _CLASSIFY, kind="subgroup", by=found.get("by"), group=found["name"], **told)


def _generation(name: str, scores: Line) -> Iterator[Line]:
    told = {"name": name, "benchmark": GENERATION}
    yield from _lines(scores.get("clinical"), _CLINICAL, kind="clinical", **told)
    yield from _lines(scores.get("spectrum"), _SPECTRUM[:-1], kind="conditions in reports", **told)
    for found in scores.get("embeddings") or ():
        one = {"cosine": found.get("mean"), "cosine_ci": found.get("ci"), "n": found.get("n")}
        yield from _lines(one, ("cosine",), kind="embedding", by="embedding model", group=found["model"], **told)
    sections = scores.get("sections") or {}
    whole = {
        "section_coverage": sections.get("coverage"),
        "section_coverage_ci": sections.get("coverage_ci"),
        "n": scores.get("n"),
    }
    yield from _lines(whole, ("section_coverage",), kind="variant", **told)
    for section, share in (sections.get("each") or {}).items():
        one = {"section_share": share, "n": (sections.get("each_n") or {}).get(section)}
        yield from _lines(one, ("section_share",), kind="section", by="section", group=section, **told)
    for language, found in (scores.get("by_language") or {}).items():
        yield from _lines(found, _WRITE, kind="subgroup", by="language", group=language, **told)


def _spectrum(name: str, scores: Line) -> Iterator[Line]:
    told = {"name": name, "benchmark": "spectrum"}
    for found in scores.get("conditions") or ():
        yield from _lines(found, _SHARES, kind="condition", by="condition", group=found["name"], **told)
    if rare := scores.get("rare"):
        yield from _lines(rare, _SHARES, kind="condition", by="condition", group=f"rare (below {rare.get('below')})", **told)


def figures(report: Line) -> Iterator[Line]:
    """Every figure of the report, in its order."""
    for variant in report["variants"]:
        name = variant["name"]
        for benchmark, metrics in _BENCHMARKS:
            yield from _lines(variant.get(benchmark), metrics, kind="variant", name=name, benchmark=benchmark)
        yield from _classification(name, variant.get(CLASSIFICATION) or {})
        yield from _generation(name, variant.get(GENERATION) or {})
        yield from _spectrum(name, variant.get("spectrum") or {})
        yield from _lines(variant.get("cost"), _COST, kind="cost", name=name)
    yield from _lines(report.get("cost"), _COST, kind="cost of all", name="")
    for benchmark, metrics in _BENCHMARKS:
        for found in report["baselines"].get(benchmark) or ():
            yield from _lines(found, metrics, kind="baseline", name=found["name"], benchmark=benchmark)
    for found in report.get("controls") or ():
        low, high = found["change_ci"] or (None, None)
        told = {"name": found["shuffled"], "against": found["as_is"], "benchmark": CLASSIFICATION, "metric": "accuracy"}
        yield {"kind": "control", **told, "value": found["change"], "low": low, "high": high, "n": found["n"]}
    for found in report.get("paired") or ():
        low, high = found.get("difference_ci") or (None, None)
        told = {
            "name": found["a"],
            "against": found["b"],
            **{key: found.get(key) for key in ("benchmark", "metric", "n", "p", "p_holm")},
        }
        yield {"kind": "difference", **told, "value": found["difference"], "low": low, "high": high}
    for found in report.get("ablations") or ():
        told = {"benchmark": found["benchmark"], "metric": found["metric"], "by": found["what"]}
        for line in found["rows"]:
            low, high = line.get("ci") or (None, None)
            own = {
                "name": line["variant"],
                "group": line["label"],
                "value": line["value"],
                "low": low,
                "high": high,
                "n": line.get("n"),
            }
            yield {"kind": "ablation", **told, **own}
    for found in report.get("paper_table_3") or ():
        yield from _lines(found, ("accuracy", *_SHARES), kind="paper", name=found["name"], benchmark=CLASSIFICATION)


def inert(cell: Any) -> Any:
    """A cell that no spreadsheet program takes for a formula: a model may write one, and a list of findings begins with a dash. Behind an
    apostrophe, which `as_received` takes off."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def as_received(cell: str) -> str:
    """The text of an `inert` cell."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(
        out
    )  # lines end in CR LF: with LF alone Python 3.11 quotes no CR, and an answer that holds one tears its row
    writer.writerow(header)
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def table_csv(report: Line) -> bytes:
    return _csv(COLUMNS, [[line.get(name) for name in COLUMNS] for line in figures(report)])


def predictions_csv(outcome: Outcome) -> bytes:
    """The predictions table, an answer a line, as received (`as_received`)."""
    names = PREDICTIONS.schema.names
    rows = [[";".join(row[n] or ()) if n == "images" else row[n] for n in names] for row in outcome.table.to_pylist()]
    return _csv(names, rows)
