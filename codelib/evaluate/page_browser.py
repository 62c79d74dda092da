"""The error browser's frame and data (browser.js makes it live), and a few examples for a page without script.

The data stand in a block that no browser runs (type application/json) and in which no `<` is left: nothing that a model wrote can end it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from codelib.evaluate.cases import FAILED, UNPARSED, VERDICTS, WRONG, Case, CaseAnswer, Cases
from codelib.evaluate.page_parts import paragraph, tag
from codelib.evaluate.variants import CLASSIFICATION


def script() -> str:
    return (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")


def data(cases: Cases, variants: Sequence[str]) -> str:
    """JSON for browser.js, as text of a script element. Keys are short, for there may be 13,000 answers; browser.js names them."""
    number = {name: i for i, name in enumerate(cases.pictures)}
    variant = {name: i for i, name in enumerate(variants)}

    def seen(names: Sequence[str]) -> list[int]:
        return [number[name] for name in names if name in number]

    def answer(found: CaseAnswer) -> list[object]:
        line: list[object] = [variant[found.variant], found.verdict, found.text, found.answered, found.likely, found.alike]
        if found.images is not None or found.reference is not None:
            line += [None if found.images is None else seen(found.images), found.reference]
        return line

    content = {
        "variants": list(variants),
        "pictures": list(cases.pictures.values()),
        "cases": [
            {
                "id": case.sample_id,
                "b": case.benchmark,
                "t": case.truth,
                "q": case.question,
                "r": case.reference,
                "m": seen(case.images),
                "n": case.num_images,
                "a": list(map(answer, case.answers)),
            }
            for case in cases.cases
        ],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _select(name: str, label: str, values: Sequence[str], anything: str, is_hidden: bool = False) -> str:
    options = "".join(f'<option value="{escape(value)}">{escape(value)}</option>' for value in values)
    select = f"<select name={name}><option value=''>{escape(anything)}</option>{options}</select>"
    return f"<label{' hidden' * is_hidden}>{escape(label)}{select}</label>"


def frame(cases: Cases, variants: Sequence[str], classes: Sequence[str]) -> str:
    """The filters and the empty places for list and case; hidden until the script fills it."""
    benchmarks = list(dict.fromkeys(case.benchmark for case in cases.cases))
    filters = (
        _select("b", "Benchmark", benchmarks, "all")
        + _select("v", "Variant", variants, "all")
        + _select("is", "Answer is", VERDICTS, "anything")
        + _select("t", "True class", classes, "any", is_hidden=CLASSIFICATION not in benchmarks)
        + _select("a", "Answered class", [*classes, UNPARSED], "any", is_hidden=CLASSIFICATION not in benchmarks)
        + "<label>Order<select name=by><option value=''>as in the test set</option><option value=alike>least alike first</option></select>"
        "</label><label class=wide>Text in question, reference or answer<input name=q type=search autocomplete=off spellcheck=false></label>"
    )
    held = (
        f"All {cases.num_all:,} test questions with every answer."
        if len(cases.cases) == cases.num_all
        else f"{len(cases.cases):,} of {cases.num_all:,} test questions, drawn by seed, right and wrong in turn, so that this page stays a "
        "page: do not count on them. All of them are in predictions.csv, beside this file."
    )
    keys = "Keys: <kbd>j</kbd> or <kbd>→</kbd> next, <kbd>k</kbd> or <kbd>←</kbd> previous. "
    keys += "The address keeps what you see: copy it to show somebody."
    return (
        f"<div id=browser class=browser hidden>{paragraph(held)}<p class='note keys'>{keys}</p>"
        f"<form class=filters aria-label='Filter the answers'>{filters}<button type=reset>Clear</button></form>"
        "<p id=found class=found role=status aria-live=polite></p>"
        "<div class=panes><nav class=list aria-label='Answers found'><ol id=list></ol>"
        "<div class=pager><button type=button id=newer>‹ Page</button> <span id=pages></span> <button type=button id=older>Page ›</button></div>"
        "</nav><div id=case class=case tabindex=-1 role=region aria-label='The chosen answer'></div></div></div>"
    )


def _answer(answer: CaseAnswer) -> str:
    bad = answer.verdict in (WRONG, UNPARSED, FAILED)
    shown = tag(answer.verdict, bad) if answer.verdict else ""
    seen = "" if answer.images is None else ("saw other images" if answer.images else "saw no image")
    note = f" <span class=note>({seen})</span>" if seen else ""
    return f"<dt>{escape(answer.variant)}{shown}{note}</dt><dd class=text>{escape(answer.text)}</dd>"


def _example(case: Case, cases: Cases) -> str:
    urls = [cases.pictures[name] for name in case.images if name in cases.pictures]
    images = "".join(f"<img src='{escape(url)}' alt='image {i}' loading=lazy>" for i, url in enumerate(urls, start=1))
    hidden = case.num_images - len(urls)
    more = f"<span class=note>and {hidden} more</span>" if hidden > 0 else ""
    return (
        f"<article><h3>{escape(case.sample_id)} <span class=note>{escape(case.benchmark)}</span></h3>"
        f"<div class=thumbs>{images}{more}</div>"
        f"<details><summary>Question</summary><div class=text>{escape(case.question)}</div></details>"
        f"<dl><dt>Reference</dt><dd class=text>{escape(case.reference)}</dd>{''.join(map(_answer, case.answers))}</dl></article>"
    )


def browser(cases: Cases, examples: Sequence[Case], variants: Sequence[str], classes: Sequence[str]) -> str:
    """The section; the script itself is put at the page's end."""
    if not cases.cases:
        return ""
    note = (
        "A few, drawn by seed, right and wrong answers mixed on purpose: not a sample to count on. "
        "With scripts allowed, all answers can be searched here."
    )
    few = "".join(_example(case, cases) for case in examples)
    return (
        "<section id=browse aria-labelledby=browse-title><h2 id=browse-title>Error browser</h2>"
        f"<div id=examples>{paragraph(note)}{few}</div>{frame(cases, variants, classes)}"
        f"<script type='application/json' id=cases>{data(cases, variants)}</script></section>"
    )
