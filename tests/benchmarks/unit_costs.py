"""What one visit, image, training sample and question costs: measured here, on the product's own code.

    python -m tests.benchmarks.simulate --visits 10000,100000 --json simulated.json
    python -m tests.benchmarks.unit_costs --simulated simulated.json [--visits 250 1000] [--output unit_costs.yaml] [--raw raw.json]

    the flow of jobs.dataset at two sizes (unit_flow) ──> per visit and image, by stage; what a run costs however small
    whole runs with Ray at two large sizes (simulate) ──> the driver's memory; pairs of like pictures by chance, as in a large clinic
    files as cameras and X-ray machines write them (unit_images) ──> decode, reduce, screen
    tokens, loading, questions, translation's requests (unit_learning); a stage of empty tasks through Ray: what handing one out costs

CPU seconds, not wall time: the machine may be shared. Needs the real photographs and the vocabulary of CODELIB_REAL_DATA.
codelib/sizing/unit_costs.yaml is what --output wrote (--from-raw makes it again from --raw, without measuring).
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import nnls

from codelib.sizing.unit_costs import UnitCosts
from tests.benchmarks import unit_clinic, unit_flow, unit_images, unit_learning, unit_tasks
from tests.benchmarks.dslr import real_photographs
from tests.benchmarks.simulate import PAIR_S, PICTURES_A_VISIT
from tests.conftest import REAL_DATA, ROOT

_OFF = tuple(f'images.screens.{screen}="off"' for screen in ("text", "faces", "documents"))
_PER_VISIT = (
    *("ingest", "records", "text", "deidentified", "bilingual", "annotated", "split", "counted", "conversations"),
    *("lines", "samples", "statistics", "traits"),
)
_PER_IMAGE = ("images", "hashes", "chosen", "published", "shards")
_SEARCHES = {"duplicates": 29, "copies": 1}  # tables that each read all rows
METRICS_CPU_S = 0.007  # an answer: docs/performance.md, 21 s for 600 reports x 5 variants


# measuring; each part in a process of its own


def _flow(visits: int, folder: str) -> dict[str, Any]:
    export, workspace = Path(folder) / "export", Path(folder) / "workspace"
    unit_clinic.write_clinic(export, visits, real_photographs(REAL_DATA / "clinic-export"))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # its memory is the driver's alone
        return pool.submit(_measured_flow, str(export), str(workspace)).result()


def _measured_flow(export: str, workspace: str) -> dict[str, Any]:
    return unit_flow.measure(Path(export), Path(workspace), _OFF).plain()


def _learning(folder: str, visits: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    workspace = Path(folder) / "workspace"
    found = unit_learning.learning(workspace / "release", visits, REAL_DATA)
    return {
        "translation": unit_learning.translation(workspace, visits),
        "learning": found,
        "driver_kb_per_sample": _conversations_kb(workspace / "release"),
    }


def _conversations_kb(release: Path) -> float:
    from codelib.models.conversation import open_dataset

    tracemalloc.start()
    read = open_dataset(release).read("train")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / 1024 / len(read)


def measure(sizes: list[int], files: int, repetitions: int) -> dict[str, Any]:
    raw: dict[str, Any] = {"flows": [], "files": [], "load": os.getloadavg()[0]}
    apart = multiprocessing.get_context("spawn")
    for visits in sorted(sizes):
        with tempfile.TemporaryDirectory() as folder:
            raw["flows"].append(_flow(visits, folder))
            print(f"flow of {visits} visits measured", flush=True)
            if visits == max(sizes):
                released = raw["flows"][-1]["kept_bytes"]["released_visits"]
                with ProcessPoolExecutor(1, apart) as pool:
                    raw |= pool.submit(_learning, folder, released).result()
    for kind in unit_clinic.kinds(REAL_DATA / "clinic-export", files):
        raw["files"].append(unit_images.measure(kind, repetitions).plain() | {"of": kind.kind})
        print(f"{kind.name} measured", flush=True)
    with ProcessPoolExecutor(1, apart) as pool:
        raw["seconds_per_task"] = pool.submit(unit_tasks.handing_out).result()
    return raw


# from measurements to unit costs


def derive(raw: dict[str, Any]) -> UnitCosts:
    """Slopes between the two sizes, what is left of the smaller one being a run's own."""
    small, large = raw["flows"]
    assert small["visits"] < large["visits"], "two sizes are needed, the smaller first"
    learning = raw["learning"]
    files = [
        {
            "name": one["kind"],
            "kind": one.get("of") or ("photograph" if one["kind"].startswith("photograph") else "radiograph"),
            "megapixels": _round(one["megapixels"]),
            "file_mb": _round(one["file_bytes"] / 1e6),
            "released_kb": _round(one["released_bytes"] / 1e3),
            "cpu_s": _round(one["unscreened_cpu_s"]),
            "screens_cpu_s": _round(max(0.0, one["screened_cpu_s"] - one["unscreened_cpu_s"])),
            "peak_mb": one["peak_mb"] and _round(one["peak_mb"]),
        }
        for one in raw["files"]
    ]
    photographs = [one for one in files if one["kind"] == "photograph"]
    fit = fitted(photographs)
    plain = {
        "measured": _where(raw),
        "images_per_visit": _round(large["images"] / large["visits"]),
        "partition_visits": 32,
        "stages": [_stage(name, small, large, raw.get("search_cpu_s")) for name in large["by_stage"]],
        "files": files,
        "photograph": fit,
        "workers": {
            "text_mb": _round(max(spent["peak_mb"] for name, spent in large["by_stage"].items() if name != "images")),
            "images_mb": _round(large["by_stage"]["images"]["peak_mb"]),
            "screened_mb": _round(large["by_stage"]["images"]["peak_mb"] / 2 + max(one["peak_mb"] or 0.0 for one in files)),
        },
        "driver": _driver(raw),
        "kept": _kept(large),
        "translation": {
            name: _round(raw["translation"][name]) for name in ("chars", "distinct_chars", "requests", "tokens_in", "tokens_out")
        },
        "training": {
            **{
                name: _round(learning[name])
                for name in (
                    *("samples_per_visit", "tokenise_cpu_s_per_sample", "load_cpu_s_per_image", "text_tokens_per_sample"),
                    *("answer_tokens_per_sample", "example_bytes_per_sample"),
                )
            },
            "driver_kb_per_sample": _round(raw["driver_kb_per_sample"]),
        },
        "questions": [
            {
                "name": name,
                "prepare_cpu_s": _round(one["prepare_cpu_s"]),
                "text_tokens": _round(one["prompt_tokens"] - one["images"] * learning["visual_tokens_per_image"]),
                "answer_tokens": _round(one["answer_tokens"]),
            }
            for name, one in learning["questions"].items()
        ],
        "metrics_cpu_s_per_answer": METRICS_CPU_S,
    }
    return UnitCosts.model_validate(plain)


