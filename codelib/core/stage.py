"""The stage: a function ``Table -> Table`` over a ledger of content-keyed partitions.

    work (inputs, extra) ──key──> already committed? keep it : compute in a Ray worker ──> <key>.parquet (one commit)
    all of them there ──> manifest.json (last, by rename) ──> partitions that nothing names any more are removed

A partition's key is a hash of the stage's name, version and settings and of its inputs' keys, so the same command after a kill finds
what is finished, and a grown input makes only what is new. Two rules are checked at every commit: the output has the contract's schema, and
every key that went in comes out, released or rejected with a reason.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codelib import __version__
from codelib.contracts import OK, REJECTED, Contract
from codelib.core.cli import InputError, JobFailed
from codelib.core.objects import StorageDown, StorageError
from codelib.core.progress import Progress
from codelib.core.store import ROW_GROUP, Store

_META = b"codelib"
_SAID = {"StorageError": StorageError, "StorageDown": StorageDown}
_IN_FLIGHT = 1000  # tasks handed to Ray at a time, and four for each CPU where that is more: what an autoscaler sees as demand


def digest(value: Any) -> str:
    """Hash of a JSON value, the same on every machine."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Part:
    """A committed partition. ``counts``: rows by 'ok' or reject reason. ``drop``: visit keys in the file that are no longer valid."""

    key: str
    stage: str
    root: str
    rows: int
    counts: dict[str, int]
    drop: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"stages/{self.stage}/{self.key}.parquet"


@dataclass(frozen=True)
class Work:
    """One partition to make. ``extra``: small JSON values handed to the function. ``identity``: what stands for the inputs in the key
    (default: the inputs' own keys). ``drop``: visits of the partition that are valid no more; ``ship_drop``: those of the first input are,
    and the output is made from all rows all the same, so that its key stays."""

    inputs: tuple[Part, ...] = ()
    extra: Any = None
    identity: Any = None
    drop: tuple[str, ...] = ()
    ship_drop: bool = False


@dataclass(frozen=True)
class Stage:
    """A function on tables, and a few numbers for Ray.

    ``fn(*tables)`` or, where work carries extra, ``fn(*tables, extra)``. A stage that holds a model gives ``make`` instead: called once
    in each actor, it returns such a function. ``columns``: for each input the columns to read (None: all). ``ok_only``: for each
    input whether rejected rows are left out (they stay found in the table of the stage that rejected them). ``conserve``: the key
    column that must come out whole for every value that went in through the first input. ``lazy``: the function gets the parts in place
    of their tables and reads them itself, one at a time: for the steps that look at all partitions. ``row_group_rows``: fewer for a table
    whose rows are read one by one.
    """

    name: str
    version: int
    contract: Contract
    fn: Callable[..., pa.Table] | None = None
    settings: Any = None
    make: Callable[[], Callable[..., pa.Table]] | None = None
    columns: tuple[tuple[str, ...] | None, ...] = ()
    ok_only: bool = True
    conserve: str | None = None
    lazy: bool = False
    unit: str = "rows"
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    concurrency: int | None = None
    row_group_rows: int = ROW_GROUP

    def key(self, work: Work) -> str:
        inputs = work.identity if work.identity is not None else [part.key for part in work.inputs]
        drops = [] if work.ship_drop else [list(part.drop) for part in work.inputs]
        contract = [self.contract.name, self.contract.version]
        return digest([self.name, self.version, contract, self.settings, inputs, drops, work.extra])


class StageError(JobFailed):
    """A partition failed. The message names stage, partition and the class of the error, never a value."""


def read_part(part: Part, columns: Sequence[str] | None = None, ok_only: bool = False) -> pa.Table:
    """The rows of a partition that are still valid."""
    table = Store(part.root).read_table(part.name, columns)
    if part.drop and "visit_key" in table.column_names:
        table = table.filter(pc.invert(pc.is_in(table["visit_key"], pa.array(part.drop))))
    if ok_only and "status" in table.column_names:
        table = table.filter(pc.equal(table["status"], OK))
    return table


def manifest_parts(store: Store, stage: str) -> list[Part]:
    """The partitions of a finished stage. Raises ValueError where it has no manifest."""
    name = f"stages/{stage}/manifest.json"
    if not store.exists(name):
        raise ValueError(
            f"{store.root}/stages/{stage} has no manifest.json: its stage did not finish; run the same command again"
        )
    return [Part(root=store.root, stage=stage, **{**p, "drop": tuple(p["drop"])}) for p in store.read_json(name)["parts"]]


