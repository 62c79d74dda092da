"""From a visit's files to pictures, one at a time: plain pictures, DICOM objects, volumes, and zips of any of them.

    file ─ digest ─ copy of another? ─┬─ zip (archives) ── members, each as a file ──┐
                                      ├─ DICOM slice ── kept for its folder ── volume ── views
                                      ├─ DICOM picture ── frames                     │
                                      └─ picture ── pages                            └─> Opened, or a reason

Content decides what a file is, never its name. Slices are only listed until their folder is complete, and decoded one by one into the volume.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from codelib.core.sandbox import TOO_MUCH_MEMORY, Culprit, Mark
from codelib.core.store import Store
from codelib.data.image_settings import ImageSettings
from codelib.data.vault import Keyed
from codelib.imaging import dicom, volume
from codelib.imaging.archives import OTHER_ARCHIVES, ZIP, members, unpacked
from codelib.imaging.pixels import ImageRejected
from codelib.imaging.pixels import pictures as plain_pictures

_AHEAD, _AHEAD_BYTES = 4, 512 << 20  # files read while one is decoded: hides the storage's latency
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Opened:
    """A picture, or why there is none. paths: the files it was made of."""

    paths: tuple[str, ...]
    member: str = ""  # of a zip
    inner: str = ""  # "" where it is the one picture of its file or member, else "page 2", "frame 3", "axial 5"
    number: int = 0  # counts members of the same name
    digest: str | None = None  # keyed hash of the content it was made of
    image: Image.Image | None = None
    reason: str | None = None
    from_dicom: bool = False
    burned_in: bool = False  # the DICOM header says that text is burned in
    of_volume: bool = False

    @property
    def part(self) -> str:
        """For a person: which part of the file it is."""
        return " ".join(filter(None, (self.member, self.inner)))

    @property
    def part_key(self) -> str:
        """Unlike that of any other part of the file; "" where it is the file's one picture."""
        return f"{self.member}\0{self.number}\0{self.inner}" if self.member else self.inner


@dataclass(frozen=True)
class _Item:
    """A file, or a member of a zip."""

    path: str
    member: str
    number: int
    digest: str
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """What the sandbox knows it by."""
        return f"{self.path}\0{self.member}\0{self.number}"

    @property
    def folder(self) -> str:
        return os.path.dirname(f"{self.path}!/{self.member}") if self.member else os.path.dirname(self.path)

    def opened(self, **more: Any) -> Opened:
        return Opened((self.path,), self.member, number=self.number, digest=self.digest or None, **more)


@dataclass
class _Visit:
    """What opening one visit's files goes by, and what it remembers."""

    export: Store
    keyed: Keyed
    settings: ImageSettings
    mark: Mark
    seen: set[str] = field(default_factory=set)
    slices: list[tuple[_Item, dicom.Dicom]] = field(default_factory=list)

    def read_again(self, file: dict[str, Any]) -> bytes:
        content = _read(self.export, file, int(self.settings.limits.file_gb * 2**30))
        if isinstance(content, str):
            raise ImageRejected(content)
        return content


def open_files(
    files: Sequence[dict[str, Any]], export: Store, keyed: Keyed, settings: ImageSettings, mark: Mark
) -> Iterator[Opened]:
    """Every picture of a visit's files; each file is named by at least one Opened. Of exact copies a radiograph is opened before a photograph
    (it is screened more strictly), then the one with the shortest name, then the first."""
    visit = _Visit(export, keyed, settings, mark)
    ordered = sorted(files, key=lambda f: (f["kind"] != "radiograph", len(os.path.basename(f["path"])), f["path"]))
    for file, content in _read_ahead(visit, ordered):
        item = _Item(file["path"], "", 0, "", lambda file=file: visit.read_again(file))  # type: ignore[misc]
        if isinstance(content, str):
            yield item.opened(reason=content)
        else:
            yield from _guarded(item, mark, lambda: _unless_copy(item, content, visit))  # noqa: B023
    yield from _volumes(visit)


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
        for found in opened():
            yield found
            mark(item.name)  # what comes next is this item's doing again, not that of the picture before it
    except (ImageRejected, Culprit) as reason:
        yield item.opened(reason=str(reason))
    except MemoryError:
        yield item.opened(reason=TOO_MUCH_MEMORY)


def _unless_copy(item: _Item, content: bytes, visit: _Visit) -> Iterator[Opened]:
    """Slices are not dropped one by one as copies: two folders with the same volume would be left with halves of it."""
    known = replace(item, digest=visit.keyed.bytes("file", content))
    found = dicom.read(content) if dicom.looks_like_dicom(content) else None
    if found is not None and volume.may_be_slice(found):
        visit.slices.append((known, found.without_pixels()))  # read again when its folder is complete
    elif known.digest in visit.seen:
        yield known.opened(reason="duplicate")
    else:
        visit.seen.add(known.digest)
        yield from _frames(known, found, visit.settings) if found is not None else _file(known, content, visit)


