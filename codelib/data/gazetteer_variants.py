"""What a column holds as it is likely to be written again: (class, regular expression) of each variant.

    周岩            -> 周岩 · 周 岩 · 周医生 · 小岩 · 阿岩 · Zhou Yan · YAN ZHOU · Y. Zhou

A column is not trusted to hold what its name says: blanks, 无, a department or an amount of money never become a term, because a term is removed
wherever it stands. The expressions are for text that is folded and simplified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice, product

from pypinyin import Style, pinyin

from codelib.data.gazetteer_numbers import NO_UNIT, ROAD, address_variants, digits_of, number_variants, pieces_of, usable
from codelib.data.identifiers import contains_identifier, find_person_names, fold
from codelib.data.name_cells import EMPTY, TITLE, could_be_a_name, read_name_cell
from codelib.data.person_names_foreign import foreign_length
from codelib.data.person_names_likelihood import likelihoods
from codelib.data.person_names_lists import CJK, allowed_words, simplify, surname_length

_TITLES = "(?=副?主任|[医醫](?![院学學理疗療保嘱用源务药藥治护護])|[护護](?![理肤膚板齿齒牙髓膝颈])|大夫|老师|先生|女士|小姐|院长|教授|主治)"
_WORDY_SURNAMES = frozenset("于和时全明应平冷从有能解查计都相须空红后权单双曾常易连成向由经支管关包方左高安余金万")
_FUNCTION_SURNAMES = frozenset("于和时从向由经与及应有能都查")  # 患者向医生咨询, 和医生沟通
TITLE_FOLLOWS = re.compile(_TITLES)
OTHER_SCRIPT = re.compile(rf"[^\W\d_A-Za-z{CJK}]{{2,20}}")
CHINESE = re.compile(rf"[{CJK}·]{{2,12}}")
_DATE = re.compile(r"((?:19|20)\d{2})\s*[-./年]\s*(\d{1,2})\s*[-./月]\s*(\d{1,2})\s*日?(?:[ T]0?0:00(?::00)?)?")
BY_ROLE = "by role"
NAMED = {"name": "named patient", "staff": "named person"}
"""Kinds of a word that a person called a name: it is taken as it is, however little it looks like one."""
LISTED, INITIALS, TITLED = "listed name", "initials", "titled surname"
"""A name of the clinic's list; capitals that are one's initials; a surname that counts before a title."""
NICK = "nickname"  # checked against the words around it, then NAME
DOUBT = "doubt"  # found by hidden(): not replaced, held back
_LATIN_NO_NAMES = frozenset(
    ("vita", "class", "angle", "type", "classical", "shade", "filtek", "master", "plus", "implant", "guide")
)
# a clause begins, or someone is spoken to or of
_CLAUSE = r"(?:^|(?<=[\s,，。;；:：、(（\n!！?？]))"
_CALLED = (
    r"(?<=[嘱由请与给])|(?<=患者|患儿|病人|告知|通知|联系|回访|转告|母亲|父亲|家属|姓名|老师|医生|医师|护士|丈夫|妻子|儿子|女儿)"
)
_SAYS = (
    r"(?=自述|自诉|主诉|代诉|诉|述|称|来诊|来院|来我院|前来|就诊|复诊|要求|先生|女士|小姐|医生|医师|大夫|护士|主任|签字|签名|本人|的?(?:母|父)亲"
    r"|陪同|[,，]\s?[男女])"
)
# capitals of records that are no one's initials
ABBREVIATIONS = re.compile(
    r"PD|BOP|CT|CBCT|MB|DB|ML|DL|BP|HR|RCT|SRP|TMJ|TMD|GI|ZOE|MTA|LA|RPD|FPD|PFM|IV|IM|PO|BW|PA|OPG|CAL|AL|GBR|GTR|ISQ|WL|OHI|XM|SM|DM|HBV|HIV|RPR|BU"
    r"|LI|UR|UL|LR|LL|AD|BC|DD|QD|QID|QN|BID|TID|PRN|SOS|AM|PM|EG|IE|CR|NB|FM|CM|MM"
)
_AFTER_SMALL_NUMBER = r"(?=$|[\s,，。;；:：)）](?!\d)|诉|自|主诉|述|来|复诊|要求|号(?!牙))"


def is_word(word: str) -> bool:
    """A word of the language or of records: 立新, 高峰. Such a name of a long list would be taken out of texts that name nobody."""
    return word in likelihoods().word


def readings(name: str) -> Iterator[tuple[str, ...]]:
    """Readings of a name, syllable by syllable; ü also as v and u."""
    readings = pinyin(name, style=Style.NORMAL, heteronym=True, errors="ignore")
    wider = [sorted({form for r in several for form in (r, r.replace("v", "u"), r.replace("v", "yu"))}) for several in readings]
    yield from islice(product(*wider), 8)


def _name_variants(name: str, nicknames: bool, listed: bool = False) -> Iterator[tuple[str, str]]:
    """(class, regex) of a Chinese name: whole, parted by a blank or a sign, given name alone, with a title, nicknames, pinyin."""
    family = surname_length(name, 0)
    if not family or family == len(name):
        if usable(name):
            yield "NAME", r"\s{0,2}".join(map(re.escape, name))
        for syllables in readings(name):
            if len("".join(syllables)) >= 5:
                letters = r"[\s'-]?".join(syllables)
                yield "NAME", rf"(?<![A-Za-z])(?i:{letters})(?![A-Za-z])"
        return
    given = name[family:]
    if usable(name):
        parted = r"(?:\s{0,2}|[,，.·・、_\-/*])" if name[0] not in _WORDY_SURNAMES else r"\s{0,2}"
        yield "NAME", r"\s{0,2}".join(map(re.escape, name[:family])) + parted + r"\s{0,2}".join(map(re.escape, given))
    if len(given) >= 2 and usable(given) and not (listed and is_word(given)):
        yield "NAME", re.escape(given)
    yield from _titled_surname(name[:family])
    if nicknames:
        for nick in (f"小{given[-1]}", f"阿{given[-1]}", given[-1] * 2):
            if usable(nick) or (nick[0] == nick[-1] and nick not in allowed_words()):
                yield NICK, re.escape(nick)
    for syllables in readings(name):
        yield from _pinyin_variants("".join(syllables[:family]), syllables[family:])


def _titled_surname(family: str) -> Iterator[tuple[str, str]]:
    """张医生. A surname that is a function word stands at the start of a clause or after one who is addressed: 曾于医院 is none."""
    before = ""
    if family in _FUNCTION_SURNAMES:
        before = r"(?:(?<=[请嘱由])|(?<=告知|通知|联系|转告))"
    elif family in _WORDY_SURNAMES:
        before = rf"(?:{_CLAUSE}|{_CALLED})"
    yield "NAME", rf"{before}{re.escape(family)}{_TITLES}"


def _pinyin_variants(first: str, rest: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Zhou Yan, Yan Zhou, ZHOUYAN; Y. Zhou, Zhou Y."""
    if not rest or len(first) + len("".join(rest)) < 4:
        return
    gap, inner = r"[1-5]?[\s\-_.,·]{0,2}", r"[1-5]?[\s\-']?"
    letters = rf"(?:{first}{gap}{inner.join(rest)}|{inner.join(rest)}{gap}{first})(?:(?<=[A-Za-z])[1-5](?![\d.]))?"
    yield "NAME", rf"(?<![A-Za-z])(?i:{letters})(?![A-Za-z])"
    if len(rest) >= 2 and len("".join(rest)) >= 6:
        yield "NAME", rf"(?<![A-Za-z])(?i:{inner.join(rest)})(?![A-Za-z])"
    yield from _initials_variants((first[0] + "".join(syllable[0] for syllable in rest)).upper())
    initials = r"[.\s\-]{0,2}".join(syllable[0].upper() for syllable in rest)
    family = f"(?:{first.title()}|{first.upper()})"
    yield "NAME", rf"(?<![A-Za-z])(?:{family}[\s,]{{1,2}}{initials}\.?|{initials}[.\s]{{1,2}}{family})(?![A-Za-z])"


