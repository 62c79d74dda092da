"""Dates written in free text, moved by the patient's offset or cut down to the year.

    2021-05-03 · 2021.5.3 · 2021/05/03 · 20210503 · 2021年5月3日 · 2021年5月 · 2021-05 · 二〇二一年五月三日 · 5月3日

A date keeps the form it was written in. A year alone stays: it says no more than the shifted visit does.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from codelib.data.identifiers import fold

Mode = Literal["shift", "keep", "year"]

_NUMERAL = "〇零一二三四五六七八九"
_WRITTEN = re.compile(
    r"(?<![\d.])(?P<y1>(?:19|20)\d{2})(?P<gap1>\s?)(?P<sep>[-./])\s?(?P<m1>0?[1-9]|1[0-2])\s?(?P=sep)\s?(?P<d1>3[01]|[12]\d|0?[1-9])(?![\d])"
    r"|(?<!\d)(?P<y2>(?:19|20)\d{2})\s?年\s?(?P<m2>1[0-2]|0?[1-9])\s?月(?:\s?(?P<d2>3[01]|[12]\d|0?[1-9])\s?(?P<e2>[日号]))?"
    r"|(?<![\d.])(?P<y3>(?:19|20)\d{2})(?P<sep3>[-./])(?P<m3>0[1-9]|1[0-2])(?![\d\-./])"
    r"|(?<![\d.])(?P<y4>(?:19|20)\d{2})(?P<m4>0[1-9]|1[0-2])(?P<d4>0[1-9]|[12]\d|3[01])(?!\d)"
    rf"|(?P<y5>[{_NUMERAL}]{{4}})年(?P<m5>十[一二]?|[一二三四五六七八九])月(?:(?P<d5>三十一?|[一二]?十[一二三四五六七八九]?|[一二三四五六七八九])(?P<e5>[日号]))?"
    r"|(?<![\d年.])(?P<m6>1[0-2]|0?[1-9])\s?月\s?(?P<d6>3[01]|[12]\d|0?[1-9])\s?(?P<e6>[日号](?!牙))"
)


@dataclass(frozen=True)
class DateSpan:
    start: int
    end: int
    text: str  # what is to stand there


def _numeral(text: str) -> int:
    """三十一 -> 31, 十二 -> 12, 五 -> 5."""
    tens, ten, ones = text.partition("十")
    value = {char: max(i - 1, 0) for i, char in enumerate(_NUMERAL)}
    if not ten:
        return value[text]
    return (value[tens] if tens else 1) * 10 + (value[ones] if ones else 0)


def _year(text: str) -> int:
    return int("".join(str(max(_NUMERAL.index(char) - 1, 0)) for char in text))


def _padded(value: int, like: str) -> str:
    return f"{value:02d}" if len(like) == 2 and like.isdigit() and like.startswith("0") else str(value)


def _format(match: re.Match[str], day: dt.date) -> str:
    """The day in the form in which the match was written."""
    if match["y1"]:
        width = max(len(match["m1"]), len(match["d1"])) == 2 and (match["m1"].startswith("0") or match["d1"].startswith("0"))
        month, number = (f"{day.month:02d}", f"{day.day:02d}") if width else (str(day.month), str(day.day))
        return match["sep"].join((str(day.year), month, number))
    if match["y2"]:
        tail = f"{_padded(day.day, match['d2'])}{match['e2']}" if match["d2"] else ""
        return f"{day.year}年{_padded(day.month, match['m2'])}月{tail}"
    if match["y3"]:
        return f"{day.year}{match['sep3']}{day.month:02d}"
    if match["y4"]:
        return f"{day:%Y%m%d}"
    if match["y5"]:
        return f"{day.year}年{day.month}月" + (f"{day.day}{match['e5']}" if match["d5"] else "")
    return f"{_padded(day.month, match['m6'])}月{_padded(day.day, match['d6'])}{match['e6']}"


def _moment(match: re.Match[str], visit: dt.date) -> dt.date | None:
    """The day meant; a month alone counts from its middle. None where there is no such day."""
    try:
        if match["y1"]:
            return dt.date(int(match["y1"]), int(match["m1"]), int(match["d1"]))
        if match["y2"]:
            return dt.date(int(match["y2"]), int(match["m2"]), int(match["d2"] or 15))
        if match["y3"]:
            return dt.date(int(match["y3"]), int(match["m3"]), 15)
        if match["y4"]:
            return dt.date(int(match["y4"]), int(match["m4"]), int(match["d4"]))
        if match["y5"]:
            return dt.date(_year(match["y5"]), _numeral(match["m5"]), _numeral(match["d5"]) if match["d5"] else 15)
        return dt.date(visit.year, int(match["m6"]), int(match["d6"]))
    except ValueError:
        return None


def moved(day: dt.date, shift_days: int) -> dt.date | None:
    try:
        return day + dt.timedelta(days=shift_days)
    except OverflowError:
        return None


def find_dates(text: str, mode: Mode, visit: dt.date, shift_days: int) -> Iterator[DateSpan]:
    """Every date of ``text`` with what it becomes; nothing under ``keep``. A date that no calendar has becomes [DATE]."""
    if mode == "keep":
        return
    folded = fold(text)
    for match in _WRITTEN.finditer(folded.text):
        day = _moment(match, visit)
        start, end = folded.span(match.start(), match.end())
        if day is None:
            yield DateSpan(start, end, "[DATE]")
        elif mode == "year":
            yield DateSpan(start, end, f"{day.year}年" if "月" in match.group() else str(day.year))
        else:
            target = moved(day, shift_days)
            yield DateSpan(start, end, _format(match, target) if target else "[DATE]")


def shift_time(checkup_time: str, mode: Mode, shift_days: int) -> tuple[str, dt.date]:
    """A visit's time under the mode, and its true day. Raises ValueError where it is no time."""
    day = dt.date.fromisoformat(checkup_time[:10])
    if mode == "keep":
        return checkup_time, day
    if mode == "year":
        return str(day.year), day
    target = moved(day, shift_days)
    if target is None:
        raise ValueError("the shifted day is in no calendar")
    return target.isoformat() + checkup_time[10:], day
