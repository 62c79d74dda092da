"""Is a condition present, suspected, negated, past or planned? A small context algorithm in the manner of NegEx.

    segment   what stands between 。；, and line ends: no cue reaches past it
    item      what stands between 、和或 inside a segment

A cue before a condition (排除, 否认, 曾, 可疑) reaches over the items after it, up to a word that turns the sentence (但, 现);
a cue behind it (？, 待排, 史, 治疗后, (-)) reaches the condition of its own item, and back over items joined by 或 和 与 及.

Chapman et al., A simple algorithm for identifying negated findings and diseases in discharge summaries (2001); the cues are ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SEGMENT_END = re.compile(
    r"[。；;，,！!\n\r]|(?<!\d)\.(?!\d)"
    # the next item of a numbered list: 深龋 2.26牙髓炎, 深龋2、慢性龈炎, 深龋②牙髓炎
    r"|(?<=[^\d\s])\s+(?=\d{1,2}[.．、)）](?:\D|\d\d(?!\d)))|(?<=[^\d\s.．、~～\-—–+/(（])(?=\d[.．、)）](?:[^\d\s]|\d\d(?!\d)))|(?=[①-⑳])"
)
_ITEM_END = re.compile(r"、|(?<![rRsShHdD])/|/(?![oOpPdD])")  # the stroke of r/o, s/p, h/o, D/D ends nothing
_TURN = re.compile(
    r"但是?|然而|(?<![发出表呈])现(?!病史|已(?:治|痊)?愈)|目前(?!已(?:治|痊)?愈)|"
    r"(?<![不未无])(?<!没有)(?:伴有?(?!发)|合并|并发)|而是|而为|应为|实为|实系|实则|其实|"
    r"后诊断为?|后确诊为?|更正为|改诊为?|(?<![不未无])(?:转为|发展为|继发(?!龋|性龋)|导致|引起)|(?<![A-Za-z])(?:but|now)(?![A-Za-z])"
)
_BY = r"(?:[A-Z]{2,5}|病理|影像|活检|拍片|会诊)?(?:检查)?"  # 待CT除外, 待病理检查明确
_WAITS = (
    rf"(?:有|需|尚|仍)?待(?:进一步)?{_BY}(?:后|以)?"
    r"(?:排除?|查|诊|定|除外|确[诊认]|鉴别|进一步|明确|观察|证实|检查)"
)
_CANNOT = r"(?:(?:不|无法|难以?|尚[不未无][能法]|未能|不可|[未没]有?|暂[不未]能?|并[不未]能?|不能)(?:完全|明确|绝对|彻底|充分)?|不完全能?)"
_DOUBT_ALONE = re.compile(rf"\s*(?:[？?]+|{_WAITS}|可能性?大?|可疑|疑似|{_CANNOT}(?:排除|除外))[？?）)]*\s*")


@dataclass(frozen=True)
class Segment:
    start: int
    end: int


def segments(text: str) -> list[Segment]:
    found: list[Segment] = []
    start = 0
    ends = [(end.start(), end.end()) for end in SEGMENT_END.finditer(text)]
    for end, after in [*ends, (len(text), len(text))]:
        if found and text[start - 1] in "，," and _DOUBT_ALONE.fullmatch(text, start, end):
            found[-1] = Segment(found[-1].start, end)  # 牙隐裂，待排: the doubt is that of what stands before
        else:
            found.append(Segment(start, end))
        start = after
    return found


def _latin(words: str) -> str:
    """English cues for `_cues`, in any case, and not inside a longer word; No.36 negates nothing."""
    return rf"(?i:(?<![A-Za-z])(?:{words})(?![A-Za-z.]))".replace(" ", r"\s")


def _cues(**patterns: str) -> re.Pattern[str]:
    """One pattern with a group for each status; the patterns of a group stand apart by blanks."""
    return re.compile("|".join(f"(?P<{status}>{'|'.join(cues.split())})" for status, cues in patterns.items()))


# Longer cues stand before the shorter ones that they contain: 无法排除 is no 无法, 不能排除 no 排除, 无法 no 无.
_BEFORE = _cues(
    suspected=r"(?:不能|无法|难以|不可|不容)(?:完全)?否[认定] (?:建议|需要?|应|以便?|进一步|为了?|有?待)[^，。；、]{0,6}(?:排除|除外|鉴别) "
    r"注意排除 "
    rf"{_CANNOT}(?:排除|除外) (?:排除|除外)不了 是否(?:存在|有|为|伴有?|系)? 有无 警惕 待排除? 待除外 "
    r"高度怀疑 怀疑 疑似 可疑 疑诊 疑为 疑 考虑为? 可能为? 倾向于? 似[为有乎] 拟诊 "
    r"(?:难|不易|无法|不能)与 需?与(?=[^，。；]{0,12}(?:鉴别|区别|区分)) "
    rf"{_latin('(?:cannot|can not|not|to) (?:be )?(?:rule out|ruled out|exclude|excluded)|r/o|rule out|D/D(?= ?[:：])|DDx(?= ?[:：])')} "
    rf"{_latin('suspected|suspect|suspicious (?:of|for)|possibly|possible|probably|probable|likely|questionable')}",
    none=rf"(?:并未|从未|未曾?|没有|并?不)否认 {_latin('(?:not?|never) (?:longer|only|doubt|improved|treated|restored)|(?:does )?not deny')} "
    r"(?:并非|不是|并不是|绝非)(?:没有|无) 无法 无痛性? 无充填 无意中 无牙[颌合] "
    r"无[^，。；、]{0,4}(?:功能|价值|意义|对[颌合]牙?|症状|诱因|原因|不适)[性的]? "
    r"非(?:龋|手术|创伤|特异|感染|化脓|遗传|牙源|肿瘤|炎症|菌斑)性? "
    r"不(?:良|规则|完全|全|明原因|可复|可逆|能保留)",
    negated=rf"{_latin('denies|denied|denying|no (?:clinical )?(?:evidence|signs?|history|hx) of|no|not|without')} "
    rf"{_latin('negative for|absence of|free of')} "
    rf"{_latin('ruled out|excluded')} "
    r"已排除 排除 除外 否[认定] 不存在 (?:暂时?)?不考虑 不认为 不太?像 不似 不符合 没有 未见 未发现 未查[见出及] "
    r"未探及 未检[出查见] "
    r"(?:尚|还|并|仍)?未(?:发生|发展[为成至]|形成|出现|演变[为成]|进展[为成至]|转[为成]|继发|并发|导致|引起) 尚未 "
    r"未及 未曾 未患 未(?:明确)?诊断 未确诊 从[未无] 无明显 无 并非 绝非 非 不是 [不未][伴含] 不支持 "
    r"不足以?(?:诊断|支持) 不(?:能)?诊断 缺乏",
    past=rf"{_latin('hx(?: of)?|h/o|history of|s/p|status post|previous|previously|prior')} "
    r"曾经? 病史[中内里]有? 既往 以往 以前 过去 原(?:有|患|诊断) 去年 前年 上次 上个?月 上周 陈旧性? 已拔除?的? 已治愈?的? "
    r"幼时 幼年 儿时 童年 小时候 "
    r"(?:青少?年|少年|年轻|年幼|孩童|婴幼?儿|学生|换牙|孕|妊娠)(?:期|时期?)(?=[^，。；]{0,3}(?:有|患|曾|行|因)) "
    r"(?:[\d一二两三四五六七八九十半数几多+~-]+余?多?个?(?:年|月|周|天|日)余?多?|多年|数年|半年多?)(?:之?前|以前) "
    r"(?:19|20)\d\d年(?:\d+月)?(?=曾|因|患|拔|[于在]?外院)",
    planned=rf"{_latin('(?:tx |treatment )?plan(?:ned)?(?: ext[a-z]*)?(?= ?[:：])|(?:planned|scheduled) for')} "
    r"拟行? 计划 择[期日] 预防 准备(?=行|拔|治|修|充|手) 预约 "
    r"建议(?:择期|尽早|尽快|早日|及时|患者)?(?=拔|治|行|充填|修复|手术|切除|摘除)",
)
_AFTER = _cues(
    suspected=rf"[？?] {_WAITS} [相待]?鉴别 需(?:排除|除外) {_CANNOT}(?:排除|除外|确[诊定]) "
    rf"可能性?大? 可疑 疑似 疑诊 存疑 {_latin('(?:cannot|can not|not) be (?:ruled out|excluded)|not (?:ruled out|excluded)')} "
    rf"{_latin('r/o|suspected|possible|probable|likely')} (?:不能|无法|难以)否[认定]",
    negated=rf"{_latin('ruled out|excluded|negative|neg|absent')} 否定 "
    r"(?:尚|还|仍|并)?未(?:发生|形成|出现)(?=$|[\s。；;，,、！!]) 除外 已排除 排除 [(（]\s*(?:[-－—]|无|否)\s*[)）] "
    r"[:：]\s*(?:(?:无|未见)(?=$|[\s。；;，,、！!)）]|明显|异常|特殊|殊)|否|阴性|[-－—](?!\S)) 阴性 "
    r"不明显 (?:诊断)?不成立 不存在 (?:依据|证据)不足 不支持 无关 "
    r"(?:未见|未发现|未查[及见出]|未探及|未检出)(?=明显|确切|$|[。；;，,、！!\n])",
    past=r"家族史 病史 史 根管治疗术?后 治疗术?后 (?<!开髓)(?<!引流)(?<!切开)术后 RCT术?后 "
    r"(?:充填|修复|拔除|摘除|切除|复位|刮治|根治|手术)术?后 "
    r"(?<![未不难可能待求])(?:治愈|痊愈)(?!率) 已愈 愈后 好转出院 复查(?:正常|无异常|未见异常) "
    rf"{_latin('hx|history')} "
    r"已经?治(?!疗?不)疗? "
    r"已(?:行|经)?(?:充填|补|修复|摘除|切除|手术)(?!不|体|物) 已拔除?",
)
_BOTH_WAYS = _cues(both=rf"除外 已排除 排除 待{_BY}(?:排|排除|除外) 需排除 需除外 {_CANNOT}(?:排除|除外) 可能 可疑 疑似")
_OR = re.compile(r"\s*(?:或者?|还是|vs\.?|VS\.?)\s*")
_INSTEAD = re.compile(r"[\s”\"』」’']*(?:者|的|，)?(?:实为|实系|实则|其实[是为]|实际上?[是为])")  # 所述"蛀牙"实为着色牙
_SIGN_BEFORE = re.compile(r"(?:^|[\s，,、；;：:])([-－−+＋])$")
_BRACKET = re.compile(r"\s*[(（][^()（）]{0,30}[)）]")
_HEALED = re.compile(
    r"\s*(?:(?:经|予|行|于)?[^，,。；;]{0,12}(?:后|引流|治疗|处理))?(?:现|目前|今)?(?:已经?|均|完全|全部)*"
    r"(?:(?:治愈|痊愈)(?:出院)?|好转出院|(?:此次|本次|今日?|现)?(?:来院|门诊)?复查(?:均|示|一切|基本)?(?:正常|无异常|未见异常)"
    r"|(?:(?:now|has|is) )?(?:resolved|healed|cured))\s*"
)
_TREATED = re.compile(r"\s*(?:已?行|经)?\s*")
_AFTER_REACH = 14  # characters between a condition and a cue behind it
_SHORT_CUES = {"无": 8, "非": 2, "疑": 8, "尚未": 1, "no": 6, "not": 8}  # how far a short cue reaches: 尚未治疗的深龋 is one
_PRIORITY = ("negated", "suspected", "past", "planned")


def status_of(text: str, segment: Segment, spans: list[tuple[int, int]], which: int) -> str:
    """The status of the condition ``spans[which]``; ``spans`` are all conditions of the segment, in order."""
    start, _end = spans[which]
    found = set(_cues_before(text, segment, spans, start))
    if behind := _cue_behind(text, segment, spans, which):
        found.add(behind)
    if sign := _signed(text, start):
        found.add(sign)
    if not found and _is_alternative(text, spans, which):
        return "suspected"
    return next((status for status in _PRIORITY if status in found), "present")


def _is_alternative(text: str, spans: list[tuple[int, int]], which: int) -> bool:
    """深龋或牙髓炎, 深龋vs牙髓炎: one of the two, so neither is certain."""
    joints = [text[spans[n][1] : spans[n + 1][0]] for n in (which - 1, which) if 0 <= n < len(spans) - 1]
    return any(_OR.fullmatch(joint) for joint in joints)


def _signed(text: str, start: int) -> str | None:
    """-牙痛 -口臭 +牙石: a minus right before a condition negates where the line has a plus too; else it may be a bullet."""
    sign = _SIGN_BEFORE.search(text[max(0, start - 2) : start])
    if sign is None or sign.group(1) in "+＋":
        return None
    line = text[text.rfind("\n", 0, start) + 1 :].split("\n", 1)[0]
    return "negated" if re.search(r"(?:^|[\s，,、；;：:])[+＋][^\s\d+＋]", line) else None


def healed_behind(text: str, segment: Segment, until: int) -> bool:
    """Whether a clause of its own before ``until``, in the same sentence, says that it is over: 间隙感染，切开引流后好转出院.

    ``until``: where the next condition or tooth stands, for what is said behind it is said of it.
    """
    at = segment.end
    while text[at : at + 1] in ("，", ","):
        end = SEGMENT_END.search(text, at + 1)
        stop = end.start() if end else len(text)
        if until < stop:
            return False
        if _HEALED.fullmatch(text, at + 1, stop):
            return True
        at = stop
    return False


def _cues_before(text: str, segment: Segment, spans: list[tuple[int, int]], start: int) -> list[str]:
    begin = segment.start
    for turn in _TURN.finditer(text, segment.start, start):
        begin = turn.end()
    found: list[tuple[int, str]] = []
    if _opens_with_doubt(text, begin, start):
        found.append((start, "suspected"))
    for cue in _BEFORE.finditer(text, begin, start):
        kind = cue.lastgroup or ""
        inside_condition = any(a < cue.end() and cue.start() < b for a, b in spans)
        reach = _SHORT_CUES.get(cue.group().lower(), len(text))
        listed = sum(
            b - a for a, b in spans if cue.end() <= a and b <= start
        )  # 无牙周炎、龈炎: what is listed between does not count
        if kind == "none" or inside_condition or start - cue.end() - listed > reach:
            continue
        if kind == "suspected" and _is_suffix_of_earlier(text, cue, spans, start):
            continue
        found.append((cue.start(), kind))
    previous = max((b for _, b in spans if b <= start), default=begin)
    own = [kind for at, kind in found if at >= previous]  # 除外牙髓炎后考虑龋病: the nearer cue takes over
    return own or [kind for _, kind in found]


def _opens_with_doubt(text: str, begin: int, start: int) -> bool:
    """？36深龋, 36？深龋: a question mark before the condition, with nothing but the tooth and a list number beside it."""
    before = text[begin:start]
    return (before.strip().endswith(("？", "?")) and not before.strip("？? \t0123456789.．、:：#()（）")) or before.lstrip(
        " （("
    ).startswith(("？", "?"))


def _is_suffix_of_earlier(text: str, cue: re.Match[str], spans: list[tuple[int, int]], start: int) -> bool:
    """深龋待排、牙髓炎: 待排 stands behind a condition and ends its item, so it says nothing of the next."""
    after_condition = any(b <= cue.start() and cue.start() - b <= 3 for _, b in spans)
    return after_condition and _ITEM_END.search(text, cue.end(), start) is not None


def _cue_behind(text: str, segment: Segment, spans: list[tuple[int, int]], which: int) -> str | None:
    """The first cue behind the condition, or behind those joined to it by 或 和 与 及."""
    end = spans[which][1]
    limit = segment.end
    if _INSTEAD.match(text, end, limit):
        return "negated"
    if which + 1 < len(spans):
        following = spans[which + 1][0]
        joint = text[end:following]
        if _TREATED.fullmatch(joint) and text[: spans[which + 1][1]].endswith("后"):
            return "past"  # 牙髓炎根管治疗后
        if re.fullmatch(r"\s*(?:[或和与及]者?|/)\s*", joint):
            return _cue_behind(text, segment, spans, which + 1)
        limit = following
    bracket = _BRACKET.match(text, end, limit)  # 先天性缺牙(35、45)？
    reach = bracket.end() if bracket else end
    item = _ITEM_END.search(text, reach, limit)
    words_are_english = text[reach:limit].lstrip()[:1].isascii()
    reach += _AFTER_REACH * 2 if words_are_english else _AFTER_REACH
    limit = min(item.start() if item else limit, reach)
    turn = _TURN.search(text, end, limit)
    cue = _AFTER.search(text, end, turn.start() if turn else limit)
    before_next = which + 1 < len(spans) and limit == spans[which + 1][0]
    if cue and before_next and cue.lastgroup != "past" and _BOTH_WAYS.fullmatch(cue.group()):
        return None  # 深龋排除牙髓炎: the cue opens the next condition
    return cue.lastgroup if cue else None
