"""The released dataset in the published layout (formats, part B), and Parquet shards beside it.

    images + split ──publish──> Images/…/*.jpg            in parallel, from the workers
    annotated, split, conversations ──assemble──> lines (sorted runs) ──ordering──> complete-dataset.csv and the five JSON files
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
from itertools import chain, groupby
from typing import Any, Literal

import pyarrow as pa

from codelib.contracts import TEXT_FIELDS, Contract
from codelib.core.ahead import read_parts
from codelib.core.stage import Part, Stage, Work, read_part, run
from codelib.core.store import Store, Workspace
from codelib.data.ordering import PLACE, by_partition, place

INCOMPLETE = "INCOMPLETE"
FILES = Contract("files", 1, ("path",), pa.schema([("path", pa.string()), ("sha256", pa.string()), ("size_bytes", pa.int64())]))
LINES = Contract("lines", 2, (PLACE,), pa.schema([(PLACE, pa.string()), ("file", pa.string()), ("line", pa.large_string())]))
"""place: of the file and of the checkup's or sample's id."""
TABLE = "complete-dataset.csv"
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


def assemble(*inputs: Any) -> pa.Table:
    """LINES of some partitions, in order: CSV rows and JSON objects. inputs: `ordering.runs_work` of annotated, split, conversations."""
    tables = [_lines_of(*(read_part(part, ok_only=True) for part in parts)) for parts in by_partition(inputs)]
    return pa.concat_tables(tables).sort_by(PLACE).combine_chunks()


def _lines_of(annotated: pa.Table, split: pa.Table, samples: pa.Table) -> pa.Table:
    places = {row["checkup_id"]: row for row in split.to_pylist()}
    rows = []
    for visit in annotated.to_pylist():
        checkup_id = visit["checkup_id"]
        if checkup_id in places:
            rows.append({PLACE: place(TABLE, checkup_id), "file": TABLE, "line": _csv_line(visit, places[checkup_id])})
    for sample in samples.to_pylist():
        line = json.dumps({key: sample[key] for key in _JSON_KEYS}, ensure_ascii=False)
        for name, (splits, benchmark) in JSON_FILES.items():
            if sample["split"] in splits and benchmark in (None, sample["benchmark"]):
                rows.append({PLACE: place(name, sample["sample_id"]), "file": name, "line": line})
    return pa.Table.from_pylist(rows, schema=LINES.schema)


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


def write_text_files(parts: Sequence[Part], release: Store) -> dict[str, str]:
    """The CSV and the JSON files, streamed; ids count through each file. parts: LINES, in order from part to part. Returns name -> sha256."""
    sums = {
        file: _text_file(release, file, (line for _, line in lines)) for file, lines in groupby(_lines(parts), lambda row: row[0])
    }
    return sums | {file: _text_file(release, file, ()) for file in (TABLE, *JSON_FILES) if file not in sums}


def _text_file(release: Store, file: str, lines: Iterable[str]) -> str:
    if file == TABLE:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(CSV_COLUMNS)
        return _stream(release, file, header.getvalue(), "", (f"{i},{line}" for i, line in enumerate(lines)))
    objects = (f'{"," if i else ""}{{"id": {i}, {line[1:]}\n' for i, line in enumerate(lines))
    return _stream(release, file, "[\n", "]\n", objects)


def _lines(parts: Sequence[Part]) -> Iterator[tuple[str, str]]:
    """(file, line), a thousand at a time as Python objects."""
    for part in read_parts(parts, ["file", "line"], threads=1):  # a part is thousands of lines
        for batch in part.to_batches(max_chunksize=1000):
            yield from zip(batch["file"].to_pylist(), batch["line"].to_pylist(), strict=True)


def _stream(release: Store, name: str, head: str, tail: str, lines: Iterable[str]) -> str:
    return release.commit_stream(name, (text.encode() for text in chain((head,), lines, (tail,))))


def run_writing(stage: Stage, work: list[Work], folder: str, stages: Store, release: Store, private: Store) -> dict[str, str]:
    """Run a stage whose workers write into a folder of the release. Partitions whose files are gone are made again, files that no
    partition names are removed. Returns path -> sha256."""
    parts = run(stage, work, stages, private)
    there = set(release.names(folder))
    written = [_sums(table) for table in read_parts(parts)]
    lost = [part for part, files in zip(parts, written, strict=True) if not files.keys() <= there]
    if lost:
        for part in lost:
            stages.delete(part.name)
        parts = run(stage, work, stages, private)
        written = [_sums(table) for table in read_parts(parts)]
    release.sweep(folder)
    files = {path: digest for found in written for path, digest in found.items()}
    for stale in there - set(files):
        release.delete(stale)
    return files


def _sums(files: pa.Table) -> dict[str, str]:
    return dict(zip(files["path"].to_pylist(), files["sha256"].to_pylist(), strict=True))


def checksums(sums: Mapping[str, str]) -> str:
    """The lines of SHA256SUMS, in the order of paths."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items()))
