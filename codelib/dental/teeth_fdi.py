"""FDI numbers (ISO 3950) and their arithmetic.

Quadrants: 1 upper right, 2 upper left, 3 lower left, 4 lower right; 5 to 8 the same for primary teeth.
Digits count from the midline.
"""

from __future__ import annotations

from functools import cache

_UPPER = [f"1{n}" for n in range(8, 0, -1)] + [f"2{n}" for n in range(1, 9)]
_LOWER = [f"4{n}" for n in range(8, 0, -1)] + [f"3{n}" for n in range(1, 9)]
_PRIMARY_UPPER = [f"5{n}" for n in range(5, 0, -1)] + [f"6{n}" for n in range(1, 6)]
_PRIMARY_LOWER = [f"8{n}" for n in range(5, 0, -1)] + [f"7{n}" for n in range(1, 6)]
ARCHES = (_UPPER, _LOWER, _PRIMARY_UPPER, _PRIMARY_LOWER)
FDI = frozenset(number for arch in ARCHES for number in arch)
IMPOSSIBLE = frozenset(f"{q}{n}" for q in "5678" for n in "678")  # reads like FDI, but a primary quadrant has five teeth

QUADRANT = {("U", "R"): 1, ("U", "L"): 2, ("L", "L"): 3, ("L", "R"): 4}
"""(arch, side) -> quadrant."""


@cache
def fdi_number(quadrant: int, digit: int, primary: bool) -> str | None:
    """The FDI number of a tooth, or None where that quadrant has no such tooth."""
    number = f"{quadrant + 4 if primary else quadrant}{digit}"
    return number if number in FDI else None


def fdi_range(first: str, last: str) -> list[str] | None:
    """All teeth from ``first`` to ``last`` along one arch, in that direction; None where they share no arch.

    >>> fdi_range("13", "22")
    ['13', '12', '11', '21', '22']
    """
    for arch in ARCHES:
        if first in arch and last in arch:
            a, b = arch.index(first), arch.index(last)
            return arch[a : b + 1] if a <= b else arch[b : a + 1][::-1]
    return None


def universal_number(number: int) -> str | None:
    """The FDI number of a permanent tooth of the Universal system (ADA): 1 is 18, 16 is 28, 17 is 38, 32 is 48."""
    return (_UPPER + _LOWER[::-1])[number - 1] if 1 <= number <= 32 else None
