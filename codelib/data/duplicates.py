"""The same picture in two visits: exact copies by content, near ones by hash, without comparing all with all.

    images ──hashes (a few hundred partitions a file)──> duplicates (one task for some of the 29 tables) ──> pairs with a verdict

A table of a near search holds the pictures by two of the eight bytes of their hash; copies whose hashes differ in at most six bits share at
least two bytes, so they meet in one of the 28 tables (pigeonhole). The 29th holds them by content. Beyond four million pictures a table
is cut by hash prefix as well. Only pairs of different visits come out, and only pairs reach the driver.

Verdicts: an exact copy in a later visit of the same patient is dropped. Between two patients nobody can say whose picture it is: all
copies are rejected and wait for a person. Pictures that are held back count too: a copy is not released in the place of one that waits or
was refused. Near-duplicates across visits are reported, never dropped: a follow-up photograph may look alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import CHOSEN, DUPLICATES, HASHES, OK, rejected
from codelib.core.stage import Part, Work, read_part
from codelib.data.image_review import ACCEPT, ACROSS, QUEUED, REJECT, Answers
from codelib.imaging.likeness import hash_of, similarity

DUPLICATE, REFUSED = "images:duplicate", "images:rejected_by_person"
PARTS_A_FILE = 256
_PICTURES_A_TASK = 200_000  # times tables: what one task searches; seconds of work
_PICTURES_A_PREFIX = 4_000_000  # what one task holds of one table: some 400 MB
_EXACT = 28  # number of the table by content; before it the 28 pairs of hash bytes
_BYTE_PAIRS = tuple(combinations(range(8), 2))
_NEAR_BITS = 20  # tighter than within a visit: the more pictures, the more meet by chance
_NEIGHBOURS = 20  # of a picture that looks like many, so many pairs are reported
_SEARCHED = ["image_key", "picture_key", "patient_key", "visit_key", "checkup_time", "likeness", "held"]


def hashes_work(images: Sequence[Part]) -> list[Work]:
    return [Work(tuple(images[i : i + PARTS_A_FILE])) for i in range(0, len(images), PARTS_A_FILE)]


def hashes(*tables: pa.Table) -> pa.Table:
    """HASHES of some hundred partitions of images: keys and likenesses of the pictures that pass or are held back."""
    table = pa.concat_tables(tables)
    held = pc.is_in(table["reject_reason"], pa.array([*QUEUED, REFUSED]))
    table = table.append_column("held", held).filter(pc.or_(held, pc.equal(table["status"], OK)))
    return table.filter(pc.is_valid(table["likeness"])).select(HASHES.schema.names).cast(HASHES.schema).combine_chunks()


def search_work(parts: Sequence[Part]) -> list[Work]:
    """Few pictures: one task. Many: the tables are shared among tasks. Very many: each table is cut by prefix."""
    total = sum(part.rows for part in parts)
    if not total:
        return []
    prefixes = -(-total // _PICTURES_A_PREFIX)
    tables_a_task = max(1, min(29, _PICTURES_A_TASK // (total // prefixes)))
    return [
        Work(tuple(parts), {"tables": list(range(first, min(first + tables_a_task, 29))), "prefix": prefix, "of": prefixes})
        for first in range(0, 29, tables_a_task)
        for prefix in range(prefixes)
    ]


def search(threshold: float, *inputs: Any) -> pa.Table:
    """DUPLICATES found by some tables. inputs: the parts of `hashes`, then which tables and which prefix."""
    *parts, extra = inputs
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for table in extra["tables"]:
        rows = _rows(parts, table, extra["prefix"], extra["of"])
        for row in _exact(rows) if table == _EXACT else _near(rows, table, threshold, parts):
            found.setdefault((row["image_key"], row["other_key"]), row)
    return pa.Table.from_pylist([found[key] for key in sorted(found)], schema=DUPLICATES.schema)


def _rows(parts: Sequence[Part], table: int, prefix: int, of: int) -> list[dict[str, Any]]:
    """The pictures of one table (and prefix), thumbnails left behind."""
    rows = []
    for part in parts:
        for row in read_part(part, _SEARCHED).to_pylist():
            row["hash"] = hash_of(row.pop("likeness"))
            row["meets"] = row["picture_key"] if table == _EXACT else _pair_of_bytes(row["hash"], _BYTE_PAIRS[table])
            if (of == 1 or _prefix(row["meets"], of) == prefix) and (table == _EXACT or not row["held"]):
                rows.append(row)
    rows.sort(key=lambda r: (r["meets"], r["checkup_time"] or "", r["visit_key"], r["image_key"]))
    return rows


def _pair_of_bytes(value: int, pair: tuple[int, int]) -> str:
    return f"{value >> 8 * pair[0] & 255:02x}{value >> 8 * pair[1] & 255:02x}"


def _prefix(meets: str, of: int) -> int:
    return int(meets[:4], 16) * of >> 16


def _groups(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs of rows that meet; only those with two visits or more."""
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index]["meets"] != rows[start]["meets"]:
            group = rows[start:index]
            if len({row["visit_key"] for row in group}) > 1:
                yield group
            start = index


