"""Writes what a run found: a page for a person, and the same for a program.

    report dictionary + predictions  ->  WORKSPACE/evaluate/report/  report.html, table.csv, predictions.csv; report.json last

Each file is committed whole; report.json, written last, says that the others belong to it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from codelib.contracts import OK, PREDICTIONS
from codelib.core.store import Store
from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.page import Example, ExampleAnswer, render
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.run import Outcome
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, Variant

FOLDER = "report"
WITHDRAWN = "WITHDRAWN.txt"  # stands there while a report was taken away and is not made anew
_THUMBNAIL_PX = 160
_THUMBNAILS = 4  # of a visit's images; the page says how many more there are
_LONGEST_TEXT = 1500  # characters of an answer shown on the page; predictions.csv has all of it


def thumbnail(path: Path) -> str | None:
    """A small JPEG as a data URL, rebuilt from pixels; None where the file is no image."""
    try:
        with Image.open(path) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=75)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all of which Pillow raises for a bad file
        return None
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


# examples


def _verdict(row: dict[str, Any]) -> str:
    if row["status"] != OK:
        return "failed"
    if row["benchmark"] != CLASSIFICATION:
        return "" if row["parsed"] else "unparsed"
    if row["parsed"] is None:
        return "unparsed"
    return "right" if row["parsed"] == parse_class(row["reference"]) else "wrong"


def choose(samples: Sequence[Sample], verdicts: dict[str, list[str]], count: int, seed: int) -> list[Sample]:
    """A seeded choice in which samples that every variant got right, that some did and that none did take turns."""

    def kind(sample: Sample) -> int:
        found = [verdict for verdict in verdicts.get(sample.sample_id, []) if verdict]
        right = found.count("right")
        return 0 if found and right == len(found) else (1 if right else 2)

    def draw(sample: Sample) -> str:
        return hashlib.sha256(f"{seed}/example/{sample.sample_id}".encode()).hexdigest()

    piles: list[list[Sample]] = [[], [], []]
    for sample in sorted(samples, key=draw, reverse=True):
        piles[kind(sample)].append(sample)
    chosen: list[Sample] = []
    while len(chosen) < count and any(piles):
        chosen += [pile.pop() for pile in piles if pile]
    return chosen[:count]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"


def make_examples(
    folder: Path, shown: Sequence[Variant], plan: Plan, outcome: Outcome, settings: EvaluateSettings
) -> list[Example]:
    """Samples with every variant's answer beside them, half of them of each benchmark where there are two."""
    rows = outcome.table.to_pylist()
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        answers.setdefault((row["benchmark"], row["sample_id"]), []).append(row)
    other = {variant.name for variant in shown if variant.images == "shuffled"}
    order = [variant.name for variant in shown]
    found = []
    for benchmark in (name for name in (CLASSIFICATION, GENERATION) if name in plan.tests):
        verdicts = {key[1]: [_verdict(row) for row in group] for key, group in answers.items() if key[0] == benchmark}
        count = settings.num_examples // len(plan.tests)
        for sample in choose(plan.tests[benchmark], verdicts, count, settings.seed):
            group = sorted(answers.get((benchmark, sample.sample_id), []), key=lambda row: order.index(row["variant"]))
            urls = [thumbnail(folder / name) for name in sample.images[:_THUMBNAILS]]
            found.append(
                Example(
                    sample.sample_id,
                    benchmark,
                    tuple(url for url in urls if url),
                    len(sample.images),
                    _short(sample.messages[-1].content),
                    _short(sample.reference),
                    tuple(
                        ExampleAnswer(
                            row["variant"],
                            _short(row["answer"] or row["reject_reason"] or "(empty)"),
                            _verdict(row),
                            other_images=row["variant"] in other,
                        )
                        for row in group
                    ),
                )
            )
    return found


# files


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def predictions_csv(outcome: Outcome) -> bytes:
    names = PREDICTIONS.schema.names
    rows = [[";".join(row[n]) if n == "images" else row[n] for n in names] for row in outcome.table.to_pylist()]
    return _csv(names, rows)


