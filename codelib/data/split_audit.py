"""The audit of a split: what stands on two sides fails the release.

    sides of the visits ─┬─ patients ─────────────── on one side each (reported only where the unit is the checkup)
                         ├─ pictures of equal content or thumbnail, and the pairs of the stage `duplicates`
                         └─ reports, equal and nearly equal, stereotypes left out

Checked at every run for all visits, old decisions too: `split-audit.json` holds counts and codes. Test is held against train and validation,
validation against train; excluded visits stand on no side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelib.contracts import SIX_CLASSES
from codelib.core.cli import JobFailed
from codelib.core.store import Workspace
from codelib.data.split import NONE, SIDES, TEST, TRAIN, VALIDATION, SplitSettings, wanted
from codelib.data.split_draw import Decided
from codelib.data.split_spectrum import scorable, shares
from codelib.data.split_visits import Links, Ties, Visits, repeated

FILE = "split-audit.json"
_AGAINST = ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,)))
_IN_FILE, _IN_SENTENCE = 1000, 3  # codes that are written out
_MIN_PATIENTS = 5  # of a condition that is named: a rare string may be a second pass's own words
_NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Leak:
    """Something that stands on two sides. rows: n x 2, the visit on the judged side and one on the other."""

    what: str  # patients | pictures | near_pictures | reports
    count: int
    codes: tuple[tuple[str, ...], ...]  # the patient, or the two checkups with their sides

    def line(self) -> dict[str, Any]:
        return {"count": self.count, "codes": [list(code) for code in self.codes[:_IN_FILE]]}


def leaks(visits: Visits, links: Links, split: np.ndarray) -> list[Leak]:
    """Everything that stands on two sides of a split (codes of `SIDES`, a visit each)."""
    pictures = np.concatenate(
        [_shared(keys[keys != 0], visits.picture_of[keys != 0], split) for keys in (visits.content, visits.look)]
    )
    near = _judged_first(links.pictures, split)
    found = [_patients(visits, split)]
    for what, rows in (("pictures", pictures), ("near_pictures", near), ("reports", _reports(visits, links, split))):
        rows = np.unique(rows, axis=0)
        codes = tuple(
            tuple(part for row in pair for part in (visits.checkup_id[row].as_py(), SIDES[split[row]]))
            for pair in rows[:_IN_FILE].tolist()
        )
        found.append(Leak(what, len(rows), codes))
    return [leak for leak in found if leak.count]


def _patients(visits: Visits, split: np.ndarray) -> Leak:
    on = np.zeros((len(visits.patient_ids), len(SIDES)), bool)
    on[visits.patient, split] = True
    both = np.flatnonzero(on[:, [TRAIN, VALIDATION, TEST]].sum(axis=1) > 1)
    return Leak("patients", len(both), tuple((visits.patient_ids[row].as_py(),) for row in both[:_IN_FILE].tolist()))


def _shared(keys: np.ndarray, rows: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Pairs (visit on the judged side, first visit on another) of those that have a key in common."""
    of, rows = repeated(keys, rows)
    return _partners(of, rows, split, _first(of, rows, split))


def _first(of: np.ndarray, rows: np.ndarray, split: np.ndarray) -> np.ndarray:
    """keys x sides: the first visit that has the key and stands there, else `_NOBODY`."""
    first = np.full((int(of.max(initial=-1)) + 1, len(SIDES)), _NOBODY)
    np.minimum.at(first, (of, split[rows]), rows)
    return first


def _partners(of: np.ndarray, rows: np.ndarray, split: np.ndarray, first: np.ndarray) -> np.ndarray:
    pairs = []
    for side, others in _AGAINST:
        judged = split[rows] == side
        partner = first[of[judged]][:, others].min(axis=1)
        pairs.append(np.stack([rows[judged], partner], axis=1)[partner != _NOBODY])
    return np.concatenate(pairs)


def _judged_first(pairs: np.ndarray, split: np.ndarray) -> np.ndarray:
    """The pairs across sides; test comes before validation, validation before train."""
    sides = split[pairs]
    pairs = pairs[(sides[:, 0] != sides[:, 1]) & np.isin(sides, (TRAIN, VALIDATION, TEST)).all(axis=1)]
    turn = split[pairs[:, 0]] < split[pairs[:, 1]]
    return np.where(turn[:, None], pairs[:, ::-1], pairs)


def _reports(visits: Visits, links: Links, split: np.ndarray) -> np.ndarray:
    compared = links.compared(visits)
    rows = np.flatnonzero(compared)
    equal = _shared(compared[rows], rows, split)
    if not len(links.reports):
        return equal
    texts, of = np.unique(compared[rows], return_inverse=True)
    first = _first(of, rows, split)
    beside = np.full_like(first, _NOBODY)  # the first visit on each side with a nearly equal report
    ends = np.searchsorted(texts, links.reports)
    for one, other in (ends.T, ends.T[::-1]):
        np.minimum.at(beside, one, first[other])
    return np.concatenate([equal, _partners(of, rows, split, beside)])


# the report


