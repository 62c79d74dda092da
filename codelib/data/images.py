"""Images: every file of a visit -> 448 px JPEGs without metadata, or rejections by name.

    files ──open (a child process)──> pictures ─ icon? blank? ─ screens ─ answers of a person ─ 448 px ─ near-duplicates ─ numbers

The table holds a row for each file, also for those of visits that were rejected before; a file of several pictures (pages, frames, a
zip) has a row for each, and a volume's slices stand together behind the pictures made of them (``sources``): nothing is lost in silence.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from codelib.contracts import IMAGES, OK, rejected
from codelib.core.sandbox import Culprit, Mark, Sandbox
from codelib.core.store import Store
from codelib.data.export import patient_number
from codelib.data.image_files import Opened, open_files
from codelib.data.image_review import ACCEPT, MASK, REJECT
from codelib.data.image_settings import ImageSettings
from codelib.data.likeness import are_alike, likeness
from codelib.data.pixels import encode, fit
from codelib.data.screens import Finding, Screens, ScreenSettings, mask
from codelib.data.vault import Keyed

_KIND_ORDER = {"radiograph": 0, "photograph": 1}
_PREVIEW_PX, _PREVIEW_QUALITY = 256, 70
_BLANK_DEVIATION = 2.0  # grey levels: a lens cap, a white wall, an empty sensor read-out
_BLACK_LEVEL = 20  # of 255: where 99.5 % of a picture lie below
_SCREENS: dict[ScreenSettings, Screens] = {}


def image_key(keyed: Keyed, path: str, part: str = "") -> str:
    return keyed.text("image", f"{path}\0{part}" if part else path)


def make_images(
    table: pa.Table,
    export: Store,
    keyed: Keyed,
    settings: ImageSettings,
    answers: dict[str, dict[str, str]] | None = None,
    sandbox: Sandbox | None = None,
) -> pa.Table:
    """RECORDS (visit_key, patient, checkup_time, files, status) -> IMAGES. answers: visit_key -> picture_key -> accept | reject | mask.

    sandbox: the child process that opens the files; without one they are opened here, and a file that crashes a decoder ends this process.
    """
    rows: list[dict[str, Any]] = []
    for visit in table.select(["visit_key", "patient", "checkup_time", "files", "status"]).to_pylist():
        if visit["status"] != OK:
            rows += [_row(visit, f, keyed) | rejected(_unopened(f) or "images:visit_rejected") for f in visit["files"]]
            continue
        given = (visit, export, keyed, settings, (answers or {}).get(visit["visit_key"], {}))
        rows += sandbox.call(visit_rows, *given) if sandbox else visit_rows(Mark({}), *given)
    return pa.Table.from_pylist(rows, schema=IMAGES.schema)


def _row(visit: dict[str, Any], file: dict[str, Any], keyed: Keyed) -> dict[str, Any]:
    key = image_key(keyed, file["path"])
    row = dict.fromkeys(IMAGES.schema.names) | {"status": OK, "ordinal": 0, "part": "", "image_key": key, "sources": [key]}
    patient = keyed.text("patient-key", patient_number(visit["patient"] or ""))
    known = {"visit_key": visit["visit_key"], "patient_key": patient, "checkup_time": visit["checkup_time"]}
    return row | known | {"kind": file["kind"]}


def _unopened(file: dict[str, Any]) -> str | None:
    """Files that are never opened."""
    if file["kind"] == "screenshot":
        return "images:record_screenshot"
    return "images:outside_folders" if file["kind"] == "other" else None


def visit_rows(
    mark: Mark, visit: dict[str, Any], export: Store, keyed: Keyed, settings: ImageSettings, answers: dict[str, str]
) -> list[dict[str, Any]]:
    """The rows of one visit's files. Runs in the child process; one picture is in memory at a time (and one volume)."""
    files = {f["path"]: f for f in visit["files"]}
    wanted = [f for f in visit["files"] if not _unopened(f)]
    rows = []
    order: dict[str, tuple[Any, ...]] = {}
    for opened in open_files(wanted, export, keyed, settings, mark):
        row = _row(visit, files[opened.paths[0]], keyed)
        row |= {
            "image_key": image_key(keyed, opened.paths[0], opened.part),
            "sources": [image_key(keyed, path) for path in opened.paths],
            "part": opened.part,
            "picture_key": keyed.text("picture", f"{opened.digest}\0{opened.part}") if opened.digest else None,
        }
        try:
            mark(f"{opened.paths[0]}\0{opened.part}\0screens")
            row |= _released_or_not(opened, row["kind"], settings, answers.get(row["picture_key"] or ""))
        except Culprit as code:
            row |= rejected(f"images:{code}")
        except MemoryError:
            row |= rejected("images:too_much_memory")
        rows.append(row)
        order[row["image_key"]] = (_KIND_ORDER[row["kind"]], _natural(opened.paths[0]), _natural(opened.part))
    _drop_near_duplicates(rows, settings.near_duplicate)
    rows.sort(key=lambda r: order[r["image_key"]])
    _number(rows)
    return rows + [_row(visit, f, keyed) | rejected(_unopened(f) or "") for f in visit["files"] if _unopened(f)]


