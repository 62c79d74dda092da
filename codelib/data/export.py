"""The clinic's raw export as folders: batches, patients, visits, files (formats, part A). Reads names and sizes only.

<export>/<batch>/<…牙科数据_电子病历…>/<…牙科病历.xlsx>
                /患者<number>-<age>-<男|女>/<visit time>[——<comment>]/照片 · X片 · 病历
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from codelib.core.cli import InputError
from codelib.core.objects import StorageError
from codelib.core.stage import digest
from codelib.core.store import Store
from codelib.data.times import parse_time

SHEET_FOLDER = "牙科数据_电子病历"
SHEET_NAME = "牙科病历"
SHEET_SUFFIXES = (".xlsx", ".csv", ".jsonl")
_KINDS = {"照片": "photograph", "X片": "radiograph", "x片": "radiograph", "病历": "screenshot"}
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".jp2", ".webp", ".dcm")
_PATIENT = re.compile(r"^患者\s*(?P<number>[^-\s]+)(?P<rest>(?:\s*-\s*[^-]*)*)$")


@dataclass(frozen=True)
class File:
    path: str  # relative to the export
    kind: str  # photograph | radiograph | screenshot | other
    size_bytes: int
    changed: str  # modification time or etag, as the storage tells it


@dataclass
class VisitFolder:
    path: str
    time: str | None  # None where the name is no time
    files: list[File] = field(default_factory=list)


@dataclass
class PatientFolder:
    path: str
    number: str
    age: int | None
    gender: str | None
    visits: dict[str, VisitFolder] = field(default_factory=dict)
    loose: list[File] = field(default_factory=list)


@dataclass
class Batch:
    """One batch folder, listed."""

    name: str
    sheets: list[File] = field(default_factory=list)
    patients: dict[str, PatientFolder] = field(default_factory=dict)
    loose: list[File] = field(default_factory=list)  # image files that belong to no patient

    def fingerprint(self) -> str:
        """Hash of every name, size and time in the batch: the same while nothing in it changed."""
        return digest([[f.path, f.size_bytes, f.changed] for f in self.all_files()])

    def all_files(self) -> Iterator[File]:
        yield from self.sheets
        yield from self.loose
        for patient in self.patients.values():
            yield from patient.loose
            for visit in patient.visits.values():
                yield from visit.files


def patient_number(written: str) -> str:
    """The key of a patient as sheet and folder may write it: 患者0001, 0001 and 1 are one person.

    >>> patient_number("患者0001") == patient_number("1")
    True
    """
    bare = unicodedata.normalize("NFKC", written).strip().removeprefix("患者").strip()
    return bare.lstrip("0") or "0" if bare.isdigit() else bare


def batch_names(export: Store) -> list[str]:
    """Names of the batch folders. Raises InputError where the export is missing, a file, empty, or one batch too deep."""
    fs, root = export._open()
    if not export.is_a_file() and not fs.exists(root):  # is_a_file: says why where an object store does not let us in
        raise InputError(f"--input {export.root}: no such folder")
    if not fs.isdir(root):
        raise InputError(f"--input {export.root}: a file; give the folder that holds the batches")
    entries = {os.path.basename(e["name"].rstrip("/")): e for e in fs.ls(root, detail=True)}
    folders = sorted(n for n, e in entries.items() if not n.startswith(".") and (e["type"] == "directory" or fs.isdir(e["name"])))
    if any(_PATIENT.match(name) or SHEET_FOLDER in name for name in folders):
        raise InputError(f"--input {export.root}: this is one batch; give the folder above it")
    found = [name for name in folders if _is_batch(export, name)]
    outside = [name for name in folders if name not in found and _holds_images(export, name)]
    outside += sorted(n for n in entries if n not in folders and n.lower().endswith(_IMAGE_SUFFIXES))
    if found and outside:
        raise InputError(
            f"--input {export.root}: {len(outside)} {'entry lies' if len(outside) == 1 else 'entries lie'} beside the batches, with images that "
            f"would be left out; put them into a batch, or move them out of the export (the batches are: {', '.join(found[:5])})"
        )
    if not found:
        raise InputError(
            f"--input {export.root}: no batch in it; a batch is a folder with a sheet in <…{SHEET_FOLDER}…>/ and patient folders 患者<number>-…"
        )
    return found


def _is_batch(export: Store, name: str) -> bool:
    fs, _ = export._open()
    inside = [os.path.basename(e.rstrip("/")) for e in fs.ls(export.path(name), detail=False)]
    return any(_PATIENT.match(entry) or SHEET_FOLDER in entry for entry in inside)


def _holds_images(export: Store, name: str) -> bool:
    fs, _ = export._open()
    return any(path.lower().endswith(_IMAGE_SUFFIXES) for path in fs.find(export.path(name)))


def _walk(export: Store, base: str) -> dict[str, Any]:
    """Everything below a folder. A folder that cannot be read is an error: leaving it out would lose its visits in silence."""
    fs, _ = export._open()
    options = {"on_error": "raise"} if export.is_local else {}
    try:
        found = dict(fs.find(base, withdirs=True, detail=True, **options))
        _require_utf8(export, found)
        if unnamed := sum("//" in path for path in found):
            raise InputError(
                f"--input {export.root}: {unnamed} keys in it hold an empty folder name (//), which no folder tree has; copy them to other keys"
            )
        return found
    except StorageError:
        raise
    except OSError as error:
        raise InputError(
            f"--input {export.root}: {error.strerror or type(error).__name__} while listing it; mend that and run again"
        ) from None


def _require_utf8(export: Store, paths: Iterable[str]) -> None:
    """A name in another encoding could stand in no table and no ledger."""
    foreign = sum(not path.isascii() and any("\ud800" <= char <= "\udfff" for char in path) for path in paths)
    if foreign:
        raise InputError(
            f"--input {export.root}: {foreign} names in it are not UTF-8 (exports from Windows are often GBK); rename them, for example with "
            "convmv -f gbk -t utf8 -r --notest FOLDER"
        )


def list_batch(export: Store, name: str) -> Batch:
    """Walk one batch. Raises InputError where it has no sheet."""
    batch = Batch(name)
    base = export.path(name)
    for path, info in sorted(_walk(export, base).items()):
        parts = path[len(base) :].strip("/").split("/")
        relative = f"{name}/{'/'.join(parts)}"
        if parts == [""]:
            continue
        if info["type"] == "directory":
            _add_folder(batch, parts, relative)
        else:
            _add_file(batch, parts, relative, info)
    if not batch.sheets:
        raise InputError(
            f"--input {export.root}: batch {name} has no sheet (<…{SHEET_FOLDER}…>/<…{SHEET_NAME}>{'|'.join(SHEET_SUFFIXES)}); "
            "put it there, or move the batch out of the export"
        )
    return batch


def _add_folder(batch: Batch, parts: list[str], relative: str) -> None:
    patient = _patient_of(batch, parts)
    if patient is not None and len(parts) >= 2 and parts[1] not in _KINDS:
        patient.visits.setdefault(parts[1], VisitFolder("/".join(relative.split("/")[:3]), parse_time(parts[1])))


def _patient_of(batch: Batch, parts: list[str]) -> PatientFolder | None:
    found = _PATIENT.match(unicodedata.normalize("NFKC", parts[0]))
    if not found:
        return None
    if parts[0] not in batch.patients:
        age = gender = None
        for token in (t.strip() for t in found["rest"].split("-")):
            if token.rstrip("岁").isdigit():
                age = int(token.rstrip("岁"))
            elif token in ("男", "女"):
                gender = token
        batch.patients[parts[0]] = PatientFolder(f"{batch.name}/{parts[0]}", patient_number(found["number"]), age, gender)
    return batch.patients[parts[0]]


def _add_file(batch: Batch, parts: list[str], relative: str, info: dict[str, Any]) -> None:
    changed = str(info.get("mtime") or info.get("ETag") or info.get("etag") or info.get("LastModified") or "")
    file = File(relative, "other", int(info["size"]), changed)
    is_image = parts[-1].lower().endswith(_IMAGE_SUFFIXES)
    if len(parts) >= 2 and SHEET_FOLDER in parts[0]:
        stem, suffix = os.path.splitext(parts[-1])
        if is_image:
            batch.loose.append(file)
            return
        if parts[-1].startswith(("~$", ".")):  # a lock file of an office program, or hidden
            return
        if suffix.lower() in SHEET_SUFFIXES and stem.endswith(SHEET_NAME):
            batch.sheets.append(file)
        elif suffix.lower() in (*SHEET_SUFFIXES, ".xls", ".ods", ".tsv", ".txt", ".json"):
            raise InputError(
                f"--input: {relative} lies among the sheets and is none that would be read (<…{SHEET_NAME}>{'|'.join(SHEET_SUFFIXES)}); "
                "rename it, save it in one of these forms, or move it out of that folder"
            )
        return
    patient = _patient_of(batch, parts) if len(parts) >= 2 else None
    if patient is None:
        if is_image:
            batch.loose.append(file)
    elif len(parts) >= 4 and parts[2] in _KINDS and parts[1] in patient.visits:
        # a folder of screenshots stays one wherever it was moved
        kind = "screenshot" if any("病历" in part for part in parts[2:-1]) else _KINDS[parts[2]]
        patient.visits[parts[1]].files.append(File(relative, kind, file.size_bytes, changed))
    elif is_image:
        (patient.visits[parts[1]].files if len(parts) >= 3 and parts[1] in patient.visits else patient.loose).append(file)