def table_csv(report: dict[str, Any]) -> bytes:
    """One line for each figure: kind, name, benchmark, metric, value, low, high, n."""
    lines: list[list[Any]] = []

    def add(kind: str, name: str, benchmark: str, scores: dict[str, Any], metrics: Sequence[str]) -> None:
        for metric in metrics:
            if metric in scores:
                low, high = scores.get(f"{metric}_ci") or (None, None)
                lines.append([kind, name, benchmark, metric, scores[metric], low, high, scores.get("n")])

    classify = ("accuracy", "precision", "recall", "f1", "num_unparsed")
    generate = ("corpus_bleu", "bleu", "meteor", "cosine", "num_unparsed")
    for variant in report["variants"]:
        for benchmark, metrics in ((CLASSIFICATION, classify), (GENERATION, generate)):
            add("variant", variant["name"], benchmark, variant[benchmark] or {}, metrics)
        for group in (variant[CLASSIFICATION] or {}).get("subgroups", ()):
            add("subgroup", f"{variant['name']}: {group['name']}", CLASSIFICATION, group, classify)
    for benchmark, metrics in ((CLASSIFICATION, classify), (GENERATION, generate)):
        for row in report["baselines"][benchmark]:
            add("baseline", row["name"], benchmark, row, metrics)
    for row in report["paper_table_3"]:
        add("paper", row["name"], CLASSIFICATION, row, classify)
    return _csv(("kind", "name", "benchmark", "metric", "value", "low", "high", "n"), lines)


def write_report(
    store: Store,
    dataset_folder: Path,
    shown: Sequence[Variant],
    plan: Plan,
    outcome: Outcome,
    report: dict[str, Any],
    settings: EvaluateSettings,
) -> str:
    """Commit the four files; returns where the page lies."""
    store.delete(f"{FOLDER}/{WITHDRAWN}")
    examples = make_examples(dataset_folder, shown, plan, outcome, settings)
    store.commit(f"{FOLDER}/report.html", render(report, examples).encode())
    store.commit(f"{FOLDER}/table.csv", table_csv(report))
    store.commit(f"{FOLDER}/predictions.csv", predictions_csv(outcome))
    store.commit_json(f"{FOLDER}/report.json", report)
    return f"{store.root}/{FOLDER}/report.html"


def summary(report: dict[str, Any]) -> str:
    """The small table of the terminal."""
    lines = []
    classified = [v for v in report["variants"] if v[f"{CLASSIFICATION}_asked"]]
    generated = [v for v in report["variants"] if v[f"{GENERATION}_asked"]]
    names = [v["name"] for v in report["variants"]] + [r["name"] for rows in report["baselines"].values() for r in rows]
    width = max((len(name) for name in names), default=8) + 2
    if classified:
        lines.append(f"  {'classification':<{width}}{'accuracy':>8}  {'95 % interval':<16}{'F1':>6}{'n':>7}{'unparsed':>10}")
        lines += [_class_line(v["name"], v[CLASSIFICATION], width) for v in classified]
        lines += [_class_line(row["name"], row, width) for row in report["baselines"][CLASSIFICATION]]
        groups = {v["name"]: v[CLASSIFICATION]["subgroups"] for v in classified if v[CLASSIFICATION]}
        lines += [_group_line(name, found) for name, found in groups.items() if len(found) > 1]  # one group is the whole
        for control in report["controls"]:
            pair = control["change_ci"]
            sure = f" [{100 * pair[0]:+.1f}, {100 * pair[1]:+.1f}]" if pair else ""
            lines.append(f"  {control['as_is']}: images shuffled, accuracy {100 * control['change']:+.1f} points{sure}")
    if generated:
        lines.append(f"  {'generation':<{width}}{'BLEU':>8}{'METEOR':>9}{'cosine':>9}{'n':>7}{'empty':>8}")
        lines += [_text_line(v["name"], v[GENERATION], width) for v in generated]
        lines += [_text_line(row["name"], row, width) for row in report["baselines"][GENERATION]]
    return "\n".join(lines)


def _class_line(name: str, scores: dict[str, Any] | None, width: int) -> str:
    if scores is None:
        return f"  {name:<{width}}{'failed':>8}"
    pair = scores.get("accuracy_ci")
    between = f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}" if pair else ""
    end = f"{100 * scores['f1']:>6.1f}{scores['n']:>7}{scores.get('num_unparsed', ''):>10}"
    return f"  {name:<{width}}{100 * scores['accuracy']:>8.1f}  {between:<16}{end}".rstrip()


def _group_line(name: str, groups: Sequence[dict[str, Any]]) -> str:
    return f"  {name}: " + "; ".join(f"{g['name']} {100 * g['accuracy']:.1f} (n = {g['n']})" for g in groups)


def _text_line(name: str, scores: dict[str, Any] | None, width: int) -> str:
    if scores is None:
        return f"  {name:<{width}}{'failed':>8}"
    means = "".join(f"{100 * scores[metric]:>9.1f}" for metric in ("meteor", "cosine"))
    return f"  {name:<{width}}{scores['corpus_bleu']:>8.1f}{means}{scores['n']:>7}{scores.get('num_unparsed', ''):>8}".rstrip()
