"""What a variant's answers cost: tokens, time, money.

    answered rows of a variant  ->  cost(...)  ->  {"num_answers", "prompt_tokens", "completion_tokens", "seconds", "tokens_per_s", "usd"}

Variants of one base share an engine, and answers of one batch are made at the same time: the seconds are those of the single answers added
up, which is more than went by on the clock. They compare variants of one run; they are no run time. Kept answers count with what they cost
when they were asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOTE = (
    "Seconds are those of the single answers added up: answers of one batch, and variants that share an engine, are made at the same "
    "time, so the clock showed less. Tokens and money are the variant's own."
)


def cost(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """rows: answered ones. usd is None where no answer has a price; a sum over some of them says of how many (num_priced)."""
    prices = [row["usd"] for row in rows if row.get("usd") is not None]
    seconds = sum(row["latency_s"] or 0.0 for row in rows)
    completed = sum(row["completion_tokens"] or 0 for row in rows)
    return {
        "num_answers": len(rows),
        "prompt_tokens": sum(row["prompt_tokens"] or 0 for row in rows),
        "completion_tokens": completed,
        "seconds": seconds,
        "tokens_per_s": completed / seconds if seconds > 0 else None,
        "usd": sum(prices) if prices else None,
        "num_priced": len(prices),
    }
