"""What an identifier looks like: patterns, and the scan that is run again before anything leaves.

text ── fold (full-width, exotic digits, invisible characters; places kept) ── simplify ── patterns + names ── Finding(start, end, class)
"""

from __future__ import annotations

import re
from functools import lru_cache

from codelib.data.identifiers_patterns import COMPILED
from codelib.data.identifiers_places import anchored_address, lived_address, organisations, regions
from codelib.data.identifiers_text import BARRIER, CLASSES, PLACEHOLDER, Finding, Folded, fold, mask_placeholders, merge
from codelib.data.person_names import find_names
from codelib.data.person_names_bare import bare_names
from codelib.data.person_names_lists import CJK, simplify
from codelib.data.person_tagger import suspected_persons

__all__ = ["BARRIER", "CJK", "CLASSES", "PLACEHOLDER", "Finding", "Folded", "fold", "mask_placeholders", "merge"]

_OLD = r"(?:9\d|1[0-2]\d)"
_AGE = re.compile(
    rf"(?:(?<![\d.\-]){_OLD}|(?<![一二三四五六七八九])(?:九十[一二三四五六七八九]?|一百[零〇一二三四五六七八九十]{{0,3}}))\s?周?[岁歲](?!以上)"
    rf"|(?<=年)(?P<years>九十[一二三四五六七八九]?)(?=[,，。；;\s]|$)"
    rf"|(?:年龄|年齡|享年|现年|[Aa]ge)[\s:：为是]{{0,3}}(?P<bare>{_OLD})(?![\d.])(?!\s?周?[岁歲])"
    rf"|(?<![\d.\-A-Za-z]){_OLD}(?:\s|-)?(?:[Yy]/?[Oo]|[Yy]rs?|[Yy]ears?(?:[\s-]old)?|[Yy])(?![A-Za-z])"
)
_LONG_RUN = re.compile(r"(?<!\d)\d(?:[ \-]?\d){6,}(?!\d*\.\d)")
_RUN_UNITS = re.compile(r"\s?(?:U|IU|u|万|单位|元)")
# a mobile number with anything but letters between its digits; teeth in a list have the same shape and are told apart by groups
_GAP = rf"[^0-9A-Za-z{CJK}]{{0,3}}"
_SPLIT_MOBILE = re.compile(rf"(?<!\d)1{_GAP}[3-9](?:{_GAP}\d){{9}}(?!\d)")
_FDI_PAIR = re.compile(r"[1-4][1-8]|[5-8][1-5]")
_DATE_INSIDE = re.compile(r"(?:19|20)\d{2}\D{1,3}[01]?\d\D{1,3}[0-3]?\d(?!\d)")
_COUNTED = re.compile(r"\s?(?:[度周月年级颗个天次日岁分点只]|mm|°|%|\.\d|[/、]\s?\d)")


def _plainly(text: str) -> Folded:
    folded = fold(text)
    return Folded(simplify(folded.text), folded.place)


def find_patterns(text: str) -> list[Finding]:
    """Everything in ``text`` with the form of an identifier, names apart; places in the text as given."""
    folded = _plainly(text)
    plain = folded.text
    found: list[Finding] = []
    for cls, pattern in COMPILED:
        group: str | int = "v" if "v" in pattern.groupindex else 0
        found += [Finding(m.start(group), m.end(group), cls) for m in pattern.finditer(plain)]
    found += [*regions(plain), *anchored_address(plain), *lived_address(plain), *organisations(plain)]
    return sorted(Finding(*folded.span(f.start, f.end), f.cls) for f in found)


@lru_cache(maxsize=64)  # the fields of a visit are asked about several times
def _named(plain: str) -> tuple[tuple[int, int, bool], ...]:
    """start, end, certain."""
    spans = [(s.start, s.end, s.certain) for s in find_names(plain)]
    spans += [(n.start, n.end, n.certain) for n in bare_names(plain)]
    return tuple(sorted(spans))


def find_person_names(text: str, *, certain: bool = True) -> list[Finding]:
    """Names by role, title or form (person_names) and by their likelihood alone (person_names_bare).

    ``certain=False``: only the doubtful ones, which are not replaced but hold the visit back.
    """
    folded = _plainly(text)
    return [Finding(*folded.span(start, end), "NAME") for start, end, sure in _named(folded.text) if sure is certain]


def find_tagged_persons(text: str) -> list[Finding]:
    """Names by the trained tagger (person_tagger): doubts, which are not replaced but hold the visit back.

    Raises InputError where the package that carries its model is missing.
    """
    folded = _plainly(text)
    return [Finding(*folded.span(start, end), "NAME") for start, end in suspected_persons(folded.text)]


