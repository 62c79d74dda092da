"""What a number is when it is no tooth: the units behind it, the words of measuring before it, the instruments around it.

    36岁 36mm 36颗   unit_follows            PD 3 年龄36 图16   measured_before
    主尖25# 15#K锉   instrument_context      松动Ⅱ度 II类       grade_follows

All positions are in the folded text (`codelib.dental.teeth_words.fold`). Every look is bounded to a few characters.
"""

from __future__ import annotations

import re

_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_BLANKS = frozenset(" \t\u00a0")
_CLAUSE_END = frozenset("。；;，,\n！!？?")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# What turns a number before it into a quantity. Right of the colon: the words in which the character means something else.
_UNITS: dict[str, str] = {
    "岁": "", "月": "月牙", "天": "天然", "次": "次要 次日", "年": "年轻", "日": "日常", "周": "周围 周边 周径 周炎 周组织",
    "时": "时有 时常 时而 时感 时疼 时痛", "分": "分叉 分离 分裂 分根", "秒": "", "小": "小窝 小面 小凹 小洞 小牙", "钟": "",
    "个": "个别", "颗": "颗粒", "枚": "", "只": "只能 只有 只需 只做 只是", "粒": "", "例": "例行", "人": "人工", "元": "",
    "块": "块状", "片": "片状 片示 片见", "张": "张口", "支": "支抗 支架", "盒": "", "倍": "", "度": "", "级": "", "期": "期待",
    "类": "类似", "型": "", "厘": "", "毫": "毫无", "公": "", "克": "", "升": "", "点": "点状 点隙",
    "页": "", "楼": "", "室": "", "床": "", "幢": "", "弄": "", "诊": "诊断 诊治 诊为 诊疗",
    "层": "", "栋": "", "名": "", "斤": "", "世": "", "余": "余留 余牙 余未 余无 余正",
    "多": "多生 多发 多处 多面", "旬": "", "针": "",
    "处": "处理 处置", "袋": "", "包": "", "滴": "", "号": "号牙 号齿", "种": "种植", "代": "",
    "毛": "", "万": "", "千": "", "百": "",
    "半": "半切 半阻 半年", "届": "", "路": "", "栏": "", "成": "", "孔": "", "瓶": "", "帖": "", "丝": "", "管": "", "味": "",
}  # fmt: skip
UNITS = {unit: tuple(words.split()) for unit, words in _UNITS.items()}
_LATIN_UNITS = _words(
    "bpm cc cm d day days g gb h hour hours hr hrs hz iu kb kcal kg khz kpa kv kvp l m ma mas mb mg min mins ml mm mmhg mmol "
    "month months mpa n ncm niti nm px rmb s sec ss u um umol usd v w week weeks wk y year years yo yr yrs gy msv ppm"
)
_GOLD = ("金", "白金", "黄金", "烤瓷")
_UNIT_WORDS = ("单元", "病房", "病区", "椅位", "排CT", "排螺旋")
_SINGLE_UPPER_SURFACES = frozenset("MDBLOP")  # 36D is the distal face, 36d is 36 days

