"""Reading the clinic's sheets: xlsx, CSV (UTF-8, with BOM, GB18030), JSON Lines, and free-text notes with headings.

A sheet becomes rows of our fields; every column that the mapping does not name is an identifier and goes to the vault.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import unicodedata
import warnings
import zipfile
from dataclasses import dataclass, field
from typing import Any

import openpyxl

from codelib.contracts import TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.config import Settings


class Mapping(Settings):
    """Which column of a clinic's sheet is which of our fields: each field with the headers it may have. Another clinic's export is
    another mapping, not new code. A column named nowhere is denied: it is treated as an identifier."""

    patient: list[str] = ["患者"]
    checkup_time: list[str] = ["时间"]
    age: list[str] = ["年龄"]
    gender: list[str] = ["性别"]
    patient_record: list[str] = ["病历", "初诊/复诊病历", "初诊病历", "复诊病历"]
    chief_complaint: list[str] = ["主诉"]
    present_illness: list[str] = ["现病史"]
    past_medical_record: list[str] = ["既往史"]
    examination: list[str] = ["检查"]
    radiographs_examination: list[str] = ["X线检查示", "X线检查"]
    diagnosis: list[str] = ["诊断"]
    treatment_plan: list[str] = ["治疗方案"]
    treatment_recommendations: list[str] = ["治疗建议"]
    management: list[str] = ["处理", "处置"]
    medical_instructions: list[str] = ["医嘱"]
    remarks: list[str] = ["备注"]


@dataclass
class SheetRow:
    """One row: the place it came from, our fields as written, and the denied columns' values."""

    place: str  # 'row 5'
    patient: str = ""
    time: str = ""
    age: str = ""
    gender: str = ""
    text: dict[str, str] = field(default_factory=dict)
    denied: list[tuple[str, str]] = field(default_factory=list)  # (header, value)


_KINDS = (  # header keyword -> kind of identifier; the first that fits
    (
        "staff",
        (
            "医生",
            "医师",
            "大夫",
            "护士",
            "接诊",
            "经办",
            "操作",
            "技师",
            "助手",
            "录入",
            "主治",
            "术者",
            "主刀",
            "doctor",
            "nurse",
        ),
    ),
    ("id_number", ("身份", "证件", "护照", "医保", "社保", "号", "编码", "条码")),
    ("phone", ("电话", "手机", "联系方式", "微信", "wechat", "qq", "邮箱", "邮件", "mail", "tel", "phone", "mobile")),
    ("address", ("地址", "住址", "单位", "籍贯", "户籍", "address")),
    ("name", ("姓", "名", "称呼", "家属", "家长", "监护人", "联系人", "客户", "顾客", "name", "patient")),
)
_PHONE_NUMBERS = ("手机号", "电话号", "微信号", "qq号")  # a number, but not one of a person's papers
# what the words above look like in traditional characters
_TRADITIONAL = str.maketrans("電話醫師護號證聯絡機郵單籍戶屬長稱諱編碼條", "电话医师护号证联络机邮单籍户属长称讳编码条")


def identifier_kind(header: str) -> str:
    """name | staff | phone | id_number | address | other, from the words of a header."""
    lowered = re.sub(r"\s", "", unicodedata.normalize("NFKC", header)).lower().translate(_TRADITIONAL)
    if any(word in lowered for word in _PHONE_NUMBERS):
        return "phone"
    if lowered == "id":
        return "id_number"
    return next((kind for kind, words in _KINDS if any(word in lowered for word in words)), "other")


_SPREADSHEET_NUMBER = re.compile(r"\d{5,15}\.0|\d\.\d{4,15}[eE]\+?\d{1,2}")


def cell_text(value: Any) -> str:
    """A cell as text: numbers without '.0', times as YYYY-MM-DD HH:MM."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).replace("\r\n", "\n").replace("_x000D_", "").strip()
    # a number that a spreadsheet wrote its own way: 1.3911112222e10, 13911112222.0
    if _SPREADSHEET_NUMBER.fullmatch(text) and float(text).is_integer():
        return str(int(float(text)))
    return text


def is_empty(name: str, value: str) -> bool:
    """A cell that holds only '/', '无' or blanks says nothing, except where 无 is the clinical answer (既往史：无)."""
    bare = unicodedata.normalize("NFKC", value).strip(" /\\-—_.。\n\t")
    return not bare or (bare == "无" and name != "past_medical_record")


def read_sheet(content: bytes, suffix: str, mapping: Mapping, place: str) -> list[SheetRow]:
    """All rows of one sheet. suffix: .xlsx, .csv or .jsonl. Raises InputError naming the sheet and the columns it lacks."""
    if suffix == ".xlsx":
        header, rows = _xlsx(content, place)
    elif suffix == ".csv":
        header, rows = _csv(content, place)
    else:
        header, rows = _jsonl(content, place)
    columns = _columns(header, mapping, place)
    return [_row(f"row {number}", header, cells, columns) for number, cells in rows if any(c.strip() for c in cells)]


def _xlsx(content: bytes, place: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl quotes cells in its warnings, and a worker's stderr is a log
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            grid = [[cell_text(v) for v in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    except (zipfile.BadZipFile, KeyError, OSError, IndexError, SyntaxError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"{place}: not a readable xlsx ({type(error).__name__}); save it again as .xlsx or .csv") from None
    return _headed(grid, place)


def _csv(content: bytes, place: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    text = decode_text(content, place)
    csv.field_size_limit(1 << 24)
    return _headed([[cell_text(c) for c in row] for row in csv.reader(io.StringIO(text, newline=""))], place)


def _jsonl(content: bytes, place: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    header: list[str] = []
    records = []
    for number, line in enumerate(decode_text(content, place).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{place}: line {number} is not JSON ({error.msg})") from None
        if not isinstance(record, dict):
            raise InputError(f"{place}: line {number} is not an object of column: value")
        header += [name for name in record if name not in header]
        records.append((number, record))
    if not records:
        raise InputError(f"{place}: empty; expected a header and rows")
    return header, [(number, [cell_text(record.get(name)) for name in header]) for number, record in records]


def decode_text(content: bytes, place: str) -> str:
    """UTF-8 (with or without BOM) or GB18030. Raises InputError where it is neither."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{place}: neither UTF-8 nor GB18030; save it in one of them")


