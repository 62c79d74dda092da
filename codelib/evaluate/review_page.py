"""The form of a blinded review: one page that opens from disk, asks nobody for anything and keeps what was ticked until it is saved.

    cases (question, images, reports under letters)  ->  render(...)  ->  HTML

Progress stays in the browser (IndexedDB, by the sheet's token); `Save` hands out a CSV file, the same that the blank sheet is when it is
filled in. Texts of models are text here, never markup.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

_LARGEST_PX = 896  # longer side; a released image has 448 and stays as it is
_WORDS = {
    "accuracy": ("Accuracy", "准确性", "Is what it says true of this visit?"),
    "completeness": ("Completeness", "完整性", "Does it say all that matters?"),
    "safety": ("Safety", "安全性", "Would following it harm nobody?"),
}


@dataclass(frozen=True)
class Case:
    """reports: letter -> text, in the order in which they are shown."""

    number: int
    question: str
    images: tuple[Path, ...]
    reports: Mapping[str, str]


def picture(path: Path) -> str | None:
    """A JPEG as a data URL, rebuilt from pixels so that nothing of the file's own travels; None where the file is no image."""
    try:
        with Image.open(path) as image:
            shown = ImageOps.exif_transpose(image).convert("RGB")
            shown.thumbnail((_LARGEST_PX, _LARGEST_PX))
            out = io.BytesIO()
            Image.frombytes("RGB", shown.size, shown.tobytes()).save(out, "JPEG", quality=90)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all of which Pillow raises for a bad file
        return None
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def render(sheet: str, reviewer: int, cases: Sequence[Case], criteria: Sequence[str]) -> str:
    """The page of one reviewer. sheet: its token, which stands in every row that is saved."""
    told: dict[str, Any] = {"sheet": sheet, "file": f"reviewer-{reviewer}-filled.csv", "criteria": list(criteria)}
    told |= {"cases": [{"number": case.number, "letters": list(case.reports)} for case in cases]}
    sections = "".join(_case(case, len(cases), criteria) for case in cases)
    head = _HEAD.replace("STYLE", _file("review.css"))
    script = _file("review.js").replace("TOLD", _json(told))
    return f"{head}{_intro(reviewer, len(cases), criteria)}<main>{sections}</main><script>\n{script}</script></html>\n"


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON that can stand in a script element."""
    return json.dumps(value).replace("<", "\\u003c")


def _intro(reviewer: int, num_cases: int, criteria: Sequence[str]) -> str:
    asked = "".join(f"<li><b>{_WORDS[name][0]} {_WORDS[name][1]}</b>: {_WORDS[name][2]}</li>" for name in criteria)
    return f"""<header><h1>Review of reports <small>reviewer {reviewer}</small></h1>
<p class=bar><span id=count>0 of {num_cases}</span> cases complete <button id=save type=button>Save 保存</button> <span id=kept></span></p>
</header><div class=intro>
<p>Each case shows a visit's images, what was asked, and reports under letters. Some were written by a colleague, some by a
model; the order is drawn by lot, anew in each case. Judge each by itself, 1 (worst) to 5 (best), then say which is the best.</p><ul>{asked}</ul>
<p>What you tick is kept in this browser. When you are through, or for a break, press <b>Save</b> and send back the file. Please write no name,
neither yours nor a patient's, into a comment.</p></div>
"""


def _case(case: Case, num_cases: int, criteria: Sequence[str]) -> str:
    images = "".join(
        f'<img src="{url}" alt="image {place} of case {case.number}" tabindex=0>'
        if (url := picture(path))
        else f"<p class=missing>image {place} cannot be shown</p>"
        for place, path in enumerate(case.images, start=1)
    )
    reports = "".join(
        f"<article><h3>Report {letter}</h3><div class=text>{escape(text)}</div>"
        f"{''.join(_rating(case.number, letter, name) for name in criteria)}</article>"
        for letter, text in case.reports.items()
    )
    choices = [(letter, letter) for letter in case.reports] + [("tie", "equally good 一样")]
    best = "".join(
        f'<label><input type=radio name="{case.number},best" value="{value}">{escape(words)}</label>' for value, words in choices
    )
    return (
        f"<section data-case={case.number}><h2>Case {case.number} of {num_cases}</h2><div class=images>{images}</div>"
        f"<details open><summary>What was asked</summary><div class=text>{escape(case.question)}</div></details>"
        f"<div class=reports>{reports}</div>"
        f"<fieldset><legend>Which report is the best? 哪份最好？</legend>{best}</fieldset>"
        f'<label class=comment>Comment 备注<textarea name="{case.number},comment" rows=2></textarea></label></section>'
    )


def _rating(number: int, letter: str, criterion: str) -> str:
    ticks = "".join(
        f'<label><input type=radio name="{number},{letter},{criterion}" value={value}>{value}</label>' for value in range(1, 6)
    )
    english, chinese, _ = _WORDS[criterion]
    return f"<fieldset class=rating><legend>{english} {chinese}</legend>{ticks}</fieldset>"


_HEAD = """<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Review of reports</title><style>
STYLE</style>
"""
