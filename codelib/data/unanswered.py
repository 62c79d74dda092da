"""What a server failed on, and so is asked for again by the next run: until it is answered, and nothing beside it.

    a stage's table ─ `asked` (a row for each text that a visit's answers hang on) ─ unanswered ones ─> private/unanswered/<stage>.json
    next run: these texts alone are asked for ─ an answer came? ─ the partition gets another key and is made again

A partition's key says which answers came since it was first made, so a partition whose server failed again is left as it is. The file is
written before the partitions are made anew: killed in between, the next run knows the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, Contract, rejected
from codelib.core.stage import Part, Work, digest, read_part
from codelib.core.store import Store
from codelib.data.translate_cache import AnswerCache

UNANSWERED = "asked:unanswered"

ASKED = Contract(
    "asked",
    1,
    ("checkup_id", "key"),
    pa.schema(
        [
            pa.field("checkup_id", pa.string(), nullable=False),
            pa.field("key", pa.string(), nullable=False),  # the answer's name in the cache
            ("visit_key", pa.string()),
            ("text", pa.string()),  # translate_cache.text_digest
            ("status", pa.string()),  # rejected as asked:unanswered: the server gave no answer
            ("reject_reason", pa.string()),
        ]
    ),
)
"""The texts that a partition's answers hang on: hashes alone."""


def asked_row(row: Mapping[str, Any], key: str, text: str, is_answered: bool) -> dict[str, Any]:
    """One row of ASKED; ``text``: its digest."""
    made = {"checkup_id": row["checkup_id"], "visit_key": row["visit_key"], "key": key, "text": text}
    return made | ({"status": OK, "reject_reason": None} if is_answered else rejected(UNANSWERED))


def asked_table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """A text that a visit holds twice stands once, unanswered where it is so anywhere."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        place = row["checkup_id"], row["key"]
        if place not in kept or row["status"] != OK:
            kept[place] = row
    return pa.Table.from_pylist(list(kept.values()), schema=ASKED.schema)


@dataclass(frozen=True)
class Partition:
    """``answered``: stands for the answers that came after it was first made. ``texts``: (visit key, cache key) without an answer."""

    answered: str | None = None
    texts: tuple[tuple[str, str], ...] = ()


Known = Mapping[str, Partition]
"""Key of the partition that a stage is made from -> what it lacks."""


def read(private: Store, stage: str) -> dict[str, Partition]:
    name = _file(stage)
    if not private.exists(name):
        return {}
    return {key: Partition(p["answered"], tuple(map(tuple, p["texts"]))) for key, p in private.read_json(name).items()}


def write(known: Known, private: Store, stage: str) -> None:
    value = {k: {"answered": p.answered, "texts": list(map(list, p.texts))} for k, p in known.items() if p != Partition()}
    if value or private.exists(_file(stage)):
        private.commit_json(_file(stage), value)


def without(known: Known, visits: frozenset[str]) -> dict[str, Partition]:
    """What is known, without the texts of some visits."""
    return {key: replace(p, texts=tuple(text for text in p.texts if text[0] not in visits)) for key, p in known.items()}


def _file(stage: str) -> str:
    return f"unanswered/{stage}.json"


def work(parts: Sequence[Part], known: Known) -> list[Work]:
    """A stage's work, one partition in, one out; where later answers came, with a key of its own."""
    extras = [known[part.key].answered if part.key in known else None for part in parts]
    return [
        Work((part,), {"answered": extra} if extra else None, ship_drop=True) for part, extra in zip(parts, extras, strict=True)
    ]


def still_open(parts: Sequence[Part], known: Known) -> list[tuple[Part, frozenset[str]]]:
    """The partitions with a text to ask for again, and its cache keys; of visits that are still as they were."""
    opened = []
    for part in parts:
        texts = known[part.key].texts if part.key in known else ()
        if keys := frozenset(key for visit, key in texts if visit not in part.drop):
            opened.append((part, keys))
    return opened


def take_up(known: Known, cache: AnswerCache) -> dict[str, Partition]:
    """What is known, after asking: partitions whose texts were answered have another ``answered`` now."""
    taken = {}
    for key, partition in known.items():
        came = {name for _, name in partition.texts if (kept := cache.get(name)) is not None and kept.english.strip()}
        left = tuple(text for text in partition.texts if text[1] not in came)
        answered = digest([partition.answered, sorted(came)]) if came else partition.answered
        taken[key] = Partition(answered, left)
    return taken


def found(parts: Sequence[Part], asked: Sequence[Part], known: Known) -> dict[str, Partition]:
    """What the partitions made of ``parts`` lack now, by their tables of `asked`; only tables with such a text are read."""
    lacking = {}
    for part, table in zip(parts, asked, strict=True):
        texts: tuple[tuple[str, str], ...] = ()
        if UNANSWERED in table.counts:
            rows = read_part(replace(table, drop=()), ["visit_key", "key", "status"]).to_pylist()
            texts = tuple((row["visit_key"], row["key"]) for row in rows if row["status"] != OK)
        lacking[part.key] = Partition(known[part.key].answered if part.key in known else None, texts)
    return lacking
