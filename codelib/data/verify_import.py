"""An imported dataset, looked at as its reader gets it: what of `jobs.release --verify` has a meaning where no clinic's export stands behind it.

There is no complete-dataset.csv, no patient and no Images/; the pictures stand in the shards alone, and who is in which split is as it
was given.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from codelib.core.progress import Progress
from codelib.data import verify_describe
from codelib.data.foreign_clean import has_metadata
from codelib.data.verify_files import SUMS, check_files, check_listing, is_of_layout, shown
from codelib.data.verify_report import Report
from codelib.data.verify_run import Task, run_tasks
from codelib.data.verify_tables import Facts, check_text, scan_text
from codelib.models.conversation import IMAGE

IMPORT = "import"
"""``kind`` of its manifest."""
_SHARD = re.compile(r"parquet/[A-Za-z0-9_-]+/(?:train|validation|test)-\d{5}-of-\d{5}\.parquet")
_FILES = 100
_AGAIN = "import the folder again"


def is_import(folder: Path) -> bool:
    """Whether the manifest says so. False where it cannot be read: then it is judged as a release, which wants one."""
    try:
        value = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("kind") == IMPORT


def verify(folder: Path, sums: dict[str, str], there: set[str], workers: int) -> Report:
    """Look at everything. sums: of SHA256SUMS; there: the files of the folder."""
    report, rows = Report(), Counter[str]()
    check_listing(sums, there, report, is_known)
    for path in sorted(there & sums.keys()):
        if not is_known(path):
            report.fail("files", f"{shown(path)}: an import has no such file, and it was not looked into; {_AGAIN}")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for config in sorted({path.split("/")[1] for path in there if _SHARD.fullmatch(path)}):
        named = Report()
        scan_text(re.sub(r"[-_]+", " ", config), "a folder of parquet/", named, document=True)
        for sentence in named.told.get("identifiers", ()):
            report.fail("names", sentence)
    verify_describe.check_card(folder, there, report)
    present = sorted(sums.keys() & there)
    shards = [path for path in present if _SHARD.fullmatch(path)]
    tasks: list[Task] = [
        ("", check_files, (folder, {p: sums[p] for p in present[start : start + _FILES]}, 0))
        for start in range(0, len(present), _FILES)
    ]
    tasks += [("", check_text, (folder, path)) for path in present if path.endswith((".md", ".json"))]
    tasks += [(path, check_shard, (folder, path)) for path in shards]
    with Progress("verify", len(tasks), "files") as progress:
        for _, found in run_tasks(tasks, workers):
            facts = found if isinstance(found, Facts) else Facts(report=found)
            report.add(facts.report)
            rows += facts.counts
            progress.step(1, 1)
    _check_counts(manifest, rows, report)
    return report


def is_known(path: str) -> bool:
    return bool(_SHARD.fullmatch(path)) or path in ("README.md", "manifest.json", SUMS)


def check_shard(folder: Path, path: str) -> Facts:
    """One shard, a row group at a time; a row is named by its number."""
    facts, number = Facts(), 0
    config, split = path.split("/")[1], path.rpartition("/")[2].split("-")[0]
    try:
        with pq.ParquetFile(folder / path) as shard:
            for group in range(shard.metadata.num_row_groups):
                for sample in shard.read_row_group(group, use_threads=False).to_pylist():
                    number += 1
                    _check_sample(
                        sample, f"{path} row {number}" if is_of_layout(path) else f"a shard, row {number}", facts.report
                    )
                    facts.counts[f"{config}/{split}"] += 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what pyarrow raises is an OSError or a ValueError
        facts.report.fail("samples", f"a shard of {split}: cannot be read behind row {number}; fetch it again")
    return facts


def _check_sample(sample: Mapping[str, Any], place: str, report: Report) -> None:
    report.looked_at("samples")
    images, messages = sample["images"] or (), sample["messages"]
    placeholders = sum(message["content"].count(IMAGE) for message in messages)
    if placeholders != len(images):
        report.fail("samples", f"{place}: {placeholders} image placeholders for {len(images)} images; {_AGAIN}")
    for message in messages:
        for line in message["content"].replace(IMAGE, "").split("\n"):
            if line:
                scan_text(line, f"{place}, a message", report)
    for name in _names(sample, images):
        report.looked_at("names")
        found = Report()
        scan_text(name, place, found, document=True)
        if found.failed:
            report.fail("names", f"{place}: an id or an image's path has the form of an identifier; rename it, and {_AGAIN}")
    for image in images:
        report.looked_at("images")
        if what := _wrong_with(image["bytes"]):
            report.fail("images", f"{place}: an image {what}; {_AGAIN}")


def _names(sample: Mapping[str, Any], images: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Ids and paths as words; those of the published layout are codes and numbers."""
    for name in (sample["sample_id"], sample["checkup_id"], *(image["path"] for image in images)):
        if name and not is_of_layout(name):
            yield re.sub(r"[/_.\-]+", " ", name)


def _wrong_with(content: bytes | None) -> str | None:
    if not content:
        return "is not embedded"
    if has_metadata(content):
        return "holds metadata, or is neither JPEG nor PNG"
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "cannot be decoded"
    return None


def _check_counts(manifest: Mapping[str, Any], rows: Counter[str], report: Report) -> None:
    told = manifest.get("conversations")
    stated = {f"{c}/{s}": n for c, sides in told.items() for s, n in sides.items()} if isinstance(told, dict) else {}
    for key in sorted(stated.keys() | rows):
        report.looked_at("counts")
        if stated.get(key, 0) != rows[key]:
            side = key.rpartition("/")[2]
            report.fail(
                "counts", f"a config's {side}: {rows[key]} rows, manifest.json says {stated.get(key, 0)}; fetch both again"
            )
