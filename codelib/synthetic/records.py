"""One visit's record in Chinese, with its truth: FDI teeth by field, diagnoses with status, planted identifiers.

    labels ─ findings (term, teeth) ─ phrases of the pool, filled ─ absent conditions ─ planted identifiers ─ Record

The complaint rarely looks at the class: age, gender and complaint must not give it away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Formatter

import numpy as np

from codelib.contracts import SIX_CLASSES
from codelib.synthetic import diagnoses, notation
from codelib.synthetic.diagnoses import NEGATED, OTHER, PAST, PRESENT, SUSPECTED, Term
from codelib.synthetic.people import Person, Pool, draw, draw_name, held_out, pool_part

LEANING_SHARE = 0.12  # complaints that lean towards a class, and even those are shared by two or three classes
DENTAL_FIELDS = ("检查", "X线检查示", "治疗方案", "处理")
FREE_TEXT = (
    "病历",
    "主诉",
    "现病史",
    "既往史",
    "检查",
    "X线检查示",
    "诊断",
    "治疗方案",
    "治疗建议",
    "处理",
    "医嘱",
    "备注",
)
"""The sheet's text columns; a batch may head two of them otherwise (初诊/复诊病历, 处置)."""


@dataclass(frozen=True)
class Visitor:
    """Who comes: what the record has to be consistent with, and whom it may name."""

    person: Person
    pool: Pool
    age: int
    gender: str  # 男 | 女
    doctors: tuple[str, ...]
    revisit: bool
    has_name_column: bool  # only then may free text name the patient without a word such as 患者 before the name


@dataclass
class Record:
    """The fields by column name; beside them what is true of them."""

    fields: dict[str, str] = field(default_factory=dict)
    teeth: dict[str, list[str]] = field(default_factory=dict)
    diagnoses: list[dict[str, str]] = field(default_factory=list)
    planted: list[dict[str, str]] = field(default_factory=list)

    def add_teeth(self, column: str, teeth: list[str]) -> None:
        known = self.teeth.setdefault(column, [])
        known += [tooth for tooth in teeth if tooth not in known]

    def add_diagnosis(self, column: str, term: Term, written: str, status: str) -> None:
        self.diagnoses.append({"zh": term.zh, "written": written, "icd10": term.icd10, "status": status, "field": column})


@lru_cache(maxsize=1)
def phrases() -> dict:
    return json.loads((Path(__file__).parent / "phrases.json").read_text(encoding="utf-8"))


def write_record(
    rng: np.random.Generator, visitor: Visitor, labels: tuple[str, ...], *, with_radiograph: bool, planted: bool
) -> Record:
    """The record of a visit that has the classes ``labels`` (("other",) for none of the six)."""
    record = Record()
    is_child = visitor.age <= diagnoses.CHILD_MAX_AGE
    findings = [_finding(rng, label, is_child) for label in labels]
    label, (_, teeth) = labels[0], findings[0]
    write = _Filler(rng, visitor, record, teeth or [draw(rng, diagnoses.PERMANENT)], is_child)

    record.fields["病历"] = "复诊" if visitor.revisit else "初诊"
    record.fields["主诉"] = write("主诉", _complaint_choices(rng, label))
    record.fields["现病史"] = write("现病史", phrases()["present"][label])
    if is_child:
        opening = draw(rng, pool_part(phrases()["child_openings"], visitor.pool))
        record.fields["现病史"] = opening + record.fields["现病史"]
    record.fields["既往史"] = write("既往史", phrases()["past"])
    sources = (phrases()["examination"], phrases()["xray"], phrases()["plan"], phrases()["management"])
    for column, source in zip(DENTAL_FIELDS, sources, strict=True):
        texts = []
        for one, (_, its_teeth) in zip(labels, findings, strict=True):
            write.teeth = its_teeth or write.teeth
            texts.append(write(column, source[one]))
        record.fields[column] = "".join(text if text.endswith("。") else text + "。" for text in texts)
    if not with_radiograph:
        record.fields["X线检查示"] = draw(rng, ("", "/"))
        record.teeth.pop("X线检查示", None)
    record.fields["治疗建议"] = write("治疗建议", phrases()["recommendations"])
    record.fields["医嘱"] = write("医嘱", phrases()["orders"])
    record.fields["备注"] = write("备注", phrases()["remarks"])

    _write_diagnosis(rng, record, labels, findings, visitor.pool)
    _mention_absent_conditions(rng, record, labels, visitor.pool)
    if planted:
        _plant(rng, record, visitor)
    record.teeth = {column: teeth for column, teeth in record.teeth.items() if teeth}
    return record


