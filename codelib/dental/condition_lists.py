"""The term lists of the diagnoses, and a clinic's own lists laid over them.

    terms/diagnoses.csv      zh, synonyms_zh, en, icd10_who     one condition a line
    terms/six_class.csv      zh, six_class, disputed, question  which class of the benchmark a condition counts for
    terms/english_names.csv  zh, names_en                       what a record calls it in English (irreversible pulpitis)
    terms/no_conditions.txt  words that hold a condition's name and are none (防龋)

A list of a clinic has the same columns. It is read where the settings are checked, so that a mistake in it is told before anything runs, its
content is part of the stage's key, and no worker needs the file.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from codelib.contracts import SIX_CLASSES
from codelib.core.config import Settings, nearest
from codelib.dental.teeth_lists import of_path, table_lines

TERMS = Path(__file__).parent / "terms"
_ICD10 = re.compile(r"[A-Z][0-9]{2}(\.[0-9]{1,3})?")
_CJK = re.compile(r"[\u3400-\u9fff\U00020000-\U0002ffff]")


@dataclass(frozen=True)
class Condition:
    """A row of the dictionary. ``synonyms``: one that begins with # counts only behind a tooth number."""

    zh: str
    en: str
    icd10: str | None
    six_class: str | None
    synonyms: tuple[str, ...]
    disputed: bool = False  # a dentist has to decide whether its class is right
    names_en: tuple[str, ...] = ()  # looked for as synonyms are; the paper's rule knows the Chinese names alone


class TermRow(Settings):
    """A line of a clinic's diagnosis list. An empty ``en`` or ``icd10`` keeps what the built-in list says."""

    zh: str
    synonyms: tuple[str, ...] = ()
    en: str = ""
    icd10: str = ""


class ClassRow(Settings):
    """A line of a clinic's class list. An empty ``six_class`` takes the condition out of its class."""

    zh: str
    six_class: str = ""
    disputed: bool = False
    where: str = Field("", exclude=True, repr=False)  # "file: line 3", for messages; no part of what is recorded


def _closest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.3)  # Chinese names are short
    return f"did you mean {close[0]}?" if close else "the names stand in codelib/dental/terms/diagnoses.csv"


# --- reading a clinic's file ---------------------------------------------------------------------------------------------------


def read_terms(path: str) -> tuple[TermRow, ...]:
    """A clinic's diagnosis list. Raises ValueError naming file, line, value and way out."""
    rows: list[TermRow] = []
    owner: dict[str, str] = {}
    for where, cells in table_lines(path, ("zh",), ("synonyms_zh", "en", "icd10_who", "confidence", "note")):
        zh, icd10 = cells["zh"], cells.get("icd10_who", "")
        synonyms = tuple(term.strip() for term in cells.get("synonyms_zh", "").split(";") if term.strip())
        if not zh:
            raise ValueError(f"{where}: zh is empty; give the condition's name")
        if icd10 and not _ICD10.fullmatch(icd10):
            raise ValueError(f"{where}: icd10_who {icd10}: no ICD-10 code; write it as K02.1, or leave it empty")
        for term in (zh, *synonyms):
            if len(term.lstrip("#")) < 2 and not _CJK.search(term):
                raise ValueError(f"{where}: {term}: too short to be told from other words; write it out")
            if owner.setdefault(term, where) != where:
                raise ValueError(f"{where}: {term} stands in {owner[term].rpartition(': ')[2]} too; leave it in one of them")
        if zh not in _builtin() and not cells.get("en"):
            raise ValueError(
                f"{where}: {zh} is new and has no en; give its English name, or the name of a known condition: {_closest(zh, _builtin())}"
            )
        rows.append(TermRow(zh=zh, synonyms=synonyms, en=cells.get("en", ""), icd10=icd10))
    return tuple(rows)