def report(visits: Visits, links: Links, ties: Ties, decided: Decided, settings: SplitSettings) -> dict[str, Any]:
    """What split-audit.json says."""
    found = {"six_class": leaks(visits, links, decided.split), "spectrum": leaks(visits, links, decided.spectrum)}
    fails = {name: [leak for leak in all_ if _fails(leak, settings)] for name, all_ in found.items()}
    patients = np.unique(np.stack([ties.groups(len(visits)), visits.patient], axis=1), axis=0)[:, 0]
    several = np.unique(patients, return_counts=True)[1]
    return {
        "passed": not any(fails.values()),
        "unit": settings.unit,
        "rules": settings.audit.fingerprint(),
        "six_class": {
            "fails": {leak.what: leak.line() for leak in fails["six_class"]},
            "reported": {leak.what: leak.line() for leak in found["six_class"] if not _fails(leak, settings)},
            **_six_class(visits, decided, settings),
        },
        "spectrum": {
            "fails": {leak.what: leak.line() for leak in fails["spectrum"]},
            "reported": {leak.what: leak.line() for leak in found["spectrum"] if not _fails(leak, settings)},
            **_spectrum(visits, decided, settings),
        },
        "kept_together": {
            "near_duplicate_pairs": len(links.pictures),
            "like_report_pairs": len(links.reports),
            "stereotyped_reports": len(links.stereotypes),
            "groups_of_several_patients": int((several > 1).sum()),
            "patients_in_the_largest": int(several.max(initial=0)),
        },
    }


def _fails(leak: Leak, settings: SplitSettings) -> bool:
    return leak.what != "patients" or settings.unit == "patient"


def _counts(split: np.ndarray, chosen: np.ndarray) -> dict[str, int]:
    numbers = np.bincount(split[chosen], minlength=len(SIDES)).tolist()
    return {name: number for name, number in zip(SIDES, numbers, strict=True) if name}


def _six_class(visits: Visits, decided: Decided, settings: SplitSettings) -> dict[str, Any]:
    everyone = np.ones(len(visits), bool)
    eligible = visits.eligible & (visits.six_class >= 0)
    starts = (1, *settings.image_strata)
    ends = (*(start - 1 for start in settings.image_strata), int(visits.images.max(initial=1)))
    return {
        "eligible": int(eligible.sum()),
        "wanted_test": wanted(settings.test_size, int(eligible.sum())),
        "visits": _counts(decided.split, everyone),
        "classes": {name: _counts(decided.split, visits.six_class == i) for i, name in enumerate(SIX_CLASSES)},
        "eligible_by_images": {
            f"{start}-{max(start, end)}": _counts(decided.split, eligible & (visits.images >= start) & (visits.images <= end))
            for start, end in zip(starts, ends, strict=True)
        },
    }


def _spectrum(visits: Visits, decided: Decided, settings: SplitSettings) -> dict[str, Any]:
    """Counts a condition among the visits that can be scored; rare ones together."""
    scored = scorable(visits)
    test_share = shares(settings, scored)[2]
    pairs = scored[visits.condition_of]
    names, of = visits.condition[pairs], visits.condition_of[pairs]
    by_side = np.zeros((len(visits.condition_names), len(SIDES)), np.int64)
    np.add.at(by_side, (names, decided.spectrum[of]), 1)
    shared = np.unique(np.stack([names, visits.patient[of]], axis=1), axis=0)[:, 0]
    patients = np.bincount(shared, minlength=len(by_side))
    rare = by_side[patients < _MIN_PATIENTS]
    lines = [
        _condition(visits.condition_names[i], by_side[i], test_share)
        for i in np.argsort(-by_side.sum(axis=1), kind="stable").tolist()
        if patients[i] >= _MIN_PATIENTS
    ]
    return {
        "wanted_test_share": round(test_share, 4),
        "visits": _counts(decided.spectrum, np.ones(len(visits), bool)),
        "conditions": lines,
        "rare_conditions": {"number": int((rare.sum(axis=1) > 0).sum())} | _condition("", rare.sum(axis=0), test_share),
    }


def _condition(name: str, by_side: np.ndarray, test_share: float) -> dict[str, Any]:
    numbers = {side: int(n) for side, n in zip(SIDES, by_side.tolist(), strict=True) if side in ("train", "validation", "test")}
    line = {"wanted_test": round(test_share * sum(numbers.values()), 1), **numbers}
    return {"condition": name, **line} if name else line


# the end of a run that leaks

_CALLED = {
    "patients": "patients on two sides",
    "pictures": "checkups of one side that share a picture with another",
    "near_pictures": "near-duplicate pictures across sides",
    "reports": "checkups whose report was copied across sides",
}


def write(found: dict[str, Any], workspace: Workspace) -> None:
    """Write split-audit.json; raise JobFailed, with what leaks and the ways out, where the split did not pass."""
    workspace.public.commit_json(FILE, found)
    if not found["passed"]:
        raise JobFailed(sentence(found, workspace))


def sentence(found: dict[str, Any], workspace: Workspace) -> str:
    """'the split leaks: six_class: 2 patients on two sides (0013, 0200); …'"""
    lines, kinds = [], set()
    for name in ("six_class", "spectrum"):
        for what, leak in found[name]["fails"].items():
            kinds.add(what)
            lines.append(f"{name}: {leak['count']} {_CALLED[what]} ({_shown(leak['codes'], leak['count'])})")
    ways = []
    if kinds & {"pictures", "near_pictures"}:
        ways.append("reject one picture of each pair in queue/image-answers.csv of the private room")
    if "reports" in kinds:
        ways.append(
            "where it is a stereotype, raise split.audit.report_min_chars or lower split.audit.report_max_patients (--reconfigure)"
        )
    if kinds - {"patients"}:
        ways.append("name one visit of each pair in the file of the setting exclude")
    ways.append("or draw all visits anew with --set seed=N --reconfigure, which makes another benchmark of it")
    return (
        f"the split leaks, so nothing new is released: {'; '.join(lines)}. "
        f"All of it stands in {workspace.public.root}/{FILE}. Way out: {'; '.join(ways)}"
    )


def _shown(codes: Sequence[Sequence[str]], count: int) -> str:
    shown = [code[0] if len(code) == 1 else f"{code[0]} in {code[1]}, {code[2]} in {code[3]}" for code in codes[:_IN_SENTENCE]]
    return "; ".join(shown) + ("; …" if count > len(shown) else "")


assert NONE == 0  # the sides without a name are not counted
