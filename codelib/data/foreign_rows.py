"""The rows of somebody else's ShareGPT files, found without holding a file: a folder's listing, and runs of rows as byte ranges.

A JSON array is read in pieces and cut with the standard library's own decoder, which is C and needs no other package (ijson would give events,
slower, and orjson the whole file at once). A worker then reads its byte range alone.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from codelib.core.stage import digest

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_ROWS = (".json", ".jsonl")
_TABLES = ("complete-dataset.csv", "complete_dataset.csv")
_CONFIGS = {  # the published layout, formats B
    "train": "all",
    "train-cls": "classification",
    "test-cls": "classification",
    "train-diagnostic": "generation",
    "test-diagnostic": "generation",
}
_BLANK = re.compile(r"[ \t\r\n]*")
_PIECE = 1 << 20  # bytes read at a time
_RUN_ROWS, _RUN_BYTES = 1000, 8 << 20  # of a worker's run


class NotRows(ValueError):
    """A file that holds no (further) rows. code: not_a_list | not_json | not_utf8; index: of the row it happened at."""

    def __init__(self, code: str, index: int) -> None:
        super().__init__(f"{code} at row {index}")
        self.code, self.index = code, index


@dataclass(frozen=True)
class Listing:
    """What lies in the folder, by paths relative to it, sorted. ``fingerprint`` changes with any name, size or time."""

    root: str
    rows: tuple[str, ...]
    images: tuple[str, ...]
    tables: tuple[str, ...]
    fingerprint: str

    def label(self, path: str) -> str:
        """What a file's samples are called by: train-cls for train_cls.json at the top, else the path without its ending."""
        stem = os.path.splitext(path)[0]
        name = stem.replace("_", "-")
        if name in _CONFIGS:
            return name
        return path if any(other != path and os.path.splitext(other)[0] == stem for other in self.rows) else stem


def list_folder(given: str) -> Listing:
    """A folder, or one file with its images beside it. Raises ValueError where there is nothing to read."""
    if "://" in given:
        raise ValueError(
            f"--import-from {given}: a folder of this machine or of a shared disk is read, and no URI; copy it there first"
        )
    if not os.path.exists(given):
        raise ValueError(f"--import-from {given}: no such folder")
    root = given if os.path.isdir(given) else os.path.dirname(os.path.abspath(given))
    if os.path.exists(os.path.join(root, "INCOMPLETE")):
        raise ValueError(f"--import-from {given}: its build did not finish; run the command that made it again")
    found: list[tuple[str, int, int]] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in names:
            if name.lower().endswith((*_IMAGES, *_ROWS, *_TABLES)) and not name.startswith("."):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and _is_text(path):  # not a link to what is gone
                    about = os.stat(path)
                    found.append((os.path.relpath(path, root), about.st_size, about.st_mtime_ns))
    found.sort()
    names = [name for name, _, _ in found]
    alone = os.path.relpath(given, root) if root != given else None
    rows = tuple(name for name in names if name.lower().endswith(_ROWS) and alone in (None, name))
    if not rows:
        raise ValueError(f"--import-from {given}: no .json or .jsonl file; give the folder that holds the conversations")
    images = tuple(name for name in names if name.lower().endswith(_IMAGES))
    tables = tuple(name for name in names if name in _TABLES and alone is None)
    return Listing(os.path.abspath(root), rows, images, tables, digest([alone, *map(list, found)]))


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: a file's name may be bytes of another encoding, and JSON can escape half a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_text(value: Any) -> bool:
    """Whether UTF-8 can hold every string of a JSON value."""
    return _is_text(json.dumps(value, ensure_ascii=False))


def config_of(label: str) -> str:
    """The config that a file's samples go into: the published benchmark's name, else the file's own in letters that a path may hold."""
    return _CONFIGS.get(label) or re.sub(r"[^A-Za-z0-9_-]+", "-", label).strip("-") or "data"