# Words after which a number measures or counts something.
_MEASURED = _words(
    "年龄 血压 心率 脉搏 体温 体重 身高 共 共计 约 大约 第 编号 号码 电话 分机 病历号 住院号 门诊号 卡号 床号 微信 深度 宽度 "
    "长度 高度 厚度 扭矩 比色 色号 型号 批号 规格 直径 转速 龄 每 每隔 间隔 逾 超过 不足 至少 最多 合计 总计 平均 得分 评分 "
    "弓丝 换丝 附着丧失 探诊深度 牙周袋 袋深 覆盖 开口度 张口度 图 图片 照片 影像号 片号 工号 序号 流水号 发票号 牙数 颗数 数目 "
    "总数 数量 次数 人数 值 孕 妊娠 根长 工作长度 血糖 血氧 指数 指标 价格 费用 收费 单价 金额 合计费用"
)
_MEASURED_LATIN = _words(
    "AL ANB APG BI BMI BOP BP CAL CEJ CPI CPITN DB DFT DL DMF DMFS DMFT FH FMA FMIA GI GN GP GR HB HR IMG IMPA INR ISO ISQ L1 MAF "
    "MB MB1 MB2 ML MP NA NB NO OB OHI OJ P PD PH PI PLI PLT QQ R SBI SN SNA SNB SPO2 T TEL U1 VAS WBC WITS WL"
)
_TAPER_OR_TYPE = re.compile(r"/\.?0[2-8](?!\d)|[KH](?![A-Za-z])")  # 25#/04, 15K
_TOOTH_NUMBERS = ("牙号", "齿号", "牙位号", "象限号")
_PULP_TEST = re.compile(r"电活力|牙髓活力|电测|EPT", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[。；;\n]")
_CURETTE_BEFORE = re.compile(
    r"(?:(?P<make>Gracey|McCall|Columbia|Younger|Langer|格雷西)(?:刮治器|curettes?)?|刮治器|curettes?)[ :#号(]{0,3}"
    r"(?P<list>(?:#?\d{1,2}/#?\d{1,2}#?[ 、,和]{1,2}){0,4})$",
    re.IGNORECASE,
)
_PAIR = re.compile(r"#?\d{1,2}/#?\d{1,2}(?!\d)")
_CURETTE_AFTER = re.compile(r"#? ?(?:Gracey|McCall|Columbia|curette|格雷西|刮治器)", re.IGNORECASE)
_UNIT_IN_BRACKETS = re.compile(r"\((?:mm|cm|°|度|%|ml|mg|g|N|Ncm|kPa|mmHg)\)$", re.IGNORECASE)

_INSTRUMENT_BEFORE = _words(
    "锉 主尖 主牙胶 扩大 扩至 扩到 扩根 扩管 扩孔 扩通 根扩 机扩 手扩 疏通 根备 备至 备到 根管预备 成形至 成形到 敞开至 牙胶尖 试尖 初尖 "
    "终末尖 ISO 扩大针 车针 锥度 侧穿针 侧压针 ProTaper MAF IAF"
)
_INSTRUMENT_AFTER = _words(
    "K锉 k锉 H锉 h锉 C锉 C+锉 锉 K型 H型 C型 k型 扩大 扩孔 扩锉 主尖 主牙胶 牙胶 根管锉 根管器械 拔髓针 侧压 针 车针 手用 镍钛 "
    "刀片 手术刀 缝线 针头 尖 锥度 K-file file Kfile 拔髓 扩根 扩管 扩通 根备 通畅锉 探查根管"
)
# of any size: blades, burs, forceps are numbered beyond the sizes of files
_TOOL_AFTER = (
    "刀片",
    "手术刀",
    "刀柄",
    "圆刀",
    "尖刀",
    "镊",
    "球钻",
    "裂钻",
    "钻针",
    "车针",
    "缝线",
    "缝针",
    "丝线",
    "针头",
    "镰形",
    "刮治器",
)
_TOOL_BEFORE = ("球钻", "裂钻", "钻针", "车针", "刀片", "手术刀", "缝线", "丝线", "镰形器", "刮治器")
INSTRUMENT_SIZES = frozenset(_words("06 08 10 15 20 25 30 35 40 45 50 55 60 70 80"))
DEGREES = "度°º级类期型分"
"""What makes a Roman numeral or a letter before it a grade: 松动Ⅱ度, 安氏II类."""


def _letters(folded: str, at: int) -> int:
    while at < len(folded) and folded[at] in _LETTERS:
        at += 1
    return at


def _is_latin_unit(word: str) -> bool:
    return word not in _SINGLE_UPPER_SURFACES and word.lower() in _LATIN_UNITS


def unit_follows(folded: str, at: int) -> bool:
    """Whether what stands at ``at`` makes the number before it a quantity: 岁, mm, %, 天 (but not 天然), …"""
    end = at + 4
    while at < end and at < len(folded) and folded[at] in _BLANKS:
        at += 1
    if at >= len(folded):
        return False
    char = folded[at]
    if char in "%‰°º℃℉":
        return True
    if char in "×*":
        return folded[at + 1 : at + 3].lstrip()[:1] in _DIGITS
    if char in "μµ㎜㎝㎎㎏㎖㏄" or (char in "/" and folded[at + 1 : at + 2] in ("分", "次", "天", "日")):
        return True
    if char in _LETTERS:
        if folded[at] in "Kk" and folded[at + 1 : at + 3].lstrip().startswith(_GOLD):
            return True  # 18K金冠
        word = folded[at : min(at + 12, _letters(folded[: at + 12], at))]
        surface = folded[at + len(word) : at + len(word) + 1] in ("面", "侧")  # 74d面龋: d is the distal face
        return (_is_latin_unit(word) and not (surface and len(word) <= 2)) or (
            word in ("x", "X") and folded[at + 1 : at + 2] in _DIGITS
        )
    if char not in UNITS:
        return folded.startswith(_UNIT_WORDS, at)
    return not any(folded.startswith(word, at) for word in UNITS[char])


def measured_before(folded: str, at: int) -> bool:
    """Whether a word just before ``at`` says that the number measures something: PD 3, 年龄36, 约12, 图16."""
    before = folded[max(0, at - 12) : at].rstrip(" :")
    if not before:
        return False
    if curette_before(folded, at):
        return True
    before = _UNIT_IN_BRACKETS.sub("", before)
    if before[-1:] in tuple("±=<>≤≥×*$¥￥€£@_≈＜＞Φφ") or (before[-1:] == "\\" and before[-2:-1] not in _DIGITS):
        return True
    if before[-1:] == "转" and before[-2:-1] in _DIGITS:  # 83721234转16
        return True
    letters = len(before)
    while letters and (before[letters - 1] in _LETTERS or before[letters - 1] in _DIGITS):
        letters -= 1
    if before[letters:].upper() in _MEASURED_LATIN or (before[-1:] == "." and before[-3:-1].upper() == "NO"):
        return True
    numbered = before.endswith("号") and not before.endswith(_TOOTH_NUMBERS)  # 病案号36, but 牙号36
    return numbered or before.endswith(_MEASURED)


def tested(folded: str, at: int) -> bool:
    """Whether the sentence that leads to ``at`` reports what a pulp tester read: 电活力值：36牙38，37牙42."""
    return _PULP_TEST.search(_SENTENCE_END.split(folded[max(0, at - 60) : at])[-1]) is not None


def curette_before(folded: str, at: int) -> bool:
    """Whether a curette stands right before, or a list of their pairs: Gracey 11/12、13/14. Behind a list, 36 alone is a tooth again."""
    found = _CURETTE_BEFORE.search(folded[max(0, at - 40) : at])
    if found is None:
        return False
    return _PAIR.match(folded, at) is not None or bool(found["make"] and not found["list"])


def curette_after(folded: str, at: int) -> bool:
    return _CURETTE_AFTER.match(folded, at) is not None


def instrument_context(folded: str, start: int, end: int) -> bool:
    """Whether the number at ``start``..``end`` is the size of a file, point, needle or blade: 主尖25#, 15#K锉, 预备至25号."""
    after = folded[end : end + 9].lstrip(" #号")
    is_file = after.startswith(_INSTRUMENT_AFTER) or _TAPER_OR_TYPE.match(after) is not None
    return is_file or tool_context(folded, start, end) or _file_before(folded, start)


def _file_before(folded: str, start: int) -> bool:
    clause = start
    while clause and start - clause < 12 and folded[clause - 1] not in _CLAUSE_END:
        clause -= 1
    return any(word in folded[clause:start] for word in _INSTRUMENT_BEFORE)


def tool_context(folded: str, start: int, end: int) -> bool:
    """Whether a blade, bur or suture of any number stands right beside: 11#刀片, 球钻14#."""
    after = folded[end : end + 8].lstrip(" #号")
    return after.startswith(_TOOL_AFTER) or folded[max(0, start - 8) : start].rstrip(" #:").endswith(_TOOL_BEFORE)


_SURFACE = re.compile(r"[近远]中|[颊舌腭唇邻合][侧面]|牙合面|切端|切缘")
_FINDING = re.compile(
    r" ?(?:[近远]中|[颊舌腭唇邻合][侧面]|牙合面|[冠根]部)?(?:[深中浅]?龋|残[根冠]|缺[失损如]|松动|叩[痛诊(]|叩$|"
    r"阻生|滞留|早失|冠折|根折(?!断)|折[断裂]|"
    r"隐裂|劈裂|纵裂|楔[状缺形]|伸长|扭转|倾斜|脱[落位]|死髓|磨[耗损]|牙髓|根尖|迟萌|未萌|埋伏|变色|自发痛|咬合痛|冷热?痛|酸痛|疼痛)"
)
_SURFACE_BEFORE = re.compile(r"(?:[近远]中|[颊舌腭唇邻合][侧面])$")


def finding_at(folded: str, at: int) -> bool:
    """Whether what a tooth can have stands at ``at``: 深龋, 近中龋坏, 叩痛. Treatments are not among it: 1充填 is the first of a list."""
    return _FINDING.match(folded, at) is not None


def surface_at(folded: str, at: int) -> bool:
    return _SURFACE.match(folded, at) is not None


def surface_before(folded: str, at: int) -> bool:
    """Whether a side of a tooth stands right before: 右上7远中8近中."""
    return _SURFACE_BEFORE.search(folded[max(0, at - 3) : at]) is not None


def grade_follows(folded: str, at: int) -> bool:
    """Whether a Roman numeral or letter that ends at ``at`` is a grade or a class."""
    rest = folded[at : at + 3].lstrip(" ")
    return rest[:1] in tuple(DEGREES) and rest[:2] not in ("分叉", "分裂")
