"""The report's classification part: Table 3 with intervals, per class, confusion matrices, subgroups, the control by shuffled images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from codelib.evaluate.page_parts import (
    NONE,
    Report,
    block,
    cell,
    folded,
    interval,
    named,
    paragraph,
    percent,
    plain,
    row,
    scored,
    section,
    signed,
    table,
    unanswered,
)
from codelib.evaluate.variants import CLASSIFICATION

_HEAD = ("Model", "Accuracy %", "Precision %", "Recall %", "F1 %", "Macro F1 %", "n", "Unparsed")


def size(report: Report, benchmark: str) -> str:
    found = report["benchmarks"].get(benchmark) or {}
    return (
        f"{found.get('num_samples', NONE)} visits of {found.get('num_patients', NONE)} patients "
        f"(effectively {_few_digits(found.get('effective_patients'))})"
    )


def _few_digits(value: float | None) -> str:
    """420.0 -> 420; 19.84 -> 19.8"""
    return NONE if value is None else f"{round(value, 1):g}"


def _count(n: int, asked: int | None) -> str:
    return f"{n}" + (f" of {asked}" if asked is not None and asked != n else "")


def _our_rows(variant: Report) -> list[str]:
    scores, asked = variant.get(CLASSIFICATION), variant[f"{CLASSIFICATION}_asked"]
    if scores is None:
        return [row(named(variant), unanswered(variant, len(_HEAD) - 1))]
    cells = [scored(scores, name) for name in ("accuracy", "precision", "recall", "f1", "macro_f1")]
    rows = [row(named(variant), *cells, plain(_count(scores["n"], asked)), plain(scores["num_unparsed"]))]
    if likely := scores.get("constrained"):
        head = "<th scope=row class=sub>↳ by class likelihood <span class=tag>constrained</span></th>"
        cells = [scored(likely, name) for name in ("accuracy", "precision", "recall", "f1", "macro_f1")]
        rows.append(row(head, *cells, plain(_count(likely.get("n", 0), asked)), plain(NONE), kind="constrained"))
    return rows


def _baseline_row(found: Report) -> str:
    cells = [cell(found.get(name)) for name in ("accuracy", "precision", "recall", "f1", "macro_f1")]
    return row(f"<th scope=row>{escape(found['name'])}</th>", *cells, plain(found.get("n")), plain(NONE), kind="quiet")


def _table_3(mine: Sequence[Report], report: Report) -> str:
    rows = [block("This run", len(_HEAD)), *(line for variant in mine for line in _our_rows(variant))]
    rows += [block("Without any model, on the same test set", len(_HEAD))]
    rows += [_baseline_row(found) for found in report["baselines"].get(CLASSIFICATION, ())]
    text = (
        f"{size(report, CLASSIFICATION)}, six classes. Precision, recall and F1 are support-weighted: recall equals accuracy; macro F1 "
        "weighs each class alike. In brackets: 95 % intervals. Unparsed answers name no class, or several; they count as wrong."
    )
    if any((variant.get(CLASSIFICATION) or {}).get("constrained") for variant in mine):
        text += (
            " Constrained: the class that the model holds likeliest, not what it wrote. An easier question, "
            "so that these rows stand for themselves and are never the main result."
        )
    return paragraph(text) + table(_HEAD, rows, "Classification scores of this run")


def _paper(report: Report) -> str:
    """The paper's figures in a frame of their own: other data, printed as the paper prints them."""
    found = report.get("paper_table_3") or ()
    names = ("accuracy", "precision", "recall", "f1")
    rows = [
        row(f"<th scope=row>{escape(r['name'])}</th>", *(cell(r[name], digits=2) for name in names), plain("unknown"))
        for r in found
    ]
    text = (
        "Copied from arXiv 2511.04948, Table 3, for orientation. Other patients, other test visits, no intervals, and an n that is not known: "
        "a difference to the figures above is not a result."
    )
    head = ("Model", "Accuracy %", "Precision %", "Recall %", "F1 %", "n")
    label = "Reference: the paper's Table 3, not this run"
    return f"<aside class=paper><h3>{escape(label)}</h3>{paragraph(text)}{table(head, rows, label)}</aside>" if rows else ""


def _per_class(mine: Sequence[Report]) -> str:
    rows = []
    for variant in mine:
        classes = (variant.get(CLASSIFICATION) or {}).get("per_class") or ()
        rows += [block(variant["name"], 5)] if classes else []
        for found in classes:
            cells = [cell(found[name]) for name in ("precision", "recall", "f1")]
            rows.append(row(f"<th scope=row>{escape(found['name'])}</th>", *cells, plain(found["support"])))
    head = ("Class", "Precision %", "Recall %", "F1 %", "Support")
    return folded("Precision, recall and F1 of each class", table(head, rows, "Scores of each class")) if rows else ""


