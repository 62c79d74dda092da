"""The vocabulary of tooth notation: words and glyphs. What tells a quantity from a tooth stands in `codelib.dental.teeth_guards`.

Tables only; what the words mean together stands in `codelib.dental.teeth_grammar`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache


@dataclass(frozen=True)
class Name:
    """A named tooth or group. ``ordinal_base``: 第 n of the group is tooth ordinal_base + n (第一磨牙 is 5 + 1)."""

    digits: tuple[int, ...]
    primary: bool = False
    ordinal_base: int | None = None
    alone: bool = False  # a group that is a region even without side and arch
    with_arch: bool = False  # a group that is a region as soon as its arch is said (上半口)

    @property
    def exact(self) -> bool:
        return len(self.digits) == 1


_PREMOLAR, _MOLAR, _PRIMARY_MOLAR = Name((4, 5), False, 3, alone=True), Name((6, 7, 8), False, 5), Name((4, 5), True, 3)
_FRONT, _BACK = Name((1, 2, 3), alone=True), Name((4, 5, 6, 7, 8), alone=True)
_QUADRANT_TEETH = Name((1, 2, 3, 4, 5, 6, 7, 8))
_ARCH_TEETH = Name((1, 2, 3, 4, 5, 6, 7, 8), with_arch=True)
_NAMES: dict[Name, str] = {  # traditional characters are folded before (齒 -> 齿)
    Name((1,)): "中切牙 正中切牙 中门牙 正中门牙 中门齿 正中门齿 中切齿",
    Name((2,)): "侧切牙 侧门牙 侧门齿 侧切齿",
    Name((3,)): "尖牙 犬齿 犬牙 虎牙 恒尖牙",
    Name((6,)): "六龄齿 六龄牙 六岁齿 六岁牙 6龄齿 6龄牙 6岁牙 6岁齿",
    Name((8,)): "智齿 智牙 智慧齿 智慧牙 尽头牙 尽根牙 立事牙 立世牙",
    Name((1,), True): "乳中切牙 乳中门齿",
    Name((2,), True): "乳侧切牙 乳侧门齿",
    Name((3,), True): "乳尖牙 乳犬齿 乳犬牙",
    Name((1, 2), alone=True): "切牙 门牙 门齿 切齿 大门牙",
    Name((1, 2), True): "乳切牙 乳门牙 乳门齿",
    _PREMOLAR: "前磨牙 双尖牙 小臼齿 前臼齿 前磨牙区",
    _MOLAR: "磨牙 恒磨牙 磨牙区 后磨牙",
    replace(_MOLAR, alone=True): "大臼齿 臼齿 大牙 槽牙 后槽牙",  # 磨牙 alone may be what the patient does at night
    _PRIMARY_MOLAR: "乳磨牙 乳臼齿 乳磨牙区",
    _FRONT: "前牙 前牙区 前齿 前牙区域",
    _BACK: "后牙 后牙区 后齿 后牙区域",
    Name((1, 2, 3), True, None, True): "乳前牙 乳前牙区 前乳牙",
    Name((4, 5), True, None, True): "乳后牙 乳后牙区 后乳牙",
    Name((1, 2, 3, 4, 5), True, with_arch=True): "乳牙 乳牙区 乳牙列",
    _QUADRANT_TEETH: "牙 牙区 区 区牙齿",
    _ARCH_TEETH: "半口 半口牙 半口牙齿 牙齿",
}
_WORDS: dict[str, dict[str, str]] = {  # kind -> value -> words
    "SIDE": {"R": "右 右侧 右边", "L": "左 左侧 左边", "RL": "双侧 两侧 左右 左右侧 双侧的 左右两侧"},
    "ARCH": {"U": "上 上颌 上牙弓 上牙列", "L": "下 下颌 下牙弓 下牙列", "UL": "上下 上下颌 上、下颌"},
    "ALL": {"": "全口 全口牙 全口牙齿 全牙列 全口牙列 全牙弓 满口 满口牙"},
    "SEP": {"、": "、 和 及 与 以及 &", "/": "\\", ",": ","},
    "RANGE": {"-": "- ~ – — ― − ‐ ‑ ∼ 〜 → ⟶ ➔ -> => 至 到"},
    "BAR": {"|": "| │ ┃ ║ ∣ ⎪ ⏐ 丨 ⏀ ⏃ ⏆"},
    "RULE": {"": "─ ━ ═ _ + ┼ ╋ ╂ ╬ ╫ ╪ ┿ ¯ ‾ ￣ ="},
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
    "QUADRANT": {"": "象限"},
    # 牙 opens these: they are no teeth. Longest match keeps 左下牙龈 from being a tooth.
    "STOP": {
        "": "牙龈 牙列 牙槽 牙周 牙髓 牙本质 牙合 牙石 牙体 牙面 牙弓 牙冠 牙根 牙尖 牙胚 牙胶 "
        "牙线 牙刷 牙膏 牙科 牙医 牙颌 "
        "牙片 牙釉质 牙骨质 牙结石 牙菌斑 牙列缺损 "
        "区域 区间 区别 半口义齿 全口义齿 磨牙症 夜磨牙 磨牙后 磨牙后垫 "
        "倒数第一 倒数第二 倒数第三 倒数第1 倒数第2 倒数第3 "
        "磨牙关系 尖牙关系 切牙管 切牙乳头 尖牙窝 尖牙引导 中和 以上 以下 晚上 早上 基本上 加上 以及时 及时 及早 及髓"
    },
}
_CHINESE_DIGITS = "一二三四五六七八九"  # no ninth tooth: 左下第九牙 is rejected


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


Vocabulary = dict[str, list[tuple[str, str, object]]]
VOCABULARY: Vocabulary = _vocabulary()


@cache
def vocabulary_with(words: tuple[tuple[str, Name], ...]) -> Vocabulary:
    """The vocabulary with a clinic's own names of teeth; a built-in name of the same spelling gives way."""
    if not words:
        return VOCABULARY
    own = {fold(word): name for word, name in words}
    table = {char: [entry for entry in entries if entry[0] not in own] for char, entries in VOCABULARY.items()}
    for word, name in own.items():
        table.setdefault(word[0], []).append((word, "NAME", name))
    return {char: sorted(entries, key=lambda entry: -len(entry[0])) for char, entries in table.items()}