def six_class(labels: tuple[str, ...]) -> str | None:
    """The benchmark's class: set when exactly one of the six is present."""
    found = [label for label in labels if label in SIX_CLASSES]
    return found[0] if len(found) == 1 else None


class _Filler:
    """Fills the slots of a phrase for one visit and notes the teeth that it wrote."""

    def __init__(self, rng: np.random.Generator, visitor: Visitor, record: Record, teeth: list[str], is_child: bool) -> None:
        self.rng, self.visitor, self.record, self.teeth, self.is_child = rng, visitor, record, teeth, is_child

    def __call__(self, column: str, choices: list[str]) -> str:
        template = draw(self.rng, pool_part(choices, self.visitor.pool))
        slots = [name for _, name, _, _ in Formatter().parse(template) if name]
        return template.format(**{name: self._slot(column, name) for name in slots})

    def _slot(self, column: str, name: str) -> str:
        makers: dict[str, Callable[[], str]] = {
            "region": lambda: notation.region(self.teeth[0]),
            "duration": lambda: draw(self.rng, pool_part(phrases()["durations"], self.visitor.pool)),
            "surface": lambda: draw(self.rng, pool_part(phrases()["surfaces"], self.visitor.pool)),
            "teeth": lambda: self._teeth(column, self.teeth),
            "other": lambda: self._teeth(column, [self._other_tooth()]),
            "premolars": lambda: self._teeth(column, draw(self.rng, (["14", "24"], ["14", "24", "34", "44"], ["34", "44"]))),
            "wisdom": lambda: self._wisdom(column),
            "range": lambda: self._range(column),
        }
        return makers[name]()

    def _teeth(self, column: str, teeth: list[str]) -> str:
        self.record.add_teeth(column, teeth)
        return notation.write_teeth(self.rng, teeth)

    def _other_tooth(self) -> str:
        return draw(self.rng, [tooth for tooth in diagnoses.PERMANENT if tooth not in self.teeth])

    def _wisdom(self, column: str) -> str:
        self.record.add_teeth(column, list(diagnoses.WISDOM))
        return draw(self.rng, ("、".join(diagnoses.WISDOM), "四颗智齿"))

    def _range(self, column: str) -> str:
        text, teeth = draw(self.rng, notation.RANGES)
        self.record.add_teeth(column, list(teeth))
        return text


def _finding(rng: np.random.Generator, label: str, is_child: bool) -> tuple[Term, list[str]]:
    term = diagnoses.draw_term(rng, label, is_child)
    if term.bound_to == "none" and label in ("Gingivitis", "Malocclusion", OTHER):
        return term, diagnoses.draw_teeth(rng, "tooth", False)[:1]  # a tooth for the regions its phrases speak of
    return term, diagnoses.draw_teeth(rng, term.bound_to, is_child)


def _complaint_choices(rng: np.random.Generator, label: str) -> list[str]:
    leaning = phrases()["leaning_complaints"].get(label)
    return leaning if leaning and rng.random() < LEANING_SHARE else phrases()["complaints"]


def _write_diagnosis(
    rng: np.random.Generator,
    record: Record,
    labels: tuple[str, ...],
    findings: list[tuple[Term, list[str]]],
    pool: Pool,
) -> None:
    """The 诊断 column: each condition with its teeth; now and then a negated, suspected or past one behind it."""
    parts = []
    for term, teeth in findings:
        written = draw(rng, term.written)
        parts.append(_bound(rng, record, term, written, teeth))
        record.add_diagnosis("诊断", term, written, PRESENT)
    if rng.random() < 0.22:
        term = diagnoses.unrelated_term(rng, set(labels))
        status = draw(rng, (SUSPECTED, SUSPECTED, NEGATED, PAST))
        pattern = "曾因{term}治疗" if status == PAST else draw(rng, pool_part(phrases()[status], pool))
        parts.append(pattern.format(term=term.zh))
        record.add_diagnosis("诊断", term, term.zh, status)
    record.fields["诊断"] = "；".join(parts)