def fitted(photographs: list[dict[str, Any]]) -> dict[str, float]:
    """cpu_s = fixed + a x megapixels + b x megabytes, none below zero, by least squares of relative errors."""
    seconds = np.array([one["cpu_s"] for one in photographs])
    terms = np.array([[1.0, one["megapixels"], one["file_mb"]] for one in photographs])
    found, _ = nnls(terms / seconds[:, None], np.ones(len(seconds)))
    worst = float(np.max(np.abs(terms @ found / seconds - 1)))
    names = ("fixed_s", "per_megapixel_s", "per_megabyte_s")
    return {**{name: _round(float(value)) for name, value in zip(names, found, strict=True)}, "worst": _round(worst)}


def _count(name: str, flow: dict[str, Any]) -> tuple[str, float]:
    if name in _PER_IMAGE:
        return "image", flow["images"]
    if name in _SEARCHES:
        rows = flow["kept_bytes"]["released_images"] if name == "duplicates" else flow["visits"]
        return "search", rows * _SEARCHES[name]
    return "visit", flow["visits"]


def _stage(name: str, small: dict[str, Any], large: dict[str, Any], search_cpu_s: float | None) -> dict[str, Any]:
    (per, fewer), (_, more) = _count(name, small), _count(name, large)
    a, b = small["by_stage"][name], large["by_stage"][name]
    alone = name not in (*_PER_VISIT, *_PER_IMAGE, *_SEARCHES)  # figures, totals: as much for any clinic
    slope = 0.0 if alone else max(0.0, (b["cpu_s"] - a["cpu_s"]) / (more - fewer))
    fixed = max(a["cpu_s"], b["cpu_s"]) if alone else max(0.0, b["cpu_s"] - slope * more)
    if name == "images":
        slope = fixed = 0.0  # what files cost stands under ``files``, by sort
    if name == "duplicates" and search_cpu_s is not None:
        slope, fixed = search_cpu_s, 0.0  # the flow's pictures are crops of a few photographs: far more of them are alike
    names = ("read_bytes", "written_bytes", "reads", "writes")
    return {
        "name": name,
        "per": per,
        "cpu_s": _round(slope),
        "fixed_cpu_s": _round(fixed),
        **{key: 0.0 if alone else _round(b[key] / more) for key in names},
    }


