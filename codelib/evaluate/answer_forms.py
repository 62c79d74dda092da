"""The forms in which models answer: after thinking aloud, as JSON, behind "Final answer:", in Markdown and LaTeX.

    text  ->  without_thoughts  ->  json_values, or plain  ->  statements, strongest first

Nothing here knows a class or a condition.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

_KEYS = (
    "finalanswer", "answer", "class", "label", "classification", "category", "prediction", "predictedclass", "finaldiagnosis", "diagnosis",
    "primarydiagnosis", "condition", "conditions", "diagnoses", "labels", "name", "最终答案", "答案", "诊断", "類別", "类别", "分类", "标签",
)  # fmt: skip
_PRESENCE = ("present", "presence", "detected", "exists", "found", "observed", "visible", "positive", "存在", "是否存在")
_NO = ("false", "no", "none", "absent", "negative", "0", "无", "否")
_DEPTH = 4  # how deep a key may be nested
_LONGEST_STATEMENT = 500  # characters
_STATEMENTS = 20  # the last ones: a model that repeats itself says it a thousand times
_TRIES = 40  # brackets at which JSON may begin
_FENCE = re.compile(r"```\w*\s*(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"<(think(?:ing)?|reasoning)>.*?(?:</\1>|$)", re.DOTALL | re.IGNORECASE)
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200d\u2060\ufeff]")  # soft hyphens and joiners, which web text brings along
_CIRCLED = re.compile(r"[①-⑳⑴-⒛]")
_MARKS = re.compile(r"[*_`#>~\"“”「」『』|\\]|</?[a-z]+>|[-‐‑–—](?=[^\s\d])(?<=[a-z][-‐‑–—])", re.IGNORECASE)

_ABOUT = r"(?:[ \t]*\([^()\n]{0,60}\))?(?:[ \t](?:for|of|in|based on|according to|given)\b[^.:;\n]{0,80}?)?[ \t]*"
_IS = _ABOUT + r"(?::|=|->|→|\b(?:is|was|would be|should be|will be)\b:?|(?:应该?|可能)?[为是]:?)"
_STRENGTHS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (strength, re.compile("|".join(wordings)))
    for strength, *wordings in (
        (
            "final",
            r"boxed[ \t]*\{(?:[ \t]*text[ \t]*\{)?",
            r"\b(?:final|overall|definitive)[ \t](?:[a-z]+[ \t]){0,2}"
            r"(?:answer|diagnosis|classification|choice|label|verdict|decision)\b" + _IS,
            r"(?:最终|最后|综上)[^:\n。]{0,8}(?:答案|诊断|结论|分类|选择|判断)" + _IS,
        ),
        (
            "answer",
            r"\b(?:(?:correct|best|single|my) )?(?:answer|choice|conclusion|verdict)\b" + _IS,
            r"\bin conclusion\b,?",
            r"\bi(?:'d| would| will)? (?:choose|select|pick|conclude|go with)\b:?",
            r"(?:答案|回答|结论)" + _IS,
            r"(?:我|应|故|应该)选(?:择)?:?",
        ),
        (
            "diagnosis",
            r"(?<!differential )\b(?:diagnosis|label|class(?:ification)?|category|condition|impression|disease)\b" + _IS,
            r"(?<!鉴别)(?:诊断|类别|分类|标签|病名|疾病)" + _IS,
        ),
    )
)
_FINAL = re.compile(
    r"\b(?:final|overall)[ \t](?:answer|diagnos[ie]s|list|conditions?)\b[^:\n]{0,30}:|最终(?:答案|诊断|结论)[^:：\n]{0,8}[:：]",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.;!?。；！？}\n]|$")
_LINE_END = re.compile(r"\n|$")


def without_thoughts(text: str) -> str:
    """The answer behind a block of thoughts (`<think>…</think>`); nothing where the thoughts were cut off before any answer."""
    return _THOUGHT.sub(" ", text).strip()


def plain(text: str) -> str:
    """Small letters in normal width, Markdown and quotes taken away, a hyphen inside words a blank, blanks single; lines stay lines."""
    # ①16 would become 116
    folded = _MARKS.sub(" ", unicodedata.normalize("NFKC", _CIRCLED.sub("; ", _INVISIBLE.sub("", text))).casefold())
    lines = (" ".join(line.split()) for line in folded.splitlines())
    return "\n".join(line for line in lines if line)


# JSON


def _documents(text: str) -> Iterator[Any]:
    """What of the text is JSON: fenced blocks, then whatever begins with a bracket. Only objects and lists count."""
    decoder = json.JSONDecoder()
    for source in (*_FENCE.findall(text), text):
        at = 0
        for _ in range(_TRIES):
            start = min((place for place in (source.find("{", at), source.find("[", at)) if place >= 0), default=-1)
            if start < 0:
                break
            try:
                value, at = decoder.raw_decode(source, start)
            except (ValueError, RecursionError):  # ValueError also for a number of more digits than Python reads
                at = start + 1
                continue
            yield value


def _strings(value: Any) -> list[str] | None:
    """The texts of a value that is one, or a list of them, the empty list too; None for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return list(value)
    return None


def _key(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _is_denied(entry: dict[str, Any]) -> bool:
    """Whether an object says of what it names that it is not there: {"condition": "gingivitis", "present": false}."""
    return any(_key(name) in _PRESENCE and str(value).strip().casefold() in _NO for name, value in entry.items())


def _wanted(document: Any) -> list[str] | None:
    """The values of the first answer-like key, the outermost first, of all objects that stand beside each other; of a bare list its texts."""
    if (bare := _strings(document)) is not None:
        return bare
    level = document if isinstance(document, list) else [document]
    for _ in range(_DEPTH):
        objects = [entry for entry in level if isinstance(entry, dict)]
        for key in _KEYS:
            values = [(entry, value) for entry in objects for name, value in entry.items() if _key(name) == key]
            if read := [(entry, texts) for entry, value in values if (texts := _strings(value)) is not None]:
                return [text for entry, texts in read if not _is_denied(entry) for text in texts]
        level = [value for entry in objects for value in entry.values()]
        level += [part for entry in level if isinstance(entry, list) for part in entry]
    return None


def json_values(text: str) -> list[str] | None:
    """The texts under the answer's key in the last JSON of an answer that has one (of an empty list none); None where there is none."""
    found = None
    for document in _documents(text) if "{" in text or "[" in text else ():
        wanted = _wanted(document)
        found = found if wanted is None or (found and not wanted) else wanted
    return found


# statements


def final_part(text: str) -> str:
    """What stands behind the last "Final answer:" or "Final diagnoses:", to the end of the text; the whole text where there is none."""
    end = max((marker.end() for marker in _FINAL.finditer(text)), default=0)
    return text[end:] if text[end:].strip() else text


def statements(text: str) -> Iterator[tuple[str, list[str]]]:
    """What a plain text states as its answer, the strongest wording first: ("final" | "answer" | "diagnosis", the words behind it).

    A statement reaches to the end of its sentence, a mere "diagnosis:" to that of its line; where nothing follows it is the next line.
    """
    for strength, pattern in _STRENGTHS:
        end = _LINE_END if strength == "diagnosis" else _SENTENCE_END
        found = []
        for marker in pattern.finditer(text):
            start = marker.end()
            while start < len(text) and text[start] in " :\n":
                start += 1
            stop = end.search(text, start).start()  # type: ignore[union-attr]  # it finds the end of the text
            if words := text[start : min(stop, start + _LONGEST_STATEMENT)].strip():
                found.append(words)
        if found:
            yield strength, found[-_STATEMENTS:]
