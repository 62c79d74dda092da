"""Names that no role, title or form gives away: 邻居许秀兰推荐来诊. A suspicion, weighed; seldom a certainty.

    run of Chinese ─┬─ the likeliest way to cut it into words                      log P(words)
                    └─ the likeliest way with a name as one piece                  log P(words around) + log P(name)
    their difference is the gain; person_names_judge weighs it with the words beside (person_names_beside) and the form of the name

Two kinds of names are tried: surname + given name, and strangers, names without a Chinese surname (多杰才旦), which only a place where a
person stands on both sides makes a suspicion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codelib.data.person_names_judge import logits
from codelib.data.person_names_likelihood import Likelihoods
from codelib.data.person_names_lists import CJK, allowed_at, allowed_words, may_be_given, own_words, surnames
from codelib.data.person_names_rare import is_rare
from codelib.data.person_names_runs import Run
from codelib.data.person_names_sides import among_persons, hospitality, place_of

SUSPECT_LOGIT = -1.0
"""Set so that clean records of a hand that knows no rule are held back in 3 of 100 cases at most (docs/privacy.md has the numbers)."""
CLOSED_GAIN = -1.0
"""Natural logarithm of odds, the sides counted by person_names_sides, that suffices where a person can stand on both of them."""
CERTAIN_GAIN = 6.0
"""The same for a certainty; only with a word of dealing with a person beside it."""
_STRANGER_SIZES = (6, 5, 4, 3, 2)
# characters of foreign names that are words of records first: 植体周, 冠根比, 自冠方至根方
_NO_STRANGER = frozenset("植根冠基台方位止点先向板壁野器自从于其将宁音画力照测备体工材料树脂菌膏汤丸粥")
_RUN = re.compile(rf"[{CJK}]{{2,}}")


@dataclass(frozen=True)
class BareName:
    start: int
    end: int
    score: float
    certain: bool


def _surnamed(runs: Sequence[Run]) -> Iterator[BareName]:
    spans = [(run, *span) for run in runs for span in run.candidates()]
    scores = logits([seen for *_, seen in spans])  # weighed together: a call costs more than a span
    for (run, start, end, seen), logit in zip(spans, scores, strict=True):
        place = place_of(run.left[start], run.right[end])
        gain = (seen.worded if place.closed else seen.gain) + hospitality(run.run, start, end, place)
        if logit > SUSPECT_LOGIT or (place.closed and gain > CLOSED_GAIN):
            among = among_persons(run.run, start, end) and not is_rare(run.run, start)
            yield BareName(run.at + start, run.at + end, max(logit, gain), among and gain >= CERTAIN_GAIN)


def _strangers(run: Run) -> Iterator[BareName]:
    """Stretches that no words explain, between a place before a person and one behind: 请|那日苏|到场."""
    words = run.run
    for start in range(len(words) - 1):
        if allowed_at(words, start):
            continue
        for size in _STRANGER_SIZES:
            end = start + size
            listed = size == 2 and _listed(words, start, run.model)
            if end > len(words) or not (listed or _strange(words[start:end], run.model)):
                continue
            place = run.place(start, end)
            if size == 2 and not (place.left > 1 or listed):
                continue  # two characters alone say little, but for 同事|热娜|帮着
            gain = run.gain(start, end, run.model.stranger(words[start:end])) + hospitality(words, start, end, place)
            if place.closed and gain > CLOSED_GAIN:
                yield BareName(run.at + start, run.at + end, gain, False)


def _listed(words: str, start: int, model: Likelihoods) -> bool:
    """热娜 as a name of the lists, not 格列|美脲 nor 巴桑|寺 of the dictionary."""
    return words[start : start + 2] in surnames()["tokens"] and not any(
        words[start : start + size] in model.word for size in (2, 3, 4, 5)
    )


def _strange(stretch: str, model: Likelihoods) -> bool:
    """Every character stands in names and none in words of records."""
    return all(char in model.foreign and char not in _NO_STRANGER and may_be_given(char) for char in stretch) and not any(
        stretch[at : at + size] in own_words() or stretch[at : at + size] in allowed_words()
        for size in (2, 3, 4)
        for at in range(len(stretch) - size + 1)
    )


def bare_names(text: str) -> list[BareName]:
    """Names by their likelihood alone, best first where two overlap; ``text`` is folded and simplified. Sorted, disjoint.

    >>> [text[n.start:n.end] for text in ["邻居许秀兰推荐来诊"] for n in bare_names(text)]
    ['许秀兰']
    """
    runs = [Run(text, match.start(), match.group()) for match in _RUN.finditer(text)]
    found = [*_surnamed(runs), *(name for run in runs if not run.counted for name in _strangers(run))]
    return _disjoint(found, len(text))


def _disjoint(found: list[BareName], size: int) -> list[BareName]:
    covered = bytearray(size)
    taken: list[BareName] = []
    for name in sorted(found, key=lambda n: (-n.score, n.start)):
        if not any(covered[name.start : name.end]):
            covered[name.start : name.end] = b"\1" * (name.end - name.start)
            taken.append(name)
    return sorted(taken, key=lambda n: n.start)
