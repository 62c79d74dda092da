"""Taking visits whose consent was withdrawn out of blinded reviews, and leaving the reviewers' other work.

    evaluate/review/<name>/  ->  the cases about them leave key and filled sheets; the forms, which show their images, go whole

The key loses its cases last: killed before, the next withdrawal does all of it again. Copies of a sheet that a reviewer holds are out of reach:
what is told names the cases, so that they can be asked to delete them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from codelib.core.store import Store
from codelib.evaluate.review_read import rows_of
from codelib.evaluate.review_sheet import FILLED, FOLDER, KEY, KEY_MODE, SHEETS, read_key


def withdraw(store: Store, checkups: frozenset[str]) -> list[str]:
    """What is to be told; store: of evaluate/. A review whose key cannot be read goes whole: nobody knows whom it shows."""
    told = []
    store.sweep(FOLDER)
    for name in sorted({path.split("/")[1] for path in store.names(FOLDER)}):
        folder = Store(f"{store.root.rstrip('/')}/{FOLDER}/{name}", store.mode)
        try:
            key = read_key(folder)
        except ValueError:
            store.delete(f"{FOLDER}/{name}")
            told.append(f"evaluate/{FOLDER}/{name}: had no key to tell whom it shows, and was removed whole")
            continue
        gone = {number for number, case in key["cases"].items() if not checkups.isdisjoint(case["checkups"])}
        if gone:
            _take_out(folder, key, gone)
            reviewers = len(key["sheets"])
            told.append(
                f"evaluate/{FOLDER}/{name}: {len(gone)} cases about them ({', '.join(sorted(gone, key=int))}) and the forms were removed; ask "
                f"the {reviewers} reviewers to delete their copies"
            )
    return told


def _take_out(folder: Store, key: Mapping[str, Any], gone: set[str]) -> None:
    """Everything that may show them, whoever put it there; filled sheets lose their rows."""
    folder.delete(SHEETS)
    for name in folder.names(""):
        if name.startswith(f"{FILLED}/"):
            without_rows(folder, name, frozenset(gone))
        elif name != KEY:
            folder.delete(name)
    sheets = {
        token: {**sheet, "order": {number: order for number, order in sheet["order"].items() if number not in gone}}
        for token, sheet in key["sheets"].items()
    }
    cases = {number: case for number, case in key["cases"].items() if number not in gone}
    withdrawn = sorted({*key["withdrawn"], *map(int, gone)})
    folder.commit_json(KEY, {**key, "cases": cases, "sheets": sheets, "withdrawn": withdrawn}, KEY_MODE)


def without_rows(folder: Store, name: str, cases: frozenset[str]) -> None:
    """A filled sheet without the rows of some cases; one that cannot be read goes whole."""
    try:
        rows = rows_of(folder.read(name))
        place = [cell.strip().casefold() for cell in rows[0]].index("case")
    except (ValueError, IndexError):
        folder.delete(name)
        return
    kept = [rows[0], *(row for row in rows[1:] if len(row) > place and row[place].strip().removesuffix(".0") not in cases)]
    out = io.StringIO(newline="")
    csv.writer(out).writerows(kept)
    folder.commit(name, b"\xef\xbb\xbf" + out.getvalue().encode())
