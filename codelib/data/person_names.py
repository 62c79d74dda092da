"""Names of persons in Chinese clinical text, found by structure: a role, a surname, and the end of a name.

    患者周岩，一周前 ── role 患者 + surname 周 + given name 岩 + a comma      ─> a name
    患者高血压病史   ── 高 is a surname, but 血 is in no given name           ─> not a name
    患者周岩峰乎乎   ── shaped like a name, its end unknown                   ─> suspect: the visit goes to a person

No list of full names is used. A name is a surname (terms/surnames.txt) with one or two characters that can stand in a given
name, held between a role word and something that ends a name; terms/clinical_allow.txt holds the words of records that look
the same. Names of minorities and foreigners go by their dot, their syllables or their capitals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

from pypinyin import Style, pinyin

TERMS = Path(__file__).with_name("terms")
CJK = "\u4e00-\u9fff\u3400-\u4dbf"

# Characters that stand in no given name, or so seldom that a name ends before them.
NOT_GIVEN = frozenset(
    "牙齿齒痛疼龈齦髓炎肿腫胀血压壓糖病症药藥酸咬嚼舌唇颌颊腭腮胃肝肾肺疮溃疡脓癌瘤染龋洞咽喉嗓鼻耳眼头頭颈肩背腰腿脚膝膜骨腔口嘴脸面额颞颏肌肤"
    "的了着过吗呢吧啊与與及或但且把被让使到对給给在是不没未否也就又还最已须需要請请问說说诉訴述称告觉感认肯拒签"
    "岁歲两几半颗个枚次分秒右上下内外侧后後位处此该你我他她它您们谁哪怎什么每另等偶突间出现無无当仍均"
    "吃喝食饮刷漱吸烟酒戴拔补洗镶种诊診查院室疗術术戒做打用送带陪去走骑跌摔撞倒吐因由缺失损折断裂残动热冷黑色片像拥挤干"
    "性型类度级式量值数医醫护員员患者属屬母父爸妈爷奶姐妹弟哥叔姨舅姑妻女孩氏脑肠卒癫痫哮喘"
)
_FUNCTION = frozenset(
    "因于在由来诉自要近今昨曾现有已为是称述的和与及行将拟需想复去前约又一二三全双单左反进求感即也尚可从男主既接拿突"
)
_ADVERBS = frozenset("曾常易连成向")  # 患者常进甜食: an unknown end is no doubt here
_PLAIN_CHARS = _ADVERBS | frozenset("于和时全明应平冷从有能解查计都相须空红后来权单双")  # surnames that are also function words
_LEFT_FUNCTION = frozenset("由请請和与與及给給找经让到问的为随约在向转及跟见按是叫对遵等去被归从令嘱科室部院组楼区")
_TITLE = (
    r"(?:副?主任(?:医师|医生)?|主治(?:医师|医生)|[医醫][师生師]|大夫|[护護]士长?|护师|技师|老师|老師|教授|博士|院长|所长|医助|助理|"
    r"先生|女士|小姐|阿姨|叔叔|大爷|大妈|大姐|大哥|奶奶|爷爷|同学|小朋友|患儿)"
)
_RELATION = (
    r"(?:[祖外]{0,2}母亲?|[祖外]{0,2}父亲?|妈妈|爸爸|妈|爸|家长|家属|丈夫|妻子|爱人|老公|老婆|配偶|儿子|女儿|儿媳|女婿|媳妇|奶奶|爷爷|外婆|外公|"
    r"姥姥|姥爷|哥哥|姐姐|弟弟|妹妹|叔叔|伯伯|伯父|阿姨|姑姑|姑妈|舅舅|姨妈|亲属|亲戚|监护人|护工|保姆|朋友|同事|同学|邻居|孙子|孙女|外孙女?)"
)
_PREFIX = re.compile(
    r"(?P<role>患者|患儿|患童|病人|病患|病者|就诊者|受检者|姓名|名字|本人|" + _RELATION + r"|其[母父夫妻子女兄弟姐妹]|"
    r"(?:接诊|主治|主管|主诊|经治|首诊|责任|手术|会诊|麻醉|报告|审核|送检|操作|值班|检查|转诊|护理|治疗|种植|修复|正畸)?(?:[医醫][师生師]|护士|大夫|老师|技师)|"
    r"助手|助理|记录人|记录者|书写者|签名|签字人?|术者|操作者|检查者|介绍人|推荐人|转诊人|联系人|陪同人|陪护人?|陪同者|收款人|经手人|老病人)"
)
_LINK = re.compile(
    r"(?:姓名|名字|签名|签字|本人)?(?P<explicit>\s*[:：]\s*|(?:名叫|名为|叫做|叫|姓名为|为|是)\s*|\s*[(（「“\"]\s*|\s{1,3})?"
)
_SUFFIX = re.compile(_TITLE)
_ATTEND = re.compile(r"(?:陪同|陪伴|陪诊|代诉|代述|代签|代为|签字|签名|送诊|送来|护送)")
_ARRIVES = re.compile(
    r"(?=来诊|来院|来我院|前来|就诊|自述|自诉|主诉|代诉|诉|[(（]?[,，、\s]{0,2}[男女](?![朋友士孩])|[,，\s]{0,2}\d{1,3}岁"
    r"|\s?[(（](?:" + _RELATION + r"|患者|患儿|病人|本人)[)）,，：:\s\d])"
)
_BRACKETED = re.compile(rf"[(（]([{CJK}]{{2,4}})[)）]")
_LATIN_TITLED = re.compile(
    r"(?<![A-Za-z])(?:Dr|Mr|Mrs|Ms|Miss|Prof|Nurse|Doctor)\b\.?\s?([A-Z][a-z]{1,14}(?:\s[A-Z][a-z]{1,14})?)(?![A-Za-z])"
)
_LATIN_LABELLED = re.compile(
    r"(?<![A-Za-z])(?:[Pp]atient|[Nn]ame|[Dd]octor|[Dd]entist|[Mm]other|[Ff]ather|[Gg]uardian)(?:'s)?(?:\s[Nn]ame)?\s?[:：]\s?"
    r"([A-Z][a-z]{1,14}(?:[\s'-][A-Z][a-z]{1,14}){1,2})(?![A-Za-z])"
)
# the surnames that seldom begin a word of records or the name of a make
_PLAIN_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙朱胡郭何林罗郑梁谢宋唐许韩邓冯曹彭肖董潘袁蔡蒋杜魏苏吕卢姚沈钟姜崔谭陆范汪廖贾邹熊孟秦邱侯尹薛闫段郝邵"
)
_OF = re.compile(r"(?=的?" + _RELATION + r")(?!的?同学)")
_DOTTED = re.compile(rf"[{CJK}]{{1,8}}(?:[·•・‧∙●][{CJK}]{{1,8}}){{1,4}}")
_LATIN = re.compile(r"[A-Z][a-z]+(?:[\s·'-]{1,2}[A-Z][a-z]+){0,3}|[A-Z]{3,}(?:\s[A-Z]{2,}){1,2}")
_LATIN_ALLOW = frozenset(
    [
        "Angle",
        "Vita",
        "Spee",
        "Bolton",
        "Kennedy",
        "Class",
        "Filtek",
        "Black",
        "Miller",
        "Nance",
        "Hawley",
        "Herbst",
        "Frankel",
        "Twin",
        "Block",
        "Damon",
        "Invisalign",
        "Begg",
        "Tip",
        "Edge",
        "Maryland",
        "Miller",
        "Cariostat",
        "Vitapex",
        "Hunter",
        "Nobel",
        "Straumann",
        "Osstem",
        "Dentium",
        "Bego",
        "Ankylos",
        "Astra",
        "Candida",
        "Sjogren",
        "Ramfjord",
        "Gracey",
        "Bicon",
    ]
)
_LATIN_PAIR = re.compile(
    r"(?<![A-Za-z])(?:([A-Z][a-z]{1,6})[\s·,_-]{1,2}([A-Z][a-z]{1,6}(?:[-'][A-Za-z]?[a-z]{1,5}|\s[A-Z][a-z]{1,5})?)"
    r"|([A-Z]{2,6})[\s,]{1,2}([A-Z]{2,6}(?:[-\s][A-Z]{2,6})?))(?![A-Za-z])"
)
_ENDS = re.compile(r"$|[\s,，。.;；:：、!！?？)）\](（\[<>《》「」”\"'’/／|~～—\-_+=\d\ue000-\uf8ff]|[A-Za-z]")
_AND = re.compile(r"[、和与及,，\s/]{1,2}")
_PUNCTUATION = re.compile(r"[\s,，。.;；:：、!！?？)）(（\]\[/\d\ue000-\uf8ff]")


@dataclass(frozen=True)
class NameSpan:
    start: int
    end: int
    certain: bool  # False: shaped like a name, but its end is unknown


@lru_cache(maxsize=1)
def _surnames() -> dict[str, frozenset[str]]:
    sections: dict[str, set[str]] = {}
    current = ""
    for line in (TERMS / "surnames.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif line and not line.startswith("#"):
            sections.setdefault(current, set()).update(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


@lru_cache(maxsize=1)
def _simplified() -> dict[int, str]:
    return {ord(pair[0]): pair[1] for pair in _surnames()["traditional"]}


def simplify(text: str) -> str:
    """趙華 -> 赵华: the characters that names are written with, one for one, so that places stay."""
    return text if text.isascii() else text.translate(_simplified())


@lru_cache(maxsize=1)
def allowed_words() -> frozenset[str]:
    """Words of records that must not be read as names."""
    lines = (TERMS / "clinical_allow.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@lru_cache(maxsize=1)
def _surname_pinyin() -> frozenset[str]:
    words = _surnames()["common"] | _surnames()["compound"]
    return frozenset("".join(s) for word in words for s in product(*pinyin(word, style=Style.NORMAL, heteronym=True)))


@lru_cache(maxsize=1)
def _syllables() -> re.Pattern[str]:
    """A given name in pinyin: one to three syllables."""
    initials = "(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?"
    finals = "(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|ai|an|ao|ei|en|er|ia|ie|in|iu|ou|ua|ue|ui|un|uo|a|e|i|o|u|v)"
    return re.compile(rf"(?:{initials}{finals}){{1,3}}")


def allowed_at(text: str, start: int) -> bool:
    """A clinical word starts here. Words are two to five characters long."""
    words = allowed_words()
    return any(text[start : start + size] in words for size in (2, 3, 4, 5))


def surname_length(text: str, start: int) -> int:
    """Length of the surname at ``start``: 2, 1, or 0 where there is none."""
    if text[start : start + 2] in _surnames()["compound"]:
        return 2
    first = text[start : start + 1]
    return 1 if first and (first in _surnames()["common"] or first in _surnames()["weak"]) else 0


def _is_weak(text: str, start: int) -> bool:
    return text[start : start + 1] in _surnames()["weak"]


def _given(char: str) -> bool:
    return bool(char) and "\u3400" <= char <= "\u9fff" and char not in NOT_GIVEN


def _end_strength(text: str, end: int) -> int:
    """How plainly a name ends here: 3 punctuation or nothing, 2 a known word, 1 a function word, 0 not at all."""
    following = text[end : end + 1]
    if _ENDS.match(following):
        return 3
    if following in NOT_GIVEN or allowed_at(text, end):
        return 2
    return 1 if following in _FUNCTION else 0


def name_at(text: str, start: int, explicit: bool = False) -> NameSpan | None:
    """The name that starts here, given that a role stands before it; ``explicit``: a colon or a word like 名叫 does too."""
    dotted = _DOTTED.match(text, start)
    if dotted:
        return NameSpan(start, dotted.end(), True)
    latin = _LATIN.match(text, start)
    if latin and latin.group().split()[0].title() not in _LATIN_ALLOW:
        return NameSpan(start, latin.end(), True) if explicit or latin.group()[1].islower() else None
    whole = re.compile(rf"[{CJK}]{{2,4}}(?=$|[\s,，。;；、)）\]/\n])").match(text, start) if explicit else None
    blocked = allowed_at(text, start)
    if blocked and not (whole and len(whole.group()) > 2 and surname_length(text, start)):
        return _despite_word(text, start)
    if (foreign := _foreign_at(text, start)) is not None:
        return foreign
    if (spaced := _spaced_at(text, start)) is not None:
        return spaced
    family = surname_length(text, start)
    if not family:
        named = explicit and whole and all(_given(char) for char in whole.group()) and len(whole.group()) <= 3
        return NameSpan(start, start + len(whole.group()), True) if named and whole else None
    return _surnamed_at(text, start, family)


def _despite_word(text: str, start: int) -> NameSpan | None:
    """高强鹏， begins with a word of records and is a whole name for all that: a doubt, for a person to settle."""
    three = text[start : start + 3]
    shaped = len(three) == 3 and surname_length(text, start) == 1 and not _is_weak(text, start) and three[0] not in _PLAIN_CHARS
    apart = not any(allowed_at(text, start + i) for i in (1, 2)) and not any(
        text[start : start + n] in allowed_words() for n in (3, 4)
    )
    if (
        shaped
        and apart
        and all(_given(char) and char not in _FUNCTION for char in three[1:])
        and _end_strength(text, start + 3) == 3
    ):
        return NameSpan(start, start + 3, False)
    return None


def _surnamed_at(text: str, start: int, family: int) -> NameSpan | None:
    weak = family == 1 and _is_weak(text, start)
    plain = family == 1 and text[start] in _PLAIN_CHARS
    if plain and (allowed_at(text, start + 1) or text[start + 1 : start + 2] in _FUNCTION):
        return None
    found: list[tuple[int, int]] = []  # strength, length
    for length in (2, 1):
        given = text[start + family : start + family + length]
        if len(given) < length or not all(_given(char) for char in given):
            continue
        if length == 2 and allowed_at(text, start + family + 1):
            continue  # 周岩|发热: the third character begins a word
        strength = _end_strength(text, start + family + length)
        if strength > (1 if weak else 0):
            # 周岩因牙痛: a last character that is a function word rather ends the name before it
            function = given[-1] in _FUNCTION and not (length == 2 and strength == 3)
            found.append((1 if function else strength + (length == 2), family + length))
    if found:
        return NameSpan(start, start + max(found)[1], True)
    if weak or text[start] in _ADVERBS or not _given(text[start + family : start + family + 1]):
        return None
    return NameSpan(start, start + family + 1, False)


def _spaced_at(text: str, start: int) -> NameSpan | None:
    """王 芳来诊: a blank inside the name, and a plain end."""
    match = re.compile(rf"([{CJK}])[ \u3000]{{1,2}}([{CJK}]{{1,2}})").match(text, start)
    if not match or not surname_length(text, start) or _is_weak(text, start) or text[start] in _PLAIN_CHARS:
        return None
    for given in (match[2], match[2][:1]):
        end = match.start(2) + len(given)
        known = allowed_at(match[1] + given, 0) or allowed_at(text, match.start(2))
        if not known and all(_given(char) and char not in _FUNCTION for char in given) and _end_strength(text, end) >= 2:
            return NameSpan(start, end, True)
    return None


def foreign_length(text: str, start: int) -> int:
    """Length of a name without a surname at ``start``, by its syllables; 0 where there is none."""
    span = _foreign_at(text, start)
    return span.end - start if span else 0


def _foreign_at(text: str, start: int) -> NameSpan | None:
    """Names without a surname: known Tibetan, Mongolian and Uyghur names, or four and more syllables of a transcription."""
    run = start
    while run < min(len(text), start + 10) and text[run] in _surnames()["syllables"]:
        run += 1
    tokens = _surnames()["tokens"]
    for size in (4, 3, 2):
        if text[start : start + size] in tokens:
            end = max(run, start + size)
            while any(text[end : end + more] in tokens for more in (2, 3)):
                end += 3 if text[end : end + 3] in tokens else 2
            return NameSpan(start, end, True)
    return NameSpan(start, run, True) if run - start >= 4 else None


def _introduced(text: str) -> Iterator[NameSpan]:
    """患者X, 姓名：X, 母亲X, 接诊医师：X, and the names listed after them."""
    for role in _PREFIX.finditer(text):
        link = _LINK.match(text, role.end())
        assert link is not None
        explicit = bool(link["explicit"] and link["explicit"].strip()) or role["role"] in ("姓名", "名字")
        start = link.end()
        span = name_at(text, start, explicit)
        if span and not span.certain and link.end() > role.end() and not explicit:
            span = None  # 患者 <blank> something: the blank already parts them
        while span:
            yield span
            joined = _AND.match(text, span.end) if span.certain else None
            span = name_at(text, joined.end()) if joined and surname_length(text, joined.end()) else None
            if span and (not span.certain or not _PUNCTUATION.match(text[span.end : span.end + 1] or " ")):
                span = None


def _bounded_left(text: str, start: int) -> bool:
    """A name may begin here: the clause begins, or a function word or a word of records ends."""
    if start == 0:
        return True
    before = text[start - 1]
    if not ("\u3400" <= before <= "\u9fff") or before in _LEFT_FUNCTION or before in NOT_GIVEN:
        return True
    words = allowed_words()
    return any(text[start - size : start] in words for size in (2, 3, 4) if start >= size)


def _inside_word(text: str, start: int, end: int) -> bool:
    """A word of records ends here and begins before ``start`` or at it: 牙周|医生, 主任|医师, 高年资|医生."""
    words = allowed_words()
    return any(text[end - size : end] in words for size in range(end - start, 6) if end >= size and size > 1)


def _before(text: str, end: int, titled: bool) -> NameSpan | None:
    """The name that ends here, before a title (许医生, 何志强主任) or a verb (许秀兰陪同)."""
    found: list[tuple[bool, int]] = []
    suspect = 0
    for length in (1, 2, 3, 4):
        start = end - length
        if start < 0 or not ("\u3400" <= text[start] <= "\u9fff"):
            break
        family = surname_length(text, start)
        if not family or family > length or (family == 2 and length == 1) or (length == 4 and family == 1):
            continue
        if length - family > 2 or not all(_given(char) for char in text[start + family : end]):
            continue
        if length == 1 and text[start] in _LEFT_FUNCTION:
            continue  # 和医生沟通, 由医生
        if (length == family and not titled) or _inside_word(text, start, end) or allowed_at(text, start):
            continue
        nickname = start > 0 and text[start - 1] in "小老阿" and length == 1
        if nickname or _bounded_left(text, start):
            function = text[start] in _LEFT_FUNCTION or _is_weak(text, start)
            found.append((not function, length + nickname))
        elif length == 1 and text[start] in _surnames()["common"]:
            suspect = length
    if found:
        return NameSpan(end - max(found)[1], end, True)
    return NameSpan(end - suspect, end, False) if suspect and titled else None


def _titled(text: str) -> Iterator[NameSpan]:
    """许医生, 何志强主任, 小张护士, 张女士; 由许秀兰陪同."""
    for pattern, titled in ((_SUFFIX, True), (_ATTEND, False)):
        for match in pattern.finditer(text):
            end = match.start()
            while end > 0 and text[end - 1] in " \u3000" and match.start() - end < 2:
                end -= 1
            if text[end - 1 : end] == "副":
                end -= 1
            span = _before(text, end, titled)
            if span and (span.certain or titled):
                yield span


_CLAUSE = re.compile(rf"(?:^|(?<=[\s,，。;；:：、(（\n]))(?=[{CJK}])")


def _at_clause_start(text: str) -> Iterator[NameSpan]:
    """周岩，男，35岁 · 周岩来诊 · 周岩的母亲: a clause begins with a name that is plainly one."""
    for clause in _CLAUSE.finditer(text):
        start = clause.start()
        foreign = _foreign_at(text, start)
        if foreign and not allowed_at(text, start):
            plain = foreign.end - start >= 4 and _end_strength(text, foreign.end) >= 2
            if plain or _ARRIVES.match(text, foreign.end) or _OF.match(text, foreign.end):
                yield foreign
                continue
        family = surname_length(text, start)
        if not family or _is_weak(text, start) or allowed_at(text, start):
            continue
        for length in (family + 2, family + 1):
            end = start + length
            given = text[start + family : end]
            shaped = len(given) == length - family and all(_given(char) for char in given) and not allowed_at(text, end - 1)
            if shaped and (_ARRIVES.match(text, end) or _OF.match(text, end)):
                yield NameSpan(start, end, True)
                break


def _latin(text: str) -> Iterator[NameSpan]:
    """Zhou Yan, ZHOU YAN, Yan Zhou is left to the gazetteer: a surname in pinyin, then a given name in pinyin."""
    for match in _LATIN_PAIR.finditer(text):
        family, given = (match[1], match[2]) if match[1] else (match[3], match[4])
        if family.title() in _LATIN_ALLOW or len(family) + len(given) < 5:
            continue
        if family.lower() in _surname_pinyin() and _syllables().fullmatch(re.sub(r"[-'\s]", "", given).lower()):
            yield NameSpan(match.start(), match.end(), True)


def _latin_by_role(text: str) -> Iterator[NameSpan]:
    """Dr. Wang; Patient: John Smith, where only a person can tell it from Patient: Upper Left."""
    for match in _LATIN_TITLED.finditer(text):
        if match[1].split()[0] not in _LATIN_ALLOW:
            yield NameSpan(match.start(1), match.end(1), True)
    for match in _LATIN_LABELLED.finditer(text):
        if match[1].split()[0] not in _LATIN_ALLOW:
            yield NameSpan(match.start(1), match.end(1), False)


def _bracketed(text: str) -> Iterator[NameSpan]:
    """（王芳）: nothing else between the brackets. It may be a make; a person must say."""
    for match in _BRACKETED.finditer(text):
        name = match[1]
        family = surname_length(name, 0)
        compound = family == 2 and len(name) > 2
        if not compound and not (name[0] in _PLAIN_SURNAMES and len(name) <= 3):
            continue
        if all(_given(char) and char not in _FUNCTION for char in name[family:]) and not allowed_at(name, 0):
            yield NameSpan(match.start(1), match.end(1), False)


def _dotted(text: str) -> Iterator[NameSpan]:
    """买买提·艾力 anywhere; a dot between clinical words (牙周·牙髓) is none."""
    for match in _DOTTED.finditer(text):
        start = match.start()
        role = max((m.end() for m in _PREFIX.finditer(match.group().split("·")[0])), default=0)
        name = match.group()[role:]
        if not any(char in NOT_GIVEN for char in name) and not allowed_at(name, 0):
            yield NameSpan(start + role, match.end(), True)


def find_names(text: str) -> list[NameSpan]:
    """Every name that a role, a title or its own form gives away; ``certain`` ones can be replaced, the others are doubts.

    >>> [text[s.start:s.end] for text in ["患者周岩，一周前"] for s in find_names(text)]
    ['周岩']
    """
    spans: set[NameSpan] = set()
    for finder in (_introduced, _titled, _at_clause_start, _latin, _latin_by_role, _bracketed, _dotted):
        spans.update(finder(text))
    return sorted(spans, key=lambda span: (span.start, -span.end, not span.certain))
