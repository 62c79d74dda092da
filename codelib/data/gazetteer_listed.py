"""Names of a clinic's list, found in any visit: thousands of names, of which a text holds none or a few.

    names ─ keys: what one of its variants must hold ─┐
    text ─ letters and digits alone ──────────────────┴─ names and initials that may stand there ─ the gazetteer's patterns, of these only

A pattern of all variants of ten thousand names would take seconds a visit; the keys take the time of a look into a dictionary for each
character. A listed name has the variants of a staff name, with more caution: the list is large, and meets every visit. A given name, or a whole
one, that is a word of the language (立新, 高峰) counts only where a person can stand, and initials that are an abbreviation of records never.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

from codelib.data.gazetteer_variants import ABBREVIATIONS, INITIALS, LISTED, TITLE_FOLLOWS, TITLED, is_word, readings
from codelib.data.identifiers import fold
from codelib.data.person_names_lists import simplify, surname_length

Terms = tuple[tuple[str, str], ...]  # (kind, value): as in contracts.IDENTIFIER, or a kind of gazetteer_variants
_SHORTEST_PINYIN = 4


def squeezed(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return "".join(char for char in unicodedata.normalize("NFKC", simplify(text)).lower() if char.isalnum())


class ListedNames:
    """An index over a clinic's names."""

    def __init__(self, names: Sequence[str]) -> None:
        keyed: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._families: set[str] = set()
        for name in names:
            plain = simplify(fold(name).text).strip()
            for key, term in _keys(plain):
                keyed[key].add(term)
            family = surname_length(plain, 0)
            if family and not plain.isascii():
                self._families.add(plain[:family])
        self._terms = {key: tuple(sorted(terms)) for key, terms in keyed.items()}
        lengths: dict[str, set[int]] = defaultdict(set)
        for key in self._terms:
            lengths[key[:2]].add(len(key))
        self._lengths = {begin: tuple(sorted(found)) for begin, found in lengths.items()}

    def in_text(self, text: str) -> list[Terms]:
        """One-term tuples, so that each is compiled once whatever stands beside it."""
        found: dict[tuple[str, str], None] = {}
        whole = squeezed(text)
        for letters in dict.fromkeys((whole, re.sub(r"(?<=[a-z])[1-5](?=[a-z]|$)", "", whole))):  # zhou1yan2
            for at in range(len(letters) - 1):
                for size in self._lengths.get(letters[at : at + 2], ()):
                    found.update(dict.fromkeys(self._terms.get(letters[at : at + size], ())))
        plain = simplify(fold(text).text)
        for title in TITLE_FOLLOWS.finditer(plain):
            for size in (2, 1):
                family = plain[max(0, title.start() - size) : title.start()]
                if len(family) == size and family in self._families:
                    found[TITLED, family] = None
        return [(term,) for term in found]


def _keys(name: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """What a text holds in which a variant of the name stands, and the term that it asks for."""
    term, plain = (LISTED, name), squeezed(name)
    if not plain or not any("\u3400" <= char <= "\u9fff" for char in plain):
        yield from _latin_keys(name, term)
        return
    family = surname_length(name, 0)
    given = name[family:]
    if not family or family == len(name) or "·" in name:
        yield plain, term
        for part in name.split("·") if "·" in name else ():
            yield squeezed(part), term
            yield from (("".join(syllables), term) for syllables in readings(part) if len("".join(syllables)) >= 6)
    elif len(given) >= 2 and not is_word(given):
        yield squeezed(given), term
    else:
        yield plain, term
    for syllables in readings(plain):
        first, rest = "".join(syllables[:family]), syllables[family:]
        letters = "".join(rest)
        if len(first + letters) < _SHORTEST_PINYIN:
            continue
        yield first + letters, term
        if not first or not rest:
            continue
        yield letters + first, term
        if len(rest) >= 2 and len(letters) >= 6:
            yield letters, term
        initials = "".join(syllable[0] for syllable in rest)
        yield from ((key, term) for key in (first + initials, initials + first))
        capitals = (first[0] + initials).upper()
        if not ABBREVIATIONS.fullmatch(capitals):
            yield capitals.lower(), (INITIALS, capitals)


def _latin_keys(name: str, term: tuple[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    words = [squeezed(word) for word in re.split(r"[ ,.]+", name) if word]
    yield "".join(words), term
    yield "".join(reversed(words)), term
    if len(words) >= 2:
        yield words[0][:1] + words[-1], term
        yield words[-1] + words[0][:1], term
        yield from (("".join(part), term) for part in (words[1:], words[:-1]) if len(words) > 2)
    parts = [squeezed(word) for word in re.split(r"[ ,.\-]+", name) if word]
    yield from ((word, term) for word in parts if len(word) >= _SHORTEST_PINYIN)
