"""The draw of the six-class benchmark: test visits first, then validation out of what is left for training.

    old decisions ─> sides of what is tied to them ─┐
    quotas by class and number of images ───────────┴─ groups in hashed order ─ test? ─ validation? ─ train ─> a side and a reason

Groups of linked patients come last: drawn early they would take visits out of training that a single patient would not. A group is drawn
whole, so what its quotas do not need is excluded. All randomness is a hash of seed and patient: order and workers change nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import SIX_CLASSES
from codelib.data.split import EXCLUDED, NONE, SIDES, TEST, TRAIN, VALIDATION, WHYS, SplitSettings, wanted
from codelib.data.split_visits import Ties, Visits

LABELLED, UNLABELLED, UNFIT, BENCHMARK, ENOUGH, UNSUITABLE, NO_MORE, LINKED = range(1, len(WHYS))
CONFLICT = 5  # a group that is tied to old visits on several sides
_CLASSES = len(SIX_CLASSES)


@dataclass(frozen=True)
class Decided:
    """Codes of `SIDES` and `WHYS`, a visit each; 0 where nothing is decided."""

    split: np.ndarray
    why: np.ndarray
    spectrum: np.ndarray

    @classmethod
    def nothing(cls, size: int) -> Decided:
        return cls(*(np.zeros(size, np.int8) for _ in range(3)))

    @classmethod
    def of(cls, visits: Visits, table: pa.Table) -> Decided:
        """The decisions of SPLIT (checkup_id, split, why, spectrum) for these visits; those that are not in it are not decided."""
        at = pc.index_in(visits.checkup_id, table["checkup_id"].combine_chunks())
        codes = []
        for name, known in (("split", SIDES), ("why", WHYS), ("spectrum", SIDES)):
            column = pc.index_in(table[name].combine_chunks(), pa.array(known))
            codes.append(np.asarray(pc.fill_null(column.take(at), 0).to_numpy()).astype(np.int8))
        return cls(*codes)


def ranks(visits: Visits, seed: int, by: str) -> np.ndarray:
    """A random number for each visit: of its patient, or of itself. ``by``: patient | checkup."""
    names = visits.patient_ids if by == "patient" else visits.checkup_id
    prefix = hashlib.sha256(f"{seed}/".encode())

    def numbers() -> Iterator[int]:
        for name in names:
            made = prefix.copy()
            made.update(name.as_py().encode())
            yield int.from_bytes(made.digest()[:8], "big")

    drawn = np.fromiter(numbers(), np.uint64, len(names))
    return drawn[visits.patient] if by == "patient" else drawn


@dataclass(frozen=True)
class Groups:
    """What is drawn as one: new visits that are tied to each other, over any number of ties. An old visit is a group of its own, whose
    side is known; what it is tied to narrows the sides of new groups. ``of``: a visit's group; the others: a value a group."""

    of: np.ndarray
    size: np.ndarray
    rank: np.ndarray  # random, the same whatever else is drawn
    linked: np.ndarray  # more than one patient (or checkup, where that is the unit)
    ties: Ties

    @classmethod
    def make(cls, visits: Visits, ties: Ties, new: np.ndarray, seed: int, unit: str) -> Groups:
        """new: the visits that are not decided (a mask)."""
        _, of = np.unique(ties.groups(len(visits), new), return_inverse=True)
        count = int(of.max(initial=-1)) + 1
        rank = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(rank, of, ranks(visits, seed, unit))
        member = visits.patient if unit == "patient" else np.arange(len(visits))
        members = np.unique(np.stack([of, member], axis=1), axis=0)[:, 0]
        return cls(of, np.bincount(of, minlength=count), rank, np.bincount(members, minlength=count) > 1, ties)

    def sides(self, old: np.ndarray) -> np.ndarray:
        """The side of each group by the old visits that it is tied to: TRAIN, VALIDATION, TEST, NONE where there are none, CONFLICT
        where they disagree. An old visit that is excluded stands on no side, but its patient is a test patient."""
        tie, visit = self.ties.tie, self.ties.visit
        known = np.array([0, 1, 2, 4, 0], np.uint8)[old]  # a bit a side
        of_patient = np.where(old == EXCLUDED, np.uint8(4), known)
        bits = np.zeros(int(tie.max(initial=-1)) + 1, np.uint8)
        np.bitwise_or.at(bits, tie, np.where(tie < self.ties.patients, of_patient[visit], known[visit]))
        found = np.zeros(len(self.size), np.uint8)
        is_new = old[visit] == NONE
        np.bitwise_or.at(found, self.of[visit[is_new]], bits[tie[is_new]])
        placed = old != NONE
        found[self.of[placed]] = of_patient[placed]
        return np.array([NONE, TRAIN, VALIDATION, CONFLICT, TEST, CONFLICT, CONFLICT, CONFLICT], np.int8)[found]

    def in_order(self, wanted_ones: np.ndarray) -> np.ndarray:
        """Groups as they are drawn: single patients by rank, then linked ones, the small first."""
        chosen = np.flatnonzero(wanted_ones)
        return chosen[np.lexsort((self.rank[chosen], np.where(self.linked, self.size, 0)[chosen]))]


