"""What `jobs.dataset` does for the split: gathers what the workers counted and hashed, decides, audits, and hands each partition its part.

The decisions of the last finished run stand where they were drawn by the same settings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from codelib.contracts import COPIES, SPLIT
from codelib.core.stage import Part, Stage, Work, manifest_parts, read_part
from codelib.core.store import Store, Workspace
from codelib.data import split_audit
from codelib.data.settings import DatasetSettings
from codelib.data.split import NONE, SplitSettings
from codelib.data.split_draw import Decided, Groups, draw
from codelib.data.split_spectrum import draw_spectrum
from codelib.data.split_visits import Links, Ties, Visits, read_near, read_traits

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


def with_decisions(
    stage: Stage,
    inputs: tuple[Sequence[Part], Sequence[Part]],
    traits: Sequence[Part],
    pairs: Sequence[Part],
    copies: Sequence[Part],
    settings: DatasetSettings,
    workspace: Workspace,
) -> list[Work]:
    """The work of the stage `split` (inputs: annotated and chosen), after the audit of what it will say.

    Raises ValueError where more visits are asked for than there are, JobFailed where the split leaks.
    """
    table, sizes = read_traits(traits)
    visits = Visits.of(table, settings.split)
    found = pa.concat_tables([COPIES.schema.empty_table(), *(read_part(part) for part in copies)])
    links = Links.of(visits, read_near(pairs, traits), found, settings.split.audit)
    ties = Ties.of(visits, links, settings.split.unit)
    decided = decide(visits, ties, settings.split, settings.seed, _previous(stage, workspace.public))
    split_audit.write(split_audit.report(visits, links, ties, decided, settings.split), workspace)
    columns = {}
    for name in ("split", "why", "spectrum"):
        codes = np.zeros(table.num_rows, np.int8)
        codes[visits.position] = getattr(decided, name)
        columns[name] = (codes + ord("0")).tobytes().decode()  # a digit a visit: a million of them are a megabyte
    work, start = [], 0
    for visits_part, pictures, size in zip(*inputs, sizes, strict=True):
        work.append(Work((visits_part, pictures), {name: text[start : start + size] for name, text in columns.items()}))
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
    tables = [read_part(part, [*_DECISION, "visit_key"]).select(_DECISION) for part in manifest_parts(public, stage.name)]
    return pa.concat_tables(tables) if tables else None
