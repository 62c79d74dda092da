"""How much likelier a word stands beside a person than elsewhere: 误吞, 同意, 通知 do; 血糖, 主要, 辛辣 do not.

    terms/beside_persons.csv ─ word, before a person, behind one: natural logarithms of odds
                               <v> stands for every verb of the dictionary that is not listed, <v1> for those of one character

Counted, not thought out: where 患者, 医生, 他, 母亲 and their like stand in public dialogues of patients with doctors, a name can stand too
(tests/benchmarks/names_fit.py makes the file).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache

from codelib.data.person_names_likelihood import word_classes
from codelib.data.person_names_lists import TERMS

BEGIN, END = "^", "$"
"""What stands before the first word of a run of Chinese, and behind its last."""


@dataclass(frozen=True)
class Beside:
    before: dict[str, float]
    behind: dict[str, float]

    def left(self, word: str) -> float:
        """``word`` ends where a name may begin."""
        known = self.before.get(word)
        return self.before.get(class_of(word), 0.0) if known is None else known

    def right(self, word: str) -> float:
        """``word`` begins where a name may end."""
        known = self.behind.get(word)
        return self.behind.get(class_of(word), 0.0) if known is None else known


def class_of(word: str) -> str:
    """<v> a verb, <n1> a noun of one character, <?> a word that the dictionary does not hold."""
    return f"<{word_classes().get(word, '?')}{1 if len(word) == 1 else ''}>"


@lru_cache(maxsize=1)
def beside() -> Beside:
    with (TERMS / "beside_persons.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return Beside({row["word"]: float(row["before"]) for row in rows}, {row["word"]: float(row["behind"]) for row in rows})
