"""The multi-label split of all conditions: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) of groups of visits.

    the condition with the fewest visits left ─ its groups in hashed order ─ each to the side that lacks most of it ─ the next condition

Their algorithm places samples one by one; here a group is placed whole, and counts for every visit of every condition in it. Visits that
are placed from before count as placed, so a grown export fills up what the old ones left short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codelib.data.split import EXCLUDED, NONE, TEST, TRAIN, VALIDATION, SplitSettings, wanted
from codelib.data.split_draw import CONFLICT, Decided, Groups
from codelib.data.split_visits import Visits

_SIDES = (TRAIN, VALIDATION, TEST)
_SECOND_PASSES = 2  # a third moves next to nothing


def draw_spectrum(visits: Visits, groups: Groups, settings: SplitSettings, old: Decided) -> np.ndarray:
    """The side of each visit. On the test side a visit without a condition, or that is not eligible otherwise, is excluded.

    Raises ValueError where a first draw is asked for more visits than there are.
    """
    side = groups.sides(old.spectrum)
    split = old.spectrum.copy()
    new = split == NONE
    scored = scorable(visits)
    split[(split == TEST) & ~scored] = EXCLUDED  # a changed record took its conditions
    wanted_shares = shares(settings, scored, first_draw=not split.any())
    placing = _Placing.make(visits, groups, side, scored & (split != EXCLUDED), wanted_shares)
    placed = placing.first_pass(groups)
    for _ in range(_SECOND_PASSES):
        if not placing.second_pass(placed):
            break
    side[side == NONE] = TRAIN
    of_visit = side[groups.of]
    for code in (TRAIN, VALIDATION):
        split[new & (of_visit == code)] = code
    split[new & (of_visit == TEST)] = np.where(scored, TEST, EXCLUDED)[new & (of_visit == TEST)]
    split[new & (of_visit == CONFLICT)] = EXCLUDED
    return split


def scorable(visits: Visits) -> np.ndarray:
    """Eligible and with a condition."""
    has = np.zeros(len(visits), bool)
    has[visits.condition_of] = True
    return visits.eligible & has


def shares(settings: SplitSettings, scored: np.ndarray, first_draw: bool = False) -> tuple[float, float, float]:
    """The wanted shares of train, validation and test among the scored visits."""
    there = int(scored.sum())
    test = wanted(settings.spectrum_test_size, there)
    if test > there and first_draw:
        raise ValueError(f"split.spectrum_test_size={settings.spectrum_test_size}: the visits with a condition are {there}")
    test = min(test, there)
    validation = min(wanted(settings.validation_size, there - test), there - test)
    return (there - test - validation) / max(there, 1), validation / max(there, 1), test / max(there, 1)


@dataclass
class _Placing:
    """The state of a draw. A cell is a group and a condition of it; ``lacking``: for each side how many visits it still wants, of each
    condition and (last) of all together. ``side`` is changed in place."""

    side: np.ndarray
    cell_group: np.ndarray  # rising
    cell_name: np.ndarray
    cell_visits: np.ndarray
    starts: np.ndarray  # of each group's cells
    totals: list[float]
    lacking: list[list[float]]

    @classmethod
    def make(
        cls, visits: Visits, groups: Groups, side: np.ndarray, scored: np.ndarray, wanted_shares: tuple[float, ...]
    ) -> _Placing:
        """A visit counts once for each of its conditions, and once for the name behind the last, that of all visits."""
        names, count = len(visits.condition_names) + 1, len(side)
        pairs, every = scored[visits.condition_of], np.flatnonzero(scored)
        of = groups.of[np.concatenate([visits.condition_of[pairs], every])].astype(np.int64)
        name = np.concatenate([visits.condition[pairs], np.full(len(every), names - 1)])
        cells, numbers = np.unique(of * names + name, return_counts=True)
        cell_group, cell_name = cells // names, cells % names
        totals = np.bincount(cell_name, weights=numbers, minlength=names)
        lacking = []
        for code, share in zip(_SIDES, wanted_shares, strict=True):
            placed = side[cell_group] == code
            there = np.bincount(cell_name[placed], weights=numbers[placed], minlength=names)
            lacking.append((share * totals - there).tolist())
        starts = np.searchsorted(cell_group, np.arange(count + 1))
        return cls(side, cell_group, cell_name, numbers, starts, totals.tolist(), lacking)

    def cells(self, group: int) -> list[tuple[int, int]]:
        """(condition, visits) of a group."""
        here = slice(self.starts[group], self.starts[group + 1])
        return list(zip(self.cell_name[here].tolist(), self.cell_visits[here].tolist(), strict=True))

    def put(self, cells: list[tuple[int, int]], side: int, sign: int = 1) -> None:
        lacking = self.lacking[side]
        for name, number in cells:
            lacking[name] -= sign * number

    def first_pass(self, groups: Groups) -> np.ndarray:
        """Iterative stratification. Returns the groups that it placed, in its order."""
        is_new = self.side[self.cell_group] == NONE
        names = len(self.totals) - 1
        left = np.bincount(self.cell_name[is_new], weights=self.cell_visits[is_new], minlength=names + 1)[:names]
        # of linked patients the largest first: training lacks most while all are empty, and takes them
        size = np.where(groups.linked, -groups.size, 0)
        order = np.lexsort((groups.rank[self.cell_group], size[self.cell_group], self.cell_name))
        order = order[is_new[order]]
        by_name = np.searchsorted(self.cell_name[order], np.arange(names + 1))
        placed: list[int] = []
        while left.any():
            name = int(np.argmin(np.where(left > 0, left, np.inf)))
            for group in self.cell_group[order[by_name[name] : by_name[name + 1]]].tolist():
                if self.side[group] == NONE:
                    best = max(range(3), key=lambda s: (self.lacking[s][name], self.lacking[s][-1], -s))
                    cells = self.cells(group)
                    self.put(cells, best)
                    self.side[group] = _SIDES[best]
                    placed.append(group)
                    for other, number in cells[:-1]:
                        left[other] -= number
            assert left[name] == 0, "a condition's visits were placed twice"
        return np.array(placed, np.int64)

    def second_pass(self, placed: np.ndarray) -> int:
        """The commonest conditions are placed as company of the rare ones, and drift: move what brings a group's conditions nearer to
        their shares, by the sum of (lacking visits)^2 / (visits of the condition). Returns how many groups moved."""
        moved = 0
        for group in placed.tolist():
            cells, here = self.cells(group), _SIDES.index(self.side[group])
            self.put(cells, here, -1)
            best = min(range(3), key=lambda s: (self._cost(cells, s), s != here))
            self.put(cells, best)
            if best != here:
                self.side[group] = _SIDES[best]
                moved += 1
        return moved

    def _cost(self, cells: list[tuple[int, int]], side: int) -> float:
        """What putting the cells there adds to the sum of squares: ((l - n)^2 - l^2) / total."""
        lacking = self.lacking[side]
        return sum(number * (number - 2 * lacking[name]) / self.totals[name] for name, number in cells)
