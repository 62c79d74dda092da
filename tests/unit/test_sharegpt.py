"""The conversations of a visit: what a question may hold, what is drawn, what an answer says."""

from __future__ import annotations

import random
import re
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import ANNOTATED, BILINGUAL, SIX_CLASSES, SPLIT, TEXT_FIELDS
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data.annotate import annotate
from codelib.data.sharegpt import (
    ANNOTATED_COLUMNS,
    SPLIT_COLUMNS,
    ShareGptSettings,
    count_samples,
    make_conversations,
)
from codelib.data.sharegpt_draw import nth, shuffled, subset
from codelib.evaluate.answers import parse_class
from codelib.models.conversation import IMAGE
from codelib.models.visit_question import INPUT_FIELDS
from codelib.models.words import words

TASKS = ("classification", "generation", "quadrant", "teeth")
LANGUAGES = ("en", "zh")
MODALITIES = ("both", "images", "text")


def disease(
    six_class: str | None = "Caries", fdi: tuple[str, ...] = ("16",), status: str = "present", **more: Any
) -> dict[str, Any]:
    return {"zh": "深龋", "en": "Deep caries", "status": status, "field": "diagnosis", "six_class": six_class, "fdi": fdi} | more


def make_visit(checkup_id: str = "0001-001", **values: Any) -> dict[str, Any]:
    visit = dict.fromkeys(ANNOTATED.schema.names) | {"diseases": [disease()], "teeth": [], "status": "ok"}
    visit |= {"checkup_id": checkup_id, "patient_id": checkup_id[:4], "visit_key": "v", "age": 30, "gender": "male"}
    visit |= {"six_class": "Caries"} | {f"{name}{twin}": f"<<{name}{twin}>>" for name in TEXT_FIELDS for twin in ("", "_cn")}
    return visit | values


def make_place(checkup_id: str = "0001-001", side: str = "train", photographs: int = 2, radiographs: int = 1) -> dict[str, Any]:
    names = [f"{checkup_id}-{number:02d}.jpg" for number in range(1, radiographs + photographs + 1)]
    place = dict.fromkeys(SPLIT.schema.names) | {"checkup_id": checkup_id, "split": side, "status": "ok"}
    return place | {"radiographs": names[:radiographs], "photographs": names[radiographs:]}


