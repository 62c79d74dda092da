"""What `jobs.dataset` takes, as figures: time, memory, traffic, storage, what is asked of a service, money.

flow (stages, their CPU time, tasks and bytes) ──> Section of Figures, each with its sum; notes on what does not fit
"""

from __future__ import annotations

import math

from codelib.core.ahead import THREADS
from codelib.models.remote_prices import price_of
from codelib.sizing.clinic import Assumed, Clinic, Nodes, Translate
from codelib.sizing.figure import Figure, Section, about
from codelib.sizing.flow import GB, GIB, HOUR, StageTime, source_bytes, stages
from codelib.sizing.unit_costs import UnitCosts


def plan(
    clinic: Clinic,
    workers: Nodes,
    head: Nodes,
    costs: UnitCosts,
    assumed: Assumed,
    translate: Translate,
    partition_visits: int | None = None,
) -> Section:
    """Raises ValueError for a radiograph that was not measured."""
    size = partition_visits or costs.partition_visits
    done = stages(clinic, workers, costs, assumed, size)
    figures = [*_time(clinic, workers, costs, assumed, done, size)]
    hours = figures[-1].value or 0.0
    figures += _memory(clinic, workers, head, costs)
    figures += _traffic(clinic, costs, done, hours, workers)
    figures += _storage(clinic, costs)
    figures += _asked(clinic, costs, translate)
    figures += _money(hours, workers, head, done, figures, assumed, translate)
    title = f"jobs.dataset: {clinic.visits:,} visits, {clinic.images:,} images on {workers.said}"
    return Section(title, tuple(figures), tuple(_notes(clinic, workers, head, costs, done, hours, size)))


def _time(
    clinic: Clinic, workers: Nodes, costs: UnitCosts, assumed: Assumed, done: list[StageTime], partition_visits: int
) -> list[Figure]:
    total = sum(one.cpu_s for one in done)
    pixels = next((one.cpu_s for one in done if one.name == "images"), 0.0)
    tasks = sum(one.tasks for one in done)
    driver_h = clinic.visits * costs.driver.cpu_s_per_visit / HOUR
    stages_h = sum(one.hours for one in done)
    long = [one for one in done if one.hours > 0.01 * stages_h]
    few = [one.name for one in long if one.waits_for == "its largest task"]
    slow = [one.name for one in long if one.waits_for in ("the driver", "the network")]
    per_image = pixels / clinic.images
    return [
        Figure("CPU time, images", pixels / HOUR, "CPU h", f"{clinic.images:,} images x {per_image:.3f} CPU s / 3600"),
        Figure(
            "CPU time, all other stages",
            (total - pixels) / HOUR,
            "CPU h",
            f"{clinic.visits:,} visits x {1000 * (total - pixels) / clinic.visits:.1f} CPU ms / 3600 (by stage: --stages)",
        ),
        Figure("tasks", tasks, "tasks", f"partitions of {partition_visits} visits in {len(done)} stages"),
        Figure(
            "stages",
            stages_h,
            "h",
            f"sum of the stages, each CPU h / ({workers.cpus} vCPUs x {assumed.efficiency:g})"
            + (f"; longer where tasks are fewer than vCPUs or uneven: {', '.join(few)}" if few else "")
            + (f"; longer where handing out or the network is slower: {', '.join(slow)}" if slow else ""),
        ),
        Figure(
            "driver alone",
            driver_h,
            "h",
            f"{clinic.visits:,} visits x {1000 * costs.driver.cpu_s_per_visit:.2f} ms / 3600, between the stages",
        ),
        Figure(
            "time",
            stages_h + driver_h,
            "h",
            "stages + driver alone; a service's time for translation, where it is known, comes on top",
        ),
    ]


def _memory(clinic: Clinic, workers: Nodes, head: Nodes, costs: UnitCosts) -> list[Figure]:
    each = worker_mb(clinic, costs)
    driver = driver_gib(clinic, costs)
    largest = "text stages" if each == costs.workers.text_mb else "images stage and the child that decodes"
    return [
        Figure(
            "memory of a worker machine",
            each * workers.machine.vcpus * 2**20 / GIB,
            "GiB",
            f"{workers.machine.vcpus} vCPUs x {each:,.0f} MB (a worker of the {largest})",
        ),
        Figure(
            "memory of the driver",
            driver,
            "GiB",
            f"{costs.driver.base_mb:,.0f} MB + {clinic.visits:,} visits x {costs.driver.kb_per_visit:.2f} kB",
        ),
        Figure(
            "Ray's object store",
            clinic.visits * costs.driver.item_bytes_per_visit / GIB,
            "GiB",
            f"{clinic.visits:,} visits x {costs.driver.item_bytes_per_visit:,.0f} bytes of work as JSON; pixels never lie in it",
        ),
    ]


