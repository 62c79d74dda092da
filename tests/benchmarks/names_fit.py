"""Fits terms/beside_persons.csv and terms/name_weights.csv: python -m tests.benchmarks.names_fit DIALOGUES

    dialogues ─┬─ the words beside 患者, 医生, 他, 母亲 … against those beside anything ─> beside_persons.csv
               ├─ an invented name put in the place of one of them            ─ a name ─┐
               └─ whatever else there is shaped like surname + given name     ─ none ───┼─> name_weights.csv
    phrases of records (tests/data/privacy/carriers.txt) with invented names ─ a name ─┤
    synthetic records without an identifier                                  ─ none ───┘

DIALOGUES: UTF-8 text, a document a line: 内科.txt and the sample 内科5000-6000 of github.com/Toyhom/Chinese-medical-dialogue-data
(MIT), decoded from GB 18030, empty lines left out. Nothing of them is kept but counts. A sixth of the lines is kept back for the figure printed.
"""

from __future__ import annotations

import csv
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from codelib.contracts import TEXT_FIELDS
from codelib.data.identifiers_text import fold
from codelib.data.person_names_bare import bare_names
from codelib.data.person_names_beside import BEGIN, END, beside, class_of
from codelib.data.person_names_judge import NAMES, Features, weights
from codelib.data.person_names_likelihood import best_cuts, likelihoods, word_classes
from codelib.data.person_names_lists import CJK, TERMS, allowed_words, listed, may_be_given, simplify, surnames
from codelib.data.person_names_rare import rare_surnames
from codelib.data.person_names_runs import Run
from tests.benchmarks.synthetic_text import POOLS, clinic

_PERSONS = """
患者 病人 患儿 我 你 他 她 您 俺 我们 你们 他们 她们 大家 本人 孩子 小孩 宝宝 宝贝 老人 家长 家属 亲人 医生 大夫 医师 护士
老师 朋友 同事 妈妈 爸爸 母亲 父亲 我妈 我爸
老公 老婆 丈夫 妻子 爱人 媳妇 老伴 婆婆 公公 岳父 岳母 女儿 儿子 女婿 爷爷 奶奶 外公 外婆 姐姐 哥哥 弟弟 妹妹 叔叔
阿姨 舅舅 表哥 孙子 孙女 男友 女友 男朋友 女朋友
"""
PERSONS = frozenset(_PERSONS.split())
DATA = Path(__file__).parents[1] / "data" / "privacy"
_RUN = re.compile(rf"[{CJK}]{{2,}}")
_CLAUSE = re.compile(r"[。？！；,，\s]")
_SEEN, _SMOOTH, _PHRASE_WEIGHT, _NAMES_A_PHRASE = 8, 20, 5, 14
_PLACES, _DOCUMENTS, _CHARS, _VISITS, _KEPT_BACK = 12_000, 5_000, 600, 300, 6


def words_of(run: str) -> list[str]:
    cuts, at, words = best_cuts(run), len(run), []
    while at > 0:
        words.append(run[cuts.begins[at] : at])
        at = cuts.begins[at]
    return words[::-1]


