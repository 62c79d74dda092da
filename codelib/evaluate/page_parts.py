"""What the sections of the report are made of: figures as text, cells, tables, bars. Every text is escaped here.

No element has a style of its own and none an event handler: the page's policy (page.py) lets nothing run or style itself that it does
not name by hash, so that what a model wrote stays text whatever it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

NONE = "–"
Report = dict[str, Any]
Pair = Sequence[float] | None


def percent(value: float | None, digits: int = 1) -> str:
    """0.1667 -> 16.7; None -> –"""
    return NONE if value is None else f"{100 * value:.{digits}f}".replace("-", "−")


def signed(value: float | None) -> str:
    """-0.667 -> −66.7"""
    return NONE if value is None else f"{100 * value:+.1f}".replace("-", "−")


def interval(pair: Pair, signs: bool = False) -> str:
    if not pair:
        return "[too few patients]"
    low, high = (signed(value) if signs else percent(value) for value in pair)
    return f"[{low}, {high}]"


def whole(value: float | None) -> str:
    """12345 -> 12,345"""
    return NONE if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """4000 -> 1 h 7 min"""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def probability(value: float | None) -> str:
    """A p value as journals print it: 0.0004 -> <0.001"""
    return NONE if value is None else ("<0.001" if value < 0.001 else f"{value:.3f}")


def paragraph(text: str, kind: str = "note") -> str:
    return f"<p class={kind}>{escape(text)}</p>" if text else ""


def cell(value: float | None, pair: Pair = None, has_interval: bool = False, digits: int = 1) -> str:
    """A share in per cent, its interval below it."""
    between = f"<br><span class=ci>{interval(pair)}</span>" if has_interval and value is not None else ""
    return f"<td>{percent(value, digits)}{between}</td>"


def scored(scores: Report, name: str) -> str:
    """The cell of a metric and of what stands as its interval."""
    return cell(scores.get(name), scores.get(f"{name}_ci"), f"{name}_ci" in scores)


def plain(text: Any, prose: bool = False) -> str:
    return f"<td{' class=prose' if prose else ''}>{escape(NONE if text is None else str(text))}</td>"


def tag(text: str, bad: bool = False) -> str:
    return f" <span class='tag{' bad' if bad else ''}'>{escape(text)}</span>"


def tags(variant: Report) -> str:
    """What a reader must know of a variant beside its name."""
    found = ["toy"] if variant.get("toy") else []
    found += ["images shuffled"] if variant.get("images") == "shuffled" else []
    found += ["few-shot"] if variant.get("prompting") == "few-shot" else []
    found += [f"{variant['modalities']} only"] if variant.get("modalities") in ("images", "text") else []
    found += [{"en": "English", "zh": "Chinese"}[variant["language"]]] if variant.get("language") in ("en", "zh") else []
    bad = [variant["status"]] if variant.get("status", "complete") != "complete" else []
    if (variant.get("canary") or {}).get("status") == "refused" and "refused" not in bad:
        bad.append("refused")
    return "".join(map(tag, found)) + "".join(tag(text, bad=True) for text in bad)


def named(variant: Report) -> str:
    """The head of a variant's row."""
    return f"<th scope=row>{escape(variant['name'])}{tags(variant)}</th>"


def unanswered(variant: Report, columns: int) -> str:
    """The rest of the row of a variant without scores."""
    is_refused = variant.get("status") == "refused" or (variant.get("canary") or {}).get("status") == "refused"
    said = "not scored: refused, see above" if is_refused else "no answer: see Failures"
    return f"<td colspan={columns} class=prose>{said}</td>"


def row(*cells: str, kind: str = "") -> str:
    return f"<tr{f' class={kind}' if kind else ''}>{''.join(cells)}</tr>"


def block(title: str, columns: int, kind: str = "block") -> str:
    return f"<tr class='{kind}'><th scope=rowgroup colspan={columns}>{escape(title)}</th></tr>"


def table(head: Sequence[str], rows: Iterable[str], label: str, prose: Iterable[int] = ()) -> str:
    """A table in a box of its own that scrolls and can be reached by keyboard. prose: columns of words, by position."""
    words = set(prose)
    cells = "".join(f"<th scope=col{' class=prose' if i in words else ''}>{escape(name)}</th>" for i, name in enumerate(head))
    return (
        f'<div class=scroll role=region tabindex=0 aria-label="{escape(label)}">'
        f"<table class=figures><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def folded(summary: str, body: str, is_open: bool = False, is_long: bool = False) -> str:
    """What is not read by everybody. is_long: not on paper either."""
    return (
        f"<details{' class=long' if is_long else ''}{' open' if is_open else ''}><summary>{escape(summary)}</summary>{body}</details>"
        if body
        else ""
    )


def section(name: str, title: str, body: str) -> str:
    """A part of the page with an anchor; nothing where there is nothing to say."""
    return (
        f"<section id={name} aria-labelledby={name}-title><h2 id={name}-title>{escape(title)}</h2>{body}</section>"
        if body
        else ""
    )


@dataclass(frozen=True)
class Bar:
    name: str
    value: float | None
    pair: Pair = None
    kind: str = "ours"  # ours | control | baseline: a class of the style sheet
    note: str = ""


def _top(rows: Sequence[Bar]) -> float:
    """The end of the axis, a share: the first quarter above all bars and whiskers."""
    highest = max((max(bar.value or 0, *(bar.pair or (0,))) for bar in rows), default=1)
    return next((top for top in (0.25, 0.5, 0.75) if highest <= top), 1.0)


def bars(title: str, rows: Sequence[Bar], unit: str = "", level: int = 3) -> str:
    """Horizontal bars from zero in one scale, the interval as a whisker. A table, so that names and figures stay text at every width and
    a screen reader reads them; only the bar is a drawing, and it stretches."""
    top, lines = _top(rows), []

    def place(share: float) -> float:
        return 100 * max(0.0, min(1.0, share / top))

    for bar in rows:
        drawn = ""
        if bar.value is not None:
            drawn = f"<rect width='{max(place(bar.value), 0.3):.2f}' height=10 class={bar.kind} />"
            if bar.pair:
                low, high = map(place, bar.pair)
                drawn += f"<path d='M{low:.2f} 5H{high:.2f}M{low:.2f} 2.5v5M{high:.2f} 2.5v5' />"
        between = f" <span class=ci>{interval(bar.pair)}</span>" if bar.pair else ""
        note = f" <span class=ci>{escape(bar.note)}</span>" if bar.note else ""
        lines.append(
            f"<tr><th scope=row>{escape(bar.name)}{note}</th>"
            f"<td class=bar><svg viewBox='0 0 100 10' preserveAspectRatio=none aria-hidden=true>{drawn}</svg></td>"
            f"<td>{percent(bar.value)}{between}</td></tr>"
        )
    lines.append(f"<tr class=axis aria-hidden=true><td></td><td class=bar>0<span>{100 * top:.0f} %</span></td><td></td></tr>")
    said = f" <span class=note>{escape(unit)}</span>" if unit else ""
    return (
        f"<figure class=chart><h{level}>{escape(title)}{said}</h{level}>"
        f"<table class=bars><tbody>{''.join(lines)}</tbody></table></figure>"
    )
