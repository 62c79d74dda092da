"""How a variant is asked: the other language, less to see, worked examples, and what may never be in such a question."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.contracts import SIX_CLASSES, TEXT_FIELDS
from codelib.evaluate.benchmarks import Sample, limited, load_samples
from codelib.evaluate.questions import ask, images_only, in_language, spoken, text_only
from codelib.evaluate.variants import Variant
from codelib.models.conversation import IMAGE, Dataset, Message, open_dataset
from codelib.models.visit_question import report, user_message
from codelib.models.words import LANGUAGES, questions, words

SECRET = "SECRET"  # stands for whatever a record says of a patient
NUM_VISITS = 12


def visit(patient: int, **told: Any) -> dict[str, Any]:
    """A row of complete-dataset.csv; every text field says its name, its language and SECRET."""
    checkup = f"{patient:04d}-001"
    text = {name: f"{name} {SECRET} of {patient}" for name in TEXT_FIELDS}
    chinese = {f"{name}_cn": f"中文{name}{SECRET}之{patient}" for name in TEXT_FIELDS}
    return {
        "checkup_id": checkup,
        "age": 20 + patient,
        "gender": "female",
        "photographs": f"{checkup}-02.jpg,{checkup}-03.jpg",
        "radiographs": f"{checkup}-01.jpg",
        **text,
        **chinese,
        "anomalies_en": "Deep Caries,Chronic Gingivitis",
        "split": "test" if patient < NUM_VISITS else "train",
    } | told


def sample_row(number: int, row: dict[str, Any], task: str, speech: str, question: str | None, **told: Any) -> dict[str, Any]:
    speaks = words(speech)  # type: ignore[arg-type]
    side = "test" if row["split"] == "test" else "train"
    asked = question or questions(speech, task, side, "both")[number % 3]  # type: ignore[arg-type]
    checkup = row["checkup_id"]
    images = [f"Images/Radiographs/{checkup}-01.jpg", *(f"Images/Photographs/{checkup}-0{n}.jpg" for n in (2, 3))]
    answer = report(row, speaks) if task == "generation" else speaks.classes[SIX_CLASSES[number % 6]]
    turns = [("user", user_message(row, task, 3, asked, "both", speaks)), ("assistant", answer)]
    return {"messages": [{"role": role, "content": content} for role, content in turns], "images": images} | told


def release(
    folder: Path,
    languages: tuple[str, ...] = ("en",),
    question: str | None = None,
    tagged: bool = True,
    table: bool = True,
    **told: Any,
) -> Dataset:
    rows = [visit(patient, **told) for patient in range(NUM_VISITS + 6)]
    files: dict[str, list[dict[str, Any]]] = {}
    for name, task in (("cls", "classification"), ("diagnostic", "generation")):
        for number, row in enumerate(rows):
            for language in languages:
                tags = {"checkup_id": row["checkup_id"], "split": row["split"], "language": language} if tagged else {}
                files.setdefault(f"{row['split']}-{name}", []).append(sample_row(number, row, task, language, question, **tags))
    for name, content in files.items():
        numbered = [{"id": number, **row} for number, row in enumerate(content)]
        (folder / f"{name}.json").write_text(json.dumps(numbered), encoding="utf-8")
    if table:
        with (folder / "complete-dataset.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return open_dataset(folder)


def variant(**fields: Any) -> Variant:
    return Variant(**({"name": "v", "model": "m"} | fields))


def asked(dataset: Dataset, benchmark: str = "classification", **fields: Any) -> tuple[Sample, ...]:
    return ask(variant(**fields), dataset, load_samples(dataset, benchmark), 0).samples


def said(sample: Sample) -> str:
    return "\n".join(message.content for message in sample.messages)


@pytest.mark.parametrize("benchmark", ["classification", "generation"])
def test_a_variant_that_says_nothing_is_asked_what_the_test_set_says(tmp_path: Path, benchmark: str) -> None:
    dataset = release(tmp_path)
    assert asked(dataset, benchmark) == load_samples(dataset, benchmark)


# language


@pytest.mark.parametrize("benchmark", ["classification", "generation"])
@pytest.mark.parametrize("tagged", [True, False])
def test_chinese_asks_the_same_visits_whether_rows_or_only_the_table_speak_it(
    tmp_path: Path, benchmark: str, tagged: bool
) -> None:
    both = tmp_path / "both"
    one = tmp_path / "one"
    for folder in (both, one):
        folder.mkdir()
    own, made = release(both, LANGUAGES), release(one, tagged=tagged)
    for dataset in (own, made):
        english, chinese = (asked(dataset, benchmark, language=language) for language in LANGUAGES)
        assert [s.sample_id for s in english] == [s.sample_id for s in chinese]
        assert [s.images for s in english] == [s.images for s in chinese]
        assert {s.sample_id for s in chinese} <= {s.sample_id for s in load_samples(dataset, benchmark)}
        assert all(spoken(s) == s.language == "zh" and "主诉：中文" in said(s) for s in chinese)
    pairs = zip(asked(own, benchmark, language="zh"), asked(made, benchmark, language="zh"), strict=True)
    for row, translated in pairs:  # what the table makes is what the release would have written, word for word
        assert (row.messages, row.reference, row.images) == (translated.messages, translated.reference, translated.images)


def test_a_limit_asks_both_languages_of_the_same_visits(tmp_path: Path) -> None:
    dataset = release(tmp_path, LANGUAGES)
    test = load_samples(dataset, "classification")
    assert len(test) == 2 * NUM_VISITS
    for limit in range(1, len(test)):
        drawn = {sample.sample_id for sample in limited(test, limit, 0)}
        assert len(drawn) == limit and drawn <= {s.sample_id for s in limited(test, limit + 1, 0)}
        for language in LANGUAGES:
            mine = [s.sample_id for s in ask(variant(language=language), dataset, test, 0).samples if s.sample_id in drawn]
            assert len(mine) == -(-limit // 2)


def test_visits_that_are_not_told_in_the_language_are_counted_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    dataset = release(tmp_path)
    lines = (tmp_path / "complete-dataset.csv").read_text(encoding="utf-8").split("\n")
    chief = lines[0].split(",").index("chief_complaint_cn") + 1  # photographs' comma makes one more
    for row in (1, 2):
        lines[row] = ",".join("" if place == chief else cell for place, cell in enumerate(lines[row].split(",")))
    (tmp_path / "complete-dataset.csv").write_text("\n".join(lines), encoding="utf-8")
    found = ask(variant(language="zh"), dataset, load_samples(dataset, "classification"), 0)
    assert len(found.samples) == NUM_VISITS - 2
    assert found.notes == (f"2 of {NUM_VISITS} visits are not told in Chinese: not asked",)
    (tmp_path / "complete-dataset.csv").unlink()
    with pytest.raises(ValueError, match="12 of 12 visits are not told in Chinese"):
        asked(dataset, language="zh")
    # pictures alone need no record, and a class has a name in both languages
    assert all(s.reference in words("zh").classes.values() for s in asked(dataset, language="zh", modalities="images"))


# modalities


@pytest.mark.parametrize("benchmark", ["classification", "generation"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("question", [None, f"{SECRET}, a woman of 33, complains. What is it?"])
def test_images_leave_nothing_of_the_record_and_text_no_image(
    tmp_path: Path, benchmark: str, language: str, question: str | None
) -> None:
    dataset = release(tmp_path, (language,), question)
    for sample in asked(dataset, benchmark, modalities="images"):
        assert SECRET not in said(sample)
        assert said(sample).count(IMAGE) == len(sample.images) == 3
        assert len(sample.messages) == 1
    for sample in asked(dataset, benchmark, modalities="text"):
        assert IMAGE not in said(sample) and "image-" not in said(sample) and "图1" not in said(sample)
        assert sample.images == () and SECRET in said(sample)
        assert question is not None or (words(language).evidence["both"] not in said(sample))  # type: ignore[arg-type]


def test_a_question_in_other_words_than_ours_is_said_to_be_reworded(tmp_path: Path) -> None:
    foreign = release(tmp_path, question="Tell me what it is.")
    test = load_samples(foreign, "classification")
    for way in ({"modalities": "images"}, {"language": "zh"}):
        (note,) = ask(variant(**way), foreign, test, 0).notes
        assert note.startswith(f"{NUM_VISITS} questions are not worded by this project")
    for way in ({}, {"modalities": "text"}, {"language": "en"}):
        assert ask(variant(**way), foreign, test, 0).notes == ()
    (tmp_path / "both").mkdir()
    both = release(tmp_path / "both", LANGUAGES, question="这是什么病？")
    assert ask(variant(language="zh"), both, load_samples(both, "classification"), 0).notes == ()


def test_the_template_stays_when_the_modalities_change(tmp_path: Path) -> None:
    dataset = release(tmp_path)
    for modalities in ("images", "text"):
        found = {s.messages[-1].content.rpartition("\n")[2] for s in asked(dataset, modalities=modalities)}
        assert found == set(questions("en", "classification", "test", modalities)[:3])  # type: ignore[arg-type]


def test_what_there_is_not_cannot_be_left_alone(tmp_path: Path) -> None:
    dataset = release(tmp_path)
    test = load_samples(dataset, "classification")
    blind, mute = [text_only(s) for s in test], [images_only(s) for s in test]
    with pytest.raises(ValueError, match="no question of the test set has an image"):
        ask(variant(modalities="images"), dataset, blind, 0)
    with pytest.raises(ValueError, match="say nothing of the patient"):
        ask(variant(modalities="text"), dataset, mute, 0)


def test_a_system_message_stays_where_it_is_everyones_and_goes_where_it_may_be_a_patients(tmp_path: Path) -> None:
    dataset = release(tmp_path)
    test = load_samples(dataset, "classification")
    same = [replace(s, messages=(Message("system", "You are a dentist."), *s.messages)) for s in test]
    own = [replace(s, messages=(Message("system", f"{SECRET} {s.patient}"), *s.messages)) for s in test]
    assert ask(variant(modalities="images"), dataset, same, 0).samples[0].messages[0] == Message("system", "You are a dentist.")
    assert all(SECRET not in said(s) for s in ask(variant(modalities="images"), dataset, own, 0).samples)


LABELS = [
    *("image-{}: <image>", "图{}：<image>", "Image {} <image>", "X-ray #{} - <image>"),
    *("see <image> here", "<ima<image>ge>", "<image><image>"),
]
LINES = [*LABELS, "Age: 30", "Chief Complaint: pain\nsince May", "", "What is it?"]


@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=12))
def test_text_alone_never_holds_a_placeholder(lines: list[str]) -> None:
    content = "\n".join(line.format(number) for number, line in enumerate(lines))
    count = content.count(IMAGE)
    sample = Sample("a", "classification", "p", (Message("user", content),), ("x.jpg",) * count, "Caries")
    bare = text_only(sample)
    assert IMAGE not in said(bare) and bare.images == ()
    for kept in ("Age: 30", "since May", "What is it?"):
        assert said(bare).count(kept) == content.count(kept)
    assert SECRET not in said(images_only(replace(sample, messages=(Message("user", f"{SECRET} {content}"),))))


# worked examples


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("modalities", ["both", "images", "text"])
def test_examples_are_put_as_the_question_is(tmp_path: Path, tagged: bool, language: str, modalities: str) -> None:
    dataset = release(tmp_path, tagged=tagged)
    few = {"prompting": "few-shot", "k": 2, "benchmarks": ["generation"], "language": language, "modalities": modalities}
    first = asked(dataset, "generation", **few)
    assert first == asked(dataset, "generation", **few)
    for sample in first:
        roles = [message.role for message in sample.messages]
        assert roles == ["user", "assistant", "user", "assistant", "user"]
        assert said(sample).count(IMAGE) == len(sample.images) == (0 if modalities == "text" else 9)
        shown = [message.content for message in sample.messages]
        assert all(("中文" in content) == (language == "zh") for content in shown[1::2])
        assert all((SECRET in content) == (modalities != "images") for content in shown[::2])
        assert len(sample.shows) == 3


def test_examples_are_the_same_visits_whatever_is_shown_of_them(tmp_path: Path) -> None:
    dataset = release(tmp_path)
    few = {"prompting": "few-shot", "benchmarks": ["generation"]}
    ways = [{}, {"modalities": "text"}, {"modalities": "images"}, {"language": "zh"}, {"language": "zh", "modalities": "images"}]
    drawn = {asked(dataset, "generation", **few, **way)[0].others for way in ways}
    assert len(drawn) == 1
    seeds = {ask(variant(**few), dataset, load_samples(dataset, "generation"), seed).samples[0].others for seed in range(9)}
    assert len(seeds) > 1


def test_too_few_examples_in_a_language_are_an_error(tmp_path: Path) -> None:
    dataset = release(tmp_path, table=False)
    chinese = in_language(load_samples(release_in(tmp_path, "zh"), "generation"), "zh")
    with pytest.raises(ValueError, match="0 patients outside the test set, k is 3"):
        ask(variant(prompting="few-shot", benchmarks=["generation"], language="zh"), dataset, chinese, 0)


def release_in(folder: Path, language: str) -> Dataset:
    (folder / language).mkdir()
    return release(folder / language, (language,))


# shuffled


def test_shuffled_images_go_with_every_way_of_asking(tmp_path: Path) -> None:
    dataset = release(tmp_path, LANGUAGES)
    plain = {s.sample_id: s for s in asked(dataset, language="zh")}
    for modalities in ("both", "images"):
        for sample in asked(dataset, language="zh", modalities=modalities, images="shuffled"):
            assert plain[sample.sample_id].images != sample.images
            assert sample.reference == plain[sample.sample_id].reference


# what a release says of a sample


@pytest.mark.parametrize("table", [True, False])
def test_a_sample_knows_what_table_or_question_say_of_its_visit(tmp_path: Path, table: bool) -> None:
    sample = load_samples(release(tmp_path, table=table), "classification")[3]
    assert (sample.age, sample.gender, sample.num_photographs, sample.num_radiographs) == (23, "female", 2, 1)
    assert sample.conditions == (("Deep Caries", "Chronic Gingivitis") if table else ())


# seeds


WAYS: list[dict[str, Any]] = [
    {"images": "shuffled"},
    {"images": "shuffled", "modalities": "images"},
    {"prompting": "few-shot", "benchmarks": ["generation"]},
    {"prompting": "few-shot", "benchmarks": ["generation"], "language": "zh", "images": "shuffled"},
]


@pytest.mark.parametrize("way", WAYS)
def test_a_question_hangs_on_the_seed_and_not_on_the_order_of_the_file(tmp_path: Path, way: dict[str, Any]) -> None:
    dataset = release(tmp_path)
    benchmark = way.get("benchmarks", ["classification"])[0]
    test = load_samples(dataset, benchmark)
    first = {sample.sample_id: sample for sample in ask(variant(**way), dataset, test, 7).samples}
    for order in (test[::-1], test[5:] + test[:5]):
        assert {sample.sample_id: sample for sample in ask(variant(**way), dataset, order, 7).samples} == first
    assert any({s.sample_id: s for s in ask(variant(**way), dataset, test, seed).samples} != first for seed in range(3))


def test_a_grown_test_set_leaves_most_questions_as_they_were(tmp_path: Path) -> None:
    dataset = release(tmp_path)
    test = load_samples(dataset, "classification")
    before = {s.sample_id: s for s in ask(variant(images="shuffled"), dataset, test[:-1], 0).samples}
    after = {s.sample_id: s for s in ask(variant(images="shuffled"), dataset, test, 0).samples}
    assert sum(after[name] == sample for name, sample in before.items()) >= len(before) - 2
