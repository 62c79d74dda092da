"""The folder of one visit: photographs, radiographs, and the mess that stands between them in a real export.

    照片/ photographs, copies, half-written files, Thumbs.db    X片/ radiographs, DICOM    病历/ screenshots

One picture is held in memory at a time. What a reader has to reject goes into the truth with its reason.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codelib.contracts import SIX_CLASSES
from codelib.synthetic import drawing
from codelib.synthetic.people import Person, draw
from codelib.synthetic.picture_files import Named, write_picture, write_truncated
from codelib.synthetic.plan import Images, num_photographs

PHOTOGRAPH_ENDINGS = (".jpg",) * 8 + (".JPG",) * 5 + (".jpeg",) * 2 + (".png",) * 2 + (".bmp", ".tif")
RADIOGRAPH_ENDINGS = (".jpg",) * 5 + (".dcm",) * 3 + (".png", ".tif")
STEMS = ("IMG_{:04d}", "DSC_{:04d}", "{}", "t{}", "P{:07d}")
PINYIN_MIN_CHARS = 6  # shorter ones could stand in other text by chance, and then prove nothing


@dataclass
class VisitFiles:
    """What was written: reason by path below the export's root, and the identifiers in names and metadata."""

    rejected: dict[str, str] = field(default_factory=dict)
    named: Named = field(default_factory=list)


def write_visit_folder(
    root: Path,
    folder: Path,
    rng: np.random.Generator,
    labels: tuple[str, ...],
    person: Person,
    time: str,
    *,
    mismatch: str | None,
    mess: frozenset[str],
    with_radiographs: int,
    images: Images = "few",
) -> VisitFiles:
    """Write one visit's images below ``folder``, which lies below the export's ``root``."""
    files = VisitFiles()
    photographs = folder / "照片"
    photographs.mkdir(parents=True)
    if mismatch == "no_image":
        return files
    if mismatch == "broken_images":
        for number in range(1, 3):
            _truncated(root, photographs / f"{number}.jpg", rng, files)
        return files

    signs = [label if label in SIX_CLASSES else None for label in labels]
    first = None
    for number in range(num_photographs(rng, images)):
        ending = draw(rng, PHOTOGRAPH_ENDINGS) if number or "duplicate" not in mess else ".JPG"
        path = photographs / (_stem(rng, number, person, files, root, photographs, ending) + ending)
        first = first or path
        _picture(root, path, drawing.photograph(rng, signs[number % len(signs)]), rng, person, time, files)
    assert first is not None
    for number in range(with_radiographs):
        (folder / "X片").mkdir(exist_ok=True)
        ending = draw(rng, RADIOGRAPH_ENDINGS)
        path = folder / "X片" / (_stem(rng, number, person, files, root, folder / "X片", ending) + ending)
        _picture(root, path, drawing.radiograph(rng, signs[number % len(signs)]), rng, person, time, files)
    if mismatch:  # the visit goes, and all its pictures with it
        files.rejected = {_key(root, path): "images:visit_rejected" for path in sorted(folder.rglob("*")) if path.is_file()}
        return files
    _add_mess(root, folder, first, rng, mess, files)
    return files


def _picture(
    root: Path,
    path: Path,
    image: drawing.Image.Image,
    rng: np.random.Generator,
    person: Person,
    time: str,
    files: VisitFiles,
) -> None:
    for row in write_picture(path, image, rng, person, time):
        files.named.append({**row, "field": _key(root, path)})


def _stem(rng: np.random.Generator, number: int, person: Person, files: VisitFiles, root: Path, folder: Path, ending: str) -> str:
    """A camera's or a person's file name, unlike the others of the visit; one in ten carries the patient's name."""
    pinyin = person.pinyin.replace(" ", "").lower()
    if rng.random() < 0.1 and len(pinyin) >= PINYIN_MIN_CHARS:
        stem = f"{pinyin}_{number + 1}"
        where = _key(root, folder / (stem + ending))
        files.named.append({"class": "pinyin", "text": pinyin, "where": "file_name", "field": where})
        return stem
    return draw(rng, STEMS).format(int(rng.integers(10, 90)) * 10 + number)


def _add_mess(root: Path, folder: Path, first: Path, rng: np.random.Generator, mess: frozenset[str], files: VisitFiles) -> None:
    photographs = folder / "照片"
    if "duplicate" in mess:
        copy = first.with_name(f"{first.stem} - 副本{first.suffix}")
        shutil.copyfile(first, copy)
        files.rejected[_key(root, copy)] = "images:duplicate"
    if "truncated" in mess:
        _truncated(root, photographs / "broken.jpg", rng, files)
    for kind, name, content in (
        ("thumbs", "Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + rng.bytes(1016)),
        ("backup", f"{first.name}.bak", b"backup\0" + rng.bytes(505)),
        ("note", "说明.txt", "照片已整理".encode()),
    ):
        if kind in mess:
            (photographs / name).write_bytes(content)
            files.rejected[_key(root, photographs / name)] = "images:not_an_image"
    if "screenshot" in mess:
        path = folder / "病历" / "screenshot1.png"
        path.parent.mkdir()
        lines = ["x" * int(length) for length in rng.integers(6, 40, 8)]
        drawing.screenshot(lines, int(rng.integers(60))).save(path, format="PNG")
        files.rejected[_key(root, path)] = "images:record_screenshot"


def _truncated(root: Path, path: Path, rng: np.random.Generator, files: VisitFiles) -> None:
    write_truncated(path, drawing.photograph(rng, None))
    files.rejected[_key(root, path)] = "images:truncated"


def _key(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
