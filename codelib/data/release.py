"""The released dataset in the published layout (formats, part B), and Parquet shards beside it.

    images + split ──publish──> Images/…/*.jpg            in parallel, from the workers
    annotated, conversations ──assemble (sorted chunks)──> lines ──> complete-dataset.csv and the five JSON files
    conversations + Images ──codelib.data.shards──> parquet/<task>/<split>-*.parquet

INCOMPLETE is the first file written and the last one removed, so that a half-built release is never taken for a finished one. Images of
partitions that did not change are left alone; a file that nothing names is removed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import TEXT_FIELDS, Contract
from codelib.core.stage import Part, Stage, Work, read_part, run
from codelib.core.store import Store, Workspace

INCOMPLETE = "INCOMPLETE"
CHUNK = 1000  # checkups or samples a worker assembles at a time
FILES = Contract("files", 1, ("path",), pa.schema([("path", pa.string()), ("sha256", pa.string()), ("size_bytes", pa.int64())]))
LINES = Contract(
    "lines", 1, ("file", "key"), pa.schema([("file", pa.string()), ("key", pa.string()), ("line", pa.large_string())])
)
CSV_COLUMNS = (
    *("id", "checkup_id", "patient_id", "checkup_time", "age", "gender", "photographs", "radiographs"),
    *TEXT_FIELDS,
    *(f"{name}_cn" for name in TEXT_FIELDS),
    *("anomalies_en", "anomalies_cn", "split", "spectrum"),
)
_TRAINING = ("train", "validation")
JSON_FILES: dict[
    str, tuple[tuple[str, ...], str | None]
] = {  # file -> the splits it holds, and the benchmark (None: all four tasks)
    "train.json": (_TRAINING, None),
    "train-cls.json": (_TRAINING, "classification"),
    "train-diagnostic.json": (_TRAINING, "generation"),
    "test-cls.json": (("test",), "classification"),
    "test-diagnostic.json": (("test",), "generation"),
}
_JSON_KEYS = ("messages", "images", "checkup_id", "split", "language", "names_label")  # the published ones first


def release_store(workspace: Workspace) -> Store:
    public = workspace.public
    return Store(public.path("release") if public.is_local else f"{public.root}/release")


def publish(images: pa.Table, split: pa.Table, release: Store) -> pa.Table:
    """Write the JPEG files of one partition's visits; FILES says what was written."""
    wanted = {}
    for visit in split.to_pylist():
        for kind in ("photographs", "radiographs"):
            for name in visit[kind]:
                wanted[visit["visit_key"], int(name.rsplit("-", 1)[1][:-4])] = f"Images/{kind.capitalize()}/{name}"
    rows: list[dict[str, Any]] = []
    for image in images.select(["visit_key", "ordinal", "pixels"]).to_pylist():
        path = wanted.get((image["visit_key"], image["ordinal"]))
        if path:
            release.commit(path, image["pixels"])
            rows.append({"path": path, "sha256": hashlib.sha256(image["pixels"]).hexdigest(), "size_bytes": len(image["pixels"])})
    assert len(rows) == len(wanted), f"{len(wanted) - len(rows)} images of the split have no pixels"
    return pa.Table.from_pylist(sorted(rows, key=lambda r: r["path"]), schema=FILES.schema)


def assemble(*tables: Any) -> pa.Table:
    """LINES of one chunk of checkups: the CSV rows and the JSON objects. Tables: annotated, split and conversations parts, in that
    order; the last argument says how many of each, and which checkups."""
    *parts, extra = tables
    count = extra["parts"]
    wanted = pa.array(extra["checkups"])
    chosen = [t.filter(pc.is_in(t["checkup_id"], wanted)) for t in parts]
    annotated, split, samples = (pa.concat_tables(chosen[i * count : (i + 1) * count]) for i in range(3))
    places = {row["checkup_id"]: row for row in split.to_pylist()}
    rows = []
    for visit in annotated.to_pylist():
        if visit["checkup_id"] in places:
            rows.append(
                {
                    "file": "complete-dataset.csv",
                    "key": visit["checkup_id"],
                    "line": _csv_line(visit, places[visit["checkup_id"]]),
                }
            )
    for sample in samples.to_pylist():
        line = json.dumps({key: sample[key] for key in _JSON_KEYS}, ensure_ascii=False)
        for name, (splits, benchmark) in JSON_FILES.items():
            if sample["split"] in splits and benchmark in (None, sample["benchmark"]):
                rows.append({"file": name, "key": sample["sample_id"], "line": line})
    return pa.Table.from_pylist(sorted(rows, key=lambda r: (r["file"], r["key"])), schema=LINES.schema)


