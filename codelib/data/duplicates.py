"""The same picture in two visits: exact copies by content, near ones by hash, without comparing all with all.

    images ──hashes (a few hundred partitions a file)──> duplicate_search (one task for some of the 29 tables) ──> pairs with a verdict

A table of a near search holds the pictures by two of the eight bytes of their hash; copies whose hashes differ in at most six bits share at
least two bytes, so they meet in one of the 28 tables (pigeonhole). The 29th holds them by content. Beyond four million pictures a table
is cut by hash prefix as well; the more there are, the nearer hashes must be to be compared (`near_bits`). Only pairs of different visits
come out, and only pairs reach the driver.

Verdicts: an exact copy in a later visit of the same patient is dropped. Between two patients nobody can say whose picture it is: all
copies are rejected and wait for a person. Pictures that are held back count too: a copy is not released in the place of one that waits or
was refused. Near-duplicates across visits are reported, never dropped: a follow-up photograph may look alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import repeat
from math import comb

import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import CHOSEN, HASHES, OK, rejected
from codelib.core.ahead import read_parts
from codelib.core.stage import Part, Work
from codelib.data.duplicate_search import BYTE_PAIRS, NEAR_BITS
from codelib.data.image_review import ACCEPT, ACROSS, QUEUED, REJECT, Answers
from codelib.imaging.likeness import hash_of

REFUSED = "images:rejected_by_person"
PARTS_A_FILE, PICTURES_A_FILE = 256, 60_000  # what one task of `hashes` takes: some 1 GB, however large the partitions are
_PICTURES_A_TASK = 200_000  # times tables: what one task searches; seconds of work
_PICTURES_A_PREFIX = 4_000_000  # what one task holds of one table
_SURE_BITS = 6  # by pigeonhole such hashes meet
_CHANCE_PAIRS = 4  # of a picture, in all tables together, that are compared for nothing


def hashes_work(images: Sequence[Part]) -> list[Work]:
    groups: list[list[Part]] = []
    rows = 0
    for part in images:
        rows += part.rows
        if not groups or len(groups[-1]) == PARTS_A_FILE or rows > PICTURES_A_FILE:
            groups.append([])
            rows = part.rows
        groups[-1].append(part)
    return [Work(tuple(group)) for group in groups]


def hashes(*tables: pa.Table) -> pa.Table:
    """HASHES of some hundred partitions of images: keys and likenesses of the pictures that pass or are held back."""
    table = pa.concat_tables(tables)
    held = pc.is_in(table["reject_reason"], pa.array([*QUEUED, REFUSED]))
    table = table.append_column("held", held).filter(pc.or_(held, pc.equal(table["status"], OK)))
    table = table.filter(pc.is_valid(table["likeness"]))
    values = pa.array(map(hash_of, table["likeness"].to_pylist()), pa.uint64())
    return table.append_column("hash", values).select(HASHES.schema.names).cast(HASHES.schema).combine_chunks()


def search_work(parts: Sequence[Part]) -> list[Work]:
    """Few pictures: one task. Many: the tables are shared among tasks. Very many: each table is cut by prefix."""
    total = sum(part.rows for part in parts)
    if not total:
        return []
    prefixes = -(-total // _PICTURES_A_PREFIX)
    tables_a_task = max(1, min(29, _PICTURES_A_TASK // (total // prefixes)))
    bits = near_bits(total)
    known = {"of": prefixes} | ({"bits": bits} if bits < NEAR_BITS else {})  # the work of few pictures stays what it was
    return [
        Work(tuple(parts), {"tables": list(range(first, min(first + tables_a_task, 29))), "prefix": prefix, **known})
        for first in range(0, 29, tables_a_task)
        for prefix in range(prefixes)
    ]


def near_bits(pictures: int) -> int:
    """In how many bits hashes may differ to be compared: as many as leave each picture _CHANCE_PAIRS others that meet it by chance. Two random
    hashes that share two bytes differ in some of the other 48 bits, binomially. 58,000 pictures (the published clinic): 20 bits, 6.6
    million: 13.

    Without it the pairs grow with the square of the pictures. It costs little, since copies that share two bytes are mostly nearer: no copy
    that is re-encoded, resized or brightened is missed (docs/scaling-simulation.md).
    """
    met = len(BYTE_PAIRS) * pictures / 2**16
    return next(
        (b for b in range(NEAR_BITS, _SURE_BITS, -1) if met * sum(comb(48, k) for k in range(b + 1)) / 2**48 <= _CHANCE_PAIRS),
        _SURE_BITS,
    )


# what follows from it


def chosen_work(images: Sequence[Part], found: Sequence[Part], answers: Answers) -> list[Work]:
    """For each partition of images the verdicts that concern it, after what a person answered."""
    verdicts: dict[str, dict[str, str]] = defaultdict(dict)  # visit -> image -> reason
    for table in read_parts(found):
        for row in table.to_pylist():
            reason = row["verdict"]
            if reason == ACROSS:
                answer = answers.owner.get(row["visit_key"], {}).get(row["picture_key"])
                reason = {ACCEPT: None, REJECT: REFUSED}.get(answer or "", reason)
            if reason:
                verdicts[row["visit_key"]].setdefault(row["image_key"], reason)
    refused = pa.array(sorted(answers.refused()), pa.string())
    work = []
    columns = ["image_key", "picture_key", "visit_key"]
    concerned = read_parts(images, columns) if verdicts or len(refused) else repeat(None, len(images))
    for part, table in zip(images, concerned, strict=True):
        reasons: dict[str, str] = {}
        if table is not None:
            visits = verdicts.keys() & set(table["visit_key"].to_pylist())
            reasons |= {key: reason for visit in sorted(visits) for key, reason in sorted(verdicts[visit].items())}
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