def is_finished(stage: Stage, work: list[Work], store: Store) -> bool:
    """Whether the manifest names exactly this work."""
    name = f"stages/{stage.name}/manifest.json"
    if not store.exists(name):
        return False
    named = [(p["key"], tuple(p["drop"])) for p in store.read_json(name)["parts"]]
    return named == [(stage.key(w), _drop(w)) for w in work]


def pending(stage: Stage, work: Iterable[Work], store: Store) -> int:
    """How many partitions a run would compute."""
    done = _committed(stage, store)
    return sum(stage.key(w) not in done for w in work)


def committed(stage: Stage, work: Iterable[Work], store: Store) -> list[Part]:
    """The partitions of this work that are there, whether the stage finished or not."""
    done = _committed(stage, store)
    return [_part(stage, one, key, store) for one in work if (key := stage.key(one)) in done]


def _part(stage: Stage, work: Work, key: str, store: Store, summary: dict[str, Any] | None = None) -> Part:
    summary = summary or json.loads(store.read_metadata(f"stages/{stage.name}/{key}.parquet")[_META])
    return Part(key, stage.name, store.root, summary["rows"], summary["counts"], _drop(work))


def _committed(stage: Stage, store: Store) -> set[str]:
    names = store.names(f"stages/{stage.name}")
    return {os.path.basename(name).removesuffix(".parquet") for name in names if name.endswith(".parquet")}


def run(stage: Stage, work: list[Work], store: Store, private: Store | None = None, keep: bool = False) -> list[Part]:
    """Make what is missing, commit the manifest, and return the partitions in the order of ``work``.

    private: where the full text of an error goes (default: nowhere). keep: leave partitions that this run does not name.
    Raises StageError on the first partition that fails; what is committed stays and the next run continues.
    """
    keys = [stage.key(w) for w in work]
    assert len(set(keys)) == len(keys), f"{stage.name}: two partitions with the same content"
    folder = f"stages/{stage.name}"
    if is_finished(stage, work, store) and _committed(stage, store) >= set(keys):
        _tidy(stage, store, keys, keep)  # a kill after the manifest may have left what it no longer names
        print(f"  {stage.name:<14} nothing new, {len(keys)} partitions kept", flush=True)
        return manifest_parts(store, stage.name)

    store.sweep(folder, below=False)  # the folder of another stage that works now may lie in it
    done = _committed(stage, store)
    todo = [(key, w) for key, w in zip(keys, work, strict=True) if key not in done]
    made = _compute(stage, todo, store, private) if todo else {}
    parts = [_part(stage, w, key, store, made.get(key)) for key, w in zip(keys, work, strict=True)]
    totals: Counter[str] = Counter()
    for part in parts:
        totals.update(part.counts)
    store.commit_json(
        f"{folder}/manifest.json",
        {
            "stage": stage.name,
            "version": stage.version,
            "contract": [stage.contract.name, stage.contract.version],
            "settings": stage.settings,
            "code_version": __version__,
            "input": digest([[part.key for part in w.inputs] for w in work]),
            "counts": dict(sorted(totals.items())),
            "parts": [{k: v for k, v in asdict(p).items() if k not in ("root", "stage")} for p in parts],
        },
    )
    _tidy(stage, store, keys, keep)
    kept = len(keys) - len(todo)
    rejects = sum(n for reason, n in totals.items() if reason != OK)
    print(
        f"  {stage.name:<14} {totals[OK]} {stage.unit}, {rejects} rejected"
        f"   ({len(todo)} partitions computed{f', {kept} kept' if kept else ''})",
        flush=True,
    )
    return parts


def rewrite(store: Store, name: str, keep: Callable[[pa.Table], pa.Table], invalid: Iterable[str] = ()) -> None:
    """Leave of a finished stage's partitions what ``keep`` leaves of their rows, and let the manifest name that. For a stage whose table is
    read by its next run; of another it is enough to delete partitions. A changed partition gets a key that no work has, so that it is never
    taken for what that work would make. invalid: visit keys that the manifest need not name as dropped any more."""
    folder, gone = f"stages/{name}", frozenset(invalid)
    manifest = store.read_json(f"{folder}/manifest.json")
    parts, totals = [], Counter[str]()
    for part in manifest["parts"]:
        table = store.read_table(f"{folder}/{part['key']}.parquet")
        left = keep(table)
        if left.num_rows < table.num_rows:
            key = digest([part["key"], "rewritten", left.num_rows])
            part = part | {"key": key, "rows": left.num_rows, "counts": count(left)}
            meta = {_META: json.dumps({"rows": part["rows"], "counts": part["counts"]}).encode()}
            store.commit_table(f"{folder}/{key}.parquet", left.replace_schema_metadata(meta))
        totals.update(part["counts"])
        parts.append(part | {"drop": [visit for visit in part["drop"] if visit not in gone]})
    store.commit_json(f"{folder}/manifest.json", manifest | {"counts": dict(sorted(totals.items())), "parts": parts})
    for stale in store.names(folder):
        if stale.endswith(".parquet") and os.path.basename(stale).removesuffix(".parquet") not in {p["key"] for p in parts}:
            store.delete(stale)


