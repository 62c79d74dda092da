"""The report as one HTML page that needs nothing else: inline style, inline SVG, thumbnails as data URLs, no script, no request.

    report dictionary (scores.py) + examples (report.py)  ->  render(...)  ->  html

Every text is escaped: answers are whatever a model wrote. Heat maps are one blue ramp with the number in each cell, bars are told
apart by their labels: nothing hangs on telling colours apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from codelib.evaluate.variants import CLASSIFICATION, GENERATION


@dataclass(frozen=True)
class ExampleAnswer:
    variant: str
    text: str  # the raw answer, or why there is none
    verdict: str  # right | wrong | unparsed | failed | "" (a report has no verdict)
    other_images: bool  # the variant saw another visit's images


@dataclass(frozen=True)
class Example:
    sample_id: str
    benchmark: str
    thumbnails: tuple[str, ...]  # data URLs
    num_images: int
    question: str
    reference: str
    answers: tuple[ExampleAnswer, ...]


def percent(value: float, digits: int = 1) -> str:
    """0.1667 -> 16.7"""
    return f"{100 * value:.{digits}f}"


def signed(value: float) -> str:
    """-0.667 -> −66.7"""
    return f"{100 * value:+.1f}".replace("-", "−")


def interval(pair: Sequence[float] | None) -> str:
    return f"[{percent(pair[0])}, {percent(pair[1])}]".replace("-", "−") if pair else "[too few patients]"


def _cell(value: float, pair: Sequence[float] | None = None, has_interval: bool = False) -> str:
    return f"<td>{percent(value)}" + (f"<br><span class=ci>{interval(pair)}</span>" if has_interval else "") + "</td>"


def _tags(variant: dict[str, Any]) -> str:
    tags = ["toy"] if variant["toy"] else []
    tags += ["images shuffled"] if variant["images"] == "shuffled" else []
    tags += ["few-shot"] if variant["prompting"] == "few-shot" else []
    plain = "".join(f" <span class=tag>{escape(tag)}</span>" for tag in tags)
    return plain + (f" <span class='tag bad'>{escape(variant['status'])}</span>" if variant["status"] != "complete" else "")


def _block(title: str, columns: int) -> str:
    return f"<tr class=block><td colspan={columns}>{escape(title)}</td></tr>"


_PROSE = ("Reason", "What", "Fingerprint")


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    cells = "".join(f"<th scope=col{' class=prose' if name in _PROSE else ''}>{escape(name)}</th>" for name in head)
    return f"<div class=scroll><table class=figures><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _class_row(variant: dict[str, Any]) -> str:
    scores, asked = variant[CLASSIFICATION], variant[f"{CLASSIFICATION}_asked"]
    name = f"<tr><td>{escape(variant['name'])}{_tags(variant)}</td>"
    if scores is None:
        return f"{name}<td colspan=6 class=prose>no answer: see Failures</td></tr>"
    n = f"{scores['n']}" + (f" of {asked}" if asked != scores["n"] else "")
    middle = _cell(scores["accuracy"], scores["accuracy_ci"], True) + _cell(scores["precision"]) + _cell(scores["recall"])
    return f"{name}{middle}{_cell(scores['f1'], scores['f1_ci'], True)}<td>{n}</td><td>{scores['num_unparsed']}</td></tr>"


def _plain_row(row: dict[str, Any]) -> str:
    digits = 1 if "n" in row else 2  # the paper's figures as it prints them
    cells = "".join(f"<td>{percent(row[name], digits)}</td>" for name in ("accuracy", "precision", "recall", "f1"))
    return f"<tr class=quiet><td>{escape(row['name'])}</td>{cells}<td>{row.get('n', 'unknown')}</td><td>–</td></tr>"


def _size(report: dict[str, Any], benchmark: str) -> str:
    size = report["benchmarks"][benchmark]
    return f"{size['num_samples']} visits of {size['num_patients']} patients (effectively {size['effective_patients']})"


def _classification(report: dict[str, Any]) -> str:
    mine = [variant for variant in report["variants"] if variant[f"{CLASSIFICATION}_asked"]]
    if not mine:
        return ""
    rows = [_block("This run", 7), *map(_class_row, mine), _block("For nothing, on the same test set", 7)]
    rows += [_plain_row(row) for row in report["baselines"][CLASSIFICATION]]
    rows += [_block("Reference: the paper's Table 3 (arXiv 2511.04948) — other data, not this run", 7)]
    rows += [_plain_row(row) for row in report["paper_table_3"]]
    head = ("Model", "Accuracy %", "Precision %", "Recall %", "F1 %", "n", "Unparsed")
    text = (
        f"{_size(report, CLASSIFICATION)}, six classes. Precision, recall and F1 are support-weighted: recall equals accuracy. "
        "Unparsed answers name no class, or several; they count as wrong."
    )
    return f"<h2>Classification</h2><p class=note>{text}</p>{_table(head, rows)}{_subgroups(mine)}{_controls(report)}{_confusions(mine, report)}"


def _subgroups(variants: Sequence[dict[str, Any]]) -> str:
    """Accuracy where the complaint already names the label, and where it does not; by language where there are two."""
    rows = [
        f"<tr><td>{escape(variant['name'])}{_tags(variant)}</td><td class=prose>{escape(group['name'])}</td>"
        f"{_cell(group['accuracy'], group['accuracy_ci'], True)}<td>{group['n']}</td></tr>"
        for variant in variants
        if variant[CLASSIFICATION] and len(variant[CLASSIFICATION]["subgroups"]) > 1  # one group is the whole
        for group in variant[CLASSIFICATION]["subgroups"]
    ]
    return f"<h3>Does the question give it away?</h3>{_table(('Model', 'What', 'Accuracy %', 'n'), rows)}" if rows else ""


def _controls(report: dict[str, Any]) -> str:
    if not report["controls"]:
        return ""
    lines = []
    for control in report["controls"]:
        pair, sure = control["change_ci"], control["change_ci"] and control["change_ci"][1] < 0
        verdict = "it looks at the images" if sure else "no proof that it looks at the images"
        lines.append(
            f"<li><b>{escape(control['as_is'])}</b>: with the images of other patients its accuracy changes by "
            f"<b>{signed(control['change'])}</b> points {interval(pair)} (n = {control['n']}): {verdict}.</li>"
        )
    return f"<h3>Does it look at the images?</h3><ul>{''.join(lines)}</ul>"


def _heat(share: float) -> str:
    """White to deep blue; the figure on it white where the ground is dark."""
    light, dark = (255, 255, 255), (8, 64, 129)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(light, dark, strict=True))
    return f"background:rgb({red},{green},{blue});color:{'#fff' if share > 0.5 else '#1b1f24'}"


def _confusions(variants: Sequence[dict[str, Any]], report: dict[str, Any]) -> str:
    labels = [*report["classes"], "unparsed"]
    head = "<th>truth ↓ answer →</th>" + "".join(f"<th scope=col><span>{escape(label)}</span></th>" for label in labels)
    figures = []
    for variant in variants:
        if variant[CLASSIFICATION] is None:
            continue
        rows = ""
        for label, counts in zip(report["classes"], variant[CLASSIFICATION]["confusion"], strict=True):
            total = sum(counts) or 1
            cells = "".join(f"<td style='{_heat(count / total)}'>{count}</td>" for count in counts)
            rows += f"<tr><th scope=row>{escape(label)}</th>{cells}</tr>"
        figures.append(
            f"<div><h3>{escape(variant['name'])}</h3><table class=heat><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
    note = "Counts; the darker, the larger the share of the row."
    return f"<h2>Confusion matrices</h2><p class=note>{note}</p><div class=grid>{''.join(figures)}</div>" if figures else ""


def _bars(title: str, rows: Sequence[tuple[str, float, Sequence[float] | None, bool]], unit: str) -> str:
    """Horizontal bars in one scale 0..100 with the interval as a whisker. rows: name, share, interval, is baseline."""
    height, left, width = 34, 210, 350
    parts = []
    for index, (name, value, pair, is_baseline) in enumerate(rows):
        y = index * height + 6
        end = left + width * max(0.0, min(1.0, value))
        label = name if len(name) <= 28 else f"{name[:27]}…"
        fill = "#9aa4ae" if is_baseline else "#0072b2"  # Okabe-Ito blue
        parts.append(f"<text x={left - 8} y={y + 15} text-anchor=end font-size=13>{escape(label)}</text>")
        title_tag = f"<title>{escape(name)}</title>"
        parts.append(f"<rect x={left} y={y} width={max(end - left, 0.5):.1f} height=20 fill='{fill}'>{title_tag}</rect>")
        whisker = end
        if pair:
            low, whisker = (left + width * max(0.0, min(1.0, x)) for x in pair)
            line = f"M{low:.1f} {y + 10}H{whisker:.1f}M{low:.1f} {y + 6}v8M{whisker:.1f} {y + 6}v8"
            parts.append(f"<path d='{line}' stroke='#1b1f24' fill='none'/>")
        parts.append(f"<text x={max(end, whisker) + 6:.1f} y={y + 15} font-size=13>{percent(value)}</text>")
    axis = f"<path d='M{left} 0V{len(rows) * height}' stroke='#57606a'/>"
    label = f"{title}: " + "; ".join(f"{name} {percent(value)}" for name, value, _, _ in rows)
    return (
        f"<h3>{escape(title)} <span class=note>{escape(unit)}</span></h3>"
        f"<svg viewBox='0 0 640 {len(rows) * height + 4}' role=img aria-label=\"{escape(label)}\">{axis}{''.join(parts)}</svg>"
    )


def _generation(report: dict[str, Any]) -> str:
    mine = [variant for variant in report["variants"] if variant[f"{GENERATION}_asked"]]
    if not mine:
        return ""
    scored = [(variant["name"], variant[GENERATION], False) for variant in mine if variant[GENERATION]]
    scored += [(row["name"], row, True) for row in report["baselines"][GENERATION]]
    text = (
        f"{_size(report, GENERATION)}. An empty answer counts 0. The grey bar hands in another patient's report: what lies below "
        "it has learnt the form at best."
    )
    head = ("Model", "Corpus BLEU", "BLEU of a report", "METEOR", "Cosine", "n", "Empty")
    rows = []
    for variant in mine:
        scores, name = variant[GENERATION], f"<tr><td>{escape(variant['name'])}{_tags(variant)}</td>"
        rows.append(
            name + ("<td colspan=6 class=prose>no answer: see Failures</td></tr>" if scores is None else _text_cells(scores))
        )
    for row in report["baselines"][GENERATION]:
        rows.append(f"<tr class=quiet><td>{escape(row['name'])}</td>{_text_cells(row)}")
    methods = scored[0][1] if scored else None
    units = {"bleu": "", "meteor": "", "cosine": ""}
    if methods:
        units = {"bleu": methods["bleu_signature"], "meteor": methods["meteor_method"], "cosine": methods["cosine_method"]}
    titles = {"bleu": "BLEU, mean over reports", "meteor": "METEOR", "cosine": "Cosine similarity"}
    bars = "".join(
        _bars(title, [(name, s[key], s[f"{key}_ci"], base) for name, s, base in scored], units[key])
        for key, title in titles.items()
    )
    return f"<h2>Report generation</h2><p class=note>{text}</p>{_table(head, rows)}{bars if scored else ''}"


def _text_cells(scores: dict[str, Any]) -> str:
    cells = "".join(_cell(scores[name], scores[f"{name}_ci"], True) for name in ("bleu", "meteor", "cosine"))
    return f"<td>{scores['corpus_bleu']:.1f}</td>{cells}<td>{scores['n']}</td><td>{scores.get('num_unparsed', '–')}</td></tr>"


def _answer(answer: ExampleAnswer) -> str:
    bad = " bad" if answer.verdict in ("wrong", "unparsed", "failed") else ""
    tag = f" <span class='tag{bad}'>{escape(answer.verdict)}</span>" if answer.verdict else ""
    note = " <span class=note>(saw other images)</span>" if answer.other_images else ""
    return f"<dt>{escape(answer.variant)}{tag}{note}</dt><dd class=text>{escape(answer.text)}</dd>"


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    blocks = []
    for example in examples:
        images = "".join(f"<img src='{escape(url)}' alt='image {i}'>" for i, url in enumerate(example.thumbnails, start=1))
        hidden = example.num_images - len(example.thumbnails)
        more = f"<span class=note>and {hidden} more</span>" if hidden > 0 else ""
        blocks.append(
            f"<article><h3>{escape(example.sample_id)} <span class=note>{escape(example.benchmark)}</span></h3>"
            f"<div class=thumbs>{images}{more}</div>"
            f"<details><summary>Question</summary><div class=text>{escape(example.question)}</div></details>"
            f"<dl><dt>Reference</dt><dd class=text>{escape(example.reference)}</dd>"
            f"{''.join(map(_answer, example.answers))}</dl></article>"
        )
    note = "Drawn by seed, right and wrong answers mixed on purpose: not a sample to count on."
    return f"<h2>Examples</h2><p class=note>{note}</p>{''.join(blocks)}"


def _failures(report: dict[str, Any]) -> str:
    rows = [
        f"<tr><td>{escape(variant['name'])}</td><td class=prose>{escape(reason)}</td><td>{count}</td></tr>"
        for variant in report["variants"]
        for reason, count in variant["failures"].items()
    ]
    return "<h2>Failures</h2>" + (_table(("Model", "Reason", "Questions"), rows) if rows else "<p>None.</p>")


def _origin(report: dict[str, Any]) -> str:
    rows = []
    for variant in report["variants"]:
        prints = ", ".join(f"{name} {value}" for name, value in variant["fingerprint"].items())
        adapter = f" + {variant['adapter']}" if variant["adapter"] else ""
        what = f"{variant['engine']}: {variant['model']}{adapter}"
        rows.append(
            f"<tr><td>{escape(variant['name'])}</td><td class=prose>{escape(what)}</td><td class=print>{escape(prints)}</td></tr>"
        )
    versions = " · ".join(f"{name} {value}" for name, value in report["versions"].items())
    settings = " · ".join(f"{name}={value}" for name, value in report["settings"].items() if value is not None)
    return (
        f"<h2>Versions and fingerprints</h2>{_table(('Model', 'What', 'Fingerprint'), rows)}"
        f"<p class=note>{escape(versions)}</p><p class=note>Settings: {escape(settings)}</p>"
    )


def lead(report: dict[str, Any]) -> str:
    """What was evaluated, and the main result, in two sentences."""
    sizes = "; ".join(f"{name} on {size['num_samples']} visits" for name, size in report["benchmarks"].items())
    text = f"{len(report['variants'])} model variants on the test set of {report['dataset']}: {sizes}."
    scored = [v for v in report["variants"] if v[CLASSIFICATION] and v["images"] == "as_is"]
    if scored:
        best = max(scored, key=lambda v: v[CLASSIFICATION]["accuracy"])
        scores = best[CLASSIFICATION]
        nothing = ", ".join(f"{row['name']} {percent(row['accuracy'])} %" for row in report["baselines"][CLASSIFICATION])
        text += (
            f" Best at classification: {best['name']}, accuracy {percent(scores['accuracy'])} % {interval(scores['accuracy_ci'])}"
            f" (n = {scores['n']}); {nothing}."
        )
    return text


def render(report: dict[str, Any], examples: Sequence[Example]) -> str:
    """The whole page."""
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    notes = "".join(f"<li>{escape(note)}</li>" for note in report["notes"])
    body = (
        f"<h1>Evaluation: {escape(report['dataset'])}</h1><p class=lead>{escape(lead(report))}</p><ul class=notes>{notes}</ul>"
        f"{_classification(report)}{_generation(report)}{_examples(examples)}{_failures(report)}{_origin(report)}"
    )
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>Evaluation: {escape(report['dataset'])}</title><style>{style}</style></head><body>{body}</body></html>\n"
    )
