"""Where a name can stand: the words before a person and behind one, by list and by class.

before ── the clause begins │ a word of dealing with a person (由, 与, 通知) │ a noun for one (值班人员, 登记人, 之兄)
behind ── the clause ends   │ what a person does or is (诉, 要求, 的) │ a verb, an adverb, a preposition of the dictionary
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from codelib.data.person_names_likelihood import MAX_WORD, likelihoods
from codelib.data.person_names_lists import CJK, FUNCTION, PLAIN_CHARS, is_weak
from codelib.data.person_names_roles import RELATION

_SIDE = 2.0  # a clause or a word of dealing with a person ends before the name, or one begins behind it
# who is spoken to or of, or does something for the clinic
_BEFORE = re.compile(
    r"(?:[由与和同经请嘱让给找随跟送见陪叫向对替为托约及被把问是向交付等代加见]"
    r"|告知|联系|通知|回访|转告|电话|致电|短信|微信|邻居|同事|朋友|同学|老乡|亲戚|前台|技工|咨询师?|客服|助理|助手|跟台|巡台|配台|洗手|巡回|器械|陪诊|陪人|陪护|接诊|转诊"
    r"|介绍|推荐|患者|病人|家属|家长|姓名|名叫|抬头|取件人|收件人|付款人|联系人|记账|署名|落款|签名|签字|本人|我叫|客户|会员|老板|经理|司机|护工|保姆)$"
)
# after these a name is expected, not only possible
_ROLE = re.compile(
    r"(?:患者|患儿|病人|家属|家长|母亲|父亲|妈妈|爸爸|外婆|外公|奶奶|爷爷|丈夫|妻子|儿子|女儿|儿媳|女婿|舅舅|姑姑|叔叔|阿姨|哥哥|姐姐|弟弟|妹妹|侄女|侄子|其[夫妻子女母父]|同事"
    r"|邻居|朋友|接诊|助手|巡回|护士|医生|姓名|名叫|我叫|签字|签名|介绍人|联系人|陪同人)$"
)
_BEHIND = re.compile(
    r"(?:$|来|到|去|改|预约|复诊|初诊|就诊|诉|述|说|称|讲|问|签|同意|不同意|要求|拒绝|希望|想|今|昨|明日|已|将|带|陪|送|取|拿|交|付|缴|接|收|打|拍片|配合|推荐|介绍|转|建议"
    r"|联系|沟通|确认|签字|代|的|和|与|及|下周|上周|上次|本人|一起|一道|支付|跟进|处理|完成|操作|制作|设计|洗牙|拔牙|种牙|看牙|补牙|取模|戴牙|回家|离院|因|于|在|为|是|自|先生|女士|医生|护士|好友|微信|电话|口内照|照片|面像|牙片|模型|推荐|来电|随诊|到院|缴费|取牙)"
)
# 莫沙必|利, 米诺环|素: the name of a drug goes on
_DRUG = re.compile(r"[唑素平林韦酯酸钠胶囊片散丸酶菌醇酮胺肽苷芬啶嗪啉剂宁定汀坦膏液粉糖栓]")
# the last character of a noun for a person: 代理人, 值班人员, 监护者, 技师; kinship behind 之 or 其
_PERSON_NOUN = re.compile(
    r"[人员者师士长友属亲伴工][:：]?$|[之其][兄弟姐妹母父妻夫子女孙]$|[伯叔舅姑姨婶嫂爷奶爸妈哥婆公]$"
    r"|(?:代理|代表|顾问|主管|保安|导医|店长|[本此该]例)$"
)
# too weak a word to speak for a person by itself
_WEAK_BEFORE = frozenset("是为被及向等加见把")
# where and when end, and who begins: 治疗过程中|…, 诊室内|…, 结账时|…
_SETTING = re.compile(r"[中内后前时区处]$")
# verbs and prepositions that take a person
_TAKES_PERSON = re.compile(r"(?:[按待替凭照据依靠属归写劝扶]|麻烦|拜托|感谢|考虑到|抬头)$")
# adverbs and prepositions of one character, the possessive, what is a person's own
_PARTICLE = re.compile(
    r"[仍未又再曾正尚均不没无把被对向也都之从每很才刚请让叫给找往住姓]|处|家|手机|的|电话|否认|有|所|[抱带送扶推背接领搀抬载陪][入进至到来去出回离]"
)
# （母）, ，男, ，42岁
_PERSON_BEHIND = re.compile(
    r"\s?[(（](?:"
    + RELATION
    + r"|[父母夫妻子女兄弟姐妹]|患者|患儿|病人|本人)|[,，、\s(（]{1,2}(?:[男女](?=[,，、\s)）性])|\d{1,3}\s?岁)"
)
_LABEL = re.compile(rf"([{CJK}]{{1,4}})\s?[:：]\s?$")


@dataclass(frozen=True)
class Place:
    """What stands around a stretch. left: 0 no name begins here, 1 it may, 2 one is expected; right: 1 it may end here."""

    left: int
    right: int
    by_word: bool
    """A word speaks for a person, not only the beginning and the end of a clause."""

    @property
    def closed(self) -> bool:
        return self.left > 0 and self.right > 0 and self.by_word


def _before_run(text: str, start: int) -> str:
    """接送人：| the label that the run of Chinese at ``start`` stands behind, or nothing."""
    label = _LABEL.search(text, max(0, start - 7), start)
    return label[1] if label else ""


def left_of(text: str, run_start: int, run: str, start: int, begins: list[int]) -> tuple[int, bool]:
    """Place.left, and whether a word says so."""
    left = run[max(0, start - 4) : start]
    word = run[begins[start] : start]
    if not left:
        left = word = _before_run(text, run_start)
        if not left:
            return 1, False
    if _ROLE.search(left) or (
        _PERSON_NOUN.search(left) and (len(word) > 1 or left[-1] in "人员者师" or left[-2:-1] in ("之", "其"))
    ):
        return 2, True
    setting = len(left) > 1 and _SETTING.search(left)
    known = bool(_BEFORE.search(left) or _TAKES_PERSON.search(left) or setting) or word in likelihoods().acts
    return int(known or not start), known and left[-1] not in _WEAK_BEFORE


def right_of(text: str, run_start: int, run: str, end: int) -> tuple[int, bool]:
    """Place.right, and whether a word says so."""
    if end == len(run):
        return 1, bool(_PERSON_BEHIND.match(text, run_start + end))
    acts = likelihoods().acts
    known = bool(_BEHIND.match(run, end) or _PARTICLE.match(run, end)) or any(
        run[end : end + size] in acts for size in range(2, MAX_WORD - 1)
    )
    return int(known or any(run[end : end + size] in likelihoods().word for size in (2, 3, 4))), known


def place_of(left: tuple[int, bool], right: tuple[int, bool]) -> Place:
    return Place(left[0], right[0], left[1] or right[1])


def among_persons(run: str, start: int, end: int) -> bool:
    """A word of dealing with a person stands on a side, not only the end of the clause: makes stand between commas too."""
    left = run[max(0, start - 4) : start]
    return bool(_BEFORE.search(left)) or bool(end < len(run) and _BEHIND.match(run, end))


def drug_goes_on(run: str, end: int) -> bool:
    """莫沙必|利: the name of a drug, not of a person, has its end behind this place."""
    return bool(_DRUG.match(run, end))


def hospitality(run: str, start: int, end: int, place: Place) -> float:
    """How far the words around allow for a person, in units of gain."""
    plain = run[start] in PLAIN_CHARS or run[start] in FUNCTION
    doubt = 3.0 if plain or not place.closed else 1.5
    return (
        _SIDE * (place.left + place.right)
        - (doubt if plain or is_weak(run, start) else 0.0)
        - (6.0 if drug_goes_on(run, end) else 0.0)
    )
