"""The rooms of a workspace, each cleared of a person. Every function may be called again after a kill, and does nothing where it is done.

A partition that holds the person is deleted; the run makes it again without them. A stage whose table does not say whom it is about (sums
over all partitions, lines, shards) is deleted whole: what cannot be told is not kept. `split` alone is rewritten, since its next run reads
the old decisions.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codelib.core.ahead import ahead
from codelib.core.objects import StorageError
from codelib.core.stage import rewrite
from codelib.core.store import Store, Workspace
from codelib.data import partition, unanswered
from codelib.data.release import INCOMPLETE
from codelib.data.sheets import decode_text
from codelib.data.translate_batch import drop_from_plans
from codelib.data.translate_cache import FOLDER, SECOND_PASS, AnswerCache
from codelib.data.vault import read_codes, write_codes

_SPLIT = "split"
_TELLING = ("visit_key", "other_visit_key", "checkup_id", "patient_id")
_PICTURES = "Images/"
_PRIVATE = ("ledger.csv", "released.json", "queue/unknown-diagnoses.csv", "reports", "errors", "inspect", "lists")
_PUBLIC = ("split-audit.json", "diagnoses.json", "privacy.json")
_TABLE = "complete-dataset.csv"
_TAKEN = b"Somebody withdrew. This release is built anew without them: run the same jobs.dataset command again.\n"


# the release


def take_release_away(release: Store, checkups: frozenset[str]) -> bool:
    """Delete a release that holds one of the checkups, but for the pictures of the others. Whether there was one."""
    names = release.names("")
    mine = [name for name in names if name.startswith(_PICTURES) and _checkup(name) in checkups]
    if not mine and not _names_one(release, checkups):
        return False
    release.commit(INCOMPLETE, _TAKEN)
    for name in names:
        if name != INCOMPLETE and not (name.startswith(_PICTURES) and _checkup(name) not in checkups):
            release.delete(name)
    release.sweep()
    return True


def make_room(private: Store, release: Store) -> None:
    """Delete what is large and made of other things; a release without its shards is built again by the next run."""
    release.delete("parquet")
    private.delete("queue/contact-sheet.html")
    private.sweep()
    release.sweep()


def _checkup(path: str) -> str:
    """Images/Photographs/0013-002-04.jpg -> 0013-002"""
    return os.path.basename(path).rpartition("-")[0]


def _names_one(release: Store, checkups: frozenset[str]) -> bool:
    """Whether the release's table names a checkup; of one that was not finished nobody knows."""
    if not release.exists(_TABLE) or release.exists(INCOMPLETE):
        return any(name != INCOMPLETE and not name.startswith(_PICTURES) for name in release.names(""))
    csv.field_size_limit(2**31 - 1)  # a report may be longer than 128 KiB
    with io.TextIOWrapper(release.open(_TABLE), encoding="utf-8", newline="") as lines:
        return any(row.get("checkup_id") in checkups for row in csv.DictReader(lines))


# tables


def clear_tables(workspace: Workspace, visits: frozenset[str], checkups: frozenset[str], patients: frozenset[str]) -> None:
    """All stages of both rooms."""
    wanted = {"checkup_id": checkups, "patient_id": patients}
    for store in (workspace.public, workspace.private):
        store.sweep("stages")
        stages: dict[str, list[str]] = defaultdict(list)
        for name in store.names("stages"):
            stages[name.split("/")[1]].append(name)
        for stage, names in stages.items():
            if stage == _SPLIT and f"stages/{_SPLIT}/manifest.json" in names:
                _rewrite_split(store, visits)
                continue
            _clear_stage(store, stage, [n for n in names if n.endswith(".parquet")], {c: wanted.get(c, visits) for c in _TELLING})


