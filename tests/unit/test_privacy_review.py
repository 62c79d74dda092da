"""The privacy queue and a person's answers: from the question to what the next run does with it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import RECORDS, TEXT, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import privacy_review
from codelib.data.deidentify import REFUSED, RESIDUAL, DeidentifySettings, deidentify, look_again, review_queue
from codelib.data.privacy_answers import (
    NO_CELL,
    NO_CELL_WORDS,
    NO_VISIT,
    NO_WORDS,
    Original,
    Stale,
    answers_of,
    note,
    read_answers,
)
from codelib.data.privacy_review import ANSWERS_FILE, QUEUE_FILE, Review, write_queue
from codelib.data.stages import codes_table
from codelib.data.teeth import normalise_teeth
from codelib.data.vault import Keyed

KEYED = Keyed(b"k" * 32)
DOUBT = "家属王磊磅礴，牙痛"


def row(key: str = "v1", **values: Any) -> dict[str, Any]:
    base = {"visit_key": key, "patient": "p", "checkup_time": "2022-03-05 09:30", "age": 35, "gender": "male"}
    return (
        base | dict.fromkeys(TEXT_FIELDS, "") | {"identifiers": [], "teeth": [], "status": "ok", "reject_reason": None} | values
    )


class Room:
    """A private room with one partition of `text`, and the run's three steps on it. Its questions are the rules': the tagger would ask more."""

    settings = DeidentifySettings(name_tagger=False)

    def __init__(self, folder: Any, *rows: dict[str, Any]) -> None:
        self.private = Store(str(folder))
        self.table = pa.Table.from_pylist(list(rows), schema=TEXT.schema)
        self.private.commit_table("stages/text/k.parquet", self.table)
        self.part = Part("k", "text", self.private.root, len(rows), {"ok": len(rows)})
        self.original: Original | None = None
        self.codes = codes_table([[r["visit_key"], f"{n:04d}-001", f"{n:04d}", 40] for n, r in enumerate(rows)])

    def run(self) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Released rows, and the lines of the queue; ``self.stale``: (line, why) of the answers that fit nothing."""
        written = read_answers(self.private)
        given = answers_of(self.part, written, KEYED, self.original)
        review, stale = Review(KEYED, given.visits, given.cells), Stale(written)
        asked = list(look_again(self.table, self.codes, self.settings, review))
        stale.look(given, {one.visit_key: one.met for one in asked if one.visit_key in given.visits})
        self.stale = stale.all()
        write_queue((question for one in asked for question in one.questions), self.private)
        queue = list(csv.DictReader(io.StringIO(self.private.read(QUEUE_FILE).decode())))
        return deidentify(self.table, self.codes, self.settings, review).to_pylist(), queue

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


CELL = "晨曦阿星小明"  # no surname, no dot, longer than a name: nobody knows what to remove


def staff(value: str, *texts: str) -> list[dict[str, Any]]:
    return [row(f"v{n}", remarks=text, identifiers=[{"kind": "staff", "value": value}]) for n, text in enumerate(texts)]


def test_a_staff_cell_that_cannot_be_read_is_one_question_for_all_its_visits(tmp_path):
    out, queue = Room(tmp_path, *staff(CELL, "随诊", "复查", "牙痛")).run()
    assert [r["reject_reason"] for r in out] == [RESIDUAL] * 3
    ((question),) = queue
    assert (question["class"], question["visit_key"], question["checkup_id"], question["visits"]) == ("NAME_COLUMN", "", "", "3")
    assert question["marked"] == f"【{CELL}】"


