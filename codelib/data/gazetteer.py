"""The visit's own identifiers, in every way they are likely to be written again in its text.

    identifiers of the row ─ terms (cleaned, checked) ─┬─ pattern of variants     find()      replaced
                                                       └─ squeezed forms          hidden()    what still shows once blanks, dots,
                                                                                              case and width are taken away
A column is not trusted to hold what its name says: blanks, 无, one character, a department or an amount of money never become
a term, because a term is removed wherever it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, product

from pypinyin import Style, pinyin

from codelib.data.identifiers import BARRIER, CJK, Finding, contains_identifier, fold
from codelib.data.person_names import NOT_GIVEN, allowed_words, surname_length

Terms = tuple[tuple[str, str], ...]  # (kind, value), as in contracts.IDENTIFIER

_EMPTY = re.compile(r"[\s/\\\-—.。,，*×xX_无無暂未知不详空否有是男女]*|null|none|nan|n/?a", re.IGNORECASE)
_TITLE = re.compile(
    r"(?:副?主任|主治|住院|执业|助理)?(?:医师|医生|大夫|护士长?|老师|教授|主任|院长|先生|女士|小姐|[A-Z]?\d{2,}$)"
)
_TITLES = "(?=副?主任|医|醫|大夫|护|護|老师|先生|女士|小姐|院长|教授|主治)"
_CHINESE = re.compile(rf"[{CJK}·•]{{2,12}}")
_PLACE = re.compile(r".*?(?:省|自治区|市|区|县|街道|镇|乡)(?=.)")
_ROAD = re.compile(rf"[{CJK}]{{2,8}}(?:路|街|大道|巷|弄|小区|花园|公寓|新村|家园|苑|村|大厦)")
_DATE = re.compile(r"((?:19|20)\d{2})\s*[-./年]\s*(\d{1,2})\s*[-./月]\s*(\d{1,2})\s*日?(?:[ T]0?0:00(?::00)?)?")
_NUMERALS = dict(zip("〇零一二三四五六七八九幺两", "0012345678912", strict=True))
_BY_ROLE = "by role"
_CLASS = {"name": "NAME", "staff": "NAME", "phone": "PHONE", "id_number": "ID", "address": "ADDRESS", "other": "RECORD_NO"}


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isdigit())


def _pieces(value: str) -> list[str]:
    """A cell that names several: 何志强、赵敏 (护士), 13911112222/0571-88120000."""
    return [piece.strip() for piece in re.split(r"[,，、;；/|()（）\n\[\]]|\s{2,}", value) if piece.strip()]


def _usable(word: str) -> bool:
    return len(word) >= 2 and not _EMPTY.fullmatch(word) and word not in allowed_words() and len(set(word)) > (len(word) < 2)


def _can_be_a_name(word: str) -> bool:
    """A cell of a name column that holds 口腔科 or 洗牙 names nobody; with a surname, one odd character is forgiven."""
    family = surname_length(word, 0)
    odd = [char in NOT_GIVEN for char in word[family:]]
    return word not in allowed_words() and (not any(odd) if not family else not odd or not all(odd))


def _pinyins(name: str) -> Iterator[tuple[str, ...]]:
    """Readings of a name, syllable by syllable; ü also as v and u."""
    readings = pinyin(name, style=Style.NORMAL, heteronym=True, errors="ignore")
    wider = [sorted({form for r in several for form in (r, r.replace("v", "u"), r.replace("v", "yu"))}) for several in readings]
    yield from islice(product(*wider), 8)


def _name_variants(name: str, staff: bool) -> Iterator[tuple[str, str]]:
    """(class, regex) of a Chinese name: whole, with blanks inside, given name alone, with a title, nicknames, pinyin."""
    family = surname_length(name, 0) or 1
    given = name[family:]
    if _usable(name):
        yield "NAME", r"\s{0,2}".join(map(re.escape, name))
    if len(given) >= 2 and _usable(given):
        yield "NAME", re.escape(given)
    yield "NAME", rf"{re.escape(name[:family])}{_TITLES}"
    if not staff and given:
        for nick in (f"小{given[-1]}", f"阿{given[-1]}", given[-1] * 2):
            if _usable(nick):
                yield "NAME", re.escape(nick)
    for syllables in _pinyins(name):
        first, rest = "".join(syllables[:family]), syllables[family:]
        last = "".join(rest)
        if not rest or len(first) + len(last) < 4:
            continue
        gap, inner = r"[\s\-_.,·]{0,2}", r"[\s\-']?"
        letters = rf"(?:{first}{gap}{inner.join(rest)}|{inner.join(rest)}{gap}{first})"
        yield "NAME", rf"(?<![A-Za-z])(?i:{letters})(?![A-Za-z])"


def _number_variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    number = re.sub(r"[^\dA-Za-z]", "", unicodedata.normalize("NFKC", value))
    digits = _digits(number)
    if len(digits) < 6 or len(number) - len(digits) > 4:
        return
    joined = r"[\s.\-]{0,2}".join(re.escape(char) for char in number)
    yield _CLASS[kind], rf"(?<!\d)(?:\(?\+?86\)?[\s\-]?)?(?i:{joined})(?!\d)"
    landline = re.fullmatch(r"(?:86)?(0\d{2,3})([2-9]\d{6,7})", digits)
    if kind == "phone" and landline:
        # 0571-88120000 is also written 88120000
        yield "PHONE", r"(?<!\d)" + r"[\s\-]?".join(landline[2]) + r"(?!\d)"
        separated = re.split(r"\D+", value.strip())
        if len(separated) == 2 and len(separated[1]) >= 7:
            yield "PHONE", rf"(?<!\d){re.escape(separated[1])}(?!\d)"


def _address_variants(value: str) -> Iterator[tuple[str, str]]:
    """The address, its tails without province, city and district, and the name of its road or estate."""
    rest = value
    while len(rest) >= 4:
        yield "ADDRESS", re.escape(rest)
        cut = _PLACE.match(rest)
        if not cut:
            break
        rest = rest[cut.end() :]
    for road in _ROAD.findall(rest):
        if _usable(road):
            yield "ADDRESS", re.escape(road)


def _other_variants(value: str) -> Iterator[tuple[str, str]]:
    """An unmapped column may hold anything: only what has the form of an identifier becomes a term."""
    date = _DATE.fullmatch(value)
    if date:
        year, month, day = date[1], int(date[2]), int(date[3])
        yield "DATE", rf"(?<!\d){year}\s?[-./年]?\s?0?{month}\s?[-./月]?\s?0?{day}(?!\d)日?"
        return
    if re.fullmatch(r"[\d.]+(?:元|mm|ml|%)?", value) and len(_digits(value)) < 7:
        return  # an amount
    if _CHINESE.fullmatch(value):
        if 2 <= len(value) <= 4 and surname_length(value, 0) and _usable(value) and not _clinical(value):
            yield "NAME", re.escape(value)
        elif _ROAD.search(value) and len(value) >= 5:
            yield from _address_variants(value)
        return
    found = contains_identifier(value)
    if found and len(value) >= 5:
        yield found, re.escape(value)
    yield from _number_variants("other", value)


def _clinical(word: str) -> bool:
    """A part of the word is a word of records: 高血压, 金属冠, 全科."""
    words = allowed_words()
    return any(word[i : i + size] in words for size in (2, 3) for i in range(len(word) - size + 1))


def _variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    value = fold(value).text.strip()
    if len(value) < 2 or _EMPTY.fullmatch(value):
        return
    if kind == _BY_ROLE:
        if _usable(value):
            yield "NAME", re.escape(value)
        return
    if kind in ("name", "staff"):
        for piece in _pieces(value):
            name = _TITLE.sub("", piece).strip()
            squeezed = re.sub(r"\s+", "", name)
            if _CHINESE.fullmatch(squeezed) and _can_be_a_name(squeezed):
                yield from _name_variants(squeezed, kind == "staff")
                for part in re.split("[·•]", squeezed):
                    if "·" in squeezed and len(part) >= 2 and _usable(part):
                        yield "NAME", re.escape(part)
            elif re.fullmatch(r"[A-Za-z][A-Za-z .'\-]{3,40}", name) and not _EMPTY.fullmatch(name):
                words = [word for word in re.split(r"[\s.]+", name) if word]
                yield "NAME", r"(?<![A-Za-z])(?i:" + r"[\s\-_.]{0,2}".join(map(re.escape, words)) + r")(?![A-Za-z])"
            elif len(_digits(name)) >= 6:
                yield from _number_variants("other", name)
    elif kind in ("phone", "id_number"):
        for piece in _pieces(value):
            yield from _number_variants(kind, piece)
    elif kind == "address":
        yield from _address_variants(value)
    else:
        yield from _other_variants(value)


@lru_cache(maxsize=512)
def _compiled(terms: Terms) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """One pattern for each class. The staff of a batch comes with each of its visits: that part is compiled once."""
    by_class: dict[str, set[str]] = {}
    for kind, value in terms:
        for cls, variant in _variants(kind, value):
            by_class.setdefault(cls, set()).add(variant)
    # longest first: 欧阳静怡 before 静怡
    return tuple(
        (cls, re.compile("|".join(sorted(found, key=lambda v: (-len(v), v))))) for cls, found in sorted(by_class.items())
    )


@lru_cache(maxsize=512)
def _squeezed_terms(terms: Terms) -> tuple[tuple[str, str, bool], ...]:
    """(class, squeezed form, short): short ones are looked for without crossing a punctuation mark."""
    squeezed: set[tuple[str, str, bool]] = set()
    for kind, value in terms:
        value = fold(value).text.strip()
        if len(value) < 2 or _EMPTY.fullmatch(value):
            continue
        for piece in _pieces(value):
            plain = _TITLE.sub("", piece) if kind in ("name", "staff") else piece
            plain = re.sub(r"[\W_]", "", plain).lower()
            if kind in ("name", "staff") and _CHINESE.fullmatch(plain) and _usable(plain) and _can_be_a_name(plain):
                squeezed.add(("NAME", plain, len(plain) == 2))
                squeezed.update(("NAME", "".join(s), False) for s in _pinyins(plain) if len("".join(s)) >= 6)
            elif kind in ("phone", "id_number") and len(_digits(plain)) >= 7:
                squeezed.add((_CLASS[kind], plain, False))
    return tuple(sorted(squeezed))


def _squeeze(text: str, keep_clauses: bool) -> tuple[str, list[int]]:
    """Letters and digits alone, lower case, Chinese numerals as digits within numbers; and where each came from."""
    chars: list[str] = []
    places: list[int] = []
    for i, char in enumerate(text):
        for part in unicodedata.normalize("NFKC", char).lower():
            if part.isalnum() or part == BARRIER or (keep_clauses and part in ",.;:!?，。；：！？、\n"):
                chars.append(part)
                places.append(i)
    return "".join(chars), places


class Gazetteer:
    """The identifiers of one visit (and the staff of its batch), to be found in its text."""

    def __init__(self, identifiers: Iterable[dict[str, str]] | None) -> None:
        rows = [(row["kind"] or "other", row["value"] or "") for row in identifiers or ()]
        self._staff: Terms = tuple(sorted({row for row in rows if row[0] == "staff"}))
        self._own: Terms = tuple(sorted({row for row in rows if row[0] != "staff"}))

    def and_names(self, names: Iterable[str]) -> Gazetteer:
        """The same and the whole names that a role gave away in one of the visit's fields: they may stand bare in another."""
        wider = Gazetteer(())
        wider._staff = self._staff
        found = {(_BY_ROLE, name) for name in names if _CHINESE.fullmatch(name) and surname_length(name, 0) < len(name)}
        wider._own = tuple(sorted({*self._own, *found}))
        return wider

    def _each(self) -> Sequence[Terms]:
        return [terms for terms in (self._own, self._staff) if terms]

    def find(self, text: str) -> list[Finding]:
        folded = fold(text)
        found = []
        for terms in self._each():
            for cls, pattern in _compiled(terms):
                found += [Finding(*folded.span(m.start(), m.end()), cls) for m in pattern.finditer(folded.text) if m.group()]
        return sorted(found)

    def hidden(self, text: str) -> list[Finding]:
        """What still shows of the terms in a text whose findings were replaced, once it is squeezed. Placeholders are masked."""
        found = []
        loose, loose_places = _squeeze(text, keep_clauses=False)
        strict, strict_places = _squeeze(text, keep_clauses=True)
        numerals = "".join(_NUMERALS.get(char, char) for char in loose)
        for terms in self._each():
            for cls, form, short in _squeezed_terms(terms):
                where, places = (strict, strict_places) if short else (loose, loose_places)
                for squeezed in dict.fromkeys((where, numerals) if cls != "NAME" else (where,)):
                    at = squeezed.find(form)
                    if at >= 0:
                        found.append(Finding(places[at], places[at + len(form) - 1] + 1, cls))
        return sorted(set(found))
