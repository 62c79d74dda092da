"""How long a million visits take to be drawn and audited, and in how much memory: a section of `python -m tests.benchmarks.release`.

Synthetic keys, written as partitions of a thousand visits and read as the job reads them: 1.9 visits a patient, six images a visit, a
class in nine of ten, conditions as rare as 1/rank, one visit in two hundred with a near-duplicate picture in another's, one report in two
hundred copied with a word changed. Each size runs in a process of its own. CPU seconds, so that a busy machine shows the same; the steps
run in one thread.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import SIX_CLASSES, TRAITS
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import split_reports
from codelib.data.split import SIDES, WHYS, SplitSettings
from codelib.data.split_audit import report
from codelib.data.split_reports import sketch
from codelib.data.split_steps import decide
from codelib.data.split_visits import COLUMNS, Links, Ties, Visits, read_traits

_IMAGES, _CONDITIONS, _LINKED, _A_PART = 6, 130, 0.005, 1000
_CODES = (("split", SIDES), ("why", WHYS), ("spectrum", SIDES))
_MOST_GB, _MOST_RATIO = 8.0, 1.5  # of memory; of the time a visit, a million against a hundred thousand (sorting alone: 1.2)


def clinic(size: int, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """TRAITS of so many visits (the sketches of a thousand texts, varied), and the near-duplicates between them."""
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, int(size / 1.9), size))
    number = np.arange(size) - np.searchsorted(patient, patient) + 1
    patient_ids = pa.array(np.char.zfill(patient.astype("U7"), 7))
    ids = pc.binary_join_element_wise(patient_ids, pa.array(np.char.zfill(number.astype("U3"), 3)), "-")
    keys = pa.array([f"{n * 2654435761 % 2**64:032x}" for n in range(size)])
    weights = 1 / np.arange(1, _CONDITIONS + 1)
    names = pa.array([f"condition {n:03d}" for n in range(_CONDITIONS)])
    each = rng.integers(0, 4, size)
    conditions = names.take(pa.array(rng.choice(_CONDITIONS, each.sum(), p=weights / weights.sum())))
    images = rng.integers(1, 2 * _IMAGES, size)
    contents = rng.integers(1, 2**63, images.sum(), dtype=np.uint64)
    starts = [pa.array(np.r_[0, np.cumsum(n)].astype(np.int32)) for n in (each, images)]
    texts = rng.integers(1, 2**63, size, dtype=np.uint64)
    columns: dict[str, Any] = {
        "checkup_id": ids,
        "patient_id": patient_ids,
        "visit_key": keys,
        "six_class": pa.array([*SIX_CLASSES, None]).take(pa.array(rng.choice(7, size, p=[*[0.15] * 6, 0.1]))),
        "conditions": pa.ListArray.from_arrays(starts[0], conditions),
        "photographs": pa.array(images.astype(np.int32)),
        "radiographs": pa.array(np.zeros(size, np.int32)),
        "contents": pa.ListArray.from_arrays(starts[1], pa.array(contents)),
        "looks": pa.ListArray.from_arrays(starts[1], pa.array(contents ^ np.uint64(1))),
        "empty_fields": pa.array(rng.integers(0, 5, size).astype(np.int32)),
        "report_chars": pa.array(np.full(size, 90, np.int32)),
        "report": pa.array(texts),
        "sketch": pa.array(_sketches(rng, size), pa.binary()),
    }
    fields = [TRAITS.schema.field(name) for name in (*COLUMNS, "sketch")]
    table = pa.table([columns[f.name].cast(f.type) for f in fields], schema=pa.schema(fields))
    pairs = rng.integers(0, size, (int(size * _LINKED), 2))
    return table, pa.table({"visit_key": keys.take(pa.array(pairs[:, 0])), "other_visit_key": keys.take(pa.array(pairs[:, 1]))})


def _sketches(rng: np.random.Generator, size: int) -> list[bytes]:
    """Sketches of texts that have nothing in common, but for one in two hundred, nine tenths of which are another's."""
    width = len(sketch("0123456789"))
    values = rng.integers(0, 2**16, (size, width // 2), dtype=np.uint16)
    copies = rng.choice(size, int(size * _LINKED), replace=False)
    originals = rng.choice(size, len(copies))
    kept = rng.random((len(copies), width // 2)) < 0.9
    values[copies] = np.where(kept, values[originals], values[copies])
    whole = values.tobytes()
    return [whole[i : i + width] for i in range(0, len(whole), width)]


def _written(table: pa.Table, store: Store) -> list[Part]:
    parts = []
    for number, start in enumerate(range(0, table.num_rows, _A_PART)):
        rows = table.slice(start, _A_PART)
        parts.append(Part(f"{number:06d}", "traits", store.root, rows.num_rows, {}))
        store.commit_table(parts[-1].name, rows)
    return parts


def measure(size: int, folder: str) -> dict[str, float]:
    """CPU seconds of each step, and the peak memory of the whole process, the synthetic clinic included."""
    settings = SplitSettings(test_size=0.2, validation_size=0.1)
    seconds: dict[str, float] = {}
    table, near_pairs = clinic(size)
    parts = _written(table, Store(folder))
    del table
    began, began_wall = time.process_time(), time.perf_counter()

    def lap(step: str) -> None:
        nonlocal began
        seconds[step], began = time.process_time() - began, time.process_time()

    found = [split_reports.search(40, 0.8, *work.inputs, work.extra) for work in split_reports.search_work(parts, 0.8)]
    copies = pa.concat_tables(found)
    lap("like reports")
    traits, _ = read_traits(parts)
    lap("reading")
    visits = Visits.of(traits, settings)
    links = Links.of(visits, near_pairs, copies, settings.audit)
    ties = Ties.of(visits, links, settings.unit)
    lap("columns and ties")
    decided = decide(visits, ties, settings, 0)
    lap("both draws")
    audit = report(visits, links, ties, decided, settings)
    lap("audit")
    old = pa.table(
        {"checkup_id": visits.checkup_id} | {n: pa.array(known).take(pa.array(getattr(decided, n))) for n, known in _CODES}
    )
    again = decide(visits, ties, settings, 0, old.slice(0, size - size // 20))
    lap("drawn again, one in twenty new")
    whole = sum(seconds.values())
    seconds |= {"whole": whole, "wall": time.perf_counter() - began_wall}
    assert audit["passed"], {
        name: value["fails"] for name, value in audit.items() if isinstance(value, dict) and "fails" in value
    }
    assert np.array_equal(again.split[: size // 2], decided.split[: size // 2])
    assert abs(audit["six_class"]["visits"]["test"] - audit["six_class"]["wanted_test"]) <= 1
    conditions = [c for c in audit["spectrum"]["conditions"] if c["wanted_test"] > 50]
    worst = max(abs(c["test"] - c["wanted_test"]) / c["wanted_test"] for c in conditions)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {**seconds, "peak GB": peak_gb, "worst condition": worst, "copied": copies.num_rows}


def section(sizes: tuple[int, ...] = (100_000, 1_000_000)) -> bool:
    """Print everything; False where a target was missed."""
    results = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=os.environ.get("CODELIB_BENCHMARK_DIR")) as folder:
            command = [sys.executable, "-m", "tests.benchmarks.release_split", str(size), folder]
            results[size] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
    first, *_, last = results.values()
    print(f"\n{'split and audit':<34}" + "".join(f"{size:>14,} visits" for size in results))
    for name in first:
        unit = "" if name in ("peak GB", "copied", "worst condition") else ", s"
        print(f"  {name + unit:<32}" + "".join(f"{result[name]:>21,.3g}" for result in results.values()))
    ratio = last["whole"] / first["whole"] / (max(sizes) / min(sizes))
    good = ratio <= _MOST_RATIO and last["peak GB"] < _MOST_GB
    print(f"  CPU time a visit, {max(sizes):,} against {min(sizes):,}: {ratio:.2f} (at most {_MOST_RATIO})")
    print(f"  peak memory {last['peak GB']:.2f} GB (below {_MOST_GB:g}): {'all targets pass' if good else 'a target is MISSED'}")
    return good


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))
    else:
        sys.exit(not section())
