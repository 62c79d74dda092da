"""ShareGPT: one checkup -> the conversations of four tasks, two of which are the benchmarks.

    classification  Age, Gender, Chief Complaint, images                        -> one of six classes           benchmark
    generation      Age, Gender, Chief Complaint, Past Medical History, images  -> a report of eight sections   benchmark
    quadrant        the fields of classification                                -> where the diagnosed teeth stand
    teeth           the fields of classification                                -> their FDI numbers

What a question may show of the record stands in codelib.models.visit_question. Only training samples are augmented (paper: order of the
images, wording of the question); a validation or test visit gives one sample a task and language, its images in the order of the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from codelib.contracts import CONVERSATIONS, OK
from codelib.core.config import Settings
from codelib.core.stage import Part, read_part
from codelib.data import sharegpt_draw as draw
from codelib.data.annotate import DEFAULT, AnnotateSettings
from codelib.data.label_names import names_label
from codelib.data.release import conditions
from codelib.data.sharegpt_answers import ANSWERS
from codelib.dental.condition_terms import Dictionary
from codelib.models.visit_question import user_message
from codelib.models.words import LANGUAGES, SECTIONS, Language, Modalities, questions, words

Task = Literal["classification", "generation", "quadrant", "teeth"]
BENCHMARKS: tuple[Task, ...] = ("classification", "generation")
_TEXT = tuple(dict.fromkeys(("chief_complaint", "past_medical_record", *SECTIONS)))
ANNOTATED_COLUMNS = (
    *("checkup_id", "age", "gender", "six_class", "diseases", "teeth", "status"),
    *(name for field in _TEXT for name in (field, f"{field}_cn")),
)
SPLIT_COLUMNS = ("checkup_id", "split", "spectrum", "photographs", "radiographs", "status")
_ROWS_HELD = 10_000  # as Python objects; copies and languages make many of a visit
MAX_COPIES = 20  # no task has fewer training templates, so copies differ in their question


class ShareGptSettings(Settings):
    """``language: both`` and copies multiply the samples; a benchmark file keeps one sample a test visit and language."""

    tasks: tuple[Task, ...] = Field(("classification", "generation", "quadrant", "teeth"), min_length=1)
    language: Literal["en", "zh", "both"] = "en"
    modalities: Modalities = "both"  # images: no field of the record in the question; text: no image in the sample
    copies: int = Field(1, ge=1, le=MAX_COPIES)  # of each training sample, each with its own question, order and images
    shuffle_images: bool = True  # the paper's first augmentation
    vary_questions: bool = True  # the paper's second; off: the first template
    image_share: float = Field(1.0, gt=0, le=1)  # of a visit's images that a training sample shows, drawn anew for each copy
    max_images: int | None = Field(None, ge=1)  # of a training sample; None: all
    test_questions: Literal["fixed", "drawn"] = "fixed"  # drawn, as in the paper: a test template for each visit

    @model_validator(mode="after")
    def _copies_differ(self) -> Self:
        by_images = self.modalities != "text" and (self.shuffle_images or self.image_share < 1 or self.max_images is not None)
        if self.copies > 1 and not self.vary_questions and not by_images:
            raise ValueError(f"copies={self.copies} would all be the same: set vary_questions or shuffle_images, or copies=1")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks={list(self.tasks)}: a task stands twice")
        return self

    @property
    def languages(self) -> tuple[Language, ...]:
        return LANGUAGES if self.language == "both" else (self.language,)


def make_conversations(
    annotated: pa.Table, split: pa.Table, settings: ShareGptSettings, seed: int, labels: AnnotateSettings = DEFAULT
) -> pa.Table:
    """ANNOTATED and SPLIT of one partition -> CONVERSATIONS; none for an excluded visit. labels: whose condition list tells the complaints
    that name the label."""
    terms = labels.dictionary()
    places = {row["checkup_id"]: row for row in split.select(SPLIT_COLUMNS).to_pylist()}
    made = [CONVERSATIONS.schema.empty_table()]
    rows: list[dict[str, Any]] = []
    for visit in _visits(annotated):
        place = places.get(visit["checkup_id"])
        if place is not None and place["split"] != "excluded":
            rows += _samples(visit, place, settings, seed, _names_label(visit, terms))
        if len(rows) >= _ROWS_HELD:
            made.append(pa.Table.from_pylist(rows, schema=CONVERSATIONS.schema))
            rows = []
    return pa.concat_tables([*made, pa.Table.from_pylist(rows, schema=CONVERSATIONS.schema)])


def _visits(annotated: pa.Table) -> Iterator[dict[str, Any]]:
    """Some thousand rows at a time as Python objects: a partition may have 100,000."""
    for batch in annotated.select(ANNOTATED_COLUMNS).to_batches(max_chunksize=2000):
        yield from batch.to_pylist()


def _names_label(visit: dict[str, Any], terms: Dictionary) -> bool:
    complaints = {"en": visit["chief_complaint"] or "", "zh": visit["chief_complaint_cn"] or ""}
    spans = [(tooth["start"], tooth["end"]) for tooth in visit["teeth"] or () if tooth["field"] == "chief_complaint"]
    return names_label(visit["six_class"], complaints, spans, terms)


def _samples(
    visit: dict[str, Any], place: dict[str, Any], settings: ShareGptSettings, seed: int, named: bool
) -> Iterator[dict[str, Any]]:
    for task in settings.tasks:
        for language in settings.languages:
            told = words(language)
            answer = ANSWERS[task](visit, told)
            if not answer:
                continue
            seen: set[tuple[str, ...]] = set()
            for copy in range(settings.copies if place["split"] == "train" else 1):
                question, images = _ask(visit["checkup_id"], place, task, language, copy, settings, seed)
                if (question, *images) in seen:  # one image and one wording: nothing is left to vary
                    continue
                seen.add((question, *images))
                content = user_message(visit, task, len(images), question, settings.modalities, told)
                yield {
                    "sample_id": sample_id(visit["checkup_id"], task, language, copy),
                    "checkup_id": visit["checkup_id"],
                    "task": task,
                    "benchmark": task if task in BENCHMARKS else None,
                    "language": language,
                    "copy": copy,
                    "split": place["split"],
                    "spectrum": place["spectrum"],
                    "conditions": conditions(visit),
                    "messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}],
                    "images": images,
                    "names_label": named,
                    "status": OK,
                    "reject_reason": None,
                }


def sample_id(checkup_id: str, task: str, language: str, copy: int) -> str:
    """0013-002/classification, 0013-002/classification/zh, 0013-002/teeth/zh/2: English and the first copy are not written, so that an id
    stays when a language or copies are added."""
    return "/".join([checkup_id, task, *([language] if language != "en" else []), *([str(copy)] if copy else [])])


def _ask(
    checkup_id: str, place: dict[str, Any], task: str, language: Language, copy: int, settings: ShareGptSettings, seed: int
) -> tuple[str, list[str]]:
    """The question and the images of one sample."""
    key = f"{seed}/{checkup_id}/{task}/{language}"
    side = (
        "test" if place["split"] == "test" else "train"
    )  # a validation visit is asked as in training: its file is a training file
    choices = questions(language, task, side, settings.modalities)
    varied = settings.test_questions == "drawn" if side == "test" else settings.vary_questions
    question = choices[draw.nth(f"{key}/question", copy, len(choices))] if varied else choices[0]
    if settings.modalities == "text":
        return question, []
    groups = tuple(
        [f"Images/{kind.capitalize()}/{name}" for name in place[kind] or ()] for kind in ("radiographs", "photographs")
    )
    images = [path for group in groups for path in group]
    if place["split"] != "train":
        return question, images
    if settings.image_share < 1 or settings.max_images is not None:
        shown = draw.subset(f"{key}/{copy}", groups, settings.image_share, settings.max_images)
        images = [path for path in images if path in shown]
    return question, draw.shuffled(f"{key}/{copy}/order", images) if settings.shuffle_images else images


def count_samples(conversations: Sequence[Part]) -> dict[str, dict[str, int]]:
    """split/task/language -> samples, and those whose complaint names the label. Keys and counts only, a partition at a time."""
    names = ["split", "task", "language", "names_label"]
    counts: Counter[tuple[str, bool]] = Counter()
    for part in conversations:
        for row in read_part(part, names).group_by(names).aggregate([([], "count_all")]).to_pylist():
            counts[f"{row['split']}/{row['task']}/{row['language']}", row["names_label"]] += row["count_all"]
    groups = sorted({group for group, _ in counts})
    return {g: {"samples": counts[g, True] + counts[g, False], "names_label": counts[g, True]} for g in groups}
