"""A text brought to plain characters, and places in it: what all privacy modules speak."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

CLASSES = ("NAME", "PHONE", "ID", "EMAIL", "ACCOUNT", "ADDRESS", "DATE", "RECORD_NO", "ORG", "URL", "PLATE")
PLACEHOLDER = re.compile(r"\[(?:" + "|".join(CLASSES) + r")\]")
BARRIER = "\ue000"
"""Stands for each character of a placeholder while a text is scanned again: neither letter, digit nor blank."""

_INVISIBLE = frozenset("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u180e" + "".join(map(chr, range(0x300, 0x370))))
_DASHES = frozenset("‐‑‒–—―−－")
_DOTS = frozenset("•・‧∙●")  # what is typed for the dot of a name: 买买提•艾力


@dataclass(frozen=True, order=True)
class Finding:
    start: int
    end: int
    cls: str


@dataclass(frozen=True)
class Folded:
    """A text brought to plain characters; ``place[i]`` is where its character i stood in the original."""

    text: str
    place: tuple[int, ...] | None  # None: nothing moved

    def span(self, start: int, end: int) -> tuple[int, int]:
        return (start, end) if self.place is None else (self.place[start], self.place[end - 1] + 1)


def _plain(char: str) -> str:
    code = ord(char)
    if 0xFF01 <= code <= 0xFF5E and char not in "，：；！？（）":
        return "-" if char == "－" else chr(code - 0xFEE0)
    if char in _DASHES:
        return "-"
    if char in _DOTS:
        return "·"
    if char in "\u3000\u00a0\t":
        return " "
    if 0xC0 <= code <= 0x24F or 0x1E00 <= code <= 0x1EFF:
        return unicodedata.normalize("NFD", char)[0]  # Zhāng -> Zhang, Nguyễn -> Nguyen
    if code > 127 and unicodedata.decimal(char, None) is not None:
        return str(unicodedata.decimal(char))
    return char


def fold(text: str) -> Folded:
    """１３８ → 138, — → -, invisible characters away."""
    if text.isascii():
        return Folded(text, None)
    kept = [(i, _plain(char)) for i, char in enumerate(text) if char not in _INVISIBLE]
    place = None if len(kept) == len(text) else tuple(i for i, _ in kept)
    return Folded("".join(char for _, char in kept), place)


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Overlapping findings made one; the longest gives its class. Sorted, disjoint."""
    merged: list[Finding] = []
    longest = 0
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        if merged and finding.start < merged[-1].end:
            last = merged[-1]
            cls = finding.cls if finding.end - finding.start > longest else last.cls
            longest = max(longest, finding.end - finding.start)
            merged[-1] = Finding(last.start, max(last.end, finding.end), cls)
        else:
            merged.append(finding)
            longest = finding.end - finding.start
    return merged


def mask_placeholders(text: str) -> str:
    """The text with each placeholder as barriers of the same length, so that places stay."""
    return PLACEHOLDER.sub(lambda m: BARRIER * len(m.group()), text)
