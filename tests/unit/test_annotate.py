"""Conditions and their status: the real records, the dictionary, and the cues in sentences of their own."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from clinic_records import clinic_records, row_of, truth
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from codelib.contracts import ANNOTATED, BILINGUAL, SIX_CLASSES, TEXT_FIELDS
from codelib.data.annotate import AnnotateSettings, annotate
from codelib.data.annotate_report import unknown_diagnoses
from codelib.data.teeth import normalise, normalise_teeth
from codelib.dental.condition_terms import dictionary, fold


def bilingual(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=BILINGUAL.schema)


def visit(status: str = "ok", **fields: str) -> dict[str, Any]:
    """A BILINGUAL row of Chinese fields, their teeth normalised."""
    row: dict[str, Any] = {"checkup_id": "0001-001", "status": status, "teeth": []}
    for field in TEXT_FIELDS:
        row[f"{field}_cn"], mentions = normalise(fields.get(field, ""))
        row["teeth"] += [
            {"field": field, "fdi": list(m.fdi) if m.status == "ok" else [], "start": m.start, "end": m.end, "status": m.status}
            for m in mentions
        ]
    return row


def annotated(**fields: str) -> dict[str, Any]:
    (row,) = annotate(bilingual([visit(**fields)])).to_pylist()
    return row


def statuses(text: str, field: str = "diagnosis") -> dict[str, str]:
    return {disease["zh"]: disease["status"] for disease in annotated(**{field: text})["diseases"]}


@pytest.mark.parametrize("sign", ["无自发痛", "无叩痛", "未见根尖暗影"])
def test_a_sign_that_is_missing_behind_a_colon_denies_no_condition(sign: str) -> None:
    assert set(statuses(f"26深龋：{sign}").values()) == {"present"}
    assert set(statuses("26深龋：无").values()) == set(statuses("26深龋：未见异常。").values()) == {"negated"}


# --- the real records ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clinic() -> pa.Table:
    rows = []
    for row in normalise_teeth(clinic_records()).to_pylist():
        fields = {f"{field}_cn": row[field] for field in TEXT_FIELDS}
        rows.append(
            {
                "checkup_id": row["visit_key"],
                "visit_key": row["visit_key"],
                "teeth": row["teeth"],
                "status": row["status"],
                **fields,
            }
        )
    return annotate(bilingual(rows))


def test_present_diagnoses_and_classes_of_the_real_records(clinic: pa.Table) -> None:
    expected = truth()
    found = {}
    classes = {}
    for key in expected["present_diagnoses"]:
        row = row_of(clinic, key)
        found[key] = sorted([d["zh"], d["icd10"]] for d in row["diseases"] if d["status"] == "present")
        classes[key] = row["six_class"]
    assert found == {key: sorted(pairs) for key, pairs in expected["present_diagnoses"].items()}
    assert classes == expected["six_class"]


def test_what_the_real_records_negate_suspect_and_tell_as_past(clinic: pa.Table) -> None:
    def other(key: str) -> set[tuple[str, str, str]]:
        return {(d["zh"], d["status"], d["field"]) for d in row_of(clinic, key)["diseases"] if d["status"] != "present"}

    assert other("患者0003") >= {("冠周炎", "past", "present_illness"), ("牙周炎", "negated", "examination")}
    assert other("患者0013") == {("牙髓炎", "suspected", "diagnosis")}


def test_evidence_and_teeth_of_the_real_records(clinic: pa.Table) -> None:
    for row in clinic.to_pylist():
        for disease in row["diseases"]:
            assert row[f"{disease['field']}_cn"][disease["start"] : disease["end"]] == disease["evidence"]
    assert {d["zh"]: d["fdi"] for d in row_of(clinic, "患者0013")["diseases"]} == {
        "冠周炎": ["38"],
        "阻生牙": ["38"],
        "牙髓炎": [],
    }
    assert row_of(clinic, "患者0004")["diseases"][0]["fdi"] == ["36"]
    assert row_of(clinic, "患者0012")["diseases"][0]["fdi"] == ["54", "74", "75"]


# --- the dictionary ------------------------------------------------------------------------------------------------------------


def test_the_dictionary_is_consistent() -> None:
    owner: dict[str, str] = {}
    for condition in dictionary().conditions:
        assert condition.six_class is None or condition.six_class in SIX_CLASSES
        for term in (condition.zh, *condition.synonyms):
            key = fold(term).text
            assert owner.setdefault(key, condition.zh) == condition.zh, f"{term} stands for two conditions"


def test_every_term_is_found_as_its_condition() -> None:
    for condition in dictionary().conditions:
        for term in (condition.zh, *condition.synonyms):
            text = "36" + term.lstrip("#")
            assert [m.condition.zh for m in dictionary().find(text, [(0, 2)])] == [condition.zh], term


@pytest.mark.parametrize(
    ("text", "zh"),
    [
        ("慢性牙髓炎急性发作", "慢性牙髓炎急性发作"),
        ("急性根尖周炎", "急性根尖周炎"),
        ("冠根折", "冠根折"),
        ("慢性牙龈炎", "慢性龈炎"),
        ("根尖牙周炎", "根尖周炎"),
        ("近中龋", "邻面龋"),
        ("安氏Ⅱ类1分类错𬌗", "安氏II类错牙合"),
        ("安氏II类错颌畸形", "安氏II类错牙合"),
        ("安氏Ⅲ類錯牙合", "安氏III类错牙合"),
        ("安氏I类错合", "安氏I类错牙合"),
        ("深覆𬌗", "深覆牙合"),
        ("反颌", "反牙合"),
        ("慢性齦炎", "慢性龈炎"),
        ("慢性 牙周炎", "慢性牙周炎"),
        ("ＴＭＤ", "颞下颌关节紊乱病"),
        ("疱疹性龈口炎", "疱疹性龈口炎"),
        ("牙合面龋", "窝沟龋"),
    ],
)
def test_the_longest_spelling_wins(text: str, zh: str) -> None:
    assert [m.condition.zh for m in dictionary().find(text)] == [zh]


@pytest.mark.parametrize("text", ["防龋", "附着缺失2mm", "愈合良好", "上颌窦", "缺失", "牙体预备", ""])
def test_no_condition(text: str) -> None:
    assert dictionary().find(text) == []


def test_a_tooth_number_inside_a_term() -> None:
    assert [(m.condition.zh, m.start, m.end) for m in dictionary().find("慢性16牙髓炎", [(2, 4)])] == [("慢性牙髓炎", 0, 7)]


# --- status --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("36深龋；牙髓炎待排", {"深龋": "present", "牙髓炎": "suspected"}),
        ("36深龋、牙髓炎待排", {"深龋": "present", "牙髓炎": "suspected"}),
        ("36牙髓炎待排、深龋", {"牙髓炎": "suspected", "深龋": "present"}),
        ("16慢性牙髓炎？", {"慢性牙髓炎": "suspected"}),
        ("？16慢性牙髓炎", {"慢性牙髓炎": "suspected"}),
        ("16慢性牙髓炎(?)", {"慢性牙髓炎": "suspected"}),
        ("可疑牙隐裂", {"牙隐裂": "suspected"}),
        ("深龋可疑牙髓炎", {"深龋": "present", "牙髓炎": "suspected"}),
        ("不能排除牙髓炎", {"牙髓炎": "suspected"}),
        ("牙髓炎不除外", {"牙髓炎": "suspected"}),
        ("牙髓炎或根尖周炎待查", {"牙髓炎": "suspected", "根尖周炎": "suspected"}),
        ("深龋，排除牙髓炎", {"深龋": "present", "牙髓炎": "negated"}),
        ("深龋排除牙髓炎", {"深龋": "present", "牙髓炎": "negated"}),
        ("排除牙周炎、根尖周炎", {"牙周炎": "negated", "根尖周炎": "negated"}),
        ("无牙周炎，有深龋", {"牙周炎": "negated", "深龋": "present"}),
        ("牙周炎（-）", {"牙周炎": "negated"}),
        ("无症状的慢性根尖周炎", {"慢性根尖周炎": "present"}),
        ("36无法保留残根", {"残根": "present"}),
        ("非龋性牙体缺损", {"牙体缺损": "present"}),
        ("除外牙髓炎后考虑三叉神经痛", {"牙髓炎": "negated", "三叉神经痛": "suspected"}),
        ("全口无牙", {"牙列缺失": "present"}),
        ("16牙髓炎治疗后", {"牙髓炎": "past"}),
        ("36根管治疗后", {"根管治疗后": "present"}),
        ("3年前牙外伤；残冠", {"牙外伤": "past", "残冠": "present"}),
        ("曾患冠周炎，现深龋", {"冠周炎": "past", "深龋": "present"}),
    ],
)
def test_status_in_the_diagnosis(text: str, expected: dict[str, str]) -> None:
    assert statuses(text) == expected


def test_other_fields_give_evidence_and_no_label() -> None:
    assert statuses("深龋，无牙周炎，曾有冠周炎", "examination") == {"牙周炎": "negated", "冠周炎": "past"}
    assert statuses("否认牙周炎史", "past_medical_record") == {"牙周炎": "negated"}
    assert statuses("牙周炎", "past_medical_record") == {"牙周炎": "past"}
    assert statuses("36深龋", "treatment_plan") == {}


def test_teeth_beside_a_condition() -> None:
    def teeth(text: str) -> dict[str, list[str]]:
        return {d["zh"]: d["fdi"] for d in annotated(diagnosis=text)["diseases"]}

    assert teeth("左下6深龋、26牙髓炎") == {"深龋": ["36"], "牙髓炎": ["26"]}
    assert teeth("16、26深龋；慢性龈炎") == {"深龋": ["16", "26"], "慢性龈炎": []}
    assert teeth("深龋（36）、残根（46）") == {"深龋": ["36"], "残根": ["46"]}
    assert teeth("16深龋；26深龋") == {"深龋": ["16", "26"]}


def test_six_class_needs_exactly_one() -> None:
    assert annotated(diagnosis="36深龋；阻生牙")["six_class"] == "Caries"
    assert annotated(diagnosis="36深龋；慢性龈炎")["six_class"] is None
    assert annotated(diagnosis="36深龋；慢性龈炎？")["six_class"] == "Caries"
    assert annotated(diagnosis="阻生牙")["six_class"] is None


def test_published_labels_count_every_name_in_the_record() -> None:
    table = bilingual([visit(diagnosis="慢性龈炎", examination="排除牙周炎")])
    (row,) = annotate(table, AnnotateSettings(labels="published")).to_pylist()
    assert {d["zh"] for d in row["diseases"]} >= {"慢性龈炎", "牙周炎"}
    assert {d["status"] for d in row["diseases"]} == {"present"}
    with pytest.raises(ValidationError):
        AnnotateSettings.model_validate({"label": "status"})


def test_rejected_rows_pass() -> None:
    table = bilingual([visit(status="rejected", diagnosis="深龋") | {"reject_reason": "deidentify:residual"}])
    out = annotate(table)
    assert out.schema.equals(ANNOTATED.schema)
    (row,) = out.to_pylist()
    assert (row["diseases"], row["six_class"], row["diagnosis_cn"], row["reject_reason"]) == (
        [],
        None,
        "深龋",
        "deidentify:residual",
    )


def test_unknown_diagnoses_are_counted() -> None:
    table = bilingual(
        [visit(diagnosis="1.36深龋；2.11怪异牙"), visit(diagnosis="左上1怪异牙，怪病、36、37慢性龈炎"), visit(diagnosis="")]
    )
    assert unknown_diagnoses(table) == [("怪异牙", 2), ("怪病", 1)]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="牙髓炎深龋无排除待？?曾史、，；36合𬌗颌Ⅱ类安氏（）-  ", max_size=30), st.text(max_size=15))
def test_any_text_has_spans_in_bounds(text: str, other: str) -> None:
    row = annotated(diagnosis=text, examination=other)
    for disease in row["diseases"]:
        assert row[f"{disease['field']}_cn"][disease["start"] : disease["end"]] == disease["evidence"] != ""
