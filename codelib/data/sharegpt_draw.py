"""Draws of a conversation as hashes of stable keys: the same on every machine, whatever the partition, the order or the number of copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from math import ceil, gcd


def _number(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def nth(key: str, turn: int, count: int) -> int:
    """An index below ``count``; the first ``count`` turns of one key give every index once."""
    drawn = _number(key)
    step = next(n for n in range(1 + drawn // count % count, 2 * count + 1) if gcd(n, count) == 1)
    return (drawn + turn * step) % count


def shuffled(key: str, names: Iterable[str]) -> list[str]:
    """The names in a drawn order; one more name leaves the others in theirs."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{key}/{name}".encode()).digest())


def subset(key: str, groups: tuple[list[str], ...], share: float, limit: int | None) -> set[str]:
    """A drawn share of all names, at most ``limit`` and at least one; of every group one before any has two, as far as the number goes."""
    orders = [shuffled(f"{key}/subset", group) for group in groups if group]
    total = sum(map(len, orders))
    number = min(max(1, ceil(share * total)), limit or total, total)
    first = shuffled(f"{key}/first", (order[0] for order in orders))
    rest = shuffled(f"{key}/rest", (name for order in orders for name in order[1:]))
    return set([*first, *rest][:number])