def worker_mb(clinic: Clinic, costs: UnitCosts) -> float:
    return max(costs.workers.text_mb, costs.workers.screened_mb if clinic.screens else costs.workers.images_mb)


def driver_gib(clinic: Clinic, costs: UnitCosts) -> float:
    return (costs.driver.base_mb * 2**20 + clinic.visits * costs.driver.kb_per_visit * 1024) / GIB


def _traffic(clinic: Clinic, costs: UnitCosts, done: list[StageTime], hours: float, workers: Nodes) -> list[Figure]:
    source = source_bytes(clinic, costs)
    read, written = sum(one.read_bytes for one in done), sum(one.written_bytes for one in done)
    rate = 8 * (read + written) / (hours * HOUR) / workers.count / 1e9
    return [
        Figure("read from the export", source / GB, "GB", f"{clinic.images:,} images x {source / clinic.images / 1e6:.2f} MB"),
        Figure("read between stages", (read - source) / GB, "GB", "the stages' inputs, by column; the searches read all hashes"),
        Figure("written", written / GB, "GB", "the stages' tables, release/Images, release/parquet"),
        Figure(
            "network of a worker machine", rate, "Gbit/s", f"8 x (read + written) / time / {workers.count} machines, on average"
        ),
        Figure(
            "reads of storage", sum(one.reads for one in done) + clinic.images, "requests", "of stages, and one for each file"
        ),
        Figure("writes to storage", sum(one.writes for one in done), "requests", "one for each partition, image and shard"),
    ]


def _storage(clinic: Clinic, costs: UnitCosts) -> list[Figure]:
    kept = costs.kept
    tables = clinic.visits * kept.per_visit + clinic.images * kept.per_image
    shards = clinic.images * kept.shard_bytes_per_image
    text = clinic.visits * kept.release_text_per_visit
    each = kept.per_visit + kept.release_text_per_visit
    return [
        Figure(
            "workspace: tables and images",
            (tables + text) / GB,
            "GB",
            f"{clinic.visits:,} x {each / 1e3:.1f} kB + {clinic.images:,} x {kept.per_image / 1e3:.1f} kB",
        ),
        Figure(
            "workspace: release/parquet",
            shards / GB,
            "GB",
            f"{clinic.images:,} images x {kept.shard_bytes_per_image / 1e3:.1f} kB",
        ),
        Figure("workspace", (tables + shards + text) / GB, "GB", "the two together"),
    ]


def asked(clinic: Clinic, costs: UnitCosts, translate: Translate) -> tuple[float, float, float]:
    """Requests, tokens in and tokens out of a translating service."""
    if translate.model is None:
        return 0.0, 0.0, 0.0
    known = costs.translation
    scale = clinic.visits * clinic.chars_per_visit * (1 - translate.repeats) / known.distinct_chars
    return scale * known.requests, scale * known.tokens_in, scale * known.tokens_out


def _asked(clinic: Clinic, costs: UnitCosts, translate: Translate) -> list[Figure]:
    requests, given, made = asked(clinic, costs, translate)
    if translate.model is None:
        said = "the glossary, offline; a service: --translate MODEL"
        return [Figure("translation", 0.0, "requests", said)]
    known = costs.translation
    chars = f"{clinic.visits:,} visits x {clinic.chars_per_visit:g} characters x (1 - {translate.repeats:g} repeated)"
    figures = [
        Figure("translation", requests, "requests", f"{chars} x {1000 * known.requests / known.distinct_chars:.2f} a thousand"),
        Figure("translation, tokens in", given, "tokens", f"{chars} x {known.tokens_in / known.distinct_chars:.2f}"),
        Figure("translation, tokens out", made, "tokens", f"{chars} x {known.tokens_out / known.distinct_chars:.2f}"),
    ]
    if translate.tokens_per_minute:
        hours = (given + made) / translate.tokens_per_minute / 60
        figures.append(
            Figure(
                "translation, time",
                hours,
                "h",
                f"tokens / {translate.tokens_per_minute:,} a minute / 60; on top of the time above",
            )
        )
    return figures


