"""What the error browser looks through: every test visit with every variant's answer, in a page of bounded size.

    predictions + test samples + images  ->  collect(..., room)  ->  Cases: samples with verdicts, each image once as a thumbnail

Pictures are made as large as the room allows, down a ladder of sizes. Where not even the smallest fit, the visits are a seeded draw in
which right and wrong take turns, and the page says where the rest is (predictions.csv).
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from codelib.contracts import OK
from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.similarity import words
from codelib.evaluate.spectrum_scores import read
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, SPECTRUM, Variant

Row = dict[str, Any]
RIGHT, PARTLY, WRONG, UNPARSED, FAILED = VERDICTS = ("right", "partly", "wrong", "unparsed", "failed")
LADDER = ((320, 72), (224, 68), (160, 65), (112, 60))  # longer side in pixels, JPEG quality
_IMAGES = 8  # of a visit's images; the page says how many more there are
_LONGEST_TEXT = 4000  # characters of an answer; an answer of 768 tokens fits, predictions.csv has all of it
_PROBES = 24  # images that are made to find out how large the rest will be


@dataclass(frozen=True)
class CaseAnswer:
    """``alike``: for a report, the share of words it has in common with its reference (F1 of the two bags of words), 0..1."""

    variant: str
    text: str  # the raw answer, or why there is none
    verdict: str  # one of VERDICTS; "" for a report that was written
    answered: str  # the class, or the conditions, that were read from it; ""
    likely: str = ""  # the class by likelihood, where it was asked
    alike: float | None = None
    images: tuple[str, ...] | None = None  # where the variant saw other images than the visit's own, or none
    reference: str | None = None  # where it was held against another one: the same visit's report in another language


@dataclass(frozen=True)
class Case:
    sample_id: str
    benchmark: str
    truth: str  # the class, or the conditions; "" where the reference is a report
    question: str
    reference: str
    images: tuple[str, ...]  # at most _IMAGES names, keys of Cases.pictures
    num_images: int
    answers: tuple[CaseAnswer, ...]


@dataclass(frozen=True)
class Cases:
    """``cases`` in the order of the test set; ``num_all``: how many there are. ``pictures``: image name -> data URL."""

    cases: tuple[Case, ...]
    num_all: int
    pictures: dict[str, str]


def thumbnail(path: Path, longest_px: int = 160, quality: int = 70) -> str | None:
    """A small JPEG as a data URL, rebuilt from pixels; None where the file is no image. Never enlarged."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (longest_px, longest_px))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((longest_px, longest_px))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=quality, optimize=True)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all of which Pillow raises for a bad file
        return None
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


# verdicts


Sets = tuple[frozenset[str], frozenset[str] | None]  # conditions of the visit, and those of the answer; None: unreadable


def _conditions(rows: Sequence[Row]) -> dict[tuple[str, str], Sets]:
    """By variant and sample, of the rows of the full spectrum that were answered."""
    mine = [row for row in rows if row["benchmark"] == SPECTRUM and row["status"] == OK]
    true, said = read([row["reference"] for row in mine], [row["parsed"] for row in mine])
    return {(row["variant"], row["sample_id"]): (a, b.names if b else None) for row, a, b in zip(mine, true, said, strict=True)}


def verdict(row: Row, sets: Sets | None = None) -> str:
    """right | partly | wrong | unparsed | failed of a predictions row; "" for a report, which is neither right nor wrong. sets: of a row of
    the full spectrum."""
    if row["status"] != OK:
        return FAILED
    if row["benchmark"] == GENERATION:
        return "" if row["parsed"] else UNPARSED
    if row["parsed"] is None:
        return UNPARSED
    if row["benchmark"] == CLASSIFICATION:
        return RIGHT if row["parsed"] == parse_class(row["reference"]) else WRONG
    truth, named = sets or (frozenset[str](), None)
    if named is None:
        return UNPARSED
    return RIGHT if truth == named else (PARTLY if truth & named else WRONG)