def find_old_ages(text: str) -> list[Finding]:
    """Ages of 90 and over, 岁 included: 93岁, 年龄95, 95y."""
    folded = _plainly(text)
    spans = (m.span("bare") if m["bare"] else m.span("years") if m["years"] else m.span() for m in _AGE.finditer(folded.text))
    return [Finding(*folded.span(start, end), "AGE") for start, end in spans]


def find_long_runs(text: str) -> list[Finding]:
    """Seven and more digits in a row that are no measurement and no list of FDI numbers."""
    folded = fold(text)
    runs = []
    for match in _LONG_RUN.finditer(folded.text):
        groups = re.split(r"[ \-]", match.group())
        amount = groups[-1].endswith("000") and _RUN_UNITS.match(folded.text, match.end())
        if max(map(len, groups)) <= 3 or amount:
            continue  # 16 26 36 46, 323 434: teeth and probing depths; 1600000U
        if len(groups) > 1 and max(map(len, groups)) < 6 and min(map(len, groups)) < 3:
            continue  # 2021-05-03 and what dates are made of
        if re.fullmatch(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", match.group()):
            continue
        runs.append(Finding(*folded.span(match.start(), match.end()), "NUMBER"))
    return runs


_MEANT = str.maketrans("oOlI", "0011")
_DIGIT_LIKE = re.compile(r"(?<=\d)[oOlI]+(?=\d)")
_HANDLE = re.compile(
    r"(?<![A-Za-z0-9_@.\-])(?!(?:protaper|taper|waveone|reciproc|mtwo|file|flex|vita|shade|class|type|size|grade|level|point|step|plus|gold|oneshape)"
    r"[\-_.]?\d)[a-z]{4,20}[\-_.]?\d{2,12}(?![A-Za-z0-9]|\s?(?:mm|ml|mg|kg|%)|\.\d)"
)
_SPACED_CJK = re.compile(rf"(?<=[{CJK}])[ .·]{{1,2}}(?=[{CJK}])")


def find_disguised(text: str) -> list[Finding]:
    """What takes the form of an identifier once a writer's slips are mended: 138oo12345678, 微 信 号 abc123, 患.者.刘.洋; and handles
    (toothfan99).

    Asked of the text after replacement only: a finding holds the visit back.
    """
    folded = _plainly(text)
    found = [Finding(m.start(), m.end(), "ACCOUNT") for m in _HANDLE.finditer(folded.text)]
    mended = _DIGIT_LIKE.sub(lambda m: m.group().translate(_MEANT), folded.text)
    if mended != folded.text:
        found += [f for f in [*find_patterns(mended), *find_long_runs(mended), *find_split_mobiles(mended)] if f.cls != "DATE"]
    gaps = [m.span() for m in _SPACED_CJK.finditer(folded.text)]
    if gaps:
        drop = {i for start, end in gaps for i in range(start, end)}
        places = [i for i in range(len(folded.text)) if i not in drop]
        tight = "".join(folded.text[i] for i in places)
        again = [f for f in find_patterns(tight) if f.cls not in ("DATE", "ORG", "ADDRESS")]
        again += [Finding(start, end, "NAME") for start, end, sure in _named(tight) if sure]
        whole = [Finding(places[f.start], places[f.end - 1] + 1, f.cls) for f in again]
        found += [f for f in whole if any(f.start < end and start < f.end for start, end in gaps)]
    return sorted(Finding(*folded.span(f.start, f.end), f.cls) for f in found)


def find_split_mobiles(text: str) -> list[Finding]:
    """Eleven digits that begin like a mobile number, whatever stands between them: 138/1234-5678, 13 81 23 45 67 8.

    13、14、15、16、17、18 and 145 434 545 33 have that shape too: groups of two and three are teeth and probing depths, unless a
    pair is no tooth.
    """
    folded = fold(text)
    found = []
    for match in _SPLIT_MOBILE.finditer(folded.text):
        groups = re.findall(r"\d+", match.group())
        sizes = set(map(len, groups))
        if _DATE_INSIDE.search(match.group()):
            continue
        pairs = all(len(group) == 2 for group in groups[:-1]) and len(groups[-1]) == 1
        teeth = all(_FDI_PAIR.fullmatch(group) for group in groups[:-1])
        if pairs and teeth and _COUNTED.match(folded.text, match.end()):
            continue
        if max(sizes) >= 4 or sizes == {1} or pairs:
            found.append(Finding(*folded.span(match.start(), match.end()), "PHONE"))
    return found


def contains_identifier(text: str) -> str | None:
    """Class of the first identifier found by its form, or None. Dates are no identifiers here: shifted ones stay.

    Asked again right before every call to an outside service and by the audit of a release.
    """
    masked = mask_placeholders(text)
    found = [f for f in find_patterns(masked) if f.cls != "DATE"] + find_person_names(masked)
    return min(found).cls if found else None
