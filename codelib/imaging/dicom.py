"""DICOM: what a file's bytes hold, and the pictures a viewer would show.

    bytes ─ dicom_elements (allow-list) ─ dicom_header (numbers, hashes) ─> Dicom ─ dicom_codecs ─ dicom_display ─> RGB pictures

Reasons: ``damaged``, ``truncated``, ``dicom_without_pixels`` (reports, waveforms, directories), ``dicom_not_a_picture`` (dose grids,
segmentations, parametric maps), ``unsupported_dicom`` (transfer syntax, retired colour space), ``too_many_pixels``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from PIL import Image
from pydantic import Field

from codelib.core.config import Settings
from codelib.imaging.dicom_codecs import require_supported
from codelib.imaging.dicom_display import picture
from codelib.imaging.dicom_elements import BROKEN, looks_like_dicom, parse, silence_libraries
from codelib.imaging.dicom_header import Dicom, Frame, describe
from codelib.imaging.pixels import ImageRejected

__all__ = ["Dicom", "DicomSettings", "Frame", "guarded", "looks_like_dicom", "read", "shown_frames"]

T = TypeVar("T")


class DicomSettings(Settings):
    max_frame_pixels: int = Field(300_000_000, ge=1)  # rows * columns
    max_frames: int = Field(20_000, ge=1)
    max_bytes: int = Field(4 << 30, ge=1)  # of all frames, decoded
    max_inflated: int = Field(512 << 20, ge=1)  # bytes a deflated object may expand to


def read(content: bytes, settings: DicomSettings | None = None) -> Dicom:
    """Header and undecoded pixels of one file's bytes. Raises ImageRejected."""
    settings = settings or DicomSettings()
    return guarded(lambda: _read(content, settings))


def shown_frames(dicom: Dicom, max_frames: int) -> list[tuple[str, Image.Image]]:
    """(part, RGB picture) of the frames to be shown. ``part`` is "" for a single-frame object, else "frame 3", from 1.

    Of more than ``max_frames`` the evenly spaced ones, the first and the last among them; only those are decoded. Pixels are square:
    the finer axis is reduced. Raises ImageRejected.
    """
    indices = _evenly(dicom.num_frames, max_frames)
    parts = [""] if dicom.num_frames == 1 else [f"frame {index + 1}" for index in indices]
    return [(part, guarded(lambda index=index: picture(dicom, index))) for part, index in zip(parts, indices, strict=True)]  # type: ignore[misc]


def guarded(work: Callable[[], T]) -> T:
    """``work()``, with the libraries silent and whatever they raise turned into ImageRejected.

    The reason is raised outside the handler: an exception that quotes a value is not even its context.
    """
    silence_libraries()
    reason = "damaged"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except ImageRejected as rejected:
        reason = str(rejected)
    except BROKEN:
        pass
    raise ImageRejected(reason)


def _read(content: bytes, settings: DicomSettings) -> Dicom:
    dicom = describe(parse(content, settings.max_inflated), settings.max_frame_pixels, settings.max_frames, settings.max_bytes)
    require_supported(dicom)
    return dicom


def _evenly(count: int, wanted: int) -> list[int]:
    if count <= wanted:
        return list(range(count))
    return [0] if wanted == 1 else [round(step * (count - 1) / (wanted - 1)) for step in range(wanted)]
