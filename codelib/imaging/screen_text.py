"""Where a picture has writing, and whether it is more than a side marker.

    picture ─ local contrast ─ detector (PP-OCRv6 small, DBNet) at two sizes ─ lines ─ crops ─ recogniser (PP-OCRv6 small) ─ verdict

The two ONNX models travel inside the `rapidocr` wheel. Only its model files are used, on onnxruntime, so that nothing is logged,
written or downloaded. What was read decides the verdict and goes with the stack frame: a `Line` holds no text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import cv2
import numpy as np

Verdict = Literal["text", "unread", "marker"]
Box = tuple[float, float, float, float]

# The detector takes large smooth shapes (a row of teeth, a rib cage) for one huge letter and then overlooks small writing on them;
# with the picture's local mean and contrast taken out, and at two sizes, it finds nearly all (docs/screens.md has the numbers).
_LONGEST_PX = (640, 960)
_SIGMA_PX = 8.0
_BINARISE, _GROW = 0.3, 1.6  # DBNet's own post-processing (Liao et al. 2020; PP-OCR's values): map threshold, growth of the core
_TALLEST = 0.12  # of the longer side: what is taller is a shape, not a line, unless it reads well
_LONGISH = 1.5  # length over height
_READ_HEIGHT_PX = 48  # the recogniser's input
_READ_WIDTHS_PX = (96, 192, 320, 640, 1280)  # crops are padded to the next of these, so that few shapes are planned
_SURE = 0.9  # confidence of the recogniser that is hardly ever wrong
_LONG = 6
_LEGIBLE = 0.6  # a marker or a word read with less is not believed


@dataclass(frozen=True)
class Line:
    """One line of writing: ``box`` x0, y0, x1, y1 in 0..1 of the picture, the detector's ``score``, the recogniser's ``confidence``
    and how many ``letters`` it read."""

    box: Box
    score: float
    verdict: Verdict
    confidence: float
    letters: int


class TextReader:
    """Detector and recogniser, one thread each; the largest part of the 0.5 GB that the screens take: one per process."""

    def __init__(self, session: Callable[[str], Any], detector: str, recogniser: str):
        """``session`` opens a model file: path -> onnxruntime.InferenceSession."""
        self._detector = session(detector)
        self._recogniser = session(recogniser)
        self._alphabet = ["", *self._recogniser.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]

    def lines(self, picture: np.ndarray, threshold: float) -> list[Line]:
        """All writing of ``picture`` (H x W x 3 RGB uint8). ``threshold``: least mean probability of a line, 0..1."""
        height, width = picture.shape[:2]
        found = [core for longest in _LONGEST_PX for core in self._detect(picture, longest, threshold)]
        lines = []
        for group in _overlapping(found):
            largest = max(group, key=lambda quad_score: _area(quad_score[0]))[0]
            verdict, confidence, letters = self._judge(_crops(picture, largest))
            tall = min(_sides(largest)) > _TALLEST * max(height, width)
            if tall and not (verdict == "text" and letters >= 3 and confidence >= _SURE):
                continue
            if verdict == "unread" and max(_sides(largest)) < _LONGISH * min(_sides(largest)):
                continue  # a crown, a ring, a corner: what nobody can read and is no longer than high is no name
            corners = np.concatenate([quad for quad, _ in group]) / (width, height)
            x0, y0, x1, y1 = (float(v) for v in (*corners.min(axis=0).clip(0, 1), *corners.max(axis=0).clip(0, 1)))
            lines.append(Line((x0, y0, x1, y1), max(score for _, score in group), verdict, confidence, letters))
        return lines

    def _detect(self, picture: np.ndarray, longest_px: int, threshold: float) -> list[tuple[np.ndarray, float]]:
        """Quads (4 x 2, pixels of ``picture``) and their mean probability."""
        height, width = picture.shape[:2]
        scale = longest_px / max(height, width)
        size = (_multiple_of_32(width * scale), _multiple_of_32(height * scale))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        heat = self._detector.run(None, {"x": _network_input(_local_contrast(small))[None]})[0][0, 0]
        return [(quad * (width / size[0], height / size[1]), score) for quad, score in _quads(heat, threshold)]

    def _judge(self, crops: Sequence[np.ndarray]) -> tuple[Verdict, float, int]:
        """What the most confident of all ways to hold the line says: a marker, other writing, or nothing legible."""
        best, sure = "", 0.0
        for crop in crops:
            text, confidence = self._read(crop)
            if confidence > sure:
                best, sure = text, confidence
            if sure >= _SURE and len(_letters(best)) >= _LONG:
                break  # no marker is that long, whichever way it is held
        letters = len(_letters(best))
        if sure < _LEGIBLE or not letters:
            return "unread", sure, 0
        return ("marker" if is_marker(best) else "text"), sure, letters

    def _read(self, crop: np.ndarray) -> tuple[str, float]:
        """What stands in a crop (h x w x 3 RGB) and the mean confidence of its characters; ("", 0.0) for nothing."""
        width = max(8, round(crop.shape[1] * _READ_HEIGHT_PX / crop.shape[0]))
        padded = next((w for w in _READ_WIDTHS_PX if w >= width), _READ_WIDTHS_PX[-1])
        given = np.zeros((1, 3, _READ_HEIGHT_PX, padded), dtype=np.float32)
        given[0, :, :, : min(width, padded)] = _network_input(cv2.resize(crop, (min(width, padded), _READ_HEIGHT_PX)))
        steps = self._recogniser.run(None, {"x": given})[0][0]
        best = steps.argmax(axis=1)
        kept = (best != 0) & (best != np.concatenate([[-1], best[:-1]]))  # CTC: blanks and repeats are dropped
        if not kept.any():
            return "", 0.0
        return "".join(self._alphabet[i] for i in best[kept]), float(steps.max(axis=1)[kept].mean())


def is_marker(text: str) -> bool:
    """Whether a line of writing is one of the side, position, tooth or scale marks of screen_markers.txt."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", text).upper()).strip(".·。:")
    return _markers().fullmatch(plain) is not None