def _tidy(stage: Stage, store: Store, keys: Sequence[str], keep: bool) -> None:
    """Remove the partitions that the manifest no longer names: a withdrawn patient's rows must not stay on disk; and what workers that died
    on the way had half written."""
    store.sweep(f"stages/{stage.name}", below=False)
    if not keep:
        for stale in sorted(_committed(stage, store) - set(keys)):
            store.delete(f"stages/{stage.name}/{stale}.parquet")


def _drop(work: Work) -> tuple[str, ...]:
    return work.inputs[0].drop if work.ship_drop else work.drop


def _compute(stage: Stage, todo: list[tuple[str, Work]], store: Store, private: Store | None) -> dict[str, dict[str, Any]]:
    """Run the missing partitions through Ray Data; key -> {rows, counts}. Only keys and counts come to the driver."""
    import ray

    job = _Job(stage, store, private)
    items = [{"item": json.dumps(job.item(key, work), ensure_ascii=False)} for key, work in todo]
    rows = ray.data.from_items(items, override_num_blocks=len(items))
    if stage.make is None:
        in_flight = min(len(items), max(_IN_FLIGHT, 4 * int(ray.cluster_resources().get("CPU", 0))))
        results = rows.map(job.process, num_cpus=stage.num_cpus, num_gpus=stage.num_gpus, concurrency=in_flight)
    else:
        results = rows.map(
            _Actor,  # type: ignore[arg-type]
            fn_constructor_args=(job,),
            num_cpus=stage.num_cpus,
            num_gpus=stage.num_gpus,
            compute=_pool(stage, len(items)),
        )
    # one operator, whose outputs are a few bytes: with reservations Ray Data 2.60 hands a task out late and leaves CPUs idle in between
    # (eight tasks of 0.5 s on two CPUs took 3.1 s, and 2.1 s without; docs/performance.md)
    results.context.op_resource_reservation_enabled = False
    made: dict[str, dict[str, Any]] = {}
    with Progress(stage.name, len(items), stage.unit) as progress:
        for row in results.iter_rows():
            result = json.loads(row["item"])
            if "sentence" in result:
                raise _SAID.get(result["error"], InputError)(result["sentence"])
            if "error" in result:
                raise StageError(_sentence(stage, result, store, private))
            made[result["key"]] = result
            progress.step(1, result["rows"])
    assert len(made) == len(todo), f"{stage.name}: {len(todo)} partitions went in, {len(made)} came out"
    return made


def _pool(stage: Stage, partitions: int) -> Any:
    """All actors from the start, and one partition at a time for each. A pool that grows sends two partitions to its first actor before the
    second one is up, which then finds nothing to do: an evaluation of two partitions ran on one of two CPUs. Actors that have no room yet
    wait, and are what an autoscaler sees as demand."""
    import ray

    return ray.data.ActorPoolStrategy(size=max(1, min(stage.concurrency or 1, partitions)), max_tasks_in_flight_per_actor=1)


def _sentence(stage: Stage, result: dict[str, Any], store: Store, private: Store | None) -> str:
    if result["errno"] in (errno.ENOSPC, errno.EDQUOT):
        return f"{stage.name}: no space left on device under {store.root}; free some and run the same command again, it continues"
    where = f"; the whole text is in {private.root}/{result['log']}" if private else ""
    return (
        f"{stage.name}: partition {result['key'][:12]} failed with {result['error']} at {result['where']}{where}. "
        "Everything finished is kept; run the same command again to continue"
    )


def packed(parts: Sequence[Part]) -> dict[str, Any]:
    """Where the inputs of a piece of work lie, as JSON. A shard of a million visits is made of some thousand partitions, and there are
    thousands of shards: stage and root stand once, and the counts, which no worker asks for, stay on the driver."""
    places = list(dict.fromkeys((part.stage, part.root) for part in parts))
    number = {place: index for index, place in enumerate(places)}
    return {"places": places, "parts": [[number[part.stage, part.root], part.key, *part.drop] for part in parts]}


def unpacked(value: dict[str, Any]) -> Iterator[Part]:
    """The parts of ``packed``, without rows and counts."""
    for place, key, *drop in value["parts"]:
        stage, root = value["places"][place]
        yield Part(key, stage, root, 0, {}, tuple(drop))


