"""The audit: released records beside what was written, for a person to judge; and what the verdicts do.

    private/audit/<sample>.html   N random released visits: as written | Chinese as released | English as released; placeholders are marked
    private/audit/<sample>.csv    checkup_id, text_key, verdict (clean | leak | too_much), note: filled in by the person, read by every run

A verdict is about a text: ``text_key`` is a keyed hash of the released text, and where that has changed the verdict counts no more. A visit
that leaks is held back from the release (audit:leak) until its text or its verdict changes. The pages hold identifiers, and lie in the
private room only.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codelib.contracts import TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data.identifiers import PLACEHOLDER
from codelib.data.sheets import decode_text
from codelib.data.vault import Keyed

AUDIT = "audit"
LEAK = "audit:leak"
"""Why a visit is held back that a person found to leak."""

VERDICTS = ("clean", "leak", "too_much")
_WORST = ("leak", "too_much", "clean")  # of two verdicts on a text the first of these counts
_CONFIDENCE = 0.95
_RELEASED = (*(f"{name}_cn" for name in TEXT_FIELDS), *TEXT_FIELDS)
_HEADER = ("checkup_id", "text_key", "verdict", "note")


@dataclass(frozen=True)
class Audited:
    """What people found in the samples that they looked at."""

    verdicts: Counter[str]

    @property
    def looked_at(self) -> int:
        return self.verdicts.total()

    @property
    def leak_bound(self) -> float:
        """The share of leaking visits that the sample still allows at 95 %: the upper limit of Clopper and Pearson (1934); 1.0 without one.

        >>> round(Audited(Counter(clean=59)).leak_bound, 3)
        0.05
        """
        leaks, low, high = self.verdicts["leak"], 0.0, 1.0
        while high - low > 1e-6:  # P(at most this many leaks) falls as the share grows
            share = (low + high) / 2
            low, high = (share, high) if _at_most(leaks, self.looked_at, share) > 1 - _CONFIDENCE else (low, share)
        return high


def _at_most(leaks: int, looked_at: int, share: float) -> float:
    """The binomial distribution function."""
    return sum(math.comb(looked_at, n) * share**n * (1 - share) ** (looked_at - n) for n in range(leaks + 1))


def text_key(row: Mapping[str, Any], keyed: Keyed) -> str:
    """What a verdict is bound to; ``row``: of ANNOTATED."""
    return keyed.text("audit-text", json.dumps([row[name] or "" for name in _RELEASED], ensure_ascii=False))


# the sample


def draw_audit(
    records: Sequence[Part],
    annotated: Sequence[Part],
    split: Sequence[Part],
    num_visits: int,
    sample: str,
    keyed: Keyed,
    private: Store,
) -> tuple[str, int]:
    """Write a sample of released visits for a person; returns the page's name in the private room and how many visits are on it.

    Which visits depends on the workspace's key and ``sample`` alone, so nobody can choose what is looked at. Raises InputError where there is
    nothing to draw from, or where the sample exists: its verdicts must not be overwritten.
    """
    if not re.fullmatch(r"[\w-]{1,40}", sample):
        raise InputError("--sample: letters, digits, _ and -, at most 40; it names the files of the sample")
    page, verdicts = f"{AUDIT}/{sample}.html", f"{AUDIT}/{sample}.csv"
    if private.exists(verdicts):
        raise InputError(
            f"audit {sample}: drawn before, {private.root}/{verdicts} holds its verdicts; give the sample another name"
        )
    chosen = _choose(split, num_visits, sample, keyed)
    if not chosen:
        raise InputError("audit: no released visit to draw from; run jobs.dataset first")
    keys: dict[str, str] = {}

    def visits() -> Iterator[bytes]:
        yield _HEAD.encode()
        for before, after in _pairs(records, annotated, frozenset(chosen)):
            keys[after["checkup_id"]] = text_key(after, keyed)
            yield _visit_html(before, after).encode()

    private.commit_stream(page, visits())
    private.commit(verdicts, _csv([_HEADER, *((checkup_id, key, "", "") for checkup_id, key in sorted(keys.items()))]))
    return page, len(chosen)


def _choose(split: Iterable[Part], num_visits: int, sample: str, keyed: Keyed) -> frozenset[str]:
    """visit_key of the released visits with the smallest keyed hashes."""
    best: list[tuple[str, str]] = []
    for part in split:
        keys = read_part(part, ["visit_key", "status"], ok_only=True)["visit_key"].to_pylist()
        best = sorted([*best, *((keyed.text("audit", f"{sample}\0{key}"), key) for key in keys)])[:num_visits]
    return frozenset(key for _, key in best)


def _pairs(
    records: Sequence[Part], annotated: Sequence[Part], chosen: frozenset[str]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(as written, as released) of the visits; partitions without one are not read."""
    for before, after in zip(records, annotated, strict=True):
        keys = chosen & set(read_part(after, ["visit_key"])["visit_key"].to_pylist())
        if keys:
            rows = read_part(before, ["visit_key", *TEXT_FIELDS]).to_pylist()
            written = {row["visit_key"]: row for row in rows if row["visit_key"] in keys}
            for row in read_part(after, ["checkup_id", "visit_key", *_RELEASED, "status"], ok_only=True).to_pylist():
                if row["visit_key"] in keys:
                    yield written[row["visit_key"]], row


