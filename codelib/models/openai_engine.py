"""The engine that asks an OpenAI-compatible server: OpenAI's own, Azure, vLLM or SGLang with their LoRA modules, our own endpoint.

    requests ── scan (servers outside) ── openai_messages (same pixels as every engine) ── Asking: budget, limiter, retries ──> answers

Up to ``concurrency`` requests are under way, each answer comes as it is finished. What no request can get past (a wrong key, no such
model, no credit, the budget, a dead server) ends the asking: the rest has that error and is not sent. The key is read from the environment
variable that ``api_key_env`` names: configuration files hold names of secrets, never secrets.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from codelib.core.cli import InputError
from codelib.models.engine import Answer, Request, failed
from codelib.models.prompt import image_size, image_url, openai_messages
from codelib.models.remote_asking import AnyGate, Asking, Gate, Patience, name_of
from codelib.models.remote_budget import Budget, Limits
from codelib.models.remote_client import Refused, Reply, Trouble, Unusable, ask, key_of, make_api, meaning
from codelib.models.remote_desk import Access, DeskGate
from codelib.models.remote_limits import RateLimiter
from codelib.models.remote_prices import OVERHEAD_TOKENS, image_tokens, tokens_of
from codelib.models.remote_settings import ServerFields, price_for, server_of

_THIS_REQUEST = frozenset({"BadRequestError"})  # of what is called unusable, what another request need not meet
_THIS_MODEL = frozenset({"NotFoundError", "PermissionDeniedError"})  # what another LoRA module of the server need not meet
_MOST_IMAGES_KEPT = 64  # a visit's images are sent several times in a row: once for each question


@dataclass
class _Sent:
    """A request as it is sent."""

    body: dict[str, Any] = field(repr=False)
    guess: tuple[float, float] = (0.0, 0.0)
    max_tokens: int = 1
    latency_s: float = 0.0  # of the last attempt


class OpenAIEngine:
    """A served model.

    Args:
        model: the name the server knows it by; with ``azure_deployment`` the snapshot that must answer.
        base_url: of a compatible server (``http://host:8000/v1``); OPENAI_BASE_URL or OpenAI's own where None.
        api_key_env: environment variable with the key; may be unset for a server of one's own.
        fields: these two and all else that is said of a server, in place of them.
        concurrency: requests under way at once.
        max_retries, backoff_s: see `codelib.models.remote_asking.Patience`.
        access: budget, limiter and patience of the whole run, and the scan of what goes outside; None: a limiter of this engine's own, no
            budget, and nothing goes outside.

    Raises ValueError where a key is needed and the variable is unset. A request's ``adapter`` is the name of a LoRA module of the server;
    its ``choices`` are not weighed, since a server shows the likelihood of its own answers alone.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        fields: ServerFields | None = None,
        concurrency: int = 4,
        timeout_s: float = 120.0,
        max_retries: int = 4,
        backoff_s: float = 0.5,
        access: Access | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: at least 1")
        fields = fields or ServerFields(base_url=base_url, api_key_env=api_key_env, timeout_s=timeout_s)
        self.server, self.price = server_of(fields, model, f"model {model}"), price_for(fields, model)
        key_of(self.server)
        self.concurrency, self.patience = concurrency, Patience(max_retries, backoff_s)
        self.desk = access.desk if access else None
        scan = access.scan if access else None
        if access is not None:
            self.patience = Patience(access.settings.max_retries, access.settings.backoff_s)
        self.scan = lru_cache(maxsize=1024)(scan) if scan else None  # the same examples stand in every few-shot prompt
        self.image_url = lru_cache(maxsize=_MOST_IMAGES_KEPT)(image_url)
        self.gone: str | None = None  # what the last stream met where no server was: the next one asks one harmless word first
        self._input_factor = 1.0  # how far the server's counts were above the guesses, at most
        self._length_field = "max_tokens"
        self._no_penalty_known = False  # the server takes no repetition_penalty, so leaving it out is the same as none

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `codelib.models.engine.Engine`. Closing it drops what is under way; the books count that as paid."""
        if not requests:
            return
        if self.server.outside and self.scan is None:
            for index in range(len(requests)):
                yield index, failed("NotScanned")
            return
        run = _Run(self, requests)
        thread = threading.Thread(target=run.main, daemon=True, name="openai-engine")
        thread.start()
        try:
            while (item := run.answers.get()) is not None:
                yield item
        finally:
            run.end()
            thread.join()
        if run.error is not None:
            raise run.error

    # what a run asks of its engine

    def gate(self) -> AnyGate:
        if self.desk is not None:
            return DeskGate(self.desk, self.server, self.price)
        return Gate(RateLimiter(), Budget(Limits(), None), self.price)

    def compose(self, request: Request) -> _Sent:
        """Raises ValueError for what cannot be sent: an image that is not there, an identifier, a way of decoding that the server lacks."""
        question = request.question
        if self.server.outside and any(self.scan(message.content) for message in question.messages if self.scan):
            raise IdentifierFound
        decoding = request.decoding
        body: dict[str, Any] = {
            "model": request.adapter or self.server.asked_as,
            "messages": openai_messages(question, request.pixels, self.image_url),
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
        }
        if self.server.must_name_its_snapshot:
            if decoding.repetition_penalty != 1.0:
                raise UnsupportedDecoding
        elif decoding.repetition_penalty != 1.0 or not self._no_penalty_known:
            # said even where it is none: vLLM takes what is left out from the model's own configuration, 1.05 for Qwen2.5-VL
            body["extra_body"] = {"repetition_penalty": decoding.repetition_penalty}
        text = sum(tokens_of(message.content) + OVERHEAD_TOKENS for message in question.messages)
        seen = sum(image_tokens(self.server.model, image_size(path), request.pixels) for path in question.images)
        return _Sent(body, (self._input_factor * (text + seen), request.max_new_tokens), request.max_new_tokens)

    def harmless(self) -> _Sent:
        body = {"model": self.server.asked_as, "messages": [{"role": "user", "content": "Say: ok"}], "temperature": 0}
        return _Sent(body, (OVERHEAD_TOKENS + 3, 5), 5)

    async def send(self, api: Any, sent: _Sent) -> Reply:
        began = time.monotonic()
        length = self._length_field
        try:
            return await ask(api, {**sent.body, length: sent.max_tokens}, self.server)
        except Refused as refused:
            if self._may_be_said_otherwise(sent, length, str(refused.said)):
                raise Trouble("structured", 0.0, headers=refused.headers) from None
            raise meaning(refused, self.server) from None
        finally:
            sent.latency_s = time.monotonic() - began

    def _may_be_said_otherwise(self, sent: _Sent, length: str, said: str) -> bool:
        """Whether the server only dislikes the name of a field; then it is asked by another from now on."""
        if length == "max_tokens" and "max_completion_tokens" in said:  # OpenAI's newer models know it by this name alone
            self._length_field = "max_completion_tokens"
            return True
        if "repetition_penalty" in said and sent.body.get("extra_body") == {"repetition_penalty": 1.0}:
            del sent.body["extra_body"]
            self._no_penalty_known = True
            return True
        return False

    def learn(self, sent: _Sent, reply: Reply) -> None:
        if reply.tokens[0] and sent.guess[0]:
            self._input_factor = min(max(self._input_factor, self._input_factor * reply.tokens[0] / sent.guess[0]), 5.0)

    def answer(self, sent: _Sent, reply: Reply) -> Answer:
        """What a reply is as an answer. An empty one is an answer too: models do that, and it is theirs to be counted."""
        if reply.refused:
            return failed("ContentFilter")
        given, made = reply.tokens if any(reply.tokens) else sent.guess
        usd = self.price.usd(given, made) if self.price else None
        return Answer(reply.content or "", *reply.tokens, sent.latency_s, cut=reply.too_long, usd=usd)


class IdentifierFound(ValueError):
    """Something in a prompt has the form of an identifier: it is not sent outside."""


class UnsupportedDecoding(ValueError):
    """The server has no such way of choosing the next token."""


class _Run:
    """One stream: an event loop on a thread of its own. ``answers`` ends with None."""

    def __init__(self, engine: OpenAIEngine, requests: Sequence[Request]) -> None:
        self.engine, self.requests = engine, requests
        self.answers: queue.SimpleQueue[tuple[int, Answer] | None] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self._left = iter(range(len(requests)))
        self._lost: str | None = None  # why nothing is sent any more
        self._lost_models: dict[str | None, str] = {}  # the same of one LoRA module, or of the bare model
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: asyncio.Task[None] | None = None

    def main(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._work())
        except asyncio.CancelledError:  # nobody wants the rest
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.answers.put(None)

    def end(self) -> None:
        """From another thread: whoever took the answers wants no more."""
        self._ended.set()
        if self._loop is not None and self._working is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._working.cancel)

    async def _work(self) -> None:
        self._loop, self._working = asyncio.get_running_loop(), asyncio.current_task()
        if self._ended.is_set():
            return
        engine = self.engine
        self._stop, gate, api = asyncio.Event(), engine.gate(), make_api(engine.server)
        send = partial(engine.send, api)
        self._asking = Asking(
            engine.server, gate, engine.patience, self._stop, send, engine.answer, engine.harmless, engine.learn
        )
        try:
            if engine.gone is not None and not await self._is_back():
                self._lost = engine.gone
            await asyncio.gather(*(self._worker() for _ in range(min(engine.concurrency, len(self.requests)))))
        finally:
            if isinstance(gate, DeskGate):
                await gate.gone()
            await api.close()

    async def _is_back(self) -> bool:
        try:
            if await self._asking.answers_at_all():
                self.engine.gone = None
        except InputError as error:
            self.engine.gone = _class(error)
        return self.engine.gone is None

    async def _worker(self) -> None:
        for index in self._left:
            self.answers.put((index, await self._answer(self.requests[index])))

    async def _answer(self, request: Request) -> Answer:
        if lost := self._lost or self._lost_models.get(request.adapter):
            return failed(lost)
        try:
            sent = await asyncio.to_thread(self.engine.compose, request)
        except ValueError as error:
            return failed(error)
        try:
            answer = await self._asking.exchange(sent)
        except Trouble as trouble:
            return failed(name_of(trouble))
        except InputError as error:
            name = _class(error)
            if name in _THIS_MODEL:
                self._lost_models[request.adapter] = name
            elif name not in _THIS_REQUEST:
                self._lose(error)
            return failed(name)
        return answer if answer is not None else failed(self._lost or "NotAnswered")

    def _lose(self, error: InputError) -> None:
        self._lost = self._lost or _class(error)
        if isinstance(
            error, Unusable
        ):  # who waits for another attempt need not; after BudgetReached what is under way is still received
            self.engine.gone = _class(error) if error.gone else None
            self._stop.set()


def _class(error: InputError) -> str:
    return error.name if isinstance(error, Unusable) else type(error).__name__
