"""From a visit's files to pictures, one at a time: plain pictures, DICOM objects, volumes, and zips of any of them.

    file ─ digest ─ copy of another? ─┬─ zip ── members, each as a file ──┐
                                      ├─ DICOM slice ── kept for its folder ── volume ── views
                                      ├─ DICOM picture ── frames          │
                                      └─ picture ── pages                 └─> Opened, or a reason

Content decides what a file is, never its name. Slices are only listed until their folder is complete, and decoded one by one into the volume.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from codelib.core.sandbox import Culprit, Mark
from codelib.core.store import Store
from codelib.data import dicom, volume
from codelib.data.image_settings import ImageSettings
from codelib.data.pixels import ImageRejected
from codelib.data.pixels import pictures as plain_pictures
from codelib.data.vault import Keyed

_AHEAD = 4  # files read while one is decoded: hides the storage's latency
_ZIP, _OTHER_ARCHIVES = b"PK\x03\x04", (b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


@dataclass(frozen=True)
class Opened:
    """A picture, or why there is none. paths: the files it was made of."""

    paths: tuple[str, ...]
    part: str  # "" where it is the file's one picture
    digest: str | None  # keyed hash of the content it was made of
    image: Image.Image | None = None
    reason: str | None = None
    from_dicom: bool = False
    burned_in: bool = False  # the DICOM header says that text is burned in
    of_volume: bool = False


@dataclass(frozen=True)
class _Item:
    """A file, or a member of a zip."""

    path: str
    member: str
    digest: str
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """What the sandbox knows it by."""
        return f"{self.path}\0{self.member}"

    @property
    def folder(self) -> str:
        return os.path.dirname(f"{self.path}!/{self.member}") if self.member else os.path.dirname(self.path)

    def part(self, inner: str) -> str:
        return f"{self.member} {inner}".strip()


def open_files(
    files: Sequence[dict[str, Any]], export: Store, keyed: Keyed, settings: ImageSettings, mark: Mark
) -> Iterator[Opened]:
    """Every picture of a visit's files. Of exact copies the one with the shortest name is opened, then the first; each file is named by at
    least one Opened."""
    slices: list[tuple[_Item, dicom.Dicom]] = []
    seen: set[str] = set()
    ordered = sorted(files, key=lambda f: (len(os.path.basename(f["path"])), f["path"]))
    for path, content in _read_ahead(export, ordered, int(settings.limits.file_gb * 2**30)):
        if isinstance(content, str):
            yield Opened((path,), "", None, reason=content)
            continue
        item = _Item(path, "", keyed.bytes("file", content), lambda path=path: export.read(path))  # type: ignore[misc]
        if item.digest in seen:
            yield Opened((path,), "", item.digest, reason="duplicate")
            continue
        seen.add(item.digest)
        yield from _guarded(item, mark, lambda: _file(item, content, keyed, settings, mark, seen, slices))  # noqa: B023
    yield from _volumes(slices, settings, mark)


def first_picture(content: bytes) -> Image.Image:
    """The first picture of a file's bytes, for looking at it: not of a zip, and of a volume the first slice. Raises ImageRejected."""
    settings = ImageSettings()
    if dicom.looks_like_dicom(content):
        return dicom.shown_frames(dicom.read(content), 1)[0][1]
    picture = plain_pictures(content, settings, settings.working_px)[0]
    if picture.image is None:
        raise ImageRejected(picture.reason)
    return picture.image


def _guarded(item: _Item, mark: Mark, opened: Callable[[], Iterator[Opened]]) -> Iterator[Opened]:
    """The pictures of one item; what goes wrong with it becomes its reason."""
    try:
        mark(item.name)
        yield from opened()
    except (ImageRejected, Culprit) as reason:
        yield Opened((item.path,), item.part(""), item.digest, reason=str(reason))
    except MemoryError:
        yield Opened((item.path,), item.part(""), item.digest, reason="too_much_memory")


def _file(
    item: _Item,
    content: bytes,
    keyed: Keyed,
    settings: ImageSettings,
    mark: Mark,
    seen: set[str],
    slices: list[tuple[_Item, dicom.Dicom]],
) -> Iterator[Opened]:
    if content[:4] == _ZIP:
        if item.member:
            raise ImageRejected("nested_archive")
        yield from _members(item, content, keyed, settings, mark, seen, slices)
    elif content.startswith(_OTHER_ARCHIVES):
        raise ImageRejected("unsupported_archive")
    elif dicom.looks_like_dicom(content):
        yield from _dicom(item, content, settings, slices)
    else:
        for picture in plain_pictures(content, settings, settings.working_px):
            yield Opened((item.path,), item.part(picture.part), item.digest, picture.image, picture.reason)


def _dicom(item: _Item, content: bytes, settings: ImageSettings, slices: list[tuple[_Item, dicom.Dicom]]) -> Iterator[Opened]:
    found = dicom.read(content)
    if volume.may_be_slice(found):
        slices.append((item, found.without_pixels()))  # read again when its folder is complete
    else:
        yield from _frames(item, found, settings)


def _frames(item: _Item, found: dicom.Dicom, settings: ImageSettings) -> Iterator[Opened]:
    known = Opened((item.path,), "", item.digest, from_dicom=True, burned_in=found.burned_in)
    for part, image in dicom.shown_frames(found, settings.max_frames):
        yield replace(known, part=item.part(part), image=image)


# zips