def split_of(label: str, row: Any) -> str:
    """What the row says, else what the file's name says, else train."""
    said = row.get("split") if isinstance(row, dict) else None
    if said in ("train", "validation", "test"):
        return str(said)
    words = re.split(r"[-_./]", label.lower())
    if "test" in words:
        return "test"
    return "validation" if {"val", "valid", "validation", "dev"} & set(words) else "train"


# where the rows lie


def runs(path: str) -> Iterator[tuple[int, int, int, int]]:
    """Runs of rows as (first row, number of rows, first byte, byte behind the last). Raises NotRows behind the last whole row."""
    start = stop = first = count = 0
    try:
        for number, (begin, end) in enumerate(_lines(path) if path.lower().endswith(".jsonl") else _elements(path)):
            if not count:
                start, first = begin, number
            stop, count = end, count + 1
            if count == _RUN_ROWS or stop - start >= _RUN_BYTES:
                yield first, count, start, stop
                count = 0
    except NotRows as error:
        if count:
            yield first, count, start, stop
        raise error
    if count:
        yield first, count, start, stop


def _lines(path: str) -> Iterator[tuple[int, int]]:
    at = 0
    with open(path, "rb") as file:
        for line in file:
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                yield at, at + len(line)
            at += len(line)


def _elements(path: str) -> Iterator[tuple[int, int]]:
    """Byte ranges of the elements of a JSON array. Holds the element in hand and one piece of the file."""
    decoder, found = json.JSONDecoder(), 0
    with open(path, "rb") as file:
        text = codecs.getincrementaldecoder("utf-8")()
        at = 3 if file.read(3) == codecs.BOM_UTF8 else 0  # of the buffer's beginning in the file
        file.seek(at)
        buffer, piece, is_open, is_end = "", _PIECE, False, False
        while True:
            skipped = _behind_blanks(buffer, 0)
            at, buffer = at + skipped, buffer[skipped:]
            if buffer and not is_open:
                if buffer[0] != "[":
                    raise NotRows("not_a_list", 0)
                at, buffer, is_open = at + 1, buffer[1:], True
                continue
            if buffer.startswith("]"):
                return
            position = 0
            while buffer:  # all whole elements of the buffer, which is cut once
                try:
                    _, end = decoder.raw_decode(buffer, position)
                except (ValueError, RecursionError):  # ValueError: also a number of thousands of digits
                    break
                behind = _behind_blanks(buffer, end)
                if buffer[behind : behind + 1] not in (",", "]"):  # 12 may become 123 or 12.5; and two elements want a comma
                    break
                size = len(buffer[position:end].encode("utf-8", "surrogatepass"))
                yield at, at + size
                found, piece = found + 1, _PIECE
                is_last = buffer[behind] == "]"
                at += size + behind - end + (not is_last)  # blanks of JSON are one byte each
                position = behind + (not is_last)
                skipped = _behind_blanks(buffer, position) - position
                at, position = at + skipped, position + skipped
                if is_last or position == len(buffer):
                    break
            buffer = buffer[position:]
            if buffer.startswith("]"):
                return
            if is_end:
                raise NotRows("not_json", found)
            content = file.read(piece)
            piece *= 2  # an element larger than the piece is tried again only as often as it doubles
            is_end = not content
            try:
                buffer += text.decode(content, final=is_end)
            except UnicodeDecodeError:
                raise NotRows("not_utf8", found) from None


def _behind_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    assert found is not None
    return found.end()


def read_run(path: str, start: int, stop: int) -> list[Any]:
    """The rows of a run; None for a line of JSON Lines that is not JSON."""
    with open(path, "rb") as file:
        file.seek(start)
        content = file.read(stop - start)
    if not path.lower().endswith(".jsonl"):
        rows: list[Any] = json.loads(b"[" + content + b"]")
        return rows
    return [_row(line) for line in content.split(b"\n") if line.strip(b"\xef\xbb\xbf \t\r\n")]


def _row(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
