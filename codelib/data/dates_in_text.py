"""Dates written in free text, moved by the patient's offset or cut down to the year.

    2021-05-03 · 2021.5.3 · 2021、5、3 · 20210503 · 210503 · 2021.5 · 21.5.3 · 3/5/2021 · May 3, 2021
    2021年5月3日 · 2021年五月3-5日 · 二〇二一年五月 · 21年5月3日 · 5月3日 · 5月3

    text ─ forms, the plainest first ─ find_dates() ─ moved, in the form they were written in
         ─ what is left and still has a year and a month ─ find_unread_dates() ─ a person must look

A year alone stays: it says no more than the shifted visit does. So do 21.5mm, 3-5日后 and 5月3次, which are no dates.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from codelib.data.identifiers import Finding, fold

Mode = Literal["shift", "keep", "year"]

_NUMERAL = "〇零一二三四五六七八九"
_ENGLISH = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_MONTH_OF = {name[:3]: number for number, name in enumerate(_ENGLISH, 1)}
_OLDEST_SHORT_YEARS = 30  # 21.5.3 is read as a date of the last thirty years

_Y = r"(?P<y>(?:19|20)\d{2})"
_M = r"(?P<m>1[0-2]|0?[1-9])"
_D = r"(?P<d>3[01]|[12]\d|0?[1-9])"
_MC = r"(?P<m>1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九])"
_DC = r"(?P<d>3[01]|[12]\d|0?[1-9]|三十一?|二?十[一二三四五六七八九]?|[一二三四五六七八九])"
_E = r"(?P<e>3[01]|[12]\d|0?[1-9])"
_TO = r"\s?[-~～至到、]\s?"
_UNIT = r"(?:mm|cm|ml|mg|kg|g|MHz|Hz|元|%|°|度|号牙|[颗枚片支粒次个天周年月岁级分牙只倍粒点折小型万余多])"
_FDI = re.compile(r"(?:[1-4][1-8]|[5-8][1-5])")
# 5月3, 2021年5月3: a day without 日 ends there, or a word follows that is not counted by it
_BARE_END = rf"(?!\d|\s?{_UNIT}|[-~～、/.:：]\s?\d)"
_EM = rf"(?P<M>{'|'.join(f'{name[:3]}(?:{name[3:]})?' if name[3:] else name for name in _ENGLISH)}|Sept)\.?"

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        (
            "separated",
            rf"(?<!\d){_Y}\s?(?P<sep>[-./、])\s?{_M}\s?(?P=sep)\s?{_D}(?!\d|、\d)"
            rf"(?:(?:[~～至到]|(?<=[./]\d)-|(?<=[./]\d\d)-){_E}(?!\d|\s?{_UNIT}|[-./]\d))?",
        ),
        ("separated", rf"(?<!\d){_Y} {{1,2}}{_M} {{1,2}}{_D}(?!\d| \d|\s?{_UNIT}|、\d|\.\d)"),
        ("written", rf"(?<!\d){_Y}\s?年\s?{_MC}\s?月\s?{_DC}(?:{_TO}{_E})?\s?[日号](?!牙)"),
        ("written", rf"(?P<y>[{_NUMERAL}]{{4}})\s?年\s?{_MC}\s?月\s?{_DC}(?:{_TO}{_E})?\s?[日号](?!牙)"),
        ("written", rf"(?<![\d.])(?P<y>\d{{2}})\s?年\s?{_MC}\s?月\s?{_DC}(?:{_TO}{_E})?\s?[日号](?!牙)"),
        ("written", rf"(?<![{_NUMERAL}十])(?P<y>[〇零一二][{_NUMERAL}])年{_MC}月{_DC}[日号](?!牙)"),
        ("written", rf"(?<!\d)(?P<y>(?:19|20)\d{{2}}|[{_NUMERAL}]{{4}})\s?年\s?{_M}月{_D}{_BARE_END}"),
        ("written", rf"(?<!\d)(?P<y>(?:19|20)\d{{2}}|[{_NUMERAL}]{{4}})\s?年\s?{_MC}\s?月"),
        ("short month", rf"(?<![\d.])(?<![史约近达有已服])(?P<y>\d{{2}})年{_M}月(?!余|来|后|以|病|史)"),
        ("separated", rf"(?<!\d){_M}/{_D}/{_Y}(?!\d)"),
        ("separated", rf"(?<!\d)(?P<d>3[01]|[12]\d|0?[1-9])/{_M}/{_Y}(?!\d)"),
        ("short", rf"(?<!\d)(?<!\d\.)(?P<y>\d{{2}})(?P<sep>[-./]){_M}(?P=sep){_D}(?!\d|[-./]\d|\s?{_UNIT})"),
        ("month", rf"(?<!\d){_Y}(?P<sep>[-./]){_M}(?!\d|[-./]\d|\s?(?:mm|cm|ml|mg|元|[UV]))"),
        ("compact", r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?!\d)"),
        (
            "short compact",
            rf"(?<!\d)(?<!\d\.)(?P<y>\d{{2}})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?!\d|\.\d|\s?{_UNIT}|U)",
        ),
        ("english", rf"(?<![A-Za-z]){_EM}\s?{_D}(?:st|nd|rd|th)?,?\s{{1,2}}{_Y}(?!\d)"),
        ("english", rf"(?<!\d){_D}(?:st|nd|rd|th)?[\s\-]?{_EM},?[\s\-]?{_Y}(?!\d)"),
        ("english", rf"(?<![A-Za-z]){_EM},?\s{_Y}(?!\d)"),
        ("english", rf"(?<![A-Za-z]){_EM}\s{_D}(?:st|nd|rd|th)?(?!\d|\s?{_UNIT}|[./]\d)"),
        ("day", rf"(?<![\d年.]){_M}\s?月\s?{_D}(?:{_TO}{_E})?\s?[日号](?!牙)"),
        ("day", rf"(?<![\d{_NUMERAL}十年个.]){_MC}月{_DC}[日号](?!牙)"),
        ("bare day", rf"(?<![\d年.]){_M}月{_D}{_BARE_END}"),
    )
)
_UNREAD = re.compile(
    rf"(?<!\d)(?:19|20)\d{{2}}\s?年[^\d\n，。,;；]{{0,3}}(?:\d{{1,2}}|[{_NUMERAL}十]{{1,3}})\s?(?:{_TO}(?:\d{{1,2}}|[{_NUMERAL}十]{{1,3}})\s?)?月"
    rf"|(?<!\d)(?:19|20)\d{{2}}\s?[-./、]\s?(?:0?[1-9]|1[0-2])(?!\d|\s?{_UNIT}|[UV])"
    rf"|(?<!\d)\d{{2}}年\d{{1,2}}月\s?\d{{1,2}}(?=\s?[日号])"
    rf"|[{_NUMERAL}]{{4}}\s?年[{_NUMERAL}十\d]{{1,3}}月|[{_NUMERAL}]{{4}}\s?[-./、]\s?\d{{1,2}}(?!\d)"
    rf"|(?:19|20)\d{{2}}[\s\-]?{_EM}(?![a-z])"
    # 5/3外院拔牙, 上周二（3.15）: no year; 3/4冠 and 2/3覆盖 are fractions and nothing is done on them
    rf"|(?<![\d./:])(?P<sm>1[0-2]|[1-9])/(?:3[01]|[12]\d|[1-9])(?=\s?(?:外院|在|于|行|拔|补|做|复诊|来诊|拍|初诊|治疗|就诊|开髓|种植|取模|拆线|手术|住院|出院))"
    rf"|(?<=周[一二三四五六日天])[(（](?:1[0-2]|[1-9])[./](?:3[01]|[12]\d|[1-9])[)）]"
)


@dataclass(frozen=True)
class DateSpan:
    start: int
    end: int
    text: str  # what is to stand there


def _numeral(text: str) -> int:
    """31, 三十一 -> 31; 十二 -> 12; 五 -> 5."""
    if text.isascii():
        return int(text)
    tens, ten, ones = text.partition("十")
    value = {char: max(i - 1, 0) for i, char in enumerate(_NUMERAL)}
    if not ten:
        return value[text]
    return (value[tens] if tens else 1) * 10 + (value[ones] if ones else 0)


def _year(text: str, visit: dt.date) -> int | None:
    """The year meant; of two figures, one of the last thirty years or None."""
    if not text.isascii():
        text = "".join(str(max(_NUMERAL.index(char) - 1, 0)) for char in text)
    if len(text) == 4:
        return int(text)
    century = visit.year // 100 * 100
    year = century + int(text)
    year -= 100 if year > visit.year + 1 else 0
    return year if visit.year - _OLDEST_SHORT_YEARS <= year else None


def _doubtful(name: str, match: re.Match[str]) -> bool:
    """Teeth look the same: 21.11.12, 5月16拔除, 211212. A person must say."""
    if name == "short":
        return all(_FDI.fullmatch(match[part]) for part in "ymd")
    if name == "short compact":
        return "0" not in match.group()
    follows = match.string[match.end() : match.end() + 1]
    return name == "bare day" and bool(_FDI.fullmatch(match["d"])) and follows not in ("", *",，。;；)） \n")


def _moment(match: re.Match[str], visit: dt.date) -> dt.date | None:
    """The day meant; a month alone counts from its middle. None where there is no such day. ValueError: no date at all."""
    groups = match.groupdict()
    year = _year(groups["y"], visit) if groups.get("y") else visit.year
    if year is None:
        raise ValueError("a number of two figures that is no recent year")
    month = _MONTH_OF[groups["M"][:3]] if groups.get("M") else _numeral(groups["m"])
    try:
        return dt.date(year, month, _numeral(groups["d"]) if groups.get("d") else 15)
    except ValueError:
        return None


def _format(name: str, match: re.Match[str], day: dt.date, last: dt.date | None) -> str:
    """The day in the form in which the match was written; ``last``: the end of a range of days."""
    groups = match.groupdict()
    numbers = [groups[part] for part in "md" if groups.get(part)]
    figures = name in ("separated", "month", "short") and all(len(number) == 2 for number in numbers)
    width = 2 if "compact" in name or figures or any(number.startswith("0") for number in numbers) else 1
    written = {"y": str(day.year), "m": f"{day.month:0{width}d}", "d": f"{day.day:0{width}d}"}
    if groups.get("y") and len(groups["y"]) == 2:
        written["y"] = f"{day.year % 100:02d}"
    if groups.get("M"):
        whole = len(groups["M"]) > 4 or groups["M"] in ("June", "July")
        written["M"] = _ENGLISH[day.month - 1] if whole else _ENGLISH[day.month - 1][:3]
    if last:
        same = (last.year, last.month) == (day.year, day.month)
        written["e"] = f"{last.day:0{width}d}" if same else f"{last.month}月{last.day}"
    parts = sorted((match.start(part), match.end(part), text) for part, text in written.items() if groups.get(part))
    pieces, at = [], match.start()
    for start, end, text in parts:
        pieces += [match.string[at:start], text]
        at = end
    return "".join([*pieces, match.string[at : match.end()]])


def moved(day: dt.date, shift_days: int) -> dt.date | None:
    try:
        return day + dt.timedelta(days=shift_days)
    except OverflowError:
        return None


def _shifted(name: str, match: re.Match[str], day: dt.date, shift_days: int) -> str:
    target = moved(day, shift_days)
    if target is None:
        return "[DATE]"
    end = match.groupdict().get("e")
    last = None
    if end:
        try:
            last = moved(day.replace(day=int(end)), shift_days)
        except ValueError:
            return "[DATE]"
    return _format(name, match, target, last)


def _read(text: str, visit: dt.date) -> Iterator[tuple[str, re.Match[str], dt.date | None]]:
    """Each date once, the plainest form first."""
    taken = bytearray(len(text))
    for name, pattern in _FORMS:
        for match in pattern.finditer(text):
            if any(taken[match.start() : match.end()]):
                continue
            try:
                day = _moment(match, visit)
            except ValueError:
                continue
            if day is None and (name.startswith("short") or name == "bare day"):
                continue
            taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
            yield name, match, day


def find_dates(text: str, mode: Mode, visit: dt.date, shift_days: int) -> Iterator[DateSpan]:
    """Every date of ``text`` with what it becomes; nothing under ``keep``. A date that no calendar has becomes [DATE]."""
    if mode == "keep":
        return
    folded = fold(text)
    for name, match, day in _read(folded.text, visit):
        if _doubtful(name, match):
            continue
        start, end = folded.span(match.start(), match.end())
        if day is None:
            yield DateSpan(start, end, "[DATE]")
        elif mode == "year":
            yield DateSpan(start, end, f"{day.year}年" if "月" in match.group() else str(day.year))
        else:
            yield DateSpan(start, end, _shifted(name, match, day, shift_days))


def find_unread_dates(text: str, mode: Mode, visit: dt.date) -> list[Finding]:
    """What still has a year and a month, or may be a day, in a text whose dates were moved and are masked."""
    if mode == "keep":
        return []
    folded = fold(text)
    spans = {(m.start(), m.end()) for m in _UNREAD.finditer(folded.text)}
    for name, match, _ in _read(folded.text, visit):
        before = folded.text[max(0, match.start() - 12) : match.start()]
        if not (name == "short compact" and re.search(r"PD|探诊|袋|深度", before)):
            spans.add((match.start(), match.end()))
    return [Finding(*folded.span(start, end), "DATE") for start, end in sorted(spans)]


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
