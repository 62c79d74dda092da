"""Read the class out of a model's answer: deterministic and strict.

    "The diagnosis is **Caries**."      -> Caries
    '{"class": "tooth structure loss"}' -> Tooth Structure Loss
    "诊断：慢性牙髓炎"                   -> Pulpitis
    "Caries or Pulpitis"                -> None   two classes
    "There is no caries."               -> None   named only to be denied
    "I cannot tell."                    -> None

None counts as wrong and is counted. Nothing is guessed: no edit distance, no random fallback (the published MMOral parser has
one). Chinese names of the classes stand in class_names.json beside this module.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from pathlib import Path

from codelib.contracts import SIX_CLASSES

_KEYS = ("class", "label", "diagnosis", "answer", "category")
_FENCE = re.compile(r"^```\w*\s*(.*?)\s*```$", re.DOTALL)
_NEGATION = re.compile(
    r"(?:\b(?:no|not|non|without|neither|nor|excludes?|excluded|rules? out|ruled out|absence of)"
    r"(?: (?:a|an|any|the|signs? of|evidence of|visible|dental|obvious|clear)){0,3}|无|無|没有|沒有|非|不是|未见|未見|排除) ?$"
)


def _normal(text: str) -> str:
    """Case, width and punctuation taken away: letters and digits, one blank between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", folded).split())


@cache
def _names() -> tuple[re.Pattern[str], dict[str, str]]:
    """One pattern over all names, longest first, and the class of each name."""
    synonyms = json.loads((Path(__file__).parent / "class_names.json").read_text(encoding="utf-8"))
    assert set(synonyms) == set(SIX_CLASSES), "class_names.json and SIX_CLASSES name different classes"
    owner = {_normal(name): label for label in SIX_CLASSES for name in (label, *synonyms[label])}
    longest_first = sorted(owner, key=lambda name: (-len(name), name))
    # a Latin name must stand as words of its own; Chinese has no blanks between words
    patterns = [rf"(?<![a-z0-9]){name}(?![a-z0-9])" if name.isascii() else re.escape(name) for name in longest_first]
    return re.compile("|".join(patterns)), owner


def _json_value(text: str) -> str | None:
    """The class field of an answer that is one JSON object, bare or in a code fence; None where it is not that."""
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    lowered = {str(key).casefold(): entry for key, entry in value.items()}
    return next((lowered[key] for key in _KEYS if isinstance(lowered.get(key), str)), None)


def parse_class(text: str | None) -> str | None:
    """The one class that an answer names; None where it names none or several. A class that is named to be denied is not named:
    "no caries, pulpitis" is Pulpitis."""
    if not text:
        return None
    stripped = text.strip()
    answer = _normal(_json_value(stripped) or stripped)
    pattern, owner = _names()
    named: set[str] = set()
    for found in pattern.finditer(answer):
        if _NEGATION.search(answer[max(0, found.start() - 60) : found.start()]):
            continue
        named.add(owner[found.group()])
    return named.pop() if len(named) == 1 else None
