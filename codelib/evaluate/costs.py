"""What a variant's answers cost: tokens, time, money.

    answered rows  ->  once(...)  ->  cost(...)  ->  {"num_answers", "prompt_tokens", "completion_tokens", "seconds", "tokens_per_s", "usd"}

Seconds compare variants of one run; they are no run time. An answer of a local model counts with its share of the batch that it was made in; a
request to a server counts from sending to answer, and requests wait side by side. Kept answers count with what they cost when they were asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from codelib.core.stage import Work

NOTE = (
    "Seconds: variants of one base share an engine, and an answer of a local model counts with its share of its batch; requests to a "
    "server count from sending to answer, and wait side by side, so the clock showed less. An answer that two variants share stands in the "
    "cost of each, and once in the sum."
)


def once(rows: Iterable[dict[str, Any]], work: Iterable[Work]) -> list[dict[str, Any]]:
    """A row for each answer that was asked for: two variants that put the same question share one, and so do two visits."""
    told: dict[tuple[str, str, str], str] = {}
    for partition in work:
        for row in partition.extra["rows"]:
            told[row["variant"], row["benchmark"], row["sample_id"]] = partition.extra["asks"][row["ask"]]["key"]
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        place = row["variant"], row["benchmark"], row["sample_id"]
        found.setdefault(told.get(place, place), row)
    return list(found.values())


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
