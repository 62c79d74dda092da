"""What is kept of a DICOM object: numbers that describe the picture, words of closed lists, hashes for grouping, undecoded pixels.

No text of the file survives: modality, SOP class, photometric interpretation and the like are either a word known here or nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from codelib.imaging.dicom_elements import Elements, Pixels
from codelib.imaging.dicom_luts import Lut, lut_of, palette_of
from codelib.imaging.dicom_values import first_item, floats, integers, is_sequence, numbers, positive, whole, word, words
from codelib.imaging.pixels import ImageRejected

# PS3.3 C.7.3.1.1.1; what is not listed reads as "OT"
_MODALITIES = (
    "AR AU BDUS BI BMD CFM CR CT DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS MG MR NM OAM OCT"
    " OP OPM OPT OPTBSV OPTENF OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT"
    " RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XC"
)
PHOTOMETRIC = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3}
PHOTOMETRIC |= {"YBR_ICT": 3, "YBR_RCT": 3}  # samples a pixel; the retired ones are not supported
_RETIRED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
_NOT_PICTURES = (
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.66.8",  # Height Map Segmentation
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
)


@dataclass(frozen=True)
class Window:
    """PS3.3 C.11.2.1.2: values around ``center`` over ``width`` become the whole grey scale."""

    center: float
    width: float
    function: str = "LINEAR"  # LINEAR, LINEAR_EXACT, SIGMOID


@dataclass(frozen=True)
class Frame:
    """One frame's geometry and display values; millimetres in the patient's L-P-S axes."""

    position: tuple[float, float, float] | None = None  # centre of the first pixel
    orientation: tuple[float, float, float, float, float, float] | None = None  # direction along a row, then along a column
    spacing: tuple[float, float] | None = None  # between rows, between columns
    slope: float = 1.0
    intercept: float = 0.0
    window: Window | None = None


@dataclass(frozen=True, repr=False)
class Dicom:
    """One DICOM object with pixels. ``repr`` shows no value; series, study and frame_of_reference are hashes for grouping only."""

    modality: str
    sop_class: str  # UID of the standard, or ""
    localizer: bool  # a scout view, as ImageType says
    rows: int
    columns: int
    num_frames: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None  # stored values that are no picture, first to last
    aspect: float  # height of a pixel / its width
    slice_thickness_mm: float | None
    burned_in: bool  # the header says that the pixels hold identifying text
    series: str
    study: str
    frame_of_reference: str
    frames: tuple[Frame, ...]  # the last stands for all that follow it
    modality_lut: Lut | None
    voi_lut: Lut | None
    palette: tuple[Lut, Lut, Lut] | None
    pixels: Pixels

    def frame(self, index: int) -> Frame:
        """Geometry and display values of a frame, from 0."""
        return self.frames[min(index, len(self.frames) - 1)]

    def without_pixels(self) -> Dicom:
        """The description alone: what ``volume.group`` needs, for a folder that does not fit into memory twice."""
        return replace(self, pixels=replace(self.pixels, data=b""))

    @property
    def monochrome(self) -> bool:
        return self.photometric in ("MONOCHROME1", "MONOCHROME2")


def describe(elements: Elements, max_pixels: int, max_frames: int, max_bytes: int) -> Dicom:
    """Elements to a checked description. Raises ImageRejected, or an error of ``dicom_elements.BROKEN``."""
    data = elements.dataset
    sop_class = _sop_class(data, elements.media_class)
    modality = word(data.get("Modality"), _MODALITIES.split()) or "OT"
    pixels = _require_picture(elements, sop_class, modality)
    rows, columns = whole(data, "Rows", 1, 65535), whole(data, "Columns", 1, 65535)
    num_frames = whole(data, "NumberOfFrames", 1, 2**31 - 1, default=1)
    allocated, samples = whole(data, "BitsAllocated", 1, 64), whole(data, "SamplesPerPixel", 1, 4, default=1)
    num_bytes = rows * columns * num_frames * samples * max(1, allocated // 8)
    if rows * columns > max_pixels or num_frames > max_frames or num_bytes > max_bytes:
        raise ImageRejected("too_many_pixels")
    photometric = word(data.get("PhotometricInterpretation"), (*PHOTOMETRIC, *_RETIRED))
    if photometric in _RETIRED or allocated not in (1, 8, 16, 32):
        raise ImageRejected("unsupported_dicom")
    if PHOTOMETRIC.get(photometric) != samples:
        raise ImageRejected("damaged")
    stored = whole(data, "BitsStored", 1, allocated, default=allocated)
    signed = bool(whole(data, "PixelRepresentation", 0, 1, default=0))
    high = whole(data, "HighBit", 0, 63, default=stored - 1)
    _require_all_frames(pixels, rows * columns * samples, num_frames, allocated, photometric)
    little = elements.little_endian
    return Dicom(
        modality=modality,
        sop_class=sop_class,
        localizer="LOCALIZER" in words(data.get("ImageType")),
        rows=rows,
        columns=columns,
        num_frames=num_frames,
        samples=samples,
        photometric=photometric,
        planar=whole(data, "PlanarConfiguration", 0, 1, default=0),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high if stored - 1 <= high < allocated else stored - 1,
        signed=signed,
        padding=_padding(data, stored, signed, little),
        aspect=_aspect(data),
        slice_thickness_mm=positive(data.get("SliceThickness")),
        burned_in=word(data.get("BurnedInAnnotation"), ("YES", "NO")) == "YES",
        series=_opaque(data.get("SeriesInstanceUID")),
        study=_opaque(data.get("StudyInstanceUID")),
        frame_of_reference=_opaque(data.get("FrameOfReferenceUID")),
        frames=_frames(data, num_frames),
        modality_lut=lut_of(data, "ModalityLUTSequence", signed, little),
        voi_lut=lut_of(data, "VOILUTSequence", signed, little),
        palette=palette_of(data, signed, little) if photometric == "PALETTE COLOR" else None,
        pixels=_with_extended_offsets(data, pixels),
    )


def _sop_class(data: Dataset, media_class: str) -> str:
    """A class of the standard's dictionary, or ''."""
    for value in (data.get("SOPClassUID"), media_class):
        uid = UID(str(value or ""), validation_mode=0)
        if uid.is_valid and uid.name != uid:  # known to the dictionary
            return str.__str__(uid)
    return ""


