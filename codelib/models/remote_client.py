"""One exchange with a server that speaks chat completions, through the openai client: what came, or what kind of trouble it was.

    body ── `ask` ──┬─> Reply      what came, as far as it has the form of an answer
                    ├─> Trouble    this time not: 429, 5xx, cut, garbage; or never for this text (refusal, too long)
                    └─> Unusable   not for anybody: a wrong key, no such model, no credit, another snapshot

Nothing of what was sent or received is in an exception, and the client's loggers are off: a prompt is a patient's text.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from codelib.core.cli import InputError
from codelib.models.remote_limits import retry_after_s

OPENAI_HOST = "api.openai.com"
OPENAI_URL = f"https://{OPENAI_HOST}/v1"
SNAPSHOT = re.compile(r"\d{4}-?\d{2}-?\d{2}$")  # gpt-4o-2024-11-20: a name with its date
AZURE_API_VERSION = "2024-10-21"
_LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
_TRANSIENT = frozenset({408, 409, 425, 429})  # and every 5xx
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # a 429 that no waiting mends
_NAMED = {401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError"}
_MOST_TOKENS = 10**9
_LISTING_S = 10.0  # for the list of models
_HEADERS = ("x-ratelimit-", "retry-after")  # what the limiter reads; nothing else of a response's headers is kept


@dataclass(frozen=True)
class Server:
    """Who is asked, and under which settings that stands: ``place`` and ``key_env`` are for messages and for finding the key."""

    model: str
    base_url: str = OPENAI_URL
    azure_deployment: str | None = None
    """The server is Azure's, ``base_url`` the resource's endpoint (https://NAME.openai.azure.com)."""
    azure_api_version: str = AZURE_API_VERSION
    key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable with the key; the key itself stands in no file."""
    outside: bool = True
    """Whether what is sent leaves the house (`remote_settings.is_outside`)."""
    key_optional: bool = False
    alias_allowed: bool = False
    """``model`` may be a name without a date, which any of its snapshots may answer."""
    timeout_s: float = 120.0
    place: str = "translate"
    key_setting: str = ""
    """What names ``key_env``, for messages; empty: ``place``.key_env."""

    @property
    def asked_as(self) -> str:
        """What the field ``model`` of a request says."""
        return self.azure_deployment or self.model

    @property
    def must_name_its_snapshot(self) -> bool:
        """Whether the server's answers say which snapshot made them: OpenAI's and Azure's do, others name what they please."""
        return self.azure_deployment is not None or urlsplit(self.base_url).hostname == OPENAI_HOST


@dataclass(frozen=True)
class Reply:
    """A complete answer. ``content`` None: there was none. tokens: as counted by the server, else (0, 0)."""

    content: str | None
    refused: bool = False
    too_long: bool = False  # cut at the token limit
    tokens: tuple[int, int] = (0, 0)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Trouble(Exception):
    """No answer this time. ``code``: http_500 · rate_limited · connection · timeout · answer_format; never a text. ``billed``: whether
    the server may have counted it: an answer that was cut on its way was made all the same."""

    code: str
    wait_s: float | None = None
    billed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.code


class Unusable(InputError):
    """No request to this server can succeed. ``name``: a class for a row of a table."""

    def __init__(self, message: str, name: str, gone: bool = False) -> None:
        """``gone``: the server gave no answer to anybody, which may pass."""
        super().__init__(message)
        self.name, self.gone = name, gone


class KeyMissing(InputError):
    """The environment has no key for a server."""


def key_of(server: Server) -> str:
    """Raises KeyMissing."""
    key = os.environ.get(server.key_env, "")
    if not key and not server.key_optional:
        raise KeyMissing(
            f"{server.key_setting or server.place + '.key_env'}: the environment variable {server.key_env} is not set on the machine "
            "that asks; export the key of the service there, or ask no server"
        )
    return key or "none"


def make_api(server: Server) -> Any:
    """The asynchronous client, without retries of its own: those must pass the one limiter. Raises InputError without a key."""
    from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

    for name in _LOGGERS:  # after the import: OPENAI_LOG=debug would have it print every prompt
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # redirects are not followed: 307 and 308 carry the prompt along, from a server inside to wherever its answer points
    http = DefaultAsyncHttpxClient(follow_redirects=False, timeout=server.timeout_s)
    common: dict[str, Any] = {"api_key": key_of(server), "timeout": server.timeout_s, "max_retries": 0, "http_client": http}
    if server.azure_deployment is not None:
        return AsyncAzureOpenAI(azure_endpoint=server.base_url, api_version=server.azure_api_version, **common)
    return AsyncOpenAI(base_url=server.base_url, **common)


async def list_models(server: Server) -> dict[str, dict[str, Any]]:
    """What the server says of each model that it serves, by name; {} where it says nothing of that kind, or cannot be reached."""
    from openai import OpenAIError

    try:
        api = make_api(server)
    except KeyMissing:  # it may be set where the questions are asked from
        return {}
    try:
        async with asyncio.timeout(min(server.timeout_s, _LISTING_S)):
            listed = (await api.models.list()).model_dump(warnings=False).get("data")
    except (TimeoutError, OpenAIError, ValueError, AttributeError, RecursionError):
        return {}  # whoever asks a question next says what is wrong
    finally:
        await api.close()
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {entry["id"]: entry for entry in entries if isinstance(entry.get("id"), str)}


class Refused(Exception):
    """The server refused the request itself. ``said``: the error's body, for who knows how to ask otherwise; never shown."""

    def __init__(self, status: int, said: object, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status, self.said, self.headers = status, said, headers


async def ask(api: Any, body: Mapping[str, Any], server: Server) -> Reply:
    """One request. Raises Trouble, Unusable, and Refused where the server answered with an error (`meaning` says which of the two that
    is)."""
    from openai import APIConnectionError, APIStatusError, OpenAIError

    try:
        async with asyncio.timeout(server.timeout_s):  # the client's own limit starts anew with every byte that drips in
            raw = await api.chat.completions.with_raw_response.create(**body)
            headers = _kept(raw.headers)
            completion = raw.parse()
    except TimeoutError:
        raise Trouble("timeout", billed=True) from None
    except APIStatusError as error:
        raise Refused(error.status_code, error.body, _kept(error.response.headers)) from None
    except APIConnectionError as error:
        late = type(error).__name__ == "APITimeoutError"
        raise Trouble("timeout" if late else "connection", billed=True) from None
    except (OpenAIError, ValueError, RecursionError):  # the last: JSON nested too deeply
        raise Trouble("answer_format", billed=True) from None
    if isinstance(completion, str) or not getattr(completion, "choices", None):  # any server may send anything
        raise Trouble("answer_format", billed=True, headers=headers)
    return read_completion(completion.model_dump(warnings=False), server, headers)


def meaning(refused: Refused, server: Server) -> Trouble | Unusable:
    """What an error of the server means for the request."""
    status, code, headers = refused.status, _code(refused.said), refused.headers
    if code in _SPENT:
        return Unusable(
            f"{server.place}: the account behind {server.key_env} has no credit left ({code}); every answer received is kept, "
            "the same command continues",
            "NoCredit",
        )
    if status == 429:
        return Trouble("rate_limited", retry_after_s(headers), headers=headers)
    if status in _TRANSIENT or status >= 500:
        return Trouble(f"http_{status}", retry_after_s(headers), headers=headers)
    if 300 <= status < 400:
        return Unusable(
            f"{server.place}: {server.base_url} sends requests on to another address ({status}), which is not followed; give that "
            "address as base_url, if it is the server you mean",
            "Redirected",
        )
    if code in ("content_filter", "content_policy_violation"):
        return Trouble("refusal", headers=headers)
    if code == "context_length_exceeded" or status == 413 or (status == 400 and "context length" in str(refused.said)):
        return Trouble("too_long", headers=headers)
    return Unusable(
        f"{server.place}: {server.base_url} answered {status}; check base_url, model and the key in {server.key_env}",
        _NAMED.get(status, "BadRequestError"),
    )


def read_completion(body: Mapping[str, Any], server: Server, headers: Mapping[str, str]) -> Reply:
    """A chat completion as JSON values. Raises Trouble where it is none, Unusable where another snapshot answered."""
    try:
        message, finish = body["choices"][0]["message"], body["choices"][0].get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Trouble("answer_format", billed=True, headers=headers) from None
    if content is not None and not isinstance(
        content, str
    ):  # a list of parts, say: taken for empty it would be the model's fault
        raise Trouble("answer_format", billed=True, headers=headers)
    said = body.get("model")
    if server.must_name_its_snapshot and isinstance(said, str) and not _answers_as(said, server):
        raise Unusable(
            f"{server.place}.model={server.model}: {server.base_url} answers with {said[:60]!r}; name that snapshot, or point the "
            "deployment at this one",
            "WrongSnapshot",
        )
    refused = bool(refusal) or finish == "content_filter"
    is_text = isinstance(content, str) and bool(content.strip())
    return Reply(content if is_text else None, refused, finish == "length", _counted(body.get("usage")), headers)


def _answers_as(said: str, server: Server) -> bool:
    """Whether it is the model that was asked for; where an alias was, one of its snapshots."""
    date = said.removeprefix(server.model + "-")  # gpt-4o-2024-08-06 is one of gpt-4o, gpt-4o-mini-2024-07-18 is not
    return said == server.model or (server.alias_allowed and bool(SNAPSHOT.fullmatch(date)))


def _counted(usage: object) -> tuple[int, int]:
    """Tokens in and out; 0 for what is no count, or more than any prompt has and a table's int32 takes."""
    found = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    given, made = (count if type(count) is int and 0 < count < _MOST_TOKENS else 0 for count in found)
    return given, made


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith(_HEADERS)}


def _code(body: object) -> str:
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, str) else ""


def asks_for_less(status: object, body: object) -> bool:
    """Whether a refusal is about the form of the answer that was asked for."""
    said = str(body).lower()
    words = ("response_format", "json_schema", "json_object", "structured output", "guided")
    return status in (400, 404, 422, 501) and any(word in said for word in words)