def _exact(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every copy against the earliest: a logo in a thousand visits gives a thousand rows, not a million."""
    for group in _groups(rows):
        first = group[0]
        if len({row["patient_key"] for row in group}) > 1:
            for row in group:
                yield _pair(row, first if row is not first else group[-1], 1.0, True, ACROSS)
            continue
        kept = {first["visit_key"]}
        for row in group[1:]:
            if row["visit_key"] not in kept:  # copies within a visit are its own stage's matter
                yield _pair(row, first, 1.0, True, DUPLICATE)


def _near(rows: list[dict[str, Any]], table: int, threshold: float, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    pairs = []
    for group in _groups(rows):
        pairs += [(a, b) for a, b in _candidates(group) if _first_table(a["hash"], b["hash"]) == table]
    if not pairs:
        return
    thumbs = _thumbs(parts, {row["image_key"] for pair in pairs for row in pair})
    for a, b in pairs:
        value = similarity(thumbs[a["image_key"]], thumbs[b["image_key"]])
        if value >= threshold:
            yield _pair(a, b, value, False, None)


def _first_table(a: int, b: int) -> int:
    """The first table in which two hashes meet: the pair is looked at there and nowhere else."""
    same = [not (a ^ b) >> 8 * i & 255 for i in range(8)]
    return next(i for i, (x, y) in enumerate(_BYTE_PAIRS) if same[x] and same[y])


def _candidates(group: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of different visits and content whose hashes are near; for each picture the nearest few."""
    unique = list({(row["picture_key"], row["visit_key"]): row for row in reversed(group)}.values())[::-1]
    values = np.array([row["hash"] for row in unique], dtype=np.uint64)
    for index, row in enumerate(unique[:-1]):
        bits = np.bitwise_count(values[index + 1 :] ^ values[index])
        near = np.flatnonzero(bits <= _NEAR_BITS)
        taken = 0
        for offset in near[np.argsort(bits[near], kind="stable")]:
            other = unique[index + 1 + int(offset)]
            if other["visit_key"] != row["visit_key"] and other["picture_key"] != row["picture_key"]:
                yield row, other
                taken += 1
                if taken == _NEIGHBOURS:
                    break


def _thumbs(parts: Sequence[Part], wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    keys = pa.array(sorted(wanted))
    for part in parts:
        table = read_part(part, ["image_key", "likeness", "visit_key"])
        table = table.filter(pc.is_in(table["image_key"], keys))
        found |= dict(zip(table["image_key"].to_pylist(), table["likeness"].to_pylist(), strict=True))
    return found


def _pair(row: dict[str, Any], other: dict[str, Any], value: float, exact: bool, verdict: str | None) -> dict[str, Any]:
    return {
        "image_key": row["image_key"],
        "other_key": other["image_key"],
        "visit_key": row["visit_key"],
        "other_visit_key": other["visit_key"],
        "picture_key": row["picture_key"],
        "exact": exact,
        "same_patient": row["patient_key"] == other["patient_key"],
        "similarity": value,
        "verdict": verdict,
    }


# what follows from it


def chosen_work(images: Sequence[Part], found: Sequence[Part], answers: Answers) -> list[Work]:
    """For each partition of images the verdicts that concern it, after what a person answered."""
    verdicts: dict[str, dict[str, str]] = defaultdict(dict)  # visit -> image -> reason
    for part in found:
        for row in read_part(part).to_pylist():
            reason = row["verdict"]
            if reason == ACROSS:
                answer = answers.owner.get(row["visit_key"], {}).get(row["picture_key"])
                reason = {ACCEPT: None, REJECT: REFUSED}.get(answer or "", reason)
            if reason:
                verdicts[row["visit_key"]].setdefault(row["image_key"], reason)
    refused = pa.array(sorted(answers.refused()), pa.string())
    work = []
    for part in images:
        reasons: dict[str, str] = {}
        if verdicts:
            visits = set(read_part(part, ["visit_key"])["visit_key"].to_pylist()) & set(verdicts)
            reasons |= {key: reason for visit in sorted(visits) for key, reason in sorted(verdicts[visit].items())}
        if len(refused):
            table = read_part(part, ["image_key", "picture_key", "visit_key"])
            copies = table.filter(pc.is_in(table["picture_key"], refused))["image_key"].to_pylist()
            reasons |= dict.fromkeys(sorted(copies), REFUSED)
        work.append(Work((part,), reasons or None, ship_drop=True))
    return work


def choose(images: pa.Table, reasons: dict[str, str] | None = None) -> pa.Table:
    """CHOSEN: the images without their pixels, duplicates across visits rejected."""
    rows = images.select(CHOSEN.schema.names).to_pylist()
    for row in rows:
        if row["status"] == OK and reasons and row["image_key"] in reasons:
            row |= rejected(reasons[row["image_key"]])
    return pa.Table.from_pylist(rows, schema=CHOSEN.schema)
