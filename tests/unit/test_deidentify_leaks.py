"""De-identification: what a red team found released, and the words beside it that stay."""

from __future__ import annotations

import pytest

from codelib.data.identifiers import contains_identifier
from codelib.data.name_cells import read_name_cell
from tests.deidentify_rows import identifiers_of, row, run

# what a red team found released: text | what must not remain | kind=value of the row's identifiers, ...
LEAKS = """
复诊.13812345678|13812345678
座机.65271234|65271234
.6527-1234|1234
1.13812345678|13812345678
患者0003诉痛|0003
患者0003诉痛|0003|patient_id=患者0003
患者3诉痛|患者3|patient_id=患者0003
No.0003复诊|0003|patient_id=患者0003
编号0003，编号3|编号3,0003|patient_id=患者0003
患者36来诊|患者36|patient_id=患者0036
张翠花诉痛|张翠花|patient_id=患者张翠花
档案P0031|P0031|patient_id=P0031
存档48217|48217|id_number=48217
存档48217|48217|id_number=048217
门诊MZ4821|MZ4821|id_number=MZ4821
加好友zhaominsz|zhaominsz|phone=zhaominsz
王芳已联系|王芳|phone=13812345678（王芳）
张偉自述|张偉|name=张伟
張偉自述|張偉|name=张伟
張偉自述|張偉|name=張偉
Zhāng Wěi said|Wěi|name=张伟
W. Zhang called|Zhang|name=张伟
Zhang W called|Zhang|name=张伟
XM Wang called|Wang|name=王小明
张,伟来过|伟|name=张伟
患者王 芳来诊|芳
王芳（母亲）签字|王芳
陪同者（王芳）|王芳
Dr. Wang reviewed|Wang
Patient: John Smith|Smith
阿依古丽自述疼痛|古丽
王芳自述疼痛|王芳
张伟曾来|张伟|name=张伟-复诊
张伟曾来|张伟|name=张伟2
张伟曾来|张伟|name=张伟 男
张伟曾来|张伟|name=张 伟
张伟曾来|张伟|name=张伟 Zhang Wei
Zhang Wei came|Zhang|name=张伟 Zhang Wei
张伟曾来|张伟|name=张伟【老客户】
张伟曾来|张伟|name=姓名：张伟
张伟曾来|张伟|name=VIP张伟
张伟和李娜曾来|张伟,李娜|name=张伟和李娜
张伟曾来|张伟|name=张伟复诊
张伟曾来|张伟|name=张伟(138)
王和平曾来|王和平,和平|name=王和平
王小明来过|王小明|name=王小明张大力
欧阳娜娜改约，娜娜同意|娜娜|other=欧阳娜娜
张 伟改约|张 伟|other=张伟
小明改约，Wang Xiaoming|小明,Xiaoming|other=王小明
John改约|John|other=John Smith
艾力改约|艾力|other=买买提·艾力
阿依古丽改约|古丽|other=阿依古丽
高强自述疼痛|高强|name=高强
金冠自述疼痛|金冠|name=金冠
白牙自述疼痛|白牙|name=白牙
嘱平稳多漱口|嘱平稳|name=平稳
患者安静复诊|安静|name=安静
康健，男，35岁|康健|name=康健
告知明确注意事项|知明确|name=明确
田自述疼痛|田|name=田
患者丁要求洗牙|丁要|name=丁
138/1234/5678|1234
138_1234_5678|1234
138,1234,5678|1234
138、1234、5678|1234
138*1234*5678|1234
138·1234·5678|1234
138 - 1234 - 5678|1234
138/1234-5678|1234
138123\\n45678|45678
13 81 23 45 67 8|81 23
48213567/右上|48213567
存48213567g|48213567
1928年出生|1928
生于1928年|1928
1928年生，牙列缺失|1928
年龄95，牙列缺失|95
95y, edentulous|95
住平江新城3-2-501|平江,501
平江新城3-2-501|501
出生日期：1928|1928
""".strip().splitlines()

