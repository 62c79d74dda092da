"""Somebody else's dataset as a release of shards: a downloaded COde folder, or plain ShareGPT JSON with its images.

    folder ──list──> images checked, rows checked (in parallel) ──duplicates──> shards ──> README.md, manifest.json, SHA256SUMS
                                                                └──> WORKSPACE/import.csv: every fault, by file, index and reason

Nothing is downloaded, and nothing of the folder is changed. Images keep their bytes, or lose their metadata (foreign_clean). What is wrong is
left out and counted; the rest is used.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from codelib import __version__
from codelib.contracts import OK
from codelib.core.cli import JobFailed
from codelib.core.stage import Part, Stage, Work, digest, read_part, run
from codelib.core.store import Store, Workspace
from codelib.data import release as layout
from codelib.data.foreign_check import (
    FOREIGN,
    FOREIGN_IMAGES,
    check_images,
    check_samples,
    duplicates,
    read_clean,
    without_duplicates,
)
from codelib.data.foreign_rows import Listing, NotRows, runs
from codelib.data.shards import SHARDS, plan, shard, size_table
from codelib.data.verify_import import IMPORT

REPORT = "import.csv"
_IMAGES_EACH = 500  # of a worker's partition


@dataclass
class Import:
    """What became of a folder."""

    usable: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # samples by reason
    noted: Counter[str] = field(default_factory=Counter)  # files: unused_image, image_stripped, image_rebuilt, not_a_list, ...
    samples: dict[str, dict[str, int]] = field(default_factory=dict)  # config -> split -> samples


def import_dataset(listing: Listing, workspace: Workspace) -> Import:
    """Make WORKSPACE/release of the folder. Raises ValueError where the workspace is a clinic's, JobFailed where nothing is usable."""
    public, private = workspace.public, workspace.private
    if private.exists("key"):
        raise ValueError(f"--workspace {public.root}: a clinic's export was read there; import into a workspace of its own")
    store = Store(f"{public.root.rstrip('/')}/release")
    store.commit(layout.INCOMPLETE, b"This import is being made. Run the same jobs.dataset command again if it stopped.\n")
    for room in (private, store):
        room.sweep()
    images = run(_images_stage(listing), _images_work(listing), public, private)
    work, broken = _rows_work(listing, images)
    checked = run(_rows_stage(listing), work, public, private)
    again = [Work((part,), {"again": rows}) for part, rows in zip(checked, duplicates(checked), strict=True)]
    unique = Stage("import_unique", 1, FOREIGN, without_duplicates, conserve="sample_id", ok_only=False, unit="samples")
    samples = run(unique, again, public, private)
    found = _count(samples)
    public.commit_stream(REPORT, (line.encode() for line in _csv(_faults(listing, images, samples, broken), found.noted)))
    if not found.usable:
        raise JobFailed(f"no sample of {len(listing.rows)} files can be used; {public.root}/{REPORT} says why")
    writing = Stage(
        "import_shards",
        2,
        SHARDS,
        partial(shard, release=store, config="config", read=partial(read_clean, root=listing.root)),
        settings=listing.fingerprint,
        lazy=True,
        unit="shards",
    )
    sums = layout.run_writing(writing, plan(_sizes(samples), samples), "parquet", public, store, private)
    sums["README.md"] = store.commit("README.md", _card(found).encode())
    about = {"kind": IMPORT, "code_version": __version__, "content": digest(sums), "conversations": found.samples}
    about |= {"rejected": dict(sorted(found.rejected.items())), "noted": dict(sorted(found.noted.items()))}
    sums["manifest.json"] = store.commit_json("manifest.json", about)
    for stale in set(store.names("")) - {*sums, "SHA256SUMS", layout.INCOMPLETE}:
        store.delete(stale)
    store.commit("SHA256SUMS", layout.checksums(sums).encode())
    store.delete(layout.INCOMPLETE)
    return found


def print_summary(found: Import, workspace: Workspace) -> None:
    root = workspace.public.root
    print(f"\n{found.usable} samples in {root}/release, {found.rejected.total()} left out")
    for reason, count in [*sorted(found.rejected.items()), *sorted(found.noted.items())]:
        print(f"  {count:>8}  {reason}")
    print(f"Every one of them: {root}/{REPORT}. The card {root}/release/README.md waits for a licence and a source.")


# stages


def _images_stage(listing: Listing) -> Stage:
    settings = listing.fingerprint
    fn = partial(check_images, root=listing.root)
    return Stage("import_images", 1, FOREIGN_IMAGES, fn, settings=settings, unit="images")


def _images_work(listing: Listing) -> list[Work]:
    chunks = [listing.images[i : i + _IMAGES_EACH] for i in range(0, len(listing.images), _IMAGES_EACH)]
    return [Work((), {"images": list(chunk)}) for chunk in chunks]


def _rows_stage(listing: Listing) -> Stage:
    fn = partial(check_samples, root=listing.root)
    return Stage("import_rows", 1, FOREIGN, fn, settings=listing.fingerprint, lazy=True, ok_only=False, unit="samples")


def _rows_work(listing: Listing, images: Sequence[Part]) -> tuple[list[Work], list[tuple[str, int, str]]]:
    """One piece of work a run of rows; and the files whose rows end early: (file, row, reason)."""
    work, broken = [], []
    for file in listing.rows:
        extra = {"file": file, "label": listing.label(file)}
        try:
            for first, _, start, stop in runs(os.path.join(listing.root, file)):
                work.append(Work(tuple(images), {**extra, "first": first, "start": start, "stop": stop}))
        except NotRows as error:
            broken.append((file, error.index, f"import:{error.code}"))
    return work, broken


