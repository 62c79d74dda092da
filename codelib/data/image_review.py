"""Pictures that wait for a person, and the person's answers.

    private/queue/images.csv           written by each run: what waits, where it comes from, and why
    private/queue/contact-sheet.html   the same as pictures, with buttons that save the answers
    private/queue/image-answers.csv    the answers: picture_key, visit_key, reason, answer (accept | reject | mask); never written by a run

An answer is bound to the picture's content: another file under the same name is another question. It holds for any picture that was decoded, so
a released one can be rejected too. Answered pictures are made again by the next run; nothing else is.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib.core.ahead import THREADS, read_parts, visits_among
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, Work, manifest_parts
from codelib.core.store import Store
from codelib.data.sheets import decode_text

_RETRIES_FILE = "retries.json"
ANSWERS_FILE, QUEUE_FILE = "queue/image-answers.csv", "queue/images.csv"
ACCEPT, REJECT, MASK = "accept", "reject", "mask"
ANSWERS = (ACCEPT, REJECT, MASK)
QUEUED = (
    *("images:burned_in_text", "images:face", "images:screenshot", "images:document", "images:screen_failed"),
    "images:duplicate_across_patients",
)
"""The reasons that a person may overrule: whether the picture shows who it is of, or whose it is."""
QUEUE_HEADER = ("picture_key", "visit_key", "reason", "kind", "part", "source", "answer")

ACROSS = "images:duplicate_across_patients"
"""The one question that is not about what a picture shows but about whose it is; the two have answers of their own."""

_COLUMNS = ("picture_key", "visit_key", "reason", "answer")
ByVisit = Mapping[str, Mapping[str, str]]
"""visit_key -> picture_key -> answer."""


@dataclass(frozen=True)
class Answers:
    """content: accept | reject | mask, to what a picture shows; owner: accept | reject, to whose it is."""

    content: ByVisit = field(default_factory=dict)
    owner: ByVisit = field(default_factory=dict)

    def lines(self) -> list[tuple[str, str, str, str]]:
        """As the file has them: picture_key, visit_key, reason ("" for what it shows), answer."""
        both = ((self.content, ""), (self.owner, ACROSS))
        return sorted((p, v, reason, a) for found, reason in both for v, pictures in found.items() for p, a in pictures.items())

    def refused(self) -> set[str]:
        """Pictures that a person refused for what they show: none of their copies may be released either."""
        return {picture for found in self.content.values() for picture, answer in found.items() if answer == REJECT}


def read_answers(private: Store) -> Answers:
    """The person's file. Raises InputError naming the line that cannot be read: a misread answer could release a face."""
    if not private.exists(ANSWERS_FILE):
        return Answers()
    place = f"{private.root}/{ANSWERS_FILE}"
    rows = csv.DictReader(io.StringIO(decode_text(private.read(ANSWERS_FILE), place)))
    lacking = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if lacking:
        raise InputError(f"{place}: no column {', '.join(lacking)}; its first line reads {','.join(_COLUMNS)}")
    content: dict[str, dict[str, str]] = defaultdict(dict)
    owner: dict[str, dict[str, str]] = defaultdict(dict)
    for number, row in enumerate(rows, 2):
        picture, visit, reason, answer = ((row[name] or "").strip() for name in _COLUMNS)
        answer = answer.lower()
        if not answer:
            continue  # not decided yet
        allowed = answers_to(reason)
        if answer not in allowed:
            raise InputError(f"{place}: line {number}: answer {answer} to {reason or 'a picture'}: {nearest(answer, allowed)}")
        if not picture or not visit:
            raise InputError(f"{place}: line {number}: picture_key or visit_key is missing; copy both from {QUEUE_FILE}")
        if (owner if reason == ACROSS else content)[visit].setdefault(picture, answer) != answer:
            raise InputError(f"{place}: line {number}: this picture has two different answers; leave one")
    return Answers(dict(content), dict(owner))


def answers_to(reason: str) -> tuple[str, ...]:
    return (ACCEPT, REJECT) if reason == ACROSS else ANSWERS


def images_work(records: Sequence[Part], answers: Answers, private: Store) -> list[Work]:
    """Partitions without an answer and never retried keep their key, so that nothing of them is done again."""
    given, retries = answers.content, _retries(private)
    work = []
    for part, visits in zip(records, visits_among(records, given), strict=True):
        extra: dict[str, Any] = {}
        if visits:
            extra["answers"] = {visit: dict(sorted(given[visit].items())) for visit in sorted(visits)}
        if part.key in retries:
            extra["retry"] = retries[part.key]
        work.append(Work((part,), extra or None, ship_drop=True))
    return work


def retry(private: Store, reasons: Collection[str]) -> None:
    """Note that the partitions in which a picture was rejected for one of these reasons are to be made once more."""
    if private.exists("stages/images/manifest.json"):
        retries = dict(_retries(private))
        for record, image in zip(manifest_parts(private, "records"), manifest_parts(private, "images"), strict=True):
            if set(image.counts) & set(reasons):
                retries[record.key] = retries.get(record.key, 0) + 1
        private.commit_json(_RETRIES_FILE, retries)


def _retries(private: Store) -> Mapping[str, int]:
    found: dict[str, int] = private.read_json(_RETRIES_FILE) if private.exists(_RETRIES_FILE) else {}
    return found


def unmatched(answers: Answers, images: Sequence[Part]) -> int:
    """How many answers name no picture of this export (any more)."""
    left = {(visit, picture) for picture, visit, _, _ in answers.lines()}
    for rows in read_parts(images if left else (), ["visit_key", "picture_key"]):
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

    those = [
        parts for parts in zip(tables.records, tables.images, tables.chosen, strict=True) if set(parts[2].counts) & set(reasons)
    ]
    records, images, chosen = ([parts[stage] for parts in those] for stage in range(3))
    pictures = ["image_key", "picture_key", "visit_key", "kind", "part", "sources", *columns]
    for record, rows, decided in zip(
        read_parts(records, ["files", "visit_key"]),
        read_parts(images, pictures, threads=2 if columns else THREADS),  # a column may hold pixels
        read_parts(chosen, ["image_key", "visit_key", "status", "reject_reason"]),
        strict=True,
    ):
        wanted = decided.filter(pc.is_in(decided["reject_reason"], pa.array(sorted(reasons))))
        why = dict(zip(wanted["image_key"].to_pylist(), wanted["reject_reason"].to_pylist(), strict=True))
        paths = {tables.key_of(f["path"]): f["path"] for files in record["files"].to_pylist() for f in files}
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
