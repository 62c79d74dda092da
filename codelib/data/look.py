"""Looking into a workspace: a visit, an image, a stage, the rejections; before and after.

"Before" is private: it is read only when it is asked for, and what is written goes into the private room.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import Image

from codelib.contracts import OK, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, manifest_parts, read_part
from codelib.core.store import Store, Workspace

_PRIVATE = ("ingest", "records", "images", "hashes", "duplicates", "chosen", "text")


def parts_of(workspace: Workspace, stage: str) -> list[Part]:
    """The partitions of a stage. Raises ValueError naming the nearest stage, or saying that it did not finish."""
    known = [
        n.split("/")[1]
        for store in (workspace.public, workspace.private)
        for n in store.names("stages")
        if n.endswith("manifest.json")
    ]
    if not known:
        raise InputError(f"--workspace {workspace.public.root}: no finished stage in it; run jobs.dataset first")
    if stage not in known:
        raise InputError(f"stage {stage}: unknown or not finished; {nearest(stage, known)}")
    return manifest_parts(workspace.private if stage in _PRIVATE else workspace.public, stage)


def find(workspace: Workspace, stage: str, column: str, value: str) -> dict[str, Any] | None:
    """The one row of a stage with a value in a column."""
    for part in parts_of(workspace, stage):
        keys = read_part(part, [column, "visit_key"] if column != "visit_key" and stage != "conversations" else [column])
        if value in keys[column].to_pylist():
            return next(row for row in read_part(part).to_pylist() if row[column] == value)
    return None


def visit(workspace: Workspace, checkup_id: str, show_private: bool) -> str:
    """A checkup field by field: as written (private), de-identified, in English, with its teeth, diagnoses and split."""
    after = find(workspace, "deidentified", "checkup_id", checkup_id)
    if after is None:
        raise InputError(f"visit {checkup_id}: no such checkup; the ids stand in release/complete-dataset.csv")
    annotated = find(workspace, "annotated", "checkup_id", checkup_id) if after["status"] == OK else None
    place = find(workspace, "split", "checkup_id", checkup_id) if annotated else None
    before = find(workspace, "records", "visit_key", after["visit_key"]) if show_private else None
    lines = [f"checkup {checkup_id}   {after['checkup_time']}   age {after['age']}   {after['gender']}   {after['status']}"]
    if after["reject_reason"]:
        lines.append(f"rejected: {after['reject_reason']}")
    if before:
        lines.append(f"source   {before['source']}")
    for name in TEXT_FIELDS:
        shown = [("as written", before[name]) if before else None, ("released", after[name])]
        shown.append(("English", annotated[name]) if annotated else None)
        rows = [f"  {label:<11} {text}" for label, text in filter(None, shown) if text]
        if rows:
            lines += [name, *rows]
            teeth = [f"{'、'.join(t['fdi'] or ['-'])} ({t['status']})" for t in after["teeth"] if t["field"] == name]
            lines += [f"  teeth       {'; '.join(teeth)}"] if teeth else []
    removed = Counter({r["class"]: 0 for r in after["removed"]})
    for row in after["removed"]:
        removed[row["class"]] += row["count"]
    lines.append(f"removed  {', '.join(f'{n} {c}' for c, n in sorted(removed.items())) or 'nothing'}")
    if annotated:
        for d in annotated["diseases"]:
            lines.append(f"disease  {d['zh']} · {d['en']} · {d['icd10']} · {d['status']} · in {d['field']}: {d['evidence']}")
        lines.append(f"class    {annotated['six_class'] or 'not exactly one of the six'}")
    if place:
        images = ", ".join(place["radiographs"] + place["photographs"]) or "none"
        lines.append(f"split    {place['split']} ({place['why']})\nimages   {images}")
    return "\n".join(lines)


def image(workspace: Workspace, name: str, export: Store | None) -> str:
    """A released image by its file name, or any by its image key; with the export a picture before | after is made."""
    row = _image_row(workspace, name)
    shown = ("image_key", "kind", "part", "ordinal", "width", "height", "status", "reject_reason")
    lines = [f"{column:<14} {row[column]}" for column in shown]
    lines.append(f"{'jpeg':<14} {len(row['pixels'] or b'')} bytes")
    if export is not None:
        path = f"inspect/{row['image_key']}.png"
        workspace.private.commit(path, _side_by_side(_source_of(workspace, row, export), row["pixels"]))
        lines.append(f"{'before | after':<14} {workspace.private.root}/{path} (private)")
    return "\n".join(lines)


def _image_row(workspace: Workspace, name: str) -> dict[str, Any]:
    checkup_id, _, number = name.rsplit("/", 1)[-1].removesuffix(".jpg").rpartition("-")
    place = find(workspace, "split", "checkup_id", checkup_id) if checkup_id and number.isdigit() else None
    for part in parts_of(workspace, "images"):
        columns = [c for c in read_part(part, None).column_names if c != "pixels"]
        for index, row in enumerate(read_part(part, columns).to_pylist()):
            is_named = place and row["visit_key"] == place["visit_key"] and row["status"] == OK and row["ordinal"] == int(number)
            if row["image_key"] == name or is_named:
                return {**row, "pixels": read_part(part, ["pixels", "visit_key"])["pixels"][index].as_py()}
    raise InputError(f"image {name}: no such image; give a released file name (0013-002-04.jpg) or an image key")


def _source_of(workspace: Workspace, row: dict[str, Any], export: Store) -> bytes:
    from codelib.data.images import image_key
    from codelib.data.vault import Secret

    keyed = Secret(workspace.private).load()
    record = find(workspace, "records", "visit_key", row["visit_key"])
    assert record is not None
    path = next(f["path"] for f in record["files"] if image_key(keyed, f["path"]) == row["sources"][0])
    try:
        return export.read(path)
    except OSError:
        raise InputError(f"--input {export.root}: the file of this image is not there; give the export it came from") from None


def _side_by_side(before: bytes, after: bytes | None) -> bytes:
    from codelib.data.image_files import first_picture
    from codelib.imaging.pixels import ImageRejected, fit

    height = 448
    canvas = Image.new("RGB", (2 * height + 20, height), "white")
    with suppress(ImageRejected):  # a file that cannot be opened has no picture: its half stays white
        canvas.paste(fit(first_picture(before), height), (0, 0))
    if after:
        canvas.paste(Image.open(io.BytesIO(after)), (height + 20, 0))
    out = io.BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


def audit(workspace: Workspace, num_visits: int, sample: str) -> str:
    """Draw a sample for a person: a page in the private room, and the file that takes the verdicts."""
    from codelib.data.audit import draw_audit
    from codelib.data.vault import Secret

    if num_visits < 1:
        raise InputError(f"audit {num_visits}: at least one visit")
    records, annotated, split = (parts_of(workspace, name) for name in ("records", "annotated", "split"))
    keyed = Secret(workspace.private).load()
    page, drawn = draw_audit(records, annotated, split, num_visits, sample, keyed, workspace.private)
    place = f"{workspace.private.root}/{page}"
    return (
        f"{drawn} visits as written | as released: {place}\n"
        f"verdicts go into {place.removesuffix('.html')}.csv; the next run reports them, and holds back what leaks"
    )


def stage(workspace: Workspace, name: str) -> str:
    """What a stage made: its contract, counts, partitions and the first keys."""
    parts = parts_of(workspace, name)
    store = workspace.private if name in _PRIVATE else workspace.public
    manifest: dict[str, Any] = store.read_json(f"stages/{name}/manifest.json")
    lines = [f"stage {name}: contract {manifest['contract'][0]} v{manifest['contract'][1]}, {len(parts)} partitions"]
    lines += [f"  {reason:<32} {n}" for reason, n in manifest["counts"].items()]
    if parts:
        table = read_part(parts[0])
        lines += ["columns"] + [f"  {f.name:<28} {f.type}" for f in table.schema]
    return "\n".join(lines)


def rejections(workspace: Workspace, reason: str | None, show_private: bool) -> str:
    """Every rejection: how many for each reason, and (private) which. The ledger is the source of both."""
    if not workspace.private.exists("ledger.csv"):
        raise InputError(f"--workspace {workspace.public.root}: no ledger in it; run jobs.dataset first")
    rows = list(csv.DictReader(io.StringIO(workspace.private.read("ledger.csv").decode())))
    rejected = [r for r in rows if r["status"] != OK]
    known = sorted({r["reason"] for r in rejected})
    if reason and reason not in known:
        raise InputError(f"reason {reason}: nothing was rejected for it; {nearest(reason, known)}")
    return "\n".join(_rejection_lines([r for r in rejected if not reason or r["reason"] == reason], show_private))


def _rejection_lines(rows: list[dict[str, str]], show_private: bool) -> Iterator[str]:
    for (kind, reason), n in sorted(Counter((r["kind"], r["reason"]) for r in rows).items()):
        yield f"{n:>6} {kind:<6} {reason}"
        if show_private:
            yield from (f"         {r['source']}" for r in rows if (r["kind"], r["reason"]) == (kind, reason))
