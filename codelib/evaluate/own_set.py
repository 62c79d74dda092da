"""A user's own test file: another clinic's patients (external validation), read row by row, whatever is wrong with some of them.

    FILE.json or .jsonl, folder of images ── read_own_set ──> TestSet of the good rows + Rejected (row, code, what is wrong)

Rows are numbered from 1 as they stand in the file. Their own ids, patients and file names may be a hospital's: samples are called by row,
patients by the order in which they occur, and a fault says what is wrong and where, never the value.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

from codelib.core.config import nearest
from codelib.core.stage import digest
from codelib.evaluate.answers import parse_class
from codelib.evaluate.benchmarks import Sample, TestSet, sample_of
from codelib.evaluate.similarity import is_chinese
from codelib.evaluate.variants import CLASSIFICATION, GENERATION
from codelib.models.conversation import Conversation, Dataset, RowError, parse
from codelib.models.words import LANGUAGES

BENCHMARKS = (CLASSIFICATION, GENERATION)
_PATIENT_FIELDS = ("patient_id", "patient")
_SHOWN = 5  # faults said in the terminal; all of them stand in the file


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be asked. code: encoding | not_json | not_a_conversation | unknown_role | placeholder_count | no_question | no_answer |
    image_outside | image_missing | label | duplicate."""

    row: int
    code: str
    what: str


@dataclass(frozen=True)
class OwnSet:
    """``tests``: of the good rows; ``notes``: sentences for the report."""

    tests: TestSet
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """What the terminal says of the rejected rows."""
        for fault in self.rejected[:_SHOWN]:
            yield f"row {fault.row}: {fault.code}: {fault.what}"
        if len(self.rejected) > _SHOWN:
            yield f"… and {len(self.rejected) - _SHOWN} more rows: evaluate/report/rejected.csv"

    def rejected_csv(self) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("row", "code", "what"))
        writer.writerows((fault.row, fault.code, fault.what) for fault in self.rejected)
        return out.getvalue().encode()


def read_own_set(
    file: Path, images: Path | None, benchmark: str, patients: str | None = None, release: Dataset | None = None
) -> OwnSet:
    """images: what paths of images are relative to (default: the file's folder). patients: the field of a row that says whose visit it is.
    release: where few-shot examples come from. Raises ValueError where the file as a whole cannot be read, or no row is good."""
    if benchmark not in BENCHMARKS:
        raise ValueError(f"--benchmark {benchmark}: unknown benchmark for a file of your own; {nearest(benchmark, BENCHMARKS)}")
    root = Path(
        os.path.normpath((images or file.parent).absolute())
    )  # as the paths of images are: by their words, links followed later
    if not root.is_dir():
        raise ValueError(f"--images {images}: no such folder")
    reader = _Reader(root, benchmark, patients)
    for row in _rows(file):
        reader.add(row)
    if not reader.rows:
        raise ValueError(f"--test {file}: no rows in it")
    if not reader.samples:
        first = reader.rejected[0]
        raise ValueError(
            f"--test {file}: none of its {reader.rows} rows can be asked: {_counted(reader.rejected)}. Row {first.row}: {first.what}"
            f"{reader.hint()}"
        )
    if patients and not reader.num_told:
        raise ValueError(f"--patients {patients}: no row has such a field; {nearest(patients, reader.fields)}")
    tests = TestSet(root, {}, {benchmark: tuple(reader.samples)}, release)
    return OwnSet(tests, tuple(reader.rejected), tuple(reader.notes()))


def _counted(rejected: list[Rejected]) -> str:
    return ", ".join(f"{code} × {count}" for code, count in sorted(Counter(fault.code for fault in rejected).items()))


def _rows(file: Path) -> Iterator[Any]:
    """The rows of the file, those that are no JSON or no UTF-8 as a Rejected. Raises ValueError where it is no list at all."""
    try:
        data = file.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        near = [path.name for path in file.parent.glob("*.json*")] if file.parent.is_dir() else []
        raise ValueError(f"--test {file}: no such file{f'; {nearest(file.name, near)}' if near else ''}") from None
    text = data.decode("utf-8-sig", "surrogateescape")  # a byte that is no UTF-8 becomes a lone surrogate: the fault of its row
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _line(line, number)
        return
    try:
        tree = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if not _is_utf8(text):  # GB18030 and UTF-16 break JSON before anybody sees a character
            raise ValueError(f"--test {file}: not UTF-8; save it again as UTF-8") from None
        where = f" at line {error.lineno}, column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"--test {file}: not JSON{where}; one row a line is read as .jsonl") from None
    if not isinstance(tree, list):
        raise ValueError(f"--test {file}: expected a list of conversations, found {type(tree).__name__}")
    yield from tree


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        return Rejected(0, "not_json", f"line {number} of the file is no JSON: {reason}")


