"""What bends and what breaks first when a clinic grows: python -m tests.benchmarks.simulate --visits 10000,100000

The flow of `jobs.dataset` itself, with its own driver code, Ray Data and commits, over a clinic that lies nowhere (`simulate_clinic`): pixels
and text are replaced by results of the right form, and what they cost is added up from unit costs. For each size, in a process each: the
job; the same command again; one patient's withdrawal. Ends by what grew faster than the visits. Docs: docs/scaling-simulation.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from codelib.core.ahead import THREADS
from codelib.sizing.unit_costs import read, shipped

PHASES = ("run", "again", "withdraw")
_BENDS = 1.1  # growth exponent beyond which something is told
_HEAD_BYTES = 64 << 30
_REQUESTS, _REQUEST_S = 3, 0.03  # for a file's size, footer and columns; over the network
PAIR_S = 0.001  # CPU, two thumbnails compared
PICTURES_A_VISIT = 6
_PHOTOGRAPH = "photograph 12 MP, JPEG q90"  # what every picture is taken for
_TEXT = ("text", "deidentified", "bilingual", "annotated")


def phase(name: str, visits: int, folder: str, partition_visits: int, batch_visits: int, num_cpus: int) -> dict[str, Any]:
    """One phase in this process; what it spent."""
    from codelib.core.cluster import connect
    from codelib.core.store import Workspace
    from codelib.data import (
        asking,
        build,
        consent,
        duplicates,
        image_review,
        ordering,
        partition,
        release,
        reports,
        split_steps,
        start,
        teeth_review,
        withdraw,
    )
    from codelib.data.settings import DatasetSettings
    from codelib.data.stages import Stages
    from jobs import dataset as job
    from tests.benchmarks.simulate_clinic import Clinic, Export, pairs_compared, prepare, simulate
    from tests.benchmarks.simulate_meter import Meter

    texts, counts = f"{folder}/texts", f"{folder}/counts"
    exclude = f"{folder}/out.txt"
    settings = DatasetSettings(partition_visits=partition_visits, exclude=exclude if name == "withdraw" else None)
    clinic = Clinic(visits, batch_visits, texts)
    workspace, export = Workspace.at(f"{folder}/workspace"), Export(clinic)
    meter = Meter()
    meter.count_files()
    for module in (job, reports, release, build, asking, ordering):
        if hasattr(module, "run"):
            meter.watch(module, "run", lambda stage, *_, **__: f"stage {stage.name}")
    for module, names in (
        (start, ("list_batches",)),
        (partition, ("visits_of", "across_batches", "plan", "records_work")),
        (image_review, ("images_work",)),
        (teeth_review, ("text_work", "write_queue")),
        (duplicates, ("hashes_work", "search_work", "chosen_work")),
        (build, ("write_image_queue", "assign_codes", "read_privacy_answers", "with_codes", "write_review_queue")),
        (build, ("write_ledger", "count_samples", "write_figures", "release")),
        (split_steps, ("traits_work", "verdicts", "with_decisions")),
        (reports, ("count", "write_diagnoses", "write_privacy")),
        (release, ("run_writing", "write_text_files", "checksums")),
        (withdraw, ("withdraw", "find")),
    ):
        for function in names:
            meter.watch(module, function)
    for module, function in ((release, "assemble_work"), (build, "shard_work")):
        if hasattr(module, function):
            meter.watch(module, function)
    with meter:
        began = time.perf_counter()
        lines = consent.read_list(settings)
        if name == "withdraw":
            with workspace.locked():
                withdraw.withdraw(lines, workspace, settings)
        else:
            workspace.create()
            os.makedirs(counts, exist_ok=True)
            with workspace.locked():
                with connect(num_cpus):
                    batches = start.list_batches(export, consent.consent(lines, workspace.private))
                    start.take(workspace, release.release_store(workspace))
                    stages = Stages(workspace, export, settings, consent.consent(lines, workspace.private).hashes)
                    stages.hand_over_lists()
                    with meter.step("(texts of the pool)"):
                        if not os.path.exists(f"{texts}/annotated.parquet"):
                            prepare(stages, texts)
                    simulate(stages, clinic, counts)
                    job.dataset(stages, batches, workspace, settings)
                start.sign(workspace, settings)
        wall = time.perf_counter() - began
    compared = pairs_compared(counts) if name == "run" else 0
    return {"wall_s": wall, "steps": meter.told(), "pairs": compared, "files": _files(Path(folder)) if name == "run" else {}}


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Place -> (files, bytes) after a run."""
    found: dict[str, list[int]] = {}
    for base, _, names in os.walk(folder / "workspace"):
        parts = Path(base).relative_to(folder / "workspace").parts
        inside = parts[1:] if parts[:1] == ("private",) else parts
        place = "/".join(("private/" if len(inside) < len(parts) else "", *inside[:2])) or "."
        for name in names:
            entry = found.setdefault(place, [0, 0])
            entry[0] += 1
            entry[1] += os.lstat(os.path.join(base, name)).st_size
    for single in ("private/ledger.csv", "private/plan.parquet", "private/vault/codes.parquet", "release/SHA256SUMS"):
        path = folder / "workspace" / single
        if path.exists():
            found[single] = [1, path.stat().st_size]
    return {place: (files, size) for place, (files, size) in sorted(found.items())}


