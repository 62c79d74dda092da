"""Somebody else's dataset: every planted fault is found by file, row and reason, and rows are cut out of large files as they lie."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import foreign_rows
from codelib.data.foreign_check import FOREIGN, check_images, check_samples, duplicates, without_duplicates
from codelib.data.foreign_rows import NotRows, config_of, list_folder, read_run, runs, split_of
from tests.fixtures import make_release, sample


def check(folder: Path, room: Path, without: tuple[str, ...] = ()) -> dict[tuple[str, int], dict[str, Any]]:
    """All rows of a folder as the job checks them, without Ray: (file, index) -> row."""
    listing, store, parts = list_folder(str(folder)), Store(str(room)), []
    images = check_images({"images": list(listing.images)}, listing.root)
    part = Part("images", "import_images", store.root, images.num_rows, {})
    store.commit_table(part.name, images)
    for file in listing.rows:
        for first, _, start, stop in [] if file in without else runs(str(folder / file)):
            extra = {"file": file, "label": listing.label(file), "first": first, "start": start, "stop": stop}
            table = check_samples(part, extra, root=listing.root)
            parts.append(Part(f"{len(parts)}", "import_rows", store.root, table.num_rows, {}))
            store.commit_table(parts[-1].name, table)
    found = {}
    for part, again in zip(parts, duplicates(parts), strict=True):
        table = without_duplicates(store.read_table(part.name), {"again": again})
        assert table.schema.equals(FOREIGN.schema)
        found |= {(row["file"], row["index"]): row for row in table.to_pylist()}
    return found


def write(path: Path, rows: Any) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def test_planted_faults_are_named_with_their_place(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "r", visits=8)
    rows = json.loads((folder / "train-cls.json").read_text())
    one = rows[0]["images"][0]
    Image.new("RGB", (50, 40)).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-40])
    (folder / "notes.pdf").write_bytes(b"%PDF-")
    (tmp_path / "outside.jpg").write_bytes((folder / one).read_bytes())
    turns = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "Red"}]
    faults: list[tuple[Any, str | None, str | None]] = [
        ({"id": "a", "messages": turns, "images": ["Images/gone.jpg"]}, "missing_image", "image 1"),
        ({"id": "b", "messages": turns, "images": ["cut.jpg"]}, "unreadable_image", "image 1"),
        ({"id": "c", "messages": turns, "images": ["notes.pdf"]}, "unreadable_image", "image 1"),
        ({"id": "d", "messages": turns, "images": ["../outside.jpg"]}, "outside_folder", "image 1"),
        ({"id": "e", "messages": turns, "images": [str(tmp_path / "outside.jpg")]}, "outside_folder", "image 1"),
        ({"id": "f", "messages": turns, "images": ["https://example.org/a.jpg"]}, "remote_image", "image 1"),
        ({"id": "g", "messages": turns, "images": [one, one]}, "placeholder_count", None),
        ({"id": "h", "messages": [turns[0], {"role": "assistant", "content": " \n"}], "images": [one]}, "empty_answer", None),
        ({"id": "i", "messages": turns[:1], "images": [one]}, "empty_answer", None),
        ({"id": "j", "messages": [turns[0], {"role": "Radiologist", "content": "x"}], "images": [one]}, "unknown_role", None),
        ({"id": "k", "messages": [turns[0], {"role": ["user"], "content": "x"}], "images": [one]}, "unknown_role", None),
        ({"id": "l", "text": "x"}, "not_a_conversation", None),
        (
            {"id": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "not_a_conversation",
            None,
        ),
        ("only words", "not_a_conversation", None),
        ({"id": "half \ud83d", "messages": turns, "images": [one]}, "invalid_text", None),
        ({"id": "n", "messages": turns, "images": [one.replace("/", "\\")]}, None, None),
        ({"id": "n", "messages": turns, "images": [one]}, "duplicate_id", None),
        ({"id": "o", "messages": turns, "images": [str(folder / one)]}, None, None),
        ({"messages": turns, "images": [one]}, None, None),
        (
            {"conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "Red"}], "images": [one]},
            None,
            None,
        ),
    ]
    (folder / "more.json").write_text(json.dumps([row for row, _, _ in faults]))  # escaped: half a character can be
    found = check(folder, tmp_path / "room")
    for index, (_, reason, place) in enumerate(faults):
        row = found["more.json", index]
        assert (row["reject_reason"], row["place"]) == (reason and f"import:{reason}", place), index
    assert all(row["status"] == "ok" for (file, _), row in found.items() if file != "more.json")
    assert found["more.json", 15]["images"] == found["more.json", 17]["images"] == [one]


def test_the_published_names_are_configs_and_splits(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "r", visits=4)
    (folder / "test-cls.json").rename(folder / "test_cls.json")
    found = check(folder, tmp_path / "room")
    sides = {(row["config"], row["split"]) for row in found.values()}
    assert sides == {("all", "train"), ("classification", "train"), ("classification", "test"), ("generation", "train")}
    assert found["test_cls.json", 0]["sample_id"] == "test-cls/0"


@pytest.mark.parametrize(
    ("label", "row", "side"),
    [
        ("vqa_test", {}, "test"),
        ("data/dev-1", {}, "validation"),
        ("latest", {}, "train"),
        ("train", {"split": "validation"}, "validation"),
        ("train", {"split": "hidden"}, "train"),
    ],
)
def test_split(label: str, row: dict[str, str], side: str) -> None:
    assert split_of(label, row) == side


def test_a_config_is_a_name_that_a_path_may_hold() -> None:
    assert config_of("../x y") == "x-y" and config_of("牙") == "data"


def spans(path: Path) -> list[Any]:
    found = []
    for first, count, start, stop in runs(str(path)):
        rows = read_run(str(path), start, stop)
        assert len(rows) == count and first == len(found)
        found += rows
    return found


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(_JSON, max_size=12), st.integers(1, 40), st.booleans(), st.sampled_from([None, 1, "\t"]), st.integers(1, 5))
def test_rows_are_the_rows_whatever_the_pieces(tmp_path_factory, rows, piece, ascii_only, indent, many) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=indent), encoding=random.choice(("utf-8", "utf-8-sig")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign_rows, "_PIECE", piece)
        patch.setattr(foreign_rows, "_RUN_ROWS", many)
        assert spans(path) == rows


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"a": "牙"}\r\n\n{"b": \n{"c": 1}'.encode())
    assert spans(path) == [{"a": "牙"}, None, {"c": 1}]


@pytest.mark.parametrize(
    ("content", "code", "before"),
    [
        (b'{"mllm": {}}', "not_a_list", 0),
        (b'[{"a": 1}, {"b": ', "not_json", 1),
        (b'[{"a": 1}, {"b": 2} {"c"', "not_json", 1),
        (b'[{"a": 1},, {"b": 2}]', "not_json", 1),
        (b'[{"a": 1}, \xff\xfe]', "not_utf8", 0),
        (b'[{"a": 1}, ' + b"9" * 5000 + b"]", "not_json", 1),
        (b"", "not_json", 0),
        (b"[" * 5000, "not_json", 0),
    ],
)
def test_a_file_that_ends_early_gives_what_stands_before(tmp_path: Path, content: bytes, code: str, before: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    found: list[int] = []
    with pytest.raises(NotRows, match=code):
        found.extend(count for _, count, _, _ in runs(str(path)))
    assert sum(found) == before


def test_a_folder_without_rows_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.json or \.jsonl"):
        list_folder(str(tmp_path))
    (tmp_path / "INCOMPLETE").write_text("")
    with pytest.raises(ValueError, match="did not finish"):
        list_folder(str(tmp_path))


def test_one_file_has_its_images_beside_it(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "r", visits=4)
    listing = list_folder(str(folder / "train-cls.json"))
    assert listing.rows == ("train-cls.json",) and len(listing.images) > 4


def test_peers_files_as_they_are(real_data: Path, tmp_path: Path) -> None:
    folder, table = real_data / "sharegpt-peer", "data/dataset_info.json"
    with pytest.raises(NotRows, match="not_a_list"):
        list(runs(str(folder / table)))
    found = check(folder, tmp_path / "room", without=(table,))
    assert len(found) == 30 and all(row["status"] == "ok" for row in found.values())
    names = {f"data/mllm_demo_data/{number}.jpg" for number in (1, 2, 3)}
    assert {path for row in found.values() for path in row["images"]} == names


def test_ids_count_within_a_file(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write(tmp_path / name, [sample(1, [], "Red"), sample(1, [], "Red")])
    found = check(tmp_path, tmp_path / "room")
    assert [row["reject_reason"] for row in found.values()] == [None, "import:duplicate_id"] * 2
