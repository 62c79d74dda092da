"""A series of drills on disk, one line of JSON a drill, so that a series that was stopped goes on; and its figures.

{"seed": 7, "over": "training", "kills": [{"kind": "host", "victim": "n2", "recovered_s": 21.4, …}], "failure": null, …}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from tests.cluster.faults.drill import Outcome
from tests.cluster.faults.plan import KINDS


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """A line that a kill cut off is left out."""
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def done(self) -> set[int]:
        """Seeds whose drill was made, however it ended."""
        return {line["seed"] for line in self.lines()}

    def add(self, outcome: Outcome) -> None:
        cut_off = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut_off else "") + json.dumps(outcome.to_json(), ensure_ascii=False) + "\n")


def summary(lines: Iterable[dict[str, Any]]) -> str:
    """A table of the kills by job and kind, then what was done again and what failed."""
    lines = list(lines)
    told = []
    for over in ("dataset", "training"):
        some = [line for line in lines if line["over"] == over]
        if not some:
            continue
        kills = [kill for line in some for kill in line["kills"]]
        failed = [line for line in some if line["failure"]]
        again = Counter[str]()
        for line in some:
            again.update(line["done_again"])
        told += [
            f"{over}: {len(some)} drills, {len(kills)} kills, {len(failed)} failures; the command was given "
            f"{sum(line['commands'] for line in some)} times",
            f"  {'killed':<8} {'times':>5}   seconds until what was under way was finished: median, longest",
        ]
        for kind in KINDS:
            of_kind = [kill for kill in kills if kill["kind"] == kind]
            if of_kind:
                took = sorted(kill["recovered_s"] for kill in of_kind if kill["recovered_s"] is not None)
                figures = f"{median(took):5.0f} {took[-1]:5.0f}" if took else "none was left to do"
                told.append(f"  {kind:<8} {len(of_kind):>5}   {figures}")
        unit = "partitions" if over == "dataset" else "steps"
        told.append(f"  {again['again']} {unit} done again, at most {again['at_most']} could have been")
        stood = sorted(line["standstill_s"] for line in some)
        told.append(
            f"  the longest time in which nothing was finished: {median(stood):.0f} s (median of the drills), {stood[-1]:.0f} s"
        )
        told += [f"  seed={line['seed']} failed: {line['failure'].splitlines()[0]}" for line in failed]
        missed = sum(len(line["missed"]) for line in some)
        told += [f"  {missed} kills were not made: no such process was there before the job ended"] if missed else []
    return "\n".join(told)
