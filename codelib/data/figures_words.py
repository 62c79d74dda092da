"""How the titles of the figures say a number."""

from __future__ import annotations

OPEN_BELOW, OPEN_ABOVE = "≤ ", "≥ "
ANY = "any"  # of a bin that is open on both sides


def percent(n: int, total: int) -> str:
    """'38 %'; the ends are kept for what is exactly so."""
    share = round(100 * n / total)
    if share == 0 and n:
        return "under 1 %"
    if share == 100 and n < total:
        return "over 99 %"
    return f"{share} %"


def part(n: int, total: int) -> str:
    """'all', '38 % of the'."""
    return "all" if n == total else f"{percent(n, total)} of the"


def spoken(label: str, below: str = "less", above: str = "more") -> str:
    """'≥ 65' -> '65 or more'."""
    if label.startswith(OPEN_BELOW):
        return f"{label.removeprefix(OPEN_BELOW)} or {below}"
    return f"{label.removeprefix(OPEN_ABOVE)} or {above}" if label.startswith(OPEN_ABOVE) else label


def amount(low: int, high: int, noun: str) -> str:
    """'no radiograph', 'at most 1 radiograph', '1 or 2 photographs', '3 to 7 photographs'."""
    if low == high:
        return f"{low or 'no'} {noun}{'' if low < 2 else 's'}"
    if low == 0:
        return f"at most {high} {noun}{'' if high == 1 else 's'}"
    return f"{low} {'or' if high == low + 1 else 'to'} {high} {noun}s"
