"""The reader of every ShareGPT spelling, and what it says of files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codelib.models.conversation import open_dataset, parse, read_file
from tests.fixtures import make_release, sample


def test_both_spellings_of_roles_are_one_conversation(tmp_path: Path) -> None:
    row = sample(1, ["Images/Photographs/0013-002-01.jpg"], "Red")
    other = {
        "conversations": [
            {"from": {"user": "human", "assistant": "gpt"}[turn["role"]], "value": turn["content"]} for turn in row["messages"]
        ],
        "images": row["images"],
    }
    assert parse(row, "s/1", tmp_path) == parse(other, "s/1", tmp_path)


def test_prompt_answer_and_patient(tmp_path: Path) -> None:
    one = parse(sample(1, ["Images/Photographs/0013-002-01.jpg"], "Red"), "s/1", tmp_path)
    assert (one.answer, one.patient, len(one.prompt.messages)) == ("Red", "0013", 1)


def test_what_our_own_releases_say_of_a_sample(tmp_path: Path) -> None:
    told = {"checkup_id": "0013-002", "split": "validation", "language": "zh", "names_label": True}
    one = parse({**sample(1, [], "龋病"), **told}, "s/1", tmp_path)
    assert (one.patient, one.split, one.language, one.names_label) == (
        "0013",
        "validation",
        "zh",
        True,
    )  # a patient without an image
    assert one.prompt.checkup_id == "0013-002"
    bare = parse({**sample(1, [], "Red"), "checkup_id": 7, "split": None, "names_label": "yes"}, "s/1", tmp_path)
    assert (bare.patient, bare.split, bare.language, bare.names_label) == ("s/1", "", "", None)


def test_published_spelling_of_file_names(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "release", visits=4)
    (folder / "test-cls.json").rename(folder / "test_cls.json")
    assert len(open_dataset(folder).read("test-cls")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "1 <image> placeholders but 0 images"),
        ({"messages": []}, "neither messages nor conversations"),
        ({"messages": [{"role": "wizard", "content": "<image>"}]}, "role 'wizard'"),
        ({"messages": [{"role": "user", "content": 3}]}, "content is int"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse({**sample(1, ["a.jpg"], "Red"), **change}, "train/7", tmp_path)
    assert "train/7" in str(error.value)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text("[{,]")
    with pytest.raises(ValueError, match=r"train\.json: not JSON at line 1"):
        read_file(path)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(ValueError, match="expected a list"):
        read_file(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000, r"train\.json: not a list of conversations; its JSON is nested too deeply"),
        (
            json.dumps([sample(1, ["a.jpg"], "Red"), sample(2, ["a.jpg"], "Red \ud800")]),
            r"train\.json, row 2: holds half a character",
        ),
    ],
)
def test_json_that_no_model_can_be_asked_with_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        read_file(tmp_path / "train.json")


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a released dataset"):
        open_dataset(tmp_path)
    (tmp_path / "release").mkdir()
    with pytest.raises(ValueError, match="did you mean"):
        open_dataset(tmp_path)
    folder = make_release(tmp_path / "unfinished", visits=4)
    (folder / "INCOMPLETE").touch()
    with pytest.raises(ValueError, match="did not finish"):
        open_dataset(folder)


def test_another_projects_files_read_as_they_are(real_data: Path) -> None:
    # dataset_info.json is the index of the others, not a set of conversations
    files = [path for path in sorted((real_data / "sharegpt-peer").rglob("*.json*")) if path.stem != "dataset_info"]
    assert files
    for path in files:
        conversations = read_file(path)
        assert conversations, path
        assert all(one.messages for one in conversations)


def test_marks_separators_and_backslashes_of_other_systems(tmp_path: Path) -> None:
    row = sample(1, ["Images\\Photographs\\0013-002-01.jpg"], "a\u2028b")
    (tmp_path / "x.jsonl").write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (one,) = read_file(tmp_path / "x.jsonl")
    assert (one.answer, one.patient) == ("a\u2028b", "0013")
    (tmp_path / "y.json").write_bytes("[\u9f99]".encode("utf-16"))
    with pytest.raises(ValueError, match=r"y.json: not UTF-8"):
        read_file(tmp_path / "y.json")


def test_two_questions_about_one_picture_belong_together(tmp_path: Path) -> None:
    first, second = (parse(sample(n, ["scan.png"], "Red"), f"s/{n}", tmp_path) for n in (1, 2))
    assert first.patient == second.patient


@pytest.mark.parametrize(
    "row", [3, {"messages": [3]}, {"messages": [{"role": "user", "content": [3]}]}, {"messages": [], "images": "a.jpg"}]
)
def test_rows_of_another_shape_are_named(tmp_path: Path, row: object) -> None:
    with pytest.raises(ValueError, match=r"^s/1: "):
        parse(row, "s/1", tmp_path)
