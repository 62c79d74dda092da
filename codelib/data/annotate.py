"""Stage annotate: bilingual → annotated, with the conditions of every visit and its class in the benchmark.

    诊断 "36深龋；牙髓炎待排"    ->  深龋 K02.1 present, 36 · 牙髓炎 K04.0 suspected, 36 -> six_class Caries
    现病史 "5年前38冠周炎拔除"   ->  冠周炎 K05.3 past

What is present is read from the diagnosis alone. History and examination add what they negate, suspect or tell as past:
evidence, and never a label. A condition stands once for each field and status, with the span of its first mention and
the teeth of all.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from codelib.contracts import ANNOTATED, OK, TEXT_FIELDS
from codelib.core.config import Settings
from codelib.dental.condition_context import Segment, healed_behind, segments, status_of
from codelib.dental.condition_lists import ClassList, Condition, TermList, conditions
from codelib.dental.condition_terms import Dictionary, Match, dictionary

_DIAGNOSIS = "diagnosis"
_CONTEXT_FIELDS = ("present_illness", "past_medical_record", "examination")
_ITEM_ENDS = "、"


class SecondPassSettings(Settings):
    """``engine=openai``: any server that speaks its protocol. The key stands in an environment variable and in no file."""

    engine: Literal["none", "openai"] = "none"
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-4o-2024-11-20"
    key_env: str = Field("OPENAI_API_KEY", exclude=True)
    # how patient we are changes no answer: no part of the settings' fingerprint. The limits and the budget are the translation's
    timeout_s: float = Field(60.0, gt=0, exclude=True)
    max_retries: int = Field(5, ge=0, le=20, exclude=True)
    strings_a_request: int = Field(20, ge=1, le=100, exclude=True)


class AnnotateSettings(Settings):
    """``labels=published`` repeats the paper's rule: present wherever the name occurs in the record, negations included."""

    labels: Literal["status", "published"] = "status"
    diagnoses: TermList = ()
    """Path of a CSV file with the clinic's own conditions and synonyms (columns as in terms/diagnoses.csv), laid over the built-in list."""
    six_class: ClassList = ()
    """Path of a CSV file that gives conditions another class (columns as in terms/six_class.csv)."""

    second_pass: SecondPassSettings = SecondPassSettings()
    """Whether a model reads the diagnosis strings that no list knows."""

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        conditions(self.diagnoses, self.six_class)
        return self

    def dictionary(self) -> Dictionary:
        return dictionary(self.diagnoses, self.six_class)


DEFAULT = AnnotateSettings()


def annotate(table: pa.Table, settings: AnnotateSettings = DEFAULT) -> pa.Table:
    """BILINGUAL → ANNOTATED. A rejected row passes with no diseases and no class."""
    terms = settings.dictionary()
    label = published_labels if settings.labels == "published" else labels_by_status
    rows = []
    for row in table.to_pylist():
        row["diseases"], row["six_class"] = [], None
        if row["status"] == OK:
            row["diseases"] = label(row, terms)
            row["six_class"] = six_class(row["diseases"])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=ANNOTATED.schema)


def labels_by_status(row: dict[str, Any], terms: Dictionary) -> list[dict[str, Any]]:
    """The conditions of a BILINGUAL row, each with its status: present from the diagnosis alone."""
    diseases = _field_diseases(row, _DIAGNOSIS, terms)
    for field in _CONTEXT_FIELDS:
        found = _field_diseases(row, field, terms)
        if field == "past_medical_record":  # what stands there without a cue is history
            found = _merged([d | {"status": "past"} if d["status"] == "present" else d for d in found])
        diseases += [disease for disease in found if disease["status"] != "present"]
    return diseases


