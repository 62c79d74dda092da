"""Checking somebody else's samples: every image opened once, every reference followed, each fault with its reason.

    image files ──check_images──> FOREIGN_IMAGES ─┐
    runs of rows ───────check_samples─────────────┴──> FOREIGN ── without_duplicates ──> FOREIGN

Reasons (import:…): not_json, invalid_text, not_a_conversation, unknown_role, placeholder_count, empty_answer, remote_image (nothing is
downloaded), outside_folder, missing_image, unreadable_image, duplicate_id.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from codelib.contracts import MESSAGE, OK, Contract, rejected
from codelib.core.ahead import read_parts
from codelib.core.stage import Part
from codelib.data.foreign_clean import clean
from codelib.data.foreign_rows import config_of, is_text, read_run, split_of
from codelib.data.shards import image_tokens
from codelib.imaging.picture import ImageRejected
from codelib.models.conversation import Conversation, RowError, parse

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # no format whose decoder runs another program
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C: is a disk

FOREIGN_IMAGES = Contract(
    "foreign_images",
    2,
    ("path",),
    pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),  # relative to the folder
            ("visual_tokens", pa.int64()),
            ("size_bytes", pa.int64()),  # as it will be released
            ("cleaned", pa.string()),  # "" (its bytes are the given ones), stripped, rebuilt (codelib.data.foreign_clean)
            pa.field("status", pa.string(), nullable=False),
            ("reject_reason", pa.string()),
        ]
    ),
)
FOREIGN = Contract(
    "foreign",
    2,
    ("file", "index"),
    pa.schema(
        [
            pa.field("file", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),  # 0.. in the file
            ("sample_id", pa.string()),  # <file's label>/<id, or index where the row has none>
            ("config", pa.string()),
            ("split", pa.string()),
            ("checkup_id", pa.string()),
            ("language", pa.string()),
            ("names_label", pa.bool_()),
            ("spectrum", pa.string()),  # null: what shards of a release carry, and nobody else's rows
            ("conditions", pa.list_(pa.string())),
            ("messages", pa.list_(MESSAGE)),
            ("images", pa.list_(pa.string())),  # relative to the folder
            ("visual_tokens", pa.int64()),
            ("size_bytes", pa.int64()),
            ("place", pa.string()),  # of the fault in the row: "image 2"
            pa.field("status", pa.string(), nullable=False),
            ("reject_reason", pa.string()),
        ]
    ),
)


def check_images(extra: dict[str, Any], root: str) -> pa.Table:
    """FOREIGN_IMAGES of these files, each decoded in full."""
    rows = [_check_image(root, path) | {"path": path} for path in extra["images"]]
    return pa.Table.from_pylist(rows, schema=FOREIGN_IMAGES.schema)


def _check_image(root: str, path: str) -> dict[str, Any]:
    try:
        content = Path(root, path).read_bytes()
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            image.load()
        bare, how = clean(content)
        with Image.open(io.BytesIO(bare)) as image:
            tokens = image_tokens(*image.size)
    except (
        ImageRejected,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
    ):  # Pillow raises all for corrupt data
        return rejected("import:unreadable_image")
    return {"visual_tokens": tokens, "size_bytes": len(bare), "cleaned": how, "status": OK}


def read_clean(path: str, root: str) -> bytes:
    """The image of a sample as its shard holds it."""
    return clean(Path(root, path).read_bytes())[0]


def check_samples(*parts: Any, root: str) -> pa.Table:
    """FOREIGN of one run of rows. Arguments: the partitions of FOREIGN_IMAGES, lazily, and which run."""
    *images, extra = parts
    rows, conversations = [], []
    for number, value in enumerate(read_run(os.path.join(root, extra["file"]), extra["start"], extra["stop"])):
        index = extra["first"] + number
        row, conversation = _read(value, extra["file"], extra["label"], index)
        rows.append(row)
        conversations.append(conversation)
    beside = posixpath.dirname(extra["file"])
    asked = {path for one in conversations if one for name in one.images for path in _candidates(name, beside, root)}
    known = _known(images, asked)
    for row, conversation in zip(rows, conversations, strict=True):
        if conversation:
            row |= _follow(conversation, beside, root, known)
    return pa.Table.from_pylist(rows, schema=FOREIGN.schema)


def _read(value: Any, file: str, label: str, index: int) -> tuple[dict[str, Any], Conversation | None]:
    if not is_text(value):
        bare = {"file": file, "index": index, "sample_id": f"{label}/{index}", "config": config_of(label), "images": []}
        return bare | rejected("import:invalid_text"), None
    given = value.get("id") if isinstance(value, dict) else None
    sample_id = f"{label}/{index if given is None else given}"
    row: dict[str, Any] = {"file": file, "index": index, "sample_id": sample_id, "config": config_of(label)}
    row |= {"split": split_of(label, value), "images": [], "status": OK}
    if value is None:
        return row | rejected("import:not_json"), None
    try:
        one = parse(value, sample_id, Path())
    except RowError as error:
        return row | rejected(f"import:{error.code}"), None
    row["messages"] = [{"role": m.role, "content": m.content} for m in one.messages]
    row |= {"checkup_id": one.checkup_id or None, "language": one.language or None, "names_label": one.names_label}
    answers = [m.content.strip() for m in one.messages if m.role == "assistant"]
    if one.messages[-1].role != "assistant" or not all(answers):
        return row | rejected("import:empty_answer"), one
    return row, one


def _candidates(name: str, beside: str, root: str) -> Iterator[str]:
    """Where a reference may lead, inside the folder: from the folder itself, then from where its file lies."""
    if _SCHEME.match(name):
        return
    if posixpath.isabs(name):
        name = os.path.relpath(name, root)
    for path in (posixpath.normpath(name), posixpath.normpath(posixpath.join(beside, name))):
        if path != ".." and not path.startswith(("../", "/")):
            yield path


def _known(parts: list[Part], asked: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of FOREIGN_IMAGES that these samples ask for."""
    wanted, found = pa.array(sorted(asked), pa.string()), {}
    for table in read_parts(parts):
        for row in table.filter(pc.is_in(table["path"], wanted)).to_pylist():
            found[row["path"]] = row
    return found


