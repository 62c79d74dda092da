"""What translation costs: its prices, an estimate of tokens that learns, and the workspace's budget (`codelib.models.remote_budget`)."""

from __future__ import annotations

from dataclasses import dataclass

from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.translate_settings import TranslateSettings
from codelib.models import remote_prices
from codelib.models.remote_budget import Budget, Limits
from codelib.models.remote_prices import OVERHEAD_TOKENS, Price, tokens_of

_ENGLISH_PER_CHINESE = 1.1  # tokens of the English for each Chinese character


def price_of(settings: TranslateSettings) -> Price | None:
    """From the settings, else from remote_prices.csv (the Batch API's share applied). None where nobody knows."""
    if settings.usd_per_million_input is not None and settings.usd_per_million_output is not None:
        return Price(settings.usd_per_million_input, settings.usd_per_million_output, "the settings")
    return remote_prices.price_of(settings.model, settings.transport == "batch")


def checked_price(settings: TranslateSettings) -> Price | None:
    """The price; InputError where a budget in money is set and nobody knows it. The second pass is asked by such settings too."""
    price = price_of(settings)
    if price is None and settings.budget_usd is not None:
        raise InputError(
            f"translate.budget_usd={settings.budget_usd:g}: no price is known for {settings.model}; give translate.usd_per_million_input "
            "and _output, or translate.budget_tokens"
        )
    return price


def open_budget(settings: TranslateSettings, cache: Store) -> Budget:
    """The workspace's budget, kept in the cache of translations. Raises InputError where the price that it needs is not known."""
    checked_price(settings)
    return Budget(Limits(settings.budget_usd, settings.budget_tokens, "translate."), cache)


@dataclass
class TokenEstimate:
    """Guesses of a request's tokens, corrected by what the server counted so far."""

    input_factor: float = 1.0
    output_factor: float = 1.0

    def of(self, sent: str, chinese_chars: int, texts: int) -> tuple[float, float]:
        """(input, output) of a request that sends these characters to have so many translated."""
        given = self.input_factor * (tokens_of(sent) + OVERHEAD_TOKENS)
        return given, self.output_factor * (_ENGLISH_PER_CHINESE * chinese_chars + 6 * texts)

    def learn(self, guessed: tuple[float, float], counted: tuple[int, int]) -> None:
        for name, guess, count in zip(("input_factor", "output_factor"), guessed, counted, strict=True):
            if count and guess:
                old = getattr(self, name)
                setattr(self, name, min(max(0.9 * old + 0.1 * old * count / guess, 0.2), 5.0))
