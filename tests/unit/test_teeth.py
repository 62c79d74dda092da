"""Tooth notation: the table of written forms, the real records, and properties over arbitrary text."""

from __future__ import annotations

import csv

import pyarrow as pa
import pytest
from clinic_records import COLUMNS, clinic_records, real_file, record, row_of, truth
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codelib.contracts import RECORDS, TEXT, TEXT_FIELDS
from codelib.data.teeth import find_teeth, normalise, normalise_teeth
from codelib.dental.teeth_fdi import FDI, fdi_range


def shown(text: str) -> str:
    """The FDI numbers of the ok mentions and the status of the others, in order."""
    return " ".join(" ".join(m.fdi) if m.status == "ok" else m.status for m in find_teeth(text))


def test_every_row_of_the_notation_table() -> None:
    wrong = []
    with real_file("tooth-notation.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = row["input"].replace("\\n", "\n")
            found = [(m.status, " ".join(m.fdi)) for m in find_teeth(text)]
            wanted = [] if row["status"] == "not_tooth" else [(row["status"], row["fdi"])]
            if found != wanted:
                wrong.append((text, wanted, found))
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        # bracket slots
        ("[6][0][0][67]", "16 36 37"),
        ("[E][0][0][D]", "55 74"),
        ("[ⅣⅤ][0][0][0]", "54 55"),
        ("[IV][0][0][0]", "54"),
        ("[6 7][][][5-7]", "16 17 35 36 37"),
        ("[9][0][0][0]", "reject"),
        ("[0][6][0]", "reject"),
        ("[0][0][0][0]", ""),
        # glyphs, bars and grids
        ("76┘└67", "17 16 26 27"),
        ("6┘└6深龋", "16 26"),
        ("┌5、6", "35 36"),
        ("└3-6", "23 24 25 26"),
        ("6┴6", "16 26"),
        ("6|6", "ambiguous"),
        ("8 7 | 7\n----+----\n  6 | 5", "18 17 27 46 35"),
        ("7|\n|6", "17 36"),
        # place and digits
        ("右侧上颌6", "16"),
        ("上颌右侧6", "16"),
        ("左侧下颌第一磨牙", "36"),
        ("右上16", "16"),
        ("右上36", "ambiguous"),
        ("左上45缺失", "24 25"),
        ("右上678", "16 17 18"),
        ("左上 6", "26"),
        ("右上第6牙", "16"),
        ("右上6号牙", "16"),
        ("左下６、７", "36 37"),
        ("右上五、六", "15 16"),
        ("左下一直疼", ""),
        ("左上、左下6", "26 36"),
        ("右上1、2，左上1", "11 12 21"),
        ("双侧6", "ambiguous"),
        ("右侧6", "ambiguous"),
        ("右上9", "reject"),
        ("右上Ⅳ、左下D、E邻面龋", "54 74 75"),
        ("右上A-E", "51 52 53 54 55"),
        ("左上乳4", "64"),
        ("左下C级", ""),
        ("右上6Ⅱ度松动", "16"),
        ("左上6个月", ""),
        ("左下6、7天前", "36"),
        ("左下6，3天前疼痛", "36"),
        ("左下6，7松动", "36 37"),
        ("UR6、LL7", "16 37"),
        # ranges
        ("右上3-左上3拥挤", "13 12 11 21 22 23"),
        ("右上3至左上3", "13 12 11 21 22 23"),
        ("右上3-23", "13 12 11 21 22 23"),
        ("左下4～6", "34 35 36"),
        ("13-16", "13 14 15 16"),
        ("34-44", "34 33 32 31 41 42 43 44"),
        ("下颌4-4", "44 43 42 41 31 32 33 34"),
        ("55-65", "55 54 53 52 51 61 62 63 64 65"),
        ("18-48", "ambiguous"),
        # names and regions
        ("左下智齿", "38"),
        ("左下阻生智齿", "38"),
        ("双侧上颌第一磨牙", "16 26"),
        ("上颌两颗智齿", "18 28"),
        ("四个第一磨牙", "16 26 36 46"),
        ("第一磨牙", "ambiguous"),
        ("左上第一、二磨牙", "26 27"),
        ("右上侧切牙", "12"),
        ("右側上顎第一大臼齒", "16"),
        ("左下第二乳臼齒", "75"),
        ("右下第四磨牙", "reject"),
        ("双侧后牙", "region"),
        ("右上前牙", "region"),
        ("左下牙龈红肿", ""),
        ("夜磨牙", ""),
        # plain FDI
        ("16、26、36、46窝沟封闭", "16 26 36 46"),
        ("16和26", "16 26"),
        ("1.36深龋", "36"),
        ("36RCT术后", "36"),
        ("36根管治疗", "36"),
        ("36年轻恒牙", "36"),
        ("36周围牙龈", "36"),
        ("16号牙", "16"),
        ("16/26", "16 26"),
        ("11/21", "ambiguous"),
        ("25#叩(+)", "25"),
    ],
)
def test_written_forms(text: str, numbers: str) -> None:
    assert shown(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "36岁",
        "36mm",
        "36 mm",
        "36℃",
        "36%",
        "36.5",
        "2022-12-15",
        "2022/11/21",
        "12月15日",
        "11:30",
        "12天",
        "12周后",
        "24小时",
        "24、48小时后",
        "12-14岁",
        "21世纪",
        "36颗",
        "36枚",
        "4颗",
        "主尖25#",
        "25#K锉",
        "预备至25#",
        "ISO 25",
        "比色A2",
        "A3.5",
        "120/80mmHg",
        "3.16",
        "缺损1/3",
        "松动Ⅱ度",
        "II度",
        "安氏II类",
        "安氏Ⅲ类",
        "PD3",
        "N95",
        "维生素B6",
        "SNA 82",
        "年龄36",
        "体温36",
        "13812345678",
        "0512-65271234",
        "320502199912240029",
        "16-26-36",
        "1. 无",
        "36×12",
        "1-2次",
        "每天2-3次",
        "45°",
        "15min",
        "平江路16号",
    ],
)
def test_quantities_are_not_teeth(text: str) -> None:
    assert find_teeth(text) == []
    assert normalise(text) == (text, [])


