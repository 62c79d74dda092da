"""What was looked at in a release, and what is wrong with it: counts, and the first few failures of each check in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

SHOWN = 10  # failures of a check that are told one by one: a copy of which half is lost would fill a screen a thousand times

CHECKS = {
    "finished": "the build reached its end",
    "files": "every file is there, none besides, each with its SHA-256",
    "images": "every image is a JPEG that opens, small enough, without metadata",
    "references": "every image that is named exists, and every image is named",
    "counts": "manifest.json, ledger.csv and the tables count the same",
    "samples": "Parquet rows and their images equal the JSON samples and Images/",
    "split": "a patient stands on one side, and all tables agree on it",
    "identifiers": "no text has the form of an identifier",
    "names": "no file name has the form of an identifier",
    "description": "card, datasheet, Croissant and citation can be read",
}


@dataclass
class Report:
    """Cheap to send from a worker: its size does not grow with the release."""

    looked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    told: dict[str, list[str]] = field(default_factory=dict)

    def looked_at(self, check: str, amount: int = 1) -> None:
        assert check in CHECKS, check
        self.looked[check] += amount

    def fail(self, check: str, sentence: str) -> None:
        """One failure: place, what is wrong, the way out. No value of a record may stand in it."""
        assert check in CHECKS, check
        self.failed[check] += 1
        told = self.told.setdefault(check, [])
        if len(told) < SHOWN:
            told.append(sentence)

    def add(self, other: Report) -> None:
        self.looked += other.looked
        self.failed += other.failed
        for check, sentences in other.told.items():
            told = self.told.setdefault(check, [])
            told += sentences[: SHOWN - len(told)]

    @property
    def passed(self) -> bool:
        return not self.failed.total()

    def table(self) -> str:
        """The checks, one a line, then the failures, one sentence each."""
        lines = [f"  {'check':<12} {'looked at':>10} {'failed':>7}   what it means"]
        for check, meaning in CHECKS.items():
            lines.append(f"  {check:<12} {self.looked[check]:>10,} {self.failed[check] or 'none':>7}   {meaning}")
        for check in CHECKS:
            told = self.told.get(check, [])
            lines += [f"{check}: {sentence}" for sentence in told]
            if self.failed[check] > len(told):
                lines.append(f"{check}: and {self.failed[check] - len(told):,} more")
        return "\n".join(lines)