CROSSES = frozenset("┼╋╂╬╫╪┿")
# Glyph -> (arch, sides, where its digits stand). ┘ closes the upper right quadrant: its digits stand before it.
_GLYPHS = {
    ("U", "R", "before"): "┘⏌┛╝╯",
    ("U", "L", "after"): "└⎿┗╚╰",
    ("L", "R", "before"): "┐⏋┓╗╮",
    ("L", "L", "after"): "┌⎾┏╔╭",
    ("U", "RL", "both"): "┴⏊┻⏂⏅⏈",
    ("L", "RL", "both"): "┬⏉┳⏁⏄⏇",
}
GLYPHS = {char: meaning for meaning, chars in _GLYPHS.items() for char in chars}
DRAWING = frozenset([*GLYPHS, *CROSSES, *_WORDS["BAR"]["|"].split()])

ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5}
ROMAN_CHARS = {char: n for chars in ("ⅠⅡⅢⅣⅤⅥⅦⅧ", "ⅰⅱⅲⅳⅴⅵⅶⅷ") for n, char in enumerate(chars, 1)}  # 6 to 8 are no primary tooth
CIRCLED = {char: n for chars in ("①②③④⑤⑥⑦⑧", "❶❷❸❹❺❻❼❽", "⓵⓶⓷⓸⓹⓺⓻⓼") for n, char in enumerate(chars, 1)}

