"""The report's part on all conditions of a visit (multi-label), and the ablations: one figure each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from codelib.evaluate.page_parts import (
    Bar,
    Report,
    bars,
    block,
    folded,
    named,
    paragraph,
    percent,
    plain,
    row,
    scored,
    section,
    table,
    unanswered,
)
from codelib.evaluate.variants import SPECTRUM

_NAMES = ("micro_precision", "micro_recall", "micro_f1", "macro_f1")
_HEAD = ("Model", "Micro precision %", "Micro recall %", "Micro F1 %", "Macro F1 %", "n", "Unparsed")
_WHAT = {"modalities": "What the model is shown", "language": "Language of question and answer", "images": "Whose images it sees"}
_METRIC = {"f1": "F1", "macro_f1": "macro F1", "micro_f1": "micro F1", "bleu": "BLEU", "meteor": "METEOR"}


def metric_name(metric: str) -> str:
    return _METRIC.get(metric, metric.replace("_", " "))


def _conditions(variant: Report) -> str:
    """Each condition that is frequent enough for a figure of its own; the rare ones as one line."""
    scores = variant[SPECTRUM]
    names = ("precision", "recall", "f1")
    found = sorted(scores.get("conditions") or (), key=lambda c: (-c["support"], c["name"]))
    rows = [
        row(f"<th scope=row>{escape(c['name'])}</th>", plain(c["support"]), *(scored(c, name) for name in names)) for c in found
    ]
    if rare := scores.get("rare"):
        title = f"{rare['num_conditions']} rare conditions together (each of fewer than {rare['below']} patients)"
        rows.append(
            row(f"<th scope=row>{escape(title)}</th>", plain(rare["support"]), *(scored(rare, n) for n in names), kind="sum")
        )
    head = ("Condition", "Support", "Precision %", "Recall %", "F1 %")
    num_rare = (scores.get("rare") or {}).get("num_conditions", 0)
    among = f", {num_rare} of them rare" if num_rare else ""
    label = f"{variant['name']}: {len(found) + num_rare} conditions{among}, micro F1 {percent(scores.get('micro_f1'))} %"
    return folded(label, table(head, rows, f"Conditions, {variant['name']}"), is_long=True) if rows else ""


def spectrum(report: Report) -> str:
    mine = [variant for variant in report["variants"] if variant.get(SPECTRUM) or variant.get(f"{SPECTRUM}_asked")]
    if not mine:
        return ""
    rows = []
    for variant in mine:
        scores = variant.get(SPECTRUM)
        if scores is None:
            rows.append(row(named(variant), unanswered(variant, len(_HEAD) - 1)))
            continue
        cells = [scored(scores, name) for name in _NAMES]
        rows.append(row(named(variant), *cells, plain(scores.get("n")), plain(scores.get("num_unparsed"))))
    baselines = report["baselines"].get(SPECTRUM) or ()
    rows += [block("Without any model, on the same test set", len(_HEAD))] if baselines else []
    for found in baselines:
        cells = [scored(found, name) for name in _NAMES]
        rows.append(row(f"<th scope=row>{escape(found['name'])}</th>", *cells, plain(found.get("n")), plain(None), kind="quiet"))
    text = (
        "All conditions of a visit, several at once. Micro counts each condition found or missed alike, so that frequent ones weigh most; macro "
        "is the mean over conditions, in which a rare one weighs as much as caries."
    )
    each = "".join(_conditions(variant) for variant in mine if variant.get(SPECTRUM))
    body = f"{paragraph(text)}{table(_HEAD, rows, 'Scores over the full spectrum')}{each}"
    return section(SPECTRUM, "Full spectrum of conditions", body)


def _ablation(found: Report) -> str:
    what = str(found["what"])
    title = f"{_WHAT.get(what, what.capitalize())}: {metric_name(str(found['metric']))}"
    drawn = []
    for line in found["rows"]:
        name = f"{line['label']} · {line['variant']}" if line.get("variant") else str(line["label"])
        kind = "control" if line["label"] in ("shuffled", "another patient's images") else "ours"
        drawn.append(Bar(name, line["value"], line.get("ci"), kind, f"n = {line['n']}" if line.get("n") is not None else ""))
    return bars(title, drawn, f"{found['benchmark']}, per cent")


def ablations(report: Report) -> str:
    found: Sequence[Report] = [one for one in report.get("ablations") or () if one.get("rows")]
    text = "The same model, one thing taken away or exchanged. Bars whose intervals overlap widely say little; the paired tests compare them."
    charts = "".join(map(_ablation, found))
    return section("ablations", "Ablations", f"{paragraph(text)}<div class=charts>{charts}</div>") if charts else ""
