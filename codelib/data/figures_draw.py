"""Charts as SVG and PNG: same chart, same bytes, on a machine without network or display.

matplotlib draws; every text is in one font, Noto Sans SC from the package zhplot (SIL OFL 1.1), given by its file, so that what is installed on
the machine changes nothing. A name with a character that the font lacks is shown without it, never as an empty box.
"""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codelib.data.figures_bars import Bar, Chart

if TYPE_CHECKING:  # matplotlib takes half a second to load: only where something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers (jfly.uni-koeln.de/color); grey for what is no value
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#B3B3B3"
_INK, _SOFT = "#222222", "#666666"
_FAMILY = "codelib figures"  # a name that no installed font has
_PNG_DPI = 150
_LEAST_COLUMNS = 8  # room for so many bars: two that fill a picture look like walls
_TITLE_PT, _TITLE_CHARS = 10.5, 98
_LONGEST_NAME = 72  # characters of a condition's two names
_STYLE: dict[Any, Any] = {
    "font.family": [_FAMILY],
    "font.size": 8.5,
    "text.color": _INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _SOFT,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "codelib",
    "svg.fonttype": "path",  # glyphs travel in the file: no reader needs the font
    "axes.unicode_minus": False,
    "figure.constrained_layout.h_pad": 0.12,  # inches
    "figure.constrained_layout.w_pad": 0.12,
}


def font_file() -> tuple[str, bool]:
    """(path of the font, whether it has Chinese). Without the package zhplot it is matplotlib's own, and names stand in English alone."""
    spec = find_spec("zhplot")  # found, not imported: importing it would set matplotlib up anew
    if spec and spec.origin and (path := Path(spec.origin).parent / "fonts" / "NotoSansSC-Regular.ttf").is_file():
        return str(path), True
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), False


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_file()[0]).get_charmap())


def readable(text: str) -> str:
    """The text in one line, with a question mark for each character that the font lacks."""
    return "".join(c if ord(c) in _glyphs() else "?" for c in " ".join(text.split()))


