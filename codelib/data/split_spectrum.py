"""The multi-label split of all conditions: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) of groups of visits.

    the condition with the fewest visits left ─ its groups in hashed order ─ each to the side that lacks most of it ─ the next condition

Their algorithm places samples one by one; here a group is placed whole, and counts for every visit of every condition in it. Visits that
are placed from before count as placed, so a grown export fills up what the old ones left short.
"""

from __future__ import annotations

import numpy as np

from codelib.data.split import EXCLUDED, NONE, TEST, TRAIN, VALIDATION, SplitSettings, wanted
from codelib.data.split_draw import CONFLICT, Decided, Groups
from codelib.data.split_visits import Visits

_SIDES = (TRAIN, VALIDATION, TEST)


def draw_spectrum(visits: Visits, groups: Groups, settings: SplitSettings, old: Decided) -> np.ndarray:
    """The side of each visit. On the test side a visit without a condition, or that is not eligible otherwise, is excluded.

    Raises ValueError where a first draw is asked for more visits than there are.
    """
    side = groups.sides(old.spectrum)
    split = old.spectrum.copy()
    new = split == NONE
    scored = scorable(visits)
    split[(split == TEST) & ~scored] = EXCLUDED  # a changed record took its conditions
    _place(visits, groups, side, scored & (split != EXCLUDED), shares(settings, scored, first_draw=not split.any()))
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


def _place(visits: Visits, groups: Groups, side: np.ndarray, scored: np.ndarray, wanted_shares: tuple[float, ...]) -> None:
    """Give every new group with a scored visit a side."""
    pairs = scored[visits.condition_of]
    names, count = len(visits.condition_names), len(side)
    cells, visits_of = np.unique(
        groups.of[visits.condition_of[pairs]].astype(np.int64) * max(names, 1) + visits.condition[pairs], return_counts=True
    )
    group_of, name_of = cells // max(names, 1), cells % max(names, 1)  # rising by group
    scored_of = np.bincount(groups.of[scored], minlength=count)
    totals = np.bincount(name_of, weights=visits_of, minlength=names)
    lacking, lacking_all = [], []
    for code, share in zip(_SIDES, wanted_shares, strict=True):
        placed = side[group_of] == code
        lacking.append((share * totals - np.bincount(name_of[placed], weights=visits_of[placed], minlength=names)).tolist())
        lacking_all.append(float(share * scored_of.sum() - scored_of[side == code].sum()))
    is_new = side[group_of] == NONE
    left = np.bincount(name_of[is_new], weights=visits_of[is_new], minlength=names)
    starts = np.searchsorted(group_of, np.arange(count + 1))
    # of linked patients the largest first: training lacks most while all are empty, and takes them
    order = np.lexsort((groups.rank[group_of], np.where(groups.linked, -groups.size, 0)[group_of], name_of))
    order = order[is_new[order]]
    by_name = np.searchsorted(name_of[order], np.arange(names + 1))
    while left.any():
        name = int(np.argmin(np.where(left > 0, left, np.inf)))
        for group in group_of[order[by_name[name] : by_name[name + 1]]].tolist():
            if side[group] != NONE:
                continue
            best = max(range(3), key=lambda s: (lacking[s][name], lacking_all[s], -s))
            side[group] = _SIDES[best]
            lacking_all[best] -= int(scored_of[group])
            cells_here = slice(starts[group], starts[group + 1])
            for other, number in zip(name_of[cells_here].tolist(), visits_of[cells_here].tolist(), strict=True):
                lacking[best][other] -= number
                left[other] -= number
        assert left[name] == 0, "a condition's visits were placed twice"
