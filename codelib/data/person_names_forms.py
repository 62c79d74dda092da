"""Names that their form alone makes a doubt, for a person to settle.

翻译小魏陪同 · 老孟说   a surname behind 小, 老 or 阿
谢谢。鞠              a surname alone at the end of a field
华建设，57岁          whatever begins with a surname and is followed by sex or age
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from codelib.data.person_names_beside import END, beside
from codelib.data.person_names_likelihood import Cuts, best_cuts, likelihoods, word_classes
from codelib.data.person_names_lists import CJK, PLAIN_CHARS, allowed_at, allowed_words, is_weak, may_be_given, surnames
from codelib.data.person_names_rare import family_length
from codelib.data.person_names_roles import NameSpan

_RUN = re.compile(rf"[{CJK}]{{2,}}")
_CALLED = "小老阿"
_SIGNED = re.compile(rf"(?:[。！!?？;；~～—\-]\s?|[谢盼安礼致]\s|\n\s*)([{CJK}])\s*[。.]?\s*$")
_STATED = re.compile(
    rf"(?:^|(?<=[\s,，。;；:：、(（])|患者|患儿|病人|病员|客户|家属)([{CJK}]{{2,4}})(?=\s?[,，、(（\s]\s?(?:[男女]性?[,，、。\s)）]|\d{{1,3}}\s?岁))"
)


def doubtful_forms(text: str) -> Iterator[NameSpan]:
    yield from _nicknames(text)
    yield from _stated(text)
    signed = _SIGNED.search(text)
    if signed and signed[1] in surnames()["common"] and not is_weak(text, signed.start(1)) and signed[1] not in PLAIN_CHARS:
        yield NameSpan(signed.start(1), signed.end(1), False)


def _stated(text: str) -> Iterator[NameSpan]:
    for match in _STATED.finditer(text):
        name = match[1]
        family = family_length(name, 0)
        shaped = 0 < family < len(name) <= family + 2 and all(may_be_given(char) for char in name[family:])
        if shaped and name not in allowed_words() and not allowed_at(name[family:], 0):
            yield NameSpan(match.start(1), match.end(1), False)


def _nicknames(text: str) -> Iterator[NameSpan]:
    """小魏, where neither 小魏 nor what follows is a word: 小时候, 小石块, 老年 are."""
    for match in _RUN.finditer(text):
        run = match.group()
        places = [i for i, char in enumerate(run[:-1]) if char in _CALLED and run[i + 1] in surnames()["common"]]
        cuts = best_cuts(run) if places else None
        for at in places:
            if cuts and _called(run, at, cuts):
                yield NameSpan(match.start() + at + 1, match.start() + at + 2, False)


def _called(run: str, at: int, cuts: Cuts) -> bool:
    alone = cuts.ends[at] == at + 1 and cuts.ends[at + 1] == at + 2 and cuts.begins[at + 2] == at + 1
    if not alone or run[at : at + 2] in likelihoods().word or is_weak(run, at + 1) or allowed_at(run, at):
        return False
    behind = run[at + 2 : cuts.ends[at + 2]] or END
    return word_classes().get(run[at + 1]) != "a" or beside().right(behind) > 0  # 小黄点, but 小黄说
