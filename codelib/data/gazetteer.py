"""The visit's own identifiers, in every way they are likely to be written again in its text.

    identifiers of the row ─ terms (cleaned, checked) ─┬─ pattern of variants     find()      replaced
                                                       └─ squeezed forms          hidden()    what still shows once blanks, dots,
                                                                                              case and width are taken away
A column is not trusted to hold what its name says: blanks, 无, a department or an amount of money never become a term, because
a term is removed wherever it stands. A name that is also a word of records (高强, 田) counts only where a name can stand.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from codelib.data.gazetteer_listed import ListedNames, Terms
from codelib.data.gazetteer_numbers import CLASS_OF, digits_of, pieces_of, usable
from codelib.data.gazetteer_variants import (
    BY_ROLE,
    CHINESE,
    DOUBT,
    INITIALS,
    LISTED,
    NAMED,
    NICK,
    TITLED,
    is_named,
    is_word,
    readings,
    variants,
)
from codelib.data.identifiers import BARRIER, Finding, fold
from codelib.data.name_cells import EMPTY, read_name_cell
from codelib.data.person_names_lists import CJK, PLAIN_CHARS, allowed_at, allowed_words, simplify, surname_length

_NUMERALS = dict(zip("〇零一二三四五六七八九幺两", "0012345678912", strict=True))
_OF_A_LIST = (LISTED, INITIALS, TITLED)
_STAFF = ("staff", NAMED["staff"])
_CJK_WORD = re.compile(rf"[{CJK}]+")


@lru_cache(maxsize=512)
def _compiled(terms: Terms) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """One pattern for each class. The staff of a batch comes with each of its visits: that part is compiled once."""
    by_class: dict[str, set[str]] = {}
    for kind, value in terms:
        for cls, variant in variants(kind, value):
            by_class.setdefault(cls, set()).add(variant)
    # longest first: 欧阳静怡 before 静怡
    return tuple(
        (cls, re.compile("|".join(sorted(found, key=lambda v: (-len(v), v))))) for cls, found in sorted(by_class.items())
    )


_compiled_listed = lru_cache(maxsize=1024)(_compiled.__wrapped__)  # of their own: a visit's terms must not push them out


@lru_cache(maxsize=512)
def _squeezed_terms(terms: Terms) -> tuple[tuple[str, str, bool], ...]:
    """(class, squeezed form, short): short ones are looked for without crossing a punctuation mark."""
    squeezed: set[tuple[str, str, bool]] = set()
    for kind, value in terms:
        value = simplify(fold(value).text).strip()
        if len(value) < 2 or EMPTY.fullmatch(value):
            continue
        for name in _whole_names(kind, value):
            plain = re.sub(r"[\W_]", "", name).lower()
            squeezed.add(("NAME", plain, len(plain) == 2))
            squeezed.update(("NAME", "".join(s), False) for s in readings(plain) if len("".join(s)) >= 6)
        for piece in pieces_of(value) if kind in ("phone", "id_number") else ():
            plain = re.sub(r"[\W_]", "", piece).lower()
            if len(digits_of(plain)) >= 7:
                squeezed.add((CLASS_OF[kind], plain, False))
    return tuple(sorted(squeezed))


def is_name_cell(kind: str, value: str) -> bool:
    """A cell that is read for names: of a column of patients or staff, or a patient's number without a digit."""
    return kind in ("name", "staff") or (kind == "patient_id" and not digits_of(value))


def _whole_names(kind: str, value: str) -> list[str]:
    if kind in (*NAMED.values(), LISTED):
        whole = re.sub(r"\s+", "", value)
        known = CHINESE.fullmatch(whole) and usable(whole) and not (kind == LISTED and is_word(whole))
        return [whole] if known else []
    if is_name_cell(kind, value):
        return [name for name in read_name_cell(value).chinese if usable(name)]
    squeezed = re.sub(r"\s+", "", value)
    return [squeezed] if kind == "other" and CHINESE.fullmatch(squeezed) and is_named(squeezed) else []


def _squeeze(text: str, keep_clauses: bool) -> tuple[str, list[int]]:
    """Letters and digits alone, lower case, Chinese numerals as digits within numbers; and where each came from."""
    chars: list[str] = []
    places: list[int] = []
    for i, char in enumerate(simplify(text)):
        for part in unicodedata.normalize("NFKC", char).lower():
            if part.isalnum() or part == BARRIER or (keep_clauses and part in ",.;:!?，。；：！？、\n"):
                chars.append(part)
                places.append(i)
    return "".join(chars), places


