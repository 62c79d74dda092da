"""What a visit is about: its classes, the dictionary terms that stand for them, and the teeth they stand on.

label_of: the classes of every visit ─ draw_term: 深龋, K02.1 ─ draw_teeth: 16
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from codelib.contracts import SIX_CLASSES
from codelib.synthetic.people import draw

OTHER = "other"
PRESENT, SUSPECTED, NEGATED, PAST = "present", "suspected", "negated", "past"
BLOCK_VISITS = 50
PERMANENT = tuple(f"{quadrant}{number}" for quadrant in (1, 2, 3, 4) for number in range(1, 8))
PRIMARY = tuple(f"{quadrant}{number}" for quadrant in (5, 6, 7, 8) for number in range(1, 6))
WISDOM = ("18", "28", "38", "48")
CHILD_MAX_AGE = 7


@dataclass(frozen=True)
class Term:
    """A diagnosis of the shared dictionary: ``zh`` its entry, ``written`` the spellings it is written with."""

    zh: str
    written: tuple[str, ...]
    icd10: str
    bound_to: str  # tooth | primary | wisdom | loss | none: what stands before it in the diagnosis
    label: str  # one of the six classes, or other


@lru_cache(maxsize=1)
def terms() -> dict[str, tuple[Term, ...]]:
    """The terms by class; only entries with high or medium confidence of the shared dictionary."""
    raw = json.loads((Path(__file__).parent / "terms.json").read_text(encoding="utf-8"))
    return {
        label: tuple(Term(row["zh"], tuple(row["written"]), row["icd10"], row["bound_to"], label) for row in rows)
        for label, rows in raw.items()
    }


def label_of(seed_rng: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    """The classes of ``count`` visits: in every 50, 42 of one class (7 of each), 2 of two classes, 6 of none."""
    labels: list[tuple[str, ...]] = []
    while len(labels) < count:
        block = [(name,) for name in SIX_CLASSES] * 7 + [(OTHER,)] * 6
        block += [tuple(sorted(seed_rng.choice(SIX_CLASSES, 2, replace=False).tolist())) for _ in range(2)]
        assert len(block) == BLOCK_VISITS
        labels += [block[index] for index in seed_rng.permutation(BLOCK_VISITS)]
    return labels[:count]


def draw_term(rng: np.random.Generator, label: str, is_child: bool) -> Term:
    """A term of the class that fits the dentition: primary teeth for children only, wisdom teeth for adults only."""
    unfit = "wisdom" if is_child else "primary"
    return draw(rng, [term for term in terms()[label] if term.bound_to != unfit])


def draw_teeth(rng: np.random.Generator, bound_to: str, is_child: bool) -> list[str]:
    """One to three teeth, neighbours in one quadrant more often than not."""
    if bound_to == "wisdom":
        return [draw(rng, WISDOM)]
    if bound_to == "primary" or (is_child and rng.random() < 0.75):
        stock: tuple[str, ...] = PRIMARY
    else:
        stock = PERMANENT
    first = draw(rng, stock)
    teeth = {first}
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
    while len(teeth) < count:
        same = [tooth for tooth in stock if tooth[0] == first[0]]
        teeth.add(draw(rng, same if rng.random() < 0.65 else stock))
    return sorted(teeth)


def unrelated_term(rng: np.random.Generator, taken: set[str]) -> Term:
    """A term of a class that the visit does not have: for negated, suspected and past conditions."""
    free = [name for name in (*SIX_CLASSES, OTHER) if name not in taken]
    return draw(rng, [term for term in terms()[draw(rng, free)] if term.bound_to in ("tooth", "none", "wisdom")])