def _field_diseases(row: dict[str, Any], field: str, terms: Dictionary) -> list[dict[str, Any]]:
    text = row[f"{field}_cn"] or ""
    teeth = teeth_of(row, field)
    matches = terms.find(text, [(t["start"], t["end"]) for t in teeth])
    diseases: list[dict[str, Any]] = []
    at = 0
    for segment in segments(text) if matches else ():
        inside: list[Match] = []
        while at < len(matches) and matches[at].start < segment.end:
            inside.append(matches[at])
            at += 1
        spans = [(match.start, match.end) for match in inside]
        linked = _linked_teeth(text, segment, spans, teeth)
        next_tooth = next((tooth["start"] for tooth in teeth if tooth["start"] >= segment.end), len(text))
        until = min(next_tooth, matches[at].start if at < len(matches) else len(text))
        for n, match in enumerate(inside):
            status = status_of(text, segment, spans, n)
            if status == "present" and match.condition.icd10 and healed_behind(text, segment, until):
                status = "past"  # a state that is no disease stays: 根管治疗后，复查正常
            diseases.append(disease_row(match.condition, status, field, text, spans[n], linked[n]))
    return _merged(diseases)


def teeth_of(row: dict[str, Any], field: str) -> list[dict[str, Any]]:
    return [tooth for tooth in row["teeth"] or [] if tooth["field"] == field and tooth["status"] == OK]


def _linked_teeth(text: str, segment: Segment, spans: list[tuple[int, int]], teeth: list[dict[str, Any]]) -> list[list[str]]:
    """For each condition of a segment the teeth written before it; else those right behind it; else those of its predecessor."""
    here = [tooth for tooth in teeth if segment.start <= tooth["start"] < segment.end]
    linked: list[list[str]] = []
    taken: set[int] = set()
    for n, (_start, end) in enumerate(spans):
        after = spans[n - 1][1] if n else segment.start
        until = spans[n + 1][0] if n + 1 < len(spans) else segment.end
        before = [t for t in here if after <= t["start"] < end and t["start"] not in taken]
        behind = [t for t in here if end <= t["start"] < until and not set(text[end : t["start"]]) & set(_ITEM_ENDS)]
        if not before and behind and (n + 1 == len(spans) or text[end : behind[0]["start"]].strip() in ("(", "（")):
            before = behind
        taken |= {t["start"] for t in before}
        if not before and behind and behind[0]["start"] == end:
            before = behind[:1]  # 阻生38冠周炎: the 38 is that of both
        numbers = list(dict.fromkeys(number for tooth in before for number in tooth["fdi"]))
        linked.append(numbers or (linked[-1] if linked else []))
    return linked


def disease_row(
    condition: Condition, status: str, field: str, text: str, span: tuple[int, int], fdi: list[str]
) -> dict[str, Any]:
    """A row of the contract's DISEASE; ``span`` lies in ``text``."""
    start, end = span
    return {
        "zh": condition.zh,
        "en": condition.en,
        "icd10": condition.icd10,
        "six_class": condition.six_class,
        "status": status,
        "field": field,
        "start": start,
        "end": end,
        "evidence": text[start:end],
        "fdi": fdi,
    }


def _merged(diseases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each condition and status: 牙列缺损（36缺失） names it twice."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for disease in diseases:
        first = kept.setdefault((disease["zh"], disease["status"]), disease)
        first["fdi"] = list(dict.fromkeys([*first["fdi"], *disease["fdi"]]))
    return list(kept.values())


def six_class(diseases: list[dict[str, Any]]) -> str | None:
    """The class of a visit: the one of the six that is present, where it is exactly one."""
    classes = {disease["six_class"] for disease in diseases if disease["status"] == "present"} - {None}
    return classes.pop() if len(classes) == 1 else None


def published_labels(row: dict[str, Any], terms: Dictionary) -> list[dict[str, Any]]:
    """The paper's rule: each condition whose name or synonym stands anywhere in the record, at its first place, as present."""
    diseases = []
    for condition in terms.conditions:
        for field in TEXT_FIELDS:
            text = row[f"{field}_cn"] or ""
            places = [(text.find(term), term) for term in (condition.zh, *condition.synonyms) if term in text]
            if places:
                start, term = min(places)
                diseases.append(disease_row(condition, "present", field, text, (start, start + len(term)), []))
                break
    return diseases