def _crossed(text: str, start: int, end: int) -> tuple[bool, bool]:
    """Whether a word of records crosses the left end of the span, and the right: 白|天明|显, 小|金|属."""
    words = allowed_words()
    left = any(text[begin : begin + size] in words for size in (2, 3, 4) for begin in range(max(0, start - size + 1), start))
    right = any(text[begin : begin + size] in words for size in (2, 3, 4) for begin in range(max(start, end - size + 1), end))
    return left, right


def _accidental(text: str, start: int, end: int, nickname: bool) -> bool:
    """The span is no name but the seam of two words (由于明显 and 于明), or a piece of one (小时, 阿奇霉素)."""
    if not _CJK_WORD.fullmatch(text, start, end) or end - start > 2:
        return False
    left, right = _crossed(text, start, end)
    if end - start == 1:
        return left  # 主任|医师, 牙周|医生: a surname before a title
    right = (
        right
        or (nickname and allowed_at(text, start))
        or any(
            text[begin : begin + size] in allowed_words() and begin + size > end for begin in (start + 1,) for size in (2, 3, 4)
        )
    )
    if nickname and text[start] == text[start + 1]:
        return left or right
    return right if nickname else left and right


def _half_accidental(text: str, start: int, end: int, doubt: bool) -> bool:
    """A listed name that goes on as a word: 于前|牙, whose surname is an everyday word, and 高峰|期."""
    if doubt:
        return is_word(text[start : end + 1]) or is_word(text[start : end + 2])
    return end - start == 2 and text[start] in PLAIN_CHARS and any(_crossed(text, start, end))


class Gazetteer:
    """The identifiers of one visit (and the staff of its batch), to be found in its text."""

    def __init__(self, identifiers: Iterable[dict[str, str]] | None, listed: ListedNames | None = None) -> None:
        """``listed``: the names of the clinic's own list."""
        self._listed = listed
        rows = [(row["kind"] or "other", row["value"] or "") for row in identifiers or ()]
        self._staff: Terms = tuple(sorted({row for row in rows if row[0] in _STAFF}))
        self._own: Terms = tuple(sorted({row for row in rows if row[0] not in _STAFF}))

    def and_names(self, names: Iterable[str]) -> Gazetteer:
        """The same and the whole names that a role gave away in one of the visit's fields: they may stand bare in another."""
        wider = Gazetteer((), self._listed)
        wider._staff = self._staff
        found = {(BY_ROLE, name) for name in names if CHINESE.fullmatch(name) and surname_length(name, 0) < len(name)}
        wider._own = tuple(sorted({*self._own, *found}))
        return wider

    def _each(self, text: str) -> Sequence[Terms]:
        listed = self._listed.in_text(text) if self._listed else ()
        return [terms for terms in (self._own, self._staff, *listed) if terms]

    def _matches(self, text: str) -> Iterator[Finding]:
        folded = fold(text)
        plain = simplify(folded.text)
        for terms in self._each(text):
            listed = terms[0][0] in _OF_A_LIST
            for cls, pattern in (_compiled_listed if listed else _compiled)(terms):
                for match in pattern.finditer(plain):
                    if not match.group() or (cls in ("NAME", NICK) and _accidental(plain, *match.span(), cls == NICK)):
                        continue
                    if listed and _half_accidental(plain, *match.span(), cls == DOUBT):
                        continue
                    if cls == DOUBT and allowed_at(plain, match.start()) and match.group() not in allowed_words():
                        continue  # 丁卡因, for a patient whose name cell is 丁
                    yield Finding(*folded.span(match.start(), match.end()), "NAME" if cls == NICK else cls)

    def find(self, text: str) -> list[Finding]:
        return sorted(found for found in self._matches(text) if found.cls != DOUBT)

    def hidden(self, text: str) -> list[Finding]:
        """What still shows of the terms in a text whose findings were replaced, once it is squeezed. Placeholders are masked."""
        found = [Finding(doubt.start, doubt.end, "NAME") for doubt in self._matches(text) if doubt.cls == DOUBT]
        loose, loose_places = _squeeze(text, keep_clauses=False)
        strict, strict_places = _squeeze(text, keep_clauses=True)
        numerals = "".join(_NUMERALS.get(char, char) for char in loose)
        for terms in self._each(text):
            for cls, form, short in _squeezed_terms(terms):
                where, places = (strict, strict_places) if short else (loose, loose_places)
                for squeezed in dict.fromkeys((where, numerals) if cls != "NAME" else (where,)):
                    at = squeezed.find(form)
                    while at >= 0 and cls == "NAME" and _accidental(squeezed, at, at + len(form), False):
                        at = squeezed.find(form, at + 1)
                    if at >= 0:
                        found.append(Finding(places[at], places[at + len(form) - 1] + 1, cls))
        return sorted(set(found))