def _require_picture(elements: Elements, sop_class: str, modality: str) -> Pixels:
    if sop_class in _NOT_PICTURES or modality in ("RTDOSE", "SEG") or elements.float_pixels:
        raise ImageRejected("dicom_not_a_picture")
    if elements.pixels is not None:
        return elements.pixels
    # cut before the pixels, or an object that never had any
    data = elements.dataset
    promised = "Image Storage" in UID(sop_class).name if "SOPClassUID" in data else "Rows" in data
    raise ImageRejected("truncated" if promised or elements.cut else "dicom_without_pixels")


def _require_all_frames(pixels: Pixels, samples: int, num_frames: int, bits: int, photometric: str) -> None:
    """Raises ImageRejected where the stored bytes cannot hold the frames that the header promises."""
    if pixels.encapsulated:
        if num_frames > max(1, len(pixels.fragments)):
            raise ImageRejected("truncated")
        return
    bits_a_frame = samples * bits * (2 if photometric == "YBR_FULL_422" else 3) // 3  # 4:2:2 shares its colour between two pixels
    if len(pixels.data) * 8 < bits_a_frame * num_frames:
        raise ImageRejected("truncated")


def _frames(data: Dataset, num_frames: int) -> tuple[Frame, ...]:
    """One for each frame; the last stands for all that follow it."""
    shared = first_item(data.get("SharedFunctionalGroupsSequence"))
    items = data.get("PerFrameFunctionalGroupsSequence")
    own = list(items[:num_frames]) if is_sequence(items) else []
    frames = tuple(_frame(data, shared, item) for item in own)
    return frames if len(frames) == num_frames else (*frames, _frame(data, shared, None))


def _frame(data: Dataset, shared: Dataset | None, own: Dataset | None) -> Frame:
    """Per-frame functional group, else the shared one, else the object's own element (PS3.3 C.7.6.16)."""

    def value(macro: str, keyword: str) -> Any:
        for group in (own, shared):
            item = first_item(group.get(macro)) if group is not None else None
            if item is not None and keyword in item:
                return item.get(keyword)
        return data.get(keyword)

    window = _window(*(value("FrameVOILUTSequence", k) for k in ("WindowCenter", "WindowWidth", "VOILUTFunction")))
    slope = floats(value("PixelValueTransformationSequence", "RescaleSlope"), 1)
    intercept = floats(value("PixelValueTransformationSequence", "RescaleIntercept"), 1)
    spacing = floats(value("PixelMeasuresSequence", "PixelSpacing"), 2)
    return Frame(
        position=floats(value("PlanePositionSequence", "ImagePositionPatient"), 3),  # type: ignore[arg-type]
        orientation=floats(value("PlaneOrientationSequence", "ImageOrientationPatient"), 6),  # type: ignore[arg-type]
        spacing=spacing if spacing and min(spacing) > 0 else None,  # type: ignore[arg-type]
        slope=slope[0] if slope and slope[0] else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        window=window,
    )


def _window(center: Any, width: Any, function: Any) -> Window | None:
    """The first of several windows; None where it is none (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centers, widths = numbers(center), numbers(width)
    if not centers or not widths:
        return None
    kind = word(function, ("LINEAR", "LINEAR_EXACT", "SIGMOID")) or "LINEAR"
    if widths[0] < (1 if kind == "LINEAR" else 1e-9):
        return None
    return Window(centers[0], widths[0], kind)


def _aspect(data: Dataset) -> float:
    """Height / width of a pixel: PixelAspectRatio, else a spacing; 1 where nothing or nothing plausible is said (10:1)."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = floats(data.get(keyword), 2)
        if pair and min(pair) > 0:
            ratio = pair[0] / pair[1]
            return ratio if 0.1 <= ratio <= 10 else 1.0
    return 1.0


def _padding(data: Dataset, stored: int, signed: bool, little: bool) -> tuple[int, int] | None:
    first = integers(data.get("PixelPaddingValue"), signed, little)
    if not first:
        return None
    limit = integers(data.get("PixelPaddingRangeLimit"), signed, little) or first
    ends = [_as_stored(value, stored, signed) for value in (first[0], limit[0])]
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    """A value as the pixels hold it: writers give -2000 also as 63536."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _with_extended_offsets(data: Dataset, pixels: Pixels) -> Pixels:
    """The table of 64-bit offsets, which stands where the basic one is too short (PS3.3 C.7.6.3.1.8)."""
    table = data.get("ExtendedOffsetTable")
    if not isinstance(table, bytes) or not table or len(table) % 8:
        return pixels
    return replace(pixels, offsets=tuple(np.frombuffer(table, "<u8").tolist()))


def _opaque(uid: Any) -> str:
    return hashlib.sha256(str(uid).encode()).hexdigest()[:32] if uid else ""
