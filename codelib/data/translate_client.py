"""The server that translates: how it is asked, and how the form of an answer is asked for.

The exchange itself is `codelib.models.remote_client`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codelib.data.translate_prompt import STRUCTURES, response_format
from codelib.data.translate_settings import TranslateSettings
from codelib.models.remote_client import Refused, Reply, Server, Trouble, ask, asks_for_less, make_api, meaning


def server_of(settings: TranslateSettings, place: str = "translate") -> Server:
    """``place``: the settings that name the server, for messages."""
    return Server(
        settings.model,
        settings.base_url,
        settings.azure_deployment,
        settings.azure_api_version,
        settings.key_env,
        timeout_s=settings.timeout_s,
        place=place,
    )


class Client:
    """Raises InputError where the key is missing. `ask` raises Trouble for what may pass, InputError for what will not."""

    def __init__(self, settings: TranslateSettings, place: str = "translate") -> None:
        self.settings, self.server = settings, server_of(settings, place)
        self.api = make_api(self.server)
        self.structure = STRUCTURES[0] if settings.structured == "auto" else settings.structured

    def body(self, messages: list[dict[str, str]], schema: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
        """The request as JSON values: what is sent now, or written into a batch file."""
        made: dict[str, Any] = {
            "model": self.server.asked_as,
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        if form := response_format(self.structure, schema):
            made["response_format"] = form
        return made

    async def ask(self, messages: list[dict[str, str]], schema: Mapping[str, Any], max_tokens: int) -> Reply:
        structure = self.structure
        try:
            return await ask(self.api, self.body(messages, schema, max_tokens), self.server)
        except Refused as refused:
            if asks_for_less(refused.status, refused.said) and self.simpler(structure):
                raise Trouble("structured", 0.0, headers=refused.headers) from None
            raise meaning(refused, self.server) from None

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