def _released_or_not(opened: Opened, kind: str, settings: ImageSettings, answer: str | None) -> dict[str, Any]:
    """The columns of a picture that passes, or its reason and a preview."""
    image = opened.image
    if image is None:
        return rejected(f"images:{opened.reason}")
    width, height = image.size
    known: dict[str, Any] = {"width": width, "height": height}
    junk = _junk(image, 1 if opened.of_volume else settings.min_px)
    if junk:
        return known | _held(image, junk, [])
    found = _findings(opened, kind, settings)
    known["findings"] = [{"code": f.code, "score": f.score, "boxes": [list(box) for box in f.boxes]} for f in found]
    if answer == REJECT:
        return known | _held(image, "rejected_by_person", found)
    if answer == MASK or (answer is None and found and settings.screens.text == "mask"):
        if any(not f.boxes for f in found) or (answer is None and any(f.code != "burned_in_text" for f in found)):
            return known | _held(image, found[0].code, found)  # nothing says what to paint over
        image = mask(image, found)
        found = _screen(image, kind, opened.from_dicom, settings)  # what is still seen after masking is not released
        if answer == MASK and not known["findings"]:
            return known | _held(image, "nothing_to_mask", found)
    if found and answer != ACCEPT:
        return known | _held(image, found[0].code, found)
    small = fit(image, settings.longest_px)
    jpeg = encode(small, settings.quality)
    return known | {"width": small.width, "height": small.height, "likeness": likeness(small), "pixels": jpeg}


def _held(image: Image.Image, code: str, found: list[Finding]) -> dict[str, Any]:
    preview = encode(fit(image, _PREVIEW_PX), _PREVIEW_QUALITY)
    has_number = bool(found) or code == "rejected_by_person"  # so that an answer renames no other picture (_number)
    return rejected(f"images:{code}") | {"preview": preview, "ordinal": int(has_number)}


def _junk(image: Image.Image, min_px: int) -> str | None:
    if min(image.size) < min_px:
        return "too_small"
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX))
    if np.percentile(grey, 99.5) < _BLACK_LEVEL:
        return "near_black"
    return "blank" if grey.std() < _BLANK_DEVIATION else None


def _findings(opened: Opened, kind: str, settings: ImageSettings) -> list[Finding]:
    assert opened.image is not None
    found = _screen(opened.image, kind, opened.from_dicom, settings)
    if opened.burned_in and settings.screens.text != "off" and not any(f.code == "burned_in_text" for f in found):
        found.insert(0, Finding("burned_in_text", 1.0, ()))  # the header says so, and nothing was seen: a person must look
    return found


def _screen(image: Image.Image, kind: str, from_dicom: bool, settings: ImageSettings) -> list[Finding]:
    if settings.screens not in _SCREENS:
        _SCREENS[settings.screens] = Screens(settings.screens)
    return _SCREENS[settings.screens].check(image, "radiograph" if kind == "radiograph" else "photograph", from_dicom)


def _drop_near_duplicates(rows: list[dict[str, Any]], threshold: float) -> None:
    """Of pictures that show the same thing the larger stays, then the first. Pictures of one file (frames, slices) are not compared."""
    kept: list[dict[str, Any]] = []
    for row in sorted((r for r in rows if r["status"] == OK), key=lambda r: -max(r["width"], r["height"])):
        if any(k["sources"] != row["sources"] and are_alike(k["likeness"], row["likeness"], threshold) for k in kept):
            row |= rejected("images:near_duplicate") | {"preview": _preview(row["pixels"]), "pixels": None}
        else:
            kept.append(row)


def _preview(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        return encode(fit(image.convert("RGB"), _PREVIEW_PX), _PREVIEW_QUALITY)


def _number(rows: list[dict[str, Any]]) -> None:
    """1.. within the visit. A picture that waits for a person has its number already: the answer renames no other."""
    ordinal = 0
    for row in rows:
        if row["status"] == OK or row["ordinal"]:
            ordinal += 1
            row["ordinal"] = ordinal


def _natural(path: str) -> list[Any]:
    """2.jpg before 10.jpg. Text and numbers alternate, so that any two keys compare."""
    parts = re.split(r"(\d+)", path.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