def measure(visits: int, args: argparse.Namespace) -> dict[str, Any]:
    """All phases of one size; its folder is removed at the end, unless it was given."""
    folder = args.folder or tempfile.mkdtemp(prefix="codelib-simulate-", dir=os.environ.get("CODELIB_BENCHMARK_DIR"))
    os.makedirs(folder, exist_ok=True)
    (Path(folder) / "out.txt").write_text("4\n")
    results: dict[str, Any] = {}
    try:
        for name in args.phases.split(","):
            told = Path(folder, f"{name}.json")
            if told.exists():  # of a folder that was given: this phase was through
                results[name] = json.loads(told.read_text())
                continue
            begun = Path(folder, "workspace").exists()
            command = [sys.executable, "-m", "tests.benchmarks.simulate", "--phase", name, "--folder", folder]
            command += ["--visits", str(visits), "--partition-visits", str(args.partition_visits)]
            command += ["--batch-visits", str(args.batch_visits), "--num-cpus", str(args.num_cpus)]
            done = subprocess.run(command, stdout=sys.stderr, check=False)
            if done.returncode:
                raise SystemExit(f"{visits:,} visits, {name}: ended with {done.returncode}")
            results[name] = json.loads(told.read_text()) | {"continued": begun and name == "run"}
            told.write_text(json.dumps(results[name]))
            show(visits, name, results[name])
    finally:
        if not args.folder:
            shutil.rmtree(folder, ignore_errors=True)
    return results


def show(visits: int, name: str, result: dict[str, Any]) -> None:
    """The steps of one phase, the dearest first."""
    steps = result["steps"]
    rest = " (what was left of it)" if result.get("continued") else ""
    driver, workers = (sum(s[kind] for s in steps.values()) for kind in ("driver_s", "workers_s"))
    print(
        f"\n{visits:,} visits, {name}{rest}: {result['wall_s']:.1f} s, CPU of driver {driver:.1f} s, of its processes {workers:.1f} s"
    )
    print(
        f"  {'step':<26}{'wall s':>9}{'driver s':>10}{'others s':>10}{'driver MB':>11}{'worker MB':>11}{'reads':>9}{'commits':>9}"
    )
    for step, s in sorted(steps.items(), key=lambda entry: -entry[1]["driver_s"] - entry[1]["workers_s"]):
        if s["driver_s"] + s["workers_s"] >= 0.005 * (driver + workers) or s["reads"] > 1000:
            print(
                f"  {step:<26}{s['wall_s']:>9.1f}{s['driver_s']:>10.1f}{s['workers_s']:>10.1f}{s['driver_bytes'] / 2**20:>11,.0f}"
                f"{s['worker_bytes'] / 2**20:>11,.0f}{s['reads']:>9,}{s['commits']:>9,}"
            )
    for place, (files, size) in result["files"].items():
        if files > 100 or size > 1 << 20:
            print(f"  {place:<44}{files:>10,} files{size / 2**20:>12,.1f} MB")
    sys.stdout.flush()


