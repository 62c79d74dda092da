"""The optional second pass: a model reads the diagnosis strings that no list knows, and must quote them.

    unknown parts of a table ─ identifier in it? ─ never sent
                             ─ answered before?  ─ from the cache
                             └ else one request for several of them ─ checked ─ cache ─ diseases

An answer counts only where its quote stands in the string word for word, its condition is one of the dictionary (so that zh, en and ICD-10 are
never the model's) and its status is one of ours. What fails that, and what the model does not know, stays unknown and is listed as before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import openai
import pyarrow as pa

from codelib.contracts import ANNOTATED, OK
from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.annotate import AnnotateSettings, annotate, disease_row, six_class, teeth_of
from codelib.data.annotate_lists import Condition
from codelib.data.annotate_report import unknown_parts
from codelib.data.annotate_terms import Dictionary

STATUSES = ("present", "suspected", "negated", "past", "planned")
_PROMPT = """You read diagnoses of a Chinese dental clinic that a dictionary did not know: an array of objects with "n" and "text".
Answer with a JSON object {"items": [{"n": ..., "conditions": [{"quote": ..., "zh": ..., "status": ...}]}]}, one item for each n.
"quote": the words of that text that name the condition, copied exactly. "zh": the name of the same condition, from the list below.
"status": present, suspected, negated, past or planned, as the text says. A text that names none of the listed conditions has an
empty list: never take a condition that is only similar. The list:
"""


class Cache(Protocol):
    """Answers that were paid for, by the hash of what was asked."""

    def get(self, key: str) -> str | None: ...

    def put(self, key: str, answer: str) -> None: ...


class FileCache:
    """One file for each answer, named by the hash of what was asked; a commit is a rename, so a kill leaves no half answer."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, key: str) -> str | None:
        name = f"{key[:2]}/{key}.json"
        if not self.store.exists(name):
            return None
        answer = self.store.read(name).decode("utf-8", "replace")
        try:
            return answer if isinstance(json.loads(answer), list) else None
        except json.JSONDecodeError:
            return None  # a damaged file is asked for again and replaced

    def put(self, key: str, answer: str) -> None:
        self.store.commit(f"{key[:2]}/{key}.json", answer.encode())


@dataclass(frozen=True)
class Found:
    """A condition that the model named in a string; ``start``..``end`` is its quote there."""

    zh: str
    status: str
    start: int
    end: int


