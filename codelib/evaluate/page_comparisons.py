"""The report's part on differences between variants: paired tests, corrected for their number."""

from __future__ import annotations

from html import escape

from codelib.evaluate.page_parts import Report, folded, interval, paragraph, plain, probability, row, section, signed, table
from codelib.evaluate.page_spectrum import metric_name

_FEW = 12  # as many pairs of one metric are shown unfolded


def order(found: Report) -> tuple[bool, float]:
    """Significant first, then the largest difference."""
    return (not found.get("significant"), -abs(found.get("difference") or 0))


def _row(found: Report) -> str:
    better, worse = (found["a"], found["b"]) if found["difference"] >= 0 else (found["b"], found["a"])
    mark = "<b>yes</b>" if found.get("significant") else "no"
    pair = found.get("difference_ci")
    flipped = found["difference"] < 0
    if pair and flipped:
        pair = [-pair[1], -pair[0]]
    return row(
        f"<th scope=row>{escape(better)}</th>",
        plain(worse, prose=True),
        f"<td>{signed(abs(found['difference']))}<br><span class=ci>{interval(pair, signs=True)}</span></td>",
        plain(probability(found.get("p"))),
        plain(probability(found.get("p_holm"))),
        f"<td>{mark}</td>",
        plain(found.get("n")),
        plain(str(found.get("test", "")).replace("_", " "), prose=True),
        kind="" if found.get("significant") else "quiet",
    )


def comparisons(report: Report) -> str:
    """One table for each benchmark and metric, the better model first."""
    tables: dict[tuple[str, str], list[Report]] = {}
    for found in report.get("paired") or ():
        tables.setdefault((found["benchmark"], found["metric"]), []).append(found)
    if not tables:
        return ""
    head = ("Better", "than", "by points", "p", "p (Holm)", "significant", "n", "Test")
    parts: list[str] = []
    for (benchmark, metric), pairs in tables.items():
        sure = sum(bool(found.get("significant")) for found in pairs)
        label = f"{benchmark.capitalize()}, {metric_name(metric)}: {sure} of {len(pairs)} differences are significant"
        shown = table(
            head, map(_row, sorted(pairs, key=order)), f"Paired tests, {benchmark}, {metric_name(metric)}", prose=(1, 7)
        )
        parts.append(folded(label, shown, is_open=len(pairs) <= _FEW and not parts))
    text = (
        "Each pair of variants on the visits that both answered. p (Holm) is corrected for the number of tests; significant is what stays below "
        "0.05 after that. Not significant does not mean equal: read the interval."
    )
    return section("comparisons", "Which differences are real?", paragraph(text) + "".join(parts))
