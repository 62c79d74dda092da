"""The vocabulary of tooth notation: words, glyphs, units, and the words that tell a quantity from a tooth.

Tables only; what the words mean together stands in `codelib.data.teeth_grammar`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """A named tooth or group. ``ordinal_base``: 第 n of the group is tooth ordinal_base + n (第一磨牙 is 5 + 1)."""

    digits: tuple[int, ...]
    primary: bool = False
    ordinal_base: int | None = None
    alone: bool = False  # a group that is a region even without side and arch

    @property
    def exact(self) -> bool:
        return len(self.digits) == 1


_PREMOLAR, _MOLAR, _PRIMARY_MOLAR = Name((4, 5), False, 3), Name((6, 7, 8), False, 5), Name((4, 5), True, 3)
_FRONT, _BACK = Name((1, 2, 3), alone=True), Name((4, 5, 6, 7, 8), alone=True)
_QUADRANT_TEETH = Name((1, 2, 3, 4, 5, 6, 7, 8))
_NAMES: dict[Name, str] = {  # traditional characters are folded before (齒 -> 齿)
    Name((1,)): "中切牙 正中切牙 中门牙 正中门牙 中门齿 正中门齿 中切齿",
    Name((2,)): "侧切牙 侧门牙 侧门齿 侧切齿",
    Name((3,)): "尖牙 犬齿 犬牙 虎牙 恒尖牙",
    Name((6,)): "六龄齿 六龄牙 六岁齿 六岁牙 6龄齿 6龄牙 6岁牙 6岁齿",
    Name((8,)): "智齿 智牙 智慧齿 智慧牙",
    Name((1,), True): "乳中切牙 乳中门齿",
    Name((2,), True): "乳侧切牙 乳侧门齿",
    Name((3,), True): "乳尖牙 乳犬齿 乳犬牙",
    Name((1, 2)): "切牙 门牙 门齿 切齿",
    Name((1, 2), True): "乳切牙 乳门牙 乳门齿",
    _PREMOLAR: "前磨牙 双尖牙 小臼齿 前臼齿 前磨牙区",
    _MOLAR: "磨牙 大臼齿 臼齿 恒磨牙 磨牙区",
    _PRIMARY_MOLAR: "乳磨牙 乳臼齿 乳磨牙区",
    _FRONT: "前牙 前牙区 前齿 前牙区域",
    _BACK: "后牙 后牙区 后齿 后牙区域",
    Name((1, 2, 3), True, None, True): "乳前牙 乳前牙区",
    Name((4, 5), True, None, True): "乳后牙 乳后牙区",
    Name((1, 2, 3, 4, 5), True): "乳牙 乳牙区",
    _QUADRANT_TEETH: "牙 牙齿 牙区 区 象限 区牙齿",
}
_WORDS: dict[str, dict[str, str]] = {  # kind -> value -> words
    "SIDE": {"R": "右 右侧 右边", "L": "左 左侧 左边", "RL": "双侧 两侧 左右 左右侧 双侧的 左右两侧"},
    "ARCH": {"U": "上 上颌 上牙弓 上牙列", "L": "下 下颌 下牙弓 下牙列", "UL": "上下 上下颌 上、下颌"},
    "ALL": {"": "全口 全口牙 全口牙齿 全牙列 全口牙列 全牙弓 满口 满口牙"},
    "SEP": {"、": "、 和 及 与 以及 &", ",": ","},
    "RANGE": {"-": "- ~ – — ― − ‐ ‑ ∼ 〜 至 到"},
    "BAR": {"|": "| │ ┃ ∣ ⎪ ⏐"},
    "RULE": {"": "─ ━ ═ _ + ┼ ╋ ¯"},
    "OPEN": {"": "["},
    "CLOSE": {"": "]"},
    "HASH": {"": "# ♯"},
    "ORDINAL": {"": "第"},
    "PRIMARY": {"": "乳"},
    "PERMANENT": {"": "恒"},
    "TOOTH_NO": {"": "号"},
    "ADJECTIVE": {"": "阻生 埋伏 埋伏阻生 近中阻生 水平阻生 垂直阻生 低位阻生 前倾阻生 高位阻生"},
    "POSITION": {"": "牙位 牙位: 的 :"},
    "MEASURE": {"": "颗 个 枚 只"},
    # 牙 opens these: they are no teeth. Longest match keeps 左下牙龈 from being a tooth.
    "STOP": {
        "": "牙龈 牙列 牙槽 牙周 牙髓 牙本质 牙合 牙石 牙体 牙面 牙弓 牙冠 牙根 牙尖 牙胚 牙胶 "
        "牙线 牙刷 牙膏 牙科 牙医 牙痛 牙疼 牙颌 "
        "牙片 牙釉质 牙骨质 牙结石 牙菌斑 牙隐裂 牙震荡 牙外伤 牙缺失 牙列缺损 "
        "牙移动 区域 区间 区别 磨牙症 夜磨牙 磨牙后 磨牙后垫 "
        "磨牙关系 尖牙关系 切牙管 切牙乳头 尖牙窝 尖牙引导 中和 以上 以下 晚上 早上 基本上 加上 以及时 及时 及早 及髓"
    },
}
_CHINESE_DIGITS = "一二三四五六七八"


def _vocabulary() -> dict[str, list[tuple[str, str, object]]]:
    """First character -> (word, kind, value), the longest first."""
    entries: list[tuple[str, str, object]] = [
        (word, kind, value) for kind, values in _WORDS.items() for value, words in values.items() for word in words.split()
    ]
    entries += [(word, "NAME", name) for name, words in _NAMES.items() for word in words.split()]
    entries += [(char, "CHINESE_DIGIT", n) for n, char in enumerate(_CHINESE_DIGITS, 1)]
    entries.append(("两", "CHINESE_DIGIT", 2))
    table: dict[str, list[tuple[str, str, object]]] = {}
    for entry in sorted(entries, key=lambda e: -len(e[0])):
        table.setdefault(entry[0][0], []).append(entry)
    return table


VOCABULARY = _vocabulary()

# Glyph -> (arch, sides, where its digits stand). ┘ closes the upper right quadrant: its digits stand before it.
_GLYPHS = {
    ("U", "R", "before"): "┘⏌┛╝╯",
    ("U", "L", "after"): "└⎿┗╚╰",
    ("L", "R", "before"): "┐⏋┓╗╮",
    ("L", "L", "after"): "┌⎾┏╔╭",
    ("U", "RL", "both"): "┴⏊┻",
    ("L", "RL", "both"): "┬⏉┳",
}
GLYPHS = {char: meaning for meaning, chars in _GLYPHS.items() for char in chars}

ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5}
ROMAN_CHARS = {"Ⅰ": 1, "Ⅱ": 2, "Ⅲ": 3, "Ⅳ": 4, "Ⅴ": 5, "ⅰ": 1, "ⅱ": 2, "ⅲ": 3, "ⅳ": 4, "ⅴ": 5}
CIRCLED = {char: n for chars in ("①②③④⑤⑥⑦⑧", "❶❷❸❹❺❻❼❽", "⓵⓶⓷⓸⓹⓺⓻⓼") for n, char in enumerate(chars, 1)}

_TRADITIONAL = dict(zip("齒顎頜側門號雙兩區個顆恆後歲時間點週類級張錐鑿擴備針內",
                        "齿颌颌侧门号双两区个颗恒后岁时间点周类级张锥凿扩备针内", strict=True))  # fmt: skip
FOLD = {
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms
    **_TRADITIONAL,
    "\u3000": " ",
    "腭": "颌",
}

# What turns a number before it into a quantity. Right of the bar: the words in which the character means something else.
UNITS: dict[str, str] = {
    "岁": "", "月": "月牙", "天": "天然", "次": "次要 次日", "年": "年轻", "日": "日常", "周": "周围 周边 周径 周炎 周组织",
    "时": "时有 时常 时而 时感 时疼 时痛", "分": "分叉 分离 分裂 分根", "秒": "", "小": "小窝 小面 小凹 小洞 小牙", "钟": "",
    "个": "个别", "颗": "颗粒", "枚": "", "只": "只能 只有 只需 只做 只是", "粒": "", "例": "例行", "人": "人工", "元": "",
    "块": "块状", "片": "片状 片示 片见", "张": "张口", "支": "支抗 支架", "盒": "", "倍": "", "度": "", "级": "", "期": "期待",
    "类": "类似", "型": "", "厘": "", "毫": "毫无", "公": "", "克": "", "升": "", "点": "点状 点隙",
    "页": "", "楼": "", "室": "", "床": "",
    "层": "", "栋": "", "名": "", "斤": "", "世": "", "余": "余留 余牙 余未 余无 余正",
    "多": "多生 多发 多处 多面", "旬": "", "针": "",
    "处": "处理 处置", "袋": "", "包": "", "滴": "", "号": "号牙 号齿", "种": "种植", "代": "",
    "毛": "", "万": "", "千": "", "百": "",
    "半": "半切 半阻 半年", "届": "", "区": "", "路": "", "栏": "", "成": "",
}  # fmt: skip
LATIN_UNITS = frozenset(
    [
        "mm",
        "cm",
        "m",
        "um",
        "nm",
        "ml",
        "l",
        "mg",
        "g",
        "kg",
        "h",
        "hr",
        "hrs",
        "d",
        "day",
        "days",
        "s",
        "sec",
        "min",
        "mins",
        "w",
        "wk",
        "y",
        "yr",
        "yrs",
        "yo",
        "month",
        "months",
        "week",
        "weeks",
        "year",
        "years",
        "hour",
        "hours",
        "mmhg",
        "kpa",
        "mpa",
        "kv",
        "kvp",
        "ma",
        "mas",
        "n",
        "ncm",
        "hz",
        "khz",
        "bpm",
        "iu",
        "u",
        "px",
        "mb",
        "kb",
        "gb",
        "kcal",
        "v",
        "usd",
        "rmb",
        "cc",
    ]
)
_SINGLE_UPPER_SURFACES = frozenset("MDBLOPV")  # 36D is the distal face, 36d is 36 days


def is_latin_unit(word: str) -> bool:
    return word not in _SINGLE_UPPER_SURFACES and word.lower() in LATIN_UNITS


MEASURED = [
    "年龄",
    "血压",
    "心率",
    "脉搏",
    "体温",
    "体重",
    "身高",
    "共",
    "共计",
    "约",
    "大约",
    "第",
    "编号",
    "号码",
    "电话",
    "病历号",
    "住院号",
    "门诊号",
    "卡号",
    "床号",
    "微信",
    "深度",
    "宽度",
    "长度",
    "高度",
    "厚度",
    "扭矩",
    "比色",
    "色号",
    "型号",
    "批号",
    "规格",
    "直径",
    "转速",
    "龄",
    "每",
    "每隔",
    "间隔",
    "逾",
    "超过",
    "不足",
    "仅",
    "至少",
    "最多",
    "合计",
    "总计",
    "平均",
    "得分",
    "评分",
    "附着丧失",
    "探诊",
    "探诊深度",
    "牙周袋",
    "袋深",
    "覆盖",
    "开口度",
    "张口度",
]
"""Words after which a number measures something."""
MEASURED_LATIN = frozenset(
    [
        "PD",
        "AL",
        "CAL",
        "GR",
        "BOP",
        "BP",
        "ISO",
        "HR",
        "P",
        "T",
        "R",
        "SNA",
        "SNB",
        "ANB",
        "NO",
        "VAS",
        "PI",
        "GI",
        "BI",
        "PLI",
        "SBI",
        "GP",
        "WL",
        "QQ",
        "TEL",
    ]
)

INSTRUMENT_BEFORE = [
    "锉",
    "扩锉",
    "主尖",
    "主牙胶",
    "扩大",
    "扩至",
    "扩大至",
    "预备至",
    "预备到",
    "扩通",
    "疏通",
    "根备",
    "机扩",
    "成形至",
    "牙胶尖",
    "试尖",
    "ISO",
    "扩大针",
    "车针",
]
INSTRUMENT_AFTER = [
    "K锉",
    "k锉",
    "H锉",
    "h锉",
    "C锉",
    "锉",
    "K型",
    "H型",
    "C型",
    "k型",
    "扩大",
    "扩孔",
    "扩锉",
    "主尖",
    "主牙胶",
    "牙胶",
    "根管锉",
    "根管器械",
    "拔髓针",
    "侧压",
    "针",
    "车针",
    "手用",
    "镍钛",
    "刀片",
    "手术刀",
    "缝线",
    "针头",
]
INSTRUMENT_SIZES = frozenset(["06", "08", "10", "15", "20", "25", "30", "35", "40", "45", "50", "55", "60", "70", "80"])
DEGREES = "度°º级类期型分"
"""What makes a Roman numeral or a letter before it a grade: 松动Ⅱ度, 安氏II类."""
