"""Names of persons in Chinese clinical text, found by structure: a role, a surname, and the end of a name.

    患者周岩，一周前 ── role 患者 + surname 周 + given name 岩 + a comma      ─> a name
    患者高血压病史   ── 高 is a surname, but 血 is in no given name           ─> not a name
    患者周岩峰乎乎   ── shaped like a name, its end unknown                   ─> suspect: the visit goes to a person

No list of full names is used. A name is a surname (terms/surnames.txt) with one or two characters that can stand in a given
name, held between a role word and something that ends a name; terms/clinical_allow.txt holds the words of records that look
the same. Names of minorities and foreigners go by their dot, their syllables or their capitals; names that no role gives away
are left to codelib.data.person_names_bare.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from codelib.data.person_names_foreign import DOTTED, dotted_names, foreign_anywhere, foreign_at
from codelib.data.person_names_forms import doubtful_forms
from codelib.data.person_names_latin import LATIN_NO_NAMES, latin_names
from codelib.data.person_names_lists import (
    ADVERBS,
    CJK,
    FUNCTION,
    NOT_GIVEN,
    PLAIN_CHARS,
    allowed_at,
    allowed_words,
    is_weak,
    may_be_given,
    surname_length,
    surnames,
)
from codelib.data.person_names_roles import ARRIVES, ATTEND, LEFT_FUNCTION, LINK, OF, PREFIX, SUFFIX, NameSpan

_BRACKETED = re.compile(rf"[(（]([{CJK}]{{2,4}})[)）]")
# the surnames that seldom begin a word of records or the name of a make
_PLAIN_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙朱胡郭何林罗郑梁谢宋唐许韩邓冯曹彭肖董潘袁蔡蒋杜魏苏吕卢姚沈钟姜崔谭陆范汪廖贾邹熊孟秦邱侯尹薛闫段郝邵"
)
_LATIN = re.compile(r"[A-Z][a-z]+(?:[\s·'-]{1,2}[A-Z][a-z]+){0,3}|[A-Z]{3,}(?:\s[A-Z]{2,}){1,2}")
_ENDS = re.compile(r"$|[\s,，。.;；:：、!！?？)）\](（\[<>《》「」”\"'’/／|~～—\-_+=\d\ue000-\uf8ff]|[A-Za-z]")
_AND = re.compile(r"[、和与及,，\s/]{1,2}")
_PUNCTUATION = re.compile(r"[\s,，。.;；:：、!！?？)）(（\]\[/\d\ue000-\uf8ff]")


def _end_strength(text: str, end: int) -> int:
    """How plainly a name ends here: 3 punctuation or nothing, 2 a known word, 1 a function word, 0 not at all."""
    following = text[end : end + 1]
    if _ENDS.match(following):
        return 3
    if following in NOT_GIVEN or allowed_at(text, end):
        return 2
    return 1 if following in FUNCTION else 0


def name_at(text: str, start: int, explicit: bool = False) -> NameSpan | None:
    """The name that starts here, given that a role stands before it; ``explicit``: a colon or a word like 名叫 does too."""
    dotted = DOTTED.match(text, start)
    if dotted:
        return NameSpan(start, dotted.end(), True)
    latin = _LATIN.match(text, start)
    if latin and latin.group().split()[0].title() not in LATIN_NO_NAMES:
        return NameSpan(start, latin.end(), True) if explicit or latin.group()[1].islower() else None
    whole = re.compile(rf"[{CJK}]{{2,4}}(?=$|[\s,，。;；、)）\]/\n])").match(text, start) if explicit else None
    blocked = allowed_at(text, start)
    if blocked and not (whole and len(whole.group()) > 2 and surname_length(text, start)):
        return _despite_word(text, start)
    if (foreign := foreign_at(text, start)) is not None:
        return foreign
    if (spaced := _spaced_at(text, start)) is not None:
        return spaced
    family = surname_length(text, start)
    if not family:
        named = explicit and whole and all(may_be_given(char) for char in whole.group()) and len(whole.group()) <= 3
        return NameSpan(start, start + len(whole.group()), True) if named and whole else None
    return _surnamed_at(text, start, family)


def _despite_word(text: str, start: int) -> NameSpan | None:
    """高强鹏， begins with a word of records and is a whole name for all that: a doubt, for a person to settle."""
    three = text[start : start + 3]
    shaped = len(three) == 3 and surname_length(text, start) == 1 and not is_weak(text, start) and three[0] not in PLAIN_CHARS
    apart = not any(allowed_at(text, start + i) for i in (1, 2)) and not any(
        text[start : start + n] in allowed_words() for n in (3, 4)
    )
    if (
        shaped
        and apart
        and all(may_be_given(char) and char not in FUNCTION for char in three[1:])
        and _end_strength(text, start + 3) == 3
    ):
        return NameSpan(start, start + 3, False)
    return None


def _surnamed_at(text: str, start: int, family: int) -> NameSpan | None:
    weak = family == 1 and is_weak(text, start)
    plain = family == 1 and text[start] in PLAIN_CHARS
    if plain and (allowed_at(text, start + 1) or text[start + 1 : start + 2] in FUNCTION):
        return None
    found: list[tuple[int, int]] = []  # strength, length
    for length in (2, 1):
        given = text[start + family : start + family + length]
        if len(given) < length or not all(may_be_given(char) for char in given):
            continue
        if length == 2 and allowed_at(text, start + family + 1):
            continue  # 周岩|发热: the third character begins a word
        strength = _end_strength(text, start + family + length)
        if strength > (1 if weak else 0):
            # 周岩因牙痛: a last character that is a function word rather ends the name before it
            function = given[-1] in FUNCTION and not (length == 2 and strength == 3)
            found.append((1 if function else strength + (length == 2), family + length))
    if found:
        return NameSpan(start, start + max(found)[1], True)
    if weak or text[start] in ADVERBS or not may_be_given(text[start + family : start + family + 1]):
        return None
    return NameSpan(start, start + family + 1, False)


def _spaced_at(text: str, start: int) -> NameSpan | None:
    """王 芳来诊: a blank inside the name, and a plain end."""
    match = re.compile(rf"([{CJK}])[ \u3000]{{1,2}}([{CJK}]{{1,2}})").match(text, start)
    if not match or not surname_length(text, start) or is_weak(text, start) or text[start] in PLAIN_CHARS:
        return None
    for given in (match[2], match[2][:1]):
        end = match.start(2) + len(given)
        known = allowed_at(match[1] + given, 0) or allowed_at(text, match.start(2))
        if not known and all(may_be_given(char) and char not in FUNCTION for char in given) and _end_strength(text, end) >= 2:
            return NameSpan(start, end, True)
    return None


def _introduced(text: str) -> Iterator[NameSpan]:
    """患者X, 姓名：X, 母亲X, 接诊医师：X, and the names listed after them."""
    for role in PREFIX.finditer(text):
        link = LINK.match(text, role.end())
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


_SURNAMED = re.compile(
    rf"([{CJK}]{{1,2}})姓(?=患者|患儿|病人|男|女|客户|家属)[{CJK}]{{2,3}}(?:[,，]?\s?名([{CJK}]{{1,2}})(?=[,，。；;\s]))?"
)
_CALLED = re.compile(rf"(?<=[^{CJK}])叫([{CJK}]{{2,4}})(?=[,，。；;\s])|(?<=[们说己她他的])叫([{CJK}]{{2,4}})(?=[,，。；;\s])")
_NGUYEN = re.compile(rf"[阮黎陈武潘邓]氏[{CJK}]{{1,2}}(?=[,，。、（(\s]|$|诉|自|来|要求|复诊|因)")


def _by_phrase(text: str) -> Iterator[NameSpan]:
    """张姓患者，名家辉 · 自己说叫屈小满， · 阮氏金银，"""
    for match in _SURNAMED.finditer(text):
        family = match[1] if surname_length(match[1], 0) == len(match[1]) else match[1][-1:]
        if surname_length(family, 0) == len(family):
            yield NameSpan(match.end(1) - len(family), match.end(1), True)
            if match[2]:
                yield NameSpan(match.start(2), match.end(2), True)
    for match in _CALLED.finditer(text):
        name = match[1] or match[2]
        start = match.start(1) if match[1] else match.start(2)
        if surname_length(name, 0) and not allowed_at(name, 0) and all(may_be_given(char) for char in name[1:]):
            yield NameSpan(start, start + len(name), True)
    for match in _NGUYEN.finditer(text):
        if not allowed_at(text, match.end() - 2):
            yield NameSpan(match.start(), match.end(), False)


def _bounded_left(text: str, start: int) -> bool:
    """A name may begin here: the clause begins, or a function word or a word of records ends."""
    if start == 0:
        return True
    before = text[start - 1]
    if not ("\u3400" <= before <= "\u9fff") or before in LEFT_FUNCTION or before in NOT_GIVEN:
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
        if length - family > 2 or not all(may_be_given(char) for char in text[start + family : end]):
            continue
        if length == 1 and text[start] in LEFT_FUNCTION:
            continue  # 和医生沟通, 由医生
        if (length == family and not titled) or _inside_word(text, start, end) or allowed_at(text, start):
            continue
        nickname = start > 0 and text[start - 1] in "小老阿" and length == 1
        if nickname or _bounded_left(text, start):
            function = text[start] in LEFT_FUNCTION or is_weak(text, start)
            found.append((not function, length + nickname))
        elif length == 1 and text[start] in surnames()["common"]:
            suspect = length
    if found:
        return NameSpan(end - max(found)[1], end, True)
    return NameSpan(end - suspect, end, False) if suspect and titled else None


def _titled(text: str) -> Iterator[NameSpan]:
    """许医生, 何志强主任, 小张护士, 张女士; 由许秀兰陪同."""
    for pattern, titled in ((SUFFIX, True), (ATTEND, False)):
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
        foreign = foreign_at(text, start)
        if foreign and not allowed_at(text, start):
            plain = foreign.end - start >= 4 and _end_strength(text, foreign.end) >= 2
            if plain or ARRIVES.match(text, foreign.end) or OF.match(text, foreign.end):
                yield foreign
                continue
        family = surname_length(text, start)
        if not family or is_weak(text, start) or allowed_at(text, start):
            continue
        for length in (family + 2, family + 1):
            end = start + length
            given = text[start + family : end]
            shaped = len(given) == length - family and all(may_be_given(char) for char in given) and not allowed_at(text, end - 1)
            if shaped and (ARRIVES.match(text, end) or OF.match(text, end)):
                yield NameSpan(start, end, True)
                break


def _latin(text: str) -> Iterator[NameSpan]:
    return (NameSpan(start, end, certain) for start, end, certain in latin_names(text))


def _bracketed(text: str) -> Iterator[NameSpan]:
    """（王芳）: nothing else between the brackets. It may be a make; a person must say."""
    for match in _BRACKETED.finditer(text):
        name = match[1]
        family = surname_length(name, 0)
        compound = family == 2 and len(name) > 2
        if not compound and not (name[0] in _PLAIN_SURNAMES and len(name) <= 3):
            continue
        if all(may_be_given(char) and char not in FUNCTION for char in name[family:]) and not allowed_at(name, 0):
            yield NameSpan(match.start(1), match.end(1), False)


def find_names(text: str) -> list[NameSpan]:
    """Every name that a role, a title or its own form gives away; ``certain`` ones can be replaced, the others are doubts.

    >>> [text[s.start:s.end] for text in ["患者周岩，一周前"] for s in find_names(text)]
    ['周岩']
    """
    spans: set[NameSpan] = set()
    for finder in (
        _introduced,
        _titled,
        _at_clause_start,
        _by_phrase,
        foreign_anywhere,
        _latin,
        _bracketed,
        dotted_names,
        doubtful_forms,
    ):
        spans.update(finder(text))
    return sorted(spans, key=lambda span: (span.start, -span.end, not span.certain))