def choose(samples: Sequence[Sample], verdicts: dict[str, list[str]], count: int, seed: int) -> list[Sample]:
    """A seeded choice in which samples that every variant got right, that some did and that none did take turns."""

    def kind(sample: Sample) -> int:
        found = [verdict for verdict in verdicts.get(sample.sample_id, []) if verdict]
        right = found.count(RIGHT)
        return 0 if found and right == len(found) else (1 if right else 2)

    def draw(sample: Sample) -> str:
        return hashlib.sha256(f"{seed}/example/{sample.sample_id}".encode()).hexdigest()

    piles: list[list[Sample]] = [[], [], []]
    for sample in sorted(samples, key=draw, reverse=True):
        piles[kind(sample)].append(sample)
    chosen: list[Sample] = []
    while len(chosen) < count and any(piles):
        chosen += [pile.pop() for pile in piles if pile]
    return chosen[:count]


# cases


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} … (all of it in predictions.csv)"


def _alike(reference: Counter[str], answer: str) -> float:
    found = Counter(words(answer.casefold()))
    total = reference.total() + found.total()
    return 2 * (reference & found).total() / total if total else 0.0


def _answer(row: Row, sample: Sample, bags: dict[str, Counter[str]], sets: Sets | None, other_images: bool) -> CaseAnswer:
    seen, ok = None, row["status"] == OK
    if other_images:  # worked examples come first, the visit's own place is the end
        seen = tuple(row["images"][-len(sample.images) :][:_IMAGES]) if sample.images else ()
    elif sample.images and not row["images"]:  # asked with the text alone
        seen = ()
    answered = (row["parsed"] or "") if ok and row["benchmark"] == CLASSIFICATION else ""
    alike = None
    if ok and row["benchmark"] == GENERATION:
        if row["reference"] not in bags:
            bags[row["reference"]] = Counter(words(row["reference"].casefold()))
        alike = round(_alike(bags[row["reference"]], row["parsed"] or ""), 3)
    return CaseAnswer(
        row["variant"],
        _short(row["answer"] or row["reject_reason"] or "(empty)"),
        verdict(row, sets),
        "; ".join(sorted(sets[1] or ())) if sets else answered,
        row.get("constrained") or "",
        alike,
        seen,
        _short(row["reference"]) if row["reference"] and row["reference"] != sample.reference else None,
    )


def _case(sample: Sample, rows: Sequence[Row], sets: dict[tuple[str, str], Sets], other: set[str]) -> Case:
    bags: dict[str, Counter[str]] = {}
    own = {row["variant"]: sets.get((row["variant"], sample.sample_id)) for row in rows if sample.benchmark == SPECTRUM}
    truth = next(("; ".join(sorted(found[0])) for found in own.values() if found), "")
    return Case(
        sample.sample_id,
        sample.benchmark,
        (parse_class(sample.reference) or "") if sample.benchmark == CLASSIFICATION else truth,
        _short(sample.messages[-1].content if sample.messages else ""),
        _short(sample.reference),
        sample.images[:_IMAGES],
        len(sample.images),
        tuple(_answer(row, sample, bags, own.get(row["variant"]), row["variant"] in other) for row in rows),
    )


def text_bytes(case: Case) -> int:
    """About what a case takes in the page, its pictures apart: a quotation mark or a line's end takes two bytes."""
    told = [case.sample_id, case.question, case.reference, *(f"{a.text}{a.answered}{a.reference or ''}" for a in case.answers)]
    return sum(len(text.encode()) + text.count("\n") + text.count('"') + 5 * text.count("<") for text in told) + 60 * (
        len(case.answers) + 2
    )


def _pictures(case: Case) -> set[str]:
    return {*case.images, *(name for answer in case.answers for name in answer.images or ())}


def _encode(folder: Path, names: Sequence[str], size: tuple[int, int]) -> dict[str, str]:
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes
        found = pool.map(partial(thumbnail, longest_px=size[0], quality=size[1]), [folder / name for name in names])
    return {name: url for name, url in zip(names, found, strict=True) if url}


