"""The charts of a release, from its sums: COde's Fig. 3 (one chart for each of its panels) and Fig. 5 (conditions, whole and test).

Every title is the finding, computed from the numbers of the chart; where they are too few to say anything, it says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from codelib.contracts import SIX_CLASSES
from codelib.core.config import Settings
from codelib.data.figures_bars import (
    MOST_BARS,
    Bar,
    Bin,
    Chart,
    bins,
    close_ends,
    is_sparse,
    join_sparse,
    numbers,
    quartiles,
    shown,
    union,
    with_second,
)
from codelib.data.figures_counts import CONDITION, LENGTH_BIN, NO_CLASS, SEVERAL, SPLITS, UNKNOWN, Count, Sums
from codelib.data.figures_words import ANY, amount, part, spoken

QUARTERS = 4
_AGE_BANDS = (5, 10, 20)  # years: the first that leaves no band with too few patients
_LENGTH_BINS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # words or characters, in the same way
_MOVED = "Dates are moved by a secret offset of up to a year for each patient: a checkup may stand under a neighbouring year."
_CLASSES_CN = dict(zip(SIX_CLASSES, ("龋病", "牙龈炎", "错颌畸形", "牙髓炎", "牙列缺损", "牙体缺损"), strict=True))


class FiguresSettings(Settings):
    """``figures:`` of the dataset's settings."""

    drawn: bool = True  # false: the numbers alone, as CSV
    min_patients: int = Field(5, ge=1, le=1000)  # a bar of fewer patients never shows its number
    conditions: int = Field(30, ge=5, le=60)  # so many are drawn; the rest is summed, and all of them stand in the CSV


def panels(sums: Sums, bound: int, dates_are_moved: bool, is_translated: bool) -> list[Chart]:
    """Fig. 3: who the patients are, and what a checkup consists of."""
    charts = [
        gender(sums, bound),
        age(sums, bound),
        year(sums, bound, dates_are_moved),
        checkups_per_patient(sums, bound),
        six_classes(sums, bound),
        per_checkup(sums, "conditions_per_checkup", "condition", bound),
        per_checkup(sums, "photographs", "photograph", bound),
        per_checkup(sums, "radiographs", "radiograph", bound),
        report_length(sums, "report_characters", "Chinese characters", bound),
    ]
    if is_translated:  # a stand-in has no English words to count
        charts.append(report_length(sums, "report_words", "English words", bound))
    return charts


def gender(sums: Sums, bound: int) -> Chart:
    """Of patients, not of checkups; recorded as both counts as not recorded."""
    found = {"female": Count(), "male": Count(), UNKNOWN: Count()}
    for patient in sums.patients():
        known = sums.gender[patient]
        found[known if known in found else UNKNOWN].add(1, (patient,), bound)
    names = {"female": ("Female", "女"), "male": ("Male", "男"), UNKNOWN: ("Not recorded", "未记录")}
    bars = [shown(names[k][0], count, bound, names[k][1], muted=k == UNKNOWN) for k, count in found.items() if count.n]
    chart = _chart("gender", "Gender", "patients", bars, bound, rows=True)
    if not (top := largest(chart.bars)):
        return chart
    if top.muted:
        return chart.titled(f"The gender of {_share(top, chart)} patients is not recorded")
    return chart.titled(f"{_share(top, chart).capitalize()} patients are {top.label.lower()}")


def age(sums: Sums, bound: int) -> Chart:
    chart, values = _ordered(sums, "age", "Age at the checkup, in years", _AGE_BANDS, bound)
    if not (top := largest(chart.bars)):
        return chart
    if top.muted:
        return chart.titled(f"The age is missing in {_share(top, chart)} checkups")
    if not (ends := _middle_half(sums, values, bound)):
        return chart.titled(f"{_share(top, chart).capitalize()} checkups are of patients aged {spoken(top.label)}")
    years = f"aged {ends[0]}" if ends[0] == ends[1] else f"between {ends[0]} and {ends[1]}"
    if (UNKNOWN, "") in sums.of("age"):
        return chart.titled(f"Half of the recorded ages are {years.removeprefix('aged ')}")
    return chart.titled(f"Half of the checkups are of patients {years}")


def year(sums: Sums, bound: int, dates_are_moved: bool) -> Chart:
    chart, _ = _ordered(sums, "year", "Year of the checkup" + (", moved" if dates_are_moved else ""), (1,), bound)
    if not (top := largest(chart.bars)):
        return chart
    if top.muted:
        return chart.titled(f"The year is missing in {_share(top, chart)} checkups")
    if dates_are_moved:
        chart = chart.noted(_MOVED)
    from_then = f"{_share(top, chart).capitalize()} checkups are from {spoken(top.label, 'before', 'later')}"
    is_a_year = top.label.isdigit() and top.n != chart.n and sum(bar.n == top.n for bar in chart.bars) == 1
    return chart.titled(f"{from_then}, the busiest year" if is_a_year else from_then)


