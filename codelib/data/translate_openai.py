"""Translation by an OpenAI-compatible server: one request a record, and no text is ever paid for twice.

    fields of a visit ─ cached? ─ yes ─────────────────────────────────┐
                          └ no ─ one request (JSON in, JSON out) ─ checks ─ one retry that names what failed ─ cache ─ answers

The key is read from an environment variable and stands in no log, message or cache file.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from codelib.data.translate_checks import check

PROMPT = """You translate dental records from Chinese into English.
You get a JSON object of fields. Answer with a JSON object with exactly the same keys;
each value is the English of that field, and nothing else.
Rules: keep every tooth number (FDI, e.g. 16, 37, 54) and every other number as written, in Arabic digits.
Keep placeholders such as [NAME] or [PHONE] exactly. Keep units, (+), (-), (±) and shades.
Add nothing, leave nothing out, comment on nothing, leave no Chinese character. Use these terms:
"""
MAX_WAIT_S = 120.0
_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class AnswerCache:
    """One JSON file for each answer, named by the hash of what was asked. Commits are renames: a kill leaves no half answer."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @staticmethod
    def key(model: str, prompt: str, chinese: str) -> str:
        return hashlib.sha256(json.dumps([model, prompt, chinese], ensure_ascii=False).encode()).hexdigest()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> str | None:
        try:
            answer = json.loads(self._path(key).read_text(encoding="utf-8"))["english"]
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
            return None  # a damaged file is asked for again and replaced
        return answer if isinstance(answer, str) and answer.strip() else None

    def put(self, key: str, english: str) -> None:
        assert english.strip(), "an empty answer is never kept"
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with temporary.open("w", encoding="utf-8") as out:
            json.dump({"english": english}, out, ensure_ascii=False)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)


@dataclass(frozen=True)
class ServerError(Exception):
    """What went wrong with a request: a class of trouble, never the text that was sent."""

    code: str

    def __str__(self) -> str:
        return self.code


@dataclass(frozen=True)
class Server:
    """The few numbers that a request needs; ``key_env`` names the variable that holds the key."""

    base_url: str
    model: str
    key_env: str
    timeout_s: float
    max_retries: int
    backoff_s: float

    def _key(self) -> str:
        key = os.environ.get(self.key_env, "")
        if not key:
            raise ValueError(
                f"translate.key_env: the environment variable {self.key_env} is not set; export it, or use engine glossary"
            )
        return key

    def _post(self, body: bytes) -> str:
        request = urllib.request.Request(
            self.base_url.rstrip("/") + "/chat/completions",
            data=body,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._key()}"},
        )
        with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
            content = json.loads(response.read())["choices"][0]["message"]["content"]
        if not isinstance(content, str):
            raise TypeError("no content")
        return content

    def ask(self, messages: list[dict[str, str]]) -> str:
        """The answer's text. Raises ServerError when every attempt failed, ValueError where the server refuses the request."""
        body = json.dumps(
            {"model": self.model, "temperature": 0, "response_format": {"type": "json_object"}, "messages": messages},
            ensure_ascii=False,
        ).encode()
        trouble = "server"
        for attempt in range(self.max_retries + 1):
            wait_s = (
                self.backoff_s * 2**attempt * (1 + random.random() / 4)
            )  # jitter spreads the workers; no result depends on it
            try:
                return self._post(body)
            except urllib.error.HTTPError as error:
                trouble = f"http_{error.code}"
                if error.code not in _RETRYABLE:
                    raise ValueError(
                        f"translate: {self.base_url} answered {error.code}; check base_url, model and the key in {self.key_env}"
                    ) from None
                wait_s = _retry_after(error.headers.get("Retry-After"), wait_s)
            except (urllib.error.URLError, HTTPException, OSError):
                trouble = "connection"
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError):
                trouble = "answer_format"
            if attempt < self.max_retries:
                time.sleep(min(wait_s, MAX_WAIT_S))
        raise ServerError(trouble)


def _retry_after(header: str | None, otherwise_s: float) -> float:
    try:
        return max(float(header), 0.0) if header is not None else otherwise_s
    except ValueError:
        return otherwise_s  # a date: the backoff is as good


def _parsed(content: str, fields: dict[str, str]) -> dict[str, str]:
    """The asked-for keys of an answer that are strings. {} where it is no JSON object or brings keys of its own."""
    try:
        answer = json.loads(content)
    except json.JSONDecodeError:
        return {}
    if not isinstance(answer, dict) or set(answer) - set(fields):
        return {}
    return {name: text for name, text in answer.items() if isinstance(text, str)}


@dataclass(frozen=True)
class FieldAnswer:
    english: str
    failed: tuple[str, ...]


class OpenAITranslator:
    """Answers records' fields through a cache; ``concurrency`` bounds the requests under way."""

    def __init__(self, server: Server, glossary: Iterable[tuple[str, str]], cache: AnswerCache | None, concurrency: int) -> None:
        self.server, self.cache, self.concurrency = server, cache, concurrency
        self.glossary = tuple(glossary)
        self.name = f"openai:{server.model}"

    def _cache_key(self, chinese: str) -> str:
        return AnswerCache.key(self.server.model, self._prompt({"": chinese}), chinese)

    def _prompt(self, fields: dict[str, str]) -> str:
        """The instruction with the glossary terms that occur in the fields."""
        text = "\n".join(fields.values())
        return PROMPT + "".join(f"{zh} = {en}\n" for zh, en in self.glossary if zh in text)

    def _request(self, fields: dict[str, str], complaint: str) -> dict[str, str]:
        messages = [
            {"role": "system", "content": self._prompt(fields)},
            {"role": "user", "content": json.dumps(fields, ensure_ascii=False)},
        ]
        if complaint:
            messages.append({"role": "user", "content": complaint})
        return _parsed(self.server.ask(messages), fields)

    def _record(self, fields: dict[str, str]) -> dict[str, FieldAnswer]:
        answers: dict[str, FieldAnswer] = {}
        for name, chinese in fields.items():
            cached = self.cache.get(self._cache_key(chinese)) if self.cache else None
            if cached is not None:
                answers[name] = FieldAnswer(cached, ())
        complaint = ""
        failures: dict[str, list[str]] = {}
        for _ in range(2):
            missing = {name: text for name, text in fields.items() if name not in answers}
            if not missing:
                break
            try:
                given = self._request(missing, complaint)
            except ServerError as error:
                failures = {name: [*failures.get(name, ()), error.code] for name in missing}
                break
            failures = {name: check(text, given[name]) if name in given else ["missing_key"] for name, text in missing.items()}
            for name, failed in failures.items():
                if not failed:
                    answers[name] = FieldAnswer(given[name], ())
                    if self.cache:
                        self.cache.put(self._cache_key(missing[name]), given[name])
            named = "; ".join(f"{name}: {', '.join(failed)}" for name, failed in failures.items() if failed)
            complaint = f"A first answer failed these checks: {named}. Translate the same fields again and avoid them."
        unanswered = {name: FieldAnswer("", tuple(dict.fromkeys(failures[name]))) for name in fields if name not in answers}
        return answers | unanswered

    def translate(self, records: list[dict[str, str]]) -> list[dict[str, FieldAnswer]]:
        """One dict of answers for each dict of fields, in order."""
        with ThreadPoolExecutor(max_workers=self.concurrency) as pool:
            return list(pool.map(self._record, records))
