"""Bars of a figure, and the privacy of small ones.

    of numbers   bins ──close_ends──> "≤ 9", 10–14, …, "≥ 80" ──join_sparse──> 15–24: every bar stands for enough patients
    of names     a bar of too few shows no number, and a second one neither, or n less the others would tell the first

A bar that stands for fewer than ``min_patients`` patients never shows its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from codelib.data.figures_counts import Count
from codelib.data.figures_words import ANY, OPEN_ABOVE, OPEN_BELOW

MOST_BARS = 20  # of a figure of numbers: more cannot be labelled; the last is open
TAIL = 0.1


@dataclass(frozen=True)
class Bar:
    """n: None where it stands for too few patients. muted: not a value of what is counted (not recorded, the rest). withheld: it stands
    for enough, and is hidden for the sake of another."""

    label: str
    n: int | None
    label_cn: str = ""
    muted: bool = False
    withheld: bool = False

    def value(self, bound: int) -> str:
        """What stands in place of the number."""
        if self.n is not None:
            return str(self.n)
        return "withheld" if self.withheld else f"<{bound}"


@dataclass(frozen=True)
class Chart:
    """A figure as data: what is drawn, and what its CSV says."""

    name: str
    title: str  # a sentence with the finding
    what: str  # the quantity, with its unit: "Age at the checkup, in years"
    unit: str  # what the bars count: checkups | patients
    bars: tuple[Bar, ...] = ()
    total: int = 0  # the sum of what the bars show
    rows: bool = False  # horizontal bars, for names
    test: bool = False
    notes: tuple[str, ...] = ()
    listed: tuple[Bar, ...] = ()  # of a chart that draws the most frequent alone: all, for the CSV
    whole: int | None = None  # checkups that shares are of, where one counts in several bars
    bound: int = 0

    @property
    def n(self) -> int:
        return self.total if self.whole is None else self.whole

    @property
    def is_whole(self) -> bool:
        """Whether every bar has its number, so that n is all."""
        return all(bar.n is not None for bar in self.bars)

    def titled(self, title: str) -> Chart:
        return replace(self, title=title)

    def noted(self, note: str) -> Chart:
        return replace(self, notes=(note, *self.notes))


@dataclass(frozen=True)
class Bin:
    """Values low..high, both included; None: open."""

    low: int | None
    high: int | None
    count: Count = field(default_factory=Count)

    @property
    def label(self) -> str:
        if self.low is None:
            return f"{OPEN_BELOW}{self.high}" if self.high is not None else ANY
        if self.high is None:
            return f"{OPEN_ABOVE}{self.low}"
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def numbers(counts: Mapping[tuple[str, str], Count]) -> dict[int, Count]:
    """The counts whose category is a number."""
    return {int(category): count for (category, _), count in counts.items() if category.isdigit()}


def bins(counts: Mapping[int, Count], width: int, bound: int) -> list[Bin]:
    """Bins of equal width from the first to the last that is not empty, in between the empty ones too."""
    found: dict[int, Count] = {}
    for value, count in sorted(counts.items()):
        found.setdefault(value // width * width, Count()).add(count.n, count.patients, bound)
    if not found:
        return []
    return [Bin(low, low + width - 1, found.get(low, Count())) for low in range(min(found), max(found) + 1, width)]


def close_ends(ordered: Sequence[Bin], bound: int) -> list[Bin]:
    """The bins at both ends joined with their neighbours until each stands for ``bound`` patients, and there are at most MOST_BARS. A sparse
    tail of at most TAIL of everything is one bin.

    A joined bin is open: its last value, which is one patient's perhaps, stands nowhere.
    """
    found = list(ordered)
    total = sum(b.count.n for b in found)
    while len(found) > 1 and (len(found) > MOST_BARS or len(found[-1].count.patients) < bound):
        found[-2:] = [Bin(found[-2].low, None, union((b.count for b in found[-2:]), bound))]
    while len(found) > 1 and len(found[0].count.patients) < bound:
        found[:2] = [Bin(None, found[1].high, union((b.count for b in found[:2]), bound))]
    for at in range(1, len(found) - 1):
        tail = union((b.count for b in found[at:]), bound)
        if is_sparse(found[at], bound) and tail.n <= TAIL * total:
            found[at:] = [Bin(found[at].low, None, tail)]
            break
    for at in range(len(found) - 2, 0, -1):
        tail = union((b.count for b in found[: at + 1]), bound)
        if is_sparse(found[at], bound) and tail.n <= TAIL * total:
            found[: at + 1] = [Bin(None, found[at].high, tail)]
            break
    return found


def is_sparse(b: Bin, bound: int) -> bool:
    """Whether it stands for too few patients; an empty bin is no secret."""
    return 0 < len(b.count.patients) < bound


def join_sparse(ordered: Sequence[Bin], bound: int) -> list[Bin]:
    """Each sparse bin joined with the smaller of its neighbours until none is left, or a single bin."""
    found = list(ordered)
    while len(found) > 1 and (sparse := [i for i, b in enumerate(found) if is_sparse(b, bound)]):
        at = sparse[0]
        left, right = (found[i].count.n if 0 <= i < len(found) else None for i in (at - 1, at + 1))
        at -= right is None or (left is not None and left <= right)
        found[at : at + 2] = [Bin(found[at].low, found[at + 1].high, union((b.count for b in found[at : at + 2]), bound))]
    return found


def with_second(bars: Sequence[Bar]) -> list[Bar]:
    """Where a single bar hides its number, the smallest of the others does too (secondary suppression). What the record does not say is no
    secret of a person, and takes no second one."""
    hidden = [bar for bar in bars if bar.n is None]
    rest = [bar for bar in bars if bar.n]
    if len(hidden) != 1 or hidden[0].muted or not rest:
        return list(bars)
    smallest = min(rest, key=lambda bar: bar.n or 0)
    return [replace(bar, n=None, withheld=True) if bar is smallest else bar for bar in bars]


def union(counts: Iterable[Count], bound: int) -> Count:
    """All of them as one."""
    total = Count()
    for count in counts:
        total.add(count.n, count.patients, bound)
    return total


def shown(label: str, count: Count, bound: int, label_cn: str = "", muted: bool = False) -> Bar:
    """The bar of a count; an empty one is no secret."""
    return Bar(label, count.n if not count.n or len(count.patients) >= bound else None, label_cn, muted)


def quartiles(counts: Mapping[int, Count]) -> tuple[int, int, int] | None:
    """Lower quartile, median, upper quartile: the smallest value that a quarter, a half, three quarters of all do not exceed."""
    total = sum(count.n for count in counts.values())
    if not total:
        return None
    found: list[int] = []
    reached = 0
    wanted = [Fraction(total * k, 4) for k in (1, 2, 3)]
    for value, count in sorted(counts.items()):
        reached += count.n
        while len(found) < 3 and reached >= wanted[len(found)]:
            found.append(value)
    return found[0], found[1], found[2]


def enough(counts: Iterable[Count], bound: int) -> bool:
    """Whether all together stand for enough patients to say anything of them."""
    return len(set().union(*(count.patients for count in counts))) >= bound
