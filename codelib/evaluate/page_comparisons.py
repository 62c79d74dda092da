"""The report's part on differences between variants: paired tests, corrected for their number."""

from __future__ import annotations

from html import escape

from codelib.evaluate.page_parts import Report, folded, interval, paragraph, plain, probability, row, section, signed, table
from codelib.evaluate.page_spectrum import metric_name

_FEW = 3  # as many pairs of one metric need no overview
_WIDE = 10  # columns of numbers beside the names that a page of paper has room for


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


def _matrix(label: str, pairs: list[Report]) -> str:
    """Row minus column, in points: what of all pairs has room on paper."""
    names = list(dict.fromkeys(name for found in pairs for name in (found["a"], found["b"])))
    cells: dict[tuple[str, str], str] = {}
    for found in pairs:
        for row_name, column, sign in ((found["a"], found["b"], 1), (found["b"], found["a"], -1)):
            text = signed(sign * found["difference"])
            cells[row_name, column] = f"<td><b>{text}*</b></td>" if found.get("significant") else f"<td>{text}</td>"
    columns = names if len(names) <= _WIDE else names[:1]
    rows = [
        row(
            f"<th scope=row>{number} {escape(name)}</th>",
            *(plain("·") if column == name else cells.get((name, column), plain(None)) for column in columns),
        )
        for number, name in enumerate(names, start=1)
    ]
    head = ("Row minus column, points", *(f"{number}" for number, _ in enumerate(columns, start=1)))
    return f"<h3>{escape(label)}</h3>{table(head, rows, f'Differences, {label}')}"


def comparisons(report: Report) -> str:
    """For each benchmark and metric one matrix of differences, and folded behind it, not on paper, one table of tests, the better model first.
    Where there are hardly any pairs, their table alone."""
    tables: dict[tuple[str, str], list[Report]] = {}
    for found in report.get("paired") or ():
        tables.setdefault((found["benchmark"], found["metric"]), []).append(found)
    if not tables:
        return ""
    head = ("Better", "than", "by points", "p", "p (Holm)", "significant", "n", "Test")
    parts: list[str] = []
    has_matrix = False
    for (benchmark, metric), pairs in tables.items():
        sure = sum(bool(found.get("significant")) for found in pairs)
        name = f"{benchmark.capitalize()}, {metric_name(metric)}"
        shown = table(
            head, map(_row, sorted(pairs, key=order)), f"Paired tests, {benchmark}, {metric_name(metric)}", prose=(1, 7)
        )
        if is_many := len(pairs) > _FEW:
            parts.append(_matrix(name, pairs))
        has_matrix |= is_many
        label = f"{name}: {sure} of {len(pairs)} differences are significant"
        parts.append(folded(label, shown, is_open=not is_many and not parts, is_long=is_many))
    text = (
        "Each pair of variants on the visits that both answered. p (Holm) is corrected for the number of tests; significant is what stays below "
        "0.05 after that. Not significant does not mean equal: read the interval."
    )
    if has_matrix:
        text += (
            " In the squares of numbers, bold with a star is significant; intervals and p of each pair are folded behind them on the screen, "
            f"and stand in table.csv. Where there are more than {_WIDE} variants, the squares set them beside the first alone."
        )
    return section("comparisons", "Which differences are real?", paragraph(text) + "".join(parts))