SAFE_WITH_IDENTIFIERS = """
曾于医院就诊，于医嘱下用药|name=于明
曾于医院就诊，处于明显疼痛|staff=于明
服用阿奇霉素|name=李子奇
服用阿司匹林|name=孙司
24小时内勿漱口|name=王明时
今天天气凉，天天刷牙|name=李昊天
刚刚拔除|name=王志刚
小金属颗粒|name=王金
白天明显|name=李天明
微信：36牙拔除术后疼痛明显|
主任医师会诊，副主任医师指导|staff=任松
患者向医生咨询，和医生沟通|staff=向华;staff=和平
牙周医生会诊，口腔卫生一般|name=周鸣玉;name=游生一
生命体征平稳，血压平稳|name=平稳
诊断明确，治疗安静配合|name=明确
丁卡因表麻，丁香油|name=丁
患者36牙疼痛，患者36、37松动|patient_id=患者0036
患者3天前疼痛|patient_id=患者0003
36牙，36、37、0003|patient_id=患者0036
费用48217元，4821.5，48217mg|id_number=48217
2021年拔除|id_number=2021
13、14、15、16、17、18缺失|
13、14、15、16、17、24、25缺失|
11、12、13、14、15、16、17 1度松动|
13 14 15 16 17 1度松动|
16,26,36,46窝沟封闭，17、27、37、47|
PD 3-4-5mm，1.5-2.0-2.5mm|
青霉素1600000U皮试|
BP 138/85mmHg 135/80mmHg 130/78mmHg|
患者120/80mmHg|
患者2021年拔牙|
宽21.5mm，3-5日后，5月3次，近3月16、17疼痛|
3月3颗，2月1次，10年5月余，5月16牙拔除|
16.26.36，21.5，PD 211212|
住院3-5天，住校3年，家住外地3-4年|
牙列缺损（左侧），（白斑），（高敏）|
""".strip().splitlines()


@pytest.mark.parametrize("line", LEAKS)
def test_what_was_once_released_goes_or_is_held_back(line: str) -> None:
    text, values, *cells = line.replace("\\n", "\n").split("|")
    out, _ = run(row(present_illness=text, identifiers=identifiers_of("".join(cells))))
    assert out[0]["status"] == "rejected" or not [v for v in values.split(",") if v in out[0]["present_illness"]]


@pytest.mark.parametrize("line", SAFE_WITH_IDENTIFIERS)
def test_clinical_words_stay_beside_names_that_look_like_them(line: str) -> None:
    text, cells = line.rsplit("|", 1)
    out, queue = run(row(present_illness=text, identifiers=identifiers_of(cells)))
    assert queue == []
    assert out[0]["present_illness"] == text


def test_pattern_scan_names_the_class_and_passes_its_own_placeholders() -> None:
    assert contains_identifier("电话13812345678") == "PHONE"
    assert contains_identifier("患者张伟，牙痛") == "NAME"
    assert contains_identifier("患者[NAME]，电话[PHONE]，2021-05-03，16、36") is None
    assert contains_identifier("0013-002-04.jpg 0112-002") is None


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("阿不都热西提江", {"阿不都热西提江", "阿不都热西提"}),  # a syllable that is on no list
        ("周岩妈妈", {"周岩"}),
        ("迪丽热巴的妈妈", {"迪丽热巴"}),
        ("司马相如之妻卓文君", {"司马相如", "卓文君"}),
        ("患者张伟的同事李强", {"张伟", "李强"}),
        ("VIP-会员陈思思", {"陈思思"}),
        ("正畸科陈思远", {"陈思远"}),
        ("김철수", {"김철수"}),
        ("Иванов", {"иванов"}),
        ("张之友", {"张之友"}),
        ("综合治疗一组", set()),
        ("口腔正畸科", set()),
        ("洗牙套餐", set()),
    ],
)
def test_names_of_a_cell(cell: str, names: set[str]) -> None:
    read = read_name_cell(cell)
    assert ({name.lower() for name in read.chinese}, read.unclear) == (names, False)


@pytest.mark.parametrize("dot", "·•・‧∙●")
def test_every_dot_of_a_name_is_one_and_stops_nothing(dot: str) -> None:
    out, _ = run(row("a", remarks=f"陪同者买买提{dot}艾力，已知情"), row("b", remarks=f"主诉{dot}牙痛{dot}叩痛"))
    assert [r["remarks"] for r in out] == ["陪同者[NAME]，已知情", f"主诉{dot}牙痛{dot}叩痛"]