def _members(
    item: _Item,
    content: bytes,
    keyed: Keyed,
    settings: ImageSettings,
    mark: Mark,
    seen: set[str],
    slices: list[tuple[_Item, dicom.Dicom]],
) -> Iterator[Opened]:
    """Every member as a file of its own. A zip that gives nothing is itself rejected."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = [info for info in archive.infolist() if not info.is_dir() and not _is_litter(info.filename)]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise ImageRejected("damaged") from None
    if len(members) > settings.limits.archive_files:
        raise ImageRejected("too_many_files")
    if sum(info.file_size for info in members) > settings.limits.archive_gb * 2**30:
        raise ImageRejected("archive_too_large")
    if not members:
        raise ImageRejected("empty_archive")
    for index, info in enumerate(sorted(members, key=lambda i: (len(os.path.basename(i.filename)), i.filename, i.header_offset))):
        name = info.filename if _is_only(info, members) else f"{info.filename} ({index + 1})"
        inner = _Item(item.path, name, "", lambda info=info: _unpacked(archive, info))  # type: ignore[misc]
        yield from _guarded(inner, mark, lambda: _member(inner, keyed, settings, mark, seen, slices))  # noqa: B023


def _member(
    item: _Item, keyed: Keyed, settings: ImageSettings, mark: Mark, seen: set[str], slices: list[tuple[_Item, dicom.Dicom]]
) -> Iterator[Opened]:
    content = item.read()
    known = replace(item, digest=keyed.bytes("file", content))
    if known.digest in seen:
        yield Opened((item.path,), item.part(""), known.digest, reason="duplicate")
        return
    seen.add(known.digest)
    yield from _file(known, content, keyed, settings, mark, seen, slices)


def _is_only(info: zipfile.ZipInfo, members: Sequence[zipfile.ZipInfo]) -> bool:
    return sum(other.filename == info.filename for other in members) == 1


def _is_litter(name: str) -> bool:
    """What operating systems add to a zip; no file of the clinic."""
    return name.startswith("__MACOSX/") or os.path.basename(name) in (".DS_Store", "desktop.ini")


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes; reads no more than its header promised, whatever the stream goes on to give."""
    if info.flag_bits & 1:
        raise ImageRejected("encrypted")
    try:
        with archive.open(info) as stream:
            content = stream.read(info.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
        raise ImageRejected("damaged") from None
    if len(content) != info.file_size:
        raise ImageRejected("damaged")
    return content


# volumes


def _volumes(slices: list[tuple[_Item, dicom.Dicom]], settings: ImageSettings, mark: Mark) -> Iterator[Opened]:
    """The volumes of each folder; what belongs to none is a picture of its own."""
    folders: dict[str, list[tuple[_Item, dicom.Dicom]]] = {}
    for item, found in slices:
        folders.setdefault(item.folder, []).append((item, found))
    for _, listed in sorted(folders.items()):
        burned_in = {item.name for item, found in listed if found.burned_in}
        for group in volume.group(listed, settings.volume):
            if group.kind == "volume":
                yield from _views(group, settings, mark, any(item.name in burned_in for item in group.keys))
            elif group.kind == "rejected":
                yield from _all(group.keys, group.reason)
            else:
                (item,) = group.keys
                yield from _guarded(item, mark, lambda: _frames(item, dicom.read(item.read()), settings))  # noqa: B023


def _views(group: volume.Group[_Item], settings: ImageSettings, mark: Mark, burned_in: bool) -> Iterator[Opened]:
    """The pictures of one volume. Its parts are named by its first file, so that two volumes of a visit do not share a name."""

    def load(item: _Item) -> dicom.Dicom:
        mark(item.name)
        return dicom.read(item.read())

    ordered = sorted(group.keys, key=lambda item: item.name)
    paths = tuple(dict.fromkeys(item.path for item in ordered))
    content = "".join(sorted(item.digest for item in ordered))
    known = Opened(paths, "", content, from_dicom=True, burned_in=burned_in, of_volume=True)
    try:
        for part, image in volume.views(group, load, settings.volume):
            yield replace(known, part=ordered[0].part(part), image=image)
    except (ImageRejected, Culprit) as reason:
        yield from _all(ordered, str(reason))
    except MemoryError:
        yield from _all(ordered, "too_much_memory")


def _all(items: Sequence[_Item], reason: str | None) -> Iterator[Opened]:
    return (Opened((i.path,), i.part(""), i.digest, reason=reason) for i in items)


# reading


def _read_ahead(export: Store, files: Sequence[dict[str, Any]], most: int) -> Iterator[tuple[str, bytes | str]]:
    """(path, content, or the reason why there is none), in order; a few files are read ahead, no more."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[tuple[str, Future[bytes | str]]] = deque()
        for file in files:
            waiting.append((file["path"], pool.submit(_read, export, file, most)))
            if len(waiting) > _AHEAD:
                name, future = waiting.popleft()
                yield name, future.result()
        while waiting:
            name, future = waiting.popleft()
            yield name, future.result()


def _read(export: Store, file: dict[str, Any], most: int) -> bytes | str:
    """A reason where this one file cannot be read (gone, a link to nowhere, no permission, a pipe that would never end, a film); a failing
    disk stops the stage."""
    path = file["path"]
    if file["size_bytes"] > most:
        return "file_too_large"
    try:
        if export.is_local and not stat.S_ISREG(os.stat(export.path(path)).st_mode):
            return "not_a_file"
        return export.read(path)
    except MemoryError:
        return "too_much_memory"
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return "unreadable"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "unreadable"
        raise
