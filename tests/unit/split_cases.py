"""Visits, links and decisions for the tests of the split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from codelib.contracts import COPIES, SIX_CLASSES, TRAITS
from codelib.data.split import SIDES, WHYS, SplitSettings
from codelib.data.split_audit import report
from codelib.data.split_draw import Decided
from codelib.data.split_reports import hash64
from codelib.data.split_steps import decide
from codelib.data.split_visits import Links, Ties, Visits


def visit(patient: int, number: int, six_class: str | None = None, photographs: int = 3, **more: Any) -> dict[str, Any]:
    """A row of TRAITS with pictures and a report of its own."""
    name = f"{patient:04d}-{number:03d}"
    radiographs = more.pop("radiographs", 0)
    keys = [hash64(f"{name}/{i}") for i in range(photographs + radiographs)]
    row = {
        "checkup_id": name,
        "patient_id": name[:4],
        "visit_key": f"v{name}",
        "six_class": six_class,
        "conditions": [six_class] if six_class else [],
        "photographs": photographs,
        "radiographs": radiographs,
        "image_keys": [f"i{key}" for key in keys],
        "contents": keys,
        "looks": [key + 1 for key in keys],
        "empty_fields": 0,
        "report_chars": 80,
        "report": hash64(name),
        "sketch": b"",
    }
    return row | more


@st.composite
def clinics(draw: Any) -> list[dict[str, Any]]:
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 25),
                st.sampled_from([*SIX_CLASSES, None]),
                st.integers(0, 11),
                st.integers(0, 6),
                st.integers(0, 40),
            ),
            min_size=1,
            max_size=120,
        )
    )
    return [
        visit(p, i, c, n, empty_fields=empty, report=hash64(f"r{shared}" if shared < 3 else f"{p}/{i}"))
        for i, (p, c, n, empty, shared) in enumerate(rows)
    ]


class Drawn:
    """A split with everything that it was made of; rows of the table by checkup id."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        settings: SplitSettings | None = None,
        seed: int = 0,
        previous: pa.Table | None = None,
        near: Sequence[tuple[str, str]] = (),
        copies: Iterable[tuple[int, int]] = (),
    ):
        self.settings = settings or SplitSettings()
        self.visits = Visits.of(pa.Table.from_pylist(list(rows), schema=TRAITS.schema), self.settings)
        names = ("visit_key", "other_visit_key")
        pairs = pa.table({name: pa.array([pair[i] for pair in near], pa.string()) for i, name in enumerate(names)})
        texts = [{"report": a, "other": b, "similarity": 0.9} for a, b in copies]
        found = pa.Table.from_pylist(texts, schema=COPIES.schema)
        self.links = Links.of(self.visits, pairs, found, self.settings.audit)
        self.ties = Ties.of(self.visits, self.links, self.settings.unit)
        self.decided = decide(self.visits, self.ties, self.settings, seed, previous)

    def names(self, codes: np.ndarray, known: Sequence[str] = SIDES) -> dict[str, str]:
        return {c: known[i] for c, i in zip(self.visits.checkup_id.to_pylist(), codes.tolist(), strict=True)}

    @property
    def split(self) -> dict[str, str]:
        return self.names(self.decided.split)

    @property
    def why(self) -> dict[str, str]:
        return self.names(self.decided.why, WHYS)

    @property
    def spectrum(self) -> dict[str, str]:
        return self.names(self.decided.spectrum)

    @property
    def table(self) -> pa.Table:
        """As SPLIT has it."""
        columns = {"checkup_id": list(self.split), "split": self.split, "why": self.why, "spectrum": self.spectrum}
        return pa.table({n: pa.array(c.values() if isinstance(c, dict) else c, pa.string()) for n, c in columns.items()})

    def audit(self, **split: str) -> dict[str, Any]:
        """The audit's report; split: sides of checkups ("v0001_001": "test") to be changed before, in both splits."""
        codes = {name[1:].replace("_", "-"): SIDES.index(side) for name, side in split.items()}
        moved = []
        for decided in (self.decided.split, self.decided.spectrum):
            changed = [codes.get(c, old) for c, old in zip(self.visits.checkup_id.to_pylist(), decided.tolist(), strict=True)]
            moved.append(np.array(changed, np.int8))
        return report(self.visits, self.links, self.ties, Decided(moved[0], self.decided.why, moved[1]), self.settings)
