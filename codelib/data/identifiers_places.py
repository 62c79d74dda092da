"""Addresses, and names of hospitals and clinics: found at their last words, then walked to the left to where they begin.

家住杭州市上城区清波街56号，       曾在|苏州美奥|口腔门诊部 ── 我院, 外院, 当地医院 and 上级医院 have no name of their own
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from codelib.data.identifiers_text import Finding
from codelib.data.person_names_lists import CJK, allowed_words

# an address: a road or an estate with a number, or two parts of a building; what stands before it is found by walking left
_NOT_ROAD = "通思回线髓旁入管气尿道消呼嘴口病顺半一走铁公网电"
# 36号牙, 15号锉: a number before one of these is a tooth or an instrument
_UNIT = (
    r"(?:号楼|号院|号门|弄|幢|栋|座|单元|室|层|楼|组|户|号(?![牙锉车位乳根磨切尖恒种冠充残智拔缺钻基、KH及和近远颊舌腭叩探松术]))"
)
_NUMBER = r"(?:\d{1,5}[A-Za-z]?(?:-\d{1,4})?|[一二三四五六七八九十百]{1,4})"
_ANCHOR = re.compile(
    rf"(?:(?<![{_NOT_ROAD}])(?:路|大街|街|大道|巷|胡同|弄|村|新村|花园|小区|公寓|大厦|广场|家园|庄园|山庄|名苑|公馆|花苑|雅苑|苑|邨)[\s,，]?(?:\d{{1,5}}|[一二三四五六七八九十]段\s?\d{{1,5}}|[一二三四五六七八九十百]{{1,6}}(?=号))(?:-\d{{1,4}})?\s?{_UNIT}"
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
_SHORT = re.compile(
    rf"(?:[{CJK}]{{0,2}}(?<![{CJK}]第)[一二三四五六七八九]院(?![内外子校区务感])|省(?:立|中医)|市(?:立|中医)|协和|华西|华山|瑞金|仁济|湘雅|同济|中山一|北大口腔|武大口腔|上交九院)"
    rf"(?=[)）,，。\s]|拍|做|就|住|治|行|看|查|补|拔|种|诊)"
)
_SCHOOL = re.compile(r"(?:幼儿园|小学|中学|高中|大学|学院|公司|集团|银行|派出所|研究所|事务所)(?![生历期时士毕阶以])")
_SCHOOL_GENERIC = re.compile(
    r"(?:[一二三四五六七八九十]年级|附属|实验|保险|有限|责任|股份|分|总|本|上|在|读|念|某|家|该|大|小|民办|公办|外地|国外|一所|一家|私营|国有|外资|外企"
    r"|全民|老年)"
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


def regions(text: str) -> Iterable[Finding]:
    for match in _REGION.finditer(text):
        start = match.start()
        for stop in _LEFT_STOP.finditer(text, start, match.end() - 2):
            start = max(start, stop.end())
        if match.end() - start >= 4 and text[start : start + 2] not in allowed_words():
            yield Finding(start, match.end(), "ADDRESS")


def anchored_address(text: str) -> Iterable[Finding]:
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


def lived_address(text: str) -> Iterable[Finding]:
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


_NO_PROPER_NAME = re.compile(
    r"[在于去到至由从往赴经曾因了向被对后前日月年周时来是为有将请需可应择用给含拿带不未否及与建推必要自告外联患家治拔补洗就随复咨住手转当某他其本我该"
    r"上下私公正专综]"
)


def _clause_start(text: str, end: int, otherwise: int) -> int:
    """Where the two to four characters before ``end`` that make a whole clause or follow a label begin."""
    start = end
    while start > 0 and end - start < 5 and "\u4e00" <= text[start - 1] <= "\u9fff":
        start -= 1
    whole = 2 <= end - start <= 4 and not _NO_PROPER_NAME.search(text, start, end)
    return start if whole else otherwise


def organisations(text: str) -> Iterable[Finding]:
    for match in _KIND.finditer(text):
        window = max(0, match.start() - 14)
        left = window
        for stop in _ORG_LEFT.finditer(text, window, match.start()):
            left = stop.end()
        run = match.start()
        while run > left and "\u4e00" <= text[run - 1] <= "\u9fff":
            run -= 1
        if match.start() - run < 2:
            run = _clause_start(text, match.start(), run)  # 仁和|口腔门诊部: 和 is no conjunction where nothing stands before it
        proper = _ORG_GENERIC.sub("", text[run : match.start()])
        numbered = re.search(r"第[一二三四五六七八九十]", match.group()) and len(text[run : match.start()]) >= 1
        if (len(proper) >= 2 and proper not in allowed_words()) or numbered:
            yield Finding(run, match.end(), "ORG")
    for match in _KIND_LOOSE.finditer(text):
        if len(match["v"]) >= 4 and not _ORG_GENERIC.fullmatch(match["v"][:-2]):
            yield Finding(match.start("v"), match.end("v"), "ORG")
    for match in _SHORT.finditer(text):
        if not match.group().startswith(("外", "我", "本", "住", "出", "入", "转", "医")):
            yield Finding(match.start(), match.end(), "ORG")
    yield from _schools(text)


def _schools(text: str) -> Iterable[Finding]:
    """就读于金鸡湖小学, 单位：苏州大学附属中学, 在华为公司上班: where somebody learns or works."""
    for match in _SCHOOL.finditer(text):
        window = max(0, match.start() - 12)
        left = max([window, *(stop.end() for stop in _ORG_LEFT.finditer(text, window, match.start()))])
        run = match.start()
        while run > left and "\u4e00" <= text[run - 1] <= "\u9fff":
            run -= 1
        proper = _SCHOOL_GENERIC.sub("", text[run : match.start()])
        if len(proper) >= 2 and proper not in allowed_words():
            yield Finding(run, match.end(), "ORG")
