"""Images: every file of a visit -> 448 px JPEGs without metadata, or rejections by name.

    files ──open (a child process)──> pictures ─ icon? blank? ─ screens ─ answers of a person ─ 448 px ─ near-duplicates ─ numbers

The table holds a row for each file, also for those of visits that were rejected before; a file of several pictures (pages, frames, a
zip) has a row for each, and a volume's slices stand together behind the pictures made of them (``sources``): nothing is lost in silence.
"""

from __future__ import annotations

import io
import re
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from codelib.contracts import IMAGES, OK, rejected
from codelib.core.cli import InputError
from codelib.core.sandbox import TOO_MUCH_MEMORY, Culprit, Mark, Sandbox
from codelib.core.store import Store
from codelib.data.export import patient_number
from codelib.data.image_files import Opened, open_files
from codelib.data.image_review import ACCEPT, MASK, REJECT
from codelib.data.image_settings import ImageSettings
from codelib.data.vault import Keyed
from codelib.imaging.likeness import Neighbours, likeness, similarity
from codelib.imaging.pixels import encode, fit
from codelib.imaging.screens import Finding, Screens, ScreenSettings, mask

_KIND_ORDER = {"radiograph": 0, "photograph": 1}
_PREVIEW_PX, _PREVIEW_QUALITY = 256, 70
_LEAST_PX = 28  # shorter side in the release, of whatever kind: one patch of the model
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
    rows: list[dict[str, Any]] = []
    order: dict[str, tuple[Any, ...]] = {}
    origins: dict[str, tuple[str, str, int]] = {}  # image key -> the file or member it comes from
    for opened in open_files(wanted, export, keyed, settings, mark):
        row = _row(visit, files[opened.paths[0]], keyed)
        row |= {
            "image_key": image_key(keyed, opened.paths[0], opened.part_key),
            "sources": [image_key(keyed, path) for path in opened.paths],
            "part": opened.part,
            "picture_key": keyed.text("picture", f"{opened.digest}\0{opened.inner}") if opened.digest else None,
        }
        row |= _screened(opened, row, settings, answers, mark)
        if row["image_key"] in order:
            continue  # an item that gave pictures and then failed: what it gave is told already
        rows.append(row)
        order[row["image_key"]] = (_KIND_ORDER[row["kind"]], _natural(opened.paths[0]), _natural(opened.part), opened.number)
        origins[row["image_key"]] = (opened.paths[0], opened.member, opened.number)
    told = {source for row in rows for source in row["sources"]}
    lost = [f for f in wanted if image_key(keyed, f["path"]) not in told]
    assert not lost, f"{len(lost)} files of a visit gave neither a picture nor a reason"
    _drop_near_duplicates(rows, origins, settings.near_duplicate, mark)
    rows.sort(key=lambda r: order[r["image_key"]])
    _number(rows)
    return rows + [_row(visit, f, keyed) | rejected(_unopened(f) or "") for f in visit["files"] if _unopened(f)]


def _screened(
    opened: Opened, row: dict[str, Any], settings: ImageSettings, answers: dict[str, str], mark: Mark
) -> dict[str, Any]:
    if opened.image is None:
        return rejected(f"images:{opened.reason}")
    try:
        mark(f"{opened.paths[0]}\0{opened.part_key}\0screens")
        return _released_or_not(opened, opened.image, row["kind"], settings, answers.get(row["picture_key"] or ""))
    except Culprit as code:
        return rejected(f"images:{code}")
    except MemoryError:
        return rejected(f"images:{TOO_MUCH_MEMORY}")
    except (cv2.error, ValueError, RuntimeError) as error:  # a model that cannot do this picture; a missing one is an InputError
        if isinstance(error, InputError):
            raise
        return rejected("images:screen_failed")


def _released_or_not(
    opened: Opened, image: Image.Image, kind: str, settings: ImageSettings, answer: str | None
) -> dict[str, Any]:
    """The columns of a picture that passes, or its reason and a preview. Whatever becomes of a picture that shows something, it has its
    number: then an answer renames no other."""
    width, height = image.info.get("full_size", image.size)
    known: dict[str, Any] = {"width": width, "height": height}
    small = fit(image, settings.longest_px)
    least_px = _LEAST_PX if opened.of_volume else settings.min_px
    junk = _junk(image, too_small=min(width, height) < least_px or min(small.size) < _LEAST_PX)
    if junk:
        return known | rejected(f"images:{junk}") | {"preview": _preview(image)}
    found = _findings(opened, kind, settings)
    known |= {"ordinal": 1, "likeness": likeness(small)}
    known["findings"] = [{"code": f.code, "score": f.score, "boxes": [list(box) for box in f.boxes]} for f in found]
    if answer == REJECT:
        return known | rejected("images:rejected_by_person") | {"preview": _preview(image)}
    by_setting = answer is None and settings.screens.text == "mask" and all(f.code == "burned_in_text" for f in found)
    if found and (answer == MASK or by_setting) and all(f.boxes for f in found):
        masked = mask(image, found)
        left = _screen(masked, kind, opened.from_dicom, settings)  # what is still seen after masking is not released
        if not left:
            image, found, small = masked, [], fit(masked, settings.longest_px)
            known["likeness"] = likeness(small)
    if found and answer != ACCEPT:
        return known | rejected(f"images:{found[0].code}") | {"preview": _preview(image)}
    return known | {"width": small.width, "height": small.height, "pixels": encode(small, settings.quality)}


def _preview(image: Image.Image) -> bytes:
    return encode(fit(image, _PREVIEW_PX), _PREVIEW_QUALITY)


def _junk(image: Image.Image, too_small: bool) -> str | None:
    if too_small:
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


def _drop_near_duplicates(
    rows: list[dict[str, Any]], origins: dict[str, tuple[str, str, int]], threshold: float, mark: Mark
) -> None:
    """Of pictures that show the same thing the larger stays, then the first; a copy of one that is held back or refused is none that
    stays. Pictures of one file (pages, frames, slices) are not compared."""
    blocking = [r for r in rows if r["status"] != OK and r["likeness"]]
    candidates = sorted((r for r in rows if r["status"] == OK), key=lambda r: -max(r["width"], r["height"]))
    kept = Neighbours([r["likeness"] for r in blocking])
    sources = [origins[r["image_key"]] for r in blocking]
    for index, row in enumerate(candidates):
        try:
            mark(f"\0near-duplicates {index}")
        except Culprit:
            return  # a visit of too many pictures to compare: exact copies are gone already
        own = origins[row["image_key"]]
        if any(
            sources[i] != own and similarity(kept.values[i], row["likeness"]) >= threshold for i in kept.near(row["likeness"])
        ):
            with Image.open(io.BytesIO(row["pixels"])) as released:
                row |= rejected("images:near_duplicate") | {"preview": _preview(released.convert("RGB")), "pixels": None}
        else:
            kept.add(row["likeness"])
            sources.append(own)


def _number(rows: list[dict[str, Any]]) -> None:
    """1.. within the visit, for every picture that shows something, whatever became of it: an answer or a copy renames no other."""
    ordinal = 0
    for row in rows:
        if row["ordinal"]:
            ordinal += 1
            row["ordinal"] = ordinal


def _natural(path: str) -> list[Any]:
    """2.jpg before 10.jpg. Text and numbers alternate, so that any two keys compare; numbers as (digits, text), for they may be endless."""
    parts = re.split(r"(\d+)", path.lower())
    return [(len(part.lstrip("0")), part.lstrip("0"), part) if index % 2 else part for index, part in enumerate(parts)]
