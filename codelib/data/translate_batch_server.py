"""The Batch API's calls, each with its way out: one sentence that quotes nothing of what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from codelib.core.cli import InputError
from codelib.data.translate_settings import TranslateSettings

_NAME = "codelib"  # key of a batch's metadata
_LISTED = 500  # batches looked through for one whose creation was cut off
_ATTEMPTS = 6
_MAX_BACKOFF_S = 60.0


class BatchServer:
    """Every method raises InputError where the server cannot do it. ``api``: an asynchronous openai client."""

    def __init__(self, settings: TranslateSettings, api: Any) -> None:
        self.settings = settings
        self._api = api.with_options(max_retries=5)
        self.endpoint = "/chat/completions" if settings.azure_deployment is not None else "/v1/chat/completions"

    async def upload(self, name: str, content: bytes) -> str:
        """The id of the file."""
        uploaded = await self._call(self._api.files.create(file=(f"{name}.jsonl", content), purpose="batch"))
        return str(uploaded.id)

    async def create(self, name: str, input_file_id: str) -> str:
        """The id of the batch. Not left to the client's own repetitions: where an answer is lost on its way the batch may be there, and
        another would be paid as well; so it is looked for by name before it is created again."""
        from openai import APIConnectionError, InternalServerError, RateLimitError

        for attempt in range(_ATTEMPTS):
            try:
                made = await self._api.with_options(max_retries=0).batches.create(
                    input_file_id=input_file_id, endpoint=self.endpoint, completion_window="24h", metadata={_NAME: name}
                )
                return str(made.id)
            except (APIConnectionError, InternalServerError, RateLimitError):
                await asyncio.sleep(min(self.settings.backoff_s * 2**attempt, _MAX_BACKOFF_S))
            except Exception as error:
                raise self._unusable(error) from None
            if found := await self.find(name):
                return found
        raise InputError(
            f"translate: {self.settings.base_url} takes no batch now; everything received is kept, the same command continues"
        )

    async def find(self, name: str) -> str | None:
        """The id of the batch of this name, among the last ones created."""
        listed = await self._call(self._api.batches.list(limit=100))
        looked = 0
        async for one in listed:
            if (one.metadata or {}).get(_NAME) == name:
                return str(one.id)
            looked += 1
            if looked >= _LISTED:
                break
        return None

    async def retrieve(self, batch_id: str) -> Any:
        """The batch; None where the server knows it no more (another account, or long ago)."""
        from openai import NotFoundError

        try:
            return await self._api.batches.retrieve(batch_id)
        except NotFoundError:
            return None
        except Exception as error:
            raise self._unusable(error) from None

    async def content(self, file_id: str) -> str:
        answered = await self._call(self._api.files.content(file_id))
        return str(answered.text)

    async def delete(self, file_id: str) -> None:
        """Tidiness on the server; whether it succeeds changes nothing here."""
        with suppress(Exception):
            await self._api.files.delete(file_id)

    async def _call(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except Exception as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> InputError:
        """The client's own messages may quote what was sent."""
        status = getattr(error, "status_code", None)
        said = f"answered {status}" if status else f"cannot be reached ({type(error).__name__})"
        return InputError(
            f"translate.transport=batch: {self.settings.base_url} {said}; check that it has the Batch API, base_url and the key in "
            f"{self.settings.key_env}; everything received is kept, the same command continues"
        )
