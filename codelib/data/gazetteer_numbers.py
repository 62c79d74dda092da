"""A number or an address of a column as it is likely to be written again: (class, regular expression) of each variant.

0571-85123407         -> 0571 8512 3407 · 85123407
ZY2022-00087          -> zy 202200087 · 202200087 · 00087
杭州市上城区清波街56号 -> 上城区清波街56号 · 清波街56号 · 清波街
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from codelib.data.name_cells import EMPTY
from codelib.data.person_names_lists import CJK, allowed_words

CLASS_OF = {"phone": "PHONE", "id_number": "ID", "other": "RECORD_NO", "patient_id": "RECORD_NO"}
NO_UNIT = r"(?!\d|\.\d|\s?(?:mm|cm|ml|mg|kg|g|U|u|IU|元|万|年|月|Hz|kV|%|°|/))"
_PLACE = re.compile(r".*?(?:省|自治区|市|区|县|街道|镇|乡)(?=.)")
ROAD = re.compile(rf"[{CJK}]{{2,8}}(?:路|街|大道|巷|弄|小区|花园|公寓|新村|家园|苑|村|大厦)")
_BUILDING = re.compile(rf"(?<=[号弄路街])[{CJK}]{{2,8}}(?:广场|中心|公馆|大楼|家苑|雅苑|华庭|名邸|华府|国际|商城)")


def digits_of(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isdigit())


def pieces_of(value: str) -> list[str]:
    """A cell that names several: 何志强、许兰 (护士), 13911112222/0571-88120000."""
    return [piece.strip() for piece in re.split(r"[,，、;；/|()（）\n\[\]]|\s{2,}", value) if piece.strip()]


def usable(word: str) -> bool:
    return len(word) >= 2 and not EMPTY.fullmatch(word) and word not in allowed_words() and len(set(word)) > (len(word) < 2)


def number_variants(kind: str, value: str, shortest: int) -> Iterator[tuple[str, str]]:
    """A number as one word, its groups parted or not; a short one of digits alone never beside a unit or a decimal point."""
    plain = unicodedata.normalize("NFKC", value)
    number = re.sub(r"[^\dA-Za-z]", "", plain)
    digits = digits_of(number)
    if re.fullmatch(r"\s*\d{1,5}\.\d{1,2}\s*(?:元|mm|ml|%)?\s*", plain) or len(number) < shortest or EMPTY.fullmatch(number):
        return
    if number.isdigit() and len(number) < 6:
        if not re.fullmatch(r"(?:19|20)\d{2}", number):
            yield CLASS_OF[kind], rf"(?<![\dA-Za-z])(?<!\d\.)0{{0,4}}{number.lstrip('0') or number}(?![A-Za-z]){NO_UNIT}"
        return
    if not digits and len(number) < 5:
        return
    gap = r"[\s.\-_]{0,2}" if len(number) >= 7 else r"[.\-_]?"
    joined = gap.join(re.escape(char) for char in number)
    if number.startswith("0") and number.isdigit() and len(number.lstrip("0")) >= 4:
        joined = "0{0,6}" + gap.join(number.lstrip("0"))
    left, right = (r"(?<![\dA-Za-z])", r"(?![\dA-Za-z])") if len(digits) < 6 else (r"(?<!\d)", r"(?!\d)")
    yield CLASS_OF[kind], rf"{left}(?:\(?\+?86\)?[\s\-]?)?(?i:{joined}){right}"
    landline = re.fullmatch(r"(?:86)?(0\d{2,3})([2-9]\d{6,7})", digits)
    if kind == "phone" and landline:
        # 0571-88120000 is also written 88120000
        yield "PHONE", r"(?<!\d)" + r"[\s\-]?".join(landline[2]) + r"(?!\d)"
        separated = re.split(r"\D+", value.strip())
        if len(separated) == 2 and len(separated[1]) >= 7:
            yield "PHONE", rf"(?<!\d){re.escape(separated[1])}(?!\d)"
    groups = re.findall(r"\d+", plain)
    for group in groups if kind != "phone" and len(groups) > 1 else ():
        if len(group) >= 5 and not re.fullmatch(
            r"(?:19|20)\d{2}(?:0\d|1[0-2])(?:[0-2]\d|3[01])?", group
        ):  # 00087 of ZY2022-00087
            yield CLASS_OF[kind], rf"(?<![\dA-Za-z])(?<!\d\.){group}(?![A-Za-z]){NO_UNIT}"
    if number != digits and len(digits) >= 5 and digits in number:
        yield CLASS_OF[kind], rf"(?<![\dA-Za-z])(?<!\d\.){digits}(?![A-Za-z]){NO_UNIT}"


def address_variants(value: str) -> Iterator[tuple[str, str]]:
    """The address, its tails without province, city and district, and the name of its road or estate."""
    rest = value
    while len(rest) >= 4:
        yield "ADDRESS", re.escape(rest)
        cut = _PLACE.match(rest)
        if not cut:
            break
        rest = rest[cut.end() :]
    for place in (*ROAD.findall(rest), *_BUILDING.findall(rest)):
        if usable(place):
            yield "ADDRESS", re.escape(place)
