"""Does a chief complaint already name the label? 要求补蛀牙 of a visit with Caries: the answer stands in the question.

Names are those of the condition list, with a clinic's own list over it: every Chinese name and synonym of a condition of the class, its English
name; beside them what people say (questions/label_names.yaml). A name that is denied ("no cavities") names it all the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

import yaml

from codelib.contracts import SIX_CLASSES
from codelib.dental.condition_terms import Dictionary
from codelib.models.words import FOLDER, LANGUAGES, words

_BLANKS = re.compile(r"\s+")
_IN_BRACKETS = re.compile(r"\([^)]*\)")
_CJK = re.compile(r"[\u3400-\u9fff]")


def _spoken(text: str) -> str:
    """Lower-case words with one blank between them: Wedge-shaped DEFECT! -> wedge shaped defect"""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", folded).split())


def _english_names(terms: Dictionary, label: str) -> set[str]:
    """Attrition; of 'Reversible pulpitis / pulp hyperaemia' both; 'Residual (retained) root' with and without its brackets."""
    found = {words("en").classes[label]}
    for condition in terms.conditions:
        if condition.six_class == label:
            for name in condition.en.split(" / "):
                found |= {name, _IN_BRACKETS.sub(" ", name)}
    return {name for name in map(_spoken, found) if name}


@cache
def _patterns(terms: Dictionary) -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """label -> what names it in English and in Chinese."""
    sayings = yaml.safe_load((FOLDER / "label_names.yaml").read_text(encoding="utf-8"))
    assert tuple(sayings) == SIX_CLASSES, "label_names.yaml: the six classes in the order of the contracts"
    found = {}
    for label, said in sayings.items():
        english = [*map(re.escape, sorted(_english_names(terms, label))), *said["en"]]
        chinese = [*said["zh"], re.escape(words("zh").classes[label])]
        found[label] = (
            re.compile(rf"(?<![a-z0-9])(?:{'|'.join(english)})(?![a-z0-9])"),
            re.compile("|".join(chinese)),
        )
    return found


def names_label(label: str | None, complaints: dict[str, str], teeth: Iterable[tuple[int, int]], terms: Dictionary) -> bool:
    """Whether the complaint, in any language it is told in, names ``label``; False where the visit has none.

    complaints: language -> text (the English of a field that waits for review holds Chinese). teeth: spans of tooth numbers in the Chinese
    one, for the synonyms that count behind a number only.
    """
    if label is None:
        return False
    english, chinese = _patterns(terms)[label]
    for language in LANGUAGES:
        text = complaints[language]
        if english.search(_spoken(text)):
            return True
        if _CJK.search(text):
            spans = teeth if language == "zh" else ()
            if chinese.search(_BLANKS.sub("", text)) or any(m.condition.six_class == label for m in terms.find(text, spans)):
                return True
    return False