def _csv_line(visit: dict[str, Any], place: dict[str, Any]) -> str:
    values = {
        **visit,
        "photographs": ",".join(place["photographs"]),
        "radiographs": ",".join(place["radiographs"]),
        "anomalies_en": ",".join(conditions(visit)),
        "anomalies_cn": ",".join(conditions(visit, "zh")),
        "split": place["split"],
        "spectrum": place["spectrum"],
    }
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(["" if values[c] is None else values[c] for c in CSV_COLUMNS[1:]])
    return out.getvalue()


def conditions(visit: Mapping[str, Any], language: Literal["en", "zh"] = "en") -> list[str]:
    """The labels of a row of ANNOTATED in the multi-label split: what is present, each once, as complete-dataset.csv writes it."""
    names = (d[language] for d in visit["diseases"] if d["status"] == "present")
    return list(dict.fromkeys(title_case(name) if language == "en" else name for name in names))


def title_case(text: str) -> str:
    """Deep caries -> Deep Caries; a comma would read as two conditions."""
    return " ".join(word[:1].upper() + word[1:] for word in text.replace(",", ";").split(" "))


def assemble_work(annotated: Sequence[Part], split: Sequence[Part], samples: Sequence[Part]) -> list[Work]:
    """Chunks in the order of checkup ids; each reads the partitions that hold its checkups."""
    where = []
    for index, part in enumerate(split):
        table = read_part(part, ["checkup_id", "visit_key", "status"], ok_only=True)
        where += [(checkup_id, index) for checkup_id in table["checkup_id"].to_pylist()]
    where.sort()
    work = []
    for start in range(0, len(where), CHUNK):
        chunk = where[start : start + CHUNK]
        indices = sorted({index for _, index in chunk})
        parts = [stage[i] for stage in (annotated, split, samples) for i in indices]
        work.append(Work(tuple(parts), {"parts": len(indices), "checkups": [c for c, _ in chunk]}))
    return work


def write_text_files(parts: Sequence[Part], release: Store) -> dict[str, str]:
    """The CSV and the JSON files, streamed chunk by chunk; ids count through each file. Returns name -> sha256."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(CSV_COLUMNS)
    table = "complete-dataset.csv"
    sums = {table: _stream(release, table, header.getvalue(), "", (f"{i},{line}" for i, line in _lines(parts, table)))}
    for name in JSON_FILES:
        objects = (f'{"," if i else ""}{{"id": {i}, {line[1:]}\n' for i, line in _lines(parts, name))
        sums[name] = _stream(release, name, "[\n", "]\n", objects)
    return sums


def _lines(parts: Sequence[Part], name: str) -> Iterator[tuple[int, str]]:
    number = 0
    for part in parts:
        table = read_part(part)
        for line in table.filter(pc.equal(table["file"], name))["line"].to_pylist():
            yield number, line
            number += 1


def _stream(release: Store, name: str, head: str, tail: str, lines: Iterable[str]) -> str:
    return release.commit_stream(name, (text.encode() for text in chain((head,), lines, (tail,))))


def run_writing(stage: Stage, work: list[Work], folder: str, stages: Store, release: Store, private: Store) -> dict[str, str]:
    """Run a stage whose workers write into a folder of the release. Partitions whose files are gone are made again, files that no
    partition names are removed. Returns path -> sha256."""
    parts = run(stage, work, stages, private)
    there = set(release.names(folder))
    lost = [part for part in parts if not set(read_part(part, ["path"])["path"].to_pylist()) <= there]
    if lost:
        for part in lost:
            stages.delete(part.name)
        parts = run(stage, work, stages, private)
    files = {row["path"]: row["sha256"] for part in parts for row in read_part(part).to_pylist()}
    for stale in there - set(files):
        release.delete(stale)
    return files


def checksums(sums: Mapping[str, str]) -> str:
    """The lines of SHA256SUMS, in the order of paths."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items()))
