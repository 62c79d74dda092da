"""The report's part on written reports: the table and bars of Fig. 7, sections, length, and what lexical metrics do not see."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from codelib.evaluate.page_classification import size
from codelib.evaluate.page_parts import (
    NONE,
    Bar,
    Report,
    bars,
    block,
    cell,
    folded,
    named,
    paragraph,
    plain,
    row,
    scored,
    section,
    table,
    unanswered,
)
from codelib.evaluate.variants import GENERATION

_HEAD = ("Model", "Corpus BLEU", "BLEU of a report", "METEOR", "Cosine", "n", "Empty")
_METRICS = {"bleu": "BLEU, mean over reports", "meteor": "METEOR", "cosine": "Cosine similarity of embeddings"}
_METHODS = {"bleu": "bleu_signature", "meteor": "meteor_method", "cosine": "cosine_method"}
_LANGUAGES = {"en": "English", "zh": "Chinese"}


def _number(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _cells(scores: Report) -> list[str]:
    means = [scored(scores, name) for name in _METRICS]
    return [plain(_number(scores.get("corpus_bleu"))), *means, plain(scores.get("n")), plain(scores.get("num_unparsed"))]


def _kind(variant: Report) -> str:
    return "control" if variant.get("images") == "shuffled" else "ours"


def _scores(variant: Report) -> Report:
    found: Report = variant.get(GENERATION) or {}
    return found


def _table(mine: Sequence[Report], baselines: Sequence[Report]) -> str:
    rows = [block("This run", len(_HEAD))]
    for variant in mine:
        scores = variant.get(GENERATION)
        rows.append(row(named(variant), *(_cells(scores) if scores else [unanswered(variant, len(_HEAD) - 1)])))
    rows += [block("Without any model, on the same test set", len(_HEAD))] if baselines else []
    rows += [row(f"<th scope=row>{escape(found['name'])}</th>", *_cells(found), kind="quiet") for found in baselines]
    return table(_HEAD, rows, "Scores of the written reports")


def _figure_7(mine: Sequence[Report], baselines: Sequence[Report]) -> str:
    charts = []
    first = next((found for found in [*map(_scores, mine), *baselines] if found), {})
    for metric, title in _METRICS.items():
        drawn = [Bar(v["name"], _scores(v).get(metric), _scores(v).get(f"{metric}_ci"), _kind(v)) for v in mine if _scores(v)]
        drawn += [Bar(found["name"], found.get(metric), found.get(f"{metric}_ci"), "baseline") for found in baselines]
        charts.append(bars(title, drawn, str(first.get(_METHODS[metric]) or "")))
    note = paragraph(
        "For orientation, not this run: the paper's Fig. 7 gives its tuned 7B model a mean similarity of 71.46 %, with other embedding models "
        "(Gemma-2B, Llama-3.2-1B) on other visits.",
        "note paper",
    )
    return f"<div class=charts>{''.join(charts)}</div>{note}"


def _embeddings(mine: Sequence[Report]) -> str:
    models = list(dict.fromkeys(found["model"] for v in mine for found in _scores(v).get("embeddings") or ()))
    if not models:
        return ""
    rows = []
    for variant in mine:
        each = {found["model"]: found for found in _scores(variant).get("embeddings") or ()}
        if each:
            cells = [cell((f := each.get(model, {})).get("mean"), f.get("ci"), "ci" in f) for model in models]
            rows.append(row(named(variant), *cells, scored(_scores(variant), "cosine")))
    return folded("Cosine similarity by embedding model", table(("Model", *models, "Mean"), rows, "Cosine by embedding model"))


def _sections(mine: Sequence[Report]) -> str:
    """Which sections a report has, and how long it is against its reference."""
    having = [variant for variant in mine if _scores(variant).get("sections")]
    if not having:
        return ""
    names = list(dict.fromkeys(name for v in having for name in _scores(v)["sections"].get("each") or ()))
    rows = []
    for variant in having:
        scores = _scores(variant)
        found = scores["sections"]
        each = found.get("each") or {}
        ratio, pair = scores.get("length_ratio"), scores.get("length_ratio_ci")
        between = f"<br><span class=ci>[{pair[0]:.2f}, {pair[1]:.2f}]</span>" if pair else ""
        length = f"<td>{_number(ratio, 2)}{between}</td>"
        rows.append(row(named(variant), scored(found, "coverage"), length, *(cell(each.get(name)) for name in names)))
    text = (
        "The share of the reference's sections that an answer has, in per cent, and its length against the reference (1.00: as long). "
        "What is left out cannot be wrong, and is missed all the same."
    )
    titles = [name.replace("_", " ").capitalize() for name in names]
    shown = table(("Model", "Coverage %", "Length ratio", *titles), rows, "Sections and length of the reports")
    return f"<h3>Sections and length</h3>{paragraph(text)}{shown}"


def _clinical(mine: Sequence[Report]) -> str:
    having = [variant for variant in mine if _scores(variant).get("clinical")]
    if not having:
        return ""
    shares = [f"{what}_{how}" for what in ("tooth", "diagnosis") for how in ("precision", "recall", "f1")]
    rows = []
    for variant in having:
        found = _scores(variant)["clinical"]
        errors = []
        for what in ("side", "negation"):
            share = found.get(f"{what}_error_share")
            counted = plain(found.get(f"num_{what}_errors"))
            errors.append(
                counted if share is None else counted.replace("</td>", f"<br><span class=ci>{100 * share:.1f} %</span></td>")
            )
        named_there = scored(_scores(variant).get("spectrum") or {}, "micro_f1")
        rows.append(row(named(variant), *(scored(found, name) for name in shares), named_there, *errors, plain(found.get("n"))))
    head = [
        "Model",
        "Tooth P %",
        "Tooth R %",
        "Tooth F1 %",
        "Diagnosis P %",
        "Diagnosis R %",
        "Diagnosis F1 %",
        "Conditions F1 %",
        "Side errors",
        "Negation errors",
        "n",
    ]
    text = (
        "Against the reference report: are the tooth numbers right, the diagnoses, left and right, present and absent? Word overlap does "
        "not see these: “no caries at 16” and “caries at 26” share nearly every word. P precision, R recall; "
        "conditions: micro F1 of all that the reports assert. Counted by rules, not by a dentist."
    )
    return f"<h3>Clinical checks</h3>{paragraph(text)}{table(head, rows, 'Clinical checks')}"


def _by_language(mine: Sequence[Report]) -> str:
    languages = list(dict.fromkeys(spoken for v in mine for spoken in _scores(v).get("by_language") or ()))
    if len(languages) < 2:
        return ""
    rows = []
    for spoken in languages:
        rows.append(block(_LANGUAGES.get(spoken, spoken), len(_HEAD)))
        found = [(v, (_scores(v).get("by_language") or {}).get(spoken)) for v in mine]
        rows += [row(named(variant), *_cells(scores)) for variant, scores in found if scores]
    return folded("By language of the report", table(_HEAD, rows, "Scores by language"))


def generation(report: Report) -> str:
    mine = [variant for variant in report["variants"] if variant.get(f"{GENERATION}_asked")]
    if not mine:
        return ""
    baselines = report["baselines"].get(GENERATION) or ()
    text = (
        f"{size(report, GENERATION)}. An empty answer counts 0. The grey bar hands in another patient's report: what lies below it has "
        "learnt the form at best. BLEU of a report, METEOR and cosine in per cent, with 95 % intervals."
    )
    body = paragraph(text) + _table(mine, baselines)
    if any(map(_scores, mine)) or baselines:
        body += _figure_7(mine, baselines)
    body += _embeddings(mine) + _by_language(mine) + _sections(mine) + _clinical(mine)
    return section("generation", "Report generation", body)
