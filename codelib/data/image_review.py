"""Pictures that wait for a person, and the person's answers.

    private/queue/images.csv           written by each run: what waits, where it comes from, and why
    private/queue/contact-sheet.html   the same as pictures, with buttons that save the answers
    private/queue/image-answers.csv    the answers: picture_key, visit_key, answer (accept | reject | mask); never written by a run

An answer is bound to the picture's content: another file under the same name is another question. It holds for any picture that was decoded, so
a released one can be rejected too. Answered pictures are made again by the next run; nothing else is.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, Work, read_part
from codelib.core.store import Store
from codelib.data.sheets import decode_text

ANSWERS_FILE, QUEUE_FILE = "queue/image-answers.csv", "queue/images.csv"
ACCEPT, REJECT, MASK = "accept", "reject", "mask"
ANSWERS = (ACCEPT, REJECT, MASK)
QUEUED = ("images:burned_in_text", "images:face", "images:screenshot", "images:document", "images:duplicate_across_patients")
"""The reasons that a person may overrule: whether the picture shows who it is of, or whose it is."""
QUEUE_HEADER = ("picture_key", "visit_key", "reason", "kind", "part", "source", "answer")

Answers = Mapping[str, Mapping[str, str]]
"""visit_key -> picture_key -> answer."""


def read_answers(private: Store) -> Answers:
    """The person's file. Raises InputError naming the line that cannot be read: a misread answer could release a face."""
    if not private.exists(ANSWERS_FILE):
        return {}
    place = f"{private.root}/{ANSWERS_FILE}"
    rows = csv.DictReader(io.StringIO(decode_text(private.read(ANSWERS_FILE), place)))
    wanted = ("picture_key", "visit_key", "answer")
    lacking = [name for name in wanted if name not in (rows.fieldnames or ())]
    if lacking:
        raise InputError(f"{place}: no column {', '.join(lacking)}; its first line reads {','.join(wanted)}")
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for number, row in enumerate(rows, 2):
        answer = (row["answer"] or "").strip().lower()
        picture, visit = (row["picture_key"] or "").strip(), (row["visit_key"] or "").strip()
        if not answer:
            continue  # not decided yet
        if answer not in ANSWERS:
            raise InputError(f"{place}: line {number}: answer {answer}: {nearest(answer, ANSWERS)}")
        if not picture or not visit:
            raise InputError(f"{place}: line {number}: picture_key or visit_key is missing; copy both from {QUEUE_FILE}")
        if found[visit].setdefault(picture, answer) != answer:
            raise InputError(f"{place}: line {number}: this picture has two different answers; leave one")
    return dict(found)


def images_work(records: Sequence[Part], answers: Answers) -> list[Work]:
    """Partitions without an answer keep their key, so that nothing of them is done again."""
    work = []
    for part in records:
        visits = set(read_part(part, ["visit_key"])["visit_key"].to_pylist()) & set(answers) if answers else set()
        extra = {"answers": {visit: dict(sorted(answers[visit].items())) for visit in sorted(visits)}}
        work.append(Work((part,), extra if visits else None, ship_drop=True))
    return work


def accepted(answers: Answers) -> set[tuple[str, str]]:
    return {(visit, picture) for visit, found in answers.items() for picture, answer in found.items() if answer == ACCEPT}


def unmatched(answers: Answers, images: Sequence[Part]) -> int:
    """How many answers name no picture of this export (any more)."""
    left = {(visit, picture) for visit, found in answers.items() for picture in found}
    for part in images if left else ():
        rows = read_part(part, ["visit_key", "picture_key"])
        left -= set(zip(rows["visit_key"].to_pylist(), rows["picture_key"].to_pylist(), strict=True))
    return len(left)


@dataclass(frozen=True)
class Tables:
    """The partitions of three stages, index by index, and how a path becomes an image key."""

    records: Sequence[Part]
    images: Sequence[Part]
    chosen: Sequence[Part]
    key_of: Callable[[str], str]


def rejected_rows(tables: Tables, reasons: Collection[str], columns: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The pictures rejected for some reasons, with ``path`` (of the first file, in the export) and the given columns of `images`. Partitions
    without one are not read."""
    for record, image, after in zip(tables.records, tables.images, tables.chosen, strict=True):
        if not set(after.counts) & set(reasons):
            continue
        table = read_part(after, ["image_key", "visit_key", "status", "reject_reason"])
        wanted = table.filter(pc.is_in(table["reject_reason"], pa.array(sorted(reasons))))
        why = dict(zip(wanted["image_key"].to_pylist(), wanted["reject_reason"].to_pylist(), strict=True))
        files = [f["path"] for row in read_part(record, ["files", "visit_key"])["files"].to_pylist() for f in row]
        paths = {tables.key_of(path): path for path in files}
        rows = read_part(image, ["image_key", "picture_key", "visit_key", "kind", "part", "sources", *columns])
        for row in rows.filter(pc.is_in(rows["image_key"], wanted["image_key"])).to_pylist():
            yield {**row, "reject_reason": why[row["image_key"]], "path": paths[row["sources"][0]]}


def write_queue(tables: Tables, private: Store) -> int:
    """private/queue/images.csv. Returns how many pictures wait."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        yield _line(QUEUE_HEADER)
        for row in rejected_rows(tables, QUEUED):
            count += 1
            yield _line([row["picture_key"], row["visit_key"], row["reject_reason"], row["kind"], row["part"], row["path"], ""])

    private.commit_stream(QUEUE_FILE, lines())
    return count


def _line(values: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode()
