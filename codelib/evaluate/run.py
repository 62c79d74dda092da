"""All variants × benchmarks in one Ray Data run, and no answer asked for twice.

    plan ──> partitions ── core.stage: one Ray Data run, actors that hold the engines (predictor.py)
                               │
                               ├── evaluate/answers/<xx>/<key>.json  each received answer, at once: the ledger row by row
                               └── evaluate/stages/predictions/      the predictions table, partition by partition

A partition that holds a failed row is reported, and then taken back: the same command asks for what failed, and for nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from codelib.contracts import OK, PREDICTIONS
from codelib.core.stage import Part, Stage, pending, read_part
from codelib.core.stage import run as run_stage
from codelib.core.store import Store
from codelib.evaluate.plan import VERSION, EvaluateSettings, Plan
from codelib.evaluate.predictor import BAD_REFERENCE, Predictor
from codelib.models.conversation import Dataset


@dataclass(frozen=True)
class Outcome:
    """All predictions, and how many of the answers were there before."""

    table: pa.Table
    num_kept: int
    num_made: int
    failures: dict[str, Counter[str]]  # variant -> reject reasons


def num_known(plan: Plan, store: Store) -> int:
    """How many of the plan's answers the ledger holds."""
    return len(plan.keys & {Path(name).stem for name in store.names("answers")})


def prediction_stage(dataset: Dataset, plan: Plan, store: Store, settings: EvaluateSettings) -> Stage:
    """The stage of a connected cluster, or of none (``--dry-run``: then the resources are those of one actor)."""
    local = any(variant.engine == "transformers" for variant in plan.variants)
    num_cpus, num_gpus = _cluster()
    gpus = settings.num_gpus_per_actor
    gpus = (1.0 if local and num_gpus else 0.0) if gpus is None else gpus
    cpus = settings.num_cpus_per_actor or (1.0 if local else 0.25)
    fits = int(num_gpus / gpus) if gpus else (int(num_cpus / cpus) if local else 4)
    return Stage(
        name="predictions",
        version=VERSION,
        contract=PREDICTIONS,
        make=partial(Predictor, str(dataset.folder), {variant.name: variant for variant in plan.variants}, store),
        unit="answers",
        num_cpus=cpus,
        num_gpus=gpus,
        concurrency=settings.num_actors or max(1, min(fits, len(plan.work))),
    )


def _cluster() -> tuple[float, float]:
    import ray

    if not ray.is_initialized():
        return 1.0, 0.0
    resources = ray.cluster_resources()
    return resources.get("CPU", 1.0), resources.get("GPU", 0.0)


def num_pending(dataset: Dataset, plan: Plan, store: Store, settings: EvaluateSettings) -> int:
    """Partitions that a run would compute."""
    return pending(prediction_stage(dataset, plan, store, settings), plan.work, store)


def predict(dataset: Dataset, plan: Plan, store: Store, settings: EvaluateSettings) -> Outcome:
    """Make what is missing and return all predictions of the plan. Needs a connected Ray."""
    stage = prediction_stage(dataset, plan, store, settings)
    kept = num_known(plan, store)
    parts = run_stage(stage, plan.work, store, keep=True)
    table = pa.concat_tables([PREDICTIONS.schema.empty_table(), *(read_part(part) for part in parts)])
    for part in parts:
        if _unfinished(part):
            store.delete(part.name)
    failures: dict[str, Counter[str]] = {}
    for name, reason in zip(table["variant"].to_pylist(), table["reject_reason"].to_pylist(), strict=True):
        if reason is not None:
            failures.setdefault(name, Counter())[reason] += 1
    return Outcome(table, kept, num_known(plan, store) - kept, failures)


def _unfinished(part: Part) -> bool:
    return any(reason not in (OK, BAD_REFERENCE) for reason in part.counts)