def _costs_of(path: Path | None) -> dict[str, float]:
    """CPU seconds of what is left out: of an image, a visit's text, a pair of pictures."""
    costs = read(path) if path else shipped()
    picture = costs.file(_PHOTOGRAPH)
    text = sum(stage.cpu_s for stage in costs.stages if stage.name in _TEXT)
    return {"image": picture.cpu_s + picture.screens_cpu_s, "visit": text, "pair": PAIR_S}


def exponent(small: float, large: float, times: float) -> float:
    return math.log(large / small) / math.log(times) if small > 0 and large > 0 else float("nan")


def growth(results: dict[int, dict[str, Any]], costs: dict[str, float]) -> None:
    """What grew faster than the visits between two sizes, and where the larger one would stand at a thousand times it."""
    sizes = sorted(results)
    for small, large in pairwise(sizes):
        times = large / small
        print(f"\nfrom {small:,} to {large:,} visits: growth exponents (1: as the visits)")
        for name in results[large]:
            if name not in results[small]:
                continue
            before, after = results[small][name]["steps"], results[large][name]["steps"]
            rows = []
            for step, s in after.items():
                if step not in before:
                    continue
                cpu = s["driver_s"] + s["workers_s"]
                was = before[step]["driver_s"] + before[step]["workers_s"]
                rows.append((exponent(was, cpu, times), cpu, step))
            for value, cpu, step in sorted(rows, key=lambda row: -row[1])[:14]:
                mark = "  BENDS" if value > _BENDS and cpu > 2 else ""
                print(f"  {name:<9}{step:<26}{value:>6.2f}{cpu:>10.1f} CPU s{mark}")
        _breaks(results[small], small, results[large], large, costs)


def _breaks(before: dict[str, Any], fewer: int, result: dict[str, Any], visits: int, costs: dict[str, float]) -> None:
    run = result["run"]
    pairs = run["pairs"]
    images = PICTURES_A_VISIT * visits
    print(
        f"  left out, by unit costs: pixels {images * costs['image'] / 3600:,.1f} CPU h, text {visits * costs['visit'] / 3600:,.2f} CPU h"
    )
    print(f"  pairs of pictures compared: {pairs:,}, {pairs * costs['pair'] / 3600:,.2f} CPU h")
    was, most = (max(s["driver_bytes"] for s in one["run"]["steps"].values()) for one in (before, result))
    a_visit = (most - was) / (visits - fewer)
    print(f"  driver at most {most / 2**20:,.0f} MB, {a_visit / 1000:.1f} kB for each visit more", end="")
    print(f": a head of {_HEAD_BYTES >> 30} GB holds {_HEAD_BYTES / max(a_visit, 1) / 1e6:,.0f} million visits")
    reads = sum(s["reads"] for s in run["steps"].values())
    alone_h = reads * _REQUESTS * _REQUEST_S / 3600
    print(
        f"  files that the driver reads: {reads:,}; on an object store one after another some {alone_h:,.2f} h, "
        f"{THREADS} ahead {alone_h / THREADS:,.2f} h"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visits", default="10000,100000", help="sizes, for example 10000,100000")
    parser.add_argument("--partition-visits", type=int, default=32)
    parser.add_argument("--batch-visits", type=int, default=2000, help="visits in one batch of the export")
    parser.add_argument("--num-cpus", type=int, default=2)
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument(
        "--unit-costs", type=Path, help="a file of tests.benchmarks.unit_costs (default: codelib/sizing/unit_costs.yaml)"
    )
    parser.add_argument("--json", help="where the figures go as JSON")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help="of one size, kept; the same command goes on where one that was stopped had come to")
    args = parser.parse_args()
    sizes = [int(size) for size in args.visits.split(",")]
    if args.folder and len(sizes) > 1:
        parser.error("--folder is for one size; give --visits one number")
    if args.phase:
        result = phase(args.phase, sizes[0], args.folder, args.partition_visits, args.batch_visits, args.num_cpus)
        (Path(args.folder) / f"{args.phase}.json").write_text(json.dumps(result))
        return 0
    costs = _costs_of(args.unit_costs)
    results: dict[int, dict[str, Any]] = {}
    for size in sizes:
        results[size] = measure(size, args)
        if args.json:
            Path(args.json).write_text(json.dumps(results))
    growth(results, costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
