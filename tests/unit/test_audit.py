"""The audit: released visits side by side in both languages, verdicts bound to the text they are about, and what a leak does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import ANNOTATED, CHOSEN, RECORDS, SPLIT, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data.audit import LEAK, Audited, draw_audit, held_back, read_audit, standing
from codelib.data.split import make_split
from codelib.data.vault import Keyed

KEYED = Keyed(b"k" * 32)


def part(store: Store, stage: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> Part:
    store.commit_table(f"stages/{stage}/k.parquet", pa.Table.from_pylist(rows, schema=schema))
    reasons = Counter(row.get("reject_reason") or "ok" for row in rows)
    return Part("k", stage, store.root, len(rows), dict(reasons))


def row(number: int, status: str = "ok", **values: Any) -> dict[str, Any]:
    made = {"checkup_id": f"{number:04d}-001", "patient_id": f"{number:04d}", "visit_key": f"v{number}", "status": status}
    both = (*TEXT_FIELDS, *(f"{name}_cn" for name in TEXT_FIELDS))
    return made | dict.fromkeys(both, "") | values


@pytest.mark.parametrize(("clean", "leak", "bound"), [(59, 0, 0.05), (299, 0, 0.01), (58, 1, 0.0780), (0, 1, 1.0)])
def test_the_bound_of_the_audit_is_that_of_clopper_and_pearson(clean, leak, bound):
    assert Audited(Counter(clean=clean, leak=leak)).leak_bound == pytest.approx(bound, abs=5e-4)


class Room:
    """Twenty visits; the last is released no more."""

    def __init__(self, tmp_path, visits: int = 20) -> None:
        self.private, self.public = Store(str(tmp_path / "private")), Store(str(tmp_path / "public"))
        before = [
            dict.fromkeys(RECORDS.schema.names) | {"visit_key": f"v{n}", "remarks": f"患者周岩<{n}>", "status": "ok"}
            for n in range(visits)
        ]
        self.after = [row(n, remarks=f"Patient [NAME] <{n}>", remarks_cn=f"患者[NAME]<{n}>") for n in range(visits)]
        split = [row(n) for n in range(visits - 1)]
        split.append(row(visits - 1, status="rejected", reject_reason="ingest:incomplete_record"))
        self.records = part(self.private, "records", RECORDS.schema, before)
        self.split = part(self.public, "split", SPLIT.schema, split)
        self.annotate()

    def annotate(self) -> None:
        self.annotated = part(self.public, "annotated", ANNOTATED.schema, self.after)

    def draw(self, number: int, sample: str) -> tuple[str, int]:
        return draw_audit([self.records], [self.annotated], [self.split], number, sample, KEYED, self.private)

    def answer(self, sample: str, verdict: str) -> list[str]:
        """The same verdict for all of a sample; its checkup ids."""
        head, *lines = self.private.read(f"audit/{sample}.csv").decode().splitlines()
        self.private.commit(f"audit/{sample}.csv", "\n".join([head, *(f"{line[:-1]}{verdict}," for line in lines)]).encode())
        return [line.split(",")[0] for line in lines]

    def standing(self) -> dict[str, str]:
        return standing(read_audit(self.private), self.annotated, KEYED)


@pytest.fixture
def room(tmp_path) -> Room:
    return Room(tmp_path)


def test_released_visits_are_shown_side_by_side_in_both_languages(room):
    page, drawn = room.draw(30, "first")
    text = room.private.read(page).decode()
    assert drawn == 19 and text.count("<h2>") == 19
    assert "0019-001" not in text  # de-identified, and not released
    assert text.count("<mark>[NAME]</mark>") == 2 * 19
    assert "<td>患者周岩&lt;3&gt;<td>患者<mark>[NAME]</mark>&lt;3&gt;<td>Patient <mark>[NAME]</mark> &lt;3&gt;" in text
    assert room.standing() == {}


def test_a_sample_is_drawn_once_and_alike(room):
    room.draw(5, "a")
    drawn = room.private.read("audit/a.csv")
    with pytest.raises(InputError, match="drawn before"):
        room.draw(5, "a")
    room.private.delete("audit/a.csv")
    room.draw(5, "a")
    assert room.private.read("audit/a.csv") == drawn
    room.draw(5, "b")
    assert room.private.read("audit/b.csv") != drawn


@pytest.mark.parametrize("field", ["remarks", "remarks_cn"])
def test_a_verdict_counts_as_long_as_the_text_is_the_one_that_was_judged(room, field):
    room.draw(5, "first")
    judged = room.answer("first", "clean")
    assert room.standing() == dict.fromkeys(judged, "clean")
    changed = judged[0]
    for made in room.after:
        if made["checkup_id"] == changed:
            made[field] += "."
    room.annotate()
    assert room.standing() == dict.fromkeys(judged[1:], "clean")


def test_of_two_verdicts_on_a_text_the_worse_counts_and_a_visit_counts_once(room):
    room.draw(30, "a")
    room.draw(30, "b")
    judged = room.answer("a", "too_much")
    room.answer("b", "clean")
    assert room.standing() == dict.fromkeys(judged, "too_much")


def test_a_sample_from_before_verdicts_were_bound_holds_back_what_leaks_and_proves_nothing(room):
    room.private.commit("audit/old.csv", b"checkup_id,verdict,note\n0001-001,clean,\n0002-001,leak,\n")
    assert room.standing() == {"0002-001": "leak"}


def test_a_verdict_that_is_none_is_named_by_its_line(room):
    room.private.commit("audit/a.csv", b"checkup_id,text_key,verdict,note\n0001-001,x,cleen,\n")
    with pytest.raises(InputError, match=r"line 2: no such verdict; did you mean clean\?"):
        read_audit(room.private)


def test_a_visit_that_leaks_is_held_back_and_keeps_its_place_in_the_split(room):
    pictures = [
        {"image_key": f"i{n}", "visit_key": f"v{n}", "kind": "photograph", "ordinal": 1, "sources": [], "status": "ok"}
        for n in range(2)
    ]
    images = pa.Table.from_pylist(pictures, schema=CHOSEN.schema)
    visits = pa.Table.from_pylist(room.after[:2], schema=ANNOTATED.schema)
    decided = {"split": "31", "why": "41", "spectrum": "31", "held": {"0000-001": LEAK}}
    made = make_split(visits, images, decided).to_pylist()
    assert [(r["status"], r["reject_reason"], r["split"]) for r in made] == [("rejected", LEAK, "test"), ("ok", None, "train")]
    assert held_back(part(room.public, "split", SPLIT.schema, made)) == {"0000-001"}
