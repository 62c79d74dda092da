"""What reviewers sent back: any CSV that a browser or a spreadsheet program saved, every bad cell named before anything is scored.

review/<name>/filled/*.csv + key  ->  read_filled(...)  ->  Filled: judgements (one a report), choices (one a case), comments
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codelib.core.store import Store
from codelib.evaluate.review_sheet import CRITERIA, FILLED

TIE = "tie"
_TIES = frozenset({"tie", "=", "equal", "equally good", "一样", "平", "相同"})
_SHOWN_CHARACTERS = 12  # of a cell that is named in a message: a longer one is a text
_MOST_FAULTS = 20
_NEEDED = ("sheet", "case", "report", *CRITERIA, "best")


@dataclass(frozen=True)
class Judgement:
    """One reviewer's ratings of one report, 1 to 5, None where left open. name: whose report it is."""

    reviewer: int
    case: int
    name: str
    ratings: Mapping[str, int | None]


@dataclass(frozen=True)
class Choice:
    """Which report of a case a reviewer called the best: a name, or TIE."""

    reviewer: int
    case: int
    name: str


@dataclass
class Filled:
    """``late``: files that judge cases of people who withdrew meanwhile; these rows are not read."""

    judgements: list[Judgement] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    comments: list[tuple[int, int, str]] = field(default_factory=list)  # reviewer, case, text
    late: list[str] = field(default_factory=list)


def read_filled(folder: Store, key: Mapping[str, Any]) -> Filled:
    """Raises ValueError naming every bad cell by file, row and column (rows as a spreadsheet program counts them)."""
    names = [name for name in folder.names(FILLED) if name.lower().endswith(".csv")]
    if not names:
        raise ValueError(f"{folder.root}/{FILLED}: no .csv file there; put what the reviewers sent back into it")
    faults: list[str] = []
    filled, owner = Filled(), dict[str, str]()
    for name in names:
        sheets = _Sheets(name.removeprefix(f"{FILLED}/"), key, faults)
        sheets.read(folder.read(name))
        if sheets.late:
            filled.late.append(name)
        for sheet in sheets.cells:
            if (other := owner.setdefault(sheet, name)) != name:
                faults.append(f"{name} and {other} are both of reviewer {key['sheets'][sheet]['reviewer']}: keep one of them")
        sheets.into(filled)
    if faults:
        more = f"\n  … and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise ValueError(f"{folder.root}/{FILLED}: mend these and score again:\n  " + "\n  ".join(faults[:_MOST_FAULTS]) + more)
    return filled


def rows_of(content: bytes) -> list[list[str]]:
    """The rows of a CSV file of any spreadsheet program: UTF-8 or GB 18030 (Excel in Chinese), comma, semicolon or tab. Raises ValueError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = content.decode("gb18030")
        except UnicodeDecodeError:
            raise ValueError("is no text; save it as CSV UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(1 << 24)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        raise ValueError("is no CSV file; save it as CSV UTF-8") from None


class _Sheets:
    """The cells of one file, by sheet, case and report."""

    def __init__(self, file: str, key: Mapping[str, Any], faults: list[str]):
        self.file, self.key, self.faults = file, key, faults
        self.cells: dict[str, dict[tuple[int, str], dict[str, Any]]] = {}
        self.late = False

    def read(self, content: bytes) -> None:
        try:
            rows = rows_of(content)
        except ValueError as error:
            self.faults.append(f"{self.file}: {error}")
            return
        header = [_normal(name) for name in rows[0]] if rows else []
        if missing := [name for name in _NEEDED if name not in header]:
            self.faults.append(f"{self.file}, row 1: no column {', '.join(missing)}; keep the sheet's first row as it was")
            return
        for number, row in enumerate(rows[1:], start=2):
            if any(cell.strip() for cell in row):
                self._row(number, dict(zip(header, [*row, *[""] * len(header)], strict=False)))

    def _fault(self, row: int, column: str, value: str, wanted: str) -> None:
        shown = repr(value) if len(value) <= _SHOWN_CHARACTERS else f"a text of {len(value)} characters"
        self.faults.append(f"{self.file}, row {row}, column {column}: {shown} is not {wanted}")

    def _row(self, number: int, row: Mapping[str, str]) -> None:
        sheet = row["sheet"].strip()
        if sheet not in self.key["sheets"]:
            self._fault(number, "sheet", sheet, "a sheet of this review; leave that column as it was")
            return
        order, case = self.key["sheets"][sheet]["order"], _normal(row["case"]).removesuffix(".0")
        if case in map(str, self.key["withdrawn"]):
            self.late = True
            return
        if case not in order:
            self._fault(number, "case", row["case"], f"a case of this review ({_range(order)})")
            return
        letters, letter = order[case], _normal(row["report"]).upper()
        if letter not in letters:
            self._fault(number, "report", row["report"], f"one of {', '.join(letters)}")
            return
        cells: dict[str, Any] = {name: self._rating(number, name, row[name]) for name in CRITERIA}
        cells |= {
            "best": self._best(number, row["best"], list(letters)),
            "comment": row.get("comment", "").strip(),
            "row": number,
        }
        mine = self.cells.setdefault(sheet, {})
        if (int(case), letter) in mine:
            self.faults.append(
                f"{self.file}, row {number}: case {case}, report {letter} stands in row {mine[int(case), letter]['row']} already"
            )
            return
        mine[int(case), letter] = cells

    def _rating(self, number: int, column: str, given: str) -> int | None:
        text = _normal(given).removesuffix(".0")
        if text in ("", "-", "–"):
            return None
        if text not in ("1", "2", "3", "4", "5"):
            self._fault(number, column, given, "a whole number from 1 to 5")
            return None
        return int(text)

    def _best(self, number: int, given: str, letters: Sequence[str]) -> str | None:
        text = _normal(given)
        if text in ("", "-", "–"):
            return None
        if text in _TIES:
            return TIE
        if text.upper() not in letters:
            self._fault(number, "best", given, f"one of {', '.join(letters)} or {TIE}")
            return None
        return text.upper()

    def into(self, filled: Filled) -> None:
        for sheet, cells in self.cells.items():
            reviewer, order = self.key["sheets"][sheet]["reviewer"], self.key["sheets"][sheet]["order"]
            for (case, letter), given in sorted(cells.items()):
                ratings = {name: given[name] for name in CRITERIA}
                filled.judgements.append(Judgement(reviewer, case, order[str(case)][letter], ratings))
            for case in sorted({case for case, _ in cells}):
                rows = [given for (other, _), given in sorted(cells.items()) if other == case]
                best = {given["best"] for given in rows if given["best"]}
                if len(best) > 1:
                    places = " and ".join(str(given["row"]) for given in rows if given["best"])
                    self.faults.append(
                        f"{self.file}, rows {places}, column best: one answer a case, found {' and '.join(sorted(best))}"
                    )
                elif best:
                    (letter,) = best
                    filled.choices.append(Choice(reviewer, case, TIE if letter == TIE else order[str(case)][letter]))
                comments = dict.fromkeys(given["comment"] for given in rows if given["comment"])
                filled.comments += [(reviewer, case, text) for text in comments]


def _normal(text: str) -> str:
    """Full-width digits and letters (４, Ａ) are what an input method leaves."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _range(order: Mapping[str, Any]) -> str:
    numbers = sorted(map(int, order))
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "none is left"
