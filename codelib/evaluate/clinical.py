"""Clinical checks that lexical metrics miss: does a report name the reference's teeth and diagnoses, and does it say the opposite?

    reference  "16 deep caries, no gingivitis"          answer  "26 deep caries, gingivitis"
        ->  tooth precision 0, recall 0 · diagnosis recall 1/1 · one side error (26 for 16) · one negation error (gingivitis)

Precision and recall are pooled over all reports (micro): a report without a tooth number counts for what it leaves out. The readers are
`findings`; they are compared with nothing but each other, so what they cannot read counts on neither side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codelib.evaluate.conditions import kin
from codelib.evaluate.findings import Findings, findings
from codelib.evaluate.statistics import Array

_LEFT_RIGHT = {"1": "2", "2": "1", "3": "4", "4": "3", "5": "6", "6": "5", "7": "8", "8": "7"}
_UPPER_LOWER = {"1": "4", "4": "1", "2": "3", "3": "2", "5": "8", "8": "5", "6": "7", "7": "6"}
COLUMNS = (
    "tooth_hits",
    "tooth_named",
    "tooth_true",
    "diagnosis_hits",
    "diagnosis_named",
    "diagnosis_true",
    "side_errors",
    "negation_errors",
)
"""Counts of one report; each score is a ratio of their sums."""


def mirrored(tooth: str) -> tuple[str, str]:
    """The same tooth on the other side, and in the other jaw: 16 -> 26, 46."""
    return _LEFT_RIGHT[tooth[0]] + tooth[1], _UPPER_LOWER[tooth[0]] + tooth[1]


def side_errors(reference: Findings, answer: Findings) -> int:
    """Places where the answer has the other side or jaw.

    A tooth that the reference has not, whose mirror it has and the answer has not: 26 for 16. And a diagnosis of both whose sides contradict
    (left for right, upper for lower), where not both name its teeth, which are compared already.
    """
    missed = reference.teeth - answer.teeth
    wrong = sum(any(other in missed for other in mirrored(tooth)) for tooth in answer.teeth - reference.teeth)
    for name in reference.places.keys() & answer.places.keys():
        if name in reference.on_teeth and name in answer.on_teeth:
            continue
        said, true = answer.places[name], reference.places[name]
        for pair in ({"L", "R"}, {"U", "D"}):
            if said & pair and true & pair and not said & true & pair:
                wrong += 1
                break
    return wrong


def _contradicted(denied: frozenset[str], asserted: frozenset[str], also_asserted: frozenset[str]) -> int:
    """How many of one text's denials the other text asserts, itself or a kind of it, the first text asserting no such thing elsewhere."""
    other = {wider for name in asserted for wider in kin(name)}
    own = {wider for name in also_asserted for wider in kin(name)}
    return sum(name in other and name not in own for name in denied)


def negation_errors(reference: Findings, answer: Findings) -> int:
    """Conditions that one text denies and the other asserts; "no caries" denies deep caries too. A text that does both about a condition (of
    two teeth) contradicts nobody."""
    return _contradicted(reference.denied, answer.asserted, reference.asserted) + _contradicted(
        answer.denied, reference.asserted, answer.asserted
    )


def compare(reference: str, answer: str) -> tuple[int, ...]:
    """The counts of one report, in the order of `COLUMNS`."""
    true, said = findings(reference), findings(answer)
    return (
        len(true.teeth & said.teeth),
        len(said.teeth),
        len(true.teeth),
        len(true.diagnoses & said.diagnoses),
        len(said.diagnoses),
        len(true.diagnoses),
        side_errors(true, said),
        negation_errors(true, said),
    )


@dataclass(frozen=True)
class Clinical:
    """``rows``: one line of counts for each report (`COLUMNS`)."""

    rows: Array

    def report(self) -> dict[str, float | int]:
        """The figures as report.json has them. Shares are of reports with at least one such error."""
        sums = self.rows.sum(axis=0)
        scores: dict[str, float | int] = {}
        for name, (hits, named, true) in (("tooth", sums[0:3]), ("diagnosis", sums[3:6])):
            scores[f"{name}_precision"] = float(hits / named) if named else 0.0
            scores[f"{name}_recall"] = float(hits / true) if true else 0.0
            scores[f"{name}_f1"] = float(2 * hits / (named + true)) if named + true else 0.0
        return {
            **scores,
            "num_side_errors": int(sums[6]),
            "num_negation_errors": int(sums[7]),
            "side_error_share": float((self.rows[:, 6] > 0).mean()),
            "negation_error_share": float((self.rows[:, 7] > 0).mean()),
            "n": len(self.rows),
        }


def clinical(references: Sequence[str], answers: Sequence[str]) -> Clinical:
    """Compare each report with its reference. Raises ValueError where there is nothing to score."""
    if not references:
        raise ValueError("generation: no answered sample to score")
    rows = [compare(reference, answer) for reference, answer in zip(references, answers, strict=True)]
    return Clinical(np.asarray(rows, dtype=np.float64))


def tooth_f1(sums: Array) -> Array:
    """Pooled F1 of tooth numbers from sums of `COLUMNS`, for the bootstrap."""
    return _f1(sums[:, 0], sums[:, 1] + sums[:, 2])


def diagnosis_f1(sums: Array) -> Array:
    """Pooled F1 of diagnoses from sums of `COLUMNS`, for the bootstrap."""
    return _f1(sums[:, 3], sums[:, 4] + sums[:, 5])


def _f1(hits: Array, both: Array) -> Array:
    return np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
