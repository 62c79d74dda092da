"""Element values as pydicom gives them, to numbers and words of closed lists. What is no such value is nothing, or ``damaged``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from codelib.imaging.pixels import ImageRejected


def words(value: Any) -> tuple[str, ...]:
    values = value if is_sequence(value) else (value,)
    return tuple(str(v or "").strip().upper() for v in values)


def word(value: Any, known: Any) -> str:
    first = words(value)[:1]
    return first[0] if first and first[0] in known else ""


def whole(data: Dataset, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number within its bounds; ``damaged`` where it is none."""
    value = data.get(keyword)
    if value is None or value == "" or value == b"":
        if default is None:
            raise ImageRejected("damaged")
        return default
    number = int(str(value).strip() if isinstance(value, str) else value)
    if not low <= number <= high:
        raise ImageRejected("damaged")
    return number


def numbers(value: Any) -> tuple[float, ...]:
    """Finite numbers of a multi-valued element; empty where one is none."""
    if value is None or (isinstance(value, (bytes, str)) and not value):
        return ()
    try:
        found = tuple(float(v) for v in (value if is_sequence(value) else (value,)))
    except (TypeError, ValueError):
        return ()
    return found if all(math.isfinite(n) for n in found) else ()


def floats(value: Any, count: int) -> tuple[float, ...] | None:
    found = numbers(value)
    return found if len(found) == count else None


def positive(value: Any) -> float | None:
    found = numbers(value)
    return found[0] if found and found[0] > 0 else None


def integers(value: Any, signed: bool, little: bool) -> list[int]:
    """16-bit words: numbers as pydicom gives them, or the bytes of an element whose VR it could not decide."""
    if value is None or isinstance(value, str):
        return []
    if isinstance(value, (bytes, bytearray)):
        kind = ("<" if little else ">") + ("i2" if signed else "u2")
        return np.frombuffer(value[: len(value) // 2 * 2], kind).tolist()
    return [int(v) for v in (value if is_sequence(value) else (value,))]


def first_item(sequence: Any) -> Dataset | None:
    return sequence[0] if is_sequence(sequence) and len(sequence) and isinstance(sequence[0], Dataset) else None


def is_sequence(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, bytearray, Dataset))
