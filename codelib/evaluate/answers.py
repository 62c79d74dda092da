"""Read the class out of a model's answer: deterministic and strict.

    "The diagnosis is **Caries**."                    -> Caries
    "<reasoning>… caries? … Final answer: Pulpitis"    -> Pulpitis   what it states in the end
    '```json {"result": {"class": ["tooth loss"]}}```' -> Tooth Loss
    "诊断：慢性牙髓炎"                                  -> Pulpitis
    "The lower incisors are crowded."                  -> Malocclusion   a synonym, where no class is named
    "B", to a question with "A. Caries B. Gingivitis"  -> Gingivitis
    "Caries or Pulpitis", "more likely caries than pulpitis" -> None   two classes
    "There is no caries."                              -> None   named only to be denied
    "I cannot tell."                                   -> None

None counts as wrong and is counted. Nothing is guessed: no edit distance, no random fallback (the published MMOral parser has
one). Names stand in class_names.json, what is said instead of them in class_synonyms.json, both beside this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from codelib.contracts import SIX_CLASSES
from codelib.evaluate.answer_forms import json_values, plain, statements, without_thoughts
from codelib.evaluate.denials import asserted

_FOLDER = Path(__file__).parent
_LETTER = re.compile(
    r"(?:(?:the )?(?:correct )?(?:option|choice|answer|letter)(?: is)?|选项?|答案?(?:是|为)?)?\s*:?\s*"
    r"[(\[]?([a-z])[)\].:、]?(?=$|[\s,.:)、\u3400-\u9fff])"
)
_OPTION = re.compile(r"(?:^|[\s(（;；,，])([A-H])[).．、:：]\s*([^\n;；]+?)(?=[\s(（;；,，]+[A-H][).．、:：]|[\n;；]|$)")


Names = tuple[re.Pattern[str], dict[str, str]]


def _pattern(names: dict[str, list[str]]) -> Names:
    """One pattern over all names, longest first, and the class of each; "none" is of words that hold a name and are none (oral cavity)."""
    owner = {plain(name): label for label, entry in names.items() for name in entry}
    assert set(names) == {*SIX_CLASSES, "none"}, "a file of names and SIX_CLASSES name different classes"
    assert len(owner) == sum(map(len, names.values())), "a name of two classes, or twice"
    longest_first = sorted(owner, key=lambda name: (-len(name), name))
    # a Latin name must stand as words of its own; Chinese has no blanks between words
    patterns = [rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])" if name.isascii() else re.escape(name) for name in longest_first]
    return re.compile("|".join(patterns)), owner


@cache
def _names() -> tuple[Names, Names]:
    """The names of the classes, and what is said instead of them."""
    names, synonyms = (
        json.loads((_FOLDER / file).read_text(encoding="utf-8")) for file in ("class_names.json", "class_synonyms.json")
    )
    exact = {label: [label, *names[label]] for label in SIX_CLASSES}
    return _pattern(exact | {"none": synonyms["none"]}), _pattern(synonyms)


def _named(text: str) -> set[str]:
    """The classes that a plain text asserts: by name, or by synonym where it asserts none by name."""
    for pattern, owner in _names():
        found = [match for match in pattern.finditer(text) if owner[match.group()] != "none"]
        kept = asserted(text, [match.span() for match in found])
        if classes := {owner[match.group()] for match, stands in zip(found, kept, strict=True) if stands}:
            return classes
    return set()


def listed(question: str) -> tuple[str, ...]:
    """The classes that a question names, in either language, in the order in which it names them first."""
    pattern, owner = _names()[0]
    found = (owner[match.group()] for match in pattern.finditer(plain(question)))
    return tuple(dict.fromkeys(name for name in found if name != "none"))


def _classes(text: str, options: Mapping[str, str]) -> set[str]:
    """What a plain text asserts, a leading letter of the question's options included: a letter and another class are two."""
    named = _named(text)
    letter = _LETTER.match(text) if options else None
    if letter and letter.group(1).upper() in options and (named or text[letter.end() :].strip(" .") == ""):
        named.add(options[letter.group(1).upper()])
    return named


def _only(classes: set[str]) -> str | None:
    return next(iter(classes)) if len(classes) == 1 else None


def parse_class(text: str | None, options: Mapping[str, str] | None = None) -> str | None:
    """The one class that an answer names; None where it names none or several.

    What it states as its answer counts before what it says on the way (`answer_forms.statements`). A class that is named to be denied is
    not named: "no caries, pulpitis" is Pulpitis. options: letter -> class, where the question had such a list (`options_in`).
    """
    given = options or {}
    answer = without_thoughts(text or "")
    if not answer:
        return None
    if values := json_values(answer):
        return _only({name for value in values for name in _classes(plain(value), given)})
    spoken = plain(answer)
    for strength, stated in statements(spoken):
        if classes := {name for statement in stated for name in _classes(statement, given)}:
            return _only(classes)
        if strength == "final":
            return None  # "Final answer: cannot be determined", whatever was weighed before it
    return _only(_classes(spoken, given))


def options_in(question: str) -> dict[str, str]:
    """Letter -> class of a question that offers lettered options, "A. Caries  B. Gingivitis"; empty where it does not.

    The letters run from A without a gap, and each option names one class of its own: anything else is no list of options.
    """
    found: dict[str, str] = {}
    for letter, text in _OPTION.findall(question):
        label = _only(_named(plain(text)))
        if label is None or letter != "ABCDEFGH"[len(found) : len(found) + 1] or label in found.values():
            return {}
        found[letter] = label
    return found if len(found) > 1 else {}
