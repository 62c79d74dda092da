"""What a report says that can be checked against another: tooth numbers, diagnoses, what it denies, on which side.

    "Examination: 16 deep caries, no gingivitis.\\nDiagnosis: 16 deep caries"
        ->  teeth {16} · diagnoses {Deep caries} · asserted {Deep caries} · denied {Gingivitis} · places {Deep caries: upper right}

Teeth are read by the grammar that made the dataset (`codelib.dental.teeth_grammar`), certain mentions alone; an English text is first freed of
numbers that are none ("a 45-year-old", "28 teeth", "image 12").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from codelib.dental import teeth_grammar
from codelib.evaluate.conditions import ASSERTED, DENIED, mentions
from codelib.evaluate.sections import FINDINGS, sections_of

_COUNTED = (
    r"years?|yrs?|yo|y/o|months?|weeks?|days?|hours?|minutes?|seconds?|times|visits?|sessions?|images?|photo(?:graph)?s?|pictures?|"
    r"radiographs?|percent|points?|degrees?|patients?|restorations?|gauge|blades?"
)
_UNITS = r"mm|cm|ml|mg|millimet(?:er|re)s?"
_NUMBERED = (
    r"age[ds]?(?: of)?|pulse|heart rate|scor(?:e|ed|ing)|pages?|rooms?|beds?|images?|photo(?:graph)?s?|radiographs?|figures?|fig|"
    r"pictures?|cases?|chapter|visits?|steps?|grade|class|size|files?|shade|iso|numbers? of(?: \w+){0,2}|total of|about|approximately|"
    r"roughly|nearly|over"
)
_SHOWN = r"(?:images?|photo(?:graph)?s?|figures?|pictures?|visits?)"
_MANY = _SHOWN.replace("s?", "s")
_NO_TEETH = re.compile(
    # "images 11-13", "aged 11 to 13", "photos 21 and 22"; but "image 1, 16 has caries" and "figure 2 - 16 caries" go on with a tooth
    rf"\b(?:{_SHOWN}|age[ds]?|grade|size|steps?|pages?)\s{{1,3}}\d+(?:[-–]| to )\d+\b"
    rf"|\b{_MANY}\s\d+(?:, \d+)*,? (?:and|or|&) \d+\b"
    rf"|\b(?:{_NUMBERED})\b[\s:#.\-=]{{0,3}}\d+(?:\.\d+)?(?!\d)"
    rf"|\b\d+(?:\s*(?:-|–|to|or)\s*\d+)?[\s-]*(?:{_COUNTED}|(?:out )?of \d+)\b"
    rf"|\b\d+\s*(?:-|–|to|or)\s*\d+\s*(?:{_UNITS})\b|\bbetween \d+ and \d+\s*(?:{_UNITS}|{_COUNTED})\b"
    r"|\bpatient \(\d{1,3},? ?[fm]\)|\(\d{1,3},? ?(?:fe)?male\)"  # (36, M) alone is its mesial side
    # 28 teeth are counted; 16, 28 teeth missing is a list, as translations from Chinese have it
    r"|(?<![\d,] )(?<!and )\b(?:2[0-8]|3[0-2]) (?:permanent |natural |remaining |erupted |healthy )*teeth\b"
    r"(?! (?:missing|are missing|caries|decayed))",
    re.IGNORECASE,
)
_TOOTH_NUMBER = re.compile(r"\b(tooth|teeth)\s+(?:no|nos|numbers?)\b\.?\s*(?=#?\d)", re.IGNORECASE)
_DOTTED = re.compile(
    r"\b(?:tooth|teeth)\s+[1-8]\.[1-8](?!\d)(?:(?:\s*,\s*|\s*(?:,\s*)?and\s+|\s*[-–]\s*)[1-8]\.[1-8](?!\d))*", re.IGNORECASE
)
_RANGE = re.compile(
    r"\b([1-8][1-8])\s+(?:to|through)\s+([1-8][1-8])\b(?!\s*(?:mm|years?|months?|weeks?|days?|hours?|minutes?|%))", re.IGNORECASE
)
_SIDES = {
    "R": re.compile(r"\bright(?:-sided)?\b(?! (?:now|away))|右"),
    "L": re.compile(r"\bleft\b(?! (?:untreated|in place|to|as|over|open|behind|alone|un))|左"),
    "U": re.compile(r"\b(?:upper|maxillary|maxilla)\b|上颌|上(?=[前后牙切磨尖唇])|[左右]上|上[左右]"),
    "D": re.compile(r"\b(?:lower|mandibular|mandible)\b|下颌(?!关节)|(?<!以)下(?=[前后牙切磨尖唇])|[左右]下|下[左右]"),
}
_SENTENCE_END = re.compile(r"(?<=[。；;!?])|(?<=[a-z)]\.)\s|(?<=\n)(?![\s\d|┘└┐┌─│\-])")
"""Where no way of writing teeth goes on: a Palmer cross may stand on two lines, and "No. 16" and "1. 16" hold full stops."""
_MAY_NAME = re.compile(
    r"\d|[牙齿齒切尖磨颗]|[左右上下乳][A-E]|[\u2160-\u217f\u23a0-\u23ff\u2460-\u2473\u2500-\u257f]"
    r"|\b(?:incisor|canine|cuspid|bicuspid|molar|premolar|tooth|teeth)",
    re.IGNORECASE,
)
_BOTH = re.compile(r"\bbilateral|\bboth sides\b|双侧|两侧")
_OF_QUADRANT = {1: "UR", 2: "UL", 3: "DL", 4: "DR"}


@dataclass(frozen=True)
class Findings:
    """``teeth``: FDI numbers named anywhere; ``diagnoses``: conditions that the diagnosis asserts (the whole text where no section
    is called so); ``asserted`` and ``denied``: of examination, radiographs and diagnosis together (the whole text where there is none);
    ``places``: condition -> sides (L, R, U, D) said beside it; ``on_teeth``: those of them
    whose place is given as teeth."""

    teeth: frozenset[str]
    diagnoses: frozenset[str]
    asserted: frozenset[str]
    denied: frozenset[str]
    places: dict[str, frozenset[str]]
    on_teeth: frozenset[str]


def teeth_in(text: str) -> frozenset[str]:
    """The FDI numbers of the teeth that a text names for certain, by number or by name."""
    return frozenset(
        tooth for sentence in _SENTENCE_END.split(text) if _MAY_NAME.search(sentence) for tooth in _teeth_of(sentence)
    )


@lru_cache(maxsize=100_000)
def _teeth_of(sentence: str) -> frozenset[str]:
    """Kept, for reports of one clinic, and answers of one model, share many sentences."""
    text = _DOTTED.sub(lambda m: m.group().replace(".", ""), _TOOTH_NUMBER.sub(r"\1 ", sentence))
    text = _RANGE.sub(r"\1-\2", _NO_TEETH.sub(" ", text))
    return frozenset(number for item in teeth_grammar.parse(text) if item.status == "ok" for number in item.fdi)


def sides_of(clause: str) -> tuple[frozenset[str], bool]:
    """The sides that a clause names, by words and by teeth, and whether it names teeth."""
    teeth = teeth_in(clause)
    sides = {side for tooth in teeth for side in _OF_QUADRANT[(int(tooth[0]) - 1) % 4 + 1]}
    sides |= {side for side, words in _SIDES.items() if words.search(clause)}
    return frozenset(sides | ({"L", "R"} if _BOTH.search(clause) else set())), bool(teeth)


@lru_cache(maxsize=20_000)
def findings(text: str) -> Findings:
    """Read a report once; the references of a test set come again for every variant."""
    sections = sections_of(text)
    diagnosed = list(mentions(sections.get("Diagnosis", text)))
    examined = [mention for name in FINDINGS[:-1] if name in sections for mention in mentions(sections[name])]
    asserted, denied, on_teeth = set(), set(), set()
    places: dict[str, frozenset[str]] = {}
    for mention in examined + diagnosed if "Diagnosis" in sections else examined or diagnosed:
        if mention.status == DENIED:
            denied.add(mention.name)
        elif mention.status == ASSERTED:
            asserted.add(mention.name)
            sides, has_teeth = sides_of(mention.clause)
            places[mention.name] = places.get(mention.name, frozenset()) | sides
            if has_teeth:
                on_teeth.add(mention.name)
    diagnoses = frozenset(mention.name for mention in diagnosed if mention.status == ASSERTED)
    return Findings(teeth_in(text), diagnoses, frozenset(asserted), frozenset(denied), places, frozenset(on_teeth))