def draw(visits: Visits, groups: Groups, settings: SplitSettings, old: Decided) -> tuple[np.ndarray, np.ndarray]:
    """Codes of side and reason for each visit. Old visits keep theirs, unless a changed record took the label of a test visit.

    Raises ValueError where a first draw finds fewer visits than are asked for.
    """
    side = groups.sides(old.split)
    split, why = old.split.copy(), old.why.copy()
    new = split == NONE
    lost = (split == TEST) & (visits.six_class < 0)
    split[lost], why[lost] = EXCLUDED, NO_MORE
    tested = _draw_test(visits, groups, side, split, settings)
    _draw_validation(visits, groups, side, split, settings)
    side[side == NONE] = TRAIN
    labelled = visits.six_class >= 0
    in_training = np.where(labelled, np.where(visits.eligible, LABELLED, UNFIT), UNLABELLED)
    beside_test = np.where(labelled & visits.eligible, ENOUGH, UNSUITABLE)
    for code, placed, reason in (
        (TRAIN, TRAIN, in_training),
        (VALIDATION, VALIDATION, in_training),
        (TEST, EXCLUDED, beside_test),
        (CONFLICT, EXCLUDED, np.full(len(visits), LINKED)),
    ):
        here = new & (side[groups.of] == code)
        split[here], why[here] = placed, reason[here]
    split[tested], why[tested] = TEST, BENCHMARK
    return split, why


def strata(visits: Visits, settings: SplitSettings) -> np.ndarray:
    """Class (the seventh: none) and number of images of each visit, as one number."""
    kinds = np.where(visits.six_class < 0, _CLASSES, visits.six_class).astype(np.int64)
    return kinds * (len(settings.image_strata) + 1) + np.searchsorted(settings.image_strata, visits.images, side="right")


# test


