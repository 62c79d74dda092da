"""Where slices lie in the patient: their order, spacing and axes, from ImagePositionPatient and ImageOrientationPatient alone.

File names and InstanceNumber are never looked at. Axes are the patient's (PS3.3 C.7.6.2.1.1): L towards the left hand, P towards the
back, S towards the head. Reasons, each an ImageRejected: ``volume_without_geometry``, ``volume_mixed_series``,
``volume_duplicate_positions``, ``volume_sheared``, ``volume_missing_slices``, ``volume_too_large``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from codelib.imaging.dicom_header import Dicom
from codelib.imaging.pixels import ImageRejected

_SAME_POSITION_MM = 0.01  # the finest dental voxels are 0.075 mm
_SPACING_TOLERANCE = 0.1  # of the usual step
_ROUNDING_MM = 0.06  # positions are written with two decimals, by some with less; never more than half a step
_ANGLE_TOLERANCE = 0.01  # of a direction's component
_SHEAR_PIXELS = 2.0  # sideways drift over the whole stack; a gantry tilt of 1 degree gives more


@dataclass(frozen=True)
class Slice:
    """One frame of one object; ``source`` is the object's place in the caller's list."""

    source: int
    frame: int  # from 0
    dicom: Dicom

    @property
    def position(self) -> tuple[float, float, float] | None:
        return self.dicom.frame(self.frame).position

    @property
    def orientation(self) -> tuple[float, ...] | None:
        return self.dicom.frame(self.frame).orientation

    @property
    def spacing(self) -> tuple[float, float] | None:
        return self.dicom.frame(self.frame).spacing


@dataclass(frozen=True)
class Stack:
    """Slices in the order of their positions, and how (slice, row, column) maps to the patient.

    ``axes``: which of (slice, row, column) becomes (S, P, L); ``flips``: whether that axis is turned so that S falls (head first), P grows,
    L grows. ``spacing_mm`` belongs to (S, P, L).
    """

    slices: tuple[Slice, ...]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float]
    dtype: str  # of a voxel: the stored integers where all slices share one linear rescale, else float32

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns) as acquired."""
        first = self.slices[0].dicom
        return len(self.slices), first.rows, first.columns


def stack(slices: Sequence[Slice], max_bytes: int) -> Stack:
    """Sort and check the slices of one series. Raises ImageRejected."""
    across, down = _directions(slices)
    _require_alike(slices)
    normal = np.cross(across, down)
    positions = np.array([s.position for s in slices], dtype=np.float64)
    depths = positions @ normal
    # equal depths are refused below; the sort is stable, the order of the input decides nothing
    order = np.argsort(depths, kind="stable")
    step = _step(depths[order])
    rows_mm, columns_mm = slices[0].spacing or (1.0, 1.0)
    _require_upright(positions[order], normal, min(rows_mm, columns_mm))
    ordered = tuple(slices[i] for i in order)
    dtype = _voxel_type(ordered)
    first = ordered[0].dicom
    if len(ordered) * first.rows * first.columns * np.dtype(dtype).itemsize > max_bytes:
        raise ImageRejected("volume_too_large")
    axes, flips = _to_patient(np.array([normal, down, across]))
    acquired_mm = (step, rows_mm, columns_mm)
    return Stack(ordered, axes, flips, (acquired_mm[axes[0]], acquired_mm[axes[1]], acquired_mm[axes[2]]), dtype)


def _directions(slices: Sequence[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along a row and along a column, the same for all slices."""
    for s in slices:
        if s.position is None or s.orientation is None or s.spacing is None:
            raise ImageRejected("volume_without_geometry")
    cosines = np.array([s.orientation for s in slices], dtype=np.float64)
    across, down = cosines[:, :3], cosines[:, 3:]
    lengths = np.concatenate([np.linalg.norm(across, axis=1), np.linalg.norm(down, axis=1)])
    if np.abs(lengths - 1).max() > _ANGLE_TOLERANCE or np.abs((across * down).sum(axis=1)).max() > _ANGLE_TOLERANCE:
        raise ImageRejected("volume_without_geometry")
    if np.ptp(cosines, axis=0).max() > _ANGLE_TOLERANCE:
        raise ImageRejected("volume_mixed_series")
    # the median does not depend on which slice comes first
    across, down = np.median(across, axis=0), np.median(down, axis=0)
    return across / np.linalg.norm(across), down / np.linalg.norm(down)


def _require_alike(slices: Sequence[Slice]) -> None:
    kinds = {(d.rows, d.columns, d.samples, d.photometric, d.signed, d.frame_of_reference) for d in (s.dicom for s in slices)}
    spacings = np.array([s.spacing for s in slices], dtype=np.float64)
    if len(kinds) > 1 or (np.ptp(spacings, axis=0) > 1e-3 * spacings.min(axis=0)).any():
        raise ImageRejected("volume_mixed_series")


def _step(depths: np.ndarray) -> float:
    """The distance of neighbouring slices, mm. ``depths`` ascend."""
    gaps = np.diff(depths)
    if gaps.min() < _SAME_POSITION_MM:
        raise ImageRejected("volume_duplicate_positions")
    usual = float(np.median(gaps))
    if np.abs(gaps - usual).max() > max(_SPACING_TOLERANCE * usual, min(_ROUNDING_MM, usual / 2)):
        raise ImageRejected("volume_missing_slices")
    return float(depths[-1] - depths[0]) / (len(depths) - 1)


def _require_upright(positions: np.ndarray, normal: np.ndarray, pixel_mm: float) -> None:
    """Slices must lie straight behind each other; those of a tilted gantry do not."""
    offsets = positions - positions[0]
    sideways = offsets - np.outer(offsets @ normal, normal)
    if np.linalg.norm(sideways, axis=1).max() > _SHEAR_PIXELS * pixel_mm:
        raise ImageRejected("volume_sheared")


def _to_patient(directions: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """The nearest permutation and turning of (slice, row, column) onto (S falling, P growing, L growing)."""
    patient = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], dtype=np.float64)  # in L-P-S coordinates
    cosines = patient @ directions.T
    # rounded: of equally near permutations the first wins on every machine
    axes = max(permutations(range(3)), key=lambda p: round(float(sum(abs(cosines[i, p[i]]) for i in range(3))), 6))
    flips = [bool(cosines[i, axes[i]] < 0) for i in range(3)]
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def _voxel_type(slices: Sequence[Slice]) -> str:
    """Stored integers need no rescale to be compared, where one rescale with a positive slope holds for all."""
    rescales = {(s.dicom.frame(s.frame).slope, s.dicom.frame(s.frame).intercept) for s in slices}
    plain = len(rescales) == 1 and min(slope for slope, _ in rescales) > 0
    if plain and all(s.dicom.modality_lut is None and s.dicom.bits_stored <= 16 for s in slices):
        return "int16" if slices[0].dicom.signed else "uint16"
    return "float32"
