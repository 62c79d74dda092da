"""Scores of the full spectrum: all conditions of a visit, multi-label, of some 120 names.

    reference '["Deep caries", "Dental calculus"]'    answer "1. Deep caries (16)\\n2. Gingivitis\\nNo calculus"
        ->  one hit, two named, two true: precision 1/2, recall 1/2

An answer is a list (commas, semicolons, lines, numbers, JSON) or prose, in English or Chinese; a condition counts where it is asserted
(`conditions`). An answer that names no condition and does not say that there is none is unparsed: it misses everything, and is counted. Names
of a list that are no known condition are counted too; precision does not know them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelib.evaluate.answer_forms import final_part, json_values, plain, without_thoughts
from codelib.evaluate.conditions import ASSERTED, mentions, vocabulary
from codelib.evaluate.findings import findings
from codelib.evaluate.statistics import Array, bootstrap

RARE_BELOW = 5  # a condition of fewer test patients has no figure of its own: it would be theirs
_LONGEST_ITEM = 8  # words; a longer piece is a sentence, not an item of a list
_NOTHING = re.compile(
    r"\b(?:no|without)(?: \w+){0,3} (?:abnormalit(?:y|ies)|conditions?|diseases?|patholog(?:y|ies)|anomal(?:y|ies)|findings?)\b"
    r"|^(?:none|nothing|healthy|normal|n/a)\b|\b(?:healthy|normal) (?:mouth|dentition|teeth|oral|gums)"
    r"|无(?:明显)?异常|未见(?:明显)?异常|^(?:无|正常|健康)"
)
_ITEM_MARK = re.compile(r"^[\s\d.)、:(\-•·]+|[\s.。]+$")


@dataclass(frozen=True)
class Listed:
    """``names``: the conditions that an answer asserts; ``num_unknown``: items of its list that are no condition that anybody knows."""

    names: frozenset[str]
    num_unknown: int


def parse_conditions(text: str | None, others: tuple[str, ...] = ()) -> Listed | None:
    """The conditions that an answer lists; None where it names none and does not say so. others: names of the test set that no list has."""
    answer = without_thoughts(text or "")
    if not answer:
        return None
    values = json_values(answer)
    source = "\n".join(values) if values else final_part(answer)
    found = list(mentions(source, others))
    if not found and values != [] and not any(_NOTHING.search(line) for line in plain(source).split("\n")):
        return None
    names = frozenset(mention.name for mention in found if mention.status == ASSERTED)
    return Listed(names, _unknown_items(plain(source), others))


def _unknown_items(source: str, others: tuple[str, ...]) -> int:
    """Pieces of a list without a condition in them; 0 where a piece is too long for a list."""
    pieces = [_ITEM_MARK.sub("", piece) for piece in re.split(r"[,;，；、\n]", source)]
    items = [piece for piece in pieces if any(character.isalpha() for character in piece)]
    if any(len(item.split()) > _LONGEST_ITEM for item in items):
        return 0
    return sum(not _NOTHING.search(item) and next(mentions(item, others), None) is None for item in items)


def reference_names(reference: str) -> tuple[str, ...]:
    """The conditions of a reference, a JSON list of names. Raises ValueError where it is none."""
    try:
        names = json.loads(reference)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("spectrum: a reference is not a JSON list of condition names, as in '[\"Deep caries\"]'")
    return tuple(names)


def _known_names(others: tuple[str, ...]) -> dict[str, str]:
    """What a name is called here: a test set may say "tooth decay" for "Dental caries"."""
    known: dict[str, str] = {}
    for condition in vocabulary(others).conditions:
        for name in (condition.en, condition.zh, *condition.names_en, *condition.synonyms):
            known.setdefault(plain(name), condition.en)
    return known


def read(references: Sequence[str], answers: Sequence[str | None]) -> tuple[list[frozenset[str]], list[Listed | None]]:
    """The conditions of each visit, and those that each answer lists, under the same names."""
    listed = [reference_names(reference) for reference in references]
    standard = _known_names(())
    others = tuple(sorted({name for names in listed for name in names if plain(name) not in standard}))
    known = _known_names(others)
    true = [frozenset(known[plain(name)] for name in names) for names in listed]
    return true, [parse_conditions(answer, others) for answer in answers]


def spectrum(references: Sequence[str], answers: Sequence[str | None], patients: Sequence[str], seed: int) -> dict[str, Any]:
    """The scores of report.json. references: JSON lists. Raises ValueError where there is nothing to score or a reference is no such list."""
    true, parsed = read(references, answers)
    said = [one.names if one else frozenset[str]() for one in parsed]
    unparsed = sum(one is None for one in parsed)
    return {**scores_of_sets(true, said, patients, seed), "num_unparsed": unparsed} | {
        "num_unknown_items": sum(one.num_unknown for one in parsed if one),
        "rows": {"counts": [(len(a & b), len(b), len(a)) for a, b in zip(true, said, strict=True)]},  # hit, named, true
    }


def spectrum_of_reports(references: Sequence[str], answers: Sequence[str], patients: Sequence[str], seed: int) -> dict[str, Any]:
    """The same for what written reports diagnose, reference and answer read alike."""
    true, said = ([findings(text).diagnoses for text in texts] for texts in (references, answers))
    return scores_of_sets(true, said, patients, seed)


def scores_of_sets(
    true: Sequence[frozenset[str]], said: Sequence[frozenset[str]], patients: Sequence[str], seed: int
) -> dict[str, Any]:
    """Micro and macro averages, each condition, the rare ones together. Macro is over the conditions that the test set has."""
    if not true:
        raise ValueError("spectrum: no answered sample to score")
    support = Counter(name for names in true for name in names)
    named = Counter(name for names in said for name in names)
    hits = Counter(name for a, b in zip(true, said, strict=True) for name in a & b)
    each = {name: _scored([name], hits, named, support) for name in {*support, *named}}
    people = {name: len({who for names, who in zip(true, patients, strict=True) if name in names}) for name in each}
    shown = sorted((name for name in support if people[name] >= RARE_BELOW), key=lambda name: (-support[name], name))
    rare = sorted(name for name in each if people[name] < RARE_BELOW)
    rows = np.asarray([[len(a & b), len(b), len(a)] for a, b in zip(true, said, strict=True)], dtype=np.float64)
    whole = _scored(each, hits, named, support)
    interval = bootstrap(rows, patients, _micro_f1, seed)
    return {
        **{f"micro_{name}": whole[name] for name in ("precision", "recall", "f1")},
        "micro_f1_ci": [interval.low, interval.high] if interval else None,
        "macro_f1": sum(each[name]["f1"] for name in support) / len(support) if support else 0.0,
        "n": len(true),
        "conditions": [{"name": name, **each[name]} for name in shown],
        "rare": {"below": RARE_BELOW, "num_conditions": len(rare), **_scored(rare, hits, named, support)} if rare else None,
    }


def _scored(
    names: Sequence[str] | dict[str, Any], hits: Counter[str], named: Counter[str], support: Counter[str]
) -> dict[str, Any]:
    """Pooled over ``names``; 0 where nothing was named, or nothing there."""
    hit, said, true = (sum(counts[name] for name in names) for counts in (hits, named, support))
    return {
        "support": true,
        "precision": hit / said if said else 0.0,
        "recall": hit / true if true else 0.0,
        "f1": 2 * hit / (said + true) if said + true else 0.0,
    }


def _micro_f1(sums: Array) -> Array:
    both = sums[:, 1] + sums[:, 2]
    return np.divide(2 * sums[:, 0], both, out=np.zeros_like(both), where=both > 0)
