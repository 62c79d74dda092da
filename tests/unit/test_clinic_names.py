"""A clinic's own lists of names and of words: read with clear errors, found in every variant, kept out of whatever is public."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import TEXT, TEXT_FIELDS
from codelib.core.config import load
from codelib.core.store import Store, Workspace
from codelib.data import clinic_names
from codelib.data.clinic_names import ClinicLists, hand_over, read
from codelib.data.deidentify import DeidentifySettings, deidentify
from codelib.data.deidentify_clean import Calendar, clean
from codelib.data.gazetteer import Gazetteer
from codelib.data.gazetteer_listed import ListedNames
from codelib.data.loupe import LoupeSettings, look
from codelib.data.person_tagger import tagger_model
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages, codes_table
from codelib.data.vault import Keyed, Secret

KEYED = Keyed(b"k" * 32)
NAMES = ("何静怡", "欧阳静", "买买提·艾力", "John Smith", "周岩", "高峰", "顾立新", "諸葛明亮")
CALENDAR = Calendar("keep", dt.date(2022, 3, 5), 0)


def released(text: str, *names: str) -> str:
    done = clean(text, Gazetteer((), ListedNames(names or NAMES)), CALENDAR, tagger=False)  # the tagger suspects 欧阳, and may
    return "" if done.residual else done.text


@pytest.mark.parametrize(
    "written",
    [
        "何静怡", "何 静怡", "何.静怡", "何靜怡", "静怡", "He Jingyi", "HE JING-YI", "he2 jing4yi2", "Jingyi He", "H.J.Y.", "He J.Y.",
        "欧阳静", "歐陽靜", "Ouyang Jing", "买买提·艾力", "買買提•艾力", "买买提", "John Smith", "JOHN SMITH", "Smith, John", "J. Smith",
        "周岩", "周 岩", "诸葛明亮", "Zhuge Mingliang",
    ],
)  # fmt: skip
def test_a_listed_name_goes_in_every_variant(written: str) -> None:
    assert released(f"已和{written}联系改约复查，牙痛") == "已和[NAME]联系改约复查，牙痛"


@pytest.mark.parametrize("text", ["欧阳主任会诊", "转何医生处理", "周大夫复诊"])
def test_a_listed_surname_goes_before_a_title(text: str) -> None:
    assert "[NAME]" in released(text)


@pytest.mark.parametrize(
    "text",
    [
        "疼痛高峰在夜间", "高峰期牙痛", "口腔卫生立新规", "地塞米松 5mg i.v. b.i.d.", "PD 3mm, BOP(+)", "静脉用药，明亮，冠周炎",
        "右下后牙食物嵌塞，何时开始不详", "欧阳", "SM 试剂，JS 片", "岩",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_listed_name_stays(text: str) -> None:
    assert released(text) == text


def test_a_listed_name_that_is_a_word_goes_where_a_person_stands() -> None:
    assert released("高峰自述牙痛") == "[NAME]自述牙痛"
    assert released("陪同者顾立新签字") == "陪同者[NAME]签字"


SOME = st.sampled_from(NAMES)
AROUND = st.sampled_from(
    ["", "，", "已和", "联系", "牙痛", "36", " ", "Zhou", "周", "静", "立新", "H.J.", "\n", "[NAME]", "患者"]
)


@given(st.lists(st.tuples(AROUND, SOME, AROUND), max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_index_misses_nothing_that_the_patterns_find(pieces: list[tuple[str, str, str]]) -> None:
    text = "".join(before + name + after for before, name, after in pieces)
    indexed = Gazetteer((), ListedNames(NAMES))

    class Everything:
        def in_text(self, _: str) -> list[Any]:
            return [(("listed name", name),) for name in NAMES]

    whole = Gazetteer((), Everything())  # type: ignore[arg-type]
    assert set(whole.find(text)) <= set(indexed.find(text))
    assert set(whole.hidden(text)) <= set(indexed.hidden(text))


def test_eight_thousand_names_hide_no_clinical_word() -> None:
    families, first, second = (
        "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦许何",
        "伟芳娜敏静丽强磊洋艳勇军杰娟涛超霞平刚桂",
        "英华玉兰红云春梅文海建国志明永健世广义兴",
    )
    names = [f + a + b for f in families for a in first for b in second]
    assert len(names) >= 8000
    index = ListedNames(names)
    text = (
        "患者三天前无明显诱因出现右下后牙自发痛，夜间加重，冷热刺激加剧，36远中邻合面龋，探痛(+)，叩痛(+)，不松动，X线示近髓。"
        * 8
    )
    assert index.in_text(text) == []


# words that are no names


def test_a_word_of_the_clinic_is_no_name() -> None:
    def of(text: str, *words: str) -> str:
        done = clean(text, Gazetteer(()), CALENDAR, lists=ClinicLists(words=frozenset(words)))
        return "" if done.residual else done.text

    for text, word in [
        ("患者舒适达漱口", "舒适达"),
        ("家属贝复济要求", "贝复济"),
        ("予欧洁含漱", "欧洁"),
        ("予紐白特含漱", "纽白特"),
    ]:
        assert of(text) != text
        assert of(text, word) == text
    assert "王磊" not in of("患者王磊漱口", "磊漱")  # a word that only crosses a name explains nothing


def test_a_name_of_the_columns_wins_over_a_word() -> None:
    own = Gazetteer([{"kind": "name", "value": "舒适达"}])
    assert "舒适达" not in clean("患者舒适达漱口", own, CALENDAR, lists=ClinicLists(words=frozenset({"舒适达"}))).text


# the files


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> str:
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.txt", "# staff\n何静怡\n\n John Smith \n"),
        ("n.csv", "name,note\n何静怡,front desk\nJohn Smith,\n"),
        ("n.csv", "name\n何静怡\nJohn Smith\n"),
    ],
)  # fmt: skip
def test_lists_are_csv_or_text(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    assert read(write(tmp_path, name, text, encoding), None).names == ("John Smith", "何静怡")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("n.txt", "何静怡\n何\n", "n.txt: line 2: no name can be read; write one whole name a line"),
        ("n.txt", "何静怡、周岩\n", "n.txt: line 1: no name can be read"),
        ("n.txt", "13812345678\n", "n.txt: line 1: no name can be read"),
        ("n.txt", "何" * 41, "n.txt: line 1: longer than 40 characters"),
        ("n.txt", "# nobody\n", "n.txt: empty; write one name a line"),
        ("n.csv", "姓名\n何静怡\n", "n.csv: line 1: its first line reads name or name,note"),
        ("n.csv", "name\n何静怡,周岩\n", "n.csv: line 2: not as many cells as columns"),
        ("n.xlsx", "何静怡", "n.xlsx: neither .csv nor .txt"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_without_its_value(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match="deidentify") as error:
        load(DatasetSettings, "dataset", None, [f"deidentify.names_file={path}"])
    assert said in str(error.value)
    assert not {"何", "周", "138"} & {piece for piece in ("何", "周", "138") if piece in str(error.value)}


def test_a_missing_file_is_told_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.txt: No such file"):
        load(DatasetSettings, "dataset", None, ["deidentify.words_file=nowhere.txt"])


def test_an_entry_of_both_lists_is_a_mistake(tmp_path: Path) -> None:
    names, words = write(tmp_path, "n.txt", "何静怡\n"), write(tmp_path, "w.txt", "康复新\n何靜怡\n")
    with pytest.raises(ValueError, match=r"w\.txt: line 2: this word stands in n\.txt as a name") as error:
        read(names, words)
    assert "静" not in str(error.value)


# on the way to the workers


def stages(folder: Path, *given: str) -> Stages:
    workspace = Workspace.at(str(folder / "work"))
    workspace.create()
    Secret(workspace.private).create()
    made = Stages(workspace, Store(str(folder)), load(DatasetSettings, "dataset", None, given), frozenset())
    made.hand_over_lists()
    return made


def test_a_changed_list_is_other_work_and_no_settings_hold_a_name(tmp_path: Path) -> None:
    plain = stages(tmp_path).deidentified.settings
    path = write(tmp_path, "n.txt", "何静怡\n")
    first = stages(tmp_path, f"deidentify.names_file={path}").deidentified
    write(tmp_path, "n.txt", "何静怡\n周岩\n")
    second = stages(tmp_path, f"deidentify.names_file={path}").deidentified
    assert plain == {"dates": "shift", "name_tagger": tagger_model()}
    assert len({str(plain), str(first.settings), str(second.settings)}) == 3
    assert "静" not in str((first.settings, first.fn)) and "n.txt" not in str(first.settings)
    lists = Store(str(tmp_path / "work" / "private")).names("lists")
    assert lists == [f"lists/{second.settings['lists']}.json"]  # the old list is gone
    stages(tmp_path)
    assert Store(str(tmp_path / "work" / "private")).names("lists") == []


def test_the_same_list_is_the_same_work(tmp_path: Path) -> None:
    one = stages(tmp_path, f"deidentify.names_file={write(tmp_path, 'n.txt', '何静怡' + chr(10) + '周岩')}").deidentified
    same = stages(
        tmp_path, f"deidentify.names_file={write(tmp_path, 'm.csv', 'name' + chr(10) + '周岩' + chr(10) + '何静怡')}"
    ).deidentified
    assert one.settings == same.settings


def test_the_stage_finds_the_lists_by_their_key(tmp_path: Path) -> None:
    path = write(tmp_path, "n.txt", "何静怡\n")
    stage = stages(tmp_path, f"deidentify.names_file={path}").deidentified
    row = (
        dict.fromkeys(TEXT.schema.names) | dict.fromkeys(TEXT_FIELDS, "") | {"visit_key": "v", "checkup_time": "2022-03-05 09:30"}
    )
    row |= {"remarks": "已和静怡改约", "status": "ok", "identifiers": [], "teeth": []}
    Path(path).unlink()  # a worker has no such file
    out = stage.fn(pa.Table.from_pylist([row], schema=TEXT.schema), [["v", "0001-001", "0001", 40]])  # type: ignore[misc]
    assert out.to_pylist()[0]["remarks"] == "已和[NAME]改约"


def test_lists_that_did_not_arrive_stop_the_stage(tmp_path: Path) -> None:
    path = write(tmp_path, "n.txt", "何静怡\n")
    with pytest.raises(AssertionError):
        deidentify(TEXT.schema.empty_table(), codes_table([]), DeidentifySettings(names_file=path))


def test_the_loupe_shows_what_the_lists_do(tmp_path: Path) -> None:
    path = write(tmp_path, "n.txt", "何静怡\n")
    seen = look("已和静怡改约", settings=LoupeSettings(deidentify=DeidentifySettings(names_file=path)))
    assert seen["text"] == "已和[NAME]改约"


def test_handing_over_twice_writes_once(tmp_path: Path) -> None:
    store, lists = Store(str(tmp_path)), ClinicLists(("何静怡",))
    hand_over(lists, store, KEYED)
    hand_over(lists, store, KEYED)
    assert clinic_names.load(store, lists.key(KEYED)) == lists
    assert "何" not in lists.key(KEYED)
