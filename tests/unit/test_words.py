"""The question templates and the names in them: enough of them, unlike each other, and right in every rendering."""

from __future__ import annotations

import difflib
import re
from itertools import combinations, product
from typing import get_args

import pytest

from codelib.contracts import SIX_CLASSES
from codelib.data.sharegpt import BENCHMARKS, MAX_COPIES, Task
from codelib.models.conversation import IMAGE
from codelib.models.visit_question import INPUT_FIELDS
from codelib.models.words import FOLDER, LANGUAGES, fingerprint, questions, slots, words

TASKS = get_args(Task)
CASES = list(product(LANGUAGES, TASKS))
NEEDED = {"classification": {"classes", "any_class"}, "generation": {"sections"}, "quadrant": {"quadrants"}, "teeth": set()}
# what only a picture, or only the record, is spoken of with: a template says it through {evidence} or not at all
ABOUT_IMAGES = (
    r"\b(?:images?|photo\w*|pictures? (?:show|above)|radiograph\w*|x-?rays?|visible|shown|look(?:ing)? at|above)\b"
    "|图像|照片|影像|X光|可见|图中|上图"
)
ABOUT_RECORD = r"\b(?:details|complaints?|history|information)\b|患者信息|主诉|病史|资料"


def tokens(template: str, language: str) -> list[str]:
    """Words, and in Chinese characters, of a template without its slots."""
    bare = re.sub(r"\{\w+\}", " ", template).casefold()
    return re.findall(r"[\u3400-\u9fff]|[a-z0-9]+", bare) if language == "zh" else re.findall(r"\w+", bare)


def likeness(a: str, b: str, language: str) -> float:
    """Ratcliff/Obershelp over tokens, in either order, and the share of the rarer one's three-token runs: the larger of both."""
    one, other = tokens(a, language), tokens(b, language)
    ratio = max(difflib.SequenceMatcher(None, *pair, autojunk=False).ratio() for pair in ((one, other), (other, one)))
    runs = [{tuple(side[i : i + 3]) for i in range(len(side) - 2)} for side in (one, other)]
    return max(ratio, len(runs[0] & runs[1]) / max(1, min(map(len, runs))))


@pytest.mark.parametrize(("language", "task"), CASES)
def test_there_are_twenty_and_more_and_none_stands_twice(language: str, task: str) -> None:
    sides = words(language).templates[task]
    assert set(sides) == {"train", "test"}
    assert len(sides["train"]) >= max(20, MAX_COPIES)
    assert len(sides["test"]) >= 5
    both = [*sides["train"], *sides["test"]]
    assert len({" ".join(tokens(line, language)) for line in both}) == len(both)


@pytest.mark.parametrize(("language", "task"), CASES)
def test_train_and_test_share_no_question_nor_nearly_one(language: str, task: str) -> None:
    sides = words(language).templates[task]
    worst = max((likeness(a, b, language), a, b) for a, b in product(sides["train"], sides["test"]))
    assert worst[0] <= 0.5, worst


@pytest.mark.parametrize(("language", "task"), CASES)
def test_the_questions_of_training_are_varied(language: str, task: str) -> None:
    worst = max((likeness(a, b, language), a, b) for a, b in combinations(words(language).templates[task]["train"], 2))
    assert worst[0] <= 0.7, worst


def test_the_measure_sees_a_near_copy() -> None:
    a = "Based on {evidence}, which teeth are affected? Give their numbers in FDI notation."
    assert likeness(a, "Given {evidence}, which teeth are affected? Give the numbers in FDI notation.", "en") > 0.5
    assert likeness("请找出需要处理的牙齿，仅以FDI牙位号作答。", "请指出需要处理的牙齿，只以FDI牙位号回答。", "zh") > 0.5


@pytest.mark.parametrize(("language", "task"), CASES)
def test_every_template_asks_for_what_its_task_needs(language: str, task: str) -> None:
    for line in [line for side in words(language).templates[task].values() for line in side]:
        known = {"evidence", "Evidence", *NEEDED[task]}
        assert slots(line) <= known, line
        assert not NEEDED[task] or slots(line) & NEEDED[task], line
        assert task != "teeth" or "FDI" in line, line
        assert not re.search(f"{ABOUT_IMAGES}|{ABOUT_RECORD}", line, re.IGNORECASE), line


@pytest.mark.parametrize("modalities", ["both", "images", "text"])
@pytest.mark.parametrize(("language", "task"), CASES)
def test_every_rendering(language: str, task: str, modalities: str) -> None:
    told = words(language)  # type: ignore[arg-type]
    for side in ("train", "test"):
        for question in questions(language, task, side, modalities):  # type: ignore[arg-type]
            assert question == question.strip() and question[-1] in ".?。？", question
            assert not re.search(
                r"[{}\n]|  |None|\s[,.;:?]|[,.;:]{2}|[，。、：；？]{2}", question.replace("____.", "").replace("___.", "")
            ), question
            assert IMAGE not in question
            assert question[0].isupper() if language == "en" else not re.search(r"[,;:?!]", question), question
            if task == "classification":
                assert all(name in question for name in told.classes.values())
            if task == "generation":
                assert all(name in question for name in told.sections.values())
            if task == "quadrant":
                assert all(name in question for name in told.quadrants)
            if modalities != "both":
                other = ABOUT_RECORD if modalities == "images" else ABOUT_IMAGES
                assert not re.search(other, question.replace("Radiographs Examination", ""), re.IGNORECASE), question


def test_the_two_languages_have_the_same_tasks_and_names() -> None:
    english, chinese = words("en"), words("zh")
    assert set(english.templates) == set(chinese.templates) == set(TASKS) > set(BENCHMARKS)
    for name in ("evidence", "fields", "genders", "sections", "classes"):
        assert list(getattr(english, name)) == list(getattr(chinese, name)), name
    assert tuple(english.classes.values()) == SIX_CLASSES
    assert len(english.quadrants) == len(chinese.quadrants) == 4
    for told in (english, chinese):
        assert set(told.fields) == {field for task in TASKS for field in INPUT_FIELDS[task]}
        assert len(set(told.classes.values())) == 6


def test_the_fingerprint_is_that_of_the_files() -> None:
    assert fingerprint() == fingerprint()
    assert {path.name for path in FOLDER.glob("*")} == {"en.yaml", "zh.yaml", "label_names.yaml"}
