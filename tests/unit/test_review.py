"""A blinded review from the report to the verdict: sheets that betray nothing, sheets that come back in any shape, figures known by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.core.cli import run_job
from codelib.core.store import Store, Workspace
from codelib.evaluate.own_set import read_own_set
from codelib.evaluate.review_read import Filled, read_filled, rows_of
from codelib.evaluate.review_score import agreement, cohen, fleiss
from codelib.evaluate.review_sheet import CRITERIA, plain
from codelib.evaluate.withdrawn import withdraw
from jobs.review import main
from tests.review_room import HOSTILE, key_of, make_room


@pytest.fixture
def room(tmp_path: Path) -> tuple[Path, Path]:
    return make_room(tmp_path)


def make(room: tuple[Path, Path], *more: str) -> Path:
    dataset, workspace = room
    assert main(["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "4", *more]) == 0
    return workspace / "evaluate" / "review" / "first"


def fill(folder: Path, reviewer: int, judge, name: str | None = None) -> Path:
    """Fill a blank sheet in: judge(case, whose report) -> (ratings, best, comment); best is a name, "tie" or ""."""
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader(io.StringIO((folder / f"sheets/reviewer-{reviewer}.csv").read_text("utf-8-sig"), newline="")))
    for row in rows:
        order = key["sheets"][row["sheet"]]["order"][row["case"]]
        ratings, best, comment = judge(int(row["case"]), order[row["report"]])
        letters = {whose: letter for letter, whose in order.items()} | {"tie": "tie", "": ""}
        row |= dict(zip(CRITERIA, ratings, strict=True)) | {"best": letters[best], "comment": comment}
    (folder / "filled").mkdir(exist_ok=True)
    path = folder / "filled" / (name or f"back-{reviewer}.csv")
    with path.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def likes_the_model(case: int, whose: str):
    return ((5, 4, 5), "tuned", "") if whose == "tuned" else ((3, 4, 5), "tuned", "")


# the sheets


def test_a_sheet_betrays_neither_sample_nor_writer(room: tuple[Path, Path]) -> None:
    folder = make(room)
    for path in (folder / "sheets").iterdir():
        text = path.read_text("utf-8")
        shown = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", text)
        assert not re.search(r"test-diagnostic|\d{4}-\d{3}|\btuned\b|Images/|reference", shown), path.name
        assert text.count("Diagnosis: pulpitis") == 4
        assert "key.json" not in text
    html = (folder / "sheets/reviewer-1.html").read_text("utf-8")
    assert html.count('<img src="data:image/jpeg;base64,') == 4
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|<link|<iframe| on\w+=", html)


def test_each_case_and_reviewer_has_an_order_of_its_own(room: tuple[Path, Path]) -> None:
    dataset, workspace = room
    orders = set()
    for attempt in range(6):
        name = f"try-{attempt}"
        main(["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "6", "--name", name])
        sheets = key_of(workspace, name)["sheets"].values()
        orders |= {tuple(order["A"] for order in sheet["order"].values()) for sheet in sheets}
    assert len(orders) > 6  # 12 sheets of the same cases and the same seed: nothing but the secret of each review sets them apart
    assert {first for order in orders for first in order} == {"reference", "tuned"}
    cases = [[case["sample_id"] for case in key_of(workspace, f"try-{n}")["cases"].values()] for n in range(6)]
    assert all(drawn == cases[0] for drawn in cases)  # the seed alone draws them
    assert len({name.rpartition("-")[0] for name in cases[0]}) == 6  # each patient once before any twice


def test_what_a_model_wrote_is_text_and_no_formula(tmp_path: Path) -> None:
    dataset, workspace = make_room(tmp_path, num_patients=1)
    folder = make((dataset, workspace), "-n", "2")
    html = (folder / "sheets/reviewer-1.html").read_text("utf-8")
    assert "<script>document" not in html
    assert "&lt;script&gt;document" in html
    rows = list(csv.DictReader(io.StringIO((folder / "sheets/reviewer-1.csv").read_text("utf-8-sig"), newline="")))
    (cell,) = {row["text"] for row in rows if "cmd()" in row["text"]}
    assert cell == f"'{HOSTILE}"


def test_line_ends_and_blanks_do_not_tell_the_writer() -> None:
    assert plain("Diagnosis:  caries\r\n\r\n\r\n\r\n\tPlan \u3000x ") == "Diagnosis: caries\n\nPlan x"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-n", "0"], "-n 0: at least 1"),
        (["-n", "99"], "12 samples of this dataset were answered by all of tuned"),
        (["--variant", "tuend"], "did you mean tuned"),
        (["--variant", "tuned", "--variant", "tuned"], "given twice"),
        (["--reviewers", "0"], "--reviewers 0: at least 1"),
        (["--name", "../x"], "letters, digits"),
    ],
)
def test_a_wrong_option_is_named(
    room: tuple[Path, Path], more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, workspace = room
    assert run_job(main, ["make", "--workspace", str(workspace), "--dataset", str(dataset), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (workspace / "evaluate/review/first/key.json").exists()


def test_several_variants_are_named_and_a_refused_one_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, workspace = make_room(tmp_path, variants=("tuned", "base", "broken"))
    report = workspace / "evaluate/report/report.json"
    report.write_text(report.read_text().replace('"broken", "status": "complete"', '"broken", "status": "refused"'))
    given = ["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "4"]
    assert run_job(main, given) == 2
    assert "--variant is missing: the run has several that wrote reports: tuned, base\n" in capsys.readouterr().err
    assert run_job(main, [*given, "--variant", "broken"]) == 2
    assert main([*given, "--variant", "base", "--variant", "tuned"]) == 0
    (sheet, *_) = key_of(workspace)["sheets"].values()
    assert all(set(order) == {"A", "B", "C"} for order in sheet["order"].values())


def test_another_dataset_and_a_workspace_without_report_are_refused(
    room: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, workspace = room
    test = dataset / "test-diagnostic.json"
    test.write_text(test.read_text("utf-8").replace("pulpitis", "periodontitis"), encoding="utf-8")
    assert run_job(main, ["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "2"]) == 2
    assert "its references are not those of the report" in capsys.readouterr().err
    assert run_job(main, ["make", "--workspace", str(workspace / "other"), "--dataset", str(dataset)]) == 2
    assert "there is no report to review" in capsys.readouterr().err


def test_a_report_that_was_written_half_is_not_reviewed(room: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    dataset, workspace = room
    (workspace / "evaluate/report/report.json").unlink()
    assert run_job(main, ["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "2"]) == 2
    assert "writing the report was interrupted" in capsys.readouterr().err


def test_the_key_is_its_owners_alone_also_after_a_withdrawal(room: tuple[Path, Path]) -> None:
    key = make(room) / "key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = next(iter(json.loads(key.read_text("utf-8"))["cases"].values()))["checkups"]
    withdraw(Workspace.at(str(room[1])), frozenset(shown))
    assert json.loads(key.read_text("utf-8"))["withdrawn"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_file_of_ones_own_can_be_reviewed(room: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    dataset, workspace = room
    file = (dataset / "test-diagnostic.json").rename(dataset / "mine.json")
    ids = [sample.sample_id for sample in read_own_set(file, None, "generation").tests.samples["generation"]]
    report = workspace / "evaluate/report/predictions.csv"
    rows = list(csv.DictReader(report.open(newline="", encoding="utf-8")))
    with report.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows({**row, "sample_id": name} for row, name in zip(rows, ids, strict=True))
    given = ["make", "--workspace", str(workspace), "-n", "3"]
    assert run_job(main, given) == 2
    assert run_job(main, [*given, "--dataset", str(dataset), "--test", str(file)]) == 2
    assert "one of them" in capsys.readouterr().err
    assert main([*given, "--test", str(file)]) == 0
    assert {case["sample_id"] for case in key_of(workspace)["cases"].values()} <= set(ids)
    assert (workspace / "evaluate/review/first/sheets/reviewer-1.html").read_text("utf-8").count("<img src=") == 3


def test_a_review_that_is_there_is_not_overwritten_and_a_killed_one_is(room: tuple[Path, Path]) -> None:
    folder = make(room)
    before = (folder / "key.json").read_bytes()
    with pytest.raises(ValueError, match="is there already, and reviewers may hold its sheets"):
        make(room)
    assert (folder / "key.json").read_bytes() == before
    (folder / "key.json").unlink()  # killed before the key was written
    (folder / "sheets" / "reviewer-9.html").write_text("left behind")
    make(room)
    assert sorted(path.name for path in (folder / "sheets").iterdir()) == [
        f"reviewer-{n}.{end}" for n in (1, 2) for end in ("csv", "html")
    ]


# what comes back


def test_the_verdict_is_the_one_that_was_given(room: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(room)
    fill(folder, 1, likes_the_model)
    fill(folder, 2, lambda case, whose: ((4, 4, 5), "tie" if case == 1 else "tuned", "good" if case == 2 else ""))
    assert main(["score", str(folder)]) == 0
    told = capsys.readouterr().out
    result = json.loads((folder / "review.json").read_text(encoding="utf-8"))
    shares = {row["name"]: row["share"] for row in result["preference"]}
    assert shares == {"reference": 0.0, "tuned": 7 / 8, "tie": 1 / 8, "tuned, at least as good as the reference": 1.0}
    assert all(row["n"] == 8 and row["ci"][0] - 1e-9 <= row["share"] <= row["ci"][1] + 1e-9 for row in result["preference"])
    means = {(row["name"], row["criterion"]): row["value"] for row in result["ratings"]}
    assert means["tuned", "accuracy"] == 4.5
    assert means["reference", "accuracy"] == 3.5
    (accuracy, *_) = result["differences"]
    assert (accuracy["name"], accuracy["criterion"], accuracy["value"], accuracy["n"]) == ("tuned", "accuracy", 1.0, 8)
    assert [row["num_complete"] for row in result["reviewers"]] == [4, 4]
    assert [comment["case"] for comment in result["comments"]] == [2]
    assert "87.5 %" in told
    rows = list(csv.DictReader((folder / "review.csv").open(newline="")))
    assert {row["kind"] for row in rows} == {"preference", "ratings", "differences", "agreement"}
    again = (folder / "review.json").read_bytes()
    main(["score", str(folder)])
    assert (folder / "review.json").read_bytes() == again


def test_a_sheet_may_come_from_any_spreadsheet_program(room: tuple[Path, Path]) -> None:
    folder = make(room)
    path = fill(folder, 1, likes_the_model)
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    rows[0] = [name.upper() for name in rows[0]]
    place = rows[0].index("ACCURACY")
    for row in rows[1:]:
        row[place] = {"5": "５", "3": "3.0"}[row[place]]  # an input method's digit; a number column
    rows.append([""] * len(rows[0]))
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=";").writerows(rows)
    path.write_bytes(out.getvalue().encode("gb18030"))  # Excel in Chinese
    main(["score", str(folder)])
    result = json.loads((folder / "review.json").read_text(encoding="utf-8"))
    means = {(row["name"], row["criterion"]): row["value"] for row in result["ratings"]}
    assert (means["tuned", "accuracy"], means["reference", "accuracy"]) == (5, 3)


def test_every_bad_cell_is_named_at_once_and_nothing_is_written(
    room: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(room)
    path = fill(folder, 1, likes_the_model)
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    column = rows[0].index
    rows[2][column("accuracy")] = "6"
    rows[3][column("safety")] = "what the patient told me about it"
    rows[4][column("best")] = "C"
    rows[5][column("case")] = "17"
    rows[6][column("sheet")] = "0000"
    rows[8] = rows[7]
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    (folder / "filled" / "copy.csv").write_bytes(path.read_bytes())
    (folder / "filled" / "notes.csv").write_text("hello\n")
    (folder / "filled" / "sheet.csv").write_bytes(b"PK\x03\x04\xff\xff\xff\x00")
    assert run_job(main, ["score", str(folder)]) == 2
    told = capsys.readouterr().err
    for words in (
        "back-1.csv, row 3, column accuracy: '6' is not a whole number from 1 to 5",
        "back-1.csv, row 4, column safety: a text of 33 characters is not a whole number",
        "back-1.csv, row 5, column best: 'C' is not one of A, B or tie",
        "back-1.csv, row 6, column case: '17' is not a case of this review (1 to 4)",
        "back-1.csv, row 7, column sheet: '0000' is not a sheet of this review",
        "back-1.csv, row 9: case 4, report A stands in row 8 already",
        "filled/copy.csv and filled/back-1.csv are both of reviewer 1: keep one of them",
        "notes.csv, row 1: no column sheet, case, report",
        "sheet.csv: is no text",
    ):
        assert words in told, told
    assert "patient told" not in told
    assert not (folder / "review.json").exists()


def test_two_answers_to_which_is_best_are_one_fault(room: tuple[Path, Path]) -> None:
    folder = make(room)
    fill(folder, 1, lambda case, whose: ((1, 1, 1), whose, ""))
    with pytest.raises(ValueError, match=r"back-1.csv, rows 2 and 3, column best: one answer a case, found A and B"):
        main(["score", str(folder)])


def test_what_was_left_open_is_counted_and_no_reviewer_is_needed_twice(room: tuple[Path, Path]) -> None:
    folder = make(room)
    fill(folder, 2, lambda case, whose: ((5, "", "-"), "tuned", "") if case < 3 else (("", "", ""), "", ""))
    main(["score", str(folder)])
    result = json.loads((folder / "review.json").read_text(encoding="utf-8"))
    assert result["reviewers"] == [
        {"reviewer": 1, "num_complete": 0, "num_open": 4},
        {"reviewer": 2, "num_complete": 0, "num_open": 4},
    ]
    assert [row["n"] for row in result["preference"]] == [2] * 4
    assert {row["criterion"] for row in result["ratings"]} == {"accuracy"}
    assert {row["kappa"] for row in result["agreement"]} == {None}


def test_a_folder_that_is_no_review_is_told(tmp_path: Path, room: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="a review lies in WORKSPACE/evaluate/review/NAME"):
        main(["score", str(tmp_path)])
    folder = make(room)
    with pytest.raises(ValueError, match=r"no \.csv file there"):
        main(["score", str(folder)])
    with pytest.raises(ValueError, match=r"no key\.json there"):
        main(["score", str(folder.with_name("second"))])


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    try:
        rows = rows_of(content)
    except ValueError:
        return
    assert all(isinstance(cell, str) for row in rows for cell in row)


CELLS = st.sampled_from(
    ("", "-", "1", "5", "６", "0", "3.0", "A", "b", "tie", "平", "C", "01", "1e0", "²", "=1+1", "x" * 40, "\x00", "a\nb")
)


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("ABCab"), *[CELLS] * 4), max_size=6))
def test_whatever_stands_in_a_sheet_is_named_or_is_a_rating(lines: list[tuple]) -> None:
    key = {
        "withdrawn": [5],
        "sheets": {"t": {"reviewer": 1, "order": {str(n): {"A": "reference", "B": "tuned"} for n in range(1, 4)}}},
    }
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["sheet", "case", "report", *CRITERIA, "best"])
    writer.writerows(["t", *line] for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.commit("filled/a.csv", out.getvalue().encode())
        filled, told = Filled(), ""
        try:
            filled = read_filled(store, key)
        except ValueError as error:
            told = str(error)
    if told:
        assert re.search(r"a\.csv, rows? \d", told)
        return
    assert all(value in (None, 1, 2, 3, 4, 5) for j in filled.judgements for value in j.ratings.values())
    assert all(choice.name in ("reference", "tuned", "tie") and choice.case < 4 for choice in filled.choices)
    assert len(filled.judgements) == sum(line[0] < 5 for line in lines)
    assert bool(filled.late) == any(line[0] == 5 for line in lines)


# agreement


def test_kappas_are_those_of_the_books() -> None:
    # Fleiss 1971's table of 10 subjects, 14 raters, as worked through in Wikipedia ("Fleiss' kappa"): 0.210
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    items = [[kind for kind, count in enumerate(row) for _ in range(count)] for row in counts]
    assert fleiss(items) == pytest.approx(0.210, abs=0.0005)
    # Cohen's 50 proposals ("Cohen's kappa", Wikipedia): 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no -> 0.40
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    a, b = zip(*pairs, strict=True)
    assert cohen(a, b, None) == pytest.approx(0.40)
    assert agreement({1: dict(enumerate(a)), 2: dict(enumerate(b))}, ordinal=False)["kappa"] == pytest.approx(0.40)
    assert cohen(["x"] * 4, ["x"] * 4, None) is None
    assert fleiss([["x"] * 3] * 4) is None
    three = {n: {case: (case + n * (case == 2)) % 5 + 1 for case in range(8)} for n in range(3)}
    found = agreement(three, ordinal=True)
    assert found["method"] == "Cohen, quadratic weights, mean over pairs of reviewers"
    assert 0.5 < found["kappa"] < 1
    assert agreement({1: {1: "a"}}, ordinal=False)["kappa"] is None


# withdrawal


def test_who_withdraws_leaves_a_review_and_the_others_stay(room: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(room)
    fill(folder, 1, likes_the_model)
    fill(folder, 2, likes_the_model)
    main(["score", str(folder)])
    gone = key_of(room[1])["cases"]["2"]
    late = (folder / "filled" / "back-2.csv").read_bytes()
    text = next(m for m in json.loads((room[0] / "test-diagnostic.json").read_text("utf-8")) if m["id"] == gone["checkups"][0])
    told, whole = withdraw(Workspace.at(str(room[1])), frozenset(gone["checkups"]))
    assert whole
    assert "evaluate/review/first: 1 cases about them (2) and the forms were removed; ask the 2 reviewers" in " ".join(told)
    traces = [gone["sample_id"], gone["checkups"][0], text["messages"][1]["content"].splitlines()[0]]
    for path in (p for p in (room[1] / "evaluate" / "review").rglob("*") if p.is_file()):
        for trace in traces:
            assert trace not in path.read_text("utf-8"), (path.name, trace)
    assert not (folder / "sheets").exists()
    (folder / "filled" / "back-2.csv").write_bytes(late)  # the sheet comes back again, with the case of the one who withdrew
    capsys.readouterr()
    assert main(["score", str(folder)]) == 0
    assert "1 cases were taken out: their patients withdrew" in capsys.readouterr().out
    result = json.loads((folder / "review.json").read_text(encoding="utf-8"))
    assert [row["n"] for row in result["preference"]] == [6] * 4
    assert traces[2] not in (folder / "filled" / "back-2.csv").read_text("utf-8")
    assert withdraw(Workspace.at(str(room[1])), frozenset(gone["checkups"]))[0] == []


def test_a_review_without_a_key_and_a_stray_file_go_whole(room: tuple[Path, Path]) -> None:
    folder = make(room)
    shutil.copytree(folder, folder.with_name("second"))
    (folder.with_name("second") / "key.json").write_text("{")
    (folder.parent / "loose.csv").write_text("x")
    (folder / "copy-of-sheet.html").write_text("x")
    (folder / "filled").mkdir()
    (folder / "filled" / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    checkups = frozenset(key_of(room[1])["cases"]["1"]["checkups"])
    withdraw(Workspace.at(str(room[1])), checkups)
    left = Store(str(folder.parent)).names("")
    assert left == ["first/key.json"]
    assert withdraw(Workspace.at(str(room[1])), frozenset({"9999-001"}))[0] == []


def test_what_a_killed_report_left_half_written_goes_whomever_it_shows(room: tuple[Path, Path]) -> None:
    left = room[1] / "evaluate" / "report" / ".tmp-report.html-0123abcd"
    left.write_text("a page with somebody's pictures")
    assert withdraw(Workspace.at(str(room[1])), frozenset({"9999-001"})) == ([], True)
    assert not left.exists()