@dataclass(frozen=True)
class _Job:
    """What travels to a worker."""

    stage: Stage
    store: Store
    private: Store | None

    def item(self, key: str, work: Work) -> dict[str, Any]:
        return {"key": key, "inputs": packed(work.inputs), "extra": work.extra, "ship": work.ship_drop}

    def process(self, row: dict[str, Any]) -> dict[str, Any]:
        assert self.stage.fn is not None
        return self.apply(self.stage.fn, row)

    def apply(self, fn: Callable[..., pa.Table], row: dict[str, Any]) -> dict[str, Any]:
        """One partition, read, computed, checked and committed. An error comes back as its class and place: a value in it might
        identify a patient, and Ray logs what is raised."""
        item = json.loads(row["item"])
        try:
            result = self._made_before(item) or self._make(fn, item)
        except (InputError, StorageError) as error:
            result = {"key": item["key"], "error": type(error).__name__, "sentence": str(error)}
        except Exception as error:  # the one place that catches all: nothing else may reach Ray's log
            frame = traceback.extract_tb(error.__traceback__)[-1]
            log = f"errors/{self.stage.name}-{item['key'][:12]}.txt"
            code = getattr(error, "errno", None)
            if self.private:
                with suppress(OSError):  # a full disk: the class and the place must do
                    self.private.commit(log, "".join(traceback.format_exception(error)).encode())
            where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
            result = {"key": item["key"], "error": type(error).__name__, "where": where, "errno": code, "log": log}
        return {"item": json.dumps(result)}

    def _made_before(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """What a worker committed that died before it could say so: Ray gives its task to another one."""
        name = f"stages/{self.stage.name}/{item['key']}.parquet"
        if not self.store.exists(name):
            return None
        return {"key": item["key"], **json.loads(self.store.read_metadata(name)[_META])}

    def _make(self, fn: Callable[..., pa.Table], item: dict[str, Any]) -> dict[str, Any]:
        stage = self.stage
        _trace(stage.name, item["key"])
        tables: list[Any] = []
        for index, part in enumerate(unpacked(item["inputs"])):
            part = replace(part, drop=()) if item["ship"] else part
            columns = stage.columns[index] if index < len(stage.columns) else None
            tables.append(part if stage.lazy else read_part(part, columns, stage.ok_only))
        table = fn(*tables, item["extra"]) if item["extra"] is not None else fn(*tables)
        check(stage, tables, table)
        counts = count(table)
        meta = {_META: json.dumps({"rows": table.num_rows, "counts": counts}).encode()}
        name = f"stages/{stage.name}/{item['key']}.parquet"
        self.store.commit_table(name, table.replace_schema_metadata(meta), stage.row_group_rows)
        return {"key": item["key"], "rows": table.num_rows, "counts": counts}


class _Actor:
    """A worker that makes its function once and keeps it."""

    def __init__(self, job: _Job):
        assert job.stage.make is not None
        self.job, self.fn = job, job.stage.make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.job.apply(self.fn, row)


def check(stage: Stage, inputs: Sequence[pa.Table], table: pa.Table) -> None:
    """The contract holds: schema, one row a key, status with its reason, and no key lost."""
    contract = stage.contract
    assert table.schema.equals(contract.schema), f"{stage.name}: the output is not a {contract.name} table"
    keys = table.select(list(contract.key))
    distinct = keys.group_by(list(contract.key)).aggregate([]).num_rows
    assert distinct == table.num_rows, f"{stage.name}: {table.num_rows - distinct} rows share a key"
    if "status" in table.column_names:
        is_rejected = pc.equal(table["status"], REJECTED)
        has_reason = pc.is_valid(table["reject_reason"])
        assert pc.all(pc.equal(is_rejected, has_reason), min_count=0).as_py(), f"{stage.name}: a status without its reason"
    if stage.conserve and inputs:
        came, left = set(inputs[0][stage.conserve].to_pylist()), set(table[stage.conserve].to_pylist())
        assert came <= left, f"{stage.name}: {len(came - left)} of {len(came)} rows were lost"


def count(table: pa.Table) -> dict[str, int]:
    """Rows by 'ok' or reject reason."""
    if "status" not in table.column_names:
        return {OK: table.num_rows}
    reasons = pc.coalesce(table["reject_reason"], table["status"]).value_counts().to_pylist()
    return {r["values"]: r["counts"] for r in sorted(reasons, key=lambda r: r["values"])}


def _trace(stage: str, key: str) -> None:
    """With CODELIB_TRACE set to a folder: one empty file for each time a partition is worked on. What the kill tests count."""
    folder = os.environ.get("CODELIB_TRACE")
    if folder:
        open(os.path.join(folder, f"{stage.replace('/', '-')}.{key}.{uuid.uuid4().hex[:8]}"), "w").close()