_TRADITIONAL = dict(zip("齒顎頜側門號雙兩區個顆恆後歲時間點週類級張錐鑿擴備針內齡將與邊殘齲觸鬆動圖數約顏鑷鉗縫鑽慧",
                        "齿颌颌侧门号双两区个颗恒后岁时间点周类级张锥凿扩备针内龄将与边残龋触松动图数约颜镊钳缝钻慧", strict=True))  # fmt: skip
FOLD = {
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms
    **_TRADITIONAL,
    **dict(zip("【】〔〕", "[][]", strict=True)),
    "\u3000": " ",
    "﹟": "#",
    "腭": "颌",
    "歯": "齿",
}


_FOLD = str.maketrans(FOLD)


def fold(text: str) -> str:
    """The text for matching, character for character."""
    return text.translate(_FOLD)


_ENGLISH_NAMES: dict[Name, str] = {
    Name((1,)): "central incisors?|central",
    Name((2,)): "lateral incisors?|lateral",
    Name((3,)): "canines?|cuspids?|eye (?:tooth|teeth)",
    Name((4,)): "(?:first|1st) (?:premolars?|bicuspids?)",
    Name((5,)): "(?:second|2nd) (?:premolars?|bicuspids?)",
    Name((6,)): "(?:first|1st) (?:permanent )?molars?|six[- ]year molars?",
    Name((7,)): "(?:second|2nd) (?:permanent )?molars?",
    Name((8,)): "(?:third|3rd) molars?|wisdom (?:tooth|teeth)",
    Name((1,), True): "(?:primary|deciduous) central incisors?",
    Name((2,), True): "(?:primary|deciduous) lateral incisors?",
    Name((3,), True): "(?:primary|deciduous) canines?",
    Name((4,), True): "(?:primary|deciduous) (?:first|1st) molars?|(?:first|1st) (?:primary|deciduous) molars?",
    Name((5,), True): "(?:primary|deciduous) (?:second|2nd) molars?|(?:second|2nd) (?:primary|deciduous) molars?",
    Name((1, 2)): "incisors?",
    _PREMOLAR: "premolars?|bicuspids?",
    _MOLAR: "molars?",
    _FRONT: "anterior (?:tooth|teeth|region|area)",
    _BACK: "posterior (?:tooth|teeth|region|area)",
    _QUADRANT_TEETH: "teeth|quadrant",
}
_ENGLISH_WORDS: list[tuple[str, str, str]] = [
    ("upper|maxillary", "ARCH", "U"),
    ("lower|mandibular", "ARCH", "L"),
    ("right", "SIDE", "R"),
    ("left", "SIDE", "L"),
    ("bilateral", "SIDE", "RL"),
    ("full[- ]mouth|whole mouth|all teeth|entire dentition", "ALL", ""),
    # no teeth: the word is spent on them
    (
        "(?:molar|canine|incisor) (?:relationship|relation|guidance|fossa|class)|(?:upper|lower) (?:lip|jaw|limb|eyelid)|"
        "lower than|upper limit|lateral (?:wall|view|cephalogram|excursion)|central (?:line|relation|fossa)|all right",
        "STOP",
        "",
    ),
]


def _english() -> tuple[re.Pattern[str], dict[str, tuple[str, object]]]:
    """One pattern of all English words, and what each of its groups means."""
    rows: list[tuple[str, str, object]] = [(words, "NAME", name) for name, words in _ENGLISH_NAMES.items()]
    rows += _ENGLISH_WORDS
    rows.sort(key=lambda row: row[1] not in ("STOP", "ALL"))  # the longer readings stand before their parts
    parts = [f"(?P<w{n}>{words.replace(' ', ' {1,3}').replace('[- {1,3}]', '[- ]')})" for n, (words, _, _) in enumerate(rows)]
    pattern = re.compile(f"(?:{'|'.join(parts)})(?![A-Za-z])", re.IGNORECASE)
    return pattern, {f"w{n}": (kind, value) for n, (_, kind, value) in enumerate(rows)}


ENGLISH, ENGLISH_KINDS = _english()
"""The English words: matched where a run of letters begins, in any case."""
