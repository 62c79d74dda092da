"""The stages `statistics` and `figures`: counts of every partition, then release/figures/ from their sums.

    annotated + split ─ statistics ─┐ (counts; driver adds them up) ─> charts ─ figures ─> figures/<name>.svg, .png, .csv
                                    └──────────────────────────────> table ──────────────> figures/summary.csv, summary.md

Drawing sees sums alone: a chart travels as the work of its partition, so that what did not change is not drawn again.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from codelib.core.stage import Part, Work, read_part
from codelib.core.store import Store
from codelib.data import figures_table
from codelib.data.figures_bars import Bar, Chart
from codelib.data.figures_charts import FiguresSettings, conditions, panels
from codelib.data.figures_counts import Sums
from codelib.data.release import FILES

FOLDER = "figures"
OVERVIEW = "overview"
_FIG_3 = (  # the panels of the paper's figure
    *("gender", "age", "year", "checkups_per_patient"),
    *("six_classes", "photographs", "radiographs", "report_characters"),
)


def add_up(parts: Iterable[Part], settings: FiguresSettings) -> Sums:
    """The sums of all STATISTICS partitions, read one at a time."""
    sums = Sums(settings.min_patients)
    for part in parts:
        sums.add(read_part(part))
    return sums


def figures_work(sums: Sums, settings: FiguresSettings, dates_are_moved: bool, is_translated: bool) -> list[Work]:
    """One drawing each: the charts, the panels together, and the table (which is text alone)."""
    charts = panels(sums, settings.min_patients, dates_are_moved, is_translated)
    fig5 = [conditions(sums, settings, test=False), conditions(sums, settings, test=True)]
    work = [_work(c.name, [c] if settings.drawn else [], {f"{c.name}.csv": chart_csv(c)}) for c in (*charts, *fig5)]
    if settings.drawn:
        work.append(_work(OVERVIEW, [chart for chart in charts if chart.name in _FIG_3], {}))
    return [*work, _work("summary", [], figures_table.texts(sums, settings.min_patients, is_translated))]


def _work(name: str, charts: Sequence[Chart], texts: dict[str, str]) -> Work:
    return Work((), {"name": name, "charts": [asdict(chart) for chart in charts], "texts": texts})


def make_figure(extra: dict[str, Any], release: Store) -> pa.Table:
    """Write one drawing and its texts into the release; FILES says what was written."""
    files = {name: text.encode() for name, text in extra["texts"].items()}
    if extra["charts"]:
        from codelib.data.figures_draw import draw

        svg, png = draw([_chart(values) for values in extra["charts"]])
        files |= {f"{extra['name']}.svg": svg, f"{extra['name']}.png": png}
    rows = []
    for name, content in sorted(files.items()):
        release.commit(f"{FOLDER}/{name}", content)
        rows.append({"path": f"{FOLDER}/{name}", "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)})
    return pa.Table.from_pylist(rows, schema=FILES.schema)


def _chart(values: dict[str, Any]) -> Chart:
    bars = {name: tuple(Bar(**bar) for bar in values[name]) for name in ("bars", "listed")}
    return Chart(**{**values, **bars, "notes": tuple(values["notes"])})


def chart_csv(chart: Chart) -> str:
    """The numbers of a chart. Where a number is hidden, n is '<5' and the share is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("category", "category_cn", chart.unit, "share_percent"))
    for bar in chart.listed or chart.bars:
        known = bar.n is not None
        share = f"{100 * (bar.n or 0) / chart.n:.2f}" if known and chart.n else ""
        writer.writerow((bar.label, bar.label_cn, bar.value(chart.bound), share))
    return out.getvalue()
