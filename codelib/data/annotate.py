"""Stage annotate: bilingual → annotated, with the conditions of every visit and its class in the benchmark.

    诊断 "36深龋；牙髓炎待排"    ->  深龋 K02.1 present, 36 · 牙髓炎 K04.0 suspected, 36 -> six_class Caries
    现病史 "5年前38冠周炎拔除"   ->  冠周炎 K05.3 past

What is present is read from the diagnosis alone. History and examination add what they negate, suspect or tell as past:
evidence, and never a label. A condition stands once for each field and status, with the span of its first mention and
the teeth of all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import pyarrow as pa

from codelib.contracts import ANNOTATED, OK, TEXT_FIELDS
from codelib.core.config import Settings
from codelib.data.annotate_context import SEGMENT_END, Segment, segments, status_of
from codelib.data.annotate_terms import Condition, Match, dictionary, find_conditions

_DIAGNOSIS = "diagnosis"
_CONTEXT_FIELDS = ("present_illness", "past_medical_record", "examination")
_ITEM_ENDS = "、"
_LIST_NUMBER = "0123456789.．)）(（、:：#-—+ \t"


class AnnotateSettings(Settings):
    """``labels=published`` repeats the paper's rule: present wherever the name occurs in the record, negations included."""

    labels: Literal["status", "published"] = "status"


DEFAULT = AnnotateSettings()


def annotate(table: pa.Table, settings: AnnotateSettings = DEFAULT) -> pa.Table:
    """BILINGUAL → ANNOTATED. A rejected row passes with no diseases and no class."""
    rows = []
    for row in table.to_pylist():
        row["diseases"], row["six_class"] = [], None
        if row["status"] == OK:
            row["diseases"] = _published(row) if settings.labels == "published" else _by_status(row)
            row["six_class"] = _six_class(row["diseases"])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=ANNOTATED.schema)


def unknown_diagnoses(table: pa.Table) -> list[tuple[str, int]]:
    """The parts of the diagnoses in which no condition was found, and how often each occurs; the most frequent first.

    ``table`` is BILINGUAL or ANNOTATED. Teeth, list numbers and blanks are taken off, so that 11死髓 and 2.21死髓 count as one.
    """
    counts: Counter[str] = Counter()
    for row in table.select([f"{_DIAGNOSIS}_cn", "teeth", "status"]).to_pylist():
        text = row[f"{_DIAGNOSIS}_cn"] or ""
        if row["status"] != OK or not text:
            continue
        teeth = _teeth(row, _DIAGNOSIS)
        found = find_conditions(text, [(t["start"], t["end"]) for t in teeth])
        for part in _parts(text, teeth):
            if any(match.start < part.end and part.start < match.end for match in found):
                continue
            if words := _without_teeth(text, part, teeth):
                counts[words] += 1
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _by_status(row: dict[str, Any]) -> list[dict[str, Any]]:
    diseases = _field_diseases(row, _DIAGNOSIS)
    for field in _CONTEXT_FIELDS:
        found = _field_diseases(row, field)
        if field == "past_medical_record":  # what stands there without a cue is history
            found = _merged([d | {"status": "past"} if d["status"] == "present" else d for d in found])
        diseases += [disease for disease in found if disease["status"] != "present"]
    return diseases


def _field_diseases(row: dict[str, Any], field: str) -> list[dict[str, Any]]:
    text = row[f"{field}_cn"] or ""
    teeth = _teeth(row, field)
    matches = find_conditions(text, [(t["start"], t["end"]) for t in teeth])
    diseases: list[dict[str, Any]] = []
    at = 0
    for segment in segments(text) if matches else ():
        inside: list[Match] = []
        while at < len(matches) and matches[at].start < segment.end:
            inside.append(matches[at])
            at += 1
        spans = [(match.start, match.end) for match in inside]
        linked = _linked_teeth(text, segment, spans, teeth)
        for n, match in enumerate(inside):
            status = status_of(text, segment, spans, n)
            diseases.append(_disease(match.condition, status, field, text, spans[n], linked[n]))
    return _merged(diseases)


def _teeth(row: dict[str, Any], field: str) -> list[dict[str, Any]]:
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
        numbers = list(dict.fromkeys(number for tooth in before for number in tooth["fdi"]))
        linked.append(numbers or (linked[-1] if linked else []))
    return linked


def _disease(condition: Condition, status: str, field: str, text: str, span: tuple[int, int], fdi: list[str]) -> dict[str, Any]:
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


def _six_class(diseases: list[dict[str, Any]]) -> str | None:
    classes = {disease["six_class"] for disease in diseases if disease["status"] == "present"} - {None}
    return classes.pop() if len(classes) == 1 else None


def _published(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Each condition whose name or synonym stands anywhere in the record, at its first place, as present."""
    diseases = []
    for condition in dictionary():
        for field in TEXT_FIELDS:
            text = row[f"{field}_cn"] or ""
            places = [(text.find(term), term) for term in (condition.zh, *condition.synonyms) if term in text]
            if places:
                start, term = min(places)
                diseases.append(_disease(condition, "present", field, text, (start, start + len(term)), []))
                break
    return diseases


def _parts(text: str, teeth: list[dict[str, Any]]) -> list[Segment]:
    """Segments, and inside them what stands between 、 that belong to no list of teeth."""
    parts = []
    for segment in segments(text):
        start = segment.start
        for at in range(segment.start, segment.end):
            if text[at] in _ITEM_ENDS and not any(t["start"] <= at < t["end"] for t in teeth):
                parts.append(Segment(start, at))
                start = at + 1
        parts.append(Segment(start, segment.end))
    return parts


def _without_teeth(text: str, part: Segment, teeth: list[dict[str, Any]]) -> str:
    inside = [t for t in teeth if part.start <= t["start"] < part.end]
    words = "".join(
        char
        for at, char in enumerate(text[part.start : part.end], part.start)
        if not any(t["start"] <= at < t["end"] for t in inside)
    )
    words = words.strip(_LIST_NUMBER)
    return "" if SEGMENT_END.fullmatch(words) else words
