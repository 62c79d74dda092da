"""The forms of identifiers: one table of expressions for folded, simplified text.

Digits are bounded by look-arounds: ``\\b`` does not stand between a Chinese character and a digit. Where a pattern has a group ``v``, that
group is the identifier and the rest its label (微信 | lin_2008). Every quantifier is bounded, so that time grows with the text and not faster.
"""

from __future__ import annotations

import re

from codelib.data.person_names_lists import CJK

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
        r"(?:身份证|身分证|证件|护照|军官证|通行证|社保|医保|居民健康|驾驶证|台胞证|军人证|学生证)(?:号码?|卡号?|编号|账号|卡号码)?"
        r"(?:后[四六]位|尾号)?" + _COLON + r"(?P<v>[A-Za-z]{0,3}\d[\dA-Za-z\- ]{2,24}[\dA-Za-z])",
    ),
    # Hong Kong A123456(7), Taiwan A123456789, permits H0312345601, T12345678, passports with groups
    ("ID", r"(?<![A-Za-z0-9])[A-Z]{1,2}\d{6}\s?[(（][0-9A][)）]"),
    ("ID", r"(?<![A-Za-z0-9])[A-Z][12]\d{8}(?![A-Za-z0-9])"),
    (
        "ID",
        r"(?:身分证|身份証|居住证|回乡证|通行证|台胞证|护照|签证|居留证|永居证|军人证|警官证|工作证|[Pp]assport|HKID)[^\d\n，。；]{0,8}?"
        r"(?P<v>[A-Za-z]{0,3}\s?\d[\dA-Za-z() （）\-]{4,22}[\dA-Za-z)）])",
    ),
    ("ID", r"[军兵警][^\d\n，。]{0,2}字第?\s?(?P<v>\d{5,10})号?"),
    ("ID", r"尾号" + _COLON + r"(?P<v>\d{3,6}[Xx]?)(?!\d)"),
    ("ID", r"(?<![A-Za-z0-9])(?:[EGDSPHCM]\d{8,10}|E[A-Z]\d{7})(?![A-Za-z0-9])"),
    # phones: mobile in any grouping whose first group has three digits, or each digit apart; landlines; service numbers
    ("PHONE", rf"(?<!\d)(?:\(?\+?(?:00)?86\)?[ \-]?)?1[3-9]\d(?:{_SEP}?\d){{8}}(?!\d)"),
    ("PHONE", r"(?<!\d)1[3-9]\d(?P<s>[^0-9A-Za-z" + CJK + r"\n]{1,3})\d{4}(?P=s)\d{4}(?!\d)"),
    ("PHONE", r"(?<!\d)1(?P<s>[ .\-]{1,2})[3-9](?:(?P=s)\d){9}(?!\d)"),
    (
        "PHONE",
        r"(?<!\d)[(（]?0[1-9]\d{1,2}[)）]?[ \-]{0,3}[2-9]\d{2,3}[ \-]{0,3}\d{4}(?!\d)(?:\s?(?:-|转|转分机|分机|内线|ext\.?|x)\s?\d{1,6})?",
    ),
    ("PHONE", r"(?:分机|内线|短号|虚拟网)号?[\s:：]{0,3}(?P<v>\d{3,6})(?!\d|[.年月])"),
    # Hong Kong and Macau 9123 4567, Taiwan 0912-345-678 and (02) 2712-3456
    ("PHONE", r"(?<!\d)\+?(?:00)?(?:852|853)[ \-]?\d{4}[ \-]?\d{4}(?!\d)"),
    ("PHONE", r"(?<!\d)\+?(?:00)?886[ \-]?\d{1,3}(?:[ \-]?\d{3,4}){2}(?!\d)"),
    ("PHONE", r"(?<!\d)09\d{2}[ \-]?\d{3}[ \-]?\d{3}(?!\d)"),
    ("PHONE", r"(?<!\d)[(（]?0[2-8]\d?[)）]?[ \-]{1,2}\d{3,4}[ \-]\d{4}(?!\d)"),
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
    ("ACCOUNT", r"(?<![A-Za-z0-9._%+-])@(?P<v>[^\s@，。,;；:：!！?？]{1,16})"),
    ("ACCOUNT", r"(?:昵称|网名|用户名|花名)[\s:：为是叫]{0,3}[“\"'「]?(?P<v>[^\s，。,;；:：“”\"」]{1,16})"),
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
COMPILED = tuple((cls, re.compile(pattern)) for cls, pattern in _PATTERNS)