def _size(folder: Path, names: Sequence[str], room: int) -> tuple[int, int]:
    """The largest step of the ladder at which all pictures fit, by a few of them; else the last."""
    stride = max(1, len(names) // _PROBES)
    for size in LADDER[:-1]:
        made = _encode(folder, names[::stride], size)
        mean = sum(map(len, made.values())) / max(1, len(made))
        if 1.1 * mean * len(names) <= room:
            return size
    return LADDER[-1]


def collect(
    folder: Path,
    shown: Sequence[Variant],
    tests: dict[str, tuple[Sample, ...]],
    rows: Iterable[Row],
    seed: int,
    room: int,
) -> Cases:
    """All that fits into ``room`` bytes. shown: the variants in the order of the report."""
    position = {variant.name: i for i, variant in enumerate(shown)}
    other = {variant.name for variant in shown if variant.images == "shuffled"}
    answers: dict[tuple[str, str], list[Row]] = {}
    rows = list(rows)
    sets = _conditions(rows)
    for row in rows:
        answers.setdefault((row["benchmark"], row["sample_id"]), []).append(row)
    samples = [sample for test in tests.values() for sample in test]
    made = {}
    for sample in samples:
        found = sorted(answers.get((sample.benchmark, sample.sample_id), []), key=lambda row: position[row["variant"]])
        made[sample.benchmark, sample.sample_id] = _case(sample, found, sets, other)
    drawn = _drawn(tests, made, seed)
    names = sorted({name for case in made.values() for name in _pictures(case)})
    size = _size(folder, names, room - sum(map(text_bytes, made.values())))
    pictures = _encode(folder, names, size) if size != LADDER[-1] else {}
    kept: set[tuple[str, str]] = set()
    used: set[str] = set()
    left = room
    for case in drawn:
        new = sorted(_pictures(case) - used)
        fresh = [name for name in new if name not in pictures] if size == LADDER[-1] else []
        pictures |= _encode(folder, fresh, size) if fresh else {}
        cost = text_bytes(case) + sum(len(pictures.get(name, "")) for name in new)
        if cost > left:
            break
        left -= cost
        used.update(new)
        kept.add((case.benchmark, case.sample_id))
    cases = tuple(made[key] for key in made if key in kept)
    return Cases(cases, len(made), {name: url for name, url in pictures.items() if name in used})


def _drawn(tests: dict[str, tuple[Sample, ...]], made: dict[tuple[str, str], Case], seed: int) -> list[Case]:
    """All cases in the order in which they are taken while there is room: the benchmarks take turns."""
    piles = []
    for benchmark, test in tests.items():
        verdicts = {s.sample_id: [a.verdict for a in made[benchmark, s.sample_id].answers] for s in test}
        piles.append([made[benchmark, s.sample_id] for s in choose(test, verdicts, len(test), seed)])
    longest = max(map(len, piles), default=0)
    return [pile[i] for i in range(longest) for pile in piles if i < len(pile)]


def examples(cases: Cases, tests: dict[str, tuple[Sample, ...]], count: int, seed: int, room: int) -> list[Case]:
    """The few that a page without script shows, of each benchmark its share, within ``room`` bytes: their pictures stand there twice."""
    found = {(case.benchmark, case.sample_id): case for case in cases.cases}
    chosen: list[Case] = []
    for benchmark, test in tests.items():
        here = [sample for sample in test if (benchmark, sample.sample_id) in found]
        verdicts = {s.sample_id: [a.verdict for a in found[benchmark, s.sample_id].answers] for s in here}
        for sample in choose(here, verdicts, count // max(1, len(tests)), seed):
            case = found[benchmark, sample.sample_id]
            room -= 2 * text_bytes(case) + sum(len(cases.pictures.get(name, "")) for name in case.images)
            chosen += [case] if room > 0 else []
    return chosen
