"""One file of a release, looked at: its sum, and of a picture that it opens, its size, and that nothing but pixels is in it."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from codelib.data.identifiers import contains_identifier
from codelib.data.release import INCOMPLETE
from codelib.data.verify_report import Report

SUMS = "SHA256SUMS"
_BLOCK_BYTES = 1 << 20

_IMAGE = re.compile(r"Images/(?:Photographs|Radiographs)/\d{4,9}-\d{3,4}-\d{2,4}\.jpg")
_OTHER = re.compile(
    r"parquet/[a-z_]{2,30}/(?:train|validation|test)-\d{5}-of-\d{5}\.parquet|figures/[A-Za-z][A-Za-z_\-]*\d?[A-Za-z_\-]*\.(?:svg|png|csv)"
    r"|complete-dataset\.csv|(?:train|test)(?:-cls|-diagnostic)?\.json|README\.md|datasheet\.md|CITATION\.cff|LICENSE"
    r"|ledger\.csv|manifest\.json|croissant\.json|SHA256SUMS"
)


def is_of_layout(path: str) -> bool:
    """A name that this program gives; anything else is looked at as text."""
    return bool(_IMAGE.fullmatch(path) or _OTHER.fullmatch(path))


def shown(path: str) -> str:
    """The path as it may be printed: what is not of the layout may be a name somebody gave, and then only its folder is told."""
    if is_of_layout(path):
        return path
    folder = path.rpartition("/")[0]
    where = folder if folder in ("", "Images", "Images/Photographs", "Images/Radiographs", "parquet", "figures") else "a folder"
    plain = re.fullmatch(r"[A-Za-z][A-Za-z_.\-]{0,40}(?:\d{1,2})?[A-Za-z_.\-]{0,10}", path.rpartition("/")[2])
    if plain and where != "a folder" and contains_identifier(path.replace("/", " ")) is None:
        return path
    return f"{where or '.'}/(a name that is not of the layout, withheld)"


def read_sums(folder: Path) -> dict[str, str]:
    """path -> sha256 of SHA256SUMS. Raises ValueError where there is none or a line is none."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(
            f"--verify {folder}: no {SUMS} in it: it is no release, or its download stopped; fetch it again"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"--verify {folder}: {SUMS} is not text; fetch it again") from None
    sums = {}
    for number, line in enumerate(lines, 1):
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not found or found[2].startswith("/") or ".." in found[2].split("/"):
            raise ValueError(f"--verify {folder}: line {number} of {SUMS} is not '<sha256>  <path inside>'; fetch it again")
        sums[found[2]] = found[1]
    return sums


def list_files(folder: Path) -> Iterator[str]:
    """Relative names of all files below; links are followed to files only, and hidden files of a download tool are left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] not in (".cache", ".git", ".gitattributes") and not path.is_dir():
            yield relative.as_posix()


def check_listing(sums: dict[str, str], there: set[str], report: Report, is_known: Callable[[str], bool] | None = None) -> None:
    """Every file is there and none besides, and no name could be somebody's. is_known: a name that this program gives (default: a release's)."""
    is_known = is_known or is_of_layout
    report.looked_at("finished")
    if INCOMPLETE in there:
        report.fail("finished", f"{INCOMPLETE} stands in it: the build did not end; run the same jobs.dataset command again")
    for path in sorted(sums.keys() - there):
        report.fail("files", f"{shown(path)}: is missing; fetch it again")
    for path in sorted(there - sums.keys() - {SUMS, INCOMPLETE}):
        report.fail("files", f"{shown(path)}: is not in {SUMS}; remove it from this copy")
    for path in sorted(there | sums.keys()):
        report.looked_at("names")
        if path != INCOMPLETE and not is_known(path) and shown(path) != path:
            report.fail("names", f"{shown(path)}: remove the file, and do not share this copy before somebody has looked at it")


def check_files(folder: Path, sums: dict[str, str], longest_px: int) -> Report:
    """Sum of each file; of images also what is in them. ``sums``: the part of SHA256SUMS that is looked at."""
    report = Report()
    for path, expected in sums.items():
        image = path.startswith("Images/")
        try:
            found, content = _read(folder / path, keep=image)
        except OSError as error:
            report.fail("files", f"{shown(path)}: cannot be read ({error.strerror}); fetch it again")
            continue
        report.looked_at("files")
        if found != expected:
            report.fail("files", f"{shown(path)}: its content is not the one that {SUMS} names; fetch it again")
        if image:
            report.looked_at("images")
            if what := _wrong_with(content, longest_px):
                report.fail("images", f"{shown(path)}: {what}; build the release again from the export")
    return report


def _read(path: Path, keep: bool) -> tuple[str, bytes]:
    sha256, kept = hashlib.sha256(), []
    with path.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            sha256.update(block)
            if keep:
                kept.append(block)
    return sha256.hexdigest(), b"".join(kept)


def _wrong_with(content: bytes, longest_px: int) -> str | None:
    """What is wrong with a picture, in words that hold none of it."""
    if told := metadata_of(content):
        return told
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            image.load()
            size = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "cannot be decoded"
    return f"{size[0]} x {size[1]} px, more than the declared {longest_px} px" if max(size) > longest_px else None


STANDALONE = {0x01, *range(0xD0, 0xD8)}
_PIXELS = {
    0xDB,
    0xC4,
    0xDD,
    *(0xC0 + n for n in range(16) if n not in (4, 8, 12)),
}  # tables and frame headers (ITU-T T.81, table B.1)


def metadata_of(content: bytes) -> str | None:
    """What a JPEG file holds besides JFIF's header, tables and pixels, or None. Walks the markers of ITU-T T.81, annex B."""
    if content[:2] != b"\xff\xd8":
        return "is not a JPEG file"
    place = 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return "is a broken JPEG file"
        marker = content[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if marker in STANDALONE:
            place += 2
            continue
        if marker == 0xD9:
            break
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xE0:
            if content[place + 4 : place + 9] != b"JFIF\0" or end - place > 18:
                return "holds a preview or data in its first segment"
        elif 0xE1 <= marker <= 0xEF or marker == 0xFE:
            return f"holds metadata ({'a comment' if marker == 0xFE else f'segment APP{marker - 0xE0}'})"
        elif marker == 0xDA:
            end = scan_end(content, end)
        elif marker not in _PIXELS:
            return "holds a segment that is neither table nor pixels"
        place = end
    if content[place : place + 2] != b"\xff\xd9":
        return "is truncated"
    return None if place + 2 == len(content) else "holds data behind its end"


_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def scan_end(content: bytes, start: int) -> int:
    """Where the entropy-coded bytes of a scan end: at the next marker that is neither a stuffed zero nor a restart."""
    found = _AFTER_SCAN.search(content, start)
    return found.start() if found else len(content)
