"""Running jobs in the test's own process, on one Ray that all tests of it share (fixture ``cluster``): what a job says and makes.

A start of Python, Ray and Ray's workers costs more than the stages of a small clinic. What belongs to a process (signals, kills, CPUs,
the code that a shell sees) is shown with tests.jobs.run.
"""

from __future__ import annotations

import importlib
import io
import os
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from codelib.core.cli import run_job
from tests.jobs import ROOT, without_drawing

traces: Path | None = None
"""Where the workers of the shared Ray note what they work on (CODELIB_TRACE)."""


def run(job: str, *args: str | Path, code: int = 0, **more: str) -> str:
    """As tests.jobs.run: the job's stdout and stderr one after the other; asserts its exit code. ``more``: environment of the driver; what
    workers read of it is CODELIB_TRACE and TEST_KEY alone."""
    main = importlib.import_module(f"jobs.{job}").main
    out, err = io.StringIO(), io.StringIO()
    if traces is not None:
        for path in traces.iterdir():
            path.unlink()
    with chdir(ROOT), mock.patch.dict(os.environ, more), redirect_stdout(out), redirect_stderr(err):
        ended = run_job(main, [str(word) for word in without_drawing(job, args)])
    said = out.getvalue() + err.getvalue()
    assert ended == code, f"exit code {ended}, expected {code}\n{said}"
    if traces is not None and "CODELIB_TRACE" in more:
        for path in traces.iterdir():
            path.rename(Path(more["CODELIB_TRACE"]) / path.name)
    return said
