"""terms/glossary.csv: the terms that a request is given, and the offline stand-in made of them."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from pathlib import Path

_PUNCTUATION = str.maketrans(
    {"，": ", ", "。": ". ", "；": "; ", "：": ": ", "、": ", ", "（": " (", "）": ") ", "！": "! ", "？": "? "}
)


@lru_cache(maxsize=1)
def read_glossary() -> tuple[tuple[str, str], ...]:
    """(Chinese, English) of terms/glossary.csv, longest first."""
    path = Path(__file__).with_name("terms") / "glossary.csv"
    with path.open(encoding="utf-8", newline="") as source:
        rows = [(row["zh"], row["en"]) for row in csv.DictReader(source)]
    return tuple(sorted(rows, key=lambda row: (-len(row[0]), row[0])))


@lru_cache(maxsize=1)
def _terms() -> tuple[dict[str, str], re.Pattern[str]]:
    terms = dict(read_glossary())
    return terms, re.compile("|".join(re.escape(zh) for zh, _ in read_glossary()))


def terms_in(chinese: str) -> tuple[tuple[str, str], ...]:
    """(Chinese, English) of the terms that occur, the longest at each place, each once, sorted.

    >>> terms_in("16慢性龈炎")
    (('慢性龈炎', 'chronic gingivitis'),)
    """
    terms, pattern = _terms()
    return tuple((zh, terms[zh]) for zh in sorted({match.group() for match in pattern.finditer(chinese)}))


def gloss(chinese: str) -> str:
    """Term by term, the longest first; what is unknown stays Chinese, numbers and placeholders stay as they are.

    >>> gloss("16慢性龈炎，全口洁治")
    '16 chronic gingivitis, full-mouth scaling'
    """
    terms, pattern = _terms()
    pieces: list[str] = []
    at = 0
    for match in pattern.finditer(chinese):
        pieces += [chinese[at : match.start()], f" {terms[match.group()]} "]
        at = match.end()
    text = "".join([*pieces, chinese[at:]]).translate(_PUNCTUATION)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ([,.;:!?)](?!\d))", r"\1", text)
    text = re.sub(r"\( ", "(", text)
    return "\n".join(line.strip() for line in text.split("\n"))
