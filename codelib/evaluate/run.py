"""All variants × benchmarks in one Ray Data run, and no answer asked for twice.

    plan ──> partitions ── core.stage: Ray Data, actors that hold the engines (predictor.py); local and remote models side by side
                               │
                               ├── evaluate/answers/<xx>/<key>.json  each received answer, at once: the ledger row by row
                               ├── evaluate/canaries/                whether each adapter is at work
                               └── evaluate/stages/predictions/      the predictions table, partition by partition

A partition that holds a failed row is reported, and then taken back, at the latest by the next run where this one was killed before: the same
command asks for what failed, and for nothing else.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import OK, PREDICTIONS
from codelib.core.cluster import may_grow
from codelib.core.near import Near
from codelib.core.stage import Part, Stage, Work, committed, pending, read_part
from codelib.core.stage import run as run_stage
from codelib.core.store import Store
from codelib.evaluate import canary, deaths
from codelib.evaluate.plan import VERSION, EvaluateSettings, Plan
from codelib.evaluate.predictor import BAD_REFERENCE, Predictor
from codelib.models.conversation import Dataset
from codelib.models.remote_desk import Access, open_desk

_LOCAL = "predictions"  # the stage of models on this cluster
_CONTROL = f"{_LOCAL}/control"  # of bare models that a server may not even have: no run waits for what fails there for good
_LASTING = frozenset(
    f"evaluate:{name}"
    for name in ("NotFoundError", "BadRequestError", "PermissionDeniedError", "ContextTooLong", "ContentFilter", "image_missing")
)


@dataclass(frozen=True)
class Outcome:
    """All predictions, and how many of the answers were there before."""

    table: pa.Table
    num_kept: int
    num_made: int
    failures: dict[str, Counter[str]]  # variant -> reject reasons
    canaries: dict[str, dict[str, Any]] = field(default_factory=dict)  # variant -> codelib.evaluate.canary
    controls: pa.Table = field(default_factory=PREDICTIONS.schema.empty_table)  # the rows of Plan.controls


def num_known(plan: Plan, store: Store) -> int:
    """How many of the plan's answers the ledger holds."""
    return len(plan.keys & {Path(name).stem for name in store.names("answers")})


@dataclass(frozen=True)
class _Half:
    """The partitions of local or of remote models: a stage of their own, so that no GPU is held by who waits for a server."""

    stage: Stage
    work: list[Work]