def name_of(bar: Bar) -> str:
    """A bar's label: English and Chinese where the font has both."""
    english, chinese = readable(bar.label), " ".join(bar.label_cn.split())
    both = chinese and chinese != english and all(ord(c) in _glyphs() for c in chinese)
    name = f"{english}  {chinese}" if both else english
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def draw(charts: Sequence[Chart]) -> tuple[bytes, bytes]:
    """(SVG, PNG) of one chart, or of several in two columns."""
    with _setup():
        from matplotlib.figure import Figure

        if len(charts) == 1:
            figure = Figure(figsize=_size(charts[0]), layout="constrained")
            _panel(figure.subplots(), charts[0], _Place(_TITLE_CHARS, 1))
        else:
            rows = -(-len(charts) // 2)
            figure = Figure(figsize=(11, (2.75 if any(chart.bars for chart in charts) else 0.8) * rows), layout="constrained")
            axes = figure.subplots(rows, 2, squeeze=False).flatten()
            for axis, chart in zip(axes, charts, strict=False):
                _panel(axis, chart, _Place(60, 5, is_alone=False))
            for axis in axes[len(charts) :]:
                axis.set_axis_off()
        return _bytes(figure, "; ".join(chart.title for chart in charts))


@contextmanager
def _setup() -> Iterator[None]:
    """The style, the font under a name of its own, and a missing glyph as an error: it would be drawn as an empty box."""
    import matplotlib

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of its cache
    from matplotlib import font_manager

    fonts = font_manager.fontManager.ttflist
    if not any(entry.name == _FAMILY for entry in fonts):
        fonts.append(font_manager.FontEntry(fname=font_file()[0], name=_FAMILY, weight=400, size="scalable"))
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a matplotlibrc of the machine must not change what is drawn
        matplotlib.rcParams.update(_STYLE)
        warnings.filterwarnings("error", message=".*[Gg]lyph .*missing")
        yield


@dataclass(frozen=True)
class _Place:
    """width_chars: of a line of the title. least_rows: room for so many bars, so that two do not fill a tall panel."""

    width_chars: int
    least_rows: int
    is_alone: bool = True


def _size(chart: Chart) -> tuple[float, float]:
    """Inches."""
    if not chart.bars:
        return 8, 0.8
    return (8, 1.2 + 0.22 * len(chart.bars)) if chart.rows else (8, 3.2)


def _panel(axis: Axes, chart: Chart, place: _Place) -> None:
    _heading(axis, chart, place)
    if not any(bar.n for bar in chart.bars):
        axis.set_axis_off()
        return
    colour = VERMILLION if chart.test else BLUE
    colours = [GREY if bar.muted else colour for bar in chart.bars]
    if chart.rows:
        _rows(axis, chart, colours, place.least_rows)
    else:
        _columns(axis, chart, colours)
    if chart.notes:
        text = "\n".join(textwrap.fill(readable(note), int(place.width_chars * 1.4)) for note in chart.notes)
        axis.set_xlabel(text, loc="left", fontsize=7.5)


def _heading(axis: Axes, chart: Chart, place: _Place) -> None:
    """Title and subtitle. Beside long names they begin at the figure's edge, or they would not fit over the bars; an empty title holds
    their room."""
    lines = textwrap.wrap(readable(chart.title), place.width_chars)
    axis.set_title("\n".join(" " for _ in lines), fontsize=_TITLE_PT, pad=18)
    across = "figure fraction" if place.is_alone else "axes fraction"
    left = 0.015 if place.is_alone else 0
    for text, points, size, colour in (("\n".join(lines), 18, _TITLE_PT, _INK), (_subtitle(chart), 5, 8, _SOFT)):
        line = axis.annotate(
            text, (left, 1), (0, points), (across, "axes fraction"), textcoords="offset points", color=colour, fontsize=size
        )
        line.set_in_layout(False)


def _subtitle(chart: Chart) -> str:
    if not chart.bars and chart.whole is None:
        return f"{chart.what}."
    shown = "" if chart.is_whole or chart.whole is not None else " shown"
    return f"{chart.what}.  n = {chart.n:,} {_noun(chart.n, chart.unit)}{shown}"


def _noun(n: int, unit: str) -> str:
    return unit.removesuffix("s") if n == 1 else unit


def _columns(axis: Axes, chart: Chart, colours: Sequence[str]) -> None:
    places = range(len(chart.bars))
    axis.bar(places, [bar.n or 0 for bar in chart.bars], color=colours, width=0.82)
    for place, bar in zip(places, chart.bars, strict=True):
        axis.annotate(
            _value(bar, chart), (place, bar.n or 0), (0, 2), textcoords="offset points", ha="center", va="bottom", **_ink(bar)
        )
    labels = [readable(bar.label).replace("not recorded", "not\nrecorded") for bar in chart.bars]
    longest = max(len(label) for label in labels)
    axis.set_xticks(places, labels, rotation=0 if longest * len(labels) <= 95 else 40, fontsize=7.5)
    if longest * len(labels) > 95:
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axis.set_ylabel(chart.unit.capitalize())
    axis.set_yticks([])  # every bar has its number
    axis.spines["left"].set_visible(False)
    axis.tick_params(length=0)
    axis.margins(y=0.1)
    axis.set_xlim(-0.6, max(len(chart.bars), _LEAST_COLUMNS) - 0.4)


def _rows(axis: Axes, chart: Chart, colours: Sequence[str], least_rows: int) -> None:
    places = range(len(chart.bars))
    # the rest is no bar: it would dwarf what it is the rest of
    lengths = [0 if bar.muted and chart.listed else bar.n or 0 for bar in chart.bars]
    axis.barh(places, lengths, color=colours, height=0.76)
    for place, (bar, length) in enumerate(zip(chart.bars, lengths, strict=True)):
        axis.annotate(_value(bar, chart), (length, place), (3, 0), textcoords="offset points", va="center", **_ink(bar))
    axis.set_yticks(places, [name_of(bar) for bar in chart.bars])
    axis.set_ylim(max(len(chart.bars), least_rows) - 0.4, -0.6)
    axis.spines["left"].set_bounds(-0.5, len(chart.bars) - 0.5)
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(length=0)
    axis.margins(x=0.12)


def _value(bar: Bar, chart: Chart) -> str:
    return bar.value(chart.bound) if bar.n is None else f"{bar.n:,}"


def _ink(bar: Bar) -> dict[str, Any]:
    return {"fontsize": 7.5, "color": _SOFT if bar.muted or bar.n is None else _INK}


def _bytes(figure: Figure, title: str) -> tuple[bytes, bytes]:
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    figure.savefig(png, format="png", dpi=_PNG_DPI, metadata={"Software": None, "Title": title})
    return svg.getvalue(), png.getvalue()
