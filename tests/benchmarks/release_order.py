"""The release's table, JSON files and shards: out of sorted runs, and as it was, out of every partition for each run of ids. Side by side.

python -m tests.benchmarks.release_order [--visits 3000,10000,30000]

One process, no Ray. Tables as the stages leave them, 32 visits a partition, random codes; a picture's bytes are a few (both ways read and write
them alike). Each way goes from the partitions to the files' bytes, which are compared. CPU seconds, partitions opened, and growth exponents.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import ANNOTATED, IMAGES, SPLIT
from codelib.core.stage import Part, Work, read_part
from codelib.core.store import Store
from codelib.data import release as layout
from codelib.data import shards
from codelib.data.ordering import piece, pieces_work, runs_work
from codelib.data.sharegpt import ShareGptSettings, make_conversations
from tests.benchmarks.release_conversations import _records

PARTITION, IMAGES_A_VISIT = 32, 6
_CHUNK = 1000  # checkups that were assembled at a time


def clinic(visits: int, store: Store) -> dict[str, list[Part]]:
    """Partitions of annotated, split, images and conversations; partition and code have nothing to do with each other."""
    codes = np.random.default_rng(0).permutation(visits)
    parts: dict[str, list[Part]] = {name: [] for name in ("annotated", "split", "images", "conversations")}
    for start in range(0, visits, PARTITION):
        ids = [f"{code:07d}-001" for code in codes[start : start + PARTITION].tolist()]
        rows = _records().slice(start % 900, len(ids))
        annotated = rows.set_column(rows.column_names.index("checkup_id"), ANNOTATED.schema.field("checkup_id"), pa.array(ids))
        split, images = [], []
        for number, checkup_id in enumerate(ids):
            names = [f"{checkup_id}-{n:02d}.jpg" for n in range(1, 1 + IMAGES_A_VISIT)]
            side = "test" if number % 7 == 0 else "train"
            row = {"checkup_id": checkup_id, "visit_key": f"k{checkup_id}", "status": "ok", "split": side, "spectrum": side}
            split.append(dict.fromkeys(SPLIT.schema.names) | row | {"photographs": names, "radiographs": []})
            known = {"visit_key": f"k{checkup_id}", "width": 448, "height": 336, "status": "ok", "pixels": b"JPEG"}
            for n in range(1, 1 + IMAGES_A_VISIT):
                images.append(dict.fromkeys(IMAGES.schema.names) | known | {"image_key": f"{checkup_id}/{n}", "ordinal": n})
        places = pa.Table.from_pylist(split, schema=SPLIT.schema)
        tables = {
            "annotated": annotated,
            "split": places,
            "images": pa.Table.from_pylist(images, schema=IMAGES.schema),
            "conversations": make_conversations(annotated, places, ShareGptSettings(), 0),
        }
        for name, table in tables.items():
            parts[name].append(_committed(store, name, table, len(parts[name])))
    return parts


def _committed(store: Store, stage: str, table: pa.Table, number: int) -> Part:
    part = Part(f"{number:06d}", stage, store.root, table.num_rows, {})
    store.commit_table(part.name, table)
    return part


def _stage(store: Store, name: str, fn: Callable[..., pa.Table], work: list[Work]) -> list[Part]:
    return [_committed(store, name, fn(*one.inputs, one.extra), n) for n, one in enumerate(work)]


# as it is


def now(parts: dict[str, list[Part]], store: Store, release: Store) -> None:
    """What `build.release` does."""
    lines = _stage(store, "lines", layout.assemble, runs_work(parts["annotated"], parts["split"], parts["conversations"]))
    lines = _stage(store, "ordered_lines", piece, pieces_work(lines)) if len(lines) > 1 else lines
    layout.write_text_files(lines, release)
    samples = _stage(store, "samples", shards.weigh, runs_work(parts["conversations"], parts["images"], parts["split"]))
    samples = _stage(store, "ordered_samples", piece, pieces_work(samples)) if len(samples) > 1 else samples
    for work in shards.shard_work(samples):
        shards.shard(*work.inputs, work.extra, release=release)


# as it was


def before(parts: dict[str, list[Part]], store: Store, release: Store) -> None:
    annotated, split, conversations = parts["annotated"], parts["split"], parts["conversations"]
    where = []
    for index, part in enumerate(split):
        table = read_part(part, ["checkup_id", "visit_key", "status"], ok_only=True)
        where += [(checkup_id, index) for checkup_id in table["checkup_id"].to_pylist()]
    where.sort()
    lines: list[Part] = []
    for start in range(0, len(where), _CHUNK):
        chunk = where[start : start + _CHUNK]
        indices = sorted({index for _, index in chunk})
        wanted = pa.array([checkup for checkup, _ in chunk])
        tables = [pa.concat_tables(_holding(stage[i], wanted) for i in indices) for stage in (annotated, split, conversations)]
        lines.append(_committed(store, "old_lines", layout._lines_of(*tables).sort_by("place"), len(lines)))
    for name in (layout.TABLE, *layout.JSON_FILES):
        layout._text_file(release, name, _of_file(lines, name))
    found = []
    for index, (samples, images, places) in enumerate(zip(conversations, parts["images"], split, strict=True)):
        weighed = shards._weighed(samples, images, places)
        task, side, sample = (weighed[name] for name in ("task", "split", "sample_id"))
        none = np.zeros(weighed.num_rows, np.int64)
        found.append(shards.size_table(task, side, sample, weighed["visual_tokens"].to_numpy(), none, index))
    for work in shards.plan(pa.concat_tables(found), conversations):
        shards.shard(*work.inputs, work.extra, release=release)


def _holding(part: Part, checkups: pa.Array) -> pa.Table:
    table = read_part(part, ok_only=True)
    return table.filter(pc.is_in(table["checkup_id"], checkups))


def _of_file(lines: list[Part], name: str) -> Iterator[str]:
    """The chunks were read once for each file."""
    for part in lines:
        table = read_part(part)
        yield from table.filter(pc.equal(table["file"], name))["line"].to_pylist()


# side by side


def _measured(way: Callable[..., None], parts: dict[str, list[Part]], folder: str) -> tuple[float, int, dict[str, str]]:
    """CPU seconds, files opened, and the sums of what was written."""
    opened = 0

    def counted(plain: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal opened
            opened += 1
            return plain(*args, **options)

        return wrapped

    class Release(Store):
        def read(self, name: str) -> bytes:
            return b"JPEG" if name.startswith("Images/") else super().read(name)

    release = Release(f"{folder}/release")
    with mock.patch("builtins.open", counted(open)):
        start = time.process_time()
        way(parts, Store(f"{folder}/work"), release)
        seconds = time.process_time() - start
    return seconds, opened, {name: hashlib.sha256(release.read(name)).hexdigest() for name in release.names("")}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visits", default="3000,10000,30000")
    parser.add_argument("--only", choices=("before", "now"), help="one way alone, for sizes that the other does not reach")
    args = parser.parse_args()
    ways = {"before": before, "now": now}
    spent: dict[str, list[tuple[int, float]]] = {name: [] for name in ways}
    print(f"{'visits':>10}{'':>9}{'CPU s':>9}{'ms a visit':>12}{'files opened':>14}{'growth':>8}")
    for visits in map(int, args.visits.split(",")):
        sums = {}
        with tempfile.TemporaryDirectory(dir=os.environ.get("CODELIB_BENCHMARK_DIR")) as folder:
            parts = clinic(visits, Store(f"{folder}/tables"))
            for name, way in ways.items():
                if args.only in (None, name):
                    seconds, opened, sums[name] = _measured(way, parts, f"{folder}/{name}")
                    rate = 1000 * seconds / visits
                    exponent = ""
                    if spent[name]:
                        size, was = spent[name][-1]
                        exponent = f"{math.log(seconds / was) / math.log(visits / size):.2f}"
                    spent[name].append((visits, seconds))
                    print(f"{visits:>10,}{name:>9}{seconds:>9.1f}{rate:>12.2f}{opened:>14,}{exponent:>8}", flush=True)
        if len(sums) == 2:
            assert sums["before"] == sums["now"], "the two ways wrote different bytes"
            print(f"{'':>10}the same {len(sums['now'])} files; {spent['before'][-1][1] / spent['now'][-1][1]:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
