"""Images: every file of a visit -> a 448 px JPEG without metadata, or a rejection by name.

The table holds a row for each file, also for those of visits that were rejected before: nothing is lost in silence.
"""

from __future__ import annotations

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from codelib.contracts import IMAGES, OK, rejected
from codelib.core.store import Store
from codelib.data.pixels import ImageRejected, PixelSettings, decode, encode, perceptual_hash
from codelib.data.vault import Keyed

_KIND_ORDER = {"radiograph": 0, "photograph": 1}
_READERS = 4  # files of a visit read at once: hides the storage's latency. A visit's files are held together: some 200 MB at most


def image_key(keyed: Keyed, path: str) -> str:
    return keyed.text("image", path)


def make_images(table: pa.Table, export: Store, keyed: Keyed, settings: PixelSettings) -> pa.Table:
    """RECORDS (visit_key, files, status) -> IMAGES."""
    rows: list[dict[str, Any]] = []
    for visit in table.select(["visit_key", "files", "status"]).to_pylist():
        if visit["status"] == OK:
            rows += _visit(visit, export, keyed, settings)
        else:
            rows += [_row(visit, file, keyed) | rejected(_unopened(file) or "images:visit_rejected") for file in visit["files"]]
    return pa.Table.from_pylist(rows, schema=IMAGES.schema)


def _row(visit: dict[str, Any], file: dict[str, Any], keyed: Keyed) -> dict[str, Any]:
    row = dict.fromkeys(IMAGES.schema.names) | {"status": OK, "ordinal": 0}
    return row | {"image_key": image_key(keyed, file["path"]), "visit_key": visit["visit_key"], "kind": file["kind"]}


def _unopened(file: dict[str, Any]) -> str | None:
    """Files that are never opened."""
    if file["kind"] == "screenshot":
        return "images:record_screenshot"
    return "images:outside_folders" if file["kind"] == "other" else None


def _visit(visit: dict[str, Any], export: Store, keyed: Keyed, settings: PixelSettings) -> list[dict[str, Any]]:
    """All files of one visit; of exact copies the one with the shortest name stays, then the first."""
    rows = []
    kept: set[tuple[str, str]] = set()
    ordinal = 0
    wanted = [f for f in visit["files"] if not _unopened(f)]
    shortest_first = sorted(wanted, key=lambda f: (len(os.path.basename(f["path"])), f["path"]))
    done: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(_READERS) as readers:
        for file, content in zip(shortest_first, readers.map(lambda f: _read(export, f["path"]), shortest_first), strict=True):
            row = _row(visit, file, keyed)
            done[file["path"]] = row
            if content is None:
                row |= rejected("images:unreadable")
                continue
            row["source_digest"] = keyed.bytes("file", content)
            copy = (file["kind"], row["source_digest"])
            row |= rejected("images:duplicate") if copy in kept else _convert(content, settings)
            if row["status"] == OK:
                kept.add(copy)
    for file in sorted(wanted, key=lambda f: (_KIND_ORDER[f["kind"]], _natural(f["path"]))):
        row = done[file["path"]]
        if row["status"] == OK:
            ordinal += 1
            row["ordinal"] = ordinal
        rows.append(row)
    return rows + [_row(visit, f, keyed) | rejected(_unopened(f) or "") for f in visit["files"] if _unopened(f)]


def _read(export: Store, path: str) -> bytes | None:
    """None where this one file cannot be read (gone, a link to nowhere, no permission); a failing disk stops the stage."""
    try:
        return export.read(path)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _convert(content: bytes, settings: PixelSettings) -> dict[str, Any]:
    try:
        image = decode(content, settings)
    except ImageRejected as reason:
        return rejected(f"images:{reason}")
    width, height = image.size
    jpeg = encode(image, settings.quality)
    return {"width": width, "height": height, "phash": perceptual_hash(image), "pixels": jpeg}


def _natural(path: str) -> list[Any]:
    """2.jpg before 10.jpg. Text and numbers alternate, so that any two keys compare."""
    parts = re.split(r"(\d+)", path.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