def _driver(raw: dict[str, Any]) -> dict[str, float]:
    small, large = raw["flows"]
    visits = large["visits"] - small["visits"]
    (fewer, few_mb), (more, many_mb) = raw["driver_mb"]
    kb = max(0.0, 1024 * (many_mb - few_mb) / (more - fewer))
    return {
        "base_mb": _round(few_mb - kb / 1024 * fewer),
        "kb_per_visit": _round(kb),
        "cpu_s_per_visit": _round(max(0.0, large["driver_cpu_s"] - small["driver_cpu_s"]) / visits),
        "seconds_per_task": _round(raw["seconds_per_task"]),
        "item_bytes_per_visit": _round(large["items_bytes"] / large["visits"]),
    }


def _driver_mb(simulated: Path | None, flows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Visits and most MB of the driver, at two sizes: of whole runs with Ray where there are such, else of the flow without it."""
    if simulated is None:
        return [(flow["visits"], flow["driver_peak_mb"]) for flow in flows]
    sizes = json.loads(simulated.read_text())
    found = [(int(size), max(step["driver_bytes"] for step in sizes[size]["run"]["steps"].values()) / 2**20) for size in sizes]
    return sorted(found)[-2:]


def _search_cpu_s(simulated: Path) -> float:
    """Of a row that a table of the search for like pictures reads, at the largest size: searching, and comparing the pairs that it counted."""
    sizes = json.loads(simulated.read_text())
    largest = max(sizes, key=int)
    run = sizes[largest]["run"]
    searching = sum(run["steps"]["stage duplicates"][kind] for kind in ("driver_s", "workers_s"))
    return (searching + run["pairs"] * PAIR_S) / (_SEARCHES["duplicates"] * int(largest) * PICTURES_A_VISIT)


def _kept(flow: dict[str, Any]) -> dict[str, float]:
    kept, visits, images = flow["kept_bytes"], flow["visits"], flow["kept_bytes"]["released_images"]
    by_image = ("private/stages/images", "private/stages/hashes", "private/stages/chosen", "release/Images")
    shards = kept["release/parquet"]
    text = kept["release"]
    skipped = (*by_image, "release/parquet", "release", "released_visits", "released_images", "release/figures", "private/queue")
    return {
        "per_visit": _round(sum(size for name, size in kept.items() if name not in skipped) / visits),
        "per_image": _round(sum(kept[name] for name in by_image) / images),
        "shard_bytes_per_image": _round(shards / images),
        "release_text_per_visit": _round(text / visits),
    }


def _where(raw: dict[str, Any]) -> dict[str, Any]:
    lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    sizes = " ".join(str(round(flow["visits"])) for flow in raw["flows"])
    return {
        "machine": lines[0].partition(":")[2].strip() if lines else platform.machine(),
        "cores": os.cpu_count() or 1,
        "load": round(raw["load"], 1),
        "python": platform.python_version(),
        "commit": commit or "unknown",
        "date": datetime.date.today().isoformat(),
        "repeat": f"python -m tests.benchmarks.unit_costs --simulated simulated.json   (visits: {sizes}; simulated: "
        f"{' '.join(f'{visits:,.0f}' for visits, _ in raw['driver_mb'])})",
    }


def _round(value: float) -> float:
    """Three digits: more would not come out again."""
    return float(f"{value:.3g}")


# showing


def lines(costs: UnitCosts) -> list[str]:
    shown = [f"{'stage':<14}{'per':>8}{'CPU ms':>10}{'a run, s':>10}{'read kB':>10}{'written kB':>12}{'reads':>8}{'writes':>8}"]
    for one in costs.stages:
        shown.append(
            f"{one.name:<14}{one.per:>8}{1000 * one.cpu_s:>10.3f}{one.fixed_cpu_s:>10.2f}{one.read_bytes / 1e3:>10.2f}"
            f"{one.written_bytes / 1e3:>12.2f}{one.reads:>8.2f}{one.writes:>8.2f}"
        )
    shown.append(f"\n{'file':<32}{'MB':>7}{'CPU ms':>9}{'screens ms':>12}{'released kB':>13}{'peak MB':>9}")
    for file in costs.files:
        shown.append(
            f"{file.name:<32}{file.file_mb:>7.2f}{1000 * file.cpu_s:>9.1f}{1000 * file.screens_cpu_s:>12.0f}{file.released_kb:>13.1f}"
            f"{file.peak_mb or float('nan'):>9.0f}"
        )
    for group in (costs.photograph, costs.workers, costs.driver, costs.kept, costs.translation, costs.training, *costs.questions):
        named = ", ".join(f"{name} {value}" for name, value in group.model_dump().items())
        shown.append(f"\n{type(group).__name__.lower()}: {named}")
    return shown


def main() -> int:
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    described.add_argument("--visits", type=int, nargs=2, default=[250, 1000], metavar=("FEW", "MANY"))
    described.add_argument("--files", type=int, default=3, metavar="N", help="of each sort (default 3)")
    described.add_argument("--repetitions", type=int, default=3, metavar="N", help="of each file (default 3)")
    described.add_argument(
        "--simulated", type=Path, help="what tests.benchmarks.simulate --json wrote: the driver's memory with Ray"
    )
    described.add_argument("--output", type=Path, help="unit costs, as YAML")
    described.add_argument("--raw", type=Path, help="the measurements, as JSON")
    described.add_argument("--from-raw", type=Path, help="measurements of before, in place of new ones")
    args = described.parse_args()
    if not (REAL_DATA / "clinic-export").is_dir():
        print(f"no real photographs at {REAL_DATA}: set CODELIB_REAL_DATA", file=sys.stderr)
        return 2
    raw = json.loads(args.from_raw.read_text()) if args.from_raw else measure(args.visits, args.files, args.repetitions)
    if args.simulated or "driver_mb" not in raw:
        raw["driver_mb"] = _driver_mb(args.simulated, raw["flows"])
    if args.simulated:
        raw["search_cpu_s"] = _search_cpu_s(args.simulated)
    if args.raw:
        args.raw.write_text(json.dumps(raw, indent=1))
    costs = derive(raw)
    print("\n".join(lines(costs)))
    if args.output:
        head = (
            "# Measured by `python -m tests.benchmarks.simulate --visits 10000,100000 --json S` and `python -m tests.benchmarks.unit_costs\n"
            "# --simulated S --output FILE`; not edited by hand.\n"
        )
        args.output.write_text(
            head + yaml.safe_dump(costs.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
