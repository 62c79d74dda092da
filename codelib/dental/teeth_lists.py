"""A clinic's own lists as settings: the reader of their files, and the list of its names of teeth.

word,teeth,dentition
板牙,67,permanent        a group: a region where side and arch are said
大虎牙,3,permanent       one tooth
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from codelib.core.config import Settings, nearest
from codelib.dental.teeth_words import VOCABULARY, Name, fold


def of_path(reader: Callable[[str], Any]) -> BeforeValidator:
    """A setting that is given as a path and holds the file's rows; rows as they are (a recorded setting) pass."""
    return BeforeValidator(lambda value: reader(value) if isinstance(value, str) else value)


def table_lines(path: str, needed: Sequence[str], optional: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """("file: line 3", its cells by column). Raises ValueError with file, line and way out."""
    name = Path(path).name
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give the path of a CSV file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: not UTF-8; save it as CSV UTF-8") from None
    reader = csv.DictReader(io.StringIO(text))
    header = [column.strip() for column in reader.fieldnames or ()]
    known = (*needed, *optional)
    for column in header:
        if column not in known:
            raise ValueError(f"{name}: line 1: unknown column {column}; {nearest(column, known)}")
    if lacking := [column for column in needed if column not in header]:
        raise ValueError(f"{name}: line 1: no column {', '.join(lacking)}; its first line reads {','.join(known)}")
    rows = []
    for row in reader:
        where = f"{name}: line {reader.line_num}"
        if None in row or None in row.values():
            raise ValueError(f"{where}: not as many cells as columns; put a cell that holds a comma into quotes")
        cells = {column.strip(): cell.strip() for column, cell in row.items()}
        if any(cells.values()):
            rows.append((where, cells))
    return rows


class WordRow(Settings):
    """A line of a clinic's list of tooth names. ``teeth``: digits from the midline, one for a tooth, several for a region."""

    word: str
    teeth: str
    dentition: str = "permanent"


def read_words(path: str) -> tuple[WordRow, ...]:
    """A clinic's list of tooth names. Raises ValueError naming file, line, value and way out."""
    rows: list[WordRow] = []
    seen: set[str] = set()
    for where, cells in table_lines(path, ("word", "teeth"), ("dentition",)):
        word, teeth, dentition = cells["word"], cells["teeth"], cells.get("dentition") or "permanent"
        if dentition not in ("permanent", "primary"):
            raise ValueError(f"{where}: dentition {dentition}: {nearest(dentition, ('permanent', 'primary'))}")
        most = "12345678" if dentition == "permanent" else "12345"
        if not teeth or set(teeth) - set(most) or len(set(teeth)) != len(teeth):
            raise ValueError(
                f"{where}: teeth {teeth or 'is empty'}: give the digits from the midline, 1 to {most[-1]}, each once: 6 or 67"
            )
        if len(word) < 2 or any(kind != "NAME" for known, kind, _ in VOCABULARY.get(fold(word)[0], ()) if known == fold(word)):
            raise ValueError(
                f"{where}: word {word or 'is empty'}: too short, or a word of the grammar; give the whole name (板牙)"
            )
        if word in seen:
            raise ValueError(f"{where}: word {word} stands twice; leave one line")
        seen.add(word)
        rows.append(WordRow(word=word, teeth=teeth, dentition=dentition))
    return tuple(rows)


WordList = Annotated[tuple[WordRow, ...], of_path(read_words)]


def names_of(rows: tuple[WordRow, ...]) -> tuple[tuple[str, Name], ...]:
    """The list as the grammar takes it."""
    return tuple((row.word, Name(tuple(int(digit) for digit in row.teeth), row.dentition == "primary")) for row in rows)
