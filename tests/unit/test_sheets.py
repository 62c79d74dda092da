import datetime as dt
import io
import json

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.core.cli import InputError
from codelib.data.sheets import Mapping, identifier_kind, is_empty, read_sheet, split_note

HEADER = ["患者", "时间", "姓名", "主诉", "既往史", "诊断"]
ROW = ["患者0001", "2022-03-05 09:30", "张伟", "牙痛，\n夜间重", "无", "/"]


def xlsx(rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def as_csv(encoding):
    quoted = [[f'"{cell}"' for cell in row] for row in (HEADER, ROW)]
    return "\r\n".join(",".join(row) for row in quoted).encode(encoding)


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (xlsx([HEADER, ROW]), ".xlsx"),
        (as_csv("utf-8"), ".csv"),
        (as_csv("utf-8-sig"), ".csv"),
        (as_csv("gb18030"), ".csv"),
        (json.dumps(dict(zip(HEADER, ROW, strict=True)), ensure_ascii=False).encode() + b"\n\n", ".jsonl"),
    ],
)
def test_every_form_of_sheet_gives_the_same_row(content, suffix):
    (row,) = read_sheet(content, suffix, Mapping(), "sheet")
    assert (row.patient, row.time) == ("患者0001", "2022-03-05 09:30")
    assert row.text["chief_complaint"] == "牙痛，\n夜间重"
    assert row.text["past_medical_record"] == "无"  # the clinical answer
    assert row.text["diagnosis"] == ""  # a stroke is not one
    assert row.denied == [("姓名", "张伟")]  # not mapped: denied


def test_excel_times_and_numbers():
    (row,) = read_sheet(xlsx([HEADER, [1.0, dt.datetime(2022, 3, 5, 9, 30), "", "", "", "x"]]), ".xlsx", Mapping(), "s")
    assert (row.patient, row.time) == ("1", "2022-03-05 09:30")


@pytest.mark.parametrize(
    ("content", "suffix", "words"),
    [
        (xlsx([["姓名", "诊断"], ["a", "b"]]), ".xlsx", "lacks the columns 患者, 时间"),
        (xlsx([["患者", "时间"], ["a", "b"]]), ".xlsx", "any of 主诉, 检查, 诊断"),
        (xlsx([]), ".xlsx", "empty"),
        (b"PK\x03\x04 not really", ".xlsx", "not a readable xlsx"),
        (b"", ".csv", "empty"),
        (b"\xff\xff\xfe\x81", ".csv", "neither UTF-8 nor GB18030"),
        (b'{"a": 1}\n{', ".jsonl", "line 2 is not JSON"),
        (b"[1]\n", ".jsonl", "line 1 is not an object"),
    ],
)
def test_bad_sheets_say_what_is_wrong(content, suffix, words):
    with pytest.raises(InputError) as error:
        read_sheet(content, suffix, Mapping(), "some sheet")
    assert words in str(error.value)
    assert "some sheet" in str(error.value)


def test_a_note_with_headings_is_split():
    text = dict.fromkeys(("patient_record", "chief_complaint", "present_illness", "past_medical_record", "diagnosis"), "")
    note = "初诊。主诉：左下牙痛3天 现病史：夜间重；否认外伤。既往史：无\n诊断：36急性牙髓炎"
    got = split_note(text | {"patient_record": note})
    assert got["patient_record"] == "初诊"
    assert got["chief_complaint"] == "左下牙痛3天"
    assert got["present_illness"] == "夜间重；否认外伤。"
    assert got["past_medical_record"] == "无"
    assert got["diagnosis"] == "36急性牙髓炎"


def test_one_heading_is_not_a_note():
    text = {"patient_record": "复诊，诊断：同前", "diagnosis": ""}
    assert split_note(text) == text


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("姓名", "name"),
        ("联系电话", "phone"),
        ("主治医生", "staff"),
        ("医生姓名", "staff"),
        ("身份证号", "id_number"),
        ("家庭住址", "address"),
        ("费用", "other"),
        ("姓  名", "name"),
        ("患者 名", "name"),
        ("英文名", "name"),
        ("電話", "phone"),
        ("E-mail", "phone"),
        ("主治醫師", "staff"),
        ("病案号", "id_number"),
    ],
)
def test_kinds_of_identifier(header, kind):
    assert identifier_kind(header) == kind


@given(st.text(alphabet="/无 \t\n-—。", max_size=6))
def test_signs_alone_say_nothing(value):
    assert is_empty("diagnosis", value) or "无" in value


def test_cells_beyond_the_header_are_denied_too():
    (row,) = read_sheet("患者,时间,诊断\n1,2022-03-05,深龋,诸葛琳\n".encode(), ".csv", Mapping(), "s")
    assert row.denied == [("", "诸葛琳")]


def test_numbers_as_a_spreadsheet_writes_them():
    content = "患者,时间,电话,诊断,x\n1,2022-03-05,1.3812345678e10,深龋,13812345678.0\n".encode()
    (row,) = read_sheet(content, ".csv", Mapping(), "s")
    assert [value for _, value in row.denied] == ["13812345678", "13812345678"]


def test_a_cell_quoted_in_a_warning_reaches_nobody(recwarn, capfd):
    from openpyxl.styles import numbers

    book = openpyxl.Workbook()
    book.active.append(HEADER)
    book.active.append([*ROW])
    book.active["C2"].value = 13999998888
    book.active["C2"].number_format = numbers.FORMAT_DATE_DATETIME
    out = io.BytesIO()
    book.save(out)
    read_sheet(out.getvalue(), ".xlsx", Mapping(), "s")
    assert "13999998888" not in "".join(str(w.message) for w in recwarn) + "".join(capfd.readouterr())