def _sizes(samples: Sequence[Part]) -> pa.Table:
    found = []
    for index, part in enumerate(samples):
        columns = ["config", "split", "sample_id", "visual_tokens", "size_bytes", "status"]
        rows = read_part(part, columns, ok_only=True).combine_chunks()
        tokens, size = (rows[name].to_numpy().astype(np.int64) for name in ("visual_tokens", "size_bytes"))
        found.append(size_table(rows["config"], rows["split"], rows["sample_id"], tokens, size, index))
    return pa.concat_tables(found)


def _count(samples: Sequence[Part]) -> Import:
    found = Import()
    for part in samples:
        for reason, count in part.counts.items():
            if reason != OK:
                found.rejected[reason] += count
        rows = read_part(part, ["config", "split", "status"], ok_only=True)
        for row in rows.group_by(["config", "split"]).aggregate([([], "count_all")]).to_pylist():
            sides = found.samples.setdefault(row["config"], {})
            sides[row["split"]] = sides.get(row["split"], 0) + row["count_all"]
    found.usable = sum(count for sides in found.samples.values() for count in sides.values())
    return found


# report


def _faults(
    listing: Listing, images: Sequence[Part], samples: Sequence[Part], broken: Iterable[tuple[str, int, str]]
) -> Iterator[tuple[str, Any, str, str]]:
    """(file, index, reason, place), file by file. Nothing of a sample's text."""
    used: set[str] = set()
    for part in samples:
        rows = read_part(part, ["file", "index", "images", "place", "status", "reject_reason"])
        used.update(pc.unique(pc.list_flatten(rows["images"])).to_pylist())
        for row in rows.filter(pc.not_equal(rows["status"], OK)).to_pylist():
            yield row["file"], row["index"], row["reject_reason"], row["place"] or ""
    yield from ((file, index, reason, "file") for file, index, reason in broken)
    yield from _table_faults(listing, used)
    for part in images:
        for row in read_part(part, ["path", "cleaned", "status"]).to_pylist():
            if row["status"] != OK and row["path"] not in used:
                yield row["path"], "", "import:unreadable_image", "file"
            if row["cleaned"]:
                yield row["path"], "", f"import:image_{row['cleaned']}", "file"
            if row["path"] not in used:
                yield row["path"], "", "import:unused_image", "file"


def _table_faults(listing: Listing, used: set[str]) -> Iterator[tuple[str, Any, str, str]]:
    """References of the published table: a visit outside both benchmarks has its images there alone."""
    there = set(listing.images)
    csv.field_size_limit(1 << 26)
    for table in listing.tables:
        with open(os.path.join(listing.root, table), encoding="utf-8-sig", errors="replace", newline="") as file:
            for index, row in enumerate(csv.DictReader(file)):
                for kind in ("photographs", "radiographs"):
                    names = [name.strip() for name in (row.get(kind) or "").split(",") if name.strip()]
                    for number, name in enumerate(names, 1):
                        path = f"Images/{kind.capitalize()}/{os.path.basename(name)}"
                        used.add(path)
                        if path not in there:
                            yield table, index, "import:missing_image", f"{kind} {number}"


def _csv(faults: Iterable[tuple[str, Any, str, str]], noted: Counter[str]) -> Iterator[str]:
    """The report's lines; what concerns a file or a table, not a sample, is counted into ``noted`` as they pass."""
    yield "file,index,reason,place\n"
    for fault in faults:
        if fault[3] and not fault[3].startswith("image "):
            noted[fault[2]] += 1
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(fault)
        yield line.getvalue()


# card


def _card(found: Import) -> str:
    """README.md: front matter that `datasets` reads, counts, and what a person has to fill in."""
    order = ("train", "validation", "test")
    configs = [
        {
            "config_name": config,
            "data_files": [{"split": s, "path": f"parquet/{config}/{s}-*.parquet"} for s in order if s in sides],
        }
        for config, sides in sorted(found.samples.items())
    ]
    front = yaml.safe_dump({"task_categories": ["image-text-to-text"], "configs": configs}, sort_keys=False)
    lines = [f"---\n{front}---", "# Imported conversations with images", ""]
    lines += [
        "```python",
        "from datasets import load_dataset",
        f'dataset = load_dataset("path/to/this/folder", "{configs[0]["config_name"]}")',
    ]
    lines += ["```", "", "| config | split | samples |", "|---|---|---|"]
    lines += [f"| {c} | {s} | {sides[s]} |" for c, sides in sorted(found.samples.items()) for s in order if s in sides]
    lines += ["", "## Left out", "", "| reason | samples |", "|---|---|"]
    lines += [f"| {reason} | {count} |" for reason, count in sorted(found.rejected.items())]
    lines += [
        "",
        "## For a person to fill in",
        "",
        "- Source and citation: ",
        "- Licence: ",
        "- Intended and forbidden use: ",
        "",
    ]
    lines += [
        "Made from another release's files, which were checked. Images keep their bytes; where they carried metadata it was taken out, "
        f"without touching a pixel ({found.noted['import:image_stripped']} images), or where the picture would have changed without it "
        f"(turned, other colours, a format other than JPEG and PNG) it was written anew ({found.noted['import:image_rebuilt']} images). "
        "Who is in which split is as it was given.",
        "",
        "`python -m jobs.release --verify path/to/this/folder` checks a copy.",
        "",
    ]
    return "\n".join(lines)
