"""How a variant is asked: in its language, with what it may see, with worked examples before the question, with somebody else's images.

    test samples ── language ── shuffled images ── modalities ── few-shot ──> the samples as this variant is asked them

A question that this project wrote is known by its last line and is put in the other words of the same template. Of any other wording nobody
can say which part is the patient's: for `images` it is replaced by ours, so that nothing of the record is left; for `text` the placeholders
and their labels are taken out, and nothing else. Sample ids do not change, so that variants are compared visit by visit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from codelib.evaluate import spectrum
from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample, TestSet, candidates, few_shot, shuffled, too_few, with_visits
from codelib.evaluate.similarity import is_chinese
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, SPECTRUM, Variant
from codelib.models.conversation import IMAGE, Dataset, Message
from codelib.models.visit_question import INPUT_FIELDS, column, report, untagged, user_message
from codelib.models.words import LANGUAGES, SECTIONS, Language, Modalities, questions, words

_SIDES = ("test", "train")
_MODALITIES: tuple[Modalities, ...] = ("both", "images", "text")
# what stands before a placeholder and means nothing without it: "image-1: <image>", "图1：<image>", "X-ray #2 - <image>"
_LABELLED = re.compile(
    r"(?:(?:images?|pictures?|photo(?:graph)?s?|radiographs?|x-?rays?|figures?|图像|图片|影像|照片|图)\s*[-#_]?\s*\d*\s*[-:：.]?\s*)?<image>",
    re.IGNORECASE,
)
_NAMES = {"en": "English", "zh": "Chinese"}
_SPARE = 20  # examples looked at for each one needed: some visits are told in one language only


@dataclass(frozen=True)
class Asked:
    """The samples as a variant is asked them, in the order of the test set; ``notes``: who was not asked, and why."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


def ask(variant: Variant, dataset: Dataset, test: Sequence[Sample], seed: int) -> Asked:
    """test: the whole test set of one benchmark, so that --limit changes nobody's question. Raises ValueError where this variant cannot be
    asked it, NobodyElse where there is nobody to exchange images with."""
    benchmark, notes = test[0].benchmark, []
    names = spectrum.read_spectrum(dataset).names if benchmark == SPECTRUM else ()
    samples = tuple(test)
    if variant.adapter and any(sample.seen for sample in samples):
        samples = tuple(sample for sample in samples if not sample.seen)
        notes.append(
            f"{len(test) - len(samples)} of {len(test)} visits are of patients whom its adapter may have seen: not asked"
        )
    if variant.language is not None:
        told = in_language(samples, variant.language, variant.modalities, names)
        visits, there = ({_visit(sample) for sample in some} for some in (samples, told))
        if len(there) < len(visits):
            notes.append(f"{len(visits - there)} of {len(visits)} visits are not told in {_NAMES[variant.language]}: not asked")
        samples = told
    if foreign := _num_reworded(test, samples, variant):
        notes.append(f"{foreign} questions are not worded by this project, and are asked in its own words")
    if not samples:
        raise ValueError(f"none of the {len(test)} visits of benchmark {benchmark} is left to ask: {'; '.join(notes)}")
    if variant.images == "shuffled":
        samples = shuffled(samples, seed)
    asked = _with(samples, variant.modalities, names)
    if variant.num_exemplars:
        ways = {_way(sample): sample for sample in samples}
        tested = frozenset(sample.patient for sample in test)
        shown = {way: _examples(variant, dataset, ways[way], tested, seed, names) for way in sorted(ways)}
        asked = tuple(few_shot(one, shown[_way(sample)]) for one, sample in zip(asked, samples, strict=True))
    return Asked(asked, tuple(notes))


# language


def _way(sample: Sample) -> tuple[str, Language]:
    """Samples of one way are shown the same examples."""
    return sample.language, spoken(sample)


def spoken(sample: Sample) -> Language:
    """As the data set says, else by the letters of the question."""
    for language in LANGUAGES:
        if sample.language == language:
            return language
    return "zh" if is_chinese(sample.messages[-1].content) else "en"


def in_language(
    samples: Sequence[Sample], language: Language, modalities: Modalities = "both", names: tuple[str, ...] = ()
) -> tuple[Sample, ...]:
    """The same visits asked in one language: by the test file's own question in it, else by one made of the table's columns. A visit that is
    told in neither is left out; every other one keeps the id of its first row."""
    rows_of: dict[str, list[Sample]] = {}
    for sample in samples:
        rows_of.setdefault(_visit(sample), []).append(sample)
    found: list[Sample] = []
    for rows in rows_of.values():
        own = [row for row in rows if spoken(row) == language]
        if own:
            found += [replace(row, sample_id=first.sample_id, language=language) for row, first in zip(own, rows, strict=False)]
        else:
            found += [made for row in rows if (made := _translated(row, language, modalities, names)) is not None]
    return tuple(found)


def _translated(sample: Sample, language: Language, modalities: Modalities, names: tuple[str, ...]) -> Sample | None:
    told = words(language)
    label = parse_class(sample.reference) if sample.benchmark == CLASSIFICATION else None
    needed = [name for name in INPUT_FIELDS[sample.benchmark] if name not in ("age", "gender")] if modalities != "images" else []
    needed += SECTIONS if sample.benchmark == GENERATION else []
    if needed and not _is_told(sample, needed, language):
        return None
    question = _question(sample, language, "both", names)
    visit = sample.visit.row() if sample.visit else dict.fromkeys(("age", "gender"))
    content = user_message(visit, sample.benchmark, len(sample.images), question, "both" if needed else "images", told)
    reference = sample.reference
    if sample.benchmark == GENERATION:
        reference = report(visit, told)
    elif label is not None:
        reference = told.classes[label]
    system = tuple(message for message in sample.messages if message.role == "system")
    return replace(sample, messages=(*system, Message("user", content)), reference=reference, language=language)


