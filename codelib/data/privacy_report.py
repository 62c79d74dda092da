"""What a run did for privacy, in counts; and the audit: released records beside what was written, for a person to judge.

    deidentified, annotated, queue, answers ─┬─ privacy.json   public: classes and counts, held back, k-anonymity, the audit's result
                                             └─ private/reports/privacy.txt   the same with where the questions lie, for the people of the clinic
    private/audit/<sample>.html   N random released visits, as written | as released; removed stretches are marked
    private/audit/<sample>.csv    checkup_id, verdict (clean | leak | too_much), note: filled in by the person, read by the next run

No value of an identifier is in either report. The pages of the audit hold them, and lie in the private room only.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codelib.contracts import OK, TEXT_FIELDS
from codelib.core.cli import InputError
from codelib.core.config import nearest
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data.identifiers import PLACEHOLDER
from codelib.data.k_anonymity import as_text
from codelib.data.sheets import decode_text
from codelib.data.vault import Keyed

PUBLIC_FILE, PRIVATE_FILE, AUDIT = "privacy.json", "reports/privacy.txt", "audit"
VERDICTS = ("clean", "leak", "too_much")
_CONFIDENCE = 0.95


@dataclass
class Removed:
    """What the stage took out and held back; only counts."""

    by_class: Counter[str] = field(default_factory=Counter)
    by_field: Counter[tuple[str, str]] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)  # reject reason -> visits
    visits: int = 0
    touched: int = 0  # released visits from which something was removed


def count_removed(deidentified: Iterable[Part]) -> Removed:
    """Over the partitions of `deidentified`, one at a time."""
    found = Removed()
    for part in deidentified:
        for row in read_part(part, ["removed", "status", "reject_reason", "visit_key"]).to_pylist():
            found.visits += 1
            if row["status"] != OK:
                found.held[row["reject_reason"]] += 1
                continue
            found.touched += bool(row["removed"])
            for one in row["removed"]:
                found.by_class[one["class"]] += one["count"]
                found.by_field[one["field"], one["class"]] += one["count"]
    return found


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


def public_report(
    removed: Removed,
    waiting: Mapping[str, int],
    answers: Mapping[str, int],
    k_table: Sequence[Mapping[str, Any]],
    audited: Audited,
) -> dict[str, Any]:
    """Counts alone: may stand beside the release."""
    return {
        "visits": removed.visits,
        "released_with_something_removed": removed.touched,
        "removed_by_class": dict(sorted(removed.by_class.items())),
        "held_back": dict(sorted(removed.held.items())),
        "questions_waiting_by_class": dict(sorted(waiting.items())),
        "questions_waiting": sum(waiting.values()),
        "answers": dict(sorted(answers.items())),
        "k_anonymity": list(k_table),
        "audit": {
            "visits_looked_at": audited.looked_at,
            "verdicts": {verdict: audited.verdicts[verdict] for verdict in VERDICTS},
            "leaking_visits_at_most": round(audited.leak_bound, 4),
        },
    }


def private_report(public: Mapping[str, Any], removed: Removed, private: Store) -> str:
    """The public counts as text, then by field, and where to go on. Commits private/reports/privacy.txt and returns it."""
    lines = [
        f"{public['visits']} visits de-identified; something was removed from {public['released_with_something_removed']} of those released",
        "removed: " + (", ".join(f"{n} {cls}" for cls, n in public["removed_by_class"].items()) or "nothing"),
        "held back: " + (", ".join(f"{n} {reason}" for reason, n in public["held_back"].items()) or "none"),
        f"questions waiting: {public['questions_waiting']} ("
        + (", ".join(f"{n} {cls}" for cls, n in public["questions_waiting_by_class"].items()) or "none")
        + f"); answer them in {private.root}/queue/privacy-answers.csv",
        "answers taken up: " + (", ".join(f"{n} {answer}" for answer, n in public["answers"].items()) or "none"),
        _audit_line(public["audit"]),
        "",
        "visits that fewer than k patients share their combination with",
        as_text(public["k_anonymity"]),
        "",
        "removed by field",
        *(f"  {name:<28}{cls:<12}{n:>8}" for (name, cls), n in sorted(removed.by_field.items())),
    ]
    text = "\n".join(lines) + "\n"
    private.commit(PRIVATE_FILE, text.encode())
    return text


def _audit_line(audit: Mapping[str, Any]) -> str:
    if not audit["visits_looked_at"]:
        return "audit: nobody has looked at a sample yet; draw one with jobs.inspect audit N"
    told = ", ".join(f"{n} {verdict}" for verdict, n in audit["verdicts"].items())
    looked_at, bound = audit["visits_looked_at"], audit["leaking_visits_at_most"]
    return f"audit: {looked_at} visits looked at: {told}; at 95 % at most {bound:.1%} of the release leak"


# audit


def draw_audit(
    records: Sequence[Part], deidentified: Sequence[Part], num_visits: int, sample: str, keyed: Keyed, private: Store
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
    chosen = _choose(deidentified, num_visits, sample, keyed)
    if not chosen:
        raise InputError("audit: no released visit to draw from; run jobs.dataset first")
    private.commit_stream(page, _page(records, deidentified, chosen))
    private.commit(
        verdicts, _csv([("checkup_id", "verdict", "note"), *((checkup_id, "", "") for checkup_id in sorted(chosen.values()))])
    )
    return page, len(chosen)


def _choose(deidentified: Iterable[Part], num_visits: int, sample: str, keyed: Keyed) -> dict[str, str]:
    """visit_key -> checkup_id of the visits with the smallest keyed hashes."""
    best: list[tuple[str, str, str]] = []
    for part in deidentified:
        rows = read_part(part, ["visit_key", "checkup_id", "status"], ok_only=True).to_pylist()
        best += [(keyed.text("audit", f"{sample}\0{row['visit_key']}"), row["visit_key"], row["checkup_id"]) for row in rows]
        best = sorted(best)[:num_visits]
    return {visit_key: checkup_id for _, visit_key, checkup_id in best}


_HEAD = """<!doctype html><meta charset="utf-8"><title>Privacy audit</title>
<style>body{font:15px/1.5 sans-serif;margin:2em}table{border-collapse:collapse;width:100%}
td,th{border:1px solid #bbb;padding:.4em;vertical-align:top;text-align:left}
td{width:44%}th{width:12%;font-weight:normal;color:#555}mark{background:#ffd54d}</style>
<h1>As written | as released</h1>
<p>For each visit write clean, leak or too_much into the CSV file beside this page. Keep both in the private room.</p>
"""


def _page(records: Sequence[Part], deidentified: Sequence[Part], chosen: Mapping[str, str]) -> Iterator[bytes]:
    yield _HEAD.encode()
    for before, after in zip(records, deidentified, strict=True):
        keys = set(read_part(after, ["visit_key"])["visit_key"].to_pylist()) & set(chosen)
        if not keys:
            continue
        written = {
            row["visit_key"]: row
            for row in read_part(before, ["visit_key", *TEXT_FIELDS]).to_pylist()
            if row["visit_key"] in keys
        }
        for row in read_part(after).to_pylist():
            if row["visit_key"] in keys and row["status"] == OK:
                yield _visit_html(written[row["visit_key"]], row).encode()


def _visit_html(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    cells = []
    for name in TEXT_FIELDS:
        if before[name] or after[name]:
            shown = PLACEHOLDER.sub(lambda m: f"<mark>{m.group()}</mark>", html.escape(after[name] or "", quote=False))
            cells.append(f"<tr><th>{name}<td>{html.escape(before[name] or '')}<td>{shown}")
    return f"<h2>{html.escape(after['checkup_id'])}</h2><table>{''.join(cells)}</table>\n"


def read_audit(private: Store) -> Audited:
    """The verdicts of all samples. Raises InputError naming the line of one that cannot be read."""
    verdicts: Counter[str] = Counter()
    for name in private.names(AUDIT):
        if not name.endswith(".csv"):
            continue
        place = f"{private.root}/{name}"
        rows = csv.DictReader(io.StringIO(decode_text(private.read(name), place)))
        if not {"checkup_id", "verdict"} <= set(rows.fieldnames or ()):
            raise InputError(f"{place}: its first line reads checkup_id,verdict,note")
        for row in rows:
            verdict = (row["verdict"] or "").strip().lower()
            if verdict and verdict not in VERDICTS:
                raise InputError(f"{place}: line {rows.line_num}: no such verdict; {nearest(verdict, VERDICTS)}")
            verdicts[verdict] += bool(verdict)
    return Audited(+verdicts)


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
