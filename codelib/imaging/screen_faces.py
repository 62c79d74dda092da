"""Faces with at least one eye in the picture.

CenterFace (Xu et al. 2019, arXiv:1911.03599; the weights are MIT) marks centre, size and five landmarks of every face in one pass, on
every fourth pixel. Clinics forget orientation flags, so the picture is looked at in all four quarter turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[float, float, float, float]

_LONGEST_PX = 320  # a face that is 10 px wide here is found; in the release it is 14 px wide, and no one
_CELL = 4  # pixels of one step of the output
_OUTPUTS = ("537", "538", "539", "540")  # centre heat, log size (height, width), offset (y, x), landmarks (5 times y, x)
_EYES = 2  # the first two landmarks are the eyes
_SAME_FACE = 0.3  # intersection over union
_EDGE = 0.02  # of the picture's side: an eye nearer to the edge than this is cut off


@dataclass(frozen=True)
class Face:
    """``box``: x0, y0, x1, y1 in 0..1 of the picture. ``score``: the network's centre probability."""

    box: Box
    score: float


class FaceFinder:
    """Runs on OpenCV: onnxruntime refuses any input but the 10 x 3 x 32 x 32 that the model was saved with."""

    def __init__(self, model: str):
        self._network = cv2.dnn.readNetFromONNX(model)

    def find(self, picture: np.ndarray, threshold: float) -> list[Face]:
        """Faces of ``picture`` (H x W x 3 RGB uint8) in any quarter turn, with an eye in the picture, best first."""
        small = _fit(picture)
        seen = [face for turns in range(4) for face in self._turned(small, turns, threshold)]
        distinct: list[tuple[Face, bool]] = []
        # the best view of a face tells where its eyes are: upside down, nostrils pass for eyes
        for face, has_eye in sorted(seen, key=lambda view: -view[0].score):
            if all(_overlap(face.box, other.box) < _SAME_FACE for other, _ in distinct):
                distinct.append((face, has_eye))
        return [Face(_clipped(face.box), face.score) for face, has_eye in distinct if has_eye]

    def _turned(self, picture: np.ndarray, turns: int, threshold: float) -> list[tuple[Face, bool]]:
        """Faces that stand upright after so many quarter turns, and whether an eye of each is in the picture."""
        view = np.ascontiguousarray(np.rot90(picture, turns))
        height, width = view.shape[:2]
        padded = cv2.copyMakeBorder(view, 0, -height % 32, 0, -width % 32, cv2.BORDER_CONSTANT)
        self._network.setInput(cv2.dnn.blobFromImage(padded))
        heat, size, offset, marks = (output[0] for output in self._network.forward(list(_OUTPUTS)))
        peaks = (heat[0] >= threshold) & (heat[0] == cv2.dilate(heat[0], np.ones((3, 3), np.uint8)))
        found = []
        for row, column in np.argwhere(peaks):
            h, w = np.exp(size[:, row, column]) * _CELL
            y = (row + offset[0, row, column] + 0.5) * _CELL - h / 2
            x = (column + offset[1, row, column] + 0.5) * _CELL - w / 2
            eyes = (marks[: 2 * _EYES, row, column].reshape(_EYES, 2) * (h, w) + (y, x)) / (height, width)
            has_eye = ((eyes > _EDGE) & (eyes < 1 - _EDGE)).all(axis=1).any()
            box = _turned_back((float(x / width), float(y / height), float((x + w) / width), float((y + h) / height)), turns)
            found.append((Face(box, float(heat[0, row, column])), bool(has_eye)))
        return found


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def _clipped(box: Box) -> Box:
    x0, y0, x1, y1 = (min(1.0, max(0.0, side)) for side in box)
    return x0, y0, x1, y1


def _fit(picture: np.ndarray) -> np.ndarray:
    scale = _LONGEST_PX / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _turned_back(box: Box, turns: int) -> Box:
    """A box found after ``turns`` counter-clockwise quarter turns, in the picture as it was."""
    x0, y0, x1, y1 = box
    for _ in range(turns):  # the turn took (x, y) to (y, 1 - x)
        x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
    return x0, y0, x1, y1
