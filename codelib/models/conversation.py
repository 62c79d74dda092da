"""One conversation type, and one reader of every ShareGPT spelling.

    release/ or published COde folder or plain ShareGPT json  ->  list[Conversation]  ->  training, evaluation, serving

A conversation's text holds one ``<image>`` placeholder for each image, in order; how a model sees them is decided in one place
(`codelib.models.prompt`), so that training, local inference and a remote server see the same thing.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

IMAGE = "<image>"
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
_SHAPE = "not_a_conversation"
_FILES = ("train", "train-cls", "train-diagnostic", "test-cls", "test-diagnostic")
TABLES = ("complete-dataset.csv", "complete_dataset.csv")
_CODES = re.compile(r"(?:^|/)((\d{4,})-\d{3,})-\d{2,}\.jpe?g$", re.IGNORECASE)
_CHECKUP = re.compile(r"(\d{4,})-\d{3,}")


class RowError(ValueError):
    """A row that is no conversation. code: not_a_conversation | unknown_role | placeholder_count | encoding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return (RowError, (self.code, str(self)))


@dataclass(frozen=True)
class Message:
    role: str  # system | user | assistant
    content: str


@dataclass(frozen=True)
class Conversation:
    """``messages`` in order, and the images their placeholders stand for: paths that can be opened. What follows them a release of ours
    says of each sample; other data leaves it out."""

    sample_id: str
    messages: tuple[Message, ...]
    images: tuple[str, ...]
    checkup_id: str = ""
    split: str = ""  # train | validation | test
    language: str = ""  # en | zh
    names_label: bool | None = None  # the complaint already names the visit's class

    @property
    def prompt(self) -> Conversation:
        """The same without the final answer: what a model is asked."""
        assert self.messages[-1].role == "assistant", f"{self.sample_id} has no answer to take off"
        return replace(self, messages=self.messages[:-1])

    @property
    def answer(self) -> str:
        assert self.messages[-1].role == "assistant", f"{self.sample_id} has no answer"
        return self.messages[-1].content

    @property
    def patient(self) -> str:
        """Patient code out of the checkup or the released file name; else the first image, or the sample where it has none."""
        if known := _CHECKUP.fullmatch(self.checkup_id):
            return known.group(1)
        if not self.images:
            return self.sample_id
        # without a code, two questions about one picture still belong together
        found = _CODES.search(self.images[0])
        return found.group(2) if found else self.images[0]

    @property
    def checkups(self) -> tuple[str, ...]:
        """All that the released file names of its images say, each once, sorted."""
        return tuple(sorted({found.group(1) for image in self.images if (found := _CODES.search(image))}))

    @property
    def checkup(self) -> str | None:
        """Checkup id (0013-002) as the sample says, or out of the released file name; None where there is neither."""
        if self.checkup_id:
            return self.checkup_id
        found = _CODES.search(self.images[0]) if self.images else None
        return found.group(1) if found else None


def _text_and_images(content: Any, place: str) -> tuple[str, list[str]]:
    """A message's content as text with placeholders: a string, or a list of typed parts."""
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise RowError(_SHAPE, f"{place}: content is {type(content).__name__}, expected a string or a list of parts")
    text: list[str] = []
    images: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind == "text":
            value = part.get("value", part.get("text", ""))
        elif kind in ("image", "image_url"):
            url = part.get("image_url")
            value = part.get("value") or part.get("image") or (url.get("url") if isinstance(url, dict) else url)
        else:
            # its name is not repeated: it stands in a file of somebody's patients
            raise RowError(_SHAPE, f"{place}: a part of another type; only text, image and image_url are read")
        if not isinstance(value, str):
            raise RowError(_SHAPE, f"{place}: a part of type {kind!r} holds {type(value).__name__}, expected a string")
        text.append(value if kind == "text" else IMAGE)
        if kind != "text":
            images.append(value)
    return "".join(text), images


