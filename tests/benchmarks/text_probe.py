"""One file of names in sentences that another hand wrote: python -m tests.benchmarks.text privacy --cases FILE [--misses] [--alarms]

    {"records": [{"text": …, "names": [who must not be released, …]}, …], "clean": [a text without a name, …]}

A name counts as caught where it is not released: replaced, or its visit held back. A clean text that is held back, or comes out changed, is a
false alarm. The sentences are printed only where they are asked for, so that a file can be measured and stay unseen.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codelib.contracts import OK
from codelib.data.person_names_likelihood import likelihoods
from codelib.data.person_names_lists import CJK, is_weak, simplify
from codelib.data.person_names_rare import family_length, is_rare
from tests.benchmarks.text_privacy import Line, leaks, released

_CHINESE = re.compile(rf"[{CJK}]+")
_COMMON_WORD = 100  # in jieba's counts: 健康 and 建国, not 晚晴


@dataclass(frozen=True)
class Outcome:
    line: Line
    leaked: tuple[str, ...]
    held: bool
    changed: bool


def kind_of(name: str) -> str:
    """What makes a name hard to find, judged by its form alone."""
    plain = simplify(name)
    if not _CHINESE.fullmatch(plain):
        return "letters or a dot"
    family = family_length(plain, 0)
    given = plain[family:]
    if not family or len(given) > 2:
        return "no Chinese surname"
    if not given:
        return "one character" if len(plain) == 1 else "surname alone"
    if family > 1:
        return "compound surname"
    if is_rare(plain, 0) or is_weak(plain, 0):
        return "surname a word or rare"
    known = likelihoods()
    if len(given) > 1 and known.word.get(given, known.unknown) > known.unknown + math.log(_COMMON_WORD):
        return "given name a word"
    return "one character given" if len(given) == 1 else "plain"


def read(path: Path) -> list[Line]:
    """The records, then the clean texts, as lines; a record's own ``kind`` is its style."""
    asked: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    written = [Line(str(one.get("kind", "")), one["text"], tuple(one["names"]), ()) for one in asked["records"]]
    return written + [Line("clean", text, (), ()) for text in asked.get("clean", ())]


def outcomes(lines: Sequence[Line]) -> list[Outcome]:
    rows, _ = released(list(lines))
    return [
        Outcome(line, tuple(leaks(line, row)), row["status"] != OK, row["status"] == OK and row["present_illness"] != line.text)
        for line, row in zip(lines, rows, strict=True)
    ]


def recall(found: Sequence[Outcome]) -> float:
    """Share of the names that are not released; 1.0 where there are none."""
    names = sum(len(one.line.values) for one in found)
    return 1 - sum(len(one.leaked) for one in found) / names if names else 1.0


def section(path: Path, misses: bool = False, alarms: bool = False) -> None:
    found = outcomes(read(path))
    named = [one for one in found if one.line.values]
    clean = [one for one in found if not one.line.values]
    total, out, by_kind = Counter[str](), Counter[str](), Counter[str]()
    for one in named:
        for name in one.line.values:
            for kind in filter(None, (kind_of(name), one.line.style)):
                total[kind] += 1
                out[kind] += name in one.leaked
                by_kind[kind] += not one.held and name not in one.leaked
    count = sum(len(one.line.values) for one in named)
    leaked = sum(len(one.leaked) for one in named)
    print(f"{path.name}: {len(named)} records, caught {count - leaked}/{count} = {recall(named):.4f}")
    print(f"records held back: {sum(one.held for one in named)}/{len(named)}")
    print(f"{'kind of name':<26}{'names':>7}{'caught':>9}{'replaced, released':>20}")
    for kind in sorted(total, key=lambda k: -total[k]):
        print(f"{kind:<26}{total[kind]:>7}{1 - out[kind] / total[kind]:>9.3f}{by_kind[kind]:>20}")
    if clean:
        held, changed = sum(one.held for one in clean), sum(one.changed for one in clean)
        print(f"clean texts held back: {held}/{len(clean)} = {held / len(clean):.2%}; released but changed: {changed}")
    for one in named if misses else ():
        if one.leaked:
            print(f"  miss   {'、'.join(one.leaked)} │ {one.line.text}")
    for one in clean if alarms else ():
        if one.held or one.changed:
            print(f"  {'held' if one.held else 'changed':<7}│ {one.line.text}")