def test_rewriting_keeps_the_words_around() -> None:
    text, mentions = normalise("左下6、7叩(-)，[6][0][0][0]深龋，六龄齿窝沟深，左下阻生智齿")
    assert text == "36、37叩(-)，16深龋，六龄齿窝沟深，阻生38"
    assert [text[m.start : m.end] for m in mentions] == ["36、37", "16", "六龄齿", "38"]
    assert [m.status for m in mentions] == ["ok", "ok", "ambiguous", "ok"]


def test_a_number_that_would_run_into_its_neighbour_is_left_as_written() -> None:
    text, mentions = normalise("1[6][0][0][0]")
    assert text == "1[6][0][0][0]"
    assert [m.status for m in mentions] == ["ambiguous"]


def test_the_real_records() -> None:
    table = normalise_teeth(clinic_records())
    wrong = {}
    for key, numbers in truth()["teeth"].items():
        visit, _, sheet = key.rpartition(" ")
        row = row_of(table, visit)
        found = {n for tooth in row["teeth"] if tooth["field"] == COLUMNS[sheet] for n in tooth["fdi"]}
        if found != set(numbers):
            wrong[key] = (numbers, sorted(found))
    assert wrong == {}
    molar = row_of(table, "患者0012")
    (doubt,) = [tooth for tooth in molar["teeth"] if tooth["field"] == "examination" and tooth["status"] == "ambiguous"]
    assert molar["examination"][doubt["start"] : doubt["end"]] == "六龄齿"
    assert doubt["fdi"] == []


def test_stage_spans_and_rejected_rows() -> None:
    rows = [
        record(visit_key="a", examination="左下6、7松动"),
        record(visit_key="b", status="rejected", reject_reason="ingest:x", diagnosis="左下6"),
    ]
    out = normalise_teeth(pa.Table.from_pylist(rows, schema=RECORDS.schema))
    assert out.schema.equals(TEXT.schema)
    first, second = out.to_pylist()
    assert first["examination"] == "36、37松动"
    assert first["teeth"] == [{"field": "examination", "fdi": ["36", "37"], "start": 0, "end": 5, "status": "ok"}]
    assert (second["diagnosis"], second["teeth"], second["reject_reason"]) == ("左下6", [], "ingest:x")
    assert set(TEXT_FIELDS) <= set(out.schema.names)


