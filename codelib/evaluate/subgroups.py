"""Accuracy by what a release says of its samples: the complaint, the language, age, gender, images.

    classified rows + the test set's samples  ->  subgroups(...)  ->  [{"by": "age band", "name": "18 to 34", "n", "accuracy", …}, …]

A model that only reads the complaint scores high where it names the label; what it is worth stands in the other group.

Groups are made of the whole test set, so that they are the same for every variant. A group of fewer than five patients is never shown (the
rule of the release's figures, docs/privacy.md): bands in order are joined with a neighbour until each has enough, names are left out, and where
what is left out would follow from the sum, the smallest other group is left out as well. A group of fewer than ten rows is marked `small`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.statistics import accuracy_interval, num_effective_patients
from codelib.evaluate.variants import CLASSIFICATION

MIN_PATIENTS = 5  # different patients in a group that is shown
SMALL = 10  # rows below which a group is marked; bands in order are joined up to it
NAMED, NOT_NAMED = "complaint names the label", "complaint does not name it"
AGE_STARTS = (0, 18, 35, 50, 65)  # a band goes to the year before the next one starts
NOT_STATED = "not stated"

Groups = dict[str, frozenset[str]]
"""Name of a group -> its sample ids, in the order in which they are shown."""


def subgroups(rows: Sequence[dict[str, Any]], samples: Mapping[str, Sample], seed: int) -> list[dict[str, Any]]:
    """rows: answered classification rows. samples: of the whole test set. Empty where the dataset says nothing of its samples; what is the
    same for all samples makes no group."""
    by_id = {row["sample_id"]: row for row in rows}
    patients = {sample: samples[sample].patient for sample in by_id}
    found = []
    for by, groups in _divisions(samples):
        # again over what this variant answered: a partial one may have too few of a group, or of what is hidden already
        hidden = frozenset(by_id).difference(*groups.values())
        answered = _safe({name: members & by_id.keys() for name, members in groups.items()}, patients, hidden)
        found += [
            {"by": by, **_scored(name, [by_id[s] for s in sorted(group)], samples, seed)} for name, group in answered.items()
        ]
    return found


def withheld(samples: Mapping[str, Sample]) -> list[str]:
    """Which divisions are not shown in full, in plain sentences."""
    shown = dict(_divisions(samples))
    told = []
    for by, raw in _raw(_classified(samples)).items():
        hidden = {sample for members in raw.values() for sample in members} - {
            s for members in shown[by].values() for s in members
        }
        if hidden and len(raw) > 1:
            told.append(
                f"By {by}: groups of fewer than {MIN_PATIENTS} patients or {SMALL} visits are joined or not shown, nor is a group from "
                "which one of them would follow."
            )
    return told


def _classified(samples: Mapping[str, Sample]) -> list[Sample]:
    return [sample for sample in samples.values() if sample.benchmark == CLASSIFICATION]


def _divisions(samples: Mapping[str, Sample]) -> list[tuple[str, Groups]]:
    """Each way of dividing the test set, with the groups that may be shown; none where it does not divide."""
    mine = _classified(samples)
    patients = {sample.sample_id: sample.patient for sample in mine}
    found = []
    for by, raw in _raw(mine).items():
        groups = _joined(raw, patients, _JOINABLE[by]) if by in _JOINABLE else raw
        found.append((by, _safe(groups, patients) if len(groups) > 1 else {}))
    return found


def _raw(samples: Sequence[Sample]) -> dict[str, Groups]:
    return {by: _group(samples, name_of, order) for by, (name_of, order) in _WAYS.items()}


def _group(samples: Sequence[Sample], name_of: Callable[[Sample], str | None], order: Sequence[str] | None) -> Groups:
    """Sample ids by name; those without one stand under NOT_STATED, unless none has one."""
    groups: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        groups[name_of(sample) or NOT_STATED].add(sample.sample_id)
    if set(groups) <= {NOT_STATED}:
        return {}
    known = [name for name in groups if name != NOT_STATED]
    ordered = [name for name in order if name in groups] if order is not None else sorted(known, key=int)
    rest = sorted(name for name in known if name not in ordered)
    return {name: frozenset(groups[name]) for name in (*ordered, *rest, NOT_STATED) if name in groups}


def _num_patients(members: frozenset[str], patients: Mapping[str, str]) -> int:
    return len({patients[sample] for sample in members})


def _joined(raw: Groups, patients: Mapping[str, str], name_of: Callable[[int, int | None], str]) -> Groups:
    """Bands in order, each joined with the next ones until it stands for enough; what is left at the end joins the last. The outermost bands
    are open, so that no extreme is named."""
    bands: list[tuple[int, frozenset[str]]] = []
    for start, members in ((int(name), members) for name, members in raw.items() if name != NOT_STATED):
        if bands and not _enough(bands[-1][1], patients):
            bands[-1] = (bands[-1][0], bands[-1][1] | members)
        else:
            bands.append((start, members))
    if not bands:
        return raw
    if len(bands) > 1 and not _enough(bands[-1][1], patients):
        bands[-2:] = [(bands[-2][0], bands[-2][1] | bands[-1][1])]
    ends = [start for start, _ in bands[1:]]
    joined = {name_of(start, end): members for (start, members), end in zip(bands, [*ends, None], strict=True)}
    return joined | ({NOT_STATED: raw[NOT_STATED]} if NOT_STATED in raw else {})


def _enough(members: frozenset[str], patients: Mapping[str, str]) -> bool:
    return len(members) >= SMALL and _num_patients(members, patients) >= MIN_PATIENTS


def _safe(groups: Groups, patients: Mapping[str, str], hidden: frozenset[str] = frozenset()) -> Groups:
    """Without groups of too few patients, nor so many that the rest of the sum would be too few. hidden: samples of no group, which are part of
    that sum."""
    shown = {name: members for name, members in groups.items() if _num_patients(members, patients) >= MIN_PATIENTS}
    hidden = hidden.union(*(members for name, members in groups.items() if name not in shown))
    while hidden and shown and _num_patients(hidden, patients) < MIN_PATIENTS:
        smallest = min(shown, key=lambda name: (_num_patients(shown[name], patients), name))
        hidden |= shown.pop(smallest)
    return shown


# what a sample is grouped by; a dataset that does not say has no such group


def _complaint(sample: Sample) -> str | None:
    return None if sample.names_label is None else (NAMED if sample.names_label else NOT_NAMED)


def _language(sample: Sample) -> str | None:
    return _LANGUAGES.get(sample.language)


def _age(sample: Sample) -> str | None:
    return None if sample.age is None else str(max((start for start in AGE_STARTS if start <= sample.age), default=0))


def _gender(sample: Sample) -> str | None:
    return sample.gender or None


def _num_images(sample: Sample) -> str:
    return str(len(sample.images))


def _radiograph(sample: Sample) -> str | None:
    if sample.num_radiographs is None:
        return None
    return "with a radiograph" if sample.num_radiographs else "without a radiograph"


def _age_name(start: int, end: int | None) -> str:
    return f"{start} and older" if end is None else (f"under {end}" if start == 0 else f"{start} to {end - 1}")


def _images_name(start: int, end: int | None) -> str:
    if end is None:
        return f"{start} or more images"
    return f"{start} image{'s' if start != 1 else ''}" if end == start + 1 else f"{start} to {end - 1} images"


_LANGUAGES = {"en": "asked in English", "zh": "asked in Chinese"}
_WAYS: dict[str, tuple[Callable[[Sample], str | None], Sequence[str] | None]] = {
    "complaint": (_complaint, (NAMED, NOT_NAMED)),
    "language": (_language, tuple(_LANGUAGES.values())),
    "age band": (_age, None),
    "gender": (_gender, ()),
    "number of images": (_num_images, None),
    "radiograph": (_radiograph, ("with a radiograph", "without a radiograph")),
}
_JOINABLE: dict[str, Callable[[int, int | None], str]] = {"age band": _age_name, "number of images": _images_name}


def _scored(name: str, rows: Sequence[dict[str, Any]], samples: Mapping[str, Sample], seed: int) -> dict[str, Any]:
    patients = [samples[row["sample_id"]].patient for row in rows]
    correct = [row["parsed"] is not None and row["parsed"] == parse_class(row["reference"]) for row in rows]
    interval = accuracy_interval(correct, patients, seed)
    return {
        "name": name,
        "n": len(rows),
        "accuracy": sum(correct) / len(rows),
        "accuracy_ci": [interval.low, interval.high] if interval else None,
        "num_patients": len(set(patients)),
        "effective_patients": round(num_effective_patients(patients), 1),
        "small": len(rows) < SMALL,
    }