def _bound(rng: np.random.Generator, record: Record, term: Term, written: str, teeth: list[str]) -> str:
    if term.bound_to == "none":
        return written
    record.add_teeth("诊断", teeth)
    teeth_text = notation.write_teeth(rng, teeth)
    if term.bound_to == "loss" and written == term.zh:  # 牙列缺损（36缺失）; its other spellings follow the tooth
        return f"{written}（{teeth_text}缺失）"
    return teeth_text + written


def _mention_absent_conditions(rng: np.random.Generator, record: Record, labels: tuple[str, ...], pool: Pool) -> None:
    """Past conditions in the history, negated ones behind the findings: present in the text, not in the mouth."""
    taken = set(labels)
    if rng.random() < 0.18:
        term = diagnoses.unrelated_term(rng, taken)
        pattern = draw(rng, phrases()["past_conditions"][pool == "held_out"])
        column = draw(rng, ("现病史", "既往史"))
        text = pattern.format(term=term.zh, years=int(rng.integers(2, 9)))
        record.fields[column] = _joined(record.fields[column], text)
        record.add_diagnosis(column, term, term.zh, PAST)
    if rng.random() < 0.15:
        term = diagnoses.unrelated_term(rng, taken)
        pattern = draw(rng, pool_part(phrases()["negated"], pool))
        record.fields["检查"] = _joined(record.fields["检查"], pattern.format(term=term.zh) + "。")
        record.add_diagnosis("检查", term, term.zh, NEGATED)


def _plant(rng: np.random.Generator, record: Record, visitor: Visitor) -> None:
    """One to three identifiers in the free text, at the ends of fields that have room for them."""
    templates = pool_part(phrases()["planted"], visitor.pool) + (held_out()["planted"] if visitor.pool == "held_out" else [])
    if not visitor.has_name_column:
        templates = [row for row in templates if not row.get("named_by_column")]
    used: set[str] = set()
    for index in rng.permutation(len(templates))[: int(rng.integers(1, 4))]:
        row = templates[index]
        if row["field"] + row["at"] in used:  # two openings of one sentence would not be a sentence
            continue
        used.add(row["field"] + row["at"])
        slots = [name for _, name, _, _ in Formatter().parse(row["text"]) if name]
        values = {name: _identifier(rng, name, visitor) for name in slots}
        column, text = row["field"], row["text"].format(**values)
        old = record.fields[column]
        record.fields[column] = text + old.removeprefix("患者") if row["at"] == "start" else _joined(old, text)
        for name, value in values.items():
            record.planted.append({"class": _CLASS.get(name, name), "text": value, "field": column, "where": "text"})
            if name == "address":
                street = visitor.person.street
                record.planted.append({"class": "address", "text": street, "field": column, "where": "text"})


_CLASS = {"doctor": "staff", "father": "relative"}


def _identifier(rng: np.random.Generator, name: str, visitor: Visitor) -> str:
    if name == "doctor":
        return draw(rng, visitor.doctors)[0] + "医生"  # staff have one-character surnames: 许医生
    if name in ("relative", "father"):
        return draw_name(rng, visitor.pool, "男" if name == "father" else "女")[0]
    if name == "phone" and rng.random() < 0.1:
        phone = visitor.person.phone
        return f"{phone[:3]}-{phone[3:7]}-{phone[7:]}"
    return getattr(visitor.person, name)


def _joined(old: str, addition: str) -> str:
    """The addition as a sentence of its own behind what stands there; a cell that says only / or 无 is replaced."""
    if old in ("", "/", "无"):
        return addition
    return (old if old.endswith("。") else old + "。") + addition
