"""The text stages together, on two cores: 8,775 records of 500 characters through teeth, de-identification and diagnoses.

Two processes take partitions of 32 visits, as the stages do. Once with the synthetic clinic's sentences, which repeat as those of a
clinic do, and once with a number in each sentence that no other has, so that nothing that a process has read before helps it.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import pyarrow as pa

from codelib.contracts import OK, TEXT_FIELDS
from codelib.data.annotate import annotate
from codelib.data.deidentify import DeidentifySettings, deidentify
from codelib.data.stages import codes_table
from codelib.data.teeth import normalise_teeth
from tests.benchmarks.synthetic_text import speed_records
from tests.benchmarks.text_diagnoses import bilingual

RECORDS, CORES, PARTITION, LIMIT_S = 8775, 2, 32, 180
_SENTENCE = re.compile(r"(?<=[。；，])")


def through(table: pa.Table) -> tuple[int, float]:
    """(released records, CPU seconds) of one partition."""
    start_s = time.process_time()
    codes = codes_table([[key, f"{n:04d}-001", f"{n:04d}", -40] for n, key in enumerate(table["visit_key"].to_pylist())])
    text = deidentify(normalise_teeth(table), codes, DeidentifySettings())
    annotated = annotate(bilingual(text))
    return annotated["status"].to_pylist().count(OK), time.process_time() - start_s


def with_numbers(table: pa.Table) -> pa.Table:
    """Each sentence of the examination with a measurement that no other has, and 500 characters a record as before."""
    rows = table.to_pylist()
    for row_number, row in enumerate(rows):
        pieces = [p for p in _SENTENCE.split(row["examination"]) if p]
        room = len(row["examination"])
        row["examination"] = "".join(f"{row_number}.{n}mm{piece}" for n, piece in enumerate(pieces))[:room]
    return pa.Table.from_pylist(rows, schema=table.schema)


def section() -> None:
    records = speed_records(RECORDS)
    lengths = [sum(len(row[name] or "") for name in TEXT_FIELDS) for row in records.to_pylist()]
    print(
        f"{RECORDS:,} records of {sum(lengths) / len(lengths):.0f} characters, {CORES} processes; load {os.getloadavg()[0]:.1f} before"
    )
    for name, table in {"sentences as they are": records, "no sentence twice": with_numbers(records)}.items():
        parts = [table.slice(start, PARTITION) for start in range(0, table.num_rows, PARTITION)]
        start_s = time.perf_counter()
        with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(through, parts))
        seconds = time.perf_counter() - start_s
        verdict = "pass" if seconds <= LIMIT_S else "MISS"
        print(
            f"  {name:<22} {seconds:>5.0f} s with the start of the processes, {sum(cpu for _, cpu in done):.0f} s of one core; "
            f"{sum(n for n, _ in done):,} released: {verdict} (at most {LIMIT_S} s)"
        )
    print(f"  peak memory of a process {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10:,.0f} MB")


if __name__ == "__main__":
    section()
