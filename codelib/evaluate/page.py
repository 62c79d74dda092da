"""The report as one HTML page that needs nothing else: inline style, script, drawings, thumbnails as data URLs; no request leaves it.

    report dictionary (scores.py) + cases (cases.py)  ->  render(...)  ->  html
        page_classification · page_generation · page_spectrum · page_comparisons · page_origin · page_browser (browser.js)

Every text is escaped: answers are whatever a model wrote. Should one get through, the page's policy runs nothing: it names its one script
and its style by hash. Heat maps are one blue ramp with the number in each cell, bars are told apart by their labels: nothing hangs on
telling colours apart. Keys of the dictionary that are not there make no section.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path

from codelib.evaluate.cases import Case, Cases
from codelib.evaluate.page_browser import browser, script
from codelib.evaluate.page_classification import classification, confusions
from codelib.evaluate.page_comparisons import comparisons
from codelib.evaluate.page_generation import generation
from codelib.evaluate.page_origin import costs, failures, origin, prompts
from codelib.evaluate.page_parts import NONE, Report, duration, folded, interval, percent
from codelib.evaluate.page_spectrum import ablations, spectrum
from codelib.evaluate.variants import CLASSIFICATION, GENERATION

_NO_CASES = Cases((), 0, {})
_SHOWN = 4  # problems and notes that stand unfolded


def best(report: Report, benchmark: str, metric: str) -> Report | None:
    """The variant with the highest figure; controls and what was refused do not compete."""
    scored = [
        variant
        for variant in report["variants"]
        if (variant.get(benchmark) or {}).get(metric) is not None and variant.get("images") == "as_is" and not is_refused(variant)
    ]
    return max(scored, key=lambda variant: variant[benchmark][metric], default=None)


def is_refused(variant: Report) -> bool:
    return (variant.get("canary") or {}).get("status") == "refused" or variant.get("status") == "refused"


def lead(report: Report) -> str:
    """What was evaluated, and the main result, in two sentences."""
    sizes = "; ".join(f"{name} on {size['num_samples']} visits" for name, size in report["benchmarks"].items())
    count = len(report["variants"])
    text = f"{count} model variant{'s' * (count != 1)} on the test set of {report['dataset']}: {sizes}."
    if winner := best(report, CLASSIFICATION, "accuracy"):
        scores = winner[CLASSIFICATION]
        nothing = ", ".join(f"{row['name']} {percent(row['accuracy'])} %" for row in report["baselines"].get(CLASSIFICATION, ()))
        text += (
            f" Best at classification: {winner['name']}, accuracy {percent(scores['accuracy'])} % {interval(scores['accuracy_ci'])}"
            f" (n = {scores['n']}); {nothing}."
        )
    return text


def troubles(report: Report) -> list[str]:
    """What speaks against believing a figure: partial results, refused adapters, broken models. The gravest of each variant come first, so
    that a short list names all that are broken."""
    each = []
    for variant in report["variants"]:
        told = [one if isinstance(one, dict) else {"text": str(one)} for one in variant.get("diagnosis") or ()]
        mine = [one["text"] if one["text"].startswith(variant["name"]) else f"{variant['name']}: {one['text']}" for one in told]
        if is_refused(variant) and not any(one.get("code") == "no_effect" for one in told):
            why = (variant.get("canary") or {}).get("why") or "its adapter changes no answer"
            mine.insert(0, f"{variant['name']} was refused: {why}.")
        each.append(mine)
    found = [text for turn in zip_longest(*each) for text in turn if text]
    partial = "PARTIAL RESULTS: not every question is answered yet. Run the same command again; only what is missing is asked."
    return [partial, *found] if report.get("partial") else found


def _card(label: str, value: str, text: str) -> str:
    return f"<div class=card><dt>{escape(label)}</dt><dd><b>{escape(value)}</b><span>{escape(text)}</span></dd></div>"


def _cards(report: Report) -> str:
    """The main figures at a glance."""
    cards = []
    for benchmark, metric, label in (
        (CLASSIFICATION, "accuracy", "Best accuracy"),
        (GENERATION, "meteor", "Best METEOR"),
        ("spectrum", "micro_f1", "Best micro F1, all conditions"),
    ):
        if winner := best(report, benchmark, metric):
            scores = winner[benchmark]
            between = f" {interval(scores[f'{metric}_ci'])}" if scores.get(f"{metric}_ci") else ""
            cards.append(_card(label, f"{percent(scores[metric])} %", f"{winner['name']}{between}"))
    tests = report.get("paired") or ()
    if tests:
        sure = sum(bool(found.get("significant")) for found in tests)
        cards.append(_card("Significant differences", f"{sure} of {len(tests)}", "paired tests, Holm-corrected"))
    if cost := report.get("cost"):
        paid = f", ${cost['usd']:,.2f}" if cost.get("usd") is not None else ""
        cards.append(_card("Answers", f"{cost['num_answers']:,}", f"{duration(cost['seconds'])} of model time{paid}"))
    return f"<dl class=cards>{''.join(cards)}</dl>" if cards else ""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _policy(style: str, code: str) -> str:
    """Nothing is fetched, framed, submitted or run but what stands here by hash (CSP level 2)."""
    allowed = f" script-src {_hash(code)};" if code else ""
    return f"default-src 'none'; img-src data:; style-src {_hash(style)};{allowed} base-uri 'none'; form-action 'none'"


def _contents(sections: Sequence[str]) -> str:
    """Links to the sections that are there."""
    found = re.findall(
        r"<section id=(\w+) aria-labelledby=[\w-]+><h2 id=[\w-]+>(.*?)</h2>", "".join(part[:300] for part in sections)
    )
    links = "".join(f"<li><a href='#{name}'>{title}</a></li>" for name, title in found)
    return f"<nav class=contents aria-label='Contents'><ul>{links}</ul></nav>"


def _listed(lines: Sequence[str], more: str) -> str:
    """A few lines unfolded, the rest behind a summary."""
    first, rest = (
        f"<ul class=notes>{''.join(f'<li>{escape(x)}</li>' for x in part)}</ul>" for part in (lines[:_SHOWN], lines[_SHOWN:])
    )
    return (first if lines else "") + (folded(more.format(n=len(lines) - _SHOWN), rest) if lines[_SHOWN:] else "")


def _head(report: Report) -> str:
    found = _listed(troubles(report), "{n} more")
    box = f"<div class=troubles role=note aria-label='Problems'><h2>Look at this first</h2>{found}</div>" if found else ""
    below = set(report.get("withheld") or ())  # said where the subgroups are
    told = [note for note in report.get("notes") or () if note not in below]
    notes = _listed(told, "How the figures are made: {n} more")  # the gravest first
    title = f"<h1>Evaluation: {escape(str(report.get('dataset') or NONE))}</h1>"
    return f"<header>{title}<p class=lead>{escape(lead(report))}</p>{box}{_cards(report)}{notes}</header>"


def without_answers(report: Report) -> int:
    """Bytes of the page with its error browser empty: what is left of a limit is the room for answers and pictures."""
    nothing = Case("", CLASSIFICATION, "", "", "", (), 0, ())
    return len(render(report, Cases((nothing,), 1, {})).encode())


def render(report: Report, cases: Cases = _NO_CASES, examples: Sequence[Case] = ()) -> str:
    """The whole page."""
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    code = script() if cases.cases else ""
    variants = [variant["name"] for variant in report["variants"]]
    sections = [
        classification(report),
        confusions(report, linked=any(case.benchmark == CLASSIFICATION for case in cases.cases)),
        generation(report),
        spectrum(report),
        ablations(report),
        comparisons(report),
        browser(cases, examples, variants, report["classes"]),
        failures(report),
        costs(report),
        prompts(report),
        origin(report),
    ]
    title = f"Evaluation: {escape(str(report.get('dataset') or NONE))}"
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_policy(style, code)}">'
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{style}</style></head><body><a class=skip href='#main'>To the results</a>"
        f"{_head(report)}{_contents(sections)}<main id=main>{''.join(sections)}</main>"
        f"{f'<script>{code}</script>' if code else ''}</body></html>\n"
    )
