"""Rare surnames: the rest of the Hundred Family Surnames and of those in use, and Japanese ones. They only raise a suspicion.

A rare surname is mostly a word of every day (水, 云, 路), so no rule replaces by it; person_names_bare weighs it against the words around.
"""

from __future__ import annotations

from codelib.data.person_names_lists import surname_length

_HUNDRED = frozenset(
    "水云傅酆元卫华闻习伏狄贝谈危路宣贲吉钮羊家松井富巴弓牧隗山蓬班仰秋暴厉韶薄鬱胥莘贡扶堵浦宦鱼慎暨居衡弘禄殳越勾融那毋乜穆钭钱孙戚滕毕费廉昌杭嵇邢"
    "宓仇祖景束印怀从索籍能双终步都满国文广东利师红权公游"
)
_IN_USE = frozenset(
    "兰代候南原图塔木植楚汝海淡渠漆铁青鲜鹿黑位信修但俸初化区奉妥宛巨布庹弥忻恽招撒操斛昂普智智檀永泮洑火爨犹玄玉琚甯疏皇税竹纵翦良芈英茆菅虎裔西言豫赏赛达"
    "过鄞采野钦镇闪阿随雒零顿香骞令佐侬元光博历合回坚多宝寻尔岐岩岳年库恒慈战承招拓收旦星春晓月朝李来柘森次歌泉泽波洛洒涓清源漫潜牙牟环珠班瑞生由留白百盈真矫神秀秘"
    "稽端答累练缴考聆脱腾至苍若茶荔莎萨葉蒿蓉蔡藤虑衣解论诺谷豹赤赫起辉运连道部重银锁门闫阔降院隐雪雨青静韵颛飞首骑鱼鲍鸟鸿黎黑默齐龙仵佀僧兆冮勒匙卿及厚召善堂奎展"
) - frozenset(
    "牙来考脱起部重至降院收百生首李解多次累答留真合道若运练论及植汝位化区入回好环白美边自比特半周漆火拓旋连初定阔锁光令清洒年库"
)
_COMPOUND = (
    "太史 端木 闻人 夏侯 尉迟 公羊 赫连 澹台 皇甫 宗政 濮阳 公冶 太叔 申屠 公孙 慕容 仲孙 钟离 长孙 宇文 鲜于 司空 闾丘 "
    "亓官 司寇 巫马 公西 颛孙 公良 漆雕 乐正 谷梁 拓跋 轩辕 令狐 段干 百里 呼延 东郭 南门 羊舌 微生 梁丘 左丘 东门 西门 "
    "完颜 纳兰 叶赫 那拉 富察 佟佳 第五 贺兰 耶律 张简 范姜 欧阳 上官 诸葛 佐藤 铃木 高桥 田中 伊藤 渡边 山本 中村 小林 "
    "加藤 吉田 山田 佐佐木 松本 井上 木村 清水 斋藤 山口 阿部 池田 桥本 山崎 石川 中岛 前田 藤田 小川 冈田 后藤 长谷川 "
    "村上 近藤 石井 坂本 远藤 青木 藤井 西村 福田 太田 三浦 藤原 冈本 松田 中川 中野 原田 小野 田村 竹内 金子 和田 中山 "
    "石田 上田 森田 柴田 酒井 工藤 横山 宫崎 宫本 内田 高木 安藤 岛田 谷口 大野 丸山 今井 河野 藤本 村田 武田 上野 杉山 "
    "增田 小山 大塚 平野 久保 松井 千叶 岩崎 木下 松尾 野口 野村 佐野 菊池 "
)
RARE_COMPOUND = frozenset(_COMPOUND.split())


def family_length(text: str, start: int) -> int:
    """Length of the surname at ``start``, rare and Japanese ones too: 3, 2, 1, or 0 where there is none."""
    for size in (3, 2):
        if text[start : start + size] in RARE_COMPOUND:
            return size
    if text[start + 1 : start + 2] == "氏" and surname_length(text, start) == 1:
        return 2  # 李氏红绒, as Vietnamese women are written
    return surname_length(text, start) or int(text[start : start + 1] in _HUNDRED or text[start : start + 1] in _IN_USE)


def rare_surnames() -> frozenset[str]:
    """Those of one character."""
    return _HUNDRED | _IN_USE


def is_rare(text: str, start: int) -> bool:
    """A surname of these lists alone."""
    family = family_length(text, start)
    return bool(family) and (family > surname_length(text, start))