def converse(visits: list[dict[str, Any]], places: list[dict[str, Any]], seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    tables = pa.Table.from_pylist(visits, schema=ANNOTATED.schema), pa.Table.from_pylist(places, schema=SPLIT.schema)
    return make_conversations(*tables, ShareGptSettings(**options), seed).to_pylist()


def conversations(
    side: str = "train", seed: int = 0, options: dict[str, Any] | None = None, **values: Any
) -> dict[str, dict[str, Any]]:
    rows = converse([make_visit(**values)], [make_place(side=side)], seed, **(options or {}))
    return {row["task"]: row for row in rows}


def asked(row: dict[str, Any]) -> str:
    return row["messages"][0]["content"]


# ── what a question may hold


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(LANGUAGES),
    st.sampled_from(MODALITIES),
    st.sampled_from(("train", "validation", "test")),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_no_input_comes_from_any_field_but_the_benchmarks_own(
    language: str, modalities: str, side: str, seed: int, rng: random.Random
) -> None:
    """A token of its own in every place of the record, in both languages: of these a user message may hold the allowed ones, all of them."""

    def token() -> str:
        return f"tok{rng.getrandbits(80):020x}"

    texts = {f"{name}{twin}": token() for name in TEXT_FIELDS for twin in ("", "_cn")}
    texts |= {"checkup_time": token(), "patient_id": token(), "visit_key": token()}
    inside = {name: token() for name in ("zh", "en", "icd10", "evidence", "source")}
    visit = make_visit(**texts, age=77, diseases=[disease(fdi=("85",), **inside)])
    visit["removed"] = [{"field": token(), "class": token(), "count": 1}]
    visit["translations"] = [{"field": "diagnosis", "engine": token(), "checks": [token()]}]
    place = make_place(side=side) | {"why": token()}
    rows = converse([visit], [place], seed, language=language, modalities=modalities)
    assert {row["task"] for row in rows} == set(TASKS)
    twin = "" if language == "en" else "_cn"
    for row in rows:
        found = set(re.findall(r"tok[0-9a-f]{20}", asked(row)))
        fields = [name for name in INPUT_FIELDS[row["task"]] if name in TEXT_FIELDS]
        assert found == (set() if modalities == "images" else {texts[f"{name}{twin}"] for name in fields})
        assert "0001-001" not in asked(row)
        assert ("77" in asked(row)) == (modalities != "images")


def test_the_fields_of_the_benchmarks_are_the_papers() -> None:
    assert INPUT_FIELDS["classification"] == ("age", "gender", "chief_complaint")
    assert INPUT_FIELDS["generation"] == ("age", "gender", "chief_complaint", "past_medical_record")
    assert INPUT_FIELDS["quadrant"] == INPUT_FIELDS["teeth"] == INPUT_FIELDS["classification"]
    got = conversations("test", chief_complaint="Toothache", past_medical_record="Healthy")
    assert asked(got["classification"]).startswith(
        "image-1: <image>\nimage-2: <image>\nimage-3: <image>\nAge: 30\nGender: male\nChief Complaint: Toothache\nGiven the images"
    )
    assert "Chief Complaint: Toothache\nPast Medical History: Healthy\n" in asked(got["generation"])


def test_chinese_is_chinese_throughout() -> None:
    fields = {f"{name}_cn": f"文{n}" for n, name in enumerate(TEXT_FIELDS)}
    got = conversations("test", options={"language": "zh"}, diseases=[disease(fdi=("16", "75"))], gender=None, **fields)
    assert asked(got["generation"]).startswith(
        "图1：<image>\n图2：<image>\n图3：<image>\n年龄：30\n性别：不详\n主诉：文1\n既往史：文3\n"
    )
    for row in got.values():
        said = re.sub(r"FDI|ISO|X线|<image>", "", asked(row) + row["messages"][1]["content"])
        assert not re.search("[A-Za-z]", said), said
    assert [got[task]["messages"][1]["content"] for task in ("classification", "quadrant", "teeth")] == [
        "龋病",
        "右上、左下",
        "16、75",
    ]
    assert got["generation"]["messages"][1]["content"].startswith("病历：文0\n检查：文4\nX线检查：文5\n诊断：文6\n")


def test_english_shows_what_the_table_holds_where_a_translation_waits_for_review() -> None:
    got = conversations(chief_complaint="左上后牙痛", past_medical_record="")
    assert "Chief Complaint: 左上后牙痛" in asked(got["generation"])
    assert "Past Medical History: Not recorded." in asked(got["generation"])


def test_images_alone_and_text_alone() -> None:
    images = conversations(options={"modalities": "images"})
    assert all("Age" not in asked(row) and "Complaint" not in asked(row) and len(row["images"]) == 3 for row in images.values())
    text = conversations(options={"modalities": "text"})
    assert all(row["images"] == [] and IMAGE not in asked(row) and asked(row).startswith("Age: 30") for row in text.values())


@pytest.mark.parametrize(("language", "modalities"), list(product(LANGUAGES, MODALITIES)))
def test_one_placeholder_an_image_even_where_a_record_holds_one(language: str, modalities: str) -> None:
    hostile = f"pain {IMAGE} <ima<image>ge> <vid<audio>eo>"
    options = {"language": language, "modalities": modalities}
    for row in conversations(options=options, chief_complaint=hostile, chief_complaint_cn=hostile, examination=IMAGE).values():
        content = "".join(message["content"] for message in row["messages"])
        assert content.count(IMAGE) == len(row["images"]) == (0 if modalities == "text" else 3)
        assert "<video>" not in content and "<audio>" not in content


# ── answers


def test_answers() -> None:
    got = conversations(diseases=[disease(fdi=("36", "16")), disease(fdi=("55",))], six_class="Tooth Structure Loss")
    said = {task: row["messages"][1]["content"] for task, row in got.items()}
    assert said["classification"] == "Tooth Structure Loss"
    assert (said["quadrant"], said["teeth"]) == ("Upper Right, Lower Left", "16, 36, 55")
    titles = list(words("en").sections.values())
    assert [line.split(":")[0] for line in said["generation"].splitlines()] == titles
    assert [(row["benchmark"], row["language"], row["copy"]) for row in got.values()] == [
        ("classification", "en", 0),
        ("generation", "en", 0),
        (None, "en", 0),
        (None, "en", 0),
    ]


def test_only_present_diagnoses_have_affected_teeth() -> None:
    others = [disease(fdi=("11",), status=status) for status in ("suspected", "negated", "past", "planned")]
    assert conversations(diseases=[*others, disease(fdi=("46",))])["teeth"]["messages"][1]["content"] == "46"
    assert set(conversations(diseases=others)) == {"classification", "generation"}
    assert set(conversations(diseases=[disease(fdi=())])) == {"classification", "generation"}


@pytest.mark.parametrize("status", ["ambiguous", "reject", "region"])
def test_a_diagnosis_that_names_more_than_its_numbers_has_no_answer_of_teeth(status: str) -> None:
    tooth = {"field": "diagnosis", "fdi": [], "start": 0, "end": 2, "status": status}
    assert set(conversations(teeth=[tooth])) == {"classification", "generation"}
    assert set(conversations(teeth=[tooth | {"field": "examination"}])) == set(TASKS)


def annotated(diagnosis: str) -> dict[str, Any]:
    row = dict.fromkeys(BILINGUAL.schema.names) | dict.fromkeys(TEXT_FIELDS, "") | {f"{name}_cn": "" for name in TEXT_FIELDS}
    row |= {
        "checkup_id": "0001-001",
        "diagnosis": diagnosis,
        "diagnosis_cn": diagnosis,
        "teeth": [],
        "removed": [],
        "status": "ok",
    }
    return annotate(pa.Table.from_pylist([row], schema=BILINGUAL.schema)).to_pylist()[0]


def test_a_visit_with_several_of_the_six_classes_is_no_question_of_classification() -> None:
    for diagnosis, eligible in (
        ("深龋；慢性牙龈炎", False),
        ("深龋；龋病", True),
        ("深龋；牙髓炎待排", True),
        ("智齿冠周炎", False),
    ):
        rows = converse([annotated(diagnosis)], [make_place()])
        assert ("classification" in {row["task"] for row in rows}) == eligible, diagnosis
        assert "generation" in {row["task"] for row in rows}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_parser_of_evaluation_reads_every_class_name(language: str) -> None:
    for name, spoken in words(language).classes.items():
        assert parse_class(spoken) == name
        got = conversations(six_class=name, options={"language": language})
        assert parse_class(got["classification"]["messages"][1]["content"]) == name


# ── sides


def test_a_sample_carries_the_visits_labels_of_the_multi_label_split_and_never_asks_with_them() -> None:
    found = [disease(), disease(), disease(en="Tooth loss, partial"), disease(en="Abrasion", status="past")]
    for row in converse([make_visit(diseases=found)], [make_place() | {"spectrum": "test"}], tasks=("generation",)):
        assert (row["spectrum"], row["conditions"]) == ("test", ["Deep Caries", "Tooth Loss; Partial"])
        assert "Tooth Loss" not in asked(row)


def test_excluded_visits_have_no_conversation() -> None:
    assert conversations(side="excluded") == {}


@pytest.mark.parametrize("language", ["en", "zh", "both"])
@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_visit_held_out_gives_one_sample_a_task_and_language_without_augmentation(side: str, language: str) -> None:
    visits = [make_visit(f"{patient:04d}-001") for patient in range(1, 41)]
    places = [make_place(visit["checkup_id"], side) for visit in visits]
    options = {"language": language, "copies": 7, "image_share": 0.4, "max_images": 1}
    rows = converse(visits, places, **options)
    spoken = LANGUAGES if language == "both" else (language,)
    assert len(rows) == len({row["sample_id"] for row in rows}) == 40 * 4 * len(spoken)
    for row in rows:
        name = row["checkup_id"]
        assert row["images"] == [
            f"Images/{folder}/{name}-{n:02d}.jpg" for folder, n in (("Radiographs", 1), ("Photographs", 2), ("Photographs", 3))
        ]
    last = {(row["task"], row["language"]): {} for row in rows}
    for row in rows:
        last[row["task"], row["language"]].setdefault(asked(row).splitlines()[-1], 0)
    assert all((len(found) == 1) == (side == "test") for found in last.values())


def test_test_questions_can_be_drawn_as_in_the_paper() -> None:
    drawn = {
        asked(conversations("test", seed=s, options={"test_questions": "drawn"})["teeth"]).splitlines()[-1] for s in range(60)
    }
    assert drawn == {words("en").ask(line, "both") for line in words("en").templates["teeth"]["test"]}


def test_train_and_test_share_no_question() -> None:
    questions = {
        side: {asked(conversations(side, s, {"test_questions": "drawn"})["classification"]).splitlines()[-1] for s in range(300)}
        for side in ("train", "validation", "test")
    }
    assert questions["train"] | questions["validation"] == {
        words("en").ask(line, "both") for line in words("en").templates["classification"]["train"]
    }
    assert not (questions["train"] | questions["validation"]) & questions["test"]
    assert all(name in q for q in questions["train"] | questions["test"] for name in SIX_CLASSES)


# ── augmentation


def test_images_are_shuffled_on_the_training_side_only() -> None:
    train = {tuple(conversations("train", seed=s)["classification"]["images"]) for s in range(60)}
    assert len(train) == 6
    assert (
        len({tuple(conversations("train", seed=s, options={"shuffle_images": False})["teeth"]["images"]) for s in range(9)}) == 1
    )


def test_copies_differ_in_question_and_ids_stay_when_more_are_made() -> None:
    one = converse([make_visit()], [make_place()])
    many = converse([make_visit()], [make_place()], copies=20, language="both")
    assert len(many) == len({row["sample_id"] for row in many}) == 20 * 4 * 2
    for task, language in product(TASKS, LANGUAGES):
        mine = [row for row in many if (row["task"], row["language"]) == (task, language)]
        assert [row["copy"] for row in mine] == list(range(20))
        assert len({asked(row).splitlines()[-1] for row in mine}) == 20
        assert len({row["messages"][1]["content"] for row in mine}) == 1
    known = {row["sample_id"]: row for row in many}
    assert [known[row["sample_id"]] for row in one] == one
    assert {"0001-001/teeth", "0001-001/teeth/zh", "0001-001/teeth/7", "0001-001/teeth/zh/19"} <= set(known)


def test_a_copy_that_would_be_the_same_is_not_written() -> None:
    place = make_place(photographs=2, radiographs=0)
    rows = converse([make_visit()], [place], copies=12, vary_questions=False)
    assert {len([r for r in rows if r["task"] == task]) for task in TASKS} == {2}  # two images have two orders
    with pytest.raises(ValueError, match="copies=2 would all be the same"):
        ShareGptSettings(copies=2, vary_questions=False, shuffle_images=False)
    with pytest.raises(ValueError, match="copies=2 would all be the same"):
        ShareGptSettings(copies=2, vary_questions=False, modalities="text")
    with pytest.raises(ValueError, match="a task stands twice"):
        ShareGptSettings(tasks=("teeth", "teeth"))


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(0, 9), st.floats(0.01, 1), st.none() | st.integers(1, 12), st.integers(0, 9))
def test_a_subset_is_as_large_as_asked_and_shows_both_kinds(
    radiographs: int, photographs: int, share: float, limit: int | None, seed: int
) -> None:
    total = radiographs + photographs
    if not total:
        return
    place = make_place(photographs=photographs, radiographs=radiographs)
    (row,) = converse(
        [make_visit()], [place], seed, tasks=("classification",), image_share=share, max_images=limit, shuffle_images=False
    )
    natural = converse([make_visit()], [place], seed, tasks=("classification",), shuffle_images=False)[0]["images"]
    assert len(row["images"]) == len(set(row["images"])) <= (limit or total)
    assert len(row["images"]) >= min(max(1, int(share * total)), limit or total)
    assert row["images"] == [path for path in natural if path in row["images"]]  # a part of them, in their order
    if len(row["images"]) > 1 and radiographs and photographs:
        assert {path.split("/")[1] for path in row["images"]} == {"Photographs", "Radiographs"}
    assert asked(row).count(IMAGE) == len(row["images"])


