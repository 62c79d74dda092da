"""Screenshots and photographed documents among the clinical pictures, by how much writing there is and how flat the picture is.

A camera's pixels always differ from their neighbours a little; a screen's panels and a scanner's white do not. A photographed page or
monitor is not flat, but it carries more lines than any clinical picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from codelib.imaging.screen_text import Line

_LONGEST_PX = 448  # reduced to the release's size: the noise of JPEG on a flat panel averages out, a camera's shading stays
_SAME = 2  # grey values within a 5 x 5 neighbourhood of a flat area
_DARK = 24  # below: the background of a radiograph, a black contrastor
_FLAT_SHARE = 0.3  # of the picture: a window with a picture in it; no clinical photograph here reaches 0.1 (docs/screens.md)
_FLAT_LINES = 2
_PAPER_SHARE = 0.6  # nearly nothing but background: then one line is enough
_COVERED = 0.08  # of the picture by lines of writing: a close-up of a form, an identity card


def flat_share(picture: np.ndarray) -> float:
    """Share of the picture (H x W x 3 RGB uint8) without any shading, black left out. 0..1."""
    scale = min(1.0, _LONGEST_PX / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    around = np.ones((5, 5), np.uint8)
    flat = (cv2.dilate(grey, around) - cv2.erode(grey, around) <= _SAME) & (grey >= _DARK)
    return float(flat.mean())


def screenshot_score(flat: float, lines: Sequence[Line]) -> float:
    """The share of flat area where writing stands in it, else 0."""
    written = sum(line.verdict != "marker" for line in lines)  # legible or not: writing of other scripts is not read
    return flat if (flat >= _FLAT_SHARE and written >= _FLAT_LINES) or (flat >= _PAPER_SHARE and written) else 0.0


def document_score(lines: Sequence[Line], least_lines: int) -> float:
    """1 from ``least_lines`` legible lines, or where lines cover 8 % of the picture; else 0."""
    written = [line for line in lines if line.verdict == "text" and line.letters >= 2]
    covered = sum((line.box[2] - line.box[0]) * (line.box[3] - line.box[1]) for line in written)
    return 1.0 if len(written) >= least_lines or (len(written) >= 2 and covered >= _COVERED) else 0.0