class SecondPass:
    """ANNOTATED → ANNOTATED: the unknown parts of the diagnoses, answered. One for each worker; the cache is shared."""

    def __init__(self, given: AnnotateSettings, cache: Cache, is_private: Callable[[str], object]) -> None:
        """``is_private``: whether a string may hold an identifier; such a string is not sent, whatever was removed before.

        Raises ValueError where the key's variable is not set.
        """
        settings = given.second_pass
        key = os.environ.get(settings.key_env, "")
        if not key:
            raise ValueError(f"annotate.second_pass.key_env: {settings.key_env} is not set; export it, or use engine=none")
        self._settings, self._cache, self._is_private = settings, cache, is_private
        self._terms: Dictionary = given.dictionary()
        self._conditions: dict[str, Condition] = {condition.zh: condition for condition in self._terms.conditions}
        self._prompt = _PROMPT + "、".join(self._conditions)
        self._client = openai.OpenAI(
            base_url=settings.base_url, api_key=key, timeout=settings.timeout_s, max_retries=settings.max_retries
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        parts = {n: list(unknown_parts(row, self._terms)) for n, row in enumerate(rows) if row["status"] == OK}
        answers = self.ask(words for found in parts.values() for _, _, words in found)
        for n, found in parts.items():
            for start, end, words in found:
                self._add(rows[n], start, end, words, answers.get(words, ()))
            rows[n]["six_class"] = six_class(rows[n]["diseases"])
        return pa.Table.from_pylist(rows, schema=ANNOTATED.schema)

    def ask(self, strings: Iterable[str]) -> dict[str, tuple[Found, ...]]:
        """What the model says of each string that may be sent. Raises InputError where the server does not answer."""
        answers: dict[str, tuple[Found, ...]] = {}
        asked: list[str] = []
        for words in dict.fromkeys(strings):
            cached = self._cache.get(self._key(words))
            if cached is not None:
                answers[words] = self._checked(words, json.loads(cached))
            elif not self._is_private(words):
                asked.append(words)
        size = self._settings.strings_a_request
        for at in range(0, len(asked), size):
            answers |= self._request(asked[at : at + size])
        return answers

    def _key(self, words: str) -> str:
        return hashlib.sha256(json.dumps(["second_pass", self._settings.model, self._prompt, words]).encode()).hexdigest()

    def _request(self, asked: list[str]) -> dict[str, tuple[Found, ...]]:
        numbered = [{"n": n, "text": words} for n, words in enumerate(asked)]
        answer = self._completion(json.dumps(numbered, ensure_ascii=False))
        found: dict[str, tuple[Found, ...]] = {}
        for n, conditions in _items(answer):
            if 0 <= n < len(asked):
                found[asked[n]] = self._checked(asked[n], conditions)
                self._cache.put(self._key(asked[n]), json.dumps(conditions, ensure_ascii=False))
        return found

    def _completion(self, user: str) -> str:
        try:
            response = self._client.chat.completions.create(
                model=self._settings.model,
                temperature=0,
                response_format={"type": "json_object"},
                messages=[{"role": "system", "content": self._prompt}, {"role": "user", "content": user}],
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise InputError(
                f"annotate.second_pass: the server refuses ({error.status_code}); look at base_url, model and {self._settings.key_env}"
            ) from None
        except (openai.APIError, json.JSONDecodeError, AttributeError, TypeError) as error:  # its message may quote what was sent
            raise InputError(
                f"annotate.second_pass: no answer from the server ({type(error).__name__}) after {self._settings.max_retries} retries; "
                "run the same command again, it continues"
            ) from None
        try:
            return str(response.choices[0].message.content or "")
        except (AttributeError, IndexError, TypeError):  # an answer of another shape
            return ""

    def _checked(self, words: str, conditions: list[Any]) -> tuple[Found, ...]:
        """The conditions that keep the rules: quoted word for word, of the dictionary, with a status of ours."""
        found = []
        for row in conditions:
            quote, zh, status = (row.get(name) for name in ("quote", "zh", "status")) if isinstance(row, dict) else (None,) * 3
            if not (isinstance(quote, str) and isinstance(zh, str) and isinstance(status, str)) or not quote.strip():
                continue
            if zh not in self._conditions or status not in STATUSES:
                continue
            start = words.find(quote)
            if start >= 0:
                found.append(Found(zh, status, start, start + len(quote)))
        return tuple(found)

    def _add(self, row: dict[str, Any], start: int, end: int, words: str, found: tuple[Found, ...]) -> None:
        """The found conditions as diseases of the row. A quote that a tooth number parts in the text is quoted as the whole part."""
        text = row["diagnosis_cn"]
        teeth = [t for t in teeth_of(row, "diagnosis") if start <= t["start"] < end]
        numbers = list(dict.fromkeys(number for tooth in teeth for number in tooth["fdi"]))
        for condition in found:
            at = text.find(words[condition.start : condition.end], start, end)
            span = (at, at + condition.end - condition.start) if at >= 0 else (start, end)
            disease = disease_row(self._conditions[condition.zh], condition.status, "diagnosis", text, span, numbers)
            row["diseases"].append(disease | {"source": f"openai:{self._settings.model}"})


def _items(answer: str) -> list[tuple[int, list[Any]]]:
    """(n, conditions) of each well-formed item of an answer; [] where it is no such JSON."""
    try:
        items = json.loads(answer)["items"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []
    found = []
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and type(item.get("n")) is int and isinstance(item.get("conditions"), list):
            found.append((item["n"], item["conditions"]))
    return found


def make_annotator(
    settings: AnnotateSettings, cache: Cache, is_private: Callable[[str], object]
) -> Callable[[pa.Table], pa.Table]:
    """The stage's function, BILINGUAL → ANNOTATED, with the second pass where the settings ask for it."""
    if settings.second_pass.engine == "none":
        return lambda table: annotate(table, settings)
    second = SecondPass(settings, cache, is_private)
    return lambda table: second(annotate(table, settings))


def identity(settings: AnnotateSettings) -> dict[str, Any]:
    """What of the settings decides the result, for the stage's key: where the server stands and how patient we are does not."""
    second = settings.second_pass
    return settings.fingerprint() | {"second_pass": second.model if second.engine != "none" else None}