@settings(deadline=None)
@given(st.text(max_size=8), st.integers(1, 60), st.integers(0, 30))
def test_draws(key: str, count: int, extra: int) -> None:
    assert sorted(nth(key, turn, count) for turn in range(count)) == list(range(count))
    names = [f"n{i}" for i in range(count)]
    order = shuffled(key, names)
    assert sorted(order) == sorted(names)
    more = shuffled(key, [*names, *(f"m{i}" for i in range(extra))])
    assert [name for name in more if name in names] == order
    assert subset(key, (names, []), 1.0, None) == set(names)


# ── the same seed, the same bytes


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 3))
def test_neither_order_nor_partition_changes_a_sample(order: list[int], size: int, seed: int) -> None:
    options: dict[str, Any] = {"copies": 2, "language": "both", "image_share": 0.7}
    visits = [make_visit(f"{patient:04d}-001") for patient in range(12)]
    places = [make_place(visit["checkup_id"], ("train", "validation", "test")[n % 3], 4, 2) for n, visit in enumerate(visits)]
    whole = {row["sample_id"]: row for row in converse(visits, places, seed, **options)}
    parts: dict[str, Any] = {}
    for start in range(0, 12, size):
        chosen = order[start : start + size]
        rows = converse([visits[i] for i in chosen], [places[i] for i in reversed(chosen)], seed, **options)
        parts |= {row["sample_id"]: row for row in rows}
    assert parts == whole


