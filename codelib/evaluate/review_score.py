"""The reviewers' verdict: whose reports they preferred, how they rated them, and how far they agree.

    filled sheets + key.json  ->  score(folder)  ->  review.json, review.csv beside the key

Intervals are 95 % and resample patients, so that several reviewers of one visit count as what they are: opinions on the same visit.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from codelib.core.store import Store
from codelib.evaluate.review_read import TIE, Filled, read_filled
from codelib.evaluate.review_sheet import CRITERIA, REFERENCE, read_key
from codelib.evaluate.review_withdrawn import without_rows
from codelib.evaluate.statistics import accuracy_interval, mean_interval

SEED = 0
_HEADER = ("kind", "name", "criterion", "value", "low", "high", "n")


def score(folder: Store) -> dict[str, Any]:
    """Read, unblind, score and write. Raises ValueError where the folder is no review or a cell is bad; then nothing is written."""
    key = read_key(folder)
    filled = read_filled(folder, key)
    result = {
        "name": key["name"],
        "dataset": key["dataset"],
        "reports": key["reports"],
        "num_cases": len(key["cases"]),
        "num_withdrawn": len(key["withdrawn"]),
        "reviewers": _reviewers(filled, key),
        "preference": _preference(filled, key),
        "ratings": _ratings(filled, key),
        "differences": _differences(filled, key),
        "agreement": _agreement(filled),
        "comments": [
            {"reviewer": reviewer, "case": case, "sample_id": key["cases"][str(case)]["sample_id"], "comment": text}
            for reviewer, case, text in filled.comments
        ],
    }
    for name in filled.late:  # the sheet came back after somebody in it withdrew
        without_rows(folder, name, frozenset(map(str, key["withdrawn"])))
    folder.commit("review.csv", table(result))
    folder.commit_json("review.json", result)
    return result


def _patient(key: Mapping[str, Any], case: int) -> str:
    return str(key["cases"][str(case)]["patient"])


def _reviewers(filled: Filled, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How much each has judged; who sent nothing back has judged nothing."""
    found = []
    for reviewer in sorted(sheet["reviewer"] for sheet in key["sheets"].values()):
        chosen = {choice.case for choice in filled.choices if choice.reviewer == reviewer}
        rated = [j for j in filled.judgements if j.reviewer == reviewer and None not in j.ratings.values()]
        whole = {case for case in chosen if sum(j.case == case for j in rated) == len(key["reports"])}
        found.append({"reviewer": reviewer, "num_complete": len(whole), "num_open": len(key["cases"]) - len(whole)})
    return found


def _share(hits: Sequence[bool], patients: Sequence[str]) -> dict[str, Any]:
    interval = accuracy_interval(hits, patients, SEED)
    pair = [interval.low, interval.high] if interval else None
    return {"share": sum(hits) / len(hits), "ci": pair, "n": len(hits)}


