"""The privacy queue and a person's answers: from the question to what the next run does with it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import TEXT, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import privacy_review
from codelib.data.deidentify import REFUSED, RESIDUAL, DeidentifySettings, deidentify, review_queue
from codelib.data.privacy_review import ANSWERS_FILE, QUEUE_FILE, Review, answers_of, read_answers, write_queue
from codelib.data.stages import codes_table
from codelib.data.vault import Keyed

KEYED = Keyed(b"k" * 32)
DOUBT = "家属王磊磅礴，牙痛"


def row(key: str = "v1", **values: Any) -> dict[str, Any]:
    base = {"visit_key": key, "patient": "p", "checkup_time": "2022-03-05 09:30", "age": 35, "gender": "male"}
    return (
        base | dict.fromkeys(TEXT_FIELDS, "") | {"identifiers": [], "teeth": [], "status": "ok", "reject_reason": None} | values
    )


class Room:
    """A private room with one partition of `text`, and the run's three steps on it."""

    def __init__(self, folder: Any, *rows: dict[str, Any]) -> None:
        self.private = Store(str(folder))
        self.table = pa.Table.from_pylist(list(rows), schema=TEXT.schema)
        self.private.commit_table("stages/text/k.parquet", self.table)
        self.part = Part("k", "text", self.private.root, len(rows), {"ok": len(rows)})
        self.codes = codes_table([[r["visit_key"], f"{n:04d}-001", f"{n:04d}", 40] for n, r in enumerate(rows)])

    def run(self) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Released rows, and the lines of the queue."""
        review = Review(KEYED, answers_of(self.part, read_answers(self.private), self.private))
        write_queue(review_queue(self.table, self.codes, DeidentifySettings(), review), self.private)
        queue = list(csv.DictReader(io.StringIO(self.private.read(QUEUE_FILE).decode())))
        return deidentify(self.table, self.codes, DeidentifySettings(), review).to_pylist(), queue

    def answer(self, queue: list[dict[str, str]], **values: str) -> None:
        out = io.StringIO()
        writer = csv.DictWriter(out, privacy_review.QUEUE_HEADER)
        writer.writeheader()
        writer.writerows({**line, **values} for line in queue)
        self.private.commit(ANSWERS_FILE, out.getvalue().encode())


def test_a_doubt_is_asked_with_its_place_marked(tmp_path):
    out, queue = Room(tmp_path, row(remarks=DOUBT), row("v2", remarks="随诊")).run()
    assert [r["reject_reason"] for r in out] == [RESIDUAL, None]
    assert [(q["visit_key"], q["field"], q["class"]) for q in queue] == [("v1", "remarks", "NAME")]
    assert "【王磊】" in queue[0]["marked"]


@pytest.mark.parametrize(
    ("answer", "words", "remarks", "reason"),
    [
        ("keep", "", DOUBT, None),
        ("identifier", "", "家属[NAME]磅礴，牙痛", None),
        ("identifier", "王磊磅礴", "家属[NAME]，牙痛", None),
        ("reject", "", "", REFUSED),
    ],
)
def test_the_next_run_takes_the_answer_up(tmp_path, answer, words, remarks, reason):
    room = Room(tmp_path, row(remarks=DOUBT))
    room.answer(room.run()[1], answer=answer, words=words)
    out, queue = room.run()
    assert (out[0]["remarks"], out[0]["reject_reason"], queue) == (remarks, reason, [])


def test_a_name_that_a_person_marked_goes_from_the_other_fields_too(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT, management="王磊磅礴改约"))
    _, queue = room.run()
    room.answer([q for q in queue if q["field"] == "remarks"], answer="identifier", words="王磊磅礴")
    out, _ = room.run()
    assert "王磊" not in out[0]["management"]


@pytest.mark.parametrize(
    "other",
    [row("v1", remarks=DOUBT + "。"), row("v1", management=DOUBT), row("v2", remarks=DOUBT)],
    ids=["another text", "another field", "another visit"],
)
def test_an_answer_holds_for_its_own_text_only(tmp_path, other):
    room = Room(tmp_path / "a", row(remarks=DOUBT))
    room.answer(room.run()[1], answer="keep")
    changed = Room(tmp_path / "b", other)
    changed.private.commit(ANSWERS_FILE, room.private.read(ANSWERS_FILE))
    out, queue = changed.run()
    assert out[0]["reject_reason"] == RESIDUAL
    assert len(queue) == 1


def test_two_doubts_need_two_answers(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT, management="家属张力磅礴，随诊"))
    _, queue = room.run()
    assert len(queue) == 2
    room.answer(queue[:1], answer="keep")
    out, left = room.run()
    assert out[0]["reject_reason"] == RESIDUAL
    assert [q["question_key"] for q in left] == [queue[1]["question_key"]]


def test_a_name_column_that_cannot_be_read_is_asked_about(tmp_path):
    own = [{"kind": "name", "value": "周岩之友小明好"}]
    room = Room(tmp_path, row(remarks="随诊", identifiers=own))
    out, queue = room.run()
    assert [q["class"] for q in queue] == ["NAME_COLUMN"] and out[0]["reject_reason"] == RESIDUAL
    room.answer(queue, answer="keep")
    assert room.run()[0][0]["status"] == "ok"
    room.answer(queue, answer="identifier")  # nowhere to put a placeholder
    assert room.run()[0][0]["reject_reason"] == REFUSED


def test_workers_are_handed_places_and_no_words(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT))
    room.answer(room.run()[1], answer="identifier", words="王磊磅礴")
    handed = answers_of(room.part, read_answers(room.private), room.private)
    assert "王" not in str(handed) and "[[2, 6]]" in str(handed)


def test_partitions_without_an_answer_are_handed_none(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT))
    assert answers_of(room.part, read_answers(room.private), room.private) == {}
    room.private.commit(ANSWERS_FILE, b"question_key,visit_key,answer\nq,elsewhere,keep\n")
    written = read_answers(room.private)
    assert answers_of(room.part, written, room.private) == {}
    assert privacy_review.unmatched(written, [room.part]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("question_key,answer\nq,keep\n", "no column visit_key"),
        ("", "no column question_key, visit_key, answer"),
        ("question_key,visit_key,answer\nq,v,kep\n", "line 2: this answer is none: did you mean keep?"),
        ("question_key,visit_key,answer\nq,,keep\n", "line 2: question_key or visit_key is missing"),
        ("question_key,visit_key,answer\nq,v,keep\nq,v,reject\n", "line 3: this question has two different answers"),
        ("question_key,visit_key,field,answer,words\nq,v,remarks,,王磊\n", "line 2: words without an answer"),
        ("question_key,visit_key,field,answer,words\nq,v,remarks,keep,王磊\n", "line 2: words belong to the answer identifier"),
    ],
)
def test_what_cannot_be_read_is_named_without_its_value(tmp_path, text, words):
    store = Store(str(tmp_path))
    store.commit(ANSWERS_FILE, text.encode())
    with pytest.raises(InputError, match=r"privacy-answers\.csv") as error:
        read_answers(store)
    assert words in str(error.value)
    assert "王" not in str(error.value)


def test_words_that_do_not_stand_in_the_field_are_an_error_that_names_the_line(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT))
    room.answer(room.run()[1], answer="identifier", words="李四")
    with pytest.raises(InputError, match="line 2: the words do not stand in remarks") as error:
        room.run()
    assert "李四" not in str(error.value)


@given(
    st.lists(
        st.sampled_from(["患者张伟，", "家属王磊磅礴，", "电话13812345678", "牙痛", "2021年约5月", "（李娜）", "随诊。"]),
        max_size=8,
    )
)
@settings(max_examples=40, deadline=None)
def test_answering_identifier_everywhere_leaves_nothing_open(pieces):
    """Every question's place is a place in the text as written, whatever was replaced before it."""
    text = "".join(pieces)
    table = pa.Table.from_pylist([row(remarks=text)], schema=TEXT.schema)
    codes = codes_table([["v1", "0001-001", "0001", 40]])
    answers: dict[str, Any] = {}
    for _ in range(4):
        queue = list(review_queue(table, codes, DeidentifySettings(), Review(KEYED, {"v1": answers})))
        if not queue:
            break
        answers |= {q["question_key"]: ("identifier", []) for q in queue}
    assert queue == []
    out = deidentify(table, codes, DeidentifySettings(), Review(KEYED, {"v1": answers})).to_pylist()[0]
    assert out["status"] == "ok"
    assert "王磊" not in out["remarks"] and "张伟" not in out["remarks"]
