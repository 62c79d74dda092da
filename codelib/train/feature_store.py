"""Where kept vision features lie and whose images they are of, without torch: `codelib.train.vision_features` computes and reads them, a
withdrawal takes a person's out.

    WORKSPACE/features/<model, pixel policy, precision, dataset>/
        about.json                          what the folder's name stands for
        shards/<key>.safetensors            features of up to 64 images, one under the other: (visual tokens, hidden)
        stages/vision_features/*.parquet    which image lies where: the stage's partitions, each committed after its shard
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import Contract
from codelib.core.store import Store, Workspace, exclusive

STAGE = "vision_features"
ROOM = "features"
FEATURES = Contract(
    STAGE,
    1,
    ("image_sha256",),
    pa.schema(
        [
            pa.field("image_sha256", pa.string(), nullable=False),  # of the file's bytes
            pa.field("name", pa.string(), nullable=False),  # of the file, which holds the checkup's id
            pa.field("shard", pa.string(), nullable=False),
            pa.field("first_row", pa.int64(), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),  # visual tokens: rows in the shard
            pa.field("grid_rows", pa.int32(), nullable=False),  # of patches
            pa.field("grid_columns", pa.int32(), nullable=False),
        ]
    ),
)
_NAME = re.compile(r"(.+)-\d+\.\w+$")  # 0013-002-04.jpg


def at_work(folder: Path) -> AbstractContextManager[None]:
    """One job at a time. Raises ValueError where there is another."""
    return exclusive(folder / "lock", f"{folder}: another job computes the same features; wait for it")


def index(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Committed partitions, with the rows of each; none of a damaged one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in store.names(f"stages/{STAGE}"):
        if name.endswith(".parquet"):
            try:
                found[name] = store.read_table(name).to_pylist()
            except pa.ArrowInvalid:
                found[name] = []
    return found


def remove(store: Store, is_stale: Callable[[dict[str, Any]], bool]) -> int:
    """Drop every partition with a stale row, damaged ones, and shards that no partition names. Returns the images' number of these partitions.

    Shards go first: a kill in between leaves what says that they have to go.
    """
    found = index(store)
    stale = {name for name, rows in found.items() if not rows or any(map(is_stale, rows))}
    kept = {row["shard"] for name, rows in found.items() if name not in stale for row in rows}
    for shard in store.names("shards"):
        if shard not in kept:
            store.delete(shard)
    if stale:
        store.delete(f"stages/{STAGE}/manifest.json")
    for name in stale:
        store.delete(name)
    store.sweep()
    return sum(len(found[name]) for name in stale)


def withdraw(workspace: Workspace, checkups: frozenset[str]) -> tuple[list[str], bool]:
    """What is to be told, and whether all of it could be done: not where features are being computed. May be called again."""
    if not checkups:
        return [], True

    def is_theirs(row: dict[str, Any]) -> bool:
        found = _NAME.match(os.path.basename(row.get("name", "")))
        return found is None or found.group(1) in checkups  # what does not say whose it is, is not kept

    told, done = [], True
    for name, store in _folders(workspace.public):
        try:
            # into an object store nobody computes features: they were copied there with their workspace
            with at_work(Path(store.path())) if store.is_local else nullcontext():
                if removed := remove(store, is_theirs):
                    said = (
                        f"vision features of {removed:,} images, theirs among them, were removed; the others' are computed again"
                    )
                    told.append(f"{ROOM}/{name}: {said}")
        except ValueError:
            told.append(f"{ROOM}/{name}: at work on data of somebody who withdrew; stop it, and run this command again")
            done = False
    return told, done


def _folders(public: Store) -> list[tuple[str, Store]]:
    root = Path(public.path(ROOM))
    if public.is_local:
        names = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    else:
        names = list({name.split("/")[1] for name in public.names(ROOM) if name.count("/") > 1})
    return [(name, Store(f"{public.root.rstrip('/')}/{ROOM}/{name}")) for name in sorted(names)]
