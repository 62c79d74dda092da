"""A figure of a plan: its value, its unit, and how it came about, so that a reader can do the sum again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

UNITS = ("CPU h", "GPU h", "h", "GB", "GiB", "Gbit/s", "requests", "tokens", "tasks", "USD", "CNY", "CPUs")


@dataclass(frozen=True)
class Figure:
    """``how``: the sum in words and numbers. ``value`` None: what it needs is not known, and ``how`` says what to give."""

    name: str
    value: float | None
    unit: str
    how: str

    def __post_init__(self) -> None:
        assert self.unit in UNITS, self.unit
        assert self.value is None or (math.isfinite(self.value) and self.value >= 0), f"{self.name}: {self.value}"

    @property
    def said(self) -> str:
        return "not known" if self.value is None else f"{about(self.value)} {self.unit}"


@dataclass(frozen=True)
class Section:
    """One job of a plan. ``notes``: what does not fit, or was not measured."""

    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Figure:
        return next(one for one in self.figures if one.name == name)

    def lines(self) -> Iterable[str]:
        yield self.title
        for one in self.figures:
            yield f"  {one.name:<34} {one.said:>20}   = {one.how}"
        for note in self.notes:
            yield f"  ! {note}"


def about(value: float) -> str:
    """Three digits, and no power of ten: 1,234,567 -> 1,230,000; 0.012345 -> 0.0123; 0 -> 0."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}"


def table(columns: dict[str, list[Section]]) -> list[str]:
    """Markdown: a row for each figure, a column for each plan."""
    first = next(iter(columns.values()))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for index, section in enumerate(first):
        # the job's name alone: how many visits, images and steps differs from column to column
        lines.append(f"| **{section.title.partition(':')[0]}** |" + " |" * len(columns))
        for place, figure in enumerate(section.figures):
            values = [plan[index].figures[place].said for plan in columns.values()]
            lines.append(f"| {figure.name} | " + " | ".join(values) + " |")
    return lines
