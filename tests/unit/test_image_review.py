import pytest

from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.image_review import ACROSS, ANSWERS_FILE, Answers, read_answers


def answers(tmp_path, text, encoding="utf-8"):
    store = Store(str(tmp_path))
    store.commit(ANSWERS_FILE, text.encode(encoding))
    return read_answers(store)


def test_without_a_file_nothing_is_answered(tmp_path):
    assert read_answers(Store(str(tmp_path))) == Answers()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_answers_by_visit_and_picture(tmp_path, encoding):
    text = "picture_key,visit_key,reason,answer,note\np1,v1,,accept,无\np2,v1,images:face, Mask ,\np3,v2,,,later\n"
    assert answers(tmp_path, text, encoding) == Answers({"v1": {"p1": "accept", "p2": "mask"}})


def test_what_a_picture_shows_and_whose_it_is_are_two_questions(tmp_path):
    text = f"picture_key,visit_key,reason,answer\np1,v1,images:burned_in_text,mask\np1,v1,{ACROSS},accept\np2,v1,,reject\n"
    found = answers(tmp_path, text)
    assert found == Answers({"v1": {"p1": "mask", "p2": "reject"}}, {"v1": {"p1": "accept"}})
    assert found.refused() == {"p2"}
    assert [line[2] for line in found.lines()] == ["", ACROSS, ""]


def test_the_queue_itself_filled_in_is_a_file_of_answers(tmp_path):
    text = "picture_key,visit_key,reason,kind,part,source,answer\np1,v1,images:face,photograph,,a/b.jpg,reject\n"
    assert answers(tmp_path, text) == Answers({"v1": {"p1": "reject"}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture_key,answer\np1,accept\n", "no column visit_key, reason"),
        ("", "no column picture_key, visit_key, reason, answer"),
        ("picture_key,visit_key,reason,answer\np1,v1,,acept\n", "line 2: answer acept to a picture: did you mean accept?"),
        (
            f"picture_key,visit_key,reason,answer\np1,v1,{ACROSS},mask\n",
            "answer mask to images:duplicate_across_patients: there is: accept, reject",
        ),
        ("picture_key,visit_key,reason,answer\np1,,,accept\n", "line 2: picture_key or visit_key is missing"),
        ("picture_key,visit_key,reason,answer\np1,v1,,accept\np1,v1,,reject\n", "line 3: this picture has two different answers"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, words):
    with pytest.raises(InputError, match=r"image-answers\.csv") as error:
        answers(tmp_path, text)
    assert words in str(error.value)