def _group_cell(group: Report | None) -> str:
    if group is None:
        return plain(NONE)
    between = f"<br><span class=ci>{interval(group.get('accuracy_ci'))}</span>" if "accuracy_ci" in group else ""
    return f"<td>{percent(group['accuracy'])}{between}<br><span class=ci>n = {group['n']}</span></td>"


def subgroups(mine: Sequence[Report], withheld: Sequence[str]) -> str:
    """Accuracy by what is known of a visit: a table for each kind of group, a column for each group."""
    found: dict[str, dict[str, dict[str, Report]]] = {}  # kind -> group -> variant -> scores
    for variant in mine:
        for group in (variant.get(CLASSIFICATION) or {}).get("subgroups") or ():
            found.setdefault(str(group.get("by", "")), {}).setdefault(group["name"], {})[variant["name"]] = group
    parts = []
    for by, groups in found.items():
        if len(groups) < 2:  # one group is the whole
            continue
        label = f"By {by}" if by else "By what the dataset says of a visit"
        rows = [
            row(named(variant), *(_group_cell(of.get(variant["name"])) for of in groups.values()))
            for variant in mine
            if any(variant["name"] in of for of in groups.values())
        ]
        shown = table(("Model", *groups), rows, f"Accuracy {label[0].lower()}{label[1:]}")
        parts.append(folded(label, shown, is_open=by in ("", "complaint")))
    text = (
        "Accuracy in per cent. Where the complaint already names the label, reading is enough; what a model sees shows in the other group. "
        "Many groups are small: read the intervals."
    )
    hidden = "".join(map(paragraph, withheld))
    return f"<h3>Subgroups</h3>{paragraph(text)}{''.join(parts)}{hidden}" if parts or hidden else ""


def controls(report: Report) -> str:
    lines = []
    for control in report.get("controls") or ():
        pair, sure = control["change_ci"], control["change_ci"] and control["change_ci"][1] < 0
        verdict = "it looks at the images" if sure else "no proof that it looks at the images"
        lines.append(
            f"<li><b>{escape(control['as_is'])}</b>: with the images of other patients its accuracy changes by "
            f"<b>{signed(control['change'])}</b> points {interval(pair, signs=True)} (n = {control['n']}): {verdict}.</li>"
        )
    return f"<h3>Does it look at the images?</h3><ul>{''.join(lines)}</ul>" if lines else ""


def _heat(share: float) -> str:
    """One of eleven grounds, white to deep blue (report.css)."""
    return f"h{round(10 * share)}"


def _matrix(variant: Report, labels: Sequence[str], linked: bool) -> str:
    """Rows truth, columns answer. A number leads to the answers behind it where the error browser holds them."""
    counts: Sequence[Sequence[int]] = variant[CLASSIFICATION]["confusion"]
    answers = [*labels, "unparsed"]
    head = "<th class=corner>truth ↓<br>answer →</th>" + "".join(
        f"<th scope=col><span>{escape(label)}</span></th>" for label in answers
    )
    rows = ""
    for label, line in zip(labels, counts, strict=True):
        total = sum(line) or 1
        cells = ""
        for answer, count in zip(answers, line, strict=True):
            text = str(count)
            if linked and count:
                place = urlencode({"b": CLASSIFICATION, "v": variant["name"], "t": label, "a": answer})
                said = f"{count} of {label} answered {answer}: show them"
                text = f'<a href="#{escape(place)}" aria-label="{escape(said)}">{count}</a>'
            cells += f"<td class={_heat(count / total)}>{text}</td>"
        rows += f"<tr><th scope=row>{escape(label)}</th>{cells}</tr>"
    accuracy = f"{percent(variant[CLASSIFICATION]['accuracy'])} %"
    return (
        f"<div><h3>{escape(variant['name'])} <span class=note>{accuracy}</span></h3>"
        f"<table class=heat><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def confusions(report: Report, linked: bool) -> str:
    mine: list[dict[str, Any]] = [variant for variant in report["variants"] if variant.get(CLASSIFICATION)]
    note = "Counts of this run (Fig. 6 of the paper); the darker, the larger the share of the row."
    if linked:
        note += " A number leads to its answers in the error browser."
    grid = "".join(_matrix(variant, report["classes"], linked) for variant in mine)
    return section("confusion", "Confusion matrices", f"{paragraph(note)}<div class=grid>{grid}</div>") if mine else ""


def classification(report: Report) -> str:
    mine = [variant for variant in report["variants"] if variant.get(f"{CLASSIFICATION}_asked")]
    if not mine:
        return ""
    body = f"{_table_3(mine, report)}{_paper(report)}{_per_class(mine)}{controls(report)}{subgroups(mine, report.get('withheld') or ())}"
    return section("classification", "Classification", body)
