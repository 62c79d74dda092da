"""The plan of an export: batches, patients, visits, and which visits do not fit together; nothing is written here.

    visits, seed ─ batches of at most 200 ─ patients with 1 to 11 visits ─ every tenth a mismatch

A plan holds names and times only; what is random about a visit is drawn from the seed and its own key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from codelib.synthetic.diagnoses import label_of
from codelib.synthetic.people import Person, Pool, draw, draw_person, draw_staff

VISITS_PER_BATCH = 200
MAX_VISITS_OF_PATIENT = 11
MISMATCH_SHARE = 0.10
ALL_KINDS_FROM_VISITS = 40  # from this size on every kind of mismatch occurs at least once
PLANTED_SHARE = 0.35
FIRST_YEAR = 2019

MISMATCHES = {
    "invalid_time": "ingest:invalid_time",
    "record_without_folder": "ingest:record_without_folder",
    "folder_without_record": "ingest:folder_without_record",
    "duplicate_visit": "ingest:duplicate_visit",
    "patient_without_visit": "ingest:patient_without_visit",
    "no_image": "ingest:incomplete_record",
    "broken_images": "ingest:incomplete_record",
    "no_findings": "ingest:incomplete_record",
}

FOLDER_STYLES = ("%Y-%m-%d %H.%M", "%Y-%m-%d %H-%M", "{y}.{m}.{d} %H：%M", "{y}年{m}月{d}日 %H：%M", "%Y-%m-%d %H：%M")
SHEET_STYLES = ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M", *FOLDER_STYLES)
DATE_STYLES = ("%Y-%m-%d", "{y}.{m}.{d}", "{y}年{m}月{d}日")
SUFFIXES = ("——复诊", "——拍片", "——取模")
INVALID_TIMES = ("无效时间", "待补", "2022-13-45 09:00", "上周三下午")


PHOTOGRAPHS = {1: 0.28, 2: 0.36, 3: 0.24, 4: 0.12}
"""Of a visit, and how often: what a small export is quick with."""
MOST_PHOTOGRAPHS, MEAN_PHOTOGRAPHS = 26, 5.7
"""Of a visit in the published dataset (arXiv 2511.04948): 1 to 26, 5.7 on average."""
Images = Literal["few", "published"]


def num_photographs(rng: np.random.Generator, images: Images) -> int:
    """How many photographs a visit has. ``published``: the paper's range and mean, over a negative binomial of two successes, of which
    the paper says nothing: many visits have few, few have many."""
    if images == "few":
        return int(rng.choice(list(PHOTOGRAPHS), p=list(PHOTOGRAPHS.values())))
    more = int(rng.negative_binomial(2, 2 / (2 + MEAN_PHOTOGRAPHS - 1)))
    return 1 + min(more, MOST_PHOTOGRAPHS - 1)


@dataclass
class PlannedVisit:
    """A visit to be: ``mismatch`` says why it is rejected (None: released); ``twin``: it has a second, emptier row."""

    labels: tuple[str, ...]
    mismatch: str | None = None
    twin: bool = False
    planted: bool = False
    revisit: bool = False
    time: str = ""  # YYYY-MM-DD HH:MM, or the date alone where neither side has the minute
    sheet_time: str = ""
    folder_name: str = ""


@dataclass
class PlannedPatient:
    patient: str  # 患者0001
    age: int
    gender: str  # 男 | 女
    folder_name: str
    folder_has_age: bool
    person: Person
    visits: list[PlannedVisit] = field(default_factory=list)

    @property
    def has_folder(self) -> bool:
        return any(visit.mismatch not in ("invalid_time", "record_without_folder") for visit in self.visits)


@dataclass
class Batch:
    index: int
    name: str
    sheet_format: str  # xlsx | csv | jsonl
    column_set: str  # bare | named | full
    doctors: tuple[str, ...]
    patients: list[PlannedPatient]


def keyed_rng(*key: object) -> np.random.Generator:
    """A generator that depends on the key alone, so that nothing depends on the order of the work."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def plan_export(visits: int, seed: int, pool: Pool) -> Iterator[Batch]:
    """The batches of an export of ``visits`` visits, rejected ones included."""
    kinds = _mismatch_kinds(visits)
    labels = label_of(keyed_rng(seed, pool, "labels"), visits)
    batches = max(1 if visits < 20 else 2 if visits < 60 else 3, -(-visits // VISITS_PER_BATCH))
    first_number = 1
    for index in range(batches):
        its_labels, its_kinds = labels[index::batches], kinds[index::batches]
        rng = keyed_rng(seed, pool, "batch", index)
        patients = _plan_patients(rng, its_labels, its_kinds, pool, FIRST_YEAR + index % 6, first_number)
        first_number += len(patients)
        yield Batch(
            index=index,
            name=f"第{_chinese_number(index + 1)}批_{FIRST_YEAR + index % 6}",
            sheet_format={1: "csv", 2: "jsonl"}.get(index, "xlsx") if batches >= 3 else "xlsx",
            column_set="named" if batches == 1 else ("bare", "full", "named")[index % 3],
            doctors=tuple(draw_staff(rng, pool) for _ in range(4)),
            patients=patients,
        )


def _mismatch_kinds(visits: int) -> list[str]:
    count = round(MISMATCH_SHARE * visits)
    if visits >= ALL_KINDS_FROM_VISITS:
        count = max(count, len(MISMATCHES))
    kinds = list(MISMATCHES)
    return [kinds[number % len(kinds)] for number in range(count)]


def _plan_patients(
    rng: np.random.Generator, labels: list[tuple[str, ...]], kinds: list[str], pool: Pool, year: int, first_number: int
) -> list[PlannedPatient]:
    """The patients of a batch in the order of their numbers, good and mismatched ones mixed."""
    good = [PlannedVisit(its) for its in labels[len(kinds) :]]
    groups: list[list[PlannedVisit]] = []
    while good:
        size = int(rng.choice([1, 2, 3, 4, 6, 11], p=[0.74, 0.13, 0.07, 0.03, 0.02, 0.01]))
        groups.append(good[:size])
        good = good[size:]
    in_order = list(groups)
    for kind, its in zip(kinds, labels, strict=False):
        visit = PlannedVisit(its, mismatch=kind)
        hosts = [group for group in in_order if len(group) < MAX_VISITS_OF_PATIENT]
        single = [group[0] for group in in_order if not group[0].twin]
        if kind == "duplicate_visit" and single:
            draw(rng, single).twin = True
        elif kind in ("record_without_folder", "folder_without_record") and hosts and rng.random() < 0.5:
            draw(rng, hosts).append(visit)  # a patient whose other visits are in order
        else:
            groups.append([visit])
    patients = []
    for number, index in enumerate(rng.permutation(len(groups)).tolist()):
        patients.append(_plan_patient(rng, first_number + number, groups[index], pool, year))
    return patients


def _plan_patient(rng: np.random.Generator, number: int, visits: list[PlannedVisit], pool: Pool, year: int) -> PlannedPatient:
    gender = draw(rng, ("男", "女"))
    age = int(rng.integers(4, 8)) if rng.random() < 0.12 else int(rng.integers(12, 80))
    has_age = bool(rng.random() < 0.9)
    patient = PlannedPatient(
        patient=f"患者{number:04d}",
        age=age,
        gender=gender,
        folder_name=f"患者{number:04d}-{age}-{gender}" if has_age else f"患者{number:04d}-{gender}",
        folder_has_age=has_age,
        person=draw_person(rng, pool, gender, year - age),
        visits=visits,
    )
    moment = dt.datetime(year, 1, 2) + dt.timedelta(days=int(rng.integers(0, 330)))
    for order, visit in enumerate(visits):
        visit.revisit = order > 0 or bool(rng.random() < 0.15)
        visit.planted = bool(rng.random() < PLANTED_SHARE) and visit.mismatch in (None, "record_without_folder")
        at = moment.replace(hour=int(rng.integers(8, 18)), minute=5 * int(rng.integers(12)))
        _write_times(rng, visit, at)
        moment += dt.timedelta(days=int(rng.integers(5, 90)))
    return patient


def _write_times(rng: np.random.Generator, visit: PlannedVisit, at: dt.datetime) -> None:
    """The same minute in the styles of the sheet and of the folder; sometimes the date alone in one or in both."""
    visit.time = at.strftime("%Y-%m-%d %H:%M")
    visit.sheet_time = _in_style(at, draw(rng, SHEET_STYLES))
    visit.folder_name = _in_style(at, draw(rng, FOLDER_STYLES))
    date_alone = rng.random()
    if visit.mismatch is None:  # the two meet on the day then, and the minute is the one that is written
        if date_alone < 0.05:
            visit.folder_name = _in_style(at, draw(rng, DATE_STYLES))
        if 0.025 < date_alone < 0.075:
            visit.sheet_time = _in_style(at, draw(rng, DATE_STYLES))
        if 0.025 < date_alone < 0.05:
            visit.time = at.strftime("%Y-%m-%d")
    if rng.random() < 0.12:
        visit.folder_name += draw(rng, SUFFIXES)
    if rng.random() < 0.05:
        visit.sheet_time += "——复诊"
    if visit.mismatch == "invalid_time":
        visit.time = visit.sheet_time = draw(rng, INVALID_TIMES)


def _in_style(at: dt.datetime, style: str) -> str:
    # strftime does not take Chinese characters on every platform; the numeric parts are replaced one by one
    written = style.format(y=at.year, m=at.month, d=at.day)
    for code in ("%Y", "%m", "%d", "%H", "%M"):
        written = written.replace(code, at.strftime(code))
    return written


def _chinese_number(number: int) -> str:
    """1 to 99 in Chinese numerals, larger numbers in digits: 第十二批, 第120批."""
    digits = "零一二三四五六七八九"
    if number > 99:
        return str(number)
    tens, ones = divmod(number, 10)
    head = "" if tens == 0 else "十" if tens == 1 else digits[tens] + "十"
    return head + (digits[ones] if ones or not tens else "")
