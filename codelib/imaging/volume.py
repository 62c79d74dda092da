"""CBCT to 2D: which DICOM objects of a folder form a volume, and the slices of it that are released.

    [(key, Dicom)] ─ group: by series ─┬─ volume ─ views: axial ×8, coronal ×3, sagittal ×3, axial maximum intensity ×1
                                       ├─ single pictures (scouts, periapical images, fewer than ``min_slices``)
                                       └─ rejected, by a reason of ``volume_geometry``

A volume is made of frames with position and orientation: of CT, MR and PT, and of any other object that has both, but never of
projection and visible-light pictures. A multi-frame object with ``min_slices`` frames is a volume of its own. What the slices look like
and where they are taken: ``volume_views``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from PIL import Image

from codelib.imaging.dicom import guarded
from codelib.imaging.dicom_header import Dicom
from codelib.imaging.pixels import ImageRejected
from codelib.imaging.volume_geometry import Slice, Stack, stack
from codelib.imaging.volume_settings import VolumeSettings
from codelib.imaging.volume_views import Voxels, render

__all__ = ["Group", "VolumeSettings", "group", "may_be_slice", "views"]

K = TypeVar("K")

_SLICE_MODALITIES = ("CT", "MR", "PT")
# pictures that are no slices, whatever geometry they carry
_PROJECTIONS = "CR DX IO PX RG RF XA MG US XC GM OP ES SM DG RTIMAGE NM DMS DOC"


@dataclass(frozen=True)
class Group(Generic[K]):
    """What one folder's objects are: a volume (``stack``), a single picture, or a rejection (``reason``)."""

    keys: tuple[K, ...]  # of a volume in the order of position; of a rejection as given
    stack: Stack | None = None
    reason: str | None = None

    @property
    def kind(self) -> str:
        """volume, single or rejected."""
        return "volume" if self.stack is not None else "rejected" if self.reason else "single"


def may_be_slice(dicom: Dicom) -> bool:
    """Whether an object's frames may be slices of a volume; all others are pictures of their own.

    A single slice of CT without geometry may be one of a series whose order nobody can know; the frames of a multi-frame object stand in
    order anyway, and without geometry are shown as frames.
    """
    if not dicom.monochrome or dicom.localizer or dicom.modality in _PROJECTIONS.split():
        return False
    first = dicom.frame(0)
    if first.position is not None and first.orientation is not None:
        return True
    return dicom.modality in _SLICE_MODALITIES and dicom.num_frames == 1


def group(items: Sequence[tuple[K, Dicom]], settings: VolumeSettings) -> list[Group[K]]:
    """The objects of one folder or archive: volumes, then rejections, then single pictures. Pixels are not needed.

    Every key is in exactly one group. Volumes of several studies in one folder are all rejected: whose they are cannot be known.
    The order of volumes and rejections follows series and position, not the order of ``items``.
    """
    volumes: list[tuple[str, Group[K]]] = []
    rejections: list[tuple[str, Group[K]]] = []
    stacked: set[int] = set()
    studies: set[str] = set()
    for name, slices in _series(items, settings.min_slices):
        sources = list(dict.fromkeys(s.source for s in slices))
        stacked |= set(sources)
        studies.add(slices[0].dicom.study)
        try:
            found = stack(slices, settings.max_bytes)
        except ImageRejected as rejected:
            rejections.append((name, Group(tuple(items[i][0] for i in sources), reason=str(rejected))))
            continue
        in_order = dict.fromkeys(s.source for s in found.slices)
        volumes.append((name, Group(tuple(items[i][0] for i in in_order), stack=_renumbered(found, list(in_order)))))
    if len(studies) > 1:
        rejections += [(name, Group(v.keys, reason="volume_mixed_series")) for name, v in volumes]
        volumes = []
    singles = [Group((key,)) for index, (key, _) in enumerate(items) if index not in stacked]
    return [g for _, g in sorted(volumes, key=_name)] + [g for _, g in sorted(rejections, key=_name)] + singles


def views(volume: Group[K], load: Callable[[K], Dicom], settings: VolumeSettings) -> Iterator[tuple[str, Image.Image]]:
    """(part, RGB picture): "axial 1" …, "coronal 1" …, "sagittal 1" …, "axial mip", in this order, head, front and right first.

    ``load`` gives the object of a key with its pixels; it is called in the order of position, and one object is held at a time, so that the
    peak of memory is the volume and one object. Raises ImageRejected, and what ``load`` raises.
    """
    assert volume.stack is not None
    stack = volume.stack
    voxels = Voxels.assembled(stack, lambda source: load(volume.keys[source]))
    for part, draw in render(voxels, settings):
        yield part, guarded(draw)


def _series(items: Sequence[tuple[K, Dicom]], min_slices: int) -> list[tuple[str, list[Slice]]]:
    """Frames that may form a volume, by series; those with fewer than ``min_slices`` are left out."""
    found: dict[str, list[Slice]] = {}
    for source, (_, dicom) in enumerate(items):
        if not may_be_slice(dicom):
            continue
        name = f"{dicom.study}/{dicom.series}"
        frames = [Slice(source, frame, dicom) for frame in range(dicom.num_frames)]
        if len(frames) >= min_slices:  # a volume of its own, sorted by where it lies
            name += f"/{frames[0].position}/{frames[-1].position}/{source}"
        found.setdefault(name, []).extend(frames)
    return [(name, slices) for name, slices in found.items() if len(slices) >= min_slices]


def _renumbered(found: Stack, order: list[int]) -> Stack:
    """The same stack with ``source`` counting the group's keys."""
    places = {source: place for place, source in enumerate(order)}
    slices = tuple(Slice(places[s.source], s.frame, s.dicom) for s in found.slices)
    return Stack(slices, found.axes, found.flips, found.spacing_mm, found.dtype)


def _name(named: tuple[str, Group[K]]) -> str:
    return named[0]
