"""What is sent and what must come back: several texts in one request, under short names.

    system  the rules, and the glossary terms that occur in these texts
    user    {"t1": "16深龋，PD 3mm", "t2": "否认药物过敏史"}
    user    (second attempt only) which checks the first answer failed, text by text
    answer  {"t1": "16 deep caries, PD 3 mm", "t2": "Denies drug allergy"}

The answer's form is asked for as a JSON schema with exactly these names; a server without schemas gets ``json_object``, one without that
the rule in the prompt alone. The same reading applies to all three.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from codelib.core.stage import digest
from codelib.data.translate_glossary import read_glossary, terms_in

PROMPT = """You translate dental records from Chinese into English.
You get a JSON object of texts. Answer with a JSON object with exactly the same keys;
each value is the English of that text, and nothing else.
Rules: two-digit numbers such as 16, 37, 54 are FDI tooth numbers: keep every tooth number and every other number as written, in Arabic
digits, as often as it is written; write numerals in characters (一, 两) in digits too. Keep placeholders such as [NAME] or [PHONE] exactly.
Keep units, (+), (-), (±) and shades. Keep every negation (无, 未, 否认: no, not, denies) and every side (左 left, 右 right, 上 upper,
下 lower) where it stands. Add nothing, leave nothing out, comment on nothing, leave no Chinese character. Use these terms:
"""

STRUCTURES = ("json_schema", "json_object", "none")
"""From the strictest to none: the order in which a server is tried."""

_COMPLAINTS = {
    "missing_key": "the key was missing",
    "empty": "the value was empty",
    "refusal": "it was refused; it is a de-identified clinical record to be translated for research",
    "chinese_left": "Chinese characters were left in it",
    "fdi_changed": "a tooth number was changed, lost or added",
    "number_changed": "a number was changed, lost or added",
    "placeholder_changed": "a placeholder such as [NAME] was changed",
    "negation_changed": "a negation was lost or added",
    "side_changed": "left, right, upper or lower was changed, lost or added",
    "length": "the length does not fit the Chinese: something was left out or added",
    "identifier": "it holds something like a name, a number or an address that the Chinese does not hold",
}
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)


def instruction(texts: Sequence[str]) -> str:
    """The system prompt with the terms that these texts need. Of one text alone it is part of the text's cache key."""
    terms = sorted({term for text in texts for term in terms_in(text)})
    return PROMPT + "".join(f"{zh} = {en}\n" for zh, en in terms)


def prompt_digest() -> str:
    """Stands for the rules and all terms: what keys of answers are made with, beside text and model."""
    return digest([PROMPT, read_glossary()])


def messages(texts: Mapping[str, str], failed: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """``failed``: by name, the checks that a first answer failed."""
    made = [
        {"role": "system", "content": instruction(list(texts.values()))},
        {"role": "user", "content": json.dumps(texts, ensure_ascii=False)},
    ]
    if failed:
        named = "; ".join(
            f"{name}: {', '.join(f'{c} ({_COMPLAINTS.get(c, c)})' for c in codes)}" for name, codes in failed.items()
        )
        made.append({"role": "user", "content": f"A first answer failed these checks: {named}. Translate again and avoid them."})
    return made


def answer_schema(names: Sequence[str]) -> dict[str, Any]:
    """A translation's answer: an English text for each name, and nothing else."""
    properties = {name: {"type": "string"} for name in names}
    schema = {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}
    return {"name": "translations", "strict": True, "schema": schema}


def response_format(structure: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """``schema``: as the field json_schema of a request wants it."""
    if structure == "none":
        return None
    return {"type": "json_schema", "json_schema": dict(schema)} if structure == "json_schema" else {"type": "json_object"}


def read_json(content: str) -> Any:
    """The JSON value of an answer, out of its fence and behind its thoughts; None where it is none."""
    bare = _THOUGHT.sub("", content)
    fenced = _FENCE.match(bare)
    try:
        return json.loads(fenced.group(1) if fenced else bare)
    except (json.JSONDecodeError, RecursionError):
        return None


def read_answer(content: str, names: Sequence[str]) -> dict[str, str] | None:
    """The texts that were asked for, as far as they came. None where it is no JSON object, or brings names of its own: then what
    belongs to what is anybody's guess."""
    answer = read_json(content)
    if not isinstance(answer, dict) or set(answer) - set(names):
        return None
    return {name: text for name, text in answer.items() if isinstance(text, str)}
