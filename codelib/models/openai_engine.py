"""The engine that asks an OpenAI-compatible server: OpenAI's own, vLLM, or anything else that speaks chat completions.

    requests ── openai_messages (same pixels as every engine) ── bounded pool ──> answers as they come

The client repeats what the server asks to be repeated (429, 5xx, time-outs) with growing pauses. The key is read from the environment
variable that ``api_key_env`` names: configuration files hold names of secrets, never secrets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from codelib.models.engine import Answer, Request, failed
from codelib.models.prompt import openai_messages


class OpenAIEngine:
    """A served model.

    Args:
        model: the name the server knows it by.
        base_url: of a compatible server (``http://host:8000/v1``); OpenAI's own where None.
        api_key_env: environment variable with the key; may be unset where ``base_url`` is given.
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
        self.concurrency = concurrency
        self.client = OpenAI(api_key=key or "none", base_url=base_url, timeout=timeout_s, max_retries=max_retries)

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `codelib.models.engine.Engine`. What such a server cannot do (a local adapter, weighing choices) is an error of its request."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            asked = {pool.submit(self._ask, request): index for index, request in enumerate(requests)}
            for done in as_completed(asked):
                yield asked[done], done.result()

    def _ask(self, request: Request) -> Answer:
        from openai import OpenAIError

        if request.adapter is not None:
            return failed("AdapterNotServed")
        if request.choices:
            return failed("ChoicesNotServed")
        began = time.monotonic()
        try:
            reply = self.client.chat.completions.create(
                model=self.model,
                messages=openai_messages(request.question, request.pixels),  # type: ignore[arg-type]
                max_tokens=request.max_new_tokens,
                temperature=request.decoding.temperature,
                top_p=request.decoding.top_p,
            )
        except (OpenAIError, ValueError) as error:  # ValueError: a missing image, or a reply that is not JSON
            return replace(failed(error), latency_s=time.monotonic() - began)
        elapsed_s = time.monotonic() - began
        if not reply.choices:
            return replace(failed("NoChoices"), latency_s=elapsed_s)
        usage = reply.usage
        return Answer(
            reply.choices[0].message.content or "",
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            elapsed_s,
            cut=reply.choices[0].finish_reason == "length",
        )
