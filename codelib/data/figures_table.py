"""The release in one table, as in COde's Table 1: what there is, by split, as CSV and Markdown.

Totals of checkups, patients and files are plain, since the files can be counted; what describes people (ages, years, gender, conditions,
lengths) is said only of groups of enough patients.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence

from codelib.data.figures_bars import bins, close_ends, enough, numbers, quartiles
from codelib.data.figures_charts import QUARTERS
from codelib.data.figures_counts import CONDITION, LENGTH_BIN, SPLITS, Count, Sums
from codelib.data.figures_words import ANY

_COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (("all", SPLITS), *((split, (split,)) for split in SPLITS))


def texts(sums: Sums, bound: int, is_translated: bool) -> dict[str, str]:
    """summary.csv and summary.md."""
    rows = _rows(sums, bound, is_translated)
    header = ["", *(name for name, _ in _COLUMNS)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["quantity", *header[1:]], *rows])
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    note = f"\n–: none, or fewer than {bound} patients ({QUARTERS * bound} for quartiles). Ages and lengths: median (lower to upper quartile).\n"
    return {"summary.csv": out.getvalue(), "summary.md": "\n".join(lines) + "\n" + note}


def _rows(sums: Sums, bound: int, is_translated: bool) -> list[list[str]]:
    quantities: list[tuple[str, Callable[[Sequence[str]], str]]] = [
        ("Checkups", lambda splits: str(sums.patients(splits).total())),
        ("Patients", lambda splits: str(len(sums.patients(splits)))),
        ("Photographs", lambda splits: str(_total(sums, "photographs", splits))),
        ("Radiographs", lambda splits: str(_total(sums, "radiographs", splits))),
        ("Photographs per checkup, mean", lambda splits: _mean(sums, "photographs", splits, bound)),
        ("Radiographs per checkup, mean", lambda splits: _mean(sums, "radiographs", splits, bound)),
        ("Female patients", lambda splits: _gender(sums, "female", splits, bound)),
        ("Male patients", lambda splits: _gender(sums, "male", splits, bound)),
        ("Age, years", lambda splits: _spread(sums, "age", splits, bound, 0)),
        ("Years of the checkups", lambda splits: _years(sums, splits, bound)),
        ("Distinct conditions present", lambda splits: _conditions(sums, splits, bound)),
        ("Conditions per checkup, mean", lambda splits: _mean(sums, "conditions_per_checkup", splits, bound)),
        ("Report, Chinese characters", lambda splits: _spread(sums, "report_characters", splits, bound, LENGTH_BIN // 2)),
    ]
    if is_translated:
        quantities.append(("Report, English words", lambda splits: _spread(sums, "report_words", splits, bound, LENGTH_BIN // 2)))
    return [[name, *(value(splits) for _, splits in _COLUMNS)] for name, value in quantities]


def _is_gender_told(sums: Sums, bound: int) -> bool:
    """Whether no gender of any split stands for too few patients: rows and columns add up, so one hidden cell could be told from the others."""
    for split in SPLITS:
        found = Counter(sums.gender[patient] for patient in sums.patients((split,)))
        if any(0 < n < bound for n in found.values()):
            return False
    return True


_NONE = "–"


def _total(sums: Sums, figure: str, splits: Sequence[str]) -> int:
    return sum(value * count.n for value, count in numbers(sums.of(figure, splits)).items())


def _mean(sums: Sums, figure: str, splits: Sequence[str], bound: int) -> str:
    counts = numbers(sums.of(figure, splits))
    if not enough(counts.values(), bound):
        return _NONE
    return f"{_total(sums, figure, splits) / sum(count.n for count in counts.values()):.2f}"


def _gender(sums: Sums, gender: str, splits: Sequence[str], bound: int) -> str:
    found = Counter(sums.gender[patient] for patient in sums.patients(splits))
    is_told = len(splits) == len(SPLITS) or _is_gender_told(sums, bound)
    return str(found[gender]) if is_told and min(found.values(), default=0) >= bound else _NONE


def _spread(sums: Sums, figure: str, splits: Sequence[str], bound: int, half_bin: int) -> str:
    counts = numbers(sums.of(figure, splits))
    found = quartiles(counts)
    if not found or len(sums.patients(splits)) < QUARTERS * bound:
        return _NONE
    low, middle, high = (value + half_bin for value in found)
    return f"{middle} ({low} to {high})"


def _years(sums: Sums, splits: Sequence[str], bound: int) -> str:
    counts: dict[int, Count] = numbers(sums.of("year", splits))
    found = close_ends(bins(counts, 1, bound), bound)
    if not found or found[0].label == ANY or not enough(counts.values(), bound):
        return _NONE
    return found[0].label if len(found) == 1 else f"{found[0].label} to {found[-1].label}"


def _conditions(sums: Sums, splits: Sequence[str], bound: int) -> str:
    counts = sums.of(CONDITION, splits)
    if len(sums.patients(splits)) < bound:
        return _NONE
    return str(len({english for english, _ in counts}))