def _draw_test(visits: Visits, groups: Groups, side: np.ndarray, split: np.ndarray, settings: SplitSettings) -> list[int]:
    """The new test visits; marks the groups they come from in ``side``."""
    candidate = visits.eligible & (visits.six_class >= 0)
    first_draw = not split.any()
    stratum = strata(visits, settings)
    quota = _test_quotas(visits, stratum, candidate, split, settings).tolist()
    bins = len(settings.image_strata) + 1
    rows_of = _rows_by_group(groups, np.flatnonzero(candidate & (split == NONE)))
    labelled = visits.six_class >= 0
    counts = np.bincount(groups.of[labelled] * _CLASSES + visits.six_class[labelled], minlength=len(side) * _CLASSES)
    counts = counts.reshape(-1, _CLASSES)
    left = (counts[(side != TEST) & (side != CONFLICT)].sum(axis=0) - settings.min_train_visits).tolist()
    tested: list[int] = []

    def take(rows: list[int], by_class: bool) -> None:
        for row in rows:
            at = int(stratum[row])
            if by_class and quota[at] <= 0:  # the class wants one, though of another number of images
                at = max(range(at // bins * bins, at // bins * bins + bins), key=quota.__getitem__)
            if quota[at] > 0:
                quota[at] -= 1
                tested.append(row)

    for group in groups.in_order(side == TEST):
        take(rows_of(group), False)
    for linked in (False, True):
        for by_class, least in ((False, 0.5), (True, 0.5), (True, 0.0)):
            for group in groups.in_order((side == NONE) & (groups.linked == linked)):
                if sum(quota) <= 0:
                    break
                rows = rows_of(group)
                useful = sum(_wanted(quota, int(at), bins, by_class) for at in stratum[rows])
                if not useful or useful < least * len(rows):  # the rest would be lost to training
                    continue
                takes = counts[group].tolist()
                if any(n and n > spare for n, spare in zip(takes, left, strict=True)):
                    continue
                left = [spare - n for n, spare in zip(takes, left, strict=True)]
                side[group] = TEST
                take(rows, by_class)
    if first_draw and sum(quota) > 0 and settings.test_size >= 1:
        raise ValueError(
            f"split.test_size={settings.test_size}: only {len(tested)} of {int(candidate.sum())} eligible visits can be drawn while each "
            f"class keeps split.min_train_visits={settings.min_train_visits} in training; lower one of the two"
        )
    return tested


def _wanted(quota: list[int], stratum: int, bins: int, by_class: bool) -> bool:
    """Whether a stratum, or any of its class, has room."""
    first = stratum // bins * bins
    return any(n > 0 for n in quota[first : first + bins]) if by_class else quota[stratum] > 0


def _rows_by_group(groups: Groups, rows: np.ndarray) -> Callable[[int], list[int]]:
    """A group's share of some visits, in the order of checkup ids."""
    order = rows[np.argsort(groups.of[rows], kind="stable")]
    starts = np.searchsorted(groups.of[order], np.arange(len(groups.size) + 1))
    return lambda group: order[starts[group] : starts[group + 1]].tolist()


def _test_quotas(
    visits: Visits, stratum: np.ndarray, candidate: np.ndarray, split: np.ndarray, settings: SplitSettings
) -> np.ndarray:
    """How many new test visits each stratum wants: the classes' shares of the eligible visits, and in each class those of its numbers
    of images. Raises ValueError where a first draw is asked for more than there are."""
    size, eligible = settings.test_size, int(candidate.sum())
    total = wanted(size, eligible)
    if total > eligible and not split.any():
        raise ValueError(f"split.test_size={size}: the eligible visits are {eligible}")
    bins = len(settings.image_strata) + 1
    shape, there = (_CLASSES, bins), stratum[candidate]
    eligible_of = np.bincount(there, minlength=_CLASSES * bins).reshape(shape)
    placed = np.bincount(stratum[(split == TEST)], minlength=(_CLASSES + 1) * bins)[: _CLASSES * bins].reshape(shape)
    labelled = np.bincount(visits.six_class[visits.six_class >= 0], minlength=_CLASSES)
    most = np.clip(np.minimum(eligible_of.sum(axis=1), labelled - settings.min_train_visits), 0, None)
    by_class = apportion(total, eligible_of.sum(axis=1), most, np.minimum(most, 1))
    missing = np.clip(by_class - placed.sum(axis=1), 0, None)
    missing = apportion(max(0, total - int(placed.sum())), missing, missing)
    quota = np.zeros(shape, np.int64)
    for number in range(_CLASSES):
        of_bins = apportion(int(by_class[number]), eligible_of[number], eligible_of[number])
        of_bins = np.clip(of_bins - placed[number], 0, None)
        quota[number] = apportion(int(missing[number]), of_bins, of_bins)
    return quota.ravel()


def apportion(total: int, weights: np.ndarray, most: np.ndarray, least: np.ndarray | None = None) -> np.ndarray:
    """``total`` shared out by weight, largest remainder first, within bounds; less than ``total`` where the upper ones are reached,
    and below the lower ones where ``total`` is too small for them."""
    least = np.zeros_like(most) if least is None else least
    exact = np.zeros(len(weights))
    free = (most > 0) & (weights > 0)
    rest = float(total)
    while free.any():
        exact[free] = rest * weights[free] / weights[free].sum()
        full = free & (exact >= most)
        if not full.any():
            break
        exact[full] = most[full]
        rest -= most[full].sum()
        free &= ~full
    got = np.clip(np.floor(exact + 1e-9).astype(np.int64), least, most)
    while got.sum() < total and (got < most).any():
        got[np.argmax(np.where(got < most, exact - got, -np.inf))] += 1
    while got.sum() > total:
        room = got > least if (got > least).any() else got > 0
        got[np.argmin(np.where(room, exact - got, np.inf))] -= 1
    return got


# validation


def _draw_validation(visits: Visits, groups: Groups, side: np.ndarray, split: np.ndarray, settings: SplitSettings) -> None:
    """Marks the groups of the validation side, drawn among those that no test visit comes from."""
    of_visit = side[groups.of]
    pool = (split == TRAIN) | (split == VALIDATION) | ((split == NONE) & np.isin(of_visit, (NONE, TRAIN, VALIDATION)))
    size = settings.validation_size
    total = wanted(size, int(pool.sum()))
    if total >= max(int(pool.sum()), 1) and not split.any():
        raise ValueError(f"split.validation_size={size}: the training side has {int(pool.sum())} visits, and keeps some of them")
    placed = (split == VALIDATION) | ((split == NONE) & (of_visit == VALIDATION))
    stratum = strata(visits, settings)
    there = np.bincount(stratum[pool])
    quota = (apportion(total, there, there) - np.bincount(stratum[placed], minlength=len(there))).tolist()
    missing = total - int(placed.sum())
    labelled = pool & ~placed & (visits.six_class >= 0)
    left = (np.bincount(visits.six_class[labelled], minlength=_CLASSES) - settings.min_train_visits).tolist()
    rows_of = _rows_by_group(groups, np.flatnonzero(split == NONE))
    others = len(np.unique(groups.of[pool & ~placed]))  # groups that stay in training
    for linked in (False, True):
        for strict in (True, False):
            for group in groups.in_order((side == NONE) & (groups.linked == linked)):
                if missing <= 0 or others <= 1:
                    return
                rows = rows_of(group)
                if len(rows) > missing or (strict and 2 * _useful(stratum[rows].tolist(), quota) < len(rows)):
                    continue
                takes = np.bincount(visits.six_class[rows][visits.six_class[rows] >= 0], minlength=_CLASSES).tolist()
                if any(n and n > spare for n, spare in zip(takes, left, strict=True)):
                    continue
                left = [spare - n for n, spare in zip(takes, left, strict=True)]
                for at in stratum[rows].tolist():
                    quota[at] -= 1
                side[group] = VALIDATION
                missing, others = missing - len(rows), others - 1


def _useful(strata_of_rows: list[int], quota: list[int]) -> int:
    """How many of a group's visits its quotas want."""
    counts = Counter(strata_of_rows)
    return sum(min(n, max(quota[at], 0)) for at, n in counts.items())
