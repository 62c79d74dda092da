"""A report with every key, and one with none of the new ones: page, CSV, LaTeX, terminal; texts are escaped everywhere; the page has a limit."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import PREDICTIONS
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.cases import LADDER, collect
from codelib.evaluate.latex import escape, tables
from codelib.evaluate.page import render, troubles
from codelib.evaluate.page_browser import data
from codelib.evaluate.page_comparisons import comparisons
from codelib.evaluate.plan import EvaluateSettings
from codelib.evaluate.report import page_html
from codelib.evaluate.run import Outcome
from codelib.evaluate.summary import summary
from codelib.evaluate.tables import COLUMNS, as_received, figures, inert, predictions_csv, table_csv
from codelib.evaluate.variants import Variant
from tests.report_cases import HOSTILE, NAMES, full_report, old_report
from tests.report_run import run_of, variants
from tests.unit.test_report import Page


def numbers(value: Any) -> set[str]:
    """Shares of a report, as the page prints them."""
    return {f"{100 * value:.1f}".replace("-", "−")} if isinstance(value, float) else set()


# the page


@pytest.mark.parametrize("report", [full_report(), old_report()], ids=["full", "old"])
def test_a_page_is_whole_whatever_the_report_has(report: dict[str, Any]) -> None:
    page = Page(render(report))
    assert page.row("SFT Qwen 7B")
    assert page.tags["script"] == 0  # without cases there is nothing to run
    assert page.tags["h1"] == 1


def test_every_key_is_shown() -> None:
    report = full_report()
    html = render(report)
    page = Page(html)
    text = re.sub(r"<[^>]+>", " ", html)
    for variant in report["variants"]:
        scores, written, spectrum = (variant[name] or {} for name in ("classification", "generation", "spectrum"))
        shown = [scores.get("macro_f1"), (scores.get("constrained") or {}).get("accuracy"), written["sections"]["coverage"]]
        shown += [*written["sections"]["each"].values(), spectrum.get("micro_f1"), spectrum.get("macro_f1")]
        shown += [value for name, value in written["clinical"].items() if name != "n"]
        shown += [found["mean"] for found in written["embeddings"]]
        for value in shown:
            assert numbers(value) <= set(re.findall(r"−?\d+\.\d", text)), value
    for words in (
        *(
            "By age band",
            "By gender",
            "By number of images",
            "By radiograph",
            "40 to 64",
            "constrained",
            "Chinese",
            "text only",
            "refused",
        ),
        *(
            "98 rare conditions together (each of fewer than 10 patients)",
            "chronic caries",
            "Whose images it sees: macro F1",
            "39 of 55",
            "paired bootstrap",
        ),
        *(
            "$12.47",
            "2,730,000",
            "1 h 29 min",
            "You are a dentist.",
            "repetition_penalty 1.05",
            "always first (Caries)",
            "page_mb=25",
        ),
        *("PARTIAL RESULTS", "was refused: all 8 answers equal the base", "no better than chance", "were cut at the limit"),
    ):
        assert words in text, words
    better = page.row(NAMES[4])
    assert better[1].startswith(f"{100 * report['variants'][4]['classification']['accuracy']:.1f}[")
    # the paper's figures stand in a frame of their own, and in no table of ours
    frame = re.search(r"<aside class=paper>.*?</aside>", html, re.DOTALL)
    assert frame is not None
    assert "not this run" in frame[0]
    assert html.count(">48.97<") == frame[0].count(">48.97<") == 2


def test_the_better_model_of_a_pair_comes_first() -> None:
    report = full_report()
    report["paired"] = [
        {"benchmark": "classification", "metric": "accuracy", "a": "worse", "b": "better", "n": 9, "difference": -0.25,
         "difference_ci": [-0.4, -0.1], "test": "mcnemar", "p": 0.0004, "p_holm": 0.012, "significant": True}
    ]  # fmt: skip
    row = Page(render(report)).row("better")
    assert row[1:6] == ["worse", "+25.0[+10.0, +40.0]", "<0.001", "0.012", "yes"]


@pytest.mark.parametrize("num_variants", [3, 5, 12])
def test_many_pairs_are_one_square_on_paper(num_variants: int) -> None:
    """Twelve variants in five metrics are 330 tests, eight pages; a square of differences says which are real."""
    report = full_report()
    names = [f"v{number}" for number in range(num_variants)]
    report["paired"] = [
        {"benchmark": "generation", "metric": "bleu", "a": a, "b": b, "n": 9, "difference": (int(a[1:]) - int(b[1:])) / 100,
         "difference_ci": None, "test": "bootstrap", "p": 0.5, "p_holm": 0.5, "significant": (a, b) == ("v0", "v2")}
        for number, a in enumerate(names) for b in names[number + 1 :]
    ]  # fmt: skip
    html = comparisons(report)
    rows = [row for row in Page(html).rows if re.fullmatch(r"\d+ v\d+", row[0])]
    if num_variants == 3:
        assert rows == []
        assert "<details open>" in html
        return
    assert "<details class=long>" in html  # which the style sheet leaves out of a print
    assert "<details>" not in html
    assert len(rows) == num_variants
    assert rows[0][1] == "·"
    assert rows[2][:2] == ["3 v2", "+2.0*"]
    assert {len(row) for row in rows} == {1 + (num_variants if num_variants <= 10 else 1)}


def test_a_model_that_was_refused_is_never_the_best() -> None:
    report = full_report()
    report["variants"][4]["canary"] = {"status": "refused", "why": "its logits differ from the trainer's"}
    text = summary(report)
    assert "Best" not in text
    assert f"{NAMES[4]} was refused: its logits differ from the trainer's." in troubles(report)
    assert re.search(rf"{NAMES[4]}  .* refused$", text, re.MULTILINE)
    assert f"Best at classification: {NAMES[4]}, accuracy" in render(full_report())
    assert f"Best at classification: {NAMES[4]}, accuracy" not in render(report)


def test_every_broken_variant_is_named_before_any_is_named_twice() -> None:
    report = old_report()
    for variant in report["variants"]:
        variant["diagnosis"] = [
            {"code": code, "benchmark": None, "text": f"{code} of {variant['name']}"} for code in ("one", "two")
        ]
    found = troubles(report)
    assert ["one of" in text for text in found] == [True] * len(NAMES) + [False] * len(NAMES)
    assert f"<summary>{2 * len(NAMES) - 4} more</summary>" in render(report)


def test_heads_stand_apart_where_all_names_are_short() -> None:
    report = full_report()
    report["variants"] = [report["variants"][0] | {"name": "a", "classification_asked": 0, "generation_asked": 0}]
    report["baselines"] = {}
    assert "  all conditions  micro F1  macro F1" in summary(report)


def test_the_terminal_stays_short() -> None:
    text = summary(full_report())
    assert len(text.splitlines()) < 60
    for words in (
        "! PARTIAL",
        "! A model",
        "macro F1",
        "sections",
        "all conditions",
        "classification accuracy 39 of 55",
        "$12.47",
    ):
        assert words in text, words
    assert "By age band" not in text
    assert summary(old_report()).splitlines()[0].startswith("  classification")


# what a model wrote


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_text_gets_out_of_its_place(text: str) -> None:
    report = old_report(60)
    report["variants"] = report["variants"][:1]
    report["variants"][0]["name"] = text
    report["dataset"] = report["notes"][0] = text
    report["prompts"] = [{"benchmark": text, "variants": [text], "text": text}]
    plain = old_report(60)
    plain["variants"] = plain["variants"][:1]
    plain["prompts"] = [{"benchmark": "x", "variants": ["x"], "text": "x"}]
    assert Page(render(report)).tags == Page(render(plain)).tags


def test_the_data_block_holds_no_markup(tmp_path: Path) -> None:
    plan, outcome = run_of(tmp_path, 6)
    rows = outcome.table.to_pylist()
    cases = collect(tmp_path, variants(), plan.tests, rows, 0, 10**7)
    text = data(cases, NAMES)
    assert not set("<>&") & set(text)
    held = json.loads(text)
    assert [one["a"][0][2] for one in held["cases"] if one["id"] in ("test-cls/3", "test-diagnostic/3")] == [HOSTILE, HOSTILE]
    assert sum(len(one["a"]) for one in held["cases"]) == len(rows)


# cases


def test_verdicts() -> None:
    def of(benchmark: str, reference: str, parsed: str | None, status: str = "ok") -> str:
        row = {
            "variant": "v",
            "sample_id": "0",
            "benchmark": benchmark,
            "reference": reference,
            "parsed": parsed,
            "status": status,
        }
        row |= {"answer": parsed or "hm", "reject_reason": "evaluate:x", "images": []}
        sample = Sample("0", benchmark, "p", (), (), reference)
        (case,) = collect(Path(), (Variant(name="v", model="m"),), {benchmark: (sample,)}, [row], 0, 10**6).cases
        return case.answers[0].verdict

    assert of("classification", "Caries", "Caries") == "right"
    assert of("classification", "Caries", "Pulpitis") == "wrong"
    assert of("classification", "Caries", None) == "unparsed"
    assert of("classification", "Caries", "Caries", "rejected") == "failed"
    assert of("generation", "Diagnosis: x", "Diagnosis: y") == ""
    assert of("generation", "Diagnosis: x", "") == "unparsed"
    assert of("spectrum", '["Deep caries", "Gingivitis"]', "1. gingivitis\n2. deep caries") == "right"
    assert of("spectrum", '["Deep caries", "Gingivitis"]', '["gingivitis"]') == "partly"
    assert of("spectrum", '["Deep caries"]', "Gingivitis, no deep caries") == "wrong"
    assert of("spectrum", '["Deep caries"]', "I cannot tell.") == "unparsed"


def test_an_answer_stands_beside_what_it_was_held_against(tmp_path: Path) -> None:
    """A variant in another language has another reference; one that is asked with text alone saw no image."""
    sample = Sample("0", "generation", "p", (), ("a.jpg",), "Diagnosis: deep caries")
    row = {
        "variant": "en",
        "sample_id": "0",
        "benchmark": "generation",
        "reference": sample.reference,
        "parsed": "x",
        "status": "ok",
    }
    row |= {"answer": "x", "reject_reason": None, "images": ["a.jpg"]}
    other = row | {"variant": "zh", "reference": "诊断：深龋", "answer": "诊断：深龋", "parsed": "诊断：深龋", "images": []}
    shown = (Variant(name="en", model="m"), Variant(name="zh", model="m"))
    (case,) = collect(tmp_path, shown, {"generation": (sample,)}, [other, row], 0, 10**6).cases
    english, chinese = case.answers
    assert (english.variant, english.reference, english.images, english.alike) == ("en", None, None, 0.0)
    assert (chinese.variant, chinese.reference, chinese.images, chinese.alike) == ("zh", "诊断：深龋", (), 1.0)


def test_the_page_keeps_its_limit_and_says_what_is_missing(tmp_path: Path) -> None:
    plan, outcome = run_of(tmp_path, 60)
    rows = outcome.table.to_pylist()
    everything = collect(tmp_path, variants(), plan.tests, rows, 0, 10**8)
    assert (len(everything.cases), everything.num_all, len(everything.pictures)) == (120, 120, 120)
    size = sum(map(len, everything.pictures.values()))
    smaller = collect(tmp_path, variants(), plan.tests, rows, 0, 1_100_000)
    assert len(smaller.cases) == 120  # smaller pictures before fewer visits
    assert sum(map(len, smaller.pictures.values())) < size / 2
    few = collect(tmp_path, variants(), plan.tests, rows, 0, 300_000)
    assert 10 < len(few.cases) < 120
    assert {case.benchmark for case in few.cases} == {"classification", "generation"}
    assert few == collect(tmp_path, variants(), plan.tests, rows, 0, 300_000)
    order = [case.sample_id for case in everything.cases]
    assert [order.index(case.sample_id) for case in few.cases] == sorted(order.index(case.sample_id) for case in few.cases)
    report = full_report(60)
    report["prompts"][0]["text"] = "a long few-shot prompt " * 15_000
    html = page_html(tmp_path, variants(), plan, outcome, report, EvaluateSettings(page_mb=1))
    assert len(html.encode()) <= 1_000_000
    assert re.search(r"\d+ of 120 test questions, drawn by seed", html)
    assert "predictions.csv" in html
    assert "All 120 test questions" in page_html(tmp_path, variants(), plan, outcome, full_report(60), EvaluateSettings())
    assert LADDER[0][0] > LADDER[-1][0]


def test_no_room_and_missing_images_are_no_error(tmp_path: Path) -> None:
    plan, outcome = run_of(tmp_path, 6)
    rows = outcome.table.to_pylist()
    assert collect(tmp_path, variants(), plan.tests, rows, 0, 0).cases == ()
    found = collect(tmp_path / "elsewhere", variants(), plan.tests, rows, 0, 10**7)
    assert (len(found.cases), found.pictures) == (12, {})
    assert collect(tmp_path, variants(), plan.tests, [], 0, 10**7).cases[0].answers == ()


# CSV

FORMULAS = ("=HYPERLINK(A1)", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "'=1")


def test_no_cell_is_a_formula_and_every_text_comes_back() -> None:
    report = full_report()
    report["variants"] = [variant | {"name": f"={variant['name']}"} for variant in report["variants"]]
    assert "=" in {row["name"][1:2] for row in csv.DictReader(io.StringIO(table_csv(report).decode()))}
    rows = [
        {
            **dict.fromkeys(PREDICTIONS.schema.names),
            "variant": "=v",
            "sample_id": str(n),
            "answer": text,
            "images": ["=a.jpg"],
            "status": "ok",
        }
        for n, text in enumerate(FORMULAS)
    ]
    written = predictions_csv(Outcome(pa.Table.from_pylist(rows, schema=PREDICTIONS.schema), 0, 0, {})).decode()
    lines = list(csv.DictReader(io.StringIO(written, newline="")))
    cells = [cell for line in lines for cell in line.values()]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert [as_received(line["answer"]) for line in lines] == list(FORMULAS)


@given(st.text("=+-@'\t\rab", max_size=4))
def test_what_is_made_inert_comes_back(text: str) -> None:
    assert as_received(inert(text)) == text
    assert as_received(text) == text or text.startswith("'")


def test_the_table_is_tidy_and_whole() -> None:
    report = full_report()
    rows = list(csv.DictReader(io.StringIO(table_csv(report).decode())))
    assert tuple(rows[0]) == COLUMNS
    keys = [tuple(row[name] for name in ("kind", "name", "benchmark", "metric", "by", "group", "against")) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        assert float(row["value"]) is not None
        assert (row["low"] == "") == (row["high"] == "")
    kinds = {row["kind"] for row in rows}
    assert kinds == {
        *(
            "variant",
            "constrained",
            "class",
            "subgroup",
            "clinical",
            "embedding",
            "section",
            "condition",
            "cost",
            "baseline",
            "control",
        ),
        *("difference", "ablation", "paper", "conditions in reports", "cost of all"),
    }
    found = dict(zip(keys, rows, strict=True))
    pair = found["difference", NAMES[0], "classification", "accuracy", "", "", NAMES[4]]
    assert float(pair["value"]) == pytest.approx(0.49 - 0.79)
    assert pair["p_holm"]
    age = found["subgroup", NAMES[4], "classification", "accuracy", "age band", "40 to 64", ""]
    assert age["n"] == "200"
    assert {line["kind"] for line in figures(old_report())} < kinds


# LaTeX


def well_formed(text: str) -> None:
    """What pdflatex would stumble over, without one: groups, environments, the number of cells, bare specials."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    depth = 0
    for token in re.findall(r"\\.|[{}]", body):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
    assert depth == 0
    (environment, columns), *more = re.findall(r"\\begin\{(\w+)\}\{(\w+)\}", body)
    assert not more
    assert body.strip().endswith(f"\\end{{{environment}}}")
    assert [body.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    for line in lines:
        cells = len(re.findall(r"(?<!\\)&", line)) + 1
        assert cells == len(columns) or line.startswith(rf"\multicolumn{{{len(columns)}}}")
    assert not re.search(r"(?<!\\)[#%_~^\"<>|]", re.sub(r"\$[^$]*\$", "", body))


DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{booktabs}\usepackage{longtable}
\begin{document}
BODY
\end{document}
"""


def test_latex_tables_are_well_formed_and_compile(tmp_path: Path) -> None:
    report = full_report()
    report["variants"][0]["name"] = '\\input{x} 50% $a_b^c$ #1 ~& {[*]} -- "q" <b> |\'` é – “y” \u202e'
    made = tables(report)
    assert sorted(made) == [
        f"table-{n}.tex" for n in ("classification", "differences", "generation", "paper", "per-class", "spectrum")
    ]
    for name, text in made.items():
        well_formed(text)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert "78.92" in made["table-paper.tex"]
    assert not any("78.92" in text for name, text in made.items() if name != "table-paper.tex")
    assert r"\begin{longtable}" in made["table-differences.tex"]
    for text in tables(old_report()).values():
        well_formed(text)
    if program := shutil.which("pdflatex"):
        body = "\n\n".join(rf"\input{{{name}}}" for name in made)
        (tmp_path / "all.tex").write_text(DOCUMENT.replace("BODY", body), encoding="utf-8")
        command = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]


@given(st.text(max_size=80))
def test_escaped_text_is_balanced_and_has_no_bare_special(text: str) -> None:
    escaped = escape(text)
    well_formed(f"\\begin{{tabular}}{{l}}\n\\toprule\n{escaped} \\\\\n\\bottomrule\n\\end{{tabular}}\n")
    assert "\n" not in escaped