# --- properties ---------------------------------------------------------------------------------------------------------------

PIECES = [
    "右上",
    "左下",
    "左上",
    "右下",
    "上颌",
    "下颌",
    "双侧",
    "6",
    "7",
    "16",
    "36",
    "37",
    "3",
    "56",
    "[6][0][0][67]",
    "[0][E][0][0]",
    "┘",
    "└",
    "┐",
    "┌",
    "6",
    "、",
    "，",
    "和",
    "-",
    "～",
    "至",
    "/",
    ".",
    ":",
    "#",
    "号",
    "牙",
    "岁",
    "mm",
    "天",
    "第一",
    "磨牙",
    "智齿",
    "前牙",
    "乳",
    "Ⅳ",
    "D",
    "A",
    "UR",
    "四颗",
    "阻生",
    "全口",
    "六龄齿",
    "深龋",
    "松动",
    "度",
    " ",
    "\n",
    "--+--",
    "(",
    ")",
    "右上3-左上3",
    "13-23",
    "缺失",
    "1",
    "|",
    "残根",
    "远中",
    "，",
    "四个",
    "┼",
    "方",
    "九",
    "→",
    "乳D",
    "象限",
]
NOTES = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(max_examples=600, deadline=None)
@given(st.one_of(NOTES, st.text(max_size=40)))
@example("┘6┘")
@example("[6][0][0][67]牙13-23")
@example("电活力[6][0][0][67]牙13-23")
def test_properties_of_any_text(text: str) -> None:
    found = find_teeth(text)
    at = 0
    for mention in found:
        assert at <= mention.start < mention.end <= len(text)
        assert mention.status in ("ok", "region", "ambiguous", "reject")
        assert mention.status != "ok" or (mention.fdi and set(mention.fdi) <= FDI)
        at = mention.end
    new, placed = normalise(text)
    # the text between the mentions is that of the original
    assert len(placed) == len(found)
    old_at = new_at = 0
    for old, put in zip(found, placed, strict=True):
        kept = new[new_at : put.start]
        assert kept.startswith(text[old_at : old.start])
        assert put.status != "ok" or new[put.start : put.end] == "、".join(put.fdi)
        assert put.status == "ok" or new[put.start : put.end] == text[old.start : old.end]
        old_at, new_at = old.end, put.end
    assert text[old_at:] == new[new_at:]
    again, replaced = normalise(new)
    assert again == new
    assert [m.fdi for m in replaced if m.status == "ok"] == [m.fdi for m in placed if m.status == "ok"]


def as_slots(number: str) -> str:
    quadrant = (int(number[0]) - 1) % 4 + 1
    sign = number[1] if int(number[0]) < 5 else "ABCDE"[int(number[1]) - 1]
    return "".join(f"[{sign if quadrant == q else 0}]" for q in (1, 2, 4, 3))


def as_glyph(number: str) -> str:
    sign = number[1] if int(number[0]) < 5 else "ⅠⅡⅢⅣⅤ"[int(number[1]) - 1]
    return {1: f"{sign}┘", 2: f"└{sign}", 3: f"┌{sign}", 4: f"{sign}┐"}[(int(number[0]) - 1) % 4 + 1]


@pytest.mark.parametrize("number", sorted(FDI))
def test_round_trip_through_slots_and_glyphs(number: str) -> None:
    assert shown(as_slots(number)) == shown(as_glyph(number)) == shown(number) == number


def test_a_range_needs_one_arch() -> None:
    assert fdi_range("22", "13") == ["22", "21", "11", "12", "13"]
    assert fdi_range("18", "48") is None
    assert fdi_range("14", "54") is None


@pytest.mark.parametrize(
    "piece",
    [
        "左下6、7松动，PD 3-4mm；",
        "[6]",
        "[",
        "左、",
        "右上",
        "第一、",
        "1-",
        "6、",
        "6|",
        "6|6\n--",
        "┘6",
        "-",
        "24、",
        " ",
        "四颗",
        "A",
        "左右上下",
        "36岁，",
        "6 ",
        "2022-",
    ],
)
def test_a_long_field_of_one_piece_ends(piece: str) -> None:
    normalise(piece * (60_000 // len(piece)))