class _Reader:
    """Takes row after row; what it keeps of the bad ones is number and fault."""

    def __init__(self, root: Path, benchmark: str, patients: str | None) -> None:
        self.root, self.benchmark, self.field = str(root), benchmark, patients
        self.rows = 0
        self.samples: list[Sample] = []
        self.rejected: list[Rejected] = []
        self.first_row: dict[str, int] = {}  # content -> row
        self.ids: Counter[str] = Counter()
        self.patients: dict[str, str] = {}  # as the file says -> as we call them
        self.num_told = 0  # rows that say whose visit they are
        self.num_alone = 0  # rows that do not, nor their images
        self.fields: set[str] = set()  # names seen, for the nearest match

    def add(self, row: Any) -> None:
        self.rows += 1
        if isinstance(row, Rejected):
            self.rejected.append(replace(row, row=self.rows))
            return
        try:
            sample = self._sample(row)
        except RowError as fault:
            self.rejected.append(Rejected(self.rows, fault.code, str(fault)))
            return
        self.samples.append(sample)
        self.fields |= set(row)
        if row.get("id") is not None:
            self.ids[str(row["id"])] += 1

    def _sample(self, row: Any) -> Sample:
        conversation = _parsed(row, self.rows, self.root)
        said = [message for message in conversation.messages[:-1] if message.role == "user" and message.content.strip()]
        if conversation.messages[-1].role != "assistant" or not conversation.answer.strip():
            raise RowError("no_answer", "no answer to compare with: its last message must be the assistant's, and not be empty")
        if not said or conversation.messages[-2].role != "user":
            raise RowError("no_question", "nothing is asked: before its last message there must be one of the user's")
        count = len(conversation.images)
        images = tuple(self._image(path, f"image {n} of {count}") for n, path in enumerate(conversation.images, start=1))
        if self.benchmark == CLASSIFICATION and parse_class(conversation.answer) is None:
            raise RowError("label", "its answer names none of the six classes, or several")
        asked = digest([[[message.role, message.content] for message in conversation.messages], images])
        if (first := self.first_row.setdefault(asked, self.rows)) != self.rows:
            raise RowError("duplicate", f"the same question, images and answer as row {first}")
        sample = sample_of(conversation, self.benchmark, images)
        # one question may compare several visits of a release: a withdrawal of any of them finds its answer
        return replace(sample, patient=self._patient(row, conversation), others=conversation.checkups)

    def _image(self, path: str, which: str) -> str:
        normal = os.path.normpath(path)
        if not normal.startswith(self.root + os.sep):
            raise RowError("image_outside", f"{which} has a path that leaves the folder of --images")
        try:
            found = os.stat(normal)
        except (OSError, ValueError):  # ValueError: a null byte in the name
            found = None
        if found is None or not S_ISREG(found.st_mode) or not found.st_size:
            raise RowError("image_missing", f"{which} is not in the folder of --images, or is empty")
        return normal[len(self.root) + 1 :].replace(os.sep, "/")

    def _patient(self, row: dict[str, Any], conversation: Conversation) -> str:
        names = (self.field,) if self.field else _PATIENT_FIELDS
        value = next((row[name] for name in names if isinstance(row.get(name), str | int) and str(row[name]).strip()), None)
        if value is not None:
            self.num_told += 1
            return self._called(f"field/{str(value).strip()}")
        if conversation.checkup:  # a released file name, whose code is nobody's number
            return conversation.patient
        self.num_alone += 1
        return self._called(conversation.patient)

    def _called(self, patient: str) -> str:
        return self.patients.setdefault(patient, f"p{len(self.patients) + 1:05d}")

    def hint(self) -> str:
        missing = sum(fault.code in ("image_missing", "image_outside") for fault in self.rejected)
        return "; give the folder that the paths of images start from with --images" if 2 * missing > len(self.rejected) else ""

    def notes(self) -> Iterator[str]:
        if self.rejected:
            yield (
                f"{len(self.rejected)} of the {self.rows} rows of the test file are rejected and not asked: "
                f"{_counted(self.rejected)} (rejected.csv)."
            )
        if self.num_alone:
            yield (
                f"{self.num_alone} of {len(self.samples)} rows do not say whose visit they are, and count as a patient each (rows that "
                "begin with the same image as one): where patients have several rows, the intervals are too narrow. Name the field "
                "that says it with --patients."
            )
        if twice := sum(count - 1 for count in self.ids.values()):
            yield f"{twice} rows have an id that another row has as well; rows are told apart by their number."


def _parsed(row: Any, number: int, root: str) -> Conversation:
    """The conversation, without what a stranger's file calls checkup and split, and with its language. Raises RowError in words that hold no
    value of the row; its number stands beside them."""
    if not _is_utf8(json.dumps(row, ensure_ascii=False)):
        raise RowError("encoding", "not UTF-8; save the file again as UTF-8")
    name = f"test/{number}"
    try:
        conversation = parse(row, name, Path(root))
    except RowError as fault:
        if fault.code == "unknown_role":
            raise RowError(fault.code, "a message is of none of these: system, user, assistant, human, gpt") from None
        raise RowError(fault.code, str(fault).removeprefix(f"{name}: ")) from None
    asked = "".join(message.content for message in conversation.messages if message.role == "user")
    language = conversation.language if conversation.language in LANGUAGES else "zh" if is_chinese(asked) else "en"
    return replace(conversation, checkup_id="", split="test", language=language)
