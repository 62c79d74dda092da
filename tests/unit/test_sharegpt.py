import pyarrow as pa

from codelib.contracts import ANNOTATED, SIX_CLASSES, SPLIT, TEXT_FIELDS
from codelib.data.sharegpt import SECTIONS, ShareGptSettings, make_conversations
from codelib.models.conversation import IMAGE


def tables(side="train", six_class="Caries", **texts):
    visit = dict.fromkeys(ANNOTATED.schema.names) | dict.fromkeys(TEXT_FIELDS, "") | {"diseases": [], "teeth": []}
    visit |= {
        "checkup_id": "0001-001",
        "patient_id": "0001",
        "visit_key": "v",
        "age": 30,
        "gender": "male",
        "six_class": six_class,
    }
    visit |= {name: f"<<{name}>>" for name in TEXT_FIELDS} | texts | {"status": "ok"}
    place = dict.fromkeys(SPLIT.schema.names) | {"checkup_id": "0001-001", "split": side, "status": "ok"}
    place |= {"photographs": ["0001-001-02.jpg", "0001-001-03.jpg"], "radiographs": ["0001-001-01.jpg"]}
    return pa.Table.from_pylist([visit], schema=ANNOTATED.schema), pa.Table.from_pylist([place], schema=SPLIT.schema)


def conversations(side="train", six_class="Caries", seed=0, **texts):
    rows = make_conversations(*tables(side, six_class, **texts), ShareGptSettings(), seed).to_pylist()
    return {r["task"]: r for r in rows}


def test_the_benchmarks_see_their_own_fields_and_no_others():
    got = conversations()
    for task, allowed in (("classification", {"chief_complaint"}), ("generation", {"chief_complaint", "past_medical_record"})):
        question = got[task]["messages"][0]["content"]
        assert {name for name in TEXT_FIELDS if f"<<{name}>>" in question} == allowed
        assert "Age: 30\nGender: male" in question


def test_answers():
    got = conversations()
    assert got["classification"]["messages"][1]["content"] == "Caries"
    report = got["generation"]["messages"][1]["content"]
    assert [line.split(":")[0] for line in report.splitlines()] == [title for title, _ in SECTIONS]


def test_one_placeholder_an_image_even_where_a_record_holds_one():
    for row in conversations(chief_complaint=f"pain {IMAGE} <ima<image>ge>", examination=IMAGE).values():
        assert sum(m["content"].count(IMAGE) for m in row["messages"]) == len(row["images"]) == 3


def test_without_a_single_class_there_is_no_classification():
    assert set(conversations(six_class=None)) == {"generation"}


def test_excluded_visits_have_no_conversation():
    assert conversations(side="excluded") == {}


def test_train_and_test_share_no_question():
    questions = {
        side: {conversations(side, seed=s)["classification"]["messages"][0]["content"].splitlines()[-1] for s in range(40)}
        for side in ("train", "test")
    }
    assert len(questions["train"]) >= 4
    assert not questions["train"] & questions["test"]
    assert all(name in q for q in questions["train"] | questions["test"] for name in SIX_CLASSES)


def test_images_are_shuffled_on_the_training_side_only():
    train = {tuple(conversations("train", seed=s)["classification"]["images"]) for s in range(30)}
    test = {tuple(conversations("test", seed=s)["classification"]["images"]) for s in range(30)}
    assert len(train) > 3
    assert test == {
        ("Images/Radiographs/0001-001-01.jpg", "Images/Photographs/0001-001-02.jpg", "Images/Photographs/0001-001-03.jpg")
    }