def checkups_per_patient(sums: Sums, bound: int) -> Chart:
    found: dict[int, Count] = {}
    for patient, n in sums.patients().items():
        found.setdefault(n, Count()).add(1, (patient,), bound)
    chart = _binned("checkups_per_patient", "Checkups of a patient", "patients", found, (1,), bound)
    if not largest(chart.bars):
        return chart
    first, *more = chart.bars
    if first.label != "1":
        return chart.titled(f"{_share(first, chart).capitalize()} patients have {spoken(first.label)} checkups")
    if not more:
        return chart.titled("Every patient has one checkup")
    return chart.titled(f"{part(chart.n - (first.n or 0), chart.n).capitalize()} patients have more than one checkup")


def six_classes(sums: Sums, bound: int) -> Chart:
    """The classes that are present; a checkup with several of them is not eligible for the benchmark."""
    counts = {category: count for (category, _), count in sums.of("six_classes").items()}
    ordered = sorted((c for c in SIX_CLASSES if c in counts), key=lambda c: (len(counts[c].patients) < bound, -counts[c].n, c))
    bars = [shown(name, counts[name], bound, _CLASSES_CN[name]) for name in ordered]
    for key, label, chinese in ((SEVERAL, "Several of the six", "多类"), (NO_CLASS, "None of the six", "六类以外")):
        if key in counts:
            bars.append(shown(label, counts[key], bound, chinese, muted=True))
    chart = _chart("six_classes", "The benchmark's class, present alone", "checkups", bars, bound, rows=True)
    if not largest(chart.bars):
        return chart
    if chart.is_whole:
        one = sum(bar.n or 0 for bar in bars if not bar.muted)
        return chart.titled(f"{part(one, chart.n).capitalize()} checkups show exactly one of the six classes")
    top = largest([bar for bar in bars if not bar.muted])
    return chart.titled(
        f"{top.label} is the most frequent of the six classes" if top else "Few checkups show one of the six classes"
    )


def per_checkup(sums: Sums, figure: str, noun: str, bound: int) -> Chart:
    chart, values = _ordered(sums, figure, f"{noun.capitalize()}s of a checkup", (1,), bound)
    if not (top := largest(chart.bars)):
        return chart
    low, high = _middle_half(sums, values, bound) or (0, 0)
    if 2 * values.get(0, Count()).n >= chart.n:
        low, high = 0, 0
    known = {bar.label: bar.n or 0 for bar in chart.bars}
    inside = {str(v) for v in range(low, high + 1) if v in values}
    if not inside or not inside <= set(known):  # part of a bar: its number would be told
        return chart.titled(f"{_share(top, chart).capitalize()} checkups have {spoken(top.label)} {noun}s")
    return chart.titled(f"{part(sum(known[v] for v in inside), chart.n).capitalize()} checkups have {amount(low, high, noun)}")


