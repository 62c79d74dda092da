"""The stages of `jobs.dataset` for a clinic of some size: CPU time, tasks, bytes, and how long each takes on machines that one names.

    visits, images ── unit costs ──> CPU seconds ─┐
    partitions ────> tasks ───────────────────────┼─> hours of a stage: the slowest of its work, of handing it out, of the network
    bytes ────────────────────────────────────────┘

How many tasks the two searches over everything make is asked of the product's own planning, so that the plan changes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from codelib.core.stage import Part
from codelib.data import duplicates, split_reports
from codelib.data.ordering import PIECE_ROWS, RUN_ROWS
from codelib.data.shards import SHARD_TOKENS
from codelib.sizing.clinic import Assumed, Clinic, Nodes
from codelib.sizing.unit_costs import StageCost, UnitCosts

GB, GIB, HOUR = 1e9, 2**30, 3600.0
_FIGURES = 13  # files of release/figures
_TOKENS_AN_IMAGE = 170  # visual tokens, about: for the number of shards alone
_SIMILARITY = 0.85  # of split.audit.report_similarity; only 1 changes the number of tasks


@dataclass(frozen=True)
class StageTime:
    """One stage of the run."""

    name: str
    count: float
    unit: str
    cpu_s: float
    tasks: int
    hours: float
    waits_for: str  # what its time hangs on
    read_bytes: float
    written_bytes: float
    reads: float
    writes: float


def stages(clinic: Clinic, workers: Nodes, costs: UnitCosts, assumed: Assumed, partition_visits: int) -> list[StageTime]:
    return [_stage(one, clinic, workers, costs, assumed, partition_visits) for one in costs.stages]


def _stage(
    stage: StageCost, clinic: Clinic, workers: Nodes, costs: UnitCosts, assumed: Assumed, partition_visits: int
) -> StageTime:
    count, unit = _count(stage, clinic)
    tasks = _tasks(stage.name, clinic, costs, partition_visits)
    cpu_s = stage.fixed_cpu_s + stage.cpu_s * count
    read = stage.read_bytes * count
    if stage.name == "images":
        cpu_s += pixels_cpu_s(clinic, costs)
        read += source_bytes(clinic, costs)
    # with fewer tasks than CPUs the largest task decides
    largest = cpu_s * (min(1.0, partition_visits / clinic.visits) if _is_cut(stage.name) else 1 / tasks)
    spread = cpu_s / workers.cpus
    work_h = max(spread, largest) / assumed.efficiency / HOUR
    handing_h = tasks * costs.driver.seconds_per_task / HOUR
    network_h = 0.0
    written = stage.written_bytes * count
    if workers.machine.network_gbits:
        network_h = 8 * (read + written) / (workers.count * workers.machine.network_gbits * 1e9) / HOUR
    hours, waits_for = max(
        (work_h, "its largest task" if largest > spread else "CPUs"), (handing_h, "the driver"), (network_h, "the network")
    )
    return StageTime(
        stage.name, count, unit, cpu_s, tasks, hours, waits_for, read, written, stage.reads * count, stage.writes * count
    )


def _count(stage: StageCost, clinic: Clinic) -> tuple[float, str]:
    if stage.per == "visit":
        return clinic.visits, "visits"
    if stage.per == "image":
        return clinic.images, "images"
    return row_reads(stage.name, clinic), "rows read"


def row_reads(name: str, clinic: Clinic) -> float:
    """How many rows the tasks of a search read together: each table (or band) of each task reads, or searches, all of them."""
    if name == "duplicates":
        work = duplicates.search_work([_rows(clinic.images)])
        return float(sum(len(one.extra["tables"]) for one in work) * clinic.images)
    work = split_reports.search_work([_rows(clinic.visits)], _SIMILARITY)
    return float(len(work) * clinic.visits)


def _rows(count: int) -> Part:
    return Part("", "", "", count, {})


_NOT_BY_PARTITION = ("ingest", "hashes", "duplicates", "copies", "totals", "lines", "samples", "shards", "figures")


def _is_cut(name: str) -> bool:
    """Whether a stage has a task for each partition of visits."""
    return name not in _NOT_BY_PARTITION


def _tasks(name: str, clinic: Clinic, costs: UnitCosts, partition_visits: int) -> int:
    partitions = math.ceil(clinic.visits / partition_visits)
    if _is_cut(name):
        return partitions
    special = {
        "ingest": max(1, math.ceil(clinic.visits / 10_000)),  # a batch of the export, of such a size, assumed
        "hashes": math.ceil(max(partitions / duplicates.PARTS_A_FILE, clinic.images / duplicates.PICTURES_A_FILE)),
        "duplicates": len(duplicates.search_work([_rows(clinic.images)])),
        "copies": max(1, len(split_reports.search_work([_rows(clinic.visits)], _SIMILARITY))),
        # a line of the table for each visit, each sample in two of the JSON files
        "lines": _ordering(clinic.visits, clinic.visits * (1 + 2 * costs.training.samples_per_visit)),
        "samples": _ordering(*[clinic.visits * costs.training.samples_per_visit] * 2),
        "shards": max(1, round(clinic.images * costs.training.samples_per_visit * _TOKENS_AN_IMAGE / SHARD_TOKENS)),
        "figures": _FIGURES,
        "totals": 1,
    }
    return special[name]


def _ordering(sorted_rows: float, merged_rows: float) -> int:
    """Tasks of `data.ordering`: runs that are sorted, and pieces that are merged out of them where there are several."""
    runs = math.ceil(sorted_rows / RUN_ROWS)
    return runs + (math.ceil(merged_rows / PIECE_ROWS) if runs > 1 else 0)


def pixels_cpu_s(clinic: Clinic, costs: UnitCosts) -> float:
    """Opening, reducing and screening all files."""
    film = costs.file(clinic.radiograph)
    photograph = costs.photograph.cpu_s(clinic.photograph_megapixels, clinic.photograph_megabytes)
    radiograph = film.cpu_s
    if clinic.screens:
        photograph += photograph_screens_s(costs)
        radiograph += film.screens_cpu_s
    return clinic.visits * (clinic.photographs_per_visit * photograph + clinic.radiographs_per_visit * radiograph)


def photograph_screens_s(costs: UnitCosts) -> float:
    """The mean over the sorts of photographs: screens look at one size, whatever the file had."""
    found = [one.screens_cpu_s for one in costs.files if one.kind == "photograph"]
    return sum(found) / len(found)


def source_bytes(clinic: Clinic, costs: UnitCosts) -> float:
    film = costs.file(clinic.radiograph)
    return (
        clinic.visits
        * 1e6
        * (clinic.photographs_per_visit * clinic.photograph_megabytes + clinic.radiographs_per_visit * film.file_mb)
    )
