"""What `jobs.dataset` does for the split: gathers what the workers counted and hashed, decides, audits, and hands each partition its part.

The decisions of the last finished run stand where they were drawn by the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from codelib.contracts import COPIES, SPLIT
from codelib.core.ahead import read_parts
from codelib.core.stage import Part, Stage, Work, manifest_parts
from codelib.core.store import Store, Workspace
from codelib.data import audit, split_audit
from codelib.data.settings import DatasetSettings
from codelib.data.split import NONE, SplitSettings
from codelib.data.split_draw import Decided, Groups, draw
from codelib.data.split_spectrum import draw_spectrum
from codelib.data.split_visits import Links, Ties, Visits, read_near, read_traits
from codelib.data.vault import Secret

_DECISION = ("checkup_id", "split", "why", "spectrum")


def traits_work(annotated: Sequence[Part], images: Sequence[Part], chosen: Sequence[Part]) -> list[Work]:
    return [Work(three, ship_drop=True) for three in zip(annotated, images, chosen, strict=True)]


def decide(visits: Visits, ties: Ties, settings: SplitSettings, seed: int, previous: pa.Table | None = None) -> Decided:
    """Both splits. previous: what was decided before (columns checkup_id, split, why, spectrum).

    Raises ValueError where a first draw finds fewer visits than are asked for.
    """
    old = Decided.nothing(len(visits)) if previous is None else Decided.of(visits, previous)
    made = Groups.make(visits, ties, old.split == NONE, seed, settings.unit)
    split, why = draw(visits, made, settings, old)
    return Decided(split, why, draw_spectrum(visits, made, settings, old))


@dataclass(frozen=True)
class Inputs:
    """The partitions that a split is drawn from."""

    annotated: Sequence[Part]
    chosen: Sequence[Part]
    traits: Sequence[Part]
    pairs: Sequence[Part]
    copies: Sequence[Part]


def verdicts(annotated: Sequence[Part], chosen: Sequence[Part], lines: audit.Lines, workspace: Workspace) -> dict[str, str]:
    """checkup_id -> verdict of the audit, of the visits with an image whose text is still the one that a person judged. Only the partitions
    of these are read whole."""
    found: dict[str, str] = {}
    if not lines:
        return found
    keyed = Secret(workspace.private).load()
    released = read_parts(annotated, ["checkup_id", "visit_key", "status"], ok_only=True)
    pictured = read_parts(chosen, ["visit_key", "status"], ok_only=True)
    for visits, keys, pictures in zip(annotated, released, pictured, strict=True):
        shown = set(pictures["visit_key"].to_pylist())
        there = {row["checkup_id"] for row in keys.to_pylist() if row["visit_key"] in shown}
        if not there.isdisjoint(lines):
            found |= {c: verdict for c, verdict in audit.standing(lines, visits, keyed).items() if c in there}
    return found


def with_decisions(
    stage: Stage, inputs: Inputs, judged: Mapping[str, str], settings: DatasetSettings, workspace: Workspace
) -> list[Work]:
    """The work of the stage `split`, after the audit of what it will say. judged: `verdicts`; a visit that leaks is held back.

    Raises ValueError where more visits are asked for than there are, JobFailed where the split leaks.
    """
    table, sizes = read_traits(inputs.traits)
    visits = Visits.of(table, settings.split)
    found = pa.concat_tables([COPIES.schema.empty_table(), *read_parts(inputs.copies)])
    links = Links.of(visits, read_near(inputs.pairs, inputs.traits), found, settings.split.audit)
    ties = Ties.of(visits, links, settings.split.unit)
    decided = decide(visits, ties, settings.split, settings.seed, _previous(stage, workspace.public))
    split_audit.write(split_audit.report(visits, links, ties, decided, settings.split), workspace)
    columns = {}
    for name in ("split", "why", "spectrum"):
        codes = np.zeros(table.num_rows, np.int8)
        codes[visits.position] = getattr(decided, name)
        columns[name] = (codes + ord("0")).tobytes().decode()  # a digit a visit: a million of them are a megabyte
    leaks = {checkup_id for checkup_id, verdict in judged.items() if verdict == "leak"}
    work, start = [], 0
    released = (
        read_parts(inputs.annotated, ["checkup_id", "visit_key", "status"], ok_only=True) if leaks else repeat(None, len(sizes))
    )
    for visits_part, pictures, size, ids in zip(inputs.annotated, inputs.chosen, sizes, released, strict=True):
        extra: dict[str, Any] = {name: text[start : start + size] for name, text in columns.items()}
        if ids is not None and (held := sorted(leaks.intersection(ids["checkup_id"].to_pylist()))):
            extra["held"] = dict.fromkeys(held, audit.LEAK)
        work.append(Work((visits_part, pictures), extra))
        start += size
    return work


def _previous(stage: Stage, public: Store) -> pa.Table | None:
    """The decisions of the last finished run with these settings."""
    name = f"stages/{stage.name}/manifest.json"
    if not public.exists(name):
        return None
    manifest = public.read_json(name)
    if (manifest["version"], manifest["contract"][1], manifest["settings"]) != (stage.version, SPLIT.version, stage.settings):
        return None
    tables = [part.select(_DECISION) for part in read_parts(manifest_parts(public, stage.name), [*_DECISION, "visit_key"])]
    return pa.concat_tables(tables) if tables else None