def _initials_variants(capitals: str) -> Iterator[tuple[str, str]]:
    """Z.Y. anywhere, ZY where someone speaks; p.o. and b.i.d. are no one's."""
    if len(capitals) >= 2 and not ABBREVIATIONS.fullmatch(capitals):
        yield "NAME", rf"(?<![A-Za-z.])(?i:{'[.]'.join(capitals)})\.?(?![A-Za-z])"
        yield "NAME", rf"(?:{_CLAUSE}|{_CALLED}){capitals}{_SAYS}"


def _latin_variants(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """John Smith, Smith John, J. Smith, and each of its words that is long enough."""
    joint = r"[\s\-_.,]{0,2}"
    whole = [re.escape(word) for word in words]
    exact = len("".join(words)) < 4  # Amy, Li: as written only
    pattern = joint.join(whole) if exact else f"(?i:{joint.join(whole)}|{joint.join(reversed(whole))})"
    yield "NAME", rf"(?<![A-Za-z]){pattern}(?![A-Za-z])"
    parts = [part for word in words for part in (word, *(word.split("-") if "-" in word else ()))]
    for several in (words[1:], words[:-1]) if len(words) > 2 else ():
        if len("".join(several)) >= 5:  # Min Su of Kim Min Su
            yield "NAME", rf"(?<![A-Za-z])(?i:{joint.join(map(re.escape, several))})(?![A-Za-z])"
    if len(parts) < 2:
        return
    for word in parts:
        if len(word) >= 4 and word[0].isupper() and word.lower() not in _LATIN_NO_NAMES:
            # Xiaoming, XiaoMing and XIAOMING; not brown for Mr Brown
            yield "NAME", rf"(?<![A-Za-z]){word[0]}(?i:{re.escape(word[1:])})(?![A-Za-z])"
    first, last = re.escape(words[0][0].upper()), rf"(?i:{whole[-1]})"
    if len(words[-1]) >= 2:
        yield "NAME", rf"(?<![A-Za-z])(?:{first}\.\s?{last}|{last}[\s,]{{1,2}}{first}\.?)(?![A-Za-z])"


def _doubtful_variants(word: str) -> Iterator[tuple[str, str]]:
    """高强自述 is replaced; 患者高强 and a clause that begins with 高强 are held back; 肌力高强 is neither."""
    name = re.escape(word)
    before = rf"(?:{_CLAUSE}|{_CALLED})"
    if word.isascii():
        yield DOUBT, rf"(?:{_CLAUSE}|{_CALLED}){name}(?![A-Za-z0-9])"
        return
    yield "NAME", rf"{before}{name}{_SAYS}"
    yield DOUBT, rf"(?:{_CALLED}){name}" if len(word) == 1 else before + name
    if surname_length(word, 0) == len(word):
        yield from _titled_surname(word)


def _contact_variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    """A phone, an account or a number of a document; and a name written beside it (13911112222 王芳)."""
    for piece in pieces_of(value):
        yield from number_variants(kind, piece, 4)
        tokens = re.findall(r"[\dA-Za-z][\dA-Za-z_\-]*", piece)
        for token in tokens if len(tokens) > 1 else ():
            yield from number_variants(kind, token, 6)
        for run in re.findall(rf"[{CJK}]{{2,3}}", piece):
            if surname_length(run, 0) == 1 and re.fullmatch(rf"[{CJK}\s\d\-]+", piece) and not _clinical(run):
                yield from _name_variants(run, False)


def _patient_id_variants(value: str) -> Iterator[tuple[str, str]]:
    """患者0003 where it is called so: the bare number may be a tooth. Without digits it is a name."""
    value = value.strip()
    for number in re.findall(r"(?<![A-Za-z\d])\d{1,8}(?![A-Za-z\d])", value):
        bare = number.lstrip("0") or "0"
        label = r"(?:患者|病人|病例|患儿|客户)[\s_\-:：#]{0,2}"
        if len(number) >= 3:
            yield "RECORD_NO", rf"{label}{number}{NO_UNIT}(?!\s?[天日周岁次个颗多余小])"
            yield (
                "RECORD_NO",
                rf"(?:(?<![A-Za-z])[Nn][Oo][.:：]?|编号|序号|案例|档案)[\s:：#]{{0,2}}0{{0,6}}{bare}(?!\d|\.\d|[号]?牙)",
            )
        if len(bare) >= 3:
            yield "RECORD_NO", rf"{label}0{{0,6}}{bare}{NO_UNIT}(?!\s?[天日周岁次个颗多余小])"
        else:
            yield "RECORD_NO", rf"{label}0{{0,6}}{bare}(?!\d){_AFTER_SMALL_NUMBER}"
            yield "RECORD_NO", rf"(?:(?<![A-Za-z])N[Oo][.:：]|编号)[\s:：#]{{0,2}}0{{0,6}}{bare}(?!\d|\.\d|[号]?牙)"
        if len(number) >= 6:
            yield from number_variants("patient_id", number, 6)
    for token in re.findall(r"(?<![A-Za-z\d])(?=[A-Za-z_\-]*\d)(?=\d*[A-Za-z])[A-Za-z\d_\-]{3,40}", value):
        yield from number_variants("patient_id", token, 3)
    if re.fullmatch(r"(?:患者|病人|病例)[A-Za-z]{1,3}", value):
        yield "RECORD_NO", rf"{value}(?![A-Za-z\d])"


def _other_variants(value: str) -> Iterator[tuple[str, str]]:
    """An unmapped column may hold anything: only what has the form of an identifier becomes a term."""
    date = _DATE.fullmatch(value)
    if date:
        year, month, day = date[1], int(date[2]), int(date[3])
        yield "DATE", rf"(?<!\d){year}\s?[-./年]?\s?0?{month}\s?[-./月]?\s?0?{day}(?!\d)日?"
        return
    if re.fullmatch(r"[\d.]+(?:元|mm|ml|%)?", value) and len(digits_of(value)) < 7:
        return  # an amount
    words = re.fullmatch(r"([A-Z][A-Za-z]{1,14})[ ,]{1,2}([A-Z][A-Za-z]{1,14})", value)
    if words and not _LATIN_NO_NAMES & {word.lower() for word in words.groups()}:
        yield from _latin_variants(words.groups())
        return
    squeezed = re.sub(r"\s+", "", value)
    if CHINESE.fullmatch(squeezed):
        if is_named(squeezed):
            yield from _name_variants(squeezed, False)
            yield from _dotted_parts(squeezed)
        elif ROAD.search(value) and len(value) >= 5:
            yield from address_variants(value)
        return
    several = [re.sub(r"\s+", "", piece) for piece in pieces_of(value)]
    if len(several) > 1 and all(CHINESE.fullmatch(piece) and is_named(piece) for piece in several):
        for piece in several:
            yield from _name_variants(piece, False)
    if OTHER_SCRIPT.fullmatch(squeezed):
        yield "NAME", r"\s?".join(squeezed)
    for name in find_person_names(value):  # 联系人：欧阳建国/爷爷
        if is_named(value[name.start : name.end]):
            yield from _name_variants(value[name.start : name.end], False)
    found = contains_identifier(value)
    if found and len(value) >= 5:
        yield found, re.escape(value)
    if len(digits_of(value)) >= 6 and sum(char.isalpha() for char in value) <= 4:
        yield from number_variants("other", value, 6)


def is_named(word: str) -> bool:
    """A word of an unmapped column that is a name: 周岩, 买买提·艾力, 阿依古丽; not 高血压, 金属冠."""
    if "·" in word or foreign_length(word, 0) == len(word):
        return could_be_a_name(word)
    return 2 <= len(word) <= 4 and bool(surname_length(word, 0)) and usable(word) and not _clinical(word)


def _dotted_parts(name: str) -> Iterator[tuple[str, str]]:
    """买买提 and Maimaiti of 买买提·艾力."""
    for part in name.split("·") if "·" in name else ():
        if usable(part):
            yield "NAME", re.escape(part)
        for syllables in readings(part):
            if len(syllables) >= 2 and len("".join(syllables)) >= 6:
                letters = r"[\s'-]?".join(syllables)
                yield "NAME", rf"(?<![A-Za-z])(?i:{letters})(?![A-Za-z])"


def _clinical(word: str) -> bool:
    """A part of the word is a word of records: 高血压, 金属冠, 全科."""
    words = allowed_words()
    return any(word[i : i + size] in words for size in (2, 3) for i in range(len(word) - size + 1))


def _name_cell_variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    cell = read_name_cell(value)
    for name in cell.chinese:
        yield from _name_variants(name, nicknames=kind != "staff")
        yield from _dotted_parts(name)
    for words in cell.latin:
        yield from _latin_variants(words)
    for word in cell.doubtful:
        yield from _doubtful_variants(word)
    for piece in pieces_of(value):
        number = TITLE.sub("", piece)
        if len(digits_of(number)) >= 6:
            yield from number_variants("other", re.sub(rf"[{CJK}]", "", number), 6)


def _named_variants(name: str, nicknames: bool, listed: bool = False) -> Iterator[tuple[str, str]]:
    """A word of the everyday language or one character stays doubtful: it would be removed wherever it stands."""
    if CHINESE.fullmatch(squeezed := re.sub(r"\s+", "", name)) and usable(squeezed) and not (listed and is_word(squeezed)):
        yield from _name_variants(squeezed, nicknames, listed)
        yield from _dotted_parts(squeezed)
    elif re.fullmatch(r"[A-Za-z][A-Za-z'.\- ,]*[A-Za-z.]", name):
        yield from _latin_variants([word for word in re.split(r"[ ,.]+", name) if word])
    elif CHINESE.fullmatch(squeezed) or len(squeezed) < 2:
        yield from _doubtful_variants(squeezed)
    else:
        yield "NAME", re.escape(name)
        yield from _name_cell_variants("name" if nicknames else "staff", name)


def variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    value = simplify(fold(value).text).strip()
    if not value or EMPTY.fullmatch(value):
        return
    if kind == BY_ROLE:
        if usable(value):
            yield "NAME", re.escape(value)
    elif kind in NAMED.values():
        yield from _named_variants(value, kind == NAMED["name"])
    elif kind == LISTED:
        yield from _named_variants(value, nicknames=False, listed=True)
    elif kind == INITIALS:
        yield from _initials_variants(value)
    elif kind == TITLED:
        yield from _titled_surname(value)
    elif kind in ("name", "staff"):
        yield from _name_cell_variants(kind, value)
    elif kind == "patient_id":
        yield from _patient_id_variants(value)
        if not digits_of(value):
            yield from _name_cell_variants("name", value)
        else:
            rest = re.sub(r"[\dA-Za-z_\-]+", " ", value)
            yield from (pair for pair in _name_cell_variants("staff", rest) if pair[0] == "NAME")
    elif len(value) < 2:
        return
    elif kind in ("phone", "id_number"):
        yield from _contact_variants(kind, value)
    elif kind == "address":
        yield from address_variants(value)
    else:
        yield from _other_variants(value)
