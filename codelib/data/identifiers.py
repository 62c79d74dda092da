"""What an identifier looks like: patterns, and the scan that is run again before anything leaves.

    text ── fold (full-width, exotic digits, invisible characters; places kept) ── patterns + names ── Finding(start, end, class)

Digits are bounded by look-arounds: ``\\b`` does not stand between a Chinese character and a digit. Where a pattern has a group
``v``, that group is the identifier and the rest its label (微信 | lin_2008). Every quantifier is bounded, so that time grows
with the text and not faster.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from codelib.data.person_names import CJK, allowed_words, find_names

CLASSES = ("NAME", "PHONE", "ID", "EMAIL", "ACCOUNT", "ADDRESS", "DATE", "RECORD_NO", "ORG", "URL", "PLATE")
PLACEHOLDER = re.compile(r"\[(?:" + "|".join(CLASSES) + r")\]")
BARRIER = "\ue000"
"""Stands for each character of a placeholder while a text is scanned again: neither letter, digit nor blank."""

_INVISIBLE = frozenset("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u180e" + "".join(map(chr, range(0x300, 0x370))))
_DASHES = frozenset("‐‑‒–—―−－")


@dataclass(frozen=True, order=True)
class Finding:
    start: int
    end: int
    cls: str


@dataclass(frozen=True)
class Folded:
    """A text brought to plain characters; ``place[i]`` is where its character i stood in the original."""

    text: str
    place: tuple[int, ...] | None  # None: nothing moved

    def span(self, start: int, end: int) -> tuple[int, int]:
        return (start, end) if self.place is None else (self.place[start], self.place[end - 1] + 1)


def _plain(char: str) -> str:
    code = ord(char)
    if 0xFF01 <= code <= 0xFF5E and char not in "，：；！？（）":
        return "-" if char == "－" else chr(code - 0xFEE0)
    if char in _DASHES:
        return "-"
    if char in "\u3000\u00a0\t":
        return " "
    if 0xC0 <= code <= 0x24F:
        return unicodedata.normalize("NFD", char)[0]  # Zhāng -> Zhang
    if code > 127 and unicodedata.decimal(char, None) is not None:
        return str(unicodedata.decimal(char))
    return char


def fold(text: str) -> Folded:
    """１３８ → 138, — → -, invisible characters away."""
    if text.isascii():
        return Folded(text, None)
    kept = [(i, _plain(char)) for i, char in enumerate(text) if char not in _INVISIBLE]
    place = None if len(kept) == len(text) else tuple(i for i, _ in kept)
    return Folded("".join(char for _, char in kept), place)


_SEP = r"[ .\-]"
_COLON = r"[\s:：为是#]{0,4}"
_CN_DIGIT = "零〇一二三四五六七八九幺两"
_PROVINCE = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

_PATTERNS: tuple[tuple[str, str], ...] = (
    ("EMAIL", r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}\s?@\s?[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}"),
    ("URL", r"(?:https?://|(?<![A-Za-z])www\.)[!-~]{2,300}"),
    (
        "URL",
        r"(?<![A-Za-z0-9@.-])[A-Za-z0-9-]{2,40}\.(?:com|cn|net|org|edu|gov|top|xyz|vip|cc|io)(?![A-Za-z0-9])(?:/[!-~]{0,200})?",
    ),
    # ID cards, checksum valid or not: 18 places, 15 places, in groups
    ("ID", r"(?<![\dA-Za-z])\d{17}[\dXx](?![\dA-Za-z])"),
    ("ID", r"(?<!\d)[1-9]\d{5}[ \-]?(?:18|19|20)\d{2}[ \-]?[01]\d[0-3]\d[ \-]?\d{3}[\dXx](?![\dA-Za-z])"),
    ("ID", r"(?<!\d)[1-9]\d{14}(?!\d)"),
    (
        "ID",
        r"(?:身份证|证件|护照|军官证|通行证|社保|医保|居民健康|驾驶证|台胞证|军人证|学生证)(?:号码?|卡号?|编号|账号|卡号码)?"
        r"(?:后[四六]位|尾号)?" + _COLON + r"(?P<v>[A-Za-z]{0,3}\d[\dA-Za-z\- ]{2,24}[\dA-Za-z])",
    ),
    ("ID", r"尾号" + _COLON + r"(?P<v>\d{3,6}[Xx]?)(?!\d)"),
    ("ID", r"(?<![A-Za-z0-9])(?:[EGDSPHCM]\d{8,10}|E[A-Z]\d{7})(?![A-Za-z0-9])"),
    # phones: mobile in any grouping whose first group has three digits, or each digit apart; landlines; service numbers
    ("PHONE", rf"(?<!\d)(?:\(?\+?(?:00)?86\)?[ \-]?)?1[3-9]\d(?:{_SEP}?\d){{8}}(?!\d)"),
    ("PHONE", r"(?<!\d)1[3-9]\d(?P<s>[^0-9A-Za-z" + CJK + r"\n]{1,3})\d{4}(?P=s)\d{4}(?!\d)"),
    ("PHONE", r"(?<!\d)1(?P<s>[ .\-]{1,2})[3-9](?:(?P=s)\d){9}(?!\d)"),
    (
        "PHONE",
        r"(?<!\d)[(（]?0[1-9]\d{1,2}[)）]?[ \-]{0,2}[2-9]\d{2,3}[ \-]?\d{4}(?!\d)(?:(?:-|转|转分机|分机|ext\.?)\s?\d{1,6})?",
    ),
    ("PHONE", r"(?<!\d)[48]00[ \-]?\d{3,4}[ \-]?\d{3,4}(?!\d)"),
    (
        "PHONE",
        r"(?:电话|手机|座机|联系方式|联系电话|致电|拨打|[Tt][Ee][Ll]|[Pp]hone|小灵通|热线|传真)(?:号码?)?[^\d，。,;；\n]{0,8}"
        r"(?P<v>\+?\d(?:[ \-]?\d){5,14})(?!\d)",
    ),
    ("PHONE", rf"(?<![{_CN_DIGIT}])[{_CN_DIGIT}]{{7,13}}(?![{_CN_DIGIT}年月])"),
    (
        "ACCOUNT",
        r"(?<!\d)(?:\d{16}|\d{17}|\d{19}|\d{4} \d{4} \d{4} \d{4}(?: \d{1,3})?|[3-9]\d{3}(?:-\d{4}){3}(?:-\d{1,3})?)"
        r"(?![\dA-Za-z])",
    ),
    (
        "ACCOUNT",
        r"(?:微信|薇信|威信|[Ww]ei[Xx]in|[Ww]e[Cc]hat|(?<![A-Za-z])(?:[Vv][Xx]|[Ww][Xx])|加[Vv]|[Vv]信|抖音|微博|支付宝|小红书|钉钉|快手|淘宝)"
        r"(?:同?号码?|ID|id|账号|帐号|名|同名)?(?:[\s:：为是加@()（]|叫){0,4}(?P<v>(?=[A-Za-z]|\d{5})[A-Za-z0-9][A-Za-z0-9_\-]{4,31})",
    ),
    ("ACCOUNT", r"(?:微信|QQ)(?:昵称|名|名字)[\s:：为是]{0,3}(?P<v>[^\s，。,;；:：]{1,16})"),
    ("ACCOUNT", r"(?:(?<![A-Za-z])[Qq][Qq]|扣扣|企鹅)(?:号码?|群|邮箱)?[\s:：为是]{0,4}(?P<v>[1-9]\d{4,11})(?!\d)"),
    ("ACCOUNT", r"(?<![A-Za-z0-9_])[A-Za-z][A-Za-z0-9]{1,20}_[A-Za-z0-9_]{2,20}(?![A-Za-z0-9_])"),
    ("ACCOUNT", r"(?:银行卡|卡号|账号|帐号|账户)(?:号码?)?" + _COLON + r"(?P<v>\d[\d \-]{4,24}\d)"),
    (
        "RECORD_NO",
        r"(?:病历|病案|住院|门诊|就诊|影像|放射|检查|登记|档案|流水|标本|病理|诊疗卡|就诊卡|处方|挂号|收据|发票|合同|订单|工单|预约|患者|"
        r"[Xx]线片?|[Xx]光片?|[Xx]片|CT|CBCT|片|卡|床|工|单|批|序列|产品|病人|客户|会员)(?:编号|号码|号|ID|id|序号|批号|次号)"
        r"(?:[\s:：为是#]|[Nn][Oo]\.?){0,4}(?P<v>[A-Za-z]{0,6}[\-]?\d[\dA-Za-z\-]{2,24})",
    ),
    (
        "RECORD_NO",
        r"(?:编号|批号|批次|(?<![A-Za-z])(?:ID|SN|LOT|Lot|MRN|No|NO|no)[.:：]?)[\s:：为是#]{0,4}"
        r"(?P<v>[A-Za-z]{0,6}\-?\d[\dA-Za-z\-]{3,24})",
    ),
    (
        "RECORD_NO",  # 患者0003; not 患者120/80mmHg, 患者2021年
        r"(?:患者|病人|病例)[\s:：#]{0,2}(?P<v>(?!(?:19|20)\d{2}[01]\d[0-3]\d(?!\d))\d{3,})"
        r"(?!\d|\s?[./\-:：~、]\s?\d|\s?(?:[年月天日岁周元次余多个颗小%°]|mm|cm|ml|mg|kg|g))",
    ),
    (
        "PLATE",
        rf"[{_PROVINCE}][A-HJ-NP-Z][·•\s\-]?(?=[A-Z0-9]{{0,5}}\d)[A-HJ-NP-Z0-9]{{4,5}}[A-HJ-NP-Z0-9挂学警港澳](?![A-Za-z0-9])",
    ),
    (
        "DATE",
        r"(?:出生(?:日期|年月日?|时间|于)?|生日|生于|[Dd][Oo][Bb]|Date of birth)[\s:：为是]{0,3}"
        r"(?P<v>(?:19|20)?\d{2}\s?[-./年]\s?\d{1,2}\s?(?:[-./月]\s?\d{1,2}\s?[日号]?|月)?|(?:19|20)\d{6}|\d{1,2}月\d{1,2}[日号]|(?:19|20)\d{2}\s?年?)(?!\d)",
    ),
    (
        "DATE",
        r"(?<!\d)(?P<v>(?:(?:19|20)\d{2}|\d{2}(?=\s?年))\s?年?(?:\s?\d{1,2}\s?月)?)(?=\s?(?:出生|生人|生(?=[，,。；;\s)）]|$)))",
    ),
    (
        "DATE",
        r"(?<!\d)(?P<v>(?:19|20)\d{2}\s?[-./年]\s?\d{1,2}\s?[-./月]\s?\d{1,2}\s?[日号]?)(?=\s?(?:出生|生人|生(?![长物命存理]))(?!后))",
    ),
)
_COMPILED = tuple((cls, re.compile(pattern)) for cls, pattern in _PATTERNS)

# an address: a road or an estate with a number, or two parts of a building; what stands before it is found by walking left
_NOT_ROAD = "通思回线髓旁入管气尿道消呼嘴口病顺半一走铁公网电"
# 36号牙, 15号锉: a number before one of these is a tooth or an instrument
_UNIT = (
    r"(?:号楼|号院|号门|弄|幢|栋|座|单元|室|层|楼|组|户|号(?![牙锉车位乳根磨切尖恒种冠充残智拔缺钻基、KH及和近远颊舌腭叩探松术]))"
)
_NUMBER = r"(?:\d{1,5}[A-Za-z]?(?:-\d{1,4})?|[一二三四五六七八九十百]{1,4})"
_ANCHOR = re.compile(
    rf"(?:(?<![{_NOT_ROAD}])(?:路|大街|街|大道|巷|胡同|弄|村|新村|花园|小区|公寓|大厦|广场|家园|庄园|山庄|名苑|公馆|花苑|雅苑|苑|邨)\s?\d{{1,5}}(?:-\d{{1,4}})?\s?{_UNIT}"
    rf"|(?:村|屯|庄)(?:委会)?{_NUMBER}(?:组|队|社)"
    rf"|(?:新城|[城苑园庭湾郡府轩居邸]|小区|花园|公寓)\d{{1,3}}-\d{{1,3}}-\d{{3,4}}(?!\d)"
    rf"|(?<!\d)\d{{1,4}}\s?(?:号楼|幢|栋|座|弄|单元)\s?(?:\d{{1,5}}|[A-Z]\d{{0,4}}))(?:\s?{_NUMBER}\s?{_UNIT}?){{0,4}}"
)
_REGION = re.compile(
    rf"[{CJK}]{{2,7}}(?:省|自治区)[{CJK}]{{2,6}}(?:市|自治州|州|盟|地区|县)(?:[{CJK}]{{1,8}}?(?:区|县|市|镇|乡|街道|旗)(?![域别间分牙]))?"
    rf"|(?<![城超门都本外全地该一上])[{CJK}]{{2,3}}(?<![城超门都本外全地该一上])市[{CJK}]{{1,4}}(?<![术牙病患磨切全颌分])[区县](?![域别间分牙])(?:[{CJK}]{{1,5}}(?:街道|镇|乡))?"
    rf"|[{CJK}]{{2,4}}[县区市][{CJK}]{{1,4}}[镇乡](?:[{CJK}]{{1,5}}村)?|[{CJK}]{{1,4}}[镇乡][{CJK}]{{1,5}}村"
)
_LIVES = re.compile(
    rf"(?:家住|现住(?:址|在|于)?|现居(?:住)?(?:在|于|地)?|居住(?:在|于|地)?|(?:家庭|通讯|联系|户籍|详细|工作|单位|邮寄)?[住地]址|住在|户籍(?:地|所在地)?|籍贯|暂住(?:在|于)?|家在|老家|住)"
    rf"(?P<colon>[\s:：为是]{{0,3}})(?P<v>[{CJK}A-Za-z\d\-]{{2,40}})"
)
_PLACE_END = re.compile(
    r"(?:[城苑园庭湾府郡轩居]\d{1,4}-\d{2,4}|[\u4e00-\u9fff]{2}\d{1,4}-\d{1,4}-\d{1,4}"
    r"|省|市|区|县|镇|乡|村|路|街|巷|弄|号|栋|幢|室|小区|花园|公寓|新村|家园|苑|大厦|广场|山庄|庄园|公馆|组|楼|单元|里|府|湾|庭)"
)
_PLACE_WORDS = re.compile(
    r"(?:农村|外地|本地|本市|外市|市区|郊区|城区|县城|乡下|山区|牧区|市里|村里|城里|校区|附近|学校|宿舍|院|较远|很远|该地|高原|疫区|氟区)"
)
_LEFT_STOP = re.compile(
    r"(?:家住|住在|住址|地址|现住|居住|位于|来自|户籍|籍贯|老家|搬至|搬到|寄到|寄至|送到|患者|家属|[住在于到至从：:，,。；;\s为是往的由])"
)

# an organisation: what it is called, then its kind; 我院, 外院, 当地医院 and 上级医院 have no proper name
_KIND = re.compile(
    r"(?:(?:第?[一二三四五六七八九十]{1,3})?(?:市立|省立|县立)?(?:人民|中心|中医|中西医结合|儿童|妇幼|妇女儿童|肿瘤|附属|附属第?[一二三四五六七八九十]|口腔|口腔专科|医科|军医|总|分|牙科|齿科|康复|专科|综合){0,4}"
    r"(?:医院|医学院|诊所|门诊部|卫生院|卫生所|卫生服务中心|保健院|牙防所|牙科中心|口腔中心|医疗中心|医学中心|口腔门诊|齿科门诊|牙科门诊|口腔机构|體檢中心|体检中心|醫院|診所|齿科|牙科(?!用|材|综|椅|畏|恐|焦|治|手|医|检|就|诊|急|病|护|器|镊|探|C|X)))"
)
_KIND_LOOSE = re.compile(rf"(?<=[在于去到从往])(?P<v>[{CJK}]{{2,6}}口腔)(?=就诊|就医|治疗|拔|行|做|补|种|修|正畸|矫|洗|镶|看|检)")
_ORG_GENERIC = re.compile(
    r"(?:当地|外地|本地|上级|下级|附近|其他|其它|别的|另一?家?|多家|两家|几家|某些?|三甲|二甲|三级|二级|甲等|综合|专科|专业|私人|私立|公立|民营|个体|社区|乡镇|镇|乡|村|县级?|市级?|省级?|区级?|大型?|"
    r"小型?|一家|一个|外|我|本|他|该|贵|院外|正规|基层|国外|国内|原|各|家|的|大|小|地方|就近|相关|其|那家?|这家?|同一?|军队|知名|街边|路边|游医|口腔|牙科|齿科|人民|中心|医|等级|个|级|等|间|部队|急救|传染病|外院)"
)
_ORG_LEFT = re.compile(
    r"[在于去到至由从往赴经曾因了和与及或被向对后前日月年周时来诊查说送转是为有将请需可应择用给含称拿带，,。；;：:、\s（）()\[\]\d\n\ue000-\uf8ff]|患者|建议|推荐|必要|要求|自行|告知|外出|联系|前往|治疗|拔牙|补牙|"
    r"洗牙|就医|就读|随访|复查|复诊|咨询|住院|手术|疼痛|肿胀|不适|介绍|家属|母亲|父亲|多次|再次|及时|立即|尽快|先行|行|做|看|过"
)

_OLD = r"(?:9\d|1[0-2]\d)"
_AGE = re.compile(
    rf"(?:(?<![\d.\-]){_OLD}|(?<![一二三四五六七八九])(?:九十[一二三四五六七八九]?|一百[零〇一二三四五六七八九十]{{0,3}}))\s?周?[岁歲](?!以上)"
    rf"|(?:年龄|年齡|享年|现年|[Aa]ge)[\s:：为是]{{0,3}}(?P<bare>{_OLD})(?![\d.])(?!\s?周?[岁歲])"
    rf"|(?<![\d.\-A-Za-z]){_OLD}(?:\s|-)?(?:[Yy]/?[Oo]|[Yy]rs?|[Yy]ears?(?:[\s-]old)?|[Yy])(?![A-Za-z])"
)
_LONG_RUN = re.compile(r"(?<!\d)\d(?:[ \-]?\d){6,}(?!\d*\.\d)")
_RUN_UNITS = re.compile(r"\s?(?:U|IU|u|万|单位|元)")
# a mobile number with anything but letters between its digits; teeth in a list have the same shape and are told apart by groups
_GAP = rf"[^0-9A-Za-z{CJK}]{{0,3}}"
_SPLIT_MOBILE = re.compile(rf"(?<!\d)1{_GAP}[3-9](?:{_GAP}\d){{9}}(?!\d)")
_FDI_PAIR = re.compile(r"[1-4][1-8]|[5-8][1-5]")
_DATE_INSIDE = re.compile(r"(?:19|20)\d{2}\D{1,3}[01]?\d\D{1,3}[0-3]?\d(?!\d)")
_COUNTED = re.compile(r"\s?(?:[度周月年级颗个天次日岁分点只]|mm|°|%|\.\d|[/、]\s?\d)")


def _regions(text: str) -> Iterable[Finding]:
    for match in _REGION.finditer(text):
        start = match.start()
        for stop in _LEFT_STOP.finditer(text, start, match.end() - 2):
            start = max(start, stop.end())
        if match.end() - start >= 4 and text[start : start + 2] not in allowed_words():
            yield Finding(start, match.end(), "ADDRESS")


def _anchored_address(text: str) -> Iterable[Finding]:
    for match in _ANCHOR.finditer(text):
        window = max(0, match.start() - 24)
        left = window
        for stop in _LEFT_STOP.finditer(text, window, match.start()):
            left = stop.end()
        run = match.start()
        while run > left and ("\u4e00" <= text[run - 1] <= "\u9fff" or text[run - 1] in "0123456789-"):
            run -= 1
        named = text[run : match.start()]
        if named or text[match.start()].isdigit():
            yield Finding(run, match.end(), "ADDRESS")


def _lived_address(text: str) -> Iterable[Finding]:
    for match in _LIVES.finditer(text):
        ends = [place.end() for place in _PLACE_END.finditer(match["v"])]
        value = match["v"][: ends[-1]] if ends else ""
        if (
            match["colon"].strip()
            and not value
            and len(match["v"]) >= 2
            and match.group().startswith(("住址", "地址", "家庭", "通讯", "联系", "籍贯", "户籍"))
        ):
            value = match["v"]
        if len(value) >= 3 and not _PLACE_WORDS.match(value) and not value.startswith(("院", "宅")):
            yield Finding(match.start("v"), match.start("v") + len(value), "ADDRESS")


def _organisations(text: str) -> Iterable[Finding]:
    for match in _KIND.finditer(text):
        window = max(0, match.start() - 14)
        left = window
        for stop in _ORG_LEFT.finditer(text, window, match.start()):
            left = stop.end()
        run = match.start()
        while run > left and "\u4e00" <= text[run - 1] <= "\u9fff":
            run -= 1
        proper = _ORG_GENERIC.sub("", text[run : match.start()])
        numbered = re.search(r"第[一二三四五六七八九十]", match.group()) and len(text[run : match.start()]) >= 1
        if (len(proper) >= 2 and proper not in allowed_words()) or numbered:
            yield Finding(run, match.end(), "ORG")
    for match in _KIND_LOOSE.finditer(text):
        if len(_ORG_GENERIC.sub("", match["v"])) >= 2:
            yield Finding(match.start("v"), match.end("v"), "ORG")


def find_patterns(text: str) -> list[Finding]:
    """Everything in ``text`` with the form of an identifier, names apart; places in the text as given."""
    folded = fold(text)
    plain = folded.text
    found: list[Finding] = []
    for cls, pattern in _COMPILED:
        group: str | int = "v" if "v" in pattern.groupindex else 0
        found += [Finding(m.start(group), m.end(group), cls) for m in pattern.finditer(plain)]
    found += [*_regions(plain), *_anchored_address(plain), *_lived_address(plain), *_organisations(plain)]
    return sorted(Finding(*folded.span(f.start, f.end), f.cls) for f in found)


def find_person_names(text: str, *, certain: bool = True) -> list[Finding]:
    """Names by role, title or form (codelib.data.person_names); ``certain=False``: only the doubtful ones."""
    folded = fold(text)
    return [Finding(*folded.span(s.start, s.end), "NAME") for s in find_names(folded.text) if s.certain is certain]


def find_old_ages(text: str) -> list[Finding]:
    """Ages of 90 and over, 岁 included: 93岁, 年龄95, 95y."""
    folded = fold(text)
    spans = (m.span("bare") if m["bare"] else m.span() for m in _AGE.finditer(folded.text))
    return [Finding(*folded.span(start, end), "AGE") for start, end in spans]


def find_long_runs(text: str) -> list[Finding]:
    """Seven and more digits in a row that are no measurement and no list of FDI numbers."""
    folded = fold(text)
    runs = []
    for match in _LONG_RUN.finditer(folded.text):
        groups = re.split(r"[ \-]", match.group())
        amount = groups[-1].endswith("000") and _RUN_UNITS.match(folded.text, match.end())
        if max(map(len, groups)) <= 3 or amount:
            continue  # 16 26 36 46, 323 434: teeth and probing depths; 1600000U
        if len(groups) > 1 and max(map(len, groups)) < 6 and min(map(len, groups)) < 3:
            continue  # 2021-05-03 and what dates are made of
        if re.fullmatch(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", match.group()):
            continue
        runs.append(Finding(*folded.span(match.start(), match.end()), "NUMBER"))
    return runs


def find_split_mobiles(text: str) -> list[Finding]:
    """Eleven digits that begin like a mobile number, whatever stands between them: 138/1234-5678, 13 81 23 45 67 8.

    13、14、15、16、17、18 and 145 434 545 33 have that shape too: groups of two and three are teeth and probing depths, unless a
    pair is no tooth.
    """
    folded = fold(text)
    found = []
    for match in _SPLIT_MOBILE.finditer(folded.text):
        groups = re.findall(r"\d+", match.group())
        sizes = set(map(len, groups))
        if _DATE_INSIDE.search(match.group()):
            continue
        pairs = all(len(group) == 2 for group in groups[:-1]) and len(groups[-1]) == 1
        teeth = all(_FDI_PAIR.fullmatch(group) for group in groups[:-1])
        if pairs and teeth and _COUNTED.match(folded.text, match.end()):
            continue
        if max(sizes) >= 4 or sizes == {1} or pairs:
            found.append(Finding(*folded.span(match.start(), match.end()), "PHONE"))
    return found


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Overlapping findings made one; the longest gives its class. Sorted, disjoint."""
    merged: list[Finding] = []
    longest = 0
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        if merged and finding.start < merged[-1].end:
            last = merged[-1]
            cls = finding.cls if finding.end - finding.start > longest else last.cls
            longest = max(longest, finding.end - finding.start)
            merged[-1] = Finding(last.start, max(last.end, finding.end), cls)
        else:
            merged.append(finding)
            longest = finding.end - finding.start
    return merged


def mask_placeholders(text: str) -> str:
    """The text with each placeholder as barriers of the same length, so that places stay."""
    return PLACEHOLDER.sub(lambda m: BARRIER * len(m.group()), text)


def contains_identifier(text: str) -> str | None:
    """Class of the first identifier found by its form, or None. Dates are no identifiers here: shifted ones stay.

    Asked again right before every call to an outside service and by the audit of a release.
    """
    masked = mask_placeholders(text)
    found = [f for f in find_patterns(masked) if f.cls != "DATE"] + find_person_names(masked)
    return min(found).cls if found else None