def places(lines: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """clause before, word before, word behind, clause behind each word for a person."""
    for line in lines:
        for clause in _CLAUSE.split(line):
            for match in _RUN.finditer(clause):
                words = words_of(match.group())
                for i, word in enumerate(words):
                    if word in PERSONS:
                        left, right = "".join(words[:i]), "".join(words[i + 1 :])
                        yield (
                            clause[: match.start()] + left,
                            words[i - 1] if i else BEGIN,
                            words[i + 1] if right else END,
                            right + clause[match.end() :],
                        )


def phrase_sides(phrases: list[str]) -> Iterator[tuple[str, str]]:
    for phrase in phrases:
        parts = phrase.split("{n}")
        for before, behind in pairwise(parts):
            left, right = re.search(rf"[{CJK}]*$", before), re.match(rf"[{CJK}]*", behind)
            assert left and right
            yield (words_of(left[0]) or [BEGIN])[-1], (words_of(right[0]) or [END])[0]


def write_beside(lines: list[str], phrases: list[str]) -> None:
    """Log odds of a word beside a person to that word anywhere, drawn towards those of its class."""
    anywhere: Counter[str] = Counter()
    for line in lines:
        for match in _RUN.finditer(line):
            words = words_of(match.group())
            anywhere.update(words)
            anywhere.update((BEGIN, END))
    near: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    pairs: Counter[tuple[str, str]] = Counter()
    for _, before, behind, _ in places(lines):
        pairs[before, behind] += 1
        if pairs[before, behind] <= _SEEN:  # the dialogues repeat whole sentences
            near[0][before] += 1
            near[1][behind] += 1
    for before, behind in phrase_sides(phrases):
        for side, word in zip(near, (before, behind), strict=True):
            side[word] += _PHRASE_WEIGHT
        anywhere.update({before: _PHRASE_WEIGHT, behind: _PHRASE_WEIGHT})
    odds: list[dict[str, float]] = [{}, {}]
    for side, of in zip(near, odds, strict=True):
        share = side.total() / anywhere.total()
        by_class: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        for word, count in anywhere.items():
            by_class[0][class_of(word)] += side[word]
            by_class[1][class_of(word)] += count
        classes = {c: (by_class[0][c] + _SMOOTH * share) / (by_class[1][c] + _SMOOTH) for c in by_class[1]}
        of |= {c: math.log(odd / share) for c, odd in classes.items()}
        for word, count in anywhere.items():
            prior = classes[class_of(word)]
            value = math.log((side[word] + _SMOOTH * prior) / (count + _SMOOTH) / share)
            if word in (BEGIN, END) or ((count >= _SEEN or side[word]) and abs(value - of[class_of(word)]) > 0.3):
                of[word] = value
    with (TERMS / "beside_persons.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["word", "before", "behind"])
        for word in sorted(odds[0].keys() | odds[1].keys()):
            out.writerow([word, *(f"{of.get(word, of.get(class_of(word), 0.0)):.1f}" for of in odds)])
    beside.cache_clear()


class Namer:
    """Invented names: surnames by use, by list, weak, rare and compound ones; given names of characters, of words, doubled."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, lists, known = rng, surnames(), likelihoods()
        self.common, self.weak = (sorted(c for c in lists[name] if len(c) == 1) for name in ("common", "weak"))
        self.compound, self.rare = sorted(lists["compound"]), sorted(rare_surnames())
        self.use = [math.exp(known.family.get(c, known.rare_family)) for c in self.common]
        given = {c: math.exp(odds) for c, odds in known.given.items() if may_be_given(c)}
        self.chars, self.odds = list(given), list(given.values())
        self.chosen = sorted(listed("given_words.txt"))
        classes = word_classes()
        self.words = [
            word
            for word, odds in known.word.items()
            if len(word) == 2
            and classes.get(word, "?") in "navtz"
            and odds > known.unknown + 3
            and word not in allowed_words()
            and all(may_be_given(c) and known.given.get(c, -99) > -9 for c in word)
        ]

    def __call__(self) -> str:
        rng = self.rng
        kinds = (rng.choices(self.common, self.use), self.common, self.weak, self.rare, self.compound)
        family = rng.choice(rng.choices(kinds, (50, 25, 10, 8, 7))[0])
        kind = rng.choices(("one", "two", "word", "twice"), (20, 55, 20, 5))[0]
        if kind == "word":
            return family + rng.choice(self.words if rng.random() < 0.2 else self.chosen)
        one, two = rng.choices(self.chars, self.odds, k=2)
        return family + {"one": one, "two": one + two, "twice": one + one}[kind]


def spans(text: str) -> Iterator[tuple[int, int, Features]]:
    plain = simplify(fold(text).text)
    for match in _RUN.finditer(plain):
        run = Run(plain, match.start(), match.group())
        for start, end, seen in run.candidates():
            yield match.start() + start, match.start() + end, seen


def named(template: tuple[str, str], namer: Namer) -> Iterator[Features]:
    """The features of an invented name between the two parts of a text."""
    name, at = namer(), len(template[0])
    yield from (seen for start, end, seen in spans(template[0] + name + template[1]) if (start, end) == (at, at + len(name)))


def write_weights(positives: list[Features], negatives: list[Features]) -> None:
    seen = np.array([[getattr(one, name) for name in NAMES] for one in (*positives, *negatives)])
    truth = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    scaler = StandardScaler().fit(seen)
    z = np.column_stack([np.ones(len(seen)), scaler.transform(seen)])
    upper = np.triu_indices(z.shape[1])
    x = z[:, upper[0]] * z[:, upper[1]]
    model = LogisticRegression(max_iter=4000, C=0.05).fit(x[:, 1:], truth)
    found = np.zeros((z.shape[1],) * 2)
    found[upper] = [model.intercept_[0], *model.coef_[0]]
    plain = np.eye(z.shape[1])  # z = plain · (1, features)
    plain[1:, 1:] = np.diag(1 / scaler.scale_)
    plain[1:, 0] = -scaler.mean_ / scaler.scale_
    folded = plain.T @ found @ plain
    folded = np.triu(folded) + np.tril(folded, -1).T
    labels = ("1", *NAMES)
    with (TERMS / "name_weights.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["feature", "times", "weight"])
        out.writerows(
            [labels[i], labels[j], f"{folded[i, j]:.5f}"] for i, j in zip(*upper, strict=True) if abs(folded[i, j]) > 5e-5
        )


def _positives(lines: list[str], phrases: list[str], namer: Namer) -> Iterator[Features]:
    pairs: Counter[tuple[str, str]] = Counter()
    found = 0
    for left, before, behind, right in places(lines):
        pairs[before, behind] += 1
        if pairs[before, behind] > 2:
            continue
        found += 1
        if found > _PLACES:
            break
        yield from named((left, right), namer)
    for phrase in phrases * _NAMES_A_PHRASE:
        left, _, right = phrase.partition("{n}")
        yield from named((left, right.replace("{n}", namer())), namer)


def _negatives(lines: list[str]) -> Iterator[Features]:
    for line in lines[-_DOCUMENTS:]:
        yield from (seen for *_, seen in spans(line[:_CHARS]))
    for pool in POOLS:
        for row, truth in clinic(pool, _VISITS, seed=7):
            if not truth["planted"]:
                yield from (seen for field in TEXT_FIELDS for *_, seen in spans(row[field] or ""))


def main(dialogues: Path) -> None:
    rng = random.Random(1)
    lines = [simplify(line) for line in dialogues.read_text(encoding="utf-8").splitlines()]
    rng.shuffle(lines)
    kept_back, lines = lines[: len(lines) // _KEPT_BACK], lines[len(lines) // _KEPT_BACK :]
    phrases = [p for p in (DATA / "carriers.txt").read_text(encoding="utf-8").splitlines() if not p.startswith("#")]
    write_beside(lines, phrases)
    positives, negatives = list(_positives(lines, phrases, Namer(rng))), list(_negatives(lines))
    write_weights(positives, negatives)
    weights.cache_clear()
    chars = sum(map(len, kept_back))
    alarms = sum(len(bare_names(simplify(fold(line).text))) for line in kept_back)
    print(
        f"{len(positives)} names, {len(negatives)} others; {alarms / chars * 1e6:.0f} suspicions in a million characters of {chars} kept back"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