def _headed(grid: list[list[str]], place: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if not grid or not any(grid[0]):
        raise InputError(f"{place}: empty; expected a header row and rows")
    header = grid[0]
    rows = [(number, [*row, *[""] * (len(header) - len(row))]) for number, row in enumerate(grid[1:], 2)]
    return header, rows


def _columns(header: list[str], mapping: Mapping, place: str) -> dict[str, list[int]]:
    """Our field -> its columns. Patient and time are needed, and at least an examination or a diagnosis."""
    names = [unicodedata.normalize("NFKC", h).strip() for h in header]
    found: dict[str, list[int]] = {}
    for name in Mapping.model_fields:
        wanted = {unicodedata.normalize("NFKC", h) for h in getattr(mapping, name)}
        found[name] = [i for i, h in enumerate(names) if h in wanted]
    missing = [getattr(mapping, name)[0] for name in ("patient", "checkup_time") if not found[name]]
    if not any(found[name] for name in TEXT_FIELDS):
        missing.append("any of " + ", ".join(getattr(mapping, n)[0] for n in ("chief_complaint", "examination", "diagnosis")))
    if missing:
        shown = sum(bool(n) for n in names)
        raise InputError(
            f"{place}: lacks the columns {', '.join(missing)} (it has {shown} others); name this clinic's headers in the recipe's mapping"
        )
    return found


def _row(place: str, header: list[str], cells: list[str], columns: dict[str, list[int]]) -> SheetRow:
    def of(name: str) -> str:
        return "\n".join(cells[i] for i in columns[name] if not is_empty(name, cells[i]))

    row = SheetRow(place, of("patient"), of("checkup_time"), of("age"), of("gender"), {n: of(n) for n in TEXT_FIELDS})
    mapped = {i for indices in columns.values() for i in indices}
    # a cell beyond the header or below an empty one is denied like any other
    named = [*header, *[""] * (len(cells) - len(header))]
    row.denied = [(named[i], c) for i, c in enumerate(cells) if i not in mapped and not is_empty("", c)]
    row.text = split_note(row.text)
    return row


_HEADINGS = {  # headings of a free-text note
    "主诉": "chief_complaint",
    "现病史": "present_illness",
    "既往史": "past_medical_record",
    "检查": "examination",
    "口腔检查": "examination",
    "X线检查示": "radiographs_examination",
    "X线检查": "radiographs_examination",
    "X线": "radiographs_examination",
    "诊断": "diagnosis",
    "治疗方案": "treatment_plan",
    "治疗计划": "treatment_plan",
    "治疗建议": "treatment_recommendations",
    "处理": "management",
    "处置": "management",
    "医嘱": "medical_instructions",
    "备注": "remarks",
}
_HEADING = re.compile(
    r"(?:^|(?<=[\s。；;，,]))【?(" + "|".join(sorted(map(re.escape, _HEADINGS), key=len, reverse=True)) + r")】?\s*[：:]"
)


def split_note(text: dict[str, str]) -> dict[str, str]:
    """One free-text note a visit (主诉：… 现病史：…) split into its fields.

    A note is a cell with two headings or more in a row whose other text fields are empty; anything else is left as written.
    """
    filled = [name for name, value in text.items() if value]
    if len(filled) != 1:
        return text
    note = text[filled[0]]
    marks = list(_HEADING.finditer(note))
    if len(marks) < 2:
        return text
    fields = dict.fromkeys(text, "")
    fields["patient_record"] = note[: marks[0].start()].strip(" ，,；;。\n\t")
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = _HEADINGS[mark.group(1)]
        value = note[mark.end() : following.start() if following else None].strip(" ，,；;\n\t")
        fields[name] = f"{fields[name]}\n{value}" if fields[name] and not is_empty(name, value) else fields[name] or value
    return {name: "" if is_empty(name, value) else value for name, value in fields.items()}