def test_a_seed_matters_and_a_changed_visit_changes_only_itself() -> None:
    visits = [make_visit(f"{patient:04d}-001") for patient in range(6)]
    places = [make_place(visit["checkup_id"]) for visit in visits]
    before = converse(visits, places, 0)
    assert converse(visits, places, 1) != before
    visits[2]["chief_complaint"] = "changed"
    after = converse(visits, places, 0)
    assert {row["checkup_id"] for row, old in zip(after, before, strict=True) if row != old} == {"0002-001"}


# ── the stage


def test_the_stage_reads_no_other_column() -> None:
    """The columns named in the stage are all that a sample is made of: a table that has no others gives the same samples."""
    tables = (
        pa.Table.from_pylist([make_visit()], schema=ANNOTATED.schema),
        pa.Table.from_pylist([make_place()], schema=SPLIT.schema),
    )
    whole = make_conversations(*tables, ShareGptSettings(language="both"), 0)
    assert make_conversations(
        tables[0].select(ANNOTATED_COLUMNS), tables[1].select(SPLIT_COLUMNS), ShareGptSettings(language="both"), 0
    ).equals(whole)
    forbidden = {f"{name}{twin}" for name in ("present_illness", "treatment_recommendations") for twin in ("", "_cn")}
    assert not forbidden & set(ANNOTATED_COLUMNS)


def test_counts_are_of_every_partition(tmp_path: Path) -> None:
    visits = [make_visit(f"{n:04d}-001", chief_complaint="cavity" if n % 3 == 0 else "pain") for n in range(9)]
    places = [make_place(visit["checkup_id"], "test" if n < 4 else "train") for n, visit in enumerate(visits)]
    parts = []
    for start in (0, 5):
        chosen = slice(start, start + 5)
        tables = (
            pa.Table.from_pylist(visits[chosen], schema=ANNOTATED.schema),
            pa.Table.from_pylist(places[chosen], schema=SPLIT.schema),
        )
        part = Part(f"part{start}", "conversations", str(tmp_path), 0, {})
        Store(str(tmp_path)).commit_table(part.name, make_conversations(*tables, ShareGptSettings(), 0))
        parts.append(part)
    counts = count_samples(parts)
    assert counts["test/classification/en"] == {"samples": 4, "names_label": 2}
    assert counts["train/teeth/en"] == {"samples": 5, "names_label": 1}
    assert len(counts) == 8
