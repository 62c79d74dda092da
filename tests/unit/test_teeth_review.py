"""The queue of teeth: what waits for a person, and the answers that the next run takes up."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from clinic_records import record

from codelib.contracts import RECORDS
from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.teeth import TeethSettings, normalise_teeth
from codelib.data.teeth_review import ANSWERS_FILE, QUEUE_HEADER, answers_of_table, doubts, read_answers

TABLE = pa.Table.from_pylist(
    [
        record(visit_key="a", examination="六龄齿窝沟深，左下6、7松动", diagnosis="56残根"),
        record(visit_key="b", examination="36深龋"),
        record(visit_key="c", status="rejected", reject_reason="ingest:x", examination="六龄齿"),
    ],
    schema=RECORDS.schema,
)


def answered(private: Store, **answers: str) -> None:
    """The queue as a person fills it in: the answer for each written form."""
    out = io.StringIO()
    writer = csv.DictWriter(out, QUEUE_HEADER)
    writer.writeheader()
    for row in doubts(TABLE, {}):
        writer.writerow(row | {"answer": answers.get(row["written"], "")})
    private.commit(ANSWERS_FILE, out.getvalue().encode())


def test_what_waits() -> None:
    rows = list(doubts(TABLE, {}))
    assert [(r["visit_key"], r["field"], r["status"], r["written"], r["may_be"]) for r in rows] == [
        ("a", "examination", "ambiguous", "六龄齿", "16 26 36 46"),
        ("a", "diagnosis", "reject", "56", ""),
    ]
    assert "窝沟深" in rows[0]["context"]


def test_an_answer_changes_the_next_run_and_empties_the_queue(tmp_path) -> None:
    private = Store(str(tmp_path))
    answered(private, 六龄齿="16、46", **{"56": "none"})
    decisions = read_answers(private)
    out = normalise_teeth(TABLE, TeethSettings(), answers_of_table(TABLE, decisions)).to_pylist()
    assert out[0]["examination"] == "16、46窝沟深，36、37松动"
    assert [(t["field"], t["fdi"]) for t in out[0]["teeth"]] == [
        ("examination", ["16", "46"]),
        ("examination", ["36", "37"]),
    ]
    assert list(doubts(TABLE, decisions)) == []


def test_keep_leaves_it_and_asks_no_more(tmp_path) -> None:
    private = Store(str(tmp_path))
    answered(private, 六龄齿="keep")
    decisions = read_answers(private)
    assert [row["written"] for row in doubts(TABLE, decisions)] == ["56"]
    out = normalise_teeth(TABLE, answers=answers_of_table(TABLE, decisions)).to_pylist()
    assert out[0]["examination"].startswith("六龄齿")


def test_an_answer_to_a_text_that_changed_is_another_question(tmp_path) -> None:
    private = Store(str(tmp_path))
    answered(private, 六龄齿="16")
    changed = pa.Table.from_pylist([record(visit_key="a", examination="六龄齿已拔")], schema=RECORDS.schema)
    decisions = read_answers(private)
    assert [row["written"] for row in doubts(changed, decisions)] == ["六龄齿"]
    assert normalise_teeth(changed, answers=answers_of_table(changed, decisions)).to_pylist()[0]["examination"] == "六龄齿已拔"


@pytest.mark.parametrize(
    ("answer", "said"), [("19", "answer 19: give FDI numbers"), ("nine", "answer nine"), ("reigon", "did you mean region?")]
)
def test_a_wrong_answer_is_named_by_its_line(tmp_path, answer: str, said: str) -> None:
    private = Store(str(tmp_path))
    answered(private, 六龄齿=answer)
    with pytest.raises(InputError, match="line 2") as error:
        read_answers(private)
    assert said in str(error.value)


def test_a_file_without_its_columns_is_named(tmp_path) -> None:
    private = Store(str(tmp_path))
    private.commit(ANSWERS_FILE, b"question,answer\nx,16\n")
    with pytest.raises(InputError, match="no column visit_key"):
        read_answers(private)
    assert read_answers(Store(str(tmp_path / "empty"))) == {}