def _halves(
    dataset: Dataset,
    plan: Plan,
    store: Store,
    settings: EvaluateSettings,
    access: Access | None = None,
    run: str = "",
    near: Sequence[Near] = (),
) -> list[_Half]:
    """Of a connected cluster, or of none (``--dry-run``: then the resources are those of one actor). Remote models come first: their
    actors need little, and must not wait until the local ones leave a CPU."""
    named = {variant.name: variant for variant in plan.variants}
    num_cpus, num_gpus, num_nodes = _cluster()
    halves: list[_Half] = []
    for place, local in ((_CONTROL, False), (f"{_LOCAL}/remote", False), (_LOCAL, True)):  # below the same folder
        groups = {
            group.key: tuple(named[name] for name in group.variants)
            for group in plan.groups
            if group.local is local and plan.controls.issuperset(group.variants) is (place == _CONTROL)
        }
        work = [one for one in plan.work if one.extra["group"] in groups]
        if not work:
            continue
        gpus = settings.num_gpus_per_actor if local else 0.0
        gpus = (1.0 if num_gpus else 0.0) if gpus is None else gpus
        free = num_cpus - sum(half.stage.num_cpus * (half.stage.concurrency or 1) for half in halves)
        # fewer actors than CPUs: each gets several, which are its threads. Not over nodes, of which none might have so many
        actors = min(settings.num_actors or len(work), len(work))
        shared = max(1.0, free // actors) if num_nodes == 1 and not gpus else 1.0
        cpus = settings.num_cpus_per_actor or (shared if local else 0.25)
        fits = int(num_gpus / gpus) if gpus else (int(free / cpus) if local else 4)
        stage = Stage(
            name=place,
            version=VERSION,
            contract=PREDICTIONS,
            make=partial(_predictor, tuple(near), str(dataset.folder), groups, plan.fingerprints, store, access, run),
            unit="answers",
            num_cpus=cpus,
            num_gpus=gpus,
            concurrency=settings.num_actors or max(1, min(fits, len(work))),
        )
        halves.append(_Half(stage, work))
    return halves


def _cluster() -> tuple[float, float, int]:
    """CPUs, GPUs, nodes."""
    if "ray" not in sys.modules:  # importing it to ask whether it runs would cost a second
        return 1.0, 0.0, 1
    import ray

    if not ray.is_initialized():
        return 1.0, 0.0, 1
    resources = ray.cluster_resources()
    return resources.get("CPU", 1.0), resources.get("GPU", 0.0), sum(node["Alive"] for node in ray.nodes())


def _check_gpus(num_gpus_per_actor: float | None, num_gpus: float) -> str | None:
    """What is to be told of a cluster that has no GPU now: one that grows with the work is asked for none unless a setting says so. Raises
    ValueError where GPUs are demanded of a machine that has too few: Ray would wait for ever."""
    if may_grow():
        if num_gpus or num_gpus_per_actor is not None:
            return None
        return (
            "this cluster has no GPU now, and local models answer on its CPUs; where machines with GPUs come with the work, stop this and say "
            "how many: --set num_gpus_per_actor=1 --set num_actors=N"
        )
    if (num_gpus_per_actor or 0.0) > num_gpus:
        raise ValueError(
            f"num_gpus_per_actor={num_gpus_per_actor:g}: Ray has {num_gpus:g} GPUs here; submit the job to a cluster that has them, ask "
            "Slurm for them (--gres), or leave the setting out"
        )
    return None


def num_pending(dataset: Dataset, plan: Plan, store: Store, settings: EvaluateSettings) -> int:
    """Partitions that a run would compute."""
    halves = _halves(dataset, plan, store, settings)
    return sum(pending(half.stage, half.work, store) + len(_left_behind(half, store)) for half in halves)


def _left_behind(half: _Half, store: Store) -> list[Part]:
    """Partitions with failed rows that an earlier run had no time to take back."""
    return [part for part in committed(half.stage, half.work, store) if _unfinished(part)]


def _predictor(near: Sequence[Near], *args: Any) -> Predictor:
    for copy in near:
        copy.ensure()
    return Predictor(*args)


def predict(
    dataset: Dataset,
    plan: Plan,
    store: Store,
    settings: EvaluateSettings,
    scan: Callable[[str], str | None] | None = None,
    near: Sequence[Near] = (),
) -> Outcome:
    """Make what is missing and return all predictions of the plan. Needs a connected Ray where anything is missing. scan: see
    `codelib.models.remote_desk.Access`. near: copies that images, models and adapters lie in, to be made on each node."""
    kept = num_known(plan, store)
    deaths.forget(store)
    with _access(plan, store, settings, scan) as access:
        halves = _halves(dataset, plan, store, settings, access, uuid4().hex, near)
        for part in (part for half in halves for part in _left_behind(half, store)):
            store.delete(part.name)
        if any(half.stage.name == _LOCAL and pending(half.stage, half.work, store) for half in halves):
            note = _check_gpus(settings.num_gpus_per_actor, _cluster()[1])
            print(f"  note: {note}\n" if note else "", end="", flush=True)
        parts = _run(halves, store)
    table = _in_order(plan, pa.concat_tables([PREDICTIONS.schema.empty_table(), *(read_part(part) for part in parts)]))
    verdicts = canary.verdicts(plan, table, store)
    is_control = pc.is_in(table["variant"], pa.array(sorted(plan.controls), pa.string()))
    controls, table = table.filter(is_control), table.filter(pc.invert(is_control))
    _forget_names(plan, store, parts)
    for part in parts:
        if _unfinished(part):
            store.delete(part.name)
    failures: dict[str, Counter[str]] = {}
    for name, reason in zip(table["variant"].to_pylist(), table["reject_reason"].to_pylist(), strict=True):
        if reason is not None:
            failures.setdefault(name, Counter())[reason] += 1
    return Outcome(table, kept, num_known(plan, store) - kept, failures, verdicts, controls)


def _forget_names(plan: Plan, store: Store, parts: Sequence[Part]) -> None:
    """Remove partitions of earlier runs that call the images of a file of one's own by their names."""
    mine = {part.name for part in parts}
    for name in store.names(f"stages/{_LOCAL}") if plan.image_names else ():
        if name.endswith(".parquet") and name not in mine:
            try:
                shown = store.read_table(name, ["images"])["images"].to_pylist()
            except pa.ArrowInvalid:  # damaged: nobody can say what stands in it, and nobody needs it
                store.delete(name)
                continue
            if any(image in plan.image_names for images in shown for image in images or ()):
                store.delete(name)


@contextmanager
def _access(
    plan: Plan, store: Store, settings: EvaluateSettings, scan: Callable[[str], str | None] | None
) -> Iterator[Access | None]:
    """To servers, where one is asked: their desk lives as long as the run, and writes down at the end what was spent."""
    if all(group.local for group in plan.groups):
        yield None
        return
    desk = open_desk(settings, store)
    try:
        yield Access(desk, settings, scan)
    finally:
        desk.call_and_wait("close")


def _run(halves: list[_Half], store: Store) -> list[Part]:
    """Both halves at once: a served model answers while the local one computes. Raises what the first of them raises."""
    *others, mine = halves
    made: list[list[Part]] = [[] for _ in halves]
    errors: list[BaseException] = []

    def work(place: int, half: _Half) -> None:
        try:
            made[place] = run_stage(half.stage, half.work, store, keep=True)
        except BaseException as error:  # told where the other thread ends
            errors.append(error)

    # a daemon: Ctrl-C ends the job without waiting for a server
    threads = [Thread(target=work, args=(place, half), daemon=True) for place, half in enumerate(others)]
    for thread in threads:
        thread.start()
    made[-1] = run_stage(mine.stage, mine.work, store, keep=True)
    for thread in threads:
        thread.join()
    for error in errors:
        raise error
    return [part for parts in made for part in parts]


def _in_order(plan: Plan, table: pa.Table) -> pa.Table:
    """Rows by variant, benchmark and the order of the dataset, each exactly once, however they were cut and computed."""
    order = {
        (name, sample.sample_id): number
        for number, (name, sample) in enumerate((name, one) for (name, _), asked in plan.questions.items() for one in asked)
    }
    keys = list(zip(table["variant"].to_pylist(), table["sample_id"].to_pylist(), strict=True))
    assert len(keys) == len(order) and set(keys) == set(order), f"{len(order)} questions were planned, {len(keys)} rows came"
    return table.take(pa.array(sorted(range(len(keys)), key=lambda row: order[keys[row]]), pa.int64()))


def _unfinished(part: Part) -> bool:
    """Whether rows of it are to be asked again. Of a bare model that nobody listed, only where the next run may fare better: a server need not
    have it."""
    final = {OK, BAD_REFERENCE} | (_LASTING if part.stage == _CONTROL else frozenset())
    return not final.issuperset(part.counts)