def _file(item: _Item, content: bytes, visit: _Visit) -> Iterator[Opened]:
    if content[:4] == ZIP:
        if item.member:
            raise ImageRejected("nested_archive")
        archive, listed = members(content, visit.settings.limits.archive_files, int(visit.settings.limits.archive_gb * 2**30))
        for number, info in listed:
            name = info.filename or "(unnamed)"
            inner = _Item(item.path, name, number, "", lambda info=info: unpacked(archive, info))  # type: ignore[misc]
            yield from _guarded(inner, visit.mark, lambda: _unless_copy(inner, inner.read(), visit))  # noqa: B023
    elif content.startswith(OTHER_ARCHIVES):
        raise ImageRejected("unsupported_archive")
    else:
        for picture in plain_pictures(content, visit.settings, visit.settings.working_px):
            yield item.opened(inner=picture.part, image=picture.image, reason=picture.reason)


def _frames(item: _Item, found: dicom.Dicom, settings: ImageSettings) -> Iterator[Opened]:
    for part, image in dicom.shown_frames(found, settings.max_frames):
        yield item.opened(inner=part, image=image, from_dicom=True, burned_in=found.burned_in)


# volumes


def _volumes(visit: _Visit) -> Iterator[Opened]:
    """The volumes of each folder; what belongs to none is a picture of its own."""
    folders: dict[str, dict[str, tuple[_Item, dicom.Dicom]]] = {}
    for item, found in visit.slices:
        listed = folders.setdefault(item.folder, {})
        if item.digest in listed:
            yield item.opened(reason="duplicate")
        else:
            listed[item.digest] = (item, found)
    kept: list[frozenset[str]] = []
    for _, listed in sorted(folders.items(), key=lambda entry: (-len(entry[1]), len(entry[0]), entry[0])):
        if any(listed.keys() <= other for other in kept):  # the same volume again, or a part of it
            yield from (item.opened(reason="duplicate") for item, _ in listed.values())
            continue
        kept.append(frozenset(listed))
        yield from _folder(list(listed.values()), visit)


def _folder(listed: list[tuple[_Item, dicom.Dicom]], visit: _Visit) -> Iterator[Opened]:
    burned_in = {item.name for item, found in listed if found.burned_in}
    for group in volume.group(listed, visit.settings.volume):
        if group.kind == "volume":
            yield from _views(group, visit, any(item.name in burned_in for item in group.keys))
        elif group.kind == "rejected":
            yield from (item.opened(reason=group.reason) for item in group.keys)
        else:
            (item,) = group.keys
            yield from _guarded(item, visit.mark, lambda: _frames(item, dicom.read(item.read()), visit.settings))  # noqa: B023


def _views(group: volume.Group[_Item], visit: _Visit, burned_in: bool) -> Iterator[Opened]:
    """The pictures of one volume. Its parts are named by its first file, so that two volumes of a visit do not share a name."""

    def load(item: _Item) -> dicom.Dicom:
        visit.mark(item.name)
        return dicom.read(item.read())

    ordered = sorted(group.keys, key=lambda item: item.name)
    first, paths = ordered[0], tuple(dict.fromkeys(item.path for item in ordered))
    # which slice "axial 3" is depends on the settings: an answer about one is none about another
    content = "".join(sorted(item.digest for item in ordered)) + visit.settings.volume.model_dump_json()
    known = replace(first.opened(from_dicom=True, burned_in=burned_in, of_volume=True), paths=paths, digest=content)
    try:
        for part, image in volume.views(group, load, visit.settings.volume):
            yield replace(known, inner=part, image=image)
            visit.mark(f"{first.name}\0views")
    except (ImageRejected, Culprit) as reason:
        yield from (item.opened(reason=str(reason)) for item in ordered)
    except MemoryError:
        yield from (item.opened(reason=TOO_MUCH_MEMORY) for item in ordered)


# reading


def _read_ahead(visit: _Visit, files: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], bytes | str]]:
    """(file, content, or the reason why there is none), in order; a few files are read ahead, no more."""
    most = int(visit.settings.limits.file_gb * 2**30)
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[tuple[dict[str, Any], Future[bytes | str]]] = deque()
        for file in files:
            # one that never arrived before is not asked for again
            waiting.append((file, pool.submit(_read, visit.export, file, most, visit.mark.known(_reading(file)))))
            while len(waiting) > _AHEAD or sum(f["size_bytes"] for f, _ in waiting) > _AHEAD_BYTES:
                yield _arrived(*waiting.popleft(), visit.mark)
        while waiting:
            yield _arrived(*waiting.popleft(), visit.mark)


def _reading(file: dict[str, Any]) -> str:
    return f"{file['path']}\0reading"


def _arrived(file: dict[str, Any], future: Future[bytes | str], mark: Mark) -> tuple[dict[str, Any], bytes | str]:
    try:
        mark(_reading(file))
        return file, future.result()
    except Culprit as code:
        return file, str(code)


def _read(export: Store, file: dict[str, Any], most: int, known: str | None = None) -> bytes | str:
    """A reason where this one file cannot be read (gone, a link to nowhere, no permission, a pipe that would never end, a film); a failing
    disk stops the stage."""
    if known or file["size_bytes"] > most:
        return known or "file_too_large"
    try:
        if export.is_local and not stat.S_ISREG(os.stat(export.path(file["path"])).st_mode):
            return "not_a_file"
        return export.read(file["path"])
    except MemoryError:
        return TOO_MUCH_MEMORY
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _GONE:
            return "unreadable"
        raise