def _preference(filled: Filled, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How often each was called the best, and ties; of a variant alone with the reference also how often it was at least as good."""
    choices, names = filled.choices, key["reports"]
    if not choices:
        return []
    patients = [_patient(key, choice.case) for choice in choices]
    found = [{"name": name, **_share([choice.name == name for choice in choices], patients)} for name in (*names, TIE)]
    if len(names) == 2:
        hits = [choice.name != REFERENCE for choice in choices]
        found.append({"name": f"{names[1]}, at least as good as the {REFERENCE}", **_share(hits, patients)})
    return found


def _mean(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    # where all are one value resampling sees no spread, and an interval of no width would claim certainty
    interval = mean_interval(values, patients, SEED) if len(set(values)) > 1 else None
    return {"value": sum(values) / len(values), "ci": [interval.low, interval.high] if interval else None, "n": len(values)}


def _ratings(filled: Filled, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in key["reports"]:
        for criterion in CRITERIA:
            given = [
                (_patient(key, j.case), value) for j in filled.judgements if j.name == name and (value := j.ratings[criterion])
            ]
            if given:
                patients, values = zip(*given, strict=True)
                found.append({"name": name, "criterion": criterion, **_mean(values, patients)})
    return found


def _differences(filled: Filled, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each variant's rating less the reference's by the same reviewer of the same case: above 0 the variant is rated higher."""
    by_place = {(j.reviewer, j.case, j.name): j.ratings for j in filled.judgements}
    found = []
    for name in key["reports"][1:]:
        for criterion in CRITERIA:
            given = []
            for (reviewer, case, whose), ratings in by_place.items():
                own, other = ratings[criterion], by_place.get((reviewer, case, REFERENCE), {}).get(criterion)
                if whose == name and own is not None and other is not None:
                    given.append((_patient(key, case), float(own - other)))
            if given:
                patients, values = zip(*given, strict=True)
                found.append({"name": name, "criterion": criterion, **_mean(values, patients)})
    return found


# agreement


def _agreement(filled: Filled) -> list[dict[str, Any]]:
    """Kappa of the choice (nominal) and of each criterion (ordinal), over what all reviewers judged."""
    by_choice: dict[int, dict[Hashable, Hashable]] = {}
    for choice in filled.choices:
        by_choice.setdefault(choice.reviewer, {})[choice.case] = choice.name
    found = [{"what": "best", **agreement(by_choice, ordinal=False)}]
    for criterion in CRITERIA:
        by_rating: dict[int, dict[Hashable, Hashable]] = {}
        for j in filled.judgements:
            if j.ratings[criterion] is not None:
                by_rating.setdefault(j.reviewer, {})[j.case, j.name] = j.ratings[criterion]
        found.append({"what": criterion, **agreement(by_rating, ordinal=True)})
    return found


def agreement(given: Mapping[int, Mapping[Hashable, Hashable]], ordinal: bool) -> dict[str, Any]:
    """given: reviewer -> item -> answer. Cohen's kappa of two reviewers, Fleiss' of more; of ratings weighted by the square of the distance
    (of more than two reviewers: the mean over their pairs, Light 1971). None where it is not defined: one reviewer, or one answer for all."""
    reviewers = sorted(given)
    common = sorted(set.intersection(*(set(given[r]) for r in reviewers)), key=repr) if len(reviewers) > 1 else []
    if not common:
        return {"kappa": None, "method": "needs two reviewers of the same cases", "n": 0}
    answers = [[given[reviewer][item] for item in common] for reviewer in reviewers]
    if ordinal:
        method = "Cohen, quadratic weights" + (", mean over pairs of reviewers" if len(reviewers) > 2 else "")
        pairs = [cohen(a, b, "quadratic") for a, b in combinations(answers, 2)]
        defined = [value for value in pairs if value is not None]
        kappa = sum(defined) / len(defined) if len(defined) == len(pairs) else None
    elif len(reviewers) == 2:
        method, kappa = "Cohen", cohen(answers[0], answers[1], None)
    else:
        method, kappa = "Fleiss", fleiss(list(zip(*answers, strict=True)))
    return {"kappa": kappa, "method": method, "n": len(common)}


def cohen(a: Sequence[Hashable], b: Sequence[Hashable], weights: str | None) -> float | None:
    """None where both gave one and the same answer to everything: chance would agree as well."""
    if len({*a, *b}) < 2:
        return None
    return float(cohen_kappa_score(list(a), list(b), weights=weights))


def fleiss(items: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa (Fleiss 1971). items: the answers of all reviewers to each item. None where all answers are one."""
    kinds = sorted({answer for item in items for answer in item}, key=repr)
    counts = np.array([[list(item).count(kind) for kind in kinds] for item in items], dtype=np.float64)
    raters = counts.sum(axis=1)[0]
    observed = ((counts**2).sum(axis=1) - raters).mean() / (raters * (raters - 1))
    expected = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((observed - expected) / (1 - expected)) if expected < 1 else None


# what is told


def table(result: Mapping[str, Any]) -> bytes:
    """One line for each figure."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    for row in result["preference"]:
        writer.writerow(["preference", row["name"], "", row["share"], *(row["ci"] or ("", "")), row["n"]])
    for kind in ("ratings", "differences"):
        for row in result[kind]:
            writer.writerow([kind, row["name"], row["criterion"], row["value"], *(row["ci"] or ("", "")), row["n"]])
    for row in result["agreement"]:
        writer.writerow(["agreement", row["method"], row["what"], "" if row["kappa"] is None else row["kappa"], "", "", row["n"]])
    return out.getvalue().encode()


def summary(result: Mapping[str, Any]) -> str:
    """The figures for the terminal."""
    lines = []
    for reviewer in result["reviewers"]:
        lines.append(f"  reviewer {reviewer['reviewer']}: {reviewer['num_complete']} cases complete, {reviewer['num_open']} open")
    if result["num_withdrawn"]:
        lines.append(f"  {result['num_withdrawn']} cases were taken out: their patients withdrew")
    width = max((len(row["name"]) for row in (*result["preference"], *result["ratings"])), default=0) + 2
    if result["preference"]:
        lines.append("  called the best")
    for row in result["preference"]:
        between = f"{100 * row['ci'][0]:.0f} to {100 * row['ci'][1]:.0f}" if row["ci"] else ""
        lines.append(f"    {row['name']:<{width}}{100 * row['share']:>6.1f} %  {between:<12} n = {row['n']}")
    for kind, words in (("ratings", "mean rating, 1 to 5"), ("differences", f"rating less that of the {REFERENCE}")):
        if result[kind]:
            lines.append(f"  {words}")
        for row in result[kind]:
            between = f"{row['ci'][0]:.2f} to {row['ci'][1]:.2f}" if row["ci"] else ""
            lines.append(f"    {row['name']:<{width}}{row['criterion']:<14}{row['value']:>6.2f}    {between:<16} n = {row['n']}")
    lines.append("  agreement of the reviewers (kappa)")
    for row in result["agreement"]:
        value = "not defined" if row["kappa"] is None else f"{row['kappa']:.2f}"
        lines.append(f"    {row['what']:<14}{value:>6}  {row['method']}, n = {row['n']}")
    return "\n".join(lines)