_HEAD = """<!doctype html><meta charset="utf-8"><title>Privacy audit</title>
<style>body{font:15px/1.5 sans-serif;margin:2em}table{border-collapse:collapse;width:100%}
td,th{border:1px solid #bbb;padding:.4em;vertical-align:top;text-align:left}
td{width:30%}th{width:10%;font-weight:normal;color:#555}mark{background:#ffd54d}</style>
<h1>As written | Chinese as released | English as released</h1>
<p>For each visit write clean, leak or too_much into the CSV file beside this page. A visit that leaks is held back by the next run. Keep both
files in the private room.</p>
"""


def _visit_html(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    lines = []
    for name in TEXT_FIELDS:
        cells = [before[name] or "", after[f"{name}_cn"] or "", after[name] or ""]
        if any(cells):
            written, *released = (html.escape(text, quote=False) for text in cells)
            marked = [PLACEHOLDER.sub(lambda m: f"<mark>{m.group()}</mark>", text) for text in released]
            lines.append(f"<tr><th>{name}" + "".join(f"<td>{text}" for text in (written, *marked)))
    return f"<h2>{html.escape(after['checkup_id'])}</h2><table>{''.join(lines)}</table>\n"


# the verdicts


@dataclass(frozen=True)
class Line:
    """A verdict of a sample's file."""

    text_key: str
    verdict: str

    def is_about(self, key: str) -> bool:
        """A leak of a sample that was drawn before verdicts were bound to texts holds its visit back all the same."""
        return self.text_key == key or (not self.text_key and self.verdict == "leak")


Lines = Mapping[str, Sequence[Line]]
"""checkup_id -> its verdicts."""


def read_audit(private: Store) -> Lines:
    """The verdicts of all samples. Raises InputError naming the line of one that cannot be read."""
    found: dict[str, list[Line]] = defaultdict(list)
    for name in private.names(AUDIT):
        if not name.endswith(".csv"):
            continue
        place = f"{private.root}/{name}"
        rows = csv.DictReader(io.StringIO(decode_text(private.read(name), place)))
        if not {"checkup_id", "verdict"} <= set(rows.fieldnames or ()):
            raise InputError(f"{place}: its first line reads {','.join(_HEADER)}")
        for row in rows:
            verdict = (row["verdict"] or "").strip().lower()
            if verdict and verdict not in VERDICTS:
                raise InputError(f"{place}: line {rows.line_num}: no such verdict; {nearest(verdict, VERDICTS)}")
            if verdict:
                found[(row["checkup_id"] or "").strip()].append(Line((row.get("text_key") or "").strip(), verdict))
    return dict(found)


def standing(lines: Lines, annotated: Part, keyed: Keyed) -> dict[str, str]:
    """checkup_id -> verdict, of the visits of a partition whose text is still the one that was judged. A partition without a judged visit is
    not read whole."""
    verdicts: dict[str, str] = {}
    if lines.keys().isdisjoint(read_part(annotated, ["checkup_id", "visit_key"])["checkup_id"].to_pylist()):
        return verdicts
    for row in read_part(annotated, ["checkup_id", "visit_key", *_RELEASED, "status"], ok_only=True).to_pylist():
        if found := lines.get(row["checkup_id"]):
            key = text_key(row, keyed)
            given = {line.verdict for line in found if line.is_about(key)}
            if given:
                verdicts[row["checkup_id"]] = next(verdict for verdict in _WORST if verdict in given)
    return verdicts


def held_back(split: Part) -> set[str]:
    """checkup_id of the visits that a verdict holds back, as the last run made it."""
    if LEAK not in split.counts:
        return set()
    rows = read_part(split, ["checkup_id", "visit_key", "reject_reason"]).to_pylist()
    return {row["checkup_id"] for row in rows if row["reject_reason"] == LEAK}


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
