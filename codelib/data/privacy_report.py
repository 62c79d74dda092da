"""What a run did for privacy, in counts.

    counts of the workers (`tallies`), queue, answers, audit ─┬─ privacy.json   public: classes and counts, held back, k-anonymity, the audit
                                                              └─ private/reports/privacy.txt   the same with where the questions lie

No value of an identifier is in either report.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from codelib.contracts import OK
from codelib.core.store import Store
from codelib.data.audit import AUDIT, LEAK, VERDICTS, Audited
from codelib.data.k_anonymity import as_text

PUBLIC_FILE, PRIVATE_FILE = "privacy.json", "reports/privacy.txt"


@dataclass
class Removed:
    """What was taken out and held back; only counts, which add up over partitions."""

    by_class: Counter[str] = field(default_factory=Counter)  # of all visits that passed, released or not
    by_field: Counter[tuple[str, str]] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)  # reject reason -> visits: of de-identification, and of the audit
    visits: int = 0
    released: int = 0
    touched: int = 0  # released visits from which something was removed

    @classmethod
    def of(cls, deidentified: pa.Table, split: pa.Table) -> Removed:
        """Of one partition's DEIDENTIFIED and SPLIT tables; a visit is released where its row of SPLIT is."""
        found = cls()
        leaking = {row["visit_key"] for row in split.to_pylist() if row["reject_reason"] == LEAK}
        released = {row["visit_key"] for row in split.to_pylist() if row["status"] == OK}
        for row in deidentified.to_pylist():
            found.visits += 1
            found.released += row["visit_key"] in released
            if row["status"] != OK:
                found.held[row["reject_reason"]] += 1
                continue
            found.held[LEAK] += row["visit_key"] in leaking
            found.touched += bool(row["removed"]) and row["visit_key"] in released
            for one in row["removed"]:
                found.by_field[one["field"], one["class"]] += one["count"]
                found.by_class[one["class"]] += one["count"]
        found.held = +found.held
        return found

    def rows(self) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """(name, count, no patients): what `add` takes."""
        for name in ("visits", "released", "touched"):
            yield json.dumps([name]), getattr(self, name), ()
        for reason, n in sorted(self.held.items()):
            yield json.dumps(["held", reason]), n, ()
        for (name, cls), n in sorted(self.by_field.items()):
            yield json.dumps(["removed", name, cls]), n, ()

    def add(self, name: str, count: int) -> None:
        what, *of = json.loads(name)
        if what == "removed":
            self.by_field[of[0], of[1]] += count
            self.by_class[of[1]] += count
        elif what == "held":
            self.held[of[0]] += count
        else:
            setattr(self, what, getattr(self, what) + count)


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
        "released": removed.released,
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
        f"{public['visits']} visits de-identified, {public['released']} released; something was removed from "
        f"{public['released_with_something_removed']} of these",
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
    held = (
        f"; those that leak are held back until their text or their verdict in private/{AUDIT} changes"
        if audit["verdicts"]["leak"]
        else ""
    )
    return f"audit: {looked_at} visits looked at: {told}; at 95 % at most {bound:.1%} of the release leak{held}"
