"""Statuses in sentences (data files), a clinic's own lists, and what the report says of unknown strings and of the published labels."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from codelib.contracts import BILINGUAL, SIX_CLASSES, TEXT_FIELDS
from codelib.core.config import load
from codelib.data.annotate import AnnotateSettings, annotate
from codelib.data.annotate_report import Comparison, Unknown, shared_strings
from codelib.data.teeth import normalise, tooth_row
from codelib.dental.condition_lists import TERMS, conditions, read_classes, read_terms
from tests.benchmarks.text_diagnoses import FILES

CASES = Path(__file__).parent / "cases"


def visit(patient: str = "0001", **fields: str) -> dict[str, Any]:
    row: dict[str, Any] = {"checkup_id": f"{patient}-001", "patient_id": patient, "status": "ok", "teeth": []}
    for field in TEXT_FIELDS:
        row[f"{field}_cn"], mentions = normalise(fields.get(field, ""))
        row["teeth"] += [tooth_row(field, mention) for mention in mentions]
    return row


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=BILINGUAL.schema)


@pytest.mark.parametrize("name", FILES)
def test_every_sentence(name: str) -> None:
    wrong = []
    with (CASES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            wanted = sorted(tuple(part.split()) for part in row["expected"].split("; ") if part)
            (done,) = annotate(table(visit(diagnosis=row["input"].replace("\\n", "\n")))).to_pylist()
            found = sorted((d["zh"], d["status"]) for d in done["diseases"])
            if found != wanted:
                wrong.append((row["input"], wanted, found))
    assert wrong == []


# --- the built-in lists --------------------------------------------------------------------------------------------------------


def test_the_built_in_lists() -> None:
    found = conditions()
    assert len(found) >= 180
    assert all(c.en and not re.search(r"[\u4e00-\u9fff]", c.en) for c in found)
    assert all(c.icd10 is None or re.fullmatch(r"[A-Z]\d\d(\.\d)?", c.icd10) for c in found)
    assert {c.six_class for c in found} == {*SIX_CLASSES, None}


def test_every_disputed_class_says_what_the_question_is() -> None:
    with (TERMS / "six_class.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["disputed"] for row in rows} == {"", "yes"}
    assert all(bool(row["question"]) == (row["disputed"] == "yes") for row in rows)
    assert {c.zh for c in conditions() if c.disputed} == {row["zh"] for row in rows if row["disputed"]}


# --- a clinic's lists ----------------------------------------------------------------------------------------------------------


def written(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def test_a_clinics_list_adds_replaces_and_takes_over(tmp_path: Path) -> None:
    path = written(
        tmp_path / "b.csv",
        "zh,synonyms_zh,en,icd10_who",
        "奶油牙,#奶油,Cream tooth,K00.8",
        "深龋,大洞,,K02.5",
        "牙石症,牙石,Calculus disease,K03.6",
        encoding="utf-8-sig",
    )
    settings = AnnotateSettings.model_validate({"diagnoses": path})
    (row,) = annotate(table(visit(diagnosis="36奶油；46大洞；牙石Ⅱ度；牙结石")), settings).to_pylist()
    assert [(d["zh"], d["en"], d["icd10"], d["fdi"]) for d in row["diseases"]] == [
        ("奶油牙", "Cream tooth", "K00.8", ["36"]),
        ("深龋", "Deep caries", "K02.5", ["46"]),
        ("牙石症", "Calculus disease", "K03.6", []),
        ("牙结石", "Dental calculus", "K03.6", []),
    ]
    assert AnnotateSettings().dictionary().find("36大洞") == [], "the built-in list is as before"


def test_a_studys_class_list(tmp_path: Path) -> None:
    path = written(tmp_path / "classes.csv", "zh,six_class,disputed,question", "慢性根尖周炎,Pulpitis,,", "残根,,yes,")
    settings = AnnotateSettings.model_validate({"six_class": path})
    rows = annotate(table(visit(diagnosis="36慢性根尖周炎"), visit(diagnosis="46残根")), settings).to_pylist()
    assert [row["six_class"] for row in rows] == ["Pulpitis", None]


def test_the_content_of_a_list_is_part_of_the_settings(tmp_path: Path) -> None:
    """So that a changed file is new work, and a worker needs no file."""
    path = tmp_path / "b.csv"
    written(path, "zh,synonyms_zh", "深龋,大洞")
    one = load(AnnotateSettings, "dataset", None, [f"diagnoses={path}"])
    written(path, "zh,synonyms_zh", "深龋,小洞")
    two = load(AnnotateSettings, "dataset", None, [f"diagnoses={path}"])
    assert one.fingerprint() != two.fingerprint()
    path.unlink()
    assert AnnotateSettings.model_validate(one.fingerprint()) == one


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["zh,synonyms", "深龋,大洞"], "line 1: unknown column synonyms; did you mean synonyms_zh?"),
        (["synonyms_zh", "大洞"], "line 1: no column zh"),
        (["zh,en,icd10_who", "深龋,Deep caries,K2.1"], "line 2: icd10_who K2.1: no ICD-10 code; write it as K02.1"),
        (["zh,en", "深龋,Deep caries", ",x"], "line 3: zh is empty"),
        (["zh,synonyms_zh,en", "深龋,大洞,", "中龋,大洞,"], "line 3: 大洞 stands in line 2 too; leave it in one of them"),
        (["zh,en", "深龋坏坏,"], "line 2: 深龋坏坏 is new and has no en"),
        (["zh,en", "深龋,Deep caries, very deep"], "line 2: not as many cells as columns"),
    ],
)
def test_a_mistake_in_a_list_is_named_by_file_line_value_and_way_out(tmp_path: Path, lines: list[str], said: str) -> None:
    path = written(tmp_path / "clinic-b.csv", *lines)
    with pytest.raises(ValueError, match=re.escape(f"clinic-b.csv: {said}")):
        read_terms(path)
    with pytest.raises(ValueError, match=r"clinic-b\.csv: line"):
        load(AnnotateSettings, "dataset", None, [f"diagnoses={path}"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("深龋,Carries,,", "line 2: six_class Carries: did you mean Caries?"),
        ("深龋,Caries,perhaps,", "line 2: disputed perhaps: write yes"),
        (",Caries,,", "line 2: zh is empty"),
    ],
)
def test_a_mistake_in_a_class_list(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_classes(written(tmp_path / "c.csv", "zh,six_class,disputed,question", line))


def test_a_class_for_a_condition_that_is_in_no_list(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", "zh,six_class", "深部龋,Caries")
    with pytest.raises(ValidationError, match=r"c\.csv: line 2: 深部龋 is no condition of the list; did you mean 深龋"):
        AnnotateSettings.model_validate({"six_class": path})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the path of a CSV file"):
        read_terms(str(tmp_path / "none.csv"))
    (tmp_path / "gb.csv").write_bytes("zh\n深龋\n".encode("gb18030"))
    with pytest.raises(ValueError, match=r"gb\.csv: not UTF-8"):
        read_terms(str(tmp_path / "gb.csv"))


# --- the report ----------------------------------------------------------------------------------------------------------------


def test_unknown_strings_add_up_and_rare_ones_are_for_the_private_room() -> None:
    common = [visit(f"{n:04}", diagnosis="36怪异牙") for n in range(6)]
    rare = visit("0100", diagnosis="某某之怪病；慢性龈炎")
    unknown = Unknown.of(table(*common)) + Unknown.of(table(rare, visit("0003", diagnosis="46怪异牙")))
    assert [(row.words, row.visits, row.patients) for row in unknown.private()] == [("怪异牙", 7, 6), ("某某之怪病", 1, 1)]
    shown, strings, visits = shared_strings(unknown.private(), min_patients=5)
    assert [row.words for row in shown] == ["怪异牙"]
    assert (strings, visits) == (1, 1)


def test_how_often_the_published_labels_differ() -> None:
    rows = table(visit(diagnosis="36深龋", examination="未见牙龈炎"), visit(diagnosis="慢性龈炎"), visit(diagnosis="36深龋待排"))
    total = Comparison.of(rows)
    # 慢性龈炎 holds 龈炎, so the substring rule finds 牙龈炎 in it as well
    assert (total.visits, total.conditions_differ) == (3, 3)
    assert total.only_status == 0
    assert total.classes[("Caries", "none")] == 1  # two classes by the substring rule
    assert total.classes[("none", "Caries")] == 1  # suspected, and counted as present
    assert total + Comparison() == total
    assert "3 of 3 visits (100.0 %)" in total.lines()[0]
    assert Comparison().lines() == ["labels: no visit to compare"]


# --- cues of other languages and of the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("diagnosis", "wanted"),
    [
        ("Suspected cracked tooth 27", "牙隐裂 suspected"),
        ("36 pulpitis ruled out", "牙髓炎 negated"),
        ("pulpitis cannot be ruled out", "牙髓炎 suspected"),
        ("cannot rule out pulpitis", "牙髓炎 suspected"),
        ("no evidence of 牙周炎", "牙周炎 negated"),
        ("caries free", ""),
        ("No.36 深龋", "深龋 present"),  # a number, and no negation
        ("patient is no longer in pain, chronic periodontitis", "慢性牙周炎 present"),
        ("history of gingival recession", "牙龈退缩 past"),
        ("family hx(+) 牙周炎", "牙周炎 past"),
        ("OLP OLK", "口腔扁平苔藓 present; 口腔白斑 present"),
        ("TMDX", ""),
        # bullets, and signs that tell findings from what is not found
        ("-深龋\n-牙髓炎", "深龋 present; 牙髓炎 present"),
        ("-深龋 -牙髓炎", "深龋 present; 牙髓炎 present"),
        ("+牙石 -口臭", "牙结石 present; 口臭 negated"),
        ("36-37深龋 + 牙石", "深龋 present; 牙结石 present"),
        # what is over, and what is not
        ("36牙髓炎未治愈", "牙髓炎 present"),
        ("36牙周炎，难以治愈", "牙周炎 present"),
        ("36深龋，27牙髓炎，已治愈", "深龋 present; 牙髓炎 past"),
        ("36深龋，26已治愈", "深龋 present"),
        ("16根管治疗后，复查正常", "根管治疗后 present"),
        ("36深龋，感冒已痊愈", "深龋 present"),
        ("36深龋。已痊愈", "深龋 present"),
        # what has not come
        ("acute pericoronitis 38, now resolved", "急性冠周炎 past"),
        ("impacted 38, no calculus", "阻生牙 present; 牙结石 negated"),
        ("慢性龈炎，未伴牙周炎", "慢性龈炎 present; 牙周炎 negated"),
        ("尚未治疗的深龋", "深龋 present"),
        ("尚未牙髓炎", "牙髓炎 negated"),
        ("根尖周脓肿尚未形成", "根尖周脓肿 negated"),
        ("牙龈炎未发展成牙周炎", "牙龈炎 present; 牙周炎 negated"),
        ("不能否认牙髓炎", "牙髓炎 suspected"),
        ("从未否认夜磨牙", "磨牙症 present"),
        ("否认夜磨牙", "磨牙症 negated"),
        ('自称"牙周炎"其实是牙龈炎', "牙周炎 negated; 牙龈炎 present"),
        ("深龋（36、37）？", "深龋 suspected"),
    ],
)
def test_cues_of_a_class(diagnosis: str, wanted: str) -> None:
    (done,) = annotate(table(visit(diagnosis=diagnosis))).to_pylist()
    assert "; ".join(f"{d['zh']} {d['status']}" for d in done["diseases"]) == wanted


def test_a_name_belongs_to_one_condition() -> None:
    names = [name.lower() for c in conditions() for name in (c.zh, *c.synonyms, *c.names_en)]
    assert len(names) == len(set(names))
