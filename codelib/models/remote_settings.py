"""What a user says of servers: of one (a variant's fields), and of all that a run asks (its settings).

No answer depends on any of `RemoteSettings`: they are ``exclude=True``, so that a run goes on under a raised budget or another limit.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from codelib.core.config import Settings
from codelib.models import remote_prices
from codelib.models.remote_client import AZURE_API_VERSION, OPENAI_URL, Server
from codelib.models.remote_prices import Price

_INSIDE = (".local", ".localdomain", ".internal", ".svc")


class RemoteSettings(Settings):
    """Of all servers together."""

    budget_usd: float | None = Field(default=None, gt=0, exclude=True)
    """Spent in this workspace over all runs, at most."""
    budget_tokens: int | None = Field(default=None, ge=1, exclude=True)
    requests_per_minute: int | None = Field(default=None, ge=1, exclude=True)
    """Of one model on one server, whole cluster. None: what the server's headers say; they also lower what stands here."""
    tokens_per_minute: int | None = Field(default=None, ge=100, exclude=True)
    max_retries: int = Field(default=8, ge=0, le=50, exclude=True)
    """Repetitions of a request that failed on the way (5xx, cut, broken JSON). 429 is no failure: it is waited out."""
    backoff_s: float = Field(default=0.5, ge=0, exclude=True)
    allow_remote: bool = Field(default=False, exclude=True)
    """Data that is no verified release may be sent to servers outside; each text is scanned all the same."""


class ServerFields(Settings):
    """Of one server: the fields of a variant with engine openai. As they stand here: OpenAI's own."""

    base_url: str | None = None
    """Of a compatible server (http://host:8000/v1); with azure_deployment the resource's endpoint, https://NAME.openai.azure.com."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable with the key, on the machine that asks; no key stands in a file. May be unset for a server inside."""
    azure_deployment: str | None = None
    azure_api_version: str = AZURE_API_VERSION
    usd_per_million_input: float | None = Field(default=None, ge=0)
    """Price of a model that remote_prices.csv does not know, or that is cheaper for you."""
    usd_per_million_output: float | None = Field(default=None, ge=0)
    timeout_s: float = Field(default=120.0, gt=0)
    """Of one request, from its first byte to its last."""
    allow_remote: bool = False
    """Data that is no verified release may be sent to this server though it is outside."""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port  # raises for one that is no number
        except ValueError:
            good = False
        if not good:
            raise ValueError("not an address of a server; write it as http://host:8000/v1")
        if parts.username or parts.password:
            raise ValueError(
                "a name or password stands in the address; put the key into an environment variable and name it in api_key_env"
            )
        return url

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # most likely the key itself: never repeated
            raise ValueError("the name of an environment variable is expected, such as OPENAI_API_KEY; no key stands in a file")
        return name

    @model_validator(mode="after")
    def _server_is_whole(self) -> ServerFields:
        if (self.usd_per_million_input is None) != (self.usd_per_million_output is None):
            raise ValueError("give usd_per_million_input and usd_per_million_output, or neither")
        if self.azure_deployment is not None and self.base_url is None:
            raise ValueError("azure_deployment needs base_url, the resource's endpoint: https://NAME.openai.azure.com")
        if self.azure_api_version != AZURE_API_VERSION and self.azure_deployment is None:
            raise ValueError("azure_api_version is for azure_deployment")
        return self


ANSWERS_ALIKE = frozenset({"api_key_env", "usd_per_million_input", "usd_per_million_output", "timeout_s", "allow_remote"})
"""Fields that decide no answer."""


def server_of(fields: ServerFields, model: str, place: str) -> Server:
    """``place``: the variant, for messages."""
    beside = fields.base_url is None and bool(os.environ.get("CODELIB_SERVED"))  # slurm/vllm.sh started it with this job
    base_url = fields.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL  # the client's own default
    outside = is_outside(base_url) and not beside
    return Server(
        model,
        base_url,
        fields.azure_deployment,
        fields.azure_api_version,
        fields.api_key_env,
        outside=outside,
        key_optional=not outside and fields.azure_deployment is None,
        alias_allowed=True,
        timeout_s=fields.timeout_s,
        place=place,
        key_setting=f"{place}, api_key_env",
    )


def price_for(fields: ServerFields, model: str) -> Price | None:
    """From the variant, else from remote_prices.csv. Servers of one's own cost nothing that could be counted here: None."""
    if fields.usd_per_million_input is not None and fields.usd_per_million_output is not None:
        return Price(fields.usd_per_million_input, fields.usd_per_million_output, "the variants file")
    return remote_prices.price_of(model)


def is_outside(base_url: str) -> bool:
    """Whether text sent there leaves the house: any address but this machine, a private network, and names that no public resolver
    knows (gpu01, llm.internal, vllm.default.svc). A full public name of a server of one's own counts as outside."""
    host = (urlsplit(base_url).hostname or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not host or host.isdigit() or host.startswith("0x"):  # no host, or an address in disguise (134744072 is 8.8.8.8)
            return True
        return "." in host and not host.endswith(_INSIDE) and ".svc." not in host
    return not (address.is_private or address.is_loopback or address.is_link_local)