@pytest.mark.parametrize(
    ("answer", "words", "first", "reason"),
    [
        ("keep", "", "备：嘟嘟嗒嗒", None),
        ("identifier", "嘟嘟嗒嗒", "备：[NAME]", None),
        ("identifier", "", "备：嘟嘟嗒嗒", None),  # all of the cell is the name, and does not stand there
        ("reject", "", "", REFUSED),
    ],
)
def test_its_answer_counts_in_all_of_them(tmp_path, answer, words, first, reason):
    room = Room(tmp_path, *staff(CELL.replace("晨曦阿星", "嘟嘟嗒嗒"), "备：嘟嘟嗒嗒", "复查", "牙痛"))
    room.answer(room.run()[1], answer=answer, words=words)
    out, queue = room.run()
    assert [r["reject_reason"] for r in out] == [reason] * 3
    assert (out[0]["remarks"], queue, room.stale) == (first, [], [])


def test_the_names_of_a_cell_are_looked_for_in_their_variants(tmp_path):
    room = Room(tmp_path, *staff(CELL + "周岩", "Chenxi Axing 会诊，周 岩配合，周医生复查"))
    room.answer(room.run()[1], answer="identifier", words="晨曦阿星、周岩")
    assert room.run()[0][0]["remarks"] == "[NAME] 会诊，[NAME]配合，[NAME]医生复查"


def test_the_answer_about_a_cell_survives_other_changes(tmp_path):
    room = Room(tmp_path / "a", *staff(CELL, "随诊"))
    room.answer(room.run()[1], answer="keep")
    changed = staff(CELL, "随诊，右下牙痛", "新来的")
    changed[0]["identifiers"].append({"kind": "staff", "value": "何静"})
    changed[1] |= {"identifiers": [{"kind": "name", "value": CELL}]}
    later = Room(tmp_path / "b", *changed)
    later.private.commit(ANSWERS_FILE, room.private.read(ANSWERS_FILE))
    out, queue = later.run()
    assert [r["status"] for r in out] == ["ok", "ok"]
    assert (queue, later.stale) == ([], [])


def test_another_cell_is_another_question(tmp_path):
    room = Room(tmp_path, *staff(CELL, "随诊"), row("w", identifiers=[{"kind": "staff", "value": CELL + "二"}]))
    _, queue = room.run()
    assert len(queue) == 2
    room.answer(queue[:1], answer="keep")
    assert len(room.run()[1]) == 1


@pytest.mark.parametrize(("words", "said"), [("李四", NO_CELL_WORDS), ("晨曦阿星、李四", NO_CELL_WORDS)])
def test_words_that_the_cell_does_not_hold_are_told_and_the_cell_is_asked_about_again(tmp_path, words, said):
    room = Room(tmp_path, *staff(CELL, "随诊"))
    room.answer(room.run()[1], answer="identifier", words=words)
    out, queue = room.run()
    assert (out[0]["reject_reason"], len(queue), room.stale) == (RESIDUAL, 1, [(2, said)])


def test_workers_are_handed_places_and_no_words(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT), *staff(CELL, "随诊"))
    room.answer([q for q in room.run()[1] if not q["visit_key"]], answer="identifier", words="晨曦阿星")
    cells = room.private.read(ANSWERS_FILE)
    room.answer([q for q in room.run()[1] if q["visit_key"]], answer="identifier", words="王磊磅礴")
    room.private.commit(ANSWERS_FILE, cells + room.private.read(ANSWERS_FILE).split(b"\n", 1)[1])
    handed = answers_of(room.part, read_answers(room.private), KEYED)
    assert handed.visits and handed.cells
    assert "王" not in str(handed) and "晨" not in str(handed) and "['remarks', 2, 6]" in str(handed)


def test_partitions_without_an_answer_are_handed_none(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT))
    assert not answers_of(room.part, read_answers(room.private), KEYED)
    room.private.commit(ANSWERS_FILE, b"question_key,visit_key,answer\nq,elsewhere,keep\ncell-0,,keep\n")
    assert not answers_of(room.part, read_answers(room.private), KEYED)
    room.run()
    assert room.stale == [(2, NO_VISIT), (3, NO_CELL)]


# answers whose question is asked no more


def corrected(tmp_path, *rows: dict[str, Any], **answer: str) -> Room:
    """The export after ``row(remarks=DOUBT)`` was asked about, answered, and then became ``rows``."""
    room = Room(tmp_path / "a", row(remarks=DOUBT))
    room.answer(room.run()[1], **answer)
    later = Room(tmp_path / "b", *rows)
    later.private.commit(ANSWERS_FILE, room.private.read(ANSWERS_FILE))
    return later