def parse(row: Any, sample_id: str, folder: Path) -> Conversation:
    """One ShareGPT row (``messages`` role/content or ``conversations`` from/value) as a Conversation.

    Raises RowError naming the sample where roles are unknown or placeholders and images do not match.
    """
    if not isinstance(row, dict):
        raise RowError(_SHAPE, f"{sample_id}: expected an object with messages, found {type(row).__name__}")
    turns = row.get("messages") or row.get("conversations")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise RowError(_SHAPE, f"{sample_id}: neither messages nor conversations")
    given = row.get("images") or []
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise RowError(_SHAPE, f"{sample_id}: images is not a list of paths")
    messages, images = [], list(given)
    if row.get("system"):
        if not isinstance(row["system"], str):
            raise RowError(_SHAPE, f"{sample_id}: system is not a string")
        messages.append(Message("system", row["system"]))
    for turn in turns:
        name = turn.get("role") or turn.get("from")
        role = _ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            raise RowError("unknown_role", f"{sample_id}: role {name!r}; known: {', '.join(_ROLES)}")
        text, found = _text_and_images(turn.get("content", turn.get("value")), sample_id)
        images += found
        # blanks before an answer would melt into the chat template's own line break
        messages.append(Message(role, text.lstrip() if role == "assistant" else text))
    placeholders = sum(m.content.count(IMAGE) for m in messages)
    if placeholders != len(images):
        raise RowError("placeholder_count", f"{sample_id}: {placeholders} {IMAGE} placeholders but {len(images)} images")
    paths = tuple(str(folder / name.replace("\\", "/")) for name in images)
    told = {name: row[name] for name in ("checkup_id", "split", "language") if isinstance(row.get(name), str)}
    named = row.get("names_label")
    return Conversation(sample_id, tuple(messages), paths, **told, names_label=named if isinstance(named, bool) else None)


def _check_whole(row: Any, place: str) -> None:
    """JSON can spell half a character (a lone surrogate), which no tokeniser, table or file takes."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RowError(
            "encoding", f"{place}: holds half a character (\\ud800 to \\udfff alone); write the file again as UTF-8"
        ) from None


def read_file(path: Path, images_root: Path | None = None) -> list[Conversation]:
    """All conversations of one ShareGPT file (.json or .jsonl); image paths are taken relative to ``images_root``
    (default: the file's folder). An id that occurs again is told apart (7, 7#2). Raises ValueError naming file and row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [json.loads(line) for line in text.split("\n") if line.strip()] if path.suffix == ".jsonl" else json.loads(text)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8; save it again as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON at line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: not a list of conversations; its JSON is nested too deeply") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of conversations, found {type(rows).__name__}")
    root, stem = images_root or path.parent, path.stem.replace("_", "-")
    seen: Counter[str] = Counter()
    found = []
    for index, row in enumerate(rows):
        name = str(row.get("id", index) if isinstance(row, dict) else index)
        seen[name] += 1
        _check_whole(row, f"{path}, row {index + 1}")
        found.append(parse(row, f"{stem}/{name}" if seen[name] == 1 else f"{stem}/{name}#{seen[name]}", root))
    return found


@dataclass(frozen=True)
class Dataset:
    """A released dataset folder: ours or the published COde, whichever spelling its files have."""

    folder: Path
    files: dict[str, Path]

    def read(self, name: str) -> list[Conversation]:
        """name: one of train, train-cls, train-diagnostic, test-cls, test-diagnostic."""
        if name not in self.files:
            raise ValueError(f"{self.folder} has no {name}.json; it has: {', '.join(sorted(self.files))}")
        return read_file(self.files[name], self.folder)

    def validation(self) -> frozenset[str]:
        """Checkup ids of the release's own validation side, as its table says; empty where it has none."""
        tables = [self.folder / name for name in TABLES if (self.folder / name).is_file()]
        if not tables:
            return frozenset()
        csv.field_size_limit(2**31 - 1)  # a report may be longer than 128 KiB
        with tables[0].open(encoding="utf-8-sig", newline="") as lines:
            return frozenset(row.get("checkup_id", "") for row in csv.DictReader(lines) if row.get("split") == "validation")


def spellings(name: str) -> tuple[str, str]:
    """How the file of a name may be called."""
    return f"{name}.json", f"{name.replace('-', '_')}.json"


DATASET_FILES = frozenset(file for name in _FILES for file in spellings(name))


def open_dataset(folder: str | Path) -> Dataset:
    """Find the JSON files of a release. Raises ValueError with the way out where the folder is not one, or is unfinished."""
    folder = Path(folder)
    if not folder.exists():
        raise ValueError(f"--dataset {folder}: no such folder")
    if not folder.is_dir():
        raise ValueError(f"--dataset {folder}: a file; give the folder of a released dataset")
    if (folder / "INCOMPLETE").exists():
        raise ValueError(f"--dataset {folder}: its build did not finish; run the same jobs.dataset command again")
    files: dict[str, Path] = {}
    for name in _FILES:
        for spelling in spellings(name):
            if (folder / spelling).is_file():
                files.setdefault(name, folder / spelling)
    if not files:
        inner = folder / "release"
        hint = f"; did you mean {inner}?" if inner.is_dir() else f"; expected {', '.join(f'{n}.json' for n in _FILES)}"
        raise ValueError(f"--dataset {folder}: not a released dataset{hint}")
    return Dataset(folder, files)