def _is_told(sample: Sample, needed: Sequence[str], language: Language) -> bool:
    """Whether the table has all that it has of these fields in this language too."""
    if sample.visit is None:
        return False
    text = sample.visit.text
    mine, other = (words(one) for one in (language, "en" if language == "zh" else "zh"))
    return any(column(name, mine) in text for name in needed) and all(
        column(name, mine) in text or column(name, other) not in text for name in needed
    )


# modalities


def _with(samples: Sequence[Sample], modalities: Modalities, names: tuple[str, ...]) -> tuple[Sample, ...]:
    if modalities == "images":
        if not any(sample.images for sample in samples):
            raise ValueError("modalities: images: no question of the test set has an image")
        common = {_system(sample) for sample in samples}
        return tuple(images_only(sample, names, keep_system=len(common) == 1) for sample in samples)
    if modalities == "text":
        asked = tuple(text_only(sample, names) for sample in samples)
        if all(sample.messages[-1].content == _question(sample, spoken(sample), "text", names) for sample in asked):
            raise ValueError("modalities: text: the questions of the test set say nothing of the patient beside the images")
        return asked
    return tuple(samples)


def _system(sample: Sample) -> tuple[str, ...]:
    return tuple(message.content for message in sample.messages if message.role == "system")


def images_only(sample: Sample, names: tuple[str, ...] = (), keep_system: bool = False) -> Sample:
    """The images and the task, and nothing else: no field, no earlier turn. keep_system: what is said to a model is the same for every sample,
    and so no patient's."""
    language = spoken(sample)
    question = _question(sample, language, "images", names)
    content = user_message({}, sample.benchmark, len(sample.images), question, "images", words(language))
    system = tuple(message for message in sample.messages if message.role == "system" and keep_system)
    return replace(sample, messages=(*system, Message("user", content)))


def text_only(sample: Sample, names: tuple[str, ...] = ()) -> Sample:
    """The question without images and placeholders; one of ours speaks of the patient's details alone then."""
    messages = [replace(message, content=_without_images(message.content)) for message in sample.messages]
    body, _ = _parts(messages[-1].content)
    if _is_ours(replace(sample, messages=tuple(messages))):
        question = _question(sample, spoken(sample), "text", names)
        messages[-1] = replace(messages[-1], content="\n".join([*([body] if body else []), question]))
    return replace(sample, messages=tuple(messages), images=())


def _without_images(content: str) -> str:
    lines = []
    for line in content.split("\n"):
        bare = untagged(_LABELLED.sub("", line)) if IMAGE in line else line
        if bare.strip() or IMAGE not in line:
            lines.append(bare)
    return untagged("\n".join(lines)).strip("\n")


def _parts(content: str) -> tuple[str, str]:
    """All but the last line, and the last line, which is the question where this project wrote it."""
    body, _, last = content.rpartition("\n")
    return body, last


@cache
def _wordings(task: str) -> dict[str, tuple[str, int]]:
    """Every question of a task as it may stand in a data set -> (side, number of its template)."""
    return {
        text: (side, number)
        for language in LANGUAGES
        for side in _SIDES
        for modalities in _MODALITIES
        for number, text in enumerate(questions(language, task, side, modalities))
    }


def _num_reworded(test: Sequence[Sample], samples: Sequence[Sample], variant: Variant) -> int:
    """Questions that this variant is asked in other words than the test set's: no fair comparison with a variant that is not."""
    native = {_visit(sample) for sample in test if spoken(sample) == variant.language}
    made = [sample for sample in test if _visit(sample) not in native] if variant.language is not None else []
    shown = samples if variant.modalities == "images" else ()
    return sum(not _is_ours(sample) for sample in (*made, *shown))


def _visit(sample: Sample) -> str:
    return sample.checkup_id or sample.sample_id


def _is_ours(sample: Sample) -> bool:
    return sample.benchmark == SPECTRUM or _parts(sample.messages[-1].content)[1] in _wordings(sample.benchmark)


def _question(sample: Sample, language: Language, modalities: Modalities, names: tuple[str, ...]) -> str:
    """The sample's template in other words; of a wording that is not ours the first test template."""
    if sample.benchmark == SPECTRUM:
        return spectrum.question(names, language, modalities)
    side, number = _wordings(sample.benchmark).get(_parts(sample.messages[-1].content)[1], ("test", 0))
    return questions(language, sample.benchmark, side, modalities)[number]


# few-shot


def _examples(
    variant: Variant, dataset: Dataset, question: Sample, tested: frozenset[str], seed: int, names: tuple[str, ...]
) -> tuple[Sample, ...]:
    """Examples in the language of ``question``, put as the variant's own questions are. tested: patients of the test set."""
    benchmark, k, source = question.benchmark, variant.num_exemplars, dataset
    if isinstance(dataset, TestSet):
        if dataset.release is None:
            raise ValueError("few-shot examples come out of a release: give --dataset RELEASE beside --test")
        source = dataset.release
    drawn = list(islice(candidates(source, benchmark, seed, question.language, tested), k))
    if len(drawn) < k:  # training files in another language, or that do not say theirs: by the table
        others = tuple(islice(candidates(source, benchmark, seed, None, tested), k * _SPARE))
        drawn = list(in_language(with_visits(others, source.folder), spoken(question), variant.modalities, names))[:k]
    if len(drawn) < k:
        raise too_few(benchmark, len(drawn), k)
    if source is not dataset:  # an engine opens all images from one folder
        away = source.folder
        drawn = [replace(one, images=tuple(os.path.relpath(away / name, dataset.folder) for name in one.images)) for one in drawn]
    return _with(drawn, variant.modalities, names)