@cache
def _markers() -> re.Pattern[str]:
    lines = (files("codelib.imaging") / "screen_markers.txt").read_text(encoding="utf-8").splitlines()
    return re.compile("|".join(f"(?:{line})" for line in lines if line and not line.startswith("#")))


def _letters(text: str) -> str:
    """Letters, digits and characters; brackets, dots and bullets are what bone and wires are read as."""
    return "".join(c for c in text if c.isalnum())


def _multiple_of_32(side: float) -> int:
    return max(32, round(side / 32) * 32)


def _network_input(picture: np.ndarray) -> np.ndarray:
    """RGB uint8 -> BGR planes in -1..1, as both models were trained."""
    return ((picture[:, :, ::-1].astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)


def _local_contrast(picture: np.ndarray) -> np.ndarray:
    """Each channel less its local mean, over the local deviation: faint writing becomes strong, large shapes vanish."""
    values = picture.astype(np.float32)
    detail = values - cv2.GaussianBlur(values, (0, 0), _SIGMA_PX)
    spread = np.sqrt(cv2.GaussianBlur((detail * detail).mean(axis=2), (0, 0), 3 * _SIGMA_PX))[:, :, None]
    return np.clip(128 + 40 * detail / (spread + 6), 0, 255).astype(np.uint8)  # + 6: noise of an empty background stays noise


def _quads(heat: np.ndarray, threshold: float) -> list[tuple[np.ndarray, float]]:
    """Connected areas of the probability map as rectangles, grown back from the line's core to its full height."""
    found = []
    area = cv2.dilate((heat > _BINARISE).astype(np.uint8), np.ones((2, 2), np.uint8))
    for contour in cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
        center, (w, h), angle = cv2.minAreaRect(contour)
        if min(w, h) < 3:
            continue
        score = _mean_inside(heat, cv2.boxPoints((center, (w, h), angle)))
        if score >= threshold:
            grow = _GROW * w * h / (w + h)  # on both sides: distance = area * ratio / perimeter
            found.append((cv2.boxPoints((center, (w + grow, h + grow), angle)).astype(np.float64), score))
    return found


def _mean_inside(heat: np.ndarray, quad: np.ndarray) -> float:
    x0, y0 = np.maximum(np.floor(quad.min(axis=0)).astype(int), 0)
    x1, y1 = np.ceil(quad.max(axis=0)).astype(int) + 1
    part = heat[y0:y1, x0:x1]
    inside = np.zeros(part.shape, dtype=np.uint8)
    cv2.fillPoly(inside, [np.round(quad - (x0, y0)).astype(np.int32)], 1)
    return float(cv2.mean(part, inside)[0])


def _sides(quad: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(quad[1] - quad[0])), float(np.linalg.norm(quad[2] - quad[1]))


def _area(quad: np.ndarray) -> float:
    a, b = _sides(quad)
    return a * b


def _overlapping(found: list[tuple[np.ndarray, float]]) -> list[list[tuple[np.ndarray, float]]]:
    """The same line found at both sizes becomes one group: bounding boxes that share more than half of the smaller one."""
    groups: list[list[tuple[np.ndarray, float]]] = []
    for quad, score in sorted(found, key=lambda f: -_area(f[0])):
        for group in groups:
            if _shared(quad, group[0][0]) > 0.5 and _area(quad) > 0.2 * _area(group[0][0]):
                group.append((quad, score))
                break
        else:
            groups.append([(quad, score)])
    return groups


def _shared(small: np.ndarray, large: np.ndarray) -> float:
    side = np.minimum(small.max(axis=0), large.max(axis=0)) - np.maximum(small.min(axis=0), large.min(axis=0))
    return float(np.prod(np.maximum(side, 0)) / max(1e-9, np.prod(small.max(axis=0) - small.min(axis=0))))


def _crops(picture: np.ndarray, quad: np.ndarray) -> list[np.ndarray]:
    """The line as it may have been meant: straight, upside down, and both mirrored (a film laid the wrong way round)."""
    by_x = quad[np.argsort(quad[:, 0])]
    left, right = by_x[:2][np.argsort(by_x[:2, 1])], by_x[2:][np.argsort(by_x[2:, 1])]
    corners = np.array([left[0], right[0], right[1], left[1]], dtype=np.float32)
    w = max(4, round(float(np.linalg.norm(corners[1] - corners[0]))))
    h = max(4, round(float(np.linalg.norm(corners[3] - corners[0]))))
    matrix = cv2.getPerspectiveTransform(corners, np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=np.float32))
    crop = cv2.warpPerspective(picture, matrix, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    upright = [np.rot90(crop)] if h >= 1.5 * w else [crop] if w >= 1.5 * h else [crop, np.rot90(crop)]
    ways = [view for line in upright for view in (line, line[::-1, ::-1], line[:, ::-1], line[::-1])]
    return [np.ascontiguousarray(view) for view in ways]
