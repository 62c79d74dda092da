"""Columns as clinics fill them in: what they tell is found in the text, and what they do not tell holds nothing back."""

from __future__ import annotations

import datetime as dt

import pytest

from codelib.data.deidentify_clean import Calendar, Cleaned, clean
from codelib.data.gazetteer import Gazetteer

VISIT = dt.date(2022, 3, 5)


def cleaned(text: str, *identifiers: tuple[str, str]) -> Cleaned:
    return clean(text, Gazetteer({"kind": k, "value": v} for k, v in identifiers), Calendar("keep", VISIT, 0))


@pytest.mark.parametrize(
    ("columns", "text", "gone"),
    [
        ([("name", "姓名:赵晓棠(女)"), ("phone", "手机：139-1111-2222（母亲 顾兰）")], "赵 晓 棠，母亲顾兰，13911112222", ["晓", "兰", "2222"]),
        ([("name", "赵晓棠\n赵晓棠妈妈")], "晓棠妈来电，ZXT诉痛，z.x.t.", ["晓棠", "ZXT", "z.x.t"]),
        ([("name", "欧阳娜娜（小名：妞妞）")], "妞妞来诊，娜娜夜间磨牙", ["妞妞", "娜娜"]),
        ([("name", "刘洋（刘建国之子）")], "父建国签字", ["建国"]),
        ([("name", "买买提·艾力"), ("staff", "阿不都热西提江")], "艾力诉痛；阿不都热西提江拔除48；Maimaiti", ["艾力", "阿不都", "Mai"]),
        ([("name", "KIM MIN SU / 金敏秀"), ("other", "김민수")], "Kim Minsu, 敏秀, 김민수, min-su", ["Kim", "敏秀", "김", "min"]),
        ([("name", "José García-López"), ("name", "Nguyễn Văn An")], "García诉痛，J. García-Lopez，Nguyen Van An", ["Gar", "Van"]),
        ([("name", "Mr. Wang Xiaoming")], "XiaoMing said pain, XIAOMING", ["iao", "IAO"]),
        ([("staff", "何静怡,顾明/护士:李娜"), ("staff", "正畸科陈思远")], "静怡、顾明、李娜配合，思远会诊", ["静怡", "顾明", "李娜", "思远"]),
        ([("other", "周岩/何静怡"), ("other", "备用联系人：欧阳建国/爷爷")], "静怡复核，周岩会诊，建国来电", ["静怡", "周岩", "建国"]),
        ([("other", "推荐人:陈思远 138****1234"), ("other", "VIP卡 88001234")], "思远介绍，卡88001234", ["思远", "88001234"]),
        ([("patient_id", "ZY2022-00087")], "病历zy202200087，旧号00087", ["00087"]),
        ([("address", "上海市静安区南京西路1788号国际中心12F")], "南京西路1788号，公司在国际中心", ["1788", "国际"]),
        ([("id_number", "H01234567(港澳通行证)")], "通行证H 0123 4567", ["4567"]),
    ],
)  # fmt: skip
def test_what_a_column_tells_goes_from_the_text(columns: list[tuple[str, str]], text: str, gone: list[str]) -> None:
    done = cleaned(text, *columns)
    assert not done.residual
    assert not [value for value in gone if value in done.text]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            [("staff", s) for s in ("前台", "种植团队", "36", "深龋", "无", "/", "美团", "综合治疗一组")] + [("name", "test"), ("name", "复诊")],
            "前台告知种植团队会诊，36深龋，牙痛3天，test冷诊(+)，美团到店",
        ),
        ([("other", o) for o in ("根管治疗", "A2", "36", "阳性", "3500.00", "远中/近中")], "根管治疗，比色A2，36远中/近中叩痛阳性，3500元"),
        ([("name", "何静怡"), ("staff", "金晓棠")], "金属冠脱落，静脉滴注，怡神，何时就诊不详"),
        ([("name", "潘鸥"), ("staff", "彭冬")], "地塞米松5mg p.o. PD 3mm"),
    ],
)  # fmt: skip
def test_what_a_column_does_not_tell_changes_nothing(columns: list[tuple[str, str]], text: str) -> None:
    done = cleaned(text, *columns)
    assert (done.text, done.residual) == (text, ())