def _money(
    hours: float, workers: Nodes, head: Nodes, done: list[StageTime], so_far: list[Figure], assumed: Assumed, translate: Translate
) -> list[Figure]:
    named = {one.name: one.value or 0.0 for one in so_far}
    asking_h = named.get("translation, time", 0.0)
    figures = [machine_hours("money: workers", workers, hours), machine_hours("money: head", head, hours + asking_h)]
    storage = assumed.usd_per_gb_month
    figures.append(
        Figure(
            "money: a month of the workspace",
            None if storage is None else named["workspace"] * storage,
            "USD",
            "give --usd-per-gb-month" if storage is None else f"workspace x {storage:g} USD a GB and month",
        )
    )
    puts, gets = assumed.usd_per_million_puts, assumed.usd_per_million_gets
    requests = None
    if puts is not None and gets is not None:
        requests = named["writes to storage"] / 1e6 * puts + named["reads of storage"] / 1e6 * gets
    figures.append(
        Figure(
            "money: requests to storage",
            requests,
            "USD",
            "give --usd-per-million-puts and --usd-per-million-gets (a file system: 0)"
            if requests is None
            else f"writes x {puts:g} + reads x {gets:g} USD a million",
        )
    )
    if translate.model is not None:
        price = price_of(translate.model, translate.batch)
        given, made = named["translation, tokens in"], named["translation, tokens out"]
        figures.append(
            Figure(
                "money: translation",
                None if price is None else price.usd(given, made),
                "USD",
                f"codelib/models/remote_prices.csv has no price of {translate.model}; name a snapshot with its date"
                if price is None
                else f"tokens in x {price.input:g} + out x {price.output:g} USD a million ({price.as_of})",
            )
        )
    return figures


def machine_hours(name: str, nodes: Nodes, hours: float) -> Figure:
    price = nodes.machine.price(nodes.market)
    market = nodes.market.replace("_", " ")
    if price is None:
        how = f"no {market} price of {nodes.machine.name} is known: give --price {nodes.machine.name}=…"
        return Figure(name, None, nodes.machine.currency, how)
    how = f"{nodes.said} x {about(hours)} h x {price:g} {nodes.machine.currency} ({market}; {nodes.machine.price_source})"
    return Figure(name, nodes.count * hours * price, nodes.machine.currency, how)


# files that the driver reads for each partition of visits, requests of an object store for each, and what one takes
# (docs/scaling-simulation.md)
_DRIVER_READS, _REQUESTS, _REQUEST_S = 14.3, 3, 0.030


def _notes(
    clinic: Clinic, workers: Nodes, head: Nodes, costs: UnitCosts, done: list[StageTime], hours: float, size: int
) -> list[str]:
    notes = []
    partitions = math.ceil(clinic.visits / size)
    waits_h = partitions * _DRIVER_READS * _REQUESTS * _REQUEST_S / THREADS / HOUR
    if waits_h > 0.05 * hours:
        notes.append(
            f"where the workspace lies in an object store the driver's reads come on top: about {partitions:,} partitions x "
            f"{_DRIVER_READS} files x {_REQUESTS} requests x {1000 * _REQUEST_S:.0f} ms / {THREADS} at once / 3600 = {about(waits_h)} h; "
            "larger partitions (dataset.partition_visits) make fewer"
        )
    each = worker_mb(clinic, costs)
    room = workers.machine.memory_gib * 0.7 * GIB / 2**20  # the rest: Ray's object store, page cache, the system
    if each * workers.machine.vcpus > room:
        fits = max(1, int(room / each))
        notes.append(
            f"{workers.machine.name} has {workers.machine.memory_gib:g} GiB, of which workers get 0.7: start Ray there with {fits} CPUs, or "
            "take a machine with more memory (the time above counts all its vCPUs)"
        )
    if driver_gib(clinic, costs) > 0.7 * head.machine.memory_gib:
        notes.append(
            f"the driver needs more than 0.7 of {head.machine.name}'s {head.machine.memory_gib:g} GiB: take a larger head"
        )
    waiting = [one for one in done if one.waits_for == "the driver" and one.hours > 0.02 * hours]
    if waiting:
        names = ", ".join(one.name for one in waiting)
        notes.append(
            f"{names}: handing out tasks is what takes the time; larger partitions (dataset.partition_visits) make fewer"
        )
    return notes