def _follow(one: Conversation, beside: str, root: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The images of a sample with what they weigh; or the first fault and its place."""
    paths, fault = [], None
    for number, name in enumerate(one.images, 1):
        there = list(_candidates(name, beside, root))
        path = next((path for path in there if path in known), None)
        if path:
            paths.append(path)
        code = _fault(name, there, root, known.get(path or ""))
        fault = fault or (code and {**rejected(f"import:{code}"), "place": f"image {number}"})
    tokens, size = (sum(known[path][name] or 0 for path in paths) for name in ("visual_tokens", "size_bytes"))
    return {"images": paths, "visual_tokens": tokens, "size_bytes": size, **(fault or {})}


def _fault(name: str, there: list[str], root: str, image: dict[str, Any] | None) -> str | None:
    if image is not None:
        return None if image["status"] == OK else "unreadable_image"
    if _SCHEME.match(name):
        return "remote_image"
    if not there:
        return "outside_folder"
    # a file of another kind: it is there, and is no image
    return "unreadable_image" if any(os.path.isfile(os.path.join(root, path)) for path in there) else "missing_image"


def without_duplicates(table: pa.Table, extra: dict[str, Any]) -> pa.Table:
    """The same, the rows at these places rejected: their id stands before them in the file."""
    rows = table.to_pylist()
    for at in extra["again"]:
        rows[at] |= rejected("import:duplicate_id")
    return pa.Table.from_pylist(rows, schema=FOREIGN.schema)


def duplicates(parts: list[Part]) -> list[list[int]]:
    """For each partition the rows whose sample_id stood before among the usable ones."""
    ids = list(read_parts(parts, ["sample_id", "status"]))
    if not ids:
        return []
    table = pa.concat_tables(ids).append_column("at", pa.array(range(sum(t.num_rows for t in ids)), pa.int64()))
    usable = table.filter(pc.equal(table["status"], OK))
    first = usable.group_by("sample_id").aggregate([("at", "min")])["at_min"]
    again = usable["at"].filter(pc.invert(pc.is_in(usable["at"], first.combine_chunks()))).to_numpy()
    found, start = [], 0
    for one in ids:
        mine = again[(again >= start) & (again < start + one.num_rows)] - start
        found.append(mine.tolist())
        start += one.num_rows
    return found
