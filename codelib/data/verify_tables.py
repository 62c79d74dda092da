"""The tables of a release, looked at a chunk at a time: CSV rows, JSON samples, Parquet shards, and every other text.

Each function runs in a worker and returns Facts: what is wrong, and what can only be judged over the whole release. A row is named by its
number: what stands where an id should be may be a name.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from codelib.contracts import TEXT_FIELDS
from codelib.data.identifiers import contains_identifier, find_patterns, find_person_names
from codelib.data.release import JSON_FILES
from codelib.data.verify_files import is_of_layout, shown
from codelib.data.verify_report import Report
from codelib.models.conversation import IMAGE

SPLITS = ("train", "validation", "test", "excluded")
_CHECKUP = re.compile(r"\d{4,9}-\d{3,4}")
_SCANNED = (*TEXT_FIELDS, *(f"{name}_cn" for name in TEXT_FIELDS), "anomalies_en", "anomalies_cn")
_KEYS = frozenset(("id", "messages", "images", "checkup_id", "split", "language", "names_label"))
_REBUILD = "build the release again from the export"


@dataclass
class Facts:
    """Of one chunk. digests: of its samples, in order, uint64."""

    report: Report = field(default_factory=Report)
    digests: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    images: set[str] = field(default_factory=set)
    splits: dict[str, str] = field(default_factory=dict)  # checkup_id -> split
    labels: dict[str, tuple[str, int]] = field(
        default_factory=dict
    )  # checkup_id -> side of the multi-label split, hash of its labels
    counts: Counter[str] = field(default_factory=Counter)  # split/task/language -> samples


@lru_cache(maxsize=20_000)  # a visit's fields stand in several samples, and its questions in thousands
def _found(text: str) -> str | None:
    return contains_identifier(text)


_NO_FORM_HERE = ("DATE", "ACCOUNT", "URL", "ORG")  # license_name and config_name have the form of a handle


@lru_cache(maxsize=2000)
def _found_in_document(text: str) -> str | None:
    """Of what the program writes from its own words and settings."""
    found = [f for f in find_patterns(text) if f.cls not in _NO_FORM_HERE] + find_person_names(text)
    return min(found).cls if found else None


def scan_text(text: str, place: str, report: Report, document: bool = False) -> None:
    report.looked_at("identifiers")
    if cls := (_found_in_document if document else _found)(text):
        report.fail("identifiers", f"{place}: has the form of an identifier ({cls}); do not share this copy, tell who made it")


def check_csv(rows: Sequence[tuple[int, Mapping[str, str]]]) -> Facts:
    """Rows of complete-dataset.csv with their numbers, from 1."""
    facts = Facts()
    for number, row in rows:
        place = f"complete-dataset.csv row {number}"
        if None in row or None in row.values():
            facts.report.fail("counts", f"{place}: has another number of cells than the header; {_REBUILD}")
            continue
        for name in _SCANNED:
            if row.get(name):
                scan_text(row[name], f"{place}, column {name}", facts.report)
        checkup = row["checkup_id"]
        if not _CHECKUP.fullmatch(checkup) or checkup.rsplit("-", 1)[0] != row["patient_id"] or row["split"] not in SPLITS:
            facts.report.fail("split", f"{place}: its checkup_id, patient_id or split is none; {_REBUILD}")
            continue
        if row["spectrum"] not in SPLITS:
            facts.report.fail("split", f"{place}: its spectrum is none; {_REBUILD}")
        facts.splits[checkup] = row["split"]
        facts.labels[checkup] = label(row["spectrum"], row["anomalies_en"])
        for kind in ("photographs", "radiographs"):
            names = [name for name in row[kind].split(",") if name]
            _own(names, checkup, place, facts.report)
            facts.images |= {f"Images/{kind.capitalize()}/{name}" for name in names}
    return facts


def label(spectrum: str, anomalies: str) -> tuple[str, int]:
    """What tables must have alike of a visit in the multi-label split; sixteen bytes and not the words."""
    return sys.intern(spectrum), int.from_bytes(hashlib.sha256(anomalies.encode()).digest()[:7], "big")


def _own(names: Iterable[str], checkup: str, place: str, report: Report) -> None:
    for name in names:
        report.looked_at("references")
        if not name.rpartition("/")[2].startswith(f"{checkup}-"):
            report.fail("references", f"{place}: names an image of another visit; {_REBUILD}")


def check_json(file: str, lines: Sequence[tuple[int, str]]) -> Facts:
    """Lines of one of the five JSON files, one sample each, with their numbers from 1."""
    facts, digests = Facts(), []
    for number, line in lines:
        place = f"{file} sample {number}"
        try:
            sample = json.loads(line.removeprefix(","))
            row = _sample(sample, sample["checkup_id"], sample["split"], sample["language"])
            if not sample.keys() <= _KEYS or row["split"] not in JSON_FILES[file][0]:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            facts.report.fail("samples", f"{place}: is no sample of this file's form; fetch it again")
            digests.append(0)
            continue
        digests.append(_digest(row))
        _look(row, place, facts, scan=True)
    facts.digests = np.array(digests, np.uint64)
    return facts


def _sample(sample: Mapping[str, Any], checkup: str, split: str, language: str) -> dict[str, Any]:
    """What JSON and Parquet must have alike. Raises where something is missing or of another kind."""
    messages = [[message["role"], message["content"]] for message in sample["messages"]]
    images = [image if isinstance(image, str) else image["path"] for image in sample["images"] or ()]
    if not all(isinstance(value, str) for value in (checkup, split, language, *images, *(t for m in messages for t in m))):
        raise TypeError
    return {"checkup_id": checkup, "split": split, "language": language, "messages": messages, "images": images}


def _digest(row: Mapping[str, Any]) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()[:8], "big")


def _look(row: Mapping[str, Any], place: str, facts: Facts, scan: bool) -> None:
    facts.report.looked_at("samples")
    checkup, told = row["checkup_id"], facts.splits.setdefault(row["checkup_id"], row["split"])
    if not _CHECKUP.fullmatch(checkup) or told != row["split"]:
        facts.report.fail("split", f"{place}: its visit is none, or stands on two sides; {_REBUILD}")
    placeholders = sum(content.count(IMAGE) for _, content in row["messages"])
    if placeholders != len(row["images"]):
        facts.report.fail("samples", f"{place}: {placeholders} image placeholders for {len(row['images'])} images; {_REBUILD}")
    _own(row["images"], checkup, place, facts.report)
    facts.images.update(row["images"])
    if scan:
        for role, content in row["messages"]:
            for line in content.replace(IMAGE, "").split("\n"):
                if line:
                    scan_text(line, f"{place}, {role if role in ('user', 'assistant', 'system') else 'a message'}", facts.report)


def has_json(path: str) -> bool:
    """Whether the samples of a shard also stand in a JSON file: all but the test samples of what is no benchmark."""
    task, split = shard_of(path)
    return any(split in splits and benchmark in (None, task) for splits, benchmark in JSON_FILES.values())


def shard_of(path: str) -> tuple[str, str]:
    """(task, split) of parquet/<task>/<split>-00000-of-00001.parquet."""
    _, task, name = path.split("/")
    return task, name.split("-")[0]


def check_shard(folder: Path, path: str) -> Facts:
    """One Parquet shard, a row group at a time; the bytes in it against the files in Images/."""
    facts, digests, number = Facts(), [], 0
    task, split = shard_of(path)
    try:
        with pq.ParquetFile(folder / path) as shard:
            for group in range(shard.metadata.num_row_groups):
                for sample in shard.read_row_group(group, use_threads=False).to_pylist():
                    number += 1
                    place = f"{path} row {number}"
                    row = _sample(sample, sample["checkup_id"], split, language_of(sample))
                    facts.counts[f"{split}/{task}/{row['language']}"] += 1
                    digests.append(_digest(row))
                    told = label(sample["spectrum"], ",".join(sample["conditions"]))
                    if facts.labels.setdefault(row["checkup_id"], told) != told:
                        facts.report.fail(
                            "split", f"{place}: spectrum or conditions differ from another row of its visit; {_REBUILD}"
                        )
                    _look(row, place, facts, scan=not has_json(path))
                    _same_bytes(folder, sample["images"] or (), place, facts.report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what pyarrow raises is an OSError or a ValueError
        facts.report.fail("samples", f"{path}: cannot be read behind row {number}; fetch it again")
    facts.digests = np.array(digests, np.uint64)
    return facts


def language_of(sample: Mapping[str, Any]) -> str:
    """0013-002/classification/zh -> zh; English is not written."""
    return str(sample.get("language") or ("zh" if "zh" in sample["sample_id"].split("/")[2:3] else "en"))


def _same_bytes(folder: Path, images: Iterable[Mapping[str, Any]], place: str, report: Report) -> None:
    for image in images:
        report.looked_at("samples")
        if not is_of_layout(image["path"]):  # never opened: it could lead out of the folder
            continue
        try:
            same = (folder / image["path"]).read_bytes() == image["bytes"]
        except OSError:
            continue  # said under references
        if not same:
            report.fail("samples", f"{place}: the image in it is not {shown(image['path'])}; fetch both again")


# what the release says of itself

_HASH = re.compile(r"\b[0-9a-f]{32,64}\b")
_LINK = re.compile(
    r"https?://(?:www\.)?(?:mlcommons\.org|schema\.org|w3\.org|huggingface\.co|arxiv\.org|doi\.org|spdx\.org|purl\.org|github\.com|api\.openai\.com"
    r"|matplotlib\.org|creativecommons\.org|citation-file-format\.github\.io)[^\s\"'<>)\]]*"
)
_SVG_TEXT = re.compile(r"<text[^>]*>([^<]+)|<tspan[^>]*>([^<]+)|<title>([^<]+)|<!--(.*?)-->|<desc>([^<]+)", re.DOTALL)


def _unescaped(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except ValueError:  # said under description or counts
        return text


def check_text(folder: Path, path: str, stated: Sequence[str] = ()) -> Facts:
    """Every line of another text file. stated: what a person gave for the card (authors, contact, licence), and so is no leak."""
    facts = Facts()
    try:
        text = (folder / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        facts.report.fail("identifiers", f"{shown(path)}: is not text in UTF-8 and was not looked through; fetch it again")
        return facts
    if path.endswith(".svg"):
        text = "\n".join(part for match in _SVG_TEXT.findall(text) for part in match if part)
    if path.endswith(".json"):
        text = _unescaped(text)
    for words in sorted(stated, key=len, reverse=True):
        for written in {
            words,
            words.replace("'", "''"),
            json.dumps(words, ensure_ascii=False)[1:-1],
        }:  # as it is, in YAML, in JSON
            text = text.replace(written, " ")
    for number, line in enumerate(text.split("\n"), 1):
        plain = _LINK.sub(" ", _HASH.sub(" ", line)).strip()
        if plain:
            scan_text(plain, f"{shown(path)} line {number}", facts.report, document=True)
    return facts