def _clear_stage(store: Store, stage: str, names: list[str], wanted: dict[str, frozenset[str]]) -> None:
    found = dict(zip(names, ahead(lambda name: _concerns(store, name, wanted), names), strict=True))
    if None in found.values():
        store.delete(f"stages/{stage}")
        return
    # the manifest may name the person as dropped, and a partition that is not there: its stage did not finish
    store.delete(f"stages/{stage}/manifest.json")
    for name, concerns in found.items():
        if concerns:
            store.delete(name)


def _concerns(store: Store, name: str, wanted: dict[str, frozenset[str]]) -> bool | None:
    """Whether a table has a row of the person; None where it cannot say."""
    try:
        with store.open(name) as source:
            columns = pq.read_schema(source).names
    except StorageError:  # it says nothing of the table
        raise
    except (pa.ArrowInvalid, OSError):  # damaged: it can be made again, and nobody knows what is in it
        return True
    telling = [column for column in _TELLING if column in columns]
    if telling:
        table = store.read_table(name, telling)
        return any(_any_in(table[column], wanted[column]) for column in telling)
    if "path" in columns:
        paths = store.read_table(name, ["path"])["path"].to_pylist()
        if all(path.startswith(_PICTURES) for path in paths):
            return any(_checkup(path) in wanted["checkup_id"] for path in paths)
    return None


def _any_in(column: pa.ChunkedArray, values: frozenset[str]) -> bool:
    return bool(pc.any(pc.is_in(column, pa.array(sorted(values), pa.string()))).as_py())


def _rewrite_split(store: Store, visits: frozenset[str]) -> None:
    gone = pa.array(sorted(visits), pa.string())
    rewrite(store, _SPLIT, lambda table: table.filter(pc.invert(pc.is_in(table["visit_key"], gone))), visits)


# the private room


def clear_private(private: Store, visits: frozenset[str], named: frozenset[str]) -> None:
    """Plan, vault, what waits for servers, queues, a person's answers and verdicts, ledger and reports. named: what lines are told by, beside
    visit keys."""
    partition.forget(visits, private)
    codes = read_codes(private)
    left = [code for code in codes if code.visit_key not in visits]
    if len(left) < len(codes):
        write_codes(private, left)
    for stage in ("bilingual", "annotated"):
        known = unanswered.read(private, stage)
        if any(visit in visits for lacks in known.values() for visit, _ in lacks.texts):
            unanswered.write(unanswered.without(known, visits), private, stage)
    for name in _PRIVATE:
        private.delete(name)
    for name in (*private.names("queue"), *private.names("audit")):
        if name.lower().endswith(".csv"):
            _clear_lines(private, name, visits | named)
        elif name.lower().endswith((".html", ".htm")):
            private.delete(name)
    private.sweep()


def _clear_lines(private: Store, name: str, named: frozenset[str]) -> None:
    """Take the lines out of a CSV that have one of these in a cell. The others stay as they were written."""
    content = private.read(name)
    rows = list(csv.reader(io.StringIO(decode_text(content, f"{private.root}/{name}"), newline="")))
    left = [row for row in rows if not any(cell.strip() in named for cell in row)]
    if len(left) < len(rows):
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows(left)
        mark = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
        private.commit(name, out.getvalue().encode(mark))


# the public room


def clear_public(public: Store, texts: frozenset[str]) -> None:
    """Reports of counts, and the answers of servers to the person's texts."""
    for name in _PUBLIC:
        public.delete(name)
    for folder in (FOLDER, SECOND_PASS):
        cache = AnswerCache(Store(f"{public.root}/{folder}"))
        if public.exists(folder) and texts:
            cache.store.sweep()
            for name in _answers_to(cache, texts):
                cache.store.delete(name)
            drop_from_plans(cache.store, lambda text: text not in texts)


def _answers_to(cache: AnswerCache, texts: frozenset[str]) -> Iterator[str]:
    for name, content in ahead(lambda name: (name, cache.store.read(name)), cache.names()):
        try:
            of = json.loads(content).get("of")
        except (ValueError, AttributeError):  # damaged: asked for again
            yield name
            continue
        if of in texts or os.path.basename(name).removesuffix(".json") in texts:
            yield name
