"""A clinic's own lists for de-identification: names that are looked for in every visit, and words that are no names.

    deidentify.names_file   staff, referrers, patients known to the clinic      .csv with a column name, or .txt with one a line
    deidentify.words_file   words of the clinic that look like names (康复新)    .csv with a column word, or .txt with one a line

The driver reads and checks them where the settings are checked. What the workers need lies in private/lists under a keyed hash of its content,
and that hash stands in the stage's settings: a changed list makes de-identification and what follows it again, and no public file, log or
message holds an entry. Messages name file and line only.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from codelib.core.store import Store
from codelib.data.gazetteer_listed import ListedNames
from codelib.data.identifiers import fold
from codelib.data.person_names_lists import CJK, simplify
from codelib.data.sheets import decode_text
from codelib.data.vault import Keyed

FOLDER = "lists"
_LONGEST = 40  # characters of a name or a word
_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|[·.'\- ]){0,38}[^\W\d_]\.?")
_WORD = re.compile(rf"(?=.*[{CJK}A-Za-z])[^,，;；、|\t]{{2,}}")


@dataclass(frozen=True, repr=False)
class ClinicLists:
    """Both lists as the stage uses them; empty where the clinic has none. Never printed."""

    names: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()  # folded and simplified

    def __bool__(self) -> bool:
        return bool(self.names or self.words)

    def content(self) -> str:
        return json.dumps({"names": self.names, "words": sorted(self.words)}, ensure_ascii=False)

    def key(self, keyed: Keyed) -> str:
        """What stands for them in settings and file names."""
        return keyed.text("clinic-lists", self.content())

    @cached_property
    def listed(self) -> ListedNames | None:
        return ListedNames(self.names) if self.names else None

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.words), default=0)

    def explains(self, text: str, start: int, end: int, spare: int = 0) -> bool:
        """The stretch lies wholly within a word that the clinic calls no name: 康复新 explains 康复, and not 康复新华.

        ``spare``: so many characters behind the word are forgiven where the stretch begins in it; 欧洁 explains 欧洁|含, the doubt.
        """
        if not self.words:
            return False
        plain = plainly(text)
        return any(
            plain[begin:stop] in self.words
            for begin in range(max(0, end - spare - self._longest), start + 1)
            for stop in range(max(start + 1, end - spare), min(len(plain), begin + self._longest) + 1)
        )


NO_LISTS = ClinicLists()


def plainly(text: str) -> str:
    """Simplified and in lower case, character for character."""
    plain = simplify(text)
    return lower if len(lower := plain.lower()) == len(plain) else plain


# --- the clinic's files --------------------------------------------------------------------------------------------------------


def read(names_file: str | None, words_file: str | None) -> ClinicLists:
    """Both lists. Raises ValueError with file, line and way out, never with an entry."""
    names = {fold(name).text.strip(): where for where, name in _entries(names_file, "name")} if names_file else {}
    for name, where in names.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{where}: no name can be read; write one whole name a line, letters only, at least two")
    words: dict[str, str] = {}
    for where, word in _entries(words_file, "word") if words_file else ():
        word = plainly(fold(word).text.strip())
        if not _WORD.fullmatch(word):
            raise ValueError(f"{where}: no word can be read; write one word a line, at least two characters")
        words.setdefault(word, where)
    known = {plainly(name) for name in names}
    for word, where in words.items():
        if word in known:
            raise ValueError(f"{where}: this word stands in {Path(names_file or '').name} as a name; leave it in one of them")
    return ClinicLists(tuple(sorted(names)), frozenset(words))


def _entries(path: str, column: str) -> Iterator[tuple[str, str]]:
    """("file: line 3", its entry)."""
    name = Path(path).name
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give the path of a .csv or .txt file") from None
    text = decode_text(content, name)
    if Path(path).suffix.lower() not in (".csv", ".txt"):
        raise ValueError(f"{name}: neither .csv nor .txt; save it as one of them")
    lines = _rows(text, name, column) if Path(path).suffix.lower() == ".csv" else enumerate(text.splitlines(), 1)
    found = [(f"{name}: line {number}", entry.strip()) for number, entry in lines if entry.strip() and not entry.startswith("#")]
    if not found:
        raise ValueError(f"{name}: empty; write one {column} a line, or leave the setting out")
    for where, entry in found:
        if len(entry) > _LONGEST:
            raise ValueError(f"{where}: longer than {_LONGEST} characters; write one {column} a line")
    yield from found


def _rows(text: str, name: str, column: str) -> Iterator[tuple[int, str]]:
    reader = csv.DictReader(io.StringIO(text))
    header = [cell.strip() for cell in reader.fieldnames or ()]
    if column not in header or set(header) - {column, "note"}:
        raise ValueError(
            f"{name}: line 1: its first line reads {column} or {column},note (a note is for people, and is not read)"
        )
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(
                f"{name}: line {reader.line_num}: not as many cells as columns; put a cell that holds a comma into quotes"
            )
        cells = {key.strip(): cell for key, cell in row.items()}
        yield reader.line_num, cells[column]


# --- on the way to the workers -------------------------------------------------------------------------------------------------


def hand_over(lists: ClinicLists, private: Store, keyed: Keyed) -> None:
    """Put them where workers find them, and remove those that they took the place of."""
    wanted = f"{FOLDER}/{lists.key(keyed)}.json"
    if lists and not private.exists(wanted):
        private.commit(wanted, lists.content().encode())
    for name in private.names(FOLDER):
        if not lists or name != wanted:
            private.delete(name)


def load(private: Store, key: str) -> ClinicLists:
    """The lists of a key; none where it is empty."""
    return _load(private, key) if key else NO_LISTS


@lru_cache(maxsize=2)
def _load(private: Store, key: str) -> ClinicLists:
    found = private.read_json(f"{FOLDER}/{key}.json")
    return ClinicLists(tuple(found["names"]), frozenset(found["words"]))
