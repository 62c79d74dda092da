"""Running jobs as a user does: a process of its own, its exit code, its words; and reading what it made."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
KEY = b"the tests' own key: 32 bytes.. "


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what it knows of a Ray."""
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PYTHONPATH": str(ROOT)} | more


def without_drawing(job: str, args: Sequence[str | Path]) -> Sequence[str | Path]:
    """A job's arguments; figures are drawn by tests/ray/test_figures_job.py."""
    return (*args, "--set", "figures.drawn=false") if job == "dataset" and "--input" in args else args


def start(job: str, *args: str | Path, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"jobs.{job}", *map(str, without_drawing(job, args))]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(**more),
        start_new_session=True,
    )


def run(job: str, *args: str | Path, code: int = 0, timeout_s: float = 1200, **more: str) -> str:
    """Run a job to its end; its stdout and stderr together. Asserts the exit code."""
    process = start(job, *args, **more)
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == code, f"exit code {process.returncode}, expected {code}\n{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def with_key(workspace: Path) -> Path:
    """A workspace whose secret is the tests' own, so that two of them can be compared."""
    (workspace / "private").mkdir(parents=True, mode=0o700, exist_ok=True)
    (workspace / "private" / "key").write_bytes(KEY)
    return workspace


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def public_text(workspace: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of everything outside private/: file names, raw bytes, and every decoded Parquet value."""
    for path in sorted(workspace.rglob("*")):
        relative = path.relative_to(workspace)
        if relative.parts[0] == "private":
            continue
        yield f"name of {relative}", str(relative)
        if not path.is_file():
            continue
        content = path.read_bytes()
        for encoding in ("utf-8", "utf-16-le", "gb18030", "latin-1"):
            yield f"{relative} as {encoding}", content.decode(encoding, "ignore")
        if path.suffix == ".parquet":
            table = pq.read_table(io.BytesIO(content))
            yield f"{relative} metadata", str(table.schema.metadata)
            for column in table.column_names:
                for value in table[column].to_pylist():
                    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    yield f"{relative} column {column}", text
