"""The engine that asks an OpenAI-compatible server: OpenAI's own, vLLM, or anything else that speaks chat completions.

    prompts ── openai_messages (same pixels as every engine) ── bounded pool of requests ──> answers in order

The client repeats what the server asks to be repeated (429, 5xx, time-outs) with growing pauses. The key is read from the environment
variable that ``api_key_env`` names: configuration files hold names of secrets, never secrets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from codelib.models.conversation import Conversation
from codelib.models.engine import Answer
from codelib.models.prompt import PixelPolicy, openai_messages


class OpenAIEngine:
    """A served model.

    Args:
        model: the name the server knows it by.
        base_url: of a compatible server (``http://host:8000/v1``); OpenAI's own where None.
        api_key_env: environment variable with the key; may be unset where ``base_url`` is given.
        pixels: how many pixels it may see of each image.
        concurrency: requests in flight at once.
        timeout_s: of one request.
        max_retries: repetitions of a failed request, by the client.

    Raises ValueError where a key is needed and the variable is unset.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        pixels: PixelPolicy | None = None,
        concurrency: int = 4,
        timeout_s: float = 120.0,
        max_retries: int = 4,
    ) -> None:
        from openai import OpenAI

        key = os.environ.get(api_key_env)
        if not key and base_url is None:
            raise ValueError(f"{api_key_env} is not set: export the key of the service, or give base_url of a server without one")
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: at least 1")
        self.model = model
        self.pixels = pixels or PixelPolicy()
        self.concurrency = concurrency
        self.client = OpenAI(api_key=key or "none", base_url=base_url, timeout=timeout_s, max_retries=max_retries)

    def answer(self, prompts: Sequence[Conversation], *, max_new_tokens: int) -> list[Answer]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(lambda prompt: self._ask(prompt, max_new_tokens), prompts))

    def _ask(self, prompt: Conversation, max_new_tokens: int) -> Answer:
        from openai import OpenAIError

        began = time.monotonic()
        question = prompt.prompt if prompt.messages[-1].role == "assistant" else prompt
        try:
            reply = self.client.chat.completions.create(
                model=self.model,
                messages=openai_messages(question, self.pixels),  # type: ignore[arg-type]
                max_tokens=max_new_tokens,
                temperature=0.0,
            )
        except (OpenAIError, ValueError) as error:  # ValueError: a missing image, or a reply that is not JSON
            return Answer("", 0, 0, time.monotonic() - began, error=type(error).__name__)
        elapsed_s = time.monotonic() - began
        if not reply.choices:
            return Answer("", 0, 0, elapsed_s, error="NoChoices")
        usage = reply.usage
        return Answer(
            reply.choices[0].message.content or "",
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            elapsed_s,
        )
