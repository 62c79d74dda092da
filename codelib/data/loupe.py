"""The loupe: what each text stage makes of one sentence, as JSON values. `python -m jobs.inspect text "…"` prints them.

    sentence ─ teeth ─ deidentify ─ annotate        the stages' own functions, on a table of one row
        └── "span" ──┴────┴─────────┘

{"text": what is released of the sentence ("" where it would be held back), "status": "ok" | "rejected", "reject_reason": …,
 "teeth":     [{"fdi", "span", "status", "in_text"}],           fdi of a region or a doubt: the teeth it may be
 "removed":   [{"class", "span", "in_text"}],                   in_text: where its placeholder stands
 "suspected": [{"class", "span"}],                              what the residual scan still sees: why it is held back
 "diagnoses": [{"zh", "en", "icd10", "status", "evidence", "teeth", "six_class", "span", "in_text"}]}

``span`` is [start, end) in characters of the sentence as it was given, ``in_text`` the same place in ``text`` (null where that place was removed
or nothing is released). The sentence itself is not repeated: it may hold what ``text`` no longer does. ``evidence`` is quoted from the
normalised text, and is words of the term list.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from codelib.contracts import BILINGUAL, OK, RECORDS, TEXT_FIELDS
from codelib.core.config import nearest
from codelib.data.annotate import DEFAULT as ANNOTATE
from codelib.data.annotate import AnnotateSettings, annotate
from codelib.data.clinic_names import ClinicLists
from codelib.data.deidentify import DeidentifySettings, deidentify
from codelib.data.deidentify_clean import Calendar, Cleaned, clean, find_names
from codelib.data.gazetteer import Gazetteer
from codelib.data.stages import codes_table
from codelib.data.teeth import DEFAULT as TEETH
from codelib.data.teeth import Normalised, TeethSettings, normalise_teeth, normalised

_DAY = dt.date(2024, 3, 1)
_SHIFT_DAYS = -100
"""There is no patient here whose offset it could be: an example, so that one sees dates move."""

_DEIDENTIFY = DeidentifySettings()


@dataclass(frozen=True)
class LoupeSettings:
    """The settings of the stages that are shown; names as in ``dataset:`` of a recipe."""

    teeth: TeethSettings = TEETH
    deidentify: DeidentifySettings = _DEIDENTIFY
    annotate: AnnotateSettings = ANNOTATE


def look(
    sentence: str, names: Sequence[str] = (), field: str = "diagnosis", settings: LoupeSettings | None = None
) -> dict[str, Any]:
    """What the stages make of ``sentence``, written in ``field`` of a visit whose columns hold ``names``.

    The default field is the diagnosis, the only one that says what is present. Raises ValueError on an unknown field.

    >>> look("左下6深龋")["diagnoses"][0]["teeth"]
    ['36']
    """
    if field not in TEXT_FIELDS:
        raise ValueError(f"field {field}: {nearest(field, TEXT_FIELDS)}")
    used = settings or LoupeSettings()
    names = [name.strip() for name in names if name.strip()]
    text_table = normalise_teeth(_records(sentence, names, field), used.teeth)
    codes = codes_table([["loupe", "0001-001", "0001", _SHIFT_DAYS]])
    lists = used.deidentify.lists()
    (released,) = deidentify(text_table, codes, used.deidentify, lists=lists).to_pylist()
    (text_row,) = text_table.to_pylist()
    places = _Places(
        normalised(sentence, used.teeth), _cleaned(text_row[field], names, used.deidentify, lists), released["status"] == OK
    )
    assert not places.released or places.cleaned.text == released[field], "the loupe shows what the stage does"
    return {
        "text": released[field] or "",
        "status": released["status"],
        "reject_reason": released["reject_reason"],
        "teeth": [_tooth(mention, places) for mention in range(len(places.teeth.mentions))],
        "removed": places.removed(),
        "suspected": [{"class": f.cls, "span": places.as_given(f.start, f.end)} for f in places.cleaned.residual],
        "diagnoses": _diagnoses(released if places.released else text_row, field, places, used.annotate),
    }


def _records(sentence: str, names: Sequence[str], field: str) -> pa.Table:
    row = dict.fromkeys(RECORDS.schema.names) | dict.fromkeys(TEXT_FIELDS, "")
    own = [{"kind": "name", "value": name} for name in names]
    day = f"{_DAY:%Y-%m-%d} 09:00"
    row |= {"visit_key": "loupe", "patient": "0", "checkup_time": day, "identifiers": own, "files": [], "status": OK}
    return pa.Table.from_pylist([row | {field: sentence}], schema=RECORDS.schema)


def _cleaned(text: str, names: Sequence[str], settings: DeidentifySettings, lists: ClinicLists) -> Cleaned:
    """The field as the stage cleans it, with its places: `deidentify` itself gives only the result and the counts."""
    own = Gazetteer([{"kind": "name", "value": name} for name in names], lists.listed)
    gazetteer = own.and_names(text[f.start : f.end] for f in find_names(text, lists))
    return clean(text, gazetteer, Calendar(settings.dates, _DAY, _SHIFT_DAYS), lists=lists, tagger=settings.name_tagger)


@dataclass(frozen=True)
class _Places:
    """Places in the sentence as given, after the teeth stage, and after de-identification."""

    teeth: Normalised
    cleaned: Cleaned
    released: bool

    @property
    def _written(self) -> Cleaned:
        edits = tuple((m.start, m.end, len(m.replacement)) for m in self.teeth.written)
        return Cleaned(self.teeth.text, Counter(), edits)

    def as_given(self, start: int, end: int) -> list[int]:
        """A span of the de-identified text in the sentence."""
        return self.from_normalised(*self.cleaned.before(start, end))

    def from_normalised(self, start: int, end: int) -> list[int]:
        return list(self._written.before(start, end))

    def in_text(self, start: int, end: int) -> list[int] | None:
        """A span of the normalised text in the released one."""
        moved = self.cleaned.moved(start, end) if self.released else None
        return list(moved) if moved else None

    def removed(self) -> list[dict[str, Any]]:
        rows, shift = [], 0
        for start, end, length in self.cleaned.edits:
            place = (start + shift, start + shift + length)
            new = self.cleaned.text[place[0] : place[1]]
            kind = new[1:-1] if new.startswith("[") else "AGE" if new.endswith("岁以上") else "DATE"
            span = self.from_normalised(start, end)
            rows.append({"class": kind, "span": span, "in_text": list(place) if self.released else None})
            shift += length - (end - start)
        return rows


def _tooth(index: int, places: _Places) -> dict[str, Any]:
    written, placed = places.teeth.written[index], places.teeth.mentions[index]
    return {
        "fdi": list(placed.fdi),
        "span": [written.start, written.end],
        "status": placed.status,
        "in_text": places.in_text(placed.start, placed.end),
    }


def _diagnoses(row: dict[str, Any], field: str, places: _Places, settings: AnnotateSettings) -> list[dict[str, Any]]:
    """Of the released text; where the sentence is held back, of the text of the teeth stage, so that one still sees them."""
    bilingual = {name: row.get(name) for name in BILINGUAL.schema.names}
    bilingual |= {f"{name}_cn": row[name] for name in TEXT_FIELDS} | {"checkup_id": "0001-001", "status": OK}
    (done,) = annotate(pa.Table.from_pylist([bilingual], schema=BILINGUAL.schema), settings).to_pylist()
    found = []
    for disease in done["diseases"]:
        start, end = disease["start"], disease["end"]
        span = places.as_given(start, end) if places.released else places.from_normalised(start, end)
        shown = {name: disease[name] for name in ("zh", "en", "icd10", "status", "evidence")}
        place = [start, end] if places.released else None
        found.append(shown | {"teeth": disease["fdi"], "six_class": disease["six_class"], "span": span, "in_text": place})
    return found