def read_classes(path: str) -> tuple[ClassRow, ...]:
    """A clinic's (or a study's) class list. Raises ValueError naming file, line, value and way out."""
    rows: list[ClassRow] = []
    seen: dict[str, str] = {}
    for where, cells in table_lines(path, ("zh", "six_class"), ("disputed", "question")):
        zh, six_class, disputed = cells["zh"], cells["six_class"], cells.get("disputed", "").lower()
        if six_class and six_class not in SIX_CLASSES:
            raise ValueError(f"{where}: six_class {six_class}: {nearest(six_class, SIX_CLASSES)}")
        if disputed not in ("", "yes", "no"):
            raise ValueError(f"{where}: disputed {disputed}: write yes, or leave it empty")
        if not zh or seen.setdefault(zh, where) != where:
            raise ValueError(f"{where}: zh {zh or 'is empty'}: every condition stands once; leave one line")
        rows.append(ClassRow(zh=zh, six_class=six_class, disputed=disputed == "yes", where=where))
    return tuple(rows)


TermList = Annotated[tuple[TermRow, ...], of_path(read_terms)]
ClassList = Annotated[tuple[ClassRow, ...], of_path(read_classes)]


# --- the built-in lists, and both together -------------------------------------------------------------------------------------


@cache
def _builtin() -> Mapping[str, Condition]:
    with (TERMS / "six_class.csv").open(encoding="utf-8", newline="") as file:
        classes = {row["zh"]: row for row in csv.DictReader(file)}
    with (TERMS / "english_names.csv").open(encoding="utf-8", newline="") as file:
        english = {row["zh"]: tuple(row["names_en"].split(";")) for row in csv.DictReader(file)}
    with (TERMS / "diagnoses.csv").open(encoding="utf-8", newline="") as file:
        conditions = {
            row["zh"]: Condition(
                zh=row["zh"],
                en=row["en"],
                icd10=row["icd10_who"] or None,
                six_class=classes.get(row["zh"], {}).get("six_class") or None,
                synonyms=tuple(term for term in row["synonyms_zh"].split(";") if term),
                disputed=classes.get(row["zh"], {}).get("disputed") == "yes",
                names_en=english.get(row["zh"], ()),
            )
            for row in csv.DictReader(file)
        }
    assert set(classes) | set(english) <= set(conditions), (
        "six_class.csv or english_names.csv names a condition that diagnoses.csv has not"
    )
    return conditions


@cache
def no_conditions() -> tuple[str, ...]:
    lines = (TERMS / "no_conditions.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@cache
def conditions(terms: tuple[TermRow, ...] = (), classes: tuple[ClassRow, ...] = ()) -> tuple[Condition, ...]:
    """The built-in list with a clinic's lists over it. A term that the clinic names belongs to the clinic's line, and to no other.

    Raises ValueError where a class is given to a condition that neither list has.
    """
    claimed = {term: row.zh for row in terms for term in (row.zh, *row.synonyms)}
    merged: dict[str, Condition] = {}
    for zh, old in _builtin().items():
        if claimed.get(zh, zh) == zh:
            synonyms, names_en = (tuple(t for t in terms if claimed.get(t, zh) == zh) for terms in (old.synonyms, old.names_en))
            merged[zh] = replace(old, synonyms=synonyms, names_en=names_en)
    for row in terms:
        before = merged.get(row.zh) or Condition(row.zh, row.en, None, None, ())
        synonyms = tuple(dict.fromkeys([*before.synonyms, *row.synonyms]))
        merged[row.zh] = replace(before, en=row.en or before.en, icd10=row.icd10 or before.icd10, synonyms=synonyms)
    for place in classes:
        if place.zh not in merged:
            raise ValueError(
                f"{place.where or 'six_class'}: {place.zh} is no condition of the list; {_closest(place.zh, merged)}"
            )
        merged[place.zh] = replace(merged[place.zh], six_class=place.six_class or None, disputed=place.disputed)
    return tuple(merged.values())