@pytest.mark.parametrize("words", ["王磊磅礴", ""])
def test_what_was_called_an_identifier_is_still_looked_for_in_the_corrected_visit(tmp_path, words):
    room = corrected(
        tmp_path, row(remarks="复诊，家属王磊磅礴，牙痛减轻", management="王磊磅礴改约"), answer="identifier", words=words
    )
    out, _ = room.run()
    assert "王磊" not in out[0]["remarks"] + out[0]["management"]
    ((line, why),) = room.stale
    assert line == 2 and "is replaced all the same" in why and "王" not in why


def test_a_stale_keep_is_told_and_keeps_nothing(tmp_path):
    room = corrected(tmp_path, row(remarks=DOUBT + "。"), answer="keep")
    out, queue = room.run()
    assert (out[0]["reject_reason"], len(queue)) == (RESIDUAL, 1)
    ((line, why),) = room.stale
    assert line == 2 and "no effect" in why


def test_a_refused_visit_stays_out_and_is_no_stale_answer(tmp_path):
    room = corrected(tmp_path, row(remarks="牙痛"), answer="reject")
    assert (room.run()[0][0]["reject_reason"], room.stale) == (REFUSED, [])


def test_a_date_that_was_called_an_identifier_is_replaced_in_its_text_only(tmp_path):
    room = Room(tmp_path / "a", row(remarks="5/3外院拔牙"))
    room.answer(room.run()[1], answer="identifier")
    later = Room(tmp_path / "b", row(remarks="牙周袋5/3mm"))
    later.private.commit(ANSWERS_FILE, room.private.read(ANSWERS_FILE))
    out, _ = later.run()
    assert out[0]["remarks"] == "牙周袋5/3mm"


def test_an_answer_that_another_one_made_needless_is_not_stale(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT, management="家属王磊磅礴改约"))
    room.answer(room.run()[1], answer="identifier", words="王磊磅礴")
    out, queue = room.run()
    assert ([r["status"] for r in out], queue, room.stale) == (["ok"], [], [])


def test_words_that_stand_nowhere_are_told_and_the_question_is_asked_again(tmp_path):
    room = Room(tmp_path, row(remarks=DOUBT))
    room.answer(room.run()[1], answer="identifier", words="李四")
    out, queue = room.run()
    assert (out[0]["reject_reason"], len(queue), room.stale) == (RESIDUAL, 1, [(2, NO_WORDS)])


def test_words_may_be_copied_from_the_record_as_it_was_written(tmp_path):
    """The queue shows 37; the person has the record with 左下7 before the eyes."""
    written = row(remarks="左下6痛，家属王磊磅礴左下7痛")
    record = {name: written.get(name) for name in RECORDS.schema.names} | {"files": []}
    records = pa.Table.from_pylist([record], schema=RECORDS.schema)
    (text,) = normalise_teeth(records).to_pylist()
    assert text["remarks"] == "36痛，家属王磊磅礴37痛"
    room = Room(tmp_path, text)
    room.private.commit_table("stages/records/k.parquet", records)
    room.original = Original(Part("k", "records", room.private.root, 1, {"ok": 1}))
    room.answer(room.run()[1], answer="identifier", words="王磊磅礴左下7")
    out, queue = room.run()
    assert (out[0]["remarks"], queue, room.stale) == ("36痛，家属[NAME]痛", [], [])


def test_the_note_names_lines_and_no_value(tmp_path):
    room = corrected(tmp_path, row(remarks="牙痛"), answer="identifier", words="王磊磅礴")
    room.run()
    headline, *lines = note(room.stale)
    assert headline == "1 of the answers in queue/privacy-answers.csv fit nothing any more: line 2"
    assert len(lines) == 1 and "王" not in "".join(lines)
    assert list(note([])) == []


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