def report_length(sums: Sums, figure: str, unit: str, bound: int) -> Chart:
    """The eight sections of the benchmark's report together."""
    values = numbers(sums.of(figure))
    most = _quantile(values, 0.98)
    widths = [step for step in _LENGTH_BINS if most // step < MOST_BARS - 4 or step == _LENGTH_BINS[-1]]
    chart, _ = _ordered(sums, figure, f"Length of the report, in {unit}", widths, bound)
    if not (top := largest(chart.bars)):
        return chart
    if not (ends := _middle_half(sums, values, bound)):
        return chart.titled(f"{_share(top, chart).capitalize()} reports have {spoken(top.label)} {unit}")
    return chart.titled(f"Half of the reports have {ends[0]} to {ends[1] + LENGTH_BIN - 1} {unit}")


def conditions(sums: Sums, settings: FiguresSettings, test: bool) -> Chart:
    """Fig. 5: the conditions that are present, the most frequent ones and the sum of the rest; A the whole dataset, B the test set."""
    splits = ("test",) if test else SPLITS
    bound = settings.min_patients
    found = _by_english(sums.of(CONDITION, splits), bound)
    patients = sums.patients(splits)
    checkups = patients.total()
    frequent = sorted((e for e in found.items() if len(e[1][1].patients) >= bound), key=lambda e: (-e[1][1].n, e[0]))
    rare = sorted(e for e in found.items() if len(e[1][1].patients) < bound)  # by name: their order must not tell of their size
    named = (*frequent, *rare) if len(patients) >= bound else ()
    listed = [shown(english, count, bound, chinese) for english, (chinese, count) in named]
    bars = listed[: min(settings.conditions, len(frequent))]
    rest = _rest([count for _, (_, count) in frequent[len(bars) :]], [count for _, (_, count) in rare], bound)
    if len(found) > len(bars):
        noun = "other condition" if len(found) - len(bars) == 1 else "other conditions together"
        bars.append(shown(f"{len(found) - len(bars)} {noun}", rest, bound, "其余", muted=True))
    place = "test set" if test else "whole dataset"
    chart = _chart(
        f"conditions_{'test' if test else 'whole'}",
        f"Condition present, {place}",
        "checkups",
        bars,
        bound,
        rows=True,
        has_rest=True,
    )
    chart = replace(chart, test=test, listed=tuple(listed), whole=checkups)
    if not (top := largest([bar for bar in bars if not bar.muted])):
        chart = replace(chart, bars=())  # the sum of the rest alone would be no picture
        if test and not checkups:
            return chart.titled("No checkup in the test set")
        return chart.titled(f"None of the {len(found)} conditions is shared by {bound} patients") if listed else chart
    share = part(top.n, checkups)
    where = " of the test set" if test else ""
    if len(listed) == 1:
        return chart.titled(f"{top.label} is the only condition: in {share} checkups{where}")
    tied = [bar.label for bar in bars if bar.n == top.n and not bar.muted]
    if len(tied) > 2:
        return chart.titled(f"{len(tied)} of {len(listed)} conditions are the most frequent: each in {share} checkups{where}")
    are = " and ".join(tied) + (" are" if len(tied) == 2 else " is")
    each = "each in" if len(tied) == 2 else "in"
    return chart.titled(f"{are} the most frequent of {len(listed)} conditions: {each} {share} checkups{where}")


def _rest(frequent: Sequence[Count], rare: Sequence[Count], bound: int) -> Count:
    """The sum of what is not drawn. Rare conditions count in it only where together they stand for enough patients: with the numbers of the
    frequent ones in the CSV, the sum would tell that of a single rare one."""
    pooled = union(rare, bound)
    total = union((*frequent, *((pooled,) if len(rare) > 1 and len(pooled.patients) >= bound else ())), bound)
    return total if total.n else pooled


def _by_english(counts: Mapping[tuple[str, str], Count], bound: int) -> dict[str, tuple[str, Count]]:
    """English name -> (its most frequent Chinese name, count)."""
    total: dict[str, Count] = {}
    names: dict[str, Counter[str]] = {}
    for (english, chinese), count in sorted(counts.items()):
        total.setdefault(english, Count()).add(count.n, count.patients, bound)
        names.setdefault(english, Counter())[chinese] += count.n
    return {english: (names[english].most_common(1)[0][0], count) for english, count in total.items()}


# what they share


def largest(bars: Sequence[Bar]) -> Any:
    """The first bar with the largest number; None where no bar shows one."""
    return max((bar for bar in bars if bar.n), key=lambda bar: bar.n or 0, default=None)


def _chart(name: str, what: str, unit: str, bars: Sequence[Bar], bound: int, rows: bool = False, has_rest: bool = False) -> Chart:
    """With the title of a chart that can say nothing: a finding replaces it. Where every number is hidden the bars are left out: the label of
    the only one would say what it is of. rows: bars of names. has_rest: their numbers do not add up to n."""
    if rows and not has_rest:
        bars = with_second(bars)
    hidden = any(bar.n is None for bar in bars)
    bars = bars if largest(bars) else ()
    title = f"Too few patients to show: fewer than {bound} in each bar" if hidden else f"No {unit} to show"
    notes = [f"<{bound}: fewer than {bound} patients, not counted in n."] if hidden and bars else []
    notes += ["Withheld: with it, n would tell the number of the others."] if any(bar.withheld for bar in bars) else []
    return Chart(name, title, what, unit, tuple(bars), sum(bar.n or 0 for bar in bars), rows, notes=tuple(notes), bound=bound)


def _ordered(sums: Sums, figure: str, what: str, widths: Sequence[int], bound: int) -> tuple[Chart, dict[int, Count]]:
    counts = sums.of(figure)
    values = numbers(counts)
    return _binned(figure, what, "checkups", values, widths, bound, counts.get((UNKNOWN, ""))), values


def _binned(
    name: str,
    what: str,
    unit: str,
    values: Mapping[int, Count],
    widths: Sequence[int],
    bound: int,
    missing: Count | None = None,
) -> Chart:
    """Bins of the first width that leaves no sparse one, else of the last, joined."""
    found: list[Bin] = []
    for width in widths:
        found = close_ends(bins(values, width, bound), bound)
        if not any(is_sparse(b, bound) for b in found):
            break
    joined = join_sparse(found, bound)
    bars = [shown(b.label, b.count, bound) for b in joined]
    if len(joined) == 1 and (joined[0].label == ANY or bars[0].n is None):  # there is no cut that may be shown
        bars = [shown("recorded", joined[0].count, bound, muted=True) if missing else Bar("recorded", None)]
    if missing:
        bars.append(shown("not recorded", missing, bound, muted=True))
    return _chart(name, what, unit, bars, bound)


def _middle_half(sums: Sums, values: Mapping[int, Count], bound: int) -> tuple[int, int] | None:
    """The quartiles; None where a quarter of the patients are fewer than ``bound``: a quartile would be one of theirs."""
    ends = quartiles(values)
    return (ends[0], ends[2]) if ends and len(sums.patients()) >= QUARTERS * bound else None


def _quantile(values: Mapping[int, Count], share: float) -> int:
    reached, total = 0, sum(count.n for count in values.values())
    for value, count in sorted(values.items()):
        reached += count.n
        if reached >= share * total:
            return value
    return 0


def _share(bar: Bar, chart: Chart) -> str:
    """'all', '38 % of the'; 'most' or 'many' where hidden bars forbid a share."""
    if not chart.is_whole:
        return "most" if 2 * (bar.n or 0) > chart.n else "many"
    return part(bar.n or 0, chart.n)
