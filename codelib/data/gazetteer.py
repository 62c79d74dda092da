"""The visit's own identifiers, in every way they are likely to be written again in its text.

    identifiers of the row ─ terms (cleaned, checked) ─┬─ pattern of variants     find()      replaced
                                                       ├─ squeezed forms          hidden()    what still shows once blanks, dots,
                                                       │                                      case and width are taken away
                                                       └─ a name cell that cannot be read     unclear: the visit is held back
A column is not trusted to hold what its name says: blanks, 无, a department or an amount of money never become a term, because
a term is removed wherever it stands. A name that is also a word of records (高强, 田) counts only where a name can stand.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, product

from pypinyin import Style, pinyin

from codelib.data.identifiers import BARRIER, CJK, Finding, contains_identifier, fold
from codelib.data.name_cells import EMPTY, TITLE, could_be_a_name, read_name_cell
from codelib.data.person_names import allowed_at, allowed_words, foreign_length, simplify, surname_length

Terms = tuple[tuple[str, str], ...]  # (kind, value), as in contracts.IDENTIFIER

_TITLES = "(?=副?主任|[医醫](?![院学學理疗療保嘱用源务药藥治护護])|[护護](?![理肤膚板齿齒牙髓膝颈])|大夫|老师|先生|女士|小姐|院长|教授|主治)"
_WORDY_SURNAMES = frozenset("于和时全明应平冷从有能解查计都相须空红后权单双曾常易连成向由经支管关包方左高安余金万")
_FUNCTION_SURNAMES = frozenset("于和时从向由经与及应有能都查")  # 患者向医生咨询, 和医生沟通
_CHINESE = re.compile(rf"[{CJK}·]{{2,12}}")
_PLACE = re.compile(r".*?(?:省|自治区|市|区|县|街道|镇|乡)(?=.)")
_ROAD = re.compile(rf"[{CJK}]{{2,8}}(?:路|街|大道|巷|弄|小区|花园|公寓|新村|家园|苑|村|大厦)")
_DATE = re.compile(r"((?:19|20)\d{2})\s*[-./年]\s*(\d{1,2})\s*[-./月]\s*(\d{1,2})\s*日?(?:[ T]0?0:00(?::00)?)?")
_NUMERALS = dict(zip("〇零一二三四五六七八九幺两", "0012345678912", strict=True))
CJK_WORD = re.compile(rf"[{CJK}]+")
_BY_ROLE = "by role"
_NICK = "nickname"  # checked against the words around it, then NAME
_DOUBT = "doubt"  # found by hidden(): not replaced, held back
_CLASS = {"phone": "PHONE", "id_number": "ID", "other": "RECORD_NO", "patient_id": "RECORD_NO"}
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
_NO_UNIT = r"(?!\d|\.\d|\s?(?:mm|cm|ml|mg|kg|g|U|u|IU|元|万|年|月|Hz|kV|%|°|/))"
_AFTER_SMALL_NUMBER = r"(?=$|[\s,，。;；:：)）](?!\d)|诉|自|主诉|述|来|复诊|要求|号(?!牙))"


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isdigit())


def _pieces(value: str) -> list[str]:
    """A cell that names several: 何志强、许兰 (护士), 13911112222/0571-88120000."""
    return [piece.strip() for piece in re.split(r"[,，、;；/|()（）\n\[\]]|\s{2,}", value) if piece.strip()]


def _usable(word: str) -> bool:
    return len(word) >= 2 and not EMPTY.fullmatch(word) and word not in allowed_words() and len(set(word)) > (len(word) < 2)


def _pinyins(name: str) -> Iterator[tuple[str, ...]]:
    """Readings of a name, syllable by syllable; ü also as v and u."""
    readings = pinyin(name, style=Style.NORMAL, heteronym=True, errors="ignore")
    wider = [sorted({form for r in several for form in (r, r.replace("v", "u"), r.replace("v", "yu"))}) for several in readings]
    yield from islice(product(*wider), 8)


def _name_variants(name: str, nicknames: bool) -> Iterator[tuple[str, str]]:
    """(class, regex) of a Chinese name: whole, parted by a blank or a sign, given name alone, with a title, nicknames, pinyin."""
    family = surname_length(name, 0)
    if not family or family == len(name):
        if _usable(name):
            yield "NAME", r"\s{0,2}".join(map(re.escape, name))
        for syllables in _pinyins(name):
            if len("".join(syllables)) >= 5:
                letters = r"[\s'-]?".join(syllables)
                yield "NAME", rf"(?<![A-Za-z])(?i:{letters})(?![A-Za-z])"
        return
    given = name[family:]
    if _usable(name):
        parted = r"(?:\s{0,2}|[,，.·・、_\-/*])" if name[0] not in _WORDY_SURNAMES else r"\s{0,2}"
        yield "NAME", r"\s{0,2}".join(map(re.escape, name[:family])) + parted + r"\s{0,2}".join(map(re.escape, given))
    if len(given) >= 2 and _usable(given):
        yield "NAME", re.escape(given)
    yield from _titled_surname(name[:family])
    if nicknames:
        for nick in (f"小{given[-1]}", f"阿{given[-1]}", given[-1] * 2):
            if _usable(nick) or (nick[0] == nick[-1] and nick not in allowed_words()):
                yield _NICK, re.escape(nick)
    for syllables in _pinyins(name):
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
    gap, inner = r"[\s\-_.,·]{0,2}", r"[\s\-']?"
    letters = rf"(?:{first}{gap}{inner.join(rest)}|{inner.join(rest)}{gap}{first})"
    yield "NAME", rf"(?<![A-Za-z])(?i:{letters})(?![A-Za-z])"
    initials = r"[.\s\-]{0,2}".join(syllable[0].upper() for syllable in rest)
    family = f"(?:{first.title()}|{first.upper()})"
    yield "NAME", rf"(?<![A-Za-z])(?:{family}[\s,]{{1,2}}{initials}\.?|{initials}[.\s]{{1,2}}{family})(?![A-Za-z])"


def _latin_variants(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """John Smith, Smith John, J. Smith, and each of its words that is long enough."""
    joint = r"[\s\-_.,]{0,2}"
    whole = [re.escape(word) for word in words]
    exact = len("".join(words)) < 4  # Amy, Li: as written only
    pattern = joint.join(whole) if exact else f"(?i:{joint.join(whole)}|{joint.join(reversed(whole))})"
    yield "NAME", rf"(?<![A-Za-z]){pattern}(?![A-Za-z])"
    if len(words) < 2:
        return
    for word in words:
        if len(word) >= 4 and word[0].isupper() and word.lower() not in _LATIN_NO_NAMES:
            yield "NAME", rf"(?<![A-Za-z])(?:{re.escape(word)}|{re.escape(word.upper())}|{re.escape(word.title())})(?![A-Za-z])"
    first, last = re.escape(words[0][0].upper()), rf"(?i:{whole[-1]})"
    if len(words[-1]) >= 2:
        yield "NAME", rf"(?<![A-Za-z])(?:{first}\.\s?{last}|{last}[\s,]{{1,2}}{first}\.?)(?![A-Za-z])"


def _doubtful_variants(word: str) -> Iterator[tuple[str, str]]:
    """高强自述 is replaced; 患者高强 and a clause that begins with 高强 are held back; 肌力高强 is neither."""
    name = re.escape(word)
    before = rf"(?:{_CLAUSE}|{_CALLED})"
    if word.isascii():
        yield _DOUBT, rf"(?:{_CLAUSE}|{_CALLED}){name}(?![A-Za-z0-9])"
        return
    yield "NAME", rf"{before}{name}{_SAYS}"
    yield _DOUBT, rf"(?:{_CALLED}){name}" if len(word) == 1 else before + name
    if surname_length(word, 0) == len(word):
        yield from _titled_surname(word)


def _number_variants(kind: str, value: str, shortest: int) -> Iterator[tuple[str, str]]:
    """A number as one word, its groups parted or not; a short one of digits alone never beside a unit or a decimal point."""
    plain = unicodedata.normalize("NFKC", value)
    number = re.sub(r"[^\dA-Za-z]", "", plain)
    digits = _digits(number)
    if re.fullmatch(r"\s*\d{1,5}\.\d{1,2}\s*(?:元|mm|ml|%)?\s*", plain) or len(number) < shortest or EMPTY.fullmatch(number):
        return
    if number.isdigit() and len(number) < 6:
        if not re.fullmatch(r"(?:19|20)\d{2}", number):
            yield _CLASS[kind], rf"(?<![\dA-Za-z])(?<!\d\.)0{{0,4}}{number.lstrip('0') or number}(?![A-Za-z]){_NO_UNIT}"
        return
    if not digits and len(number) < 5:
        return
    gap = r"[\s.\-_]{0,2}" if len(number) >= 7 else r"[.\-_]?"
    joined = gap.join(re.escape(char) for char in number)
    if number.startswith("0") and number.isdigit() and len(number.lstrip("0")) >= 4:
        joined = "0{0,6}" + gap.join(number.lstrip("0"))
    left, right = (r"(?<![\dA-Za-z])", r"(?![\dA-Za-z])") if len(digits) < 6 else (r"(?<!\d)", r"(?!\d)")
    yield _CLASS[kind], rf"{left}(?:\(?\+?86\)?[\s\-]?)?(?i:{joined}){right}"
    landline = re.fullmatch(r"(?:86)?(0\d{2,3})([2-9]\d{6,7})", digits)
    if kind == "phone" and landline:
        # 0571-88120000 is also written 88120000
        yield "PHONE", r"(?<!\d)" + r"[\s\-]?".join(landline[2]) + r"(?!\d)"
        separated = re.split(r"\D+", value.strip())
        if len(separated) == 2 and len(separated[1]) >= 7:
            yield "PHONE", rf"(?<!\d){re.escape(separated[1])}(?!\d)"
    if number != digits and len(digits) >= 5 and digits in number:
        yield _CLASS[kind], rf"(?<![\dA-Za-z])(?<!\d\.){digits}(?![A-Za-z]){_NO_UNIT}"


def _contact_variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    """A phone, an account or a number of a document; and a name written beside it (13911112222 王芳)."""
    for piece in _pieces(value):
        yield from _number_variants(kind, piece, 4)
        tokens = re.findall(r"[\dA-Za-z][\dA-Za-z_\-]*", piece)
        for token in tokens if len(tokens) > 1 else ():
            yield from _number_variants(kind, token, 6)
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
            yield "RECORD_NO", rf"{label}{number}{_NO_UNIT}(?!\s?[天日周岁次个颗多余小])"
            yield (
                "RECORD_NO",
                rf"(?:(?<![A-Za-z])[Nn][Oo][.:：]?|编号|序号|案例|档案)[\s:：#]{{0,2}}0{{0,6}}{bare}(?!\d|\.\d|[号]?牙)",
            )
        if len(bare) >= 3:
            yield "RECORD_NO", rf"{label}0{{0,6}}{bare}{_NO_UNIT}(?!\s?[天日周岁次个颗多余小])"
        else:
            yield "RECORD_NO", rf"{label}0{{0,6}}{bare}(?!\d){_AFTER_SMALL_NUMBER}"
            yield "RECORD_NO", rf"(?:(?<![A-Za-z])N[Oo][.:：]|编号)[\s:：#]{{0,2}}0{{0,6}}{bare}(?!\d|\.\d|[号]?牙)"
        if len(number) >= 6:
            yield from _number_variants("patient_id", number, 6)
    for token in re.findall(r"(?<![A-Za-z\d])(?=[A-Za-z_\-]*\d)(?=\d*[A-Za-z])[A-Za-z\d_\-]{3,40}", value):
        yield from _number_variants("patient_id", token, 3)
    if re.fullmatch(r"(?:患者|病人|病例)[A-Za-z]{1,3}", value):
        yield "RECORD_NO", rf"{value}(?![A-Za-z\d])"


def _address_variants(value: str) -> Iterator[tuple[str, str]]:
    """The address, its tails without province, city and district, and the name of its road or estate."""
    rest = value
    while len(rest) >= 4:
        yield "ADDRESS", re.escape(rest)
        cut = _PLACE.match(rest)
        if not cut:
            break
        rest = rest[cut.end() :]
    for road in _ROAD.findall(rest):
        if _usable(road):
            yield "ADDRESS", re.escape(road)


def _other_variants(value: str) -> Iterator[tuple[str, str]]:
    """An unmapped column may hold anything: only what has the form of an identifier becomes a term."""
    date = _DATE.fullmatch(value)
    if date:
        year, month, day = date[1], int(date[2]), int(date[3])
        yield "DATE", rf"(?<!\d){year}\s?[-./年]?\s?0?{month}\s?[-./月]?\s?0?{day}(?!\d)日?"
        return
    if re.fullmatch(r"[\d.]+(?:元|mm|ml|%)?", value) and len(_digits(value)) < 7:
        return  # an amount
    words = re.fullmatch(r"([A-Z][A-Za-z]{1,14})[ ,]{1,2}([A-Z][A-Za-z]{1,14})", value)
    if words and not _LATIN_NO_NAMES & {word.lower() for word in words.groups()}:
        yield from _latin_variants(words.groups())
        return
    squeezed = re.sub(r"\s+", "", value)
    if _CHINESE.fullmatch(squeezed):
        if _named(squeezed):
            yield from _name_variants(squeezed, False)
            yield from _dotted_parts(squeezed)
        elif _ROAD.search(value) and len(value) >= 5:
            yield from _address_variants(value)
        return
    found = contains_identifier(value)
    if found and len(value) >= 5:
        yield found, re.escape(value)
    if len(_digits(value)) >= 6 and sum(char.isalpha() for char in value) <= 4:
        yield from _number_variants("other", value, 6)


def _named(word: str) -> bool:
    """A word of an unmapped column that is a name: 周岩, 买买提·艾力, 阿依古丽; not 高血压, 金属冠."""
    if "·" in word or foreign_length(word, 0) == len(word):
        return could_be_a_name(word)
    return 2 <= len(word) <= 4 and bool(surname_length(word, 0)) and _usable(word) and not _clinical(word)


def _dotted_parts(name: str) -> Iterator[tuple[str, str]]:
    for part in name.split("·"):
        if "·" in name and _usable(part):
            yield "NAME", re.escape(part)


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
    for piece in _pieces(value):
        number = TITLE.sub("", piece)
        if len(_digits(number)) >= 6:
            yield from _number_variants("other", re.sub(rf"[{CJK}]", "", number), 6)


def _variants(kind: str, value: str) -> Iterator[tuple[str, str]]:
    value = simplify(fold(value).text).strip()
    if not value or EMPTY.fullmatch(value):
        return
    if kind == _BY_ROLE:
        if _usable(value):
            yield "NAME", re.escape(value)
    elif kind in ("name", "staff"):
        yield from _name_cell_variants(kind, value)
    elif kind == "patient_id":
        yield from _patient_id_variants(value)
        if not _digits(value):
            yield from _name_cell_variants("name", value)
        else:
            rest = re.sub(r"[\dA-Za-z_\-]+", " ", value)
            yield from (pair for pair in _name_cell_variants("staff", rest) if pair[0] == "NAME")
    elif len(value) < 2:
        return
    elif kind in ("phone", "id_number"):
        yield from _contact_variants(kind, value)
    elif kind == "address":
        yield from _address_variants(value)
    else:
        yield from _other_variants(value)


@lru_cache(maxsize=512)
def _compiled(terms: Terms) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """One pattern for each class. The staff of a batch comes with each of its visits: that part is compiled once."""
    by_class: dict[str, set[str]] = {}
    for kind, value in terms:
        for cls, variant in _variants(kind, value):
            by_class.setdefault(cls, set()).add(variant)
    # longest first: 欧阳静怡 before 静怡
    return tuple(
        (cls, re.compile("|".join(sorted(found, key=lambda v: (-len(v), v))))) for cls, found in sorted(by_class.items())
    )


@lru_cache(maxsize=512)
def _squeezed_terms(terms: Terms) -> tuple[tuple[str, str, bool], ...]:
    """(class, squeezed form, short): short ones are looked for without crossing a punctuation mark."""
    squeezed: set[tuple[str, str, bool]] = set()
    for kind, value in terms:
        value = simplify(fold(value).text).strip()
        if len(value) < 2 or EMPTY.fullmatch(value):
            continue
        for name in _whole_names(kind, value):
            plain = re.sub(r"[\W_]", "", name).lower()
            squeezed.add(("NAME", plain, len(plain) == 2))
            squeezed.update(("NAME", "".join(s), False) for s in _pinyins(plain) if len("".join(s)) >= 6)
        for piece in _pieces(value) if kind in ("phone", "id_number") else ():
            plain = re.sub(r"[\W_]", "", piece).lower()
            if len(_digits(plain)) >= 7:
                squeezed.add((_CLASS[kind], plain, False))
    return tuple(sorted(squeezed))


def _whole_names(kind: str, value: str) -> list[str]:
    if kind in ("name", "staff") or (kind == "patient_id" and not _digits(value)):
        return [name for name in read_name_cell(value).chinese if _usable(name)]
    squeezed = re.sub(r"\s+", "", value)
    return [squeezed] if kind == "other" and _CHINESE.fullmatch(squeezed) and _named(squeezed) else []


def _squeeze(text: str, keep_clauses: bool) -> tuple[str, list[int]]:
    """Letters and digits alone, lower case, Chinese numerals as digits within numbers; and where each came from."""
    chars: list[str] = []
    places: list[int] = []
    for i, char in enumerate(simplify(text)):
        for part in unicodedata.normalize("NFKC", char).lower():
            if part.isalnum() or part == BARRIER or (keep_clauses and part in ",.;:!?，。；：！？、\n"):
                chars.append(part)
                places.append(i)
    return "".join(chars), places


def _crossed(text: str, start: int, end: int) -> tuple[bool, bool]:
    """Whether a word of records crosses the left end of the span, and the right: 白|天明|显, 小|金|属."""
    words = allowed_words()
    left = any(text[begin : begin + size] in words for size in (2, 3, 4) for begin in range(max(0, start - size + 1), start))
    right = any(text[begin : begin + size] in words for size in (2, 3, 4) for begin in range(max(start, end - size + 1), end))
    return left, right


def _accidental(text: str, start: int, end: int, nickname: bool) -> bool:
    """The span is no name but the seam of two words (由于明显 and 于明), or a piece of one (小时, 阿奇霉素)."""
    if not CJK_WORD.fullmatch(text, start, end) or end - start > 2:
        return False
    left, right = _crossed(text, start, end)
    if end - start == 1:
        return left  # 主任|医师, 牙周|医生: a surname before a title
    right = (
        right
        or (nickname and allowed_at(text, start))
        or any(
            text[begin : begin + size] in allowed_words() and begin + size > end for begin in (start + 1,) for size in (2, 3, 4)
        )
    )
    if nickname and text[start] == text[start + 1]:
        return left or right
    return right if nickname else left and right


class Gazetteer:
    """The identifiers of one visit (and the staff of its batch), to be found in its text."""

    def __init__(self, identifiers: Iterable[dict[str, str]] | None) -> None:
        rows = [(row["kind"] or "other", row["value"] or "") for row in identifiers or ()]
        self._staff: Terms = tuple(sorted({row for row in rows if row[0] == "staff"}))
        self._own: Terms = tuple(sorted({row for row in rows if row[0] != "staff"}))

    def and_names(self, names: Iterable[str]) -> Gazetteer:
        """The same and the whole names that a role gave away in one of the visit's fields: they may stand bare in another."""
        wider = Gazetteer(())
        wider._staff = self._staff
        found = {(_BY_ROLE, name) for name in names if _CHINESE.fullmatch(name) and surname_length(name, 0) < len(name)}
        wider._own = tuple(sorted({*self._own, *found}))
        return wider

    def _each(self) -> Sequence[Terms]:
        return [terms for terms in (self._own, self._staff) if terms]

    @property
    def unclear(self) -> bool:
        """A name cell has what looks like a name, and none could be read from it: nobody knows what to remove."""
        cells = [value for kind, value in (*self._own, *self._staff) if kind in ("name", "staff")]
        cells += [value for kind, value in self._own if kind == "patient_id" and not _digits(value)]
        return any(read_name_cell(value).unclear for value in cells)

    def _matches(self, text: str) -> Iterator[Finding]:
        folded = fold(text)
        plain = simplify(folded.text)
        for terms in self._each():
            for cls, pattern in _compiled(terms):
                for match in pattern.finditer(plain):
                    if not match.group() or (cls in ("NAME", _NICK) and _accidental(plain, *match.span(), cls == _NICK)):
                        continue
                    if cls == _DOUBT and allowed_at(plain, match.start()) and match.group() not in allowed_words():
                        continue  # 丁卡因, for a patient whose name cell is 丁
                    yield Finding(*folded.span(match.start(), match.end()), "NAME" if cls == _NICK else cls)

    def find(self, text: str) -> list[Finding]:
        return sorted(found for found in self._matches(text) if found.cls != _DOUBT)

    def hidden(self, text: str) -> list[Finding]:
        """What still shows of the terms in a text whose findings were replaced, once it is squeezed. Placeholders are masked."""
        found = [Finding(doubt.start, doubt.end, "NAME") for doubt in self._matches(text) if doubt.cls == _DOUBT]
        loose, loose_places = _squeeze(text, keep_clauses=False)
        strict, strict_places = _squeeze(text, keep_clauses=True)
        numerals = "".join(_NUMERALS.get(char, char) for char in loose)
        for terms in self._each():
            for cls, form, short in _squeezed_terms(terms):
                where, places = (strict, strict_places) if short else (loose, loose_places)
                for squeezed in dict.fromkeys((where, numerals) if cls != "NAME" else (where,)):
                    at = squeezed.find(form)
                    while at >= 0 and cls == "NAME" and _accidental(squeezed, at, at + len(form), False):
                        at = squeezed.find(form, at + 1)
                    if at >= 0:
                        found.append(Finding(places[at], places[at + len(form) - 1] + 1, cls))
        return sorted(set(found))
