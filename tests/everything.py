"""Everything that a folder says, decoded: for the question whether somebody is still anywhere in it.

folder ─> (place, text or bytes): names, raw bytes in four encodings, JSON and CSV values, every Parquet and Arrow cell, members of zips,
          data URLs, text chunks of PNG; bytes that are pictures as they are
"""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_ENCODINGS = ("utf-8", "utf-16-le", "gb18030", "latin-1")
_DATA_URL = re.compile(rb"data:[\w/+.-]+;base64,([A-Za-z0-9+/=]+)")


def everything(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    for path in sorted(folder.rglob("*")):
        place = str(path.relative_to(folder))
        yield f"name of {place}", place
        if path.is_file():
            yield from _content(place, path.read_bytes())


def _content(place: str, content: bytes) -> Iterator[tuple[str, str | bytes]]:
    yield place, content
    for encoding in _ENCODINGS:
        yield f"{place} as {encoding}", content.decode(encoding, "ignore")
    if place.endswith(".json"):
        yield from _value(place, json.loads(content))
    if place.endswith((".parquet", ".arrow", ".feather")):
        yield from _table(place, content)
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield f"name in {place}", name
                yield from _content(f"{place}!{name}", archive.read(name))
    for found in _DATA_URL.findall(content):
        yield f"data URL of {place}", base64.b64decode(found)
    if content.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(content)) as image:
            yield from _value(f"{place} PNG text", {k: str(v) for k, v in image.info.items()})


def _table(place: str, content: bytes) -> Iterator[tuple[str, str | bytes]]:
    source = io.BytesIO(content)
    table = pq.read_table(source) if place.endswith(".parquet") else pa.ipc.open_file(source).read_all()
    yield from _value(f"{place} metadata", {str(k): str(v) for k, v in (table.schema.metadata or {}).items()})
    for name in table.column_names:
        for value in table[name].to_pylist():
            yield from _value(f"{place} column {name}", value)


def _value(place: str, value: Any) -> Iterator[tuple[str, str | bytes]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield place, str(key)
            yield from _value(place, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _value(place, inner)
    elif value is not None:
        yield place, value if isinstance(value, bytes) else str(value)
