"""``dataset.translate`` in a recipe.

Two kinds of settings: those that decide an answer (engine, server, model), and those that only say how fast and how dearly it is got.
The second kind is ``exclude=True``: no part of the settings' fingerprint, so that a run goes on in its workspace under a raised budget
or another limit.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from codelib.core.config import Settings
from codelib.models.remote_client import AZURE_API_VERSION, OPENAI_HOST, OPENAI_URL, SNAPSHOT


class TranslateSettings(Settings):
    engine: Literal["none", "glossary", "openai"] = "glossary"

    # who answers
    base_url: str = OPENAI_URL
    """Of any compatible server; with azure_deployment the resource's endpoint, https://NAME.openai.azure.com."""
    model: str = "gpt-4o-2024-11-20"
    """A pinned snapshot: what an alias points to changes under the run."""
    azure_deployment: str | None = None
    azure_api_version: str = Field(default=AZURE_API_VERSION, exclude=True)
    key_env: str = Field(default="OPENAI_API_KEY", exclude=True)
    """Name of the environment variable with the key; the key itself stands in no file."""
    structured: Literal["auto", "json_schema", "json_object", "none"] = Field(default="auto", exclude=True)
    """How the form of the answer is asked for. auto: json_schema, and where the server refuses that the next simpler one."""

    # how it is asked
    transport: Literal["online", "batch"] = Field(default="online", exclude=True)
    """batch: the Batch API, at half the price and within a day."""
    texts_per_request: int = Field(default=8, ge=1, le=100, exclude=True)
    chars_per_request: int = Field(default=3000, ge=1, exclude=True)
    """Chinese characters at most in one request (a longer text goes alone)."""
    requests_per_minute: int | None = Field(default=None, ge=1, exclude=True)
    """Of the whole cluster. None: what the server's headers say; they also lower what stands here."""
    tokens_per_minute: int | None = Field(default=None, ge=100, exclude=True)
    concurrency: int = Field(default=128, ge=1, le=1000, exclude=True)
    """Requests under way at most, waiting ones included: rate (per second) times the seconds that an answer takes, and twice that."""
    timeout_s: float = Field(default=120.0, gt=0, exclude=True)
    max_retries: int = Field(default=8, ge=0, le=50, exclude=True)
    """Repetitions of a request that failed on the way (5xx, cut, broken JSON). 429 is no failure: it is waited out."""
    backoff_s: float = Field(default=0.5, ge=0, exclude=True)
    batch_requests: int = Field(default=5000, ge=1, le=50_000, exclude=True)
    """Requests in one batch file at most."""
    poll_s: float = Field(default=30.0, gt=0, exclude=True)

    # what it may cost, over all runs in this workspace
    budget_usd: float | None = Field(default=None, gt=0, exclude=True)
    budget_tokens: int | None = Field(default=None, ge=1, exclude=True)
    usd_per_million_input: float | None = Field(default=None, ge=0, exclude=True)
    """Price of a model that remote_prices.csv does not know, or that is cheaper for you."""
    usd_per_million_output: float | None = Field(default=None, ge=0, exclude=True)

    @field_validator("model")
    @classmethod
    def _pinned(cls, model: str, info: ValidationInfo) -> str:
        at_openai = info.data.get("engine") == "openai" and urlsplit(info.data.get("base_url", "")).hostname == OPENAI_HOST
        if at_openai and not SNAPSHOT.search(model):
            raise ValueError("name a snapshot with its date, for example gpt-4o-2024-11-20: an alias changes under the run")
        return model

    @field_validator("usd_per_million_output")
    @classmethod
    def _both_prices(cls, price: float | None, info: ValidationInfo) -> float | None:
        if (price is None) != (info.data.get("usd_per_million_input") is None):
            raise ValueError("give usd_per_million_input and usd_per_million_output, or neither")
        return price

    def answer_settings(self) -> dict[str, Any]:
        """What a translation depends on: the stage's settings. Where the server stands and how patient we are changes no answer."""
        if self.engine != "openai":
            return {"engine": self.engine, "model": None}
        return {"engine": self.engine, "model": self.model}
