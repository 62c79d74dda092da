"""The answers of the four tasks: what a visit's record says, in one language, or None where it says nothing to answer with.

    classification  the one of the six classes that is present        six_class = Pulpitis          -> Pulpitis   | 牙髓炎
    generation      the report: eight sections, always all of them     examination, diagnosis, …     -> Examination: …
    quadrant        where the teeth of the present diagnoses stand     16, 36                        -> Upper Right, Lower Left
    teeth           their FDI numbers                                  16, 36                        -> 16, 36    | 16、36

Where the diagnosis names, beside numbers, a tooth that could not be read or a whole region (全口, 左上后牙), the numbers are not all that is
affected: such a visit has no answer to the last two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codelib.contracts import OK
from codelib.models.visit_question import report
from codelib.models.words import Words


def _class(visit: dict[str, Any], words: Words) -> str | None:
    return words.classes[visit["six_class"]] if visit["six_class"] else None


def affected_teeth(visit: dict[str, Any]) -> list[str]:
    """FDI numbers of the present diagnoses, ascending; none where the diagnosis names more than they say."""
    if any(tooth["field"] == "diagnosis" and tooth["status"] != OK for tooth in visit["teeth"] or ()):
        return []
    present = (disease for disease in visit["diseases"] or () if disease["status"] == "present")
    return sorted({number for disease in present for number in disease["fdi"] or ()})


def _teeth(visit: dict[str, Any], words: Words) -> str | None:
    return words.comma.join(affected_teeth(visit)) or None


def _quadrant(visit: dict[str, Any], words: Words) -> str | None:
    found = sorted({(int(number[0]) - 1) % 4 for number in affected_teeth(visit)})  # quadrants 5 to 8 are 1 to 4 of primary teeth
    return words.comma.join(words.quadrants[index] for index in found) or None


ANSWERS: dict[str, Callable[[dict[str, Any], Words], str | None]] = {
    "classification": _class,
    "generation": report,
    "quadrant": _quadrant,
    "teeth": _teeth,
}
