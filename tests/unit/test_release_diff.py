"""Two releases compared: what came, went, changed and moved, by checkup and column; images and settings."""

import csv
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.core.cli import run_job
from codelib.data.release_diff import CAME, CHANGED, MOVED, WENT, compare
from jobs.release import main

COLUMNS = ("id", "checkup_id", "diagnosis", "split")


def release(folder, rows, images=None, settings=None):
    """rows: checkup_id -> (diagnosis, split); images: name -> bytes."""
    folder.mkdir(parents=True)
    with (folder / "complete-dataset.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows((n, checkup_id, *values) for n, (checkup_id, values) in enumerate(sorted(rows.items())))
    sums = {f"Images/Photographs/{name}": hashlib.sha256(content).hexdigest() for name, content in (images or {}).items()}
    (folder / "SHA256SUMS").write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))
    (folder / "manifest.json").write_text(json.dumps({"settings": settings or {}, "content": "x"}))
    return folder


def test_every_kind_of_change_is_told(tmp_path):
    old = {
        "0001-001": ("深龋\n近髓", "train"),
        "0002-001": ("缺失", "train"),
        "0003-001": ("牙周炎", "test"),
        "0004-001": ("龋", "excluded"),
    }
    new = old | {
        "0001-001": ("深龋", "train"),
        "0003-001": ("牙周炎", "train"),
        "0005-001": ("冠折", "train"),
        "0004-001": ("龋", "test"),
    }
    del new["0002-001"]
    pictures = {"0001-001-01.jpg": b"a", "0002-001-01.jpg": b"b"}
    older = release(tmp_path / "old", old, pictures, {"split": {"test_size": 1}})
    newer = release(tmp_path / "new", new, {"0001-001-01.jpg": b"x", "0005-001-01.jpg": b"c"}, {"split": {"test_size": 2}})
    found = compare(older, newer)
    assert found.checkups == [
        ("0001-001", CHANGED, ("diagnosis",)),
        ("0002-001", WENT, ()),
        ("0003-001", MOVED, ("split",)),
        ("0004-001", CHANGED, ("split",)),
        ("0005-001", CAME, ()),
    ]
    assert found.images == {CAME: 1, WENT: 1, CHANGED: 1}
    assert found.settings == [("settings.split.test_size", 1, 2)]
    assert "do not compare" in found.text()


ROWS = st.dictionaries(
    st.from_regex(r"[0-9]{4}-00[1-9]", fullmatch=True), st.tuples(st.text(max_size=5), st.sampled_from(["train", "test"]))
)


@given(ROWS, ROWS)
def test_counts_add_up_and_nothing_differs_from_itself(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("releases")
    clean = [{k: (v[0].replace("\r", "").replace("\0", ""), v[1]) for k, v in rows.items()} for rows in (one, other)]
    older, newer = release(folder / "a", clean[0]), release(folder / "b", clean[1])
    found = compare(older, newer)
    assert found.before - found.of(WENT) + found.of(CAME) == found.after
    assert {c for c, kind, _ in found.checkups if kind in (CHANGED, MOVED)} == {
        c for c in clean[0].keys() & clean[1].keys() if clean[0][c] != clean[1][c]
    }
    assert compare(older, older).checkups == []


def test_the_job_says_it_and_writes_the_list(tmp_path, capsys):
    older, newer = release(tmp_path / "old", {"0001-001": ("a", "train")}), release(tmp_path / "new", {})
    assert run_job(main, ["--diff", str(older), str(newer), "--csv", str(tmp_path / "c.csv")]) == 0
    assert "1 before, 0 now: 0 came, 1 went" in capsys.readouterr().out
    assert (tmp_path / "c.csv").read_text() == "checkup_id,change,columns\n0001-001,went,\n"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "complete-dataset.csv").unlink(), "holds no complete-dataset.csv"),
        (lambda folder: (folder / "complete-dataset.csv").write_text("a,b\n"), "no column checkup_id"),
        (lambda folder: (folder / "INCOMPLETE").touch(), "did not finish"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not JSON"),
    ],
)
def test_what_is_no_release_is_one_sentence(tmp_path, spoil, words, capsys):
    older, newer = release(tmp_path / "old", {}), release(tmp_path / "new", {})
    spoil(newer)
    assert run_job(main, ["--diff", str(older), str(newer)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--zip", "x.zip"], ["--upload", "a/b"], ["--num-cpus", "2"]])
def test_options_of_verify_do_not_belong_here(tmp_path, options, capsys):
    assert run_job(main, ["--diff", str(tmp_path), str(tmp_path), *options]) == 2
    assert "belongs to --verify" in capsys.readouterr().err
