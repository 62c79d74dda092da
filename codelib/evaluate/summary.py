"""The small table of the terminal: what is wrong first, then the figures that one waits for."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from codelib.evaluate.page import is_refused, troubles
from codelib.evaluate.page_parts import duration
from codelib.evaluate.page_spectrum import metric_name
from codelib.evaluate.variants import CLASSIFICATION, GENERATION

_TROUBLES, _LONGEST = 6, 150  # problems, and characters of one; the page has all
_ALL = "all conditions"  # heads the spectrum's rows


def summary(report: dict[str, Any]) -> str:
    """Lines for a terminal: problems, a line a variant and baseline of each benchmark, how many differences are real, cost."""
    lines = _troubles(report)
    classified = [v for v in report["variants"] if v.get(f"{CLASSIFICATION}_asked")]
    generated = [v for v in report["variants"] if v.get(f"{GENERATION}_asked")]
    spectrum = [v for v in report["variants"] if v.get("spectrum")]
    names = [v["name"] for v in report["variants"]] + [r["name"] for rows in report["baselines"].values() for r in rows]
    width = max(len(name) for name in (*names, _ALL)) + 2
    if classified:
        head = f"{'accuracy':>8}  {'95 % interval':<16}{'F1':>6}{'macro F1':>10}{'n':>7}{'unparsed':>10}"
        lines.append(f"  {'classification':<{width}}{head}")
        lines += [_class_line(v["name"], v[CLASSIFICATION], width, _mark(v)) for v in classified]
        lines += [_class_line(row["name"], row, width) for row in report["baselines"].get(CLASSIFICATION) or ()]
        lines += _complaint_lines(classified)
        for control in report.get("controls") or ():
            pair = control["change_ci"]
            sure = f" [{100 * pair[0]:+.1f}, {100 * pair[1]:+.1f}]" if pair else ""
            lines.append(f"  {control['as_is']}: images shuffled, accuracy {100 * control['change']:+.1f} points{sure}")
    if generated:
        lines.append(f"  {'generation':<{width}}{'BLEU':>8}{'METEOR':>9}{'cosine':>9}{'sections':>10}{'n':>7}{'empty':>8}")
        lines += [_text_line(v["name"], v[GENERATION], width, _mark(v)) for v in generated]
        lines += [_text_line(row["name"], row, width) for row in report["baselines"].get(GENERATION) or ()]
    if spectrum:
        lines.append(f"  {_ALL:<{width}}{'micro F1':>8}{'macro F1':>10}{'n':>7}{'unparsed':>10}")
        lines += [_spectrum_line(v["name"], v["spectrum"], width) for v in spectrum]
    return "\n".join([*lines, *_differences(report), *_cost(report)])


def _troubles(report: dict[str, Any]) -> list[str]:
    found = troubles(report)
    more = [f"  ! and {len(found) - _TROUBLES} more: see the report"] if len(found) > _TROUBLES else []
    return [f"  ! {textwrap.shorten(text, _LONGEST, placeholder=' …')}" for text in found[:_TROUBLES]] + more


def _mark(variant: dict[str, Any]) -> str:
    """What a line must say at its end."""
    return "refused" if is_refused(variant) else ("partial" if variant.get("status") == "partial" else "")


def _class_line(name: str, scores: dict[str, Any] | None, width: int, mark: str = "") -> str:
    if scores is None:
        return f"  {name:<{width}}{'failed':>8}"
    pair, macro = scores.get("accuracy_ci"), scores.get("macro_f1")
    between = f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}" if pair else ""
    averaged = "" if macro is None else f"{100 * macro:.1f}"
    end = f"{100 * scores['f1']:>6.1f}{averaged:>10}{scores['n']:>7}{scores.get('num_unparsed', ''):>10}  {mark}"
    return f"  {name:<{width}}{100 * scores['accuracy']:>8.1f}  {between:<16}{end}".rstrip()


def _complaint_lines(variants: Sequence[dict[str, Any]]) -> list[str]:
    """Accuracy where the complaint names the label and where not, and by language; the page has the other groups."""
    lines = []
    for variant in variants:
        groups = (variant[CLASSIFICATION] or {}).get("subgroups") or ()
        told = [group for group in groups if group.get("by", "complaint") in ("complaint", "language", "")]
        if len(told) > 1:  # one group is the whole
            said = "; ".join(f"{g['name']} {100 * g['accuracy']:.1f} (n = {g['n']})" for g in told)
            lines.append(f"  {variant['name']}: {said}")
    return lines


def _text_line(name: str, scores: dict[str, Any] | None, width: int, mark: str = "") -> str:
    if scores is None:
        return f"  {name:<{width}}{'failed':>8}"
    means = "".join(f"{100 * scores[metric]:>9.1f}" for metric in ("meteor", "cosine"))
    coverage = (scores.get("sections") or {}).get("coverage")
    covered = "" if coverage is None else f"{100 * coverage:.1f}"
    end = f"{covered:>10}{scores['n']:>7}{scores.get('num_unparsed', ''):>8}  {mark}"
    return f"  {name:<{width}}{scores['corpus_bleu']:>8.1f}{means}{end}".rstrip()


def _spectrum_line(name: str, scores: dict[str, Any], width: int) -> str:
    end = f"{scores.get('n', ''):>7}{scores.get('num_unparsed', ''):>10}"
    return f"  {name:<{width}}{100 * scores['micro_f1']:>8.1f}{100 * scores['macro_f1']:>10.1f}{end}".rstrip()


def _differences(report: dict[str, Any]) -> list[str]:
    counts: dict[str, list[bool]] = {}
    for found in report.get("paired") or ():
        counts.setdefault(f"{found['benchmark']} {metric_name(found['metric'])}", []).append(bool(found.get("significant")))
    said = ", ".join(f"{name} {sum(sure)} of {len(sure)}" for name, sure in counts.items())
    return [f"  significant differences (paired, Holm): {said}"] if said else []


def _cost(report: dict[str, Any]) -> list[str]:
    cost = report.get("cost")
    if not cost:
        return []
    paid = f", ${cost['usd']:,.2f}" if cost.get("usd") is not None else ""
    return [f"  {cost['num_answers']:,} answers, {duration(cost['seconds'])} of model time{paid}"]
