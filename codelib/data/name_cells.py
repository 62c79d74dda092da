"""What a cell of a name column says: the names in it, however it was filled in.

姓名：周岩 · VIP周岩 · 周岩-复诊 · 周岩2 · 周岩 Zhou Yan · 周岩【老客户】 · 周岩和李娜
    ─ labels, titles, sexes off ─ runs of Chinese and of Latin letters ─┬─ names      terms wherever they stand
                                                                       ├─ doubtful   田, 高强: a name only where a name can stand
                                                                       └─ unclear    looks like a name and none could be read
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from codelib.data.identifiers import fold
from codelib.data.person_names_foreign import foreign_length
from codelib.data.person_names_lists import CJK, NOT_GIVEN, allowed_words, simplify, surname_length

EMPTY = re.compile(
    r"(?:[\s/\\\-—.。,，*×xX_?？#无無暂未知不详空否有是男女]|匿名|保密|同上|未填写?|待补充?|待定|测试|test|null|none|nan|n/?a)*",
    re.IGNORECASE,
)
TITLE = re.compile(
    r"(?:副?主任|主治|住院|执业|助理|主管)?(?:医师|医生|醫師|醫生|大夫|护士长?|护师|技师|老师|教授|主任|院长|先生|女士|小姐|[A-Z]?\d{2,}$)"
)
_LABEL = re.compile(
    r"(?:患者|患儿|病人|客户|医生|医师)?(?:姓名|名字|名称|签名)\s*[:：]?|(?:患者|患儿|病人|客户)(?=[\s:：])[\s:：]*|^(?:患者|患儿|病人)(?=.{2})|(?<!.)[新老](?:客户|患者)"
    r"|(?<![A-Za-z])(?:S?VIP|vip|Mrs?|MRS?|Ms|MS|Miss|Dr|DR|Prof|[Nn]ame|NAME)(?![A-Za-z])[.:：]?"
)
_CHINESE_RUN = re.compile(rf"[{CJK}·]+")
_LATIN_RUN = re.compile(r"[A-Za-z][A-Za-z'.\-]*(?:[ ,]{1,2}[A-Za-z][A-Za-z'.\-]*){0,4}")
# what stands in columns of staff and referrers where nobody is meant
_NOBODY = re.compile(
    "前台|咨询师?|客服|导诊|助[手理]|实习生?|护士站|收费处?|药房|影像|综合|其[他它]|[外本]院|门诊|急诊|员工|家属|本人|朋友|同事|亲友|会员"
    "|网络|网上|电话|微信|公众号|美团|(?:大众)?点评|抖音|小红书|百度|官网|老带新|自来|路过|转介绍|自然到店"
)
_ALSO = re.compile(rf"(?:小名|乳名|昵称|曾用名|原名|别名|又名)[\s:：为是叫]{{0,3}}([{CJK}]{{2,4}})")
# letters that are neither Chinese nor Latin: a name of another script is looked for as it is written
_OTHER_RUN = re.compile(rf"[^\W\d_A-Za-z{CJK}]{{2,}}")
_KIN = re.compile(
    r"[的之]?(?:妈妈|母亲|父亲|爸爸|妻子|丈夫|爱人|儿子|女儿|爷爷|奶奶|外公|外婆|姐姐|妹妹|哥哥|弟弟|家属|家长|同事|朋友|好友|同学)的?"
    rf"|的(?:妈|爸|妻|夫|友)|(?<=[{CJK}]{{2}})之[父母妻夫子女友]|会员卡?|[老新]客户|介绍人?|推荐人?|转诊|带教|代诉"
)
_DEPARTMENT = re.compile(rf"[{CJK}]{{1,10}}(?:科|部|中心|组|室|专家|医院|门诊|前台)(?=[{CJK}]{{2,4}}$)")
_SEX = ("男", "女", "男性", "女性", "男童", "女童")


@dataclass(frozen=True)
class NameCell:
    chinese: tuple[str, ...] = ()
    latin: tuple[tuple[str, ...], ...] = ()  # words of each name
    doubtful: tuple[str, ...] = ()
    unclear: bool = False


def could_be_a_name(word: str) -> bool:
    """A cell of a name column that holds 口腔科 or 洗牙 names nobody; with a surname, one odd character is forgiven."""
    family = surname_length(word, 0)
    odd = [char in NOT_GIVEN for char in word[family:]]
    return word not in allowed_words() and (not any(odd) if not family else not odd or not all(odd))


def _joined(cell: str) -> str:
    """周 岩 -> 周岩, 欧阳 静怡 -> 欧阳静怡; 周岩 男 stays."""
    words = cell.split()
    if len(words) < 2 or surname_length(words[0], 0) != len(words[0]) or words[0] in _SEX:
        return cell
    given = ""
    rest = words[1:]
    while rest and rest[0] not in _SEX and _CHINESE_RUN.fullmatch(rest[0]) and len(given) + len(rest[0]) <= 2:
        given += rest.pop(0)
    return " ".join([words[0] + given, *rest])


def _divided(run: str) -> list[str]:
    """周岩和李娜, 周岩妈妈李娜 -> 周岩, 李娜; 王和平 stays."""
    parts = [part for part in _KIN.split(run) if part]
    if parts != [run]:
        return [name for part in parts for name in _divided(part)]
    for at in range(2, len(run) - 2):
        if run[at] in "和与及" and surname_length(run, 0) and surname_length(run, at + 1) and at <= 4:
            return [run[:at], *_divided(run[at + 1 :])]
    return [run]


def _stripped(run: str) -> str:
    """Words of records off both ends while a whole name remains: 周岩复诊, 复诊周岩, 正畸科周岩."""
    words = allowed_words()
    department = _DEPARTMENT.match(run)
    if department and 0 < surname_length(run, department.end()) < len(run) - department.end():
        return run[department.end() :]
    for size in (4, 3, 2):
        rest = run[:-size]
        if run[-size:] in words and len(rest) > surname_length(rest, 0) > 0:
            return _stripped(rest)
        rest = run[size:]
        if run[:size] in words and len(rest) > surname_length(rest, 0) > 0:
            return _stripped(rest)
    return run


def _head(run: str) -> str:
    """The part of a long run before the first character that no given name has: 周岩|牙周病."""
    cut = next((i for i, char in enumerate(run) if i and char in NOT_GIVEN), len(run))
    head = run[:cut]
    return head if surname_length(head, 0) and surname_length(head, 0) < len(head) <= 4 and head not in allowed_words() else ""


def _tail(run: str) -> str:
    """A whole name behind the last character that no given name has: 口腔科专家|陈思远."""
    cut = next((i for i in range(len(run), 0, -1) if run[i - 1] in NOT_GIVEN), 0)
    tail = run[cut:]
    return tail if cut and 0 < surname_length(tail, 0) < len(tail) <= 4 and tail not in allowed_words() else ""


def _class_of(run: str) -> Iterator[tuple[str, str]]:
    """(names | doubtful | unclear, word) of one run; nothing for what is plainly no name."""
    family = surname_length(run, 0)
    if "·" in run:
        yield "names", run.strip("·")
    elif _NOBODY.fullmatch(run):
        return
    elif len(run) == 1:
        yield "doubtful", run
    elif run in allowed_words():
        if family and (len(run) == 2 or not any(char in NOT_GIVEN for char in run)):
            yield "doubtful", run
    elif foreign_length(run, 0) == len(run):
        yield "names", run
    elif len(run) > 4:
        parts = [part for part in (_head(run), _tail(run), run[: foreign_length(run, 0)]) if part and len(part) < len(run)]
        yield from (("names", part) for part in dict.fromkeys(parts))
        if 0 < len(run) - foreign_length(run, 0) <= 2 < foreign_length(run, 0):
            yield "names", run  # a syllable that is on no list: 阿不都热西提|江
        if parts:
            return
        if not any(char in NOT_GIVEN for char in run):
            yield "unclear", run
    elif could_be_a_name(run):
        yield "names", run
        if len(run) > 2 and run[-1] in "男女" and family:
            yield "names", run[:-1]


def _latin_names(cell: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for match in _LATIN_RUN.finditer(cell):
        words = tuple(word for word in re.split(r"[ ,.]+", match.group()) if word)
        letters = sum(char.isalpha() for char in match.group())
        if letters >= 4 or (letters >= 2 and words[0][1:].islower()):
            yield "names", words
        elif letters >= 2:
            yield "doubtful", words


@lru_cache(maxsize=2048)
def read_name_cell(value: str) -> NameCell:
    """The names of a cell.

    >>> read_name_cell("VIP周岩 Zhou Yan").chinese
    ('周岩',)
    """
    cell = simplify(fold(value).text).strip()
    if EMPTY.fullmatch(cell):
        return NameCell()
    also, cell = _ALSO.findall(cell), _ALSO.sub(" ", cell)
    cell = _joined(TITLE.sub(" ", _LABEL.sub(" ", cell)).strip())
    runs = [part for run in _CHINESE_RUN.findall(cell) if run not in _SEX and run.strip("·") for part in _divided(run)]
    found: dict[str, list[str]] = {"names": [], "doubtful": [], "unclear": []}
    for run in runs:
        for kind, word in _class_of(run if "·" in run else _stripped(run)):
            found[kind].append(word)
    found["names"] += _OTHER_RUN.findall(cell)
    surnamed = [name for name in found["names"] if surname_length(name, 0) or foreign_length(name, 0) or _OTHER_RUN.match(name)]
    latin = [(kind, words) for kind, words in _latin_names(cell) if not EMPTY.fullmatch(" ".join(words))]
    names = tuple(words for kind, words in latin if kind == "names")
    chinese = tuple(dict.fromkeys([*(surnamed or found["names"]), *also]))
    doubtful = [] if chinese else found["doubtful"] + ["".join(words) for kind, words in latin if kind == "doubtful"]
    return NameCell(chinese, names, tuple(dict.fromkeys(doubtful)), bool(found["unclear"]) and not chinese and not names)
