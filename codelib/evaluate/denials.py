"""Which of the names in a text are asserted, and which are named to be denied: English and Chinese.

    "no caries or gingivitis, but pulpitis"   -> caries denied, gingivitis denied, pulpitis asserted
    "龋病可排除，考虑牙髓炎"                     -> 龋病 denied
    "cannot rule out caries"                  -> asserted: in doubt is not denied

Cues in the manner of NegEx (Chapman et al. 2001): a cue before a name reaches it over a few words that say nothing by themselves, and over the
other names of its list; one behind it stands right behind it. The text is plain (`answer_forms.plain`): small letters, single blanks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Span = tuple[int, int]
_REACH = 90  # characters before a name in which its cue stands
_LONGEST_LIST = 12  # names behind one in which its list may end: a model that repeats itself has thousands

_FILLER = (
    r"(?:a|an|any|the|of|for|to|with|by|as|be|been|is|in|that|this|there|it|have|has|had|show|shows|showing|see|find|seem|appear|appears|"
    r"suggest|suggests|suggestive|indicate|indicates|indicative|consistent|compatible|support|supports|meet|criteria|case|type|form|"
    r"signs?|evidence|indications?|features?|findings?|symptoms?|history|diagnosis|presence|diagnose|diagnosed|classified|considered|"
    r"visible|obvious|clear|active|significant|apparent|definite|definitive|overt|gross|notable|detectable|other|further|additional|"
    r"dental|clinical|radiographic|typical|true|primary|primarily|new|acute|chronic|severe|deep|early|untreated|real)"
)
_FILLER_ZH = (
    r"(?:明显|任何|典型|活动性|单纯|原发性?|继发性?|慢性|急性|其他|其它|的|有|是|为|存在|诊断为?|患有?|可见|见|到|出|属于|典型的)"
)
_BEFORE = re.compile(
    r"(?:\b(?:no|not|never|without|neither|nor|non|cannot|can't|don't|doesn't|didn't|isn't|wasn't|aren't|denies|denied|lacks?|absence|free|"
    r"negative|exclud(?:es|ed|ing)|rul(?:es|ed|ing) out|(?:can|could|we|i)(?: \w+)? (?:exclude|rule out)|rather than|"
    r"instead of|as opposed to|unlike|unlikely)\b"
    rf"(?:[ \n]{_FILLER}\b){{0,7}}[ \n]?(?:\bnon )?"
    r"|(?:无|無|没有|沒有|非|不是|并非|絕非|绝非|未见|未見|未发现|未發現|未查见|未探及|未检出|排除|除外|不考虑|不考慮|不像|不属于|不符合|不支持|否认|否認|未患|不存在|缺乏|"
    rf"并无|不伴|不太?像)(?:{_FILLER_ZH}){{0,4}} ?)$"
)
_DOUBLE = re.compile(
    r"(?:\b(?:cannot|can not|can't|could not|couldn't|not|never|unable to|hard to|difficult to)[ \n]"
    r"(?:be[ \n])?(?:\w+ly[ \n])?(?:rul(?:e|ed) out|exclud(?:e|ed))"
    r"|(?:不能|无法|難以|难以|尚不能|不可|不容|未能|尚未)(?:完全)?(?:排除|除外|否认)"
    rf"|\bnot (?:only|just|merely|simply|exclude|unlikely))(?:[ \n]{_FILLER}\b){{0,7}} ?$"
)
_BEHIND = re.compile(
    r"(?: ?\([^()\n]{0,40}\))?(?:[ \n](?:itself|here|alone))?"
    r"(?:,? ?(?:which )?\b(?:is|was|are|were|has been|have been|can be|could be|may be|seems?|appears?|looks|being)\b)?"
    r"(?:[ \n](?:therefore|thus|also|likely|probably|clearly|safely|largely|effectively|to be|very|highly|most))*"
    r"(?:[ \n](?:ruled out|excluded|unlikely|absent|denied|not (?:present|seen|visible|evident|apparent|likely|supported|indicated|observed|"
    r"detected|identified|found|noted|suspected|considered|the|a|an|consistent|my|in)|negative)\b)"
    r"| ?:? ?\((?:-|−|negative|absent|no|none|无|否|阴性)\)"
    r"|[ ]?(?:\([^()\n]{0,40}\))?(?:的?(?:诊断|表现|征象|证据|可能性?|体征)?)(?:可以?|已经?|被|基本|暂|均)?"
    r"(?:排除|除外|不支持|不成立|不考虑|不存在|阴性|未见|依据不足|证据不足|不明显)"
    r"|[ ]?的?可能性?(?:较|很|极)?(?:小|低)"
)
# an answer point by point: "gingivitis: no", a row of a table, {"gingivitis": false}; "caries: no pain" and "caries - no gingivitis" deny others
_END = r"(?= ?(?:$|[\n.,;。，；}\])]))"
_NEXT = r"(?= (?:\w+ )?\w+ ?:)"  # "gingivitis: no caries: yes"
_NO_BEHIND = re.compile(
    r" ?(?:[:=→]|[-–—](?= )) ?(?:\{ ?[a-z]+ ?: ?)?(?:"
    rf"(?:none|no|nil|negative|false|null|无|否|没有|未见|未发现|不存在|阴性|-|0(?![\d.%]))(?:{_END}|{_NEXT})"
    r"|none (?:visible|detected|seen|found|noted|present|observed|evident|apparent)\b|无(?:明显)?异常"
    r"|no (?:(?:visible|clinical|radiographic|clear|obvious) )?(?:evidence|signs?|indications?)\b(?! of)"
    r"|absent\b|unlikely\b|not (?:present|seen|visible|evident|apparent|observed|detected|identified|found|noted)\b)"
    r"| ?, ?(?:present|presence|detected|exists?|found|observed|visible|positive) ?: ?(?:false|no|absent|0)\b"
    rf"|(?: (?:no|无|否)| ?[✗✘❌])(?! ?\.){_END}"  # "caries No. 26"
)
_BOX_BEFORE = re.compile(r"(?:\[ ?\]|[☐✗✘❌]) ?$")
_LIST = re.compile(
    r"[ \n]?(?:\([^()\n]{0,40}\))?[ ]?(?:,? ?\b(?:or|nor|and)\b|[,、/]|以?及|和|或者?|与|亦无|也无)(?:[ ]?\b(?:or|nor|and)\b)?"
    rf"(?:[ ]{_FILLER}\b){{0,4}}[ ]?(?:{_FILLER_ZH}){{0,2}}"
)
_FIRM = re.compile(
    r"\b(?:or|nor|and)\b|[、/]|及|和|或|与|亦无|也无"
)  # a comma alone may begin something new: no caries, pulpitis


def answered_no(text: str, span: Span) -> bool:
    """Whether a name stands in a list of points that are answered one by one, and its answer is no: "gingivitis: no", "[ ] gingivitis"."""
    start, end = span
    return _NO_BEHIND.match(text, end) is not None or _BOX_BEFORE.search(text, max(0, start - 4), start) is not None


def _carried(text: str, spans: Sequence[Span], which: int) -> bool:
    """Whether the name stands in one list with the one before it: "caries, gingivitis or pulpitis", not "caries, pulpitis"."""
    joint = text[spans[which - 1][1] : spans[which][0]]
    if not _LIST.fullmatch(joint):
        return False
    for n in range(which, min(len(spans), which + _LONGEST_LIST)):
        between = text[spans[n - 1][1] : spans[n][0]]
        if not _LIST.fullmatch(between):
            return False
        if _FIRM.search(between):
            return True
    return False


def asserted(text: str, spans: Sequence[Span]) -> list[bool]:
    """For each name (spans in order, apart) whether the text asserts it."""
    kept: list[bool] = []
    denied_before = False  # the one before was denied by a cue that stands before its list
    for n, (start, end) in enumerate(spans):
        before = text[max(0, start - _REACH, spans[n - 1][1] if n else 0) : start]
        by_cue = _BEFORE.search(before) is not None and not _DOUBLE.search(before)
        denied_before = by_cue or (denied_before and _carried(text, spans, n))
        kept.append(not denied_before and _BEHIND.match(text, end) is None and not answered_no(text, (start, end)))
    return kept
