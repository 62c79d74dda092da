"""One exchange with the server, through the openai client: what came, or what kind of trouble it was.

Nothing of what was sent or received is in an exception, and the client's loggers are off: a prompt is a patient's text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codelib.core.cli import InputError
from codelib.data.translate_limits import retry_after_s
from codelib.data.translate_prompt import STRUCTURES, response_format
from codelib.data.translate_settings import TranslateSettings

_LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
_TRANSIENT = frozenset({408, 409, 425, 429})  # and every 5xx
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # a 429 that no waiting mends


@dataclass(frozen=True)
class Reply:
    """A complete answer. ``content`` None: there was none, or it was cut at the token limit. tokens: as counted by the server, else (0, 0)."""

    content: str | None
    refused: bool = False
    too_long: bool = False
    tokens: tuple[int, int] = (0, 0)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Trouble(Exception):
    """No answer this time. ``code``: http_500 · rate_limited · connection · answer_format; never a text. ``billed``: whether
    the server may have counted it: an answer that was cut on its way was made all the same."""

    code: str
    wait_s: float | None = None
    billed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.code


class Client:
    """Raises InputError where the key is missing. `ask` raises Trouble for what may pass, InputError for what will not."""

    def __init__(self, settings: TranslateSettings, place: str = "translate") -> None:
        """``place``: the settings that name the server, for messages."""
        self.settings, self.place = settings, place
        self.api = make_client(settings, place)
        self.structure = STRUCTURES[0] if settings.structured == "auto" else settings.structured

    @property
    def model(self) -> str:
        return self.settings.azure_deployment or self.settings.model

    def body(self, messages: list[dict[str, str]], schema: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
        """The request as JSON values: what is sent now, or written into a batch file."""
        made: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": max_tokens}
        if form := response_format(self.structure, schema):
            made["response_format"] = form
        return made

    async def ask(self, messages: list[dict[str, str]], schema: Mapping[str, Any], max_tokens: int) -> Reply:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        structure = self.structure
        try:
            raw = await self.api.chat.completions.with_raw_response.create(**self.body(messages, schema, max_tokens))
            headers = raw.headers
            completion = raw.parse()
        except APIStatusError as error:
            status, code, told = error.status_code, _code(error.body), asks_for_less(error.status_code, error.body)
            headers = dict(error.response.headers)
        except APIConnectionError:
            raise Trouble("connection", billed=True) from None
        except (OpenAIError, ValueError):
            raise Trouble("answer_format", billed=True) from None
        else:
            return self._reply(completion, headers)
        if told and self.simpler(structure):
            raise Trouble("structured", 0.0, headers=headers)
        raise self._trouble(status, code, headers)

    def simpler(self, refused: str) -> bool:
        """Whether to ask again with less structure; what another request found out in the meantime counts."""
        if self.settings.structured != "auto":
            return False
        if self.structure == refused:
            at = STRUCTURES.index(refused) + 1
            if at == len(STRUCTURES):
                return False
            self.structure = STRUCTURES[at]
        return True

    def _trouble(self, status: int, code: str, headers: Mapping[str, str]) -> Exception:
        where, settings = self.settings.base_url, self.settings
        if code in _SPENT:
            return InputError(
                f"{self.place}: the account behind {settings.key_env} has no credit left ({code}); every answer received is kept, "
                "the same command continues"
            )
        if status == 429:
            return Trouble("rate_limited", retry_after_s(headers), headers=headers)
        if status in _TRANSIENT or status >= 500:
            return Trouble(f"http_{status}", retry_after_s(headers), headers=headers)
        if code in ("content_filter", "content_policy_violation"):
            return Trouble("refusal", headers=headers)
        if code == "context_length_exceeded" or status == 413:
            return Trouble("too_long", headers=headers)
        return InputError(f"{self.place}: {where} answered {status}; check base_url, model and the key in {settings.key_env}")

    def _reply(self, completion: Any, headers: Mapping[str, str]) -> Reply:
        """The answer as far as it has the form of one. Any server may send anything."""
        if isinstance(completion, str) or not getattr(completion, "choices", None):
            raise Trouble("answer_format", billed=True, headers=headers)
        return read_completion(completion.model_dump(), self.settings, headers, self.place)


def read_completion(
    body: Mapping[str, Any], settings: TranslateSettings, headers: Mapping[str, str], place: str = "translate"
) -> Reply:
    """A chat completion as JSON values. Raises Trouble where it is none, InputError where another snapshot answered."""
    try:
        message, finish = body["choices"][0]["message"], body["choices"][0].get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Trouble("answer_format", billed=True, headers=headers) from None
    said = body.get("model")
    if settings.must_name_its_snapshot and isinstance(said, str) and said != settings.model:
        raise InputError(
            f"{place}.model={settings.model}: {settings.base_url} answers with {said[:60]!r}; name that snapshot, or point the "
            "deployment at this one"
        )
    usage = body.get("usage") or {}
    counted = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    tokens = tuple(n if isinstance(n, int) else 0 for n in counted)
    refused = bool(refusal) or finish == "content_filter"
    is_text = isinstance(content, str) and bool(content.strip())
    return Reply(content if is_text else None, refused, finish == "length", (tokens[0], tokens[1]), headers)


def make_client(settings: TranslateSettings, place: str = "translate") -> Any:
    """The asynchronous client, without retries of its own: those must pass the one limiter."""
    from openai import AsyncAzureOpenAI, AsyncOpenAI

    for name in _LOGGERS:  # after the import: OPENAI_LOG=debug would have it print every prompt
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    key = os.environ.get(settings.key_env, "")
    if not key:
        raise InputError(
            f"{place}.key_env: the environment variable {settings.key_env} is not set; export it, or ask no server ({place}.engine)"
        )
    common: dict[str, Any] = {"api_key": key, "timeout": settings.timeout_s, "max_retries": 0}
    if settings.azure_deployment is not None:
        return AsyncAzureOpenAI(azure_endpoint=settings.base_url, api_version=settings.azure_api_version, **common)
    return AsyncOpenAI(base_url=settings.base_url, **common)


def _code(body: object) -> str:
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, str) else ""


def asks_for_less(status: object, body: object) -> bool:
    """Whether a refusal is about the form of the answer that was asked for."""
    said = str(body).lower()
    words = ("response_format", "json_schema", "json_object", "structured output", "guided")
    return status in (400, 404, 422, 501) and any(word in said for word in words)
